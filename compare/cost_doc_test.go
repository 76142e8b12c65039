package compare

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/sparrowhq/sparrow/warehouse"
	"github.com/sparrowhq/sparrow/warehouse/bigquery"
)

// recorder is BigQuery's engine, and what it was asked.
type recorder struct {
	*bigquery.Engine
	mu    sync.Mutex // statements run two at a time
	asked []string
}

func (r *recorder) Query(ctx context.Context, q warehouse.Query) (*warehouse.Rows, error) {
	r.mu.Lock()
	r.asked = append(r.asked, q.SQL)
	r.mu.Unlock()
	return r.Engine.Query(ctx, q)
}

// TestCost keeps docs/bigquery-cost.md: what a comparison of 100 million events a day bills, from the schema as it is made
// and the very statements that a comparison of equal sides asked. go test -run TestCost ./compare -update writes it.
func TestCost(t *testing.T) {
	w := newWorld(t)
	w.google, w.digestFrames = true, 4
	w.many(250, "view", "click")
	w.pass("ga4", "heap", "amplitude")
	const stages = 4
	e, _ := w.bigQuery()
	w.fill(e)
	window := Window{First: 4, Last: 27}
	asked := func(exact bool) []string {
		r := &recorder{Engine: e}
		ev := w.collect(r, Options{Window: WindowSpec{From: window.First, To: window.Last}, Exact: exact})
		if ev.Window.First != window.First || ev.Window.Last != window.Last || (ev.digested() > 0) == exact {
			t.Fatalf("window %v, %d rows known by digests", ev.Window, ev.digested())
		}
		return r.asked
	}
	asked(false) // makes the digests
	made, err := os.ReadFile("../warehouse/bigquery/testdata/digests.sql")
	if err != nil {
		t.Fatal(err)
	}
	var making []string
	for range 2 { // sides
		making = append(making, strings.Split(strings.TrimSpace(string(made)), ";\n")...)
	}
	tables := billedTables(t)
	var b strings.Builder
	b.WriteString(costHead)
	fmt.Fprintf(&b, "| column | bytes |\n|---|---:|\n")
	for _, c := range []string{"eventId", "event", "data", "context", "build"} {
		fmt.Fprintf(&b, "| `%s` | 2 + %g |\n", c, averages[c])
	}
	width := func(name string) (sum float64) {
		for _, n := range tables[name] {
			sum += n
		}
		return sum
	}
	fmt.Fprintf(&b, "| a whole row of `raw_log` | %.0f |\n| a whole row of `outcomes_log` | %.0f |\n| a line of `digests` | %.0f |\n", width("raw_log"), width("outcomes_log"), width("digests"))
	total := map[string]float64{}
	for _, part := range []struct {
		title string
		sql   []string
	}{
		{"A comparison that reads rows (`--exact`)", asked(true)},
		{"A comparison with digests", asked(false)},
		{"Making the digests, once for each row", making},
	} {
		var bills []bill
		sum := 0.0
		for _, sql := range part.sql {
			x := price(tables, window, stages, sql)
			if !reference.MatchString(bare(sql)) {
				continue // the dialect
			}
			sum += x.bytes
			if i := slices.IndexFunc(bills, func(y bill) bool { return y.reads == x.reads }); i >= 0 {
				bills[i].times++
				bills[i].bytes += x.bytes
			} else {
				bills = append(bills, x)
			}
		}
		slices.SortStableFunc(bills, func(x, y bill) int { return int(y.bytes/1e6) - int(x.bytes/1e6) })
		fmt.Fprintf(&b, "\n## %s\n\n%s, %s.\n\n| reads | statements | GB |\n|---|---:|---:|\n", part.title, gigabytes(sum), dollars(sum))
		for _, x := range bills {
			fmt.Fprintf(&b, "| %s | %d | %.2f |\n", x.reads, x.times, x.bytes/1e9)
		}
		total[part.title] = sum
	}
	month := 2 * 30 * eventsADay * (width("raw_log") + stages*width("outcomes_log"))
	fmt.Fprintf(&b, costFoot, month/1e12, month/(1<<30)*dollarsStored, max(0, month-2*(1<<40))/(1<<30)*dollarsTaken,
		2*(stages+1)*digestLines()/1e6, 2*(stages+1)*digestLines()*width("digests")/1e9)
	costGolden(t, b.String())
	rows, digests := total["A comparison that reads rows (`--exact`)"], total["A comparison with digests"]
	if digests*2 > rows {
		t.Errorf("with digests %s, without %s: they do not pay", gigabytes(digests), gigabytes(rows))
	}
}

