package compare

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/sparrowhq/sparrow/event"
)

// maxReasons bounds the reasons of one code that name an event; the last one counts the others.
const maxReasons = 20

// Judge says what the evidence comes to. It is a pure function of its arguments: the same evidence gives the same verdict
// on any machine.
//
// The order is: evidence that cannot be trusted or belongs to no single build is INCONCLUSIVE, whatever it shows; a proven
// fault is a FAIL even in a window that is still open, since what is lost below a cursor is lost; anything that is not yet
// there is INCONCLUSIVE; only what is left is PASS.
func Judge(ev Evidence, p Policy) Verdict {
	j := &judge{ev: ev, p: p.withDefaults()}
	j.v = Verdict{Schema: Schema, Policy: j.p, Journal: ev.Journal, Generation: ev.Generation, Head: ev.Head, Window: ev.Window,
		Stack: ev.Candidate.Stack, EvidenceAt: ev.At}
	j.trust()
	if len(j.v.Reasons) == 0 {
		j.builds()
	}
	if len(j.v.Reasons) > 0 {
		return j.inconclusive()
	}
	j.faults()
	if len(j.v.Reasons) > 0 {
		return j.fail()
	}
	j.presence()
	if len(j.v.Reasons) > 0 {
		return j.inconclusive()
	}
	return j.pass()
}

type judge struct {
	ev Evidence
	p  Policy
	v  Verdict
}

func (j *judge) because(code Code, format string, args ...any) {
	j.v.Reasons = append(j.v.Reasons, Reason{Code: code, Text: fmt.Sprintf(format, args...)})
}

func (j *judge) await(format string, args ...any) {
	j.v.Missing = append(j.v.Missing, fmt.Sprintf(format, args...))
}

func (j *judge) note(format string, args ...any) {
	j.v.Notes = append(j.v.Notes, fmt.Sprintf(format, args...))
}

// trust refuses evidence that says nothing about any build.
func (j *judge) trust() {
	ev := j.ev
	if ev.Schema != Schema {
		j.because(CodeSchema, "the evidence has schema %d, this build judges %d", ev.Schema, Schema)
		j.await("run sparrow compare of the same version as the server")
		return
	}
	for _, what := range ev.Unsettled {
		j.because(CodeUnsettled, "%s", what)
	}
	if len(ev.Unsettled) > 0 {
		j.await("run sparrow compare again once that is settled")
	}
	if _, err := event.ParseStack(string(ev.Live.Stack)); err != nil || ev.Candidate.Stack != ev.Live.Stack.Other() {
		j.because(CodeUnsettled, "the evidence does not say which stack is live and which is the candidate")
	}
	if ev.Window.First == 0 {
		j.because(CodeUnsettled, "the evidence does not say which window it is about")
	}
	if ev.Journal == "" {
		j.because(CodeUnsettled, "the evidence does not say which journal it is about")
	}
}

// builds names the one build the verdict is about, or says why there is none.
func (j *judge) builds() {
	for _, s := range []struct {
		role string
		Side
	}{{"live", j.ev.Live}, {"candidate", j.ev.Candidate}} {
		if len(s.Builds) > 1 {
			var seen []string
			for _, b := range s.Builds {
				seen = append(seen, fmt.Sprintf("%s in frames %d–%d", ShortBuild(b.ID), b.First, b.Last))
			}
			last := s.Builds[len(s.Builds)-1]
			j.because(CodeMixed, "%s (%s) ran %d builds in the window: %s", s.role, s.Stack, len(s.Builds), strings.Join(seen, ", "))
			j.await("a window that only one build of %s wrote: begin it after frame %d, or declare the candidate again", s.Stack, last.First)
		}
		if len(s.Builds) == 1 && s.Builds[0].ID == "" {
			j.because(CodeBuild, "%s (%s) did not say which build wrote its rows", s.role, s.Stack)
		}
	}
	if len(j.v.Reasons) > 0 {
		return
	}
	if len(j.ev.Live.Builds) == 1 {
		j.v.Live = named(j.ev.Live.Builds[0].ID, j.ev.Live.Build)
	}
	k := j.ev.Candidate
	if len(k.Builds) == 0 {
		return // it stored nothing: presence or faults will say so
	}
	seen := k.Builds[0].ID
	if d := j.ev.Declared.Build; d.ID != "" && d.ID != seen {
		j.because(CodeBuild, "the rows are of build %s, the declared candidate is %s", ShortBuild(seen), BuildName(d))
		j.await("declare what runs with sparrow deploy candidate, or start the declared build on %s", k.Stack)
	}
	if k.Build.ID != "" && k.Build.ID != seen {
		j.because(CodeBuild, "the rows are of build %s, %s now runs %s", ShortBuild(seen), k.Stack, BuildName(k.Build))
		j.await("declare what runs with sparrow deploy candidate, and let it see traffic")
	}
	j.v.Candidate = named(seen, k.Build, j.ev.Declared.Build)
}

