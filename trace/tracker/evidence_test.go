package tracker_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/telemetry"
	"github.com/sparrowhq/sparrow/trace/pipeline"
	"github.com/sparrowhq/sparrow/trace/sandbox"
	"github.com/sparrowhq/sparrow/trace/tracker"
	"github.com/sparrowhq/sparrow/trace/tracker/ga4"
	"github.com/sparrowhq/sparrow/trace/tracker/heap"
	"github.com/sparrowhq/sparrow/trace/tracker/webhook"
)

// broken is a vendor whose Assemble lies: what the Results say comes from the transport, not from it.
type broken struct {
	tracker.Vendor
	assemble func(c tracker.Credential, forms []*tracker.Form, r *tracker.Request, right func(tracker.Credential, []*tracker.Form, *tracker.Request))
}

func (b broken) Assemble(c tracker.Credential, forms []*tracker.Form, r *tracker.Request) {
	b.assemble(c, forms, r, b.Vendor.Assemble)
}

func TestSwappedCredentialsShow(t *testing.T) {
	for _, k := range kinds {
		t.Run(string(k.which), func(t *testing.T) {
			v := startVendors(t, sandbox.Options{Limits: lifted()})
			both := v.credentials(k.which)
			thief := broken{k.vendor, func(c tracker.Credential, f []*tracker.Form, r *tracker.Request, right func(tracker.Credential, []*tracker.Form, *tracker.Request)) {
				if c == both[tracker.Staging] {
					c = both[tracker.Production]
				}
				right(c, f, r)
			}}
			s := startSender(t, tracker.Options{Vendor: thief, Credentials: both, NoPacing: true})
			s.send(items(50, 5, tracker.Staging)...)
			for p, r := range s.all(50) {
				if r.Sink != tracker.Staging || r.Credential != tracker.Production {
					t.Fatalf("%v: %s", p, js(r))
				}
			}
			if c := v.counts(k.which, "production"); c.Deliveries != 50 {
				t.Errorf("%s", js(c))
			}

			// A credential that is only half one of ours is none of ours.
			mixed := broken{k.vendor, func(c tracker.Credential, f []*tracker.Form, r *tracker.Request, right func(tracker.Credential, []*tracker.Form, *tracker.Request)) {
				c.Key += "x"
				c.URL = strings.Replace(c.URL, "staging", "production", 1)
				right(c, f, r)
			}}
			if k.which != sandbox.Webhook && k.which != sandbox.GA4 {
				return // the sandbox refuses it, and GA4's silence is enough
			}
			s = startSender(t, tracker.Options{Name: "mixed", Vendor: mixed, Credentials: v.credentials(k.which), NoPacing: true})
			if k.which == sandbox.GA4 {
				s.send(items(5, 5, tracker.Staging)...)
				for p, r := range s.all(5) {
					if r.Credential != "" {
						t.Fatalf("%v: %s", p, js(r))
					}
				}
			}
		})
	}
}

// A vendor's code that sends an event twice, or not at all, is seen to.
func TestAttemptsAreCountedWhereTheyPass(t *testing.T) {
	v := startVendors(t, sandbox.Options{Limits: lifted()})
	const twice, never = "0190b3a2-7c1e-7abc-8def-000000000007", "0190b3a2-7c1e-7abc-8def-000000000009"
	b := broken{heap.New(), func(c tracker.Credential, forms []*tracker.Form, r *tracker.Request, right func(tracker.Credential, []*tracker.Form, *tracker.Request)) {
		var out []*tracker.Form
		for _, f := range forms {
			if f.Key != never {
				out = append(out, f)
			}
			if f.Key == twice {
				out = append(out, f)
			}
		}
		slices.Reverse(out) // where an event stands says nothing
		right(c, out, r)
	}}
	s := startSender(t, tracker.Options{Vendor: b, Credentials: v.credentials(sandbox.Heap), NoPacing: true, Gather: 50 * time.Millisecond})
	s.send(items(20, 4, tracker.Production)...)
	for p, r := range s.all(20) {
		want, outcome, reason := uint32(1), tracker.Delivered, ""
		switch p.Frame*10 + uint64(p.Request) {
		case 7:
			reason = "sent more than needed"
		case 9:
			want, outcome, reason = 0, tracker.Dead, "left out of its request"
		}
		if r.Outcome != outcome || r.Reason != reason || r.Attempts != want || (r.Digest == 0) != (want == 0) || (r.Credential == "") != (want == 0) {
			t.Errorf("%v: %s", p, js(r))
		}
	}
}

