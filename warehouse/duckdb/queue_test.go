package duckdb

import (
	"errors"
	"testing"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

func item(bytes int) *pending {
	return &pending{batch: &warehouse.Batch{}, bytes: bytes, done: make(chan outcome, 1)}
}

func TestQueueIsBounded(t *testing.T) {
	var batches int
	var bytes int64
	q := newQueue(3, 100, func(n int, b int64) { batches, bytes = n, b })
	want := func(wantBatches int, wantBytes int64) {
		t.Helper()
		if batches != wantBatches || bytes != wantBytes {
			t.Errorf("%d batches, %d bytes; want %d, %d", batches, bytes, wantBatches, wantBytes)
		}
	}
	huge := item(500)
	if err := q.put(huge); err != nil {
		t.Fatalf("a batch beyond the whole bound must pass alone: %v", err)
	}
	if err := q.put(item(1)); !errors.Is(err, warehouse.ErrBusy) {
		t.Fatalf("beside it: %v, want ErrBusy", err)
	}
	q.take()
	if err := q.put(item(1)); !errors.Is(err, warehouse.ErrBusy) {
		t.Fatalf("taken is not gone: %v, want ErrBusy", err)
	}
	q.answer(huge, outcome{})
	want(0, 0)
	for range 3 {
		if err := q.put(item(10)); err != nil {
			t.Fatal(err)
		}
	}
	if err := q.put(item(10)); !errors.Is(err, warehouse.ErrBusy) {
		t.Fatalf("a fourth batch: %v, want ErrBusy", err)
	}
	want(3, 30)
	for _, p := range q.take() {
		q.answer(p, outcome{})
	}
	want(0, 0)
}

func TestQueueForgetsAbandonedBatches(t *testing.T) {
	q := newQueue(10, 1000, func(int, int64) {})
	a, b, c := item(1), item(1), item(1)
	for _, p := range []*pending{a, b, c} {
		if err := q.put(p); err != nil {
			t.Fatal(err)
		}
	}
	if !q.abandon(b) {
		t.Error("a waiting batch is not given back at once")
	}
	work := q.take()
	if len(work) != 2 || work[0] != a || work[1] != c {
		t.Fatalf("%d batches are left, want a and c", len(work))
	}
	if q.abandon(a) {
		t.Error("a batch in the writer's hands is given back at once")
	}
	gone := errors.New("gone")
	if kept := q.wanted(work, gone); len(kept) != 1 || kept[0] != c {
		t.Errorf("the writer goes on with %d batches, want c alone", len(kept))
	}
	if o := <-a.done; !errors.Is(o.err, gone) {
		t.Errorf("the abandoned batch is answered %v", o)
	}
	q.close()
	if err := q.put(item(1)); !errors.Is(err, ErrClosed) {
		t.Errorf("closed queue: %v", err)
	}
	if q.take() != nil {
		t.Error("a closed queue has work")
	}
}

func TestCutStaysBetweenRequests(t *testing.T) {
	b := &warehouse.Batch{Stage: warehouse.Raw, To: event.Cursor{Frame: 9}}
	for request, items := range []uint32{1, 3, 1, 5} {
		for i := range items {
			b.Rows = append(b.Rows, warehouse.Row{Position: event.Position{Frame: 7, Request: uint32(request), Item: i}})
		}
	}
	at := func(request uint32) event.Cursor { return event.Cursor{Frame: 7, Request: request} }
	for _, c := range []struct {
		lo, room int
		force    bool
		hi       int
		to       event.Cursor
	}{
		{0, 100, true, 10, b.To},
		{0, 10, true, 10, b.To},
		{0, 9, true, 5, at(3)},
		{0, 5, true, 5, at(3)},
		{0, 4, true, 4, at(2)},
		{0, 3, true, 1, at(1)},
		{0, 1, true, 1, at(1)},
		{0, 0, true, 1, at(1)},
		{0, 0, false, 0, at(0)},
		{1, 2, false, 1, at(1)},
		{1, 2, true, 4, at(2)},
		{5, 2, true, 10, b.To},
		{5, 4, false, 5, at(3)},
		{10, 0, false, 10, b.To},
	} {
		if hi, to := cut(b, c.lo, c.room, c.force); hi != c.hi || to != c.to {
			t.Errorf("from row %d into room for %d (force %v): up to %d, cursor %v; want %d, %v", c.lo, c.room, c.force, hi, to, c.hi, c.to)
		}
	}
}

func TestRawAndOutcomesHaveBoundsOfTheirOwn(t *testing.T) {
	q := newQueue(2, 100, func(int, int64) {})
	put := func(stage warehouse.Stage, bytes int) error {
		return q.put(&pending{batch: &warehouse.Batch{Stage: stage}, bytes: bytes, done: make(chan outcome, 1)})
	}
	if err := errors.Join(put("ga4", 60), put("heap", 40)); err != nil {
		t.Fatal(err)
	}
	if err := put("ga4", 1); !errors.Is(err, warehouse.ErrBusy) {
		t.Errorf("a third batch of outcomes: %v, want ErrBusy", err)
	}
	if err := errors.Join(put(warehouse.Raw, 60), put(warehouse.Raw, 40)); err != nil {
		t.Errorf("raw behind a backlog of outcomes: %v", err)
	}
	if err := put(warehouse.Raw, 1); !errors.Is(err, warehouse.ErrBusy) {
		t.Errorf("a third batch of raw: %v, want ErrBusy", err)
	}
}

// TestRawAndOutcomesShareATransaction packs a backlog of a tracker's outcomes before raw, and another tracker behind it.
func TestRawAndOutcomesShareATransaction(t *testing.T) {
	batch := func(stage warehouse.Stage, from uint64, n int) *pending {
		b := &warehouse.Batch{Stack: event.Green, Run: 1, Stage: stage, From: event.Cursor{Frame: from}, To: event.Cursor{Frame: from + uint64(n)}}
		for i := range n {
			if at := (event.Position{Frame: from + uint64(i)}); stage == warehouse.Raw {
				b.Rows = append(b.Rows, warehouse.Row{Position: at})
			} else {
				b.Outcomes = append(b.Outcomes, warehouse.Outcome{Position: at, Outcome: "delivered"})
			}
		}
		return &pending{batch: b}
	}
	backlog, second, raw, heap := batch("ga4", 0, 80), batch("ga4", 80, 80), batch(warehouse.Raw, 0, 50), batch("heap", 0, 10)
	work := []*pending{second, backlog, raw, heap}
	arrange(work)
	p := &plan{cursors: map[key]event.Cursor{}}
	tx, refused := p.pack(work, 100)
	if len(refused) > 0 {
		t.Fatalf("refused: %v", refused[0].err)
	}
	if tx.rows != [kinds]int{50, 100} {
		t.Errorf("%v rows and outcomes, want 50 and 100: each has room of its own", tx.rows)
	}
	// The one that is not finished goes on, the one that waited longer goes first.
	work = []*pending{heap, second}
	arrange(work)
	tx, refused = p.pack(work, 100)
	if len(refused) > 0 || tx.rows != [kinds]int{0, 70} || len(tx.whole) != 2 || tx.whole[0] != heap {
		t.Errorf("%v rows, %d batches finished, %d refused; want 70 outcomes, both, heap first", tx.rows, len(tx.whole), len(refused))
	}
	late := batch("heap/late", 5, 3)
	p.cursors[key{event.Green, 1, "heap/late"}] = event.Cursor{Frame: 6}
	if tx, _ = p.pack([]*pending{late}, 1); len(tx.parts) != 1 || tx.parts[0].lo != 1 || tx.parts[0].hi != 2 || tx.moves[0].to != (event.Cursor{Frame: 7}) {
		t.Errorf("of corrections 5 to 7, 5 known and room for one: parts %+v, moves %+v", tx.parts, tx.moves)
	}
}
