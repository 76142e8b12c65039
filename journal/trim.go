package journal

import (
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// trimStep is how many sequences are trimmed at once: a publish waits meanwhile (100 take 5 ms, 10,000 take 260 ms).
const trimStep = 100

// Trim removes the frames up to and including upto, and returns how many it removed. Control records stay. It works in
// small steps and rests between them as long as each took, so that publishing keeps at least half of the journal's
// time; it stops with ctx's error when ctx ends, with the frames before that point removed.
func (j *Journal) Trim(ctx context.Context, upto uint64) (removed int, err error) {
	e, _, err := j.engine()
	if err != nil {
		return 0, err
	}
	for {
		first, err := j.findFirstFrame(ctx, e, upto)
		if err != nil {
			return removed, fmt.Errorf("trimming up to %d: %w", upto, err)
		}
		if first > upto {
			return removed, j.refresh(ctx)
		}
		began := time.Now()
		n, err := j.purge(ctx, e, min(first+trimStep, upto+1))
		if err != nil {
			return removed, fmt.Errorf("trimming up to %d: %w", upto, err)
		}
		removed += n
		rest := time.NewTimer(time.Since(began))
		select {
		case <-rest.C:
		case <-ctx.Done():
			rest.Stop()
			return removed, ctx.Err()
		}
	}
}

// purge removes the frames below limit. It names the frames' subject: a purge of everything would take the control
// records with it, and let a stranger's compare-and-set win.
func (j *Journal) purge(ctx context.Context, e *engine, limit uint64) (int, error) {
	q, err := json.Marshal(map[string]any{"filter": framesSubject, "seq": limit})
	if err != nil {
		return 0, err
	}
	ctx, cancel := e.call(ctx)
	defer cancel()
	m, err := e.conn.RequestWithContext(ctx, "$JS.API.STREAM.PURGE."+mainStream, q)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	var answer struct {
		Error  *jetstream.APIError `json:"error"`
		Purged int                 `json:"purged"`
	}
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if answer.Error != nil {
		return 0, fmt.Errorf("%w: %w", ErrUnavailable, answer.Error)
	}
	raise(&j.firstFrame, limit)
	return answer.Purged, nil
}

// raise sets v to n unless it is higher.
func raise(v *atomic.Uint64, n uint64) {
	for {
		old := v.Load()
		if old >= n || v.CompareAndSwap(old, n) {
			return
		}
	}
}
