package tracker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/sparrowhq/sparrow/telemetry"
)

// ErrClosed says that the Sender was closed.
var ErrClosed = errors.New("tracker: the sender is closed")

// Sender carries items to one vendor. Close it.
//
// One goroutine decides what goes out next; each call has one that sees its events through: halving what is too large,
// bisecting what is refused, and giving back what has to wait. A group's tasks are in one call at a time, and what comes
// back goes to the front, so a group's order holds. One more talks to the validation endpoint.
type Sender struct {
	o       Options
	traits  Traits
	hide    hider
	metrics *metrics
	checks  *checker // nil: nothing is validated
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup
	wake    chan struct{} // cap 1: something has changed
	jobs    chan job      // unbuffered: from schedule to an idle worker

	mu       sync.Mutex
	lanes    map[Sink]*lane
	reported map[string]time.Time
}

// New returns a running Sender.
func New(o Options) (*Sender, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Sender{o: o, traits: o.Vendor.Traits(), hide: newHider(o.Credentials), wake: make(chan struct{}, 1), jobs: make(chan job),
		lanes: map[Sink]*lane{}, reported: map[string]time.Time{}}
	if s.metrics, err = newMetrics(o.Telemetry.Registry, o.Name); err != nil {
		return nil, fmt.Errorf("tracker %s: %w", o.Name, err)
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	for sink := range o.Credentials {
		s.lanes[sink] = newLane(sink, &s.o, s.traits, s.metrics)
	}
	if v, ok := o.Vendor.(Checker); ok && o.CheckSample > 0 {
		s.checks = newChecker(s, v)
		s.running.Go(s.checks.run)
	}
	s.running.Go(s.schedule)
	return s, nil
}

// Send takes items in and returns once the last is in the window of its sink; it blocks while that is full. Items that are
// in get a Result. It fails only with ctx's error, ErrClosed, or for an item whose sink has no credential: then the items
// from some point on are not in. Call it from one goroutine for each sink: a sink that stands still blocks its own alone.
func (s *Sender) Send(ctx context.Context, items []Item) error {
	defer s.signal(s.wake)
	for i := range items {
		l := s.lanes[items[i].Sink]
		if l == nil {
			return fmt.Errorf("tracker %s: sink %q of %v has no credential", s.o.Name, items[i].Sink, items[i].Event.Position)
		}
		t, r := s.prepare(l, &items[i])
		if err := s.admit(ctx, l, t.size); err != nil {
			return err
		}
		if r != nil {
			l.early = append(l.early, *r)
			l.windowBytes += overhead - t.size
			recycle(t)
		} else {
			t.since = s.o.Clock()
			l.add(t)
			if l.waiting == s.o.Events {
				s.signal(s.wake)
			}
		}
		s.mu.Unlock()
	}
	return nil
}

// admit waits until l's window has room for another item. It returns with the mutex held unless there is an error.
func (s *Sender) admit(ctx context.Context, l *lane, size int) error {
	for {
		if s.ctx.Err() != nil {
			return ErrClosed
		}
		s.mu.Lock()
		if l.window == 0 || l.window < s.o.Items && l.windowBytes+size <= s.o.Bytes {
			l.window++
			l.windowBytes += size
			return nil
		}
		s.mu.Unlock()
		s.signal(s.wake)
		select {
		case <-l.space:
		case <-ctx.Done():
			return ctx.Err()
		case <-s.ctx.Done():
			return ErrClosed
		}
	}
}

func (s *Sender) signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

var tasks = sync.Pool{New: func() any { return new(task) }}

func recycle(t *task) {
	if cap(t.form.Body) > 64<<10 {
		return // one large event must not make every task large
	}
	t.reset()
	tasks.Put(t)
}

// prepare puts an item into the vendor's form. A Result means that it does not go out.
func (s *Sender) prepare(l *lane, it *Item) (t *task, r *Result) {
	t = tasks.Get().(*task)
	t.Position, t.sink, t.again, t.hash, t.received = it.Event.Position, it.Sink, it.Again, hash(it.Event.Key), it.Event.ReceivedAt
	t.ids = [2]string{it.Event.DeviceID, it.Event.UserID}
	breach := s.form(it, t)
	t.size = overhead + len(t.form.Head) + len(t.form.Body)
	if breach == nil && overhead+len(t.form.Head)+len(t.form.Body) > s.traits.Bytes {
		breach = &Breach{"too large", fmt.Sprintf("%d bytes; a request has at most %d", len(t.form.Body), s.traits.Bytes)}
	}
	switch {
	case breach != nil:
		rejected := s.result(t, Rejected, breach.Reason, nil)
		rejected.Detail = s.hide.text(breach.Detail, maxDetail)
		rejected.Request = nil
		r = &rejected
	case l.mode.Kind == DryRun:
		r = s.rehearse(l, t, "dry-run")
	case l.mode.Kind == Some && float64(hash2(t.hash)%10_000) >= l.mode.Percent*100:
		r = s.rehearse(l, t, "not sampled")
	default:
		if s.checks != nil && t.hash%uint64(s.o.CheckSample) == 0 {
			t.checking = s.checks.offer(l, t)
		}
	}
	return t, r
}

// form calls the vendor's code. A panic in it concerns one event.
func (s *Sender) form(it *Item, t *task) (breach *Breach) {
	defer func() {
		if p := recover(); p != nil {
			s.o.Telemetry.PanicOf(p, telemetry.Exchange{Method: http.MethodPost, Way: t.way(s.o.Name)}, append(s.tags(t.sink), slog.String("position", t.Position.String()))...)
			breach = &Breach{Reason: reasonBug}
		}
	}()
	return s.o.Vendor.Form(&it.Event, &t.form)
}

const reasonBug = "internal error"

// rehearse does everything with an event but send it.
func (s *Sender) rehearse(l *lane, t *task, reason string) *Result {
	var req Request
	s.o.Vendor.Assemble(l.credential, []*Form{&t.form}, &req)
	if passed, err := s.o.Vendor.Split(&req); err == nil {
		(&testimony{tasks: []*task{t}}).saw(passed, l.witness.sinkOf(passed.Credential), false)
	} else {
		s.metrics.unread.Inc()
	}
	if t.excess {
		reason = reasonExcess
	}
	r := s.result(t, Delivered, reason, nil)
	return &r
}

// schedule is the goroutine that decides what goes out next.
func (s *Sender) schedule() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for s.ctx.Err() == nil {
		s.mu.Lock()
		now := s.o.Clock()
		var early []Result
		var of *lane
		var next time.Time
		for _, l := range s.lanes {
			if early == nil && len(l.early) > 0 {
				early, l.early, of = l.early, nil, l
			}
			for {
				b, again := l.take(now)
				if b == nil {
					next = sooner(next, again)
					break
				}
				select {
				case s.jobs <- job{l, b}:
				default: // nobody is idle; take bounds how many there are
					s.running.Go(func() { s.work(job{l, b}) })
				}
			}
		}
		s.mu.Unlock()
		if len(early) > 0 {
			s.report(of, early, len(early)*overhead)
			continue
		}
		timer.Reset(time.Hour)
		if !next.IsZero() {
			timer.Reset(max(next.Sub(now), time.Millisecond))
		}
		select {
		case <-s.wake:
		case <-timer.C:
		case <-s.ctx.Done():
		}
	}
}

