package mirror

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/journal"
)

// An http stack keeps no cursor, so its feed does, in rounds:
//
//	          cursor                      intent
//	───────────┼──────┬─────┬──────────────┼─────────────
//	 final     │ done │ not │ done …       │ never sent
//
// Before anything is sent, how far sending may get is durable; the cursor is durable with it, or not far behind. So after a
// crash only what lies between the two is sent again, which is one round and the last few requests (unnoted) before it:
// at-least-once is all that plain HTTP can be given, and this is its bound. What may thus be a repetition is counted, and
// told to the service in a header.
//
// Within a round requests are sent several at a time and finish in any order; the cursor moves to the first that has not.

// maxRound is how many requests a round holds.
const maxRound = 1024

// freshNeighbours is how many requests a round may hold beyond what it holds anyway, when all that it would send is
// requests that fail: only beside others that get through can they be told to be at fault. It is also the least.
const freshNeighbours = 16

// limit is how many requests the next round may hold, given isolation's limit.
func (r *rounds) limit(isolation uint32) uint32 {
	if isolation == 0 || isolation > maxRound {
		isolation = maxRound
	}
	return max(isolation, freshNeighbours) + r.extra
}

// rounds is what a feed knows of the requests at and above its cursor, beside the journal.
type rounds struct {
	done     map[event.Cursor]bool       // the stack has them
	doubt    map[event.Cursor]bool       // sent, and no answer came
	suspects map[event.Cursor]*suspicion // the stack answered that it cannot take them
	passed   int                         // requests that got through since there are suspects
	extra    uint32                      // requests that a round may hold beyond maxRound; at most as many again
	before   event.Cursor                // below it, a process before this one may have sent anything
}

// suspicion is a request that the stack failed at.
type suspicion struct {
	failed int // times
	passed int // requests that had got through when it last failed
	since  time.Time
	due    time.Time // when it may be tried again
	last   contentError
}

func newRounds(before event.Cursor) rounds {
	return rounds{done: map[event.Cursor]bool{}, doubt: map[event.Cursor]bool{}, suspects: map[event.Cursor]*suspicion{}, before: before}
}

// forget drops what lies below c.
func (r *rounds) forget(c event.Cursor) {
	for at := range r.done {
		if at.Compare(c) < 0 {
			delete(r.done, at)
		}
	}
	for at := range r.doubt {
		if at.Compare(c) < 0 {
			delete(r.doubt, at)
		}
	}
	for at := range r.suspects {
		if at.Compare(c) < 0 {
			delete(r.suspects, at)
		}
	}
}

// letters returns what of d is to be sent now. If nothing is, wait says how long the first suspect still rests.
func (r *rounds) letters(d *delivery, now time.Time) (letters []letter, wait time.Duration, err error) {
	for i := range d.frames {
		f := &d.frames[i]
		decoded, err := event.DecodeFrame(f.data)
		if err != nil {
			return nil, 0, fmt.Errorf("frame %d: %w", f.sequence, err)
		}
		f.each(func(at event.Cursor) {
			if r.done[at] {
				return
			}
			s := r.suspects[at]
			if s != nil && now.Before(s.due) {
				if left := s.due.Sub(now); wait == 0 || left < wait {
					wait = left
				}
				return
			}
			letters = append(letters, letter{at: at, request: decoded.Requests[at.Request], live: f.live, generation: f.generation,
				again: r.doubt[at] || s == nil && at.Compare(r.before) < 0})
		})
	}
	return letters, wait, nil
}

// each calls fn for the requests of the frame that are delivered, in order.
func (f *deliveredFrame) each(fn func(at event.Cursor)) {
	skip := f.skip
	for n := f.from; n < f.to; n++ {
		for len(skip) > 0 && skip[0].to <= n {
			skip = skip[1:]
		}
		if len(skip) > 0 && skip[0].from <= n {
			continue
		}
		fn(event.Cursor{Frame: f.sequence, Request: n})
	}
}

// until returns the part of d below c, which is a request that d brings.
func (d *delivery) until(c event.Cursor) *delivery {
	p := &delivery{journal: d.journal, from: d.from, to: c, full: d.full}
	for i := range d.frames {
		f := &d.frames[i]
		n := uint64(0)
		f.each(func(at event.Cursor) {
			if at.Compare(c) < 0 {
				n++
			}
		})
		p.requests += n
		p.bytes += int(uint64(len(f.data)) * n / uint64(max(f.to-f.from, 1)))
	}
	for _, h := range d.holes {
		if h.Reason == event.Sampled && h.To.Compare(c) <= 0 {
			p.sampled += h.Requests
		}
	}
	return p
}

