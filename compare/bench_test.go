package compare

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// perFrame is how many single-event requests share a frame in the benchmark, as under load.
const perFrame = 30

// bulk is a warehouse of n events on each side, made by DuckDB itself, and the mirror that counted them.
type bulk struct {
	*world
	ledger event.Totals
	last   uint64
}

func (b *bulk) Ledger(_ context.Context, from, to uint64) (Ledger, error) {
	return Ledger{From: from, To: to, Totals: b.ledger, Stacks: map[event.Stack]StackLedger{event.Green: {}, event.Blue: {}}}, nil
}

func newBulk(tb testing.TB, n int, faults ...string) (*bulk, warehouse.Warehouse) {
	tb.Helper()
	b := &bulk{world: newWorld(tb), last: uint64(2 + (n+perFrame-1)/perFrame)}
	b.next = b.last + 1
	// The rows an event of some 300 bytes makes, 200 names, requests of one event and, one in three, lists of two.
	make := fmt.Sprintf(`INSERT INTO green.raw SELECT
  format('{:08x}-0000-7000-8000-{:012x}', i, hash(i) %% 281474976710656) , make_timestamp(%d + i * 500),
  'event_' || (hash(i) %% 200),
  '{"event":"event_' || (hash(i) %% 200) || '","deviceId":"' || md5((i %% 10000)::VARCHAR) || '","properties":{"pathname":"/a/' || md5(i::VARCHAR) || '","n":' || i || ',"title":"' || md5((i + 1)::VARCHAR) || '"}}',
  NULL, 3 + i // %d, i %% %d, 0, 1, 0, '%s', '{"origin":"https://shop.example","ua":"Mozilla/5.0 (X11; Linux x86_64) ' || (i %% 500) || '"}'
FROM range(%d) t(i)`, began, perFrame, perFrame, greenBuild.ID, n)
	b.cursor = map[event.Stack]event.Cursor{event.Green: {Frame: 3}, event.Blue: {Frame: 3}}
	statements := []string{make, fmt.Sprintf(`INSERT INTO blue.raw SELECT * REPLACE ('%s' AS build) FROM green.raw`, blueBuild.ID)}
	e := b.store(append(append(statements, faults...), "CHECKPOINT")...)
	// The cursors move once the rows are there, so that the engine reads them back into digests as it does in production.
	for _, s := range event.Stacks() {
		b.cover(e, s, warehouse.Raw)
		b.cursor[s] = event.Cursor{Frame: b.next}
	}
	rows, err := e.Query(context.Background(), warehouse.Query{SQL: fmt.Sprintf(`SELECT count(*), sum(%s) FROM green.raw`, duckSQL.wide(duckSQL.tail(`"eventId"`)))})
	if err != nil {
		tb.Fatal(err)
	}
	defer rows.Close()
	values, err := rows.Next()
	if err != nil {
		tb.Fatal(err)
	}
	r := row{columns: rows.Columns, values: values}
	b.ledger = event.Totals{Requests: r.count(0), IDSum: r.sum(1), FirstAt: began, LastAt: began + int64(n)*500}
	if r.err != nil {
		tb.Fatal(r.err)
	}
	return b, e
}

// cover moves a stage's cursor past all frames.
func (b *bulk) cover(e warehouse.Warehouse, s event.Stack, stage warehouse.Stage) {
	b.t.Helper()
	batch := &warehouse.Batch{Stack: s, Stage: stage, Journal: b.id, From: event.Cursor{Frame: 3}, To: event.Cursor{Frame: b.next}}
	if _, err := e.Append(context.Background(), batch); err != nil {
		b.t.Fatal(err)
	}
}

// cpu is the processor time this process has used.
func cpu(b *testing.B) time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// BenchmarkCollect is a whole comparison of n events against n. SPARROW_BENCH_EVENTS sets n.
func BenchmarkCollect(b *testing.B) {
	whole := b
	n := 1_000_000
	if s := os.Getenv("SPARROW_BENCH_EVENTS"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			b.Fatal(err)
		}
	}
	for _, c := range []struct {
		name   string
		faults []string
		want   uint64
	}{
		{"equal", nil, 0},
		{"one", []string{"DELETE FROM blue.raw WHERE frame = 1000 AND request = 7"}, 1},
		{"oneIn10000", []string{"DELETE FROM blue.raw WHERE hash(frame, request) % 10000 = 0"}, uint64(n / 10000)},
		{"everyRow", []string{`UPDATE blue.raw SET data = data || ' '`}, uint64(n)},
	} {
		var world *bulk
		var e warehouse.Warehouse
		for _, exact := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/%d/exact=%v", c.name, n, exact), func(b *testing.B) {
				if world == nil {
					world, e = newBulk(whole, n, c.faults...)
				}
				spent := cpu(b)
				for b.Loop() {
					ev, err := Collect(context.Background(), Sources{Pipeline: world, Warehouse: e}, Options{Exact: exact})
					if err != nil {
						b.Fatal(err)
					}
					var got uint64
					for _, e := range ev.Events {
						got += e.Missing + e.Changed
					}
					if got < c.want*8/10 || got > c.want*12/10 {
						b.Fatalf("%d faults found, want about %d", got, c.want)
					}
				}
				b.ReportMetric((cpu(b)-spent).Seconds()/float64(b.N), "cpu-s/op") // what a busy machine does not distort
				b.ReportMetric(float64(2*n)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
			})
		}
	}
}