func named(id string, known ...event.Build) event.Build {
	for _, b := range known {
		if b.ID == id {
			return b
		}
	}
	return event.Build{ID: id}
}

// check is one kind of fault that is counted per event name.
type check struct {
	code Code
	of   func(Faults) uint64
	show func(Example) bool // whether an example is one of it
	text string             // what is wrong with THEM
}

// faults lists what is proven.
func (j *judge) faults() {
	ev := j.ev
	live, candidate := ev.Live.Stack, ev.Candidate.Stack
	of := func(k Kind, side event.Stack) func(Example) bool {
		return func(x Example) bool { return x.Kind == k && x.Side == side }
	}
	j.perEvent(check{CodeDead, func(f Faults) uint64 { return f.Dead }, of(Dead, candidate),
		"failed alone at the candidate and set aside there, while live accepted THEM"})
	j.perEvent(check{CodeMissing, func(f Faults) uint64 { return f.Missing }, of(Missing, ""),
		"answered by the candidate and not stored: live has THEM, staging has not"})
	j.pipeline()
	j.perEvent(check{CodeChanged, func(f Faults) uint64 { return f.Changed }, of(Changed, ""),
		"stored with another content than in live"})
	j.perEvent(check{CodeDuplicated, func(f Faults) uint64 { return f.DuplicatesCandidate }, of(Doubled, candidate),
		"stored once too often by the candidate"})
	j.perEvent(check{CodeDuplicated, func(f Faults) uint64 { return f.DuplicatesLive }, of(Doubled, live),
		"stored once too often by live"})
	extra := "only in staging, though live answered THEM"
	if len(j.open()) == 0 && ev.Ledger.Complete && ev.Either.BothKnown && ev.Either.balanced(ev.Ledger) {
		extra += " (the ledger sides with the candidate: live lost THEM)"
	}
	j.perEvent(check{CodeExtra, func(f Faults) uint64 { return f.Extra }, of(Extra, ""), extra})
	j.perEvent(check{CodeDeadLive, func(f Faults) uint64 { return f.DeadLive }, of(Dead, live),
		"failed alone at live and set aside there, while the candidate accepted THEM"})
}

// pipeline checks both datasets together against the ledger, once the window is closed.
func (j *judge) pipeline() {
	ev := j.ev
	if ev.Window.Empty() || len(j.open()) > 0 || !ev.Ledger.Complete || !ev.Either.BothKnown {
		return
	}
	var frames []event.Span
	for _, s := range ev.Lost.Shortfalls {
		frames = append(frames, s.Span)
	}
	add := func(r Reason) {
		r.Frames = frames
		j.v.Reasons = append(j.v.Reasons, r)
	}
	have := ev.Either.Requests + ev.Either.UnderBoth
	switch {
	case have < ev.Ledger.Requests:
		n := ev.Ledger.Requests - have
		add(Reason{Code: CodeLost, Count: n, Text: fmt.Sprintf("%s accepted and in neither dataset%s: the pipeline's loss, not the candidate's alone", requests(n), inFrames(frames))})
	case have > ev.Ledger.Requests:
		n := have - ev.Ledger.Requests
		add(Reason{Code: CodeForeign, Count: n, Text: fmt.Sprintf("%s stored that the journal never accepted%s", requests(n), inFrames(frames))})
	case !ev.Either.balanced(ev.Ledger):
		add(Reason{Code: CodeIDs, Count: ev.Either.Requests, Text: fmt.Sprintf("as many requests as accepted, but not the same ones: their ids add up to %s, the ledger's to %s%s",
			ev.Either.IDSum, ev.Ledger.IDSum, inFrames(frames))})
	}
	if ev.Lost.Events > 0 {
		r := Reason{Code: CodeLost, Stage: stages[0], Count: ev.Lost.Events,
			Text: fmt.Sprintf("%s of lists that their requests announce and neither dataset holds%s", count(ev.Lost.Events, "item"), such(ev.Lost.Examples))}
		for _, x := range ev.Lost.Examples {
			r.IDs = append(r.IDs, x.EventID)
			r.Frames = append(r.Frames, event.Span{First: x.Frame, Last: x.Frame})
		}
		j.v.Reasons = append(j.v.Reasons, r)
	}
}

