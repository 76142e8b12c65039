package tracker_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/trace/sandbox"
	"github.com/sparrowhq/sparrow/trace/tracker"
	"github.com/sparrowhq/sparrow/trace/tracker/amplitude"
)

// conserved checks that what the sandbox counted is what the results say: every event there, and as often beyond once
// as requests with it went out beyond one.
func conserved(t *testing.T, v *vendors, which sandbox.Vendor, results map[event.Position]tracker.Result) {
	t.Helper()
	var again uint64
	for p, r := range results {
		if r.Outcome != tracker.Delivered || r.Credential != r.Sink || r.Digest == 0 || r.Attempts == 0 {
			t.Fatalf("%v: %s", p, js(r))
		}
		again += uint64(r.Attempts - 1)
	}
	c := v.counts(which, "production")
	if c.Distinct != uint64(len(results)) || c.Deliveries-c.Distinct != again {
		t.Errorf("%d results, sent again %d times; the vendor counts %s", len(results), again, js(c))
	}
}

// Whatever a vendor does for a while: everything arrives afterwards, nothing is dead, and what came twice is what was
// sent twice.
func TestOutages(t *testing.T) {
	for name, rule := range map[string]string{
		"503 before":  "fault: outage, until_request: 60",
		"503 after":   "fault: outage, when: after, until_request: 60",
		"reset after": "fault: outage, mode: reset, when: after, until_request: 12",
		"hang after":  "fault: outage, mode: hang, when: after, until_request: 3",
		"half of it":  "fault: truncate, one_in: 2, until_request: 20",
		"some":        "fault: outage, mode: reset, when: after, one_in: 3, until_request: 100",
		"page":        "fault: content-type, until_request: 6",
		"trickle":     "fault: trickle, interval: 1s, until_request: 3",
	} {
		for _, k := range kinds {
			t.Run(name+"/"+string(k.which), func(t *testing.T) {
				t.Parallel()
				v := startVendors(t, sandbox.Options{Limits: lifted()})
				timeout := patience // a slow machine must not look like a vendor that hangs
				if strings.Contains(rule, "hang") || strings.Contains(rule, "trickle") {
					timeout = 2 * time.Second
				}
				s := startSender(t, tracker.Options{Vendor: k.vendor, Credentials: v.credentials(k.which), NoPacing: true, Timeout: timeout, Trips: 2})
				v.scenario("rules: [{name: x, vendor: " + string(k.which) + ", " + rule + "}]")
				const n = 120
				s.send(items(n, 20, tracker.Production)...)
				results := s.all(n)
				if name == "half of it" || name == "page" || name == "trickle" {
					// The status had arrived, or the vendor had taken the events in: only that nothing is lost is certain.
					if c := v.counts(k.which, "production"); c.Distinct != n {
						t.Errorf("%s", js(c))
					}
					for p, r := range results {
						if r.Outcome != tracker.Delivered {
							t.Fatalf("%v: %s", p, js(r))
						}
					}
					return
				}
				if name == "503 before" {
					for p, r := range results {
						if r.Outcome != tracker.Delivered {
							t.Fatalf("%v: %s", p, js(r))
						}
					}
					if c := v.counts(k.which, "production"); c.Distinct != n || c.Deliveries != n {
						t.Errorf("%s", js(c))
					}
					return
				}
				conserved(t, v, k.which, results)
			})
		}
	}
}

// While connections are not taken, nothing passes the transport, and nothing counts as an attempt.
func TestNoConnection(t *testing.T) {
	for _, mode := range []string{"half-open", "refuse"} {
		t.Run(mode, func(t *testing.T) {
			v := startVendors(t, sandbox.Options{Limits: lifted()})
			s := startSender(t, tracker.Options{Vendor: kinds[1].vendor, Credentials: v.credentials(sandbox.Heap), NoPacing: true, Timeout: time.Second, Trips: 1})
			rule := "fault: half-open"
			if mode == "refuse" {
				rule = "fault: outage, mode: refuse"
			}
			v.scenario("rules: [{name: x, " + rule + "}]")
			s.send(items(10, 3, tracker.Production)...)
			until(t, "the breaker opens", func() bool { return s.Status().Sinks[tracker.Production].State == tracker.Open })
			if st := s.Status().Sinks[tracker.Production]; st.LastError == "" || st.Why == "" || st.Since.IsZero() || st.Delivered+st.Dead != 0 {
				t.Errorf("%s", js(st))
			}
			v.scenario("rules: []")
			s.all(10)
			until(t, "the breaker closes", func() bool { return s.Status().Sinks[tracker.Production].State == tracker.Closed })
			if c := v.counts(sandbox.Heap, "production"); c.Distinct != 10 || c.Deliveries != 10 {
				t.Errorf("%s", js(c))
			}
		})
	}
}

