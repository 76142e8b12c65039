package mirror

import (
	"context"
	"slices"

	"github.com/sparrowhq/sparrow/event"
)

// maxPlaces bounds the holes that are listed one by one in an answer about a window. A sample by request id needs none:
// one hole says by which rule, and any reader of the ids can tell which.
const maxPlaces = 16 << 10

// sampledIn adds to holes what the stack's rules left out of the frames from first to last.
func (f *feed) sampledIn(ctx context.Context, first, last uint64, holes *LedgerHoles) error {
	if f.account.ruled() == 0 || first > last {
		return nil
	}
	left, exact, err := f.leftOut(ctx, first, last+1)
	if err != nil {
		return readingFailed(err)
	}
	holes.Sampled = left
	holes.Approximate = holes.Approximate || !exact
	if left.Requests == 0 {
		return nil
	}
	places := 0
	for _, s := range f.stretches(first, last) {
		left, _, err := f.leftOut(ctx, s.First, s.Last+1)
		if err != nil {
			return readingFailed(err)
		}
		if left.Requests == 0 {
			continue
		}
		whole := Hole{From: event.Cursor{Frame: s.First}, To: event.AfterFrame(s.Last), Reason: event.Sampled, Requests: left.Requests, Sample: s.rule.Sample}
		if s.candidate && len(s.rule.Methods)+len(s.rule.Paths) == 0 && s.rule.Sample.By == event.ByRequestID {
			holes.Holes = append(holes.Holes, whole)
			continue
		}
		found, n := []Hole(nil), uint64(0)
		err = f.eachItem(ctx, s.First, s.Last, func(it item) {
			for _, r := range it.skip {
				if n += uint64(r.to - r.from); places <= maxPlaces {
					found = append(found, Hole{From: event.Cursor{Frame: it.Sequence, Request: r.from}, To: event.Cursor{Frame: it.Sequence, Request: r.to},
						Reason: event.Sampled, Requests: uint64(r.to - r.from)})
				}
				places++
			}
		})
		if err != nil {
			return readingFailed(err)
		}
		if places > maxPlaces || n != left.Requests { // too many, or the frames are gone
			holes.Approximate = true
			continue
		}
		holes.Holes = append(holes.Holes, found...)
	}
	holes.Holes = apart(holes.Holes)
	return nil
}

// stretch is a run of frames with one rule and one role.
type stretch struct {
	event.Span
	rule      Rule
	candidate bool
}

// stretches cuts the frames from first to last where the rule or the role at handover changes; those of which nothing is
// left out are not among them.
func (f *feed) stretches(first, last uint64) []stretch {
	t, _ := f.timelines.current()
	var all []stretch
	for first <= last {
		rule, end := f.account.ruleAt(first)
		if end == 0 || end > last {
			end = last
		}
		for _, r := range t.Records() { // a role changes, at handover, after a record
			if r.Sequence >= first && r.Sequence < end {
				end = r.Sequence
				break
			}
		}
		live, _ := t.AtHandover(first)
		if candidate := live != f.stack.name; !rule.all(candidate) {
			all = append(all, stretch{event.Span{First: first, Last: end}, rule, candidate})
		}
		first = end + 1
	}
	return all
}

// apart puts holes in order, and takes from sampled ones what lies under expired ones.
func apart(holes []Hole) []Hole {
	var out []Hole
	for _, h := range holes {
		if h.Reason != event.Sampled {
			out = append(out, h)
			continue
		}
		for _, x := range holes { // in order, and few
			if x.Reason == event.Sampled || x.From.Compare(h.To) >= 0 || x.To.Compare(h.From) <= 0 {
				continue
			}
			if h.From.Compare(x.From) < 0 {
				before := h
				before.To = x.From
				before.Requests = 0 // of a part it is not known
				out = append(out, before)
			}
			h.From, h.Requests = x.To, 0
		}
		if h.From.Compare(h.To) < 0 {
			out = append(out, h)
		}
	}
	slices.SortFunc(out, func(a, b Hole) int { return a.From.Compare(b.From) })
	return out
}
