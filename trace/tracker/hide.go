package tracker

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/sparrowhq/sparrow/telemetry"
	"github.com/sparrowhq/sparrow/trace/tracker/wire"
)

const hidden = "[redacted]"

// hider takes the credentials out of texts that others wrote: vendors repeat whole requests in their errors, and
// net/http repeats URLs, in which GA4 wants its secret.
type hider struct {
	replace *strings.Replacer
	longest int
}

// newHider hides every key and secret of credentials, in each spelling in which a request or an answer may hold it.
func newHider(credentials map[Sink]Credential) hider {
	var spellings []string
	for _, c := range credentials {
		texts := []string{c.Key, c.Secret}
		for _, address := range []string{c.URL, c.Check} {
			// A webhook's address may be its credential.
			if u, err := url.Parse(address); err == nil {
				for _, values := range u.Query() {
					texts = append(texts, values...)
				}
				if secret, ok := u.User.Password(); ok {
					texts = append(texts, secret)
				}
			}
		}
		for _, text := range texts {
			if len(text) < 4 {
				continue // it would be found everywhere
			}
			spellings = append(spellings, spell(text)...)
		}
	}
	// The longest first: a secret may begin with another.
	slices.SortFunc(spellings, func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(a, b)) })
	spellings = slices.Compact(spellings)
	var pairs []string
	h := hider{}
	for _, s := range spellings {
		pairs = append(pairs, s, hidden)
		h.longest = max(h.longest, len(s))
	}
	h.replace = strings.NewReplacer(pairs...)
	return h
}

// without returns an answer that does not repeat ids: a vendor may be told who somebody is, and repeat it, and a report is
// none of that vendor's.
func without(ids []string, a *Answer) *Answer {
	ids = slices.Clone(ids)
	slices.SortFunc(ids, func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(a, b)) })
	var pairs []string
	for _, id := range slices.Compact(ids) {
		if len(id) < 4 {
			continue // it would be found everywhere
		}
		own := wire.AppendString(nil, id)
		for _, text := range []string{id, string(own[1 : len(own)-1]), url.QueryEscape(id)} {
			pairs = append(pairs, text, hidden)
		}
	}
	if len(pairs) == 0 {
		return a
	}
	clean := *a
	clean.Body = []byte(strings.NewReplacer(pairs...).Replace(string(a.Body)))
	return &clean
}

// spell returns the spellings in which text may come back: percent-encoded, HTML, and each of these inside JSON, and
// inside JSON that is a text inside JSON, as one writer or another escapes it.
func spell(text string) []string {
	query, path := url.QueryEscape(text), url.PathEscape(text)
	all := []string{text, query, path, lowerHex(query), lowerHex(path), htmlEscape.Replace(text)}
	for range 2 {
		for _, s := range slices.Clone(all) {
			own := wire.AppendString(nil, s)
			plain := string(own[1 : len(own)-1])
			html := jsonHTML.Replace(plain)
			for _, escaped := range []string{plain, html, strings.ReplaceAll(plain, "/", `\/`), ascii(plain), ascii(html)} {
				if !slices.Contains(all, escaped) {
					all = append(all, escaped)
				}
			}
		}
	}
	return all
}

var htmlEscape = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&#34;", "'", "&#39;")

var jsonHTML = strings.NewReplacer("&", `\u0026`, "<", `\u003c`, ">", `\u003e`)

// ascii escapes what is beyond ASCII as JSON does.
func ascii(text string) string {
	var b []byte
	for _, unit := range utf16.Encode([]rune(text)) {
		if unit < utf8.RuneSelf {
			b = append(b, byte(unit))
		} else {
			b = fmt.Appendf(b, `\u%04x`, unit)
		}
	}
	return string(b)
}

// lowerHex writes percent-encodings in small letters.
func lowerHex(text string) string {
	b := []byte(text)
	for i := 0; i+2 < len(b); i++ {
		if b[i] == '%' {
			copy(b[i+1:i+3], strings.ToLower(string(b[i+1:i+3])))
		}
	}
	return string(b)
}

// text returns text without secrets and, by telemetry's rules, personal data; at most limit bytes. Secrets go first,
// then what is too long: a secret cut in two would not be found.
func (h hider) text(text string, limit int) string {
	text = telemetry.Redact(h.replace.Replace(strings.ToValidUTF8(text, "\uFFFD")))
	if len(text) <= limit {
		return text
	}
	for limit > 0 && !utf8.RuneStart(text[limit]) {
		limit--
	}
	return text[:limit]
}

// part is text for something whose end may be missing: a secret that begins there is taken away with its beginning.
func (h hider) part(text []byte, limit int) string {
	if cut := len(text) - h.longest; cut >= 0 {
		text = text[:cut]
	} else {
		text = nil
	}
	return h.text(string(text), limit)
}

// bytes hides secrets only: what is ours has been scrubbed by the pipeline, and its bytes are evidence.
func (h hider) bytes(b []byte, limit int) []byte {
	out := []byte(h.replace.Replace(string(b)))
	if len(out) > limit {
		out = out[:limit:limit]
	}
	return out
}
