package duckdb

import (
	"sync"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
	"github.com/sparrowhq/sparrow/warehouse/rules"
)

// pending is a batch that waits for its transaction.
type pending struct {
	batch     *warehouse.Batch
	bytes     int
	done      chan outcome // has room for the one answer that the writer (or the closing queue) sends
	abandoned bool         // guarded by queue.mu: nobody wants the answer any more
}

// outcome is what Append returns.
type outcome struct {
	cursor event.Cursor
	err    error
}

// queue holds the batches that wait for one stack's writer. It is bounded in batches and bytes, what the writer has
// taken but not answered included; a full queue refuses. Raw and outcomes have the same bounds, each for itself, so that
// a backlog of outcomes does not keep raw out.
type queue struct {
	mu       sync.Mutex
	cond     *sync.Cond // signalled when waiting grows or the queue is closed
	waiting  []*pending
	held     [kinds]load // waiting or taken
	closed   bool
	maxBytes int64
	max      int
	changed  func(batches int, bytes int64) // called with what waits or is taken, whenever that changes
}

// load is a number of batches, and their bytes.
type load struct {
	batches int
	bytes   int64
}

func newQueue(batches int, bytes int64, changed func(int, int64)) *queue {
	q := &queue{max: batches, maxBytes: bytes, changed: changed}
	q.cond = sync.NewCond(&q.mu)
	return q
}

func (q *queue) put(p *pending) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	held := &q.held[rules.KindOf(p.batch)]
	switch {
	case q.closed:
		return ErrClosed
	case held.batches >= q.max || held.bytes+int64(p.bytes) > q.maxBytes && held.batches > 0:
		return warehouse.ErrBusy
	}
	q.waiting = append(q.waiting, p)
	held.batches++
	held.bytes += int64(p.bytes)
	q.tell()
	q.cond.Signal()
	return nil
}

// tell says what is held; q.mu is held.
func (q *queue) tell() {
	all := q.total()
	q.changed(all.batches, all.bytes)
}

// total is what waits or is taken; q.mu is held.
func (q *queue) total() (all load) {
	for _, l := range q.held {
		all.batches += l.batches
		all.bytes += l.bytes
	}
	return all
}

// waitingNow returns what waits, without waiting for anything.
func (q *queue) waitingNow() []*pending {
	q.mu.Lock()
	defer q.mu.Unlock()
	work := q.waiting
	q.waiting = nil
	return work
}

// take waits until there is something, and returns all of it; nothing once the queue is closed.
func (q *queue) take() []*pending {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.waiting) == 0 && !q.closed {
		q.cond.Wait()
	}
	work := q.waiting
	q.waiting = nil
	return work
}

// answer ends a batch that was taken.
func (q *queue) answer(p *pending, o outcome) {
	p.done <- o
	q.mu.Lock()
	defer q.mu.Unlock()
	q.gone(p)
}

// gone forgets a batch; q.mu is held.
func (q *queue) gone(p *pending) {
	held := &q.held[rules.KindOf(p.batch)]
	held.batches--
	held.bytes -= int64(p.bytes)
	q.tell()
}

// abandon gives a batch up. It reports whether the batch was still waiting: then nobody will touch it again. Otherwise
// the writer answers after the transaction in progress at the latest.
func (q *queue) abandon(p *pending) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, w := range q.waiting {
		if w == p {
			q.waiting = append(q.waiting[:i], q.waiting[i+1:]...)
			q.gone(p)
			return true
		}
	}
	p.abandoned = true
	return false
}

// wanted drops the abandoned batches from work, answering them.
func (q *queue) wanted(work []*pending, err error) []*pending {
	var kept []*pending
	for _, p := range work {
		q.mu.Lock()
		drop := p.abandoned || q.closed
		q.mu.Unlock()
		if drop {
			q.answer(p, outcome{err: err})
			continue
		}
		kept = append(kept, p)
	}
	return kept
}

// close refuses everything that waits and everything to come.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	for _, p := range q.waiting {
		p.done <- outcome{err: ErrClosed}
		q.gone(p)
	}
	q.waiting = nil
	q.cond.Broadcast()
}
