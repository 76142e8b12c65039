package compare

import (
	"fmt"
	"slices"
)

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
