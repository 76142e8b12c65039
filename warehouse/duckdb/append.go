package duckdb

import (
	"context"
	"fmt"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
	"github.com/sparrowhq/sparrow/warehouse/rules"
)

// Append implements warehouse.Appender.
func (e *Engine) Append(ctx context.Context, b *warehouse.Batch) (event.Cursor, error) {
	if err := ctx.Err(); err != nil {
		return event.Cursor{}, err
	}
	if err := rules.Check(b); err != nil {
		return event.Cursor{}, fmt.Errorf("warehouse: %w", err)
	}
	w := e.writers[b.Stack]
	p := &pending{batch: b, bytes: b.Size(), done: make(chan outcome, 1)}
	if err := w.queue.put(p); err != nil {
		return event.Cursor{}, err
	}
	select {
	case o := <-p.done:
		return o.cursor, o.err
	case <-ctx.Done():
	}
	if w.queue.abandon(p) {
		return event.Cursor{}, ctx.Err()
	}
	// The writer reads the batch's rows, which are the caller's again once we return: wait for the end of its
	// transaction, which may still bring the answer.
	o := <-p.done
	if o.err != nil {
		return event.Cursor{}, fmt.Errorf("%w: %w", ctx.Err(), o.err)
	}
	return o.cursor, nil
}
