package compare

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// maxBuckets bounds the pieces a window is divided into for the cheap first pass.
const maxBuckets = 4096

// unexercisedFor is how far back an event name counts as one that ought to occur.
const unexercisedFor = 28 * 24 * time.Hour

// gather reads both datasets and the ledger for the window.
func (c *collector) gather(ctx context.Context) error {
	if err := c.journals(ctx); err != nil {
		return err
	}
	if c.ev.Window.Empty() {
		return nil
	}
	if gone, err := c.expired(ctx); err != nil || gone {
		return err // what is left of the window would look like events that are missing
	}
	if err := c.date(ctx); err != nil {
		return err
	}
	holes, err := c.ledger(ctx)
	if err != nil || c.ev.Window.Empty() {
		return err
	}
	if err := c.cover(ctx); err != nil {
		return err
	}
	live, candidate := c.edges(warehouse.Raw, holes)
	if err := c.rows(ctx, live, candidate); err != nil {
		return err
	}
	return c.outcomes(ctx, holes)
}

// edges returns what each side can still not be blamed for at a stage.
func (c *collector) edges(stage warehouse.Stage, holes map[event.Stack][]Hole) (live, candidate edge) {
	of := func(s Side) edge { return edge{stack: s.Stack, cursor: s.Stored[stage], holes: holes[s.Stack]} }
	return of(c.ev.Live), of(c.ev.Candidate)
}

// whole is the window as one part.
func (c *collector) whole() part {
	w := c.ev.Window
	if origin, width := c.digests.grid(w); width > 0 {
		return part{first: w.First, last: w.Last, origin: origin, width: width}
	}
	return part{first: w.First, last: w.Last, origin: w.First, width: bucketWidth(w)}
}

// journals checks that the window's frames can only be this journal's.
func (c *collector) journals(ctx context.Context) error {
	known, err := c.Warehouse.Journals(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return &UnreadableError{Side: "warehouse", Err: err}
	}
	found := false
	for _, j := range known {
		if j.ID == c.ev.Journal {
			found = true
			if c.ev.Window.First < j.First && !c.ev.Window.Empty() && len(known) > 1 {
				c.unsettled("the window begins at frame %d, before the journal's first at %d: older frames belong to another journal", c.ev.Window.First, j.First)
			}
			continue
		}
		if j.Highest >= c.ev.Window.First {
			c.unsettled("the warehouse holds frames up to %d of another journal (%s): the window would mix them", j.Highest, j.ID)
		}
	}
	if !found && len(known) > 0 {
		c.unsettled("the warehouse has nothing of the journal %s that the mirror writes", c.ev.Journal)
	}
	return nil
}

func (c *collector) unsettled(format string, args ...any) {
	c.ev.Unsettled = append(c.ev.Unsettled, fmt.Sprintf(format, args...))
}

// bucketWidth returns how many frames share a bucket.
func bucketWidth(w Window) uint64 {
	return (w.Last-w.First)/maxBuckets + 1
}

// rows compares the rows: a cheap pass over both sides, then a join of what it found to differ.
func (c *collector) rows(ctx context.Context, live, candidate edge) error {
	whole := c.whole()
	l, err := c.profile(ctx, &c.ev.Live, whole)
	if err != nil {
		return err
	}
	k, err := c.profile(ctx, &c.ev.Candidate, whole)
	if err != nil {
		return err
	}
	if c.digests.on() {
		// Digests are as old as their rows. What was taken out of the table since, they do not know.
		same, err := c.undisturbed(ctx, whole)
		if err != nil {
			return err
		}
		if !same {
			c.digests.refuse("the warehouse holds another number of rows than its digests have counted")
			return c.rows(ctx, live, candidate)
		}
	}
	all := union(l.buckets, k.buckets)
	odd, err := c.odd(ctx, l, k, all, whole)
	if err != nil {
		return err
	}
	if err := c.requests(ctx, l, k, odd, all, whole); err != nil {
		return err
	}
	if len(odd) < len(all) && !c.confirmed() {
		// Both sides agree where the ledger does not: they may have doubled or lost the same rows. Look at all of them.
		odd = all
		if err := c.requests(ctx, l, k, odd, all, whole); err != nil {
			return err
		}
	}
	t := newTally(warehouse.Raw, l.events, k.events)
	lists := l.lists() || k.lists()
	for _, p := range chunks(odd, l, k, whole, c.o.ChunkRows) {
		if err := c.faults(ctx, t, live, candidate, p, lists); err != nil {
			return err
		}
	}
	c.read(warehouse.Raw, l, k, odd)
	c.ev.Candidate.Absent, c.ev.Live.Absent, c.ev.Lost.Events = t.missingRequests, t.extraRequests, t.lost
	if err := c.exemplify(ctx, t, live.stack, candidate.stack); err != nil {
		return err
	}
	c.ev.Lost.Examples = t.lostExamples
	c.list(t)
	if err := c.shortfalls(ctx, live, candidate); err != nil {
		return err
	}
	return c.unexercised(ctx, t)
}

