package bigquery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/telemetry"
	"github.com/sparrowhq/sparrow/warehouse"
	"github.com/sparrowhq/sparrow/warehouse/rules"
)

// writer is the one goroutine that appends to one log of one stack: it packs whatever waits into as few appends as their
// size allows. One append is on its way at a time, over a stream that only this process writes to.
type writer struct {
	e     *Engine
	stack event.Stack
	log   log
	table table
	queue *queue

	mu      sync.Mutex
	cursors map[rules.Key]place // guarded by mu; written by run only

	// Owned by run, and by Open before it.
	stream *stream // nil: the table must be taken over first
	offset int64   // rows in it
	outage telemetry.Outage
}

func newWriter(e *Engine, stack event.Stack, l log) *writer {
	w := &writer{e: e, stack: stack, log: l, table: l.table(stack), cursors: map[rules.Key]place{}}
	w.queue = newQueue(e.o.QueueBatches, e.o.QueueBytes, func(batches int, bytes int64) { e.metrics.queued(w, batches, bytes) })
	return w
}

func (w *writer) cursor(k rules.Key) event.Cursor {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cursors[k].Cursor
}

// run works until the queue is closed.
func (w *writer) run() {
	defer w.drop()
	for {
		work := w.queue.take()
		if work == nil {
			return
		}
		for len(work) > 0 {
			work = append(work, w.queue.more()...)
			arrange(work)
			work = w.step(work)
		}
	}
}

// drop closes the call that appends go through, if there is one.
func (w *writer) drop() {
	if w.stream != nil {
		w.stream.close()
		w.stream = nil
	}
}

// arrange orders batches: stages take turns by how long they have been waiting; those of one stage by where they begin,
// since concurrent callers may have queued neighbours the wrong way round.
func arrange(work []*pending) {
	turn, first := map[rules.Key]int{}, map[*pending]*warehouse.Batch{}
	for i, p := range work {
		p.mu.Lock()
		b := p.batch
		if b == nil {
			b = &warehouse.Batch{}
		}
		first[p] = &warehouse.Batch{Stack: b.Stack, Run: b.Run, Stage: b.Stage, From: b.From}
		p.mu.Unlock()
		if k := rules.KeyOf(first[p]); !has(turn, k) {
			turn[k] = i
		}
	}
	slices.SortStableFunc(work, func(p, q *pending) int {
		a, b := first[p], first[q]
		return cmp.Or(cmp.Compare(turn[rules.KeyOf(a)], turn[rules.KeyOf(b)]), a.From.Compare(b.From))
	})
}

func has[K comparable, V any](m map[K]V, k K) bool {
	_, ok := m[k]
	return ok
}

// step makes one append and returns the batches that are not answered yet.
func (w *writer) step(work []*pending) (left []*pending) {
	answered := map[*pending]bool{}
	answer := func(p *pending, r result) {
		w.queue.answer(p, r)
		answered[p] = true
	}
	fail := func(all []*pending, err error) {
		for _, p := range all {
			if !answered[p] {
				answer(p, result{err: err})
			}
		}
	}
	ctx := w.e.running
	if err := w.takeOver(ctx); err != nil {
		w.report("a table is not taken over", err, 0)
		fail(work, err)
		return nil
	}
	load := payload{width: w.e.o.DigestFrames}
	days := partitionsAt(time.Now())
	full := map[rules.Key]bool{}
	for _, p := range work {
		isFull, err := w.pack(ctx, &load, p, full, days)
		if err != nil {
			answer(p, result{err: err})
		}
		if isFull && len(load.rows) > 0 {
			break
		}
	}
	if len(load.marks) > 0 {
		if err := w.send(ctx, &load); err != nil {
			fail(load.share, err)
		}
	}
	for _, p := range load.whole {
		if !answered[p] {
			answer(p, result{cursor: w.cursor(p.key)})
		}
	}
	return slices.DeleteFunc(work, func(p *pending) bool { return answered[p] })
}

// pack adds what fits of one batch. An error is the batch's answer.
func (w *writer) pack(ctx context.Context, load *payload, p *pending, full map[rules.Key]bool, days partitions) (isFull bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.batch == nil {
		return false, context.Canceled // nobody listens
	}
	k := rules.KeyOf(p.batch)
	if full[k] {
		return false, nil // what comes later of a stage must not overtake
	}
	// A gap first: a batch that is refused must leave nothing behind.
	if have := load.at(k, w.cursors); p.batch.From.Compare(have.Cursor) > 0 {
		return false, &warehouse.GapError{Have: have.Cursor, From: p.batch.From}
	}
	if news, err := w.e.learn(ctx, p.batch); err != nil {
		if news {
			w.report("journal or timeline are not kept", err, 0)
		}
		return false, err
	}
	isFull, err = load.add(p, p.batch, w.cursors, w.e.o.AppendBytes, days)
	full[k] = isFull
	return isFull, err
}

// send makes the payload durable, and the cursors with it.
func (w *writer) send(ctx context.Context, load *payload) error {
	rows := load.encoded(w.log, w.stream.name, w.offset)
	start := time.Now()
	tries := 0
	err := w.e.insist(ctx, func() (final bool, err error) {
		tries++
		err = w.stream.append(ctx, w.offset, rows)
		what := classify(err)
		if err != nil {
			w.e.metrics.answered(w, what)
		}
		switch what {
		case stored:
			return true, nil
		case drifted:
			return false, errors.Join(brief(err), w.e.ensure(ctx, w.table))
		}
		return what == lost || what == refused, err
	})
	if err == nil {
		w.offset += int64(len(rows))
		w.moved(load)
		w.e.metrics.appended(w, len(load.rows), time.Since(start))
		w.outage.Over(w.e.o.Telemetry, "appends work again", slog.String("stack", string(w.stack)))
		return nil
	}
	// What is in and what is not, the table tells once nobody can write to the stream any more. Only a first refusal is
	// as clear as that by itself.
	if classify(err) != refused || tries > 1 {
		w.drop()
	}
	err = fmt.Errorf("warehouse: %d rows to %s: %w", len(load.rows), w.e.names.table(w.table), brief(err))
	w.report("appends fail", err, len(load.rows))
	return err
}

// report says what fails, to whoever watches the process; the callers are told too, and try again.
func (w *writer) report(what string, err error, rows int) {
	w.e.metrics.failures.Inc()
	w.outage.Failed(w.e.o.Telemetry, what, err, slog.String("stack", string(w.stack)), slog.Int("rows", rows))
}

func (w *writer) moved(load *payload) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for k, at := range load.keys {
		w.cursors[k] = at
	}
	for _, m := range load.marks {
		w.e.known.moved(m)
	}
}
