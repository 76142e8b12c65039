package mirror

import (
	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/journal"
)

// item is a journal entry that waits for delivery.
type item struct {
	journal.Entry
	requests uint32       // of a frame
	skip     []run        // of them, those that the stack's rule leaves out; Data then has but their ids
	left     event.Totals // of those
}

// bounds limit one delivery.
type bounds struct {
	bytes    int    // of frames; a single one may be larger
	requests uint32 // 0: any number
}

// plan puts the next delivery together: from c on, what stands in window, within limits. Holes stand alone where they
// begin or end inside a frame, so that a receiver never finds a position both in a frame and under a hole.
//
// t must be complete below every frame of the window: each is stamped with the role it had when it was journaled.
func plan(c event.Cursor, window []item, a *account, t event.Timeline, limit bounds) *delivery {
	d := &delivery{from: c}
	i := 0
	for {
		if h, inside := a.holeAt(c); inside {
			alone := h.Reason == reasonDead || c.Request > 0
			if alone && (len(d.frames) > 0 || len(d.holes) > 0) {
				break
			}
			for i < len(window) && window[i].Last < c.Frame {
				i++
			}
			if i < len(window) {
				h.To = normal(h.To, window[i])
			}
			d.holes = append(d.holes, h)
			if c = h.To; h.Reason == reasonDead {
				break
			}
			continue
		}
		for i < len(window) && window[i].Last < c.Frame {
			i++
		}
		if i == len(window) {
			break
		}
		it := window[i]
		if it.Kind == journal.Control {
			c = event.AfterFrame(it.Sequence)
			continue
		}
		if it.Kind == journal.Gap { // nothing that this journal accepted
			d.holes = append(d.holes, Hole{From: c, To: event.AfterFrame(it.Last), Reason: reasonExpired})
			c = event.AfterFrame(it.Last)
			continue
		}
		if c.Frame < it.Sequence {
			c = event.Cursor{Frame: it.Sequence}
			continue // a hole may begin there
		}
		if c.Request >= it.requests {
			c = event.AfterFrame(it.Sequence)
			continue
		}
		if len(d.frames) > 0 && d.bytes+len(it.Data) > limit.bytes {
			d.full = true
			break
		}
		end := a.holeWithin(c, it.requests)
		if limit.requests > 0 {
			room := limit.requests - uint32(d.requests)
			if room == 0 {
				d.full = true
				break
			}
			end = min(end, c.Request+room)
		}
		skip := within(it.skip, c.Request, end)
		for _, r := range skip {
			d.leaveOut(event.Cursor{Frame: it.Sequence, Request: r.from}, normal(event.Cursor{Frame: it.Sequence, Request: r.to}, it), uint64(r.to-r.from))
		}
		if kept := end - c.Request - lengths(skip); kept > 0 {
			live, generation := t.AtHandover(it.Sequence)
			d.frames = append(d.frames, deliveredFrame{sequence: it.Sequence, live: live, generation: generation, data: it.Data, from: c.Request, to: end, skip: skip})
			d.bytes += len(it.Data)
			d.requests += uint64(kept)
		}
		d.sampled += uint64(lengths(skip))
		c = normal(event.Cursor{Frame: it.Sequence, Request: end}, it)
		if c.Frame == it.Sequence {
			d.full = true
			break
		}
	}
	d.to = c
	return d
}

// normal returns c, or the beginning of the next frame if c stands after the last request of it.
func normal(c event.Cursor, it item) event.Cursor {
	if it.Kind == journal.Frame && c.Frame == it.Sequence && c.Request >= it.requests {
		return event.AfterFrame(c.Frame)
	}
	return c
}
