package dispatcher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/event/body"
	"github.com/sparrowhq/sparrow/warehouse"
)

// appendRaw makes the delivery's rows durable in the warehouse and returns the raw stage's cursor, which then is not
// below the delivery's end. It is called by one goroutine at a time.
//
// A delivery within MaxAppendBytes and MaxAppendRows is appended whole or not at all. A larger one is appended in
// parts, cut between requests; if a later part fails, the cursor stands behind the earlier ones.
func (d *Dispatcher) appendRaw(ctx context.Context, dl *event.Delivery) (event.Cursor, error) {
	to := dl.To()
	from := later(dl.From(), d.hint(dl.Run, dl.Journal))
	if from.Compare(to) >= 0 && len(dl.Controls) == 0 {
		// Probably applied before: asking is cheaper than doing it again.
		have, err := d.o.Warehouse.Cursor(ctx, d.o.Stack, dl.Run, warehouse.Raw)
		if err != nil {
			return event.Cursor{}, fmt.Errorf("warehouse: cursor: %w", err)
		}
		d.stands(dl.Run, have)
		if have.Compare(to) >= 0 {
			return have, nil
		}
		from = later(dl.From(), have)
	}
	if from.Compare(to) > 0 {
		from = to
	}

	b := &batch{
		d: d, run: dl.Run, began: time.Now(),
		Batch: warehouse.Batch{Stack: d.o.Stack, Run: dl.Run, Stage: warehouse.Raw, Journal: dl.Journal, From: from, Controls: dl.Controls, Rows: d.rows[:0]},
	}
	defer func() {
		clear(b.Rows[:cap(b.Rows)]) // no delivery's bytes are kept alive
		d.rows = b.Rows[:0]
	}()
	for _, f := range dl.Frames {
		if event.AfterFrame(f.Sequence).Compare(from) <= 0 {
			continue
		}
		frame, err := event.DecodeFrame(f.Data)
		if err != nil {
			return event.Cursor{}, &Failed{Frame: f.Sequence, Err: err}
		}
		if f.Sequence == to.Frame && int64(to.Request) > int64(len(frame.Requests)) {
			return event.Cursor{}, &Failed{Frame: f.Sequence, Request: to.Request - 1, Err: fmt.Errorf("the frame has only %d requests", len(frame.Requests))}
		}
		for i, r := range frame.Requests {
			request := uint32(i)
			if from.Covers(f.Sequence, request) || !dl.Contains(f.Sequence, request) {
				continue
			}
			if err := b.add(ctx, f.Sequence, request, r); err != nil {
				return event.Cursor{}, err
			}
		}
	}
	return b.flush(ctx, to)
}

func later(a, b event.Cursor) event.Cursor {
	if a.Compare(b) < 0 {
		return b
	}
	return a
}

// batch is a warehouse.Batch under construction.
type batch struct {
	warehouse.Batch
	d     *Dispatcher
	run   uint64
	bytes int // of Rows, about
	tally tally
	began time.Time
}

// add adds the rows of one request. If that is too much for one append, what was added before is appended first.
func (b *batch) add(ctx context.Context, frame uint64, request uint32, r *event.Request) error {
	before := len(b.Rows)
	made, err := b.make(frame, request, r)
	if err != nil {
		return err
	}
	const fixed = 160 // a row without what it points to
	size := 0
	fresh := b.Rows[before:]
	for i := range fresh {
		size += fixed + len(fresh[i].EventID) + len(fresh[i].Event) + len(fresh[i].Data) + len(fresh[i].Context)
	}
	if before > 0 && (b.bytes+size > b.d.o.MaxAppendBytes || len(b.Rows) > b.d.o.MaxAppendRows) {
		b.Rows = b.Rows[:before]
		if _, err := b.flush(ctx, event.Cursor{Frame: frame, Request: request}); err != nil {
			return err
		}
		b.Rows = append(b.Rows, fresh...)
	}
	b.bytes += size
	b.tally.requests++
	b.tally.received += len(r.Body)
	b.tally.decoded += made.decoded
	if made.rejected == "" {
		b.tally.accepted += len(fresh)
		return nil
	}
	if b.tally.rejected == nil {
		b.tally.rejected = map[body.Reason]int{}
	}
	b.tally.rejected[made.rejected]++
	return nil
}

// make appends the rows of one request to Rows. A panic is this request's, and costs the delivery, not the process.
func (b *batch) make(frame uint64, request uint32, r *event.Request) (m made, err error) {
	defer func() {
		if v := recover(); v != nil {
			b.d.o.Telemetry.Panic(v, slog.Uint64("frame", frame), slog.Int("request", int(request)))
			err = &Failed{Frame: frame, Request: request, Panic: true}
		}
	}()
	b.Rows, m = b.d.rowsOf(b.Rows, frame, request, r)
	return m, nil
}

// flush appends what was added, as everything up to to, and starts anew from there. It returns the stage's cursor.
func (b *batch) flush(ctx context.Context, to event.Cursor) (event.Cursor, error) {
	d := b.d
	b.To = to
	d.metrics.decode.Observe(time.Since(b.began).Seconds())
	began := time.Now()
	cursor, err := d.append(ctx, &b.Batch)
	b.began = time.Now()
	d.metrics.append.Observe(b.began.Sub(began).Seconds())
	var gap *warehouse.GapError
	switch {
	case err == nil && cursor.Compare(to) < 0:
		err = fmt.Errorf("warehouse: the cursor stands at %v after an append up to %v", cursor, to)
		fallthrough
	case err != nil:
		if errors.As(err, &gap) {
			d.stands(b.run, gap.Have)
		}
		return event.Cursor{}, err
	}
	d.appended(b.run, b.Journal, cursor)
	d.metrics.add(b.tally)
	if b.run == 0 {
		d.metrics.frame.Set(float64(cursor.Frame))
	}
	clear(b.Rows)
	b.Rows, b.bytes, b.tally, b.From, b.Controls = b.Rows[:0], 0, tally{}, to, nil
	return cursor, nil
}

// append appends within AppendTimeout. A panic of the warehouse's client, which a candidate may have written, costs the
// delivery, not the process.
func (d *Dispatcher) append(ctx context.Context, b *warehouse.Batch) (cursor event.Cursor, err error) {
	defer func() {
		if v := recover(); v != nil {
			d.o.Telemetry.Panic(v, slog.String("stage", string(b.Stage)), slog.Uint64("frame", b.From.Frame), slog.Int("request", int(b.From.Request)))
			err = &Failed{Frame: b.From.Frame, Request: b.From.Request, Panic: true}
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, d.o.AppendTimeout)
	defer cancel()
	if cursor, err = d.o.Warehouse.Append(ctx, b); err != nil {
		err = fmt.Errorf("warehouse: append of [%v, %v): %w", b.From, b.To, err)
	}
	return cursor, err
}
