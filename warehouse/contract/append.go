package contract

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// small is a journal of a few frames: single events, lists, an empty list.
func small(t *testing.T) (*history, *event.ControlEntry) {
	h := newHistory("journal-1")
	c := h.control(t, event.Initial, event.Green, 0)
	h.frame(1)
	h.frame(1, 3, 1)
	h.frame(0, 2)
	h.frame(1, 1, 1, 1)
	return h, c
}

func rowsComeBackExactly(t *testing.T, w warehouse.Warehouse) {
	h, c := small(t)
	mustAppend(t, w, h.batch(event.Green, event.Cursor{}, h.end(), c))
	equalRows(t, "green.raw", h.rows(), stored(t, w, "green.raw"))
	equalRows(t, "live.raw", h.rows(), stored(t, w, "live.raw"))
	if got := stored(t, w, "blue.raw"); len(got) != 0 {
		t.Errorf("blue.raw has %d rows, want none", len(got))
	}
	if got := stored(t, w, "staging.raw"); len(got) != 0 {
		t.Errorf("staging.raw has %d rows, want none", len(got))
	}
}

func repeatedBatch(t *testing.T, w warehouse.Warehouse) {
	h, c := small(t)
	b := h.batch(event.Green, event.Cursor{}, h.end(), c)
	for range 5 {
		mustAppend(t, w, b)
	}
	equalRows(t, "green.raw", h.rows(), stored(t, w, "green.raw"))
	if got := ask(t, w, "SELECT count(*) FROM timeline"); got[0][0] != int64(1) {
		t.Errorf("%v control records, want 1", got[0][0])
	}
}

// overlap sends ranges that overlap in every way, in random order of cuts, until all is in.
func overlap(t *testing.T, w warehouse.Warehouse) {
	r := seed(t)
	h, c := small(t)
	cuts := h.cuts()
	for have := (event.Cursor{}); have != h.end(); {
		var from, to event.Cursor
		for ok := false; !ok; ok = from.Compare(have) <= 0 && from.Compare(to) <= 0 {
			from, to = cuts[r.IntN(len(cuts))], cuts[r.IntN(len(cuts))]
		}
		mustAppend(t, w, h.batch(event.Green, from, to, c))
		if to.Compare(have) > 0 {
			have = to
		}
		at, err := w.Cursor(t.Context(), event.Green, 0, warehouse.Raw)
		if err != nil || at != have {
			t.Fatalf("after [%v, %v): cursor %v, %v; want %v", from, to, at, err, have)
		}
	}
	equalRows(t, "green.raw", h.rows(), stored(t, w, "green.raw"))
}

func partsOfAFrame(t *testing.T, w warehouse.Warehouse) {
	h, c := small(t)
	cuts := h.cuts()
	for i := 1; i < len(cuts); i++ {
		mustAppend(t, w, h.batch(event.Green, cuts[i-1], cuts[i], c))
		if got, _ := w.Cursor(t.Context(), event.Green, 0, warehouse.Raw); got != cuts[i] {
			t.Fatalf("cursor %v, want %v", got, cuts[i])
		}
	}
	equalRows(t, "green.raw", h.rows(), stored(t, w, "green.raw"))
}

func gap(t *testing.T, w warehouse.Warehouse) {
	h, c := small(t)
	refuse := func(from, have event.Cursor) {
		t.Helper()
		_, err := w.Append(t.Context(), h.batch(event.Green, from, h.end(), c))
		var e *warehouse.GapError
		if !errors.As(err, &e) {
			t.Fatalf("batch from %v with the cursor at %v: %v, want a GapError", from, have, err)
		}
		if *e != (warehouse.GapError{Have: have, From: from}) {
			t.Fatalf("got %+v, want have %v, from %v", *e, have, from)
		}
	}
	refuse(event.Cursor{Frame: 2}, event.Cursor{})
	if got := ask(t, w, "SELECT count(*) FROM timeline"); got[0][0] != int64(0) {
		t.Errorf("a refused batch left %v control records", got[0][0])
	}
	mustAppend(t, w, h.batch(event.Green, event.Cursor{}, event.Cursor{Frame: 3, Request: 1}, c))
	refuse(event.Cursor{Frame: 3, Request: 2}, event.Cursor{Frame: 3, Request: 1})
	refuse(event.Cursor{Frame: 4}, event.Cursor{Frame: 3, Request: 1})
	mustAppend(t, w, h.batch(event.Green, event.Cursor{Frame: 3, Request: 1}, h.end(), c))
	equalRows(t, "green.raw", h.rows(), stored(t, w, "green.raw"))
}

