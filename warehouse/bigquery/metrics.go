package bigquery

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the engine's. Labels are stacks, logs and outcomes: a handful each.
type metrics struct {
	registry  prometheus.Registerer
	rows      *prometheus.CounterVec
	appends   *prometheus.HistogramVec
	answers   *prometheus.CounterVec
	batches   *prometheus.GaugeVec
	bytes     *prometheus.GaugeVec
	failures  prometheus.Counter
	takeovers prometheus.Counter
	queries   *prometheus.CounterVec
	billed    prometheus.Counter
}

func newMetrics(r prometheus.Registerer) *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "sparrow_warehouse_" + name, Help: help}, labels)
	}
	gauge := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "sparrow_warehouse_" + name, Help: help}, []string{"stack", "log"})
	}
	single := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "sparrow_warehouse_" + name, Help: help})
	}
	m := &metrics{
		registry: r,
		rows:     counter("rows_total", "Rows appended.", "stack", "log"),
		appends: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "sparrow_warehouse_append_seconds", Help: "Duration of an append, its repetitions included.",
			Buckets: prometheus.ExponentialBuckets(0.005, 2, 14)}, []string{"stack", "log"}),
		answers:   counter("append_errors_total", "Appends that BigQuery did not simply take, by what that means.", "stack", "log", "outcome"),
		batches:   gauge("queue_batches", "Batches that wait or are being written."),
		bytes:     gauge("queue_bytes", "Bytes of them."),
		failures:  single("failures_total", "Appends given up."),
		takeovers: single("takeovers_total", "Times a table was taken over by a new stream."),
		queries:   counter("queries_total", "Queries, by outcome.", "outcome"),
		billed:    single("billed_bytes_total", "Bytes that queries were billed for."),
	}
	r.MustRegister(m.all()...)
	return m
}

func (m *metrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.rows, m.appends, m.answers, m.batches, m.bytes, m.failures, m.takeovers, m.queries, m.billed}
}

// unregister makes room for the next engine on the same registry.
func (m *metrics) unregister() {
	for _, c := range m.all() {
		m.registry.Unregister(c)
	}
}

func (m *metrics) queued(w *writer, batches int, bytes int64) {
	m.batches.WithLabelValues(string(w.stack), string(w.log)).Set(float64(batches))
	m.bytes.WithLabelValues(string(w.stack), string(w.log)).Set(float64(bytes))
}

func (m *metrics) answered(w *writer, what outcome) {
	m.answers.WithLabelValues(string(w.stack), string(w.log), what.String()).Inc()
}

func (m *metrics) appended(w *writer, rows int, took time.Duration) {
	m.rows.WithLabelValues(string(w.stack), string(w.log)).Add(float64(rows))
	m.appends.WithLabelValues(string(w.stack), string(w.log)).Observe(took.Seconds())
}

func (o outcome) String() string {
	return [...]string{"unknown", "stored", "lost", "drifted", "refused"}[o]
}
