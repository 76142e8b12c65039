// Package wire reads and writes the JSON that goes to vendors, byte by byte.
//
// Invariant: what it copies stays as it was written: numbers keep their digits, strings their escapes. What it reads is
// a part of its input, never a copy. Broken input ends a walk; it never panics.
package wire

import (
	"bytes"
	"unicode/utf8"
)

// AppendString appends text as a JSON string. Bytes that are no UTF-8 become U+FFFD.
func AppendString[T string | []byte](dst []byte, text T) []byte {
	const digits = "0123456789abcdef"
	dst = append(dst, '"')
	from := 0
	for i := 0; i < len(text); {
		c := text[i]
		if c >= ' ' && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, size := decode(text[i:])
			if r != utf8.RuneError || size > 1 {
				i += size
				continue
			}
			dst = append(append(dst, text[from:i]...), "\uFFFD"...)
		} else {
			dst = append(dst, text[from:i]...)
			switch c {
			case '"', '\\':
				dst = append(dst, '\\', c)
			case '\n':
				dst = append(dst, '\\', 'n')
			case '\r':
				dst = append(dst, '\\', 'r')
			case '\t':
				dst = append(dst, '\\', 't')
			default:
				dst = append(dst, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
			}
		}
		i++
		from = i
	}
	return append(append(dst, text[from:]...), '"')
}

func decode[T string | []byte](text T) (rune, int) {
	var b [utf8.UTFMax]byte
	return utf8.DecodeRune(b[:copy(b[:], text)])
}

// Kind is the first byte of value: '{', '[', '"', 't', 'f', 'n', or '0' for a number; 0 for anything else.
func Kind(value []byte) byte {
	if len(value) == 0 {
		return 0
	}
	switch c := value[0]; {
	case c == '{', c == '[', c == '"', c == 't', c == 'f', c == 'n':
		return c
	case c == '-', '0' <= c && c <= '9':
		return '0'
	}
	return 0
}

// Text returns the text of a JSON string without its escapes undone: enough to compare ids and names, which we write
// ourselves. Empty if value is no string.
func Text(value []byte) []byte {
	if len(value) < 2 || value[0] != '"' {
		return nil
	}
	return value[1 : len(value)-1]
}

// Members calls f with each member of a JSON object, in order: the name as it is written between its quotes, and the
// value. f returns false to end the walk. Members says whether the object was whole.
func Members(object []byte, f func(name, value []byte) bool) bool {
	i := space(object, 0)
	if i >= len(object) || object[i] != '{' {
		return false
	}
	i = space(object, i+1)
	if i < len(object) && object[i] == '}' {
		return true
	}
	for {
		end := skip(object, i)
		if end < 0 || object[i] != '"' {
			return false
		}
		name := object[i+1 : end-1]
		i = space(object, end)
		if i >= len(object) || object[i] != ':' {
			return false
		}
		i = space(object, i+1)
		if end = skip(object, i); end < 0 {
			return false
		}
		if !f(name, object[i:end]) {
			return true
		}
		i = space(object, end)
		if i >= len(object) {
			return false
		}
		switch object[i] {
		case '}':
			return true
		case ',':
			i = space(object, i+1)
		default:
			return false
		}
	}
}

// Elements calls f with each element of a JSON array, in order; f returns false to end the walk. Elements says whether
// the array was whole.
func Elements(array []byte, f func(value []byte) bool) bool {
	i := space(array, 0)
	if i >= len(array) || array[i] != '[' {
		return false
	}
	i = space(array, i+1)
	if i < len(array) && array[i] == ']' {
		return true
	}
	for {
		end := skip(array, i)
		if end < 0 {
			return false
		}
		if !f(array[i:end]) {
			return true
		}
		i = space(array, end)
		if i >= len(array) {
			return false
		}
		switch array[i] {
		case ']':
			return true
		case ',':
			i = space(array, i+1)
		default:
			return false
		}
	}
}

// Member returns the value of the first member of object called name, or nil.
func Member(object []byte, name string) (value []byte) {
	Members(object, func(n, v []byte) bool {
		if string(n) == name {
			value = v
			return false
		}
		return true
	})
	return value
}

func space(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\r' || b[i] == '\t') {
		i++
	}
	return i
}

// skip returns the end of the value at b[i]; -1 if there is none. What is inside objects and arrays is passed over by
// its brackets and quotes.
func skip(b []byte, i int) int {
	if i >= len(b) {
		return -1
	}
	switch b[i] {
	case '"':
		return skipString(b, i)
	case '{', '[':
		depth := 0
		for i < len(b) {
			switch b[i] {
			case '"':
				if i = skipString(b, i); i < 0 {
					return -1
				}
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
		return -1
	}
	from := i
	for i < len(b) && b[i] != ',' && b[i] != '}' && b[i] != ']' && b[i] > ' ' {
		i++
	}
	if i == from {
		return -1
	}
	return i
}

func skipString(b []byte, i int) int {
	for i++; i < len(b); i++ {
		at := bytes.IndexByte(b[i:], '"')
		if at < 0 {
			return -1
		}
		if esc := bytes.IndexByte(b[i:i+at], '\\'); esc >= 0 {
			i += esc + 1 // what is escaped is passed over
			continue
		}
		return i + at + 1
	}
	return -1
}
