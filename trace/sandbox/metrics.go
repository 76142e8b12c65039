package sandbox

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/sparrowhq/sparrow/trace/sandbox/record"
)

// metrics shows the counts of the store. Labels are names from the configuration, statuses, and our own words.
type metrics struct{ store *record.Store }

var (
	projectLabels  = []string{"vendor", "project"}
	requestsMetric = prometheus.NewDesc("sparrow_sandbox_requests_total", "Requests to a vendor, by the status answered.", append(projectLabels[:2:2], "status"), nil)
	eventsMetric   = prometheus.NewDesc("sparrow_sandbox_events_total", "Events that reached a vendor, by what it did with them.", append(projectLabels[:2:2], "outcome"), nil)
	distinctMetric = prometheus.NewDesc("sparrow_sandbox_distinct_ids", "Different event ids a vendor took in.", projectLabels, nil)
	bytesMetric    = prometheus.NewDesc("sparrow_sandbox_recorded_bytes", "Bytes of requests kept.", nil, nil)
	completeMetric = prometheus.NewDesc("sparrow_sandbox_complete", "1 while nothing that arrived has been forgotten or left uncounted.", nil, nil)
)

func (m metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{requestsMetric, eventsMetric, distinctMetric, bytesMetric, completeMetric} {
		ch <- d
	}
}

func (m metrics) Collect(ch chan<- prometheus.Metric) {
	counter := func(d *prometheus.Desc, n uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	for _, c := range m.store.Counts() {
		for status, n := range c.Requests {
			counter(requestsMetric, n, c.Vendor, c.Project, status)
		}
		var dropped, refused uint64
		for _, n := range c.Dropped {
			dropped += n
		}
		for _, n := range c.Refused {
			refused += n
		}
		counter(eventsMetric, c.Deliveries-c.Deduplicated, c.Vendor, c.Project, string(record.Accepted))
		counter(eventsMetric, c.Deduplicated, c.Vendor, c.Project, string(record.Duplicate))
		counter(eventsMetric, dropped, c.Vendor, c.Project, string(record.Dropped))
		counter(eventsMetric, refused, c.Vendor, c.Project, string(record.Refused))
		ch <- prometheus.MustNewConstMetric(distinctMetric, prometheus.GaugeValue, float64(c.Distinct), c.Vendor, c.Project)
	}
	st := m.store.Status()
	complete := 0.0
	if st.Complete {
		complete = 1
	}
	ch <- prometheus.MustNewConstMetric(bytesMetric, prometheus.GaugeValue, float64(st.Bytes))
	ch <- prometheus.MustNewConstMetric(completeMetric, prometheus.GaugeValue, complete)
}
