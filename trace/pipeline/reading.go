package pipeline

import (
	"bytes"
	"unicode/utf8"
)

// maxReadings bounds how often a text is decoded: nobody encodes more than twice by accident.
const maxReadings = 4

// reading is a text as somebody may read it: as it stands, or with one layer of encoding after another undone. What is
// found in a reading is replaced in the text itself.
type reading struct {
	text []byte
	// at[i] is where in the original text the unit begins that gave text[i]; at[len(text)] is the original's length.
	// nil: the reading is the original.
	at []int32
}

// span returns where text[from:to] stands in the original.
func (r *reading) span(from, to int) (int, int) {
	if r.at == nil {
		return from, to
	}
	return int(r.at[from]), int(r.at[to])
}

// encoded reports whether text may hold something that decode undoes.
func encoded(text []byte) bool {
	for i, c := range text {
		switch {
		case c == '%', c == '\\':
			return true
		case c == '&':
			if i+2 < len(text) && (text[i+1] == '#' || text[i+1] == 'c' || text[i+1] == 'p') {
				return true
			}
		case c >= 0xC2:
			if char, _ := fold(text[i:]); char != unchanged {
				return true
			}
		}
	}
	return false
}

// decode undoes one layer: %40, \u0040, \x40, &#64;, &#x40;, &commat;, &period;, full-width forms of ASCII, and characters
// without width, which vanish. It reports whether there was anything to undo.
func (r *reading) decode() (reading, bool) {
	src := r.text
	out := reading{text: make([]byte, 0, len(src)), at: make([]int32, 0, len(src)+1)}
	changed := false
	for i := 0; i < len(src); {
		c := src[i]
		char, size := rune(-1), 1
		switch {
		case c == '%':
			if b, ok := hexByte(src, i+1); ok {
				from, _ := r.span(i, i+1)
				out.text, out.at = append(out.text, b), append(out.at, int32(from))
				i, changed = i+3, true
				continue
			}
		case c == '\\':
			char, size = backslash(src[i:])
		case c == '&':
			char, size = entity(src[i:])
		case c >= 0xC2:
			char, size = fold(src[i:])
		}
		from, _ := r.span(i, i+1)
		switch {
		case char >= 0:
			changed = true
			before := len(out.text)
			out.text = utf8.AppendRune(out.text, char)
			for range len(out.text) - before {
				out.at = append(out.at, int32(from))
			}
		case char == vanishes:
			changed = true
		default:
			for k := range size {
				at, _ := r.span(i+k, i+k+1)
				out.text, out.at = append(out.text, src[i+k]), append(out.at, int32(at))
			}
		}
		i += size
	}
	_, end := r.span(len(src), len(src))
	out.at = append(out.at, int32(end))
	return out, changed
}

// vanishes is what fold returns for a character without width; unchanged for one that stays as it is.
const (
	unchanged = -1
	vanishes  = -2
)

func hexByte(b []byte, i int) (byte, bool) {
	if len(b)-i < 2 {
		return 0, false
	}
	hi, lo := unhex(b[i]), unhex(b[i+1])
	return byte(hi<<4 | lo), hi >= 0 && lo >= 0
}

// backslash reads \u0040, \x40 and \/.
func backslash(b []byte) (rune, int) {
	if len(b) < 2 {
		return unchanged, 1
	}
	switch b[1] {
	case 'u':
		if char, ok := hex4(b, 2); ok {
			return char, 6
		}
	case 'x':
		if c, ok := hexByte(b, 2); ok {
			return rune(c), 4
		}
	case '/', '"':
		return rune(b[1]), 2
	}
	return unchanged, 1
}

// entity reads &#64;, &#x40; and the few names that matter.
func entity(b []byte) (rune, int) {
	end := bytes.IndexByte(b[:min(len(b), 12)], ';')
	if end < 3 {
		return unchanged, 1
	}
	switch name := string(b[1:end]); name {
	case "commat":
		return '@', end + 1
	case "period":
		return '.', end + 1
	case "colon":
		return ':', end + 1
	}
	if b[1] != '#' {
		return unchanged, 1
	}
	digits, base := b[2:end], rune(10)
	if digits[0]|0x20 == 'x' {
		digits, base = digits[1:], 16
	}
	char := rune(0)
	for _, c := range digits {
		d := unhex(c)
		if d < 0 || rune(d) >= base || char > utf8.MaxRune {
			return unchanged, 1
		}
		char = char*base + rune(d)
	}
	if len(digits) == 0 || char > utf8.MaxRune {
		return unchanged, 1
	}
	return char, end + 1
}

// fold reads a full-width form as the ASCII character it looks like, and a character without width as none.
func fold(b []byte) (rune, int) {
	char, size := utf8.DecodeRune(b)
	switch {
	case 0xFF01 <= char && char <= 0xFF5E:
		return char - 0xFF01 + '!', size
	case char == 0x00AD, 0x200B <= char && char <= 0x200F, 0x2060 <= char && char <= 0x2064, char == 0xFEFF:
		return vanishes, size
	case char == 0x3002, char == 0xFF61: // ideographic full stops separate labels of host names
		return '.', size
	}
	return unchanged, size
}
