package trace

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/sparrowhq/sparrow/delivery"
	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/telemetry"
	"github.com/sparrowhq/sparrow/trace/backlog"
	"github.com/sparrowhq/sparrow/trace/pipeline"
	"github.com/sparrowhq/sparrow/trace/tracker"
	"github.com/sparrowhq/sparrow/warehouse"
)

// ReasonDuplicate is why an event is rejected whose messageId was seen within 24 h before it, at a lower position.
const ReasonDuplicate = "duplicate messageId"

// A delivery with more than this becomes several messages, cut between requests: lanes hold messages in memory whole.
const (
	maxMessageBytes    = 512 << 10
	maxMessageOutcomes = 2000
)

// intake is the Receiver of deliveries. Apply is called by one goroutine at a time.
type intake struct {
	t       *Trace
	encoder backlog.Encoder
	batch   pipeline.Batch
}

// Build implements delivery.Receiver.
func (in *intake) Build() event.Build { return in.t.Build() }

// Cursor implements delivery.Receiver.
func (in *intake) Cursor(_ context.Context, run uint64) (event.Cursor, error) {
	if run != 0 {
		return event.Cursor{}, errRun(run)
	}
	s := in.t.backlog.State()
	if !s.Begun {
		return event.Cursor{}, in.t.beginning()
	}
	return s.Cursor, nil
}

func errRun(run uint64) error {
	return fmt.Errorf("trace: run %d: only the traffic itself, run 0, goes to trackers", run)
}

// beginning says why the backlog has not begun.
func (t *Trace) beginning() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.begin
}

// Apply makes durable what becomes of a delivery, and returns the intake cursor.
func (in *intake) Apply(ctx context.Context, d *event.Delivery, _ []byte) (event.Cursor, error) {
	t := in.t
	if d.Run != 0 {
		return event.Cursor{}, errRun(d.Run)
	}
	if t.reading.Err() != nil {
		return event.Cursor{}, fmt.Errorf("%w: trace is stopping", warehouse.ErrBusy)
	}
	s := t.backlog.State()
	if !s.Begun {
		return event.Cursor{}, fmt.Errorf("%w: %w", warehouse.ErrBusy, t.beginning())
	}
	journals, err := admitJournal(s, d)
	if err != nil {
		return event.Cursor{}, err
	}
	if d.From().Compare(s.Cursor) > 0 {
		return event.Cursor{}, &warehouse.GapError{Have: s.Cursor, From: d.From()}
	}
	controls := newControls(d.Controls, s.Head)
	if d.To().Compare(s.Cursor) <= 0 && len(controls) == 0 {
		return s.Cursor, nil
	}
	if err := t.backlog.Accepting(); err != nil {
		return event.Cursor{}, fmt.Errorf("%w: %w", warehouse.ErrBusy, err)
	}

	defer in.batch.Reset() // no delivery's bytes are kept alive
	began := time.Now()
	made := &making{in: in, force: t.inForce.Load(), d: d, from: s.Cursor, controls: controls, tally: tally{rejected: map[string]int{}}}
	made.add = backlog.Addition{Cursor: s.Cursor, Journals: journals, Head: s.Head, Total: s.Total}
	if d.To().Compare(s.Cursor) > 0 {
		made.add.Cursor = d.To()
	}
	if n := len(controls); n > 0 {
		made.add.Head = controls[n-1].Sequence
	}
	if err := made.all(); err != nil {
		in.encoder.Encode(&backlog.Message{}) // what was added is not wanted
		t.backlog.Forget()
		return event.Cursor{}, err
	}
	t.metrics.process.Observe(time.Since(began).Seconds())
	// Once begun it is seen through: a caller that goes away must not leave it unknown what is in the window of messageIds.
	if err := t.backlog.Append(context.WithoutCancel(ctx), made.add); err != nil {
		if errors.Is(err, backlog.ErrClosed) {
			err = fmt.Errorf("%w: %w", warehouse.ErrBusy, err)
		}
		return event.Cursor{}, err
	}
	t.metrics.took(&made.tally)
	t.unknown.Add(made.unknown)
	t.refused.Add(made.refused)
	return made.add.Cursor, nil
}

// newControls are those behind head: others are in the backlog already.
func newControls(all []*event.ControlEntry, head uint64) []*event.ControlEntry {
	for i, c := range all {
		if c.Sequence > head {
			return all[i:]
		}
	}
	return nil
}

// admitJournal checks that the delivery's frames cannot collide with those of another journal, as the warehouse does, and
// returns the journals known with it.
func admitJournal(s backlog.State, d *event.Delivery) ([]warehouse.Journal, error) {
	n := len(s.Journals)
	if n > 0 && s.Journals[n-1].ID == d.Journal {
		return s.Journals, nil
	}
	first := d.FromFrame
	for _, c := range d.Controls {
		if r, err := event.DecodeRecord(c.Sequence, c.Record); err == nil && r.Kind == event.Initial {
			first = max(first, r.Sequence)
		}
	}
	if len(d.Frames) > 0 && d.Frames[0].Sequence < first {
		first = max(d.Frames[0].Sequence, d.FromFrame)
	}
	known := slices.Clone(s.Journals)
	if n > 0 {
		last := &known[n-1]
		last.Highest = highest(s.Cursor)
		most := uint64(0)
		again := false
		for _, j := range known {
			most = max(most, j.Highest)
			again = again || j.ID == d.Journal
		}
		if again || first <= most {
			return nil, &warehouse.JournalError{Known: last.ID, Got: d.Journal, Highest: most, First: first}
		}
	}
	return append(known, warehouse.Journal{ID: d.Journal, First: first}), nil
}

