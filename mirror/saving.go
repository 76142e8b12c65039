package mirror

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/journal"
)

// stateSource is the journal as accounts are read from it; the contract is journal.Journal's.
type stateSource interface {
	graves
	GetState(ctx context.Context, key string) ([]byte, error)
}

// openAccount restores what is known of a stack. Without saved state the count begins at nothing: then the first
// answer of the stack makes the feed count everything below its cursor. tally is where the log of what its rule leaves
// out is to be read from.
func openAccount(ctx context.Context, j stateSource, s event.Stack) (a *account, tally uint64, err error) {
	a = &account{stack: s}
	data, err := j.GetState(ctx, a.key())
	switch {
	case err == nil:
		tally, err = a.decode(data)
	case errors.Is(err, journal.ErrNotFound):
		err = nil
	}
	if err != nil {
		return nil, 0, err
	}
	err = deadLetters(ctx, j, s, 0, func(l DeadLetter) error {
		a.bury(event.Cursor{Frame: l.Position.Frame, Request: l.Position.Request})
		return nil
	})
	return a, tally, err
}

// save makes the account durable.
func (f *feed) save(ctx context.Context) error {
	f.saving.Lock()
	defer f.saving.Unlock()
	delivered := f.account.count()
	data, cursor, err := f.account.encode(f.tally.oldest())
	if err == nil {
		err = f.journal.PutState(ctx, f.account.key(), data)
	}
	if err != nil {
		signal(f.dirty)
		return err
	}
	f.account.markSaved(cursor, delivered)
	return nil
}

// saveLoop saves the account when it changed, at most once within every, and a last time when ctx has ended. What
// is lost in a crash in between is counted again.
func (f *feed) saveLoop(ctx context.Context, every time.Duration) {
	for {
		select {
		case <-f.dirty:
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeTimeout)
			defer cancel()
			if err := f.save(last); err != nil {
				f.telemetry.Log.Warn("the feed's count was not saved; it is counted again at the next start", "stack", string(f.stack.name), "error", err)
			}
			return
		}
		if err := f.save(ctx); err != nil && ctx.Err() == nil {
			f.telemetry.Log.Debug("the feed's count was not saved yet", "stack", string(f.stack.name), "error", err)
		}
		wait := time.NewTimer(every)
		select {
		case <-wait.C:
		case <-ctx.Done():
		}
		wait.Stop()
	}
}

// expire gives up everything up to frame upto that the stack does not have, so that it can be trimmed. It is durable on
// return.
func (f *feed) expire(ctx context.Context, upto uint64) error {
	if f.unsure != nil {
		// What it took of the last call need not be given up. If it does not say, that shows later.
		_ = f.sync(ctx)
	}
	c := f.account.skip(f.account.at())
	if c.Frame > upto {
		return nil
	}
	if c.Frame == 0 {
		c.Frame = f.birth
	}
	f.tally.hurry()
	if err := f.tallyUp(ctx); err != nil {
		return err
	}
	if err := f.tally.settle(ctx, f.journal.AppendRecord); err != nil {
		return err
	}
	t, exact, err := f.ledger.totals(ctx, c.Frame, upto)
	if err != nil {
		return err
	}
	t.Requests -= min(t.Requests, uint64(c.Request))
	undo := f.account.expire(expiry{From: c, To: event.AfterFrame(upto), Totals: t, Approximate: !exact})
	if err := f.save(ctx); err != nil {
		undo()
		return fmt.Errorf("frames %d to %d cannot be given up for %s, since that cannot be written down: %w", c.Frame, upto, f.stack.name, err)
	}
	f.metrics.expired.Add(float64(t.Requests))
	f.telemetry.Failure("requests expired before the stack took them", errors.New("the journal is short of space, and the stack is the candidate"),
		stackTag(f.stack.name), cursorTag("from", c), cursorTag("to", event.AfterFrame(upto)))
	if f.prefetch != nil {
		return f.read(ctx) // what was read ahead may be among it
	}
	return nil
}

// patienceWithCall is how long a call may hold up an expiry.
const patienceWithCall = time.Second

// askExpiry is expire, asked from another goroutine. The feed answers between two calls; one that takes long is cut, so
// that a stack that hangs cannot keep space from being freed.
func (f *feed) askExpiry(ctx context.Context, upto uint64) error {
	q := expiryRequest{upto: upto, reply: make(chan error, 1)}
	patience := time.NewTicker(patienceWithCall)
	defer patience.Stop()
	for asked := false; !asked; {
		select {
		case f.expiries <- q:
			asked = true
		case <-patience.C:
			f.cutCall()
		case <-ctx.Done():
			return fmt.Errorf("feed of %s: busy with a call: %w", f.stack.name, ctx.Err())
		}
	}
	select {
	case err := <-q.reply:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// call returns a context for one call to the stack.
func (f *feed) call(timeout time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(f.calls, timeout)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cut = cancel
	return ctx, cancel
}

// cutCall ends the call under way. Whether the stack applied it shows when it is asked for its cursor.
func (f *feed) cutCall() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cut != nil {
		f.cut()
	}
}
