package tracker

import (
	"container/heap"
	"net/http"
	"sync/atomic"
	"time"
)

// lane is what goes to one sink: window, queues, circuit breaker and rates of its own. All of it is guarded by the Sender's
// mutex, but for what never changes.
type lane struct {
	sink       Sink
	credential Credential
	mode       Mode
	client     *client
	witness    *witness
	o          *Options
	alone      bool
	bytes      int // of a request

	window       int           // items given to Send and not yet in a Result
	windowBytes  int           // of their forms
	space        chan struct{} // cap 1: the window has more room; the sink's Send alone receives
	early        []Result      // of items that do not go out
	traffic      traffic
	groups       map[string]*group // with a task, or busy
	ready        line              // groups that may go, in the order in which they came to
	held         holds             // groups that have to wait
	waiting      int               // tasks in groups
	waitingBytes int
	calls        int // under way
	flying       map[*batch]bool
	breaker      breaker
	failing      atomic.Bool // breaker.failures > 0, for those without the mutex
	all, each    []*window   // rates of the project, and of ids
	successes    uint64      // calls the vendor took
	last         string      // error, without secrets
	lastAt       time.Time
	counts       Counts
}

func newLane(sink Sink, o *Options, t Traits, m *metrics) *lane {
	l := &lane{
		sink: sink, credential: o.Credentials[sink], mode: o.Modes[sink], o: o, alone: t.Alone, bytes: t.Bytes,
		space: make(chan struct{}, 1), groups: map[string]*group{}, flying: map[*batch]bool{}, breaker: breaker{trips: o.Trips},
	}
	for _, r := range o.Rates {
		if r.ByID {
			l.each = append(l.each, newWindow(r))
		} else {
			l.all = append(l.all, newWindow(r))
		}
	}
	l.witness = &witness{vendor: o.Vendor, credentials: o.Credentials, metrics: m}
	l.client = newClient(o, func(base http.RoundTripper) http.RoundTripper { l.witness.base = base; return l.witness }, l.failing.Load)
	return l
}

// traffic counts what comes within a span and the one before it.
type traffic struct {
	since       time.Time // when the span began
	now, before int
}

// dense is how many events within a Linger are many: waiting for them makes requests fuller.
const dense = 200

// roll begins another span if it is time to.
func (t *traffic) roll(now time.Time, span time.Duration) {
	switch passed := now.Sub(t.since); {
	case passed >= 2*span:
		*t = traffic{since: now}
	case passed >= span:
		*t = traffic{since: t.since.Add(span), before: t.now}
	}
}

// gather is how long an event waits for company now.
func (l *lane) gather(now time.Time) time.Duration {
	if l.traffic.roll(now, l.o.Linger); max(l.traffic.now, l.traffic.before) >= dense {
		return l.o.Linger
	}
	return l.o.Gather
}

// add queues a task behind those of its group.
func (l *lane) add(t *task) {
	l.traffic.roll(t.since, l.o.Linger)
	l.traffic.now++
	g := l.groups[t.form.Group]
	if g == nil {
		g = &group{key: t.form.Group}
		l.groups[g.key] = g
	}
	t.group = g
	g.push(t)
	l.waiting++
	l.waitingBytes += t.size
	if g.at == idle {
		l.ready.push(g)
	}
}

// batch is the tasks of one call and of what follows from its answer.
type batch struct {
	tasks  []*task
	groups []*group
	round  uint64
	probe  bool
	oldest time.Time // of the tasks' since
}

