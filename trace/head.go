package trace

import (
	"slices"
	"sync"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/telemetry"
	"github.com/sparrowhq/sparrow/trace/backlog"
	"github.com/sparrowhq/sparrow/trace/tracker"
	"github.com/sparrowhq/sparrow/warehouse"
)

// head is where a lane reads the backlog for one sink. The lane's mutex guards what changes.
type head struct {
	index int
	sink  tracker.Sink  // empty: for all, which are not sent
	room  chan struct{} // cap 1: to read on
	retry chan struct{} // cap 1: to send dead letters again

	unread telemetry.Outage

	next      uint64 // the message to read
	flying    int    // rows handed to the sender, without a durable result
	unshipped int    // rows in the queue, as rows
	ahead     int    // rows in the queue, folded
	bug       error  // what keeps it from reading
}

// work is one message as a lane sees it.
type work struct {
	number   uint64
	total    uint64
	journal  string
	to       event.Cursor
	controls []*event.ControlEntry
	parts    []part   // one for each head
	unread   int      // events of parts that are not read
	unreadAt int64    // received-at of the first of them
	list     []listed // of all parts, by position, once it is made; the work is final then
	shipped  int      // of list, those that are in the warehouse
}

// part is what of a work one head has.
type part struct {
	work   *work
	head   *head
	read   bool
	rows   []row  // one for each event that has an outcome here, by position
	open   int    // rows whose outcome is not known and durable
	folded []byte // the outcomes in place of rows: they wait for those of another sink
	count  int    // how many are in folded
}

// row is one event with an outcome.
type row struct {
	part  *part
	event *backlog.Event // nil once the outcome is known
	warehouse.Outcome
	again bool
	known bool
}

type listed struct {
	*warehouse.Outcome
	head *head
}

// final says that what became of all its events is known and durable.
func (w *work) final() bool {
	for i := range w.parts {
		if p := &w.parts[i]; !p.read || p.open > 0 {
			return false
		}
	}
	return true
}

// outcomes returns what became of all events of a work that is final, by position.
func (w *work) outcomes() ([]listed, error) {
	if w.list != nil {
		return w.list, nil
	}
	list, parts := []listed{}, 0
	for i := range w.parts {
		p := &w.parts[i]
		if err := p.unfold(); err != nil {
			return nil, err
		}
		for j := range p.rows {
			list = append(list, listed{&p.rows[j].Outcome, p.head})
		}
		if len(p.rows) > 0 {
			parts++
		}
	}
	if parts > 1 {
		slices.SortFunc(list, func(a, b listed) int { return a.Position.Compare(b.Position) })
	}
	w.list = list
	return list, nil
}

// fold puts the rows into few bytes.
func (p *part) fold() {
	n := len(p.rows)
	p.folded = backlog.EncodeOutcomes(func(yield func(*warehouse.Outcome) bool) {
		for i := range p.rows {
			if !yield(&p.rows[i].Outcome) {
				return
			}
		}
	})
	p.rows, p.count = nil, n
	p.head.unshipped -= n
	p.head.ahead += n
}

func (p *part) unfold() error {
	if p.count == 0 {
		return nil
	}
	outcomes, err := backlog.DecodeOutcomes(p.folded)
	if err != nil {
		return err
	}
	p.rows = make([]row, len(outcomes))
	for i := range outcomes {
		p.rows[i] = row{part: p, Outcome: outcomes[i], known: true}
	}
	p.head.unshipped += p.count
	p.head.ahead -= p.count
	p.folded, p.count = nil, 0
	return nil
}

// overtakesLocked says that what h has read waits for what another head has not: the queue's first message is not final
// through no doing of h.
func (l *lane) overtakesLocked(h *head) bool {
	if len(l.heads) == 1 || len(l.queue) == 0 {
		return false
	}
	own := &l.queue[0].parts[h.index]
	return !l.queue[0].final() && own.read && own.open == 0
}

// foldLocked folds what is final of h's parts while another sink holds up the queue.
func (l *lane) foldLocked(h *head) {
	for _, w := range l.queue {
		if p := &w.parts[h.index]; p.read && p.open == 0 && len(p.rows) > 0 && w.list == nil {
			p.fold()
		}
	}
}

// fullLocked says that h may not read on until something has left the queue.
func (l *lane) fullLocked(h *head) bool {
	if h.unshipped >= l.t.o.MaxUnshipped*3/4 && l.overtakesLocked(h) {
		l.foldLocked(h)
	}
	// Events in flight may all die, so they count once one has.
	dead := l.kept.Dead(h.sink)
	return h.unshipped >= l.t.o.MaxUnshipped || h.ahead >= l.t.o.MaxAhead || dead > 0 && dead+h.flying >= l.t.o.MaxDead
}

// passLocked lets h pass the messages of which it has its part already, and those that are shipped.
func (l *lane) passLocked(h *head) {
	if len(l.queue) == 0 {
		h.next = max(h.next, l.next)
		return
	}
	h.next = max(h.next, l.queue[0].number)
	for h.next < l.next && l.queue[h.next-l.queue[0].number].parts[h.index].read {
		h.next++
	}
}

// workLocked returns the work of a message that a head has read, the first time a new one. below is what is not the lane's
// business of it.
func (l *lane) workLocked(m *backlog.Message, below event.Cursor) *work {
	if m.Number < l.next {
		return l.queue[m.Number-l.queue[0].number]
	}
	w := &work{number: m.Number, total: m.Total, journal: m.Journal, to: m.To, controls: m.Controls, parts: make([]part, len(l.heads))}
	for i, h := range l.heads {
		w.parts[i] = part{work: w, head: h}
	}
	l.queue = append(l.queue, w)
	l.next, l.total = m.Number+1, m.Total
	if len(l.heads) == 1 {
		return w
	}
	for i, h := range l.heads {
		p := &w.parts[i]
		p.read = !slices.ContainsFunc(m.Events, func(e backlog.Event) bool { return e.Sink == h.sink && !below.Covers(e.Frame, e.Request) })
	}
	return w
}

// recovered is what an earlier process left, for all heads.
type recovered struct {
	mu sync.Mutex
	backlog.Recovered
}

// of says what is known of the event at p, and whether a call with it was begun.
func (r *recovered) of(p event.Position) (o warehouse.Outcome, known, begun bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if o, known = r.Results[p]; known {
		delete(r.Results, p)
	}
	return o, known, r.Intents[p]
}
