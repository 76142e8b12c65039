package main

import (
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// BenchmarkPipeline sends single events through the whole program and counts how many a second reach both datasets:
// mirror, journal, two dispatchers, DuckDB and the sender share the machine.
func BenchmarkPipeline(b *testing.B) {
	for _, batch := range []int{1, 20} {
		b.Run("batch"+strconv.Itoa(batch), func(b *testing.B) {
			s := up(b)
			n := max(b.N, 50_000)
			b.ResetTimer()
			began := time.Now()
			s.must("send", "--generate", strconv.Itoa(n), "--batch", strconv.Itoa(batch), "--connections", "64",
				"--acks", filepath.Join(b.TempDir(), "acks"))
			s.settled()
			took := time.Since(began)
			b.StopTimer()
			b.ReportMetric(float64(n)/took.Seconds(), "events/s")
			b.ReportMetric(0, "ns/op")
			for _, dataset := range []string{"live", "staging"} {
				if rows := s.number("SELECT count(*) FROM " + dataset + ".raw"); rows != n {
					b.Errorf("%s holds %d events, %d were sent", dataset, rows, n)
				}
			}
		})
	}
}
