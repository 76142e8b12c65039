package tracker

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// Within no span of the rate's length do more than its events arrive, whenever they do during their calls.
func TestWindowIsExact(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	w := newWindow(Rate{Events: 5, Per: time.Second, ByID: true})
	now := time.Unix(0, 0)
	arrived := map[string][]time.Time{}
	type call struct {
		id       string
		from, to time.Time
	}
	var flying []call
	for range 5000 {
		now = now.Add(time.Duration(r.IntN(30)) * time.Millisecond)
		kept := flying[:0]
		for _, c := range flying {
			if c.to.After(now) {
				kept = append(kept, c)
				continue
			}
			w.done(now, c.id)
			arrived[c.id] = append(arrived[c.id], c.from.Add(time.Duration(r.Int64N(int64(now.Sub(c.from))+1))))
		}
		flying = kept
		w.expire(now)
		if id := fmt.Sprint(r.IntN(3)); w.room(id) {
			w.take(id)
			flying = append(flying, call{id, now, now.Add(time.Duration(r.IntN(400)) * time.Millisecond)})
		}
	}
	for id, times := range arrived {
		if len(times) < 200 {
			t.Errorf("%s: only %d got through", id, len(times))
		}
		for _, begin := range times {
			n := 0
			for _, at := range times {
				if !at.Before(begin) && at.Before(begin.Add(time.Second)) {
					n++
				}
			}
			if n > 5 {
				t.Fatalf("%s: %d in the second from %v", id, n, begin)
			}
		}
	}
	w.expire(now.Add(time.Hour))
	if len(flying) == 0 && len(w.counts) != 0 {
		t.Errorf("%d ids are remembered for ever", len(w.counts))
	}
}

func TestRetryAfterForms(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{"30": 30 * time.Second, "0": 0, "-5": 0, "Sun, 01 Mar 2026 12:01:00 GMT": time.Minute, "Sun, 01 Mar 2026 11:00:00 GMT": 0, "99999999999999": 1 << 31 * time.Second} {
		if got, ok := retryAfter(text, now); !ok || got != want {
			t.Errorf("%q: %v %t", text, got, ok)
		}
	}
	for _, text := range []string{"", "soon", "1.5"} {
		if _, ok := retryAfter(text, now); ok {
			t.Errorf("%q is read", text)
		}
	}
	o := Options{RetryMin: time.Millisecond, RetryMax: time.Second, RetryAfterMax: time.Minute, Clock: func() time.Time { return now }}
	if got := o.wait(1, &Answer{Header: http.Header{"Retry-After": {"86400"}}}); got < time.Minute || got > time.Minute+time.Second {
		t.Errorf("a day is asked for: %v", got)
	}
	for n := range 100 {
		if got := o.wait(n+1, nil); got > time.Second || got <= 0 {
			t.Errorf("after %d failures: %v", n+1, got)
		}
	}
}

// net/http's errors repeat URLs, with GA4's secret in them; ours do not.
func TestErrorsHoldNoURL(t *testing.T) {
	o, err := Options{Name: "x", Vendor: none{}, Done: func([]Result) {}, Timeout: 50 * time.Millisecond, RetryMin: time.Millisecond, Credentials: map[Sink]Credential{Production: {URL: "https://x.example"}}}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() // accepts, and says nothing
	for _, address := range []string{"http://" + l.Addr().String(), "http://127.0.0.1:1", "http://nobody.invalid", "http://192.0.2.1"} {
		c := newClient(&o, func(base http.RoundTripper) http.RoundTripper { return guard{base} }, func() bool { return false })
		u, err := url.Parse(address + "/collect?api_secret=planted")
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.post(context.Background(), u, http.Header{}, []byte("x"))
		if err == nil || strings.Contains(err.Error(), "planted") || strings.Contains(err.Error(), "collect") {
			t.Errorf("%s: %v", address, err)
		}
		c.close()
	}
	if _, err := parseURL("http://x\x00/?api_secret=planted"); err == nil || strings.Contains(err.Error(), "planted") {
		t.Errorf("%v", err)
	}
}

// net/http repeats some requests by itself, which nobody would see: the witness lets it not.
func TestNothingIsRepeatedUnseen(t *testing.T) {
	var came atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if came.Add(1) > 1 {
			panic(http.ErrAbortHandler) // on a connection that was used before: net/http would try again
		}
	}))
	defer server.Close()
	o, err := Options{Name: "x", Vendor: none{}, Done: func([]Result) {}, Credentials: map[Sink]Credential{Production: {URL: server.URL}}}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	m, err := newMetrics(o.Telemetry.Registry, "x")
	if err != nil {
		t.Fatal(err)
	}
	c := newClient(&o, func(base http.RoundTripper) http.RoundTripper {
		return &witness{base: base, vendor: o.Vendor, credentials: o.Credentials, metrics: m}
	}, func() bool { return came.Load() > 1 }) // nor does go-retryablehttp repeat anything
	defer c.close()
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	var attempts int
	for range 2 {
		var saw testimony
		_, _ = c.post(withTestimony(context.Background(), &saw), u, http.Header{"Idempotency-Key": {"k"}}, []byte("x"))
		attempts += saw.attempts
	}
	if int64(attempts) != came.Load() {
		t.Errorf("%d attempts were seen, %d requests came", attempts, came.Load())
	}
}