// An open breaker lets one small call through at a time, however much waits.
func TestProbesAreSmall(t *testing.T) {
	v := startVendors(t, sandbox.Options{Limits: lifted()})
	s := startSender(t, tracker.Options{Vendor: kinds[1].vendor, Credentials: v.credentials(sandbox.Heap), NoPacing: true, Trips: 1, RetryMin: 2 * time.Millisecond, RetryMax: 4 * time.Millisecond})
	v.scenario("rules: [{name: x, fault: outage, when: after}]") // judged, so that the events are listed
	s.send(items(500, 50, tracker.Production)...)
	until(t, "the breaker opens", func() bool { return s.Status().Sinks[tracker.Production].State == tracker.Open })
	if err := v.client.Reset(context.Background()); err != nil {
		t.Fatal(err)
	}
	until(t, "some probes", func() bool { return v.counts(sandbox.Heap, "production").Requests["503"] > 10 })
	c := v.counts(sandbox.Heap, "production")
	if c.Deliveries > c.Requests["503"]+500 { // a full batch may have been under way when the counts were reset
		t.Errorf("%d events in %d calls while the breaker was open", c.Deliveries, c.Requests["503"])
	}
	v.scenario("rules: []")
	s.all(500)
}

// 429 with Retry-After: nothing goes out before the time, and nothing is lost.
func TestRetryAfterIsHonoured(t *testing.T) {
	for _, k := range kinds {
		t.Run(string(k.which), func(t *testing.T) {
			t.Parallel()
			v := startVendors(t, sandbox.Options{Limits: lifted()})
			s := startSender(t, tracker.Options{Vendor: k.vendor, Credentials: v.credentials(k.which), NoPacing: true, Calls: 1})
			status := "fault: status, status: 429"
			if k.which == sandbox.Webhook {
				status = "fault: status, status: 503"
			}
			v.scenario("rules: [{name: x, until_request: 2, retry_after: 1s, " + status + "}]")
			begin := time.Now()
			s.send(items(40, 5, tracker.Production)...)
			for p, r := range s.all(40) {
				if r.Outcome != tracker.Delivered {
					t.Fatalf("%v: %s", p, js(r))
				}
			}
			if took := time.Since(begin); took < time.Second { // a lower bound holds on any machine
				t.Errorf("everything was delivered after %v, though the vendor asked for a second", took)
			}
			if c := v.counts(k.which, "production"); c.Distinct != 40 || c.Deliveries != 40 || c.Requests["429"]+c.Requests["503"] != 1 {
				t.Errorf("%s", js(c))
			}
		})
	}
}

// A storm of 429 in the vendor's own form: for Amplitude it names every event, and only they wait.
func TestThrottleStorm(t *testing.T) {
	for _, k := range kinds {
		t.Run(string(k.which), func(t *testing.T) {
			t.Parallel()
			v := startVendors(t, sandbox.Options{Limits: lifted()})
			s := startSender(t, tracker.Options{Vendor: k.vendor, Credentials: v.credentials(k.which), NoPacing: true})
			v.scenario("rules: [{name: x, fault: throttle, one_in: 2, until_request: 40}]")
			s.send(items(500, 25, tracker.Production)...)
			for p, r := range s.all(500) {
				if r.Outcome != tracker.Delivered {
					t.Fatalf("%v: %s", p, js(r))
				}
			}
			if c := v.counts(k.which, "production"); c.Distinct != 500 || c.Deliveries != 500 {
				t.Errorf("%s", js(c))
			}
		})
	}
}

