package deploy

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sparrowhq/sparrow/compare"
	"github.com/sparrowhq/sparrow/event"
)

// ready is a state with a declared candidate and a verdict that lets it through.
func ready(t *testing.T) (State, *compare.Report, time.Time) {
	t.Helper()
	now := time.UnixMicro(1_790_000_000_000_000)
	s := State{Timeline: history(t,
		event.Control{Kind: event.Initial, Live: event.Green},
		event.Control{Kind: event.Candidate, Live: event.Green, Candidate: blueBuild, LiveBuild: greenBuild})}
	head, _ := s.Timeline.Head()
	s.Status = compare.Status{Journal: compare.JournalStatus{ID: "journal", LastFrame: 5000, Accepting: true}, Generation: 2, Live: event.Green, Candidate: blueBuild, Head: head.Hash(),
		Stacks: map[event.Stack]compare.StackStatus{event.Green: {Build: greenBuild, Reachable: true}, event.Blue: {Build: blueBuild, Reachable: true}}}
	r := &compare.Report{Schema: compare.Schema, ID: "v1",
		Verdict: compare.Verdict{Schema: compare.Schema, Outcome: compare.Pass, Journal: "journal", Generation: 2, Head: head.Hash(), Window: compare.Window{First: 3, Last: 5000},
			Stack: event.Blue, Candidate: blueBuild, Live: greenBuild, EvidenceAt: now.Add(-time.Minute).UnixMicro()},
		Evidence: &compare.Evidence{Ledger: compare.LedgerCount{Totals: event.Totals{LastAt: now.Add(-2 * time.Minute).UnixMicro()}}}}
	return s, r, now
}

// history is a chain of control records at sequences 1, 2, …
func history(t *testing.T, controls ...event.Control) event.Timeline {
	t.Helper()
	var tl event.Timeline
	for i, c := range controls {
		head, ok := tl.Head()
		c.Format, c.Generation = event.ControlFormat, head.Generation+1
		if ok {
			c.Previous = head.Hash()
		}
		data, err := c.Encode()
		if err != nil {
			t.Fatal(err)
		}
		r, err := event.DecodeRecord(uint64(i+1), data)
		if err != nil {
			t.Fatal(err)
		}
		if tl, err = tl.Append(r); err != nil {
			t.Fatal(err)
		}
	}
	return tl
}

