package cmd

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/telemetry"
	"github.com/sparrowhq/sparrow/trace/pipeline"
	"github.com/sparrowhq/sparrow/warehouse"
	"github.com/sparrowhq/sparrow/warehouse/duckdb"
)

// What an alert goes by: two events were received ten minutes ago, of one trace said nothing, and ga4 is behind with the
// other.
func TestStandingCheckMetrics(t *testing.T) {
	w, err := duckdb.Open(duckdb.Options{Path: filepath.Join(t.TempDir(), "w.duckdb")})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	now := time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)
	at := now.Add(-10 * time.Minute).UnixMicro()
	for _, b := range []*warehouse.Batch{
		{Stage: warehouse.Raw, Rows: []warehouse.Row{
			{Position: event.Position{Frame: 1}, EventID: "a", Timestamp: at, Event: "pageview", Data: []byte("{}"), Build: "b", Context: []byte("{}"), ItemsInRequest: 1},
			{Position: event.Position{Frame: 2}, EventID: "b", Timestamp: at, Event: "pageview", Data: []byte("{}"), Build: "b", Context: []byte("{}"), ItemsInRequest: 1},
		}},
		{Stage: warehouse.Trace, Outcomes: []warehouse.Outcome{{Position: event.Position{Frame: 2}, Timestamp: at, Build: "b", Event: "pageview", Outcome: "accepted"}}},
	} {
		b.Stack, b.Journal, b.To = event.Green, "j", event.AfterFrame(2)
		if _, err := w.Append(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	tel := telemetry.Discard()
	s, err := newStanding(event.Green, 5*time.Minute, w, tel)
	if err != nil {
		t.Fatal(err)
	}
	s.build, s.config = func() event.Build { return event.Build{ID: "b"} }, func() pipeline.Config {
		return pipeline.Config{Events: map[string]pipeline.EventRule{"pageview": {}}, Trackers: map[string]pipeline.TrackerRule{"ga4": {}}}
	}
	if n := testutil.CollectAndCount(s); n != 0 {
		t.Errorf("%d metrics before the first check", n)
	}
	if err := s.check(t.Context(), now); err != nil {
		t.Fatal(err)
	}
	want := `
# HELP sparrow_census_lost_events Events without an outcome although the stage says that all up to there is final.
# TYPE sparrow_census_lost_events gauge
sparrow_census_lost_events{stack="green",stage="ga4"} 0
sparrow_census_lost_events{stack="green",stage="trace"} 1
# HELP sparrow_census_overdue_events Events that should be final at the stage and are not.
# TYPE sparrow_census_overdue_events gauge
sparrow_census_overdue_events{stack="green",stage="ga4"} 2
sparrow_census_overdue_events{stack="green",stage="trace"} 0
# HELP sparrow_census_overdue_oldest_seconds Age of the oldest of them at the last check; 0 if there is none.
# TYPE sparrow_census_overdue_oldest_seconds gauge
sparrow_census_overdue_oldest_seconds{stack="green",stage="ga4"} 600
sparrow_census_overdue_oldest_seconds{stack="green",stage="trace"} 0
`
	if err := testutil.CollectAndCompare(s, strings.NewReader(want), "sparrow_census_lost_events", "sparrow_census_overdue_events", "sparrow_census_overdue_oldest_seconds"); err != nil {
		t.Error(err)
	}
}