// forgetful takes the vendor's first good answers for an outage.
type forgetful struct {
	tracker.Vendor
	times *atomic.Int32
}

func (f forgetful) Judge(a *tracker.Answer, n int) tracker.Judgement {
	if f.times.Add(-1) >= 0 {
		return tracker.Judgement{Verdict: tracker.Unavailable, Reason: "unavailable"}
	}
	return f.Vendor.Judge(a, n)
}

// What is sent again after the vendor took it was sent in excess; what is sent again because it was not taken was not.
// An event under a key that nobody gave is in excess, too.
func TestExcessIsNoRetry(t *testing.T) {
	for _, k := range kinds {
		t.Run(string(k.which), func(t *testing.T) {
			v := startVendors(t, sandbox.Options{Limits: lifted()})
			check := func(name string, vendor tracker.Vendor, rules string, least int, attempts uint32) {
				t.Helper()
				v.scenario(rules)
				s := startSender(t, tracker.Options{Name: name, Vendor: vendor, Credentials: v.credentials(k.which), NoPacing: true, Calls: 1})
				s.send(items(5, 1, tracker.Production)...)
				marked, most := 0, uint32(0)
				for _, r := range s.all(5) {
					if r.Outcome != tracker.Delivered || r.Reason != "" && r.Reason != "sent more than needed" {
						t.Errorf("%s: %s", name, js(r))
					}
					if r.Reason != "" {
						marked++
					}
					most = max(most, r.Attempts)
				}
				if marked < least || least == 0 && marked > 0 || most < attempts {
					t.Errorf("%s: %d events are marked, the most attempts are %d", name, marked, most)
				}
			}
			var once atomic.Int32
			once.Store(1)
			check("forgetful", forgetful{k.vendor, &once}, "rules: []", 1, 2)
			check("retries", k.vendor, "rules: [{name: x, fault: outage, until_request: 3}]", 0, 2)
			stranger := broken{k.vendor, func(c tracker.Credential, forms []*tracker.Form, r *tracker.Request, right func(tracker.Credential, []*tracker.Form, *tracker.Request)) {
				more := *forms[0]
				more.Body = bytes.ReplaceAll(more.Body, []byte("0190b3a2"), []byte("0190b3a3"))
				right(c, append(slices.Clone(forms), &more), r)
			}}
			check("stranger", stranger, "rules: []", 1, 1)
		})
	}
}

