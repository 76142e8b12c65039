package journal

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
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
	info, err := e.lookup(ctx, mainStream)
	if err != nil {
		return 0, fmt.Errorf("trimming: %w", err)
	}
	upto = min(upto, info.State.LastSeq)
	limit, n := uint64(0), 0
	for {
		if n == 0 { // at first, and where there was nothing to remove
			first, err := j.findFirstFrame(ctx, e, info.State)
			if err != nil {
				return removed, fmt.Errorf("trimming up to %d: %w", upto, err)
			}
			limit = max(limit, first)
		}
		if limit > upto {
			return removed, j.refresh(ctx)
		}
		if j.folder != nil {
			// Trimming writes before it frees: what is removed is noted in the last block. Half of the ballast stays for
			// control records.
			if err := j.folder.makeRoom(controlRoom, j.o.Ballast/2); err != nil {
				return removed, fmt.Errorf("trimming up to %d: %w", upto, err)
			}
		}
		began := time.Now()
		limit = min(limit+trimStep, upto+1)
		if n, err = j.purge(ctx, e, limit); err != nil {
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
		info.State.NumDeleted = -1 // no longer known
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
	return answer.Purged, nil
}

// firstFrame is the first frame, found when the stream's state was this. Finding it reads it, and a frame may be large.
type firstFrame struct {
	sync.Mutex
	sequence uint64 // 0: not known
	first    uint64 // the stream's first sequence, and
	deleted  int    // its number of sequences without a message: neither stays as it is when a frame is removed
}

// findFirstFrame returns the first frame's sequence, or the one after the last if there is none.
func (j *Journal) findFirstFrame(ctx context.Context, e *engine, state jetstream.StreamState) (uint64, error) {
	f := &j.firstFrame
	f.Lock()
	defer f.Unlock()
	if f.sequence > 0 && f.first == state.FirstSeq && f.deleted == state.NumDeleted {
		return f.sequence, nil
	}
	m, err := e.nextFor(ctx, mainStream, framesSubject, f.sequence)
	if missing(err) {
		return state.LastSeq + 1, nil
	}
	if err != nil {
		return 0, err
	}
	f.sequence, f.first, f.deleted = m.Sequence, state.FirstSeq, state.NumDeleted
	return m.Sequence, nil
}

// Aged returns the last sequence older than Options.MaxAge, 0 if there is none: how far Trim may go by age alone.
func (j *Journal) Aged(ctx context.Context) (upto uint64, err error) {
	err = j.ask(ctx, func(e *engine) error {
		info, err := e.lookup(ctx, mainStream)
		if err != nil {
			return err
		}
		m, err := e.get(ctx, mainStream, map[string]any{"start_time": time.Now().Add(-j.o.MaxAge).UTC(), "next_by_subj": ">"})
		if missing(err) { // everything there is
			upto = info.State.LastSeq
			return nil
		}
		if err == nil {
			upto = m.Sequence - 1
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("finding what is older than %s: %w", j.o.MaxAge, err)
	}
	return upto, nil
}
