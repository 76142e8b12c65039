// Package trace is the second half of a stack: it takes the deliveries that the dispatcher has stored raw, decides what of
// them may leave, keeps that durably, and carries it to every tracker until each has it.
//
// Invariant: a delivery is answered with 200 only when what became of each of its events is durable in the backlog. Every
// event has exactly one final outcome at stage trace, and at each tracker that it belongs to; which project of a vendor it
// goes to was decided by the role of its frame when that was handed over, and by nothing later. Lanes share nothing but
// the backlog: one that stands still holds up no other.
//
//	intake (intake.go) → backlog → lanes (lane.go, read.go) → tracker.Sender → results (settle.go) → warehouse (ship.go)
package trace

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sparrowhq/sparrow/delivery"
	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/telemetry"
	"github.com/sparrowhq/sparrow/trace/backlog"
	"github.com/sparrowhq/sparrow/trace/pipeline"
	"github.com/sparrowhq/sparrow/trace/tracker"
	"github.com/sparrowhq/sparrow/warehouse"
)

// inForce is what goes together: a configuration and the build it makes.
type inForce struct {
	pipeline *pipeline.Pipeline
	build    event.Build
}

// Trace is the trace of one stack.
type Trace struct {
	o        Options
	metrics  *metrics
	backlog  *backlog.Backlog
	inForce  atomic.Pointer[inForce]
	unknown  *pipeline.Tally
	refused  *pipeline.Tally // sources: write keys and origins are counted by reason, not by what the client sent
	endpoint *delivery.Endpoint
	intake   *intake

	ctx        context.Context // ends when Close gives up waiting
	cancel     context.CancelFunc
	reading    context.Context // ends when Close begins
	stop       context.CancelFunc
	running    sync.WaitGroup
	renormal   chan struct{} // has room for one: the columns are to be told again
	closeOnce  sync.Once
	closeError error

	mu     sync.Mutex
	lanes  map[string]*lane // guarded by mu; empty until the backlog has begun
	begin  error            // guarded by mu: why it has not
	normal error            // guarded by mu: why raw_normalized is not as configured
}

// New opens the backlog and starts the lanes. Close, or Run, must be called.
func New(ctx context.Context, o Options) (*Trace, error) {
	if err := o.applyDefaultsAndValidate(); err != nil {
		return nil, err
	}
	p, err := pipeline.New(pipeline.Options{Config: o.Pipeline, Secret: o.Key, Stages: o.Stages})
	if err != nil {
		return nil, fmt.Errorf("trace: %w", err)
	}
	for _, name := range p.Trackers() {
		if _, ok := o.Trackers[name]; !ok {
			return nil, fmt.Errorf("trace: the pipeline sends to tracker %q, for which there are no credentials", name)
		}
		if name == string(warehouse.Trace) || name == string(warehouse.Raw) {
			return nil, fmt.Errorf("trace: no tracker can be called %q: that is a stage's name", name)
		}
	}
	m, err := newMetrics(o.Telemetry.Registry, p.Trackers())
	if err != nil {
		return nil, fmt.Errorf("trace: %w", err)
	}
	b, err := backlog.Open(backlog.Options{
		Dir: o.Dir, Stack: o.Stack, MaxBytes: o.MaxBacklogBytes, MinFree: o.MinFree, MaxKeys: o.MaxKeys, KeyAge: o.KeyAge, Log: o.Telemetry.Log,
	})
	if err != nil {
		return nil, fmt.Errorf("trace: %w", err)
	}
	t := &Trace{
		o: o, metrics: m, backlog: b, unknown: pipeline.NewTally(0), refused: pipeline.NewTally(100), lanes: map[string]*lane{},
		renormal: make(chan struct{}, 1),
		begin:    errors.New("the warehouse has not said yet where this stage stands"),
		normal:   errors.New("the warehouse has not taken the columns of raw_normalized yet"),
	}
	t.inForce.Store(&inForce{p, o.Build})
	t.ctx, t.cancel = context.WithCancel(context.WithoutCancel(ctx))
	t.reading, t.stop = context.WithCancel(t.ctx)
	t.intake = &intake{t: t}
	t.endpoint = delivery.New(delivery.Options{
		Stack: o.Stack, Receiver: t.intake, MaxBytes: o.MaxDeliveryBytes, ReadTimeout: o.ReadTimeout, Telemetry: o.Telemetry, Answered: m.answered,
	})
	if err := o.Telemetry.Registry.Register(gauges{t}); err != nil {
		t.cancel()
		b.Close()
		return nil, fmt.Errorf("trace: %w", err)
	}
	lanes, err := t.makeLanes()
	if err != nil {
		for _, l := range lanes {
			l.closeSender()
		}
		t.cancel()
		b.Close()
		return nil, err
	}
	t.running.Go(func() { t.start(lanes) })
	t.running.Go(t.normalise)
	return t, nil
}