func badBatches(t *testing.T, w warehouse.Warehouse) {
	for name, spoil := range map[string]func(b *warehouse.Batch){
		"name not UTF-8":         func(b *warehouse.Batch) { b.Rows[2].Event = "a\xff" },
		"context not UTF-8":      func(b *warehouse.Batch) { b.Rows[2].Context = []byte("{\"a\":\"\xc3\x28\"}") },
		"eventId not UTF-8":      func(b *warehouse.Batch) { b.Rows[2].EventID = "\xf0" },
		"build not UTF-8":        func(b *warehouse.Batch) { b.Rows[2].Build = "\xf0" },
		"rows out of order":      func(b *warehouse.Batch) { b.Rows[1], b.Rows[2] = b.Rows[2], b.Rows[1] },
		"row before the range":   func(b *warehouse.Batch) { b.From = event.Cursor{Frame: 3} },
		"row after the range":    func(b *warehouse.Batch) { b.To = event.Cursor{Frame: 3} },
		"range backwards":        func(b *warehouse.Batch) { b.From, b.To, b.Rows = b.To, b.From, nil },
		"no such stack":          func(b *warehouse.Batch) { b.Stack = "red" },
		"no stage":               func(b *warehouse.Batch) { b.Stage = "" },
		"rows for another stage": func(b *warehouse.Batch) { b.Stage = "trace" },
		"no journal":             func(b *warehouse.Batch) { b.Journal = "" },
		"frame too large":        func(b *warehouse.Batch) { b.Rows[len(b.Rows)-1].Frame, b.To.Frame = math.MaxInt64+1, math.MaxUint64 },
		"request too large":      func(b *warehouse.Batch) { b.Rows[len(b.Rows)-1].Request = math.MaxInt32 + 1 },
		"item too large":         func(b *warehouse.Batch) { b.Rows[len(b.Rows)-1].Item = math.MaxUint32 },
		"items too many":         func(b *warehouse.Batch) { b.Rows[2].ItemsInRequest = math.MaxUint32 },
		"run too large":          func(b *warehouse.Batch) { b.Run = math.MaxUint64 },
		"timestamp infinite":     func(b *warehouse.Batch) { b.Rows[2].Timestamp = math.MaxInt64 },
		"control not JSON":       func(b *warehouse.Batch) { b.Controls = []*event.ControlEntry{{Sequence: 1, Record: []byte("x")}} },
		"control without start":  func(b *warehouse.Batch) { b.Controls = []*event.ControlEntry{second(t)} },
	} {
		h, c := small(t)
		b := h.batch(event.Green, event.Cursor{}, h.end(), c)
		spoil(b)
		if at, err := w.Append(t.Context(), b); err == nil {
			t.Errorf("%s: taken, cursor %v", name, at)
		} else if errors.Is(err, warehouse.ErrBusy) {
			t.Errorf("%s: %v: sending it again would never help", name, err)
		}
	}
	for _, table := range []string{"green.raw", "blue.raw", "timeline", "cursors", "journals"} {
		if got := ask(t, w, "SELECT count(*) FROM "+table); got[0][0] != int64(0) {
			t.Errorf("refused batches left %v rows in %s", got[0][0], table)
		}
	}
	h, c := small(t) // and none of them is in the way
	mustAppend(t, w, h.batch(event.Green, event.Cursor{}, h.end(), c))
}

