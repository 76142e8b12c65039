package body

import (
	"encoding/binary"
	"math/bits"
)

// maxDepth is how many levels of arrays and objects are read, the same as in encoding/json: what passes here can be
// read further on.
const maxDepth = 10_000

// scanner finds where JSON values end. Its methods take the index at which something begins and return the index behind
// it, or -1 if it is not what it should be. It never recurses, so no body can exhaust the stack.
type scanner struct {
	text     []byte
	maxItems int
	body     *Body
	reason   Reason // why it stopped, if not for a fault of the JSON

	objects []uint64 // one bit a level of value's own nesting: 1 for an object, 0 for an array
}

// value scans the value at i, which lies inside depth levels of arrays and objects.
func (s *scanner) value(i, depth int) int {
	b := s.text
	outer := depth
scan:
	for {
		switch c := b[i]; c {
		case '"':
			i = stringEnd(b, i)
		case '{', '[':
			depth++
			if i = s.open(i, depth); i < 0 {
				return -1
			}
			if b[i] == c+2 { // the closing bracket: empty
				i++
				depth--
				break
			}
			s.push(depth-outer, c == '{')
			if c == '{' {
				if _, i = s.key(i); i < 0 {
					return -1
				}
			}
			continue
		case 't':
			i = literalEnd(b, i, "true")
		case 'f':
			i = literalEnd(b, i, "false")
		case 'n':
			i = literalEnd(b, i, "null")
		default:
			i = numberEnd(b, i)
		}
		// A value has ended. Close what ends with it, until one is followed by another.
		for depth > outer {
			object, closing := s.object(depth-outer), byte(']')
			if object {
				closing = '}'
			}
			if i = s.more(i, closing); i < 0 {
				return -1
			}
			if b[i] != closing {
				if object {
					if _, i = s.key(i); i < 0 {
						return -1
					}
				}
				continue scan
			}
			i++
			depth--
		}
		return i
	}
}

// push notes whether the container at level (from 1) is an object.
func (s *scanner) push(level int, object bool) {
	word, bit := level>>6, uint64(1)<<(level&63)
	if word == len(s.objects) {
		s.objects = append(s.objects, 0)
	}
	if object {
		s.objects[word] |= bit
	} else {
		s.objects[word] &^= bit
	}
}

func (s *scanner) object(level int) bool { return s.objects[level>>6]>>(level&63)&1 == 1 }

// open passes the opening bracket at i, the depth-th level, and returns where its first member, element or closing
// bracket stands.
func (s *scanner) open(i, depth int) int {
	if depth > maxDepth {
		s.reason = TooDeep
		return -1
	}
	if i = s.space(i + 1); i == len(s.text) {
		return -1
	}
	return i
}

// more returns, behind a member or element that ends at i, where the next one or the closing bracket stands.
func (s *scanner) more(i int, closing byte) int {
	if i < 0 {
		return -1
	}
	if i = s.space(i); i == len(s.text) {
		return -1
	}
	if s.text[i] == closing {
		return i
	}
	if s.text[i] != ',' {
		return -1
	}
	if i = s.space(i + 1); i == len(s.text) || s.text[i] == closing {
		return -1
	}
	return i
}

// key scans a member's name and the colon. It returns the name's literal and where the value begins, or -1.
func (s *scanner) key(i int) (key []byte, value int) {
	if s.text[i] != '"' {
		return nil, -1
	}
	end := stringEnd(s.text, i)
	if end < 0 {
		return nil, -1
	}
	colon := s.space(end)
	if colon == len(s.text) || s.text[colon] != ':' {
		return nil, -1
	}
	value = s.space(colon + 1)
	if value == len(s.text) {
		return nil, -1
	}
	return s.text[i:end], value
}

func (s *scanner) space(i int) int {
	for i < len(s.text) && (s.text[i] == ' ' || s.text[i] == '\n' || s.text[i] == '\t' || s.text[i] == '\r') {
		i++
	}
	return i
}

func literalEnd(b []byte, i int, literal string) int {
	if len(b)-i < len(literal) || string(b[i:i+len(literal)]) != literal {
		return -1
	}
	return i + len(literal)
}

// numberEnd scans a number; it also answers for every byte with which no value begins.
func numberEnd(b []byte, i int) int {
	if b[i] == '-' {
		i++
	}
	switch {
	case i == len(b):
		return -1
	case b[i] == '0':
		i++
	default:
		if i = digitsEnd(b, i); i < 0 {
			return -1
		}
	}
	if i < len(b) && b[i] == '.' {
		if i = digitsEnd(b, i+1); i < 0 {
			return -1
		}
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		return digitsEnd(b, i)
	}
	return i
}

// digitsEnd scans one digit or more.
func digitsEnd(b []byte, i int) int {
	start := i
	for i < len(b) && b[i]-'0' <= 9 {
		i++
	}
	if i == start {
		return -1
	}
	return i
}

// Eight bytes are looked at together: the highest bit of a byte of special(x) is set if that byte of x is a quote, a
// backslash or a control character. Borrows may set it too in bytes above such a one, so only the lowest counts.
const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

func special(x uint64) uint64 {
	quote, backslash := x^ones*'"', x^ones*'\\'
	return ((x-ones*0x20)&^x | (quote-ones)&^quote | (backslash-ones)&^backslash) & highs
}

// stringEnd scans the string whose opening quote stands at i.
func stringEnd(b []byte, i int) int {
	i++
	for {
		for len(b)-i >= 8 {
			if at := special(binary.LittleEndian.Uint64(b[i:])); at != 0 {
				i += bits.TrailingZeros64(at) >> 3
				break
			}
			i += 8
		}
		for i < len(b) && b[i] >= 0x20 && b[i] != '"' && b[i] != '\\' {
			i++
		}
		if i == len(b) || b[i] < 0x20 {
			return -1
		}
		if b[i] == '"' {
			return i + 1
		}
		if i = escapeEnd(b, i); i < 0 {
			return -1
		}
	}
}

// escapeEnd scans the escape whose backslash stands at i.
func escapeEnd(b []byte, i int) int {
	if i+1 == len(b) {
		return -1
	}
	switch b[i+1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i + 2
	case 'u':
		if len(b)-i < 6 {
			return -1
		}
		for _, c := range b[i+2 : i+6] {
			if c-'0' > 9 && c|0x20-'a' > 5 {
				return -1
			}
		}
		return i + 6
	}
	return -1
}
