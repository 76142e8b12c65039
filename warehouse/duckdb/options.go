package duckdb

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/sparrowhq/sparrow/telemetry"
	"github.com/sparrowhq/sparrow/warehouse"
)

// Options configure Open. Every zero value means its default.
type Options struct {
	Path      string               // the database file; its folder is private to it and made with mode 0700; required
	Memory    int64                // bytes DuckDB may use; 1 GiB
	Threads   int                  // threads among which DuckDB divides every statement; 1, see below
	Spill     int64                // bytes queries may spill into the folder's tmp; 8 GiB
	Log       int64                // bytes the log may grow to before it is folded into the file; a sixteenth of Memory, see below
	Telemetry *telemetry.Telemetry // nil: nobody listens

	QueueBytes    int64         // bytes of batches of raw that may wait per stack, the one being written included, and as many of outcomes; 64 MiB
	QueueBatches  int           // batches of raw that may wait per stack, and as many of outcomes; 1,024
	LiveRows      int           // rows of raw in one transaction of the live stack, and as many outcomes; 65,536
	CandidateRows int           // the same of the candidate; 4,096
	Patience      time.Duration // after which the candidate gets one transaction although the live stack never pauses; 100 ms, see below

	DigestRows   int    // rows of a stage after which its digests are brought up to date; 131,072, see below
	DigestFrames uint64 // frames that share a digest, if the file is made now: 1,024, as warehouse.DigestFrames

	Queries int           // queries that run at the same time; others wait; 4
	Limit   int           // rows in an answer that names no limit; 100,000
	MaxWait time.Duration // for a query, reading its answer included, if it names no shorter time; 1 min

	// A query that was told to stop, and is in a function call that cannot be interrupted, harms appends in the end: after
	// StuckWait, 30 s, Stuck is called, from another goroutine; perhaps for several queries. It should end the process: only
	// that ends the call, nothing stored is lost, and Close would leave the query behind. nil: nobody is told.
	StuckWait time.Duration
	Stuck     func(error)

	Retention Retention // nothing is deleted

	settings map[string]string // of DuckDB, for tests
}

func (o *Options) applyDefaults() error {
	if o.Path == "" {
		return errors.New("warehouse: Path is required: name the database file")
	}
	abs, err := filepath.Abs(o.Path)
	if err != nil {
		return fmt.Errorf("warehouse %s: %w", o.Path, err)
	}
	o.Path = abs
	if o.Telemetry == nil {
		o.Telemetry = telemetry.Discard()
	}
	def(&o.Memory, 1<<30)
	// One: a statement runs wholly on the thread that asked. With more, DuckDB divides appends too, BEGIN and COMMIT
	// among them: an append of one row then takes twice the processor time (tried: 1.3 → 2.7 ms) and may wait for a
	// worker that runs behind a query. Whoever wants one query on several processors sends it in ranges of frames.
	def(&o.Threads, 1)
	def(&o.Spill, 8<<30)
	// Folding takes some 5 ms for each MiB of log, in which the candidate's appends wait. Folding seldom costs less in all,
	// since each time the last, unfinished group of 122,880 rows of a table is compressed again: with the 64 MiB that
	// this gives by default an appended row takes 5.5 us of processor time, with DuckDB's own 16 MiB 13.6 us (tried).
	def(&o.Log, o.Memory/16)
	def(&o.QueueBytes, 64<<20)
	def(&o.QueueBatches, 1024)
	def(&o.LiveRows, 65536)
	def(&o.CandidateRows, 4096)
	// With raw and four stages a stack the live one hardly ever pauses at 5,000 events a second on a busy machine. With 1 s
	// the candidate then keeps 60 % of that pace, with 200 ms 85 %, with this nearly all; live's appends take as long with
	// each (tried).
	def(&o.Patience, 100*time.Millisecond)
	// Statements that read rows back cost 10 ms and 0.2 us a row (tried). With this an append in bulk takes a seventh longer.
	def(&o.DigestRows, 131_072)
	def(&o.DigestFrames, warehouse.DigestFrames)
	def(&o.Queries, 4)
	def(&o.Limit, 100_000)
	def(&o.MaxWait, time.Minute)
	def(&o.StuckWait, 30*time.Second)
	return nil
}

// tmp is the folder that queries may spill into.
func (o *Options) tmp() string { return filepath.Join(filepath.Dir(o.Path), "tmp") }

func def[T comparable](v *T, d T) {
	if *v == *new(T) {
		*v = d
	}
}

// privateFolder makes sure that nobody else can read the folder of path. A folder that already holds other things is
// not ours to lock up: then it must be private already.
func privateFolder(path string) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if info.Mode().Perm()&0o077 == 0 {
		return nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	_, missing := os.Stat(path)
	if len(entries) > 0 && missing != nil {
		return fmt.Errorf("its folder is open to others (mode %04o) and holds other files: name a folder of its own, or chmod 700 it", info.Mode().Perm())
	}
	return os.Chmod(dir, 0o700)
}
