package pipeline

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/sparrowhq/sparrow/event"
)

// benchEvent is an event of 300 bytes, as a page with the SDK sends it.
const benchEvent = `{"event":"pageview","deviceId":"018f3a52-7c1e-7d3a-9b52-0c1f6d2e8a41","userId":"4711","messageId":"018f3a52-9e02-7c55-8a11-5b2a7c9e0d13","timestamp":"2026-01-15T12:00:00.123Z","properties":{"pathname":"/pricing","title":"Pricing – Example","referrer":"https://search.example/","plan":"pro","count":3,"unused":true}}`

const benchConfig = `
sources:
  web: {keys: [pk_web], origins: [https://www.example.com]}
events:
  pageview:
    properties:
      pathname: {type: url, required: true}
      title: string
      referrer: url
      plan: string
      count: integer
trackers:
  ga4: {}
  heap: {}
  amplitude: {}
`

func benchRequest(body string) *event.Request {
	id := uuid.MustParse("018f3a52-7c1e-7d3a-9b52-0c1f6d2e8a41")
	return &event.Request{
		Id: id[:], ReceivedAt: 1768478401000000, Method: []byte("POST"), Path: []byte("/v1/events"), Query: []byte("k=pk_web"), Body: []byte(body), Client: []byte("203.0.113.9"),
		Headers: []*event.Header{
			{Name: "User-Agent", Value: []byte("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36")},
			{Name: "Accept-Language", Value: []byte("en-US,en;q=0.9")},
			{Name: "Referer", Value: []byte("https://www.example.com/pricing?utm_source=news&token=x")},
			{Name: "Origin", Value: []byte("https://www.example.com")},
			{Name: "Content-Type", Value: []byte("text/plain")},
		},
	}
}

func mustPipeline(t testing.TB, yaml string) *Pipeline {
	t.Helper()
	c, err := ParseConfig([]byte(yaml))
	if err != nil {
		t.Fatal(err)
	}
	p, err := New(Options{Config: c, Secret: []byte("a secret of the tests, 32 bytes..")})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// cpuTime is what this process has used: on a machine that others use too, the clock on the wall says little. It counts
// the garbage collector's work as well.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func benchmark(b *testing.B, body string, events int) {
	p := mustPipeline(b, benchConfig)
	r := benchRequest(body)
	var batch Batch
	var log []byte
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	before := cpuTime(b)
	for b.Loop() {
		batch.Reset()
		p.Process(1, 0, r, &batch)
		log = log[:0]
		for i := range batch.Events {
			log = batch.Events[i].Append(log)
		}
	}
	if len(batch.Events) != events {
		b.Fatalf("%d of %d events accepted: %+v", len(batch.Events), events, batch.Outcomes)
	}
	perEvent := float64((cpuTime(b) - before).Nanoseconds()) / float64(b.N) / float64(events)
	b.ReportMetric(perEvent, "cpu-ns/event")
	b.ReportMetric(1e9/perEvent, "events/s/core")
}

// The whole way from a journaled request to bytes for the log, on one core.
func BenchmarkOneEvent(b *testing.B) { benchmark(b, benchEvent, 1) }

func BenchmarkBatchOf50(b *testing.B) {
	benchmark(b, `{"batch":[`+strings.Repeat(benchEvent+",", 49)+benchEvent+`]}`, 50)
}

// What a hostile client may cost: names that are on no list, texts that look like encodings of encodings.
func BenchmarkUnknownEvent(b *testing.B) {
	p := mustPipeline(b, benchConfig)
	r := benchRequest(`{"event":"pagevievv.with.a.long.name.that.is.on.no.list","deviceId":"d","properties":{}}`)
	var batch Batch
	b.ReportAllocs()
	for b.Loop() {
		batch.Reset()
		p.Process(1, 0, r, &batch)
	}
}

func BenchmarkScrubHostile(b *testing.B) {
	p := mustPipeline(b, benchConfig)
	for name, unit := range map[string]string{"percent": "%2540", "at": "a@", "digits": "4 ", "colons": "a:", "urls": "a://?&", "nested": "utm_id=a://?", "fold": "＠", "words": "token= "} {
		b.Run(name, func(b *testing.B) {
			text := []byte(strings.Repeat(unit, 4000/len(unit)))
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				p.scrubber.scrub(text, p.scrubber.on, false)
			}
		})
	}
}

func BenchmarkView(b *testing.B) {
	p := mustPipeline(b, benchConfig)
	var batch Batch
	p.Process(1, 0, benchRequest(benchEvent), &batch)
	b.ReportAllocs()
	for b.Loop() {
		p.View("ga4", &batch.Events[0])
	}
}

func BenchmarkDecodeEvent(b *testing.B) {
	p := mustPipeline(b, benchConfig)
	var batch Batch
	p.Process(1, 0, benchRequest(benchEvent), &batch)
	data := batch.Events[0].Append(nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeEvent(data); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(data)), "bytes")
}
