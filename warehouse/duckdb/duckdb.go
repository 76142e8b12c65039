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
	"maps"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// ErrClosed says that the warehouse was closed.
var ErrClosed = errors.New("warehouse: closed")

// Engine implements warehouse.Warehouse. It is safe for concurrent use.
type Engine struct {
	o       Options
	state   *state
	gate    *gate
	lock    *lockFile
	metrics *metrics
	writers map[event.Stack]*writer
	running sync.WaitGroup // writers

	// shared is held by every transaction that writes: shared, or alone if it changes the timeline or the journals, or
	// opens the file again. It guards db, opened and the writers' connections; so does using, for readers.
	shared sync.RWMutex
	db     *database // nil: could not be opened again; the next transaction tries
	opened int       // how many times the file was opened
	failed error     // why db is nil

	// folding is held alone while the log is folded into the file; shared, and before the lock shared, by everything that
	// must not write or open the file meanwhile: all but appends of the live stack that only insert.
	folding sync.RWMutex
	full    time.Time     // of the last full checkpoint; guarded by folding
	due     chan struct{} // the log may have to be folded
	names   logNames
	undo    *undo        // guarded as db
	logged  atomic.Int64 // bytes of the logs when they were last looked at

	slots     chan struct{}   // one per query that may run
	queries   context.Context // ends when Close begins: queries are stopped
	stop      context.CancelFunc
	using     sync.RWMutex   // held shared by each query while it uses db
	ending    sync.Mutex     // held while a query ends its transaction
	executing *exclusive     // queries, and who needs their memory
	reading   sync.WaitGroup // queries in progress

	begin  func(event.Stack, *transaction) // for tests: called before a transaction begins
	fault  func(*transaction) error        // for tests: fails a transaction half-way
	folds  func(beside bool) func(error)   // for tests: called before a checkpoint, and what it returns after it
	buried func() error                    // for tests: called at the end of a transaction of an erasure
	looked func()                          // for tests: called after an erasure has looked and before it buries

	expireRows int64 // of a step of retention; tests take smaller ones

	mu      sync.Mutex
	closed  bool                 // guarded by mu; once true, reading does not grow
	readers map[*reader]struct{} // guarded by mu

	rest map[event.Stack]time.Time // when each stack may change its columns again while it is the candidate; guarded by mu
}

var _ warehouse.Warehouse = (*Engine)(nil)

// Open opens the file, creating it if there is none, and starts one writer per stack.
func Open(o Options) (*Engine, error) {
	if err := o.applyDefaults(); err != nil {
		return nil, err
	}
	e := &Engine{o: o, state: new(state), slots: make(chan struct{}, o.Queries), writers: map[event.Stack]*writer{}, readers: map[*reader]struct{}{}, rest: map[event.Stack]time.Time{}, executing: newExclusive(), due: make(chan struct{}, 1), full: time.Now(), expireRows: expireRows}
	e.queries, e.stop = context.WithCancel(context.Background())
	e.gate = newGate(e.state.live, o.Patience)
	e.metrics = newMetrics(o.Telemetry.Registry, o.Path)
	for _, stack := range event.Stacks() {
		e.writers[stack] = newWriter(e, stack)
	}
	boundMemory(e.headroom())
	if err := e.claim(); err != nil {
		boundMemory(-e.headroom())
		return nil, err
	}
	for _, w := range e.writers {
		e.running.Go(w.run)
	}
	e.running.Go(e.fold)
	if o.Retention != (Retention{}) {
		e.running.Go(e.keep)
	}
	return e, nil
}

// claim takes the lock and opens the file.
func (e *Engine) claim() (err error) {
	if err := privateFolder(e.o.Path); err != nil {
		return fmt.Errorf("warehouse %s: %w", e.o.Path, err)
	}
	if e.lock, err = lock(e.o.Path); err != nil {
		return fmt.Errorf("warehouse %s: %w", e.o.Path, err)
	}
	if err := e.openAll(); err != nil {
		e.lock.release()
		return err
	}
	return nil
}

// openFile opens the database, locks its settings and brings it to this build's format.
func openFile(o Options) (*database, error) {
	tmp := o.tmp()
	if err := os.MkdirAll(tmp, 0o700); err != nil {
		return nil, err
	}
	if err := mendLogs(o.Path); err != nil {
		return nil, err
	}
	settings := map[string]string{
		"memory_limit":                 strconv.FormatInt(o.Memory, 10) + "B",
		"threads":                      strconv.Itoa(o.Threads),
		"temp_directory":               tmp,
		"max_temp_directory_size":      strconv.FormatInt(o.Spill, 10) + "B",
		"autoinstall_known_extensions": "false",
		"autoload_known_extensions":    "false",
		"allow_community_extensions":   "false",
		"allow_persistent_secrets":     "false",
		"errors_as_json":               "false",
		"checkpoint_threshold":         "1000TB", // never: see checkpoint.go
		"max_vacuum_tasks":             "1",
		"preserve_insertion_order":     "true",
		"default_null_order":           "nulls_last",
	}
	maps.Copy(settings, o.settings)
	db, err := openNative(o.Path, settings)
	if err != nil {
		if strings.Contains(err.Error(), "lock on file") {
			return nil, fmt.Errorf("another program has it open, and only one may: stop that one first: %w", err)
		}
		if strings.Contains(err.Error(), "newer version") || strings.Contains(err.Error(), "version number") {
			return nil, fmt.Errorf("%w of DuckDB; run the newer build: %w", errNewer, err)
		}
		return nil, err
	}
	if err := prepareFile(db, o.DigestFrames); err != nil {
		db.close()
		return nil, err
	}
	return db, nil
}

func prepareFile(db *database, frames uint64) error {
	c, err := db.connect()
	if err != nil {
		return err
	}
	defer c.close()
	if err := defineFunctions(c); err != nil {
		return err
	}
	if err := migrate(c, frames); err != nil {
		return err
	}
	// Last, since nothing can be set afterwards. Read-only alone would still let a SELECT read and write files.
	for _, set := range []string{"PRAGMA disable_checkpoint_on_shutdown", "SET enable_external_access = false", "SET lock_configuration = true"} {
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

// Ready returns why the warehouse should not be asked now; nothing if it should.
func (e *Engine) Ready() []error {
	e.mu.Lock()
	closed := e.closed
	e.mu.Unlock()
	if closed {
		return []error{ErrClosed}
	}
	if err := e.trouble(); err != nil {
		return []error{err}
	}
	return nil
}

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
	e.metrics.unregister()
	boundMemory(-e.headroom())
	defer e.lock.release()
	return e.closeAll()
}
