package mirror

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/journal"
	"github.com/sparrowhq/sparrow/telemetry"
)

// feed hands the journal to one stack, in order and without gaps. Two feeds share nothing but the journal they read.
//
// The stack's own cursor is the truth of where it stands; what the feed keeps is only the count of what was confirmed.
// A feed never gives up: what fails is sent again until the stack has it, unless one request alone is to blame.
type feed struct {
	stack     *stack
	journal   feedJournal
	birth     uint64 // the journal's first sequence
	timelines *timelines
	ledger    *ledger
	account   *account
	tally     *tally
	o         FeedOptions // owned by run, once that runs
	metrics   *feedMetrics
	telemetry *telemetry.Telemetry

	// Owned by run.
	calls     context.Context // of calls to the stack: ends later than run is asked to
	prefetch  *prefetch       // nil: nothing is being read
	complete  uint64          // every control record below it is known; what is read next begins there
	window    []item          // read and not confirmed yet
	unsure    *delivery       // the last call's, if its outcome is not known
	told      uint64          // the stack has the control records up to this sequence
	asked     time.Time       // when the stack was last asked for its cursor; zero: it must be
	isolation isolation
	rounds    rounds    // of an http stack
	bytes     int       // of the next delivery; shrinks when calls time out
	failures  int       // in a row
	gaps      int       // in a row, without a delivery in between
	said      string    // what was last logged of the stack
	due       time.Time // when a candidate that catches up may have its next delivery
	gather    time.Time // until when requests are left to gather

	expiries chan expiryRequest          // sent by retention; run answers each
	next     atomic.Pointer[FeedOptions] // to be followed from the next step on; nil: as before
	dirty    chan struct{}               // holds a token when the account changed; sent by run
	saving   sync.Mutex                  // held while the account is written, so that an older state never follows a newer one

	mu   sync.Mutex
	view feedView
	cut  context.CancelFunc // ends the call under way, or one that is over; nil before the first
}

// feedJournal is the journal as a feed uses it; the contracts are journal.Journal's.
type feedJournal interface {
	ID() string
	Read(from uint64) *journal.Reader
	Bounds(ctx context.Context) (journal.Bounds, error)
	AppendRecord(ctx context.Context, log string, value []byte) (uint64, error)
	PutState(ctx context.Context, key string, value []byte) error
}

// feedView is what others see of a feed.
type feedView struct {
	build     event.Build
	reachable bool
	blocked   bool // until a person does something
	synced    bool // it was reached once since the start
	problem   string
	stuckAt   *event.Cursor
}

// expiryRequest asks a feed to give up the frames up to upto.
type expiryRequest struct {
	upto  uint64
	reply chan error // capacity 1
}

// probeTimeout bounds the question for a cursor.
const probeTimeout = 5 * time.Second

// minBytes is as far as a delivery's bound shrinks.
const minBytes = 64 << 10

// run feeds until ctx ends. Calls under way when it does go on until hard ends.
func (f *feed) run(ctx, hard context.Context) {
	f.calls = hard
	f.bytes = f.o.MaxBytes
	f.isolation = isolation{attempts: f.o.Attempts, patience: f.o.Patience}
	f.rounds = newRounds(f.account.intended())
	defer func() {
		f.stopReading()
		f.stack.close()
	}()
	for ctx.Err() == nil {
		err := f.step(ctx)
		if ctx.Err() != nil {
			return
		}
		f.note(err)
		if err != nil {
			f.asked = time.Time{}
			f.pause(ctx, err)
		}
	}
}

// step does the next thing: ask where the stack stands, read, deliver, or wait for something to do. It returns nil only
// when the stack took what there was for it, or there was nothing.
func (f *feed) step(ctx context.Context) error {
	if o := f.next.Swap(nil); o != nil {
		f.follow(*o)
	}
	select {
	case q := <-f.expiries:
		q.reply <- f.expire(ctx, q.upto)
	default:
	}
	if f.asked.IsZero() {
		if err := f.sync(ctx); err != nil {
			return err
		}
	}
	more := f.more()
	if more {
		if err := f.absorb(ctx); err != nil {
			return err
		}
	}
	wait := time.Until(f.gather)
	if more && wait <= 0 && f.more() {
		f.prefetch.ask()
	}
	d := f.following()
	if d.from == d.to && len(d.controls) == 0 {
		if wait > 0 {
			f.rest(ctx, wait, false)
			return nil
		}
		f.rest(ctx, f.o.ProbeEvery, true)
		if time.Since(f.asked) >= f.o.ProbeEvery {
			f.asked = time.Time{}
		}
		return nil
	}
	if wait := time.Until(f.due); wait > 0 && f.far(d) {
		if len(d.controls) == 0 {
			f.rest(ctx, wait, false)
			return nil
		}
		d = &delivery{journal: d.journal, from: d.from, to: d.from, controls: d.controls} // records do not wait
	}
	return f.deliver(ctx, d)
}

