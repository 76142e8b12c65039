package duckdb

import (
	"slices"
	"sort"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
	"github.com/sparrowhq/sparrow/warehouse/rules"
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

// A transaction's two kinds of rows, each with bounds of its own.
const (
	rawRows  = rules.Rows
	outcomes = rules.Outcomes
	kinds    = rules.Kinds
)

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
	rows    int // appended up to there
}

// groupRows is how many rows of a table DuckDB keeps together, and from which on it writes some before COMMIT.
const groupRows = 122_880

// alone reports whether the transaction must not run beside another, nor beside a checkpoint: it changes what both stacks
// share, or DuckDB writes of it before COMMIT, perhaps into blocks that a checkpoint frees but a crash would need again
// (duckdb#25106).
func (t *transaction) alone() bool { return t.shares() || slices.Max(t.rows[:]) >= groupRows }

// shares reports whether the transaction changes what both stacks share.
func (t *transaction) shares() bool { return len(t.records) > 0 || len(t.opens) > 0 }

func (t *transaction) empty() bool { return len(t.moves) == 0 && !t.shares() }

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
		kind := rules.KindOf(b)
		if full[kind] {
			continue // whatever comes later of a stage must not overtake
		}
		known := rules.Known{Journals: p.journals, Timeline: p.timeline}
		news, err := known.Admit(b)
		if err != nil {
			refused = append(refused, refusal{w, err})
			continue
		}
		k := keyOf(b)
		have := p.cursors[k]
		if b.From.Compare(have) > 0 {
			refused = append(refused, refusal{w, &warehouse.GapError{Have: have, From: b.From}})
			continue
		}
		n := rules.Length(b)
		lo := sort.Search(n, func(i int) bool { return rules.Place(b, i).Compare(have) >= 0 })
		hi, to := cut(b, lo, rows-t.rows[kind], t.rows[kind] == 0)
		if hi == lo && hi < n {
			full[kind] = true
			continue
		}
		t.opens = append(t.opens, news.Opens...)
		p.journals = append(p.journals, news.Opens...)
		t.records = append(t.records, news.Records...)
		p.timeline, t.timeline = news.Timeline, news.Timeline
		if hi > lo {
			t.parts = append(t.parts, part{w, lo, hi})
			t.rows[kind] += hi - lo
		}
		if to.Compare(have) > 0 {
			p.move(t, move{key: k, journal: b.Journal, to: to, rows: hi - lo})
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
	n := rules.Length(b)
	if n-lo <= room {
		return n, b.To
	}
	same := func(i, j int) bool { return rules.Place(b, i) == rules.Place(b, j) }
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
	return hi, rules.Place(b, hi)
}

// move notes a cursor's new place, once per key.
func (p *plan) move(t *transaction, m move) {
	p.cursors[m.key] = m.to
	if m.run == 0 && !rules.IsLate(m.stage) {
		last := &p.journals[len(p.journals)-1]
		last.Highest = max(last.Highest, rules.Highest(m.to))
	}
	for i := range t.moves {
		if t.moves[i].key == m.key {
			m.rows += t.moves[i].rows
			t.moves[i] = m
			return
		}
	}
	t.moves = append(t.moves, m)
}
