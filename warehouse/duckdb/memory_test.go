//go:build linux

package duckdb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// peak returns the most memory this process ever held, in MiB, and starts anew.
func peak(t *testing.T) int {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip("no /proc: ", err)
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	var kib int
	fmt.Sscan(rest, &kib)
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0o600); err != nil {
		t.Skip("cannot start anew: ", err)
	}
	return kib >> 10
}

// greedy are queries that want far more than they are given: by DuckDB's buffers, by what its functions build beside
// them in one piece, and by what grows in small pieces.
var greedy = []string{
	"SELECT list_sum(range(1000000000))",
	"SELECT length(repeat('x', 3000000000))",
	"SELECT repeat('x', 1000000) FROM range(1000000)",
	"SELECT len(list(range)) FROM range(1000000000)",
	"SELECT length(string_agg(repeat('x', 1000))) FROM range(10000000)",
	"SELECT quantile_cont(range, 0.5) FROM range(1000000000)",
	"SELECT mode(range) FROM range(1000000000)",
	"SELECT length(array_to_string(range(100000000), ','))",
	"SELECT length(format('{:>2000000000}', 'x'))",
	"WITH RECURSIVE t(n) AS (SELECT 'x' UNION ALL SELECT n || n FROM t) SELECT max(length(n)) FROM t",
	"SELECT json_group_array(range) FROM range(1000000000)",
}

func TestMemoryOfQueriesIsBounded(t *testing.T) {
	const mib = 128
	e := openTest(t, Options{Memory: mib << 20, Spill: 128 << 20})
	peak(t)
	before := peak(t)
	for _, sql := range greedy {
		rows, err := e.Query(t.Context(), warehouse.Query{SQL: sql, Limit: 1 << 40, MaxWait: "20s"})
		if err == nil {
			for err == nil {
				_, err = rows.Next()
			}
			rows.Close()
		}
		if !errors.Is(err, errMemory) && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", sql, err)
		}
		if strings.Contains(err.Error(), "SET threads") {
			t.Errorf("%s: advice that cannot be followed: %v", sql, err)
		}
		// The bound, and what the Go side, the race detector and the allocators hold back: some 400 MiB (tried). Unbounded,
		// each of these takes gigabytes.
		if grown := peak(t) - before; grown > mib*3/2+640 {
			t.Errorf("%s: took %d MiB of a warehouse that gives %d", sql, grown, mib)
		}
	}
	if used := memoryUsed(); used > e.headroom() {
		t.Errorf("%d MiB are still held", used>>20)
	}
}

// TestAppendsComeBeforeQueries appends while greedy queries take all memory they can get.
func TestAppendsComeBeforeQueries(t *testing.T) {
	e := openTest(t, Options{Memory: 96 << 20, Spill: 64 << 20})
	ctx, stop := context.WithCancel(t.Context())
	var greed sync.WaitGroup
	for i := range 4 {
		greed.Go(func() {
			for n := i; ctx.Err() == nil; n++ {
				sql := append(greedy, "SELECT * FROM range(100000000) ORDER BY hash(range)", "SELECT range, count(*) FROM range(50000000) GROUP BY range")[n%(len(greedy)+2)]
				rows, err := e.Query(ctx, warehouse.Query{SQL: sql, MaxWait: "2s"})
				if err != nil {
					continue
				}
				for err == nil {
					_, err = rows.Next()
				}
				rows.Close()
			}
		})
	}
	big := []byte(strings.Repeat("0123456789abcdef", 64))
	var at uint64
	appends := 20
	if os.Getenv("SPARROW_SOAK") != "" {
		appends = 600
	}
	for range appends {
		b := frames(event.Green, at, at+10, 100)
		for i := range b.Rows {
			b.Rows[i].Data = big
		}
		c, err := e.Append(t.Context(), b)
		if err != nil {
			t.Fatalf("frame %d: %v", at, err)
		}
		at = c.Frame
	}
	stop()
	greed.Wait()
	rows, err := e.Query(t.Context(), warehouse.Query{SQL: "SELECT count(*), sum(length(data)) FROM green.raw"})
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	want := int64(at-2) * 100
	if got, err := rows.Next(); err != nil && err != io.EOF || fmt.Sprint(got) != fmt.Sprintf("[%d +%d]", want, want*1024) && fmt.Sprint(got) != fmt.Sprintf("[%d %d]", want, want*1024) {
		t.Errorf("rows and bytes %v, %v; want %d and %d", got, err, want, want*1024)
	}
}

// TestStuckQueryLetsGo runs a function call that DuckDB cannot interrupt: the caller gets its error all the same, and
// whoever can end the process is told.
func TestStuckQueryLetsGo(t *testing.T) {
	e := openTest(t, Options{})
	e.o.StuckWait = 20 * time.Millisecond
	told := make(chan error, 1)
	e.o.Stuck = func(err error) { told <- err }
	_, err := e.Query(t.Context(), warehouse.Query{SQL: "SELECT len(regexp_extract_all(repeat('a', 1000000), '.'))", MaxWait: "10ms"})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want the deadline", err)
	}
	if err := <-told; !errors.Is(err, errStuck) {
		t.Errorf("told %v", err)
	}
	if _, err := e.Append(t.Context(), frames(event.Green, 0, 5, 5)); err != nil {
		t.Errorf("append beside it: %v", err)
	}
	for e.stopReaders(nil) != nil { // Close would not wait that long on a busy machine
		time.Sleep(watchEvery)
	}
}
