package cmd

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/telemetry"
	"github.com/sparrowhq/sparrow/trace"
	"github.com/sparrowhq/sparrow/trace/census"
	"github.com/sparrowhq/sparrow/trace/pipeline"
)

// standing is the check of `sparrow doctor` that every event has a final outcome, made now and then by the stack's trace
// for its metrics. What it counts comes from the warehouse alone.
type standing struct {
	stack  event.Stack
	every  time.Duration // also how long an event may take to become final
	build  func() event.Build
	config func() pipeline.Config
	from   census.Querier
	t      *telemetry.Telemetry

	overdue, oldest, lost, at *prometheus.Desc

	mu     sync.Mutex
	stages []census.Stage // guarded by mu: of the last check that came through
	last   time.Time      // guarded by mu: when that was
}

func newStanding(stack event.Stack, every time.Duration, from census.Querier, t *telemetry.Telemetry) (*standing, error) {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("sparrow_census_"+name, help, labels, prometheus.Labels{"stack": string(stack)})
	}
	s := &standing{
		stack: stack, every: every, from: from, t: t,
		overdue: desc("overdue_events", "Events that should be final at the stage and are not.", "stage"),
		oldest:  desc("overdue_oldest_seconds", "Age of the oldest of them at the last check; 0 if there is none.", "stage"),
		lost:    desc("lost_events", "Events without an outcome although the stage says that all up to there is final.", "stage"),
		at:      desc("checked_at_seconds", "When the last check came through, seconds since the epoch."),
	}
	return s, t.Registry.Register(s)
}

// run checks until ctx ends.
func (s *standing) run(ctx context.Context) {
	tick := time.NewTicker(s.every)
	defer tick.Stop()
	defer s.t.Registry.Unregister(s)
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if err := s.check(ctx, time.Now()); err != nil && ctx.Err() == nil {
			s.t.Log.Warn("whether every event has a final outcome could not be checked", slog.Any("error", err))
		}
	}
}

func (s *standing) check(ctx context.Context, now time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, s.every)
	defer cancel()
	c := s.config()
	stages, err := census.Take(ctx, census.Options{
		Warehouse: s.from, Stack: s.stack, Build: s.build().ID, Events: eventsByTracker(&c), Before: now.Add(-s.every), Since: now.Add(-6 * s.every), Examples: 5,
	})
	if err != nil {
		return err
	}
	for _, x := range stages {
		if x.Lost > 0 {
			s.t.Failure("events were passed over", nil, slog.String("stage", string(x.Stage)), slog.Uint64("count", x.Lost), slog.String("id", x.Examples[0].EventID))
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stages, s.last = stages, now
	return nil
}

// Describe implements prometheus.Collector.
func (s *standing) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{s.overdue, s.oldest, s.lost, s.at} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (s *standing) Collect(ch chan<- prometheus.Metric) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last.IsZero() {
		return
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(s.at, float64(s.last.UnixMicro())/1e6)
	for _, x := range s.stages {
		stage := string(x.Stage)
		gauge(s.overdue, float64(x.Behind), stage)
		gauge(s.lost, float64(x.Lost), stage)
		age := 0.0
		if x.Behind > 0 {
			age = s.last.Sub(time.UnixMicro(x.OldestAt)).Seconds()
		}
		gauge(s.oldest, age, stage)
	}
}

// watch starts the standing check of a trace; the function it returns ends it and waits.
func watch(ctx context.Context, s *standing, t *trace.Trace, config func() pipeline.Config) (stop func()) {
	s.build, s.config = t.Build, config
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { s.run(ctx) })
	return func() {
		cancel()
		running.Wait()
	}
}
