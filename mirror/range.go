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

// inexactError says that a range begins or ends inside a line whose frames are no longer in the journal.
type inexactError struct {
	Sequence uint64 // where the range begins, or one after where it ends
	Below    uint64 // the nearest sequences at which it could
	Above    uint64
}

func (e *inexactError) Error() string {
	return fmt.Sprintf("the frames around %d are no longer in the journal: a range can begin there only with frame %d or %d, and end there only before one of these", e.Sequence, e.Below, e.Above)
}

// forgottenError says that a range begins before the oldest line of the ledger.
type forgottenError struct{ First uint64 }

func (e *forgottenError) Error() string {
	return fmt.Sprintf("the ledger's oldest line begins with frame %d", e.First)
}

// errStop ends a pass over lines early.
var errStop = errors.New("enough")

// lineAt returns the line that sequence is on. It must be below the open page.
func (l *ledger) lineAt(ctx context.Context, sequence uint64) (line, error) {
	var found line
	err := l.eachLine(ctx, sequence, sequence, func(n line) error { found = n; return nil })
	return found, err
}

// eachLine calls fn for the lines that hold the sequences from first to last, in order, each once. first must not be
// below birth, nor last on the open page.
func (l *ledger) eachLine(ctx context.Context, first, last uint64, fn func(line) error) error {
	l.mu.Lock()
	lines := l.lines
	newest, saved := l.newest, l.saved
	l.mu.Unlock()
	if len(lines) == 0 || first < lines[0].First {
		older := last
		if len(lines) > 0 {
			older = min(last, lines[0].First-1)
		}
		if err := l.eachLogged(ctx, first, older, newest, saved, fn); err != nil {
			return err
		}
		first = older + 1
	}
	for i := sort.Search(len(lines), func(i int) bool { return lines[i].Last >= first }); i < len(lines) && first <= last; i++ {
		if err := fn(lines[i]); err != nil {
			return err
		}
		first = lines[i].Last + 1
	}
	if first <= last {
		return fmt.Errorf("ledger: sequence %d is on no line yet", first)
	}
	return nil
}

// eachLogged is eachLine for lines that are in the log only. A line's place there is guessed from its distance to the
// last one; lines that were cut, or repeated after an append of unknown outcome, move it further back.
func (l *ledger) eachLogged(ctx context.Context, first, last, newest, saved uint64, fn func(line) error) error {
	for step := uint64(16); ; step *= 4 {
		back := (saved-first)/lineSpan + step
		from := uint64(1)
		if newest > back {
			from = newest - back
		}
		want, begun := first, false
		err := l.journal.Records(ctx, ledgerLog, from, func(_ uint64, value []byte) error {
			n, err := decodeLine(value)
			switch {
			case err != nil:
				return err
			case n.Last < want: // before the range, or repeated
				return nil
			case n.First > want && !begun && from > 1:
				return errStop // begin further back
			case n.First > want:
				return &forgottenError{First: n.First}
			}
			begun = true
			if err := fn(n); err != nil {
				return err
			}
			if want = n.Last + 1; want > last {
				return errStop
			}
			return nil
		})
		switch {
		case want > last:
			return nil
		case err != nil && (begun || !errors.Is(err, errStop)):
			return err
		case begun || from == 1:
			return fmt.Errorf("ledger: sequence %d is on no line of the log", want)
		}
	}
}

// detail returns the page that sequence is on: from memory, or from the journal while it has the frames.
func (l *ledger) detail(ctx context.Context, sequence uint64) (*page, error) {
	l.mu.Lock()
	if sequence >= l.open.first {
		p := *l.open // its frames so far are not changed any more
		l.mu.Unlock()
		return &p, nil
	}
	for _, p := range slices.Concat(l.closed, l.read) {
		if p.first <= sequence && sequence < p.next() {
			l.mu.Unlock()
			return p, nil
		}
	}
	l.mu.Unlock()
	n, err := l.lineAt(ctx, sequence)
	if err != nil {
		return nil, err
	}
	p := &page{first: n.First, generation: n.Generation, before: n.before()}
	r := l.journal.ReadTotals(n.First)
	defer r.Close()
	for p.next() <= n.Last {
		entries, err := r.Next(ctx, ledgerReading)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if e.Kind == journal.Gap {
				return nil, &inexactError{Sequence: sequence, Below: n.First, Above: n.Last + 1}
			}
			if e.Sequence <= n.Last {
				p.frames = append(p.frames, e.Totals)
			}
		}
	}
	if have := p.line().Totals; have != n.Totals {
		return nil, fmt.Errorf("ledger: frames %d to %d hold %v in the journal, but %v stands in the ledger", n.First, n.Last, have, n.Totals)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.read = append(l.read, p); len(l.read) > keptPages {
		l.read = append(l.read[:0:0], l.read[1:]...)
	}
	return p, nil
}

