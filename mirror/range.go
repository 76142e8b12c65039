package mirror

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/journal"
)

// inexactError says that a range begins or ends inside a bucket whose frames are no longer in the journal.
type inexactError struct {
	Sequence uint64 // where the range begins, or one after where it ends
	Below    uint64 // the next boundaries that the ledger knows exactly
	Above    uint64
}

func (e *inexactError) Error() string {
	return fmt.Sprintf("the frames around %d are no longer in the journal: a range can begin or end there only at a bucket's edge, such as %d or %d", e.Sequence, e.Below, e.Above)
}

// forgottenError says that a range begins before the oldest line of the ledger.
type forgottenError struct{ First uint64 }

func (e *forgottenError) Error() string {
	return fmt.Sprintf("the ledger's oldest line begins at frame %d", e.First)
}

// errStop ends a pass over the log early.
var errStop = errors.New("enough")

// lineAt returns the line of a closed bucket.
func (l *ledger) lineAt(ctx context.Context, number uint64) (line, error) {
	var found line
	err := l.eachLine(ctx, number, number, func(n line) error { found = n; return nil })
	return found, err
}

// eachLine calls fn for the lines of the closed buckets from first to last, in order, each once.
func (l *ledger) eachLine(ctx context.Context, first, last uint64, fn func(line) error) error {
	l.mu.Lock()
	lines := l.lines
	newest, saved := l.newest, l.saved
	l.mu.Unlock()
	if len(lines) == 0 || first < lines[0].Bucket {
		older := last
		if len(lines) > 0 {
			older = min(last, lines[0].Bucket-1)
		}
		if err := l.eachLogged(ctx, first, older, newest, saved, fn); err != nil {
			return err
		}
		first = older + 1
	}
	i := sort.Search(len(lines), func(i int) bool { return lines[i].Bucket >= first })
	for ; i < len(lines) && lines[i].Bucket <= last; i++ {
		if err := fn(lines[i]); err != nil {
			return err
		}
		first = lines[i].Bucket + 1
	}
	if first <= last {
		return fmt.Errorf("ledger: bucket %d is not closed yet", first)
	}
	return nil
}

// eachLogged is eachLine for lines that are in the log only. A line's place there is about as far from the newest as its
// bucket is from the last: repeated lines, which an append of unknown outcome leaves, only move it further back.
func (l *ledger) eachLogged(ctx context.Context, first, last, newest, saved uint64, fn func(line) error) error {
	for step := uint64(16); ; step *= 4 {
		back := saved - first + step
		from := uint64(1)
		if newest > back {
			from = newest - back
		}
		want, begun := first, false
		err := l.journal.Records(ctx, ledgerLog, from, func(_ uint64, value []byte) error {
			n, err := decodeLine(value)
			if err != nil {
				return err
			}
			if n.Bucket > want && !begun {
				if from > 1 {
					return errStop // begin further back
				}
				return &forgottenError{First: n.first()}
			}
			begun = true
			if n.Bucket != want {
				return nil // before the range, or repeated
			}
			if err := fn(n); err != nil {
				return err
			}
			if want++; want > last {
				return errStop
			}
			return nil
		})
		switch {
		case want > last:
			return nil
		case err != nil && !errors.Is(err, errStop):
			return err
		case begun || from == 1:
			return fmt.Errorf("ledger: bucket %d has no line", want)
		}
	}
}

// detail returns a bucket frame by frame: from memory, or from the journal while it has the frames.
func (l *ledger) detail(ctx context.Context, number uint64) (*bucket, error) {
	l.mu.Lock()
	if l.open.number == number {
		b := *l.open
		l.mu.Unlock()
		return &b, nil
	}
	for _, b := range slices.Concat(l.closed, l.read) {
		if b.number == number {
			l.mu.Unlock()
			return b, nil
		}
	}
	l.mu.Unlock()
	n, err := l.lineAt(ctx, number)
	if err != nil {
		return nil, err
	}
	b := &bucket{number: number, generation: n.Generation, before: n.before()}
	r := l.journal.ReadTotals(max(n.first(), l.birth))
	defer r.Close()
	for next := max(n.first(), l.birth); next <= n.last(); {
		entries, err := r.Next(ctx, ledgerReading)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if e.Kind == journal.Gap {
				return nil, &inexactError{Below: n.first(), Above: n.last() + 1}
			}
			if e.Kind == journal.Frame && e.Sequence <= n.last() {
				b.frames[e.Sequence%bucketSize] = e.Totals
			}
			next = e.Last + 1
		}
	}
	if have := b.line().Totals; have != n.Totals {
		return nil, fmt.Errorf("ledger: frames %d to %d hold %v in the journal, but %v stands in the ledger", n.first(), n.last(), have, n.Totals)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.read = append(l.read, b); len(l.read) > keptBuckets {
		l.read = append(l.read[:0:0], l.read[1:]...)
	}
	return b, nil
}

// through returns the totals of all frames below sequence; of the times only the first is meaningful. Sequences beyond
// the head count as the head. Errors: *inexactError, *forgottenError.
func (l *ledger) through(ctx context.Context, sequence uint64) (event.Totals, error) {
	sequence = min(sequence, l.head())
	if sequence <= l.birth {
		return event.Totals{}, nil
	}
	number := bucketOf(sequence)
	if sequence%bucketSize == 0 && number > bucketOf(l.birth) {
		n, err := l.lineAt(ctx, number-1)
		return n.Through, err
	}
	b, err := l.detail(ctx, number)
	if err != nil {
		var inexact *inexactError
		if errors.As(err, &inexact) {
			inexact.Sequence = sequence
		}
		return event.Totals{}, err
	}
	t := b.before
	t.Merge(b.upTo(sequence))
	return t, nil
}

