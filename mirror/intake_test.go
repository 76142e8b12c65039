package mirror

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/journal"
)

// raw writes bytes to the clients' listener as they are, and returns the answers that come back until the mirror closes
// the connection or n have come.
func (b *bench) raw(n int, pieces ...string) []*http.Response {
	b.t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(b.clients, "http://"))
	if err != nil {
		b.t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	in := bufio.NewReader(c)
	for _, p := range pieces {
		if _, err := io.WriteString(c, p); err != nil {
			break // answered already
		}
	}
	var answers []*http.Response
	for range n {
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			return answers
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			return answers
		}
		resp.Body = io.NopCloser(bytes.NewReader(body))
		answers = append(answers, resp)
	}
	return answers
}

func post1(headers, body string) string {
	return "POST /v1/events?k=dev HTTP/1.1\r\nHost: x\r\n" + headers + "\r\n" + body
}

func TestStatusOfEachKindOfRequest(t *testing.T) {
	b := setUp(t, func(o *Options) {
		o.Intake.MaxBody = 100_000
		o.Intake.MaxHeader = 8 << 10
		o.Intake.ReadTimeout = 500 * time.Millisecond
		o.Intake.MinRate = 1 << 20
	})
	large := strings.Repeat("x", 100_000)
	tests := []struct {
		name   string
		pieces []string
		status []int // of each answer
		closed bool  // after them
	}{
		{"one event", []string{post1("Content-Length: 2\r\n", "{}")}, []int{200}, false},
		{"two on one connection", []string{post1("Content-Length: 2\r\n", "{}") + post1("Content-Length: 2\r\n", "[]")}, []int{200, 200}, false},
		{"not JSON", []string{post1("Content-Length: 4\r\nContent-Type: image/png\r\n", "\x89PNG")}, []int{200}, false},
		{"HTTP/1.0", []string{"POST /v1/events HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}"}, []int{200}, true},
		{"chunked", []string{post1("Transfer-Encoding: chunked\r\n", "2\r\n{}\r\n0\r\n\r\n")}, []int{200}, true},
		{"as large as allowed", []string{post1("Content-Length: 100000\r\n", large)}, []int{200}, false},
		{"as large as allowed, chunked", []string{post1("Transfer-Encoding: chunked\r\n", "186a0\r\n"+large+"\r\n0\r\n\r\n")}, []int{200}, true},

		{"no body", []string{post1("", "")}, []int{400}, false},
		{"empty body", []string{post1("Content-Length: 0\r\n", "")}, []int{400}, false},
		{"empty chunked body", []string{post1("Transfer-Encoding: chunked\r\n", "0\r\n\r\n")}, []int{400}, true},
		{"too large by what is announced", []string{post1("Content-Length: 100001\r\n", "")}, []int{413}, true},
		{"too large by count", []string{post1("Transfer-Encoding: chunked\r\n", "186a1\r\n"+large+"x\r\n0\r\n\r\n")}, []int{413}, true},
		{"far too large", []string{post1("Content-Length: 9223372036854775807\r\n", "")}, []int{413}, true},
		{"cut short by silence", []string{post1("Content-Length: 100\r\n", "{")}, []int{408}, true},
		{"large and cut short by silence", []string{post1("Content-Length: 100000\r\n", large[:50_000])}, []int{408}, true},
		{"chunk that is none", []string{post1("Transfer-Encoding: chunked\r\n", "zz\r\n{}\r\n0\r\n\r\n")}, []int{400}, true},
		{"wrong method", []string{"GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n"}, []int{405}, false},
		{"wrong path", []string{"POST /v1/event HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"}, []int{404}, false},
		{"path that only resolves to ours", []string{"POST /v1/../v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"}, []int{404}, false},
		{"no script yet", []string{"GET /sparrow.js HTTP/1.1\r\nHost: x\r\n\r\n"}, []int{404}, false},

		{"smuggling: both lengths", []string{post1("Content-Length: 6\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"+post1("Content-Length: 2\r\n", "{}"))}, []int{400}, true},
		{"smuggling: both lengths, with a body", []string{post1("Transfer-Encoding: chunked\r\nContent-Length: 2\r\n", "2\r\n{}\r\n0\r\n\r\n"+post1("Content-Length: 2\r\n", "{}"))}, []int{200}, true},
		{"smuggling: two lengths", []string{post1("Content-Length: 2\r\nContent-Length: 3\r\n", "{}")}, []int{400}, true},
		{"smuggling: signed length", []string{post1("Content-Length: +2\r\n", "{}")}, []int{400}, true},
		{"smuggling: negative length", []string{post1("Content-Length: -2\r\n", "{}")}, []int{400}, true},
		{"smuggling: odd coding", []string{post1("Transfer-Encoding: xchunked\r\n", "2\r\n{}\r\n0\r\n\r\n")}, []int{501}, true},
		{"smuggling: space before colon", []string{post1("Content-Length : 2\r\n", "{}")}, []int{400}, true},
		{"no Host", []string{"POST /v1/events HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}"}, []int{400}, true},
		{"not HTTP", []string{"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n"}, []int{400}, true},
		{"header too large", []string{post1("X: "+strings.Repeat("y", 32<<10)+"\r\n", "")}, []int{431}, true},
	}
	accepted := 0
	ids := map[uuid.UUID]bool{}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ask := len(tt.status)
			if tt.closed {
				ask++ // one more would be the smuggled one's
			}
			answers := b.raw(ask, tt.pieces...)
			var got []int
			for _, a := range answers {
				got = append(got, a.StatusCode)
				body, _ := io.ReadAll(a.Body)
				id := a.Header.Get("Sparrow-Request-Id")
				if a.StatusCode == 200 {
					if string(body) != "OK" {
						t.Errorf("body %q", body)
					}
					u, err := uuid.Parse(id)
					if err != nil || u.Version() != 7 || ids[u] {
						t.Errorf("request id %q: %v", id, err)
					}
					ids[u] = true
					accepted++
					continue
				}
				if id != "" {
					t.Errorf("%d carries request id %s", a.StatusCode, id)
				}
				// 431 and what cannot be parsed is answered by net/http itself.
				if kind := a.Header.Get("Content-Type"); a.StatusCode < 500 && !strings.HasPrefix(tt.name, "smuggling") && a.StatusCode != 431 &&
					tt.name != "no Host" && tt.name != "not HTTP" && kind != "application/problem+json" {
					t.Errorf("%d has Content-Type %q: %s", a.StatusCode, kind, body)
				}
			}
			if diff := cmp.Diff(tt.status, got); diff != "" {
				t.Errorf("statuses (-want +got):\n%s", diff)
			}
		})
	}
	b.await("what could not be read is counted", func() error { // a connection is counted when it is closed
		if n := testutil.ToFloat64(b.mirror.intake.metrics.unreadable.WithLabelValues("request")); n != 8 {
			return fmt.Errorf("%v, want 8: five attempts to smuggle, no Host, not HTTP, large headers", n)
		}
		return nil
	})
	if e := b.settled(); e.Stacks[event.Green].Accepted != uint64(accepted) {
		t.Errorf("%d requests were answered 200, the journal has %d", accepted, e.Stacks[event.Green].Accepted)
	}
	b.both(ids)
}

