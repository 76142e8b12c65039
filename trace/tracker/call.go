package tracker

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/telemetry"
)

// call sees one batch through. It belongs to one goroutine.
type call struct {
	*Sender
	lane      *lane
	batch     *batch
	witnessed testimony
	left      []*task // to be given back, in order
	finished  []*task
	results   []Result
	bytes     int         // of the tasks in results
	header    http.Header // of the last request
}

// example is the event that a report shows.
type example struct {
	position event.Position
	body     []byte
	way      []telemetry.Step
	ids      []string // of all events of the request
}

func (c *call) example(part []*task) example {
	t := part[0]
	x := example{t.Position, bytes.Clone(t.form.Body), t.way(c.o.Name), nil}
	for _, t := range part {
		x.ids = append(x.ids, t.ids[:]...)
	}
	return x
}

// run makes the calls that a batch needs, until each of its tasks is finished or has to wait.
func (s *Sender) run(l *lane, b *batch) {
	c := &call{Sender: s, lane: l, batch: b}
	wait := c.deliver()
	c.flush()
	for _, t := range c.left {
		t.head, t.body = nil, nil // they would keep the whole request
	}
	var x example
	if wait != nil {
		x = c.example(b.tasks) // once given back, tasks are others'
	}
	s.mu.Lock()
	now := s.o.Clock()
	opened := false
	if wait != nil {
		opened = l.breaker.fail(now, b.round, wait.why, func(failures int) time.Duration { return s.o.wait(failures, wait.answer) })
		l.failing.Store(true)
		l.last, l.lastAt = wait.why, now
	}
	l.done(b, c.left, now)
	state := l.breaker.state()
	s.mu.Unlock()
	s.signal(s.wake)
	if wait != nil && s.ctx.Err() == nil {
		s.metrics.state(l.sink, state)
		c.report(wait.why, wait.answer, wait.err, len(b.tasks), x, opened)
	}
	for _, t := range c.finished {
		recycle(t)
	}
}

// waiting is why a sink has to be left alone for a while.
type waiting struct {
	why    string
	answer *Answer // may be nil
	err    error   // without secrets; may be nil
}

// deliver works through the batch's parts from left to right, so that each group's order holds.
func (c *call) deliver() *waiting {
	parts := [][]*task{c.batch.tasks}
	for len(parts) > 0 {
		part := c.sendable(parts[len(parts)-1])
		parts = parts[:len(parts)-1]
		if len(part) == 0 {
			continue
		}
		later := func() {
			c.left = append(c.left, part...)
			for i := len(parts) - 1; i >= 0; i-- {
				c.left = append(c.left, parts[i]...)
			}
		}
		halve := func() { parts = append(parts, part[len(part)/2:], part[:len(part)/2]) }
		a, err := c.exchange(part)
		if err != nil {
			later()
			if c.ctx.Err() != nil {
				return nil
			}
			return &waiting{why: c.because(err), err: err}
		}
		j := c.judge(a, len(part))
		if j.Verdict == Barred && c.proven(part) {
			j.Verdict = Refused
		}
		if j.Verdict == Partial && len(j.Dead)+len(j.Held) == 0 {
			j.Verdict = Refused
		}
		switch j.Verdict {
		case Taken:
			c.succeeded()
			c.missed(part)
			c.results, c.finished = slices.Grow(c.results, len(part)), slices.Grow(c.finished, len(part))
			for _, t := range part {
				t.group.most = 0
				if t.seen == 0 && !c.witnessed.unread {
					c.finish(t, Dead, reasonLeftOut, a) // the vendor took a request without it
					continue
				}
				c.finish(t, Delivered, "", a)
			}
		case Partial:
			c.succeeded() // it looked at events: nothing is wrong with the rest
			c.report(j.Reason, a, nil, len(part), c.example(part), false)
			if rest := c.divide(part, j, a); len(rest) > 0 {
				parts = append(parts, rest)
			}
		case Refused, TooLarge:
			if len(part) == 1 {
				c.report(j.Reason, a, nil, len(part), c.example(part), false)
				c.finish(part[0], Dead, j.Reason, a)
			} else {
				halve()
			}
		case Barred:
			c.bar(part)
			fallthrough
		default:
			later()
			return &waiting{why: fmt.Sprintf("%s: status %d", j.Reason, a.Status), answer: a}
		}
		c.flush()
	}
	return nil
}

// sendable leaves out tasks of groups that are held, and those that have grown too old.
func (c *call) sendable(part []*task) []*task {
	now := c.o.Clock()
	at := now.UnixMicro()
	all, kept := true, []*task(nil)
	for i, t := range part {
		old := t.form.Until != 0 && at >= t.form.Until
		waits := t.group.until.After(now)
		if !old && !waits {
			if !all {
				kept = append(kept, t)
			}
			continue
		}
		if all {
			all, kept = false, append(make([]*task, 0, len(part)), part[:i]...)
		}
		switch {
		case waits:
			c.left = append(c.left, t)
		case t.attempts > 0:
			c.finish(t, Dead, "too old", nil)
		default:
			c.finish(t, Rejected, "too old", nil)
		}
	}
	if all {
		return part
	}
	return kept
}