// totals returns the totals of the frames from first to last; the times are not meaningful. exact is false if the frames
// at an edge are gone: then it is an upper bound, from the whole buckets around.
func (l *ledger) totals(ctx context.Context, first, last uint64) (t event.Totals, exact bool, err error) {
	exact = true
	edge := func(sequence uint64, widen func(*inexactError) uint64) (event.Totals, error) {
		t, err := l.through(ctx, sequence)
		var inexact *inexactError
		if errors.As(err, &inexact) {
			exact = false
			return l.through(ctx, widen(inexact))
		}
		return t, err
	}
	upper, err := edge(last+1, func(e *inexactError) uint64 { return e.Above })
	if err != nil {
		return event.Totals{}, false, err
	}
	lower, err := edge(first, func(e *inexactError) uint64 { return e.Below })
	if err != nil {
		return event.Totals{}, false, err
	}
	return subtract(upper, lower), exact, nil
}

// span is a bucket, or the part of one that lies in a range.
type span struct {
	First      uint64       `json:"first"`
	Last       uint64       `json:"last"`
	Generation uint64       `json:"generation"`
	Totals     event.Totals `json:"totals"`
}

// fold calls fn for each bucket in [from, to], cut to the range, in order. Errors: *inexactError, *forgottenError, fn's.
func (l *ledger) fold(ctx context.Context, from, to uint64, fn func(span) error) error {
	from = max(from, l.birth)
	head := l.head()
	if to >= head {
		to = head - 1
	}
	if from > to {
		return nil
	}
	part := func(number, from, to uint64) error {
		b, err := l.detail(ctx, number)
		if err != nil {
			var inexact *inexactError
			if errors.As(err, &inexact) {
				inexact.Sequence = from
			}
			return err
		}
		var t event.Totals
		for s := from; s <= to; s++ {
			t.Merge(b.frames[s%bucketSize])
		}
		return fn(span{First: from, Last: to, Generation: b.generation, Totals: t})
	}
	first, last := bucketOf(from), bucketOf(to)
	whole := func(number uint64) bool { // closed, and in the range from its beginning to its end
		return (number > first || from%bucketSize == 0 || from == l.birth) && (number < last || to%bucketSize == bucketSize-1) && number < bucketOf(head)
	}
	if !whole(first) {
		if err := part(first, from, min(to, (first+1)*bucketSize-1)); err != nil {
			return err
		}
		if first == last {
			return nil
		}
		first++
	}
	tail := last
	if whole(last) {
		tail++
	}
	if first < tail {
		err := l.eachLine(ctx, first, tail-1, func(n line) error {
			return fn(span{First: max(n.first(), l.birth), Last: n.last(), Generation: n.Generation, Totals: n.Totals})
		})
		if err != nil {
			return err
		}
	}
	if tail > last {
		return nil
	}
	return part(last, last*bucketSize, to)
}

// standing returns the totals of the frames below sequence, and when the first request at or above it was received (0 if
// there is none).
func (l *ledger) standing(ctx context.Context, sequence uint64) (below event.Totals, oldest int64, err error) {
	if below, err = l.through(ctx, sequence); err != nil {
		return below, 0, err
	}
	head := l.head()
	sequence = max(sequence, l.birth)
	if sequence >= head {
		return below, 0, nil
	}
	b, err := l.detail(ctx, bucketOf(sequence))
	var inexact *inexactError
	switch {
	case errors.As(err, &inexact):
	case err != nil:
		return below, 0, err
	default:
		if t := b.from(sequence); t.Requests > 0 {
			return below, t.FirstAt, nil
		}
	}
	if closed := bucketOf(head); bucketOf(sequence)+1 < closed {
		err := l.eachLine(ctx, bucketOf(sequence)+1, closed-1, func(n line) error {
			if oldest = n.Totals.FirstAt; n.Totals.Requests > 0 {
				return errStop
			}
			return nil
		})
		if err != nil && !errors.Is(err, errStop) {
			return below, 0, err
		}
	}
	if oldest == 0 {
		l.mu.Lock()
		oldest = l.open.from(l.open.number * bucketSize).FirstAt
		l.mu.Unlock()
	}
	return below, oldest, nil
}

// within returns the totals of the part of an expired range that lies in [low, high), both of them at frames' beginnings.
func (l *ledger) within(ctx context.Context, x expiry, low, high event.Cursor) (t event.Totals, exact bool, err error) {
	t, exact = x.Totals, !x.Approximate
	// Subtract what lies outside. The range's own end is a bucket's edge; its beginning may lie anywhere.
	if low.Compare(x.From) > 0 {
		before, ok, err := l.totals(ctx, x.From.Frame, low.Frame-1)
		if err != nil {
			return t, false, err
		}
		before.Requests -= min(before.Requests, uint64(x.From.Request))
		t, exact = subtract(t, before), exact && ok
	}
	if high.Compare(x.To) < 0 {
		after, ok, err := l.totals(ctx, high.Frame, x.To.Frame-1)
		if err != nil {
			return t, false, err
		}
		t, exact = subtract(t, after), exact && ok
	}
	return t, exact, nil
}
