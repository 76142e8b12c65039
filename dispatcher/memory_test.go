package dispatcher_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

type stageKey struct {
	stack event.Stack
	run   uint64
	stage warehouse.Stage
}

// memory is a warehouse.Appender that keeps rows in memory and holds the caller to the interface's contract.
type memory struct {
	mu       sync.Mutex
	rows     map[stageKey][]warehouse.Row
	cursors  map[stageKey]event.Cursor
	controls map[uint64][]byte
	journal  string
	appends  int // batches taken

	before func(context.Context, *warehouse.Batch) error // called before a batch is looked at, without the lock
	after  func() error                                  // called after a batch was stored: an answer that is lost
}

func newMemory() *memory {
	return &memory{rows: map[stageKey][]warehouse.Row{}, cursors: map[stageKey]event.Cursor{}, controls: map[uint64][]byte{}}
}

func (m *memory) Append(ctx context.Context, b *warehouse.Batch) (event.Cursor, error) {
	if m.before != nil {
		if err := m.before(ctx, b); err != nil {
			return event.Cursor{}, err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	key := stageKey{b.Stack, b.Run, b.Stage}
	have := m.cursors[key]
	if m.journal != "" && b.Journal != m.journal {
		return event.Cursor{}, &warehouse.JournalError{Known: m.journal, Got: b.Journal, Highest: have.Last(), First: b.From.Frame}
	}
	if b.From.Compare(have) > 0 {
		return event.Cursor{}, &warehouse.GapError{Have: have, From: b.From}
	}
	if b.From.Compare(b.To) > 0 {
		return event.Cursor{}, fmt.Errorf("batch [%v, %v) ends before it begins", b.From, b.To)
	}
	var last *event.Position
	for _, r := range b.Rows {
		if last != nil && last.Compare(r.Position) >= 0 {
			return event.Cursor{}, fmt.Errorf("row %v after %v", r.Position, *last)
		}
		if !b.To.Covers(r.Frame, r.Request) || b.From.Covers(r.Frame, r.Request) {
			return event.Cursor{}, fmt.Errorf("row %v outside [%v, %v)", r.Position, b.From, b.To)
		}
		last = &r.Position
		if have.Covers(r.Frame, r.Request) {
			continue
		}
		r.Data, r.Context = bytes.Clone(r.Data), bytes.Clone(r.Context) // the batch is the caller's again afterwards
		m.rows[key] = append(m.rows[key], r)
	}
	for _, c := range b.Controls {
		m.controls[c.Sequence] = bytes.Clone(c.Record)
	}
	if b.To.Compare(have) > 0 {
		have = b.To
	}
	m.cursors[key] = have
	m.appends++
	if m.after != nil {
		if err := m.after(); err != nil {
			return event.Cursor{}, err
		}
	}
	return have, nil
}

func (m *memory) Cursor(_ context.Context, stack event.Stack, run uint64, stage warehouse.Stage) (event.Cursor, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.cursors[stageKey{stack, run, stage}], nil
}

func (m *memory) Journals(context.Context) ([]warehouse.Journal, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.journal == "" {
		return nil, nil
	}
	return []warehouse.Journal{{ID: m.journal, First: 1, Highest: m.cursors[stageKey{event.Green, 0, warehouse.Raw}].Last()}}, nil
}

// raw returns green's rows of run 0.
func (m *memory) raw() []warehouse.Row {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.rows[stageKey{event.Green, 0, warehouse.Raw}])
}

func (m *memory) taken() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.appends
}
