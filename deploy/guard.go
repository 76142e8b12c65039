package deploy

import (
	"fmt"
	"slices"
	"time"

	"github.com/sparrowhq/sparrow/compare"
	"github.com/sparrowhq/sparrow/event"
)

// Policy is what a cutover takes. Its zero values are the defaults.
type Policy struct {
	Compare compare.Policy // under which the server judges evidence; zero: strict, one event
	MaxAge  time.Duration  // of a verdict; 0: 24 h
	MaxTail time.Duration  // how long ago the verdict's window may have ended, if more was accepted since; 0: 1 h
	MaxLag  time.Duration  // how long the candidate's oldest pending request may have waited; 0: 30 s
	Skip    uint64         // frames after the declaration that the window may leave out; 0: 1,024, a line of the ledger
}

func (p Policy) withDefaults() Policy {
	if p.MaxAge <= 0 {
		p.MaxAge = 24 * time.Hour
	}
	if p.MaxTail <= 0 {
		p.MaxTail = time.Hour
	}
	if p.MaxLag <= 0 {
		p.MaxLag = 30 * time.Second
	}
	if p.Skip == 0 {
		p.Skip = 1024
	}
	return p
}

// State is everything the guard looks at.
type State struct {
	compare.Status
	Timeline event.Timeline
}

// Candidate returns the stack that is not live.
func (s State) Candidate() event.Stack { return s.Timeline.Live().Other() }

// Refusal is one reason against a decision, and what to do about it.
type Refusal struct {
	Code string `json:"code"`
	Text string `json:"text"` // what is the matter
	Do   string `json:"do"`   // what would remove it
}

// Codes of refusals.
const (
	RefuseUndeclared  = "undeclared"  // no candidate is declared
	RefuseUnreachable = "unreachable" // the candidate does not answer
	RefuseBlocked     = "blocked"     // its feed waits for a person
	RefuseBuild       = "build"       // it runs another build than the one declared or judged
	RefuseBehind      = "behind"      // it has not caught up
	RefuseNoVerdict   = "no-verdict"  // none was submitted
	RefuseVerdict     = "verdict"     // it is not PASS
	RefuseOther       = "other"       // it is about another journal, stack or build
	RefuseDecided     = "decided"     // something was decided since
	RefuseOld         = "old"         // it is too old, or from the future
	RefusePartial     = "partial"     // its window leaves out the beginning
	RefuseTail        = "tail"        // too much came after its window
	RefuseRoles       = "roles"       // there is nothing to roll back
	RefuseRange       = "range"       // rollback --from outside of what can be reassigned
	RefuseHoles       = "holes"       // the returning stack did not get everything of the range
	RefuseUnproven    = "unproven"    // the returning stack runs another build than when it was live
	RefuseReason      = "reason"      // forcing takes a reason
	RefuseUnknown     = "unknown"     // what has to be known cannot be found out
)

// again is what helps against most refusals of a verdict.
const again = "run sparrow compare --wait 5m, and cut over on its PASS"

// Guard returns what stands against making the candidate live now; nothing means go. It is a pure function. verdict is
// the latest one about the present generation, nil if there is none.
func Guard(s State, verdict *compare.Report, p Policy, now time.Time) []Refusal {
	p = p.withDefaults()
	var out []Refusal
	refuse := func(code, do, format string, args ...any) {
		out = append(out, Refusal{Code: code, Text: fmt.Sprintf(format, args...), Do: do})
	}
	stack := s.Candidate()
	since, declared := compare.Declared(s.Timeline)
	if !declared {
		refuse(RefuseUndeclared, "run sparrow deploy candidate, let it see traffic, then "+again, "no candidate is declared since %s became live", s.Timeline.Live())
	}
	is := s.Stacks[stack]
	if !is.Reachable {
		refuse(RefuseUnreachable, fmt.Sprintf("start %s, or see why its dispatcher does not answer", stack), "%s does not answer%s", stack, because(is.Error))
	}
	if is.Blocked {
		refuse(RefuseBlocked, "see sparrow deploy status for what it waits for", "the feed of %s waits for a person%s", stack, because(is.Error))
	}
	if declared && is.Build.ID != since.Candidate.ID {
		refuse(RefuseBuild, "declare what runs with sparrow deploy candidate, then "+again,
			"%s runs %s, the declared candidate is %s", stack, compare.BuildName(is.Build), compare.BuildName(since.Candidate))
	}
	if is.StuckAt != nil {
		refuse(RefuseBehind, "wait until the request is delivered or set aside, then "+again, "%s is trying a request again that fails alone there, at %v", stack, *is.StuckAt)
	}
	if lag := waiting(is, now); lag > p.MaxLag {
		refuse(RefuseBehind, "wait until it has caught up", "%s is behind: its oldest pending request has waited %s, at most %s are allowed", stack, lag.Round(time.Second), p.MaxLag)
	}
	if verdict == nil || verdict.Evidence == nil {
		refuse(RefuseNoVerdict, again, "there is no verdict about this candidate since it was declared")
		return out
	}
	return append(out, guardVerdict(s, *verdict, p, now)...)
}