// follow goes on with other options. What was read ahead under another bound is read again.
func (f *feed) follow(o FeedOptions) {
	if o.MaxBytes != f.o.MaxBytes {
		f.stopReading()
		f.asked = time.Time{}
	}
	f.o = o
	f.bytes = min(f.bytes, o.MaxBytes)
	f.isolation.attempts, f.isolation.patience = o.Attempts, o.Patience
}

// following is the next delivery.
func (f *feed) following() *delivery {
	t, _ := f.timelines.current()
	limit := bounds{bytes: f.bytes, requests: f.isolation.limit}
	if f.stack.web != nil {
		limit.requests = f.rounds.limit(limit.requests)
		if head, ok := t.Head(); ok {
			f.told = head.Sequence // each request carries what it says of it
		}
	}
	d := plan(f.account.at(), f.window, f.account, t, limit)
	d.journal = f.journal.ID()
	for _, r := range t.Records() {
		if r.Sequence > f.told {
			d.controls = append(d.controls, r)
		}
	}
	return d
}

// more reports whether more may be taken from the journal. A delivery is made of what is there; but an http stack can get
// what lies beyond a request that it does not take, as far as a round reaches.
func (f *feed) more() bool {
	if f.stack.web == nil || len(f.window) == 0 {
		return len(f.window) == 0
	}
	bytes, requests := 0, uint32(0)
	for _, it := range f.window {
		bytes += len(it.Data)
		requests += it.requests
	}
	return bytes < f.o.MaxBytes && requests < maxRound+f.rounds.extra
}

// far reports whether d is part of a candidate's catching up, which is slowed down.
func (f *feed) far(d *delivery) bool {
	t, _ := f.timelines.current()
	return t.Live() != f.stack.name && (d.full || 2*d.bytes >= f.o.MaxBytes)
}

// deliver makes one call and acts on its outcome.
func (f *feed) deliver(ctx context.Context, d *delivery) error {
	if f.stack.web != nil {
		return f.round(ctx, d)
	}
	call, cancel := f.call(f.o.CallTimeout)
	began := time.Now()
	a, err := f.stack.deliver(call, d)
	cancel()
	f.metrics.delivered(err, time.Since(began))
	f.unsure = nil
	var (
		busy    *busyError
		content *contentError
		size    *sizeError
		gap     *gapError
	)
	switch {
	case err == nil:
		f.confirm(ctx, d, a)
		return nil
	case errors.As(err, &content):
		return f.suspect(ctx, d, content)
	case errors.As(err, &size):
		if d.requests > 1 {
			f.bytes = max(min(f.bytes, d.bytes)/2, minBytes)
			f.isolation.split(d.requests)
			return nil
		}
		return f.suspect(ctx, d, &contentError{status: 413, detail: size.detail})
	case errors.As(err, &gap):
		f.asked = time.Time{}
		if f.gaps++; f.gaps == 1 {
			return nil // ask it at once
		}
		return &busyError{err: fmt.Errorf("refuses what follows its own cursor: it was sent [%v, %v) and %w", d.from, d.to, err)}
	case errors.As(err, &busy):
		f.unsure = d
		if busy.timeout {
			f.bytes = max(f.bytes/2, minBytes) // perhaps it is only slow
		}
	}
	return err
}

// confirm takes note of what the stack now has.
func (f *feed) confirm(ctx context.Context, d *delivery, a applied) {
	f.account.advance(d.to, d.amount())
	f.gaps = 0
	if err := f.tallyUp(ctx); err != nil && ctx.Err() == nil {
		f.telemetry.Log.Debug("what the stack does not get is not written down yet", "stack", string(f.stack.name), "error", err)
	}
	f.drop(d.to)
	if n := len(d.controls); n > 0 {
		f.told = d.controls[n-1].Sequence
	}
	if d.requests+d.sampled > 0 {
		f.gather = time.Now().Add(f.gatherFor(d))
	}
	if d.requests > 0 {
		if f.stack.web == nil {
			f.isolation.success(d.requests)
		}
		f.bytes = min(f.bytes*2, f.o.MaxBytes)
	}
	if f.far(d) {
		f.due = time.Now().Add(time.Duration(float64(d.bytes) / float64(f.o.CatchUpRate) * float64(time.Second)))
	}
	if a.Cursor.Compare(d.to) > 0 {
		f.asked = time.Time{} // somebody else delivers too: ask where it really stands
	}
	if f.stack.web == nil {
		f.runs(a.Build)
	}
	signal(f.dirty)
}

