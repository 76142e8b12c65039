// Package backlog is trace's durable state: the messages that not everybody has yet, how far each lane has come, what
// became of each event, which calls were begun, the dead letters, and the messageIds seen.
//
// Invariant: what belongs together changes in one transaction of one file, so no order of crashes can part it: a message,
// the intake cursor and the messageIds it brings; results, the dead letters and corrections they make, and the intents they
// end. A change is durable when its call returns without an error, and not there at all after an error. A message stays
// until every lane's outcomes of it are in the warehouse.
//
//	meta      format, stack, state
//	messages  number → one bucket a message (a bucket's pages are not rewritten when its neighbours are)
//	keys      ordinal of the first → the messageIds of one change, in order
//	lanes     name → { state; log: number → intents and results; dead: position → letter; late: number → correction }
package backlog

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
	"golang.org/x/sys/unix"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// Format is the format of the file that this build writes, and the newest it reads.
const Format = 1

// ErrFull says that the backlog may not grow now. What it holds is safe; lanes go on, and make room.
var ErrFull = errors.New("backlog: full")

// ErrClosed says that the backlog is closed.
var ErrClosed = errors.New("backlog: closed")

// Options configure Open.
type Options struct {
	Dir      string        // of this stack's trace alone; made with mode 0700; required
	Stack    event.Stack   // whose it is; required
	MaxBytes int64         // of the file's used pages, beyond which Accepting refuses; 0: 8 GiB
	MinFree  int64         // bytes free on the disk, below which Accepting refuses; 0: 1 GiB; negative: not looked at
	MaxKeys  int           // messageIds remembered; 0: 1,000,000, about 100 MiB of memory if there are as many
	KeyAge   time.Duration // for how long, by received-at; 0: 24 h
	Cache    int64         // bytes of encoded messages kept decoded for lanes that are not far behind; 0: 32 MiB
	Log      *slog.Logger  // nil: nobody listens
}

func (o *Options) applyDefaultsAndValidate() error {
	if o.Dir == "" {
		return errors.New("backlog: Dir is empty")
	}
	if _, err := event.ParseStack(string(o.Stack)); err != nil {
		return fmt.Errorf("backlog: %w", err)
	}
	if o.MaxBytes <= 0 {
		o.MaxBytes = 8 << 30
	}
	if o.MinFree == 0 {
		o.MinFree = 1 << 30
	}
	if o.MaxKeys <= 0 {
		o.MaxKeys = 1_000_000
	}
	if o.KeyAge <= 0 {
		o.KeyAge = 24 * time.Hour
	}
	if o.Cache <= 0 {
		o.Cache = 32 << 20
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

// State is what the backlog as a whole holds.
type State struct {
	Begun    bool                `json:"begun"`    // Begin was called
	Cursor   event.Cursor        `json:"cursor"`   // everything below it was taken in
	Journals []warehouse.Journal `json:"journals"` // that messages came from, by first frame; Highest of the last one is the cursor's
	Head     uint64              `json:"head"`     // sequence of the last control record taken in
	Last     uint64              `json:"last"`     // number of the last message; 0: none
	Total    uint64              `json:"total"`    // accepted events taken in
	Commits  uint64              `json:"commits"`  // tells after an error whether a transaction was committed

	FirstKey uint64 `json:"firstKey"` // ordinal of the oldest messageId that counts
	NewestAt int64  `json:"newestAt"` // latest received-at of any messageId
	Lost     uint64 `json:"lost"`     // messageIds forgotten for their number before their time
}

var (
	bucketMeta     = []byte("meta")
	bucketMessages = []byte("messages")
	bucketKeys     = []byte("keys")
	bucketLanes    = []byte("lanes")

	keyFormat = []byte("format")
	keyStack  = []byte("stack")
	keyState  = []byte("state")
	keyBody   = []byte("m")
)

// Backlog is an open backlog. Its methods may be called concurrently, but for those of the intake: Begin, Append and Seen
// by one goroutine at a time.
type Backlog struct {
	o        Options
	db       *bolt.DB
	pageSize int // of db

	changes chan *change
	closing chan struct{}
	closed  sync.WaitGroup
	once    sync.Once

	mu       sync.Mutex
	state    State            // guarded by mu; as committed
	first    uint64           // guarded by mu: number of the oldest message kept; state.Last+1 if there is none
	lanes    map[string]*Lane // guarded by mu
	grown    chan struct{}    // guarded by mu: closed and replaced when messages are appended
	cache    cache            // guarded by mu
	failure  error            // guarded by mu: of the last transaction; nil: it was committed
	messages int64            // guarded by mu: bytes of the messages kept, as encoded

	window window // the intake's

	committed func() // called after each transaction; nil but in tests
}

// Open opens the backlog in o.Dir, or makes a new one. One process at a time may have it open.
func Open(o Options) (*Backlog, error) {
	if err := o.applyDefaultsAndValidate(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("backlog: %w", err)
	}
	if err := os.Chmod(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("backlog: %w", err)
	}
	b := &Backlog{
		o: o, changes: make(chan *change, 256), closing: make(chan struct{}), lanes: map[string]*Lane{}, grown: make(chan struct{}),
		cache: cache{limit: o.Cache, at: map[uint64]*entry{}},
	}
	path := filepath.Join(o.Dir, "backlog.db")
	if err := b.open(path); err != nil {
		if b.db != nil {
			b.db.Close()
		}
		return nil, err
	}
	b.closed.Go(b.write)
	return b, nil
}

// open opens the file.
func (b *Backlog) open(path string) (err error) {
	damaged := func(err error) error {
		return fmt.Errorf("backlog: %s is damaged: %w: restore it, or move it away to begin where the warehouse's outcomes end", path, err)
	}
	// What bolt does of its own at the start meets damage in a goroutine where nobody can recover. So everything is walked
	// through first.
	if info, err := os.Stat(path); err == nil && info.Size() > 0 {
		db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: time.Second, ReadOnly: true})
		switch {
		case errors.Is(err, berrors.ErrTimeout):
			return fmt.Errorf("backlog: another process has %s open, and only one may: stop it first", path)
		case err != nil:
			return damaged(err)
		}
		err = guarded(func() error { return db.View(func(tx *bolt.Tx) error { return b.check(tx, path) }) })
		if closing := db.Close(); err == nil {
			err = closing
		}
		if torn := new(tornError); errors.As(err, &torn) {
			return damaged(err)
		} else if err != nil {
			return err
		}
	}
	b.db, err = bolt.Open(path, 0o600, &bolt.Options{Timeout: time.Second, NoFreelistSync: true, FreelistType: bolt.FreelistMapType})
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return fmt.Errorf("backlog: another process has %s open, and only one may: stop it first", path)
	case err != nil:
		return fmt.Errorf("backlog: %s cannot be opened: %w", path, err)
	}
	b.pageSize = b.db.Info().PageSize // Info is not for when changes are made
	if err := b.db.Update(b.prepare); err != nil {
		return fmt.Errorf("backlog: %s: %w", path, err)
	}
	if err := b.view(b.load); err != nil {
		return damaged(err)
	}
	return syncFolder(filepath.Dir(path))
}