// divide applies an answer that names events, and returns those it does not name.
func (c *call) divide(part []*task, j Judgement, a *Answer) (rest []*task) {
	dead := make(map[int]string, len(j.Dead))
	for _, r := range j.Dead {
		dead[r.Index] = r.Reason
	}
	until := c.o.Clock().Add(j.Hold)
	held := make(map[*group]int)
	for _, i := range j.Held {
		if i >= 0 && i < len(part) {
			held[part[i].group]++
		}
	}
	for g, n := range held {
		g.until, g.most = until, max(n/2, 1) // as many at once would be refused for ever
	}
	for i, t := range part {
		switch reason, isDead := dead[i]; {
		case isDead:
			c.finish(t, Dead, reason, a)
		case held[t.group] > 0:
			c.left = append(c.left, t)
		default:
			rest = append(rest, t)
		}
	}
	return rest
}

// proven says that these very events were refused like this before, and others were taken since: it is not the address
// or the credential.
func (c *call) proven(part []*task) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range part {
		if !t.barred || t.barredAt >= c.lane.successes {
			return false
		}
	}
	return true
}

func (c *call) bar(part []*task) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range part {
		if !t.barred {
			t.barred, t.barredAt = true, c.lane.successes
		}
	}
}

func (c *call) succeeded() {
	c.mu.Lock()
	c.lane.successes++
	closed := c.lane.breaker.succeed()
	c.lane.failing.Store(false)
	c.mu.Unlock()
	if closed {
		c.o.Telemetry.Log.Info("tracker: the vendor takes events again", slog.String("tracker", c.o.Name), slog.String("kind", string(c.lane.sink)))
	}
	c.metrics.state(c.lane.sink, Closed)
}

func (c *call) finish(t *task, o Outcome, reason string, a *Answer) {
	switch {
	case t.excess && reason == "":
		reason = reasonExcess
	case o == Delivered && t.again:
		reason = reasonAgain
	}
	c.results = append(c.results, c.result(t, o, reason, a))
	c.bytes += t.size
	c.finished = append(c.finished, t)
}

// What the transport tells of an event beside its outcome.
const (
	reasonAgain   = "sent again after a crash"
	reasonExcess  = "sent more than needed" // it, or in its request one that nobody asked for
	reasonLeftOut = "left out of its request"
)

// missed reports events that the vendor's code left out of a request: nobody else would say that they are not there.
func (c *call) missed(part []*task) {
	n := 0
	for _, t := range part {
		if t.seen == 0 && !c.witnessed.unread {
			n++
		}
	}
	if n > 0 {
		c.o.Telemetry.Failure("tracker "+c.o.Name+": "+reasonLeftOut, errLeftOut, append(c.tags(c.lane.sink), slog.Int("count", n))...)
	}
}

var errLeftOut = errors.New("events were not in the request that was made of them: they are dead letters, to be sent again with another build")

// flush hands over what is finished.
func (c *call) flush() {
	if len(c.results) == 0 {
		return
	}
	c.Sender.report(c.lane, c.results, c.bytes)
	c.results, c.bytes = nil, 0
}

// errNotNoted says that Before failed: the call was not made.
var errNotNoted = errors.New("what is about to be sent could not be noted")

func (c *call) because(err error) string {
	if errors.Is(err, errNotNoted) {
		return errNotNoted.Error()
	}
	return trouble(err)
}

// buffers of one exchange.
type buffers struct {
	forms   []*Form
	request []byte
	zipped  []byte
}

var scratch = sync.Pool{New: func() any { return new(buffers) }}

// exchange makes one call with the tasks of part.
func (c *call) exchange(part []*task) (a *Answer, err error) {
	b := scratch.Get().(*buffers)
	defer scratch.Put(b) // the witness has its own copy of what is under way
	b.forms = b.forms[:0]
	for _, t := range part {
		b.forms = append(b.forms, &t.form)
	}
	req := Request{Body: b.request[:0]}
	if err := c.assemble(b.forms, &req); err != nil {
		return &Answer{}, nil // judged as a bug, and bisected
	}
	b.request = req.Body
	body, header := c.compress(b, &req)
	c.header = header
	u, err := parseURL(req.URL)
	if err != nil {
		return nil, err
	}
	if !c.traits.Keyed && c.o.Before != nil {
		positions := make([]event.Position, len(part))
		for i, t := range part {
			positions[i] = t.Position
		}
		if err := c.o.Before(c.ctx, positions); err != nil {
			return nil, fmt.Errorf("%w: %w", errNotNoted, err)
		}
	}
	c.witnessed = testimony{tasks: part, form: c.witnessed.form}
	for _, t := range part {
		t.seen = 0
	}
	a, err = c.lane.client.post(withTestimony(c.ctx, &c.witnessed), u, header, body)
	status, code := "none", 0
	if err == nil {
		status, code = statusText(a.Status), a.Status
	}
	if code/100 != 2 {
		now := c.o.Clock()
		for _, t := range part {
			t.failed(failure{now, int(t.attempts), code})
		}
	}
	c.metrics.called(c.lane.sink, status, c.witnessed.attempts)
	if err != nil {
		return nil, hiddenError{err, c.hide.text(err.Error(), maxDetail)}
	}
	return a, nil
}

