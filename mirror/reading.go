package mirror

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/journal"
)

// sync asks the stack where it stands, and goes on from there.
func (f *feed) sync(ctx context.Context) error {
	call, cancel := context.WithTimeout(ctx, min(probeTimeout, f.o.CallTimeout))
	defer cancel()
	if f.stack.web != nil { // what it has, only this feed knows
		if !f.stack.listens(call) {
			return &busyError{refused: true, err: errors.New("nobody listens at its address")}
		}
		if f.prefetch == nil {
			if err := f.read(ctx); err != nil {
				return err
			}
		}
		f.asked = time.Now()
		return nil
	}
	c, err := f.stack.cursors(call)
	if err != nil {
		return err
	}
	for _, j := range c.Journals {
		if j.ID != f.journal.ID() && j.Highest >= f.birth {
			return &blockedError{detail: fmt.Sprintf("journal %s begins at frame %d, but the stack has frames up to %d of journal %s: restore that journal's folder, or start a new journal with journal.first_frame: %d",
				f.journal.ID(), f.birth, j.Highest, j.ID, j.Highest+1)}
		}
	}
	f.mu.Lock()
	f.view.build = c.Build
	f.mu.Unlock()
	if err := f.move(ctx, c.lowest()); err != nil {
		return err
	}
	f.asked = time.Now()
	return nil
}

// move makes c the feed's cursor, because the stack says that it stands there. What was counted is corrected, so that
// the count always describes what lies below the cursor.
func (f *feed) move(ctx context.Context, c event.Cursor) error {
	have := f.account.at()
	if c == have && f.prefetch != nil {
		return nil
	}
	if c != have {
		b, err := f.journal.Bounds(ctx)
		if err != nil {
			return &busyError{err: fmt.Errorf("reading the journal's bounds: %w", err)}
		}
		if end := event.AfterFrame(b.Last); c.Compare(end) > 0 || have.Compare(end) > 0 {
			return &blockedError{detail: fmt.Sprintf("the stack stands at %v, but journal %s ends at %d: the journal has lost its tail; restore its folder, or start a new journal with journal.first_frame: %d", c, f.journal.ID(), b.Last, max(c.Frame, have.Frame)+1)}
		}
		if err := f.recount(ctx, have, c); err != nil {
			return err
		}
	}
	return f.read(ctx)
}

// recount moves the account's cursor from have to c.
func (f *feed) recount(ctx context.Context, have, c event.Cursor) error {
	f.told = 0 // a stack that moved by itself may have lost records too
	if f.account.ruled() > 0 {
		if err := f.timelines.refresh(ctx); err != nil { // what a rule leaves out depends on roles
			return &busyError{err: err}
		}
	}
	if c.Compare(have) < 0 {
		n, err := f.count(ctx, c, have)
		if err == nil {
			f.account.retreat(c, n)
		}
		return err
	}
	known, redeemed := c, amount{}
	for _, e := range f.account.expiredIn(c, event.Cursor{Frame: c.Frame, Request: c.Request + 1}) {
		if e.From.Compare(c) >= 0 {
			continue
		}
		// It had got further than it could say when these were given up: it has what lies below c.
		n, exact, err := f.taken(ctx, e, c)
		if err != nil {
			return err
		}
		taken := f.account.redeem(c, n.delivered+n.sampled, exact)
		n.sampled = min(n.sampled, taken)
		known, redeemed = e.From, amount{delivered: taken - n.sampled, sampled: n.sampled}
	}
	n, err := f.count(ctx, have, known)
	if err == nil {
		f.account.advance(c, n.plus(redeemed))
	}
	return err
}

// taken returns how many requests of the expired range e lie below c. exact is false if the frames are gone and nobody
// remembers: then it is an upper bound, and which of them a rule left out is not known either.
func (f *feed) taken(ctx context.Context, e expiry, c event.Cursor) (n amount, exact bool, err error) {
	if d := f.unsure; d != nil && d.from == e.From && d.to == c {
		return d.amount(), true, nil // the call of which nobody knew whether it was applied
	}
	t, exact, err := f.ledger.totals(ctx, e.From.Frame, c.Frame-1)
	return amount{delivered: t.Requests - min(t.Requests, uint64(e.From.Request))}, exact && c.Request == 0, err
}

