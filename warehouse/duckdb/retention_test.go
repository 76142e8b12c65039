package duckdb

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

var today = time.Date(2026, 3, 10, 13, 0, 0, 0, time.UTC)

// dated is a batch of one frame for each of the times, each of one request with rows rows and, for a stage, outcomes.
func dated(stack event.Stack, stage warehouse.Stage, from uint64, rows int, at ...time.Time) *warehouse.Batch {
	b := &warehouse.Batch{Stack: stack, Stage: stage, Journal: "j", From: event.Cursor{Frame: from}, To: event.Cursor{Frame: from + uint64(len(at))}}
	for i, t := range at {
		for item := range rows {
			p := event.Position{Frame: from + uint64(i), Item: uint32(item)}
			if stage == warehouse.Raw {
				b.Rows = append(b.Rows, warehouse.Row{Position: p, Timestamp: t.UnixMicro(), EventID: fmt.Sprint(p), Event: "e", Data: []byte(fmt.Sprintf(`{"n":%d}`, item)), ItemsInRequest: uint32(rows), Build: "b"})
			} else {
				b.Outcomes = append(b.Outcomes, warehouse.Outcome{Position: p, Timestamp: t.UnixMicro(), Build: "b", Event: "e", Outcome: "accepted"})
			}
		}
	}
	return b
}

