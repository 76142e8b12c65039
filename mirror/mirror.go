package mirror

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/journal"
	"github.com/sparrowhq/sparrow/service"
)

// Mirror is one mirror process. Its methods may be called from any goroutine while Run runs.
type Mirror struct {
	o      Options
	intake *intake
	feeds  *feedVectors
	stacks map[event.Stack]*stack

	certificate *certificate // nil: plain HTTP
	front       *front       // nil: net/http serves all of it; set by answer

	reloading sync.Mutex                  // held while rules change, and while something begins that follows them
	feeding   atomic.Pointer[FeedOptions] // as last changed; nil: Options.Feed
	listening atomic.Pointer[limited]     // the clients' listener; nil before Run
	state     atomic.Pointer[opened]      // nil: the journal is not open
	waiting   atomic.Pointer[error]       // why not
}

// opened is what exists while the journal is open.
type opened struct {
	journal   *journal.Journal
	timelines *timelines
	ledger    *ledger
	committer *committer
	feeds     map[event.Stack]*feed
	retention *retention
}

// quiet is the log of the clients' server: it would tell of clients, and quote them.
var quiet = log.New(io.Discard, "", 0)

// errClosed is the answer of everything that needs the journal before it is open.
var errClosed = errors.New("the journal is being opened")

// New returns a mirror that has not begun yet.
func New(o Options) (*Mirror, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	m := &Mirror{o: o, stacks: map[event.Stack]*stack{}}
	for name, address := range map[event.Stack]string{event.Green: o.Green, event.Blue: o.Blue} {
		if m.stacks[name], err = newStack(name, address, o.Secret, o.Stacks[name]); err != nil {
			return nil, err
		}
	}
	if m.intake, err = newIntake(o.Intake, o.SDK, o.Telemetry, newIntakeMetrics(o.Telemetry.Registry)); err != nil {
		return nil, err
	}
	if m.o.Intake.TLS.enabled() {
		if m.certificate, err = newCertificate(m.o.Intake.TLS, o.Telemetry, m.intake.metrics); err != nil {
			return nil, err
		}
	}
	m.feeds = newFeedVectors(o.Telemetry.Registry)
	if m.o.Journal.FirstFrame == nil {
		m.o.Journal.FirstFrame = m.firstFrame
	}
	m.wait(errClosed)
	o.Telemetry.Registry.MustRegister(newStatusCollector(m))
	return m, nil
}

func (m *Mirror) wait(why error) { m.waiting.Store(&why) }

// opened returns what exists while the journal is open, or why it is not.
func (m *Mirror) opened() (*opened, error) {
	if o := m.state.Load(); o != nil {
		return o, nil
	}
	return nil, *m.waiting.Load()
}

// Run answers clients and operators until ctx ends, and feeds both stacks. Then it stops in order: it lets clients move
// on (IntakeOptions.Drain), takes no more requests, answers those it has, ends the feeds, saves, closes; each step within
// Options.Grace. It closes both listeners.
func (m *Mirror) Run(ctx context.Context, clients, admin net.Listener) error {
	limit := m.listen(clients)
	server := m.server(limit)
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	operators, stopAdmin := context.WithCancel(context.WithoutCancel(ctx))
	defer stopAdmin()
	var serving sync.WaitGroup
	var adminErr error
	serving.Go(func() {
		adminErr = service.Serve(operators, m.o.Telemetry, admin, m.adminHandler(), m.o.Grace)
		stop(errStopping)
	})
	if m.certificate != nil {
		serving.Go(func() { m.certificate.watch(operators) })
	}
	var clientsErr error
	ready, closing, intakeDown := make(chan struct{}), make(chan struct{}), make(chan struct{})
	serving.Go(func() {
		defer close(intakeDown)
		m.holdUp(ctx, ready)
		var once sync.Once
		closed := func() { once.Do(func() { close(closing) }) }
		clientsErr = m.answer(ctx, server, limit, closed)
		closed() // also if the listener failed
		stop(errStopping)
	})
	openErr := m.serve(ctx, ready, closing, intakeDown)
	stop(errStopping)
	<-intakeDown
	if m.front != nil {
		m.front.wait()
	}
	stopAdmin()
	serving.Wait()
	return errors.Join(openErr, clientsErr, adminErr)
}