// perEvent adds a reason for each event name that shows a fault, the most frequent first.
func (j *judge) perEvent(c check) {
	var hit []Event
	for _, e := range j.ev.Events {
		if c.of(e.Faults) > 0 {
			hit = append(hit, e)
		}
	}
	slices.SortStableFunc(hit, func(a, b Event) int { return cmp.Compare(c.of(b.Faults), c.of(a.Faults)) })
	var rest uint64
	for i, e := range hit {
		n := c.of(e.Faults)
		if i >= maxReasons {
			rest += n
			continue
		}
		r := Reason{Code: c.code, Event: &e.Name, Stage: e.Stage, Count: n}
		var shown []Example
		for _, x := range e.Examples {
			if c.show(x) {
				shown = append(shown, x)
				r.IDs = append(r.IDs, x.EventID)
				r.Frames = append(r.Frames, event.Span{First: x.Frame, Last: x.Frame})
			}
		}
		r.Frames = slices.Compact(r.Frames)
		r.Text = fmt.Sprintf("%s %s: %s%s", count(n, "event"), quoteName(e.Name), c.textFor(n), such(shown))
		j.v.Reasons = append(j.v.Reasons, r)
	}
	if f := j.ev.Folded; f != nil {
		rest += c.of(f.Faults)
	}
	if rest > 0 {
		j.v.Reasons = append(j.v.Reasons, Reason{Code: c.code, Stage: stages[0], Count: rest,
			Text: fmt.Sprintf("%s of further names: %s", count(rest, "event"), c.textFor(rest))})
	}
}

func (c check) textFor(n uint64) string {
	if n == 1 {
		return strings.ReplaceAll(c.text, "THEM", "it")
	}
	return strings.ReplaceAll(c.text, "THEM", "them")
}

// open says what the window still waits for.
func (j *judge) open() []string {
	w := j.ev.Window
	return slices.Concat(j.ev.Live.open(w, "live"), j.ev.Candidate.open(w, "candidate"))
}

// presence refuses to pass what was not there to be seen.
func (j *judge) presence() {
	ev := j.ev
	for _, s := range []struct {
		role string
		Side
	}{{"live", ev.Live}, {"candidate", ev.Candidate}} {
		if !s.Reachable {
			j.because(CodeUnreachable, "%s (%s) cannot be reached%s", s.role, s.Stack, s.why())
			j.await("%s has to run: start it, then compare again with --wait", s.Stack)
		}
	}
	if ev.Window.Empty() {
		j.because(CodeEmpty, "the window holds no frame: nothing was accepted in %s", ev.Window.Chosen)
		j.await("traffic: send some, then compare again")
		return
	}
	for _, open := range j.open() {
		j.because(CodeOpen, "%s", open)
	}
	if len(j.open()) > 0 {
		j.await("the window has to close: compare again with --wait 5m")
	}
	if !ev.Ledger.Complete {
		j.because(CodeLedger, "the mirror's ledger does not cover exactly the window")
		j.await("a window that begins within the ledger's detail")
	}
	if !ev.Either.BothKnown || !ev.Live.Holes.Located || !ev.Candidate.Holes.Located {
		j.because(CodeHoles, "what the mirror never delivered cannot be told apart from what was lost")
		j.await("a window without such holes: declare the candidate again")
	}
	if ev.Either.BadIDs > 0 {
		j.because(CodeLedger, "%s whose eventId holds no UUID, so that the ids cannot be checked against the ledger", requests(ev.Either.BadIDs))
	}
	j.enough()
	for _, what := range j.contradictions() {
		j.because(CodeUnsettled, "the evidence contradicts itself: %s", what)
	}
}

