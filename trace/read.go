package trace

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/trace/backlog"
	"github.com/sparrowhq/sparrow/trace/pipeline"
	"github.com/sparrowhq/sparrow/trace/tracker"
	"github.com/sparrowhq/sparrow/warehouse"
)

// begin finds out what an earlier process left, and starts the heads.
func (l *lane) begin() {
	ctx := l.t.reading
	select {
	case <-l.asked:
	case <-time.After(l.t.o.AskFirst):
	case <-ctx.Done():
	}
	found, err := l.kept.Recover()
	if err != nil {
		l.broken(&l.bug, err)
		return
	}
	earlier := &recovered{Recovered: found}
	if n := len(earlier.Intents); n > 0 {
		l.t.o.Telemetry.Log.Warn("calls were begun before this process, and nobody knows whether they came through: their events are sent again",
			"tracker", l.name, "count", n)
	}
	if err := l.findRetries(); err != nil {
		l.broken(&l.bug, err)
		return
	}
	for _, h := range l.heads {
		l.reader.Go(func() { l.guarded(&h.bug, func() { l.read(h, earlier) }) })
	}
}

// read takes messages out of the backlog, in order, and hands h's events to the sender. It ends with t.reading.
func (l *lane) read(h *head, earlier *recovered) {
	ctx := l.t.reading
	wait := 100 * time.Millisecond
	for ctx.Err() == nil {
		l.resend(h)
		l.mu.Lock()
		l.passLocked(h)
		full := l.fullLocked(h)
		next := h.next
		l.mu.Unlock()
		if full {
			select {
			case <-h.room:
			case <-h.retry:
			case <-ctx.Done():
			}
			continue
		}
		if grown := l.t.backlog.Wait(next); grown != nil {
			select {
			case <-grown:
			case <-h.retry:
			case <-ctx.Done():
			}
			continue
		}
		m, err := l.t.backlog.Read(ctx, next)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			l.stalled(h, err)
			l.t.rest(wait)
			wait = min(2*wait, 10*time.Second)
			continue
		}
		l.stalled(h, nil)
		items := l.take(h, m, earlier)
		if len(items) == 0 {
			continue
		}
		if err := l.sender.Send(ctx, items); err != nil && ctx.Err() == nil {
			l.broken(&h.bug, err)
			return
		}
	}
}

// broken stops a head until the process is restarted: it cannot tell what to send. It is noted in noted, which l.mu guards.
func (l *lane) broken(noted *error, err error) {
	if errors.Is(err, l.t.reading.Err()) {
		return
	}
	l.mu.Lock()
	*noted = err
	l.mu.Unlock()
	l.t.o.Telemetry.Failure("a lane cannot go on", err, slog.String("tracker", l.name))
}

// stalled notes why h does not read on, nil if it does.
func (l *lane) stalled(h *head, err error) {
	l.mu.Lock()
	h.bug = err
	l.mu.Unlock()
	if err != nil {
		h.unread.Failed(l.t.o.Telemetry, "a lane cannot read its backlog", err, slog.String("tracker", l.name))
	} else {
		h.unread.Over(l.t.o.Telemetry, "a lane reads its backlog again", slog.String("tracker", l.name))
	}
}

// take puts h's part of a message into the queue and returns what of it is to be sent.
func (l *lane) take(h *head, m *backlog.Message, earlier *recovered) []tracker.Item {
	below := l.kept.State().Cursor // an earlier process shipped it
	l.mu.Lock()
	if l.stored.Compare(below) > 0 {
		below = l.stored
	}
	l.mu.Unlock()
	var rows []row
	var items []tracker.Item
	if l.sender == nil {
		rows = make([]row, 0, len(m.Outcomes))
		for i := range m.Outcomes {
			if o := &m.Outcomes[i]; !below.Covers(o.Frame, o.Position.Request) {
				rows = append(rows, row{Outcome: *o, known: true})
			}
		}
	} else {
		force := l.t.inForce.Load()
		rows = make([]row, 0, len(m.Events))
		for i := range m.Events {
			e := &m.Events[i]
			if e.Sink != h.sink || below.Covers(e.Frame, e.Request) {
				continue
			}
			o, known, begun := earlier.of(e.Position)
			if known {
				rows = append(rows, row{Outcome: o, known: true})
				continue
			}
			view, decision, refused := l.view(force.pipeline, &e.Event)
			if decision == pipeline.Skip {
				continue
			}
			r := row{event: e, again: begun, Outcome: warehouse.Outcome{
				Position: e.Position, Timestamp: e.ReceivedAt, Build: force.build.ID, Event: e.Name,
			}}
			if decision == pipeline.Refuse {
				r.event, r.known = nil, true
				r.Outcome.Outcome, r.Reason, r.Response = string(pipeline.Rejected), string(refused.Reason), ruling(&refused)
				r.Latency = m.At - e.ReceivedAt
				l.t.metrics.result(l.name, &r.Outcome, nil)
			} else {
				if items == nil {
					items = make([]tracker.Item, 0, len(m.Events)-i)
				}
				items = append(items, tracker.Item{Event: view, Sink: e.Sink, Again: r.again})
			}
			rows = append(rows, r)
		}
	}

	l.mu.Lock()
	defer l.mu.Unlock()
	w := l.workLocked(m, below)
	p := &w.parts[h.index]
	p.read, p.rows = true, rows
	for i := range rows {
		r := &rows[i]
		r.part = p
		if !r.known {
			p.open++
			l.rows[r.Position] = r
			continue
		}
		l.payload += len(r.Request) + len(r.Response)
	}
	h.flying += p.open
	h.unshipped += len(rows)
	h.next = m.Number + 1
	w.unread = 0
	for i := range w.parts {
		if w.parts[i].read {
			continue
		}
		for j := range m.Events {
			if e := &m.Events[j]; e.Sink == w.parts[i].head.sink && !below.Covers(e.Frame, e.Request) {
				if w.unread++; w.unread == 1 {
					w.unreadAt = e.ReceivedAt
				}
			}
		}
	}
	if w.final() {
		signal(l.ripe)
	}
	return items
}

// view is the pipeline's View. A bug in it costs the event, which is rejected for it, and nothing else.
func (l *lane) view(p *pipeline.Pipeline, e *pipeline.Event) (view pipeline.Event, decision pipeline.Decision, refused pipeline.Outcome) {
	defer func() {
		if v := recover(); v != nil {
			l.t.o.Telemetry.Panic(v, slog.String("tracker", l.name), slog.String("position", e.Position.String()))
			decision = pipeline.Refuse
			refused = pipeline.Outcome{Position: e.Position, Name: e.Name, Result: pipeline.Rejected, Reason: pipeline.Bug}
		}
	}()
	return p.View(l.name, e)
}

// before notes that a call with events at positions is about to be made. It is the sender's Before.
func (l *lane) before(ctx context.Context, positions []event.Position) error {
	done := make(chan error, 1)
	l.mu.Lock()
	for _, p := range positions {
		if one := l.resending[p]; one != nil {
			one.letter.Intent = true
			l.pending.Letters = append(l.pending.Letters, one.letter)
			continue
		}
		r := l.rows[p]
		if r == nil {
			l.mu.Unlock()
			return fmt.Errorf("%v is not on its way to %s", p, l.name)
		}
		l.pending.Intents = append(l.pending.Intents, p)
		l.pending.Through = max(l.pending.Through, r.part.work.number)
	}
	l.waiting = append(l.waiting, done)
	l.mu.Unlock()
	signal(l.known)
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
