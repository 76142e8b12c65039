package record

import (
	"bytes"
	"slices"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// Hit is a place where a text was found.
type Hit struct {
	Text    string `json:"text"`
	Seq     uint64 `json:"seq"` // number of the request
	Vendor  string `json:"vendor"`
	Project string `json:"project"`
	Where   string `json:"where"` // url, host, "header Name" or body
}

// Found is the answer of Search.
type Found struct {
	Requests uint64            `json:"requests"` // searched
	Complete bool              `json:"complete"` // no request has been forgotten; if false, absence proves nothing
	Counts   map[string]uint64 `json:"counts"`   // requests each text is in, for every text that was asked for
	Hits     []Hit             `json:"hits"`     // the first of them, up to the limit
}

// Search looks for each text in every byte of every request that is kept: URL, host, header names and values, body. A
// text is found as it is, behind JSON's escapes (as in "b" or a JSON text within a JSON string), and percent-encoded.
// Bodies are searched without their content encoding.
func (s *Store) Search(texts []string, limit int) (Found, error) {
	f := Found{Counts: map[string]uint64{}, Hits: []Hit{}}
	for _, t := range texts {
		f.Counts[t] = 0
	}
	var bad error
	err := s.log.scan(func(text []byte) bool {
		f.Requests++
		forms := readings(text)
		if bytes.Contains(text, []byte(`"body64":"`)) {
			r, err := readLine(text)
			if err != nil {
				bad = err
				return false
			}
			forms = append(forms, readings(r.Body)...)
		}
		for _, t := range texts {
			if !slices.ContainsFunc(forms, func(form []byte) bool { return bytes.Contains(form, []byte(t)) }) {
				continue
			}
			r, err := readLine(text)
			if err != nil {
				bad = err
				return false
			}
			// Names of our own fields, verdicts and the like are in the line as well: only what arrived counts.
			where := r.where([]byte(t))
			if where == "" {
				continue
			}
			f.Counts[t]++
			if len(f.Hits) < limit {
				f.Hits = append(f.Hits, Hit{Text: t, Seq: r.Seq, Vendor: r.Vendor, Project: r.Project, Where: where})
			}
		}
		return true
	})
	st := s.Status()
	f.Complete = st.Kept == st.Requests
	if err == nil {
		err = bad
	}
	return f, err
}

func (r *Request) where(text []byte) string {
	has := func(b []byte) bool {
		return slices.ContainsFunc(readings(b), func(form []byte) bool { return bytes.Contains(form, text) })
	}
	if has([]byte(r.URL)) {
		return "url"
	}
	if has([]byte(r.Host)) {
		return "host"
	}
	for name, values := range r.Header {
		for _, v := range values {
			if has([]byte(name + ": " + v)) {
				return "header " + name
			}
		}
	}
	if has(r.Body) {
		return "body"
	}
	return ""
}

// readings returns b as it is, and as a reader of JSON, of JSON within JSON, or of percent-encoding sees it.
func readings(b []byte) [][]byte {
	forms := [][]byte{b}
	for last := b; len(forms) < 5 && bytes.IndexByte(last, '\\') >= 0; {
		last = unescape(last)
		forms = append(forms, last)
	}
	for _, form := range forms[:len(forms):len(forms)] {
		if bytes.IndexByte(form, '%') >= 0 || bytes.IndexByte(form, '+') >= 0 {
			forms = append(forms, percentDecode(form))
		}
	}
	return forms
}

// unescape resolves JSON's escapes wherever they stand, and leaves what is none of them as it is.
func unescape(b []byte) []byte {
	out := make([]byte, 0, len(b))
	for {
		i := bytes.IndexByte(b, '\\')
		if i < 0 || i+1 == len(b) {
			return append(out, b...)
		}
		out = append(out, b[:i]...)
		c := b[i+1]
		b = b[i+2:]
		switch c {
		case 'n':
			c = '\n'
		case 't':
			c = '\t'
		case 'r':
			c = '\r'
		case 'b':
			c = '\b'
		case 'f':
			c = '\f'
		case 'u':
			if r, size := unicodeEscape(b); size > 0 {
				out = utf8.AppendRune(out, r)
				b = b[size:]
				continue
			}
			out = append(out, '\\')
		}
		out = append(out, c)
	}
}

// unicodeEscape reads the digits after \u, and a second escape if the two are a surrogate pair.
func unicodeEscape(b []byte) (r rune, size int) {
	hex := func(b []byte) (rune, bool) {
		if len(b) < 4 {
			return 0, false
		}
		n, err := strconv.ParseUint(string(b[:4]), 16, 16)
		return rune(n), err == nil
	}
	r, ok := hex(b)
	if !ok {
		return 0, 0
	}
	if utf16.IsSurrogate(r) && len(b) >= 10 && b[4] == '\\' && b[5] == 'u' {
		if low, ok := hex(b[6:]); ok {
			if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
				return pair, 10
			}
		}
	}
	return r, 4
}

func percentDecode(b []byte) []byte {
	out := make([]byte, 0, len(b))
	from := 0
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case c == '+':
			out = append(append(out, b[from:i]...), ' ')
			from = i + 1
		case c == '%' && i+2 < len(b) && digit(b[i+1]) >= 0 && digit(b[i+2]) >= 0:
			out = append(append(out, b[from:i]...), byte(digit(b[i+1])<<4|digit(b[i+2])))
			i += 2
			from = i + 1
		}
	}
	return append(out, b[from:]...)
}

// digit returns the value of a hexadecimal digit, or -1.
func digit(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}
