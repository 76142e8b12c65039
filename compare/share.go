package compare

import (
	"context"
	"slices"
	"sync"
)

// job asks one or more statements.
type job func(context.Context) error

// share runs jobs, Options.AtOnce at a time, in order of their beginning. It returns the first error, once nothing runs
// any more; the jobs that then are left it does not begin.
func (c *collector) share(ctx context.Context, jobs []job) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	left := make(chan job, len(jobs))
	for _, j := range jobs {
		left <- j
	}
	close(left)
	var running sync.WaitGroup
	for range min(c.o.AtOnce, len(jobs)) {
		running.Go(func() {
			for j := range left {
				if ctx.Err() != nil {
					return
				}
				if err := j(ctx); err != nil {
					stop(err) // the first one counts
				}
			}
		})
	}
	running.Wait()
	return context.Cause(ctx)
}

// pieces divides a source into ranges of whole buckets for statements of their own, where a statement runs on one
// processor. An event is a row at least, so that the journal's requests tell how many rows there may be.
func (c *collector) pieces(x source) []part {
	n := int(c.ev.Ledger.Requests/c.o.PieceRows) + 1
	if x.digested || !c.sql.single || n == 1 {
		return []part{x.part}
	}
	buckets := x.buckets
	if len(buckets) == 0 {
		for b := (x.first - x.origin) / x.width; b <= (x.last-x.origin)/x.width; b++ {
			buckets = append(buckets, b)
		}
	}
	var out []part
	for some := range slices.Chunk(buckets, (len(buckets)-1)/n+1) {
		for _, p := range chunks(some, profile{}, profile{}, x.part, 1) {
			p.first, p.last = max(p.first, x.first), min(p.last, x.last)
			out = append(out, p)
		}
	}
	return out
}
