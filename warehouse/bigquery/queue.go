package bigquery

import (
	"sync"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
	"github.com/sparrowhq/sparrow/warehouse/rules"
)

// pending is a batch that waits for its appends.
type pending struct {
	key   rules.Key
	bytes int
	done  chan result // has room for the one answer

	mu    sync.Mutex       // held by the writer while it reads the batch
	batch *warehouse.Batch // guarded by mu; nil: the caller has gone, and the batch is its own again
}

// result is what Append returns.
type result struct {
	cursor event.Cursor
	err    error
}

// abandon gives the batch back to its caller.
func (p *pending) abandon() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.batch = nil
}

// queue holds the batches that wait for one writer. It is bounded in batches and bytes, what the writer has taken but
// not answered included; a full queue refuses.
type queue struct {
	mu       sync.Mutex
	cond     *sync.Cond // signalled when waiting grows or the queue is closed
	waiting  []*pending
	batches  int // waiting or taken
	bytes    int64
	closed   bool
	maxBytes int64
	max      int
	changed  func(batches int, bytes int64)
}

func newQueue(batches int, bytes int64, changed func(int, int64)) *queue {
	q := &queue{max: batches, maxBytes: bytes, changed: changed}
	q.cond = sync.NewCond(&q.mu)
	return q
}

func (q *queue) put(p *pending) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.closed:
		return ErrClosed
	case q.batches >= q.max || q.bytes+int64(p.bytes) > q.maxBytes && q.batches > 0:
		return warehouse.ErrBusy
	}
	q.waiting = append(q.waiting, p)
	q.batches++
	q.bytes += int64(p.bytes)
	q.changed(q.batches, q.bytes)
	q.cond.Signal()
	return nil
}

// take waits until there is something, and returns all of it; nothing once the queue is closed.
func (q *queue) take() []*pending {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.waiting) == 0 && !q.closed {
		q.cond.Wait()
	}
	return q.allLocked()
}

// more returns what has come meanwhile.
func (q *queue) more() []*pending {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.allLocked()
}

func (q *queue) allLocked() []*pending {
	work := q.waiting
	q.waiting = nil
	return work
}

// answer ends a batch that was taken.
func (q *queue) answer(p *pending, r result) {
	p.done <- r
	q.mu.Lock()
	defer q.mu.Unlock()
	q.goneLocked(p)
}

func (q *queue) goneLocked(p *pending) {
	q.batches--
	q.bytes -= int64(p.bytes)
	q.changed(q.batches, q.bytes)
}

// close refuses everything that waits and everything to come.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	for _, p := range q.waiting {
		p.done <- result{err: ErrClosed}
		q.goneLocked(p)
	}
	q.waiting = nil
	q.cond.Broadcast()
}