// contradictions checks what must hold of any evidence, so that a PASS never rests on a document that something mangled.
func (j *judge) contradictions() (found []string) {
	ev := j.ev
	must := func(holds bool, format string, args ...any) {
		if !holds {
			found = append(found, fmt.Sprintf(format, args...))
		}
	}
	var sum Event
	for _, e := range ev.Events {
		sum.Live += e.Live
		sum.Candidate += e.Candidate
		sum.Faults.add(e.Faults)
	}
	if f := ev.Folded; f != nil {
		sum.Live += f.Live
		sum.Candidate += f.Candidate
		sum.Faults.add(f.Faults)
	}
	for _, s := range []struct {
		Side
		events uint64
	}{{ev.Live, sum.Live}, {ev.Candidate, sum.Candidate}} {
		must(s.events == s.Rows, "%s has %s, its event names add up to %s", s.Stack, count(s.Rows, "row"), grouped(s.events))
		var built uint64
		for _, b := range s.Builds {
			built += b.Rows
			must(b.First >= ev.Window.First && b.Last <= ev.Window.Last, "%s ran %s in frames %d to %d, outside the window", s.Stack, ShortBuild(b.ID), b.First, b.Last)
		}
		must(built == s.Rows, "%s has %s, its builds wrote %s", s.Stack, count(s.Rows, "row"), grouped(built))
		must(s.Requests <= s.Rows && s.Requests <= ev.Either.Requests, "%s has %s, both sides together %s", s.Stack, requests(s.Requests), grouped(ev.Either.Requests))
		must(s.Requests+s.Holes.Requests()+s.Absent >= ev.Ledger.Requests, "%s has %s and %s under holes, of %s accepted", s.Stack, requests(s.Requests), grouped(s.Holes.Requests()), grouped(ev.Ledger.Requests))
	}
	must(ev.Window.First > ev.Declared.Sequence, "the window begins at frame %d, the candidate was declared at %d", ev.Window.First, ev.Declared.Sequence)
	f := sum.Faults
	must(sum.Candidate+f.Missing+f.Dead+f.Undelivered+f.Pending+f.RenamedFrom+f.DuplicatesLive ==
		sum.Live+f.Extra+f.DeadLive+f.UndeliveredLive+f.PendingLive+f.RenamedTo+f.DuplicatesCandidate,
		"%s live and %s staging rows do not differ by what is said to differ", grouped(sum.Live), grouped(sum.Candidate))
	must(f.Undelivered == 0 || ev.Candidate.Holes.Requests() > 0, "events were never handed to %s, though it has no holes", ev.Candidate.Stack)
	must(f.UndeliveredLive == 0 || ev.Live.Holes.Requests() > 0, "events were never handed to %s, though it has no holes", ev.Live.Stack)
	must(f.Pending|f.PendingLive == 0, "events are pending in a window that is closed")
	return found
}

// enough asks for what the policy wants to have been seen.
func (j *judge) enough() {
	ev := j.ev
	judged := map[string]uint64{}
	for _, e := range ev.Events {
		n := e.Judged()
		judged[e.Name] += n
		j.v.Judged += n
	}
	if f := ev.Folded; f != nil {
		j.v.Judged += Event{Live: f.Live, Faults: f.Faults}.Judged()
	}
	switch {
	case j.v.Judged == 0 && ev.Ledger.Requests == 0:
		j.because(CodeEmpty, "nothing was accepted in the window")
		j.await("traffic: send some, then compare again")
	case j.v.Judged == 0:
		j.because(CodeEmpty, "no event of the window reached both sides")
		j.await("traffic that both sides are handed")
	case j.v.Judged < j.p.MinEvents:
		j.because(CodeFew, "%s judged, the policy asks for %d", count(j.v.Judged, "event"), j.p.MinEvents)
		j.await("%d more events", j.p.MinEvents-j.v.Judged)
	}
	if len(ev.Candidate.Builds) == 0 && j.v.Judged > 0 {
		j.because(CodeBuild, "no row says which build of the candidate stored it")
	}
	for _, name := range j.p.Required {
		if judged[shorten(name)] == 0 {
			r := Reason{Code: CodeRequired, Event: &name, Text: fmt.Sprintf("the policy asks for event %s, which did not occur on both sides", quoteName(name))}
			j.v.Reasons = append(j.v.Reasons, r)
			j.await("event %s has to occur", quoteName(name))
		}
	}
}

func (j *judge) inconclusive() Verdict {
	j.v.Outcome = Inconclusive
	j.v.Summary = j.v.Reasons[0].Text
	if n := len(j.v.Reasons) - 1; n > 0 {
		j.v.Summary += fmt.Sprintf(" (and %s)", count(uint64(n), "more reason"))
	}
	j.remarks()
	return j.v
}

