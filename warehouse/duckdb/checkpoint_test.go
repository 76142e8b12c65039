package duckdb

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// slowCheckpoints has every checkpoint take longer by so many milliseconds, once it has begun the second log.
func slowCheckpoints(ms int) map[string]string {
	return map[string]string{"debug_checkpoint_sleep_ms": fmt.Sprint(ms)}
}

// twoStacks opens a warehouse in which green is live, and the candidate wrote last.
func twoStacks(t *testing.T, o Options) *Engine {
	t.Helper()
	e := openTest(t, o)
	for _, b := range []*warehouse.Batch{
		{Stack: event.Green, Stage: warehouse.Raw, Journal: "j", To: event.Cursor{Frame: 2}, Controls: []*event.ControlEntry{initial(t, event.Green)}},
		frames(event.Blue, 0, 50, 100),
	} {
		if _, err := e.Append(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	return e
}

// TestLiveAppendsDuringACheckpoint has live append raw, outcomes and digests while the log, most of it the candidate's, is
// being folded into the file: the appends are acknowledged before that ends. The candidate waits. On a busy machine a
// checkpoint may be over first; then it takes another.
func TestLiveAppendsDuringACheckpoint(t *testing.T) {
	e := twoStacks(t, Options{settings: slowCheckpoints(400), DigestFrames: 4, DigestRows: 5})
	rounds := 0
	for !appendsBeside(t, e) {
		if rounds++; rounds == 8 || t.Failed() {
			t.Fatalf("in %d checkpoints none had the live stack's appends done before its end: they wait for it", rounds)
		}
	}
	c, err := e.db.connect()
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	for _, stack := range event.Stacks() {
		if err := checkCounts(c, stack); err != nil {
			t.Error(err)
		}
	}
	if got := table(t, e, "SELECT count(*) > 0 FROM green.digests"); got != "true" {
		t.Error("no digest was written: this did not show that they do not wait")
	}
}

// TestHugeAppendWaitsForACheckpoint: DuckDB would write of it before COMMIT.
func TestHugeAppendWaitsForACheckpoint(t *testing.T) {
	e := twoStacks(t, Options{settings: slowCheckpoints(300), LiveRows: 2 * groupRows})
	begun, over := make(chan struct{}), make(chan struct{})
	e.folds = func(beside bool) func(error) {
		if !beside {
			t.Error("the checkpoint is one that keeps live out anyway")
		}
		close(begun)
		return func(error) { close(over) }
	}
	folded := make(chan error, 1)
	go func() { folded <- e.checkpoint() }()
	<-begun
	e.begin = func(event.Stack, *transaction) {
		select {
		case <-over:
		default:
			t.Error("an append of a whole group of rows did not wait")
		}
	}
	_, err := e.Append(t.Context(), frames(event.Green, 2, 3, groupRows))
	if err := errors.Join(err, <-folded); err != nil {
		t.Error(err)
	}
}

// appendsBeside runs one checkpoint, and reports whether the live stack's appends were all done before its end.
func appendsBeside(t *testing.T, e *Engine) bool {
	t.Helper()
	begun, over := make(chan bool, 1), make(chan struct{})
	var first int64 // bytes of the log
	e.folds = func(beside bool) func(error) {
		first = fileSize(e.o.Path + ".wal")
		begun <- beside
		return func(error) { close(over) }
	}
	ended := func() bool {
		select {
		case <-over:
			return true
		default:
			return false
		}
	}
	folded, candidate := make(chan error, 1), make(chan error, 1)
	go func() { folded <- e.checkpoint() }()
	if !<-begun {
		t.Fatal("the log has rows of the candidate, yet the checkpoint is one that keeps live out")
	}
	for fileSize(e.o.Path+".wal") == first && !ended() { // its first act is to write a mark there
		time.Sleep(time.Millisecond)
	}
	go func() {
		at, _ := e.Cursor(t.Context(), event.Blue, 0, warehouse.Raw)
		_, err := e.Append(t.Context(), frames(event.Blue, at.Frame, at.Frame+20, 100))
		if err == nil && !ended() {
			err = errors.New("the candidate's commit did not wait: it would hold the log's lock while it waits for its table")
		}
		candidate <- err
	}()
	for range 50 { // until an append is in the second log
		raw, _ := e.Cursor(t.Context(), event.Green, 0, warehouse.Raw)
		if _, err := e.Append(t.Context(), frames(event.Green, raw.Frame, raw.Frame+5, 2)); err != nil {
			t.Fatal(err)
		}
		at, _ := e.Cursor(t.Context(), event.Green, 0, "ga4")
		b := &warehouse.Batch{Stack: event.Green, Stage: "ga4", Journal: "j", From: at, To: event.Cursor{Frame: at.Frame + 3}}
		b.Outcomes = []warehouse.Outcome{{Position: event.Position{Frame: at.Frame + 2}, Outcome: "accepted"}}
		if _, err := e.Append(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(e.o.Path + ".wal.checkpoint"); err == nil {
			e.names.mu.Lock()
			if !e.names.has(info) {
				t.Error("an append was acknowledged before the second log's name was on disk")
			}
			e.names.mu.Unlock()
			break
		}
		if ended() {
			break
		}
	}
	beside := !ended()
	if err := <-folded; err != nil {
		t.Fatal(err)
	}
	e.names.mu.Lock()
	for _, f := range e.names.known {
		if info, err := f.Stat(); err != nil || info.Sys().(*syscall.Stat_t).Nlink == 0 {
			t.Errorf("a log that was folded is kept open, %v: some append will have to wait until it is freed", err)
		}
	}
	e.names.mu.Unlock()
	if err := <-candidate; err != nil {
		t.Error(err)
	}
	return beside
}

// TestLinesOfCursorsAreForgotten: a checkpoint leaves one line for each cursor.
func TestLinesOfCursorsAreForgotten(t *testing.T) {
	e := twoStacks(t, Options{})
	for at := uint64(2); at < 12; at++ {
		if _, err := e.Append(t.Context(), frames(event.Green, at, at+1, 1)); err != nil {
			t.Fatal(err)
		}
	}
	const lines = "SELECT stack, count(*), max(step) FROM cursors_log GROUP BY 1 ORDER BY 1"
	if got := table(t, e, lines); got != "blue 13 13; green 11 11" && !strings.HasSuffix(got, "green 11 11") {
		t.Errorf("before: %s", got)
	}
	cursors := table(t, e, "SELECT * FROM cursors ORDER BY stack")
	if err := e.checkpoint(); err != nil {
		t.Fatal(err)
	}
	if got := table(t, e, lines); !strings.HasPrefix(got, "blue 1 ") || !strings.HasSuffix(got, "green 1 11") {
		t.Errorf("after: %s", got)
	}
	if got := table(t, e, "SELECT * FROM cursors ORDER BY stack"); got != cursors || !strings.Contains(got, "green 0 raw j 12 0 10") {
		t.Errorf("cursors %s, before %s", got, cursors)
	}
}

// TestFullCheckpointNowAndThen: however much the candidate writes, deleted rows are removed at last.
func TestFullCheckpointNowAndThen(t *testing.T) {
	e := twoStacks(t, Options{})
	var beside []bool
	e.folds = func(b bool) func(error) {
		beside = append(beside, b)
		return func(error) {}
	}
	const groups = `SELECT sum(count) FROM pragma_storage_info('cursors_log') WHERE column_name = 'step' AND segment_type <> 'VALIDITY'`
	var stored []string // lines, those that were deleted included
	for at := uint64(50); at < 53; at++ {
		if at == 52 {
			e.full = e.full.Add(-fullEvery)
		}
		if _, err := e.Append(t.Context(), frames(event.Blue, at, at+1, 10)); err != nil {
			t.Fatal(err)
		}
		if err := e.checkpoint(); err != nil {
			t.Fatal(err)
		}
		stored = append(stored, table(t, e, groups))
	}
	if fmt.Sprint(beside) != "[true true false]" || stored[2] != "2" || stored[1] == "2" {
		t.Errorf("beside live's appends %v, lines stored %v: want the third to be full, and to leave one line for each cursor", beside, stored)
	}
}

// TestCheckpointFails has DuckDB break off a checkpoint at each of its stages while live appends into the second log.
// Whatever was acknowledged is there once the file is open again, both as the engine goes on and in copies of the files
// as a crash would have left them, the second log torn anywhere.
func TestCheckpointFails(t *testing.T) {
	for _, stage := range []string{"before_header", "before_truncate", "before_wal_finish"} {
		t.Run(stage, func(t *testing.T) {
			settings := slowCheckpoints(150)
			settings["debug_checkpoint_abort"] = stage
			e := twoStacks(t, Options{settings: settings})
			acknowledged := uint64(2)
			copied := filepath.Join(t.TempDir(), "copy")
			e.folds = func(bool) func(error) {
				return func(err error) {
					if err != nil {
						copyFiles(t, e.o.Path, copied)
					}
				}
			}
			e.shared.Lock()
			e.o.settings = nil // for the next time it is opened
			e.shared.Unlock()
			folded := make(chan error, 1)
			go func() { folded <- e.checkpoint() }()
			var err error
			for done := false; !done; {
				select {
				case err = <-folded:
					done = true
				default:
				}
				c, aerr := e.Append(t.Context(), frames(event.Green, acknowledged, acknowledged+1, 3))
				if aerr == nil {
					acknowledged = c.Frame
				}
			}
			if err == nil {
				t.Fatal("the checkpoint did not fail: nothing was shown")
			}
			if _, err := e.Append(t.Context(), frames(event.Green, acknowledged, acknowledged+1, 3)); err != nil {
				t.Fatalf("afterwards: %v", err)
			}
			if err := e.checkpoint(); err != nil {
				t.Fatalf("the next checkpoint: %v", err)
			}
			if got := table(t, e, `SELECT count(*), count(DISTINCT "eventId"), max(frame) FROM green.raw`); got != fmt.Sprint((acknowledged-1)*3, (acknowledged-1)*3, acknowledged) {
				t.Errorf("rows, ids and last frame %s; frame %d was acknowledged", got, acknowledged)
			}
			second := fileSize(copied + ".wal.checkpoint")
			if second == 0 {
				t.Fatal("no append came into the second log: nothing was shown")
			}
			last := uint64(0)
			cuts := []int64{1, second / 2, second}
			if stage == "before_header" { // then both logs are read
				cuts = []int64{0, 1, 5, second / 2, second - 1, second}
			}
			for _, cut := range cuts {
				last = openTorn(t, copied, cut, last)
			}
			if last < 3 {
				t.Errorf("the whole log gives frame %d", last)
			}
		})
	}
}

// copyFiles copies the file and its logs.
func copyFiles(t *testing.T, from, to string) {
	for _, name := range append(logs(""), "") {
		data, err := os.ReadFile(from + name)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err == nil {
			err = os.WriteFile(to+name, data, 0o600)
		}
		if err != nil {
			t.Error(err)
		}
	}
}

// openTorn opens a copy whose second log is cut, and returns live's cursor, which must not be before least: the rows must
// be those that it says.
func openTorn(t *testing.T, from string, cut int64, least uint64) uint64 {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "w")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "warehouse.duckdb")
	copyFiles(t, from, path)
	if err := os.Truncate(path+".wal.checkpoint", cut); err != nil {
		t.Fatal(err)
	}
	e, err := Open(Options{Path: path})
	if err != nil {
		t.Fatalf("second log cut at %d: %v", cut, err)
	}
	defer e.Close()
	at, err := e.Cursor(t.Context(), event.Green, 0, warehouse.Raw)
	if err != nil || at.Frame < least {
		t.Errorf("cut at %d: cursor %v, %v; a shorter log gave %d", cut, at, err, least)
	}
	if got, want := table(t, e, `SELECT count(*), count(DISTINCT "eventId") FROM green.raw`), fmt.Sprint((at.Frame-2)*3, (at.Frame-2)*3); got != want {
		t.Errorf("cut at %d: rows and ids %s, the cursor %v means %s", cut, got, at, want)
	}
	if got := table(t, e, "SELECT count(*) FROM blue.raw"); got != "4800" {
		t.Errorf("cut at %d: %s rows of the candidate", cut, got)
	}
	return at.Frame
}

// TestLogThatCannotBeFolded keeps checkpoints from beginning, as a transaction does that changed rows and that a long
// query keeps from being forgotten: once the log is many times too long the candidate waits, and live goes on.
func TestLogThatCannotBeFolded(t *testing.T) {
	e := twoStacks(t, Options{Log: 1 << 10})
	c, err := e.db.connect()
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	for err := c.exec("BEGIN TRANSACTION"); ; err = c.exec("UPDATE meta SET value = value") {
		if err != nil {
			t.Fatal(err)
		}
		if errors.Is(e.checkpoint(), errFolding) {
			break
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	wrote := make(chan uint64)
	go func() {
		defer close(wrote)
		for at, _ := e.Cursor(ctx, event.Blue, 0, warehouse.Raw); ; {
			next, err := e.Append(ctx, frames(event.Blue, at.Frame, at.Frame+1, 10))
			if err != nil {
				if !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
				return
			}
			at = next
			select {
			case wrote <- at.Frame:
			case <-ctx.Done():
				return
			}
		}
	}()
	for counted(t, e.metrics.held) == 0 {
		select {
		case at := <-wrote:
			if at > 1000 {
				t.Fatalf("the candidate wrote on to frame %d: the log has %d bytes", at, logSize(e.o.Path))
			}
		case <-time.After(time.Millisecond):
		}
	}
	for at := uint64(2); at < 6; at++ {
		if _, err := e.Append(t.Context(), frames(event.Green, at, at+1, 10)); err != nil {
			t.Fatal(err)
		}
	}
	for range len(wrote) + 1 { // what it had acknowledged before
		select {
		case <-wrote:
		default:
		}
	}
	if err := c.exec("ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	if _, ok := <-wrote; !ok {
		t.Fatal("the candidate does not go on although the log can be folded")
	}
}

func counted(t *testing.T, c prometheus.Counter) float64 {
	t.Helper()
	var m dto.Metric
	if err := c.Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetCounter().GetValue()
}
