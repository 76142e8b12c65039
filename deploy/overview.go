package deploy

import (
	"context"
	"fmt"

	"github.com/sparrowhq/sparrow/compare"
	"github.com/sparrowhq/sparrow/event"
)

// Overview is everything one needs to know before deciding.
type Overview struct {
	At         int64                 `json:"at"` // microseconds since the epoch
	Generation uint64                `json:"generation"`
	Head       string                `json:"head"` // hash of the newest control record
	Journal    compare.JournalStatus `json:"journal"`
	Live       Role                  `json:"live"`
	Candidate  Role                  `json:"candidate"`
	Declared   compare.Declaration   `json:"declared"`          // zero: no candidate is
	Verdict    *Verdict              `json:"verdict,omitempty"` // latest about this generation
	Refusals   []Refusal             `json:"refusals"`          // what stands against a cutover now
	Next       string                `json:"next"`              // what to do
}

// Role is one stack in its role.
type Role struct {
	Stack    event.Stack         `json:"stack"`
	Since    int64               `json:"since"`    // when it took the role, microseconds since the epoch
	Sequence uint64              `json:"sequence"` // of the record that gave it
	Forced   bool                `json:"forced"`   // it is live by force
	Status   compare.StackStatus `json:"status"`
	Lag      float64             `json:"lagSeconds"` // how long its oldest pending request has waited
}

// Status returns the overview.
func (d *Deploy) Status(ctx context.Context) (Overview, error) {
	s, err := d.state(ctx)
	if err != nil {
		return Overview{}, err
	}
	r, refusals := d.guard(ctx, s)
	now := d.o.Now()
	head, _ := s.Timeline.Head()
	o := Overview{At: now.UnixMicro(), Generation: head.Generation, Head: head.Hash(), Journal: s.Journal, Refusals: refusals}
	if o.Refusals == nil {
		o.Refusals = []Refusal{}
	}
	if since, ok := compare.Declared(s.Timeline); ok {
		o.Declared = compare.Declaration{Build: since.Candidate, Sequence: since.Sequence}
	}
	if r != nil {
		o.Verdict = &Verdict{ID: r.ID, At: r.Verdict.EvidenceAt, Verdict: r.Verdict}
	}
	role := func(stack event.Stack) Role {
		is := s.Stacks[stack]
		out := Role{Stack: stack, Status: is, Lag: waiting(is, now).Seconds()}
		for _, x := range s.Timeline.Records() {
			if x.Kind != event.Candidate {
				out.Since, out.Sequence, out.Forced = x.At, x.Sequence, x.Forced && x.Live == stack
			} else if x.Forced && x.Live == stack { // what it sends was changed while it was live
				out.Forced = true
			}
		}
		return out
	}
	o.Live, o.Candidate = role(s.Timeline.Live()), role(s.Candidate())
	o.Next = next(o)
	return o, nil
}

// next says what to do: the remedy of the first refusal, or the cutover itself.
func next(o Overview) string {
	switch {
	case !o.Journal.Accepting:
		return fmt.Sprintf("the mirror refuses requests (%s): see to that first", compare.Visible(o.Journal.Why))
	case len(o.Refusals) == 0:
		return fmt.Sprintf("sparrow deploy cutover would make %s live", o.Candidate.Stack)
	}
	return o.Refusals[0].Do
}
