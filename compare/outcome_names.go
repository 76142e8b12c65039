package compare

import (
	"cmp"
	"slices"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// names are a side's outcomes by stage, event name and build.
type names map[nameKey]*tallied

type nameKey struct {
	stage       warehouse.Stage
	name, build string
}

// tallied is what outcomeNames tells of one of them.
type tallied struct {
	first, last uint64
	counts      [7]uint64 // rows, went, rehearsed, unseen, retries, again, misrouted
}

func (n names) of(r *row) *tallied {
	k := nameKey{warehouse.Stage(r.text(0)), shorten(r.text(1)), r.text(2)}
	if n[k] == nil {
		n[k] = &tallied{first: r.count(4), last: r.count(5)}
	}
	return n[k]
}

var countColumns = [...]int{3, 6, 7, 8, 9, 10, 11}

func (n names) plus(r *row) {
	t := n.of(r)
	t.first, t.last = min(t.first, r.count(4)), max(t.last, r.count(5))
	for i, column := range countColumns {
		t.counts[i] += r.count(column)
	}
}

func (n names) minus(r *row) {
	t := n.of(r)
	for i, column := range countColumns {
		t.counts[i] -= r.count(column)
	}
}

// into adds the names to the evidence and the profiles, and reports whether there are strays to be looked up.
func (n names) into(ev *Evidence, stack event.Stack, out map[warehouse.Stage]stageProfile) (strays bool) {
	for k, t := range n {
		rows := t.counts[0]
		if rows == 0 {
			continue
		}
		side := ev.stage(k.stage).side(ev, stack)
		side.Rows += rows
		side.add(BuildSeen{ID: k.build, Rows: rows, First: t.first, Last: t.last})
		for i, to := range []*uint64{&side.Sent, &side.Rehearsed, &side.Unseen, &side.Retries, &side.Again} {
			*to += t.counts[1+i]
		}
		out[k.stage].events[k.name] += rows
		if m := t.counts[6]; m > 0 {
			out[k.stage].misrouted[k.name] += m
		}
		strays = strays || t.counts[5]+t.counts[6] > 0
	}
	return strays
}

// add counts rows of a build.
func (s *StageSide) add(b BuildSeen) {
	s.Builds = addBuild(s.Builds, b)
}

// addBuild counts rows of a build in a list by first frame.
func addBuild(list []BuildSeen, b BuildSeen) []BuildSeen {
	i := slices.IndexFunc(list, func(x BuildSeen) bool { return x.ID == b.ID })
	if i < 0 {
		list = append(list, b)
	} else {
		x := &list[i]
		x.Rows += b.Rows
		x.First, x.Last = min(x.First, b.First), max(x.Last, b.Last)
	}
	slices.SortFunc(list, func(a, b BuildSeen) int { return cmp.Or(cmp.Compare(a.First, b.First), cmp.Compare(a.ID, b.ID)) })
	return list
}
