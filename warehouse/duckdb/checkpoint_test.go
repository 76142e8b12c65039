package duckdb

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
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

// TestNobodyCommitsDuringACheckpoint: what is appended meanwhile is stored after it, by either stack.
func TestNobodyCommitsDuringACheckpoint(t *testing.T) {
	e := twoStacks(t, Options{settings: slowCheckpoints(300), DigestFrames: 4, DigestRows: 5})
	begun, over := make(chan struct{}), make(chan struct{})
	e.folds = func() func(error) {
		close(begun)
		return func(error) { close(over) }
	}
	folded, appended := make(chan error, 1), make(chan error, 2)
	go func() { folded <- e.checkpoint() }()
	<-begun
	for _, stack := range event.Stacks() {
		go func() {
			at, _ := e.Cursor(t.Context(), stack, 0, warehouse.Raw)
			_, err := e.Append(t.Context(), frames(stack, at.Frame, at.Frame+5, 2))
			select {
			case <-over:
			default:
				err = errors.Join(err, fmt.Errorf("%s committed while the log was folded", stack))
			}
			appended <- err
		}()
	}
	for _, err := range []error{<-folded, <-appended, <-appended} {
		if err != nil {
			t.Error(err)
		}
	}
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

// TestCheckpointFails has DuckDB break off a checkpoint at each of its stages while live wants to append. Whatever was
// acknowledged is there once the file is open again, both as the engine goes on and in copies of the files as a crash would
// have left them, the second log torn in its beginning.
func TestCheckpointFails(t *testing.T) {
	for _, stage := range []string{"before_header", "before_truncate", "before_wal_finish"} {
		t.Run(stage, func(t *testing.T) {
			settings := slowCheckpoints(150)
			settings["debug_checkpoint_abort"] = stage
			e := twoStacks(t, Options{settings: settings})
			acknowledged := uint64(2)
			copied := filepath.Join(t.TempDir(), "copy")
			e.folds = func() func(error) {
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
			last := uint64(0)
			for _, bytes := range []int{0, 1, 5} {
				last = openTorn(t, copied, bytes, last)
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

// openTorn opens a copy whose second log has so many bytes, and returns live's cursor, which must not be before least: the
// rows must be those that it says.
func openTorn(t *testing.T, from string, cut int, least uint64) uint64 {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "w")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "warehouse.duckdb")
	copyFiles(t, from, path)
	if err := os.WriteFile(path+".wal.checkpoint", make([]byte, cut), 0o600); err != nil {
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
