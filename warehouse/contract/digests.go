package contract

import (
	"fmt"
	"slices"
	"testing"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// framesOfDigest returns how many frames a digest covers.
func framesOfDigest(t *testing.T, w warehouse.Warehouse) uint64 {
	t.Helper()
	d, ok := engine(w).(warehouse.Digester)
	if !ok {
		t.Fatal("the engine keeps no digests")
	}
	n, err := d.DigestFrames(t.Context())
	if err != nil || n == 0 {
		t.Fatalf("digests of %d frames, %v", n, err)
	}
	return n
}

// makeDigests has engines make them that do so when they are asked to.
func makeDigests(t *testing.T, w warehouse.Warehouse, first, last uint64) {
	t.Helper()
	if d, ok := engine(w).(warehouse.DigestMaker); ok {
		if err := d.MakeDigests(t.Context(), first, last); err != nil {
			t.Fatal(err)
		}
	}
}

// digestLine is what a digest says of an event name, as text.
type digestLine struct {
	first int64 // frame
	text  string
}

// digestsOf returns a stack's digests of a stage, added up by bucket and name.
func digestsOf(t *testing.T, w warehouse.Warehouse, stack event.Stack, stage warehouse.Stage) (lines []digestLine, marks int64) {
	t.Helper()
	for _, r := range ask(t, w, fmt.Sprintf(`SELECT "first", "last", event, CAST(SUM("rows") AS BIGINT), CAST(SUM(digest) AS VARCHAR), CAST(SUM(places) AS VARCHAR), CAST(SUM(unordered) AS BIGINT), CAST(SUM(unplaced) AS VARCHAR), CAST(SUM(requests) AS BIGINT), CAST(SUM(marks) AS BIGINT)
FROM %s.digests WHERE stage = ? GROUP BY "first", "last", event ORDER BY "first", "last", event`, stack), string(stage)) {
		if n := r[9].(int64); n > 0 {
			marks += n
		}
		if r[2] != nil {
			lines = append(lines, digestLine{r[0].(int64), fmt.Sprintln(r...)})
		}
	}
	return lines, marks
}

// counted counts the rows themselves, as digests have to have counted those of closed buckets.
func counted(t *testing.T, w warehouse.Warehouse, from string, width uint64, stage warehouse.Stage, stack event.Stack) {
	t.Helper()
	const by = " GROUP BY 1, 2 ORDER BY 1, 2"
	want := ask(t, w, fmt.Sprintf(`SELECT frame - MOD(frame, %d) AS bucket, event, COUNT(*) AS n FROM %s AND frame < (SELECT MAX("last") FROM %s.digests WHERE stage = '%s' AND marks > 0)`, width, from, stack, stage)+by)
	got := ask(t, w, fmt.Sprintf(`SELECT "first", event, CAST(SUM("rows") AS BIGINT) FROM %s.digests WHERE stage = '%s' AND event IS NOT NULL`, stack, stage)+by)
	if len(want) == 0 || fmt.Sprint(want) != fmt.Sprint(got) {
		t.Errorf("%s, %s: digests count %v, the rows are %v", stack, stage, got, want)
	}
}

func digests(t *testing.T, w warehouse.Warehouse) {
	width := framesOfDigest(t, w)
	h := newHistory("j")
	first := h.control(t, event.Initial, event.Green, 0)
	r := seed(t)
	for range 60 {
		for range r.IntN(8) {
			h.frame(slices.Repeat([]int{1, 3}, 1+r.IntN(2))...)
		}
		h.next += r.Uint64N(2 * width / 10)
	}
	end := h.end()
	far := event.Cursor{Frame: end.Frame + 100*width}
	// The two stacks get the same rows in other batches, some of them twice.
	for _, stack := range event.Stacks() {
		at := event.Cursor{}
		for at.Frame < end.Frame {
			to := event.Cursor{Frame: min(end.Frame, at.Frame+1+r.Uint64N(2*width))}
			b := h.batch(stack, at, to, first)
			mustAppend(t, w, b)
			if r.IntN(3) == 0 {
				mustAppend(t, w, b)
			}
			at = to
		}
		mustAppend(t, w, h.outcomes(stack, "ga4", event.Cursor{}, end))
		makeDigests(t, w, 2*width, end.Frame) // some now, the others later
	}
	// One row of blue has other bytes, in the last bucket but some; another is there twice.
	odd := func(stack event.Stack) *warehouse.Batch {
		h.next = far.Frame - 50*width
		from := event.Cursor{Frame: end.Frame}
		a, b := h.frame(1), h.frame(1)
		batch := h.batch(stack, from, far)
		if stack == event.Blue {
			for i, r := range batch.Rows {
				switch r.Frame {
				case a:
					batch.Rows[i].Data = []byte(`{"event":"e"} `)
				case b:
					batch.Rows = append(batch.Rows, r)
				}
			}
		}
		return batch
	}
	for _, stack := range event.Stacks() {
		mustAppend(t, w, odd(stack))
		mustAppend(t, w, &warehouse.Batch{Stack: stack, Stage: "ga4", Journal: "j", From: end, To: far})
	}
	makeDigests(t, w, 0, far.Frame)
	makeDigests(t, w, 0, far.Frame)
	green, marks := digestsOf(t, w, event.Green, warehouse.Raw)
	blue, others := digestsOf(t, w, event.Blue, warehouse.Raw)
	if marks == 0 || marks != others || marks > int64(far.Frame/width) {
		t.Fatalf("%d and %d buckets are closed of %d", marks, others, far.Frame/width)
	}
	unlike := 0
	for i := range max(len(green), len(blue)) {
		switch {
		case i >= len(green) || i >= len(blue):
			t.Fatalf("green has %d lines of digests, blue %d", len(green), len(blue))
		case green[i] != blue[i] && green[i].first+int64(width) < int64(far.Frame-50*width):
			t.Errorf("equal rows have digests %s and %s", green[i].text, blue[i].text)
		case green[i] != blue[i]:
			unlike++
		}
	}
	if unlike == 0 || unlike > 2 {
		t.Errorf("%d lines of digests differ: want those of one changed row and one that is there twice", unlike)
	}
	unordered := ask(t, w, "SELECT CAST(SUM(unordered) AS BIGINT) FROM blue.digests")
	if unordered[0][0].(int64) == 0 {
		t.Error("nothing tells that a row is there twice")
	}
	if unordered := ask(t, w, "SELECT CAST(SUM(unordered) AS BIGINT) FROM green.digests"); unordered[0][0].(int64) != 0 {
		t.Errorf("%v rows are said not to follow each other", unordered[0][0])
	}
	if left := ask(t, w, `SELECT "first" FROM green.digests GROUP BY "first" HAVING SUM(unplaced) <> 0`); len(left) > 0 {
		t.Errorf("lists do not add up in buckets at %v", left)
	}
	for _, stack := range event.Stacks() {
		counted(t, w, string(stack)+".raw WHERE run = 0", width, warehouse.Raw, stack)
		counted(t, w, string(stack)+".outcomes_log WHERE run = 0 AND revision = 0 AND stage = 'ga4'", width, "ga4", stack)
	}
	before, _ := digestsOf(t, w, event.Green, "ga4")
	late := warehouse.Outcome{Position: h.rows()[0].Position, Event: "e", Outcome: "dead", Revision: 1}
	mustAppend(t, w, h.corrections(event.Green, "ga4", 0, late))
	if after, _ := digestsOf(t, w, event.Green, "ga4"); !slices.Equal(before, after) {
		t.Error("a correction changed the digests of what it corrects")
	}
}
