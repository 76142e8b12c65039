package dispatcher

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/sparrowhq/sparrow/event/body"
)

// metrics count what this process did. Requests and events are counted when they are durable, so what is sent again
// is not counted again.
type metrics struct {
	requests   prometheus.Counter
	events     *prometheus.CounterVec // outcome, reason
	bytes      *prometheus.CounterVec // form
	deliveries *prometheus.CounterVec // status
	decode     prometheus.Histogram
	append     prometheus.Histogram
	forward    prometheus.Histogram
	frame      prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	seconds := prometheus.ExponentialBuckets(0.0005, 2, 16) // 0.5 ms to 16 s
	m := &metrics{
		requests: prometheus.NewCounter(prometheus.CounterOpts{Name: "sparrow_dispatcher_requests_total", Help: "Requests whose rows became durable."}),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "sparrow_dispatcher_events_total",
			Help: "Rows that became durable, by outcome (accepted, rejected) and the reason of a rejection."}, []string{"outcome", "reason"}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "sparrow_dispatcher_bytes_total",
			Help: "Bytes of bodies that became durable, as received and as decoded."}, []string{"form"}),
		deliveries: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "sparrow_dispatcher_deliveries_total",
			Help: "Answers to POST /v1/frames, by status."}, []string{"status"}),
		decode: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "sparrow_dispatcher_decode_seconds",
			Help: "Time to decode and split what goes into one append.", Buckets: seconds}),
		append: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "sparrow_dispatcher_append_seconds",
			Help: "Time of one append to the warehouse.", Buckets: seconds}),
		forward: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "sparrow_dispatcher_forward_seconds",
			Help: "Time to hand one delivery to trace.", Buckets: seconds}),
		frame: prometheus.NewGauge(prometheus.GaugeOpts{Name: "sparrow_dispatcher_cursor_frame", Help: "Frame of the raw stage's cursor, run 0."}),
	}
	for _, c := range []prometheus.Collector{m.requests, m.events, m.bytes, m.deliveries, m.decode, m.append, m.forward, m.frame} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	// Every series exists from the start: a rate over one that appears with its first event misses that event.
	m.events.WithLabelValues("accepted", "")
	for _, reason := range body.Reasons() {
		m.events.WithLabelValues("rejected", string(reason))
	}
	return m, nil
}

// tally is what a batch of rows will add to the metrics once it is durable.
type tally struct {
	requests, accepted, received, decoded int
	rejected                              map[body.Reason]int
}

func (m *metrics) add(t tally) {
	m.requests.Add(float64(t.requests))
	m.bytes.WithLabelValues("received").Add(float64(t.received))
	m.bytes.WithLabelValues("decoded").Add(float64(t.decoded))
	m.events.WithLabelValues("accepted", "").Add(float64(t.accepted))
	for reason, n := range t.rejected {
		m.events.WithLabelValues("rejected", string(reason)).Add(float64(n))
	}
}