// stagedStages are those of the benchmark of all stages.
var stagedStages = []warehouse.Stage{warehouse.Trace, "amplitude", "ga4", "heap"}

// newStaged is a bulk whose every event went through trace and to three trackers on each side. One event in a hundred
// keeps what was sent, one in a thousand of the first twentieth was corrected.
func newStaged(tb testing.TB, n int, faults ...string) (*bulk, warehouse.Warehouse) {
	var statements []string
	var stages []stageAt
	for _, s := range event.Stacks() {
		sink, build := candidateSink, blueBuild.ID
		if s == event.Green {
			sink, build = liveSink, greenBuild.ID
		}
		for _, stage := range stagedStages {
			outcome, reason, sent, digest := "delivered", "", "CASE WHEN hash(i) % 100 = 0 THEN ('{\"n\":' || i || '}')::BLOB END", "((hash(i, '"+string(stage)+"') >> 1)::BIGINT)"
			to, attempts := sink, 1
			if stage == warehouse.Trace {
				outcome, sent, digest, to, attempts = "accepted", "NULL", "0", "", 0
			}
			row := func(revision, where string) string {
				return fmt.Sprintf(`INSERT INTO %s.outcomes_log SELECT 3 + i // %d, i %% %d, 0, 0, '%s', make_timestamp(%d + i * 500), '%s', 'event_' || (hash(i) %% 200), '%s', '%s', '%s', 204, %d, %s, 1000, %s, %s, NULL
FROM range(%d) t(i) WHERE %s`, s, perFrame, perFrame, stage, began, build, to, outcome, reason, attempts, digest, revision, sent, n, where)
			}
			statements = append(statements, row("0", "true"))
			if stage != warehouse.Trace {
				statements = append(statements, row("1", fmt.Sprintf("i %% 1000 = 7 AND i < %d", n/20)))
			}
			statements = append(statements, fmt.Sprintf(`INSERT INTO cursors_log SELECT '%s', 0, '%s', journal, 3, 0, 0, 1 FROM cursors WHERE stack = '%s' AND stage = 'raw'`, s, stage, s))
			stages = append(stages, stageAt{s, stage})
		}
	}
	b, e := newBulk(tb, n, append(statements, faults...)...)
	for _, at := range stages {
		b.cover(e, at.stack, at.stage)
	}
	return b, e
}

// BenchmarkCollectStages is a whole comparison of n events at raw, trace and three trackers. SPARROW_BENCH_EVENTS sets n.
func BenchmarkCollectStages(b *testing.B) {
	whole := b
	n := 1_000_000
	if s := os.Getenv("SPARROW_BENCH_EVENTS"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			b.Fatal(err)
		}
	}
	for _, c := range []struct {
		name   string
		faults []string
		want   uint64
	}{
		{"equal", nil, 0},
		{"oneIn10000", []string{"DELETE FROM blue.outcomes_log WHERE stage = 'heap' AND (frame * 30 + request) % 10000 = 17"}, uint64(n / 10000)},
		{"everyDigest", []string{`UPDATE blue.outcomes_log SET digest = digest + 1 WHERE stage = 'ga4'`}, uint64(n)},
		{"sampled", []string{`UPDATE blue.outcomes_log SET digest = 0, sink = '', attempts = 0, reason = 'not sampled' WHERE stage <> 'trace' AND hash(frame, request) % 10 > 0`}, 0},
	} {
		var world *bulk
		var e warehouse.Warehouse
		for _, exact := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/%d/exact=%v", c.name, n, exact), func(b *testing.B) {
				if world == nil {
					world, e = newStaged(whole, n, c.faults...)
				}
				spent := cpu(b)
				for b.Loop() {
					ev, err := Collect(context.Background(), Sources{Pipeline: world, Warehouse: e}, Options{Exact: exact})
					if err != nil {
						b.Fatal(err)
					}
					var got uint64
					for _, e := range ev.Events {
						got += e.Missing + e.Changed
					}
					if got < c.want*8/10 || got > c.want*12/10 || len(ev.Stages) != len(stagedStages) {
						b.Fatalf("%d faults found at %d stages, want about %d at %d", got, len(ev.Stages), c.want, len(stagedStages))
					}
				}
				b.ReportMetric((cpu(b)-spent).Seconds()/float64(b.N), "cpu-s/op")
				b.ReportMetric(float64(2*n*(1+len(stagedStages)))*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
			})
		}
	}
}
