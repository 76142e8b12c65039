package mirror

import (
	"context"

	"github.com/sparrowhq/sparrow/event"
)

// What decisions need of the mirror beyond its own API: why a range cannot be counted, where a stack's holes lie, and a
// log to keep verdicts in.

// InexactError says that a range of the ledger begins or ends inside a line whose frames are no longer in the journal.
type InexactError = inexactError

// clip returns the part of an expired range that lies in [low, high), which holds requests requests.
func (e expiry) clip(low, high event.Cursor, requests uint64) Hole {
	h := Hole{From: e.From, To: e.To, Reason: reasonExpired, Requests: requests}
	if h.From.Compare(low) < 0 {
		h.From = low
	}
	if high.Compare(h.To) < 0 {
		h.To = high
	}
	return h
}

// AppendRecord appends value to a log of the journal, durable on return, and returns its sequence there.
func (m *Mirror) AppendRecord(ctx context.Context, log string, value []byte) (uint64, error) {
	o, err := m.opened()
	if err != nil {
		return 0, err
	}
	return o.journal.AppendRecord(ctx, log, value)
}

// Records calls fn for each record of a log of the journal from sequence from on, in order, and stops at fn's first
// error.
func (m *Mirror) Records(ctx context.Context, log string, from uint64, fn func(seq uint64, value []byte) error) error {
	o, err := m.opened()
	if err != nil {
		return err
	}
	return o.journal.Records(ctx, log, from, fn)
}
