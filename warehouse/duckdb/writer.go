package duckdb

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	native "github.com/duckdb/duckdb-go-bindings"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// writer is the one goroutine that appends for a stack: it packs whatever waits into as few transactions as its bound
// allows.
type writer struct {
	e     *Engine
	stack event.Stack
	queue *queue

	// Guarded by Engine.shared, held in any way. nil while the file is not open.
	conn     *conn
	appender *appender
	update   *statement // moves a cursor

	// Owned by run.
	single  int // how many batches to try one at a time, since together they failed
	commits int // since the rows were counted
}

func newWriter(e *Engine, stack event.Stack) *writer {
	w := &writer{e: e, stack: stack}
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
	if w.appender, err = newAppender(w.conn, w.stack); err != nil {
		return err
	}
	w.update, err = w.conn.prepare(`UPDATE cursors SET journal = ?, frame = ?, request = ?, "rows" = "rows" + ? WHERE stack = ? AND run = ? AND stage = ?`)
	return err
}

func (w *writer) close() {
	if w.update != nil {
		w.update.close()
		w.update = nil
	}
	if w.appender != nil {
		w.appender.close()
		w.appender = nil
	}
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
		// By where they begin: concurrent callers may have queued neighbours the wrong way round.
		slices.SortStableFunc(work, func(a, b *pending) int { return a.batch.From.Compare(b.batch.From) })
		for len(work) > 0 {
			if w.e.gate.enter(w.stack) {
				w.e.metrics.impatient.WithLabelValues(string(w.stack)).Inc()
			}
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
		return t, refused, w.e.opened, nil
	}
	err = fmt.Errorf("warehouse: %d rows of %s: %w", t.rows, w.stack, err)
	w.e.metrics.failures.Inc()
	w.e.o.Telemetry.Failure("append failed", err, slog.String("stack", string(w.stack)), slog.Int("rows", t.rows))
	if !broken(err) {
		if again := w.reset(); again != nil {
			err = &commitError{fmt.Errorf("%w; then: %w", err, again)}
		}
	}
	return t, refused, w.e.opened, err
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

// reset gives the writer a fresh appender: what the old one holds of a transaction that failed must not come with the
// next.
func (w *writer) reset() error {
	w.appender.close()
	w.appender = nil
	var err error
	w.appender, err = newAppender(w.conn, w.stack)
	return err
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
	if w.e.fault != nil {
		if err := w.e.fault(t); err != nil {
			return err
		}
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
		if err := w.extendTimeline(t); err != nil {
			return err
		}
	}
	return w.countRows()
}

func (w *writer) moveCursor(m move) error {
	if m.insert {
		return w.conn.run(`INSERT INTO cursors VALUES (?, ?, ?, ?, ?, ?, ?)`, string(m.stack), int64(m.run), string(m.stage), m.journal, m.to.Frame, m.to.Request, m.rows)
	}
	n, err := w.update.exec(m.journal, m.to.Frame, m.to.Request, m.rows, string(m.stack), int64(m.run), string(m.stage))
	if err == nil && n != 1 {
		err = fmt.Errorf("%d rows hold the cursor of %s, run %d, stage %s", n, m.stack, m.run, m.stage)
	}
	return err
}

// countEvery is how many transactions pass between two counts of the rows.
const countEvery = 64

// countRows makes sure, now and then, that the table has as many rows as the cursors say, the open transaction's
// included: DuckDB's appender says nothing of what it did with the rows it was given.
func (w *writer) countRows() error {
	if w.commits++; w.commits < countEvery {
		return nil
	}
	w.commits = 0
	return checkCounts(w.conn, w.stack)
}

// checkCounts compares the number of rows of a stack with what its cursors have counted.
func checkCounts(c *conn, stack event.Stack) error {
	return c.rows(fmt.Sprintf(`SELECT (SELECT count(*) FROM %s.raw), (SELECT coalesce(sum("rows"), 0)::BIGINT FROM cursors WHERE stack = '%s')`, stack, stack), nil, func(r []any) error {
		if r[0] != r[1] {
			return fmt.Errorf("%s.raw has %v rows, its cursors have counted %v: the file is damaged", stack, r[0], r[1])
		}
		return nil
	})
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
