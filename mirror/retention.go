package mirror

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/journal"
	"github.com/sparrowhq/sparrow/telemetry"
)

// retention removes frames from the journal: when they are old, or when space is short. It keeps the floor itself:
//
//   - never past what the ledger has a durable line for,
//   - never past the live stack,
//   - past the candidate only when space is short, and only after the candidate's feed has written down, by position
//     and count, what is given up.
//
// It cuts at the edges of the ledger's lines only, so that whatever is gone can still be counted exactly.
type retention struct {
	journal   trimmer
	ledger    *ledger
	timelines *timelines
	feeds     map[event.Stack]*feed
	o         RetentionOptions
	telemetry *telemetry.Telemetry
}

// trimmer is the journal as retention uses it; the contracts are journal.Journal's.
type trimmer interface {
	Bounds(ctx context.Context) (journal.Bounds, error)
	Accepting() error
	Trim(ctx context.Context, upto uint64) (removed int, err error)
}

// expiryTimeout is how long retention waits for a feed that is busy with a call.
const expiryTimeout = time.Minute

// run checks until ctx ends.
func (r *retention) run(ctx context.Context) {
	tick := time.NewTicker(r.o.Every)
	defer tick.Stop()
	failing := false
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		err := r.check(ctx, time.Now())
		if err != nil && ctx.Err() == nil && !failing {
			r.telemetry.Failure("the journal cannot be trimmed", err)
		}
		failing = err != nil
	}
}

// check trims what may go now.
func (r *retention) check(ctx context.Context, now time.Time) error {
	b, err := r.journal.Bounds(ctx)
	if err != nil {
		return err
	}
	if b.First > b.Last {
		return nil
	}
	short := r.short(b)
	if _, above := r.ledger.edges(short); short > 0 && above == 0 {
		// The frames to go are on the page that is still open, as when few frames fill the whole journal.
		if err := r.ledger.cut(ctx); err != nil {
			return err
		}
	}
	if short > 0 {
		for _, f := range r.feeds {
			f.tally.hurry()
			if err := f.tally.settle(ctx, f.journal.AppendRecord); err != nil {
				return err
			}
		}
	}
	t, _ := r.timelines.current()
	live, candidate := r.feeds[t.Live()], r.feeds[t.Live().Other()]
	floor, _ := r.ledger.edges(live.safe())
	both, _ := r.ledger.edges(candidate.safe())
	both = min(both, floor)
	old, err := r.old(ctx, b.First, now.Add(-r.o.MaxAge).UnixMicro())
	if err != nil {
		return err
	}
	end := min(old, both) // frames below it go
	if short > end {
		end = floor
		if _, above := r.ledger.edges(short); above > 0 {
			end = min(above, floor)
		}
		if end > both {
			if err := r.giveUp(ctx, candidate, end); err != nil {
				// What both have can go all the same.
				r.telemetry.Failure("the candidate's requests cannot be given up to free space", err)
				end = both
			}
		}
	}
	if end <= b.First {
		return nil
	}
	removed, err := r.journal.Trim(ctx, end-1)
	if removed > 0 {
		r.telemetry.Log.Debug("trimmed the journal", "below", end, "frames", removed)
	}
	return err
}

// giveUp makes the candidate's feed write off the frames below end.
func (r *retention) giveUp(ctx context.Context, f *feed, end uint64) error {
	ctx, cancel := context.WithTimeout(ctx, expiryTimeout)
	defer cancel()
	return f.askExpiry(ctx, end-1)
}

// old returns the edge below which everything was received before cutoff.
func (r *retention) old(ctx context.Context, first uint64, cutoff int64) (end uint64, err error) {
	end = first
	last, _ := r.ledger.edges(^uint64(0))
	if first >= last {
		return end, nil
	}
	err = r.ledger.eachLine(ctx, first, last-1, func(n line) error {
		if n.Totals.Requests > 0 && n.Totals.LastAt >= cutoff {
			return errStop
		}
		end = n.Last + 1
		return nil
	})
	var forgotten *forgottenError
	if errors.As(err, &forgotten) { // frames older than the whole ledger
		return forgotten.First, nil
	}
	if err != nil && !errors.Is(err, errStop) {
		return 0, fmt.Errorf("finding what is older than %s: %w", r.o.MaxAge, err)
	}
	return end, nil
}

// short returns the sequence below which frames must go for space to be no longer short; 0 if it is not.
func (r *retention) short(b journal.Bounds) uint64 {
	high := uint64(float64(b.MaxBytes) * r.o.Pressure)
	low := uint64(float64(b.MaxBytes) * (r.o.Pressure - 0.05))
	free := uint64(0) // bytes to free
	switch {
	case b.Bytes > high:
		free = b.Bytes - low
	case errors.Is(r.journal.Accepting(), journal.ErrFull): // the disk
		free = b.Bytes / 20
	default:
		return 0
	}
	frames := b.Last - b.First + 1
	perFrame := max(b.Bytes/frames, 1)
	return min(b.First+free/perFrame+1, b.Last+1)
}
