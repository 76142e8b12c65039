package trace

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/telemetry"
	"github.com/sparrowhq/sparrow/trace/backlog"
	"github.com/sparrowhq/sparrow/trace/tracker"
	"github.com/sparrowhq/sparrow/warehouse"
)

// sender is what a lane hands events to: a *tracker.Sender.
type sender interface {
	Send(ctx context.Context, items []tracker.Item) error
	Close()
	Status() tracker.Status
}

// lane carries the events of the backlog to one tracker, and what became of them to the warehouse; the lane called trace
// has no tracker, and carries only outcomes. Four goroutines work on it: one reads for each sink, one makes durable what
// became known, one ships.
//
//	queue:  [ shipped │ final and durable │ in flight, in any order │ read for one sink only ] next → unread messages
//	                  └ kept.Cursor       └ final                   └ the one head's           └ the other head's
//
// A sink that stands still stops its own head, and the cursors; the other head reads and sends on, and what becomes of its
// events waits in the queue, folded, and in the backlog. MaxAhead is how far.
type lane struct {
	t      *Trace
	name   string
	kept   *backlog.Lane // set before start
	sender sender        // nil for stage trace

	drained   context.Context // ends when nothing is to be settled or shipped any more
	drain_    context.CancelFunc
	reader    sync.WaitGroup
	settlers  sync.WaitGroup
	closeOnce sync.Once
	packed    int           // outcomes in the last batch; the shipping goroutine's
	asked     chan struct{} // closed when the warehouse has said where the lane's stages stand

	known, ripe chan struct{} // cap 1: to settle; to ship
	unsettled   telemetry.Outage
	heads       []*head // one for each sink; for stage trace, one for all

	mu        sync.Mutex
	queue     []*work                       // guarded by mu: messages that some head has read, and not wholly shipped, in order, without gaps
	rows      map[event.Position]*row       // guarded by mu: handed to the sender, without a durable result
	payload   int                           // guarded by mu: bytes of requests and responses in queue
	next      uint64                        // guarded by mu: the message behind the last that some head has read
	total     uint64                        // guarded by mu: Message.Total of the last that some head has read
	pending   backlog.Change                // guarded by mu: known, and not durable
	spare     []warehouse.Outcome           // guarded by mu: room for the next pending.Results
	waiting   []chan error                  // guarded by mu: who waits for pending to be durable; each has room for one
	resending map[event.Position]*resending // guarded by mu: dead letters that are sent again
	again     []event.Position              // guarded by mu: the last ones sent again in doubt
	requeued  []requeued                    // guarded by mu: dead letters to be sent again
	stored    event.Cursor                  // guarded by mu: the warehouse's cursor of the stage, once asked
	shipError error                         // guarded by mu: why the last batch did not get through
	settleErr error                         // guarded by mu: likewise the last change
	bug       error                         // guarded by mu: what keeps the lane from settling or shipping
	lost      *lostRange                    // guarded by mu

	validations validations // guarded by mu
}

// lostRange is outcomes that the warehouse had once and has no more, and which nobody can tell again.
type lostRange struct {
	From event.Cursor `json:"from"`
	To   event.Cursor `json:"to"`
}

func newLane(t *Trace, name string) *lane {
	l := &lane{
		t: t, name: name, asked: make(chan struct{}), rows: map[event.Position]*row{}, resending: map[event.Position]*resending{},
		known: make(chan struct{}, 1), ripe: make(chan struct{}, 1),
	}
	sinks := []tracker.Sink{tracker.Production, tracker.Staging}
	if name == string(warehouse.Trace) {
		sinks = []tracker.Sink{""}
	}
	for i, sink := range sinks {
		l.heads = append(l.heads, &head{index: i, sink: sink, room: make(chan struct{}, 1), retry: make(chan struct{}, 1)})
	}
	l.drained, l.drain_ = context.WithCancel(context.Background())
	return l
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// start starts the lane's goroutines; drain ends them.
func (l *lane) start() {
	state := l.kept.State()
	l.next, l.total = state.Through+1, state.Total
	for _, h := range l.heads {
		h.next = l.next
	}
	l.reader.Go(func() { l.guarded(&l.bug, l.begin) })
	l.settlers.Go(func() { l.guarded(&l.bug, l.settle) })
	l.settlers.Go(func() { l.guarded(&l.bug, l.ship) })
}

// guarded keeps a bug in one lane from ending the process, and with it the others: the lane stops, visibly. It is noted in
// noted, which l.mu guards.
func (l *lane) guarded(noted *error, run func()) {
	defer func() {
		if v := recover(); v != nil {
			l.t.o.Telemetry.Panic(v, slog.String("tracker", l.name))
			l.mu.Lock()
			defer l.mu.Unlock()
			*noted = errBug
		}
	}()
	run()
}

var errBug = errors.New("it met a bug in this build, which is reported: restart the process, with another build if it comes again")

func (l *lane) closeSender() {
	if l.sender != nil {
		l.closeOnce.Do(l.sender.Close)
	}
}

// drain ends the lane: what is in flight has Grace to come back, what came back is made durable, and shipped if the
// warehouse takes it at once. Reading has been told to end.
func (l *lane) drain() {
	l.reader.Wait()
	deadline := time.NewTimer(l.t.o.Grace)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
wait:
	for {
		l.mu.Lock()
		inFlight := len(l.rows) + len(l.resending)
		l.mu.Unlock()
		if inFlight == 0 {
			break
		}
		select {
		case <-deadline.C:
			break wait
		case <-tick.C:
		}
	}
	l.closeSender()
	l.drain_()
	signal(l.known)
	l.settlers.Wait()
}

// final is the cursor below which everything is final and durable.
func (l *lane) final() event.Cursor {
	l.mu.Lock()
	defer l.mu.Unlock()
	cursor := l.kept.State().Cursor
	for _, w := range l.queue {
		if !w.final() {
			break
		}
		cursor = w.to
	}
	return cursor
}
