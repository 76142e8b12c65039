package compare

import (
	"context"
	"slices"

	"github.com/sparrowhq/sparrow/warehouse"
)

// unanswered returns the buckets in which raw and trace do not hold the same places on some side.
func (c *collector) unanswered(ctx context.Context, stages []warehouse.Stage, p part) (map[uint64]bool, error) {
	out := map[uint64]bool{}
	if !slices.Contains(stages, warehouse.Trace) {
		return out, nil
	}
	var jobs []job
	for _, side := range []Side{c.ev.Live, c.ev.Candidate} {
		for _, x := range c.digests.splitBoth(warehouse.Raw, warehouse.Trace, p) {
			jobs = append(jobs, func(ctx context.Context) error {
				return c.query(ctx, x.pick(c.sql.unanswered, c.sql.digestUnanswered)(side.Stack, x.part), func(r *row) { out[r.count(0)] = true })
			})
		}
	}
	return out, c.share(ctx, jobs)
}

// repeated finds the buckets among those that are alike on both sides in which live has an outcome twice, and adds them
// to odd: one side tells for both.
func (c *collector) repeated(ctx context.Context, stage warehouse.Stage, l profile, alike []uint64, whole part, odd map[uint64]bool) error {
	told, unread := c.digests.told(stage, alike)
	var jobs []job
	for _, p := range chunks(told, profile{}, profile{}, whole, c.o.ChunkRows) {
		jobs = append(jobs, func(ctx context.Context) error {
			return c.query(ctx, c.sql.digestRepeated(c.ev.Live.Stack, stage, p), func(r *row) { odd[r.count(0)] = true })
		})
	}
	for _, p := range chunks(unread, l, profile{}, whole, c.o.ChunkRows) {
		jobs = append(jobs, func(ctx context.Context) error {
			suspect := !c.sql.ordered
			if c.sql.ordered {
				if err := c.query(ctx, c.sql.disorder(c.ev.Live.Stack, stage, p), func(r *row) { suspect = r.count(0) > 0 }); err != nil {
					return err
				}
			}
			if !suspect {
				return nil
			}
			return c.query(ctx, c.sql.repeated(c.ev.Live.Stack, stage, p), func(r *row) { odd[r.count(0)] = true })
		})
	}
	return c.share(ctx, jobs)
}
