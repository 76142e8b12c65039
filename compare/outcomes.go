package compare

import (
	"context"
	"maps"
	"slices"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// maxAgain bounds the list of ids of what a stage sent again after a crash.
const maxAgain = 20

// stageAt is a stage on one stack.
type stageAt struct {
	stack event.Stack
	stage warehouse.Stage
}

// stages finds the stages beyond raw and how far each side has stored them. Those of an earlier look are found anew.
func (c *collector) stages(ctx context.Context) error {
	found, late, err := c.stored(ctx)
	if err != nil {
		return err
	}
	c.late = late
	names := map[warehouse.Stage]bool{}
	for at := range found {
		names[at.stage] = true
	}
	for _, s := range (Policy{Stages: c.o.Stages}).Needed(c.ev) {
		names[s] = true
	}
	delete(names, warehouse.Raw)
	c.ev.Stages = nil
	for _, name := range slices.SortedFunc(maps.Keys(names), byStage) {
		s := StageEvidence{Stage: name}
		for _, side := range []*Side{&c.ev.Live, &c.ev.Candidate} {
			at, ok := found[stageAt{side.Stack, name}]
			if s.side(c.ev, side.Stack).Found = ok; ok {
				side.Stored[name] = at
			}
		}
		c.ev.Stages = append(c.ev.Stages, s)
	}
	return nil
}

// stored reads the cursors of all stages beyond raw, and how many corrections each has seen.
func (c *collector) stored(ctx context.Context) (found, late map[stageAt]event.Cursor, err error) {
	found, late = map[stageAt]event.Cursor{}, map[stageAt]event.Cursor{}
	err = c.query(ctx, c.sql.cursors(), func(r *row) {
		stage := warehouse.Stage(r.text(1))
		to, at := found, stageAt{event.Stack(r.text(0)), stage.Base()}
		if stage != at.stage {
			to = late
		}
		if at.stage != warehouse.Raw {
			to[at] = event.Cursor{Frame: r.count(2), Request: uint32(r.count(3))}
		}
	})
	return found, late, err
}

// corrected notes stages whose outcomes were corrected while they were read.
func (c *collector) corrected(ctx context.Context) error {
	_, late, err := c.stored(ctx)
	if err != nil {
		return err
	}
	for _, s := range c.ev.Stages {
		for _, stack := range event.Stacks() {
			if at := (stageAt{stack, s.Stage}); late[at] != c.late[at] {
				c.unsettled("outcomes of %s at %s were corrected while they were read; run it again", stack, shownName(string(s.Stage)))
			}
		}
	}
	return nil
}

// outcomes compares the stages beyond raw: a cheap pass over all of them at once, then for each a join of what it found to
// differ.
func (c *collector) outcomes(ctx context.Context, holes map[event.Stack][]Hole) error {
	var names []warehouse.Stage
	for _, s := range c.ev.Stages {
		if s.Live.Found || s.Candidate.Found {
			names = append(names, s.Stage)
		}
	}
	if len(names) == 0 {
		return nil
	}
	whole := c.whole()
	if c.digests.on() {
		same, err := c.undisturbedOutcomes(ctx, names, whole)
		if err != nil {
			return err
		}
		if !same {
			c.digests.refuse("the warehouse holds another number of outcomes than its digests have counted")
			whole = c.whole()
		}
	}
	var l, k map[warehouse.Stage]stageProfile
	err := c.share(ctx, []job{
		func(ctx context.Context) (err error) {
			l, err = c.outcomeProfile(ctx, c.ev.Live.Stack, liveSink, names, whole)
			return err
		},
		func(ctx context.Context) (err error) {
			k, err = c.outcomeProfile(ctx, c.ev.Candidate.Stack, candidateSink, names, whole)
			return err
		},
	})
	if err != nil {
		return err
	}
	skipped, err := c.unanswered(ctx, names, whole)
	if err != nil {
		return err
	}
	for _, name := range names {
		lp, kp := l[name], k[name]
		odd := map[uint64]bool{}
		var alike []uint64
		for _, b := range union(lp.buckets, kp.buckets) {
			if lp.buckets[b] != kp.buckets[b] || lp.late[b] || kp.late[b] || name == warehouse.Trace && skipped[b] {
				odd[b] = true
			} else {
				alike = append(alike, b)
			}
		}
		maps.Copy(odd, lp.late) // a correction need not have anything to correct
		maps.Copy(odd, kp.late)
		if name == warehouse.Trace {
			maps.Copy(odd, skipped)
		}
		t := newTally(name, lp.events, kp.events)
		live, candidate := c.edges(name, holes)
		live.traceCorrected, candidate.traceCorrected = len(l[warehouse.Trace].late) > 0, len(k[warehouse.Trace].late) > 0
		// Where both sides are alike they may still have sent the same events twice, and one side tells for both.
		if err := c.repeated(ctx, name, lp.profile, alike, whole, odd); err != nil {
			return err
		}
		var statements []string
		for _, p := range c.apart(odd, lp, kp, whole) {
			live.corrected, candidate.corrected = p.corrected, p.corrected
			statements = append(statements, c.sql.outcomeFaults(live, candidate, name, p.part, c.o.Examples))
		}
		if err := c.tell(ctx, t, live, candidate, statements); err != nil {
			return err
		}
		c.read(name, lp.profile, kp.profile, slices.Collect(maps.Keys(odd)))
		for n, count := range lp.misrouted {
			t.of(n).MisroutedLive += count
		}
		for n, count := range kp.misrouted {
			t.of(n).Misrouted += count
		}
		for _, side := range []stageProfile{lp, kp} {
			for _, s := range side.strays {
				keep(&t.of(s.name).Examples, s.Example, c.o.Examples)
			}
		}
		if err := c.exemplifyOutcomes(ctx, t, lp, kp); err != nil {
			return err
		}
		c.list(t)
	}
	return nil
}

// stageProfile is what a pass over a side's outcomes of one stage tells.
type stageProfile struct {
	profile
	late      map[uint64]bool // buckets with corrections
	misrouted map[string]uint64
	strays    []stray
	again     []event.Position
}

// joined is a part to be joined, and whether there may be corrections in it.
type joined struct {
	part
	corrected bool
}

// apart packs buckets into parts, those with corrections into parts of their own: they take five times as long to read.
func (c *collector) apart(odd map[uint64]bool, l, k stageProfile, whole part) []joined {
	var first, late []uint64
	for _, b := range slices.Sorted(maps.Keys(odd)) {
		if l.late[b] || k.late[b] {
			late = append(late, b)
		} else {
			first = append(first, b)
		}
	}
	var out []joined
	for _, p := range chunks(first, l.profile, k.profile, whole, c.o.ChunkRows) {
		out = append(out, joined{p, false})
	}
	for _, p := range chunks(late, l.profile, k.profile, whole, c.o.ChunkRows) {
		out = append(out, joined{p, true})
	}
	return out
}

// stray is an example of a misrouted outcome, under its event's name.
type stray struct {
	Example
	name string
}

// outcomeProfile sums up a side's stages. Nearly all outcomes are never corrected, so the first ones are counted, and
// those of buckets with corrections taken away again and counted as they are now.
func (c *collector) outcomeProfile(ctx context.Context, stack event.Stack, sink string, stages []warehouse.Stage, p part) (map[warehouse.Stage]stageProfile, error) {
	out := map[warehouse.Stage]stageProfile{}
	for _, s := range stages {
		out[s] = stageProfile{profile: profile{buckets: map[uint64]bucket{}, events: map[string]uint64{}}, late: map[uint64]bool{}, misrouted: map[string]uint64{}}
	}
	n := names{}
	for _, x := range c.digests.splitStages(stages, p) {
		profile, counts := c.sql.outcomeProfile(stack, x.stages, x.part), c.sql.outcomeNames(stack, false, sink, x.stages, x.part)
		if x.digested {
			profile, counts = c.sql.digestOutcomeProfile(stack, x.stages, x.part), c.sql.digestOutcomeNames(stack, sink, x.stages, x.part)
		}
		err := c.query(ctx, profile, func(r *row) {
			out[warehouse.Stage(r.text(0))].buckets[r.count(1)] = bucket{rows: r.count(2), digest: r.sum(3)}
		})
		if err != nil {
			return nil, err
		}
		if err := c.query(ctx, counts, n.plus); err != nil {
			return nil, err
		}
	}
	late := map[uint64]bool{}
	err := c.query(ctx, c.sql.late(stack, stages, p), func(r *row) {
		out[warehouse.Stage(r.text(0))].late[r.count(1)] = true
		late[r.count(1)] = true
	})
	if err != nil {
		return nil, err
	}
	if len(late) > 0 {
		for _, part := range chunks(slices.Sorted(maps.Keys(late)), profile{}, profile{}, p, c.o.ChunkRows) {
			if err := c.query(ctx, c.sql.outcomeNames(stack, false, sink, stages, part), n.minus); err != nil {
				return nil, err
			}
			if err := c.query(ctx, c.sql.outcomeNames(stack, true, sink, stages, part), n.plus); err != nil {
				return nil, err
			}
		}
	}
	c.telling.Lock() // the other side adds to the same stages
	strays := n.into(c.ev, stack, out)
	c.telling.Unlock()
	if !strays {
		return out, nil
	}
	err = c.query(ctx, c.sql.strays(stack, len(late) > 0, sink, stages, p, c.o.Examples), func(r *row) {
		stage := warehouse.Stage(r.text(1))
		of := out[stage]
		at := event.Position{Frame: r.count(3), Request: uint32(r.count(4)), Item: uint32(r.count(5))}
		switch r.count(0) {
		case strayMisrouted:
			of.strays = append(of.strays, stray{Example{Kind: Misrouted, Position: at, Side: stack, Sink: shorten(r.text(6))}, shorten(r.text(2))})
		case strayAgain:
			of.again = append(of.again, at)
		}
		out[stage] = of
	})
	return out, err
}
