package pipeline

import (
	"github.com/sparrowhq/sparrow/event"
)

// Explanation says what becomes of one item and why: the building block of sparrow trace explain.
type Explanation struct {
	Outcome          Outcome
	Event            *Event    // nil if it is rejected
	TimestampIgnored bool      // the client's timestamp is unreadable or too far from received-at
	Left             []Unknown // what stays behind: unlisted properties, and those of the wrong type or value
	Scrubbed         []Touch   // which rules found something where
	Views            []TrackerView
}

// TrackerView is what one tracker gets of an event.
type TrackerView struct {
	Tracker  string
	Decision Decision
	Event    Event   // if the decision is Send
	Outcome  Outcome // if it is Refuse
}

// Explain does what Process does, and says more about it.
func (p *Pipeline) Explain(frame uint64, index uint32, r *event.Request) []Explanation {
	var b Batch
	w := &work{p: p, batch: &b, request: r, at: event.Position{Frame: frame, Request: index}}
	copy(w.id[:], r.Id)
	var all []Explanation
	w.explain = func(timestampIgnored bool) {
		x := Explanation{Outcome: b.Outcomes[0], TimestampIgnored: timestampIgnored, Left: b.Unknown, Scrubbed: b.Touched}
		if len(b.Events) > 0 {
			x.Event = &b.Events[0]
			for _, tracker := range p.Trackers() {
				v, decision, o := p.View(tracker, x.Event)
				x.Views = append(x.Views, TrackerView{tracker, decision, v, o})
			}
		}
		all = append(all, x)
		b = Batch{}
	}
	w.run()
	return all
}
