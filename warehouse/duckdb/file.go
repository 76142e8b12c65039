package duckdb

import (
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/sparrowhq/sparrow/event"
)

// errReopening says that a query was stopped because the file has to be opened again.
var errReopening = errors.New("the warehouse is being opened again after an error: ask again")

// openAll opens the file and everything on it. e.shared is held alone, or nobody else has e yet.
func (e *Engine) openAll() error {
	err := e.tryOpen()
	if err != nil {
		err = fmt.Errorf("warehouse %s: %w", e.o.Path, err)
	}
	e.failed = err
	return err
}

func (e *Engine) tryOpen() (err error) {
	torn, err := putBack(e.o.Path)
	if err != nil {
		return fmt.Errorf("blocks that a checkpoint left torn: %w", err)
	}
	if torn > 0 {
		e.metrics.torn.Add(float64(torn))
		e.o.Telemetry.Log.Warn("a checkpoint was broken off: the blocks that it left torn were put back, and nothing is lost", slog.Int("blocks", torn))
	}
	// On a thread that yields, since DuckDB's worker threads, if there are any, inherit that.
	opened := make(chan struct{})
	go func() {
		defer close(opened)
		yieldThread()
		e.db, err = openFile(e.o)
	}()
	<-opened
	if err != nil {
		e.db = nil
		return err
	}
	defer func() {
		if err != nil {
			e.release()
		}
	}()
	if e.undo, err = newUndo(e.o.Path); err != nil {
		return err
	}
	e.opened++
	c, err := e.db.connect()
	if err != nil {
		return err
	}
	defer c.close()
	if err := e.state.load(c); err != nil {
		return err
	}
	for _, stack := range event.Stacks() {
		if err := checkCounts(c, stack); err != nil {
			return err
		}
		if err := e.writers[stack].open(e.db); err != nil {
			return err
		}
	}
	return e.syncNames()
}

// release closes everything that openAll opened.
func (e *Engine) release() {
	e.names.forget()
	for _, w := range e.writers {
		w.close()
	}
	e.db.close()
	e.db = nil
	e.undo.close()
}

// reopen closes the file and opens it again, unless somebody did since it was opened for the seen-th time. What the
// file then says replaces what the engine believed. It reports whether the file is open.
func (e *Engine) reopen(seen int, cause error) bool {
	e.folding.RLock()
	defer e.folding.RUnlock()
	e.shared.Lock()
	defer e.shared.Unlock()
	if e.opened != seen {
		return e.db != nil
	}
	e.stopReaders(errReopening)
	e.using.Lock()
	defer e.using.Unlock()
	if e.db != nil {
		e.release()
	}
	if err := e.openAll(); err != nil {
		e.o.Telemetry.Failure("warehouse cannot be opened again", err)
		return false
	}
	e.metrics.reopened.Inc()
	e.o.Telemetry.Log.Warn("warehouse opened again after an error", slog.Any("cause", cause))
	return true
}

// trouble returns why the file is not open.
func (e *Engine) trouble() error {
	e.using.RLock()
	defer e.using.RUnlock()
	return e.failed
}

// closeAll folds the log into the file and closes it. Nobody uses it any more.
func (e *Engine) closeAll() error {
	e.shared.Lock()
	defer e.shared.Unlock()
	e.using.Lock()
	defer e.using.Unlock()
	if e.db == nil {
		return nil
	}
	var err error
	c, cerr := e.db.connect()
	if cerr == nil {
		if cerr = e.undo.save(c); cerr == nil {
			cerr = c.exec("CHECKPOINT")
		}
		c.close()
	}
	if cerr != nil {
		err = fmt.Errorf("warehouse %s: checkpoint: %w", e.o.Path, cerr)
	}
	e.release()
	if err == nil {
		os.Remove(undoPath(e.o.Path)) // of no use; if it stays, of no harm
	}
	e.failed = ErrClosed
	return err
}
