package compare

import (
	"context"
	"maps"
	"slices"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// profile is what a pass over a side's rows tells.
type profile struct {
	buckets map[uint64]bucket
	ids     map[uint64]requestCount // of live's side only, by bucket
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

// profiles reads both sides, each once, and all it needs of a row at once.
func (c *collector) profiles(ctx context.Context, p part) (live, candidate profile, err error) {
	live, l := c.profile(&c.ev.Live, p, true)
	candidate, k := c.profile(&c.ev.Candidate, p, false)
	return live, candidate, c.share(ctx, slices.Concat(l, k))
}

// profile returns what fills a side's profile. With ids it adds up those of requests, too: one side's will do for both.
func (c *collector) profile(s *Side, p part, ids bool) (profile, []job) {
	out := profile{buckets: map[uint64]bucket{}, ids: map[uint64]requestCount{}, events: map[string]uint64{}}
	s.Rows, s.Builds = 0, []BuildSeen{}
	var sums, lists []job
	for _, x := range c.digests.split(warehouse.Raw, p) {
		sql := c.sql.profile
		if x.digested {
			sql = c.sql.digestProfile
		}
		for _, piece := range c.pieces(x) {
			sums = append(sums, func(ctx context.Context) error {
				return c.query(ctx, sql(s.Stack, piece, ids), func(r *row) {
					b := bucket{rows: r.count(1), digest: r.sum(2), requests: r.count(3), owed: r.count(4)}
					out.buckets[r.count(0)] = b
					s.Rows += b.rows
					if ids {
						out.ids[r.count(0)] = requestCount{requests: b.requests, idSum: r.sum(5), badIDs: r.count(6)}
					}
				})
			})
		}
		lists = append(lists, func(ctx context.Context) error {
			return c.query(ctx, x.pick(c.sql.names, c.sql.digestNames)(s.Stack, x.part), func(r *row) { out.events[shorten(r.text(0))] += r.count(1) })
		}, func(ctx context.Context) error {
			return c.query(ctx, x.pick(c.sql.builds, c.sql.digestBuilds)(s.Stack, x.part), func(r *row) {
				s.Builds = addBuild(s.Builds, BuildSeen{ID: r.text(0), Rows: r.count(1), First: r.count(2), Last: r.count(3)})
			})
		})
	}
	return out, append(sums, lists...)
}

// odd returns the buckets that have to be joined row by row.
func (c *collector) odd(ctx context.Context, l, k profile, all []uint64, whole part) ([]uint64, error) {
	odd := map[uint64]bool{}
	for _, b := range all {
		odd[b] = l.buckets[b] != k.buckets[b]
	}
	// Buckets that are alike have the same places taken and owed, so one side tells for both. Digests also tell where one
	// is taken twice.
	var jobs []job
	for _, x := range c.digests.split(warehouse.Raw, whole) {
		if !x.digested && !l.lists() {
			continue
		}
		for _, piece := range c.pieces(x) {
			jobs = append(jobs, func(ctx context.Context) error {
				return c.query(ctx, x.pick(c.sql.places, c.sql.digestPlaces)(c.ev.Live.Stack, piece), func(r *row) { odd[r.count(0)] = true })
			})
		}
	}
	if err := c.share(ctx, jobs); err != nil {
		return nil, err
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
func (c *collector) requests(ctx context.Context, l, k profile, odd []uint64, whole part) error {
	var live, candidate, either requestCount
	for b, ids := range l.ids {
		if _, found := slices.BinarySearch(odd, b); !found {
			either.add(ids)
		}
	}
	live, candidate = either, either
	var jobs []job
	for _, p := range chunks(odd, l, k, whole, c.o.ChunkRows) {
		jobs = append(jobs, func(ctx context.Context) error {
			x, y, z, err := c.count(ctx, p)
			c.telling.Lock()
			defer c.telling.Unlock()
			live.add(x)
			candidate.add(y)
			either.add(z)
			return err
		})
	}
	if err := c.share(ctx, jobs); err != nil {
		return err
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