// list adds a stage's names to the evidence, each stage's share of them.
func (c *collector) list(t *tally) {
	events, folded := t.listed(max(1, c.o.Events/(1+len(c.ev.Stages))))
	c.ev.Events = append(c.ev.Events, events...)
	if folded != nil {
		c.ev.Folded = append(c.ev.Folded, *folded)
	}
}

// profile is what a pass over a side's rows tells.
type profile struct {
	buckets map[uint64]bucket
	events  map[string]uint64
}

type bucket struct {
	rows, requests, owed uint64
	digest               event.Sum
}

// lists reports whether the side holds anything but requests of a single event.
func (p profile) lists() bool {
	for _, b := range p.buckets {
		if b.rows != b.requests || b.owed != b.requests {
			return true
		}
	}
	return false
}

func (c *collector) profile(ctx context.Context, s *Side, p part) (profile, error) {
	out := profile{buckets: map[uint64]bucket{}, events: map[string]uint64{}}
	s.Rows, s.Builds = 0, []BuildSeen{}
	for _, x := range c.digests.split(warehouse.Raw, p) {
		err := c.query(ctx, x.pick(c.sql.profile, c.sql.digestProfile)(s.Stack, x.part), func(r *row) {
			b := bucket{rows: r.count(1), digest: r.sum(2), requests: r.count(3), owed: r.count(4)}
			out.buckets[r.count(0)] = b
			s.Rows += b.rows
		})
		if err != nil {
			return out, err
		}
		if err := c.query(ctx, x.pick(c.sql.names, c.sql.digestNames)(s.Stack, x.part), func(r *row) { out.events[shorten(r.text(0))] += r.count(1) }); err != nil {
			return out, err
		}
		err = c.query(ctx, x.pick(c.sql.builds, c.sql.digestBuilds)(s.Stack, x.part), func(r *row) {
			s.Builds = addBuild(s.Builds, BuildSeen{ID: r.text(0), Rows: r.count(1), First: r.count(2), Last: r.count(3)})
		})
		if err != nil {
			return out, err
		}
	}
	return out, nil
}

// odd returns the buckets that have to be joined row by row.
func (c *collector) odd(ctx context.Context, l, k profile, all []uint64, whole part) ([]uint64, error) {
	odd := map[uint64]bool{}
	for _, b := range all {
		odd[b] = l.buckets[b] != k.buckets[b]
	}
	// Buckets that are alike have the same places taken and owed, so one side tells for both. Digests also tell where one
	// is taken twice.
	for _, x := range c.digests.split(warehouse.Raw, whole) {
		if !x.digested && !l.lists() {
			continue
		}
		if err := c.query(ctx, x.pick(c.sql.places, c.sql.digestPlaces)(c.ev.Live.Stack, x.part), func(r *row) { odd[r.count(0)] = true }); err != nil {
			return nil, err
		}
	}
	maps.DeleteFunc(odd, func(_ uint64, is bool) bool { return !is })
	return slices.Sorted(maps.Keys(odd)), nil
}

