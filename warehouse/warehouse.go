// Package warehouse is where events end up and stay: one small interface, one contract suite, several engines.
//
// Invariant: a batch is appended whole or not at all, together with the cursor that says so; a batch that is sent
// again changes nothing; a batch that would leave a gap is refused.
package warehouse

import (
	"context"
	"errors"
	"fmt"

	"github.com/sparrowhq/sparrow/event"
)

// Row is one event as raw keeps it.
type Row struct {
	event.Position
	EventID        string
	Timestamp      int64  // received-at, microseconds since the epoch, UTC
	Event          string // name; empty if the body has none
	Data           []byte // the exact slice of the decoded body that is this event; stored as dataBytes if it is not UTF-8
	ItemsInRequest uint32 // 0 for a body that is an empty list
	Build          string
	Context        []byte // JSON object
}

// Stage names a row of cursors: raw, trace, or a tracker; or the corrections of one, see Late.
type Stage string

// Raw is the stage of the dispatcher's rows.
const Raw Stage = "raw"

// Batch is everything a stage of a stack knows about [From, To).
type Batch struct {
	Stack    event.Stack
	Run      uint64
	Stage    Stage
	Journal  string // journal id
	From, To event.Cursor
	Rows     []Row                 // by position, all within [From, To); stage raw only
	Outcomes []Outcome             // likewise, of any other stage; of a Late stage by number of correction, anywhere
	Controls []*event.ControlEntry // new control records, by sequence; those already known are ignored
}

// Size is roughly what the batch takes in memory, in bytes. Queues and requests are bounded by it.
func (b *Batch) Size() int {
	n := 256
	for i := range b.Rows {
		r := &b.Rows[i]
		n += 160 + len(r.EventID) + len(r.Event) + len(r.Data) + len(r.Build) + len(r.Context)
	}
	for i := range b.Outcomes {
		o := &b.Outcomes[i]
		n += 160 + len(o.Event) + len(o.Build) + len(o.Reason) + len(o.Request) + len(o.Response)
	}
	for _, c := range b.Controls {
		n += 32 + len(c.Record)
	}
	return n
}

// GapError says that a batch begins past the cursor: rows in between would be missing for ever.
type GapError struct {
	Have event.Cursor // the cursor
	From event.Cursor // where the batch begins
}

func (e *GapError) Error() string {
	return fmt.Sprintf("batch begins at %v, the cursor stands at %v: send [%v, …) first", e.From, e.Have, e.Have)
}

// JournalError says that a batch comes from a journal whose frames would collide with those of another.
type JournalError struct {
	Known   string // the journal the warehouse has frames of
	Got     string
	Highest uint64 // highest frame known
	First   uint64 // first frame offered
}

func (e *JournalError) Error() string {
	return fmt.Sprintf("journal %s begins at frame %d, but frames up to %d are already here from journal %s: restore that journal's folder, or start the new journal with journal.first_frame: %d",
		e.Got, e.First, e.Highest, e.Known, e.Highest+1)
}

// ErrBusy says that a queue is full. The batch was not taken; send it again later.
var ErrBusy = errors.New("warehouse: queue full")

// ErrReadOnly says that a statement is not a query.
var ErrReadOnly = errors.New("only a single SELECT statement is allowed")

// Journal is a journal the warehouse has seen.
type Journal struct {
	ID      string `json:"id"`
	First   uint64 `json:"first"`   // first sequence seen
	Highest uint64 `json:"highest"` // highest sequence below any stack's cursor
}

// Appender is what a stack writes through.
type Appender interface {
	// Append stores the batch and moves the stage's cursor from b.From to b.To, both in one transaction that is durable
	// on return. What lies below the cursor is skipped, so a batch may be sent any number of times, and again after
	// any error. It returns the cursor as it stands afterwards, which is never below b.To without an error.
	// Errors: *GapError, *JournalError, ErrBusy; anything else is of unknown outcome. It may block until ctx ends.
	// It may be called concurrently; batches of one (stack, run, stage) are applied one after another. The batch
	// belongs to the caller again on return.
	Append(ctx context.Context, b *Batch) (event.Cursor, error)

	// Cursor returns the first position of the stage that is not stored yet.
	Cursor(ctx context.Context, stack event.Stack, run uint64, stage Stage) (event.Cursor, error)
}

// Query is one read.
type Query struct {
	SQL     string `json:"sql"`
	Args    []any  `json:"args,omitempty"`    // for ? placeholders: strings, integers, floats, booleans
	Limit   int    `json:"limit,omitempty"`   // rows; 0: as configured
	MaxWait string `json:"maxWait,omitempty"` // duration after which the statement is stopped; empty: as configured
}

// Reader answers SQL.
type Reader interface {
	// Query runs a single SELECT in a read-only snapshot. Rows must be closed. Errors: ErrReadOnly, wrapped with the
	// offending part; context errors; otherwise the engine's own message, which names the statement's fault.
	Query(ctx context.Context, q Query) (*Rows, error)

	// Journals returns the journals seen, by first sequence.
	Journals(ctx context.Context) ([]Journal, error)
}

// Warehouse is an engine.
type Warehouse interface {
	Appender
	Reader
	Normaliser
	Close() error
}

// Column is one column of an answer.
type Column struct {
	Name string `json:"name"`
	Type string `json:"type"` // the engine's name of the type
}

// Rows is an answer, read row by row.
type Rows struct {
	Columns []Column
	// Next returns the next row, or io.EOF after the last. Values are nil, bool, int64, uint64, float64, string,
	// []byte, time.Time (UTC), or *big.Int for integers beyond 64 bits. The slice is the caller's.
	Next func() ([]any, error)
	// Truncated reports, after io.EOF, that Limit cut the answer short.
	Truncated func() bool
	Close     func() error
}
