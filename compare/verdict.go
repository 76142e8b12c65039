package compare

import (
	"time"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// Outcome is what a verdict comes to.
type Outcome string

// The outcomes. The zero Outcome is none of them, and passes nowhere.
const (
	Pass         Outcome = "PASS"
	Fail         Outcome = "FAIL"
	Inconclusive Outcome = "INCONCLUSIVE"
)

// Policy is what a PASS takes. The zero Policy is strict and asks for at least one event.
type Policy struct {
	MinEvents  uint64   `json:"minEvents,omitempty"`  // events judged in the window; 0: 1
	Required   []string `json:"required,omitempty"`   // event names that must have occurred
	Confidence float64  `json:"confidence,omitempty"` // of the stated guarantee, in (0, 1); 0: 0.95
	// Stages are those that a PASS takes beside raw: trace, and trackers by name. Others are reported and decide nothing.
	// Empty: every stage that live has.
	Stages []warehouse.Stage `json:"stages,omitempty"`
}

func (p Policy) withDefaults() Policy {
	if p.MinEvents == 0 {
		p.MinEvents = 1
	}
	if p.Confidence <= 0 || p.Confidence >= 1 {
		p.Confidence = 0.95
	}
	return p
}

// Code names a reason for programs.
type Code string

// Reasons for FAIL, in the order of their weight.
const (
	CodeDead       Code = "dead-lettered"      // live accepted it, at the candidate it failed alone
	CodeMissing    Code = "missing"            // the candidate answered and has not got it
	CodeLost       Code = "lost"               // accepted and in neither dataset: the pipeline's loss
	CodeForeign    Code = "foreign"            // in a dataset and never accepted
	CodeIDs        Code = "ids"                // as many requests as accepted, but not the same ones
	CodeSkipped    Code = "skipped"            // stored raw, and no stage trace says what became of it
	CodeMisrouted  Code = "misrouted"          // sent to the other role's project at a vendor
	CodeChanged    Code = "changed"            // both have it, with different content
	CodeDuplicated Code = "duplicated"         // a side has it more than once
	CodeExtra      Code = "extra"              // the candidate has it, live answered and has not
	CodeDeadLive   Code = "dead-lettered-live" // the candidate accepted it, at live it failed alone
)

// Reasons for INCONCLUSIVE.
const (
	CodeSchema      Code = "schema"        // evidence of a form this build does not know
	CodeUnsettled   Code = "unsettled"     // something moved while reading, or could not be understood
	CodeEmpty       Code = "empty"         // no frame, or nothing in the frames
	CodeUnreachable Code = "unreachable"   // a side does not answer
	CodeOpen        Code = "open"          // a side has not got to the window's end
	CodeRowless     Code = "no-rows"       // a side is fed plain HTTP and writes nothing to the warehouse
	CodeStage       Code = "stage-missing" // a stage that the policy needs is not there
	CodeUnseen      Code = "unseen"        // nothing of what live sent was built or sent by the candidate
	CodeMixed       Code = "mixed-builds"
	CodeBuild       Code = "build"  // the rows are of another build than the one declared or running
	CodeLedger      Code = "ledger" // the mirror cannot count the window
	CodeHoles       Code = "holes"  // too much of it never reached a side
	CodeFew         Code = "few-events"
	CodeRequired    Code = "required" // an event the policy asks for did not occur
)

// Reason is one reason for a verdict.
type Reason struct {
	Code   Code            `json:"code"`
	Text   string          `json:"text"`
	Event  *string         `json:"event,omitempty"` // name, where the reason is about one
	Stage  warehouse.Stage `json:"stage,omitempty"`
	Count  uint64          `json:"count,omitempty"` // events, or requests for lost, foreign and ids
	IDs    []string        `json:"ids,omitempty"`   // examples
	Frames []event.Span    `json:"frames,omitempty"`
}

// Verdict is what the evidence comes to under a policy.
type Verdict struct {
	Schema     int         `json:"schema"`
	Outcome    Outcome     `json:"outcome"`
	Summary    string      `json:"summary"`             // one line
	Guarantee  string      `json:"guarantee,omitempty"` // what a PASS promises
	Reasons    []Reason    `json:"reasons,omitempty"`   // weightiest first; none for PASS
	Missing    []string    `json:"missing,omitempty"`   // what an INCONCLUSIVE waits for, and what to do
	Notes      []string    `json:"notes,omitempty"`
	Policy     Policy      `json:"policy"` // as applied
	Journal    string      `json:"journal"`
	Generation uint64      `json:"generation"`
	Head       string      `json:"head"`
	Window     Window      `json:"window"`
	Stack      event.Stack `json:"stack"`     // the candidate
	Candidate  event.Build `json:"candidate"` // the build it is about; zero if there is not exactly one
	Live       event.Build `json:"live"`
	Judged     uint64      `json:"judged"`     // events
	EvidenceAt int64       `json:"evidenceAt"` // when the evidence was complete, microseconds since the epoch
}

// Age is how long ago the verdict's evidence was complete.
func (v Verdict) Age(now time.Time) time.Duration {
	return now.Sub(time.UnixMicro(v.EvidenceAt))
}

// Report is what sparrow compare writes: the verdict and what it rests on.
type Report struct {
	Schema   int       `json:"schema"`
	ID       string    `json:"id,omitempty"` // under which the server keeps it; empty: it was not submitted
	Verdict  Verdict   `json:"verdict"`
	Evidence *Evidence `json:"evidence"`
}
