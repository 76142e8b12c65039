package trace

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/sparrowhq/sparrow/event"
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
// has no tracker, and carries only outcomes. Three goroutines work on it: one reads, one makes durable what became known,
// one ships.
//
//	queue:  [ shipped │ final and durable │ in flight, in any order │ … ] next → unread messages
//	                  └ kept.Cursor       └ final                         └ reads on
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
	asked     chan struct{} // closed when the warehouse has said where the lane's stages stand

	room, known, ripe, retry chan struct{} // cap 1: to read on; to settle; to ship; to send dead letters again

	mu        sync.Mutex
	queue     []*work                       // guarded by mu: messages read and not wholly shipped, in order
	rows      map[event.Position]*row       // guarded by mu: handed to the sender, without a durable result
	unshipped int                           // guarded by mu: rows in queue
	payload   int                           // guarded by mu: bytes of requests and responses in queue
	next      uint64                        // guarded by mu: the message to read
	total     uint64                        // guarded by mu: Message.Total of the last message read
	pending   backlog.Change                // guarded by mu: known, and not durable
	waiting   []chan error                  // guarded by mu: who waits for pending to be durable; each has room for one
	resending map[event.Position]*resending // guarded by mu: dead letters that are sent again
	again     []event.Position              // guarded by mu: the last ones sent again in doubt
	requeued  []event.Position              // guarded by mu: dead letters to be sent again
	stored    event.Cursor                  // guarded by mu: the warehouse's cursor of the stage, once asked
	shipError error                         // guarded by mu: why the last batch did not get through
	settleErr error                         // guarded by mu: likewise the last change
	bug       error                         // guarded by mu: what keeps the lane from reading
	lost      *lostRange                    // guarded by mu

	validations validations // guarded by mu
}

// lostRange is outcomes that the warehouse had once and has no more, and which nobody can tell again.
type lostRange struct {
	From event.Cursor `json:"from"`
	To   event.Cursor `json:"to"`
}

// work is one message as a lane sees it.
type work struct {
	number   uint64
	total    uint64
	journal  string
	to       event.Cursor
	controls []*event.ControlEntry
	rows     []row // one for each event that has an outcome here, by position
	open     int   // rows whose outcome is not known and durable
	shipped  int   // rows that are in the warehouse
}

// row is one event with an outcome.
type row struct {
	work  *work
	event *backlog.Event // nil once the outcome is known
	warehouse.Outcome
	again bool
	known bool
}

func newLane(t *Trace, name string) *lane {
	l := &lane{
		t: t, name: name, asked: make(chan struct{}), rows: map[event.Position]*row{}, resending: map[event.Position]*resending{},
		room: make(chan struct{}, 1), known: make(chan struct{}, 1), ripe: make(chan struct{}, 1), retry: make(chan struct{}, 1),
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
	l.reader.Go(func() { l.guarded(l.read) })
	l.settlers.Go(func() { l.guarded(l.settle) })
	l.settlers.Go(func() { l.guarded(l.ship) })
}

// guarded keeps a bug in one lane from ending the process, and with it the others: the lane stops, visibly.
func (l *lane) guarded(run func()) {
	defer func() {
		if v := recover(); v != nil {
			l.t.o.Telemetry.Panic(v, slog.String("tracker", l.name))
			l.mu.Lock()
			defer l.mu.Unlock()
			l.bug = errBug
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
		if w.open > 0 {
			break
		}
		cursor = w.to
	}
	return cursor
}
