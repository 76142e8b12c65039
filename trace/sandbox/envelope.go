package sandbox

import (
	"bytes"
	"errors"
	"fmt"
)

// envelope is what a Sentry SDK posts.
//
//	{"event_id":"…","dsn":"…"}\n      header: a JSON object on one line
//	{"type":"event","length":41}\n     header of an item
//	…41 bytes…\n                       its payload: length bytes, or up to the next newline if no length is given
//	…                                  more items; the last newline may be missing
type envelope struct {
	id, dsn string
	items   []envelopeItem
}

type envelopeItem struct {
	kind    string
	payload []byte
}

// readEnvelope returns the items up to the first mistake, and what that is.
func readEnvelope(b []byte) (envelope, error) {
	var e envelope
	head, rest, _ := bytes.Cut(b, []byte{'\n'})
	header, ok := parse(head)
	if !ok || header.kind() != '{' {
		return e, errors.New("the first line is not a JSON object")
	}
	e.id, _ = header.get("event_id").text()
	e.dsn, _ = header.get("dsn").text()
	for n := 1; len(bytes.Trim(rest, "\n")) > 0; n++ {
		head, rest, _ = bytes.Cut(rest, []byte{'\n'})
		header, ok := parse(head)
		if !ok || header.kind() != '{' {
			return e, fmt.Errorf("the header of item %d is not a JSON object", n)
		}
		kind, ok := header.get("type").text()
		if !ok || kind == "" {
			return e, fmt.Errorf("item %d has no type", n)
		}
		item := envelopeItem{kind: kind}
		switch length := header.get("length"); length.kind() {
		case 0, 'n':
			item.payload, rest, _ = bytes.Cut(rest, []byte{'\n'})
		default:
			size, ok := length.integer()
			if !ok || size < 0 || size > int64(len(rest)) {
				return e, fmt.Errorf("item %d: length does not fit its %d bytes", n, len(rest))
			}
			item.payload, rest = rest[:size], rest[size:]
			if len(rest) > 0 {
				if rest[0] != '\n' {
					return e, fmt.Errorf("item %d: no newline after its %d bytes", n, size)
				}
				rest = rest[1:]
			}
		}
		e.items = append(e.items, item)
	}
	return e, nil
}
