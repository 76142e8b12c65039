package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
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

// BenchmarkPipelineVendors sends events through everything up to three vendors on each of two stacks, and waits until every
// stage is final in DuckDB: mirror, warehouse, two dispatchers, two traces, the sandbox that plays the vendors, and the
// sender share the machine. The vendors' documented rates are lifted at both ends, which no real vendor does. Beside
// events a second it reports each process's CPU time an event, the sandbox's too, which is not the pipeline's.
func BenchmarkPipelineVendors(b *testing.B) {
	for _, batch := range []int{1, 20} {
		b.Run("batch"+strconv.Itoa(batch), func(b *testing.B) {
			allowlist := save(b, generatedAllowlist(b))
			s := up(b, "--config", settings(b, allowlist, allowlist, wholeSpeed))
			s.must("deploy", "candidate")
			n := 10_000
			before := s.processTimes()
			b.ResetTimer()
			began := time.Now()
			s.must("send", "--generate", strconv.Itoa(n), "--batch", strconv.Itoa(batch), "--connections", "64",
				"--acks", filepath.Join(b.TempDir(), "acks"))
			sent := time.Since(began)
			s.final(10*time.Minute, allStages...)
			took := time.Since(began)
			b.StopTimer()
			total := 0.0
			for name, spent := range s.processTimes() {
				us := float64((spent - before[name]).Microseconds()) / float64(n)
				b.ReportMetric(us, name+"-cpu-µs/event")
				total += us
			}
			b.ReportMetric(total, "all-cpu-µs/event")
			b.ReportMetric(float64(n)/sent.Seconds(), "accepted/s")
			b.ReportMetric(float64(n)/took.Seconds(), "events/s")
			b.ReportMetric(0, "ns/op")
			received := s.received()
			for _, side := range []struct{ dataset, project string }{{"live", "production"}, {"staging", "staging"}} {
				if rows := s.number("SELECT count(*) FROM " + side.dataset + ".raw"); rows != n {
					b.Errorf("%s holds %d events, %d were sent", side.dataset, rows, n)
				}
				for _, vendor := range vendorNames {
					delivered := s.number(fmt.Sprintf("SELECT count(*) FROM %s.outcomes WHERE stage = '%s' AND outcome = 'delivered'", side.dataset, vendor))
					if got := received[vendor+" "+side.project].Deliveries; delivered < n*9/10 || got != uint64(delivered) {
						b.Errorf("%s %s: %d of %d events are delivered, %d arrived", vendor, side.project, delivered, n, got)
					}
				}
			}
		})
	}
}

// processTimes is the CPU time, user and system, that each process of this Sparrow has had.
func (s *sparrow) processTimes() map[string]time.Duration {
	s.t.Helper()
	if err := s.readEndpoints(); err != nil {
		s.t.Fatal(err)
	}
	all := map[string]time.Duration{}
	for _, p := range s.ends.Processes {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID))
		if err != nil {
			s.t.Fatal(err)
		}
		// The second field is a name in parentheses, which may hold anything; user and system time are 14 and 15.
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		for _, field := range fields[11:13] {
			ticks, err := strconv.Atoi(field)
			if err != nil {
				s.t.Fatal(err)
			}
			all[p.Name] += time.Duration(ticks) * time.Second / 100 // USER_HZ, which is 100 wherever Go runs
		}
	}
	return all
}
