// Package supervisor runs the processes of one machine: it binds their addresses, starts them, starts them again when
// they end, and stops them in order.
//
// Invariant: an address given to clients stays bound from the first start to the last stop, whatever happens to the
// process behind it; and no process outlives its supervisor for longer than it takes to stop in order, even if the
// supervisor dies by kill -9.
package supervisor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sparrowhq/sparrow/telemetry"
)

// Process is what to run.
type Process struct {
	Name      string        // unique; names its log file
	Path      string        // executable
	Args      []string      // without the program's name. They are visible to every user of the machine: no secrets
	URL       string        // answers /readyz
	Listeners []*Listener   // handed down; closed by the supervisor at the end
	Stage     int           // processes of a lower stage stop before those of a higher one, and start after them
	Account   string        // a line of its log that begins so is told to the operator; empty: none is
	Stop      time.Duration // from SIGTERM to SIGKILL; zero: 15 s
}

// Options configure New.
type Options struct {
	Folder    *Folder              // required; stays the caller's
	Processes []Process            // required
	Environ   []string             // of the children, "NAME=value"; nil: none
	Backoff   Backoff              // zero: see there
	StartWait time.Duration        // how long a stage may take to become ready before the next starts anyway; zero: 15 s
	Report    func(Event)          // called one at a time, must return at once; nil: nobody is told
	Telemetry *telemetry.Telemetry // nil: discarded
}

func (o Options) withDefaults() Options {
	o.Backoff = o.Backoff.withDefaults()
	o.StartWait = cmp.Or(o.StartWait, 15*time.Second)
	o.Processes = slices.Clone(o.Processes)
	for i := range o.Processes {
		o.Processes[i].Stop = cmp.Or(o.Processes[i].Stop, 15*time.Second)
	}
	if o.Report == nil {
		o.Report = func(Event) {}
	}
	if o.Telemetry == nil {
		o.Telemetry = telemetry.Discard()
	}
	return o
}

// Supervisor runs processes. It is safe for concurrent use.
type Supervisor struct {
	o        Options
	lifeline *watched
	alive    map[int]*watched // by stage: held by its processes, read by those that stop after them
	children []*child
	client   *http.Client
	restarts *prometheus.CounterVec

	reporting sync.Mutex
	mu        sync.Mutex
	changed   chan struct{} // closed and replaced at each change of a state; guarded by mu
}

// New returns a supervisor. Nothing runs yet. It owns the listeners of its processes from now on.
func New(o Options) (_ *Supervisor, err error) {
	o = o.withDefaults()
	s := &Supervisor{
		o:       o,
		alive:   map[int]*watched{},
		changed: make(chan struct{}),
		client:  &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 1}},
		restarts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sparrow_up_restarts_total", Help: "Starts of a process after the first.",
		}, []string{"name"}),
	}
	defer func() {
		if err != nil {
			s.release()
		}
	}()
	if err := o.Telemetry.Registry.Register(s.restarts); err != nil {
		return nil, fmt.Errorf("supervisor: %w", err)
	}
	if s.lifeline, err = newWatched("lifeline"); err != nil {
		return nil, fmt.Errorf("supervisor: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(o.Folder.Path, "logs"), 0o700); err != nil {
		return nil, fmt.Errorf("supervisor: %w", err)
	}
	for _, p := range o.Processes {
		if s.alive[p.Stage] == nil {
			if s.alive[p.Stage], err = newWatched("stage"); err != nil {
				return nil, fmt.Errorf("supervisor: %w", err)
			}
		}
		c, err := newChild(s, p)
		if err != nil {
			return nil, err
		}
		s.children = append(s.children, c)
	}
	return s, nil
}

