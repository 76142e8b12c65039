package journal

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are sparrow_journal_*.
type metrics struct {
	registry  *prometheus.Registry
	all       []prometheus.Collector
	published prometheus.Histogram
	errors    *prometheus.CounterVec
	restarts  prometheus.Counter
}

func newMetrics(r *prometheus.Registry, j *Journal) (*metrics, error) {
	m := &metrics{
		registry: r,
		published: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "sparrow_journal_publish_seconds",
			Help:    "Time from handing a frame to the journal until it is synced.",
			Buckets: prometheus.ExponentialBuckets(50e-6, 2, 18),
		}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sparrow_journal_publish_errors_total",
			Help: "Frames not stored, or not known to be, by kind.",
		}, []string{"kind"}),
		restarts: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sparrow_journal_restarts_total",
			Help: "Restarts of the embedded server after an error of the disk.",
		}),
	}
	for _, kind := range []string{"full", "unavailable"} {
		m.errors.WithLabelValues(kind)
	}
	gauge := func(name, help string, value func(*space) float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "sparrow_journal_" + name, Help: help}, func() float64 {
			j.space.Lock()
			defer j.space.Unlock()
			return value(&j.space)
		})
	}
	all := []prometheus.Collector{
		m.published, m.errors, m.restarts,
		gauge("bytes", "Size of frames and control records.", func(s *space) float64 { return float64(s.bytes) }),
		gauge("max_bytes", "Limit of the same; frames are refused at 95 % of it.", func(s *space) float64 { return float64(s.limit) }),
		gauge("first_sequence", "First sequence still there.", func(s *space) float64 { return float64(s.first) }),
		gauge("last_sequence", "Last sequence given.", func(s *space) float64 { return float64(s.last) }),
		gauge("free_bytes", "Free space on the journal's disk.", func(s *space) float64 { return float64(s.free) }),
		gauge("ballast_bytes", "Space kept back for control records.", func(s *space) float64 { return float64(s.ballast) }),
		gauge("accepting", "1 while frames are accepted.", func(s *space) float64 {
			if s.err != nil {
				return 0
			}
			return 1
		}),
	}
	for _, c := range all {
		if err := r.Register(c); err != nil {
			m.unregister()
			return nil, fmt.Errorf("journal: a registry serves one journal at a time: %w", err)
		}
		m.all = append(m.all, c)
	}
	return m, nil
}

// refused counts a frame that was not stored.
func (m *metrics) refused(err error) {
	kind := "unavailable"
	if errors.Is(err, ErrFull) {
		kind = "full"
	}
	m.errors.WithLabelValues(kind).Inc()
}

// unregister makes room for another journal in the same process.
func (m *metrics) unregister() {
	if m == nil {
		return
	}
	for _, c := range m.all {
		m.registry.Unregister(c)
	}
}
