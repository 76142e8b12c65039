package bigquery

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
	"github.com/sparrowhq/sparrow/warehouse/bigquery/fake"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares statements with a file of testdata.
func golden(t *testing.T, name string, statements []string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	got := strings.Join(statements, ";\n\n") + ";\n"
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
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
	if d := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); d != "" {
		t.Errorf("%s (run with -update to accept): -want +got\n%s", path, d)
	}
}

// goldenProperties are columns of every type.
var goldenProperties = properties{
	event.Green: {{Name: "plan", Keys: []string{"plan"}, Type: "string"}, {Name: "Cart.Total", Keys: []string{"Cart", "Total"}, Type: "number"}, {Name: "n", Keys: []string{"n"}, Type: "integer"}, {Name: "at", Keys: []string{"at"}, Type: "time"}},
	event.Blue:  {{Name: "plan", Keys: []string{"plan"}, Type: "json"}, {Name: "ok", Keys: []string{`it's "ok" \ é`}, Type: "boolean"}, {Name: "n", Keys: []string{"n"}, Type: "string"}},
}

// TestStatements shows every statement in full.
func TestStatements(t *testing.T) {
	n := names{"my-project", "shop_"}
	made, err := Statements(Options{Project: n.project, Prefix: n.prefix, Location: "EU", Retention: Retention{Outcomes: 90}})
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "init.sql", made)

	var timeline event.Timeline
	for i, c := range []event.Control{{Kind: event.Initial, Live: event.Green}, {Kind: event.Cutover, Live: event.Blue}, {Kind: event.Rollback, Live: event.Green, From: 40}} {
		c.Format, c.Generation = event.ControlFormat, uint64(i+1)
		if head, ok := timeline.Head(); ok {
			c.Previous = head.Hash()
		}
		data, err := c.Encode()
		if err != nil {
			t.Fatal(err)
		}
		r, err := event.DecodeRecord(uint64(1+30*i), data)
		if err != nil {
			t.Fatal(err)
		}
		if timeline, err = timeline.Append(r); err != nil {
			t.Fatal(err)
		}
	}
	columns := goldenProperties
	golden(t, "views.sql", n.cutViews(timeline, columns))
	of := outcomesLog.table(event.Blue)
	golden(t, "reads.sql", []string{n.journals(), n.records(), n.properties(), n.arrived(of), n.cursors(of)})
	spots := []spot{{0, event.Position{Frame: 7, Item: 1}}, {3, event.Position{Frame: 4611686018427387904, Request: 2}}}
	erasing := []string{n.days(rawLog.table(event.Green))}
	for _, kind := range []string{warehouse.ByUser, warehouse.ByDevice} {
		erasing = append(erasing, n.find(event.Green, warehouse.Person{Kind: kind}, 20521, 0), n.find(event.Green, warehouse.Person{Kind: kind}, noDay, 4711))
	}
	for _, l := range logs {
		erasing = append(erasing, n.locate(l.table(event.Green), spots), n.bury(l, event.Green, 20521, spots), n.bury(l, event.Green, noDay, spots))
	}
	golden(t, "erase.sql", append(erasing, n.forget(event.Green, spots, warehouse.DigestFrames)))
	some := []shelf{{number: 3, rows: map[warehouse.Stage]int64{warehouse.Raw: 7}, from: 1_790_000_000_000_000, to: 1_790_000_900_000_000},
		{number: 4, rows: map[warehouse.Stage]int64{warehouse.Raw: 0}, from: lastTime, to: firstTime}}
	odd := []shelf{{number: 5, rows: map[warehouse.Stage]int64{"trace": 7, "o'hara {0}": 6}, from: 1_790_000_000_000_000, to: 1_790_000_900_000_000, odd: true}}
	const width = warehouse.DigestFrames
	golden(t, "digests.sql", []string{
		n.marked(event.Green), n.told(event.Green, rawLog, width), n.told(event.Blue, outcomesLog, width),
		n.seen(event.Green, rawLog, some, width), n.seen(event.Blue, outcomesLog, odd, width),
		n.makeDigests(event.Green, rawLog, some, width), n.makeDigests(event.Blue, outcomesLog, odd, width),
	})
	changed := []string{n.expire(rawLog.table(event.Green), 31)}
	for _, keep := range []Retention{{}, {Raw: 30, Outcomes: 90}} {
		for _, sql := range n.fixedViews(keep.days) {
			if strings.Contains(sql, "`expired` AS") {
				changed = append(changed, sql)
			}
		}
	}
	golden(t, "columns.sql", append(changed, n.addColumns(rawLog.table(event.Green), rawColumns[:2])))
}

