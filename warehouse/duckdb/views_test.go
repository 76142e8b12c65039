package duckdb

import (
	"strings"
	"testing"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// TestFrameRangesReachTheTables asks the views for a range of frames, after flips, and looks where DuckDB filters: in
// the scans themselves, so that row groups outside are never read.
func TestFrameRangesReachTheTables(t *testing.T) {
	e := openTest(t, Options{})
	b := frames(event.Green, 0, 50, 1)
	b.Controls = []*event.ControlEntry{initial(t, event.Green)}
	head, err := event.DecodeRecord(1, b.Controls[0].Record)
	if err != nil {
		t.Fatal(err)
	}
	for i, live := range []event.Stack{event.Blue, event.Green, event.Blue} {
		data, err := event.Control{Format: event.ControlFormat, Generation: head.Generation + 1, Kind: event.Cutover, Live: live, Previous: head.Hash()}.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if head, err = event.DecodeRecord(uint64(10*i+10), data); err != nil {
			t.Fatal(err)
		}
		b.Controls = append(b.Controls, head.Entry())
	}
	for _, stack := range event.Stacks() {
		b.Stack = stack
		if _, err := e.Append(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		o := &warehouse.Batch{Stack: stack, Stage: "ga4", Journal: "j", To: event.Cursor{Frame: 50}}
		for f := range uint64(50) {
			o.Outcomes = append(o.Outcomes, warehouse.Outcome{Position: event.Position{Frame: f}, Outcome: "delivered"})
		}
		if _, err := e.Append(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		late := &warehouse.Batch{Stack: stack, Stage: o.Stage.Late(), Journal: "j", To: event.Cursor{Frame: 1}, Outcomes: o.Outcomes[20:21]}
		late.Outcomes[0].Revision = 1
		if _, err := e.Append(t.Context(), late); err != nil {
			t.Fatal(err)
		}
	}
	for _, view := range []string{"live.raw", "staging.raw", "live.outcomes", "staging.outcomes", "live.raw_normalized"} {
		plan := table(t, e, "EXPLAIN (FORMAT JSON) SELECT * FROM "+view+" WHERE frame BETWEEN 12 AND 44")
		scans := strings.Split(plan, `"Table"`)[1:]
		if len(scans) < 2 {
			t.Fatalf("%s: %d scans in %s", view, len(scans), plan)
		}
		without := 0
		for _, scan := range scans {
			if _, filters, _ := strings.Cut(scan, `"Filters"`); !strings.Contains(filters, "frame>=") || !strings.Contains(filters, "frame<=") {
				without++
			}
		}
		allowed := 0
		if strings.HasSuffix(view, "outcomes") {
			allowed = 2 // of both stacks, the few corrections that outcomes are compared with
		}
		if without > allowed {
			t.Errorf("%s: %d of %d scans read all frames: %s", view, without, len(scans), plan)
		}
	}
}