// A client that goes in the middle of its body leaves nothing behind.
func TestTruncatedByDisconnect(t *testing.T) {
	b := setUp(t, nil)
	for range 20 {
		c, err := net.Dial("tcp", strings.TrimPrefix(b.clients, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(c, post1("Content-Length: 60000\r\n", strings.Repeat("x", 20_000)))
		c.Close()
	}
	b.both(b.send(10, 1))
	b.await("the budget of bodies is free again", func() error {
		if n := b.mirror.intake.bodies.inUse.Load(); n != 0 {
			return fmt.Errorf("%d bytes in use", n)
		}
		return nil
	})
	if n := b.equation().Stacks[event.Green].Accepted; n != 10 {
		t.Errorf("the journal has %d requests, want 10", n)
	}
}

// Slow clients use up what large bodies may hold together: large requests are refused early, small ones pass.
func TestSlowClientsHoldNothingButTheirSockets(t *testing.T) {
	b := setUp(t, func(o *Options) { o.Intake.MaxReading = 128 << 10 })
	addr := strings.TrimPrefix(b.clients, "http://")
	hold := func(sent int) net.Conn {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(c, post1("Content-Length: 500000\r\n", strings.Repeat("x", sent)))
		return c
	}
	// Fifty announce much and send little: they take nothing of the budget.
	for range 50 {
		defer hold(1000).Close()
	}
	ids := b.send(20, 4)
	big := post1("Content-Length: 60000\r\n", strings.Repeat("x", 60_000))
	first := b.raw(1, big)
	if len(first) != 1 || first[0].StatusCode != 200 {
		t.Fatalf("a large request beside clients that send nothing: %v", first)
	}
	ids[uuid.MustParse(first[0].Header.Get("Sparrow-Request-Id"))] = true
	// Two that send what they hold.
	for range 2 {
		defer hold(30_000).Close()
	}
	b.await("the budget is used up", func() error {
		if n := b.mirror.intake.bodies.inUse.Load(); n < 128<<10 {
			return fmt.Errorf("%d bytes in use", n)
		}
		return nil
	})
	refused := b.raw(1, big)
	if len(refused) != 1 || refused[0].StatusCode != 503 || refused[0].Header.Get("Retry-After") == "" {
		t.Errorf("a large request beyond the budget: %v", refused)
	}
	for id := range b.send(20, 4) {
		ids[id] = true
	}
	b.both(ids)
}

func TestWhatIsJournaled(t *testing.T) {
	b := setUp(t, func(o *Options) {
		o.Intake.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	before := time.Now().UnixMicro()
	body := "\x1f\x8b\x00not really gzip\xff\x00"
	answers := b.raw(1, "POST /v1/%65vents?k=dev&x=%00%ff HTTP/1.1\r\nHost: x\r\nUser-Agent: a\xffgent\r\nAccept-Language: de\r\nAccept-Language: en\r\nReferer: "+
		strings.Repeat("r", 2000)+"\r\nOrigin: https://a.example\r\nContent-Type: text/plain\r\nContent-Encoding: gzip\r\nSec-GPC: 1\r\nDNT: 1\r\n"+
		"Cookie: secret=1\r\nAuthorization: Bearer secret\r\nSparrow-Request-Id: forged\r\nsparrow-live: green\r\nX-Other: no\r\n"+
		"X-Forwarded-For: 10.9.9.9, 203.0.113.7, 127.0.0.9\r\nContent-Length: "+fmt.Sprint(len(body))+"\r\n\r\n"+body)
	if len(answers) != 1 || answers[0].StatusCode != 200 {
		t.Fatalf("answers: %v", answers)
	}
	after := time.Now().UnixMicro()
	id := uuid.MustParse(answers[0].Header.Get("Sparrow-Request-Id"))
	b.both(map[uuid.UUID]bool{id: true})
	r := b.green.got()[0].request
	type pair struct{ Name, Value string }
	var headers []pair
	for _, h := range r.Headers {
		headers = append(headers, pair{h.Name, string(h.Value)})
	}
	want := []pair{{"User-Agent", "a\xffgent"}, {"Accept-Language", "de"}, {"Accept-Language", "en"}, {"Referer", strings.Repeat("r", maxHeaderValue)},
		{"Origin", "https://a.example"}, {"Content-Type", "text/plain"}, {"Content-Encoding", "gzip"}, {"Sec-Gpc", "1"}, {"Dnt", "1"}}
	if diff := cmp.Diff(want, headers); diff != "" {
		t.Errorf("journaled headers (-want +got):\n%s", diff)
	}
	if r.ReceivedAt < before || r.ReceivedAt > after {
		t.Errorf("received at %d, sent between %d and %d", r.ReceivedAt, before, after)
	}
	got := []string{string(r.Method), string(r.Path), string(r.Query), string(r.Body), string(r.Client), uuid.UUID(r.Id).String()}
	if diff := cmp.Diff([]string{"POST", "/v1/%65vents", "k=dev&x=%00%ff", body, "203.0.113.7", id.String()}, got); diff != "" {
		t.Errorf("journaled request (-want +got):\n%s", diff)
	}
}

func TestHeadersThatMayNotBeJournaled(t *testing.T) {
	for _, name := range []string{"Cookie", "authorization", "Proxy-Authorization", "sparrow-stack", "", "a b"} {
		if _, err := headerList([]string{name}); err == nil {
			t.Errorf("header %q may be journaled", name)
		}
	}
}

func TestClientAddress(t *testing.T) {
	trusted := proxies{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	tests := []struct {
		peer string
		list []string
		want string
	}{
		{"192.0.2.1:80", nil, "192.0.2.1"},
		{"192.0.2.1:80", []string{"203.0.113.1"}, "192.0.2.1"}, // anybody may claim anything
		{"10.0.0.1:80", nil, "10.0.0.1"},
		{"10.0.0.1:80", []string{"203.0.113.1"}, "203.0.113.1"},
		{"10.0.0.1:80", []string{"198.51.100.9, 203.0.113.1"}, "203.0.113.1"}, // the left one is the client's own claim
		{"10.0.0.1:80", []string{"198.51.100.9", "203.0.113.1, 10.2.2.2"}, "203.0.113.1"},
		{"10.0.0.1:80", []string{"203.0.113.1, 10.3.3.3", "10.2.2.2"}, "203.0.113.1"},
		{"10.0.0.1:80", []string{"10.4.4.4"}, "10.4.4.4"},
		{"10.0.0.1:80", []string{"203.0.113.1, unknown"}, "10.0.0.1"},
		{"10.0.0.1:80", []string{"203.0.113.1, unknown, 10.2.2.2"}, "10.2.2.2"},
		{"10.0.0.1:80", []string{""}, "10.0.0.1"},
		{"10.0.0.1:80", []string{",,"}, "10.0.0.1"},
		{"10.0.0.1:80", []string{"203.0.113.1:4711"}, "203.0.113.1"},
		{"[fd00::1]:80", []string{"[2001:db8::7]:4711"}, "2001:db8::7"},
		{"[fd00::1]:80", []string{"2001:db8::7"}, "2001:db8::7"},
		{"[::ffff:10.0.0.1]:80", []string{"::ffff:203.0.113.1"}, "203.0.113.1"},
		{"[fe80::1%eth0]:80", nil, "fe80::1"},
	}
	for _, tt := range tests {
		if got := trusted.client(tt.peer, http.Header{"X-Forwarded-For": tt.list}).String(); got != tt.want {
			t.Errorf("peer %s, X-Forwarded-For %q: client %s, want %s", tt.peer, tt.list, got, tt.want)
		}
	}
}

func TestOrigins(t *testing.T) {
	b := setUp(t, func(o *Options) { o.Intake.Origins = []string{"https://shop.example", "http://localhost:*"} })
	tests := []struct {
		origin  string
		allowed bool
	}{
		{"https://shop.example", true},
		{"http://localhost", true},
		{"http://localhost:3000", true},
		{"http://localhost:3000x", false},
		{"https://localhost:3000", false},
		{"https://shop.example:8443", false},
		{"https://evil.example", false},
		{"https://shop.example.evil.example", false},
		{"null", false},
		{"", false},
	}
	ids := map[uuid.UUID]bool{}
	for _, tt := range tests {
		for _, method := range []string{"POST", "OPTIONS"} {
			r, err := http.NewRequest(method, b.clients+"/v1/events", strings.NewReader("{}"))
			if err != nil {
				t.Fatal(err)
			}
			if tt.origin != "" {
				r.Header.Set("Origin", tt.origin)
			}
			r.Header.Set("Access-Control-Request-Method", "POST")
			resp, err := b.http.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			h := resp.Header
			want := ""
			if tt.allowed {
				want = tt.origin
			}
			if got := h.Get("Access-Control-Allow-Origin"); got != want || h.Get("Vary") != "Origin" {
				t.Errorf("%s from %q: allowed %q, Vary %q", method, tt.origin, got, h.Get("Vary"))
			}
			switch method {
			case "POST":
				if resp.StatusCode != 200 {
					t.Errorf("POST from %q: %d", tt.origin, resp.StatusCode)
				}
				if exposes := strings.Contains(h.Get("Access-Control-Expose-Headers"), "Sparrow-Request-Id"); exposes != tt.allowed {
					t.Errorf("POST from %q: exposes the request id: %v", tt.origin, exposes)
				}
				ids[uuid.MustParse(h.Get("Sparrow-Request-Id"))] = true
			case "OPTIONS":
				if preflight := h.Get("Access-Control-Max-Age") == "86400" && h.Get("Access-Control-Allow-Methods") == "POST"; resp.StatusCode != 204 || preflight != tt.allowed {
					t.Errorf("OPTIONS from %q: %d, %v", tt.origin, resp.StatusCode, h)
				}
			}
		}
	}
	b.both(ids)
	for _, bad := range []string{"*", "https://*.example", "shop.example", "https://shop.example/", "https://shop.example:443:*"} {
		if _, err := newOrigins([]string{bad}, time.Hour); err == nil {
			t.Errorf("origin %q is taken", bad)
		}
	}
}

func TestTooManyConnections(t *testing.T) {
	b := setUp(t, func(o *Options) { o.Intake.MaxConnections = 3 })
	var held []net.Conn
	for range 3 {
		c, err := net.Dial("tcp", strings.TrimPrefix(b.clients, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, c)
	}
	b.await("the three are counted", func() error {
		if n := b.mirror.listening.Load().current.Load(); n != 3 {
			return fmt.Errorf("%d", n)
		}
		return nil
	})
	c, err := net.Dial("tcp", strings.TrimPrefix(b.clients, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" || !bytes.HasSuffix(body, []byte("}\n")) {
		t.Errorf("the fourth connection: %v, %d, %q", err, resp.StatusCode, body)
	}
	for _, c := range held {
		c.Close()
	}
	b.await("there is room again", func() error { _, err := b.post(1); return err })
}

// gate stands before the real journal: frames wait until they are let through.
type gate struct {
	*journal.Journal
	let    chan error            // one value a frame: nil lets it through, an error is what Publish returns
	always atomic.Pointer[error] // if set, what Publish returns at once
}

func (g *gate) Publish(ctx context.Context, frame []byte, t event.Totals) (uint64, error) {
	if err := g.always.Load(); err != nil {
		return 0, *err
	}
	if err := <-g.let; err != nil {
		return 0, err
	}
	return g.Journal.Publish(ctx, frame, t)
}

// gated puts a gate between the mirror's intake and its journal.
func gated(b *bench, o IntakeOptions) *gate {
	b.t.Helper()
	s := b.mirror.state.Load()
	g := &gate{Journal: s.journal, let: make(chan error, 100)}
	o, err := o.withDefaults()
	if err != nil {
		b.t.Fatal(err)
	}
	c := newCommitter(g, o, nil)
	go c.run()
	b.mirror.intake.open.Store(&door{committer: c, accepting: s.journal.Accepting})
	b.t.Cleanup(func() {
		close(g.let)
		c.close(context.Background())
	})
	return g
}

// Promise 1: the answer comes after Publish has returned, and not before.
func TestAnswerComesAfterPublish(t *testing.T) {
	b := setUp(t, nil)
	g := gated(b, IntakeOptions{})
	answered := make(chan error, 1)
	var id uuid.UUID
	go func() {
		var err error
		id, err = b.post(1)
		answered <- err
	}()
	b.await("the request waits for the journal", func() error {
		if b.mirror.intake.open.Load().committer.publishing.Load() == 0 {
			return errors.New("not yet")
		}
		return nil
	})
	select {
	case err := <-answered:
		t.Fatalf("answered (%v) before the journal had it", err)
	case <-time.After(100 * time.Millisecond): // time enough for an answer that must not come
	}
	g.let <- nil
	if err := <-answered; err != nil {
		t.Fatal(err)
	}
	b.both(map[uuid.UUID]bool{id: true})
}

// A frame that the journal refuses is 503 for each of its requests, and none of them is anywhere.
func TestRefusedFrame(t *testing.T) {
	b := setUp(t, nil)
	g := gated(b, IntakeOptions{})
	for _, tt := range []struct {
		err  error
		says string
	}{
		{fmt.Errorf("%w: the disk of /var/lib/sparrow", journal.ErrFull), "nothing was stored"},
		{fmt.Errorf("%w: no answer", journal.ErrUnavailable), "not known"},
	} {
		g.always.Store(&tt.err)
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				resp, err := b.http.Post(b.clients+"/v1/events", "", strings.NewReader(fmt.Sprint(i)))
				if err != nil {
					t.Error(err)
					return
				}
				defer resp.Body.Close()
				body, _ := io.ReadAll(resp.Body)
				if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" || !strings.Contains(string(body), tt.says) || strings.Contains(string(body), "/var/lib") {
					t.Errorf("answered %d: %s", resp.StatusCode, body)
				}
			})
		}
		wg.Wait()
	}
	if n := b.equation().Stacks[event.Green].Accepted; n != 0 {
		t.Errorf("the journal has %d requests", n)
	}
}

// A client that goes once its request waits for the journal does not take it along.
func TestClientGoneAfterEnqueue(t *testing.T) {
	b := setUp(t, nil)
	g := gated(b, IntakeOptions{})
	c, err := net.Dial("tcp", strings.TrimPrefix(b.clients, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(c, post1("Content-Length: 2\r\n", "{}"))
	b.await("the request waits for the journal", func() error {
		if b.mirror.intake.open.Load().committer.publishing.Load() == 0 {
			return errors.New("not yet")
		}
		return nil
	})
	c.Close()
	g.let <- nil
	b.green.has(1)
	b.blue.has(1)
}

// A full queue is answered 503 early; what was in it is stored.
func TestFullQueue(t *testing.T) {
	b := setUp(t, func(o *Options) { o.Intake.MaxBody = 10_000 })
	g := gated(b, IntakeOptions{MaxBody: 10_000, MaxHeader: 4 << 10, MaxQueue: 50_000})
	body := strings.Repeat("x", 9_000)
	var mu sync.Mutex
	ids, refused := map[uuid.UUID]bool{}, 0
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			resp, err := b.http.Post(b.clients+"/v1/events", "", strings.NewReader(body))
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			mu.Lock()
			defer mu.Unlock()
			switch resp.StatusCode {
			case 200:
				ids[uuid.MustParse(resp.Header.Get("Sparrow-Request-Id"))] = true
			case 503:
				refused++
				if resp.Header.Get("Retry-After") == "" {
					t.Error("503 without Retry-After")
				}
			default:
				t.Errorf("answered %d", resp.StatusCode)
			}
			if len(ids)+refused == 20 {
				return
			}
		})
	}
	b.await("the rest is refused while the journal stands still", func() error {
		mu.Lock()
		defer mu.Unlock()
		if refused == 0 {
			return errors.New("nobody was refused")
		}
		return nil
	})
	for range 20 {
		g.let <- nil
	}
	wg.Wait()
	if len(ids) == 0 || len(ids)+refused != 20 {
		t.Errorf("%d accepted, %d refused", len(ids), refused)
	}
	b.both(ids)
}

// The orderly stop answers those who wait, and takes no one else.
func TestStopDrains(t *testing.T) {
	b := setUp(t, nil)
	s := b.mirror.state.Load()
	g := &gate{Journal: s.journal, let: make(chan error, 100)}
	s.committer.journal = g // before its first frame
	type answer struct {
		id  uuid.UUID
		err error
	}
	answers := make(chan answer, 10)
	for i := range 10 {
		go func() {
			id, err := b.post(i)
			answers <- answer{id, err}
		}()
	}
	b.await("ten wait", func() error {
		if n := s.committer.publishing.Load() + int64(s.committer.requests()); n != 10 {
			return fmt.Errorf("%d", n)
		}
		return nil
	})
	b.cancel()
	b.await("the listener is closed", func() error {
		c, err := net.Dial("tcp", strings.TrimPrefix(b.clients, "http://"))
		if err == nil {
			c.Close()
			return errors.New("it still accepts")
		}
		return nil
	})
	for range 10 {
		g.let <- nil
	}
	ids := map[uuid.UUID]bool{}
	for range 10 {
		a := <-answers
		if a.err != nil {
			t.Errorf("a request that was waiting when the stop began: %v", a.err)
		}
		ids[a.id] = true
	}
	if err := <-b.ended; err != nil {
		t.Errorf("Run: %v", err)
	}
	b.cancel = nil
	b.start()
	b.both(ids)
}

func TestCommitterGroups(t *testing.T) {
	b := setUp(t, nil)
	g := &gate{Journal: b.mirror.state.Load().journal, let: make(chan error, 100)}
	o, err := IntakeOptions{MaxRequests: 5}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	c := newCommitter(g, o, nil)
	go c.run()
	add := func() *batch {
		id := uuid.Must(uuid.NewV7())
		batch, err := c.add(&event.Request{Id: id[:], Body: []byte("{}")}, id)
		if err != nil {
			t.Fatal(err)
		}
		return batch
	}
	first := add()
	b.await("the first is being published", func() error {
		if c.publishing.Load() == 0 {
			return errors.New("not yet")
		}
		return nil
	})
	var batches []*batch
	for range 12 { // while the first is under way
		batches = append(batches, add())
	}
	for range 4 {
		g.let <- nil
	}
	if err := c.close(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-first.done
	sizes := map[*batch]int{}
	for _, x := range batches {
		<-x.done
		if x.err != nil || x.sequence <= first.sequence {
			t.Errorf("sequence %d, %v", x.sequence, x.err)
		}
		sizes[x]++
	}
	var got []int
	for i, x := range batches {
		if i == 0 || batches[i-1] != x {
			got = append(got, sizes[x])
		}
	}
	if diff := cmp.Diff([]int{5, 5, 2}, got); diff != "" {
		t.Errorf("requests of the frames (-want +got):\n%s", diff)
	}
	if _, err := c.add(&event.Request{}, uuid.Nil); !errors.Is(err, errStopping) {
		t.Errorf("a closed committer: %v", err)
	}
}
