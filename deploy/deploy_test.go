package deploy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sparrowhq/sparrow/compare"
	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/telemetry"
	"github.com/sparrowhq/sparrow/warehouse"
)

// refusedFor returns the codes of a refusal.
func refusedFor(t *testing.T, err error) []string {
	t.Helper()
	var refused *RefusedError
	if !errors.As(err, &refused) {
		t.Fatalf("error %v, want a refusal", err)
	}
	var codes []string
	for _, r := range refused.Refusals {
		codes = append(codes, r.Code)
	}
	return codes
}

// TestNoVerdictNoCutover goes through a release: nothing but a PASS about this very candidate lets it through.
func TestNoVerdictNoCutover(t *testing.T) {
	s := newStage(t)
	ctx := t.Context()
	try := func(why string, want ...string) {
		t.Helper()
		_, err := s.d.Cutover(ctx, Request{})
		if got := refusedFor(t, err); !slices.Equal(got, want) {
			t.Errorf("%s: refused for %v, want %v", why, got, want)
		}
		if s.live() != event.Green {
			t.Fatalf("%s: blue is live", why)
		}
	}
	s.send(3)
	try("nothing declared, nothing compared", RefuseUndeclared, RefuseNoVerdict)
	s.must(s.d.Candidate(ctx, Request{Actor: "ada", Reason: "first try"}))
	try("declared, nothing compared", RefuseNoVerdict)
	if _, err := s.d.SubmitEvidence(ctx, s.evidence(), ""); err != nil {
		t.Fatal(err)
	}
	try("compared without traffic", RefuseVerdict)
	s.send(5)
	bad := s.evidence()
	bad.Events[0].Candidate, bad.Events[0].Missing, bad.Candidate.Rows = 4, 1, 4
	if r, err := s.d.SubmitEvidence(ctx, bad, ""); err != nil || r.Verdict.Outcome != compare.Fail {
		t.Fatalf("%+v, %v", r.Verdict, err)
	}
	try("it lost one", RefuseVerdict)
	pass, err := s.d.SubmitEvidence(ctx, s.evidence(), "ci")
	if err != nil || pass.Verdict.Outcome != compare.Pass {
		t.Fatalf("%+v, %v", pass.Verdict, err)
	}
	s.set(event.Blue, func(x *compare.StackStatus) { x.Build.ID = "cccc" })
	try("another build runs by now", RefuseBuild, RefuseOther)
	s.set(event.Blue, func(x *compare.StackStatus) { x.Build = blueBuild })
	s.must(s.d.Candidate(ctx, Request{}))
	try("declared again since", RefuseNoVerdict)
	pass = s.pass()
	s.now = s.now.Add(25 * time.Hour)
	try("a day later", RefuseOld)
	s.now = s.now.Add(-25 * time.Hour)

	d := s.must(s.d.Cutover(ctx, Request{Actor: "ada", Reason: "release 1.1"}))
	if s.live() != event.Blue || d.Record.Verdict != pass.ID || d.Record.Forced || d.Record.LiveBuild != blueBuild || d.Record.Candidate.ID != "" {
		t.Errorf("decision %+v", d.Record)
	}
	if _, err := s.d.Cutover(ctx, Request{}); !slices.Equal(refusedFor(t, err), []string{RefuseUndeclared, RefuseNoVerdict}) {
		t.Errorf("the same verdict served twice: %v", err)
	}
	if s.live() != event.Blue {
		t.Error("the second cutover took effect")
	}
}

