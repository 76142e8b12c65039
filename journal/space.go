package journal

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// space is what is known about room for more. The keeper reads it from the stream and the disk about five times a
// second; in between it is moved by what is published.
type space struct {
	sync.Mutex
	bytes    uint64 // in the main stream
	reserved uint64 // by publishes under way
	first    uint64 // first and last sequence of the main stream
	last     uint64
	free     int64 // on the disk
	err      error // nil, or why frames are refused; wraps ErrFull or ErrUnavailable
}

// Bounds are the limits of what the journal holds.
type Bounds struct {
	First    uint64 // the first frame still there; Last+1 if there is none
	Last     uint64 // the last sequence given: a frame or a control record
	Bytes    uint64 // on disk
	MaxBytes uint64
}

// Bounds reads the journal's bounds from the stream.
func (j *Journal) Bounds(ctx context.Context) (Bounds, error) {
	e, _, err := j.engine()
	if err != nil {
		return Bounds{}, err
	}
	info, err := e.lookup(ctx, mainStream)
	if err != nil {
		return Bounds{}, err
	}
	first, err := j.findFirstFrame(ctx, e, info.State.LastSeq)
	if err != nil {
		return Bounds{}, err
	}
	return Bounds{First: first, Last: max(info.State.LastSeq, first-1), Bytes: info.State.Bytes, MaxBytes: uint64(info.Config.MaxBytes)}, nil
}

// findFirstFrame returns the first frame's sequence, or last+1 if there is none up to last.
func (j *Journal) findFirstFrame(ctx context.Context, e *engine, last uint64) (uint64, error) {
	m, err := e.nextFor(ctx, mainStream, framesSubject, j.firstFrame.Load())
	if missing(err) {
		return last + 1, nil
	}
	if err != nil {
		return 0, err
	}
	raise(&j.firstFrame, m.Sequence)
	return m.Sequence, nil
}

// Accepting returns nil, or why frames are refused now: an error that wraps ErrFull or ErrUnavailable. It costs a lock.
func (j *Journal) Accepting() error {
	if _, _, err := j.engine(); err != nil {
		return err
	}
	j.space.Lock()
	defer j.space.Unlock()
	return j.space.err
}

// refresh reads how much room there is.
func (j *Journal) refresh(ctx context.Context) error {
	e, _, err := j.engine()
	if err != nil {
		return err
	}
	info, err := e.lookup(ctx, mainStream)
	if err != nil {
		return err
	}
	j.space.Lock()
	defer j.space.Unlock()
	j.space.bytes, j.space.first, j.space.last = info.State.Bytes, info.State.FirstSeq, info.State.LastSeq
	j.judgeLocked()
	return nil
}

// judgeLocked decides whether frames are accepted.
func (j *Journal) judgeLocked() {
	j.space.err = j.roomLocked(0)
}

// roomLocked returns nil if a frame of size bytes fits.
func (j *Journal) roomLocked(size uint64) error {
	limit := uint64(j.o.MaxBytes) / 100 * 95
	if used := j.space.bytes + j.space.reserved; used+size > limit {
		return fmt.Errorf("%w: %d of %d bytes are used, and the last 5 %% are kept for control records: let the stacks catch up, or raise journal.max_bytes", ErrFull, used, j.o.MaxBytes)
	}
	if j.folder == nil {
		return nil
	}
	n, err := free(j.folder.path)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	j.space.free = n
	if n-int64(size) < j.o.MinFree {
		return fmt.Errorf("%w: the disk of %s has %d bytes free, and frames need %d (journal.min_free): free some space", ErrFull, j.folder.path, n, j.o.MinFree)
	}
	return nil
}

// reserve takes room for a frame.
func (j *Journal) reserve(size uint64) error {
	j.space.Lock()
	defer j.space.Unlock()
	if err := j.roomLocked(size); err != nil {
		return err
	}
	j.space.reserved += size
	return nil
}

// settle ends a reservation; stored says whether the frame is in the stream.
func (j *Journal) settle(size, sequence uint64) {
	j.space.Lock()
	defer j.space.Unlock()
	j.space.reserved -= size
	if sequence > 0 {
		j.space.bytes += size
		j.space.last = max(j.space.last, sequence)
	}
	j.judgeLocked()
}

// keep looks after the journal until Close.
func (j *Journal) keep() {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-j.ending.Done():
			return
		case <-tick.C:
		}
		j.refresh(j.ending)
	}
}