// The digest is of what left, whatever the batch, the retries and the mode.
func TestDigestsAreOfTheForm(t *testing.T) {
	for _, k := range kinds {
		t.Run(string(k.which), func(t *testing.T) {
			v := startVendors(t, sandbox.Options{Limits: lifted()})
			all := items(60, 6, tracker.Production)
			for i := range all {
				all[i].Event.Time, all[i].Event.UserID = time.Now().Truncate(time.Hour).UnixMicro(), "somebody"
			}
			run := func(name string, o tracker.Options, rules string) map[event.Position]tracker.Result {
				o.Name, o.Vendor, o.Credentials, o.NoPacing = name, k.vendor, v.credentials(k.which), true
				v.scenario(rules)
				s := startSender(t, o)
				s.send(all...)
				return s.all(len(all))
			}
			base := run("base", tracker.Options{}, "rules: []")
			before := v.counts(k.which, "production").Deliveries
			dry := run("dry", tracker.Options{Modes: map[tracker.Sink]tracker.Mode{tracker.Production: {Kind: tracker.DryRun}}}, "rules: []")
			if now := v.counts(k.which, "production").Deliveries; now != before {
				t.Errorf("dry-run sent %d events", now-before)
			}
			for name, other := range map[string]map[event.Position]tracker.Result{
				"dry-run":    dry,
				"one a call": run("single", tracker.Options{Events: 1}, "rules: []"),
				"faults":     run("faults", tracker.Options{Events: 11}, "rules: [{name: x, fault: outage, one_in: 3, until_request: 40}]"),
			} {
				for p, r := range other {
					if r.Digest == 0 || r.Digest != base[p].Digest || r.Outcome != tracker.Delivered {
						t.Fatalf("%s: %v: %s, not %x", name, p, js(r), base[p].Digest)
					}
					if name == "dry-run" && (r.Reason != "dry-run" || r.Attempts != 0 || r.Credential != tracker.Production) {
						t.Fatalf("%v: %s", p, js(r))
					}
				}
			}
			// A change of one property, of an id, of the user changes it.
			for name, change := range map[string]func(e *pipeline.Event){
				"value": func(e *pipeline.Event) {
					e.Properties = []pipeline.Property{{Name: "count", Value: json.RawMessage("1")}}
				},
				"name": func(e *pipeline.Event) { e.Name += "d" },
				"time": func(e *pipeline.Event) { e.Time += 1000 },
				"user": func(e *pipeline.Event) { e.UserID = "somebody else" },
				"number": func(e *pipeline.Event) {
					e.Properties = []pipeline.Property{{Name: "count", Value: json.RawMessage("12345678901234567890123.0")}, e.Properties[1]}
				},
			} {
				saved := all
				all = items(1, 6, tracker.Production)
				all[0].Event = saved[0].Event
				change(&all[0].Event)
				r := run("changed "+name, tracker.Options{}, "rules: []")[all[0].Event.Position]
				if r.Digest == base[all[0].Event.Position].Digest {
					t.Errorf("%s: the same digest", name)
				}
				all = saved
			}
		})
	}
}

// Sampling is by the event's key: both stacks choose alike, and what is left out is as in dry-run.
func TestSampleIsSticky(t *testing.T) {
	v := startVendors(t, sandbox.Options{Limits: lifted()})
	chosen := func(name string) map[event.Position]bool {
		s := startSender(t, tracker.Options{Name: name, Vendor: heap.New(), Credentials: v.credentials(sandbox.Heap), NoPacing: true,
			Modes: map[tracker.Sink]tracker.Mode{tracker.Staging: {Kind: tracker.Some, Percent: 20}}})
		s.send(items(2000, 20, tracker.Staging)...)
		out := map[event.Position]bool{}
		for p, r := range s.all(2000) {
			if r.Outcome != tracker.Delivered || r.Digest == 0 || (r.Reason == "") != (r.Attempts == 1) || r.Reason != "" && r.Reason != "not sampled" {
				t.Fatalf("%v: %s", p, js(r))
			}
			if r.Attempts == 1 {
				out[p] = true
			}
		}
		return out
	}
	a, b := chosen("a"), chosen("b")
	if len(a) < 320 || len(a) > 480 || fmt.Sprint(a) != fmt.Sprint(b) {
		t.Errorf("%d and %d of 2000", len(a), len(b))
	}
	if c := v.counts(sandbox.Heap, "staging"); c.Distinct != uint64(len(a)) {
		t.Errorf("%s", js(c))
	}
}

// A refused batch whose answer names nobody is bisected: exactly the bad events are dead.
func TestBisectFindsExactlyTheBadEvents(t *testing.T) {
	v := startVendors(t, sandbox.Options{Limits: lifted()})
	bad := map[int]bool{0: true, 17: true, 18: true, 99: true}
	b := broken{heap.New(), func(c tracker.Credential, forms []*tracker.Form, r *tracker.Request, right func(tracker.Credential, []*tracker.Form, *tracker.Request)) {
		right(c, forms, r)
		for n := range bad {
			r.Body = bytes.Replace(r.Body, fmt.Appendf(nil, `"idempotency_key":"0190b3a2-7c1e-7abc-8def-%012d","properties":{`, n), fmt.Appendf(nil, `"idempotency_key":"0190b3a2-7c1e-7abc-8def-%012d","properties":{"list":[1],`, n), 1)
		}
	}}
	s := startSender(t, tracker.Options{Vendor: b, Credentials: v.credentials(sandbox.Heap), NoPacing: true, Gather: 50 * time.Millisecond})
	s.send(items(100, 7, tracker.Production)...)
	for p, r := range s.all(100) {
		want := tracker.Delivered
		if bad[int(p.Frame*10+uint64(p.Request))] {
			want = tracker.Dead
		}
		if r.Outcome != want || r.Attempts < 1 {
			t.Errorf("%v: %s", p, js(r))
		}
		if want == tracker.Dead && (r.Reason != "refused" || !strings.Contains(r.Detail, "neither number nor text") || !bytes.Contains(r.Request, []byte(`"list":[1]`)) || r.Status != 400) {
			t.Errorf("%v: %s %s", p, js(r), r.Request)
		}
	}
	if c := v.counts(sandbox.Heap, "production"); c.Deliveries != 96 || c.Distinct != 96 {
		t.Errorf("%s", js(c))
	}
}

