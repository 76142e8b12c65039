package backlog

import (
	"fmt"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/trace/pipeline"
	"github.com/sparrowhq/sparrow/trace/tracker"
	"github.com/sparrowhq/sparrow/warehouse"
)

// messageFormat is the format of messages that this build writes, and the newest it reads.
const messageFormat = 1

// Event is an accepted event and where its frame's role sends it.
type Event struct {
	pipeline.Event
	Sink tracker.Sink
}

// Message is what the pipeline made of [From, To), or of a part of a delivery that was cut between requests.
type Message struct {
	Number   uint64 // from 1, without gaps; given by Append
	From, To event.Cursor
	Journal  string // whose positions these are
	At       int64  // when it was taken in, microseconds since the epoch
	Build    string // that made it
	Total    uint64 // accepted events of this message and of all before it
	Controls []*event.ControlEntry
	Outcomes []warehouse.Outcome // of stage trace, by position: one for each item
	Events   []Event             // the accepted ones, by position
}

// Encoder builds the encoded form of one message after another, event by event.
type Encoder struct {
	outcomes, events   writer
	nOutcomes, nEvents int
	scratch            []byte
}

// Size is how many bytes were added since the last Encode.
func (e *Encoder) Size() int { return len(e.outcomes.buf) + len(e.events.buf) }

// Count is how many outcomes were added since the last Encode.
func (e *Encoder) Count() int { return e.nOutcomes }

// Outcome adds an outcome of stage trace.
func (e *Encoder) Outcome(o *warehouse.Outcome) {
	e.outcomes.outcome(o)
	e.nOutcomes++
}

// Event adds an accepted event.
func (e *Encoder) Event(one *pipeline.Event, sink tracker.Sink) {
	e.scratch = one.Append(e.scratch[:0])
	e.events.byte(sinkByte(sink))
	e.events.bytes(e.scratch)
	e.nEvents++
}

// Encode returns the message m with what was added instead of its Outcomes and Events, and begins anew.
func (e *Encoder) Encode(m *Message) []byte {
	w := writer{buf: make([]byte, 0, e.Size()+160)}
	w.byte(messageFormat)
	w.cursor(m.From)
	w.cursor(m.To)
	w.text(m.Journal)
	w.int(m.At)
	w.text(m.Build)
	w.uint(m.Total)
	w.uint(uint64(len(m.Controls)))
	for _, c := range m.Controls {
		w.uint(c.Sequence)
		w.bytes(c.Record)
	}
	w.uint(uint64(e.nOutcomes))
	w.bytes(e.outcomes.buf)
	w.uint(uint64(e.nEvents))
	w.buf = append(w.buf, e.events.buf...)
	clear(e.outcomes.words)
	e.outcomes.buf, e.events.buf, e.nOutcomes, e.nEvents = e.outcomes.buf[:0], e.events.buf[:0], 0, 0
	return w.buf
}

func sinkByte(s tracker.Sink) byte {
	if s == tracker.Production {
		return 0
	}
	return 1
}

// DecodeMessage reads what Encode returned. The events' property values are parts of data.
func DecodeMessage(data []byte) (*Message, error) {
	r := &reader{buf: data}
	if format := r.byte(); r.err == nil && format != messageFormat {
		return nil, fmt.Errorf("message of format %d: this build reads %d; run the newer build", format, messageFormat)
	}
	m := &Message{From: r.cursor(), To: r.cursor(), Journal: r.text(), At: r.int(), Build: r.text(), Total: r.uint()}
	for range r.count(2) {
		m.Controls = append(m.Controls, &event.ControlEntry{Sequence: r.uint(), Record: r.bytes()})
	}
	n := r.uint()
	outcomes := &reader{buf: r.slice()}
	if n > uint64(len(outcomes.buf)/minOutcome) {
		r.fail()
		n = 0
	}
	m.Outcomes = make([]warehouse.Outcome, 0, n)
	for range n {
		m.Outcomes = append(m.Outcomes, outcomes.outcome())
	}
	if err := outcomes.end("outcomes"); err != nil {
		return nil, err
	}
	count := r.count(2)
	m.Events = make([]Event, 0, count)
	for range count {
		sink := tracker.Production
		switch r.byte() {
		case 0:
		case 1:
			sink = tracker.Staging
		default:
			r.fail()
		}
		one, err := pipeline.DecodeEvent(r.slice())
		if err != nil {
			return nil, fmt.Errorf("message of [%v, %v): %w", m.From, m.To, err)
		}
		m.Events = append(m.Events, Event{one, sink})
	}
	if err := r.end("message"); err != nil {
		return nil, err
	}
	return m, nil
}
