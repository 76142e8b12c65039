package pipeline

import (
	"bytes"
)

// span is text[from:to].
type span struct{ from, to int }

// A finder appends what it finds in text to spans. Finders see one reading of a text; they are written by hand since they
// look at every text that passes, and each is linear in the length of the text, whatever a client writes.
type finder func(text []byte, spans []span) []span

// Character classes of finders.
const (
	isDigit = 1 << iota
	isLower
	isUpper
	isHex    // digits, a-f, A-F
	isLocal  // may stand in an e-mail address before the at sign
	isHost   // may stand in a host name
	isToken  // base64, base64url, hexadecimal
	isSpaced // ends a URL: space, quotes, angle brackets, control characters
)

var class = func() (t [256]uint16) {
	add := func(bit uint16, chars string) {
		for i := range len(chars) {
			t[chars[i]] |= bit
		}
	}
	for c := range 256 {
		switch b := byte(c); {
		case '0' <= b && b <= '9':
			t[c] |= isDigit | isHex | isLocal | isHost | isToken
		case 'a' <= b && b <= 'z':
			t[c] |= isLower | isLocal | isHost | isToken
		case 'A' <= b && b <= 'Z':
			t[c] |= isUpper | isLocal | isHost | isToken
		case b >= 0x80: // letters of other scripts, byte by byte
			t[c] |= isLocal | isHost
		case b <= ' ' || b == 0x7F:
			t[c] |= isSpaced
		}
	}
	add(isHex, "abcdefABCDEF")
	add(isLocal, ".!#$%*+-^_`~'")
	add(isHost, ".-_")
	add(isToken, "+/_-")
	add(isSpaced, "\"<>")
	return t
}()

const isAlnum = isDigit | isLower | isUpper

// findEmail finds addresses: something, an at sign, and a host name whose last label begins like a name.
func findEmail(text []byte, spans []span) []span {
	for i := 0; ; {
		at := bytes.IndexByte(text[i:], '@')
		if at < 0 {
			return spans
		}
		at += i
		from := at
		if from > 0 && text[from-1] == '"' { // "a b"@example.com
			if open := bytes.LastIndexByte(text[i:from-1], '"'); open >= 0 && from-2 > i+open {
				from = i + open
			}
		} else {
			for from > i && class[text[from-1]]&isLocal != 0 {
				from--
			}
			for from < at && class[text[from]]&isAlnum == 0 && text[from] < 0x80 && text[from] != '_' { // quotes and bullets
				from++
			}
		}
		to := at + 1
		for to < len(text) && class[text[to]]&isHost != 0 {
			to++
		}
		for to > at+1 && (text[to-1] == '.' || text[to-1] == '-' || text[to-1] == '_') {
			to--
		}
		if from < at && isDomain(text[at+1:to]) {
			spans = append(spans, span{from, to})
			i = to
		} else {
			i = at + 1
		}
	}
}

// isDomain reports whether host has at least two labels, the last one a name.
func isDomain(host []byte) bool {
	dot := bytes.LastIndexByte(host, '.')
	if dot < 1 || host[0] == '.' {
		return false
	}
	last := host[dot+1:]
	if len(last) >= 4 && bytes.EqualFold(last[:4], []byte("xn--")) {
		return true
	}
	if len(last) == 0 || class[last[0]]&isDigit != 0 {
		return false
	}
	letters := 0
	for _, c := range last {
		if class[c]&(isLower|isUpper) != 0 || c >= 0x80 {
			letters++
		}
	}
	return letters >= 2
}
