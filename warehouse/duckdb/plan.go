package duckdb

import (
	"bytes"
	"fmt"
	"slices"
	"sort"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// plan is a copy of the state, against which waiting batches are checked and packed into transactions. Planning changes
// nothing but the plan.
type plan struct {
	cursors  map[key]event.Cursor
	journals []warehouse.Journal
	timeline event.Timeline
}

// transaction is what one commit makes durable.
type transaction struct {
	parts    []part
	moves    []move              // at most one per key
	opens    []warehouse.Journal // journals not seen before; at most one
	records  []event.Record      // control records not seen before
	timeline event.Timeline      // with records
	rows     [kinds]int
	closed   map[key]uint64 // of stages whose digests it writes: the first bucket that has none yet
	whole    []*pending     // batches that are wholly stored with this transaction
}

// kind is what a batch is made of. Each has bounds of its own, so that neither holds the other up.
type kind int

const (
	rawRows  kind = iota // rows of raw
	outcomes             // of all other stages together
	kinds
)

func kindOf(b *warehouse.Batch) kind {
	if b.Stage == warehouse.Raw {
		return rawRows
	}
	return outcomes
}

// length is the number of rows or outcomes of a batch.
func length(b *warehouse.Batch) int {
	if kindOf(b) == rawRows {
		return len(b.Rows)
	}
	return len(b.Outcomes)
}

// place is where the i-th row or outcome of a batch lies in the order that the stage's cursor follows.
func place(b *warehouse.Batch, i int) event.Cursor {
	switch {
	case kindOf(b) == rawRows:
		return event.Cursor{Frame: b.Rows[i].Frame, Request: b.Rows[i].Request}
	case isLate(b.Stage):
		return event.Cursor{Frame: b.From.Frame + uint64(i)}
	}
	return event.Cursor{Frame: b.Outcomes[i].Frame, Request: b.Outcomes[i].Position.Request}
}

// part is a range of a batch's rows or outcomes.
type part struct {
	from   *pending
	lo, hi int
}

// move is a cursor's new place.
type move struct {
	key
	journal string
	to      event.Cursor
	rows    int  // appended up to there
	insert  bool // there is no row for the key yet
}

// alone reports whether the transaction must not run beside another: it changes what both stacks share.
func (t *transaction) alone() bool { return len(t.records) > 0 || len(t.opens) > 0 }

func (t *transaction) empty() bool { return len(t.moves) == 0 && !t.alone() }

// batches returns every batch that has a share in the transaction.
func (t *transaction) batches() []*pending {
	all := slices.Clone(t.whole)
	for _, p := range t.parts {
		if !slices.Contains(all, p.from) {
			all = append(all, p.from)
		}
	}
	return all
}

// refusal is a batch that cannot be taken.
type refusal struct {
	batch *pending
	err   error
}

// pack fills one transaction with up to rows rows of raw and as many outcomes, from the batches in their order. A batch
// is cut only between requests, with the cursor at the cut. It returns the batches that are refused, and changes p to
// what holds after the transaction.
func (p *plan) pack(batches []*pending, rows int) (*transaction, []refusal) {
	t := new(transaction)
	var refused []refusal
	var full [kinds]bool
	for _, w := range batches {
		b := w.batch
		kind := kindOf(b)
		if full[kind] {
			continue // whatever comes later of a stage must not overtake
		}
		opens, records, timeline, err := p.admit(b)
		if err != nil {
			refused = append(refused, refusal{w, err})
			continue
		}
		k := keyOf(b)
		have, known := p.cursors[k]
		if b.From.Compare(have) > 0 {
			refused = append(refused, refusal{w, &warehouse.GapError{Have: have, From: b.From}})
			continue
		}
		n := length(b)
		lo := sort.Search(n, func(i int) bool { return place(b, i).Compare(have) >= 0 })
		hi, to := cut(b, lo, rows-t.rows[kind], t.rows[kind] == 0)
		if hi == lo && hi < n {
			full[kind] = true
			continue
		}
		t.opens = append(t.opens, opens...)
		p.journals = append(p.journals, opens...)
		t.records = append(t.records, records...)
		p.timeline, t.timeline = timeline, timeline
		if hi > lo {
			t.parts = append(t.parts, part{w, lo, hi})
			t.rows[kind] += hi - lo
		}
		if to.Compare(have) > 0 {
			p.move(t, move{key: k, journal: b.Journal, to: to, rows: hi - lo, insert: !known})
		}
		if hi < n {
			full[kind] = true
			continue
		}
		t.whole = append(t.whole, w)
	}
	return t, refused
}

// cut returns the end of the rows from lo that fit into room, and where the cursor stands after them. force takes one
// whole request at least, however many items it has.
func cut(b *warehouse.Batch, lo, room int, force bool) (hi int, to event.Cursor) {
	n := length(b)
	if n-lo <= room {
		return n, b.To
	}
	same := func(i, j int) bool { return place(b, i) == place(b, j) }
	hi = lo + max(room, 0)
	for hi > lo && same(hi-1, hi) {
		hi--
	}
	if hi == lo && force {
		for hi = lo + 1; hi < n && same(hi-1, hi); hi++ {
		}
	}
	if hi == n {
		return hi, b.To
	}
	return hi, place(b, hi)
}

// move notes a cursor's new place, once per key.
func (p *plan) move(t *transaction, m move) {
	p.cursors[m.key] = m.to
	if m.run == 0 && !isLate(m.stage) {
		last := &p.journals[len(p.journals)-1]
		last.Highest = max(last.Highest, highest(m.to))
	}
	for i := range t.moves {
		if t.moves[i].key == m.key {
			m.insert = t.moves[i].insert
			m.rows += t.moves[i].rows
			t.moves[i] = m
			return
		}
	}
	t.moves = append(t.moves, m)
}

// admit checks what a batch says about its journal and brings of the timeline. Run 0 only: the positions of a replay are
// its own.
func (p *plan) admit(b *warehouse.Batch) (opens []warehouse.Journal, records []event.Record, timeline event.Timeline, err error) {
	timeline = p.timeline
	if b.Run != 0 {
		return nil, nil, timeline, nil
	}
	initial := uint64(0) // where the batch's journal begins, if the batch brings its first record
	for _, entry := range b.Controls {
		r, err := event.DecodeRecord(entry.Sequence, entry.Record)
		if err != nil {
			return nil, nil, timeline, err
		}
		if r.Kind == event.Initial {
			initial = r.Sequence
		}
	}
	if opens, err = p.journal(b, initial); err != nil {
		return nil, nil, timeline, err
	}
	for _, entry := range b.Controls {
		known := timeline.Records()
		if n := len(known); n > 0 && entry.Sequence <= known[n-1].Sequence {
			i, ok := slices.BinarySearchFunc(known, entry.Sequence, func(r event.Record, s uint64) int {
				return int(min(max(int64(r.Sequence)-int64(s), -1), 1))
			})
			if !ok || !bytes.Equal(known[i].Bytes, entry.Record) {
				return nil, nil, timeline, fmt.Errorf("control record at %d is not the one known: the batch comes from another history", entry.Sequence)
			}
			continue
		}
		r, err := event.DecodeRecord(entry.Sequence, slices.Clone(entry.Record)) // ours after the batch is given back
		if err != nil {
			return nil, nil, timeline, err
		}
		if timeline, err = timeline.Append(r); err != nil {
			return nil, nil, p.timeline, err
		}
		records = append(records, r)
	}
	return opens, records, timeline, nil
}

// journal checks that the batch's frames cannot collide with those of another journal. A journal not seen before must
// begin above every frame known. Where it begins, its first control record says; the batch's own range may begin lower,
// for a stack that lagged when the old journal was lost: what it missed is then under holes.
func (p *plan) journal(b *warehouse.Batch, initial uint64) ([]warehouse.Journal, error) {
	n := len(p.journals)
	lowest, any := uint64(0), length(b) > 0 && !isLate(b.Stage)
	if any {
		lowest = place(b, 0).Frame
	}
	if n > 0 && p.journals[n-1].ID == b.Journal {
		if first := p.journals[n-1].First; any && lowest < first && n > 1 {
			return nil, &warehouse.JournalError{Known: p.journals[n-2].ID, Got: b.Journal, Highest: first - 1, First: lowest}
		}
		return nil, nil
	}
	for i, j := range p.journals {
		if j.ID != b.Journal {
			continue
		}
		// Raw of a journal that is gone cannot come any more. Outcomes can, as long as they are about its own frames.
		if kindOf(b) == outcomes && (isLate(b.Stage) || highest(b.To) < p.journals[i+1].First) {
			return nil, nil
		}
		return nil, &warehouse.JournalError{Known: p.journals[n-1].ID, Got: b.Journal, Highest: p.journals[n-1].Highest, First: b.From.Frame}
	}
	first := b.From.Frame
	switch {
	case initial > 0:
		first = initial
	case isLate(b.Stage): // its range says nothing of frames
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
		for _, j := range p.journals {
			most = max(most, j.Highest)
		}
		if first <= most {
			return nil, &warehouse.JournalError{Known: p.journals[n-1].ID, Got: b.Journal, Highest: most, First: first}
		}
	}
	return []warehouse.Journal{{ID: b.Journal, First: first, Highest: first}}, nil
}
