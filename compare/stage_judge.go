package compare

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sparrowhq/sparrow/warehouse"
)

// opens adds a reason for each stage that is not there or not closed.
func (j *judge) opens() {
	var absent, behind []warehouse.Stage
	for _, g := range j.ev.open(j.needed) {
		j.v.Reasons = append(j.v.Reasons, Reason{Code: g.code, Stage: g.stage, Text: g.text})
		if g.code == CodeStage {
			absent = append(absent, g.stage)
		} else {
			behind = append(behind, g.stage)
		}
	}
	if len(behind) > 0 {
		j.await("the window has to close: compare again with --wait 5m")
	}
	for _, s := range slices.Compact(absent) {
		j.await("stage %s has to run on both sides: configure it for the candidate, or leave it out of compare.stages", shownName(string(s)))
	}
}

// exercised asks each stage beyond raw whether it saw anything that could show a difference.
func (j *judge) exercised() {
	for _, name := range j.needed[1:] {
		s := j.ev.stage(name)
		if s == nil || !s.Live.Found || !s.Candidate.Found {
			continue // it is missing, which is a reason of its own
		}
		shown := shownName(string(name))
		switch n := j.judged(name); {
		case n == 0 && slices.Contains(j.p.Stages, name) && j.v.Judged > 0:
			j.v.Reasons = append(j.v.Reasons, Reason{Code: CodeEmpty, Stage: name, Text: fmt.Sprintf("no event of the window came to %s on both sides, and the policy names it", shown)})
			j.await("traffic that %s is meant for", shown)
		case s.Live.Sent > 0 && s.Candidate.Sent == 0:
			j.v.Reasons = append(j.v.Reasons, Reason{Code: CodeUnseen, Stage: name, Text: fmt.Sprintf("live sent %s at %s, the candidate built none of them: there was nothing to compare their contents with", count(s.Live.Sent, "event"), shown)})
			j.await("send more of the candidate's events to %s, or all of them: raise its sampling for staging", shown)
		}
	}
}

// stageRemarks adds what every reader should know of the stages beyond raw.
func (j *judge) stageRemarks() {
	ev := j.ev
	for _, s := range ev.Stages {
		name := shownName(string(s.Stage))
		needed := slices.Contains(j.needed, s.Stage)
		if !needed {
			var sum Faults
			for _, e := range ev.Events {
				if e.Stage == s.Stage {
					sum.add(e.Faults)
				}
			}
			for _, f := range ev.Folded {
				if f.Stage == s.Stage {
					sum.add(f.Faults)
				}
			}
			switch why := j.undecided(s); {
			case sum.Differ():
				j.note("stage %s differs (%s) and decides nothing: %s", name, Event{Faults: sum}.differs(), why)
			default:
				j.note("stage %s decides nothing: %s", name, why)
			}
		} else if s.Live.Found && s.Candidate.Found && s.Live.Rows+s.Candidate.Rows == 0 {
			j.note("not exercised: no event of the window came to stage %s", name)
		}
		for _, side := range []struct {
			stack string
			StageSide
		}{{string(ev.Candidate.Stack), s.Candidate}, {string(ev.Live.Stack), s.Live}} {
			if side.Unseen > 0 {
				j.note("%s neither built nor sent %s of %s at %s (dry run or sampling): what would have been sent is not compared", side.stack, grouped(side.Unseen), count(side.Rows, "event"), name)
			}
			if side.Rehearsed > 0 {
				j.note("%s built and did not send %s of %s at %s (dry run or sampling): what would have been sent is compared", side.stack, grouped(side.Rehearsed), count(side.Rows, "event"), name)
			}
			if side.Retries > 0 {
				j.note("%s at %s took %s: not a difference", side.stack, name, retries(side.Retries))
			}
			if side.Again > 0 {
				ids := make([]string, min(5, len(side.AgainIDs)))
				for i := range ids {
					ids[i] = Visible(side.AgainIDs[i])
				}
				j.note("%s at %s sent %s again after a crash, since the vendor may not have had them: %s", side.stack, name, count(side.Again, "event"), strings.Join(ids, ", "))
			}
		}
	}
}

func retries(n uint64) string {
	if n == 1 {
		return "1 retry"
	}
	return grouped(n) + " retries"
}

// undecided says why a stage decides nothing.
func (j *judge) undecided(s StageEvidence) string {
	if len(j.p.Stages) > 0 {
		return "compare.stages leaves it out"
	}
	return "live does not have it"
}
