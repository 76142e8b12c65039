package compare

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/sparrowhq/sparrow/event"
)

// maxHoles bounds the ranges a statement is given. Beyond it rows can no longer be attributed, and the verdict says so.
const maxHoles = 20_000

// ledger reads the mirror's count of the window and of what each stack will never get, and returns where the holes are.
func (c *collector) ledger(ctx context.Context) (map[event.Stack][]Hole, error) {
	l, err := c.fit(ctx)
	if err != nil || c.ev.Window.Empty() {
		return nil, err
	}
	w := c.ev.Window
	c.ev.Ledger = LedgerCount{Totals: l.Totals, Complete: l.From == w.First && l.To == w.Last}
	holes := map[event.Stack][]Hole{}
	for _, side := range []*Side{&c.ev.Live, &c.ev.Candidate} {
		of, known := l.Stacks[side.Stack]
		if !known {
			c.unsettled("the ledger does not say what %s will never get", side.Stack)
		}
		side.Holes, holes[side.Stack] = of.locate(w)
		if !side.Holes.Located {
			holes[side.Stack] = nil
			c.unsettled("%s will never get %d requests of the window, and the mirror does not say which in a way that can be followed", side.Stack, side.Holes.Requests())
		}
	}
	both, known := overlap(holes[c.ev.Live.Stack], holes[c.ev.Candidate.Stack])
	c.ev.Either.UnderBoth, c.ev.Either.BothKnown = both, known && c.ev.Live.Holes.Located && c.ev.Candidate.Holes.Located
	return holes, nil
}

// fit asks for the ledger of the window, and cuts the window where its ends lie in frames of which the mirror no longer
// has the detail.
func (c *collector) fit(ctx context.Context) (Ledger, error) {
	w := &c.ev.Window
	for range 3 {
		l, err := c.Pipeline.Ledger(ctx, w.First, w.Last)
		var inexact *InexactError
		if !errors.As(err, &inexact) {
			if err != nil {
				return l, c.mirrorError(ctx, err)
			}
			return l, nil
		}
		switch {
		case inexact.Below < w.First && w.First < inexact.Above:
			w.First = inexact.Above
			w.Chosen += fmt.Sprintf(", cut to begin at %d: of the frames before only whole lines of the ledger are left", w.First)
		case inexact.Below <= w.Last && w.Last+1 < inexact.Above:
			w.Last = inexact.Below - 1
			w.Chosen += fmt.Sprintf(", cut to end at %d: of the frames after only whole lines of the ledger are left", w.Last)
		default:
			return l, c.mirrorError(ctx, err)
		}
		if w.Empty() {
			return Ledger{}, nil
		}
	}
	return Ledger{}, c.mirrorError(ctx, errors.New("its ledger cannot count the window, however it is cut"))
}

// Within sums up the stack's holes within w.
func (l StackLedger) Within(w Window) Holes {
	h, _ := l.locate(w)
	return h
}

// locate returns the stack's holes within w, in order and disjoint, and their summary.
func (l StackLedger) locate(w Window) (Holes, []Hole) {
	all := slices.Clone(l.Holes)
	for _, p := range l.Dead {
		from := event.Cursor{Frame: p.Frame, Request: p.Request}
		all = append(all, Hole{From: from, To: event.Cursor{Frame: p.Frame, Request: p.Request + 1}, Reason: "dead", Requests: 1})
	}
	begin, end := event.Cursor{Frame: w.First}, event.AfterFrame(w.Last)
	h := Holes{Expired: l.Expired.Requests, Sampled: l.Sampled.Requests, Located: true}
	out := disjoint(all, begin, end)
	for _, x := range out {
		switch x.Reason {
		case "dead":
			h.Dead += max(1, x.Requests)
		case "expired", "sampled":
		default:
			h.Located = false // a reason this build does not know explains nothing
		}
		if x.Sample != nil && x.Sample.By != event.ByRequestID {
			h.Located = false // rows do not tell by their ids which of them are meant
		}
		h.note(x)
	}
	place := map[string]bool{}
	for _, x := range out {
		place[x.Reason] = true
	}
	if l.Approximate || h.Expired > 0 && !place["expired"] || h.Sampled > 0 && !place["sampled"] || len(out) > maxHoles {
		h.Located = false
	}
	return h, out
}

// disjoint returns the parts of holes within [begin, end), in order, each place once. Where holes overlap, dead wins: it
// is the one reason a stack can be blamed for.
func disjoint(holes []Hole, begin, end event.Cursor) []Hole {
	byPlace := func(a, b Hole) int { return cmp.Or(a.From.Compare(b.From), a.To.Compare(b.To)) }
	slices.SortFunc(holes, byPlace)
	var out []Hole
	for len(holes) > 0 {
		x := holes[0]
		holes = holes[1:]
		if x.From.Compare(begin) < 0 {
			x.From, x.Requests = begin, 0
		}
		if end.Compare(x.To) < 0 {
			x.To, x.Requests = end, 0
		}
		if n := len(out); n > 0 && x.From.Compare(out[n-1].To) < 0 {
			y := &out[n-1]
			if x.Reason == "dead" && y.Reason != "dead" {
				rest := Hole{From: x.To, To: y.To, Reason: y.Reason, Sample: y.Sample}
				y.To, y.Requests = x.From, 0
				if y.From.Compare(y.To) >= 0 {
					out = out[:n-1]
				}
				at, _ := slices.BinarySearchFunc(holes, rest, byPlace)
				holes = slices.Insert(slices.Clone(holes), at, rest)
			} else {
				x.From, x.Requests = y.To, 0
			}
		}
		if x.From.Compare(x.To) < 0 {
			out = append(out, x)
		}
	}
	return out
}

