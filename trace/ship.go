package trace

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// A batch of outcomes is not larger than this, unless one request has more.
const (
	maxBatchRows  = 20_000
	maxBatchBytes = 8 << 20
)

// lastWords is how long a lane tries to ship what it has when the process stops.
const lastWords = 2 * time.Second

// ship appends outcomes to the warehouse, in order, until the lane is drained.
func (l *lane) ship() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	defer context.AfterFunc(l.drained, func() { time.AfterFunc(lastWords, cancel) })()

	wait := 200 * time.Millisecond
	ask := true
	for {
		var more bool
		var err error
		if ask {
			err = l.ask(ctx)
		}
		if err == nil {
			ask = false
			more, err = l.shipSome(ctx)
			l.validated()
			if err == nil && !more {
				err = l.shipLate(ctx)
			}
		}
		if gap := new(warehouse.GapError); errors.As(err, &gap) {
			ask = true
		}
		l.told(err)
		ended := l.drained.Err() != nil
		switch {
		case ended && (err != nil || !more):
			return
		case err != nil:
			l.pause(wait)
			wait = min(2*wait, 10*time.Second)
			continue
		}
		wait = 200 * time.Millisecond
		if more {
			continue
		}
		l.pause(l.t.untilShip(time.Now(), l.packed))
		select {
		case <-l.ripe:
		case <-l.drained.Done():
		}
	}
}

// manyRows is how many outcomes at once make a lane wait longer before it ships again.
const manyRows = 200

// untilShip is how long a lane that has just shipped so many rows waits at least before it ships again: longer under load,
// since an append costs the warehouse much the same however much is in it. All lanes wait for the same moments, so that
// the warehouse finds their batches waiting together.
func (t *Trace) untilShip(now time.Time, rows int) time.Duration {
	every := t.o.ShipEvery
	if rows >= manyRows {
		every *= 4
	}
	return now.Truncate(every).Add(every).Sub(now)
}

// pause waits d, or until the lane is drained.
func (l *lane) pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-l.drained.Done():
	}
}

// told notes what became of the last attempt, and says it once.
func (l *lane) told(err error) {
	if err != nil && l.drained.Err() != nil {
		return
	}
	l.mu.Lock()
	before := l.shipError
	l.shipError = err
	l.mu.Unlock()
	tags := []any{"tracker", l.name}
	switch journal := new(warehouse.JournalError); {
	case err == nil && before != nil:
		l.t.o.Telemetry.Log.Info("outcomes reach the warehouse again", tags...)
	case err == nil || before != nil && before.Error() == err.Error():
	case errors.As(err, &journal):
		l.t.o.Telemetry.Failure("the warehouse refuses outcomes", err, slog.String("tracker", l.name))
	case before == nil:
		l.t.o.Telemetry.Log.Warn("outcomes do not reach the warehouse; they wait in the backlog", append(tags, "error", err)...)
	}
}

// ask asks the warehouse where the lane's stages stand, and makes the backlog agree with it.
func (l *lane) ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, l.t.o.AppendTimeout)
	defer cancel()
	stage := warehouse.Stage(l.name)
	have, err := l.t.o.Warehouse.Cursor(ctx, l.t.o.Stack, 0, stage)
	if err != nil {
		return fmt.Errorf("warehouse: cursor of %s: %w", stage, err)
	}
	late, err := l.t.o.Warehouse.Cursor(ctx, l.t.o.Stack, 0, stage.Late())
	if err != nil {
		return fmt.Errorf("warehouse: cursor of %s: %w", stage.Late(), err)
	}
	state := l.kept.State()
	switch {
	case late.Frame > state.Shipped: // an answer was lost, or the backlog is new
		err = l.kept.ShipLate(ctx, late.Frame)
	case late.Frame < state.Shipped:
		l.t.o.Telemetry.Failure("the warehouse has lost corrections", fmt.Errorf("%d of %d are there", late.Frame, state.Shipped), slog.String("tracker", l.name))
		err = l.kept.RenumberLate(ctx, late.Frame)
	}
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stored = have
	first := have
	if state.Since.Compare(first) > 0 {
		first = state.Since
	}
	if first.Compare(state.Cursor) < 0 {
		l.lost = &lostRange{first, state.Cursor}
		l.t.o.Telemetry.Failure("the warehouse has lost outcomes", fmt.Errorf("[%v, %v) were there and are not", first, state.Cursor), slog.String("tracker", l.name))
	}
	select {
	case <-l.asked:
	default:
		close(l.asked)
	}
	return nil
}

// parcel is a batch and what it means for the queue.
type parcel struct {
	warehouse.Batch
	through, total uint64 // of the last message that is wholly in it, or before it
	works          int    // messages wholly in it
	rest           int    // rows of the next message that are in it
}