// count counts the requests in [from, to) that are neither dead nor expired, in the frames themselves where the journal
// still has them.
func (f *feed) count(ctx context.Context, from, to event.Cursor) (n amount, err error) {
	last := to.Frame // the last frame to look at
	if to.Request == 0 {
		last--
	}
	if from.Compare(to) >= 0 || last < f.birth {
		return n, nil
	}
	r := f.journal.Read(max(from.Frame, f.birth))
	defer r.Close()
	for next := max(from.Frame, f.birth); next <= last; {
		entries, err := r.Next(ctx, minBytes)
		if err != nil {
			return n, readingFailed(err)
		}
		for _, e := range entries {
			if e.First > last {
				break
			}
			m, err := f.countEntry(ctx, e, from, to)
			if err != nil {
				return n, err
			}
			n = n.plus(m)
			next = e.Last + 1
		}
	}
	n.delivered -= min(n.delivered, uint64(len(f.account.deadIn(from, to))))
	return n, nil
}

// countEntry counts the part of an entry that lies in [from, to) and is not expired.
func (f *feed) countEntry(ctx context.Context, e journal.Entry, from, to event.Cursor) (n amount, err error) {
	low, high := event.Cursor{Frame: e.First}, event.AfterFrame(e.Last)
	if from.Compare(low) > 0 {
		low = from
	}
	if to.Compare(high) < 0 {
		high = to
	}
	switch e.Kind {
	case journal.Frame:
		it, err := f.item(e)
		if err != nil {
			return n, err
		}
		end := it.requests
		if high.Frame == e.Sequence {
			end = min(end, high.Request)
		}
		for _, x := range f.account.expiredIn(low, high) {
			if x.From.Frame < e.Sequence {
				end = 0
			} else {
				end = min(end, x.From.Request)
			}
		}
		n.sampled = uint64(lengths(within(it.skip, low.Request, end)))
		n.delivered = uint64(max(end, low.Request)-low.Request) - n.sampled
	case journal.Gap:
		err := f.uncovered(ctx, low, high, func(from, to event.Cursor, t event.Totals, _ bool) {
			left, _ := f.tally.totals(from.Frame, to.Frame)
			left.Requests = min(left.Requests, t.Requests)
			n = n.plus(amount{delivered: t.Requests - left.Requests, sampled: left.Requests})
		})
		return n, err
	}
	return n, nil
}

// item makes a journal entry ready for delivery. The timeline must be complete below it.
func (f *feed) item(e journal.Entry) (it item, err error) {
	it.Entry = e
	if e.Kind != journal.Frame {
		return it, nil
	}
	if it.requests, err = countRequests(e.Data); err != nil {
		return it, fmt.Errorf("frame %d: %w", e.Sequence, err)
	}
	rule, _ := f.account.ruleAt(e.Sequence)
	if !rule.all(true) {
		t, _ := f.timelines.current()
		live, _ := t.AtHandover(e.Sequence)
		if it.skip, it.left, it.Data, err = rule.leaves(e.Data, live != f.stack.name); err != nil {
			return it, fmt.Errorf("frame %d: %w", e.Sequence, err)
		}
	}
	return it, nil
}

// uncovered calls fn for each part of [low, high), whose frames are gone, that is not noted as expired.
func (f *feed) uncovered(ctx context.Context, low, high event.Cursor, fn func(from, to event.Cursor, t event.Totals, exact bool)) error {
	part := func(from, to event.Cursor) error {
		if from.Compare(to) >= 0 {
			return nil
		}
		t, exact, err := f.ledger.totals(ctx, from.Frame, to.Frame-1)
		if err != nil {
			return err
		}
		t.Requests -= min(t.Requests, uint64(from.Request))
		fn(from, to, t, exact)
		return nil
	}
	for _, x := range f.account.expiredIn(low, high) {
		if err := part(low, x.From); err != nil {
			return err
		}
		low = x.To
	}
	return part(low, high)
}