// round sends what of d the stack does not have, and moves the cursor as far as everything is final.
func (f *feed) round(ctx context.Context, d *delivery) error {
	if d.requests == 0 {
		f.confirm(ctx, d, applied{})
		return nil
	}
	f.rounds.forget(f.account.skip(d.from))
	letters, wait, err := f.rounds.letters(d, time.Now())
	if err != nil {
		return &blockedError{detail: err.Error()}
	}
	if len(letters) == 0 && wait > 0 {
		f.rest(ctx, wait, true) // or until others come
		return nil
	}
	if f.account.intend(d.to, d.requests) {
		// On a full disk nothing can be written down before room is made, which takes a feed that goes on.
		if err := f.save(ctx); err != nil && !errors.Is(err, journal.ErrFull) {
			return &busyError{err: fmt.Errorf("how far requests are about to be sent cannot be written down: %w", err)}
		}
	}
	call, cancel := f.call(f.o.CallTimeout + roundTime)
	results := f.stack.web.sendAll(call, letters, f.stack.concurrency, f.o.CallTimeout)
	cancel()
	trouble, failed, passed := f.sort(letters, results)
	if passed > 0 {
		f.runs(buildOfAll(results))
	}
	if err := f.blame(ctx, d); err != nil {
		return &busyError{err: err}
	}
	f.settle(ctx, d)
	switch {
	case trouble != nil:
		if passed > 0 {
			f.failures = 0 // it is well enough to be asked again soon
		}
		return trouble
	case len(failed) > 0 && passed == 0:
		if len(failed) > 1 {
			f.isolation.split(uint64(len(failed)))
		}
		s := f.rounds.suspects[failed[0].at]
		if s == nil { // it was given up
			return nil
		}
		return &s.last
	}
	return nil
}

// sort takes note of what became of each letter. It returns what says that the stack is unwell, the letters that it failed
// at, and how many it took.
func (f *feed) sort(letters []letter, results []outcome) (trouble *busyError, failed []letter, passed int) {
	r := &f.rounds
	repeated := uint64(0)
	var again []*suspicion
	for i, l := range letters {
		err := results[i].err
		if errors.Is(err, errUnsent) {
			continue
		}
		f.metrics.delivered(err, results[i].took)
		var (
			busy    *busyError
			content *contentError
		)
		sent := true
		switch {
		case err == nil:
			passed++
			r.done[l.at] = true
			delete(r.doubt, l.at)
			delete(r.suspects, l.at)
		case errors.As(err, &content):
			delete(r.doubt, l.at)
			s := r.suspects[l.at]
			if s == nil {
				s = &suspicion{since: time.Now()}
				r.suspects[l.at] = s
			}
			s.failed++
			s.last = *content
			again = append(again, s)
			s.due = time.Now().Add(min(50*time.Millisecond<<min(s.failed-1, 10), f.o.MaxBackoff))
			failed = append(failed, l)
		case errors.As(err, &busy):
			sent = busy.unknown
			if busy.unknown {
				r.doubt[l.at] = true
			}
			if trouble == nil {
				trouble = busy
			}
		}
		if l.again && sent {
			repeated++
		}
	}
	if repeated > 0 {
		f.account.repeated(repeated)
	}
	if len(r.suspects) == 0 {
		r.passed, r.extra = 0, 0
	} else {
		r.passed += passed
	}
	for _, s := range again { // those of the same round count as after it: it was at the same moment
		s.passed = r.passed - passed
	}
	if passed == 0 && len(failed) > 0 && r.extra < maxRound {
		r.extra += freshNeighbours
	}
	if passed > 0 {
		f.isolation.success(uint64(passed))
	}
	return trouble, failed, passed
}

// blame gives up those requests of d that are themselves to blame: one got through after each of them last failed, and no
// fewer since the trouble began than fail. Where there are no others, the first of all that waits is given up after
// patience, as isolation says.
func (f *feed) blame(ctx context.Context, d *delivery) error {
	r, now := &f.rounds, time.Now()
	first := f.outstanding(d)
	for _, frame := range d.frames {
		var guilty []event.Cursor
		frame.each(func(at event.Cursor) {
			s := r.suspects[at]
			if s == nil || s.failed < f.o.Attempts {
				return
			}
			beside := r.passed > s.passed && r.passed >= len(r.suspects) && f.isolation.graves+len(guilty) < maxGraves
			alone := at == first && now.Sub(s.since) >= f.o.Patience<<min(f.isolation.graves, 9)
			if beside || alone {
				guilty = append(guilty, at)
			}
		})
		for _, at := range guilty {
			s := r.suspects[at]
			if err := f.bury(ctx, at, frame, s.failed, s.since, &s.last); err != nil {
				return err
			}
			delete(r.suspects, at)
		}
	}
	f.isolation.failed = 0
	for at, s := range r.suspects {
		if i := &f.isolation; i.failed == 0 || at.Compare(i.at) < 0 {
			i.at, i.failed, i.since, i.last = at, s.failed, s.since, s.last
		}
	}
	return nil
}

// outstanding is the first request of d that the stack does not have; d's end if it has all.
func (f *feed) outstanding(d *delivery) event.Cursor {
	for i := range d.frames {
		found := d.to
		d.frames[i].each(func(at event.Cursor) {
			if found == d.to && !f.rounds.done[at] {
				found = at
			}
		})
		if found != d.to {
			return found
		}
	}
	return d.to
}

// settle moves the cursor to the first request of d that is not final.
func (f *feed) settle(ctx context.Context, d *delivery) {
	switch c := f.outstanding(d); {
	case c == d.to:
		f.confirm(ctx, d, applied{})
	case c.Compare(d.from) > 0:
		f.confirm(ctx, d.until(c), applied{})
	}
	f.rounds.forget(f.account.at())
}
