package contract

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

func wantJournals(t *testing.T, w warehouse.Warehouse, want ...warehouse.Journal) {
	t.Helper()
	got, err := w.Journals(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(want) == 0 {
		want = nil
	}
	if diff := cmp.Diff(want, got, cmp.Transformer("empty", func(j []warehouse.Journal) []warehouse.Journal { return append([]warehouse.Journal{}, j...) })); diff != "" {
		t.Errorf("journals (-want +got):\n%s", diff)
	}
}

func wantCollision(t *testing.T, w warehouse.Warehouse, b *warehouse.Batch, want warehouse.JournalError) {
	t.Helper()
	before := ask(t, w, "SELECT count(*) FROM timeline")
	at, err := w.Append(t.Context(), b)
	var e *warehouse.JournalError
	if !errors.As(err, &e) {
		t.Fatalf("batch [%v, %v) of journal %s: %v, %v; want a JournalError", b.From, b.To, b.Journal, at, err)
	}
	if *e != want {
		t.Fatalf("got %+v, want %+v", *e, want)
	}
	if after := ask(t, w, "SELECT count(*) FROM timeline"); !cmp.Equal(before, after) {
		t.Errorf("the refused batch changed the timeline: %v → %v records", before, after)
	}
}

// successor is a journal that begins at the given sequence.
func successor(t *testing.T, id string, at uint64, live event.Stack) (*history, *event.ControlEntry) {
	h := newHistory(id)
	h.next = at
	return h, h.control(t, event.Initial, live, 0)
}

func newJournal(t *testing.T, w warehouse.Warehouse) {
	wantJournals(t, w)
	h, c := small(t)
	mustAppend(t, w, h.batch(event.Green, event.Cursor{}, h.end(), c)) // frames 2 to 5
	wantJournals(t, w, warehouse.Journal{ID: "journal-1", First: 1, Highest: 5})

	// A journal made anew at 1, its feed going on from the cursor: what its frames 2 to 5 held would be missing.
	lost, lostFirst := successor(t, "journal-2", 1, event.Green)
	for range 10 {
		lost.frame(1)
	}
	wantCollision(t, w, lost.batch(event.Green, h.end(), lost.end(), lostFirst), warehouse.JournalError{Known: "journal-1", Got: "journal-2", Highest: 5, First: 1})
	// The same without its control records.
	wantCollision(t, w, lost.batch(event.Green, event.Cursor{Frame: 5}, lost.end()), warehouse.JournalError{Known: "journal-1", Got: "journal-2", Highest: 5, First: 5})
	wantCollision(t, w, lost.batch(event.Blue, event.Cursor{}, lost.end(), lostFirst), warehouse.JournalError{Known: "journal-1", Got: "journal-2", Highest: 5, First: 1})
	// A journal that begins on the last frame known.
	near, nearFirst := successor(t, "journal-3", 5, event.Green)
	near.frame(1)
	wantCollision(t, w, near.batch(event.Green, h.end(), near.end(), nearFirst), warehouse.JournalError{Known: "journal-1", Got: "journal-3", Highest: 5, First: 5})

	wantJournals(t, w, warehouse.Journal{ID: "journal-1", First: 1, Highest: 5})
	equalRows(t, "green.raw", h.rows(), stored(t, w, "green.raw"))

	above, first := successor(t, "journal-4", 6, event.Blue)
	above.frame(2, 1)
	above.frame(1)
	mustAppend(t, w, above.batch(event.Green, h.end(), above.end(), first))
	wantJournals(t, w, warehouse.Journal{ID: "journal-1", First: 1, Highest: 5}, warehouse.Journal{ID: "journal-4", First: 6, Highest: 8})
	equalRows(t, "green.raw", append(h.rows(), above.rows()...), stored(t, w, "green.raw"))
	equalRows(t, "live.raw", h.rows(), stored(t, w, "live.raw"))           // green was live
	equalRows(t, "staging.raw", above.rows(), stored(t, w, "staging.raw")) // blue is
}

func laggingStack(t *testing.T, w warehouse.Warehouse) {
	h, c := small(t)
	mustAppend(t, w, h.batch(event.Green, event.Cursor{}, h.end(), c))
	mustAppend(t, w, h.batch(event.Blue, event.Cursor{}, event.Cursor{Frame: 3, Request: 1}, c))
	next, first := successor(t, "journal-2", 6, event.Green)
	next.frame(1)
	// What blue missed of the old journal lies under a hole: its range goes on from its cursor.
	mustAppend(t, w, next.batch(event.Blue, event.Cursor{Frame: 3, Request: 1}, next.end(), first))
	mustAppend(t, w, next.batch(event.Green, h.end(), next.end(), first))
	wantJournals(t, w, warehouse.Journal{ID: "journal-1", First: 1, Highest: 5}, warehouse.Journal{ID: "journal-2", First: 6, Highest: 7})
	equalRows(t, "green.raw", append(h.rows(), next.rows()...), stored(t, w, "green.raw"))
	want := h.batch(event.Blue, event.Cursor{}, event.Cursor{Frame: 3, Request: 1}).Rows
	equalRows(t, "blue.raw", append(want, next.rows()...), stored(t, w, "blue.raw"))
}

func oldJournal(t *testing.T, w warehouse.Warehouse) {
	h, c := small(t)
	mustAppend(t, w, h.batch(event.Green, event.Cursor{}, h.end(), c))
	next, first := successor(t, "journal-2", 6, event.Green)
	next.frame(1)
	mustAppend(t, w, next.batch(event.Green, h.end(), next.end(), first))
	h.next = 20
	h.frame(1)
	wantCollision(t, w, h.batch(event.Green, next.end(), h.end(), c), warehouse.JournalError{Known: "journal-2", Got: "journal-1", Highest: 7, First: 8})
	wantCollision(t, w, h.batch(event.Blue, event.Cursor{}, h.end(), c), warehouse.JournalError{Known: "journal-2", Got: "journal-1", Highest: 7, First: 0})
	wantJournals(t, w, warehouse.Journal{ID: "journal-1", First: 1, Highest: 5}, warehouse.Journal{ID: "journal-2", First: 6, Highest: 7})
}

func bothStacksOneJournal(t *testing.T, w warehouse.Warehouse) {
	h, c := small(t)
	mustAppend(t, w, h.batch(event.Blue, event.Cursor{}, event.Cursor{Frame: 4, Request: 1}, c))
	wantJournals(t, w, warehouse.Journal{ID: "journal-1", First: 1, Highest: 4}) // part of frame 4 is here
	mustAppend(t, w, h.batch(event.Green, event.Cursor{}, event.Cursor{Frame: 3}, c))
	wantJournals(t, w, warehouse.Journal{ID: "journal-1", First: 1, Highest: 4})
	mustAppend(t, w, h.batch(event.Green, event.Cursor{Frame: 3}, h.end(), c))
	wantJournals(t, w, warehouse.Journal{ID: "journal-1", First: 1, Highest: 5})
}

func replay(t *testing.T, w warehouse.Warehouse) {
	h, c := small(t)
	mustAppend(t, w, h.batch(event.Green, event.Cursor{}, h.end(), c))
	old, oldFirst := successor(t, "archive", 1, event.Blue)
	old.frame(3, 1)
	b := old.batch(event.Blue, event.Cursor{}, old.end(), oldFirst)
	b.Run = 5
	mustAppend(t, w, b)
	wantJournals(t, w, warehouse.Journal{ID: "journal-1", First: 1, Highest: 5})
	equalRows(t, "run 5 of blue.raw", old.rows(), decode(t, ask(t, w, "SELECT "+rawColumns+" FROM blue.raw WHERE run = 5 ORDER BY frame, request, item")))
	if got := ask(t, w, "SELECT count(*) FROM timeline"); got[0][0] != int64(1) {
		t.Errorf("a replay changed the timeline: %v records", got[0][0])
	}
}
