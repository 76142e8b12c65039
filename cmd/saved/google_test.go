package saved

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sparrowhq/sparrow/warehouse"
	"github.com/sparrowhq/sparrow/warehouse/bigquery"
	"github.com/sparrowhq/sparrow/warehouse/bigquery/fake"
)

var update = flag.Bool("update", false, "rewrite the golden file")

var clock = regexp.MustCompile(`\d\d:\d\d`)

// TestAnswersOfBigQuery asks the same questions of the same world in BigQuery, a fake one. Its last event came just now,
// since intervals count from now there.
func TestAnswersOfBigQuery(t *testing.T) {
	s, err := fake.Start(fake.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	e, err := bigquery.Open(t.Context(), bigquery.Options{Project: "project", Prefix: "shop_", Endpoint: s.REST(), GRPC: s.GRPC()})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	fill(t, e, time.Now().Add(-599*time.Minute))
	for _, c := range []struct {
		name   string
		values map[string]string
		want   string
	}{
		{"underreports", map[string]string{"since": "2 days"}, "click 225 150 150 75; page 299 299 0 0; old 1 1 0 0"},
		{"stopped", nil, "old 1 T"},
		{"stopped", map[string]string{"quiet": "10 hours"}, ""},
		{"stopped", map[string]string{"within": "2 hours"}, ""},
		{"event", map[string]string{"id": "id-591"}, "live green raw T page stored  <nil> <nil> <nil> release-2; live green ga4 T page dead refused 400 1 0 release-2"},
		{"event", map[string]string{"id": "x' OR '1'='1"}, ""},
		{"event", map[string]string{"id": `x\' OR 1=1 -- `}, ""},
		{"drop-by-release", nil, "release-2 T old 1 0 0.333 0 0; release-2 T click 150 75 50 33.333 0.667; release-2 T page 149 150 49.667 66.667 1.342"},
		{"drop-by-release", map[string]string{"min": "226"}, ""},
		{"vendors", nil, "ga4 delivered 200 524 449; ga4 dead refused 400 1 1"},
		{"counts", nil, "page 299 299; click 225 150; old 1 1"},
		{"builds", nil, "blue release-1 450; green release-1 300; green release-2 225"},
		{"silent", map[string]string{"stage": "ga4"}, ""},
		{"latency", nil, "ga4 524 1.5 1.5"},
		{"history", nil, "1 1 initial green 2 T"},
		{"expired", nil, ""},
	} {
		got := ask(t, e, c.name, c.values)
		if c.name == "event" {
			got, _, _ = strings.Cut(got, "; staging")
		}
		if got = clock.ReplaceAllString(got, "T"); strings.Join(strings.Fields(got), " ") != strings.Join(strings.Fields(c.want), " ") {
			t.Errorf("%s %v:\n %s\nwant\n %s", c.name, c.values, got, c.want)
		}
	}
	for _, q := range All() {
		values := map[string]string{}
		for _, a := range q.Args {
			if a.Needed {
				values[a.Name] = "x"
			}
		}
		ask(t, e, q.Name, values)
	}
}

// TestGoogleSQL keeps every statement where make check-sql finds it, as it is sent and as it is shown.
func TestGoogleSQL(t *testing.T) {
	var all []string
	number := regexp.MustCompile(`TIMESTAMP_MICROS\(\d+\)`)
	for _, q := range All() {
		values := map[string]string{}
		for _, a := range q.Args {
			if a.Needed {
				values[a.Name] = `it's \`
			}
		}
		q = q.In(warehouse.Dialect{Google: true, Prefix: "shop_"})
		sql, _, err := q.Bind(values)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, number.ReplaceAllString(sql, "TIMESTAMP_MICROS(1790000000000000)"), q.Show(values))
	}
	got, path := strings.Join(all, ";\n\n")+";\n", filepath.Join("testdata", "googlesql.sql")
	if *update {
		if err := errors.Join(os.MkdirAll("testdata", 0o755), os.WriteFile(path, []byte(got), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	if want, err := os.ReadFile(path); err != nil || string(want) != got {
		t.Errorf("%s is not what docs/queries.md says now: run with -update (%v)", path, err)
	}
}

func TestAgo(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"1 day": 24 * time.Hour, "36 hours": 36 * time.Hour, "2 hours 30 minutes": 150 * time.Minute, " 1 WEEK": 168 * time.Hour,
		"": 0, "day": 0, "1 month": 0, "1 day'": 0, "999999999 weeks": 0, "-1 day": 0, "0 days": 0,
	} {
		if got, err := ago(text); got != want || (err == nil) != (want > 0) {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
}
