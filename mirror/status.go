package mirror

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/journal"
)

// Status is the answer of GET /v1/status.
type Status struct {
	Journal    JournalStatus               `json:"journal"`
	Generation uint64                      `json:"generation"`
	Live       event.Stack                 `json:"live"`
	Candidate  event.Build                 `json:"candidate"` // as declared; zero: none is
	Head       string                      `json:"head"`      // hash of the last control record
	Accepted   event.Totals                `json:"accepted"`  // since the journal began
	Stacks     map[event.Stack]StackStatus `json:"stacks"`
}

// JournalStatus describes the journal.
type JournalStatus struct {
	ID         string `json:"id"`
	FirstFrame uint64 `json:"firstFrame"` // the first frame still there; lastFrame+1 if there is none
	LastFrame  uint64 `json:"lastFrame"`  // the last sequence given, to a frame or a control record
	Bytes      uint64 `json:"bytes"`
	MaxBytes   uint64 `json:"maxBytes"`
	Accepting  bool   `json:"accepting"`
	Why        string `json:"why,omitempty"` // it is not accepting
}

// StackStatus describes one stack as its feed sees it.
type StackStatus struct {
	Role      string        `json:"role"` // live, candidate
	Build     event.Build   `json:"build"`
	Cursor    event.Cursor  `json:"cursor"`
	Reachable bool          `json:"reachable"` // it answered last time
	Blocked   bool          `json:"blocked"`   // the feed waits for a person
	Error     string        `json:"error,omitempty"`
	Pending   Pending       `json:"pending"`
	Delivered uint64        `json:"delivered"` // requests, since the journal began
	Dead      uint64        `json:"dead"`
	Expired   uint64        `json:"expired"`
	Sampled   uint64        `json:"sampled"`            // left out by the stack's rule
	Repeated  uint64        `json:"repeated,omitempty"` // sent again since nobody knew whether the stack had them; http only
	Protocol  string        `json:"protocol"`           // frames, http
	StuckAt   *event.Cursor `json:"stuckAt,omitempty"`  // the request that fails alone just now
}

// Pending is what a stack does not have yet.
type Pending struct {
	Requests uint64 `json:"requests"`
	Bytes    uint64 `json:"bytes"`              // of bodies; a frame that is half delivered counts whole
	OldestAt int64  `json:"oldestAt,omitempty"` // received-at, microseconds since the epoch; 0: nothing is pending
}

// Equation is the answer of GET /v1/equation: accepted = delivered + pending + dead + expired + sampled, for each stack.
// Accepted and pending come from the ledger, which reads the frames' headers; delivered is what the feed counted in the
// bytes that the stack confirmed. They agree only if nothing was lost and nothing delivered twice.
type Equation struct {
	OK     bool                          `json:"ok"`
	Stacks map[event.Stack]StackEquation `json:"stacks"`
}

// StackEquation is one stack's side of it.
type StackEquation struct {
	Accepted  uint64 `json:"accepted"`
	Delivered uint64 `json:"delivered"`
	Pending   uint64 `json:"pending"`
	Dead      uint64 `json:"dead"`
	Expired   uint64 `json:"expired"`
	Sampled   uint64 `json:"sampled"`
	OK        bool   `json:"ok"`
}

// Roles of a stack.
const (
	roleLive      = "live"
	roleCandidate = "candidate"
)

// countingTimeout bounds how long a status waits for the ledger to have counted what is in the journal.
const countingTimeout = 5 * time.Second

// Status returns the state of everything, each stack's part of one moment. It fails while the journal is not open.
func (m *Mirror) Status(ctx context.Context) (Status, error) {
	o, err := m.opened()
	if err != nil {
		return Status{}, err
	}
	b, err := o.counted(ctx)
	if err != nil {
		return Status{}, err
	}
	s := Status{
		Journal: JournalStatus{ID: o.journal.ID(), FirstFrame: b.First, LastFrame: b.Last, Bytes: b.Bytes, MaxBytes: b.MaxBytes, Accepting: true},
		Stacks:  map[event.Stack]StackStatus{},
	}
	if err := o.journal.Accepting(); err != nil {
		s.Journal.Accepting, s.Journal.Why = false, err.Error()
	}
	t, _ := o.timelines.current()
	if head, ok := t.Head(); ok {
		s.Generation, s.Live, s.Candidate, s.Head = head.Generation, head.Live, head.Candidate, head.Hash()
	}
	for name, f := range o.feeds {
		seen := f.seen()
		e, p, c, err := o.equation(ctx, f)
		if err != nil {
			return Status{}, err
		}
		role := roleCandidate
		if name == s.Live {
			role = roleLive
		}
		s.Stacks[name] = StackStatus{
			Role: role, Build: seen.build, Cursor: c, Reachable: seen.reachable, Blocked: seen.blocked, Error: seen.problem, StuckAt: seen.stuckAt,
			Pending: p, Delivered: e.Delivered, Dead: e.Dead, Expired: e.Expired, Sampled: e.Sampled,
			Protocol: f.stack.protocol(), Repeated: f.account.snapshot().again,
		}
	}
	s.Accepted = o.ledger.accepted()
	return s, nil
}

