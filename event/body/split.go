// Package body turns the bytes of one request into the events it carries.
//
// Invariant: an event is the exact slice of the content-decoded body that holds it. Nothing is encoded again, and what
// cannot be read is told apart by a reason, never by an error that depends on chance: the same bytes and limits give
// the same events in every process.
package body

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"
)

// Reason says why a body is not split into events; empty if it is.
type Reason string

// The reasons. They are kept with the row and counted, so their spelling is fixed.
const (
	UnknownEncoding Reason = "unknown encoding" // Content-Encoding names something else than identity, gzip and deflate
	Undecodable     Reason = "undecodable"      // the bytes are not what Content-Encoding says, or cut short
	TooLarge        Reason = "too large"        // once content-decoded
	NotJSON         Reason = "not json"
	TooDeep         Reason = "too deep" // more than 10,000 levels of arrays and objects
	TooManyItems    Reason = "too many items"
)

// Reasons lists them all.
func Reasons() []Reason {
	return []Reason{UnknownEncoding, Undecodable, TooLarge, NotJSON, TooDeep, TooManyItems}
}

// Item is one event.
type Item struct {
	Data  []byte // a slice of the body, without surrounding white space
	Event string // the top-level member "event" if that is a string, as valid UTF-8; else empty
}

// Body is a body split into its events.
type Body struct {
	List     bool   // an array, or an object whose member "batch" is one: ids carry the item's number
	Items    []Item // one if the body is not a list
	Whole    []byte // the body without surrounding white space
	Envelope []byte // the members beside batch, as one JSON object with their text unchanged; nil if there are none
}

// Split reads text, which must be one JSON value (RFC 8259), and stores in b the events it carries, reusing b.Items.
// Text inside strings need not be valid UTF-8. If members of an object have the same name, the last one counts. A
// list of more than maxItems is not split.
func Split(text []byte, maxItems int, b *Body) Reason {
	clear(b.Items) // earlier bodies must not be kept alive
	*b = Body{Items: b.Items[:0]}
	s := scanner{text: text, maxItems: maxItems, body: b}
	if !s.document() {
		clear(b.Items)
		*b = Body{Items: b.Items[:0]}
		if s.reason == "" {
			return NotJSON
		}
		return s.reason
	}
	return ""
}

// document scans the whole text.
func (s *scanner) document() bool {
	start := s.space(0)
	if start == len(s.text) {
		return false
	}
	var end int
	switch s.text[start] {
	case '[':
		s.body.List = true
		end = s.items(start, 1)
	case '{':
		end = s.top(start)
	default:
		end = s.item(start, 0)
	}
	if end < 0 || s.space(end) != len(s.text) {
		return false
	}
	s.body.Whole = s.text[start:end:end]
	return true
}

// top scans the object at i, which is one event unless it has a batch.
func (s *scanner) top(i int) int {
	var name []byte             // the literal of the member "event"
	batchFrom, batchTo := -1, 0 // the member "batch", from its key to the end of its value, if that is an array
	start := i
	i = s.open(i, 1)
	for i >= 0 && s.text[i] != '}' {
		key, value := s.key(i)
		if value < 0 {
			return -1
		}
		var end int
		switch {
		case is(key, "batch"):
			s.body.Items, batchFrom = s.body.Items[:0], -1
			if s.text[value] != '[' {
				end = s.value(value, 1)
				break
			}
			end = s.items(value, 2)
			batchFrom, batchTo = i, end
		case is(key, "event"):
			end = s.value(value, 1)
			name = stringLiteral(s.text, value, end)
		default:
			end = s.value(value, 1)
		}
		i = s.more(end, '}')
	}
	if i < 0 {
		return -1
	}
	end := i + 1
	if batchFrom < 0 {
		s.body.Items = append(s.body.Items[:0], Item{Data: s.text[start:end:end], Event: text(name)})
		return end
	}
	s.body.List = true
	s.body.Envelope = envelope(s.text[start+1:batchFrom], s.text[batchTo:i])
	return end
}

// items scans the array at i, whose elements are events; depth counts it.
func (s *scanner) items(i, depth int) int {
	i = s.open(i, depth)
	for i >= 0 && s.text[i] != ']' {
		if len(s.body.Items) == s.maxItems {
			s.reason = TooManyItems
			return -1
		}
		i = s.more(s.item(i, depth), ']')
	}
	if i < 0 {
		return -1
	}
	return i + 1
}

// item scans the value at i, inside depth levels, and keeps it as an event.
func (s *scanner) item(i, depth int) int {
	if s.text[i] != '{' {
		end := s.value(i, depth)
		if end >= 0 {
			s.body.Items = append(s.body.Items, Item{Data: s.text[i:end:end]})
		}
		return end
	}
	var name []byte
	start := i
	depth++
	i = s.open(i, depth)
	for i >= 0 && s.text[i] != '}' {
		key, value := s.key(i)
		if value < 0 {
			return -1
		}
		end := s.value(value, depth)
		if is(key, "event") {
			name = stringLiteral(s.text, value, end)
		}
		i = s.more(end, '}')
	}
	if i < 0 {
		return -1
	}
	s.body.Items = append(s.body.Items, Item{Data: s.text[start : i+1 : i+1], Event: text(name)})
	return i + 1
}

// stringLiteral returns b[i:end] if that is a string, quotes included, else nil.
func stringLiteral(b []byte, i, end int) []byte {
	if end < 0 || b[i] != '"' {
		return nil
	}
	return b[i:end]
}

// is reports whether the key literal, quotes included, spells name, whose characters are ASCII.
func is(key []byte, name string) bool {
	if len(key) == len(name)+2 {
		return string(key[1:len(key)-1]) == name
	}
	// Escaped, a name is longer, but no longer than six bytes a character.
	if len(key) < len(name)+2 || len(key) > 6*len(name)+2 || bytes.IndexByte(key, '\\') < 0 {
		return false
	}
	return text(key) == name
}

// text returns what a string literal says, with U+FFFD for what is not valid UTF-8; empty for nil.
func text(literal []byte) string {
	if literal == nil {
		return ""
	}
	inner := literal[1 : len(literal)-1]
	if bytes.IndexByte(inner, '\\') < 0 && utf8.Valid(inner) {
		return string(inner)
	}
	var s string
	if err := json.Unmarshal(literal, &s); err != nil {
		panic("body: a string that was scanned cannot be read") // the scanner's fault, never the client's
	}
	return s
}

// envelope joins the members before and after the batch into one object. Both come with the commas that separate them
// from it.
func envelope(before, after []byte) []byte {
	const space = " \t\r\n"
	before = bytes.TrimRight(bytes.TrimRight(bytes.Trim(before, space), ","), space)
	after = bytes.TrimLeft(bytes.TrimLeft(bytes.Trim(after, space), ","), space)
	if len(before)+len(after) == 0 {
		return nil
	}
	e := make([]byte, 0, len(before)+len(after)+3)
	e = append(append(e, '{'), before...)
	if len(before) > 0 && len(after) > 0 {
		e = append(e, ',')
	}
	return append(append(e, after...), '}')
}
