package compare

import (
	"fmt"

	"github.com/sparrowhq/sparrow/warehouse"
)

// gap is something that a window still waits for.
type gap struct {
	code  Code
	stage warehouse.Stage // empty: the feed
	text  string
}

// open says what still stands between the evidence and a closed window for these stages.
func (ev *Evidence) open(stages []warehouse.Stage) []gap {
	var out []gap
	for _, s := range []struct {
		role string
		Side
	}{{"live", ev.Live}, {"candidate", ev.Candidate}} {
		if s.Feed.Last() < ev.Window.Last {
			out = append(out, gap{CodeOpen, "", fmt.Sprintf("%s (%s) was handed everything up to frame %d, the window ends at %d%s", s.role, s.Stack, s.Feed.Last(), ev.Window.Last, s.why())})
		}
		for _, stage := range stages {
			if of := ev.stage(stage); stage != warehouse.Raw && (of == nil || !of.side(ev, s.Stack).Found) {
				out = append(out, gap{CodeStage, stage, fmt.Sprintf("%s (%s) has no stage %s", s.role, s.Stack, shownName(string(stage)))})
				continue
			}
			if last := s.Stored[stage].Last(); last < ev.Window.Last {
				behind := ""
				if rank(stage) > 1 {
					behind = fmt.Sprintf(": the tracker is %s behind", count(ev.Window.Last-last, "frame"))
				}
				out = append(out, gap{CodeOpen, stage, fmt.Sprintf("%s (%s) has stored %s up to frame %d, the window ends at %d%s", s.role, s.Stack, shownName(string(stage)), last, ev.Window.Last, behind)})
			}
		}
	}
	return out
}

// closed reports whether nothing of stage raw is to come any more.
func (ev *Evidence) closed() bool { return len(ev.open([]warehouse.Stage{warehouse.Raw})) == 0 }

func (s Side) why() string {
	if s.Error == "" {
		return ""
	}
	return ": " + s.Error
}
