package contract

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// checkViews compares live and staging with what the timeline says of each row, once for each stack that has them all.
func checkViews(t *testing.T, w warehouse.Warehouse, timeline event.Timeline, rows []warehouse.Row) {
	t.Helper()
	live, staging := map[string]string{}, map[string]string{}
	for _, r := range rows {
		stack, _ := timeline.At(r.Frame)
		if stack == "" {
			continue // before the first control record
		}
		live[r.Position.String()] = string(stack)
		staging[r.Position.String()] = string(stack.Other())
	}
	for view, want := range map[string]map[string]string{"live.raw": live, "staging.raw": staging} {
		got := map[string]string{}
		for _, row := range ask(t, w, "SELECT frame, request, item, stack FROM "+view) {
			at := fmt.Sprintf("%v.%v.%v", row[0], row[1], row[2])
			if _, double := got[at]; double {
				t.Errorf("%s has %s more than once", view, at)
			}
			got[at] = row[3].(string)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%s (-want +got):\n%s", view, diff)
		}
	}
}

// viewsProperty plays random timelines, flips and rollbacks to earlier frames, with both stacks bringing them at
// different times, and looks at the views after every few steps.
func viewsProperty(t *testing.T, w warehouse.Warehouse) {
	r := seed(t)
	h := newHistory("journal-1")
	h.frame(1) // a frame before any control record is nobody's
	h.control(t, event.Initial, event.Stacks()[r.IntN(2)], 0)
	at := map[event.Stack]uint64{}
	catchUp := func(stack event.Stack) {
		var controls []*event.ControlEntry
		for _, c := range h.timeline.Records() {
			controls = append(controls, c.Entry())
		}
		mustAppend(t, w, h.batch(stack, event.Cursor{Frame: at[stack]}, h.end(), controls...))
		at[stack] = h.next
	}
	for range 60 {
		switch n := r.IntN(10); {
		case n < 5:
			for range 1 + r.IntN(4) {
				h.frame(1+r.IntN(2), r.IntN(3))
			}
		case n < 7:
			h.control(t, event.Cutover, h.timeline.Live().Other(), 0)
		case n < 8:
			h.control(t, event.Rollback, h.timeline.Live().Other(), 1+r.Uint64N(h.next))
		case n < 9:
			h.control(t, event.Candidate, h.timeline.Live(), 0)
		default:
			catchUp(event.Stacks()[r.IntN(2)])
		}
		if r.IntN(8) == 0 {
			catchUp(event.Green)
			catchUp(event.Blue)
			checkViews(t, w, h.timeline, h.rows())
		}
	}
	catchUp(event.Blue)
	catchUp(event.Green)
	checkViews(t, w, h.timeline, h.rows())
	// Each event that any record assigns is in live once and in staging once, and nowhere twice.
	want := int64(0)
	for _, row := range h.rows() {
		if stack, _ := h.timeline.At(row.Frame); stack != "" {
			want++
		}
	}
	for _, view := range []string{"live.raw", "staging.raw"} {
		got := ask(t, w, `SELECT count(*), count(DISTINCT "eventId") FROM `+view)
		if !cmp.Equal(got, [][]any{{want, want}}) {
			t.Errorf("%s: rows and distinct events %v, want %d of each", view, got, want)
		}
	}
}

func viewsRunZero(t *testing.T, w warehouse.Warehouse) {
	h, c := small(t)
	mustAppend(t, w, h.batch(event.Green, event.Cursor{}, h.end(), c))
	b := h.batch(event.Green, event.Cursor{}, h.end())
	b.Run = 3
	mustAppend(t, w, b)
	equalRows(t, "live.raw", h.rows(), decode(t, ask(t, w, "SELECT "+rawColumns+" FROM live.raw ORDER BY frame, request, item")))
}

func controlsFromBoth(t *testing.T, w warehouse.Warehouse) {
	h, c := small(t)
	flip := h.control(t, event.Cutover, event.Blue, 0)
	h.frame(1)
	back := h.control(t, event.Rollback, event.Green, 4)
	h.frame(2)
	// Green brings the first two, blue all three, green all three again.
	mustAppend(t, w, h.batch(event.Green, event.Cursor{}, event.Cursor{Frame: flip.Sequence}, c, flip))
	mustAppend(t, w, h.batch(event.Blue, event.Cursor{}, h.end(), c, flip, back))
	mustAppend(t, w, h.batch(event.Green, event.Cursor{Frame: flip.Sequence}, h.end(), c, flip, back))
	var want [][]any
	for _, r := range h.timeline.Records() {
		want = append(want, []any{int64(r.Sequence), int64(r.Generation), string(r.Kind), string(r.Live), string(r.Bytes)})
	}
	if diff := cmp.Diff(want, ask(t, w, "SELECT sequence, generation, kind, live, record FROM timeline ORDER BY sequence")); diff != "" {
		t.Errorf("timeline (-want +got):\n%s", diff)
	}
	if got := ask(t, w, `SELECT "from" FROM timeline ORDER BY sequence`); !cmp.Equal(got, [][]any{{int64(2)}, {int64(flip.Sequence + 1)}, {int64(4)}}) {
		t.Errorf("first frames %v", got)
	}
	checkViews(t, w, h.timeline, h.rows())
}

func foreignControl(t *testing.T, w warehouse.Warehouse) {
	h, c := small(t)
	flip := h.control(t, event.Cutover, event.Blue, 0)
	mustAppend(t, w, h.batch(event.Green, event.Cursor{}, h.end(), c, flip))

	other := newHistory(h.journal)
	other.control(t, event.Initial, event.Blue, 0) // another first record at the same place
	for other.next < h.next {
		other.frame(1)
	}
	later := other.control(t, event.Cutover, event.Green, 0)
	other.frame(1)
	for name, controls := range map[string][]*event.ControlEntry{
		"another record at a known place": {other.timeline.Records()[0].Entry()},
		"a record between known ones":     {{Sequence: 3, Record: c.Record}},
		"a record of another chain":       {later},
		"a record after a missing one":    {{Sequence: h.next + 1, Record: flip.Record}},
	} {
		if at, err := w.Append(t.Context(), other.batch(event.Green, event.Cursor{Frame: h.next}, other.end(), controls...)); err == nil {
			t.Errorf("%s: taken, cursor %v", name, at)
		}
	}
	equalRows(t, "green.raw", h.rows(), stored(t, w, "green.raw"))
	if got := ask(t, w, "SELECT count(*) FROM timeline"); got[0][0] != int64(2) {
		t.Errorf("%v control records, want 2", got[0][0])
	}
}
