package compare

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// MaxName bounds an event name in the evidence, in bytes: clients choose names.
const MaxName = 256

// shorten returns name, or, if it is too long, its beginning and a hash that keeps it apart from others.
func shorten(name string) string {
	if len(name) <= MaxName {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	cut := name[:MaxName-24]
	for len(cut) > 0 && !utf8.ValidString(cut) {
		cut = cut[:len(cut)-1]
	}
	return strings.ToValidUTF8(cut, "") + "…#" + hex.EncodeToString(sum[:8])
}

// tally collects the evidence of one stage per event name.
type tally struct {
	stage           warehouse.Stage
	byName          map[string]*Event
	lost            uint64
	lostExamples    []Example
	missingRequests uint64 // requests that only live holds, unexplained
	extraRequests   uint64 // requests that only the candidate holds, unexplained
}

func newTally(stage warehouse.Stage, live, candidate map[string]uint64) *tally {
	t := &tally{stage: stage, byName: map[string]*Event{}}
	for name, n := range live {
		t.of(name).Live += n
	}
	for name, n := range candidate {
		t.of(name).Candidate += n
	}
	return t
}

func (t *tally) of(name string) *Event {
	e := t.byName[name]
	if e == nil {
		e = &Event{Name: name, Stage: t.stage}
		t.byName[name] = e
	}
	return e
}

// fault is one line of what the statement faults answers.
type fault struct {
	kind, cause     uint64
	name            string
	at              event.Position
	amount          uint64 // of the example
	total, firsts   uint64 // of all of this (kind, cause, name) in the part
	live, candidate event.Stack
}

// tell reads the answers of faults into the tally: of a few statements at the same time, but in their order, so that the
// first examples are the first there are.
func (c *collector) tell(ctx context.Context, t *tally, live, candidate edge, statements []string) error {
	for some := range slices.Chunk(statements, c.o.AtOnce) {
		answers := make([][]fault, len(some))
		var jobs []job
		for i, sql := range some {
			jobs = append(jobs, func(ctx context.Context) error {
				return c.query(ctx, sql, func(r *row) {
					answers[i] = append(answers[i], fault{kind: r.count(0), cause: r.count(1), name: shorten(r.text(2)), amount: r.count(6), total: r.count(7), firsts: r.count(8),
						at: event.Position{Frame: r.count(3), Request: uint32(r.count(4)), Item: uint32(r.count(5))}, live: live.stack, candidate: candidate.stack})
				})
			})
		}
		if err := c.share(ctx, jobs); err != nil {
			return err
		}
		for _, faults := range answers {
			var last fault
			for _, f := range faults {
				if f.kind != last.kind || f.cause != last.cause || f.name != last.name {
					t.count(f)
				}
				t.exemplify(f, c.o.Examples)
				last = f
			}
		}
	}
	return nil
}

// count adds a line's totals.
func (t *tally) count(f fault) {
	if f.kind == faultLost && t.stage == warehouse.Raw {
		t.lost += f.total
		return
	}
	e := t.of(f.name)
	switch {
	case f.kind == faultLost:
		e.Skipped += f.total
	case f.cause == causeUpstream && f.kind == faultMissing:
		e.Upstream += f.total
	case f.cause == causeUpstream:
		e.UpstreamLive += f.total
	case f.cause == causeDead && t.stage != warehouse.Raw && f.kind == faultMissing:
		e.Undelivered += f.total // it is told once, at raw, that the stack failed on it
	case f.cause == causeDead && t.stage != warehouse.Raw:
		e.UndeliveredLive += f.total
	case f.kind == faultMissing && f.cause == causeAbsent:
		e.Missing += f.total
		t.missingRequests += f.firsts
	case f.kind == faultMissing && f.cause == causeDead:
		e.Dead += f.total
	case f.kind == faultMissing && f.cause == causePending:
		e.Pending += f.total
	case f.kind == faultMissing:
		e.Undelivered += f.total
	case f.kind == faultExtra && f.cause == causeAbsent:
		e.Extra += f.total
		t.extraRequests += f.firsts
	case f.kind == faultExtra && f.cause == causeDead:
		e.DeadLive += f.total
	case f.kind == faultExtra && f.cause == causePending:
		e.PendingLive += f.total
	case f.kind == faultExtra:
		e.UndeliveredLive += f.total
	case f.kind == faultChanged:
		e.Changed += f.total
	case f.kind == faultRenamedFrom:
		e.RenamedFrom += f.total
	case f.kind == faultRenamedTo:
		e.RenamedTo += f.total
	case f.kind == faultDoubledLive:
		e.DuplicatesLive += f.total
	case f.kind == faultDoubledCandidate:
		e.DuplicatesCandidate += f.total
	}
}

// exemplify keeps a line's position as an example, up to limit per event name and kind.
func (t *tally) exemplify(f fault, limit int) {
	x := Example{Position: f.at}
	lacking := f.candidate
	if f.kind == faultExtra {
		lacking = f.live
	}
	switch {
	case f.kind == faultLost && t.stage != warehouse.Raw:
		x.Kind = Skipped
	case f.kind == faultLost:
		x.Kind = LostByBoth
	case f.cause != causeAbsent && t.stage != warehouse.Raw:
		return // an example of the earlier stage shows it, or there is nothing to see yet
	case f.kind == faultRenamedFrom, f.kind == faultRenamedTo:
		return // an example of the kind changed shows it
	case f.kind == faultChanged:
		x.Kind = Changed
	case f.kind == faultDoubledLive:
		x.Kind, x.Side, x.Copies = Doubled, f.live, f.amount+1
	case f.kind == faultDoubledCandidate:
		x.Kind, x.Side, x.Copies = Doubled, f.candidate, f.amount+1
	case f.cause == causePending:
		x.Kind, x.Side = Pending, lacking
	case f.cause == causeDead:
		x.Kind, x.Side = Dead, lacking
	case f.cause != causeAbsent:
		x.Kind, x.Side = Undelivered, lacking
	case f.kind == faultMissing:
		x.Kind = Missing
	default:
		x.Kind = Extra
	}
	list := &t.lostExamples
	if x.Kind != LostByBoth {
		list = &t.of(f.name).Examples
	}
	keep(list, x, limit)
}

// keep adds an example, unless there are limit of its kind.
func keep(list *[]Example, x Example, limit int) {
	have := 0
	for _, y := range *list {
		if y.Kind == x.Kind && y.Side == x.Side {
			have++
		}
	}
	if have < limit {
		*list = append(*list, x)
	}
}

// listed returns the events, those that differ first and then by rows, and what did not fit summed up.
func (t *tally) listed(limit int) ([]Event, *Folded) {
	events := make([]Event, 0, len(t.byName))
	for _, e := range t.byName {
		events = append(events, *e)
	}
	weight := func(e Event) int {
		if e.Differ() {
			return 0
		}
		return 1
	}
	slices.SortFunc(events, func(a, b Event) int {
		return cmp.Or(cmp.Compare(weight(a), weight(b)), cmp.Compare(b.Live+b.Candidate, a.Live+a.Candidate), cmp.Compare(a.Name, b.Name))
	})
	if len(events) <= limit {
		return events, nil
	}
	f := &Folded{Stage: t.stage, Names: len(events) - limit, Least: ^uint64(0)}
	for _, e := range events[limit:] {
		f.Live += e.Live
		f.Candidate += e.Candidate
		f.Faults.add(e.Faults)
		if n := e.Judged(); n > 0 {
			f.Least = min(f.Least, n)
		}
	}
	if f.Least == ^uint64(0) {
		f.Least = 0
	}
	return slices.Clip(events[:limit]), f
}
