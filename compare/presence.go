package compare

import (
	"fmt"

	"github.com/sparrowhq/sparrow/warehouse"
)

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
	if s, role := ev.Candidate, "candidate"; s.rowless() || ev.Live.rowless() {
		if !s.rowless() {
			s, role = ev.Live, "live"
		}
		j.because(CodeRowless, "%s (%s) is a service fed plain HTTP that has written nothing to the warehouse: there is nothing to compare", role, s.Stack)
		j.await("a Sparrow dispatcher on %s (protocol: frames), or a service that appends its rows to the warehouse; without either only sparrow deploy cutover --force --reason is left", s.Stack)
		return
	}
	if ev.Window.Empty() {
		j.because(CodeEmpty, "the window holds no frame: nothing was accepted in %s", ev.Window.Chosen)
		j.await("traffic: send some, then compare again")
		return
	}
	j.opens()
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

// enough asks for what the policy wants to have been seen.
func (j *judge) enough() {
	ev := j.ev
	judged := map[string]uint64{}
	for _, e := range ev.Events {
		if e.Stage == warehouse.Raw {
			judged[e.Name] += e.Judged()
		}
	}
	j.v.Judged = j.judged(warehouse.Raw)
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
	j.exercised()
	for _, name := range j.p.Required {
		if judged[shorten(name)] == 0 {
			r := Reason{Code: CodeRequired, Event: &name, Text: fmt.Sprintf("the policy asks for event %s, which did not occur on both sides", quoteName(name))}
			j.v.Reasons = append(j.v.Reasons, r)
			j.await("event %s has to occur", quoteName(name))
		}
	}
}
