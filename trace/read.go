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

// read takes messages out of the backlog, in order, and hands their events to the sender. It ends with t.reading.
func (l *lane) read() {
	ctx := l.t.reading
	select {
	case <-l.asked:
	case <-time.After(l.t.o.AskFirst):
	case <-ctx.Done():
	}
	earlier, err := l.kept.Recover()
	if err != nil {
		l.broken(err)
		return
	}
	if n := len(earlier.Intents); n > 0 {
		l.t.o.Telemetry.Log.Warn("calls were begun before this process, and nobody knows whether they came through: their events are sent again",
			"tracker", l.name, "count", n)
	}
	if err := l.findRetries(); err != nil {
		l.broken(err)
		return
	}
	wait := 100 * time.Millisecond
	for ctx.Err() == nil {
		l.resend()
		l.mu.Lock()
		// Events in flight may all die, so they count once one has.
		dead := l.kept.Dead()
		full := l.unshipped >= l.t.o.MaxUnshipped || dead > 0 && dead+len(l.rows) >= l.t.o.MaxDead
		next := l.next
		l.mu.Unlock()
		if full {
			select {
			case <-l.room:
			case <-l.retry:
			case <-ctx.Done():
			}
			continue
		}
		if grown := l.t.backlog.Wait(next); grown != nil {
			select {
			case <-grown:
			case <-l.retry:
			case <-ctx.Done():
			}
			continue
		}
		m, err := l.t.backlog.Read(ctx, next)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			l.stalled(err)
			l.t.rest(wait)
			wait = min(2*wait, 10*time.Second)
			continue
		}
		l.stalled(nil)
		items := l.take(m, &earlier)
		if len(items) == 0 {
			continue
		}
		if err := l.sender.Send(ctx, items); err != nil && ctx.Err() == nil {
			l.broken(err)
			return
		}
	}
}

// broken stops the lane until the process is restarted: it cannot tell what to send.
func (l *lane) broken(err error) {
	if errors.Is(err, l.t.reading.Err()) {
		return
	}
	l.mu.Lock()
	l.bug = err
	l.mu.Unlock()
	l.t.o.Telemetry.Failure("a lane cannot go on", err, slog.String("tracker", l.name))
}

// stalled notes why the lane does not read on, nil if it does. It says so once.
func (l *lane) stalled(err error) {
	l.mu.Lock()
	before := l.bug
	l.bug = err
	l.mu.Unlock()
	if err != nil && before == nil {
		l.t.o.Telemetry.Failure("a lane cannot read its backlog; trying again", err, slog.String("tracker", l.name))
	}
}

// take puts a message into the queue and returns what of it is to be sent.
func (l *lane) take(m *backlog.Message, earlier *backlog.Recovered) []tracker.Item {
	below := l.kept.State().Cursor // an earlier process shipped it
	l.mu.Lock()
	if l.stored.Compare(below) > 0 {
		below = l.stored
	}
	l.mu.Unlock()
	w := &work{number: m.Number, total: m.Total, journal: m.Journal, to: m.To, controls: m.Controls}
	var items []tracker.Item
	if l.sender == nil {
		w.rows = make([]row, 0, len(m.Outcomes))
		for i := range m.Outcomes {
			if o := &m.Outcomes[i]; !below.Covers(o.Frame, o.Position.Request) {
				w.rows = append(w.rows, row{work: w, Outcome: *o, known: true})
			}
		}
	} else {
		force := l.t.inForce.Load()
		w.rows = make([]row, 0, len(m.Events))
		for i := range m.Events {
			e := &m.Events[i]
			if below.Covers(e.Frame, e.Request) {
				continue
			}
			if o, ok := earlier.Results[e.Position]; ok {
				delete(earlier.Results, e.Position)
				w.rows = append(w.rows, row{work: w, Outcome: o, known: true})
				continue
			}
			view, decision, refused := l.view(force.pipeline, &e.Event)
			if decision == pipeline.Skip {
				continue
			}
			r := row{work: w, event: e, again: earlier.Intents[e.Position], Outcome: warehouse.Outcome{
				Position: e.Position, Timestamp: e.ReceivedAt, Build: force.build.ID, Event: e.Name,
			}}
			if decision == pipeline.Refuse {
				r.event, r.known = nil, true
				r.Outcome.Outcome, r.Reason, r.Response = string(pipeline.Rejected), string(refused.Reason), ruling(&refused)
				r.Latency = m.At - e.ReceivedAt
				l.t.metrics.result(l.name, &r.Outcome, nil)
			} else {
				items = append(items, tracker.Item{Event: view, Sink: e.Sink, Again: r.again})
			}
			w.rows = append(w.rows, r)
		}
	}

	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range w.rows {
		r := &w.rows[i]
		if !r.known {
			w.open++
			l.rows[r.Position] = r
			continue
		}
		l.payload += len(r.Request) + len(r.Response)
	}
	l.queue = append(l.queue, w)
	l.unshipped += len(w.rows)
	l.next, l.total = m.Number+1, m.Total
	if w.open == 0 {
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
		l.pending.Through = max(l.pending.Through, r.work.number)
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
