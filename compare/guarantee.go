package compare

import (
	"fmt"
	"math"
	"strings"
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
