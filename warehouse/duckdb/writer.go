package duckdb

import (
	"cmp"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	native "github.com/duckdb/duckdb-go-bindings"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/telemetry"
)

// writer is the one goroutine that appends for a stack: it packs whatever waits into as few transactions as its bound
// allows.
type writer struct {
	e     *Engine
	stack event.Stack
	queue *queue

	// Guarded by Engine.shared, held in any way. nil while the file is not open.
	conn   *conn
	tables [kinds]*appender
	lines  *appender // of cursors

	// Owned by run.
	outage  telemetry.Outage
	single  int // how many batches to try one at a time, since together they failed
	commits int // since the rows were counted

	undigested map[key]int // rows since the last digest or opening; about, since a transaction may fail
}

func newWriter(e *Engine, stack event.Stack) *writer {
	w := &writer{e: e, stack: stack, undigested: map[key]int{}}
	w.queue = newQueue(e.o.QueueBatches, e.o.QueueBytes, func(batches int, bytes int64) {
		e.gate.set(stack, batches)
		e.metrics.queued(stack, batches, bytes)
	})
	return w
}

// open prepares what appending needs.
func (w *writer) open(db *database) (err error) {
	if w.conn, err = db.connect(); err != nil {
		return err
	}
	return w.openTables()
}

func (w *writer) openTables() (err error) {
	if w.tables[rawRows], err = newRawAppender(w.conn, w.stack); err != nil {
		return err
	}
	if w.tables[outcomes], err = newOutcomeAppender(w.conn, w.stack); err != nil {
		return err
	}
	w.lines, err = newLineAppender(w.conn)
	return err
}

// closeTables gives up what is not flushed.
func (w *writer) closeTables() {
	for _, a := range append(w.tables[:], w.lines) {
		if a != nil {
			a.close()
		}
	}
	w.tables, w.lines = [kinds]*appender{}, nil
}

func (w *writer) close() {
	w.closeTables()
	if w.conn != nil {
		w.conn.close()
		w.conn = nil
	}
}

// run works until the queue is closed.
func (w *writer) run() {
	exemptThread()
	for {
		work := w.queue.take()
		if work == nil {
			return
		}
		for len(work) > 0 {
			if w.single == 0 {
				work = append(work, w.queue.waitingNow()...) // so that nobody waits for more than one transaction
			}
			arrange(work)
			w.e.awaitFold(w.stack)
			if w.e.gate.enter(w.stack) {
				w.e.metrics.impatient.WithLabelValues(string(w.stack)).Inc()
			}
			if work = w.queue.wanted(work, ErrClosed); len(work) > 0 {
				work = w.step(work)
			}
		}
	}
}

// arrange orders batches: stages take turns by how long they have been waiting, so that none that catches up holds the
// others up; those of one stage by where they begin, since concurrent callers may have queued neighbours the wrong way
// round.
func arrange(work []*pending) {
	turn := map[key]int{}
	for i, p := range work {
		if _, ok := turn[keyOf(p.batch)]; !ok {
			turn[keyOf(p.batch)] = i
		}
	}
	slices.SortStableFunc(work, func(a, b *pending) int {
		return cmp.Or(cmp.Compare(turn[keyOf(a.batch)], turn[keyOf(b.batch)]), a.batch.From.Compare(b.batch.From))
	})
}

// step commits one transaction and returns the batches that are not answered yet.
func (w *writer) step(work []*pending) []*pending {
	try := work
	if w.single > 0 {
		try = work[:1]
	}
	t, refused, err := w.transact(try)

	var answered []*pending
	answer := func(p *pending, o outcome) {
		w.queue.answer(p, o)
		answered = append(answered, p)
	}
	share := t.batches()
	switch {
	case err == nil:
		for _, p := range t.whole {
			answer(p, outcome{cursor: w.e.state.cursor(keyOf(p.batch))})
		}
	case len(share) > 1:
		w.single = len(share) + 1 // one of them is at fault: find it, and spare the others
	default:
		for _, p := range share {
			answer(p, outcome{err: err})
		}
	}
	if err == nil || len(share) <= 1 {
		for _, r := range refused {
			answer(r.batch, outcome{err: r.err})
		}
	}
	w.single = max(0, w.single-1)
	return slices.DeleteFunc(work, func(p *pending) bool { return slices.Contains(answered, p) })
}

