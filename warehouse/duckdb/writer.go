package duckdb

import (
	"fmt"
	"log/slog"
	"slices"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// writer is the one goroutine that appends for a stack: it packs whatever waits into as few transactions as its bound
// allows.
type writer struct {
	e     *Engine
	stack event.Stack
	queue *queue

	// Owned by run.
	conn     *conn
	appender *appender
	single   int // how many batches to try one at a time, since together they failed
}

func newWriter(e *Engine, stack event.Stack) (*writer, error) {
	w := &writer{e: e, stack: stack}
	w.queue = newQueue(e.o.QueueBatches, e.o.QueueBytes, func(n int) { e.gate.set(stack, n) })
	var err error
	if w.conn, err = e.db.connect(); err != nil {
		return nil, err
	}
	if w.appender, err = newAppender(w.conn, stack); err != nil {
		w.conn.close()
		return nil, err
	}
	return w, nil
}

func (w *writer) close() {
	w.appender.close()
	w.conn.close()
}

// run works until the queue is closed.
func (w *writer) run() {
	exemptThread()
	for {
		work := w.queue.take()
		if work == nil {
			return
		}
		// By where they begin: concurrent callers may have queued neighbours the wrong way round.
		slices.SortStableFunc(work, func(a, b *pending) int { return a.batch.From.Compare(b.batch.From) })
		for len(work) > 0 {
			w.e.gate.enter(w.stack)
			if work = w.queue.wanted(work, ErrClosed); len(work) > 0 {
				work = w.step(work)
			}
		}
	}
}

// step commits one transaction and returns the batches that are not answered yet.
func (w *writer) step(work []*pending) []*pending {
	try := work
	if w.single > 0 {
		try = work[:1]
	}
	t, refused, unlock := w.plan(try)
	err := w.commit(t)
	if err == nil {
		w.e.state.commit(t)
	}
	unlock()

	var answered []*pending
	if err == nil {
		for _, p := range t.whole {
			w.queue.answer(p, outcome{cursor: w.e.state.cursor(key{p.batch.Stack, p.batch.Run, p.batch.Stage})})
			answered = append(answered, p)
		}
	} else if failed := t.batches(); len(failed) > 1 {
		w.single = len(failed) // one of them is at fault: find it, and spare the others
	} else {
		for _, p := range failed {
			w.queue.answer(p, outcome{err: err})
			answered = append(answered, p)
		}
	}
	for _, r := range refused {
		if err == nil || w.single == 0 {
			w.queue.answer(r.batch, outcome{err: r.err})
			answered = append(answered, r.batch)
		}
	}
	if w.single > 0 && len(answered) > 0 {
		w.single -= len(answered)
	}
	return slices.DeleteFunc(work, func(p *pending) bool { return slices.Contains(answered, p) })
}

// plan packs a transaction and takes the lock it needs.
func (w *writer) plan(try []*pending) (*transaction, []refusal, func()) {
	rows := w.e.o.LiveRows
	if live := w.e.state.live(); live != "" && live != w.stack {
		rows = w.e.o.CandidateRows
	}
	w.e.shared.RLock()
	t, refused := w.e.state.snapshot().pack(try, rows)
	if !t.alone() {
		return t, refused, w.e.shared.RUnlock
	}
	w.e.shared.RUnlock()
	w.e.shared.Lock() // and look again: the other stack may have brought the same records meanwhile
	t, refused = w.e.state.snapshot().pack(try, rows)
	return t, refused, w.e.shared.Unlock
}

// commit makes the transaction durable. After an error the state is read again from the file.
func (w *writer) commit(t *transaction) error {
	if t.empty() {
		return nil
	}
	err := w.conn.transaction(func() error { return w.apply(t) })
	if err == nil {
		return nil
	}
	err = fmt.Errorf("warehouse: %d rows of %s: %w", t.rows, w.stack, err)
	w.e.o.Telemetry.Failure("append failed", err, slog.String("stack", string(w.stack)), slog.Int("rows", t.rows))
	if again := w.reset(); again != nil {
		err = fmt.Errorf("%w; then: %w", err, again)
	}
	return err
}

// reset gives the writer a fresh appender, and the engine what the file really says.
func (w *writer) reset() error {
	w.appender.close()
	var err error
	if w.appender, err = newAppender(w.conn, w.stack); err != nil {
		return err
	}
	return w.e.state.load(w.conn)
}

// apply writes everything of the transaction.
func (w *writer) apply(t *transaction) error {
	for _, p := range t.parts {
		for i := p.lo; i < p.hi; i++ {
			if err := w.appender.put(p.from.batch.Run, &p.from.batch.Rows[i]); err != nil {
				return err
			}
		}
	}
	if err := w.appender.flush(); err != nil {
		return err
	}
	for _, j := range t.opens {
		if err := w.conn.run(`UPDATE journals_seen SET highest = v.highest FROM journals v WHERE v.id = journals_seen.id AND journals_seen.highest IS NULL`); err != nil {
			return err
		}
		if err := w.conn.run(`INSERT INTO journals_seen VALUES (?, ?, NULL)`, j.ID, j.First); err != nil {
			return err
		}
	}
	for _, m := range t.moves {
		if err := w.moveCursor(m); err != nil {
			return err
		}
	}
	if len(t.records) > 0 {
		return w.extendTimeline(t)
	}
	return nil
}

func (w *writer) moveCursor(m move) error {
	if m.insert {
		return w.conn.run(`INSERT INTO cursors VALUES (?, ?, ?, ?, ?, ?)`, string(m.stack), int64(m.run), string(m.stage), m.journal, m.to.Frame, m.to.Request)
	}
	return w.conn.run(`UPDATE cursors SET journal = ?, frame = ?, request = ? WHERE stack = ? AND run = ? AND stage = ?`,
		m.journal, m.to.Frame, m.to.Request, string(m.stack), int64(m.run), string(m.stage))
}

func (w *writer) extendTimeline(t *transaction) error {
	for _, r := range t.records {
		from := r.From
		if from == 0 {
			from = r.Sequence + 1
		}
		if err := w.conn.run(`INSERT INTO timeline VALUES (?, ?, ?, ?, ?, make_timestamp(?), ?)`,
			r.Sequence, r.Generation, string(r.Kind), string(r.Live), from, r.At, string(r.Bytes)); err != nil {
			return fmt.Errorf("control record at %d: %w", r.Sequence, err)
		}
	}
	for _, ddl := range views(t.timeline) {
		if err := w.conn.exec(ddl); err != nil {
			return fmt.Errorf("views: %w", err)
		}
	}
	return nil
}

// check refuses a batch that no state of the warehouse could take.
func check(b *warehouse.Batch) error {
	if _, err := event.ParseStack(string(b.Stack)); err != nil {
		return err
	}
	switch {
	case b.Stage == "":
		return fmt.Errorf("batch [%v, %v) of %s names no stage", b.From, b.To, b.Stack)
	case b.Stage != warehouse.Raw && len(b.Rows) > 0:
		return fmt.Errorf("batch [%v, %v) of %s has %d rows of raw for stage %s", b.From, b.To, b.Stack, len(b.Rows), b.Stage)
	case b.Run == 0 && b.Journal == "":
		return fmt.Errorf("batch [%v, %v) of %s names no journal", b.From, b.To, b.Stack)
	case b.Run > maxInt || b.From.Frame > maxInt || b.To.Frame > maxInt || b.To.Request > maxInt32:
		return fmt.Errorf("batch [%v, %v) of %s, run %d, is beyond what the warehouse can count", b.From, b.To, b.Stack, b.Run)
	case b.From.Compare(b.To) > 0:
		return fmt.Errorf("batch [%v, %v) of %s ends before it begins", b.From, b.To, b.Stack)
	}
	for i := range b.Rows {
		r := &b.Rows[i]
		if err := checkRow(r); err != nil {
			return err
		}
		at := event.Cursor{Frame: r.Frame, Request: r.Request}
		if at.Compare(b.From) < 0 || at.Compare(b.To) >= 0 {
			return fmt.Errorf("row %v lies outside its batch [%v, %v)", r.Position, b.From, b.To)
		}
		// A row given twice is stored twice: the warehouse keeps what a stack wrote, and compare is who says it is wrong.
		if i > 0 && b.Rows[i-1].Position.Compare(r.Position) > 0 {
			return fmt.Errorf("row %v comes after row %v: rows must be in order", r.Position, b.Rows[i-1].Position)
		}
	}
	return nil
}
