package tracker_test

import (
	"testing"
	"time"

	"github.com/sparrowhq/sparrow/trace/sandbox"
	"github.com/sparrowhq/sparrow/trace/tracker"
	"github.com/sparrowhq/sparrow/trace/tracker/amplitude"
	"github.com/sparrowhq/sparrow/trace/tracker/ga4"
	"github.com/sparrowhq/sparrow/trace/tracker/heap"
	"github.com/sparrowhq/sparrow/trace/tracker/webhook"
)

// kinds are all vendors.
var kinds = []struct {
	which  sandbox.Vendor
	vendor tracker.Vendor
}{
	{sandbox.GA4, ga4.New()},
	{sandbox.Heap, heap.New()},
	{sandbox.Amplitude, amplitude.New(amplitude.Options{Hold: 20 * time.Millisecond})},
	{sandbox.Webhook, hooks(webhook.Options{Events: 50, Wrap: "events", Gzip: true})},
}

func hooks(o webhook.Options) tracker.Vendor {
	w, err := webhook.New(o)
	if err != nil {
		panic(err)
	}
	return w
}

// Without faults each event arrives once, at the project of its sink and nowhere else, in as few requests as the vendor
// allows.
func TestEachEventOnce(t *testing.T) {
	for _, k := range kinds {
		t.Run(string(k.which), func(t *testing.T) {
			v := startVendors(t, sandbox.Options{Limits: lifted()})
			s := startSender(t, tracker.Options{Vendor: k.vendor, Credentials: v.credentials(k.which), NoPacing: true})
			const n = 3000
			all := items(n, 150, tracker.Production)
			for i := range all {
				if i%3 == 0 {
					all[i].Sink = tracker.Staging
				}
			}
			s.send(all...)
			digests := map[uint64]bool{}
			for p, r := range s.all(n) {
				if r.Outcome != tracker.Delivered || r.Attempts != 1 || r.Credential != r.Sink || r.Status/100 != 2 {
					t.Fatalf("%v: %s", p, js(r))
				}
				digests[r.Digest] = true
			}
			if len(digests) != n {
				t.Errorf("%d digests of %d different events", len(digests), n)
			}
			for _, sink := range []tracker.Sink{tracker.Production, tracker.Staging} {
				c := v.counts(k.which, string(sink))
				want := uint64(n / 3)
				if sink == tracker.Production {
					want = 2 * n / 3
				}
				if c.Deliveries != want || c.Distinct != want || c.Ignored+c.RealtimeOnly != 0 || len(c.Dropped)+len(c.Refused) != 0 {
					t.Errorf("%s: %s, want %d", sink, js(c), want)
				}
			}
			if c := v.counts(k.which, sandbox.Unknown); c.Deliveries != 0 {
				t.Errorf("unknown: %s", js(c))
			}
		})
	}
}