// Amplitude's documented rate, with a device that exceeds it: pacing keeps every call below it, and others do not wait.
func TestPacingKeepsBelowTheRate(t *testing.T) {
	v := startVendors(t, sandbox.Options{})
	s := startSender(t, tracker.Options{Vendor: amplitude.New(amplitude.Options{}), Credentials: v.credentials(sandbox.Amplitude)})
	var all []tracker.Item
	for i := range 100 {
		it := item(i, 1000, tracker.Production)
		if i < 70 {
			it.Event.DeviceID = "a busy device"
		}
		all = append(all, it)
	}
	s.send(all...)
	results := s.all(100)
	conserved(t, v, sandbox.Amplitude, results)
	if c := v.counts(sandbox.Amplitude, "production"); c.Requests["429"] > 0 {
		t.Errorf("the rate was exceeded: %s", js(c))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	last := slices.IndexFunc(s.order, func(p event.Position) bool { return p == all[69].Event.Position })
	for _, it := range all[70:] {
		if slices.Index(s.order, it.Event.Position) > last {
			t.Errorf("%v waited for a device that is not its own", it.Event.Position)
		}
	}
}

// Without pacing the vendor says 429 and names the events: only those ids wait.
func TestThrottledIDsWait(t *testing.T) {
	v := startVendors(t, sandbox.Options{})
	s := startSender(t, tracker.Options{Vendor: amplitude.New(amplitude.Options{Hold: 1100 * time.Millisecond}), Credentials: v.credentials(sandbox.Amplitude), NoPacing: true, Events: 40})
	all := items(60, 1000, tracker.Production)
	for i := range 30 {
		all[i].Event.DeviceID = "a busy device"
	}
	more := all[40:50]
	for i := range more {
		more[i].Event.DeviceID = "a busy device"
	}
	s.send(all...)
	results := s.all(60)
	conserved := 0
	for p, r := range results {
		if r.Outcome != tracker.Delivered {
			t.Fatalf("%v: %s", p, js(r))
		}
		if r.Attempts > 1 {
			conserved++
		}
	}
	c := v.counts(sandbox.Amplitude, "production")
	if c.Requests["429"] == 0 || conserved == 0 || c.Distinct != 60 || c.Deliveries != 60 {
		t.Errorf("%d sent again, %s", conserved, js(c))
	}
}

// Heap's bulk rates, shortened: within no span more than the limit.
func TestRatesOfTheProject(t *testing.T) {
	v := startVendors(t, sandbox.Options{})
	s := startSender(t, tracker.Options{Vendor: kinds[1].vendor, Credentials: v.credentials(sandbox.Heap), Rates: []tracker.Rate{{Events: 50, Per: 300 * time.Millisecond}}})
	begin := time.Now()
	s.send(items(200, 1000, tracker.Production)...)
	s.all(200)
	if took := time.Since(begin); took < 900*time.Millisecond {
		t.Errorf("200 events took %v at 50 in 300 ms", took)
	}
}

// 413: half, and half again, until it fits; one alone that does not is dead.
func TestTooLargeIsHalved(t *testing.T) {
	limits := lifted()
	limits.Amplitude.Events = 7
	v := startVendors(t, sandbox.Options{Limits: limits})
	s := startSender(t, tracker.Options{Vendor: amplitude.New(amplitude.Options{}), Credentials: v.credentials(sandbox.Amplitude), NoPacing: true})
	s.send(items(100, 9, tracker.Production)...)
	for p, r := range s.all(100) {
		if r.Outcome != tracker.Delivered {
			t.Fatalf("%v: %s", p, js(r))
		}
	}
	if c := v.counts(sandbox.Amplitude, "production"); c.Requests["413"] == 0 || c.Distinct != 100 || c.Deliveries != 100 {
		t.Errorf("%s", js(c))
	}

	limits.Amplitude.Body = 300
	w := startVendors(t, sandbox.Options{Limits: limits})
	s = startSender(t, tracker.Options{Name: "second", Vendor: amplitude.New(amplitude.Options{}), Credentials: w.credentials(sandbox.Amplitude), NoPacing: true})
	large := item(3, 9, tracker.Production)
	large.Event.Name += fmt.Sprintf("_%0400d", 0)
	s.send(item(1, 9, tracker.Production), large, item(2, 9, tracker.Production))
	results := s.all(3)
	for _, it := range []tracker.Item{item(1, 9, ""), item(2, 9, "")} {
		if r := results[it.Event.Position]; r.Outcome != tracker.Delivered {
			t.Errorf("%s", js(r))
		}
	}
	if r := results[large.Event.Position]; r.Outcome != tracker.Dead || r.Reason != "too large" || r.Status != 413 {
		t.Errorf("%s", js(r))
	}
}

// Amplitude names the events it refuses: they are dead, with its words, and the others arrive.
func TestNamedEventsAreDead(t *testing.T) {
	v := startVendors(t, sandbox.Options{Limits: lifted()})
	s := startSender(t, tracker.Options{Vendor: amplitude.New(amplitude.Options{}), Credentials: v.credentials(sandbox.Amplitude), NoPacing: true, Gather: 50 * time.Millisecond})
	v.scenario("rules: [{name: x, fault: silence, ids: [device-3, device-5]}]")
	s.send(items(100, 10, tracker.Production)...)
	for p, r := range s.all(100) {
		n := p.Frame*10 + uint64(p.Request)
		want, reason := tracker.Delivered, ""
		if n%10 == 3 || n%10 == 5 {
			want, reason = tracker.Dead, "silenced"
		}
		if r.Outcome != want || r.Reason != reason || want == tracker.Dead && (r.Status != 400 || r.Detail == "" || len(r.Request) == 0 || len(r.Response) == 0) {
			t.Fatalf("%v: %s", p, js(r))
		}
	}
	if c := v.counts(sandbox.Amplitude, "production"); c.Deliveries != 80 || c.Distinct != 80 {
		t.Errorf("%s", js(c))
	}
}

// A silent drop shows in no answer: the result says delivered, and its digest is that of what was sent.
func TestSilentDropShowsNowhere(t *testing.T) {
	digests := map[string]map[event.Position]uint64{}
	for _, rules := range []string{"rules: []", "rules: [{name: x, fault: drop, property: zone}]"} {
		v := startVendors(t, sandbox.Options{Limits: lifted()})
		s := startSender(t, tracker.Options{Vendor: kinds[1].vendor, Credentials: v.credentials(sandbox.Heap), NoPacing: true})
		v.scenario(rules)
		digests[rules] = map[event.Position]uint64{}
		all := items(20, 5, tracker.Production)
		for i := range all {
			all[i].Event.Time = 1796000000000000
		}
		s.send(all...)
		for p, r := range s.all(20) {
			if r.Outcome != tracker.Delivered {
				t.Fatalf("%v: %s", p, js(r))
			}
			digests[rules][p] = r.Digest
		}
		if c := v.counts(sandbox.Heap, "production"); (c.Ignored > 0) != (rules != "rules: []") {
			t.Errorf("%s", js(c))
		}
	}
	if a, b := digests["rules: []"], digests["rules: [{name: x, fault: drop, property: zone}]"]; fmt.Sprint(a) != fmt.Sprint(b) {
		t.Error("digests depend on what the vendor does")
	}
}

// Events of a device arrive in the order in which they came, whatever fails in between.
func TestOrderOfADeviceHolds(t *testing.T) {
	for _, k := range kinds {
		t.Run(string(k.which), func(t *testing.T) {
			t.Parallel()
			v := startVendors(t, sandbox.Options{Limits: lifted()})
			s := startSender(t, tracker.Options{Vendor: k.vendor, Credentials: v.credentials(k.which), NoPacing: true, Events: 20, Calls: 8, Trips: 3})
			v.scenario("rules: [{name: x, fault: outage, one_in: 3, until_request: 60}, {name: y, fault: throttle, one_in: 4, until_request: 100}]")
			const n, devices = 500, 30
			s.send(items(n, devices, tracker.Production)...)
			s.all(n)
			last := map[int]int{}
			events := v.events(k.which, "production")
			for _, e := range events {
				if e.Outcome != "accepted" {
					continue
				}
				var i int
				if _, err := fmt.Sscanf(e.ID, "0190b3a2-7c1e-7abc-8def-%d", &i); err != nil {
					t.Fatal(err)
				}
				if before, known := last[i%devices]; known && i <= before {
					t.Fatalf("device %d: event %d arrived after %d", i%devices, i, before)
				}
				last[i%devices] = i
			}
			if len(last) != devices {
				t.Errorf("events of %d devices arrived: %d", len(last), len(events))
			}
		})
	}
}