// through returns the totals of all frames below sequence; of the times only the first is meaningful. Sequences beyond
// the head count as the head. Errors: *inexactError, *forgottenError.
func (l *ledger) through(ctx context.Context, sequence uint64) (event.Totals, error) {
	sequence = min(sequence, l.head())
	if sequence <= l.birth {
		return event.Totals{}, nil
	}
	l.mu.Lock()
	open := l.open.first
	l.mu.Unlock()
	if sequence <= open { // perhaps a line ends just below: then no frames are needed
		n, err := l.lineAt(ctx, sequence-1)
		if err != nil || n.Last == sequence-1 {
			return n.Through, err
		}
	}
	p, err := l.detail(ctx, sequence)
	if err != nil {
		return event.Totals{}, err
	}
	t := p.before
	t.Merge(p.between(p.first, sequence))
	return t, nil
}

// totals returns the totals of the frames from first to last; the times are not meaningful. exact is false if the frames
// at an edge are gone: then it is an upper bound, from the whole lines around.
func (l *ledger) totals(ctx context.Context, first, last uint64) (t event.Totals, exact bool, err error) {
	exact = true
	bound := func(sequence uint64, widen func(*inexactError) uint64) (event.Totals, error) {
		t, err := l.through(ctx, sequence)
		var inexact *inexactError
		if errors.As(err, &inexact) {
			exact = false
			return l.through(ctx, widen(inexact))
		}
		return t, err
	}
	upper, err := bound(last+1, func(e *inexactError) uint64 { return e.Above })
	if err != nil {
		return event.Totals{}, false, err
	}
	lower, err := bound(first, func(e *inexactError) uint64 { return e.Below })
	if err != nil {
		return event.Totals{}, false, err
	}
	return subtract(upper, lower), exact, nil
}

// span is a line, or the part of one that lies in a range.
type span struct {
	First      uint64       `json:"first"`
	Last       uint64       `json:"last"`
	Generation uint64       `json:"generation"`
	Totals     event.Totals `json:"totals"`
}

// fold calls fn for each line in [from, to], cut to the range, in order; the open page counts as one. Errors:
// *inexactError, *forgottenError, fn's.
func (l *ledger) fold(ctx context.Context, from, to uint64, fn func(span) error) error {
	l.mu.Lock()
	open := *l.open
	l.mu.Unlock()
	from, to = max(from, l.birth), min(to, open.next()-1)
	part := func(p *page, from, to uint64) error {
		return fn(span{First: from, Last: to, Generation: p.generation, Totals: p.between(from, to+1)})
	}
	if from <= to && from < open.first {
		err := l.eachLine(ctx, from, min(to, open.first-1), func(n line) error {
			if from <= n.First && n.Last <= to {
				return fn(span{First: n.First, Last: n.Last, Generation: n.Generation, Totals: n.Totals})
			}
			p, err := l.detail(ctx, max(n.First, from))
			if err != nil {
				return err
			}
			return part(p, max(n.First, from), min(n.Last, to))
		})
		if err != nil {
			return err
		}
	}
	if from = max(from, open.first); from <= to {
		return part(&open, from, to)
	}
	return nil
}

// standing returns the totals of the frames below sequence, and when the first request at or above it was received (0 if
// there is none).
func (l *ledger) standing(ctx context.Context, sequence uint64) (below event.Totals, oldest int64, err error) {
	if below, err = l.through(ctx, sequence); err != nil {
		return below, 0, err
	}
	sequence = max(sequence, l.birth)
	err = l.fold(ctx, sequence, sequence+2*lineSpan, func(s span) error {
		if s.Totals.Requests == 0 {
			return nil
		}
		oldest = s.Totals.FirstAt
		return errStop
	})
	var inexact *inexactError
	if err != nil && !errors.Is(err, errStop) && !errors.As(err, &inexact) {
		return below, 0, err
	}
	return below, oldest, nil
}

// within returns the totals of the part of an expired range that lies in [low, high), both of them at frames' beginnings.
func (l *ledger) within(ctx context.Context, x expiry, low, high event.Cursor) (t event.Totals, exact bool, err error) {
	t, exact = x.Totals, !x.Approximate
	// Subtract what lies outside. The range's own end is a line's edge; its beginning may lie anywhere.
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
