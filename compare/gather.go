package compare

import (
	"context"
	"fmt"
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
	holes, err := c.ledger(ctx) // before anything ends it: the mirror takes no evidence that counts otherwise than itself
	if err != nil || c.ev.Window.Empty() {
		return err
	}
	if gone, err := c.expired(ctx); err != nil || gone {
		return err // what is left of the window would look like events that are missing
	}
	if err := c.date(ctx); err != nil {
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
	l, k, err := c.profiles(ctx, whole)
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
	if err := c.requests(ctx, l, k, odd, whole); err != nil {
		return err
	}
	if len(odd) < len(all) && !c.confirmed() {
		// Both sides agree where the ledger does not: they may have doubled or lost the same rows. Look at all of them.
		odd = all
		if err := c.requests(ctx, l, k, odd, whole); err != nil {
			return err
		}
	}
	t := newTally(warehouse.Raw, l.events, k.events)
	lists := l.lists() || k.lists()
	var statements []string
	for _, p := range chunks(odd, l, k, whole, c.o.ChunkRows) {
		statements = append(statements, c.sql.faults(live, candidate, p, lists, c.o.Examples))
	}
	if err := c.tell(ctx, t, live, candidate, statements); err != nil {
		return err
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
