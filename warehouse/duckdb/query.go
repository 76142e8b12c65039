package duckdb

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sparrowhq/sparrow/warehouse"
)

// Query implements warehouse.Reader.
func (e *Engine) Query(ctx context.Context, q warehouse.Query) (*warehouse.Rows, error) {
	wait := e.o.MaxWait
	if q.MaxWait != "" {
		asked, err := time.ParseDuration(q.MaxWait)
		if err != nil || asked <= 0 {
			return nil, fmt.Errorf("maxWait %q: want a duration such as 10s", q.MaxWait)
		}
		wait = min(wait, asked)
	}
	limit := q.Limit
	if limit <= 0 {
		limit = e.o.Limit
	}
	ctx, stop := context.WithCancelCause(ctx)
	deadline := time.AfterFunc(wait, func() { stop(fmt.Errorf("query stopped after %s: %w: %s", wait, context.DeadlineExceeded, adviceMore)) })
	context.AfterFunc(ctx, func() { deadline.Stop() })
	if err := e.enter(ctx); err != nil {
		stop(nil)
		return nil, err
	}
	r := &reader{
		e: e, ctx: ctx, stop: stop, query: q, limit: limit,
		opened: make(chan struct{}), rows: make(chan []row, 1), done: make(chan struct{}), stuck: make(chan struct{}),
	}
	context.AfterFunc(ctx, func() { time.AfterFunc(stopGrace, func() { close(r.stuck) }) })
	e.track(r, true)
	go r.run()
	select {
	case <-r.opened:
	case <-r.done:
	case <-r.stuck:
	}
	select {
	case <-r.opened:
		return &warehouse.Rows{Columns: r.columns, Next: r.next, Truncated: func() bool { return r.truncated }, Close: r.close}, nil
	default:
		defer stop(nil)
		return nil, r.outcome()
	}
}

// enter waits for one of the places for queries.
func (e *Engine) enter(ctx context.Context) error {
	e.mu.Lock()
	closed := e.closed
	if !closed {
		e.reading.Add(1)
	}
	e.mu.Unlock()
	if closed {
		return ErrClosed
	}
	select {
	case e.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		e.reading.Done()
		if cause := context.Cause(ctx); !errors.Is(cause, context.DeadlineExceeded) {
			return fmt.Errorf("waiting for one of %d places for queries: %w", cap(e.slots), cause)
		}
		return fmt.Errorf("other queries hold all %d places, and none came free in time: %w: %s", cap(e.slots), context.DeadlineExceeded, advicePlaces)
	case <-e.queries.Done():
		e.reading.Done()
		return ErrClosed
	}
}

// leave gives the place back.
func (e *Engine) leave() {
	<-e.slots
	e.reading.Done()
}
