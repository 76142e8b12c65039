package wire

import "unicode/utf8"

// Characters returns how many code points the text of a JSON string has; 0 for any other value.
func Characters(quoted []byte) (n int) {
	text := Text(quoted)
	for len(text) > 0 {
		text = text[unit(text):]
		n++
	}
	return n
}

// Cut returns a JSON string of at most n code points: quoted itself, or its beginning. No escape and no character is
// cut in two.
func Cut(quoted []byte, n int) []byte {
	text := Text(quoted)
	if len(text) <= n {
		return quoted
	}
	at := 0
	for ; at < len(text); n-- {
		if n == 0 {
			cut := make([]byte, 0, at+2)
			return append(append(append(cut, '"'), text[:at]...), '"')
		}
		at += unit(text[at:])
	}
	return quoted
}

// AppendCut appends value with every string in it, names of members included, cut to n code points, and says whether
// any was.
func AppendCut(dst, value []byte, n int) ([]byte, bool) {
	cut := false
	for i := 0; i < len(value); {
		if value[i] != '"' {
			dst = append(dst, value[i])
			i++
			continue
		}
		end := skipString(value, i)
		if end < 0 {
			return append(dst, value[i:]...), cut
		}
		short := Cut(value[i:end], n)
		cut = cut || len(short) < end-i
		dst = append(dst, short...)
		i = end
	}
	return dst, cut
}

// Depth returns how deep objects and arrays are nested in value: 0 for a scalar.
func Depth(value []byte) (deepest int) {
	depth := 0
	for i := 0; i < len(value); i++ {
		switch value[i] {
		case '"':
			end := skipString(value, i)
			if end < 0 {
				return deepest
			}
			i = end - 1
		case '{', '[':
			depth++
			deepest = max(deepest, depth)
		case '}', ']':
			depth--
		}
	}
	return deepest
}

// unit returns the length of the first character as it is written: an escape, an escaped surrogate pair, or UTF-8.
func unit(text []byte) int {
	if text[0] != '\\' {
		_, size := utf8.DecodeRune(text)
		return size
	}
	if len(text) < 6 || text[1] != 'u' {
		return min(2, len(text))
	}
	if high := surrogate(text, 'b'); high && len(text) >= 12 && text[6] == '\\' && text[7] == 'u' && surrogate(text[6:], 'f') {
		return 12
	}
	return 6
}

// surrogate says whether the escape at the beginning of text is \uD8.. to \uD{b}.., for the second half from \uDC.. on.
func surrogate(text []byte, last byte) bool {
	if text[2]|0x20 != 'd' {
		return false
	}
	c := text[3] | 0x20
	if last == 'b' {
		return c == '8'|0x20 || c == '9'|0x20 || c == 'a' || c == 'b'
	}
	return 'c' <= c && c <= 'f'
}
