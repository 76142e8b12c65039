// Package deploy decides which stack is live: it declares candidates, keeps verdicts, guards the cutover, and rolls back.
//
// Invariant: no verdict, no cutover. A decision is one control record, appended by compare-and-set in the journal's own
// stream: of two that are made at once, one wins and the other is told so. What was decided, by whom, on which verdict or
// against which objection, stays in the chained history for good.
//
// Guard is a pure function; everything else reads the present state, asks Guard, and appends.
package deploy

import (
	"context"
	"errors"

	"github.com/sparrowhq/sparrow/compare"
	"github.com/sparrowhq/sparrow/event"
)

// Pipeline is the mirror, as far as decisions need it. It may be called concurrently.
type Pipeline interface {
	compare.Pipeline
	// AppendControl appends c if c.Generation is the head's generation plus one, and fills in Format and Previous. The
	// record is durable on return. An error that wraps ErrConflict says that another record came first. It works while
	// the journal takes no frames for lack of space.
	AppendControl(ctx context.Context, c event.Control) (event.Record, error)
}

// Log keeps verdicts; journal.Journal provides it. It may be called concurrently.
type Log interface {
	// AppendRecord appends value to the log of that name, durable on return, and returns its sequence there.
	AppendRecord(ctx context.Context, log string, value []byte) (uint64, error)
	// Records calls fn for each record of the log from sequence from on, in order, and stops at fn's first error.
	Records(ctx context.Context, log string, from uint64, fn func(seq uint64, value []byte) error) error
}

// ErrConflict says that somebody else decided meanwhile.
var ErrConflict = errors.New("somebody else decided meanwhile")