// job is a batch for a worker.
type job struct {
	lane  *lane
	batch *batch
}

// work sees batches through, one after the other: a goroutine that lives on has grown its stack once.
func (s *Sender) work(j job) {
	for {
		s.run(j.lane, j.batch)
		select {
		case j = <-s.jobs:
		case <-s.ctx.Done():
			return
		}
	}
}

// report hands l's results over, and their room in its window to others.
func (s *Sender) report(l *lane, results []Result, bytes int) {
	s.metrics.count(results)
	s.mu.Lock()
	for i := range results {
		l.counts.add(&results[i])
	}
	s.mu.Unlock()
	n := len(results)
	s.o.Done(results)
	s.mu.Lock()
	l.window -= n
	l.windowBytes -= bytes
	s.mu.Unlock()
	s.signal(l.space)
}

// Close cuts the calls in flight and waits for everything to end. Items that are not finished get no Result; Done is not
// called after it has returned, and may be called while it waits.
func (s *Sender) Close() {
	s.cancel()
	s.running.Wait()
	for _, l := range s.lanes {
		l.client.close()
	}
	if s.checks != nil {
		s.checks.client.close()
	}
	s.metrics.forget()
}

// hash is the same in every process: both stacks choose the same samples.
func hash(key string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(key) {
		h = (h ^ uint64(key[i])) * 1099511628211
	}
	h ^= h >> 32
	h *= 0xd6e8feb86659fd93
	return h ^ h>>32
}

// hash2 is independent of the hash it is made of.
func hash2(h uint64) uint64 {
	h = (h ^ 0x9e3779b97f4a7c15) * 0xbf58476d1ce4e5b9
	h ^= h >> 29
	h *= 0x94d049bb133111eb
	return h ^ h>>32
}