// endpoint is a webhook of the test's own.
func endpoint(t *testing.T, h http.HandlerFunc) map[tracker.Sink]tracker.Credential {
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return map[tracker.Sink]tracker.Credential{tracker.Production: {URL: server.URL + "/in", Secret: "the token"}}
}

// A wrong credential is no event's fault: nothing is dead, all of it arrives when it is put right. One event that alone
// is refused so, while others pass, is.
func TestRefusedCredentialIsNoDeadLetter(t *testing.T) {
	var mu sync.Mutex
	allowed, got := false, 0
	s := startSender(t, tracker.Options{Vendor: hooks(webhook.Options{}), Trips: 1, Credentials: endpoint(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		switch {
		case !allowed:
			w.WriteHeader(http.StatusUnauthorized)
		case bytes.Contains(body, []byte("000000000004")):
			w.WriteHeader(http.StatusForbidden)
		default:
			got++
		}
	})})
	s.send(items(20, 20, tracker.Production)...)
	until(t, "the breaker opens", func() bool { return s.Status().Sinks[tracker.Production].Failures > 5 })
	if st := s.Status().Sinks[tracker.Production]; st.Dead > 0 || !strings.Contains(st.Why, "credential") {
		t.Errorf("%s", js(st))
	}
	mu.Lock()
	allowed = true
	mu.Unlock()
	for p, r := range s.all(20) {
		want := tracker.Delivered
		if p.Request == 4 && p.Frame == 0 {
			want = tracker.Dead
		}
		if r.Outcome != want {
			t.Errorf("%v: %s", p, js(r))
		}
	}
	if mu.Lock(); got != 19 {
		t.Errorf("%d arrived", got)
	}
	mu.Unlock()
}

// Redirects are not followed: a Location could name any host, in the clear.
func TestRedirectsAreNotFollowed(t *testing.T) {
	var astray sync.Map
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { astray.Store("came", true) }))
	defer other.Close()
	s := startSender(t, tracker.Options{Vendor: hooks(webhook.Options{}), Trips: 1, Credentials: endpoint(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
	})})
	s.send(item(1, 1, tracker.Production))
	until(t, "it is tried again", func() bool { return s.Status().Sinks[tracker.Production].Failures > 2 })
	if _, came := astray.Load("came"); came {
		t.Error("a redirect was followed")
	}
}

