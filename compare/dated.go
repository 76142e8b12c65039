package compare

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// date finds out when what the window holds was received, where the engine divides its tables by that, so that the
// statements that read rows read no other days.
//
// No row is missed: each came in one append with a mark that tells of its frame and time, in the partition that is always
// read. What is appended after the marks were read lies past the cursors, which were read before, and whoever lacks it
// need not have it yet. Where a mark does not tell, all days are read.
func (c *collector) date(ctx context.Context) error {
	if c.undated.table == nil {
		c.undated = c.sql
	}
	c.sql, c.recent = c.undated, 0
	if c.sql.dated == nil || c.ev.Window.Empty() {
		return nil
	}
	var raw, log days
	err := c.query(ctx, c.sql.received(c.ev.Window), func(r *row) {
		d := &log
		if r.text(0) == string(warehouse.Raw) {
			d = &raw
		}
		if r.count(3) == 0 {
			*d = days{r.signed(1), r.signed(2)}
		}
	})
	if err != nil {
		return err
	}
	c.sql = c.sql.dated(raw, log)
	if raw != (days{}) && !c.o.Exact {
		c.recent = raw.from - 24*time.Hour.Microseconds()
	}
	return nil
}

// outside calls each with the names that occurred outside the window since an instant, those with most events first.
// Reading the rows of four weeks for it would cost more than the comparison itself where the engine is paid by the byte:
// there, of what is older than a day before the window, it takes the digests' word, which know what was ever compared.
func (c *collector) outside(ctx context.Context, since int64, each func(name string, n uint64, last int64)) error {
	type seen struct {
		name string
		n    uint64
		last int64
	}
	var all []seen
	note := func(r *row) {
		s := seen{shorten(r.text(0)), r.count(1), r.signed(2)}
		if i := slices.IndexFunc(all, func(x seen) bool { return x.name == s.name }); i >= 0 {
			all[i].n, all[i].last = all[i].n+s.n, max(all[i].last, s.last)
			return
		}
		all = append(all, s)
	}
	live, candidate := c.ev.Live.Stack, c.ev.Candidate.Stack
	if err := c.query(ctx, c.undated.unexercised(live, candidate, c.ev.Window, max(since, c.recent)), note); err != nil {
		return err
	}
	if since < c.recent {
		if err := c.query(ctx, c.undated.digestUnexercised(live, candidate, c.ev.Window, since, c.recent), note); err != nil {
			return err
		}
	}
	slices.SortStableFunc(all, func(a, b seen) int { return cmp.Or(cmp.Compare(b.n, a.n), strings.Compare(a.name, b.name)) })
	for _, s := range all {
		each(s.name, s.n, s.last)
	}
	return nil
}

// received tells for raw and for what lies beyond it between which times the window's rows were received, on either side,
// and how many marks do not tell.
func (d dialect) received(w Window) string {
	return fmt.Sprintf(`SELECT kind, COALESCE(MIN("from"), 0) AS since, COALESCE(MAX("to"), 0) AS until, SUM(CASE WHEN "first" IS NULL OR "from" IS NULL OR odd > 0 THEN 1 ELSE 0 END) AS untold
FROM (
  SELECT CASE WHEN stage = %[1]s THEN %[1]s ELSE '' END AS kind, "first", "from", "to", odd
  FROM %[2]s
  WHERE run = 0 AND "last" >= %[3]d AND ("first" <= %[4]d OR "first" IS NULL) AND stack IN (%[5]s, %[6]s)
) AS r
GROUP BY kind`, quoted(string(warehouse.Raw)), d.spans, w.First, w.Last, quoted(string(event.Green)), quoted(string(event.Blue)))
}

// makeDigests has the engine make the digests that are lacking, if it waits to be asked. What it cannot make is read as
// rows; lacking then says why.
func (c *collector) makeDigests(ctx context.Context) (lacking string, err error) {
	e, ok := c.Warehouse.(warehouse.DigestMaker)
	if !ok || c.sql.spans == "" {
		return "", nil
	}
	bounded, cancel := context.WithTimeout(ctx, c.o.QueryWait)
	defer cancel()
	err = e.MakeDigests(bounded, c.ev.Window.First, c.ev.Window.Last)
	if err != nil && ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	if err != nil {
		return fmt.Sprintf("some could not be made: %v", err), nil
	}
	return "", nil
}