// none is a vendor that never says anything.
type none struct{ Vendor }

func (none) Traits() Traits                 { return Traits{Vendor: "none", Events: 1, Bytes: 1 << 20} }
func (none) Split(*Request) (Passed, error) { return Passed{}, nil }

// A secret is found in every spelling in which a vendor may repeat it, and never left half.
func TestSpellings(t *testing.T) {
	secret := `p&l"4\n<t>+/ü%`
	h := newHider(map[Sink]Credential{Production: {URL: "https://x.example/?token=in+the+address", Key: "shared", Secret: secret}, Staging: {URL: "https://x.example/", Key: "shared-and-longer"}})
	for _, text := range []string{secret, url.QueryEscape(secret), strings.ToLower(url.QueryEscape(secret)), `p\u0026l\"4\\n\u003ct\u003e+/\u00fc%`, `p&l\\\"4\\\\n<t>+\\/ü%`, `p&amp;l&#34;4\n&lt;t&gt;+/ü%`, "in the address", "in+the+address", "shared-and-longer"} {
		if got := h.text("a "+text+" b", 1000); got != "a "+hidden+" b" {
			t.Errorf("%s: %s", text, got)
		}
	}
	for cut := range len(secret) {
		if got := h.part([]byte("something that is long enough to be cut, and then: "+secret[:cut]), 1000); strings.Contains(got, "p&l") {
			t.Errorf("half a secret is left: %q", got)
		}
	}
}

// An event that comes alone goes out after Gather. While many come, those of one group wait for each other up to Linger,
// and go out at once when they fill a request, or when the window lets no more in.
func TestLinger(t *testing.T) {
	o, err := Options{Name: "x", Vendor: none{}, Done: func([]Result) {}, Items: 1000, Gather: 50 * time.Millisecond, Credentials: map[Sink]Credential{Production: {URL: "https://x.example"}}}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	if o.Linger != time.Second {
		t.Fatalf("Linger is %v", o.Linger)
	}
	o.Events, o.Calls = 25, 1000
	m, err := newMetrics(o.Telemetry.Registry, "x")
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Unix(1_000_000, 0)
	for _, alone := range []bool{true, false} {
		l := newLane(Production, &o, Traits{Alone: alone, Bytes: 1 << 20}, m)
		add := func(at time.Time, group string) {
			l.window++
			l.add(&task{since: at, form: Form{Group: group}})
		}
		take := func(at time.Time) int {
			n := 0
			for b, _ := l.take(at); b != nil; b, _ = l.take(at) {
				n++
				l.window -= len(b.tasks)
				l.done(b, nil, at)
			}
			return n
		}
		wait := func(what string, at time.Time, want time.Duration) {
			t.Helper()
			if b, again := l.take(at); b != nil || again.Sub(at) != want {
				t.Errorf("alone %t: %s: %v, and again after %v instead of %v", alone, what, b, again.Sub(at), want)
			}
		}
		add(begin, "a")
		wait("one event", begin, o.Gather)
		if n := take(begin.Add(o.Gather)); n != 1 {
			t.Errorf("alone %t: one event makes %d requests after Gather", alone, n)
		}
		// 20 come in 10 groups, and again, and so on: dense.
		at := begin.Add(10 * time.Second)
		for i := range dense {
			add(at, fmt.Sprint(i%10))
			if !alone {
				l.waiting = 0 // else they fill requests
			}
		}
		if alone {
			wait("many", at, o.Linger)
			if n := take(at.Add(o.Linger - 1)); n != 0 {
				t.Errorf("%d requests before Linger has passed", n)
			}
			for range 5 {
				add(at.Add(time.Millisecond), "0")
			}
			if n := take(at.Add(2 * time.Millisecond)); n != 1 {
				t.Errorf("a group that fills a request makes %d", n)
			}
			if n := take(at.Add(o.Linger)); n != 9 {
				t.Errorf("9 groups make %d requests after Linger", n)
			}
			// The traffic has ended: the last event of all waits no longer than Gather.
			add(at.Add(3*o.Linger), "z")
			wait("after the traffic", at.Add(3*o.Linger), o.Gather)
			take(at.Add(4 * o.Linger))
			for i := range dense {
				add(at.Add(5*o.Linger), fmt.Sprint(i))
			}
			l.window = 2 * o.Items
			if n := take(at.Add(5 * o.Linger)); n != dense {
				t.Errorf("with a full window, %d requests go out at once", n)
			}
			continue
		}
		wait("many", at, o.Linger)
	}
}
