package bigquery

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/sparrowhq/sparrow/warehouse"
	"github.com/sparrowhq/sparrow/warehouse/bigquery/fake"
)

// shape is a statement without what differs from one time to the next: names, numbers, instants, ranges of frames, lists.
func shape(sql string) string {
	for _, r := range []struct{ from, to string }{
		{"`(my-project|project)`", "`P`"}, {"`(shop_)?(green|blue|live|staging|sparrow)`", "`D`"}, {"'(shop_)?' AS prefix", "'' AS prefix"},
		{`(green|blue)_?`, "S"}, {`(raw|outcomes|corrections)_log`, "LOG"}, {`userId|deviceId`, "ID"}, {`TIMESTAMP '[^']*'`, "T"}, {"location = '[^']*'", "L"},
		{"`messageId`, .* AS stack", "COLUMNS AS stack"},
		{`event = '', (data = '', dataBytes = NULL, context|reason = '[a-z]+', digest = 0, sent = NULL, answer) = [^,]*`, "SET"},
		{"(ADD COLUMN IF NOT EXISTS `[A-Za-z]+` [A-Z0-9]+(, )?)+", "COLUMNS"}, {` OPTIONS \(L\)`, ""}, {`, partition_expiration_days = \d+`, ""},
		{`IN \(\d+(, \d+)*\)`, "IN N"}, {`frame (>=|BETWEEN|<) \d+( AND \d+)?|FALSE`, "F"}, {`\(F( OR F)*\)|\bF\b`, "F"}, {`\(\d+, \d+, \d+, \d+\)(, )?`, "S"}, {`S+`, "S"}, {`\b\d+\b`, "N"}, {`\s+`, " "},
		{"`timestamp` BETWEEN TIMESTAMP_MICROS\\(N\\) AND TIMESTAMP_MICROS\\(N\\)", "W"}, {"\\(?(W OR )?`timestamp` IS NULL AND micros IS NOT NULL\\)? AND run", "W AND run"},
		{`stage IN \([^)]*\)`, "stage IN L"}, {`UNNEST\(\['[^)]*'\]\) AS s`, "UNNEST(L) AS s"},
	} {
		sql = regexp.MustCompile(r.from).ReplaceAllString(sql, r.to)
	}
	return strings.TrimSuffix(strings.TrimSpace(sql), ";")
}

// TestEveryStatementIsGolden has the engine do everything that it can, and demands that each statement that reached the
// server stands in testdata, where make check-sql has Google's analyser read it.
func TestEveryStatementIsGolden(t *testing.T) {
	golden := map[string]bool{}
	files, err := filepath.Glob(filepath.Join("testdata", "*.sql"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, sql := range strings.Split(string(data), ";\n") {
			golden[shape(sql)] = true
		}
	}
	s := start(t, fake.Options{})
	o := options(s)
	o.DigestFrames = 8
	e := open(t, o)
	annsTraffic(t, e)
	if err := e.MakeDigests(t.Context(), 0, 31); err != nil {
		t.Fatal(err)
	}
	for stack, list := range goldenProperties {
		if err := e.Normalise(t.Context(), stack, list); err != nil {
			t.Fatal(err)
		}
	}
	for _, kind := range []string{warehouse.ByUser, warehouse.ByDevice} {
		if _, err := e.Erase(t.Context(), warehouse.Person{Kind: kind, ID: ann.ID}, "ops"); err != nil {
			t.Fatal(err)
		}
	}
	e.Close()
	if err := s.RemoveColumn(t.Context(), "green", "raw_log", "number"); err != nil {
		t.Fatal(err)
	}
	o.Retention = Retention{Raw: 30, Outcomes: 30}
	e = open(t, o)
	defer e.Close()
	rows, err := e.Query(t.Context(), warehouse.Query{SQL: "SELECT 1"}) // the caller's own
	if err != nil {
		t.Fatal(err)
	}
	rows.Close()
	asked := s.Statements()
	if len(asked) < 60 {
		t.Errorf("%d statements only", len(asked))
	}
	kinds := map[string]bool{}
	for _, sql := range asked {
		kinds[strings.Fields(sql)[0]] = true
		if !golden[shape(sql)] {
			t.Errorf("this reached the server and is in no file of testdata:\n%s\nlooked for as:\n%s", sql, shape(sql))
		}
	}
	for _, kind := range []string{"CREATE", "ALTER", "SELECT", "UPDATE", "DELETE", "INSERT"} {
		if !kinds[kind] {
			t.Errorf("nothing was seen of %s", kind)
		}
	}
}
