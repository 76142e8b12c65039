package trace

import (
	"context"
	"errors"
	"fmt"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/trace/backlog"
	"github.com/sparrowhq/sparrow/trace/pipeline"
	"github.com/sparrowhq/sparrow/trace/tracker"
)

// Status is how a trace is doing, as GET /v1/status answers.
type Status struct {
	Stack     event.Stack   `json:"stack"`
	Build     event.Build   `json:"build"`
	Cursor    event.Cursor  `json:"cursor"`  // everything below it was taken in
	Events    uint64        `json:"events"`  // accepted since the backlog began
	Backlog   backlog.Usage `json:"backlog"` //
	Forgotten uint64        `json:"forgottenMessageIds"`
	Accepting string        `json:"accepting,omitempty"` // why deliveries are refused; empty: they are not
	Columns   string        `json:"columns,omitempty"`   // why raw_normalized is not as configured; empty: it is

	Lanes map[string]LaneStatus   `json:"lanes"` // by stage
	Ended map[string]event.Cursor `json:"ended"` // trackers that are not configured any more, and up to where their outcomes are in the warehouse

	Unknown        []Unknown `json:"unknown"` // events and properties that the allowlist does not hold, seen most often
	UnknownOthers  uint64    `json:"unknownOthers"`
	RefusedSources []Unknown `json:"refusedSources"` // requests' events refused for their write key or origin, by source
}

// Unknown is a name and how often it was seen: at least Count − Surplus times, at most Count times.
type Unknown struct {
	Event    string          `json:"event,omitempty"`
	Property string          `json:"property,omitempty"`
	Source   string          `json:"source,omitempty"`
	Reason   pipeline.Reason `json:"reason"`
	Count    uint64          `json:"count"`
	Surplus  uint64          `json:"surplus,omitempty"`
}

// LaneStatus is how one lane is doing.
type LaneStatus struct {
	Cursor    event.Cursor     `json:"cursor"`          // everything below it is final
	Shipped   event.Cursor     `json:"shipped"`         // everything below it is in the warehouse
	Since     event.Cursor     `json:"since"`           // where the lane began: what is below was never its business
	Lag       uint64           `json:"lag"`             // events without a final outcome, counting those the tracker will not get
	OldestAt  int64            `json:"oldestAt"`        // received-at of the oldest of them, microseconds since the epoch; 0: there is none
	Unshipped int              `json:"unshipped"`       // outcomes that are not in the warehouse, known or not
	Ahead     int              `json:"ahead,omitempty"` // of which are known and final, and wait behind an event that the other sink has not taken
	InFlight  int              `json:"inFlight"`        // handed to the tracker
	Dead      int              `json:"dead"`            // dead letters kept
	Resending int              `json:"resending"`       // of which are sent again
	Again     uint64           `json:"again"`           // events sent again after a crash, ever
	AgainLast []event.Position `json:"againLast,omitempty"`
	Stopped   string           `json:"stopped,omitempty"` // why the lane takes nothing out of the backlog; empty: it does
	ShipError string           `json:"shipError,omitempty"`
	Lost      *lostRange       `json:"lost,omitempty"` // outcomes that the warehouse had, and lost
	Tracker   *tracker.Status  `json:"tracker,omitempty"`
}

// Status returns the state of this moment.
func (t *Trace) Status() Status {
	state := t.backlog.State()
	s := Status{
		Stack: t.o.Stack, Build: t.Build(), Cursor: state.Cursor, Events: state.Total, Backlog: t.backlog.Usage(), Forgotten: state.Lost,
		Lanes: map[string]LaneStatus{}, Ended: map[string]event.Cursor{}, Unknown: []Unknown{}, RefusedSources: []Unknown{},
	}
	if err := errors.Join(t.refusing()...); err != nil {
		s.Accepting = err.Error()
	}
	t.mu.Lock()
	if t.normal != nil {
		s.Columns = t.normal.Error()
	}
	t.mu.Unlock()
	for name, kept := range t.backlog.Lanes() {
		if kept.Ended {
			s.Ended[name] = kept.Cursor
		}
	}
	for _, l := range t.all() {
		s.Lanes[l.name] = l.status(state)
	}
	top, rest := t.unknown.Top(50)
	s.UnknownOthers = rest
	for _, one := range top {
		s.Unknown = append(s.Unknown, Unknown{Event: one.Event, Property: one.Property, Reason: one.Reason, Count: one.Count, Surplus: one.Surplus})
	}
	top, _ = t.refused.Top(50)
	for _, one := range top {
		s.RefusedSources = append(s.RefusedSources, Unknown{Source: one.Event, Reason: one.Reason, Count: one.Count, Surplus: one.Surplus})
	}
	return s
}

