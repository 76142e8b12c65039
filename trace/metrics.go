package trace

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sparrowhq/sparrow/trace/pipeline"
	"github.com/sparrowhq/sparrow/trace/tracker"
	"github.com/sparrowhq/sparrow/warehouse"
)

// metrics count what this process did. What is taken in is counted when it is durable, so what is sent again is not
// counted again.
type metrics struct {
	deliveries *prometheus.CounterVec // status
	requests   prometheus.Counter
	events     *prometheus.CounterVec // outcome, reason
	results    *prometheus.CounterVec // tracker, outcome, reason
	attempts   *prometheus.CounterVec // tracker
	again      *prometheus.CounterVec // tracker
	validated  *prometheus.CounterVec // tracker
	process    prometheus.Histogram
	append     *prometheus.HistogramVec // stage
}

func newMetrics(reg prometheus.Registerer, trackers []string) (*metrics, error) {
	seconds := prometheus.ExponentialBuckets(0.0005, 2, 16) // 0.5 ms to 16 s
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	m := &metrics{
		deliveries: counters("sparrow_trace_deliveries_total", "Answers to POST /v1/frames, by status.", "status"),
		requests:   prometheus.NewCounter(prometheus.CounterOpts{Name: "sparrow_trace_requests_total", Help: "Requests whose outcomes became durable."}),
		events:     counters("sparrow_trace_events_total", "Outcomes of stage trace that became durable, by outcome (accepted, rejected) and the reason of a rejection.", "outcome", "reason"),
		results:    counters("sparrow_trace_results_total", "Final outcomes at a tracker.", "tracker", "outcome", "reason"),
		attempts:   counters("sparrow_trace_attempts_total", "Requests that carried an event whose outcome is known, summed over events.", "tracker"),
		again:      counters("sparrow_trace_again_total", "Events sent again because a crash left it unknown whether they had been.", "tracker"),
		validated:  counters("sparrow_trace_validated_total", "Outcomes corrected by what the vendor's validation endpoint said of the event.", "tracker"),
		process: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "sparrow_trace_process_seconds",
			Help: "Time to decide what may leave of one delivery.", Buckets: seconds}),
		append: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "sparrow_trace_append_seconds",
			Help: "Time of one append of outcomes to the warehouse.", Buckets: seconds}, []string{"lane"}),
	}
	for _, c := range []prometheus.Collector{m.deliveries, m.requests, m.events, m.results, m.attempts, m.again, m.validated, m.process, m.append} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	// Series exist from the start: a rate over one that appears with its first event misses that event.
	m.events.WithLabelValues(string(pipeline.Accepted), "")
	m.events.WithLabelValues(string(pipeline.Rejected), ReasonDuplicate)
	for _, t := range trackers {
		m.results.WithLabelValues(t, string(tracker.Delivered), "")
		m.results.WithLabelValues(t, string(tracker.Dead), "")
		m.attempts.WithLabelValues(t)
		m.again.WithLabelValues(t)
		m.validated.WithLabelValues(t)
	}
	return m, nil
}

func (m *metrics) answered(status int) { m.deliveries.WithLabelValues(strconv.Itoa(status)).Inc() }

func (m *metrics) took(t *tally) {
	m.requests.Add(float64(t.requests))
	m.events.WithLabelValues(string(pipeline.Accepted), "").Add(float64(t.accepted))
	for reason, n := range t.rejected {
		m.events.WithLabelValues(string(pipeline.Rejected), reason).Add(float64(n))
	}
}

// result counts a final outcome; r is nil for an event that the tracker may not have.
func (m *metrics) result(lane string, o *warehouse.Outcome, r *tracker.Result) {
	m.results.WithLabelValues(lane, o.Outcome, o.Reason).Inc()
	if r == nil {
		return
	}
	m.attempts.WithLabelValues(lane).Add(float64(r.Attempts))
	if o.Reason == ReasonAgain {
		m.again.WithLabelValues(lane).Inc()
	}
}

// gauges are read from the state when somebody asks.
type gauges struct{ t *Trace }

var (
	lagDesc     = prometheus.NewDesc("sparrow_trace_lag_events", "Events of the backlog without a final outcome at a lane.", []string{"lane"}, nil)
	oldestDesc  = prometheus.NewDesc("sparrow_trace_lag_seconds", "Age of the oldest of them, by received-at; 0: there is none.", []string{"lane"}, nil)
	waitingDesc = prometheus.NewDesc("sparrow_trace_unshipped_outcomes", "Outcomes that are not in the warehouse.", []string{"lane"}, nil)
	flightDesc  = prometheus.NewDesc("sparrow_trace_in_flight_events", "Events handed to a tracker whose outcome is not known.", []string{"lane"}, nil)
	deadDesc    = prometheus.NewDesc("sparrow_trace_dead_letters", "Dead letters kept.", []string{"lane"}, nil)
	stoppedDesc = prometheus.NewDesc("sparrow_trace_lane_stopped", "1 if a lane takes nothing out of the backlog; status says why.", []string{"lane"}, nil)
	bytesDesc   = prometheus.NewDesc("sparrow_trace_backlog_bytes", "Used pages of the backlog.", nil, nil)
	maxDesc     = prometheus.NewDesc("sparrow_trace_backlog_max_bytes", "Their bound, beyond which deliveries are refused.", nil, nil)
	messageDesc = prometheus.NewDesc("sparrow_trace_backlog_messages", "Messages that some lane is not done with.", nil, nil)
	keysDesc    = prometheus.NewDesc("sparrow_trace_message_ids", "messageIds remembered.", nil, nil)
	lostDesc    = prometheus.NewDesc("sparrow_trace_message_ids_forgotten_total", "messageIds forgotten for their number before their time.", nil, nil)
	frameDesc   = prometheus.NewDesc("sparrow_trace_cursor_frame", "Frame of the intake cursor.", nil, nil)
)

// Describe implements prometheus.Collector.
func (g gauges) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{lagDesc, oldestDesc, waitingDesc, flightDesc, deadDesc, stoppedDesc, bytesDesc, maxDesc, messageDesc, keysDesc, lostDesc, frameDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (g gauges) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	s := g.t.Status()
	now := time.Now()
	for name, l := range s.Lanes {
		gauge(lagDesc, float64(l.Lag), name)
		age := 0.0
		if l.OldestAt != 0 {
			age = max(0, now.Sub(time.UnixMicro(l.OldestAt)).Seconds())
		}
		gauge(oldestDesc, age, name)
		gauge(waitingDesc, float64(l.Unshipped), name)
		gauge(flightDesc, float64(l.InFlight), name)
		gauge(deadDesc, float64(l.Dead), name)
		stopped := 0.0
		if l.Stopped != "" {
			stopped = 1
		}
		gauge(stoppedDesc, stopped, name)
	}
	gauge(bytesDesc, float64(s.Backlog.Bytes))
	gauge(maxDesc, float64(s.Backlog.MaxBytes))
	gauge(messageDesc, float64(s.Backlog.Messages))
	gauge(keysDesc, float64(s.Backlog.Keys))
	ch <- prometheus.MustNewConstMetric(lostDesc, prometheus.CounterValue, float64(s.Forgotten))
	gauge(frameDesc, float64(s.Cursor.Frame))
}
