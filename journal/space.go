package journal

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// space is what is known about room for more. The keeper reads it from the stream and the disk five times a second; in
// between it is moved by what is published.
type space struct {
	sync.Mutex
	bytes    uint64 // in the main stream
	reserved uint64 // by publishes under way
	added    uint64 // to bytes by what was stored, ever
	limit    uint64 // of the same, in bytes; frames get 95 % of it
	first    uint64 // first and last sequence of the main stream
	last     uint64
	free     int64     // on the disk, at the time looked
	ballast  int64     // kept back, at the time looked
	looked   time.Time //
	err      error     // nil, or why frames are refused; wraps ErrFull or ErrUnavailable

	restarted time.Time     // when the embedded server was last restarted after an error
	pause     time.Duration // how long frames are refused after that
}

// Bounds are the limits of what the journal holds.
type Bounds struct {
	First    uint64 // the first frame still there; Last+1 if there is none
	Last     uint64 // the last sequence given: a frame or a control record
	Bytes    uint64 // size of frames and control records
	MaxBytes uint64 // limit of the same
}

// Bounds reads the journal's bounds from the stream.
func (j *Journal) Bounds(ctx context.Context) (b Bounds, err error) {
	err = j.ask(ctx, func(e *engine) error {
		info, err := e.lookup(ctx, mainStream)
		if err != nil {
			return err
		}
		first, err := j.findFirstFrame(ctx, e, info.State)
		if err != nil {
			return err
		}
		b = Bounds{First: first, Last: max(info.State.LastSeq, first-1), Bytes: info.State.Bytes, MaxBytes: j.frameLimit(info)}
		return nil
	})
	return b, err
}

// Accepting returns nil, or why frames are refused now: an error that wraps ErrFull or ErrUnavailable. It does not
// block and costs two locks.
func (j *Journal) Accepting() error {
	e, _, err := j.engine()
	if err != nil {
		return err
	}
	if !e.conn.IsConnected() {
		return fmt.Errorf("%w: the connection to its NATS server is down, and is being made again", ErrUnavailable)
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
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	s := &j.space
	s.Lock()
	added := s.added
	s.Unlock()
	info, err := e.lookup(ctx, mainStream)
	s.Lock()
	defer s.Unlock()
	if err != nil {
		s.err = err
		return err
	}
	// What was stored meanwhile may be in the answer or not: rather count it twice until the next look than let a frame in
	// for which there is no room.
	s.bytes, s.first, s.last, s.limit = info.State.Bytes+s.added-added, info.State.FirstSeq, max(s.last, info.State.LastSeq), j.frameLimit(info)
	s.looked = time.Time{}
	s.err = j.roomLocked(0)
	return nil
}

// frameLimit is Options.MaxBytes, or the stream's limit where that could not be raised to it.
func (j *Journal) frameLimit(info *jetstream.StreamInfo) uint64 {
	return uint64(min(j.o.MaxBytes, info.Config.MaxBytes))
}

// lookEvery is how old the figure of the disk's free space may be when a frame is let in on it. Others who fill the disk
// in the meantime make the server fail, not the journal lie; see repair.
const lookEvery = 10 * time.Millisecond

// roomLocked returns nil if a frame of size bytes may be published now.
func (j *Journal) roomLocked(size uint64) error {
	s := &j.space
	if used := s.bytes + s.reserved; used+size > s.limit/100*95 {
		return fmt.Errorf("%w: it holds %d of %d bytes, and the last 5 %% are kept for control records: let the stacks catch up, or raise journal.max_bytes", ErrFull, used, s.limit)
	}
	if j.folder == nil {
		return nil
	}
	if wait := time.Until(s.restarted.Add(s.pause)); wait > 0 {
		return fmt.Errorf("%w: it was restarted after an error of the disk, and takes frames again in %s", ErrUnavailable, wait.Round(time.Millisecond))
	}
	if time.Since(s.looked) > lookEvery {
		n, err := j.folder.free()
		if err != nil {
			return fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		s.free, s.ballast, s.looked = n, j.folder.ballast.size(), time.Now()
	}
	if s.free-int64(s.reserved+size) < j.o.MinFree {
		return fmt.Errorf("%w: the disk of %s has %d bytes free, and the last %d are not for frames (journal.min_free): free some space", ErrFull, j.folder.path, s.free, j.o.MinFree)
	}
	if s.ballast < j.o.Ballast {
		return fmt.Errorf("%w: the disk of %s was so full that space kept back for control records was used; %d bytes of it are missing, with %d free: free some space", ErrFull, j.folder.path, j.o.Ballast-s.ballast, s.free)
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

// settle ends a reservation; sequence is the frame's, 0 if it was not stored.
func (j *Journal) settle(size, sequence uint64) {
	j.space.Lock()
	j.space.reserved -= size
	j.space.Unlock()
	if sequence == 0 {
		size = 0
	}
	j.stored(size, sequence)
}

// stored counts what was written to the main stream.
func (j *Journal) stored(size, sequence uint64) {
	j.space.Lock()
	defer j.space.Unlock()
	s := &j.space
	s.bytes += size
	s.added += size
	s.free -= int64(size)
	s.last = max(s.last, sequence)
	s.err = j.roomLocked(0)
}
