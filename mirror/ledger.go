package mirror

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sort"
	"sync"
	"time"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/journal"
	"github.com/sparrowhq/sparrow/telemetry"
)

// ledger knows how many requests, bytes and ids every range of frames holds, from the frames' headers alone. It is what
// each side is proved complete against, so it shares no code with the feeds that it checks.
//
// Closed buckets are lines in the journal's log "ledger", which outlives the frames. The open bucket and the last few
// closed ones are in memory frame by frame; others are read again from the journal while it has them.
type ledger struct {
	journal   ledgerJournal
	timelines *timelines
	telemetry *telemetry.Telemetry
	birth     uint64 // the journal's first sequence

	mu      sync.Mutex
	next    uint64  // the first sequence not counted yet
	open    *bucket // the bucket of next; next-1 and below are counted in it
	closed  []*bucket
	read    []*bucket // a few older ones that were asked for
	lines   []line    // of the last buckets, ascending without gaps; those from saved on are not durable yet
	newest  uint64    // sequence in the log at or before which the line of the last durable bucket stands
	saved   uint64    // buckets below it have a durable line
	moved   chan struct{}
	missing uint64 // sequences whose frames were gone before they were counted
}

// ledgerJournal is the journal as the ledger uses it; the contracts are journal.Journal's.
type ledgerJournal interface {
	ReadTotals(from uint64) *journal.Reader
	AppendRecord(ctx context.Context, log string, value []byte) (uint64, error)
	Records(ctx context.Context, log string, from uint64, fn func(seq uint64, value []byte) error) error
	PutState(ctx context.Context, key string, value []byte) error
	GetState(ctx context.Context, key string) ([]byte, error)
}

const (
	ledgerLog     = "ledger"
	ledgerHint    = "ledger" // key of the state that says where in the log the last line stands
	hintEvery     = 16       // buckets
	keptBuckets   = 4        // closed buckets kept in detail; and older ones that were asked for
	keptLines     = 4096     // lines kept in memory; older ones are read from the log
	ledgerReading = 1 << 20  // bytes of headers read at once
)

// hint is where in the log a late line stands. It may be behind, never ahead.
type hint struct {
	Sequence uint64 `json:"sequence"`
}

