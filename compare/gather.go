package compare

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/sparrowhq/sparrow/event"
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
	holes, err := c.ledger(ctx)
	if err != nil {
		return err
	}
	live := edge{stack: c.ev.Live.Stack, cursor: c.ev.Live.Stored[stages[0]], holes: holes[c.ev.Live.Stack]}
	candidate := edge{stack: c.ev.Candidate.Stack, cursor: c.ev.Candidate.Stored[stages[0]], holes: holes[c.ev.Candidate.Stack]}
	return c.rows(ctx, live, candidate)
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
	whole := part{first: c.ev.Window.First, last: c.ev.Window.Last, origin: c.ev.Window.First, width: bucketWidth(c.ev.Window)}
	l, err := c.profile(ctx, live.stack, whole)
	if err != nil {
		return err
	}
	k, err := c.profile(ctx, candidate.stack, whole)
	if err != nil {
		return err
	}
	c.ev.Live.Rows, c.ev.Live.Builds = l.rows, l.builds
	c.ev.Candidate.Rows, c.ev.Candidate.Builds = k.rows, k.builds
	odd, err := c.odd(ctx, l, k, live.stack, whole)
	if err != nil {
		return err
	}
	if err := c.requests(ctx, l, k, odd, whole); err != nil {
		return err
	}
	if len(odd) < len(union(l.buckets, k.buckets)) && !c.confirmed() {
		// Both sides agree where the ledger does not: they may have doubled or lost the same rows. Look at all of them.
		odd = union(l.buckets, k.buckets)
		if err := c.requests(ctx, l, k, odd, whole); err != nil {
			return err
		}
	}
	t := newTally(l.events, k.events)
	for _, p := range chunks(odd, l, k, whole, c.o.ChunkRows) {
		if err := c.faults(ctx, t, live, candidate, p); err != nil {
			return err
		}
	}
	c.ev.Candidate.Absent, c.ev.Live.Absent, c.ev.Lost.Events = t.missingRequests, t.extraRequests, t.lost
	if err := c.exemplify(ctx, t, live.stack, candidate.stack); err != nil {
		return err
	}
	c.ev.Events, c.ev.Folded = t.listed(c.o.Events)
	if err := c.shortfalls(ctx, live, candidate); err != nil {
		return err
	}
	return c.unexercised(ctx, t)
}

// profile is what one pass over a side's rows tells.
type profile struct {
	rows    uint64
	buckets map[uint64]bucket
	events  map[string]uint64
	builds  []BuildSeen
}

type bucket struct {
	rows, requests, owed, badIDs uint64
	digest, idSum                event.Sum
}

func (c *collector) profile(ctx context.Context, stack event.Stack, p part) (profile, error) {
	out := profile{buckets: map[uint64]bucket{}, events: map[string]uint64{}, builds: []BuildSeen{}}
	err := c.query(ctx, c.sql.profile(stack, p), func(r *row) {
		n := r.count(4)
		switch r.text(0) {
		case "bucket":
			out.rows += n
			out.buckets[r.count(1)] = bucket{rows: n, digest: r.sum(5), requests: r.count(6), owed: r.count(7), idSum: r.sum(8), badIDs: r.count(9)}
		case "event":
			out.events[shorten(r.text(2))] += n
		case "build":
			out.builds = append(out.builds, BuildSeen{ID: r.text(3), Rows: n, First: r.count(10), Last: r.count(11)})
		}
	})
	slices.SortFunc(out.builds, func(a, b BuildSeen) int { return cmp.Or(cmp.Compare(a.First, b.First), cmp.Compare(a.ID, b.ID)) })
	return out, err
}

// odd returns the buckets that have to be joined row by row.
func (c *collector) odd(ctx context.Context, l, k profile, live event.Stack, whole part) ([]uint64, error) {
	odd := map[uint64]bool{}
	lists := false
	for _, b := range union(l.buckets, k.buckets) {
		x, y := l.buckets[b], k.buckets[b]
		odd[b] = x != y || x.rows != x.owed
		lists = lists || x.rows != x.requests
	}
	if lists {
		// Buckets that are equal have equal places taken and owed, so one side tells for both.
		err := c.query(ctx, c.sql.places(live, whole), func(r *row) { odd[r.count(0)] = true })
		if err != nil {
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

// requests counts distinct requests on each side and on either: from the profile where a bucket is known to be clean, by
// a statement of its own where it is odd.
func (c *collector) requests(ctx context.Context, l, k profile, odd []uint64, whole part) error {
	var live, candidate, either requestCount
	for b, x := range l.buckets {
		if _, found := slices.BinarySearch(odd, b); !found {
			n := requestCount{requests: x.requests, badIDs: x.badIDs, idSum: x.idSum}
			live.add(n)
			candidate.add(n)
			either.add(n)
		}
	}
	for _, p := range chunks(odd, l, k, whole, 4*c.o.ChunkRows) {
		for _, q := range []struct {
			sum    *requestCount
			stacks []event.Stack
		}{
			{&live, []event.Stack{c.ev.Live.Stack}},
			{&candidate, []event.Stack{c.ev.Candidate.Stack}},
			{&either, []event.Stack{c.ev.Live.Stack, c.ev.Candidate.Stack}},
		} {
			n, err := c.count(ctx, p, q.stacks...)
			if err != nil {
				return err
			}
			q.sum.add(n)
		}
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

func (c *collector) count(ctx context.Context, p part, stacks ...event.Stack) (n requestCount, err error) {
	err = c.query(ctx, c.sql.requests(p, stacks...), func(r *row) {
		n = requestCount{requests: r.count(0), idSum: r.sum(1), badIDs: r.count(2)}
	})
	return n, err
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
		p.first = whole.origin + from*whole.width
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
	return c.query(ctx, c.sql.unexercised(c.ev.Live.Stack, c.ev.Candidate.Stack, c.ev.Window, since), func(r *row) {
		name := shorten(r.text(0))
		if e, ok := t.byName[name]; ok && e.Judged() > 0 {
			return
		}
		if len(c.ev.NotExercised) >= c.o.Events {
			c.ev.MoreNotExercised++
			return
		}
		c.ev.NotExercised = append(c.ev.NotExercised, Unexercised{Name: name, Events: r.count(1), LastSeen: r.signed(2)})
	})
}
