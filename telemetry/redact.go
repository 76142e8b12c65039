package telemetry

import (
	"net/netip"
	"regexp"
	"strings"
)

const redacted = "[redacted]"

// names that say that a secret or an identity follows, as part of a longer word too ("X-Api-Key", "ga4_api_secret").
const sensitive = `[\w.-]*(?:secret|token|passw(?:or)?d|passphrase|pwd|api[_-]?key|access[_-]?key|private[_-]?key|write[_-]?key|` +
	`authorization|credential|cookie|session[_-]?id|signature|e-?mail)[\w.-]*`

// A value: quoted, quoted inside a quoted string, in brackets, begun and cut off, or a word.
const value = `(?:"(?:[^"\\]|\\.)*"|\\+"(?:[^"\\]|\\\\.)*\\+"|'[^']*'|\[[^\]]*\]|\\*["'\[][^"'\]]*\z|[^\s,;&})\]"'\[\\]+)`

// rules are applied one after another.
var rules = []struct {
	find *regexp.Regexp
	with string
}{
	// user:password@ in a URL, and in what looks like one
	{regexp.MustCompile(`([a-zA-Z][a-zA-Z0-9+.-]*://)[^/\s@"'<>]+@`), "${1}" + redacted + "@"},
	{regexp.MustCompile(`[\w.%+-]+:[^\s@/:"'\[\]]+@([\w(])`), redacted + "@$1"},
	// the query and the fragment of a URL, absolute or not
	{regexp.MustCompile(`([a-zA-Z][a-zA-Z0-9+.-]*://[^\s"'?#<>\\]+)[?#][^\s"'<>\\)]+`), "${1}?" + redacted},
	{regexp.MustCompile(`\?[^\s"'<>\\)?]*=[^\s"'<>\\)]*`), "?" + redacted},
	// what a header or a scheme announces
	{regexp.MustCompile(`(?i)\b((?:set-)?cookie["']?\s*:\s*)[^\s"'\[\]][^\r\n"']*`), "${1}" + redacted},
	{regexp.MustCompile(`(?i)\b(authorization["']?\s*[:=]\s*)(?:[a-z]+\s+)?[^\s"'\[\]]+`), "${1}" + redacted},
	{regexp.MustCompile(`(?i)\b(bearer)[\s:=]+[^\s"'\[\]\\]+`), "$1 " + redacted},
	{regexp.MustCompile(`(?i)\b(basic)\s+[a-z0-9+/=_-]{8,}`), "$1 " + redacted},
	{regexp.MustCompile(`(?i)(\b` + sensitive + `\\*["']?\s*[:=]\s*)` + value), "${1}" + redacted},
	// addresses of people
	{regexp.MustCompile(`(?i)[\p{L}\p{N}._%+'-]+(?:@|%40)[\p{L}\p{N}-]+(?:\.[\p{L}\p{N}-]+)*\.\p{L}{2,}`), redacted},
}

var address = regexp.MustCompile(`\b(?:\d{1,3}\.){3}\d{1,3}\b|[0-9A-Fa-f]*:[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*`)

// Redact returns text without what must not leave the process in a log or a report: the queries of URLs, passwords
// and tokens in the forms in which libraries print them, e-mail addresses, and network addresses that are neither
// loopback nor private, which are those of clients. It is a safety net: errors should not hold such things to begin
// with.
func Redact(text string) string {
	if strings.ContainsAny(text, "=:@?") || strings.Contains(text, "%40") || announces(text) {
		for _, r := range rules {
			text = r.find.ReplaceAllString(text, r.with)
		}
	}
	if strings.ContainsAny(text, ".:") {
		text = address.ReplaceAllStringFunc(text, func(found string) string {
			a, err := netip.ParseAddr(strings.TrimRight(found, ".:"))
			if err != nil || !a.Unmap().IsGlobalUnicast() || a.Unmap().IsPrivate() {
				return found
			}
			return redacted
		})
	}
	return text
}

// announces reports whether a word that needs no punctuation is in text.
func announces(text string) bool {
	lower := strings.ToLower(text)
	return strings.Contains(lower, "bearer") || strings.Contains(lower, "basic")
}

// hider replaces secrets that are known literally.
type hider struct{ replacer *strings.Replacer }

// minSecret is the length from which on a literal is hidden wherever it occurs: shorter ones would mangle text.
const minSecret = 8

func newHider(secrets []string) hider {
	var pairs []string
	for _, s := range secrets {
		if len(s) >= minSecret {
			pairs = append(pairs, s, redacted)
		}
	}
	return hider{strings.NewReplacer(pairs...)}
}

// text is Redact, without the known secrets.
func (h hider) text(text string) string { return Redact(h.replacer.Replace(text)) }

// short is text cut to n bytes, at a character.
func (h hider) short(text string, n int) string {
	text = strings.ToValidUTF8(h.text(text), "\uFFFD")
	if len(text) <= n {
		return text
	}
	return strings.ToValidUTF8(text[:n], "") + "…"
}
