// Package event holds what every part of the pipeline agrees on: requests, frames, positions, control records and
// their bytes.
//
// Invariant: everything here is a pure function of its arguments. The same bytes give the same ids, positions, totals
// and roles in every process and every build, which is what lets two stacks be compared at all.
package event

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/google/uuid"
)

// Stack names one of the two complete pipelines.
type Stack string

// The two stacks. There are never more: a third build replaces one of them.
const (
	Green Stack = "green"
	Blue  Stack = "blue"
)

// Stacks lists both stacks in the order in which tables show them.
func Stacks() []Stack { return []Stack{Green, Blue} }

// Other returns the stack that s is not.
func (s Stack) Other() Stack {
	if s == Green {
		return Blue
	}
	return Green
}

// ParseStack returns the stack called name.
func ParseStack(name string) (Stack, error) {
	switch Stack(name) {
	case Green, Blue:
		return Stack(name), nil
	}
	return "", fmt.Errorf("stack %q: must be %q or %q", name, Green, Blue)
}

// Position is the place of one event in the journal's order, and its key everywhere.
type Position struct {
	Frame   uint64 `json:"frame"`   // stream sequence, from 1
	Request uint32 `json:"request"` // index in the frame, from 0
	Item    uint32 `json:"item"`    // index in the request's body, from 0
}

// Compare orders positions as the journal does.
func (p Position) Compare(q Position) int {
	return cmp.Or(cmp.Compare(p.Frame, q.Frame), cmp.Compare(p.Request, q.Request), cmp.Compare(p.Item, q.Item))
}

func (p Position) String() string { return fmt.Sprintf("%d.%d.%d", p.Frame, p.Request, p.Item) }

// Cursor is the first request that is not final yet: everything below it is. The zero Cursor lies below every request.
type Cursor struct {
	Frame   uint64 `json:"frame"`
	Request uint32 `json:"request"`
}

// AfterFrame is the cursor that says: frame and everything below it is final.
func AfterFrame(frame uint64) Cursor { return Cursor{Frame: frame + 1} }

// Compare orders cursors as the journal does.
func (c Cursor) Compare(d Cursor) int {
	return cmp.Or(cmp.Compare(c.Frame, d.Frame), cmp.Compare(c.Request, d.Request))
}

// Covers reports whether the request at (frame, request) lies below the cursor.
func (c Cursor) Covers(frame uint64, request uint32) bool {
	return Cursor{Frame: frame, Request: request}.Compare(c) < 0
}

// Last returns the highest frame that is wholly below the cursor; 0 if there is none.
func (c Cursor) Last() uint64 {
	if c.Frame == 0 {
		return 0
	}
	return c.Frame - 1
}

func (c Cursor) String() string { return fmt.Sprintf("%d.%d", c.Frame, c.Request) }

// ID returns the eventId of an event: the request's UUID for a body that is one event, "<uuid>-<item>" for the items
// of an array or batch, even of one. It is the same in both stacks.
func ID(request uuid.UUID, item uint32, list bool) string {
	var room [36 + 1 + 10]byte
	hex.Encode(room[0:], request[0:4])
	hex.Encode(room[9:], request[4:6])
	hex.Encode(room[14:], request[6:8])
	hex.Encode(room[19:], request[8:10])
	hex.Encode(room[24:], request[10:])
	room[8], room[13], room[18], room[23] = '-', '-', '-', '-'
	if !list {
		return string(room[:36])
	}
	return string(strconv.AppendUint(append(room[:36], '-'), uint64(item), 10))
}

// ParseID splits an eventId into the request's UUID, the item, and whether the body was a list. Only the spelling that
// ID writes is accepted, so that one event has one id.
func ParseID(id string) (request uuid.UUID, item uint32, list bool, err error) {
	if len(id) < 36 {
		return uuid.Nil, 0, false, fmt.Errorf("eventId %q: shorter than a UUID", id)
	}
	request, err = uuid.Parse(id[:36])
	if err != nil {
		return uuid.Nil, 0, false, fmt.Errorf("eventId %q: %w", id, err)
	}
	digits, list := strings.CutPrefix(id[36:], "-")
	n := uint64(0)
	if list {
		n, err = strconv.ParseUint(digits, 10, 32)
	}
	if err != nil || ID(request, uint32(n), list) != id {
		return uuid.Nil, 0, false, fmt.Errorf("eventId %q: want <uuid> or <uuid>-<item>, in lower case and without leading zeros", id)
	}
	return request, uint32(n), list, nil
}