// refusing says why deliveries are refused.
func (t *Trace) refusing() (reasons []error) {
	if err := t.beginning(); err != nil {
		reasons = append(reasons, err)
	}
	if t.reading.Err() != nil {
		reasons = append(reasons, errors.New("trace is stopping"))
	} else if err := t.backlog.Accepting(); err != nil {
		reasons = append(reasons, err)
	}
	if err := t.backlog.Failing(); err != nil {
		reasons = append(reasons, err)
	}
	return reasons
}

func (l *lane) status(state backlog.State) LaneStatus {
	kept := l.kept.State()
	s := LaneStatus{Cursor: l.final(), Shipped: kept.Cursor, Since: kept.Since, Dead: l.kept.Dead(""), Again: kept.Again}
	l.mu.Lock()
	s.InFlight, s.Resending = len(l.rows), len(l.resending)+len(l.requeued)
	for _, h := range l.heads {
		s.Unshipped += h.unshipped + h.ahead
		s.Ahead += h.ahead
	}
	s.AgainLast = append(s.AgainLast, l.again...)
	s.Lost = l.lost
	if l.shipError != nil {
		s.ShipError = l.shipError.Error()
	}
	s.Lag = state.Total - min(l.total, state.Total) + uint64(len(l.rows))
	next := l.next
	for _, w := range l.queue {
		s.Lag += uint64(w.unread)
		if s.OldestAt != 0 || w.final() {
			continue
		}
		s.OldestAt = w.unreadAt
		for i := range w.parts {
			if r := l.firstLocked(&w.parts[i]); r != nil && (s.OldestAt == 0 || r.Timestamp < s.OldestAt) {
				s.OldestAt = r.Timestamp
			}
		}
	}
	s.Stopped = l.stoppedLocked()
	l.mu.Unlock()
	if s.OldestAt == 0 && s.Lag > 0 {
		// Messages are read without their events for nothing but this only when a lane is behind.
		if m, err := l.t.backlog.Read(context.Background(), next); err == nil && m != nil && len(m.Events) > 0 {
			s.OldestAt = m.Events[0].ReceivedAt
		} else if err == nil && m != nil {
			s.OldestAt = m.At
		}
	}
	if l.sender != nil {
		status := l.sender.Status()
		s.Tracker = &status
	}
	return s
}

// firstLocked is p's first row in flight, or nil.
func (l *lane) firstLocked(p *part) *row {
	if p.open == 0 {
		return nil
	}
	for i := range p.rows {
		if r := &p.rows[i]; l.rows[r.Position] == r {
			return r
		}
	}
	return nil
}

// stoppedLocked says why the lane takes nothing out of the backlog, or nothing for one of its sinks.
func (l *lane) stoppedLocked() string {
	switch {
	case l.bug != nil:
		return l.bug.Error()
	case l.settleErr != nil:
		return "results cannot be made durable: " + l.settleErr.Error()
	}
	o := &l.t.o
	for _, h := range l.heads {
		dead := l.kept.Dead(h.sink)
		switch {
		case h.bug != nil:
			return h.bug.Error()
		case dead >= o.MaxDead:
			return fmt.Sprintf("%d dead letters of %s are kept, and %d is the most: retry or raise the bound", dead, h.sink, o.MaxDead)
		case h.unshipped >= o.MaxUnshipped && l.shipError != nil:
			return fmt.Sprintf("%d outcomes wait for the warehouse, and %d is the most", h.unshipped, o.MaxUnshipped)
		case h.ahead >= o.MaxAhead:
			return fmt.Sprintf("%s has %d events behind one that the other sink does not take, and %d is the most: mend that sink, or set its mode to dry-run", h.sink, h.ahead, o.MaxAhead)
		}
	}
	return ""
}

// ready says why this process is not: deliveries are refused, a lane stands still, or the warehouse does not take outcomes.
// A vendor that is down is no reason: it costs lag and nothing else.
func (t *Trace) ready() []error {
	reasons := t.refusing()
	state := t.backlog.State()
	for _, l := range t.all() {
		s := l.status(state)
		if s.Stopped != "" {
			reasons = append(reasons, fmt.Errorf("lane %s has stopped: %s", l.name, s.Stopped))
		}
		if s.ShipError != "" {
			reasons = append(reasons, fmt.Errorf("lane %s: %s", l.name, s.ShipError))
		}
	}
	return reasons
}