// serve opens the journal, runs everything behind the intake until ctx ends, and takes it down again: the feeds once the
// clients' listener is closing, the rest when the intake is down. It closes ready when requests are accepted.
func (m *Mirror) serve(ctx context.Context, ready chan<- struct{}, closing, intakeDown <-chan struct{}) error {
	began := time.Now()
	o, err := m.open(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil // asked to stop before it was open
		}
		m.wait(err)
		return err
	}
	// Generations of contexts: feeds end first, calls to the stacks may end a little later, and what counts frames last.
	work, endWork := context.WithCancel(context.WithoutCancel(ctx))
	calls, endCalls := context.WithCancel(context.WithoutCancel(ctx))
	counting, endCounting := context.WithCancel(context.WithoutCancel(ctx))
	defer endWork()
	defer endCalls()
	defer endCounting()
	var background, counter sync.WaitGroup
	go o.committer.run() // ends with close
	counter.Go(func() { o.ledger.run(counting) })
	background.Go(func() { o.retention.run(work) })
	for _, f := range o.feeds {
		background.Go(func() {
			saving, endSaving := context.WithCancel(context.WithoutCancel(work))
			var saver sync.WaitGroup
			saver.Go(func() { f.saveLoop(saving, m.o.Feed.SaveEvery) })
			f.run(work, calls)
			endSaving() // only now: it saves a last time
			saver.Wait()
		})
	}
	m.reloading.Lock()
	o.committer.resize(m.intake.rules.Load().options.MaxQueue)
	for _, f := range o.feeds {
		f.next.Store(m.feeding.Load()) // nil unless they changed before there were feeds
	}
	m.state.Store(o)
	m.reloading.Unlock()
	m.intake.open.Store(&door{committer: o.committer, accepting: o.journal.Accepting})
	close(ready)
	m.o.Telemetry.Log.Info("accepting requests", "journal", o.journal.ID(), "opened_in", time.Since(began).Round(time.Millisecond).String())

	<-closing // some time after ctx has ended
	endWork()
	late := time.AfterFunc(min(m.o.Grace, callPatience), endCalls)
	<-intakeDown // whoever was being answered is answered
	m.intake.close("the mirror is stopping")
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), m.o.Grace)
	defer cancel()
	err = o.committer.close(grace)
	background.Wait()
	late.Stop()
	m.farewell(grace, o)
	endCounting()
	counter.Wait()
	m.wait(errStopping)
	m.state.Store(nil)
	err = errors.Join(err, o.journal.Close())
	<-o.committer.done // at the latest now: a closed journal keeps nobody waiting
	return err
}

// open opens the journal and everything that is restored from it.
func (m *Mirror) open(ctx context.Context) (_ *opened, err error) {
	j, err := journal.Open(ctx, m.o.Journal)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			j.Close()
		}
	}()
	o := &opened{journal: j, timelines: newTimelines(j), feeds: map[event.Stack]*feed{}}
	if err := o.timelines.refresh(ctx); err != nil {
		return nil, err
	}
	t, _ := o.timelines.current()
	if len(t.Records()) == 0 {
		return nil, fmt.Errorf("journal %s has no control record: it is damaged; restore its folder", j.ID())
	}
	birth := t.Records()[0].Sequence
	if o.ledger, err = openLedger(ctx, j, o.timelines, m.o.Telemetry, birth); err != nil {
		return nil, err
	}
	for name, s := range m.stacks {
		a, from, err := openAccount(ctx, j, name)
		if err != nil {
			return nil, err
		}
		left, err := openTally(ctx, j, name, from)
		if err != nil {
			return nil, err
		}
		o.feeds[name] = &feed{
			stack: s, journal: j, birth: birth, timelines: o.timelines, ledger: o.ledger, account: a, tally: left, o: m.o.Feed,
			metrics: m.feeds.of(name), telemetry: m.o.Telemetry, expiries: make(chan expiryRequest), dirty: make(chan struct{}, 1),
		}
		if err := o.feeds[name].adopt(ctx, m.o.Stacks[name].Rule); err != nil {
			return nil, err
		}
	}
	o.retention = &retention{journal: j, ledger: o.ledger, timelines: o.timelines, feeds: o.feeds, o: m.o.Retention, telemetry: m.o.Telemetry}
	health := &publishing{telemetry: m.o.Telemetry, metrics: m.intake.metrics}
	o.committer = newCommitter(j, m.o.Intake, health.done)
	return o, nil
}

// firstFrame says where a new journal may begin: above every frame that a stack already has, or positions would be used
// twice. It asks until both stacks have answered.
func (m *Mirror) firstFrame(ctx context.Context) (uint64, error) {
	first := uint64(1)
	for _, name := range event.Stacks() {
		for {
			call, cancel := context.WithTimeout(ctx, probeTimeout)
			c, err := m.stacks[name].cursors(call)
			cancel()
			if err == nil {
				for _, j := range c.Journals {
					first = max(first, j.Highest+1)
				}
				for _, at := range c.Stages {
					first = max(first, at.Frame)
				}
				break
			}
			m.wait(fmt.Errorf("this is a new journal, and where it may begin is not known until stack %s says which frames it has (or journal.first_frame is set): %w", name, err))
			retry := time.NewTimer(250 * time.Millisecond)
			select {
			case <-retry.C:
			case <-ctx.Done():
				retry.Stop()
				return 0, ctx.Err()
			}
		}
	}
	if first > 1 {
		m.o.Telemetry.Log.Warn("a new journal begins above the frames that the stacks already have", "first", first)
	}
	return first, nil
}

// ready returns why the mirror should get no traffic. A stack that is down is no reason: its requests wait in the
// journal. A live stack that cannot be fed from the start is one, since that is how a wrong configuration shows.
func (m *Mirror) ready() []error {
	o, err := m.opened()
	if err != nil {
		return []error{err}
	}
	var why []error
	if m.intake.leaving.Load() {
		why = append(why, errStopping)
	}
	if err := o.journal.Accepting(); err != nil {
		why = append(why, err)
	}
	t, _ := o.timelines.current()
	if f := o.feeds[t.Live()]; f != nil {
		if v := f.seen(); v.blocked && !v.synced {
			why = append(why, fmt.Errorf("stack %s, which is live, cannot be fed: %s", f.stack.name, v.problem))
		}
	}
	return why
}