func TestOnlyHTTPS(t *testing.T) {
	done := func([]tracker.Result) {}
	for url, ok := range map[string]bool{
		"https://www.google-analytics.com/mp/collect": true, "http://127.0.0.1:1/x": true, "http://localhost/x": true, "http://[::1]:2/x": true,
		"http://www.google-analytics.com/mp/collect": false, "http://127.0.0.1.example.com/": false, "ftp://x/": false, "": false, "/x": false, "http://192.168.1.1/": false, "http://localhost.example/": false,
	} {
		s, err := tracker.New(tracker.Options{Name: "x", Vendor: ga4.New(), Done: done, Credentials: map[tracker.Sink]tracker.Credential{tracker.Production: {URL: url, Key: "G-1", Secret: "planted"}}})
		if (err == nil) != ok {
			t.Errorf("%q: %v", url, err)
		}
		if err == nil {
			s.Close()
		} else if strings.Contains(err.Error(), "planted") {
			t.Error(err)
		}
	}
	// Should a vendor's code think of another address, the transport refuses.
	b := broken{heap.New(), func(c tracker.Credential, f []*tracker.Form, r *tracker.Request, right func(tracker.Credential, []*tracker.Form, *tracker.Request)) {
		c.URL = "http://192.0.2.1/"
		right(c, f, r)
	}}
	s := startSender(t, tracker.Options{Vendor: b, Trips: 1, Credentials: map[tracker.Sink]tracker.Credential{tracker.Production: {URL: "https://192.0.2.1/", Key: "k"}}})
	s.send(item(1, 1, tracker.Production))
	until(t, "it fails", func() bool { return s.Status().Sinks[tracker.Production].Failures > 0 })
	if why := s.Status().Sinks[tracker.Production].Why; why != "not https" {
		t.Errorf("it failed because: %s", why)
	}
}

// The window: Send blocks when it is full, and never lets more in.
func TestWindowIsBounded(t *testing.T) {
	v := startVendors(t, sandbox.Options{Limits: lifted()})
	s := startSender(t, tracker.Options{Vendor: heap.New(), Credentials: v.credentials(sandbox.Heap), NoPacing: true, Items: 100})
	v.scenario("rules: [{name: x, fault: outage}]")
	ctx, cancel := context.WithCancel(context.Background())
	sent := make(chan error)
	go func() { sent <- s.Send(ctx, items(500, 20, tracker.Production)) }()
	until(t, "the window fills", func() bool { return s.Status().Items == 100 })
	cancel()
	if err := <-sent; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if st := s.Status(); st.Items != 100 || !st.Full || st.Sinks[tracker.Production].Oldest.IsZero() {
		t.Errorf("%s", js(st))
	}
	v.scenario("rules: []")
	s.all(100)
	until(t, "the window empties", func() bool { st := s.Status(); return st.Items == 0 && st.Bytes == 0 })

	small := startSender(t, tracker.Options{Name: "bytes", Vendor: heap.New(), Credentials: v.credentials(sandbox.Heap), NoPacing: true, Bytes: 2000})
	small.send(items(300, 20, tracker.Production)...) // one larger than the window alone would still pass
	small.all(300)
	until(t, "the window empties", func() bool { st := small.Status(); return st.Items == 0 && st.Bytes == 0 })
}

// Close in the middle: it returns though calls hang, and no Result comes afterwards.
func TestCloseInTheMiddle(t *testing.T) {
	for _, fault := range []string{"fault: outage, mode: hang", "fault: half-open", "fault: slow, delay: 5s", "fault: outage"} {
		t.Run(fault, func(t *testing.T) {
			v := startVendors(t, sandbox.Options{Limits: lifted()})
			s := startSender(t, tracker.Options{Vendor: ga4.New(), Credentials: v.credentials(sandbox.GA4), Before: func(context.Context, []event.Position) error { return nil }})
			s.send(items(10, 10, tracker.Production)...)
			s.all(10)
			v.scenario("rules: [{name: x, " + fault + "}]")
			more := items(300, 100, tracker.Production)
			for i := range more {
				more[i].Event.Frame += 1000
			}
			s.send(more...)
			until(t, "calls are under way", func() bool { st := s.Status().Sinks[tracker.Production]; return st.Calls > 0 || st.Failures > 0 })
			s.close()
			s.mu.Lock()
			n := len(s.results)
			s.mu.Unlock()
			if n != 10 {
				t.Errorf("%d results", n)
			}
			if err := s.Send(context.Background(), more[:1]); !errors.Is(err, tracker.ErrClosed) {
				t.Errorf("%v", err)
			}
			v.scenario("rules: []")
		})
	}
}