// pack returns what can be shipped of the front of the queue; more says that as much again may be ready, ok that there is
// anything.
func (l *lane) pack() (p parcel, more, ok bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	state := l.kept.State()
	p.Batch = warehouse.Batch{Stack: l.t.o.Stack, Stage: warehouse.Stage(l.name), From: l.stored, To: l.stored}
	p.through, p.total = state.Through, state.Total
	size := 0
	p.Outcomes = make([]warehouse.Outcome, 0, l.readyLocked())
	for _, w := range l.queue {
		if !w.final() || ok && w.journal != p.Journal {
			return p, false, ok, nil
		}
		list, err := w.outcomes()
		if err != nil {
			return p, false, false, err
		}
		for i := w.shipped; i < len(list); i++ {
			o := list[i].Outcome
			first := i == w.shipped || list[i-1].Frame != o.Frame || list[i-1].Position.Request != o.Position.Request
			if full := len(p.Outcomes) >= maxBatchRows || size >= maxBatchBytes; full && first && len(p.Outcomes) > 0 {
				if i > w.shipped {
					p.To = event.Cursor{Frame: o.Frame, Request: o.Position.Request}
					p.rest = i - w.shipped
					p.Journal = w.journal
				}
				return p, true, true, nil
			}
			size += 160 + len(o.Event) + len(o.Build) + len(o.Reason) + len(o.Request) + len(o.Response)
			p.Outcomes = append(p.Outcomes, *o)
		}
		p.Journal, p.To, p.through, p.total = w.journal, w.to, w.number, w.total
		p.Controls = append(p.Controls, w.controls...)
		p.works++
		ok = true
	}
	return p, false, ok, nil
}

// readyLocked is about how many outcomes the next batch has.
func (l *lane) readyLocked() (n int) {
	for _, w := range l.queue {
		if n >= maxBatchRows || !w.final() {
			break
		}
		for i := range w.parts {
			n += len(w.parts[i].rows) + w.parts[i].count
		}
		n -= w.shipped
	}
	return n
}

// shipSome ships one batch.
func (l *lane) shipSome(ctx context.Context) (more bool, err error) {
	p, more, ok, err := l.pack()
	if err != nil || !ok {
		return false, err
	}
	l.packed = len(p.Outcomes)
	to := p.To // the backlog's cursor; the warehouse may be farther already
	if p.To.Compare(p.From) < 0 {
		p.To = p.From
	}
	// What the warehouse has is not packed again: the rows below its cursor were left out as they were read, or are here
	// because the answer to their batch was lost.
	for len(p.Outcomes) > 0 && p.From.Covers(p.Outcomes[0].Frame, p.Outcomes[0].Position.Request) {
		p.Outcomes = p.Outcomes[1:]
	}
	if p.From != p.To || len(p.Controls) > 0 {
		began := time.Now()
		cursor, err := l.append(ctx, &p.Batch)
		l.t.metrics.append.WithLabelValues(l.name).Observe(time.Since(began).Seconds())
		if err != nil {
			return false, fmt.Errorf("warehouse: append of %s [%v, %v): %w", l.name, p.From, p.To, err)
		}
		if cursor.Compare(p.To) < 0 {
			return false, fmt.Errorf("warehouse: the cursor of %s stands at %v after an append up to %v", l.name, cursor, p.To)
		}
		l.mu.Lock()
		l.stored = cursor
		l.mu.Unlock()
	}
	// If this fails, the same rows are packed again: the warehouse will find nothing new in them.
	if err := l.kept.Ship(ctx, p.through, p.total, to); err != nil {
		return false, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for range p.works {
		l.dropLocked(len(l.queue[0].list) - l.queue[0].shipped)
		l.queue[0] = nil
		l.queue = l.queue[1:]
	}
	if p.rest > 0 {
		l.dropLocked(p.rest)
	}
	l.roomLocked()
	return more, nil
}

// append appends within AppendTimeout. A panic of the warehouse's client, which a candidate may have written, is an error.
func (l *lane) append(ctx context.Context, b *warehouse.Batch) (cursor event.Cursor, err error) {
	defer func() {
		if v := recover(); v != nil {
			l.t.o.Telemetry.Panic(v, slog.String("stage", string(b.Stage)))
			err = errBug
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, l.t.o.AppendTimeout)
	defer cancel()
	return l.t.o.Warehouse.Append(ctx, b)
}

// dropLocked lets go of the next n rows of the queue's first message.
func (l *lane) dropLocked(n int) {
	w := l.queue[0]
	for i := range n {
		o := w.list[w.shipped+i]
		l.payload -= len(o.Request) + len(o.Response)
		o.Request, o.Response = nil, nil
		o.head.unshipped--
	}
	w.shipped += n
}

// shipLate ships corrections.
func (l *lane) shipLate(ctx context.Context) error {
	for {
		first, corrections, err := l.kept.Corrections(500)
		if err != nil || len(corrections) == 0 {
			return err
		}
		s := l.t.backlog.State()
		b := &warehouse.Batch{
			Stack: l.t.o.Stack, Stage: warehouse.Stage(l.name).Late(), From: event.Cursor{Frame: first},
			To: event.Cursor{Frame: first + uint64(len(corrections))}, Outcomes: corrections,
		}
		if n := len(s.Journals); n > 0 {
			b.Journal = s.Journals[n-1].ID
		}
		cursor, err := l.append(ctx, b)
		if err != nil {
			return fmt.Errorf("warehouse: append of corrections of %s from %d: %w", l.name, first, err)
		}
		if err := l.kept.ShipLate(ctx, cursor.Frame); err != nil {
			return err
		}
	}
}