// second is a control record that cannot be a journal's first.
func second(t *testing.T) *event.ControlEntry {
	h := newHistory("journal-1")
	h.control(t, event.Initial, event.Green, 0)
	return h.control(t, event.Cutover, event.Blue, 0)
}

func separateCursors(t *testing.T, w warehouse.Warehouse) {
	h, c := small(t)
	mustAppend(t, w, h.batch(event.Green, event.Cursor{}, h.end(), c))
	move := func(stack event.Stack, run uint64, stage warehouse.Stage, to event.Cursor) {
		t.Helper()
		mustAppend(t, w, &warehouse.Batch{Stack: stack, Run: run, Stage: stage, Journal: h.journal, To: to})
	}
	move(event.Green, 0, "trace", event.Cursor{Frame: 3, Request: 1})
	move(event.Green, 0, "ga4", event.Cursor{Frame: 2})
	move(event.Blue, 0, "raw", event.Cursor{Frame: 1})
	move(event.Green, 7, "raw", event.Cursor{Frame: 4, Request: 2})
	for _, want := range []struct {
		stack event.Stack
		run   uint64
		stage warehouse.Stage
		at    event.Cursor
	}{
		{event.Green, 0, "raw", h.end()},
		{event.Green, 0, "trace", event.Cursor{Frame: 3, Request: 1}},
		{event.Green, 0, "ga4", event.Cursor{Frame: 2}},
		{event.Blue, 0, "raw", event.Cursor{Frame: 1}},
		{event.Green, 7, "raw", event.Cursor{Frame: 4, Request: 2}},
		{event.Blue, 7, "raw", event.Cursor{}},
		{event.Blue, 0, "trace", event.Cursor{}},
	} {
		if got, err := w.Cursor(t.Context(), want.stack, want.run, want.stage); err != nil || got != want.at {
			t.Errorf("cursor of %s, run %d, %s: %v, %v; want %v", want.stack, want.run, want.stage, got, err, want.at)
		}
	}
	if _, err := w.Cursor(t.Context(), "red", 0, warehouse.Raw); err == nil {
		t.Error("stack red has a cursor")
	}
}

func rangeWithoutRows(t *testing.T, w warehouse.Warehouse) {
	h, c := small(t)
	mustAppend(t, w, &warehouse.Batch{Stack: event.Green, Stage: warehouse.Raw, Journal: h.journal, To: event.Cursor{Frame: 3}, Controls: []*event.ControlEntry{c}})
	mustAppend(t, w, h.batch(event.Green, event.Cursor{Frame: 3}, h.end()))
	for _, r := range stored(t, w, "green.raw") {
		if r.Frame < 3 {
			t.Errorf("row %v lies below what was sent", r.Position)
		}
	}
	// A range of nothing brings its control records all the same.
	h.control(t, event.Cutover, event.Blue, 0)
	mustAppend(t, w, &warehouse.Batch{Stack: event.Green, Stage: warehouse.Raw, Journal: h.journal, From: event.Cursor{Frame: 1}, To: event.Cursor{Frame: 1},
		Controls: []*event.ControlEntry{h.timeline.Records()[1].Entry()}})
	if got := ask(t, w, "SELECT kind, live FROM timeline ORDER BY sequence"); !cmp.Equal(got, [][]any{{"initial", "green"}, {"cutover", "blue"}}) {
		t.Errorf("timeline %v", got)
	}
}

func largestNumbers(t *testing.T, w warehouse.Warehouse) {
	far := event.Position{Frame: math.MaxInt64 - 1, Request: math.MaxInt32 - 1, Item: math.MaxInt32}
	row := warehouse.Row{Position: far, EventID: "x", Timestamp: 1, Event: "e", Data: []byte("1"), ItemsInRequest: math.MaxInt32, Build: "b", Context: []byte("{}")}
	b := &warehouse.Batch{Stack: event.Green, Run: math.MaxInt64, Stage: warehouse.Raw, To: event.Cursor{Frame: far.Frame, Request: math.MaxInt32}, Rows: []warehouse.Row{row}}
	mustAppend(t, w, b)
	got := decode(t, ask(t, w, "SELECT "+rawColumns+" FROM green.raw WHERE run = ?", uint64(math.MaxInt64)))
	equalRows(t, "green.raw", b.Rows, got)
	if at, err := w.Cursor(t.Context(), event.Green, math.MaxInt64, warehouse.Raw); err != nil || at != b.To {
		t.Errorf("cursor %v, %v; want %v", at, err, b.To)
	}
}

