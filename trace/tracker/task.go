package tracker

import (
	"container/heap"
	"time"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/telemetry"
	"github.com/sparrowhq/sparrow/trace/pipeline"
)

// task is an Item on its way. While its group is busy it belongs to the goroutine that makes the call, else to the
// Sender's mutex.
type task struct {
	event.Position
	sink  Sink
	again bool
	hash  uint64 // of the event's idempotency key
	form  Form
	size  int
	since time.Time // given to Send
	group *group

	checking bool      // the validation endpoint is asked about it
	ids      [2]string // of device and user, as the vendor gets them
	received int64     // when the client's request was, microseconds since the epoch
	failures []failure // what its last attempts came to, as far as they failed

	// Noted by the witness.
	attempts   uint32
	digest     uint64
	credential Sink
	head, body []byte // as they passed last; valid until the call is judged
	seen       int    // in which of the testimony's requests last; 0: in none of this call
	answered   bool   // a request with it got a good status, in whatever call
	excess     bool   // it passed more often than needed: see testimony.saw

	barred   bool   // refused together with address or credential,
	barredAt uint64 // when the sink had had so many successes
}

func (t *task) reset() {
	t.form.Reset()
	*t = task{form: t.form}
}

// failure is an attempt that came to nothing.
type failure struct {
	at     time.Time
	number int
	status int // 0: there was no answer
}

// maxFailures of a task are remembered, the last ones.
const maxFailures = 8

func (t *task) failed(f failure) {
	if len(t.failures) == maxFailures {
		t.failures = append(t.failures[:0], t.failures[1:]...)
	}
	t.failures = append(t.failures, f)
}

// way is the event's, as far as it is known here.
func (t *task) way(tracker string) []telemetry.Step {
	steps := []telemetry.Step{
		{At: time.UnixMicro(t.received), Stage: "journal", What: "received"},
		{Stage: pipeline.StageName, What: "accepted"},
		{At: t.since, Stage: tracker, What: "given to the tracker"},
	}
	if t.again {
		steps = append(steps, telemetry.Step{Stage: tracker, What: "an earlier process may have sent it"})
	}
	for _, f := range t.failures {
		what := "answered"
		if f.status == 0 {
			what = "not answered"
		}
		steps = append(steps, telemetry.Step{At: f.at, Stage: tracker, What: what, Status: f.status, Number: f.number})
	}
	return steps
}

// overhead is what a task takes beside its form.
const overhead = 256

// group is the tasks of one Form.Group, in order. One call at a time carries them.
type group struct {
	key   string
	tasks []*task
	first int // of tasks, those before are gone
	at    where
	until time.Time // held until
	most  int       // tasks in a call, after the vendor said that the last were too many; 0: no bound
}

type where byte

const (
	idle  where = iota // it has no task
	ready              // in lane.ready
	held               // in lane.held
	busy               // a call carries its first tasks
)

func (g *group) len() int     { return len(g.tasks) - g.first }
func (g *group) front() *task { return g.tasks[g.first] }

func (g *group) push(t *task) {
	if g.first == len(g.tasks) {
		g.tasks, g.first = g.tasks[:0], 0
	}
	g.tasks = append(g.tasks, t)
}

func (g *group) pop() *task {
	t := g.tasks[g.first]
	g.tasks[g.first] = nil
	g.first++
	return t
}

// unpop puts t back to the front.
func (g *group) unpop(t *task) {
	if g.first == 0 {
		g.tasks = append([]*task{nil}, g.tasks...)
		g.first = 1
	}
	g.first--
	g.tasks[g.first] = t
}

// line is a queue of groups.
type line struct {
	groups []*group
	first  int
}

func (l *line) len() int      { return len(l.groups) - l.first }
func (l *line) front() *group { return l.groups[l.first] }

func (l *line) push(g *group) {
	if l.first > 64 && l.first > len(l.groups)/2 {
		n := copy(l.groups, l.groups[l.first:])
		clear(l.groups[n:])
		l.groups, l.first = l.groups[:n], 0
	}
	g.at = ready
	l.groups = append(l.groups, g)
}

func (l *line) pop() *group {
	g := l.groups[l.first]
	l.groups[l.first] = nil
	l.first++
	return g
}

// unpop puts back what pop returned last.
func (l *line) unpop(g *group) {
	g.at = ready
	l.first--
	l.groups[l.first] = g
}

// holds is a heap of groups by until.
type holds []*group

func (h holds) Len() int           { return len(h) }
func (h holds) Less(i, j int) bool { return h[i].until.Before(h[j].until) }
func (h holds) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *holds) Push(x any)        { *h = append(*h, x.(*group)) }
func (h *holds) Pop() any {
	old := *h
	g := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return g
}

func (h *holds) add(g *group, until time.Time) {
	g.at, g.until = held, until
	heap.Push(h, g)
}