// Before a call to a vendor without keys its positions are noted; if that fails nothing goes out.
func TestNothingGoesOutUnnoted(t *testing.T) {
	v := startVendors(t, sandbox.Options{Limits: lifted()})
	var mu sync.Mutex
	noted, fails := map[event.Position]bool{}, 5
	s := startSender(t, tracker.Options{Vendor: ga4.New(), Credentials: v.credentials(sandbox.GA4), Before: func(_ context.Context, positions []event.Position) error {
		mu.Lock()
		defer mu.Unlock()
		if fails > 0 {
			fails--
			if c := v.counts(sandbox.GA4, "production"); c.Deliveries > 0 {
				t.Errorf("%s", js(c))
			}
			return errors.New("disk full")
		}
		for _, p := range positions {
			noted[p] = true
		}
		return nil
	}})
	all := items(100, 10, tracker.Production)
	all[7].Again = true
	s.send(all...)
	results := s.all(100)
	mu.Lock()
	defer mu.Unlock()
	for p, r := range results {
		want := ""
		if p == all[7].Event.Position {
			want = "sent again after a crash"
		}
		if !noted[p] || r.Outcome != tracker.Delivered || r.Reason != want {
			t.Errorf("%v: noted %t, %s", p, noted[p], js(r))
		}
	}
}

// What has become too old to be taken is not sent, and says so.
func TestTooOld(t *testing.T) {
	v := startVendors(t, sandbox.Options{Limits: lifted()})
	s := startSender(t, tracker.Options{Vendor: ga4.New(), Credentials: v.credentials(sandbox.GA4)})
	old := item(1, 1, tracker.Production)
	old.Event.Time = time.Now().Add(-72 * time.Hour).UnixMicro()
	s.send(old, item(2, 1, tracker.Production))
	results := s.all(2)
	if r := results[old.Event.Position]; r.Outcome != tracker.Rejected || r.Reason != "too old" || r.Attempts != 0 || r.Digest != 0 {
		t.Errorf("%s", js(r))
	}
	if c := v.counts(sandbox.GA4, "production"); c.Deliveries != 1 || len(c.Dropped) > 0 {
		t.Errorf("%s", js(c))
	}
}

// The sample holds request and response, without secrets; others hold none.
func TestSampleOfResults(t *testing.T) {
	v := startVendors(t, sandbox.Options{Limits: lifted()})
	s := startSender(t, tracker.Options{Vendor: kinds[2].vendor, Credentials: v.credentials(sandbox.Amplitude), NoPacing: true, Sample: 10})
	s.send(items(1000, 20, tracker.Production)...)
	n := 0
	for p, r := range s.all(1000) {
		if r.Request == nil {
			if r.Response != nil {
				t.Fatalf("%v: %s", p, js(r))
			}
			continue
		}
		n++
		if !bytes.Contains(r.Request, []byte(`"insert_id"`)) || !bytes.Contains(r.Response, []byte(`"code":200`)) {
			t.Fatalf("%s %s", r.Request, r.Response)
		}
	}
	if n < 50 || n > 200 {
		t.Errorf("%d of 1000 hold request and response", n)
	}
}

// panicking is a vendor with a bug.
type panicking struct{ heap.Heap }

func (p panicking) Form(e *pipeline.Event, f *tracker.Form) *tracker.Breach {
	if e.Position.Request == 3 {
		panic("a value")
	}
	return p.Heap.Form(e, f)
}

func (p panicking) Assemble(c tracker.Credential, forms []*tracker.Form, r *tracker.Request) {
	for _, f := range forms {
		if strings.HasSuffix(f.Key, "5") {
			panic("another")
		}
	}
	p.Heap.Assemble(c, forms, r)
}

func TestABugConcernsOneEvent(t *testing.T) {
	v := startVendors(t, sandbox.Options{Limits: lifted()})
	s := startSender(t, tracker.Options{Vendor: panicking{}, Credentials: v.credentials(sandbox.Heap), NoPacing: true, Telemetry: telemetry.Discard()})
	s.send(items(30, 4, tracker.Production)...)
	for p, r := range s.all(30) {
		want := map[uint32]tracker.Outcome{3: tracker.Rejected, 5: tracker.Dead}[p.Request]
		if want == "" {
			want = tracker.Delivered
		}
		if r.Outcome != want || want != tracker.Delivered && r.Reason != "internal error" {
			t.Errorf("%v: %s", p, js(r))
		}
	}
}
