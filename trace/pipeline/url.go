package pipeline

import (
	"bytes"
	"net/url"
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
	text := string(name)
	if strings.ContainsAny(text, "%+") {
		decoded, err := url.QueryUnescape(text)
		if err != nil {
			return false
		}
		text = decoded
	}
	if p.exact[text] {
		return true
	}
	for _, prefix := range p.prefixes {
		if strings.HasPrefix(text, prefix) {
			return true
		}
	}
	return false
}

// findInURLs reports what must go from each URL in text: user information, query parameters that are not kept, and the
// same in fragments. whole: text is a URL reference itself, even if it has no scheme. skip says whether the URL whose
// "://" stands at an index was seen to before.
func (p *params) findInURLs(text []byte, whole bool, skip func(at int) bool, report func(from, to int)) {
	found := false
	for i := 0; ; {
		at := bytes.Index(text[i:], []byte("://"))
		if at < 0 {
			break
		}
		at += i
		i = at + 3
		found = found || at > 0 && class[text[at-1]]&isAlnum != 0
		if skip(at) {
			continue
		}
		end := i
		for end < len(text) && (whole || class[text[end]]&isSpaced == 0) {
			end++
		}
		p.inURL(text, i, end, true, report)
	}
	if found && !bytes.HasPrefix(text, []byte("/")) || skip(0) {
		return
	}
	if whole || len(text) > 0 && text[0] == '/' {
		end := 0
		for end < len(text) && (whole || class[text[end]]&isSpaced == 0) {
			end++
		}
		start, authority := 0, bytes.HasPrefix(text, []byte("//"))
		if authority {
			start = 2
		}
		p.inURL(text, start, end, authority, report)
	}
}

// inURL reports what must go from text[from:to], which is a URL behind its scheme and slashes, or a relative one.
func (p *params) inURL(text []byte, from, to int, authority bool, report func(from, to int)) {
	i := from
	if authority {
		end := to
		if at := bytes.IndexAny(text[from:to], "/?#"); at >= 0 {
			end = from + at
		}
		if at := bytes.LastIndexByte(text[from:end], '@'); at >= 0 {
			report(from, from+at+1)
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
			report(i+at, end)
		}
		i = end
	}
	if path == to {
		return
	}
	fragment := to
	if at := bytes.IndexByte(text[path:to], '#'); at >= 0 {
		fragment = path + at
	}
	if text[path] == '?' {
		p.inQuery(text, path, fragment, report)
	}
	if fragment == to {
		return
	}
	// A fragment may be a route with a query of its own, or be written like a query.
	rest := text[fragment+1 : to]
	if at := bytes.IndexByte(rest, '?'); at >= 0 {
		p.inQuery(text, fragment+1+at, to, report)
	} else if bytes.IndexByte(rest, '=') >= 0 {
		p.inQuery(text, fragment, to, report)
	}
}

// inQuery reports the parameters of text[from:to] that do not stay, where text[from] is the question mark. With the
// last one the question mark goes too.
func (p *params) inQuery(text []byte, from, to int, report func(from, to int)) {
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
					report(cut-1, i-1) // with the separator before, not the one after
				} else {
					report(cut, i)
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
		report(cut-1, to)
	}
}
