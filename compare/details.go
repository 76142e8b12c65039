package compare

import (
	"cmp"
	"context"
	"slices"

	"github.com/google/uuid"

	"github.com/sparrowhq/sparrow/event"
)

// maxExamples bounds the examples of one evidence, whatever the number of names.
const maxExamples = 500

// maxDiffed bounds the data of an example that is looked into, in bytes.
const maxDiffed = 256 << 10

// stored is one row of an example, as much of it as is needed to say what differs.
type stored struct {
	eventID, name string
	at            int64
	digests       [len(columns)]event.Sum
	data, context *string // nil: NULL, or too large to look into
}

// columns names what a digest is taken of, in the order of the statement details.
var columns = [...]string{"eventId", "timestamp", "event", "data", "dataBytes", "itemsInRequest", "context"}

// exemplify fills in ids, times, and what differs, for as many examples as the evidence may hold.
func (c *collector) exemplify(ctx context.Context, t *tally, live, candidate event.Stack) error {
	examples := c.choose(t)
	if len(examples) == 0 {
		return nil
	}
	var places [][]uint64
	for _, x := range examples {
		places = append(places, []uint64{x.Frame, uint64(x.Request), uint64(x.Item)})
		if x.Kind == LostByBoth {
			places = append(places, []uint64{x.Frame, uint64(x.Request), 0}) // its request's first item tells the id
		}
	}
	l, err := c.details(ctx, live, places)
	if err != nil {
		return err
	}
	k, err := c.details(ctx, candidate, places)
	if err != nil {
		return err
	}
	for _, x := range examples {
		x.describe(l[x.Position], k[x.Position])
		if x.Kind == LostByBoth {
			first := x.Position
			first.Item = 0
			x.derive(slices.Concat(l[first], k[first]))
		}
	}
	return nil
}

// choose keeps at most the stage's share of maxExamples examples, of the names that differ most first, and returns them.
func (c *collector) choose(t *tally) []*Example {
	var events []*Event
	for _, e := range t.byName {
		if len(e.Examples) > 0 {
			events = append(events, e)
		}
	}
	faults := func(e *Event) uint64 {
		return e.Missing + e.Extra + e.Changed + e.Dead + e.DuplicatesLive + e.DuplicatesCandidate + e.Skipped + e.Misrouted
	}
	slices.SortFunc(events, func(a, b *Event) int {
		return cmp.Or(cmp.Compare(faults(b), faults(a)), cmp.Compare(a.Name, b.Name))
	})
	left := maxExamples / (1 + len(c.ev.Stages))
	var chosen []*Example
	take := func(list *[]Example) {
		*list = slices.Clip((*list)[:min(len(*list), left)])
		left -= len(*list)
		for i := range *list {
			chosen = append(chosen, &(*list)[i])
		}
	}
	take(&t.lostExamples)
	for _, e := range events {
		take(&e.Examples)
	}
	return chosen
}

func (c *collector) details(ctx context.Context, stack event.Stack, places [][]uint64) (map[event.Position][]stored, error) {
	out := map[event.Position][]stored{}
	err := c.query(ctx, c.sql.details(stack, places, maxDiffed), func(r *row) {
		at := event.Position{Frame: r.count(0), Request: uint32(r.count(1)), Item: uint32(r.count(2))}
		s := stored{eventID: r.text(3), name: r.text(5)}
		if !r.null(4) {
			s.at = r.signed(4)
		}
		for i := range columns {
			s.digests[i] = r.sum(6 + i)
		}
		text := func(i int) *string {
			if r.null(i) {
				return nil
			}
			s := r.text(i)
			return &s
		}
		s.data, s.context = text(6+len(columns)), text(7+len(columns))
		out[at] = append(out[at], s)
	})
	return out, err
}

// describe says which event an example is, and what differs.
func (x *Example) describe(live, candidate []stored) {
	for _, s := range slices.Concat(live, candidate) {
		x.EventID, x.At = shorten(s.eventID), s.at
		break
	}
	if len(live) == 0 || len(candidate) == 0 {
		return
	}
	for i, name := range columns {
		if !sameDigests(live, candidate, i) {
			x.Columns = append(x.Columns, name)
		}
	}
	if len(live) > 1 || len(candidate) > 1 {
		return // which row to compare with which?
	}
	l, k := live[0], candidate[0]
	if l.name != k.name {
		x.RenamedTo = shorten(k.name)
	}
	for _, f := range []struct {
		column         string
		live, candiate *string
	}{{"data", l.data, k.data}, {"context", l.context, k.context}} {
		if f.live == nil || f.candiate == nil || *f.live == *f.candiate {
			continue
		}
		paths, more := diffPaths(f.column, *f.live, *f.candiate)
		x.Paths = append(x.Paths, paths...)
		x.MorePaths += more
	}
}

// sameDigests reports whether column i takes the same set of values on both sides.
func sameDigests(live, candidate []stored, i int) bool {
	set := func(rows []stored) []event.Sum {
		var out []event.Sum
		for _, s := range rows {
			out = append(out, s.digests[i])
		}
		slices.SortFunc(out, func(a, b event.Sum) int { return cmp.Compare(a.Lo, b.Lo) })
		return slices.Compact(out)
	}
	return slices.Equal(set(live), set(candidate))
}

// derive tells the id of an event that nobody stored from its request's first item.
func (x *Example) derive(first []stored) {
	for _, s := range first {
		if request, _, _, err := event.ParseID(s.eventID); err == nil && request != uuid.Nil {
			x.EventID, x.At = event.ID(request, x.Item, true), s.at
			return
		}
	}
}