// highest is the last frame of which the cursor covers anything.
func highest(c event.Cursor) uint64 {
	if c.Request > 0 {
		return c.Frame
	}
	return c.Last()
}

// tally is what a delivery will add to the metrics once it is durable.
type tally struct {
	requests, accepted int
	rejected           map[string]int
}

// making is a delivery on its way into messages.
type making struct {
	in       *intake
	add      backlog.Addition
	force    *inForce
	d        *event.Delivery
	from     event.Cursor // of the message under construction
	controls []*event.ControlEntry
	unknown  []pipeline.Unknown
	refused  []pipeline.Unknown
	tally    tally
}

// all makes the messages of the whole delivery.
func (m *making) all() error {
	have := m.from
	for _, f := range m.d.Frames {
		if event.AfterFrame(f.Sequence).Compare(have) <= 0 {
			continue
		}
		frame, err := event.DecodeFrame(f.Data)
		if err != nil {
			return &delivery.Failed{Frame: f.Sequence, Err: err}
		}
		if to := m.d.To(); f.Sequence == to.Frame && int64(to.Request) > int64(len(frame.Requests)) {
			return &delivery.Failed{Frame: f.Sequence, Request: to.Request - 1, Err: fmt.Errorf("the frame has only %d requests", len(frame.Requests))}
		}
		// The role that the mirror stamped on the frame when it handed it over, not today's: it decides for good whose
		// project the frame's events go to.
		sink := tracker.Staging
		if f.Live == string(m.in.t.o.Stack) {
			sink = tracker.Production
		}
		for i, r := range frame.Requests {
			request := uint32(i)
			if have.Covers(f.Sequence, request) || !m.d.Contains(f.Sequence, request) {
				continue
			}
			if m.in.encoder.Size() > maxMessageBytes || m.in.encoder.Count() > maxMessageOutcomes {
				m.message(event.Cursor{Frame: f.Sequence, Request: request})
			}
			if err := m.request(f.Sequence, request, r, sink); err != nil {
				return err
			}
		}
	}
	m.message(m.add.Cursor)
	return nil
}

// message ends the message under construction at to.
func (m *making) message(to event.Cursor) {
	m.add.Messages = append(m.add.Messages, m.in.encoder.Encode(&backlog.Message{
		From: m.from, To: to, Journal: m.d.Journal, At: time.Now().UnixMicro(), Build: m.force.build.ID, Total: m.add.Total, Controls: m.controls,
	}))
	m.from, m.controls = to, nil
}

// request adds what becomes of one request. A panic is this request's, and costs the delivery, not the process.
func (m *making) request(frame uint64, request uint32, r *event.Request, sink tracker.Sink) (err error) {
	defer func() {
		if v := recover(); v != nil {
			x := telemetry.Exchange{Method: http.MethodPost, Header: journaled(r), Way: []telemetry.Step{{At: time.UnixMicro(r.ReceivedAt), Stage: "journal", What: "received"}}}
			m.in.t.o.Telemetry.PanicOf(v, x, slog.Uint64("frame", frame), slog.Int("request", int(request)))
			err = &delivery.Failed{Frame: frame, Request: request, Panic: true}
		}
	}()
	b := &m.in.batch
	b.Reset()
	m.force.pipeline.Process(frame, request, r, b)
	now := time.Now().UnixMicro()
	events := b.Events
	for i := range b.Outcomes {
		from := &b.Outcomes[i]
		o := warehouse.Outcome{
			Position: from.Position, Timestamp: r.ReceivedAt, Build: m.force.build.ID, Event: from.Name, Outcome: string(from.Result),
			Reason: string(from.Reason), Latency: now - r.ReceivedAt,
		}
		if from.Result == pipeline.Accepted {
			e := &events[0]
			events = events[1:]
			if e.Key != e.ID && m.in.t.backlog.Seen(e.Key, r.ReceivedAt) {
				o.Outcome, o.Reason = string(pipeline.Rejected), ReasonDuplicate
			} else {
				m.in.encoder.Event(e, sink)
				m.add.Total++
			}
		} else {
			o.Response = ruling(from)
			if from.Reason == pipeline.UnknownKey || from.Reason == pipeline.WrongOrigin {
				m.refused = append(m.refused, pipeline.Unknown{Event: from.Source, Reason: from.Reason})
			}
		}
		m.in.encoder.Outcome(&o)
		if o.Outcome == string(pipeline.Accepted) {
			m.tally.accepted++
		} else {
			m.tally.rejected[o.Reason]++
		}
	}
	m.tally.requests++
	m.unknown = append(m.unknown, b.Unknown...)
	for _, f := range b.Faults {
		m.in.t.o.Telemetry.Failure("the pipeline met a bug", fmt.Errorf("at %v: %s", f.Position, f.Stack),
			slog.String("stage", string(warehouse.Trace)), slog.String("position", f.Position.String()))
	}
	return nil
}

// journaled are the client's headers, of which a report shows what the settings list.
func journaled(r *event.Request) http.Header {
	h := http.Header{}
	for _, one := range r.Headers {
		h.Add(one.Name, string(one.Value))
	}
	return h
}

// ruling names the rule that rejected an event, and what was probably meant.
func ruling(o *pipeline.Outcome) []byte {
	switch {
	case o.Rule == "" && o.Hint == "":
		return nil
	case o.Hint == "":
		return []byte(o.Rule)
	}
	return []byte(o.Rule + ": " + o.Hint)
}
