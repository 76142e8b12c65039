package sandbox

import (
	"bytes"
	"encoding/json"
	"iter"
	"strconv"
	"unicode/utf8"
)

// value is one valid JSON value, without space around it. Unlike a decoded map it keeps the order of members, members
// that come twice, and numbers digit by digit: a vendor that limits "25 parameters" or refuses a name given twice can
// only be imitated on what was sent.
type value []byte

// parse returns the JSON value that b holds, and nothing else.
func parse(b []byte) (value, bool) {
	if !json.Valid(b) {
		return nil, false
	}
	return value(bytes.Trim(b, " \t\r\n")), true
}

// kind returns what v is: { [ " 0 t f n. An absent value has kind 0.
func (v value) kind() byte {
	if len(v) == 0 {
		return 0
	}
	if c := v[0]; c == '-' || ('0' <= c && c <= '9') {
		return '0'
	}
	return v[0]
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

// stringEnd returns the index after the string that begins at i.
func (v value) stringEnd(i int) int {
	for i++; v[i] != '"'; i++ {
		if v[i] == '\\' {
			i++
		}
	}
	return i + 1
}

// end returns the index after the value that begins at i.
func (v value) end(i int) int {
	switch v[i] {
	case '"':
		return v.stringEnd(i)
	case '{', '[':
		for depth := 0; ; {
			switch v[i] {
			case '"':
				i = v.stringEnd(i)
				continue
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return i + 1
				}
			}
			i++
		}
	}
	for i < len(v) && v[i] != ',' && v[i] != '}' && v[i] != ']' && !isSpace(v[i]) {
		i++
	}
	return i
}

func (v value) skip(i int) int {
	for i < len(v) && (isSpace(v[i]) || v[i] == ',' || v[i] == ':') {
		i++
	}
	return i
}

// members yields the members of an object in order, doubles included; nothing for any other value. The name is only
// valid during the step.
func (v value) members() iter.Seq2[[]byte, value] {
	return func(yield func([]byte, value) bool) {
		if v.kind() != '{' {
			return
		}
		for i := v.skip(1); v[i] != '}'; {
			from := i
			i = v.stringEnd(i)
			name := plain(v[from:i])
			i = v.skip(i)
			from = i
			i = v.end(i)
			if !yield(name, v[from:i]) {
				return
			}
			i = v.skip(i)
		}
	}
}

// elements yields the elements of an array with their index; nothing for any other value.
func (v value) elements() iter.Seq2[int, value] {
	return func(yield func(int, value) bool) {
		if v.kind() != '[' {
			return
		}
		n := 0
		for i := v.skip(1); v[i] != ']'; n++ {
			from := i
			i = v.end(i)
			if !yield(n, v[from:i]) {
				return
			}
			i = v.skip(i)
		}
	}
}

// size returns the number of members or elements.
func (v value) size() int {
	n := 0
	for range v.members() {
		n++
	}
	for range v.elements() {
		n++
	}
	return n
}

// empty says that v has no members or elements.
func (v value) empty() bool {
	if k := v.kind(); k != '{' && k != '[' {
		return true
	}
	c := v[v.skip(1)]
	return c == '}' || c == ']'
}

// get returns the last member of that name, as most readers of JSON do; nil if there is none.
func (v value) get(name string) value {
	var found value
	for n, m := range v.members() {
		if string(n) == name {
			found = m
		}
	}
	return found
}

// plain returns the text of a JSON string, given with its quotes.
func plain(quoted []byte) []byte {
	inner := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(inner, '\\') < 0 && utf8.Valid(inner) {
		return inner
	}
	var s string
	if err := json.Unmarshal(quoted, &s); err != nil {
		return inner // cannot happen in valid JSON
	}
	return []byte(s)
}

// text returns the text of a string; ok is false for any other value.
func (v value) text() (s string, ok bool) {
	if v.kind() != '"' {
		return "", false
	}
	return string(plain(v)), true
}

// integer returns the value of a number that is a whole one without exponent or fraction.
func (v value) integer() (n int64, ok bool) {
	if v.kind() != '0' {
		return 0, false
	}
	n, err := strconv.ParseInt(string(v), 10, 64)
	return n, err == nil
}

// runes returns the length of a string in code points, 0 for any other value.
//
// Vendors say "characters". Code points are the most generous reading: every other count is at least as large.
func (v value) runes() int {
	if v.kind() != '"' {
		return 0
	}
	return utf8.RuneCount(plain(v))
}

// measure returns how deeply containers are nested in v, v itself being 1, and whether a string value anywhere in it
// is longer than limit code points. Names of members do not count.
func (v value) measure(limit int) (depth int, long bool) {
	level := 0
	for i := 0; i < len(v); {
		switch v[i] {
		case '"':
			end := v.stringEnd(i)
			next := end
			for next < len(v) && isSpace(v[next]) {
				next++
			}
			if isName := next < len(v) && v[next] == ':'; !isName && end-i-2 > limit && limit > 0 {
				long = long || v[i:end].runes() > limit
			}
			i = end
			continue
		case '{', '[':
			level++
			depth = max(depth, level)
		case '}', ']':
			level--
		}
		i++
	}
	return depth, long
}