// Run starts everything and blocks until ctx ends and all is stopped again, in order; or, when now closes, at once.
// The supervisor cannot be used again afterwards.
func (s *Supervisor) Run(ctx context.Context, now <-chan struct{}) error {
	defer s.release()
	stages := s.stages()
	var running sync.WaitGroup
	logs, stopLogs := context.WithCancel(context.Background())
	var tails sync.WaitGroup
	for _, c := range s.children {
		tails.Go(func() { c.log.Follow(logs, c.logged) })
	}
	for _, stage := range slices.Backward(stages) {
		if ctx.Err() != nil {
			break
		}
		for _, c := range stage {
			running.Go(func() { c.run(now) })
		}
		wait, cancel := context.WithTimeout(ctx, s.o.StartWait)
		_ = s.await(wait, func() bool { return all(stage, Ready) }) // ready or not, the next stage starts
		cancel()
	}
	<-ctx.Done()

	var errs []error
	for _, stage := range stages {
		for _, c := range stage {
			close(c.stopping)
		}
		for _, c := range stage {
			if c.started() {
				<-c.done
			}
			if c.killed {
				errs = append(errs, fmt.Errorf("%s did not stop within %s and was killed", c.process.Name, c.process.Stop))
			}
		}
	}
	running.Wait()
	stopLogs()
	tails.Wait()
	return errors.Join(errs...)
}

// stages returns the children by ascending stage.
func (s *Supervisor) stages() [][]*child {
	by := map[int][]*child{}
	var order []int
	for _, c := range s.children {
		if by[c.process.Stage] == nil {
			order = append(order, c.process.Stage)
		}
		by[c.process.Stage] = append(by[c.process.Stage], c)
	}
	slices.Sort(order)
	var stages [][]*child
	for _, n := range order {
		stages = append(stages, by[n])
	}
	return stages
}

func all(children []*child, phase Phase) bool {
	return !slices.ContainsFunc(children, func(c *child) bool { return c.current().Phase != phase })
}

// AwaitReady blocks until all processes are ready at once.
func (s *Supervisor) AwaitReady(ctx context.Context) error {
	return s.await(ctx, func() bool { return all(s.children, Ready) })
}

// await blocks until check holds, looking at each change.
func (s *Supervisor) await(ctx context.Context, check func() bool) error {
	for {
		changed := s.Changed()
		if check() {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Changed returns a channel that is closed at the next change of any State.
func (s *Supervisor) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

func (s *Supervisor) change() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.changed)
	s.changed = make(chan struct{})
}

// States returns the state of each process, in the order of Options.
func (s *Supervisor) States() []State {
	var states []State
	for _, c := range s.children {
		states = append(states, c.current())
	}
	return states
}

// Replace stops the process called name and starts it from the executable at path. Between the two it calls confirm:
// an error from there starts the old executable again, and is returned. It returns once the new one is ready. If that
// does not happen before ctx ends, or it ends by itself first, the old executable is started again, and the error says
// why the new one failed.
func (s *Supervisor) Replace(ctx context.Context, name, path string, confirm func() error) error {
	i := slices.IndexFunc(s.children, func(c *child) bool { return c.process.Name == name })
	if i < 0 {
		return fmt.Errorf("no process is called %q", name)
	}
	c := s.children[i]
	c.replacing.Lock()
	defer c.replacing.Unlock()
	before := c.current()
	if err := c.swap(ctx, path, confirm); err != nil {
		return err
	}
	var last State
	err := s.await(ctx, func() bool {
		last = c.current()
		return last.Phase == Ready || last.Phase == Failed || last.Phase == Stopped
	})
	if err == nil && last.Phase == Ready {
		return nil
	}
	why := cmp.Or(last.Why, string(last.Phase))
	if err != nil {
		why = fmt.Sprintf("not ready in time: %s", why)
	}
	if err := c.swap(context.WithoutCancel(ctx), before.Path, func() error { return nil }); err != nil {
		return fmt.Errorf("%s: the new executable failed (%s), and the old one could not be started again: %w", name, why, err)
	}
	return fmt.Errorf("%s: the new executable failed, the old one runs again: %s", name, why)
}

func (s *Supervisor) report(process string, level slog.Level, text string) {
	s.reporting.Lock()
	defer s.reporting.Unlock()
	s.o.Report(Event{At: time.Now(), Process: process, Level: level, Text: text})
}

// release gives back everything New took. The processes must have ended.
func (s *Supervisor) release() {
	for _, c := range s.children {
		c.log.Close()
	}
	for _, p := range s.o.Processes {
		for _, l := range p.Listeners {
			l.Close()
		}
	}
	for _, p := range s.alive {
		p.close()
	}
	if s.lifeline != nil {
		s.lifeline.close()
	}
	s.o.Telemetry.Registry.Unregister(s.restarts)
	s.client.CloseIdleConnections()
}
