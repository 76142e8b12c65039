// Package duckdb is the warehouse engine for one machine: a DuckDB file, embedded.
//
// Invariant: what Append acknowledged is on disk exactly once, with the cursor that says so, in one transaction; the
// engine's idea of cursors, journals and timeline is only ever what the last successful commit made it. Exactly one
// process has the file open.
package duckdb

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// ErrClosed says that the warehouse was closed.
var ErrClosed = errors.New("warehouse: closed")

// Engine implements warehouse.Warehouse. It is safe for concurrent use.
type Engine struct {
	o       Options
	db      *database
	state   *state
	gate    *gate
	writers map[event.Stack]*writer
	running sync.WaitGroup
	shared  sync.RWMutex  // held by every transaction: shared, or alone if it changes the timeline or the journals
	slots   chan struct{} // one per query that may run

	queries context.Context // ends when Close begins: queries are stopped
	stop    context.CancelFunc
	reading sync.WaitGroup // queries in progress

	mu     sync.Mutex
	closed bool // guarded by mu; once true, reading does not grow
}

var _ warehouse.Warehouse = (*Engine)(nil)

// Open opens the file, creating it if there is none, and starts one writer per stack.
func Open(o Options) (*Engine, error) {
	if err := o.applyDefaults(); err != nil {
		return nil, err
	}
	// On a thread that yields, since DuckDB's worker threads, which only queries use, inherit that.
	opened := make(chan struct{})
	var db *database
	var err error
	go func() {
		defer close(opened)
		yieldThread()
		db, err = openFile(o)
	}()
	<-opened
	if err != nil {
		return nil, fmt.Errorf("warehouse %s: %w", o.Path, err)
	}
	e := &Engine{o: o, db: db, slots: make(chan struct{}, o.Queries), writers: map[event.Stack]*writer{}}
	boundMemory(e.headroom())
	e.queries, e.stop = context.WithCancel(context.Background())
	c, err := db.connect()
	if err == nil {
		e.state, err = loadState(c)
		c.close()
	}
	if err != nil {
		db.close()
		return nil, fmt.Errorf("warehouse %s: %w", o.Path, err)
	}
	e.gate = newGate(e.state.live, o.Patience)
	for _, stack := range event.Stacks() {
		w, err := newWriter(e, stack)
		if err != nil {
			e.Close()
			return nil, fmt.Errorf("warehouse %s: %w", o.Path, err)
		}
		e.writers[stack] = w
		e.running.Go(w.run)
	}
	return e, nil
}

// openFile opens the database, locks its settings and brings it to this build's format.
func openFile(o Options) (*database, error) {
	if err := privateFolder(o.Path); err != nil {
		return nil, err
	}
	tmp := filepath.Join(filepath.Dir(o.Path), "tmp")
	if err := os.MkdirAll(tmp, 0o700); err != nil {
		return nil, err
	}
	db, err := openNative(o.Path, map[string]string{
		"memory_limit":                 strconv.FormatInt(o.Memory, 10) + "B",
		"threads":                      strconv.Itoa(o.Threads),
		"temp_directory":               tmp,
		"max_temp_directory_size":      strconv.FormatInt(o.Spill, 10) + "B",
		"autoinstall_known_extensions": "false",
		"autoload_known_extensions":    "false",
		"allow_community_extensions":   "false",
		"allow_persistent_secrets":     "false",
		"errors_as_json":               "false",
		"preserve_insertion_order":     "true",
		"default_null_order":           "nulls_last",
	})
	if err != nil {
		if strings.Contains(err.Error(), "lock on file") {
			return nil, fmt.Errorf("another process has it open: only one may; ask that one (sparrow query does), or stop it first: %w", err)
		}
		if strings.Contains(err.Error(), "newer version") || strings.Contains(err.Error(), "version number") {
			return nil, fmt.Errorf("%w of DuckDB; run the newer build: %w", errNewer, err)
		}
		return nil, err
	}
	if err := prepareFile(db); err != nil {
		db.close()
		return nil, err
	}
	return db, nil
}

func prepareFile(db *database) error {
	c, err := db.connect()
	if err != nil {
		return err
	}
	defer c.close()
	if err := migrate(c); err != nil {
		return err
	}
	// Last, since nothing can be set afterwards. Read-only alone would still let a SELECT read and write files.
	for _, set := range []string{"SET enable_external_access = false", "SET lock_configuration = true"} {
		if err := c.exec(set); err != nil {
			return fmt.Errorf("%s: %w", set, err)
		}
	}
	return nil
}

// Cursor implements warehouse.Appender.
func (e *Engine) Cursor(_ context.Context, stack event.Stack, run uint64, stage warehouse.Stage) (event.Cursor, error) {
	if _, err := event.ParseStack(string(stack)); err != nil {
		return event.Cursor{}, err
	}
	return e.state.cursor(key{stack, run, stage}), nil
}

// Journals implements warehouse.Reader.
func (e *Engine) Journals(context.Context) ([]warehouse.Journal, error) { return e.state.list(), nil }

// headroom is what DuckDB may hold in all: its buffers, and what functions build beside them.
func (e *Engine) headroom() int64 { return e.o.Memory + e.o.Memory/2 }

// Close stops intake, refuses what is queued, stops queries, waits for the transaction in progress, and closes the
// file, which folds its log into it. It takes no longer than the transaction in progress and a checkpoint; a query that
// does not stop is left behind, and then the file too, as after a crash: the log is replayed at the next Open.
func (e *Engine) Close() error {
	e.mu.Lock()
	closed := e.closed
	e.closed = true
	e.mu.Unlock()
	if closed {
		return nil
	}
	e.stop()
	e.gate.close()
	for _, w := range e.writers {
		w.queue.close()
	}
	e.running.Wait()
	idle := make(chan struct{})
	go func() {
		e.reading.Wait()
		close(idle)
	}()
	select {
	case <-idle:
	case <-time.After(5 * stopGrace):
		return fmt.Errorf("warehouse %s: a query does not stop: the file stays open until this process ends; nothing stored is lost", e.o.Path)
	}
	for _, w := range e.writers {
		w.close()
	}
	var err error
	if c, cerr := e.db.connect(); cerr == nil {
		if cerr := c.exec("CHECKPOINT"); cerr != nil {
			err = fmt.Errorf("warehouse %s: checkpoint: %w", e.o.Path, cerr)
		}
		c.close()
	}
	e.db.close()
	boundMemory(-e.headroom())
	return err
}