func TestGuard(t *testing.T) {
	type change = func(s *State, r *compare.Report, p *Policy)
	blue := func(s *State, f func(*compare.StackStatus)) {
		x := s.Stacks[event.Blue]
		f(&x)
		s.Stacks[event.Blue] = x
	}
	for _, c := range []struct {
		name   string
		change change
		want   []string // codes
	}{
		{"everything as it should be", func(*State, *compare.Report, *Policy) {}, nil},
		{"live does not answer: all the more reason", func(s *State, _ *compare.Report, _ *Policy) { s.Stacks[event.Green] = compare.StackStatus{} }, nil},
		{"a few requests on their way", func(s *State, _ *compare.Report, _ *Policy) {
			blue(s, func(x *compare.StackStatus) {
				x.Pending = compare.PendingRequests{Requests: 900, OldestAt: 1_790_000_000_000_000 - 1_000_000}
			})
		}, nil},
		{"little came after the window", func(s *State, _ *compare.Report, _ *Policy) { s.Journal.LastFrame = 9000 }, nil},
		{"the window was cut to a line of the ledger", func(_ *State, r *compare.Report, _ *Policy) { r.Verdict.Window.First = 1024 }, nil},

		{"no verdict", func(_ *State, r *compare.Report, _ *Policy) { r.Evidence = nil }, []string{RefuseNoVerdict}},
		{"FAIL", func(_ *State, r *compare.Report, _ *Policy) { r.Verdict.Outcome = compare.Fail }, []string{RefuseVerdict}},
		{"INCONCLUSIVE", func(_ *State, r *compare.Report, _ *Policy) { r.Verdict.Outcome = compare.Inconclusive }, []string{RefuseVerdict}},
		{"an outcome nobody knows", func(_ *State, r *compare.Report, _ *Policy) { r.Verdict.Outcome = "PASSED" }, []string{RefuseVerdict}},
		{"no outcome", func(_ *State, r *compare.Report, _ *Policy) { r.Verdict.Outcome = "" }, []string{RefuseVerdict}},
		{"a verdict of another schema", func(_ *State, r *compare.Report, _ *Policy) { r.Verdict.Schema++ }, []string{RefuseOther}},
		{"about another journal", func(_ *State, r *compare.Report, _ *Policy) { r.Verdict.Journal = "other" }, []string{RefuseOther}},
		{"about the other stack", func(_ *State, r *compare.Report, _ *Policy) { r.Verdict.Stack = event.Green }, []string{RefuseOther}},
		{"about another build", func(_ *State, r *compare.Report, _ *Policy) { r.Verdict.Candidate.ID = "cccc" }, []string{RefuseOther}},
		{"about no build", func(_ *State, r *compare.Report, _ *Policy) { r.Verdict.Candidate = event.Build{} }, []string{RefuseOther}},
		{"of an earlier generation", func(_ *State, r *compare.Report, _ *Policy) { r.Verdict.Generation = 1 }, []string{RefuseDecided}},
		{"of another history", func(_ *State, r *compare.Report, _ *Policy) { r.Verdict.Head = "other" }, []string{RefuseDecided}},
		{"a day and a second old", func(s *State, r *compare.Report, _ *Policy) { r.Verdict.EvidenceAt -= (24 * time.Hour).Microseconds() }, []string{RefuseOld}},
		{"older than the policy says", func(_ *State, _ *compare.Report, p *Policy) { p.MaxAge = 30 * time.Second }, []string{RefuseOld}},
		{"without a date", func(_ *State, r *compare.Report, _ *Policy) { r.Verdict.EvidenceAt = 0 }, []string{RefuseOld}},
		{"from the future", func(_ *State, r *compare.Report, _ *Policy) { r.Verdict.EvidenceAt += time.Hour.Microseconds() }, []string{RefuseOld}},
		{"a window that leaves out the beginning", func(_ *State, r *compare.Report, _ *Policy) { r.Verdict.Window.First = 1028 }, []string{RefusePartial}},
		{"a window that ended long ago, with more since", func(s *State, r *compare.Report, _ *Policy) {
			s.Journal.LastFrame = 5001
			r.Evidence.Ledger.LastAt -= time.Hour.Microseconds()
		}, []string{RefuseTail}},
		{"a window that ended long ago, and nothing since", func(_ *State, r *compare.Report, _ *Policy) {
			r.Evidence.Ledger.LastAt -= 20 * time.Hour.Microseconds()
		}, nil},

		{"the candidate does not answer", func(s *State, _ *compare.Report, _ *Policy) {
			blue(s, func(x *compare.StackStatus) { x.Reachable = false })
		}, []string{RefuseUnreachable}},
		{"nothing is known of the candidate", func(s *State, _ *compare.Report, _ *Policy) { delete(s.Stacks, event.Blue) }, []string{RefuseUnreachable, RefuseBuild, RefuseOther}},
		{"its feed is blocked", func(s *State, _ *compare.Report, _ *Policy) {
			blue(s, func(x *compare.StackStatus) { x.Blocked = true })
		}, []string{RefuseBlocked}},
		{"it runs another build", func(s *State, _ *compare.Report, _ *Policy) {
			blue(s, func(x *compare.StackStatus) { x.Build.ID = "cccc" })
		}, []string{RefuseBuild, RefuseOther}},
		{"it is behind", func(s *State, _ *compare.Report, _ *Policy) {
			blue(s, func(x *compare.StackStatus) {
				x.Pending = compare.PendingRequests{Requests: 1, OldestAt: 1_790_000_000_000_000 - 31_000_000}
			})
		}, []string{RefuseBehind}},
		{"a request fails alone just now", func(s *State, _ *compare.Report, _ *Policy) {
			blue(s, func(x *compare.StackStatus) { x.StuckAt = &event.Cursor{Frame: 9} })
		}, []string{RefuseBehind}},
		{"no candidate is declared", func(s *State, _ *compare.Report, _ *Policy) {
			s.Timeline = history(t, event.Control{Kind: event.Initial, Live: event.Green})
		}, []string{RefuseUndeclared, RefuseDecided}},
		{"the declared candidate became live", func(s *State, _ *compare.Report, _ *Policy) {
			s.Timeline = history(t, event.Control{Kind: event.Initial, Live: event.Green}, event.Control{Kind: event.Candidate, Live: event.Green, Candidate: blueBuild}, event.Control{Kind: event.Cutover, Live: event.Blue})
		}, []string{RefuseUndeclared, RefuseOther, RefuseDecided}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, r, now := ready(t)
			var p Policy
			c.change(&s, r, &p)
			var codes []string
			for _, x := range Guard(s, r, p, now) {
				codes = append(codes, x.Code)
				if x.Do == "" || x.Text == "" || strings.Contains(x.Text, "%!") {
					t.Errorf("%+v does not say what to do", x)
				}
			}
			if !slices.Equal(codes, c.want) {
				t.Errorf("refused for %v, want %v", codes, c.want)
			}
		})
	}
	if got := Guard(State{}, nil, Policy{}, time.Time{}); len(got) < 3 {
		t.Errorf("of nothing at all: %+v", got)
	}
	s, _, now := ready(t)
	if got := Guard(s, nil, Policy{}, now); len(got) != 1 || got[0].Code != RefuseNoVerdict {
		t.Errorf("without a verdict: %+v", got)
	}
}