// tornError is what bolt panics with, and what reading past the end of a file that was cut short does: a fault of the
// memory it is mapped to.
type tornError struct{ panicked any }

func (e *tornError) Error() string { return fmt.Sprint(e.panicked) }

// guarded turns damage into an error.
func guarded(read func() error) (err error) {
	old := debug.SetPanicOnFault(true)
	defer debug.SetPanicOnFault(old)
	defer func() {
		if v := recover(); v != nil {
			err = &tornError{v}
		}
	}()
	return read()
}

// view reads, and turns damage into an error.
func (b *Backlog) view(read func(*bolt.Tx) error) error {
	return guarded(func() error { return b.db.View(read) })
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("backlog: %w", err)
	}
	defer d.Close()
	return d.Sync()
}

// check refuses a file that is damaged or that this build does not know, before anything is written to it.
func (b *Backlog) check(tx *bolt.Tx, path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("backlog: %w", err)
	}
	if info.Size() < tx.Size() {
		return &tornError{fmt.Sprintf("it has %d bytes, and %d were written", info.Size(), tx.Size())}
	}
	meta := tx.Bucket(bucketMeta)
	if meta == nil {
		return nil // new
	}
	if format := number(meta.Get(keyFormat)); format != Format {
		return fmt.Errorf("backlog: %s has format %d, this build reads %d: run the newer build", path, format, Format)
	}
	if stack := string(meta.Get(keyStack)); stack != string(b.o.Stack) {
		return fmt.Errorf("backlog: %s is of stack %s, not %s: check the configured folder", path, stack, b.o.Stack)
	}
	return tx.ForEach(func(_ []byte, bucket *bolt.Bucket) error { return walk(bucket) })
}

// walk looks at every page of a bucket.
func walk(bucket *bolt.Bucket) error {
	return bucket.ForEach(func(k, v []byte) error {
		if v != nil {
			return nil
		}
		inner := bucket.Bucket(k)
		if inner == nil {
			return &tornError{"a part is missing"}
		}
		return walk(inner)
	})
}

// prepare makes what is missing.
func (b *Backlog) prepare(tx *bolt.Tx) error {
	for _, name := range [][]byte{bucketMeta, bucketMessages, bucketKeys, bucketLanes} {
		if _, err := tx.CreateBucketIfNotExists(name); err != nil {
			return err
		}
	}
	meta := tx.Bucket(bucketMeta)
	if meta.Get(keyFormat) != nil {
		return nil
	}
	if err := meta.Put(keyFormat, key(Format)); err != nil {
		return err
	}
	if err := meta.Put(keyStack, []byte(b.o.Stack)); err != nil {
		return err
	}
	return putState(tx, State{})
}