func (j *judge) fail() Verdict {
	j.v.Outcome = Fail
	var parts []string
	seen := map[Code]uint64{}
	var order []Code
	for _, r := range j.v.Reasons {
		if _, ok := seen[r.Code]; !ok {
			order = append(order, r.Code)
		}
		seen[r.Code] += r.Count
	}
	for _, code := range order {
		parts = append(parts, fmt.Sprintf("%s %s", grouped(seen[code]), code))
	}
	for _, e := range j.ev.Events {
		j.v.Judged += e.Judged()
	}
	if f := j.ev.Folded; f != nil {
		j.v.Judged += Event{Live: f.Live, Faults: f.Faults}.Judged()
	}
	j.v.Summary = fmt.Sprintf("%s of %s", strings.Join(parts, ", "), count(j.v.Judged, "event"))
	for _, open := range j.open() {
		j.note("the window is still open: %s", open)
	}
	j.remarks()
	return j.v
}

func (j *judge) pass() Verdict {
	j.v.Outcome = Pass
	j.v.Summary = fmt.Sprintf("all %s equal on both sides, and all accounted for in the ledger", count(j.v.Judged, "event"))
	j.v.Guarantee = j.guarantee()
	j.remarks()
	return j.v
}

// zeroOf is the one-sided upper bound of a rate of which n trials showed none (Clopper–Pearson).
func zeroOf(n uint64, confidence float64) float64 {
	return 1 - math.Pow(1-confidence, 1/float64(n))
}

// guarantee says what zero differences in so many events prove. Each name is tested at the full level: a PASS needs all
// of them to hold, so nothing has to be corrected for their number.
func (j *judge) guarantee() string {
	names, least, weakest := 0, uint64(math.MaxUint64), ""
	for _, e := range j.ev.Events {
		if n := e.Judged(); n > 0 {
			names++
			if n < least {
				least, weakest = n, e.Name
			}
		}
	}
	if f := j.ev.Folded; f != nil && f.Names > 0 {
		names += f.Names
		if f.Least > 0 && f.Least < least {
			least, weakest = f.Least, ""
		}
	}
	level := share(j.p.Confidence)
	if names == 1 {
		return fmt.Sprintf("loss < %s at %s confidence: none in %s", bound(zeroOf(j.v.Judged, j.p.Confidence)), level, count(j.v.Judged, "event"))
	}
	rare := quoteName(weakest)
	if f := j.ev.Folded; f != nil && f.Least == least {
		rare = "one of those not listed"
	}
	return fmt.Sprintf("loss < %s over all %s, and < %s for each of %d event names, at %s confidence; the weakest is %s with %s",
		bound(zeroOf(j.v.Judged, j.p.Confidence)), count(j.v.Judged, "event"), bound(zeroOf(least, j.p.Confidence)), names, level, rare, count(least, "event"))
}

// remarks adds what every reader of the verdict should know, whatever its outcome.
func (j *judge) remarks() {
	ev := j.ev
	if ev.Declared.Build.ID == "" && !ev.Window.Empty() {
		j.note("no candidate is declared: a cutover will ask for sparrow deploy candidate first, and for a verdict after it")
	}
	for _, s := range []Side{ev.Candidate, ev.Live} {
		h := s.Holes
		if h.Requests() == 0 {
			continue
		}
		var parts []string
		for _, p := range []struct {
			n    uint64
			what string
		}{{h.Dead, "dead-lettered"}, {h.Expired, "expired"}, {h.Sampled, "left out by sampling"}} {
			if p.n > 0 {
				parts = append(parts, fmt.Sprintf("%s %s", grouped(p.n), p.what))
			}
		}
		j.note("%s never got %s of the window (%s)%s: the mirror's doing, left out of the comparison", s.Stack, requests(h.Requests()), strings.Join(parts, ", "), inFrames(h.Spans))
	}
	if ev.Either.UnderBoth > 0 {
		j.note("%s reached neither side, each with its reason in the mirror's ledger; their ids are left out of the sum", requests(ev.Either.UnderBoth))
	}
	if n := len(ev.NotExercised) + ev.MoreNotExercised; n > 0 {
		var names []string
		for _, u := range ev.NotExercised[:min(5, len(ev.NotExercised))] {
			names = append(names, quoteName(u.Name))
		}
		if more := n - len(names); more > 0 {
			names = append(names, fmt.Sprintf("%d more", more))
		}
		j.note("not exercised: %s seen within 28 days did not occur in the window: %s", count(uint64(n), "event name"), strings.Join(names, ", "))
	}
}
