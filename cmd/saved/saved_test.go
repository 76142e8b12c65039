package saved

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sparrowhq/sparrow/docs"
	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
	"github.com/sparrowhq/sparrow/warehouse/duckdb"
)

var began = time.Date(2026, 3, 9, 12, 0, 0, 0, time.UTC)

// world has 600 clicks and page views in ten hours; of the clicks, blue, the candidate, lost every other, and green's
// second build half; "old" came in the first hour only; ga4 refused one.
func world(t *testing.T) *duckdb.Engine {
	t.Helper()
	e, err := duckdb.Open(duckdb.Options{Path: filepath.Join(t.TempDir(), "warehouse", "w.duckdb")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	fill(t, e, began)
	return e
}

// fill appends the world's events, from began on.
func fill(t *testing.T, e warehouse.Appender, began time.Time) {
	t.Helper()
	data, err := event.Control{Format: event.ControlFormat, Generation: 1, Kind: event.Initial, Live: event.Green}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for _, stack := range event.Stacks() {
		to := event.Cursor{Frame: 602}
		raw := &warehouse.Batch{Stack: stack, Stage: warehouse.Raw, Journal: "j", To: to, Controls: []*event.ControlEntry{{Sequence: 1, Record: data}}}
		ga4 := &warehouse.Batch{Stack: stack, Stage: "ga4", Journal: "j", To: to}
		for i := range 600 {
			name := []string{"click", "page"}[i%2]
			build := "release-1"
			if stack == event.Green && i >= 300 {
				build = "release-2"
			}
			switch {
			case i == 5:
				name = "old"
			case name == "click" && stack == event.Blue && i%4 == 0, name == "click" && build == "release-2" && i%4 == 2:
				continue
			}
			p, at := event.Position{Frame: uint64(i + 2)}, began.Add(time.Duration(i)*time.Minute).UnixMicro()
			raw.Rows = append(raw.Rows, warehouse.Row{Position: p, EventID: fmt.Sprintf("id-%d", i), Timestamp: at, Event: name, Data: []byte("{}"), ItemsInRequest: 1, Build: build})
			o := warehouse.Outcome{Position: p, Timestamp: at, Build: build, Event: name, Outcome: "delivered", Status: 200, Attempts: 1, Latency: 1500}
			if i == 591 {
				o.Outcome, o.Reason, o.Status = "dead", "refused", 400
			}
			ga4.Outcomes = append(ga4.Outcomes, o)
		}
		for _, b := range []*warehouse.Batch{raw, ga4} {
			if _, err := e.Append(t.Context(), b); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func ask(t *testing.T, e warehouse.Reader, name string, values map[string]string) string {
	t.Helper()
	q, ok := Find(name)
	if !ok {
		t.Fatalf("no query %s", name)
	}
	d, err := warehouse.DialectOf(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	q = q.In(d)
	sql, args, err := q.Bind(values)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	bound := read(t, e, warehouse.Query{SQL: sql, Args: args})
	if shown := read(t, e, warehouse.Query{SQL: q.Show(values)}); shown != bound {
		t.Errorf("%s answers %s, and as it is shown %s", name, bound, shown)
	}
	return bound
}

func read(t *testing.T, e warehouse.Reader, q warehouse.Query) string {
	t.Helper()
	rows, err := e.Query(t.Context(), q)
	if err != nil {
		t.Fatalf("%s: %v", q.SQL, err)
	}
	defer rows.Close()
	var out []string
	for {
		row, err := rows.Next()
		if errors.Is(err, io.EOF) {
			return strings.Join(out, "; ")
		}
		if err != nil {
			t.Fatalf("%s: %v", q.SQL, err)
		}
		for i, v := range row {
			if at, ok := v.(time.Time); ok {
				row[i] = at.Format("15:04")
			}
		}
		out = append(out, strings.TrimSpace(fmt.Sprintln(row...)))
	}
}

// TestAnswers asks the questions of a world whose answers are known.
func TestAnswers(t *testing.T) {
	e := world(t)
	for _, c := range []struct {
		name   string
		values map[string]string
		want   string
	}{
		{"underreports", map[string]string{"since": "2 days"}, "click 225 150 150 75; page 299 299 0 0; old 1 1 0 0"},
		{"underreports", map[string]string{"since": "59 minutes"}, "click 15 15 15 15; page 30 30 0 0"},
		{"stopped", nil, "old 1 12:05 09:54:00"},
		{"stopped", map[string]string{"quiet": "10 hours"}, ""},
		{"stopped", map[string]string{"within": "2 hours"}, ""},
		{"event", map[string]string{"id": "id-591"}, "live green raw 21:51 page stored  <nil> <nil> <nil> release-2; live green ga4 21:51 page dead refused 400 1 0 release-2"},
		{"event", map[string]string{"id": "x' OR '1'='1"}, ""},
		{"drop-by-release", nil, "release-2 17:00 old 1 0 0.333 0 0; release-2 17:00 click 150 75 50 33.333 0.667; release-2 17:00 page 149 150 49.667 66.667 1.342"},
		{"drop-by-release", map[string]string{"min": "226"}, ""},
		{"vendors", nil, "ga4 delivered 200 524 449; ga4 dead refused 400 1 1"},
		{"counts", nil, "page 299 299; click 225 150; old 1 1"},
		{"builds", nil, "blue release-1 450; green release-1 300; green release-2 225"},
		{"silent", map[string]string{"stage": "ga4"}, ""},
		{"latency", nil, "ga4 524 1.5 1.5"},
		{"history", nil, "1 1 initial green 2 00:00"},
	} {
		got := ask(t, e, c.name, c.values)
		if c.name == "event" { // the candidate's half is the same but for its build
			got, _, _ = strings.Cut(got, "; staging")
		}
		if strings.Join(strings.Fields(got), " ") != strings.Join(strings.Fields(c.want), " ") {
			t.Errorf("%s %v:\n %s\nwant\n %s", c.name, c.values, got, c.want)
		}
	}
	// Every one of them runs.
	for _, q := range All() {
		values := map[string]string{}
		for _, a := range q.Args {
			if a.Needed {
				values[a.Name] = "x"
			}
			if a.About == "" {
				t.Errorf("%s: %s is not explained", q.Name, a.Name)
			}
		}
		ask(t, e, q.Name, values)
		if q.About == "" {
			t.Errorf("%s does not say what it answers", q.Name)
		}
	}
}

// TestPage holds the page to its form: every query is shown once as it is typed, too.
func TestPage(t *testing.T) {
	all := All()
	if len(all) < 10 || strings.Count(docs.Queries, "\n```sql\n") != len(all) {
		t.Errorf("%d queries of %d", len(all), strings.Count(docs.Queries, "\n```sql\n"))
	}
	for _, q := range all {
		if strings.Count(docs.Queries, "sparrow query --saved "+q.Name+"\n")+strings.Count(docs.Queries, "sparrow query --saved "+q.Name+" ") != 1 {
			t.Errorf("%s is not shown as it is typed", q.Name)
		}
	}
	page, err := os.ReadFile("../../docs/queries.md")
	if err != nil || string(page) != docs.Queries {
		t.Errorf("the page is not the one that is built in: %v", err)
	}
	const google = "\n\n```googlesql\nSELECT 1\n```"
	for text, want := range map[string]string{
		"\n## a\n\nwords\n":                                    "no ```sql block",
		"\n## a\n\nwords\n\n```sql\nSELECT 1\n```":             "no ```googlesql block",
		"\n## a\n\n- `x`: y\n\n```sql\nSELECT 1\n```" + google: "does not use its argument x",
		"\n## a\n\n```sql\nSELECT {x}\n```" + google:           "does not explain {x}",
	} {
		if _, err := parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func TestBind(t *testing.T) {
	q := Query{Name: "q", Args: []Arg{{Name: "id", About: "an id", Needed: true}, {Name: "n", Default: "7"}}, text: "SELECT {n}, {id}, {n}"}
	sql, args, err := q.Bind(map[string]string{"id": "it's {n} ?"})
	if err != nil || sql != "SELECT ?, ?, ?" || fmt.Sprint(args) != "[7 it's {n} ? 7]" {
		t.Errorf("%s %v %v", sql, args, err)
	}
	if got := q.Show(map[string]string{"id": "it's"}); got != "SELECT '7', 'it''s', '7'" {
		t.Error(got)
	}
	if got := q.Show(nil); got != "SELECT '7', {id}, '7'" {
		t.Error(got)
	}
	if _, _, err := q.Bind(nil); err == nil || err.Error() != "q needs --arg id=…: an id" {
		t.Error(err)
	}
	if _, _, err := q.Bind(map[string]string{"id": "1", "x": "1"}); err == nil || err.Error() != `q has no argument "x": it has id, n` {
		t.Error(err)
	}
}
