package duckdb

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sparrowhq/sparrow/event"
)

// metrics are the engine's. Label stack is the only one that grows with anything, and there are two stacks.
type metrics struct {
	registry     prometheus.Registerer
	rows         *prometheus.CounterVec
	outcomes     *prometheus.CounterVec
	transactions *prometheus.CounterVec
	seconds      *prometheus.HistogramVec
	batches      *prometheus.GaugeVec
	bytes        *prometheus.GaugeVec
	impatient    *prometheus.CounterVec
	failures     prometheus.Counter
	reopened     prometheus.Counter
	queries      *prometheus.CounterVec
	expired      *prometheus.CounterVec
	checkpoints  prometheus.Histogram
	foldedBytes  prometheus.Counter
	unfolded     *prometheus.CounterVec
	held         prometheus.Counter
	torn         prometheus.Counter
	file, log    prometheus.GaugeFunc
	memory       prometheus.GaugeFunc
}

func newMetrics(r prometheus.Registerer, path string) *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "sparrow_warehouse_" + name, Help: help}, labels)
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "sparrow_warehouse_" + name, Help: help}, labels)
	}
	gaugeOf := func(name, help string, value func() float64) prometheus.GaugeFunc {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "sparrow_warehouse_" + name, Help: help}, value)
	}
	m := &metrics{
		registry:     r,
		rows:         counter("rows_total", "Rows appended.", "stack"),
		outcomes:     counter("outcomes_total", "Outcomes appended, corrections included.", "stack"),
		transactions: counter("transactions_total", "Transactions that appended.", "stack"),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "sparrow_warehouse_transaction_seconds", Help: "Duration of a transaction, its sync included.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14)}, []string{"stack"}),
		batches:   gauge("queue_batches", "Batches that wait or are being written.", "stack"),
		bytes:     gauge("queue_bytes", "Bytes of them.", "stack"),
		impatient: counter("impatient_total", "Transactions that a candidate was given although the live stack never paused.", "stack"),
		failures:  prometheus.NewCounter(prometheus.CounterOpts{Name: "sparrow_warehouse_failures_total", Help: "Transactions that failed."}),
		reopened:  prometheus.NewCounter(prometheus.CounterOpts{Name: "sparrow_warehouse_reopened_total", Help: "Times the file was opened again after an error."}),
		queries:   counter("queries_total", "Queries, by outcome.", "outcome"),
		expired:   counter("expired_rows_total", "Rows that retention deleted.", "stack", "table"),
		checkpoints: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "sparrow_warehouse_checkpoint_seconds", Help: "Time it took to fold the log into the file.",
			Buckets: prometheus.ExponentialBuckets(0.004, 2, 14)}),
		foldedBytes: prometheus.NewCounter(prometheus.CounterOpts{Name: "sparrow_warehouse_checkpoint_bytes_total", Help: "Bytes of log that were folded into the file."}),
		unfolded:    counter("checkpoint_failures_total", "Times the log could not be folded into the file: failed, or busy, then for as long as a transaction and a query last.", "reason"),
		held:        prometheus.NewCounter(prometheus.CounterOpts{Name: "sparrow_warehouse_held_total", Help: "Times the candidate had to wait since the log had not been folded for too long."}),
		torn:        prometheus.NewCounter(prometheus.CounterOpts{Name: "sparrow_warehouse_torn_blocks_total", Help: "Blocks that a checkpoint left torn, and that were put back when the file was opened."}),
		file:        gaugeOf("file_bytes", "Size of the file. It has room for what was deleted from it, which is used again.", func() float64 { return float64(fileSize(path)) }),
		log:         gaugeOf("log_bytes", "Size of the log that is not folded into the file yet.", func() float64 { return float64(logSize(path)) }),
		memory:      prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "sparrow_warehouse_memory_bytes", Help: "Memory that DuckDB holds."}, func() float64 { return float64(memoryUsed()) }),
	}
	r.MustRegister(m.all()...)
	return m
}

func (m *metrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.rows, m.outcomes, m.transactions, m.seconds, m.batches, m.bytes, m.impatient, m.failures, m.reopened, m.queries, m.expired, m.checkpoints, m.foldedBytes, m.unfolded, m.held, m.torn, m.file, m.log, m.memory}
}

// unregister makes room for the next engine on the same registry.
func (m *metrics) unregister() {
	for _, c := range m.all() {
		m.registry.Unregister(c)
	}
}

func (m *metrics) queued(stack event.Stack, batches int, bytes int64) {
	m.batches.WithLabelValues(string(stack)).Set(float64(batches))
	m.bytes.WithLabelValues(string(stack)).Set(float64(bytes))
}

func (m *metrics) committed(stack event.Stack, t *transaction, took time.Duration) {
	m.rows.WithLabelValues(string(stack)).Add(float64(t.rows[rawRows]))
	m.outcomes.WithLabelValues(string(stack)).Add(float64(t.rows[outcomes]))
	m.transactions.WithLabelValues(string(stack)).Inc()
	m.seconds.WithLabelValues(string(stack)).Observe(took.Seconds())
}

// folded notes a checkpoint of so many bytes of log.
func (m *metrics) folded(took time.Duration, bytes int64) {
	m.checkpoints.Observe(took.Seconds())
	m.foldedBytes.Add(float64(bytes))
}