func timestamps(t *testing.T, w warehouse.Warehouse) {
	h := newHistory("journal-1")
	times := []int64{0, 1, -1, 999_999, 1_000_000, 1_753_300_000_123_456, -2_208_988_800_000_001, 253_402_300_799_999_999, 1 << 52, 1<<53 + 1, 9_000_000_000_000_000_001}
	times = slices.DeleteFunc(times, func(at int64) bool { return !holds(w, at) })
	var items []int
	for range times {
		items = append(items, 1)
	}
	h.frame(items...)
	rows := h.frames[1]
	for i, at := range times {
		rows[i].Timestamp = at
	}
	mustAppend(t, w, h.batch(event.Green, event.Cursor{}, h.end()))
	equalRows(t, "green.raw", h.rows(), stored(t, w, "green.raw"))
}

// odd are bodies that clients send by accident or on purpose.
func odd() [][]byte {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	big := []byte(strings.Repeat("0123456789abcdef", 1<<16)) // 1 MiB
	bad := []byte(strings.Repeat("x", 1<<20))
	bad[1<<19] = 0xff
	return [][]byte{
		{}, {0}, []byte("\x00\x00\x00"), []byte("a\x00b"), []byte("ends with \x00"), {0xff}, {0xc3, 0x28}, []byte("\xed\xa0\x80"), []byte("\xf4\x90\x80\x80"), all,
		[]byte("{\"a\":\"\xff\"}"), []byte("𝔘𝔫𝔦𝔠𝔬𝔡𝔢 e\u0301 \u202e"), []byte("'; DROP TABLE green.raw; --"), []byte("\"\\\"\n\r\t\\N\\x00"), []byte("NULL"), []byte("null"),
		[]byte("twelve bytes"), []byte("thirteen byte"), []byte("twelve\x00ytes\xff"), big, bad, []byte(strings.Repeat("\x00", 100_000)),
		[]byte("\ufeff{}"), []byte("1e400"), []byte("12345678901234567890.000"),
	}
}

func oddBytes(t *testing.T, w warehouse.Warehouse) {
	h := newHistory("journal-1")
	bodies := odd()
	h.frame(len(bodies))
	h.frame(1, 1, 1)
	rows := h.frames[1]
	for i, body := range bodies {
		rows[i].Data = body
	}
	h.frames[2][0].Event = ""
	h.frames[2][1].Event = "name with \x00 and ' and \" and 😀"
	h.frames[2][2].Context = []byte(`{"ua":"x\u0000y"}`)
	mustAppend(t, w, h.batch(event.Green, event.Cursor{}, h.end()))
	equalRows(t, "green.raw", h.rows(), stored(t, w, "green.raw"))
}

func manyItems(t *testing.T, w warehouse.Warehouse) {
	h, c := small(t)
	h.frame(1, many(w, 30_000), 0, many(w, 20_000), 1)
	h.frame(1)
	mustAppend(t, w, h.batch(event.Green, event.Cursor{}, h.end(), c))
	equalRows(t, "green.raw", h.rows(), stored(t, w, "green.raw"))
	// The candidate's transactions are smaller; its rows are not.
	mustAppend(t, w, h.batch(event.Blue, event.Cursor{}, h.end(), c))
	equalRows(t, "blue.raw", h.rows(), stored(t, w, "blue.raw"))
}

