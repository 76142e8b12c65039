package duckdb

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	native "github.com/duckdb/duckdb-go-bindings"

	"github.com/sparrowhq/sparrow/event"
)

// DuckDB's own checkpoints, which fold the log into the file, run inside the COMMIT that happens to find the log long.
// Here one goroutine runs them instead. Meanwhile the live stack's appends go on, into a second log: DuckDB lets
// transactions commit that do nothing but insert, and those into a table being written wait for that table only. All
// others stay out, by Engine.folding: what changes rows or tables waits in DuckDB for the whole checkpoint, while it may
// hold what the checkpoint waits for; and the candidate's commit would wait for its table with the log locked, and live's
// commits behind it. See docs/decisions/0021-checkpoints.md.

const (
	// foldEvery is how often the log's size is looked at, beside after every append.
	foldEvery = time.Second

	// foldAgain is how long a checkpoint that failed rests at first; twice as long after each further failure.
	foldAgain = time.Second
	foldRest  = time.Minute // at most

	// fullEvery is how often there is a full checkpoint at least, in which everybody's appends wait: only those remove
	// rows that were deleted, and merge groups of rows that are small since they were begun during another. Of these it
	// makes one of up to 122,880 rows in each table (max_vacuum_tasks); all of them at once took seconds (tried).
	fullEvery = 10 * time.Minute

	// logFactor is how many times Options.Log the log may have before the candidate waits for a checkpoint. The live
	// stack never does: then the disk is the bound.
	logFactor = 8
)

// errFolding says that a checkpoint cannot begin now.
var errFolding = errors.New("a transaction keeps the log from being folded into the file")

// fold folds the log into the file whenever it is long, until Close.
func (e *Engine) fold() {
	exemptThread()
	tick := time.NewTicker(foldEvery)
	defer tick.Stop()
	failures := 0
	var rest time.Time // no checkpoint before
	for {
		select {
		case <-e.queries.Done():
			return
		case <-tick.C:
		case <-e.due:
		}
		if logSize(e.o.Path) < e.o.Log || time.Now().Before(rest) {
			continue
		}
		err := e.checkpoint()
		switch {
		case err == nil:
			failures, rest = 0, time.Time{}
			continue
		case errors.Is(err, errFolding):
			e.metrics.unfolded.WithLabelValues("busy").Inc()
			rest = time.Now().Add(100 * time.Millisecond)
			continue
		}
		e.metrics.unfolded.WithLabelValues("failed").Inc()
		rest = time.Now().Add(min(foldAgain<<min(failures, 10), foldRest))
		if failures++; failures == 1 {
			e.o.Telemetry.Failure("the log cannot be folded into the file; it is tried again, and appends go on meanwhile", err, slog.Int64("bytes", logSize(e.o.Path)))
		}
	}
}

// checkpoint folds the log into the file once. After an error of DuckDB the file was opened again.
func (e *Engine) checkpoint() error {
	opened, err := func() (int, error) {
		e.folding.Lock()
		defer e.folding.Unlock()
		// Nobody opens the file again meanwhile: that takes folding, too.
		if e.db == nil {
			return e.opened, &commitError{e.failed}
		}
		return e.opened, e.foldOnce()
	}()
	if err != nil && broken(err) {
		e.reopen(opened, err)
	}
	return err
}

// foldOnce runs a checkpoint; e.folding is held.
func (e *Engine) foldOnce() error {
	began, bytes := time.Now(), logSize(e.o.Path)
	c, err := e.db.connect()
	if err != nil {
		return err
	}
	defer c.close()
	if err := c.transaction(func() error { return c.exec(forgetLines) }); err != nil {
		return fmt.Errorf("lines of cursors: %w", err)
	}
	beside := !e.fullDue()
	if !beside {
		e.shared.Lock() // an append that is under way would keep it from being full
		defer e.shared.Unlock()
	} else {
		guard, err := e.db.connect()
		if err != nil {
			return err
		}
		defer guard.close() // which undoes it
		// While there is a transaction that inserts, DuckDB removes no deleted rows and merges no groups of rows, for
		// which it would keep everybody from inserting until the end.
		if err := guard.execAll([]string{"BEGIN TRANSACTION", "INSERT INTO meta VALUES ('checkpoint', '')"}); err != nil {
			return err
		}
	}
	if err := e.undo.save(c); err != nil {
		return fmt.Errorf("blocks that a crash could tear: %w", err)
	}
	ended := func(error) {}
	if e.folds != nil {
		ended = e.folds(beside)
	}
	err = c.exec("CHECKPOINT")
	ended(err)
	if err != nil && isKind(err, native.ErrorTypeTransaction) && strings.Contains(err.Error(), "write transactions active") {
		return fmt.Errorf("%w: %w", errFolding, err)
	}
	if err != nil {
		return &commitError{fmt.Errorf("checkpoint: %w", err)}
	}
	// The second log may have taken the first one's name. That must be on disk before the next checkpoint, which would
	// otherwise leave a log there that is two checkpoints old.
	if err := syncFolder(filepath.Dir(e.o.Path)); err != nil {
		return &commitError{fmt.Errorf("checkpoint: sync of the folder: %w", err)}
	}
	e.names.prune()
	if !beside {
		e.full = time.Now()
	}
	e.metrics.folded(time.Since(began), bytes)
	return nil
}

// forgetLines deletes the lines of cursors that no longer count. Nobody changes lines, so it is in nobody's way.
const forgetLines = `DELETE FROM cursors_log AS l USING (SELECT stack, run, stage, max(step) AS step FROM cursors_log GROUP BY ALL) AS m ` +
	`WHERE l.stack = m.stack AND l.run = m.run AND l.stage = m.stage AND l.step < m.step`

// fullDue reports whether it is time for a full checkpoint; before the first control record nobody's appends come first.
func (e *Engine) fullDue() bool {
	return e.state.live() == "" || time.Since(e.full) >= fullEvery
}

// candidate reports whether a stack is not the one that is live.
func (e *Engine) candidate(stack event.Stack) bool {
	live := e.state.live()
	return live != "" && live != stack
}

// awaitFold keeps a candidate from making a log longer that was not folded for a long time.
func (e *Engine) awaitFold(stack event.Stack) {
	for first := true; e.logged.Load() > logFactor*e.o.Log && e.candidate(stack); first = false {
		if first {
			e.metrics.held.Inc()
		}
		e.folder()
		select {
		case <-e.queries.Done():
			return
		case <-time.After(50 * time.Millisecond):
		}
		e.logged.Store(logSize(e.o.Path))
	}
}

// folder has the log looked at.
func (e *Engine) folder() {
	select {
	case e.due <- struct{}{}:
	default:
	}
}