// take returns the tasks of the next call, or when to ask again; zero: when something has changed.
func (l *lane) take(now time.Time) (*batch, time.Time) {
	for len(l.held) > 0 && !l.held[0].until.After(now) {
		l.ready.push(heap.Pop(&l.held).(*group))
	}
	var again time.Time
	if len(l.held) > 0 {
		again = l.held[0].until
	}
	if l.ready.len() == 0 || l.calls >= l.o.Calls {
		return nil, again
	}
	if ok, at := l.breaker.allow(now); !ok {
		return nil, sooner(again, at)
	}
	for _, w := range l.each {
		w.expire(now)
	}
	most := l.o.Events
	for _, w := range l.all {
		w.expire(now)
		if most = min(most, w.Events-w.counts[""]); most <= 0 {
			return nil, sooner(again, w.next())
		}
	}
	b := &batch{round: l.breaker.round, probe: l.breaker.failures > 0}
	if b.probe {
		if l.breaker.open() {
			most = 1
		}
	} else if at := l.ready.front().front().since.Add(l.gather(now)); now.Before(at) && !l.full() {
		return nil, sooner(again, at)
	}
	l.fill(b, most, now)
	if len(b.tasks) == 0 { // all ids are at their rates
		return nil, sooner(again, l.held[0].until)
	}
	l.calls++
	l.flying[b] = true
	l.breaker.probing = b.probe
	return b, time.Time{}
}

// full says that waiting longer would not make the next request larger.
func (l *lane) full() bool {
	if l.window >= l.o.Items || l.windowBytes >= l.o.Bytes*7/8 { // nothing more comes in
		return true
	}
	if l.alone {
		return l.ready.front().len() >= l.o.Events
	}
	return l.waiting >= l.o.Events || l.waitingBytes >= l.bytes
}

func (l *lane) fill(b *batch, most int, now time.Time) {
	size := 1 << 10 // what is around events, generously
	for l.ready.len() > 0 && len(b.tasks) < most {
		g := l.ready.pop()
		took, room := 0, true
		for g.len() > 0 && len(b.tasks) < most && (g.most == 0 || took < g.most) && room {
			t := g.front()
			if len(b.tasks) > 0 && size+len(t.form.Body)+len(t.form.Head)+1 > l.bytes {
				most = len(b.tasks)
				break
			}
			if room = l.countIDs(t); room {
				size += len(t.form.Body) + len(t.form.Head) + 1
				b.tasks = append(b.tasks, g.pop())
				b.oldest = sooner(b.oldest, t.since)
				l.waiting--
				l.waitingBytes -= t.size
				took++
			}
		}
		switch {
		case took > 0:
			g.at = busy
			b.groups = append(b.groups, g)
			if l.alone {
				return
			}
		case !room:
			l.held.add(g, now.Add(l.pace()))
		default:
			l.ready.unpop(g)
		}
	}
}

// countIDs counts t towards the rates, or says that one is exhausted.
func (l *lane) countIDs(t *task) bool {
	for _, w := range l.each {
		for _, id := range t.form.IDs {
			if id != "" && !w.room(id) {
				return false
			}
		}
	}
	for _, w := range l.each {
		for _, id := range t.form.IDs {
			if id != "" {
				w.take(id)
			}
		}
	}
	for _, w := range l.all {
		w.take("")
	}
	return true
}

// pace is how soon to look again at an id that is at its rate.
func (l *lane) pace() time.Duration {
	d := time.Second
	for _, w := range l.each {
		d = min(d, w.Per/20)
	}
	return max(d, slack)
}

// done ends the call that carried b: left are the tasks it did not finish, in order, and go back to where they were.
func (l *lane) done(b *batch, left []*task, now time.Time) {
	l.calls--
	delete(l.flying, b)
	if b.probe {
		l.breaker.probing = false
	}
	for _, t := range b.tasks {
		for _, w := range l.each {
			for _, id := range t.form.IDs {
				if id != "" {
					w.done(now, id)
				}
			}
		}
		for _, w := range l.all {
			w.done(now, "")
		}
	}
	for i := len(left) - 1; i >= 0; i-- {
		t := left[i]
		t.group.unpop(t)
		l.waiting++
		l.waitingBytes += t.size
	}
	for _, g := range b.groups {
		switch {
		case g.len() == 0:
			g.at = idle
			delete(l.groups, g.key)
		case g.until.After(now):
			l.held.add(g, g.until)
		default:
			l.ready.push(g)
		}
	}
}

// oldest returns when the task that waits longest was given to Send.
func (l *lane) oldest() (at time.Time) {
	for b := range l.flying {
		at = sooner(at, b.oldest)
	}
	for _, g := range l.groups {
		if g.len() > 0 {
			at = sooner(at, g.front().since)
		}
	}
	return at
}

// sooner returns the earlier of two times, of which zero ones are none.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
