package trace_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/trace/sandbox"
)

// Each allowed event reaches every tracker it belongs to, at the project of its frame's role, once; each item has exactly
// one outcome at stage trace and one at each of those trackers.
func TestFromDeliveryToVendor(t *testing.T) {
	v, w := startVendors(t), openWarehouse(t)
	p := start(t, options(t, t.TempDir(), v, w))
	production, staging := map[string]int{}, map[string]int{}
	want := map[event.Position]string{}
	zones := map[string]int{}
	var frames []*event.DeliveredFrame
	n := 0
	for sequence := uint64(1); sequence <= 20; sequence++ {
		live, at := event.Green, production
		if sequence%3 == 0 {
			live, at = event.Blue, staging
		}
		var requests []*event.Request
		for i := range uint32(5) {
			n++
			id := requestID(n)
			at[id.String()+"-0"]++
			if live == event.Green {
				zones[id.String()+"-1"]++
			} else {
				zones["staging "+id.String()+"-1"]++
			}
			want[event.Position{Frame: sequence, Request: i}] = "accepted"
			want[event.Position{Frame: sequence, Request: i, Item: 1}] = "accepted"
			want[event.Position{Frame: sequence, Request: i, Item: 2}] = "rejected: unknown event"
			requests = append(requests, request(n, fmt.Sprintf(`[%s,{"event":"zone.delete","deviceId":"d%d","properties":{"zone":"z"}},{"event":"nobody.knows","deviceId":"d"}]`, pageview(n), n)))
		}
		frames = append(frames, frame(t, sequence, live, requests...))
	}
	p.deliver(delivery(frames[:7]...))
	p.deliver(delivery(frames...))
	p.settled()

	if diff := cmp.Diff(want, outcomes(t, w, "trace")); diff != "" {
		t.Errorf("stage trace: %s", diff)
	}
	for name, vendor := range map[string]sandbox.Vendor{"ga4": sandbox.GA4, "heap": sandbox.Heap, "amplitude": sandbox.Amplitude, "hook": sandbox.Webhook} {
		wantProduction, wantStaging := map[string]int{}, map[string]int{}
		for id := range production {
			wantProduction[id] = 1
		}
		for id := range staging {
			wantStaging[id] = 1
		}
		if name != "hook" { // zone.delete is not for it
			for id := range zones {
				if after, ok := cutPrefix(id, "staging "); ok {
					wantStaging[after] = 1
				} else {
					wantProduction[id] = 1
				}
			}
		}
		if diff := cmp.Diff(wantProduction, v.ids(vendor, "production")); diff != "" {
			t.Errorf("%s, production: %s", name, diff)
		}
		if diff := cmp.Diff(wantStaging, v.ids(vendor, "staging")); diff != "" {
			t.Errorf("%s, staging: %s", name, diff)
		}
		delivered := map[event.Position]string{}
		for at, what := range want {
			if what == "accepted" && (name != "hook" || at.Item == 0) {
				delivered[at] = "delivered"
			}
		}
		if diff := cmp.Diff(delivered, outcomes(t, w, name)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if s := p.status(); s.Backlog.Messages != 0 {
		t.Errorf("%d messages are kept that everybody has", s.Backlog.Messages)
	}
}

func cutPrefix(s, prefix string) (string, bool) {
	if len(s) >= len(prefix) && s[:len(prefix)] == prefix {
		return s[len(prefix):], true
	}
	return s, false
}