func union(a, b map[uint64]bucket) []uint64 {
	keys := slices.Collect(maps.Keys(a))
	for k := range b {
		if _, ok := a[k]; !ok {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return keys
}

// requests counts distinct requests on each side and on either: once for both where a bucket is known to be clean, by
// joining where it is odd.
func (c *collector) requests(ctx context.Context, l, k profile, odd, all []uint64, whole part) error {
	var live, candidate, either requestCount
	if len(odd) < len(all) {
		for _, x := range c.digests.split(warehouse.Raw, whole) {
			err := c.query(ctx, x.pick(c.sql.firsts, c.sql.digestFirsts)(c.ev.Live.Stack, x.part), func(r *row) {
				if _, found := slices.BinarySearch(odd, r.count(0)); !found {
					either.add(requestCount{requests: r.count(1), idSum: r.sum(2), badIDs: r.count(3)})
				}
			})
			if err != nil {
				return err
			}
		}
		live, candidate = either, either
	}
	for _, p := range chunks(odd, l, k, whole, c.o.ChunkRows) {
		x, y, z, err := c.count(ctx, p)
		if err != nil {
			return err
		}
		live.add(x)
		candidate.add(y)
		either.add(z)
	}
	c.ev.Live.Requests, c.ev.Live.IDSum = live.requests, live.idSum
	c.ev.Candidate.Requests, c.ev.Candidate.IDSum = candidate.requests, candidate.idSum
	c.ev.Either.Requests, c.ev.Either.IDSum, c.ev.Either.BadIDs = either.requests, either.idSum, either.badIDs
	return nil
}

type requestCount struct {
	requests, badIDs uint64
	idSum            event.Sum
}

func (r *requestCount) add(s requestCount) {
	r.requests += s.requests
	r.badIDs += s.badIDs
	r.idSum = r.idSum.Add(s.idSum)
}

// count joins a part's requests.
func (c *collector) count(ctx context.Context, p part) (live, candidate, either requestCount, err error) {
	err = c.query(ctx, c.sql.requests(c.ev.Live.Stack, c.ev.Candidate.Stack, p), func(r *row) {
		if r.count(4) == 0 {
			return // sums of nothing are NULL
		}
		live = requestCount{requests: r.count(0), idSum: r.sum(1)}
		candidate = requestCount{requests: r.count(2), idSum: r.sum(3)}
		either = requestCount{requests: r.count(4), idSum: r.sum(5), badIDs: r.count(6)}
	})
	return live, candidate, either, err
}

// confirmed reports whether the ledger vouches for what both sides hold.
func (c *collector) confirmed() bool {
	e, l := c.ev.Either, c.ev.Ledger
	return l.Complete && e.BadIDs == 0 && e.Requests == l.Requests && e.IDSum == l.IDSum
}

// chunks packs buckets into parts of about rows rows, so that no statement needs more memory than that.
func chunks(buckets []uint64, l, k profile, whole part, rows uint64) []part {
	var parts []part
	var filled uint64
	for _, b := range buckets {
		n := l.buckets[b].rows + k.buckets[b].rows
		if len(parts) == 0 || filled+n > rows {
			parts = append(parts, part{origin: whole.origin, width: whole.width})
			filled = 0
		}
		filled += n
		p := &parts[len(parts)-1]
		p.buckets = append(p.buckets, b)
	}
	for i := range parts {
		p := &parts[i]
		from, to := p.buckets[0], p.buckets[len(p.buckets)-1]
		p.first = max(whole.first, whole.origin+from*whole.width)
		p.last = min(whole.last, whole.origin+to*whole.width+whole.width-1)
		if to-from+1 == uint64(len(p.buckets)) {
			p.buckets = nil // without a gap: the frames say it all
		}
	}
	return parts
}

// unexercised lists the event names that occurred lately, but not in the window.
func (c *collector) unexercised(ctx context.Context, t *tally) error {
	end := c.ev.Ledger.LastAt
	if end == 0 {
		end = c.o.Now().UnixMicro()
	}
	since := end - unexercisedFor.Microseconds()
	return c.outside(ctx, since, func(name string, n uint64, last int64) {
		if e, ok := t.byName[name]; ok && e.Judged() > 0 {
			return
		}
		if len(c.ev.NotExercised) >= c.o.Events {
			c.ev.MoreNotExercised++
			return
		}
		c.ev.NotExercised = append(c.ev.NotExercised, Unexercised{Name: name, Events: n, LastSeen: last})
	})
}