// openLedger recovers from the last line. birth is the journal's first sequence.
func openLedger(ctx context.Context, j ledgerJournal, k *timelines, t *telemetry.Telemetry, birth uint64) (*ledger, error) {
	l := &ledger{journal: j, timelines: k, telemetry: t, birth: birth, moved: make(chan struct{})}
	var from hint
	data, err := j.GetState(ctx, ledgerHint)
	if err == nil {
		err = json.Unmarshal(data, &from)
	} else if errors.Is(err, journal.ErrNotFound) {
		err = nil
	}
	if err != nil {
		return nil, fmt.Errorf("ledger: where the last line stands: %w", err)
	}
	var last *line
	err = j.Records(ctx, ledgerLog, from.Sequence, func(sequence uint64, value []byte) error {
		n, err := decodeLine(value)
		if err == nil && (last == nil || n.Bucket > last.Bucket) {
			last, l.newest = &n, sequence
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	l.open = &bucket{number: bucketOf(birth)}
	if last != nil && last.Bucket >= l.open.number {
		l.open = &bucket{number: last.Bucket + 1, generation: last.Generation, before: last.Through}
		l.lines = []line{*last}
	}
	l.saved = l.open.number
	l.next = max(l.open.number*bucketSize, birth)
	return l, nil
}

// run counts what comes into the journal until ctx ends.
func (l *ledger) run(ctx context.Context) {
	wait := time.NewTimer(0)
	defer wait.Stop()
	for {
		err := l.follow(ctx)
		if ctx.Err() != nil {
			return
		}
		l.telemetry.Failure("the ledger cannot read the journal", err, slog.Uint64("sequence", l.head()))
		wait.Reset(time.Second)
		select {
		case <-wait.C:
		case <-ctx.Done():
			return
		}
	}
}

// follow reads on from next. It returns when reading fails or ctx ends.
func (l *ledger) follow(ctx context.Context) error {
	r := l.journal.ReadTotals(l.head())
	defer r.Close()
	for {
		// Lines that could not be saved are tried again each second, whether anything comes or not.
		turn, cancel := ctx, context.CancelFunc(func() {})
		if l.unsaved() > 0 {
			turn, cancel = context.WithTimeout(ctx, time.Second)
		}
		entries, err := r.Next(turn, ledgerReading)
		cancel()
		if err != nil && (ctx.Err() != nil || turn.Err() == nil) {
			return err
		}
		for _, e := range entries {
			if err := l.count(ctx, e); err != nil {
				return err
			}
		}
		if err := l.save(ctx); err != nil && ctx.Err() == nil {
			l.telemetry.Log.Debug("ledger line not saved yet", "error", err)
		}
	}
}

// count takes one entry.
func (l *ledger) count(ctx context.Context, e journal.Entry) error {
	generation := uint64(0)
	if e.Kind == journal.Control {
		if err := l.timelines.observe(ctx, e.Sequence, e.Data); err != nil {
			return err
		}
		r, err := event.DecodeRecord(e.Sequence, e.Data)
		if err != nil {
			return err
		}
		generation = r.Generation
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if e.First != l.next {
		return fmt.Errorf("after sequence %d the journal gave %d", l.next-1, e.First)
	}
	switch e.Kind {
	case journal.Frame:
		l.open.frames[e.Sequence%bucketSize] = e.Totals
	case journal.Control:
		l.open.generation = generation
	case journal.Gap:
		l.missing += e.Last - e.First + 1
		l.telemetry.Failure("frames were removed before the ledger counted them",
			errors.New("somebody trimmed the journal, or its folder was restored from an older copy"),
			slog.Uint64("first", e.First), slog.Uint64("last", e.Last))
	}
	l.next = e.Last + 1
	for l.open.number < bucketOf(l.next) {
		l.closeLocked()
	}
	close(l.moved)
	l.moved = make(chan struct{})
	return nil
}

// closeLocked ends the open bucket and begins the next.
func (l *ledger) closeLocked() {
	n := l.open.line()
	l.lines = append(l.lines, n)
	if drop := len(l.lines) - keptLines; drop > 0 && l.lines[drop].Bucket <= l.saved {
		l.lines = append(l.lines[:0:0], l.lines[drop:]...)
	}
	if l.closed = append(l.closed, l.open); len(l.closed) > keptBuckets {
		l.closed = append(l.closed[:0:0], l.closed[1:]...)
	}
	l.open = &bucket{number: n.Bucket + 1, generation: n.Generation, before: n.Through}
}

// save makes closed buckets' lines durable.
func (l *ledger) save(ctx context.Context) error {
	for {
		l.mu.Lock()
		i := sort.Search(len(l.lines), func(i int) bool { return l.lines[i].Bucket >= l.saved })
		if i == len(l.lines) {
			l.mu.Unlock()
			return nil
		}
		n := l.lines[i]
		l.mu.Unlock()
		data, err := json.Marshal(n)
		if err != nil {
			return err
		}
		sequence, err := l.journal.AppendRecord(ctx, ledgerLog, data)
		if err != nil {
			return fmt.Errorf("ledger line of bucket %d: %w", n.Bucket, err)
		}
		l.mu.Lock()
		l.saved, l.newest = n.Bucket+1, sequence
		l.mu.Unlock()
		if n.Bucket%hintEvery != 0 {
			continue
		}
		at, err := json.Marshal(hint{Sequence: sequence})
		if err != nil {
			return err
		}
		if err := l.journal.PutState(ctx, ledgerHint, at); err != nil {
			return fmt.Errorf("ledger hint: %w", err)
		}
	}
}

func (l *ledger) unsaved() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return int(l.open.number - l.saved)
}

// head returns the first sequence that is not counted yet.
func (l *ledger) head() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.next
}

// accepted returns the totals of everything counted, and the first sequence that is not.
func (l *ledger) accepted() (event.Totals, uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.open.before
	t.Merge(l.open.upTo(l.next))
	return t, l.next
}

// durable returns the first sequence that no durable line covers.
func (l *ledger) durable() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.saved * bucketSize
}

// reached waits until everything below sequence is counted.
func (l *ledger) reached(ctx context.Context, sequence uint64) error {
	for {
		l.mu.Lock()
		next, moved := l.next, l.moved
		l.mu.Unlock()
		if next >= sequence {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return fmt.Errorf("the ledger has counted up to %d, not yet to %d", next-1, sequence-1)
		}
	}
}
