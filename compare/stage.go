package compare

import (
	"cmp"
	"slices"
	"strings"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// StageEvidence is one stage beyond raw: what trace decided, or what a tracker did with each event.
type StageEvidence struct {
	Stage     warehouse.Stage `json:"stage"`
	Live      StageSide       `json:"live"`
	Candidate StageSide       `json:"candidate"`
}

// StageSide is a stage on one stack over the window. How far it has come is in Side.Stored, under the stage's name.
type StageSide struct {
	Found  bool        `json:"found"` // the warehouse has a cursor of it
	Rows   uint64      `json:"rows"`  // latest outcomes, duplicates included
	Builds []BuildSeen `json:"builds,omitempty"`

	Sent      uint64   `json:"sent,omitempty"`      // rows with a digest of what was sent, or would have been
	Rehearsed uint64   `json:"rehearsed,omitempty"` // rows built and not sent, on dry run or by sampling, whose digest is there
	Unseen    uint64   `json:"unseen,omitempty"`    // rows neither built nor sent, for the same reasons: nothing to compare
	Retries   uint64   `json:"retries,omitempty"`   // requests beyond an event's first
	Again     uint64   `json:"again,omitempty"`     // rows sent again after a crash, since their vendor may not have them
	AgainIDs  []string `json:"againIds,omitempty"`  // the first of those
}

// reasons that say why an outcome need not look like the other side's.
const (
	dryRun     = warehouse.ReasonDryRun
	notSampled = warehouse.ReasonNotSampled
	sentAgain  = warehouse.ReasonAgain
)

// sinkOf is the project that a stack in that role sends to.
const (
	liveSink      = "production"
	candidateSink = "staging"
)

// rank orders stages as events pass them.
func rank(s warehouse.Stage) int {
	switch s {
	case warehouse.Raw:
		return 0
	case warehouse.Trace:
		return 1
	}
	return 2
}

func byStage(a, b warehouse.Stage) int {
	return cmp.Or(cmp.Compare(rank(a), rank(b)), strings.Compare(string(a), string(b)))
}

// stage returns the evidence of a stage beyond raw; nil if there is none.
func (ev *Evidence) stage(name warehouse.Stage) *StageEvidence {
	i := slices.IndexFunc(ev.Stages, func(s StageEvidence) bool { return s.Stage == name })
	if i < 0 {
		return nil
	}
	return &ev.Stages[i]
}

// names returns the stages of the evidence, raw included, in order.
func (ev *Evidence) names() []warehouse.Stage {
	out := []warehouse.Stage{warehouse.Raw}
	for _, s := range ev.Stages {
		out = append(out, s.Stage)
	}
	return out
}

// Needed returns the stages that a PASS takes under the policy, in order: raw always, trace for any tracker, since what a
// tracker was never given is counted there, and those that the policy names, or all that live has.
func (p Policy) Needed(ev *Evidence) []warehouse.Stage {
	out := []warehouse.Stage{warehouse.Raw}
	if len(p.Stages) == 0 {
		for _, s := range ev.Stages {
			if s.Live.Found {
				out = append(out, s.Stage)
			}
		}
	}
	out = append(out, p.Stages...)
	if slices.ContainsFunc(out, func(s warehouse.Stage) bool { return rank(s) > 1 }) {
		out = append(out, warehouse.Trace)
	}
	slices.SortFunc(out, byStage)
	return slices.Compact(out)
}

// side returns the stage's part of one stack.
func (s *StageEvidence) side(ev *Evidence, stack event.Stack) *StageSide {
	if stack == ev.Live.Stack {
		return &s.Live
	}
	return &s.Candidate
}
