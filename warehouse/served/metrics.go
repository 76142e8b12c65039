package served

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	requests *prometheus.CounterVec // by route and outcome
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{requests: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sparrow_warehouse_requests_total", Help: "Requests to the warehouse process, by route and outcome.",
	}, []string{"route", "outcome"})}
	r.MustRegister(m.requests)
	return m
}

// intake bounds the bytes of one stack's batches that are being received.
type intake struct {
	max  int64
	mu   sync.Mutex
	used int64
}

// take reserves n bytes. A batch larger than the whole bound passes alone.
func (i *intake) take(n int64) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.used > 0 && i.used+n > i.max {
		return false
	}
	i.used += n
	return true
}

func (i *intake) give(n int64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.used -= n
}
