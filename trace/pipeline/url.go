package pipeline

import (
	"bytes"
	"cmp"
	"net/url"
	"slices"
	"strings"
)

// params decides which query parameters stay in URLs.
type params struct {
	exact    map[string]bool
	prefixes []string
}

func newParams(keep []string) params {
	p := params{exact: map[string]bool{}}
	for _, name := range keep {
		if prefix, ok := strings.CutSuffix(name, "*"); ok {
			p.prefixes = append(p.prefixes, prefix)
		} else {
			p.exact[name] = true
		}
	}
	return p
}

func (p *params) keeps(name []byte) bool {
	if bytes.ContainsAny(name, "%+") {
		decoded, err := url.QueryUnescape(string(name))
		if err != nil {
			return false
		}
		name = []byte(decoded)
	}
	if p.exact[string(name)] {
		return true
	}
	for _, prefix := range p.prefixes {
		if len(name) >= len(prefix) && string(name[:len(prefix)]) == prefix {
			return true
		}
	}
	return false
}

// maxNested is how many URLs inside each other, one as a parameter of another, are looked at. What lies deeper goes.
const maxNested = 8

// cutsIn appends what must go from each URL in text: user information, query parameters that are not kept, and the same
// in fragments. whole: text is a URL reference itself, even if it has no scheme. seen holds where in the original the
// URLs begin that an earlier reading has seen to; those that this one sees to are added.
func (p *params) cutsIn(one *reading, whole bool, seen *[]int, cuts []span) []span {
	text := one.text
	before := len(*seen)
	fresh := func(at int) bool {
		from, _ := one.span(at, at)
		if slices.Contains((*seen)[:before], from) {
			return false
		}
		*seen = append(*seen, from)
		return true
	}
	found := false
	word, nested := 0, 0 // where the word ends that the last URL was in, and how many are in it
	for i := 0; ; {
		at := bytes.Index(text[i:], []byte("://"))
		if at < 0 {
			break
		}
		at += i
		i = at + 3
		found = found || at > 0 && class[text[at-1]]&isAlnum != 0
		if at >= word {
			nested = 0
			for word = i; word < len(text) && (whole || class[text[word]]&isSpaced == 0); word++ {
			}
		}
		if nested++; nested > maxNested {
			cuts = append(cuts, span{i, word})
			i = word
			continue
		}
		if fresh(at) {
			cuts = p.inURL(text, i, word, true, cuts)
		}
	}
	// A reference without a scheme: /path?…, //host/…, or whatever stands in a property of type url.
	if (len(text) > 0 && text[0] == '/' || whole && !found) && fresh(0) {
		end := 0
		for end < len(text) && (whole || class[text[end]]&isSpaced == 0) {
			end++
		}
		if bytes.HasPrefix(text, []byte("//")) {
			cuts = p.inURL(text, 2, end, true, cuts)
		} else {
			cuts = p.inURL(text, 0, end, false, cuts)
		}
	}
	return cuts
}

// inURL appends what must go from text[from:to], which is a URL behind its scheme and slashes, or a relative one.
func (p *params) inURL(text []byte, from, to int, authority bool, cuts []span) []span {
	i := from
	if authority {
		end := to
		if at := bytes.IndexAny(text[from:to], "/?#"); at >= 0 {
			end = from + at
		}
		if at := bytes.LastIndexByte(text[from:end], '@'); at >= 0 {
			cuts = append(cuts, span{from, from + at + 1})
		}
		i = end
	}
	path := to
	if at := bytes.IndexAny(text[i:to], "?#"); at >= 0 {
		path = i + at
	}
	for i < path { // parameters of path segments: ;jsessionid=…
		at := bytes.IndexByte(text[i:path], ';')
		if at < 0 {
			break
		}
		end := path
		if slash := bytes.IndexByte(text[i+at:path], '/'); slash >= 0 {
			end = i + at + slash
		}
		if bytes.IndexByte(text[i+at:end], '=') >= 0 {
			cuts = append(cuts, span{i + at, end})
		}
		i = end
	}
	if path == to {
		return cuts
	}
	fragment := to
	if at := bytes.IndexByte(text[path:to], '#'); at >= 0 {
		fragment = path + at
	}
	if text[path] == '?' {
		cuts = p.inQuery(text, path, fragment, cuts)
	}
	if fragment == to {
		return cuts
	}
	// A fragment may be a route with a query of its own, or be written like a query.
	rest := text[fragment+1 : to]
	if at := bytes.IndexByte(rest, '?'); at >= 0 {
		return p.inQuery(text, fragment+1+at, to, cuts)
	}
	if bytes.IndexByte(rest, '=') >= 0 {
		return p.inQuery(text, fragment, to, cuts)
	}
	return cuts
}

// inQuery appends the parameters of text[from:to] that do not stay, where text[from] is the question mark. With the last
// one the question mark goes too.
func (p *params) inQuery(text []byte, from, to int, cuts []span) []span {
	cut, kept := -1, false // where the parameters to go began
	for i := from + 1; i <= to; {
		end := i
		for end < to && text[end] != '&' && text[end] != ';' {
			end++
		}
		name, _, _ := bytes.Cut(text[i:end], []byte("="))
		switch {
		case p.keeps(name):
			if cut >= 0 {
				if kept {
					cuts = append(cuts, span{cut - 1, i - 1}) // with the separator before, not the one after
				} else {
					cuts = append(cuts, span{cut, i})
				}
				cut = -1
			}
			kept = true
		case cut < 0:
			cut = i
		}
		i = end + 1
	}
	if cut >= 0 {
		cuts = append(cuts, span{cut - 1, to})
	}
	return cuts
}

// cutURLs returns text without the parts of URLs that must go.
func (c *scrubber) cutURLs(text []byte, hints int, whole bool) []byte {
	var room [8]span
	var starts [8]int
	seen := starts[:0]
	cuts := c.params.cutsIn(&reading{text: text}, whole, &seen, room[:0])
	if hints&hasEncoding != 0 {
		one := reading{text: text}
		for range maxReadings {
			next, changed := one.decode()
			if !changed {
				break
			}
			one = next
			before := len(cuts)
			cuts = c.params.cutsIn(&one, whole, &seen, cuts)
			for i := before; i < len(cuts); i++ {
				cuts[i].from, cuts[i].to = one.span(cuts[i].from, cuts[i].to)
			}
		}
	}
	if len(cuts) == 0 {
		return text
	}
	slices.SortFunc(cuts, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	out := make([]byte, 0, len(text))
	done := 0
	for _, cut := range cuts {
		if cut.from > done {
			out = append(out, text[done:cut.from]...)
		}
		done = max(done, cut.to)
	}
	return append(out, text[done:]...)
}