// TestRetention deletes whole days, from each table as many as its own setting says, counts them, and leaves a file that
// opens: also where a step deletes a part of a table only.
func TestRetention(t *testing.T) {
	e := openTest(t, Options{})
	e.o.Retention = Retention{Raw: 2, Outcomes: 5}
	midnight := today.Truncate(24 * time.Hour)
	const rows = 25_000 // more than a step in two frames
	times := []time.Time{
		midnight.AddDate(0, 0, -9), midnight.AddDate(0, 0, -9).Add(time.Hour),
		midnight.AddDate(0, 0, -4), midnight.AddDate(0, 0, -2).Add(-time.Microsecond), midnight.AddDate(0, 0, -2), today,
	}
	late := dated(event.Green, warehouse.Raw, 8, 5, midnight.AddDate(0, 0, -4)) // among what stays
	for _, b := range []*warehouse.Batch{dated(event.Green, warehouse.Raw, 0, 0, times[:2]...), dated(event.Green, warehouse.Raw, 2, rows, times...), late, dated(event.Green, "trace", 0, 3, append(times[:2:2], times...)...)} {
		if _, err := e.Append(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	n, err := e.expire(t.Context(), today)
	if want := int64(4*rows + 5 + 4*3); err != nil || n != want {
		t.Fatalf("%d rows deleted, %v; want %d", n, err, want)
	}
	for sql, want := range map[string]string{
		`SELECT frame, count(*) FROM green.raw GROUP BY 1 ORDER BY 1`:          "6 25000; 7 25000",
		`SELECT frame, count(*) FROM green.outcomes_log GROUP BY 1 ORDER BY 1`: "4 3; 5 3; 6 3; 7 3",
		`SELECT stack, "table", CAST("day" AS VARCHAR), first, last, "rows" FROM expired ORDER BY ALL`: "green outcomes_log 2026-03-01 0 3 12; " +
			"green raw 2026-03-01 2 3 50000; green raw 2026-03-06 4 8 25005; green raw 2026-03-07 5 5 25000",
		`SELECT count(DISTINCT CAST("at" AS VARCHAR)), CAST(max("at") AS VARCHAR) FROM expired`: "1 2026-03-10 13:00:00",
	} {
		if got := table(t, e, sql); got != want {
			t.Errorf("%s: %s, want %s", sql, got, want)
		}
	}
	if n, err := e.expire(t.Context(), today.Add(10*time.Hour)); n != 0 || err != nil {
		t.Errorf("later the same day: %d, %v", n, err)
	}
	if n, err := e.expire(t.Context(), today.AddDate(0, 0, 1)); n != rows || err != nil {
		t.Errorf("the day after: %d, %v", n, err)
	}
	// What is below the cursor stays below it: a batch that is sent again brings nothing back.
	if _, err := e.Append(t.Context(), late); err != nil {
		t.Fatal(err)
	}
	if got := table(t, e, "SELECT count(*) FROM green.raw"); got != "25000" {
		t.Errorf("%s rows after a batch was sent again", got)
	}
	// A count that is wrong is found at the next Open.
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := Open(Options{Path: e.o.Path})
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	change(t, e.o.Path, `UPDATE expired SET "rows" = "rows" - 1 WHERE "table" = 'raw' AND "day" = DATE '2026-03-07'`)
	if again, err := Open(Options{Path: e.o.Path}); err == nil {
		again.Close()
		t.Error("a file that says too little was deleted opens")
	}
}

// TestRetentionRuns has the engine do it by itself.
func TestRetentionRuns(t *testing.T) {
	path := filepath.Join(t.TempDir(), "warehouse", "warehouse.duckdb")
	e, err := Open(Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range []*warehouse.Batch{dated(event.Green, warehouse.Raw, 0, 10, time.Now().AddDate(0, 0, -9)), dated(event.Blue, warehouse.Raw, 0, 10, time.Now())} {
		if _, err := e.Append(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if e, err = Open(Options{Path: path, Retention: Retention{Raw: 7}}); err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	deadline := time.Now().Add(30 * time.Second)
	for table(t, e, `SELECT (SELECT count(*) FROM green.raw), (SELECT count(*) FROM blue.raw)`) != "0 10" {
		if time.Now().After(deadline) {
			t.Fatal("nothing was deleted")
		}
		time.Sleep(5 * time.Millisecond) // polling
	}
}

// TestFileDoesNotGrow adds a day and expires one, several times: what was freed is used again.
func TestFileDoesNotGrow(t *testing.T) {
	e := openTest(t, Options{Memory: 256 << 20, Log: 1 << 20})
	e.o.Retention = Retention{Raw: 1}
	var sizes []int64
	at := uint64(0)
	for day := range 16 {
		now := today.AddDate(0, 0, day)
		for range 5 {
			b := dated(event.Green, warehouse.Raw, at, 4_000, now)
			for i := range b.Rows { // not compressible
				b.Rows[i].Data = fmt.Appendf(nil, `{"n":"%016x%016x"}`, (at*4_000+uint64(i))*11400714819323198485, (at*4_000+uint64(i))*0x9E3779B97F4A7C15^0xD1B54A32D192ED03)
			}
			at++
			if _, err := e.Append(t.Context(), b); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := e.expire(t.Context(), now); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(e.o.Path)
		if err != nil {
			t.Fatal(err)
		}
		sizes = append(sizes, info.Size()>>10)
	}
	t.Logf("file after each day, KiB: %v", sizes)
	if got := table(t, e, "SELECT count(*), min(frame) FROM green.raw"); got != "40000 70" {
		t.Errorf("rows, first frame: %s", got)
	}
	// Two days are there at once, a third before it expires, and a fourth until a checkpoint has freed it; how many of them a
	// checkpoint meets is chance.
	if slices.Max(sizes[12:]) > slices.Max(sizes[3:8])*5/4 {
		t.Errorf("the file grows: %v KiB", sizes)
	}
}

// TestAppendsDuringRetention measures what appends of the live stack take while retention deletes, beside what they take
// otherwise; the figures are logged, and what is asserted does not depend on the machine: whatever is appended meanwhile
// is there, and retention stops when it is told to.
func TestAppendsDuringRetention(t *testing.T) {
	e := openTest(t, Options{})
	e.o.Retention = Retention{Raw: 1}
	rows := 200_000
	if os.Getenv("SPARROW_SOAK") != "" {
		rows = 4_000_000
	}
	at := uint64(0)
	append := func(stack event.Stack, rows int, when time.Time) time.Duration {
		began := time.Now()
		b := dated(stack, warehouse.Raw, at, rows, when)
		if _, err := e.Append(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		at++
		return time.Since(began)
	}
	if _, err := e.Append(t.Context(), &warehouse.Batch{Stack: event.Green, Stage: warehouse.Raw, Journal: "j", To: event.Cursor{Frame: 2}, Controls: []*event.ControlEntry{initial(t, event.Green)}}); err != nil {
		t.Fatal(err)
	}
	at = 2
	for range rows / 20_000 {
		append(event.Green, 20_000, today.AddDate(0, 0, -5))
	}
	var before, during []time.Duration
	for range 200 {
		before = slices.Concat(before, []time.Duration{append(event.Green, 50, today)})
	}
	ctx, stop := context.WithCancel(t.Context())
	var deleted int64
	var running sync.WaitGroup
	done := make(chan struct{})
	running.Go(func() {
		defer close(done)
		var err error
		if deleted, err = e.expire(ctx, today); err != nil {
			t.Error(err)
		}
	})
	for going := true; going; {
		select {
		case <-done:
			going = false
		default:
			during = slices.Concat(during, []time.Duration{append(event.Green, 50, today)})
		}
	}
	stop()
	running.Wait()
	quantile := func(all []time.Duration, q int) time.Duration {
		slices.Sort(all)
		return all[len(all)*q/100].Round(10 * time.Microsecond)
	}
	t.Logf("%d rows deleted; append of 50 rows: before p50 %v p99 %v, during (%d of them) p50 %v p99 %v most %v", deleted,
		quantile(before, 50), quantile(before, 99), len(during), quantile(during, 50), quantile(during, 99), during[len(during)-1].Round(10*time.Microsecond))
	if want := fmt.Sprint(50 * (len(before) + len(during))); table(t, e, "SELECT count(*) FROM green.raw") != want {
		t.Errorf("%s rows are there, want %s", table(t, e, "SELECT count(*) FROM green.raw"), want)
	}
	if deleted != int64(rows/20_000*20_000) {
		t.Errorf("%d rows deleted, want %d", deleted, rows)
	}
	append(event.Green, 5, today.AddDate(0, 0, -5))
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if n, err := e.expire(gone, today); n != 0 || err == nil {
		t.Errorf("%d, %v after it was told to stop", n, err)
	}
}