// hiddenError is an error of net/http in words without secrets.
type hiddenError struct {
	error
	text string
}

func (e hiddenError) Error() string { return e.text }
func (e hiddenError) Unwrap() error { return e.error }

func (c *call) assemble(forms []*Form, req *Request) (err error) {
	defer func() {
		if p := recover(); p != nil {
			c.o.Telemetry.Panic(p, c.tags(c.lane.sink)...)
			err = errors.New(reasonBug)
		}
	}()
	c.o.Vendor.Assemble(c.lane.credential, forms, req)
	return nil
}

// judge asks the vendor's code, which may have a bug too: then the events are isolated like those it refuses.
func (c *call) judge(a *Answer, n int) (j Judgement) {
	if a.Status == 0 {
		return Judgement{Verdict: Refused, Reason: reasonBug}
	}
	defer func() {
		if p := recover(); p != nil {
			c.o.Telemetry.Panic(p, c.tags(c.lane.sink)...)
			j = Judgement{Verdict: Refused, Reason: reasonBug}
		}
	}()
	return c.o.Vendor.Judge(a, n)
}

// zipFrom is the size from which a body is worth compressing.
const zipFrom = 1400

var zippers = sync.Pool{New: func() any {
	z, err := gzip.NewWriterLevel(nil, gzip.BestSpeed)
	if err != nil {
		panic(err) // the level is right
	}
	return z
}}

func (c *call) compress(b *buffers, req *Request) ([]byte, http.Header) {
	if !c.traits.Gzip || c.o.NoGzip || len(req.Body) < zipFrom {
		return req.Body, req.Header
	}
	z := zippers.Get().(*gzip.Writer)
	defer zippers.Put(z)
	b.zipped = b.zipped[:0]
	z.Reset((*appender)(&b.zipped))
	if _, err := z.Write(req.Body); err != nil {
		return req.Body, req.Header
	}
	if err := z.Close(); err != nil {
		return req.Body, req.Header
	}
	header := maps.Clone(req.Header)
	header["Content-Encoding"] = []string{"gzip"}
	return b.zipped, header
}

type appender []byte

func (a *appender) Write(p []byte) (int, error) {
	*a = append(*a, p...)
	return len(p), nil
}

// report says that something went wrong to those who should look, grouped by tracker and status; of one kind at most
// once a second.
func (c *call) report(why string, a *Answer, err error, events int, shown example, opened bool) {
	what := "tracker " + c.o.Name + ": " + why
	if err != nil {
		what = "tracker " + c.o.Name + ": " + c.because(err)
	} else if a != nil {
		what = fmt.Sprintf("tracker %s: status %d", c.o.Name, a.Status)
	}
	c.mu.Lock()
	now := c.o.Clock()
	last, known := c.reported[what]
	quiet := !opened && (known && now.Sub(last) < time.Second || !known && len(c.reported) >= 100)
	if !quiet {
		c.reported[what] = now
	}
	c.mu.Unlock()
	if quiet {
		return
	}
	state := ""
	if opened {
		state = string(Open)
	}
	tags := append(c.tags(c.lane.sink), slog.Int("count", events), slog.String("reason", why), slog.String("state", state), slog.String("position", shown.position.String()))
	x := telemetry.Exchange{
		Method: http.MethodPost, URL: address(c.lane.credential.URL), Header: c.header, Body: c.hide.bytes(shown.body, maxEvidence), Way: shown.way,
	}
	if a == nil {
		c.o.Telemetry.FailureOf(what, err, x, tags...)
		return
	}
	x.Status, x.ResponseHeader, x.ResponseBody = a.Status, a.Header, []byte(c.hide.answer(without(shown.ids, a), maxEvidence))
	c.o.Telemetry.FailureOf(what, fmt.Errorf("%s: answered %d", why, a.Status), x, append(tags, slog.Int("status", a.Status))...)
}

func (s *Sender) tags(sink Sink) []slog.Attr {
	return []slog.Attr{slog.String("tracker", s.o.Name), slog.String("kind", string(sink))}
}
