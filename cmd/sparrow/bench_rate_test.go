package main

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
	"github.com/sparrowhq/sparrow/warehouse/served"
)

// BenchmarkPipelineRate offers events at a steady rate and says whether everything keeps up: lag is how long ago the newest
// frame was accepted below which every stage of both stacks is final in DuckDB, taken once a second. Where lag-end is that of
// the middle, the rate is sustained; where it has grown, it is not. SPARROW_BENCH_RATES ("3000,5000"), SPARROW_BENCH_SECONDS
// and SPARROW_BENCH_BATCH say what is offered.
func BenchmarkPipelineRate(b *testing.B) {
	seconds, batch := setting(b, "SPARROW_BENCH_SECONDS", 15), setting(b, "SPARROW_BENCH_BATCH", 1)
	rates := os.Getenv("SPARROW_BENCH_RATES")
	if rates == "" {
		rates = "3000,5000"
	}
	for text := range strings.SplitSeq(rates, ",") {
		rate, err := strconv.Atoi(text)
		if err != nil {
			b.Fatalf("SPARROW_BENCH_RATES: %v", err)
		}
		b.Run(text, func(b *testing.B) {
			allowlist := save(b, generatedAllowlist(b))
			s := up(b, "--config", settings(b, allowlist, allowlist, wholeSpeed))
			s.must("deploy", "candidate")
			s.must("send", "--generate", "500", "--seed", "2")
			s.final(time.Minute, allStages...)
			n := rate * seconds
			before := s.processTimes()
			began := time.Now()
			sent := make(chan string, 1)
			go func() {
				out, status := s.run("send", "--generate", strconv.Itoa(n), "--rate", text, "--batch", strconv.Itoa(batch),
					"--connections", "64", "--acks", filepath.Join(b.TempDir(), "acks"))
				if status != 0 {
					b.Errorf("send: exit status %d\n%s", status, out)
				}
				sent <- out
			}()
			w := s.lagging()
			var lags []time.Duration
			tick := time.NewTicker(250 * time.Millisecond)
			defer tick.Stop()
			for i := 0; len(sent) == 0; i++ {
				<-tick.C
				if w.look(); i%4 == 3 {
					lags = append(lags, w.lag())
				}
			}
			took := time.Since(began)
			b.Log(<-sent, lags)
			s.final(10*time.Minute, allStages...)
			total := 0.0
			for name, spent := range s.processTimes() {
				us := float64((spent - before[name]).Microseconds()) / float64(n)
				b.ReportMetric(us, name+"-cpu-µs/event")
				total += us
			}
			b.ReportMetric(total, "all-cpu-µs/event")
			b.ReportMetric(float64(n)/took.Seconds(), "accepted/s")
			b.ReportMetric(float64(n)/time.Since(began).Seconds(), "final/s")
			b.ReportMetric(lags[len(lags)/2].Seconds(), "lag-middle-s")
			b.ReportMetric(lags[len(lags)-1].Seconds(), "lag-end-s")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// setting is a number from the environment.
func setting(b *testing.B, name string, otherwise int) int {
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		b.Fatalf("%s: %v", name, err)
	}
	return n
}

// lagging notes when which frame was the journal's last.
type lagging struct {
	s         *sparrow
	warehouse *served.Client
	frames    []uint64
	at        []time.Time
}

func (s *sparrow) lagging() *lagging {
	s.t.Helper()
	secret, err := os.ReadFile(filepath.Join(s.dir, "secret"))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, p := range s.ends.Processes {
		if p.Name != "warehouse" {
			continue
		}
		c, err := served.New(served.ClientOptions{URL: p.URL, Secret: strings.TrimSpace(string(secret))})
		if err != nil {
			s.t.Fatal(err)
		}
		s.t.Cleanup(func() { c.Close() })
		return &lagging{s: s, warehouse: c}
	}
	s.t.Fatal("endpoints.json has no warehouse")
	return nil
}

func (w *lagging) look() {
	now := time.Now()
	w.frames, w.at = append(w.frames, w.s.status().Journal.LastFrame), append(w.at, now)
}

// lag is how long ago the newest frame that is final everywhere was the journal's last.
func (w *lagging) lag() time.Duration {
	w.s.t.Helper()
	final := ^uint64(0)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, stack := range []event.Stack{event.Green, event.Blue} {
		for _, stage := range allStages {
			at, err := w.warehouse.Cursor(ctx, stack, 0, warehouse.Stage(stage))
			if err != nil {
				w.s.t.Fatal(err)
			}
			final = min(final, at.Frame)
		}
	}
	for i := len(w.frames) - 1; i >= 0; i-- {
		if w.frames[i] < final {
			return time.Since(w.at[i])
		}
	}
	return time.Since(w.at[0])
}
