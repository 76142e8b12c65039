package sandbox

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// Limits are lifted: what is measured is how fast the sandbox can be, so that it is not what a bench of the trackers
// measures. Load and server share the machine.
func benchmark(b *testing.B, path string, batch int, body func(serial int64) string) {
	s, err := New(Options{Dir: b.TempDir(), MaxIDs: 1 << 30, Limits: Limits{
		Heap:      HeapLimits{MinuteApp: Unlimited, MinuteIdentity: Unlimited, SingleRequestsPer30s: Unlimited},
		Amplitude: AmplitudeLimits{PerSecond: Unlimited},
	}})
	if err != nil {
		b.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, l) }()
	tr := &http.Transport{MaxIdleConnsPerHost: 64}
	client := &http.Client{Transport: tr}
	defer func() {
		tr.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	}()
	var serial atomic.Int64
	b.ReportAllocs()
	b.SetParallelism(4)
	before := cpu(b)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			resp, err := client.Post("http://"+l.Addr().String()+path, "application/json", strings.NewReader(body(serial.Add(int64(batch)))))
			if err != nil {
				b.Error(err)
				return
			}
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if resp.StatusCode/100 != 2 {
				b.Errorf("answered %d", resp.StatusCode)
				return
			}
		}
	})
	b.StopTimer()
	b.ReportMetric(float64(b.N*batch)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64((cpu(b)-before).Microseconds())/float64(b.N*batch), "cpu-µs/event")
	var deliveries, distinct uint64
	for _, c := range s.Counts() {
		deliveries, distinct = deliveries+c.Deliveries, distinct+c.Distinct
	}
	if want := uint64(b.N * batch); deliveries != want || distinct != want {
		b.Errorf("%d deliveries of %d ids recorded, %d sent", deliveries, distinct, want)
	}
}

// cpu is what the process has used, the load it makes included: it says the same on a busy machine.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

const benchProperties = `"page":"/zones/42","zone":"north-east","count":17,"seconds":3.25,"plan":"business","browser":"Firefox","note":"a sentence that someone typed"`

func event(serial int64, i int) string {
	return sprintf("0190b3a2-7c1e-7abc-8def-%012d", serial+int64(i))
}

func BenchmarkGA4(b *testing.B) {
	benchmark(b, ga4Production, 25, func(serial int64) string {
		return `{"client_id":"c","events":[` + times(25, func(i int) string {
			return `{"name":"zone_delete","params":{"event_id":"` + event(serial, i) + `","session_id":"1","engagement_time_msec":1,` + benchProperties + `}}`
		}) + `]}`
	})
}

func BenchmarkGA4Single(b *testing.B) {
	benchmark(b, ga4Production, 1, func(serial int64) string {
		return `{"client_id":"c","events":[{"name":"zone_delete","params":{"event_id":"` + event(serial, 0) + `","session_id":"1","engagement_time_msec":1,` + benchProperties + `}}]}`
	})
}

func BenchmarkHeap(b *testing.B) {
	benchmark(b, heapPath, 500, func(serial int64) string {
		return `{"app_id":"1000000001","events":[` + times(500, func(i int) string {
			id := event(serial, i)
			return `{"event":"zone_delete","identity":"` + id[20:] + `","idempotency_key":"` + id + `","timestamp":"2026-03-01T12:00:00Z","properties":{` + benchProperties + `}}`
		}) + `]}`
	})
}

func BenchmarkAmplitude(b *testing.B) {
	benchmark(b, amplitudePath, 500, func(serial int64) string {
		return amplitudeBody(times(500, func(i int) string {
			id := event(serial, i)
			return `{"event_type":"zone_delete","device_id":"` + id[20:] + `","insert_id":"` + id + `","time":1396381378123,"event_properties":{` + benchProperties + `}}`
		}))
	})
}
