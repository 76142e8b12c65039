package tracker

import (
	"errors"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are those of one tracker. Several trackers of a process share the vectors.
type metrics struct {
	tracker  string
	events   *prometheus.CounterVec // tracker, sink, outcome, reason
	requests *prometheus.CounterVec // tracker, sink, status
	attempts prometheus.Counter
	repeated prometheus.Counter
	unread   prometheus.Counter
	breaker  *prometheus.GaugeVec   // tracker, sink
	warnings *prometheus.CounterVec // tracker, code, field
	checks   *prometheus.CounterVec // tracker, result
	all      []*prometheus.MetricVec

	mu     sync.Mutex
	series map[[2]string]prometheus.Counter // of warnings
}

func newMetrics(r *prometheus.Registry, tracker string) (*metrics, error) {
	m := &metrics{tracker: tracker, series: map[[2]string]prometheus.Counter{}}
	var faults []error
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c, err := register(r, prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, append([]string{"tracker"}, labels...)))
		faults = append(faults, err)
		m.all = append(m.all, c.MetricVec)
		return c
	}
	m.events = counter("sparrow_tracker_events_total", "Events with a final outcome at a tracker.", "sink", "outcome", "reason")
	m.requests = counter("sparrow_tracker_requests_total", "Calls to a vendor by the status they ended with.", "sink", "status")
	m.attempts = counter("sparrow_tracker_attempts_total", "Requests that passed the transport, repetitions included.").WithLabelValues(tracker)
	m.repeated = counter("sparrow_tracker_events_repeated_total", "Times an event with a final outcome went out beyond its first.").WithLabelValues(tracker)
	m.unread = counter("sparrow_tracker_unread_total", "Requests that the witness at the transport could not take apart.").WithLabelValues(tracker)
	m.warnings = counter("sparrow_tracker_warnings_total", "What a vendor drops, cuts, or says of events on its validation endpoint.", "code", "field")
	m.checks = counter("sparrow_tracker_checks_total", "Events of the sample for the validation endpoint: valid, warned, failed, dropped.", "result")
	var err error
	m.breaker, err = register(r, prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "sparrow_tracker_breaker", Help: "Circuit breaker: 0 closed, 1 waiting after a failure, 2 open.",
	}, []string{"tracker", "sink"}))
	m.all = append(m.all, m.breaker.MetricVec)
	return m, errors.Join(append(faults, err)...)
}

// register returns c, or what is registered in its place.
func register[C prometheus.Collector](r *prometheus.Registry, c C) (C, error) {
	err := r.Register(c)
	var already prometheus.AlreadyRegisteredError
	if errors.As(err, &already) {
		if old, ok := already.ExistingCollector.(C); ok {
			return old, nil
		}
	}
	return c, err
}

// forget drops the tracker's gauges: what is closed has no state.
func (m *metrics) forget() { m.breaker.DeletePartialMatch(prometheus.Labels{"tracker": m.tracker}) }

func (m *metrics) count(results []Result) {
	type kind struct {
		sink    Sink
		outcome Outcome
		reason  string
	}
	counts := make(map[kind]int, 2)
	repeated := 0
	for i := range results {
		r := &results[i]
		counts[kind{r.Sink, r.Outcome, r.Reason}]++
		if r.Attempts > 1 {
			repeated += int(r.Attempts) - 1
		}
		for _, w := range r.Warnings {
			m.warned(w)
		}
	}
	for k, n := range counts {
		m.events.WithLabelValues(m.tracker, string(k.sink), string(k.outcome), k.reason).Add(float64(n))
	}
	if repeated > 0 {
		m.repeated.Add(float64(repeated))
	}
}

// maxWarnings bounds the series: what a vendor names is not ours to bound.
const maxWarnings = 200

func (m *metrics) warned(w Warning) {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := [2]string{w.Code, w.Field}
	c := m.series[key]
	if c == nil {
		code, field := w.Code, w.Field
		if len(m.series) >= maxWarnings {
			code, field = "other", "other"
		}
		c = m.warnings.WithLabelValues(m.tracker, label(code), label(field))
		if len(m.series) < maxWarnings {
			m.series[key] = c
		}
	}
	c.Inc()
}

func label(text string) string {
	if len(text) > 100 {
		text = text[:100]
	}
	return strings.ToValidUTF8(text, "")
}

func (m *metrics) called(sink Sink, status string, attempts int) {
	m.requests.WithLabelValues(m.tracker, string(sink), status).Inc()
	m.attempts.Add(float64(attempts))
}

func (m *metrics) state(sink Sink, s State) {
	m.breaker.WithLabelValues(m.tracker, string(sink)).Set(map[State]float64{Closed: 0, Waiting: 1, Open: 2}[s])
}
