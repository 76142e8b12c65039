package dispatcher_test

import (
	"bytes"
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// discard takes every batch.
type discard struct{ *memory }

func (discard) Append(_ context.Context, b *warehouse.Batch) (event.Cursor, error) { return b.To, nil }

func event230(n int) []byte {
	return []byte(`{"event":"pageview","deviceId":"` + requestID(n).String() + `","timestamp":1700000000000,"properties":{"pathname":"/docs/getting-started","referrer":"https://example.com/","title":"Getting started","width":1440,"new":true}}`)
}

// The whole path of a delivery over HTTP, to a warehouse that costs nothing; an op is an event.
func benchmark(b *testing.B, requests int, body func(n int) []byte, events int, headers ...string) {
	m := newMemory()
	o := options(m)
	o.Warehouse = discard{m}
	s := start(b, o)
	headers = append([]string{"Origin", "https://example.com", "User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
		"Accept-Language", "en-US,en;q=0.5", "Referer", "https://example.com/docs", "Content-Type", "text/plain;charset=UTF-8"}, headers...)
	var all []*event.DeliveredFrame
	for i := range requests / 2 { // two requests a frame, as under light load
		all = append(all, frame(b, uint64(i+1), request(2*i, body(2*i), headers...), request(2*i+1, body(2*i+1), headers...)))
	}
	d := delivery(all...)
	var bodies [][]byte // the same frames, delivered as ever later ones
	const ahead = 64
	for k := range uint64(ahead) {
		for i, f := range d.Frames {
			f.Sequence = 1 + k*uint64(len(all)) + uint64(i)
		}
		d.FromFrame, d.ToFrame = d.Frames[0].Sequence, d.Frames[len(all)-1].Sequence+1
		bodies = append(bodies, encode(b, d))
	}
	b.SetBytes(int64(len(bodies[0]) / (requests * events)))
	b.ReportAllocs()
	b.ResetTimer()
	for n, k := 0, 0; n < b.N; n, k = n+requests*events, k+1 {
		if k%ahead == 0 {
			b.StopTimer()
			s = start(b, withNewTelemetry(o))
			b.StartTimer()
		}
		if got := s.do(http.MethodPost, "/v1/frames", event.DeliveryType, bytes.NewReader(bodies[k%ahead])); got.Status != http.StatusOK {
			b.Fatalf("%+v", got)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

func BenchmarkHandlerSingleEvents(b *testing.B) { benchmark(b, 1000, event230, 1) }

func BenchmarkHandlerSingleEventsGzipped(b *testing.B) {
	benchmark(b, 1000, func(n int) []byte { return gzipped(b, event230(n)) }, 1, "Content-Encoding", "gzip")
}

func BenchmarkHandlerBatchesOf50(b *testing.B) {
	benchmark(b, 40, func(n int) []byte {
		return []byte(`{"sentAt":"2024-01-01T00:00:00Z","batch":[` + strings.Repeat(string(event230(n))+",", 49) + string(event230(n)) + `]}`)
	}, 50)
}