// makeLanes makes the lanes, but starts nothing. With an error it returns those that it has made.
func (t *Trace) makeLanes() ([]*lane, error) {
	lanes := []*lane{newLane(t, string(warehouse.Trace))}
	for _, name := range t.inForce.Load().pipeline.Trackers() {
		l := newLane(t, name)
		o := t.o.Trackers[name]
		for _, sink := range []tracker.Sink{tracker.Production, tracker.Staging} {
			if _, ok := o.Credentials[sink]; !ok { // the roles of stacks change
				return lanes, fmt.Errorf("trace: tracker %q has no credential for %s", name, sink)
			}
		}
		o.Name, o.Telemetry, o.Before, o.Done, o.Checked = name, t.o.Telemetry, l.before, l.done, l.checked
		s, err := tracker.New(o)
		if err != nil {
			return lanes, fmt.Errorf("trace: %w", err)
		}
		l.sender = s
		lanes = append(lanes, l)
	}
	return lanes, nil
}

// start begins the backlog if it is new, and starts the lanes.
func (t *Trace) start(lanes []*lane) {
	wait := 200 * time.Millisecond
	var outage telemetry.Outage
	for {
		err := t.beginAll(lanes)
		if err == nil {
			outage.Over(t.o.Telemetry, "trace has begun")
			break
		}
		t.mu.Lock()
		t.begin = err
		t.mu.Unlock()
		outage.Failed(t.o.Telemetry, "trace cannot begin", err)
		if !t.rest(wait) {
			for _, l := range lanes {
				l.closeSender()
			}
			return
		}
		wait = min(2*wait, 5*time.Second)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.reading.Err() != nil { // Close has looked for lanes already
		for _, l := range lanes {
			l.closeSender()
		}
		return
	}
	t.begin = nil
	for _, l := range lanes {
		t.lanes[l.name] = l
		l.start()
	}
}

// rest waits d, and returns false if reading ends before.
func (t *Trace) rest(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-t.reading.Done():
		return false
	}
}

// beginAll gives each lane its part of the backlog. A new backlog begins at the lowest cursor that the warehouse has of
// any lane: what was lost with an old one is sent again, what is final is not. A lane that is new to a backlog begins at
// its present end.
func (t *Trace) beginAll(lanes []*lane) error {
	ctx, cancel := context.WithTimeout(t.reading, 10*time.Second)
	defer cancel()
	if !t.backlog.State().Begun {
		cursors := map[string]event.Cursor{}
		for _, l := range lanes {
			c, err := t.o.Warehouse.Cursor(ctx, t.o.Stack, 0, warehouse.Stage(l.name))
			if err != nil {
				return fmt.Errorf("trace: warehouse: cursor of %s: %w", l.name, err)
			}
			cursors[l.name] = c
		}
		// A tracker that never finished anything, beside a stage trace that did, is new.
		from := cursors[string(warehouse.Trace)]
		states := map[string]backlog.LaneState{}
		for name, c := range cursors {
			if c == (event.Cursor{}) {
				c = cursors[string(warehouse.Trace)]
			}
			cursors[name] = c
			if c.Compare(from) < 0 {
				from = c
			}
			states[name] = backlog.LaneState{Cursor: c, Since: c}
		}
		if err := t.backlog.Begin(ctx, from, states); err != nil {
			return fmt.Errorf("trace: %w", err)
		}
		if from != (event.Cursor{}) {
			t.o.Telemetry.Log.Warn("a new backlog begins where the warehouse's outcomes end; what an old one held and had not finished is sent again", "cursor", from.String())
		}
	}
	known := t.backlog.Lanes()
	for _, l := range lanes {
		state, ok := known[l.name]
		delete(known, l.name)
		if ok && !state.Ended {
			l.kept = t.backlog.Lane(l.name)
			continue
		}
		kept, err := t.backlog.Join(ctx, l.name)
		if err != nil {
			return fmt.Errorf("trace: %w", err)
		}
		l.kept = kept
		t.o.Telemetry.Log.Info("a tracker that is new begins at the present end", "tracker", l.name, "cursor", kept.State().Since.String())
	}
	for _, name := range slices.Sorted(maps.Keys(known)) {
		if known[name].Ended {
			continue
		}
		if err := t.backlog.End(ctx, name); err != nil {
			return fmt.Errorf("trace: %w", err)
		}
		t.o.Telemetry.Log.Warn("a tracker that is not configured any more has ended", "tracker", name, "cursor", known[name].Cursor.String())
	}
	return nil
}

