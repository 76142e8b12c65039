package compare

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/sparrowhq/sparrow/warehouse"
)

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
	type what struct {
		code  Code
		stage warehouse.Stage
	}
	var parts []string
	seen := map[what]uint64{}
	var order []what
	for _, r := range j.v.Reasons {
		w := what{r.Code, r.Stage}
		if w.stage == "" {
			w.stage = warehouse.Raw
		}
		if _, ok := seen[w]; !ok {
			order = append(order, w)
		}
		seen[w] += r.Count
	}
	for _, w := range order {
		part := fmt.Sprintf("%s %s", grouped(seen[w]), w.code)
		if w.stage != warehouse.Raw {
			part += " at " + shownName(string(w.stage))
		}
		parts = append(parts, part)
	}
	j.v.Judged = j.judged(warehouse.Raw)
	j.v.Summary = fmt.Sprintf("%s of %s", strings.Join(parts, ", "), count(j.v.Judged, "event"))
	for _, open := range j.ev.open(j.needed) {
		j.note("the window is still open: %s", open.text)
	}
	j.remarks()
	return j.v
}

// judged counts the events judged at a stage.
func (j *judge) judged(stage warehouse.Stage) (n uint64) {
	for _, e := range j.ev.Events {
		if e.Stage == stage {
			n += e.Judged()
		}
	}
	for _, f := range j.ev.Folded {
		if f.Stage == stage {
			n += Event{Live: f.Live, Faults: f.Faults}.Judged()
		}
	}
	return n
}

func (j *judge) pass() Verdict {
	j.v.Outcome = Pass
	j.v.Summary = fmt.Sprintf("all %s equal on both sides, and all accounted for in the ledger", count(j.v.Judged, "event"))
	if len(j.needed) > 1 {
		j.v.Summary = fmt.Sprintf("all %s equal on both sides at %s, and all accounted for in the ledger", count(j.v.Judged, "event"), stageList(j.needed))
	}
	j.v.Guarantee = j.guarantee()
	j.remarks()
	return j.v
}

// stageList names stages in a sentence.
func stageList(stages []warehouse.Stage) string {
	names := make([]string, len(stages))
	for i, s := range stages {
		names[i] = shownName(string(s))
	}
	if n := len(names); n > 1 {
		return strings.Join(names[:n-1], ", ") + " and " + names[n-1]
	}
	return strings.Join(names, "")
}

// zeroOf is the one-sided upper bound of a rate of which n trials showed none (Clopper–Pearson).
func zeroOf(n uint64, confidence float64) float64 {
	return 1 - math.Pow(1-confidence, 1/float64(n))
}

// guarantee says what zero differences in so many events prove. Each name is tested at the full level at each stage: a
// PASS needs all of them to hold, so nothing has to be corrected for their number.
func (j *judge) guarantee() string {
	names, least, weakest := map[string]bool{}, uint64(math.MaxUint64), ""
	folded, tests := 0, 0
	take := func(n uint64, what string, stage warehouse.Stage) {
		if n == 0 || n >= least {
			return
		}
		least, weakest = n, what
		if stage != warehouse.Raw {
			weakest += " at " + shownName(string(stage))
		}
	}
	for _, e := range j.ev.Events {
		if n := e.Judged(); n > 0 && slices.Contains(j.needed, e.Stage) {
			names[e.Name] = true
			tests++
			take(n, quoteName(e.Name), e.Stage)
		}
	}
	for _, f := range j.ev.Folded {
		if slices.Contains(j.needed, f.Stage) {
			folded = max(folded, f.Names)
			tests += f.Names
			take(f.Least, "one of those not listed", f.Stage)
		}
	}
	level := share(j.p.Confidence)
	if tests == 1 {
		return fmt.Sprintf("loss < %s at %s confidence: none in %s", bound(zeroOf(j.v.Judged, j.p.Confidence)), level, count(j.v.Judged, "event"))
	}
	at := ""
	if len(j.needed) > 1 {
		at = " at each stage"
	}
	return fmt.Sprintf("loss < %s over all %s, and < %s for each of %s%s, at %s confidence; the weakest is %s with %s",
		bound(zeroOf(j.v.Judged, j.p.Confidence)), count(j.v.Judged, "event"), bound(zeroOf(least, j.p.Confidence)), count(uint64(len(names)+folded), "event name"), at, level, weakest, count(least, "event"))
}

// remarks adds what every reader of the verdict should know, whatever its outcome.
func (j *judge) remarks() {
	ev := j.ev
	if ev.Declared.Build.ID == "" && !ev.Window.Empty() {
		j.note("no candidate is declared: a cutover will ask for sparrow deploy candidate first, and for a verdict after it")
	}
	j.stageRemarks()
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
