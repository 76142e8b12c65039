package mirror

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sparrowhq/sparrow/event"
)

// intakeMetrics count what clients were answered.
type intakeMetrics struct {
	requests      *prometheus.CounterVec // by code and reason
	accepted      prometheus.Counter     // of requests: those answered 200
	preflights    prometheus.Counter
	unreadable    *prometheus.CounterVec // by what could not be read
	evicted       prometheus.Counter     // clients forgotten by the rate limit while they were active
	notAfter      prometheus.Gauge       // of the TLS certificate
	certificates  *prometheus.CounterVec // by outcome
	bytes         prometheus.Counter
	frameRequests prometheus.Histogram
	frameBytes    prometheus.Histogram
	commit        prometheus.Histogram
}

func newIntakeMetrics(reg *prometheus.Registry) *intakeMetrics {
	m := &intakeMetrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "sparrow_mirror_requests_total",
			Help: "Clients' requests, by the answer's status and why."}, []string{"code", "reason"}),
		bytes: prometheus.NewCounter(prometheus.CounterOpts{Name: "sparrow_mirror_request_bytes_total",
			Help: "Bytes of bodies handed to the journal, as received."}),
		unreadable: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "sparrow_mirror_unreadable_total",
			Help: "Connections ended because what came was no request (malformed, headers too large or too slow, cut short), or no TLS handshake."}, []string{"what"}),
		evicted: prometheus.NewCounter(prometheus.CounterOpts{Name: "sparrow_mirror_rate_evictions_total",
			Help: "Active clients that the rate limit had no room to remember, so that they began anew."}),
		notAfter: prometheus.NewGauge(prometheus.GaugeOpts{Name: "sparrow_mirror_tls_not_after_timestamp_seconds",
			Help: "When the TLS certificate in use expires; 0 without TLS."}),
		certificates: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "sparrow_mirror_tls_replacements_total",
			Help: "New TLS certificates that were found, by outcome: taken, or refused, which leaves the one before in use."}, []string{"outcome"}),
		frameRequests: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "sparrow_mirror_frame_requests",
			Help: "Requests that share a frame.", Buckets: prometheus.ExponentialBuckets(1, 2, 14)}),
		frameBytes: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "sparrow_mirror_frame_bytes",
			Help: "Bytes of a frame.", Buckets: prometheus.ExponentialBuckets(256, 4, 9)}),
		commit: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "sparrow_mirror_commit_seconds",
			Help: "Time to make a frame durable.", Buckets: prometheus.ExponentialBuckets(0.0001, 2, 16)}),
	}
	m.accepted = m.requests.WithLabelValues("200", "accepted")
	m.preflights = m.requests.WithLabelValues("204", "preflight")
	for _, outcome := range []string{"taken", "refused"} {
		m.certificates.WithLabelValues(outcome)
	}
	for _, what := range []string{"request", "handshake"} {
		m.unreadable.WithLabelValues(what)
	}
	// Every answer there is, so that each series begins at 0.
	for code, reasons := range outcomes {
		for _, reason := range reasons {
			m.requests.WithLabelValues(code, reason)
		}
	}
	reg.MustRegister(m.unreadable, m.evicted, m.notAfter, m.certificates, m.requests, m.bytes, m.frameRequests, m.frameBytes, m.commit)
	return m
}

// outcomes are the reasons of each status that the intake answers.
var outcomes = map[string][]string{
	"200": {"accepted"},
	"204": {"preflight"},
	"400": {"empty", "truncated"},
	"404": {"path"},
	"405": {"method"},
	"408": {"slow"},
	"413": {"too large"},
	"429": {"rate"},
	"431": {"headers"},
	"500": {"panic"},
	"503": {"closed", "connections", "full", "id", "queue", "reading", "streams", "unavailable", "unknown"},
}

func (m *intakeMetrics) refused(why *refusal) {
	m.requests.WithLabelValues(strconv.Itoa(why.status), why.reason).Inc()
}

// feedMetrics count the calls to one stack.
type feedMetrics struct {
	calls   *prometheus.CounterVec // by outcome
	seconds prometheus.Observer
	expired prometheus.Counter
}

// feedVectors are what the two stacks' metrics are parts of.
type feedVectors struct {
	calls   *prometheus.CounterVec
	seconds *prometheus.HistogramVec
	expired *prometheus.CounterVec
}

func newFeedVectors(reg *prometheus.Registry) *feedVectors {
	v := &feedVectors{
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "sparrow_mirror_deliveries_total",
			Help: "Calls to a stack, by outcome: applied, busy, timeout, failed, too large, gap, blocked. All but applied are sent again."}, []string{"stack", "outcome"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "sparrow_mirror_delivery_seconds",
			Help: "Time a stack took to make a delivery durable.", Buckets: prometheus.ExponentialBuckets(0.0005, 2, 16)}, []string{"stack"}),
		expired: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "sparrow_mirror_given_up_total",
			Help: "Requests given up for a stack to free space in the journal, since the start."}, []string{"stack"}),
	}
	reg.MustRegister(v.calls, v.seconds, v.expired)
	return v
}

func (v *feedVectors) of(s event.Stack) *feedMetrics {
	label := prometheus.Labels{"stack": string(s)}
	return &feedMetrics{calls: v.calls.MustCurryWith(label), seconds: v.seconds.With(label), expired: v.expired.With(label)}
}

func (m *feedMetrics) delivered(err error, took time.Duration) {
	m.calls.WithLabelValues(outcomeOf(err)).Inc()
	if err == nil {
		m.seconds.Observe(took.Seconds())
	}
}

