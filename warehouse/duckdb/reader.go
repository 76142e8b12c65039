package duckdb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/sparrowhq/sparrow/warehouse"
)

const (
	// stopGrace is how long a query may take to notice that it was stopped. DuckDB looks between chunks of rows; a single
	// function call may take much longer. Then the caller gets its error, and the query's place is given back once
	// DuckDB returns.
	stopGrace = time.Second

	// watchEvery is how often a query's use of memory is looked at, and how often an interrupt is repeated.
	watchEvery = 20 * time.Millisecond

	// handover is how many bytes of rows, or rows, the reader decodes ahead.
	handoverBytes = 256 << 10
	handoverRows  = 1024

	// maxValue bounds one value, in bytes.
	maxValue = 64 << 20
)

type row = []any

// errMemory says that a query was refused memory.
var errMemory = errors.New("the query needs more memory than this warehouse gives: " + adviceMore)

// errStuck says that DuckDB is in a function call that it cannot interrupt.
var errStuck = errors.New("a query was told to stop and is still in one function call: until it ends DuckDB keeps in memory what every append changes, and cannot fold its log into the file")

// reader is one query in progress: a goroutine on a thread of its own, with a connection of its own and a read-only
// transaction, and whoever reads its rows.
type reader struct {
	e     *Engine
	ctx   context.Context // ends at the deadline
	stop  context.CancelCauseFunc
	query warehouse.Query
	limit int
	stuck chan struct{} // closed when the query was stopped and did not notice for stopGrace

	// Between run and the caller.
	opened  chan struct{}      // closed by run once columns is set
	columns []warehouse.Column // set before opened is closed
	rows    chan []row         // sent by run
	done    chan struct{}      // closed by run at its end
	err     error              // why run ended; io.EOF after the last row; set before done is closed
	more    bool               // limit cut the answer; set before done is closed

	// Of the caller alone.
	ready     []row
	ended     error
	truncated bool
	once      sync.Once
}

// run does everything that touches DuckDB.
func (r *reader) run() {
	defer r.e.leave()
	defer r.e.track(r, false)
	defer close(r.done)
	yieldThread()
	c, release, err := r.e.reader()
	if err != nil {
		r.err = err
		return
	}
	defer release()
	r.err = r.explain(r.execute(c))
	r.e.metrics.queries.WithLabelValues(outcomeOf(r.err)).Inc()
}

// execute answers the query unless appends need all memory right now, and holds none on return.
func (r *reader) execute(c *conn) error {
	if !r.e.executing.begin(r.ctx.Done()) {
		return context.Cause(r.ctx)
	}
	defer r.e.executing.end()
	defer r.watch(c)()
	return r.answer(c)
}

// watch interrupts the connection once the query is to stop, again and again, since an interrupt that comes between two
// statements is forgotten. If it does not stop for Options.StuckWait, Options.Stuck is told.
func (r *reader) watch(c *conn) (stop func()) {
	done := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		tick := time.NewTicker(watchEvery)
		defer tick.Stop()
		stopped, closing := r.ctx.Done(), r.e.queries.Done()
		var stuck <-chan time.Time
		for {
			select {
			case <-done:
				return
			case <-stopped:
				stopped = nil
				stuck = time.After(r.e.o.StuckWait)
			case <-stuck:
				r.e.o.Telemetry.Failure("a query does not stop", errStuck)
				if r.e.o.Stuck != nil {
					r.e.o.Stuck(errStuck)
				}
			case <-closing:
				closing = nil
				r.stop(ErrClosed)
			case <-tick.C:
				if memoryUsed() > r.e.headroom() {
					r.stop(errMemory)
				}
			}
			if r.ctx.Err() != nil {
				c.interrupt()
			}
		}
	})
	return func() {
		close(done)
		watching.Wait()
	}
}

// answer checks the statement, runs it and hands its rows over.
func (r *reader) answer(c *conn) error {
	if err := c.exec("BEGIN TRANSACTION READ ONLY"); err != nil {
		return err
	}
	columns, s, a, err := c.ask(r.query.SQL, r.query.Args)
	if err != nil {
		return err
	}
	defer s.close()
	defer a.close()
	r.columns = columns
	close(r.opened)
	for sent := 0; ; {
		batch, err := r.decode(a, r.limit-sent)
		if len(batch) > 0 {
			select {
			case r.rows <- batch:
			case <-r.ctx.Done():
				return context.Cause(r.ctx)
			}
			sent += len(batch)
		}
		if err != nil {
			return err
		}
		if sent == r.limit {
			next, err := a.next()
			r.more = next != nil
			if err == nil {
				err = io.EOF
			}
			return err
		}
	}
}

// decode reads up to most rows, or as many as are worth handing over.
func (r *reader) decode(a *answer, most int) (batch []row, err error) {
	for bytes := 0; len(batch) < min(most, handoverRows) && bytes < handoverBytes; {
		next, err := a.next()
		if err != nil {
			return batch, err
		}
		if next == nil {
			return batch, io.EOF
		}
		for _, v := range next {
			switch v := v.(type) {
			case string:
				bytes += len(v)
			case []byte:
				bytes += len(v)
			}
		}
		batch = append(batch, next)
	}
	return batch, nil
}

// explain names the reason why a statement was stopped; DuckDB only says that it was.
func (r *reader) explain(err error) error {
	switch {
	case errors.Is(err, io.EOF):
		return err
	case r.ctx.Err() != nil:
		return context.Cause(r.ctx)
	case err != nil && outOfMemory(err):
		first, _, _ := strings.Cut(err.Error(), "\n") // what follows is advice about settings, which are locked
		return fmt.Errorf("%w: %s", errMemory, first)
	}
	return err
}

// outcomeOf names how a query ended, for the metrics.
func outcomeOf(err error) string {
	switch {
	case errors.Is(err, io.EOF):
		return "ok"
	case errors.Is(err, warehouse.ErrReadOnly):
		return "refused"
	case errors.Is(err, context.DeadlineExceeded):
		return "deadline"
	case errors.Is(err, context.Canceled):
		return "canceled"
	case errors.Is(err, errMemory):
		return "memory"
	}
	return "failed"
}

// outcome is why there are no more rows, as the caller sees it: run may still be busy stopping.
func (r *reader) outcome() error {
	select {
	case <-r.done:
		return r.err
	default:
		return context.Cause(r.ctx)
	}
}

// next is warehouse.Rows.Next.
func (r *reader) next() ([]any, error) {
	if len(r.ready) == 0 && r.ended == nil {
		r.advance()
	}
	if len(r.ready) == 0 {
		return nil, r.ended
	}
	next := r.ready[0]
	r.ready = r.ready[1:]
	return next, nil
}

func (r *reader) advance() {
	select {
	case r.ready = <-r.rows:
		return
	case <-r.done:
	case <-r.stuck:
	}
	select {
	case r.ready = <-r.rows: // sent before the end
		return
	default:
	}
	r.ended = r.outcome()
	select {
	case <-r.done:
		r.truncated = r.more
	default:
	}
}

// close stops the query if it still runs, and waits for it, though not for ever.
func (r *reader) close() error {
	r.once.Do(func() {
		r.stop(nil)
		r.ready, r.ended = nil, errors.New("rows are closed")
		select {
		case <-r.done:
		case <-r.stuck:
		}
	})
	return nil
}