// guardVerdict returns what stands against the verdict.
func guardVerdict(s State, r compare.Report, p Policy, now time.Time) []Refusal {
	var out []Refusal
	refuse := func(code, do, format string, args ...any) {
		out = append(out, Refusal{Code: code, Text: fmt.Sprintf(format, args...), Do: do})
	}
	v := r.Verdict
	stack := s.Candidate()
	head, _ := s.Timeline.Head()
	since, declared := compare.Declared(s.Timeline)
	if v.Schema != compare.Schema {
		refuse(RefuseOther, again, "the verdict has schema %d, this build knows %d", v.Schema, compare.Schema)
	}
	if v.Outcome != compare.Pass {
		do := "mend the candidate and declare the new build"
		if v.Outcome == compare.Inconclusive {
			do = again
			if len(v.Missing) > 0 {
				do = v.Missing[0]
			}
		}
		refuse(RefuseVerdict, do, "the verdict is %s: %s", v.Outcome, v.Summary)
	}
	if v.Journal != s.Journal.ID {
		refuse(RefuseOther, again, "the verdict is about the journal %s, this is %s", compare.Visible(v.Journal), s.Journal.ID)
	}
	otherBuild := v.Candidate.ID != s.Stacks[stack].Build.ID || declared && v.Candidate.ID != since.Candidate.ID || v.Candidate.ID == ""
	if v.Candidate.ID == "" && v.Outcome != compare.Pass {
		otherBuild = false // it is about no build, and says so itself
	}
	if v.Stack != stack || otherBuild {
		refuse(RefuseOther, again, "the verdict is about %s on %s, the candidate is %s on %s", compare.BuildName(v.Candidate), compare.Visible(string(v.Stack)), compare.BuildName(s.Stacks[stack].Build), stack)
	}
	if v.Generation != head.Generation || v.Head != head.Hash() {
		refuse(RefuseDecided, again, "the verdict was made at generation %d, now it is %d", v.Generation, head.Generation)
	}
	switch age := v.Age(now); {
	case age > p.MaxAge:
		refuse(RefuseOld, again, "the verdict is %s old, at most %s are allowed", age.Round(time.Second), p.MaxAge)
	case age < -time.Minute:
		refuse(RefuseOld, "set the clocks, then "+again, "the verdict is from the future by %s", (-age).Round(time.Second))
	}
	if declared && v.Window.First > since.Sequence+1+p.Skip {
		refuse(RefusePartial, "run sparrow compare without --window", "the verdict leaves out the beginning: it starts at frame %d, the candidate was declared at %d", v.Window.First, since.Sequence)
	}
	if v.Window.Last < lastFrame(s) {
		if tail := now.Sub(time.UnixMicro(r.Evidence.Ledger.LastAt)); tail > p.MaxTail {
			refuse(RefuseTail, again, "the verdict's window ended %s ago at frame %d, and the journal has gone on to %d", tail.Round(time.Second), v.Window.Last, s.Journal.LastFrame)
		}
	}
	return out
}

// lastFrame is the journal's last sequence that is not a control record.
func lastFrame(s State) uint64 {
	end := s.Journal.LastFrame
	for _, r := range slices.Backward(s.Timeline.Records()) {
		if r.Sequence != end {
			break
		}
		end--
	}
	return end
}

// waiting is how long the oldest pending request has waited.
func waiting(s compare.StackStatus, now time.Time) time.Duration {
	if s.Pending.Requests == 0 || s.Pending.OldestAt == 0 {
		return 0
	}
	return now.Sub(time.UnixMicro(s.Pending.OldestAt))
}

func because(why string) string {
	if why == "" {
		return ""
	}
	return ": " + compare.Visible(why)
}