// Equation checks promise 2's equation for both stacks.
func (m *Mirror) Equation(ctx context.Context) (Equation, error) {
	o, err := m.opened()
	if err != nil {
		return Equation{}, err
	}
	if _, err := o.counted(ctx); err != nil {
		return Equation{}, err
	}
	all := Equation{OK: true, Stacks: map[event.Stack]StackEquation{}}
	for name, f := range o.feeds {
		e, _, _, err := o.equation(ctx, f)
		if err != nil {
			return Equation{}, err
		}
		all.Stacks[name] = e
		all.OK = all.OK && e.OK
	}
	return all, nil
}

// counted waits until the ledger has counted everything that is in the journal now, and returns the journal's bounds.
func (o *opened) counted(ctx context.Context) (journal.Bounds, error) {
	b, err := o.journal.Bounds(ctx)
	if err != nil {
		return b, err
	}
	ctx, cancel := context.WithTimeout(ctx, countingTimeout)
	defer cancel()
	return b, o.ledger.reached(ctx, b.Last+1)
}

// equation sets what the feed counted against what the ledger counted.
func (o *opened) equation(ctx context.Context, f *feed) (StackEquation, Pending, event.Cursor, error) {
	// First the feed, then the ledger: whatever the stack has was in the journal before.
	s := f.account.snapshot()
	wait, cancel := context.WithTimeout(ctx, countingTimeout)
	defer cancel()
	if err := o.ledger.reached(wait, s.next.Frame); err != nil {
		return StackEquation{}, Pending{}, s.cursor, err
	}
	accepted := o.ledger.accepted()
	below, oldest, err := o.ledger.standing(ctx, s.next.Frame)
	var inexact *inexactError
	if errors.As(err, &inexact) && wait.Err() == nil {
		// The stack has stepped back to where frames are gone, and the feed is about to note what expired.
		select {
		case <-time.After(10 * time.Millisecond):
			return o.equation(wait, f)
		case <-wait.Done():
		}
	}
	if err != nil {
		return StackEquation{}, Pending{}, s.cursor, fmt.Errorf("counting what %s does not have: %w", f.stack.name, err)
	}
	e := StackEquation{Accepted: accepted.Requests, Delivered: s.delivered, Dead: s.dead, Expired: s.expired.Requests, Sampled: s.sampled}
	rest := int64(accepted.Requests) - int64(below.Requests) - int64(s.next.Request) - int64(s.ahead)
	e.Pending = uint64(max(rest, 0))
	e.OK = rest >= 0 && e.Accepted == e.Delivered+e.Pending+e.Dead+e.Expired+e.Sampled
	p := Pending{Requests: e.Pending}
	if e.Pending > 0 {
		p.Bytes, p.OldestAt = accepted.Bytes-min(below.Bytes, accepted.Bytes), oldest
	}
	return e, p, s.cursor, nil
}

// Timeline returns the timeline, read from the journal itself.
func (m *Mirror) Timeline(ctx context.Context) (event.Timeline, error) {
	o, err := m.opened()
	if err != nil {
		return event.Timeline{}, err
	}
	if err := o.timelines.refresh(ctx); err != nil {
		return event.Timeline{}, err
	}
	t, _ := o.timelines.current()
	return t, nil
}

// AppendControl appends a control record if c.Generation is the last one's plus one; otherwise journal.ErrConflict. On
// return it is durable, and on its way to both stacks.
func (m *Mirror) AppendControl(ctx context.Context, c event.Control) (event.Record, error) {
	o, err := m.opened()
	if err != nil {
		return event.Record{}, err
	}
	return o.timelines.append(ctx, c)
}

// Holes returns the frames from first on that hold requests which the stack never got (dead, expired or sampled), in
// order and disjoint. Where something was sampled, a span may be longer than what was.
func (m *Mirror) Holes(stack event.Stack, first uint64) ([]event.Span, error) {
	o, err := m.opened()
	if err != nil {
		return nil, err
	}
	f, ok := o.feeds[stack]
	if !ok {
		return nil, fmt.Errorf("stack %q: there is none of that name", stack)
	}
	return f.account.frames(first, f.tally.spans(first)), nil
}

// Builds returns what each stack runs, as it last said; the zero Build if it has not been reached yet.
func (m *Mirror) Builds() map[event.Stack]event.Build {
	builds := map[event.Stack]event.Build{}
	for _, s := range event.Stacks() {
		builds[s] = event.Build{}
	}
	if o, err := m.opened(); err == nil {
		for name, f := range o.feeds {
			builds[name] = f.seen().build
		}
	}
	return builds
}
