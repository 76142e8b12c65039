package mirror

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/sparrowhq/sparrow/event"
)

// publisher is the journal as the committer uses it.
type publisher interface {
	// Publish appends a frame and returns its sequence once it is durable. It blocks until then, at most for a bound of
	// its own. The frame's bytes belong to the caller again on return. With an error the frame may or may not be there.
	Publish(ctx context.Context, frame []byte, t event.Totals) (sequence uint64, err error)
}

var (
	errQueueFull = errors.New("too many requests wait to be committed")
	errStopping  = errors.New("the mirror is stopping")
)

// committer groups requests into frames. While one frame is being published the next one grows, so that there is never
// more than one fsync under way and each is shared by everybody who came during the one before; an idle committer
// publishes at once.
type committer struct {
	journal     publisher
	maxFrame    int // bytes
	maxRequests int
	maxQueue    int                                // bytes of all batches that wait; guarded by mu
	published   func(b *batch, took time.Duration) // told of each batch before its clients are; may be nil

	mu      sync.Mutex
	waiting []*batch // in order; requests are added to the last
	queued  int      // bytes in waiting
	closed  bool
	spare   [][]byte // memory of frames that were published

	publishing atomic.Int64 // requests of the frame under way

	wake chan struct{} // holds a token when there may be something to publish; sent by add and close
	done chan struct{} // closed when run has returned
}

// batch is a frame that grows, and then what became of it. Its fields belong to the committer until done is closed.
type batch struct {
	frame    []byte
	totals   event.Totals
	sequence uint64
	err      error
	done     chan struct{}
}

func newCommitter(j publisher, o IntakeOptions, published func(*batch, time.Duration)) *committer {
	return &committer{
		journal: j, maxFrame: o.MaxFrame, maxRequests: o.MaxRequests, maxQueue: o.MaxQueue, published: published,
		wake: make(chan struct{}, 1), done: make(chan struct{}),
	}
}

// add encodes r into the batch that grows. The caller waits for the batch's done, and may use r again at once.
// Errors: errQueueFull, errStopping.
func (c *committer) add(r *event.Request, id uuid.UUID) (*batch, error) {
	c.mu.Lock()
	b, err := c.addLocked(r, id)
	c.mu.Unlock()
	if err != nil {
		return nil, err
	}
	select {
	case c.wake <- struct{}{}:
	default:
	}
	return b, nil
}

func (c *committer) addLocked(r *event.Request, id uuid.UUID) (*batch, error) {
	if c.closed {
		return nil, errStopping
	}
	size := len(r.Body) + len(r.Path) + len(r.Query) + requestOverhead // roughly: bounds need not be exact to hold
	for _, h := range r.Headers {
		size += len(h.Value)
	}
	if c.queued+size > c.maxQueue {
		return nil, errQueueFull
	}
	var b *batch
	if n := len(c.waiting); n > 0 {
		b = c.waiting[n-1]
	}
	if b == nil || int(b.totals.Requests) >= c.maxRequests || len(b.frame)+size > c.maxFrame {
		b = &batch{done: make(chan struct{})}
		if n := len(c.spare); n > 0 {
			b.frame, c.spare = c.spare[n-1], c.spare[:n-1]
		}
		c.waiting = append(c.waiting, b)
	}
	before := len(b.frame)
	frame, err := event.AppendRequest(b.frame, r)
	if err != nil {
		return nil, err
	}
	b.frame = frame
	b.totals.Add(id, len(r.Body), r.ReceivedAt)
	c.queued += len(frame) - before
	return b, nil
}

// run publishes batch after batch until the committer is closed and nothing waits. It must run exactly once.
func (c *committer) run() {
	defer close(c.done)
	for range c.wake {
		for b := c.take(); b != nil; b = c.take() {
			// Not a client's context, nor one that a stop ends: whoever waits must learn what became of the frame. The
			// journal bounds the call.
			c.publishing.Store(int64(b.totals.Requests))
			began := time.Now()
			b.sequence, b.err = c.journal.Publish(context.Background(), b.frame, b.totals)
			if c.published != nil {
				c.published(b, time.Since(began))
			}
			c.publishing.Store(0)
			frame := b.frame
			b.frame = nil
			close(b.done)
			c.recycle(frame)
		}
		c.mu.Lock()
		over := c.closed && len(c.waiting) == 0
		c.mu.Unlock()
		if over {
			return
		}
	}
}

// take returns the first batch that waits; nil if there is none.
func (c *committer) take() *batch {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.waiting) == 0 {
		return nil
	}
	b := c.waiting[0]
	c.waiting = c.waiting[1:]
	if len(c.waiting) == 0 {
		c.waiting = nil
	}
	c.queued -= len(b.frame)
	return b
}

// recycle keeps the memory of a published frame for another one.
func (c *committer) recycle(frame []byte) {
	if cap(frame) > 1<<20 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.spare) < 4 {
		c.spare = append(c.spare, frame[:0])
	}
}

// resize changes how many bytes may wait. What waits already stays.
func (c *committer) resize(maxQueue int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.maxQueue = maxQueue
}

// size returns the bytes that wait.
func (c *committer) size() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.queued
}

// requests returns how many requests wait, beside those being published.
func (c *committer) requests() (n uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, b := range c.waiting {
		n += b.totals.Requests
	}
	return n
}

// close refuses further requests, publishes what waits, and returns when ctx ends or run has returned.
func (c *committer) close(ctx context.Context) error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
		return errors.New("the journal did not take the last requests in time: their clients were not answered 200")
	}
}
