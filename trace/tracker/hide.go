package tracker

import (
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/sparrowhq/sparrow/telemetry"
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
			quoted, err := json.Marshal(text)
			if err != nil {
				panic(err) // a string
			}
			escaped := string(quoted[1 : len(quoted)-1])
			query, path := url.QueryEscape(text), url.PathEscape(text)
			spellings = append(spellings, text, escaped, strings.ReplaceAll(escaped, `/`, `\/`), query, path, lowerHex(query), lowerHex(path), htmlEscape.Replace(text))
		}
	}
	// The longest first: a secret may begin with another.
	slices.SortFunc(spellings, func(a, b string) int { return len(b) - len(a) })
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

var htmlEscape = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&#34;", "'", "&#39;")

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
