package census_test

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/trace/census"
	"github.com/sparrowhq/sparrow/warehouse"
	"github.com/sparrowhq/sparrow/warehouse/duckdb"
)

var noon = time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)

// world is a warehouse with one event a frame, frame n received n seconds after noon.
type world struct {
	t *testing.T
	e *duckdb.Engine
}

func newWorld(t *testing.T) *world {
	t.Helper()
	e, err := duckdb.Open(duckdb.Options{Path: filepath.Join(t.TempDir(), "w.duckdb")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return &world{t, e}
}

func (w *world) append(b *warehouse.Batch) {
	w.t.Helper()
	b.Stack, b.Journal = event.Green, "j"
	if _, err := w.e.Append(w.t.Context(), b); err != nil {
		w.t.Fatal(err)
	}
}

func at(frame uint64) int64 { return noon.Add(time.Duration(frame) * time.Second).UnixMicro() }

// raw stores events of frames 1 to n: even ones are page views, odd ones clicks.
func (w *world) raw(n uint64) {
	w.t.Helper()
	b := &warehouse.Batch{Stage: warehouse.Raw, To: event.AfterFrame(n)}
	for f := uint64(1); f <= n; f++ {
		b.Rows = append(b.Rows, warehouse.Row{
			Position: event.Position{Frame: f}, EventID: fmt.Sprintf("id-%d", f), Timestamp: at(f), Event: name(f), Data: []byte("{}"), ItemsInRequest: 1, Build: "b1", Context: []byte("{}"),
		})
	}
	w.append(b)
}

func name(frame uint64) string {
	if frame%2 == 0 {
		return "pageview"
	}
	return "click"
}

// outcomes stores those of a stage for frames 1 to n but for those that without names.
func (w *world) outcomes(stage warehouse.Stage, n uint64, build string, outcome func(frame uint64) (outcome, reason string)) {
	w.t.Helper()
	b := &warehouse.Batch{Stage: stage, To: event.AfterFrame(n)}
	for f := uint64(1); f <= n; f++ {
		if is, reason := outcome(f); is != "" {
			b.Outcomes = append(b.Outcomes, warehouse.Outcome{Position: event.Position{Frame: f}, Timestamp: at(f), Build: build, Event: name(f), Outcome: is, Reason: reason})
		}
	}
	w.append(b)
}

func (w *world) take() map[warehouse.Stage]census.Stage {
	w.t.Helper()
	stages, err := census.Take(w.t.Context(), census.Options{
		Warehouse: w.e, Stack: event.Green, Build: "b1", Events: map[string][]string{"ga4": {"pageview"}, "heap": {"click", "pageview"}, "new": {"pageview"}},
		Before: noon.Add(90 * time.Second), Since: noon.Add(10 * time.Second), Examples: 2,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	all := map[warehouse.Stage]census.Stage{}
	for _, s := range stages {
		all[s.Stage] = s
	}
	return all
}

func always(outcome string) func(uint64) (string, string) {
	return func(uint64) (string, string) { return outcome, "" }
}

func TestCensus(t *testing.T) {
	w := newWorld(t)
	w.raw(100)
	w.outcomes(warehouse.Trace, 80, "b1", func(f uint64) (string, string) {
		switch f {
		case 5, 40, 41: // 5 lies before what is looked at
			return "", ""
		case 42:
			return "rejected", "unknown event"
		}
		return "accepted", ""
	})
	w.outcomes("ga4", 60, "b1", func(f uint64) (string, string) {
		switch {
		case f == 50, f == 42, f%2 == 1:
			return "", "" // 50 is lost; 42 was rejected; clicks are none of its
		case f == 52:
			return "dead", "refused"
		}
		return "delivered", ""
	})
	w.outcomes("heap", 100, "b1", always("delivered"))
	got := w.take()
	want := map[warehouse.Stage]census.Stage{
		"trace": {
			Stage: "trace", Cursor: event.AfterFrame(80), Behind: 9, OldestAt: at(81), Lost: 2, // 81 to 89
			Examples: []census.Case{{Position: event.Position{Frame: 40}, EventID: "id-40", Event: "pageview"}, {Position: event.Position{Frame: 41}, EventID: "id-41", Event: "click"}},
			Outcomes: []census.Outcome{{"accepted", "", 68}, {"rejected", "unknown event", 1}},
		},
		"ga4": { // 62 to 80 accepted, 81 to 89 undecided
			Stage: "ga4", Cursor: event.AfterFrame(60), Behind: 10 + 9, OldestAt: at(62), Lost: 1,
			Examples: []census.Case{{Position: event.Position{Frame: 50}, EventID: "id-50", Event: "pageview"}},
			Outcomes: []census.Outcome{{"delivered", "", 23}, {"dead", "refused", 1}},
		},
		"heap": {Stage: "heap", Cursor: event.AfterFrame(100), Outcomes: []census.Outcome{{"delivered", "", 91}}},
		"new":  {Stage: "new", Behind: 34 + 2 + 9, OldestAt: at(10), Outcomes: []census.Outcome{}},
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
}

// What an earlier build decided had other trackers: it is no loss of the present one.
func TestEarlierBuildsAreNotBlamed(t *testing.T) {
	w := newWorld(t)
	w.raw(100)
	w.outcomes(warehouse.Trace, 100, "b0", always("accepted"))
	w.outcomes("ga4", 100, "b1", func(uint64) (string, string) { return "", "" })
	if s := w.take()["ga4"]; s.Lost != 0 || s.Behind != 0 {
		t.Errorf("%+v", s)
	}
}

func TestEmptyWarehouse(t *testing.T) {
	for stage, s := range newWorld(t).take() {
		if s.Lost != 0 || s.Behind != 0 || len(s.Outcomes) != 0 {
			t.Errorf("%s: %+v", stage, s)
		}
	}
}