// transact packs a transaction and makes it durable.
func (w *writer) transact(try []*pending) (t *transaction, refused []refusal, err error) {
	reopened := 0
	for attempt := 0; ; attempt++ {
		opened := 0 // which opening of the file the attempt ran on
		t, refused, opened, err = w.attempt(try)
		switch {
		case err == nil:
			return t, refused, nil
		case outOfMemory(err) && !broken(err) && attempt < 5:
			release, _ := w.e.makeRoom() // appends come first
			defer release()
		case broken(err):
			// What the file then says may well be that the transaction is in.
			if reopened++; !w.e.reopen(opened, err) || reopened > 2 {
				return t, refused, err
			}
		case isKind(err, native.ErrorTypeTransaction) && strings.Contains(err.Error(), "onflict") && attempt < 3:
			// The other stack's transaction was in the way.
		default:
			return t, refused, err
		}
	}
}

// attempt tries one transaction, and reports which opening of the file it ran on.
func (w *writer) attempt(try []*pending) (t *transaction, refused []refusal, opened int, err error) {
	t, refused, unlock := w.plan(try)
	defer unlock()
	if t.empty() {
		return t, refused, w.e.opened, nil
	}
	if w.conn == nil {
		return t, refused, w.e.opened, &commitError{w.e.failed} // have it opened again
	}
	start := time.Now()
	if w.e.begin != nil {
		w.e.begin(w.stack, t)
	}
	if err = w.conn.transaction(func() error { return w.apply(t) }); err == nil {
		err = w.e.syncNames()
	}
	if err == nil {
		w.e.state.commit(t)
		w.e.metrics.committed(w.stack, t, time.Since(start))
		w.outage.Over(w.e.o.Telemetry, "appends work again", slog.String("stack", string(w.stack)))
		return t, refused, w.e.opened, nil
	}
	err = fmt.Errorf("warehouse: %d rows and %d outcomes of %s: %w", t.rows[rawRows], t.rows[outcomes], w.stack, err)
	w.e.metrics.failures.Inc()
	w.outage.Failed(w.e.o.Telemetry, "appends fail", err, slog.String("stack", string(w.stack)), slog.Int("rows", t.rows[rawRows]), slog.Int("outcomes", t.rows[outcomes]))
	if !broken(err) {
		if again := w.reset(); again != nil {
			err = &commitError{fmt.Errorf("%w; then: %w", err, again)}
		}
	}
	return t, refused, w.e.opened, err
}

// plan packs a transaction and takes the locks it needs.
func (w *writer) plan(try []*pending) (t *transaction, refused []refusal, unlock func()) {
	e, rows := w.e, w.e.o.LiveRows
	candidate := e.candidate(w.stack)
	if candidate {
		rows = e.o.CandidateRows
		e.folding.RLock()
	}
	e.shared.RLock()
	if t, refused = e.state.snapshot().pack(try, rows); !t.alone() {
		return t, refused, func() {
			e.shared.RUnlock()
			if candidate {
				e.folding.RUnlock()
			}
		}
	}
	e.shared.RUnlock()
	if !candidate {
		e.folding.RLock()
	}
	e.shared.Lock() // and look again: the other stack may have brought the same records meanwhile
	t, refused = e.state.snapshot().pack(try, rows)
	return t, refused, func() {
		e.shared.Unlock()
		e.folding.RUnlock()
	}
}

// reset gives the writer fresh appenders: what the old ones hold of a transaction that failed must not come with the
// next.
func (w *writer) reset() error {
	w.closeTables()
	return w.openTables()
}
