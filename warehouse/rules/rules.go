// Package rules decides what becomes of a batch, for every engine the same.
//
// Invariant: it is pure. What a batch may do follows from the batch and from what is known: cursors, journals and the
// timeline. Making that durable is the engine's.
package rules

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// Key names a cursor.
type Key struct {
	Stack event.Stack
	Run   uint64
	Stage warehouse.Stage
}

// KeyOf returns the cursor that the batch moves.
func KeyOf(b *warehouse.Batch) Key { return Key{b.Stack, b.Run, b.Stage} }

// Kind is what a batch is made of. Each has bounds and a table of its own, so that neither holds the other up.
type Kind int

// The kinds of batches.
const (
	Rows     Kind = iota // rows of raw
	Outcomes             // of all other stages together
	Kinds                // how many there are
)

// KindOf returns what the batch is made of.
func KindOf(b *warehouse.Batch) Kind {
	if b.Stage == warehouse.Raw {
		return Rows
	}
	return Outcomes
}

// IsLate reports whether the batches of a stage correct outcomes.
func IsLate(stage warehouse.Stage) bool { return stage != stage.Base() }

// Length is the number of rows or outcomes of a batch.
func Length(b *warehouse.Batch) int {
	if KindOf(b) == Rows {
		return len(b.Rows)
	}
	return len(b.Outcomes)
}

// Place is where the i-th row or outcome of a batch lies in the order that the stage's cursor follows.
func Place(b *warehouse.Batch, i int) event.Cursor {
	switch {
	case KindOf(b) == Rows:
		return event.Cursor{Frame: b.Rows[i].Frame, Request: b.Rows[i].Request}
	case IsLate(b.Stage):
		return event.Cursor{Frame: b.From.Frame + uint64(i)}
	}
	return event.Cursor{Frame: b.Outcomes[i].Frame, Request: b.Outcomes[i].Position.Request}
}

// Highest is the last frame of which a part lies below the cursor.
func Highest(c event.Cursor) uint64 {
	if c.Request > 0 || c.Frame == 0 {
		return c.Frame
	}
	return c.Frame - 1
}

// Known is what batches of all stages share.
type Known struct {
	Journals []warehouse.Journal // by first appearance; the last one is the one written now
	Timeline event.Timeline
}

// News is what a batch adds to what is known.
type News struct {
	Opens    []warehouse.Journal // at most one
	Records  []event.Record      // control records not seen before
	Timeline event.Timeline      // with them
}

// Any reports whether there is anything new.
func (n *News) Any() bool { return len(n.Opens) > 0 || len(n.Records) > 0 }

// Admit checks what a batch says about its journal and brings of the timeline. Run 0 only: the positions of a replay
// are its own. The records' bytes are copies.
func (k *Known) Admit(b *warehouse.Batch) (News, error) {
	n := News{Timeline: k.Timeline}
	if b.Run != 0 {
		return n, nil
	}
	initial := uint64(0) // where the batch's journal begins, if the batch brings its first record
	for _, entry := range b.Controls {
		r, err := event.DecodeRecord(entry.Sequence, entry.Record)
		if err != nil {
			return News{}, err
		}
		if r.Kind == event.Initial {
			initial = r.Sequence
		}
	}
	var err error
	if n.Opens, err = k.journal(b, initial); err != nil {
		return News{}, err
	}
	for _, entry := range b.Controls {
		known := n.Timeline.Records()
		if len(known) > 0 && entry.Sequence <= known[len(known)-1].Sequence {
			i, ok := slices.BinarySearchFunc(known, entry.Sequence, func(r event.Record, s uint64) int {
				return int(min(max(int64(r.Sequence)-int64(s), -1), 1))
			})
			if !ok || !bytes.Equal(known[i].Bytes, entry.Record) {
				return News{}, fmt.Errorf("control record at %d is not the one known: the batch comes from another history", entry.Sequence)
			}
			continue
		}
		r, err := event.DecodeRecord(entry.Sequence, slices.Clone(entry.Record)) // ours after the batch is given back
		if err != nil {
			return News{}, err
		}
		if n.Timeline, err = n.Timeline.Append(r); err != nil {
			return News{}, err
		}
		n.Records = append(n.Records, r)
	}
	return n, nil
}

// journal checks that the batch's frames cannot collide with those of another journal. A journal not seen before must
// begin above every frame known. Where it begins, its first control record says; the batch's own range may begin lower,
// for a stack that lagged when the old journal was lost: what it missed is then under holes.
func (k *Known) journal(b *warehouse.Batch, initial uint64) ([]warehouse.Journal, error) {
	n := len(k.Journals)
	lowest, any := uint64(0), Length(b) > 0 && !IsLate(b.Stage)
	if any {
		lowest = Place(b, 0).Frame
	}
	if n > 0 && k.Journals[n-1].ID == b.Journal {
		if first := k.Journals[n-1].First; any && lowest < first && n > 1 {
			return nil, &warehouse.JournalError{Known: k.Journals[n-2].ID, Got: b.Journal, Highest: first - 1, First: lowest}
		}
		return nil, nil
	}
	for i, j := range k.Journals {
		if j.ID != b.Journal {
			continue
		}
		// Raw of a journal that is gone cannot come any more. Outcomes can, as long as they are about its own frames.
		if KindOf(b) == Outcomes && (IsLate(b.Stage) || Highest(b.To) < k.Journals[i+1].First) {
			return nil, nil
		}
		return nil, &warehouse.JournalError{Known: k.Journals[n-1].ID, Got: b.Journal, Highest: k.Journals[n-1].Highest, First: b.From.Frame}
	}
	first := b.From.Frame
	switch {
	case initial > 0:
		first = initial
	case IsLate(b.Stage): // its range says nothing of frames
		if n == 0 {
			return nil, fmt.Errorf("stage %s corrects outcomes of journal %s, of which nothing is known: append what it corrects first", b.Stage, b.Journal)
		}
		first = 0
	}
	if any {
		first = min(first, max(lowest, b.From.Frame))
	}
	if n > 0 {
		var most uint64
		for _, j := range k.Journals {
			most = max(most, j.Highest)
		}
		if first <= most {
			return nil, &warehouse.JournalError{Known: k.Journals[n-1].ID, Got: b.Journal, Highest: most, First: first}
		}
	}
	return []warehouse.Journal{{ID: b.Journal, First: first, Highest: first}}, nil
}
