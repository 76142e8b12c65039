package trace_test

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/trace"
	"github.com/sparrowhq/sparrow/trace/pipeline"
	"github.com/sparrowhq/sparrow/trace/tracker"
	"github.com/sparrowhq/sparrow/warehouse"
)

// nowhere is a warehouse that takes everything, so that what is measured is trace.
type nowhere struct{}

func (nowhere) Append(_ context.Context, b *warehouse.Batch) (event.Cursor, error) { return b.To, nil }
func (nowhere) Cursor(context.Context, event.Stack, uint64, warehouse.Stage) (event.Cursor, error) {
	return event.Cursor{}, nil
}
func (nowhere) Normalise(context.Context, event.Stack, []warehouse.Property) error { return nil }

func cpu() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkTrace takes in deliveries of 500 requests with one event each, as a feed under load sends them, and carries
// them to trackers in dry-run: everything is built and digested, and nothing is sent. An operation is one event.
func BenchmarkTrace(b *testing.B) {
	for _, row := range []struct {
		name     string
		trackers []string
	}{{"intake", nil}, {"ga4", []string{"ga4"}}, {"heap", []string{"heap"}}, {"amplitude", []string{"amplitude"}}, {"all", []string{"ga4", "heap", "amplitude"}}} {
		b.Run(row.name, func(b *testing.B) {
			all := trackers(b, "http://127.0.0.1:1")
			o := trace.Options{
				Stack: event.Green, Build: build, Secret: secret, Dir: b.TempDir(), Key: []byte("a key of sixteen bytes"), Trackers: map[string]tracker.Options{},
				Warehouse: nowhere{}, MinFree: -1,
			}
			c := config(b, configText)
			c.Trackers = map[string]pipeline.TrackerRule{}
			for name := range c.Events {
				e := c.Events[name]
				e.Trackers = nil
				c.Events[name] = e
			}
			for _, name := range row.trackers {
				t := all[name]
				t.Gather = 0
				t.Modes = map[tracker.Sink]tracker.Mode{tracker.Production: {Kind: tracker.DryRun}, tracker.Staging: {Kind: tracker.DryRun}}
				o.Trackers[name] = t
				c.Trackers[name] = pipeline.TrackerRule{}
			}
			o.Pipeline = c
			tr, err := trace.New(context.Background(), o)
			if err != nil {
				b.Fatal(err)
			}
			p := serve(b, tr)
			defer p.stop()
			const events = 500
			until(b, "it has begun", func() bool { _, err := p.feed.Cursor(context.Background(), 0); return err == nil })
			var deliveries [][]byte
			var made []*event.Delivery
			for n := 0; n < b.N; n += events {
				var requests []*event.Request
				for i := range min(events, b.N-n) {
					requests = append(requests, request(n+i, benchBody(n+i)))
				}
				d := delivery(frame(b, uint64(len(made)+1), event.Green, requests...))
				data, err := proto.Marshal(d)
				if err != nil {
					b.Fatal(err)
				}
				deliveries, made = append(deliveries, data), append(made, d)
			}
			b.ResetTimer()
			began := cpu()
			for i, data := range deliveries {
				if _, err := p.feed.Forward(context.Background(), made[i], data); err != nil {
					b.Fatal(err)
				}
			}
			for {
				s := tr.Status()
				done := true
				for _, l := range s.Lanes {
					done = done && l.Lag == 0 && l.Unshipped == 0
				}
				if done {
					break
				}
				time.Sleep(time.Millisecond) // a look costs, too
			}
			b.StopTimer()
			if got := tr.Status().Events; got != uint64(b.N) {
				b.Fatalf("%d of %d events were accepted", got, b.N)
			}
			b.ReportMetric(float64((cpu()-began).Microseconds())/float64(b.N), "µs-cpu/event")
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// benchBody is like what the SDK sends.
func benchBody(n int) string {
	return fmt.Sprintf(`{"event":"pageview","deviceId":"3f1c%08x-6f2e-4f0e-9d8e-2f1c3f1c%04x","userId":"user-%d","messageId":"01890c5e-7d2a-7cc3-98c4-dc0c%08x","timestamp":"%s","properties":{"pathname":"/dashboard/zones/%d","title":"Zones of an account","n":%d}}`,
		n%5000, n%5000, n%5000, n, time.UnixMicro(started).UTC().Format(time.RFC3339), n%100, n)
}
