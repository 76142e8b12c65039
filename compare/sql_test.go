package compare

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares got with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := gocmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); d != "" {
		t.Errorf("%s (run with -update to accept): -want +got\n%s", path, d)
	}
}

// TestStatements shows every statement in full: these are what a new dialect has to say in its own words.
func TestStatements(t *testing.T) {
	whole := part{first: 3, last: 33335, origin: 3, width: 9}
	some := part{first: 3, last: 1000, origin: 3, width: 9, buckets: []uint64{0, 7, 110}}
	live := edge{stack: event.Green, cursor: event.Cursor{Frame: 33336}}
	candidate := edge{stack: event.Blue, cursor: event.Cursor{Frame: 33000, Request: 2}, holes: []Hole{
		{From: event.Cursor{Frame: 12, Request: 1}, To: event.Cursor{Frame: 12, Request: 2}, Reason: "dead"},
		{From: event.Cursor{Frame: 20}, To: event.Cursor{Frame: 40}, Reason: "expired"},
	}}
	all := []warehouse.Stage{"trace", "ga4", "o'hara"}
	corrected := edge{stack: event.Blue, cursor: candidate.cursor, holes: candidate.holes, corrected: true, traceCorrected: true}
	google := googleSQL("").dated(days{began, began + 900_000_000}, days{began, began + 901_000_000})
	for name, sql := range map[string]string{
		"expired":  duckSQL.expired(Window{First: 3, Last: 33335}),
		"disorder": duckSQL.disorder(event.Green, "o'hara", some),
	} {
		t.Run("duckdb/"+name, func(t *testing.T) { golden(t, filepath.Join("duckdb", name+".sql"), sql+"\n") })
	}
	for name, sql := range map[string]string{
		"expired":            google.expired(Window{First: 3, Last: 33335}),
		"digest-unexercised": google.digestUnexercised(event.Green, event.Blue, Window{First: 3, Last: 33335}, began, began+900_000_000),
		"received":           google.received(Window{First: 3, Last: 33335}),
		"dated-profile":      google.profile(event.Green, some, true),
		"dated-places":       google.places(event.Green, whole),
		"dated-details":      google.details(event.Blue, [][]uint64{{12, 1, 0}, {13, 0, 2}}, maxDiffed),
		"dated-outcomes":     google.outcomeFaults(live, candidate, "trace", some, 5),
		"dated-corrected":    google.outcomeFaults(live, corrected, "ga4", whole, 5),
	} {
		t.Run("bigquery/"+name, func(t *testing.T) { golden(t, filepath.Join("bigquery", name+".sql"), google.words(sql)+"\n") })
	}
	for engine, d := range map[string]dialect{"duckdb": duckSQL, "bigquery": googleSQL("")} {
		for name, sql := range map[string]string{
			"digest-marks":           d.marks(event.Green, whole),
			"digest-profile":         d.digestProfile(event.Green, some, false),
			"digest-profile-ids":     d.digestProfile(event.Green, some, true),
			"digest-names":           d.digestNames(event.Green, whole),
			"digest-builds":          d.digestBuilds(event.Green, whole),
			"digest-places":          d.digestPlaces(event.Green, whole),
			"digest-outcome-profile": d.digestOutcomeProfile(event.Green, all, whole),
			"digest-outcome-names":   d.digestOutcomeNames(event.Green, liveSink, all, whole),
			"digest-repeated":        d.digestRepeated(event.Green, "o'hara", some),
			"digest-unanswered":      d.digestUnanswered(event.Green, whole),
			"digest-count":           d.digestCount(event.Green, all, whole),
			"count":                  d.count(event.Green, whole),
			"outcome-count":          d.outcomeCount(event.Green, all, whole),
		} {
			t.Run(engine+"/"+name, func(t *testing.T) { golden(t, filepath.Join(engine, name+".sql"), d.words(sql)+"\n") })
		}
	}
	for engine, d := range map[string]dialect{"duckdb": duckSQL, "bigquery": googleSQL("")} {
		for name, sql := range map[string]string{
			"cursors":                    d.cursors(),
			"outcome-profile":            d.outcomeProfile(event.Green, all, whole),
			"outcome-names":              d.outcomeNames(event.Green, false, liveSink, all, whole),
			"outcome-names-as-corrected": d.outcomeNames(event.Blue, true, candidateSink, all, some),
			"late":                       d.late(event.Blue, all, whole),
			"strays":                     d.strays(event.Blue, false, candidateSink, all, whole, 5),
			"repeated":                   d.repeated(event.Green, "ga4", some),
			"unanswered":                 d.unanswered(event.Green, whole),
			"outcome-faults-trace":       d.outcomeFaults(live, candidate, "trace", some, 5),
			"outcome-faults":             d.outcomeFaults(live, corrected, "ga4", whole, 5),
			"outcome-details":            d.outcomeDetails(event.Blue, "o'hara", [][]uint64{{12, 1, 0}, {13, 0, 2}}, maxDiffed),
			"profile":                    d.profile(event.Blue, whole, false),
			"profile-ids":                d.profile(event.Green, whole, true),
			"places":                     d.places(event.Green, whole),
			"names":                      d.names(event.Blue, whole),
			"builds":                     d.builds(event.Blue, whole),
			"requests":                   d.requests(event.Green, event.Blue, some),
			"faults":                     d.faults(live, edge{stack: event.Blue, cursor: live.cursor}, some, false, 5),
			"faults-holes":               d.faults(live, candidate, whole, true, 5),
			"details":                    d.details(event.Blue, [][]uint64{{12, 1, 0}, {13, 0, 2}}, maxDiffed),
			"unexercised":                d.unexercised(event.Green, event.Blue, Window{First: 3, Last: 33335}, began),
		} {
			t.Run(engine+"/"+name, func(t *testing.T) { golden(t, filepath.Join(engine, name+".sql"), d.words(sql)+"\n") })
		}
	}
}