func outcomeOf(err error) string {
	var (
		busy    *busyError
		content *contentError
		size    *sizeError
		gap     *gapError
	)
	switch {
	case err == nil:
		return "applied"
	case errors.As(err, &busy) && busy.timeout:
		return "timeout"
	case errors.As(err, &busy):
		return "busy"
	case errors.As(err, &content):
		return "failed"
	case errors.As(err, &size):
		return "too large"
	case errors.As(err, &gap):
		return "gap"
	}
	return "blocked"
}

// statusCollector reads the mirror's status at each scrape, so that what is shown is of one moment and never stale.
type statusCollector struct {
	mirror *Mirror

	up, equation, live, reachable, blocked                  *prometheus.Desc
	pending, pendingBytes, oldest, delivered, dead, expired *prometheus.Desc
	journalBytes, journalLimit, accepting, accepted         *prometheus.Desc
	generation, reading, queued, connections                *prometheus.Desc
	maxConnections, maxQueue, rateClients, sampled          *prometheus.Desc
}

func newStatusCollector(m *Mirror) *statusCollector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("sparrow_mirror_"+name, help, labels, nil)
	}
	return &statusCollector{
		mirror:         m,
		up:             desc("open", "1 when the journal is open."),
		accepting:      desc("accepting", "1 when requests are accepted."),
		accepted:       desc("accepted", "Requests in the journal's totals, since it began."),
		generation:     desc("generation", "Of the last control record."),
		journalBytes:   desc("journal_bytes", "Bytes the journal holds."),
		journalLimit:   desc("journal_max_bytes", "Bytes the journal may hold."),
		reading:        desc("reading_bytes", "Bytes held for large bodies that are being received."),
		queued:         desc("queued_bytes", "Bytes that wait to be committed."),
		connections:    desc("connections", "Clients' open connections."),
		maxConnections: desc("max_connections", "Connections at once; further ones are answered 503."),
		maxQueue:       desc("max_queued_bytes", "Bytes that may wait to be committed; beyond, requests are answered 503."),
		rateClients:    desc("rate_clients", "Clients that the rate limit remembers."),
		equation:       desc("equation_ok", "1 when accepted = delivered + pending + dead + expired + sampled.", "stack"),
		live:           desc("live", "1 for the stack that is live.", "stack"),
		reachable:      desc("reachable", "1 when the stack answered last time.", "stack"),
		blocked:        desc("blocked", "1 when the feed waits for a person.", "stack"),
		pending:        desc("pending_requests", "Requests the stack does not have yet.", "stack"),
		pendingBytes:   desc("pending_bytes", "Bytes of their bodies.", "stack"),
		oldest:         desc("pending_oldest_seconds", "Age of the oldest of them; 0 if there is none.", "stack"),
		delivered:      desc("delivered", "Requests the stack confirmed, since the journal began.", "stack"),
		dead:           desc("dead", "Requests dead-lettered, since the journal began.", "stack"),
		sampled:        desc("sampled", "Requests left out by sampling, since the journal began.", "stack"),
		expired:        desc("expired", "Requests expired, since the journal began.", "stack"),
	}
}

func (c *statusCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.up, c.equation, c.live, c.reachable, c.blocked, c.pending, c.pendingBytes, c.oldest, c.delivered,
		c.dead, c.expired, c.journalBytes, c.journalLimit, c.accepting, c.accepted, c.generation, c.reading, c.queued, c.connections, c.maxConnections, c.maxQueue, c.rateClients, c.sampled} {
		ch <- d
	}
}

func (c *statusCollector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	m := c.mirror
	gauge(c.reading, float64(m.intake.bodies.inUse.Load()))
	r := m.intake.rules.Load()
	gauge(c.maxConnections, float64(r.options.MaxConnections))
	gauge(c.maxQueue, float64(r.options.MaxQueue))
	gauge(c.rateClients, float64(r.rate.clients()))
	if l := m.listening.Load(); l != nil {
		gauge(c.connections, float64(l.current.Load()))
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*countingTimeout)
	defer cancel()
	o, err := m.opened()
	if err != nil {
		gauge(c.up, 0)
		gauge(c.accepting, 0)
		return
	}
	gauge(c.up, 1)
	gauge(c.queued, float64(o.committer.size()))
	s, err := m.Status(ctx)
	if err != nil {
		return
	}
	gauge(c.accepting, number(s.Journal.Accepting))
	gauge(c.accepted, float64(s.Accepted.Requests))
	gauge(c.generation, float64(s.Generation))
	gauge(c.journalBytes, float64(s.Journal.Bytes))
	gauge(c.journalLimit, float64(s.Journal.MaxBytes))
	now := time.Now().UnixMicro()
	for name, x := range s.Stacks {
		stack := string(name)
		gauge(c.live, number(x.Role == roleLive), stack)
		gauge(c.reachable, number(x.Reachable), stack)
		gauge(c.blocked, number(x.Blocked), stack)
		gauge(c.pending, float64(x.Pending.Requests), stack)
		gauge(c.pendingBytes, float64(x.Pending.Bytes), stack)
		gauge(c.delivered, float64(x.Delivered), stack)
		gauge(c.dead, float64(x.Dead), stack)
		gauge(c.expired, float64(x.Expired), stack)
		gauge(c.sampled, float64(x.Sampled), stack)
		age := 0.0
		if x.Pending.OldestAt > 0 {
			age = max(0, float64(now-x.Pending.OldestAt)/1e6)
		}
		gauge(c.oldest, age, stack)
	}
	if e, err := m.Equation(ctx); err == nil {
		for name, x := range e.Stacks {
			gauge(c.equation, number(x.OK), string(name))
		}
	}
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
