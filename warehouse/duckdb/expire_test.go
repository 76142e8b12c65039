package duckdb

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// TestMain lets this program be the process that is killed amid retention and erasures.
func TestMain(m *testing.M) {
	if path := os.Getenv("SPARROW_TEST_EXPIRE"); path != "" {
		fmt.Println(expireAndErase(path))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// TestDigestsGoWithTheirDays: no bucket that lost a row keeps its digests, every other one does.
func TestDigestsGoWithTheirDays(t *testing.T) {
	const width = 4
	e := openTest(t, Options{DigestFrames: width, DigestRows: 1})
	e.o.Retention = Retention{Raw: 2, Outcomes: 4}
	midnight := today.Truncate(24 * time.Hour)
	var times []time.Time
	for day := 6; day >= 0; day-- { // six frames a day, so that days end within buckets
		for range 6 {
			times = append(times, midnight.AddDate(0, 0, -day))
		}
	}
	times[39] = midnight.AddDate(0, 0, -5) // among what stays
	for _, stage := range []warehouse.Stage{warehouse.Raw, "trace", "ga4"} {
		if _, err := e.Append(t.Context(), dated(event.Green, stage, 0, 2, times...)); err != nil {
			t.Fatal(err)
		}
	}
	const lines = `SELECT stage, "first", marks, coalesce(event, '-'), "rows", digest, places FROM green.digests ORDER BY ALL`
	before := strings.Split(table(t, e, lines), "; ")
	// Four frames of the fifth day before today lie in bucket 4, the others in the one before; bucket 36 has the late frame.
	gone := func(line string) bool {
		f := strings.Fields(line)
		var first int
		fmt.Sscan(f[1], &first)
		if f[0] == "raw" {
			return first < 24 || first == 36
		}
		return first < 12 || first == 36
	}
	var want []string
	for _, line := range before {
		if !gone(line) {
			want = append(want, line)
		}
	}
	if len(want) == len(before) || len(want) < 20 {
		t.Fatalf("%d lines of %d are to stay: %q", len(want), len(before), before)
	}
	if _, err := e.expire(t.Context(), today); err != nil {
		t.Fatal(err)
	}
	if got := table(t, e, lines); got != strings.Join(want, "; ") {
		t.Errorf("digests:\n%s\nwant\n%s", got, strings.Join(want, "; "))
	}
	// Later ones are written as ever.
	if _, err := e.Append(t.Context(), dated(event.Green, warehouse.Raw, 42, 2, midnight, midnight, midnight, midnight, midnight, midnight)); err != nil {
		t.Fatal(err)
	}
	if got := table(t, e, `SELECT count(*) FROM green.digests WHERE stage = 'raw' AND "first" >= 40 AND marks = 1`); got != "2" {
		t.Errorf("%s new buckets are closed, want 2", got)
	}
}

// Of the days below.
const (
	expireDays   = 6
	expireFrames = 12 // a day
	expirePeople = 100
)

func person(n int) warehouse.Person {
	return warehouse.Person{Kind: warehouse.ByUser, ID: fmt.Sprintf("person-%d", n)}
}

// fillForExpiry appends days of events of many people, with so many rows a frame.
func fillForExpiry(t *testing.T, e *Engine, rows int, stacks ...event.Stack) {
	t.Helper()
	midnight := time.Now().UTC().Truncate(24 * time.Hour)
	var times []time.Time
	for day := expireDays - 1; day >= 0; day-- {
		for range expireFrames {
			times = append(times, midnight.AddDate(0, 0, -day))
		}
	}
	for _, stack := range stacks {
		for _, stage := range []warehouse.Stage{warehouse.Raw, "trace"} {
			b := dated(stack, stage, 0, rows, times...)
			for i := range b.Rows {
				b.Rows[i].Data = fmt.Appendf(nil, `{"event":"e","userId":"person-%d","n":%d}`, i%expirePeople, i)
			}
			if _, err := e.Append(t.Context(), b); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// checkExpired looks for what must hold at any time, and once done also for what is to be left.
func checkExpired(t *testing.T, e *Engine, done bool, rows int, stacks ...event.Stack) {
	t.Helper()
	c, err := e.db.connect()
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	for _, stack := range stacks {
		if err := checkCounts(c, stack); err != nil {
			t.Error(err)
		}
		// A bucket that has digests has all its rows, tombstones among them.
		const width = 4
		sql := fmt.Sprintf(`SELECT count(*) FROM (SELECT "first", sum("rows") AS n FROM %[1]s.digests WHERE stage = 'raw' GROUP BY 1) d LEFT JOIN (SELECT frame // %[2]d * %[2]d AS "first", count(*) AS n FROM %[1]s.raw GROUP BY 1) r USING ("first") WHERE d.n <> coalesce(r.n, 0)`, stack, width)
		if got := table(t, e, sql); got != "0" {
			t.Errorf("%s: %s buckets have digests of other rows", stack, got)
		}
		// An event's row and outcome become tombstones together.
		sql = fmt.Sprintf(`SELECT count(*) FROM %[1]s.raw AS r JOIN %[1]s.outcomes_log AS o USING (run, frame, request, item) WHERE (r.context = '%[2]s') <> (o.reason = '%[3]s')`, stack, erasedContext, erasedReason)
		if got := table(t, e, sql); got != "0" {
			t.Errorf("%s: %s events are erased by half", stack, got)
		}
		if !done {
			continue
		}
		kept := 2 * expireFrames * rows // a whole day, and today
		sql = fmt.Sprintf(`SELECT count(*), count(*) FILTER (context = '%s'), count(*) FILTER (contains(data, 'person-3"')), (SELECT count(*) FROM %s.outcomes_log) FROM %[2]s.raw`, erasedContext, stack)
		if got, want := table(t, e, sql), fmt.Sprint(kept, kept*3/expirePeople, 0, kept); got != want {
			t.Errorf("%s: rows, tombstones, rows of an erased person, outcomes: %s, want %s", stack, got, want)
		}
	}
}

// expireAndErase is a warehouse process that deletes days and erases people until it has done both, with checkpoints
// whenever they fit in.
func expireAndErase(path string) error {
	e, err := Open(Options{Path: path, DigestFrames: 4})
	if err != nil {
		return err
	}
	e.o.Retention, e.expireRows = Retention{Raw: 1, Outcomes: 1}, 2500
	fmt.Println("open")
	checkpoints, stop := checkpointsAmid(e)
	defer stop()
	for n := 3; n < 6; n++ {
		out, err := e.Erase(context.Background(), person(n), "test")
		if err != nil {
			return err
		}
		fmt.Println("erased", n, out.Events)
	}
	fmt.Println("expiring")
	if _, err := e.expire(context.Background(), time.Now()); err != nil {
		return err
	}
	stop()
	if *checkpoints == 0 {
		return errors.New("there was no checkpoint")
	}
	fmt.Println("done")
	select {} // until it is killed
}

// checkpointsAmid makes checkpoints all the time, until stop is called.
func checkpointsAmid(e *Engine) (n *int, stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	n = new(int)
	running.Go(func() {
		for ctx.Err() == nil {
			if e.alone(func(c *conn) error { return c.exec("CHECKPOINT") }) == nil {
				*n++
			}
			select {
			case <-time.After(25 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	})
	return n, func() { cancel(); running.Wait() }
}

// TestCheckpointsAmidRetention has checkpoints land between any two steps of retention and of erasures.
func TestCheckpointsAmidRetention(t *testing.T) {
	// Enough rows that a checkpoint drops a group of deleted ones, and row ids move.
	const rows = 2600
	e := openTest(t, Options{DigestFrames: 4, DigestRows: 1, Log: 256 << 10})
	fillForExpiry(t, e, rows, event.Green)
	e.o.Retention, e.expireRows = Retention{Raw: 1, Outcomes: 1}, 20_000
	checkpoints, stop := checkpointsAmid(e)
	var both sync.WaitGroup
	both.Go(func() {
		for n := 3; n < 6; n++ {
			if _, err := e.Erase(t.Context(), person(n), "test"); err != nil {
				t.Error(err)
			}
		}
	})
	both.Go(func() {
		if _, err := e.expire(t.Context(), time.Now()); err != nil {
			t.Error(err)
		}
	})
	both.Wait()
	stop()
	t.Logf("%d checkpoints", *checkpoints)
	checkExpired(t, e, true, rows, event.Green)
}

// TestKilledAmidRetention kills a process that deletes days, erases people and makes checkpoints, again and again, until
// one comes to the end: the counts agree at each start, and nothing is left half-done.
func TestKilledAmidRetention(t *testing.T) {
	const rows = 200
	kills := 2
	if os.Getenv("SPARROW_SOAK") != "" {
		kills = 60
	}
	path := filepath.Join(t.TempDir(), "warehouse", "warehouse.duckdb")
	open := func() *Engine {
		e, err := Open(Options{Path: path, DigestFrames: 4, DigestRows: 1})
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	e := open()
	fillForExpiry(t, e, rows, event.Stacks()...)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	finished := false
	killed := 0
	for n := 0; !finished; n++ {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "SPARROW_TEST_EXPIRE="+path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		amid := []string{"expiring", "open", "erased"}[n%3]
		for lines.Scan() && lines.Text() != "done" {
			if strings.HasPrefix(lines.Text(), amid) && n < kills {
				time.AfterFunc(time.Duration(rand.IntN(40_000))*time.Microsecond, func() { cmd.Process.Kill() })
			}
		}
		finished = lines.Text() == "done"
		said := lines.Text()
		cmd.Process.Kill()
		cmd.Wait()
		if !finished {
			if killed++; n >= kills {
				t.Fatalf("it ended by itself: %s", said)
			}
		}
		e := open()
		checkExpired(t, e, finished, rows, event.Stacks()...)
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		if t.Failed() {
			return
		}
	}
	t.Logf("killed %d times", killed)
}
