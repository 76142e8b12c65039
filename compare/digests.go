package compare

import (
	"context"
	"fmt"
	"slices"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// Reading says how a stage was compared. Numbers are of rows of both sides.
type Reading struct {
	Stage warehouse.Stage `json:"stage"`
	// Digested rows were not looked at: the digests that the warehouse made of them as it stored them say that they are
	// alike. Joined rows were compared one by one, since their bucket differs, or may. The others were read and summed up.
	Digested uint64 `json:"digested"`
	Summed   uint64 `json:"summed"`
	Joined   uint64 `json:"joined"`
	Refused  string `json:"refused,omitempty"` // why digests that are there were not used
}

// coverage knows which buckets of the window have digests on both sides. The zero coverage has none.
type coverage struct {
	frames  uint64 // of a digest
	whole   part
	buckets map[warehouse.Stage]map[uint64]bool // of the window's grid
	refused string
}

func (g *coverage) on() bool { return len(g.buckets) > 0 }

func (g *coverage) refuse(why string) { *g = coverage{refused: why} }

// grid lays the window's buckets so that each is made of whole digests; width 0: digests are of no use for it.
func (g *coverage) grid(w Window) (origin, width uint64) {
	if g.frames == 0 {
		return 0, 0
	}
	origin = w.First / g.frames * g.frames
	if first := (w.First + g.frames - 1) / g.frames; w.Last+1 < (first+1)*g.frames {
		return 0, 0
	}
	return origin, ((w.Last-origin)/(maxBuckets*g.frames) + 1) * g.frames
}

// cover finds out what need not be read row by row.
func (c *collector) cover(ctx context.Context) error {
	c.digests = coverage{}
	e, ok := c.Warehouse.(warehouse.Digester)
	if !ok || c.o.Exact || c.sql.digests == nil {
		return nil
	}
	frames, err := e.DigestFrames(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return &UnreadableError{Side: "warehouse", Err: err}
	}
	c.digests.frames = frames
	if _, width := c.digests.grid(c.ev.Window); width == 0 {
		c.digests.frames = 0
		return nil
	}
	lacking, err := c.makeDigests(ctx)
	if err != nil {
		return err
	}
	whole := c.whole()
	sides := map[event.Stack]map[warehouse.Stage]map[uint64]uint64{}
	for _, s := range []Side{c.ev.Live, c.ev.Candidate} {
		marks := map[warehouse.Stage]map[uint64]uint64{}
		err := c.query(ctx, c.sql.marks(s.Stack, whole), func(r *row) {
			stage := warehouse.Stage(r.text(0))
			if marks[stage] == nil {
				marks[stage] = map[uint64]uint64{}
			}
			marks[stage][r.count(1)] = r.count(2)
		})
		if err != nil {
			return err
		}
		sides[s.Stack] = marks
	}
	c.digests.whole, c.digests.buckets = whole, map[warehouse.Stage]map[uint64]bool{}
	for stage, marks := range sides[c.ev.Live.Stack] {
		covered := map[uint64]bool{}
		for b, n := range marks {
			first, last := max(whole.first, whole.origin+b*whole.width), min(whole.last, whole.origin+b*whole.width+whole.width-1)
			if want := last/frames - first/frames + 1; n == want && sides[c.ev.Candidate.Stack][stage][b] == want {
				covered[b] = true
			}
		}
		if len(covered) > 0 {
			c.digests.buckets[stage] = covered
		}
	}
	c.digests.refused = lacking
	return nil
}

// source is a part of the window and what tells of it: digests or rows.
type source struct {
	part
	digested bool
	stages   []warehouse.Stage
}

// pick returns the statement for the source.
func (s source) pick(rows, digests func(event.Stack, part) string) func(event.Stack, part) string {
	if s.digested {
		return digests
	}
	return rows
}

// maxRuns is how many ranges of frames are read one by one; more of them in one statement that looks at everything between.
const maxRuns = 16

// split divides the window into what a stage's digests tell and the rest.
func (g *coverage) split(stage warehouse.Stage, p part) []source {
	return g.divide(func(b uint64) bool { return g.buckets[stage][b] }, p)
}

// splitBoth is split for what takes the digests of two stages.
func (g *coverage) splitBoth(x, y warehouse.Stage, p part) []source {
	return g.divide(func(b uint64) bool { return g.buckets[x][b] && g.buckets[y][b] }, p)
}

// splitStages is split for several stages, those alike together.
func (g *coverage) splitStages(stages []warehouse.Stage, p part) []source {
	var groups [][]warehouse.Stage
next:
	for _, s := range stages {
		for i, group := range groups {
			if equalSets(g.buckets[group[0]], g.buckets[s]) {
				groups[i] = append(group, s)
				continue next
			}
		}
		groups = append(groups, []warehouse.Stage{s})
	}
	var out []source
	for _, group := range groups {
		for _, x := range g.split(group[0], p) {
			x.stages = group
			out = append(out, x)
		}
	}
	return out
}

func equalSets(a, b map[uint64]bool) bool {
	if len(a) != len(b) {
		return false
	}
	for k := range a {
		if !b[k] {
			return false
		}
	}
	return true
}

func (g *coverage) divide(digested func(uint64) bool, p part) []source {
	if !g.on() {
		return []source{{part: p}}
	}
	var told []uint64
	var runs [][]uint64
	var rest []uint64
	for b := uint64(0); p.origin+b*p.width <= p.last; b++ {
		if digested(b) {
			told = append(told, b)
			continue
		}
		if len(rest) == 0 || rest[len(rest)-1] != b-1 {
			runs = append(runs, nil)
		}
		runs[len(runs)-1] = append(runs[len(runs)-1], b)
		rest = append(rest, b)
	}
	if len(runs) > maxRuns {
		runs = [][]uint64{rest}
	}
	var out []source
	for _, x := range chunks(told, profile{}, profile{}, p, 1) {
		out = append(out, source{part: x, digested: true})
	}
	for _, run := range runs {
		for _, x := range chunks(run, profile{}, profile{}, p, 1) {
			out = append(out, source{part: x})
		}
	}
	return out
}

// told divides buckets into those that a stage's digests tell of and the others.
func (g *coverage) told(stage warehouse.Stage, buckets []uint64) (digested, rest []uint64) {
	for _, b := range buckets {
		if g.buckets[stage][b] {
			digested = append(digested, b)
		} else {
			rest = append(rest, b)
		}
	}
	return digested, rest
}

// undisturbed reports whether each side has as many rows in the window as were told of.
func (c *collector) undisturbed(ctx context.Context, whole part) (bool, error) {
	same := true
	for _, s := range []Side{c.ev.Live, c.ev.Candidate} {
		err := c.query(ctx, c.sql.count(s.Stack, whole), func(r *row) { same = same && r.count(0) == s.Rows })
		if err != nil {
			return false, err
		}
	}
	return same, nil
}

// undisturbedOutcomes reports whether each side has as many first outcomes, where there are digests, as those have counted.
func (c *collector) undisturbedOutcomes(ctx context.Context, stages []warehouse.Stage, whole part) (bool, error) {
	same := true
	for _, s := range []Side{c.ev.Live, c.ev.Candidate} {
		for _, x := range c.digests.splitStages(stages, whole) {
			if !x.digested {
				continue
			}
			var counted, there uint64
			if err := c.query(ctx, c.sql.digestCount(s.Stack, x.stages, x.part), func(r *row) { counted = r.count(0) }); err != nil {
				return false, err
			}
			if err := c.query(ctx, c.sql.outcomeCount(s.Stack, x.stages, x.part), func(r *row) { there = r.count(0) }); err != nil {
				return false, err
			}
			same = same && counted == there
		}
	}
	return same, nil
}

// read notes how a stage was compared.
func (c *collector) read(stage warehouse.Stage, l, k profile, odd []uint64) {
	slices.Sort(odd)
	r := Reading{Stage: stage, Refused: c.digests.refused}
	for _, b := range union(l.buckets, k.buckets) {
		n := l.buckets[b].rows + k.buckets[b].rows
		switch _, joined := slices.BinarySearch(odd, b); {
		case joined:
			r.Joined += n
		case c.digests.buckets[stage][b]:
			r.Digested += n
		default:
			r.Summed += n
		}
	}
	c.ev.Readings = append(c.ev.Readings, r)
}

// String says it in a line.
func (r Reading) String() string {
	s := fmt.Sprintf("%s: %s known alike by digests, %s summed up, %s joined", shownName(string(r.Stage)), count(r.Digested, "row"), grouped(r.Summed), grouped(r.Joined))
	if r.Refused != "" {
		s += "; digests not used: " + r.Refused
	}
	return s
}
