package duckdb

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

func TestReopenedEngineGoesOn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "warehouse", "warehouse.duckdb")
	for round := range uint64(3) {
		e, err := Open(Options{Path: path})
		if err != nil {
			t.Fatal(err)
		}
		b := frames(event.Green, round*10, round*10+10, 3)
		b.Controls = []*event.ControlEntry{initial(t, event.Green)}
		if c, err := e.Cursor(t.Context(), event.Green, 0, warehouse.Raw); err != nil || c.Frame != round*10 {
			t.Errorf("round %d: cursor %v, %v", round, c, err)
		}
		if _, err := e.Append(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		if js, err := e.Journals(t.Context()); err != nil || len(js) != 1 || js[0] != (warehouse.Journal{ID: "j", First: 1, Highest: round*10 + 9}) {
			t.Errorf("round %d: journals %v, %v", round, js, err)
		}
		if live := e.state.live(); live != event.Green {
			t.Errorf("round %d: live is %q", round, live)
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(path + ".wal"); err == nil {
			t.Errorf("round %d: a log is left after Close", round)
		}
	}
}

// TestReopenedAmidAFrame: a cursor that stands within a frame is the same in the file, so that nothing that is sent again
// comes in twice or stays out.
func TestReopenedAmidAFrame(t *testing.T) {
	path := filepath.Join(t.TempDir(), "warehouse", "warehouse.duckdb")
	e, err := Open(Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	all := frames(event.Green, 0, 10, 5)
	for _, to := range []event.Cursor{{Frame: 3, Request: 1}, {Frame: 3, Request: 4}, {Frame: 6, Request: 2}, {Frame: 10}} {
		part := *all
		part.To = to
		part.Rows = slices.DeleteFunc(slices.Clone(all.Rows), func(r warehouse.Row) bool {
			return to.Compare(event.Cursor{Frame: r.Frame, Request: r.Position.Request}) <= 0
		})
		if _, err := e.Append(t.Context(), &part); err != nil {
			t.Fatal(err)
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		if e, err = Open(Options{Path: path}); err != nil {
			t.Fatal(err)
		}
		if c, err := e.Cursor(t.Context(), event.Green, 0, warehouse.Raw); err != nil || c != to {
			t.Errorf("cursor %v, %v after it stood at %v", c, err, to)
		}
	}
	defer e.Close()
	if got := table(t, e, "SELECT count(*), count(DISTINCT (frame, request)) FROM green.raw"); got != "40 40" {
		t.Errorf("rows, and different ones: %s, want 40 of each", got)
	}
}
