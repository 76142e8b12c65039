package trace

import (
	"encoding/json"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/trace/tracker"
	"github.com/sparrowhq/sparrow/warehouse"
)

// What the vendor's validation endpoint says of an event becomes a correction of its outcome at the tracker: the same
// outcome, with a higher revision and the messages as its answer. Reason, digest and all else that compare looks at stay,
// so a stack whose check got through does not differ from one whose check did not. See docs/decisions/0017.

// validations joins, for the events of the sample, the result and what the endpoint said: either may come first. It is
// part of lane, and guarded by its mu.
type validations struct {
	open  map[event.Position]*validation
	ready []*validation // with messages, waiting until the warehouse has the outcome that they correct
}

type validation struct {
	outcome  *warehouse.Outcome // nil: not known yet
	said     bool
	warnings []tracker.Warning
}

// Bounds of what one event's validation keeps, and of how many are open: the tracker's queue has room for 256.
const (
	maxValidations = 1024
	maxMessages    = 10
)

// at returns the open validation of the event at p; nil if there are too many, so that this one is left out.
func (v *validations) at(p event.Position) *validation {
	if one := v.open[p]; one != nil {
		return one
	}
	if len(v.open)+len(v.ready) >= maxValidations {
		return nil
	}
	if v.open == nil {
		v.open = map[event.Position]*validation{}
	}
	v.open[p] = &validation{}
	return v.open[p]
}

// joinLocked takes an event out whose two halves are there, and keeps it if there is something to correct.
func (l *lane) joinLocked(p event.Position, one *validation) {
	if one.outcome == nil || !one.said {
		return
	}
	delete(l.validations.open, p)
	if len(one.warnings) == 0 || one.outcome.Outcome != string(tracker.Delivered) {
		return
	}
	l.validations.ready = append(l.validations.ready, one)
	signal(l.ripe)
}

// validatingLocked notes the outcome of an event that the endpoint is asked about.
func (l *lane) validatingLocked(o *warehouse.Outcome) {
	if one := l.validations.at(o.Position); one != nil {
		kept := *o
		one.outcome = &kept
		l.joinLocked(o.Position, one)
	}
}

// checked takes what the endpoint said. It is the sender's Checked.
func (l *lane) checked(c tracker.Checked) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if one := l.validations.at(c.Position); one != nil {
		one.said, one.warnings = true, c.Warnings
		l.joinLocked(c.Position, one)
	}
}

// validated makes corrections of what is known about outcomes that the warehouse has. They are settled like others.
func (l *lane) validated() {
	select {
	case <-l.asked: // else they could get numbers that the warehouse has given
	default:
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	waiting := l.validations.ready[:0]
	for _, one := range l.validations.ready {
		o := one.outcome
		if !l.stored.Covers(o.Frame, o.Position.Request) {
			waiting = append(waiting, one)
			continue
		}
		o.Revision++
		o.Response = messages(one.warnings)
		l.pending.Corrections = append(l.pending.Corrections, *o)
		l.t.metrics.validated.WithLabelValues(l.name).Inc()
		signal(l.known)
	}
	clear(l.validations.ready[len(waiting):])
	l.validations.ready = waiting
}

// messages is the answer of a validated event: {"validation":[{"code":…,"field":…,"text":…}]}.
func messages(warnings []tracker.Warning) []byte {
	type message struct {
		Code  string `json:"code"`
		Field string `json:"field"`
		Text  string `json:"text"`
	}
	var list []message
	for _, w := range warnings[:min(len(warnings), maxMessages)] {
		list = append(list, message(w))
	}
	text, err := json.Marshal(map[string]any{"validation": list})
	if err != nil {
		return nil // strings always can be written
	}
	return text
}