func gigabytes(n float64) string { return fmt.Sprintf("%.1f GB billed", n/1e9) }
func dollars(n float64) string   { return fmt.Sprintf("%.2f USD", n/(1<<40)*dollarsPerTiB) }

func costGolden(t *testing.T, got string) {
	t.Helper()
	path := filepath.Join("..", "docs", "bigquery-cost.md")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want, err := os.ReadFile(path); err != nil || string(want) != got {
		t.Errorf("%s is not what the statements and the schema say (%v): go test -run TestCost ./compare -update", path, err)
	}
}

// TestCostAverages measures data and event again.
func TestCostAverages(t *testing.T) {
	files, _ := filepath.Glob(filepath.Join(os.Getenv("SPARROW_TEST_DATA"), "*", "events.ndjson"))
	if os.Getenv("SPARROW_TEST_DATA") == "" || len(files) == 0 {
		t.Skip("SPARROW_TEST_DATA is not set")
	}
	n, names := 0.0, map[string]bool{}
	sum := map[string]float64{}
	for _, path := range files {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		in := bufio.NewScanner(f)
		in.Buffer(nil, 16<<20)
		for in.Scan() {
			var e struct{ Event string }
			if err := json.Unmarshal(in.Bytes(), &e); err != nil {
				t.Fatal(err)
			}
			n++
			sum["data"] += float64(len(in.Bytes()))
			sum["event"] += float64(len(e.Event))
			names[e.Event] = true
		}
		if err := in.Err(); err != nil {
			t.Fatal(err)
		}
	}
	for column, total := range sum {
		if got, want := total/n, averages[column]; math.Abs(got-want) > want/10 {
			t.Errorf("%s: %.1f bytes on average, the document says %g", column, got, want)
		}
	}
	if len(names) > namesABucket {
		t.Errorf("%d event names, the document says %d", len(names), namesABucket)
	}
}

const costHead = `# What BigQuery bills

Written by ` + "`go test -run TestCost ./compare -update`" + `; a test fails when it is stale. Nothing here was billed by Google: it is worked
out from the schema that ` + "`sparrow warehouse init`" + ` makes and the statements that a comparison of two equal sides asks.

- 100 million events a day, raw, trace and three trackers, so 500 million rows a day in each stack; 100 rows a frame.
- The window is one whole day, and what lies outside it is pruned: other days by the partition of ` + "`timestamp`" + `, other frames by the
  clusters. Rows that were just streamed are not clustered yet; a window of part of a day then bills up to that day.
- Columns as a statement names them: 8 bytes an INT64 or TIMESTAMP, 32 a BIGNUMERIC, 2 and its UTF-8 a STRING, nothing a NULL. A table
  that a statement names twice is counted twice, which is the most that it can be. At least 10 MB a table and a query.
- 6.25 USD a TiB on demand (the first TiB a month is free), storage 0.02 USD a GiB and month, Storage Write API 0.025 USD a GiB beyond
  2 TiB a month: https://cloud.google.com/bigquery/pricing, list prices of 2025 in the US multi-region. No test looks them up.
- A mark of a cursor for each stage and second, 30 days of them.

`

const costFoot = `
The statements that read event, frame, run and timestamp of raw are the counts by event name and the list of names that occurred
within 28 days and not in the window. With ` + "`--exact`" + ` that list reads four weeks of rows, beyond ` + "`warehouse.bigquery.max_scanned`" + `
(100 GiB) at this rate: raise that first. Otherwise it reads a day before the window, and what is older from digests, which know what
was ever compared. Counting the rows anew, so that digests of rows that were taken away are not believed, is most of the rest.

Where sides differ, buckets that do are read and joined: some 1,024 frames of both sides for each. A bucket around midnight may pass
the byte limit, since BigQuery counts both days whole before it runs the statement; it has no digest then.

## Storing

%.1f TB a month for both stacks, raw and outcomes: %.0f USD a month for each month that is kept, and %.0f USD to take it in.
Digests: %.1f million lines a day, %.2f GB, if every event name occurs in every bucket.
`