// Reload puts another configuration in force, which makes the process another build: what is taken in or taken out of the
// backlog after it carries that. The trackers must be the same; to add or remove one takes a restart.
func (t *Trace) Reload(c pipeline.Config, build event.Build) error {
	p, err := pipeline.New(pipeline.Options{Config: c, Secret: t.o.Key, Stages: t.o.Stages})
	if err != nil {
		return fmt.Errorf("trace: reload: %w", err)
	}
	if build.ID == "" {
		return errors.New("trace: reload: the build's id is empty")
	}
	now := t.inForce.Load()
	if have, want := now.pipeline.Trackers(), p.Trackers(); !slices.Equal(have, want) {
		return fmt.Errorf("trace: reload: the trackers would be %v instead of %v: restart to add or remove one", want, have)
	}
	for name, rule := range p.Config().Trackers {
		if before := now.pipeline.Config().Trackers[name]; before.Vendor != rule.Vendor {
			return fmt.Errorf("trace: reload: tracker %s would be at vendor %s instead of %s: restart to change it", name, rule.Vendor, before.Vendor)
		}
	}
	t.inForce.Store(&inForce{p, build})
	select {
	case t.renormal <- struct{}{}:
	default:
	}
	t.o.Telemetry.Log.Info("another configuration is in force", "build", build.ID)
	return nil
}

// Build is what this process runs now.
func (t *Trace) Build() event.Build { return t.inForce.Load().build }

// lane returns the lane called name, or nil.
func (t *Trace) lane(name string) *lane {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.lanes[name]
}

// running lanes, by name.
func (t *Trace) all() []*lane {
	t.mu.Lock()
	defer t.mu.Unlock()
	lanes := make([]*lane, 0, len(t.lanes))
	for _, name := range slices.Sorted(maps.Keys(t.lanes)) {
		lanes = append(lanes, t.lanes[name])
	}
	return lanes
}

// Run waits until ctx ends, then closes.
func (t *Trace) Run(ctx context.Context) error {
	<-ctx.Done()
	return t.Close()
}

// Close stops the intake and the lanes, gives calls in flight Grace to come back, makes their results durable, and closes
// the backlog. What is left is done by the next process.
func (t *Trace) Close() error {
	t.closeOnce.Do(func() {
		t.stop()
		var lanes sync.WaitGroup
		for _, l := range t.all() {
			lanes.Go(l.drain)
		}
		lanes.Wait()
		t.cancel()
		t.running.Wait()
		if err := t.backlog.Close(); err != nil {
			t.closeError = fmt.Errorf("trace: %w", err)
		}
		t.o.Telemetry.Registry.Unregister(gauges{t})
	})
	return t.closeError
}

// normalise tells the warehouse the columns of raw_normalized, at the start and after each reload, until it takes them.
func (t *Trace) normalise() {
	var outage telemetry.Outage
	for {
		c := t.inForce.Load().pipeline.Config()
		wait := time.Second
		for {
			ctx, cancel := context.WithTimeout(t.reading, t.o.AppendTimeout)
			err := t.o.Warehouse.Normalise(ctx, t.o.Stack, properties(c.Columns()))
			cancel()
			t.mu.Lock()
			t.normal = err
			t.mu.Unlock()
			if err == nil {
				outage.Over(t.o.Telemetry, "the warehouse takes the columns of raw_normalized")
				break
			}
			if t.reading.Err() == nil {
				outage.Failed(t.o.Telemetry, "the warehouse does not take the columns of raw_normalized", err)
			}
			if !t.rest(wait) {
				return
			}
			wait = min(2*wait, time.Minute)
		}
		select {
		case <-t.renormal:
		case <-t.reading.Done():
			return
		}
	}
}

// properties are the columns in the warehouse's words.
func properties(columns []pipeline.Column) []warehouse.Property {
	var all []warehouse.Property
	for _, c := range columns {
		p := warehouse.Property{Name: c.Name, Keys: c.Keys, Type: warehouse.TypeJSON}
		switch c.Type {
		case pipeline.String, pipeline.URL:
			p.Type = warehouse.TypeString
		case pipeline.Integer:
			p.Type = warehouse.TypeInteger
		case pipeline.Number:
			p.Type = warehouse.TypeNumber
		case pipeline.Boolean:
			p.Type = warehouse.TypeBoolean
		case pipeline.Time:
			p.Type = warehouse.TypeTime
		}
		all = append(all, p)
	}
	return all
}

// Handler serves POST /v1/frames, GET /v1/cursors, GET /v1/status and the dead letters to our own processes, and health,
// readiness and metrics.
func (t *Trace) Handler() http.Handler { return t.routes() }