// read begins to read at the account's cursor, or after what expired there. After an error the stack must be asked again.
func (f *feed) read(ctx context.Context) error {
	f.stopReading()
	if err := f.begin(ctx); err != nil {
		f.asked = time.Time{}
		return &busyError{err: err}
	}
	f.prefetch = startPrefetch(f.journal.Read(f.complete), f.o.MaxBytes)
	return nil
}

// begin decides where reading begins.
func (f *feed) begin(ctx context.Context) error {
	if err := f.tallyUp(ctx); err != nil {
		return fmt.Errorf("counting what the stack does not get: %w", err)
	}
	b, err := f.journal.Bounds(ctx)
	if err != nil {
		return fmt.Errorf("reading the journal's bounds: %w", err)
	}
	from := max(f.account.skip(f.account.at()).Frame, 1)
	if from < b.First { // what is gone is noted at once, not when it is met, so that the equation holds meanwhile
		if err := f.lost(ctx, from, b.First-1); err != nil {
			return err
		}
		from = max(f.account.skip(f.account.at()).Frame, 1)
	}
	// Whatever decided roles before the first frame that is read must be known before that frame is handed over; what
	// comes after is met in the stream.
	f.complete = from
	return f.timelines.refresh(ctx)
}

// stopReading lets go of what was read and not delivered.
func (f *feed) stopReading() {
	if f.prefetch != nil {
		f.prefetch.stop()
	}
	f.prefetch, f.window = nil, nil
}

// absorb takes what was read ahead into the window.
func (f *feed) absorb(ctx context.Context) error {
	entries, err := f.prefetch.take()
	if err == nil {
		err = f.check(ctx, entries)
	}
	if err != nil {
		f.stopReading()
		f.asked = time.Time{}
		return readingFailed(err)
	}
	return nil
}

// check puts entries into the window. A frame only gets there when the timeline is complete up to it: entries must
// follow one another without a gap, and each record among them is known before the frame after it.
func (f *feed) check(ctx context.Context, entries []journal.Entry) error {
	for _, e := range entries {
		if e.First != f.complete {
			return fmt.Errorf("the journal gave sequence %d after %d", e.First, f.complete-1)
		}
		switch e.Kind {
		case journal.Control:
			if err := f.timelines.observe(ctx, e.Sequence, e.Data); err != nil {
				return err
			}
		case journal.Gap:
			if err := f.lost(ctx, e.First, e.Last); err != nil {
				return err
			}
		}
		it, err := f.item(e)
		if err != nil {
			return err
		}
		f.window = append(f.window, it)
		f.complete = e.Last + 1
	}
	return nil
}

// lost notes that the frames from first to last were trimmed before this stack had them: what of them is not noted as
// expired is now. That happens when a stack goes back further than the journal reaches.
func (f *feed) lost(ctx context.Context, first, last uint64) error {
	low, high := event.Cursor{Frame: max(first, f.birth)}, event.AfterFrame(last)
	if c := f.account.at(); c.Compare(low) > 0 {
		low = c
	}
	var found []expiry
	err := f.uncovered(ctx, low, high, func(from, to event.Cursor, t event.Totals, exact bool) {
		if t.Requests > 0 {
			found = append(found, expiry{From: from, To: to, Totals: t, Approximate: !exact})
		}
	})
	if err != nil {
		return err
	}
	for _, x := range found {
		f.account.expire(x)
		signal(f.dirty)
		f.telemetry.Failure("the stack needs requests that the journal no longer has", errors.New("they are counted as expired"),
			stackTag(f.stack.name), cursorTag("from", x.From), cursorTag("to", x.To))
	}
	return nil
}

// readingFailed sorts an error of reading the journal.
func readingFailed(err error) error {
	if errors.Is(err, journal.ErrPastEnd) {
		return &blockedError{detail: fmt.Sprintf("the stack is ahead of the journal: %v; restore the journal's folder, or start a new journal above the stack's cursor (journal.first_frame)", err)}
	}
	return &busyError{err: fmt.Errorf("reading the journal: %w", err)}
}