// note adds the frames of x to the spans shown to people.
func (h *Holes) note(x Hole) {
	first, last := x.From.Frame, x.To.Frame
	if x.To.Request == 0 {
		last--
	}
	if n := len(h.Spans); n > 0 && first <= h.Spans[n-1].Last+1 {
		h.Spans[n-1].Last = max(last, h.Spans[n-1].Last)
		return
	}
	if len(h.Spans) < MaxSpans {
		h.Spans = append(h.Spans, event.Span{First: first, Last: last})
	}
}

// overlap counts the requests under a hole of a and of b. Ranges within one frame count exactly; of ranges across frames
// only the mirror knows how many requests they hold, so that known is false unless they coincide.
func overlap(a, b []Hole) (requests uint64, known bool) {
	known = true
	for len(a) > 0 && len(b) > 0 {
		x, y := a[0], b[0]
		from, to := x.From, x.To
		if from.Compare(y.From) < 0 {
			from = y.From
		}
		if y.To.Compare(to) < 0 {
			to = y.To
		}
		if from.Compare(to) < 0 {
			switch {
			case x.Sample != nil || y.Sample != nil:
				known = false
			case from.Frame == to.Frame:
				requests += uint64(to.Request - from.Request)
			case x.From == y.From && x.To == y.To && x.Requests > 0 && x.Requests == y.Requests:
				requests += x.Requests
			default:
				known = false
			}
		}
		if x.To.Compare(y.To) <= 0 {
			a = a[1:]
		} else {
			b = b[1:]
		}
	}
	return requests, known
}

// maxShortfalls and maxSteps bound the search for frames that do not add up.
const (
	maxShortfalls = 5
	maxSteps      = 200
)

// shortfalls narrows down where the ledger knows of requests that neither side holds, or the sides hold requests that
// the ledger does not know, by asking for halves.
func (c *collector) shortfalls(ctx context.Context, live, candidate edge) error {
	w, e := c.ev.Window, c.ev.Either
	closed := live.cursor.Last() >= w.Last && candidate.cursor.Last() >= w.Last
	if !closed || !c.ev.Ledger.Complete || !e.BothKnown || e.balanced(c.ev.Ledger) {
		return nil
	}
	steps := maxSteps
	var search func(first, last uint64) error
	search = func(first, last uint64) error {
		if steps == 0 || len(c.ev.Lost.Shortfalls) == maxShortfalls {
			return nil
		}
		steps--
		s, ok, err := c.shortfall(ctx, first, last)
		if err != nil || ok {
			return err
		}
		if first < last && steps > 1 {
			middle := first + (last-first)/2
			if err := search(first, middle); err != nil {
				return err
			}
			return search(middle+1, last)
		}
		c.ev.Lost.Shortfalls = append(c.ev.Lost.Shortfalls, s)
		return nil
	}
	return search(w.First, w.Last)
}

// balanced reports whether everything accepted is on at least one side or under a hole on both. Where holes on both
// sides leave ids unknown, the number of requests has to do.
func (e EitherCount) balanced(l LedgerCount) bool {
	return e.Requests+e.UnderBoth == l.Requests && (e.UnderBoth > 0 || e.IDSum == l.IDSum)
}

// shortfall compares a range of frames with the ledger; ok means that it adds up, or cannot be told.
func (c *collector) shortfall(ctx context.Context, first, last uint64) (s Shortfall, ok bool, err error) {
	l, err := c.Pipeline.Ledger(ctx, first, last)
	var inexact *InexactError
	if errors.As(err, &inexact) {
		return s, true, nil
	}
	if err != nil {
		return s, false, c.mirrorError(ctx, err)
	}
	if l.From != first || l.To != last {
		return s, true, nil
	}
	w := Window{First: first, Last: last}
	p := part{first: first, last: last, origin: c.ev.Window.First, width: 1}
	liveHoles, lh := l.Stacks[c.ev.Live.Stack].locate(w)
	candidateHoles, ch := l.Stacks[c.ev.Candidate.Stack].locate(w)
	live, candidate, either, err := c.count(ctx, p)
	if err != nil {
		return s, false, err
	}
	e := EitherCount{Requests: either.requests, IDSum: either.idSum}
	e.UnderBoth, e.BothKnown = overlap(lh, ch)
	if !e.BothKnown || e.balanced(LedgerCount{Totals: l.Totals}) {
		return s, true, nil
	}
	s = Shortfall{Span: event.Span{First: first, Last: last}, Accepted: l.Totals.Requests}
	s.Live, s.Candidate = live.requests+liveHoles.Requests(), candidate.requests+candidateHoles.Requests()
	return s, false, nil
}