// concurrentStage has many callers append overlapping parts of one stage at once, each going back where the warehouse
// says.
func concurrentStage(t *testing.T, w warehouse.Warehouse) {
	h := newHistory("journal-1")
	c := h.control(t, event.Initial, event.Green, 0)
	for i := range 300 {
		h.frame(1+i%3, 1, 2)
	}
	cuts := h.cuts()
	var wg sync.WaitGroup
	for n := range 8 {
		r := seed(t)
		wg.Go(func() {
			at := 0
			for at < len(cuts)-1 {
				to := min(at+1+r.IntN(20+n), len(cuts)-1)
				got, err := w.Append(t.Context(), h.batch(event.Green, cuts[at], cuts[to], c))
				var gap *warehouse.GapError
				switch {
				case errors.As(err, &gap):
					t.Errorf("gap %v although everything below was sent first", gap)
					return
				case errors.Is(err, warehouse.ErrBusy):
					continue
				case err != nil:
					t.Error(err)
					return
				case got.Compare(cuts[to]) < 0:
					t.Errorf("cursor %v after a batch up to %v", got, cuts[to])
					return
				}
				at = max(0, to-r.IntN(5))
				if to == len(cuts)-1 {
					at = to
				}
			}
		})
	}
	wg.Wait()
	equalRows(t, "green.raw", h.rows(), stored(t, w, "green.raw"))
}

// concurrentStacks has both stacks append at once, with flips in between that both bring.
func concurrentStacks(t *testing.T, w warehouse.Warehouse) {
	h := newHistory("journal-1")
	h.control(t, event.Initial, event.Green, 0)
	live := event.Green
	for i := range 400 {
		if i%37 == 36 {
			live = live.Other()
			h.control(t, event.Cutover, live, 0)
		}
		h.frame(1, 1+i%2)
	}
	var wg sync.WaitGroup
	for _, stack := range event.Stacks() {
		r := seed(t)
		wg.Go(func() {
			for from := uint64(0); from < h.next; {
				to := min(from+1+r.Uint64N(30), h.next)
				var controls []*event.ControlEntry
				for _, r := range h.timeline.Records() {
					if r.Sequence < to+5 { // may run ahead
						controls = append(controls, r.Entry())
					}
				}
				_, err := w.Append(t.Context(), h.batch(stack, event.Cursor{Frame: from}, event.Cursor{Frame: to}, controls...))
				if errors.Is(err, warehouse.ErrBusy) {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				from = to
			}
		})
	}
	wg.Wait()
	for _, stack := range event.Stacks() {
		equalRows(t, string(stack)+".raw", h.rows(), stored(t, w, string(stack)+".raw"))
	}
	checkViews(t, w, h.timeline, h.rows())
}

func cancelledAppend(t *testing.T, w warehouse.Warehouse) {
	h := newHistory("journal-1")
	c := h.control(t, event.Initial, event.Green, 0)
	for range 60 {
		h.frame(20)
	}
	r := seed(t)
	cuts := h.cuts()
	at := 0
	for at < len(cuts)-1 {
		to := min(at+1+r.IntN(10), len(cuts)-1)
		ctx, cancel := context.WithCancel(t.Context())
		b := h.batch(event.Green, cuts[at], cuts[to], c)
		done := make(chan error, 1)
		go func() {
			_, err := w.Append(ctx, b)
			done <- err
		}()
		for range r.IntN(2000) { // some are cancelled before, some while, some after
			_ = fmt.Sprint()
		}
		cancel()
		if err := <-done; err == nil {
			at = to
		} else if !errors.Is(err, context.Canceled) {
			t.Fatalf("cancelled append: %v", err)
		}
		// The rows are the caller's again, whatever came of them.
		for i := range b.Rows {
			b.Rows[i].Data = []byte("overwritten")
		}
	}
	if got, err := w.Cursor(t.Context(), event.Green, 0, warehouse.Raw); err != nil || got != h.end() {
		t.Fatalf("cursor %v, %v; want %v", got, err, h.end())
	}
	equalRows(t, "green.raw", h.rows(), stored(t, w, "green.raw"))
}
