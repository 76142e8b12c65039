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
// Closed pages are lines in the journal's log "ledger", which outlives the frames. The open page and the last few closed
// ones are in memory frame by frame; others are read again from the journal while it has them.
type ledger struct {
	journal   ledgerJournal
	timelines *timelines
	telemetry *telemetry.Telemetry
	birth     uint64 // the journal's first sequence

	saving sync.Mutex // held while lines are written, so that they are written in order

	mu     sync.Mutex
	open   *page   // what is counted and not on a line yet; its end is the first sequence that is not counted
	closed []*page // the last few, ascending
	read   []*page // a few older ones that were asked for
	lines  []line  // the last ones, ascending and contiguous up to open; those from saved on are not durable yet
	saved  uint64  // sequences below it have a durable line
	newest uint64  // sequence in the log at or before which the last durable line stands
	moved  chan struct{}
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
	ledgerHint    = "ledger"             // key of the state that says where in the log a late line stands
	hintEvery     = 16                   // lines
	keptPages     = 4                    // closed pages kept in detail; and older ones that were asked for
	keptLines     = 4096                 // lines kept in memory; older ones are read from the log
	ledgerReading = 1 << 20              // bytes of headers read at once
	ledgerPause   = 5 * time.Millisecond // between two reads
)

// hint is where in the log a late line stands. It may be behind, never ahead.
type hint struct {
	Sequence uint64 `json:"sequence"`
}

// openLedger recovers from the last line. birth is the journal's first sequence.
func openLedger(ctx context.Context, j ledgerJournal, k *timelines, t *telemetry.Telemetry, birth uint64) (*ledger, error) {
	l := &ledger{journal: j, timelines: k, telemetry: t, birth: birth, moved: make(chan struct{}), open: &page{first: birth}}
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
	err = j.Records(ctx, ledgerLog, from.Sequence, func(sequence uint64, value []byte) error {
		n, err := decodeLine(value)
		if err == nil && n.Last >= l.open.first {
			l.open = &page{first: n.Last + 1, generation: n.Generation, before: n.Through}
			l.lines, l.newest = []line{n}, sequence
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	l.saved = l.open.first
	return l, nil
}

// run counts what comes into the journal until ctx ends.
func (l *ledger) run(ctx context.Context) {
	for ctx.Err() == nil {
		err := l.follow(ctx)
		if ctx.Err() != nil {
			return
		}
		l.telemetry.Failure("the ledger cannot read the journal", err, slog.Uint64("sequence", l.head()))
		wait := time.NewTimer(time.Second)
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
		}
	}
}

// follow reads on from the head. It returns when reading fails or ctx ends.
func (l *ledger) follow(ctx context.Context) error {
	r := l.journal.ReadTotals(l.head())
	defer r.Close()
	for {
		// Lines that could not be saved are tried again each second, whether anything comes or not.
		turn, cancel := ctx, context.CancelFunc(func() {})
		if l.unsaved() {
			turn, cancel = context.WithTimeout(ctx, time.Second)
		}
		entries, err := r.Next(turn, ledgerReading)
		waited := turn.Err() != nil
		cancel()
		if err != nil && (ctx.Err() != nil || !waited) {
			return err
		}
		if err := l.count(ctx, entries); err != nil {
			return err
		}
		if err := l.save(ctx); err != nil && ctx.Err() == nil {
			l.telemetry.Log.Debug("ledger line not saved yet", "error", err)
		}
		// What comes meanwhile is read at once.
		wait := time.NewTimer(ledgerPause)
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
		}
	}
}

// count takes what follows the head.
func (l *ledger) count(ctx context.Context, entries []journal.Entry) error {
	for _, e := range entries {
		if e.Kind == journal.Control {
			if err := l.timelines.observe(ctx, e.Sequence, e.Data); err != nil {
				return err
			}
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	defer func() {
		close(l.moved)
		l.moved = make(chan struct{})
	}()
	for _, e := range entries {
		if next := l.open.next(); e.First != next {
			return fmt.Errorf("after sequence %d the journal gave %d", next-1, e.First)
		}
		switch e.Kind {
		case journal.Frame:
			l.turnLocked(e.Totals)
		case journal.Control:
			r, err := event.DecodeRecord(e.Sequence, e.Data)
			if err != nil {
				return err
			}
			l.open.generation = r.Generation
			l.turnLocked(event.Totals{})
		case journal.Gap:
			l.telemetry.Failure("frames were removed before the ledger counted them",
				errors.New("somebody trimmed the journal, or its folder was restored from an older copy"),
				slog.Uint64("first", e.First), slog.Uint64("last", e.Last))
			for range e.Last - e.First + 1 {
				l.turnLocked(event.Totals{})
			}
		}
	}
	return nil
}

// turnLocked writes one sequence on the open page, and turns it when it is full.
func (l *ledger) turnLocked(t event.Totals) {
	l.open.frames = append(l.open.frames, t)
	if l.open.next()%lineSpan == 0 {
		l.closeLocked()
	}
}

// closeLocked makes the open page a line, and opens the next.
func (l *ledger) closeLocked() {
	n := l.open.line()
	l.lines = append(l.lines, n)
	if drop := len(l.lines) - keptLines; drop > 0 && l.lines[drop].First <= l.saved {
		l.lines = append(l.lines[:0:0], l.lines[drop:]...)
	}
	if l.closed = append(l.closed, l.open); len(l.closed) > keptPages {
		l.closed = append(l.closed[:0:0], l.closed[1:]...)
	}
	l.open = &page{first: n.Last + 1, generation: n.Generation, before: n.Through}
}

// cut closes the open page early and makes its line durable, so that its frames can be trimmed.
func (l *ledger) cut(ctx context.Context) error {
	l.mu.Lock()
	if len(l.open.frames) > 0 {
		l.closeLocked()
	}
	l.mu.Unlock()
	return l.save(ctx)
}

// save makes closed pages' lines durable.
func (l *ledger) save(ctx context.Context) error {
	l.saving.Lock()
	defer l.saving.Unlock()
	for {
		l.mu.Lock()
		i := sort.Search(len(l.lines), func(i int) bool { return l.lines[i].First >= l.saved })
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
			return fmt.Errorf("ledger line of sequences %d to %d: %w", n.First, n.Last, err)
		}
		l.mu.Lock()
		l.saved, l.newest = n.Last+1, sequence
		l.mu.Unlock()
		if (n.Last+1)/lineSpan%hintEvery != 0 {
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

// unsaved reports whether there are lines that are not durable.
func (l *ledger) unsaved() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.saved < l.open.first
}

// head returns the first sequence that is not counted yet.
func (l *ledger) head() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open.next()
}

// accepted returns the totals of everything counted.
func (l *ledger) accepted() event.Totals {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.open.before
	t.Merge(l.open.between(l.open.first, l.open.next()))
	return t
}

// edges returns the edges of lines next to sequence, of which everything below has durable lines: the highest one that
// is not above it, and the lowest one that is not below it. The second is 0 if there is none yet.
func (l *ledger) edges(sequence uint64) (below, above uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	below = edgeBelow(sequence)
	if above = below; above < sequence {
		above += lineSpan
	}
	for _, n := range l.lines {
		switch e := n.Last + 1; {
		case e <= sequence:
			below = max(below, e)
			if e == sequence {
				above = e
			}
		default:
			above = min(above, e)
		}
	}
	if above > l.saved {
		above = 0
	}
	return min(below, l.saved), above
}

// reached waits until everything below sequence is counted.
func (l *ledger) reached(ctx context.Context, sequence uint64) error {
	for {
		l.mu.Lock()
		next, moved := l.open.next(), l.moved
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