// TestOneOfManyCutoversWins has four servers decide at once, each with its own idea of the present.
func TestOneOfManyCutoversWins(t *testing.T) {
	s := newStage(t)
	s.pass()
	const n = 8
	var servers []*Deploy
	for range n {
		servers = append(servers, s.deploy(Policy{}))
	}
	start := make(chan struct{})
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i, d := range servers {
		wg.Go(func() {
			<-start
			_, errs[i] = d.Cutover(t.Context(), Request{Actor: fmt.Sprint("server ", i)})
		})
	}
	close(start)
	wg.Wait()
	won := 0
	for _, err := range errs {
		var refused *RefusedError
		switch {
		case err == nil:
			won++
		case errors.Is(err, ErrConflict), errors.As(err, &refused):
		default:
			t.Errorf("%v", err)
		}
	}
	tl, err := s.Timeline(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if won != 1 || tl.Live() != event.Blue || len(tl.Records()) != 3 {
		t.Errorf("%d won, %s is live, %d records", won, tl.Live(), len(tl.Records()))
	}
}

// TestStaleDecision: whoever decided on what they saw is told when it is no longer so.
func TestStaleDecision(t *testing.T) {
	s := newStage(t)
	s.pass()
	_, err := s.d.Cutover(t.Context(), Request{Generation: 1})
	if !errors.Is(err, ErrConflict) || !strings.Contains(err.Error(), "generation 1, now it is 2") || s.live() != event.Green {
		t.Errorf("error %v, %s live", err, s.live())
	}
	s.must(s.d.Cutover(t.Context(), Request{Generation: 2}))
}

// TestForce: forcing takes a reason, and stays visible with what it overruled.
func TestForce(t *testing.T) {
	s := newStage(t)
	ctx := t.Context()
	_, err := s.d.Cutover(ctx, Request{Force: true, Reason: " \n"})
	if codes := refusedFor(t, err); !slices.Contains(codes, RefuseReason) || s.live() != event.Green {
		t.Errorf("forced without a reason: %v", codes)
	}
	d := s.must(s.d.Cutover(ctx, Request{Force: true, Reason: "green burns", Actor: "ada"}))
	if !d.Record.Forced || d.Record.Reason != "green burns" || d.Record.Actor != "ada" || len(d.Overruled) != 2 || s.live() != event.Blue {
		t.Errorf("%+v", d)
	}
	o, err := s.d.Status(ctx)
	if err != nil || !o.Live.Forced || o.Live.Stack != event.Blue {
		t.Errorf("status %+v, %v", o, err)
	}
	var text, table strings.Builder
	if err := o.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	tl, err := s.d.History(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := WriteHistory(&table, tl, true); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(text.String(), "FORCED") || !strings.Contains(table.String(), "cutover (FORCED)") || !strings.Contains(table.String(), "green burns") {
		t.Errorf("the force is hidden:\n%s\n%s", text.String(), table.String())
	}
	// Force that has nothing to overrule is no force.
	s.pass()
	if d := s.must(s.d.Cutover(ctx, Request{Force: true})); d.Record.Forced {
		t.Errorf("%+v", d.Record)
	}
}

func TestCandidate(t *testing.T) {
	s := newStage(t)
	ctx := t.Context()
	d := s.must(s.d.Candidate(ctx, Request{}))
	if d.Record.Candidate != blueBuild || d.Record.LiveBuild != greenBuild || d.Record.Live != event.Green || d.Record.Generation != 2 {
		t.Errorf("%+v", d.Record)
	}
	_, err := s.d.Candidate(ctx, Request{Build: event.Build{ID: "cccc"}})
	if got := refusedFor(t, err); !slices.Equal(got, []string{RefuseBuild}) {
		t.Errorf("a build that does not run: %v", got)
	}
	s.set(event.Blue, func(x *compare.StackStatus) { x.Reachable = false })
	_, err = s.d.Candidate(ctx, Request{})
	if got := refusedFor(t, err); !slices.Equal(got, []string{RefuseUnreachable}) {
		t.Errorf("a candidate that does not answer: %v", got)
	}
	if d := s.must(s.d.Candidate(ctx, Request{Build: event.Build{ID: "cccc", Version: "v2"}})); d.Record.Candidate.ID != "cccc" {
		t.Errorf("named ahead of its start: %+v", d.Record)
	}
	s.set(event.Blue, func(x *compare.StackStatus) { x.Reachable, x.Build = true, event.Build{} })
	_, err = s.d.Candidate(ctx, Request{})
	if got := refusedFor(t, err); !slices.Equal(got, []string{RefuseBuild}) {
		t.Errorf("a candidate that does not say what it is: %v", got)
	}
	s.set(event.Blue, func(x *compare.StackStatus) { x.Protocol = "http" })
	_, err = s.d.Candidate(ctx, Request{})
	var refused *RefusedError
	if !errors.As(err, &refused) || len(refused.Refusals) != 1 || !strings.Contains(refused.Refusals[0].Do, "Sparrow-Build") {
		t.Errorf("a service that does not say what it is: %v", err)
	}
}

// TestSetPolicy changes what a cutover takes while everything runs.
func TestSetPolicy(t *testing.T) {
	s := newStage(t)
	ctx := t.Context()
	s.must(s.d.Candidate(ctx, Request{}))
	s.send(5)
	s.d.SetPolicy(Policy{Compare: compare.Policy{MinEvents: 1000}})
	r, err := s.d.SubmitEvidence(ctx, s.evidence(), "")
	if err != nil || r.Verdict.Outcome != compare.Inconclusive {
		t.Errorf("five events, a thousand asked for: %+v, %v", r.Verdict, err)
	}
	s.d.SetPolicy(Policy{MaxAge: time.Minute})
	s.pass()
	s.now = s.now.Add(2 * time.Minute)
	if _, err := s.d.Cutover(ctx, Request{}); !slices.Equal(refusedFor(t, err), []string{RefuseOld}) {
		t.Errorf("a verdict of two minutes, one allowed: %v", err)
	}
	s.d.SetPolicy(Policy{})
	if _, err := s.d.Cutover(ctx, Request{}); err != nil {
		t.Errorf("a verdict of two minutes, a day allowed: %v", err)
	}
}

// TestForgedEvidence changes honest evidence in every way that would help a bad candidate. None of it may be kept.
func TestForgedEvidence(t *testing.T) {
	s := newStage(t)
	ctx := t.Context()
	s.send(4)
	s.must(s.d.Candidate(ctx, Request{}))
	s.send(20)
	tl, err := s.Timeline(ctx)
	if err != nil {
		t.Fatal(err)
	}
	first, _ := tl.Head()
	s.mu.Lock()
	s.holes[event.Blue] = compare.StackLedger{Dead: []event.Position{{Frame: first.Sequence + 3}}}
	s.mu.Unlock()
	for name, forge := range map[string]func(*compare.Evidence){
		"another journal":              func(e *compare.Evidence) { e.Journal = "other" },
		"an earlier generation":        func(e *compare.Evidence) { e.Generation = 1 },
		"another head":                 func(e *compare.Evidence) { e.Head = strings.Repeat("0", 64) },
		"the stacks exchanged":         func(e *compare.Evidence) { e.Live, e.Candidate = e.Candidate, e.Live },
		"another build declared":       func(e *compare.Evidence) { e.Declared.Build.ID = "cccc" },
		"nothing declared":             func(e *compare.Evidence) { e.Declared = compare.Declaration{} },
		"declared earlier":             func(e *compare.Evidence) { e.Declared.Sequence-- },
		"another build running":        func(e *compare.Evidence) { e.Candidate.Build.ID = "cccc" },
		"fed in another way":           func(e *compare.Evidence) { e.Candidate.Protocol = "http" },
		"another build live":           func(e *compare.Evidence) { e.Live.Build.ID = "cccc" },
		"a window before declaration":  func(e *compare.Evidence) { e.Window.First = 2 },
		"a smaller window, same count": func(e *compare.Evidence) { e.Window.First += 5 },
		"a window beyond the end":      func(e *compare.Evidence) { e.Candidate.Feed = event.Cursor{Frame: 9999}; e.Window.Last = 500 },
		"fewer accepted":               func(e *compare.Evidence) { e.Ledger.Requests--; e.Either.Requests-- },
		"other ids accepted":           func(e *compare.Evidence) { e.Ledger.IDSum.Lo++; e.Either.IDSum.Lo++ },
		"the dead letter left out":     func(e *compare.Evidence) { e.Candidate.Holes.Dead = 0 },
		"more holes":                   func(e *compare.Evidence) { e.Candidate.Holes.Expired = 10 },
		"holes on live":                func(e *compare.Evidence) { e.Live.Holes.Sampled = 10 },
		"not complete":                 func(e *compare.Evidence) { e.Ledger.Complete = false },
		"a cursor that was not there":  func(e *compare.Evidence) { e.Candidate.Feed.Frame += 100 },
		"tomorrow's":                   func(e *compare.Evidence) { e.At += (24 * time.Hour).Microseconds() },
		"a newer schema":               func(e *compare.Evidence) { e.Schema++ },
	} {
		t.Run(name, func(t *testing.T) {
			ev := s.evidence()
			forge(ev)
			_, err := s.d.SubmitEvidence(ctx, ev, "mallory")
			var untrue *UntrueError
			if !errors.As(err, &untrue) || strings.Contains(err.Error(), "%!") {
				t.Errorf("error %v, want an UntrueError", err)
			}
		})
	}
	if list, err := s.d.verdicts.newest(ctx, 100); err != nil || len(list) != 0 {
		t.Errorf("kept %+v, %v", list, err)
	}
	// The same evidence, honest, is kept. (The dead request reached neither side here, so that it passes.)
	s.mu.Lock()
	s.holes[event.Green] = s.holes[event.Blue]
	s.mu.Unlock()
	ev := s.evidence()
	if _, err := s.d.SubmitEvidence(ctx, ev, "ci"); err != nil {
		t.Errorf("honest evidence: %v", err)
	}
	// Evidence that says it is from long ago is kept, and too old for a cutover.
	ev = s.evidence()
	ev.At -= (48 * time.Hour).Microseconds()
	if _, err := s.d.SubmitEvidence(ctx, ev, ""); err != nil {
		t.Fatal(err)
	}
	_, err = s.d.Cutover(ctx, Request{})
	if !slices.Contains(refusedFor(t, err), RefuseOld) {
		t.Errorf("old evidence: %v", err)
	}
}

// TestServerPolicy: what the client's own policy made of the evidence does not matter.
func TestServerPolicy(t *testing.T) {
	for _, c := range []struct {
		policy compare.Policy
		code   compare.Code
	}{
		{compare.Policy{Required: []string{"purchase"}}, compare.CodeRequired},
		{compare.Policy{Stages: []warehouse.Stage{"ga4"}}, compare.CodeStage},
	} {
		s := newStage(t)
		s.d = s.deploy(Policy{Compare: c.policy})
		s.must(s.d.Candidate(t.Context(), Request{}))
		s.send(5)
		r, err := s.d.SubmitEvidence(t.Context(), s.evidence(), "")
		if err != nil || r.Verdict.Outcome != compare.Inconclusive || r.Verdict.Reasons[0].Code != c.code {
			t.Errorf("%+v, %v; want %s", r.Verdict, err, c.code)
		}
		if _, err := s.d.Cutover(t.Context(), Request{}); !slices.Equal(refusedFor(t, err), []string{RefuseVerdict}) {
			t.Errorf("%v", err)
		}
	}
}

// TestVerdictsAreKept across servers and restarts, each under the hash of what it says.
func TestVerdictsAreKept(t *testing.T) {
	s := newStage(t)
	ctx := t.Context()
	a := s.pass()
	s.send(1)
	b, err := s.d.SubmitEvidence(ctx, s.evidence(), "")
	if err != nil || a.ID == b.ID {
		t.Fatalf("%s and %s, %v", a.ID, b.ID, err)
	}
	other := s.deploy(Policy{})
	list, err := other.verdicts.newest(ctx, 10)
	if err != nil || len(list) != 2 || list[0].ID != b.ID || list[1].ID != a.ID {
		t.Errorf("%+v, %v", list, err)
	}
	got, err := other.verdicts.get(ctx, a.ID)
	if err != nil || got == nil || got.Verdict.Window != a.Verdict.Window || got.Evidence == nil {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := other.verdicts.get(ctx, "nonesuch"); err != nil || got != nil {
		t.Errorf("%+v, %v", got, err)
	}
	s.must(other.Cutover(ctx, Request{}))
}

// TestUnreadableVerdicts: a log that this build cannot read refuses the cutover, and hinders neither status nor rollback.
func TestUnreadableVerdicts(t *testing.T) {
	s := newStage(t)
	ctx := t.Context()
	s.cutOver(2)
	s.pass()
	if _, err := s.AppendRecord(ctx, verdictLog, []byte(`{"format": 2}`)); err != nil {
		t.Fatal(err)
	}
	_, err := s.d.Cutover(ctx, Request{})
	if got := refusedFor(t, err); !slices.Contains(got, RefuseUnknown) || !strings.Contains(err.Error(), "run the newer build") {
		t.Errorf("%v", err)
	}
	if o, err := s.d.Status(ctx); err != nil || len(o.Refusals) == 0 {
		t.Errorf("%+v, %v", o.Refusals, err)
	}
	s.must(s.d.Rollback(ctx, Request{}))
}

// cutOver brings blue live on a PASS and lets n frames follow.
func (s *stage) cutOver(n int) Decision {
	s.t.Helper()
	s.pass()
	d := s.must(s.d.Cutover(s.t.Context(), Request{}))
	s.send(n)
	return d
}

func TestRollback(t *testing.T) {
	s := newStage(t)
	ctx := t.Context()
	_, err := s.d.Rollback(ctx, Request{})
	if got := refusedFor(t, err); !slices.Equal(got, []string{RefuseRoles}) || s.live() != event.Green {
		t.Errorf("a rollback to a stack that never was live is a cutover without a verdict: %v", got)
	}
	cut := s.cutOver(4)
	s.must(s.d.Candidate(ctx, Request{})) // the next candidate is already declared
	// Neither stack answers, and neither does the mirror's status.
	s.set(event.Green, func(x *compare.StackStatus) { x.Reachable = false })
	s.mu.Lock()
	s.down = errors.New("the ledger is behind")
	s.mu.Unlock()
	d := s.must(s.d.Rollback(ctx, Request{Reason: "errors"}))
	if s.live() != event.Green || d.Record.From != 0 || d.Record.Forced || len(d.Warnings) == 0 {
		t.Errorf("%+v", d)
	}
	s.mu.Lock()
	s.down = nil
	s.mu.Unlock()
	tl, err := s.Timeline(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if at, _ := tl.At(cut.Sequence + 1); at != event.Blue {
		t.Errorf("the frames in between were %s's", at)
	}
	if at, _ := tl.At(d.Sequence + 1); at != event.Green {
		t.Errorf("the frames after are %s's", at)
	}
	_, err = s.d.Rollback(ctx, Request{})
	if got := refusedFor(t, err); !slices.Equal(got, []string{RefuseRoles}) || s.live() != event.Green {
		t.Errorf("a second rollback would make blue live without a verdict: %v", got)
	}
	if d := s.must(s.d.Rollback(ctx, Request{Force: true, Reason: "the first one was a mistake"})); !d.Record.Forced || s.live() != event.Blue {
		t.Errorf("%+v", d)
	}
}

// TestRollbackDoesNotWait: a mirror that does not answer holds up no rollback.
func TestRollbackDoesNotWait(t *testing.T) {
	s := newStage(t)
	s.cutOver(1)
	s.mu.Lock()
	s.silent = make(chan struct{})
	s.mu.Unlock()
	done := make(chan error, 1)
	go func() {
		_, err := s.d.Rollback(t.Context(), Request{})
		done <- err
	}()
	select {
	case err := <-done:
		if err != nil || s.live() != event.Green {
			t.Errorf("%v, %s live", err, s.live())
		}
	case <-time.After(30 * time.Second):
		t.Error("the rollback waits for the mirror's status")
	}
}

func TestRollbackToAnotherBuild(t *testing.T) {
	s := newStage(t)
	s.cutOver(1)
	s.set(event.Green, func(x *compare.StackStatus) { x.Build = event.Build{ID: "dddd", Version: "v2"} })
	_, err := s.d.Rollback(t.Context(), Request{})
	if got := refusedFor(t, err); !slices.Equal(got, []string{RefuseUnproven}) || s.live() != event.Blue {
		t.Errorf("green now runs something that was never live: %v", got)
	}
	if d := s.must(s.d.Rollback(t.Context(), Request{Force: true, Reason: "better than this"})); !d.Record.Forced || s.live() != event.Green {
		t.Errorf("%+v", d)
	}
}

// TestRollbackFrom reassigns frames already past, unless the returning stack never got them all.
func TestRollbackFrom(t *testing.T) {
	setup := func(t *testing.T) (*stage, uint64) {
		s := newStage(t)
		cut := s.cutOver(10)
		return s, cut.Sequence + 4
	}
	ctx := t.Context()
	t.Run("without holes", func(t *testing.T) {
		s, from := setup(t)
		d := s.must(s.d.Rollback(ctx, Request{From: from}))
		tl, err := s.Timeline(ctx)
		if err != nil {
			t.Fatal(err)
		}
		before, _ := tl.At(from - 1)
		at, _ := tl.At(from)
		if before != event.Blue || at != event.Green || len(d.Record.Holes) != 0 {
			t.Errorf("%s before, %s at %d, holes %v", before, at, from, d.Record.Holes)
		}
	})
	t.Run("with holes", func(t *testing.T) {
		s, from := setup(t)
		s.holes[event.Green] = compare.StackLedger{Dead: []event.Position{{Frame: from - 1}, {Frame: from + 1}},
			Holes: []compare.Hole{{From: event.Cursor{Frame: from + 3}, To: event.Cursor{Frame: from + 5}, Reason: "expired"}}}
		_, err := s.d.Rollback(ctx, Request{From: from, Force: true, Reason: "force is not enough"})
		if got := refusedFor(t, err); !slices.Equal(got, []string{RefuseHoles}) || !strings.Contains(err.Error(), "never got 3 requests") || s.live() != event.Blue {
			t.Errorf("%v", err)
		}
		d := s.must(s.d.Rollback(ctx, Request{From: from, AcceptHoles: true}))
		want := []event.Span{{First: from + 1, Last: from + 1}, {First: from + 3, Last: from + 4}}
		if !slices.Equal(d.Record.Holes, want) {
			t.Errorf("holes on record %v, want %v", d.Record.Holes, want)
		}
	})
	t.Run("holes elsewhere", func(t *testing.T) {
		s, from := setup(t)
		s.holes[event.Green] = compare.StackLedger{Dead: []event.Position{{Frame: from - 1}}}
		s.holes[event.Blue] = compare.StackLedger{Dead: []event.Position{{Frame: from + 1}}}
		s.must(s.d.Rollback(ctx, Request{From: from}))
	})
	t.Run("holes that nobody can place", func(t *testing.T) {
		s, from := setup(t)
		s.blind = errors.New("the ledger is not read yet")
		_, err := s.d.Rollback(ctx, Request{From: from})
		if got := refusedFor(t, err); !slices.Equal(got, []string{RefuseHoles}) {
			t.Errorf("%v", err)
		}
		d := s.must(s.d.Rollback(ctx, Request{From: from, AcceptHoles: true}))
		if len(d.Record.Holes) != 1 || d.Record.Holes[0].First != from || d.Record.Holes[0].Last < from+5 {
			t.Errorf("all of it is in doubt, on record: %v", d.Record.Holes)
		}
	})
	t.Run("in the future", func(t *testing.T) {
		s, from := setup(t)
		_, err := s.d.Rollback(ctx, Request{From: from + 1000, Force: true, Reason: "no"})
		if got := refusedFor(t, err); !slices.Equal(got, []string{RefuseRange}) {
			t.Errorf("%v", err)
		}
	})
	t.Run("before the journal", func(t *testing.T) {
		s, _ := setup(t)
		_, err := s.d.Rollback(ctx, Request{From: 1})
		if got := refusedFor(t, err); !slices.Equal(got, []string{RefuseRange}) {
			t.Errorf("frame 1 is the journal's first record: %v", err)
		}
	})
}

// TestHistory: every decision stays, in a chain that a single changed byte breaks.
func TestHistory(t *testing.T) {
	s := newStage(t)
	s.cutOver(2)
	s.must(s.d.Rollback(t.Context(), Request{Actor: "ada\x1b[31m", Reason: strings.Repeat("é", 2000)}))
	tl, err := s.d.History(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	h := compare.NewHistory(tl)
	if _, err := h.Timeline(); err != nil || len(h.Records) != 4 {
		t.Fatalf("%d records, %v", len(h.Records), err)
	}
	for i := range len(h.Records) - 1 { // the last one's hash is what status and verdicts show
		forged := compare.History{Records: slices.Clone(h.Records)}
		data := slices.Clone(forged.Records[i].Record)
		at := strings.Index(string(data), `"at":`) + 6
		data[at] ^= 1
		forged.Records[i].Record = data
		if _, err := forged.Timeline(); err == nil {
			t.Errorf("record %d was changed, and nobody noticed", i)
		}
	}
	var b strings.Builder
	if err := WriteHistory(&b, tl, true); err != nil {
		t.Fatal(err)
	}
	var plain strings.Builder
	if err := WriteHistory(&plain, tl, false); err != nil || strings.ContainsAny(plain.String(), "─│┼") || strings.Count(plain.String(), "\n") < len(tl.Records())+1 {
		t.Errorf("for a pipe, %v:\n%s", err, plain.String())
	}
	if strings.Contains(b.String(), "\x1b") || !strings.Contains(b.String(), "rollback") || strings.Count(b.String(), "é") > maxText/2 {
		t.Errorf("%s", b.String())
	}
}

func TestNew(t *testing.T) {
	if _, err := New(Options{}); err == nil {
		t.Error("New takes nothing at all")
	}
	tel := telemetry.Discard()
	s := newStage(t)
	o := Options{Pipeline: s, Verdicts: s.Journal, Telemetry: tel}
	if _, err := New(o); err != nil {
		t.Fatal(err)
	}
	if _, err := New(o); err == nil {
		t.Error("two of them share a registry")
	}
}