// runs notes which build the stack is.
func (f *feed) runs(b event.Build) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.view.build = b
}

// drop forgets what lies wholly below c.
func (f *feed) drop(c event.Cursor) {
	i := 0
	for i < len(f.window) && f.window[i].Last < c.Frame {
		i++
	}
	clear(f.window[:i])
	if f.window = f.window[i:]; len(f.window) == 0 {
		f.window = nil // and with it the frames' memory
	}
}

// rest waits for something to do, for at most d. idle: entries count as something.
func (f *feed) rest(ctx context.Context, d time.Duration, idle bool) {
	t, changed := f.timelines.current()
	if head, ok := t.Head(); ok && head.Sequence > f.told && !f.asked.IsZero() && idle {
		return
	}
	var ready chan struct{}
	if idle && f.prefetch != nil {
		ready = f.prefetch.ready
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ready:
	case <-changed:
	case q := <-f.expiries:
		q.reply <- f.expire(ctx, q.upto)
	case <-timer.C:
	case <-ctx.Done():
	}
}

// pause waits after a failure: longer each time, and less if the stack is seen to be back.
func (f *feed) pause(ctx context.Context, err error) {
	f.failures++
	delay := time.Duration(float64(50*time.Millisecond<<min(f.failures-1, 10)) * (0.75 + rand.Float64()/2))
	var (
		busy    *busyError
		blocked *blockedError
	)
	refused := false
	switch {
	case errors.As(err, &blocked):
		delay = f.o.ProbeEvery
	case errors.As(err, &busy):
		delay, refused = max(delay, busy.after), busy.refused
	}
	delay = min(delay, f.o.MaxBackoff)
	until := time.Now().Add(delay)
	t, _ := f.timelines.current()
	for ctx.Err() == nil {
		left := time.Until(until)
		if left <= 0 {
			return
		}
		if refused {
			left = min(left, 200*time.Millisecond)
		}
		f.rest(ctx, left, false)
		if now, _ := f.timelines.current(); len(now.Records()) != len(t.Records()) {
			return // a control record is worth an attempt
		}
		if refused && f.stack.listens(ctx) {
			return
		}
	}
}

// note keeps what others see of the feed, and logs when it changes.
func (f *feed) note(err error) {
	var (
		blocked *blockedError
		content *contentError
	)
	now := feedView{reachable: err == nil || errors.As(err, &content), blocked: errors.As(err, &blocked)}
	if err != nil {
		now.problem = err.Error()
	} else {
		f.failures = 0
	}
	if c, stuck := f.isolation.stuck(); stuck {
		now.stuckAt, now.problem = &c, f.isolation.last.Error()
	}
	f.mu.Lock()
	now.build, now.synced = f.view.build, f.view.synced || err == nil
	if f.stack.web != nil && !now.reachable {
		now.build = event.Build{} // it cannot be asked: what comes back may be another
	}
	f.view = now
	f.mu.Unlock()

	say := "takes requests"
	switch {
	case now.blocked:
		say = "blocked"
	case err != nil:
		say = "does not take requests"
	}
	if say == f.said {
		return
	}
	f.said = say
	switch {
	case now.blocked:
		f.telemetry.Failure("the feed cannot go on until this is put right", err, stackTag(f.stack.name))
	case err != nil:
		f.telemetry.Log.Warn("the stack does not take requests; they wait in the journal", "stack", string(f.stack.name), "error", plain(err))
	default:
		f.telemetry.Log.Info("the stack takes requests", "stack", string(f.stack.name), "cursor", f.account.at().String())
	}
}

// plain is an error for the log: a stack's words about a request are left out, since they may quote it.
func plain(err error) string {
	var content *contentError
	if errors.As(err, &content) {
		return fmt.Sprintf("answered %d", content.status)
	}
	return err.Error()
}

// seen returns what others see of the feed.
func (f *feed) seen() feedView {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.view
}