// TestInitAgain makes everything, and changes nothing the second time.
func TestInitAgain(t *testing.T) {
	s := start(t, fake.Options{})
	o := options(s)
	if err := Init(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	jobs := s.Calls("jobs.insert")
	if err := Init(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if n := s.Calls("jobs.insert") - jobs; n != 0 {
		t.Errorf("%d statements the second time, want none", n)
	}
	e := open(t, o)
	defer e.Close()
	j := newTraffic(t, 10)
	appendAll(t, e, j)
	if err := Init(t.Context(), o); err != nil { // beside a warehouse that runs
		t.Fatal(err)
	}
	j.frames += 5
	for _, stack := range event.Stacks() {
		if _, err := e.Append(t.Context(), j.batch(stack, warehouse.Raw, event.Cursor{Frame: 12}, j.end())); err != nil {
			t.Fatal(err)
		}
	}
}

// TestColumnsThatAreMissingAreAdded takes a column away, as a table of an earlier build lacks it: before a start, and
// under a warehouse that runs.
func TestColumnsThatAreMissingAreAdded(t *testing.T) {
	s := start(t, fake.Options{})
	e := open(t, options(s))
	j := newTraffic(t, 10)
	half := event.Cursor{Frame: 6}
	if _, err := e.Append(t.Context(), j.batch(event.Green, warehouse.Raw, event.Cursor{}, half)); err != nil {
		t.Fatal(err)
	}
	if err := s.RemoveColumn(t.Context(), "green", "raw_log", "number"); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Append(t.Context(), j.batch(event.Green, warehouse.Raw, half, event.Cursor{Frame: 8})); err != nil {
		t.Fatalf("a column went missing: %v", err)
	}
	e.Close()
	if err := s.RemoveColumn(t.Context(), "green", "raw_log", "number"); err != nil {
		t.Fatal(err)
	}
	e = open(t, options(s))
	defer e.Close()
	if _, err := e.Append(t.Context(), j.batch(event.Green, warehouse.Raw, event.Cursor{Frame: 8}, j.end())); err != nil {
		t.Fatal(err)
	}
	want := int64(len(j.batch(event.Green, warehouse.Raw, event.Cursor{}, j.end()).Rows))
	err := e.each(t.Context(), "SELECT COUNT(*), COUNT(DISTINCT eventId) FROM green.raw", func(r []any) error {
		if r[0] != want || r[1] != want {
			t.Errorf("%v rows, %v events; want %d", r[0], r[1], want)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestNewerTablesAreRefused plants what a newer build would have written.
func TestNewerTablesAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		"Written by Sparrow; do not edit. format=2 writer=x": "run the newer build",
		"raw events, ask Ann":                                "set it to",
	} {
		_, err := parseDescription("green.raw_log", text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want an error that says: %s", text, err, want)
		}
	}
	d := description{}
	for _, s := range []string{"projects/p/datasets/d/tables/t/streams/a", "b", "c"} {
		d = d.claimed(s)
	}
	got, err := parseDescription("t", describe(d))
	if err != nil || got.writer != "c" || !cmp.Equal(got.before, []string{"b", "projects/p/datasets/d/tables/t/streams/a"}) {
		t.Errorf("read back %+v, %v", got, err)
	}
}

// TestScannedBytesAreBounded has the server say what a query would cost.
func TestScannedBytesAreBounded(t *testing.T) {
	s := start(t, fake.Options{Scanned: 5 << 30})
	o := options(s)
	o.MaxScanned = 4 << 30
	e := open(t, o)
	defer e.Close()
	before := s.Calls("jobs.getQueryResults")
	_, err := e.Query(t.Context(), warehouse.Query{SQL: "SELECT * FROM green.raw"})
	if err == nil || !strings.Contains(err.Error(), "bytes") {
		t.Errorf("%v, want the query refused for what it scans", err)
	}
	if s.Calls("jobs.getQueryResults") != before {
		t.Error("the query ran")
	}
}

// TestRetention sets, changes and leaves alone for how long BigQuery keeps days. What expires lies in days; a cursor, and an
// event whose time is in none, do not.
func TestRetention(t *testing.T) {
	s := start(t, fake.Options{})
	o := options(s)
	days := func(table string) string { return s.Option("green", table, "partition_expiration_days") }
	for _, c := range []struct {
		keep          Retention
		raw, outcomes string
	}{
		{Retention{}, "", ""}, {Retention{Raw: 30}, "31", ""}, {Retention{Raw: 60, Outcomes: 7}, "61", "8"}, {Retention{}, "61", "8"},
	} {
		o.Retention = c.keep
		if err := Init(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		if days("raw_log") != c.raw || days("outcomes_log") != c.outcomes || days("corrections_log") != c.outcomes {
			t.Errorf("%+v: %q, %q, %q", c.keep, days("raw_log"), days("outcomes_log"), days("corrections_log"))
		}
	}
	if got := s.Option("sparrow", "timeline_log", "partition_expiration_days"); got != "" {
		t.Errorf("the timeline is kept for %s days", got)
	}
	o.Retention = Retention{Raw: -1}
	if err := Init(t.Context(), o); err == nil {
		t.Error("a retention below 0 was taken")
	}
	o.Retention = Retention{Raw: 5}
	fresh := start(t, fake.Options{})
	o.Endpoint, o.GRPC = fresh.REST(), fresh.GRPC()
	open(t, o).Close()
	if got := fresh.Option("blue", "raw_log", "partition_expiration_days"); got != "6" {
		t.Errorf("a new table keeps days for %q", got)
	}
}