// load reads what is kept in memory.
func (b *Backlog) load(tx *bolt.Tx) error {
	if err := json.Unmarshal(tx.Bucket(bucketMeta).Get(keyState), &b.state); err != nil {
		return fmt.Errorf("state: %w", err)
	}
	b.first = b.state.Last + 1
	err := tx.Bucket(bucketMessages).ForEach(func(k, v []byte) error {
		n := number(k)
		if v != nil || n == 0 || n > b.state.Last || n != b.first && b.first <= b.state.Last && n < b.first {
			return fmt.Errorf("message %d, and the last one is %d: %w", n, b.state.Last, errTorn)
		}
		b.first = min(b.first, n)
		b.messages += int64(len(tx.Bucket(bucketMessages).Bucket(k).Get(keyBody)))
		return nil
	})
	if err != nil {
		return err
	}
	if err := b.window.load(tx, b.o, b.state); err != nil {
		return err
	}
	return tx.Bucket(bucketLanes).ForEachBucket(func(name []byte) error {
		l, err := loadLane(b, string(name), tx.Bucket(bucketLanes).Bucket(name))
		if err != nil {
			return fmt.Errorf("lane %q: %w", name, err)
		}
		b.lanes[l.name] = l
		return nil
	})
}

func putState(tx *bolt.Tx, s State) error {
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return tx.Bucket(bucketMeta).Put(keyState, text)
}

// key orders numbers as they are.
func key(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func number(k []byte) uint64 {
	if len(k) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(k)
}

// State returns what is committed.
func (b *Backlog) State() State {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.state
}

// Usage is how much the backlog holds.
type Usage struct {
	Messages     uint64 `json:"messages"` // kept
	MessageBytes int64  `json:"messageBytes"`
	Bytes        int64  `json:"bytes"` // of the file's used pages
	MaxBytes     int64  `json:"maxBytes"`
	Free         int64  `json:"free"` // on the disk; -1: unknown
	Keys         int    `json:"keys"` // messageIds remembered
}

// Usage measures. It costs a system call.
func (b *Backlog) Usage() Usage {
	u := Usage{MaxBytes: b.o.MaxBytes, Free: b.free()}
	u.Bytes = b.used()
	b.mu.Lock()
	defer b.mu.Unlock()
	u.Messages, u.MessageBytes = b.state.Last+1-b.first, b.messages
	u.Keys = int(b.window.counted.Load())
	return u
}

func (b *Backlog) used() (n int64) {
	b.view(func(tx *bolt.Tx) error {
		n = tx.Size()
		return nil
	})
	stats := b.db.Stats()
	return max(0, n-int64(stats.FreePageN+stats.PendingPageN)*int64(b.pageSize))
}

func (b *Backlog) free() int64 {
	var fs unix.Statfs_t
	if err := unix.Statfs(b.o.Dir, &fs); err != nil {
		return -1
	}
	return int64(min(fs.Bavail*uint64(fs.Bsize), math.MaxInt64))
}

// Accepting returns nil, or why no message is taken now: an error that wraps ErrFull.
func (b *Backlog) Accepting() error {
	select {
	case <-b.closing:
		return ErrClosed
	default:
	}
	if used := b.used(); used >= b.o.MaxBytes {
		return fmt.Errorf("%w: it holds %d of %d bytes, since a lane is behind: see status, or raise the bound", ErrFull, used, b.o.MaxBytes)
	}
	if free := b.free(); b.o.MinFree > 0 && free >= 0 && free < b.o.MinFree {
		return fmt.Errorf("%w: the disk has %d bytes free, and %d are to stay free", ErrFull, free, b.o.MinFree)
	}
	return nil
}

// Failing returns the error of the last transaction; nil if it was committed.
func (b *Backlog) Failing() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.failure
}

// Close ends what waits with ErrClosed and closes the file.
func (b *Backlog) Close() error {
	var err error
	b.once.Do(func() {
		close(b.closing)
		b.closed.Wait()
		err = b.db.Close()
	})
	return err
}

// Wait returns a channel that is closed once there is a message n, or nil if there is one.
func (b *Backlog) Wait(n uint64) <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n <= b.state.Last {
		return nil
	}
	return b.grown
}

// Read returns message n, or the next one there is; nil if there is none yet. The message is shared: it must not be
// changed.
func (b *Backlog) Read(ctx context.Context, n uint64) (*Message, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	b.mu.Lock()
	n = max(n, b.first)
	if n > b.state.Last {
		b.mu.Unlock()
		return nil, nil
	}
	e := b.cache.get(n)
	b.mu.Unlock()
	if e == nil {
		var data []byte
		err := b.view(func(tx *bolt.Tx) error {
			one := tx.Bucket(bucketMessages).Bucket(key(n))
			if one == nil {
				return fmt.Errorf("backlog: message %d is missing: %w", n, errTorn)
			}
			data = append([]byte(nil), one.Get(keyBody)...)
			return nil
		})
		if err != nil {
			return nil, err
		}
		b.mu.Lock()
		e = b.cache.put(n, data)
		b.mu.Unlock()
	}
	m, err := e.decoded()
	if err != nil {
		return nil, fmt.Errorf("backlog: message %d: %w", n, err)
	}
	return m, nil
}
