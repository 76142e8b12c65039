package trace_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/telemetry"
	"github.com/sparrowhq/sparrow/trace"
	"github.com/sparrowhq/sparrow/trace/sandbox"
)

// of returns count frames of 20 events each from first on, live on the given stack.
func framesOf(t testing.TB, live event.Stack, first, count int) (frames []*event.DeliveredFrame) {
	for _, f := range many(t, first, count).Frames {
		f.Live = string(live)
		frames = append(frames, f)
	}
	return frames
}

// One project of every vendor is down, and more events wait for it than its window holds; then the other stack goes live.
// The other project gets what is its own from then on, up to MaxAhead, while no cursor passes what the dead one has not
// taken. A restart in between sends nothing twice. Once the project is back, everything is final.
func TestOneSinkDown(t *testing.T) {
	for _, one := range []struct {
		down, up     string
		before, then event.Stack // live: frames of green are production's at green
	}{
		{"staging", "production", event.Blue, event.Green},
		{"production", "staging", event.Green, event.Blue},
	} {
		t.Run(one.down, func(t *testing.T) {
			t.Parallel()
			v, w := startVendors(t), openWarehouse(t)
			v.scenario("rules: [{name: x, project: " + one.down + ", fault: outage}]")
			o := options(t, t.TempDir(), v, w)
			o.MaxUnshipped, o.MaxAhead = 200, 600
			for name, tr := range o.Trackers {
				tr.Items = 100
				o.Trackers[name] = tr
			}
			p := start(t, o)
			p.deliver(delivery(framesOf(t, one.before, 1, 10)...))
			// The cutover is within a delivery, and within a message.
			p.deliver(delivery(append(framesOf(t, one.before, 11, 5), framesOf(t, one.then, 16, 5)...)...))
			vendors := map[string]sandbox.Vendor{"ga4": sandbox.GA4, "heap": sandbox.Heap, "amplitude": sandbox.Amplitude, "hook": sandbox.Webhook}
			came := func(project string, n int) {
				t.Helper()
				for name, vendor := range vendors {
					until(t, fmt.Sprintf("%s has %d events of %s", name, n, project), func() bool { return len(v.ids(vendor, project)) == n })
				}
			}
			came(one.up, 100)
			for first := 21; first < 36; first += 5 {
				p.deliver(delivery(framesOf(t, one.then, first, 5)...))
				came(one.up, (first-21+10)*20) // none of it waits for the other project
			}
			came(one.down, 0)
			for name := range vendors {
				until(t, "what came is durable at "+name, func() bool { return p.status().Lanes[name].Lag <= 300 })
				l := p.status().Lanes[name]
				if first := event.AfterFrame(1); l.Cursor.Compare(first) >= 0 || l.Shipped.Compare(first) >= 0 {
					t.Errorf("%s: the cursor stands at %v, what is shipped at %v, though the first frame is not final", name, l.Cursor, l.Shipped)
				}
				if l.Lag != 300 || l.OldestAt != started+20*1000 || l.Ahead == 0 || l.Stopped != "" {
					text, _ := json.Marshal(l)
					t.Errorf("%s: 300 events are not to be final: %s", name, text)
				}
			}

			// What is known is durable: the next process goes on from there.
			p.stop()
			o.Telemetry = telemetry.Discard()
			p = start(t, o)
			p.deliver(delivery(framesOf(t, one.then, 36, 5)...))
			came(one.up, 500)
			// Beyond the bound the other sink waits, and says so.
			for first := 41; first < 101; first += 5 {
				p.deliver(delivery(framesOf(t, one.then, first, 5)...))
			}
			until(t, "the lanes say that they have stopped", func() bool {
				for name := range vendors {
					if !strings.Contains(p.status().Lanes[name].Stopped, "behind one that the other sink does not take") {
						return false
					}
				}
				return true
			})
			for name, vendor := range vendors {
				if n, most := len(v.ids(vendor, one.up)), o.MaxAhead+o.MaxUnshipped+200; n < o.MaxAhead || n > most {
					t.Errorf("%s has %d events ahead, %d is the bound", name, n, most)
				}
			}
			if code := p.do(http.MethodGet, "/readyz", nil, nil); code != http.StatusServiceUnavailable {
				t.Errorf("a sink that waits for the other makes trace answer %d to readyz", code)
			}

			v.scenario("rules: []")
			p.settled()
			for name, vendor := range vendors {
				for project, want := range map[string]int{one.down: 300, one.up: 1700} {
					got := v.ids(vendor, project)
					for id, n := range got {
						if n != 1 {
							t.Fatalf("%s %s: %s came %d times", name, project, id, n)
						}
					}
					if len(got) != want {
						t.Errorf("%s %s has %d events, not %d", name, project, len(got), want)
					}
				}
				delivered := 0
				for position, text := range outcomes(t, w, name) {
					if text != "delivered" && text != "delivered: "+trace.ReasonAgain { // the restart cut calls to vendors without a key
						t.Fatalf("%s at %v: %s", name, position, text)
					}
					delivered++
				}
				if delivered != 2000 {
					t.Errorf("the warehouse has %d outcomes of %s", delivered, name)
				}
				if l := p.status().Lanes[name]; l.Ahead != 0 || l.Unshipped != 0 || l.InFlight != 0 {
					t.Errorf("%s: %+v", name, l)
				}
			}
		})
	}
}
