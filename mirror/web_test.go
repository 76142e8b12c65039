package mirror

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/service/reserve"
)

// shop is an ordinary HTTP service that knows nothing of Sparrow. Its faults are scripted.
type shop struct {
	t      testing.TB
	server *http.Server
	addr   string

	mu      sync.Mutex
	conns   map[net.Conn]bool // that a request came over, ever
	got     []visit
	calls   int
	at      map[string]int // times each request came, answered or not
	inside  int            // requests being handled
	most    int            // of those, ever
	changed chan struct{}
	// fault answers a request itself if it returns true.
	fault func(w http.ResponseWriter, r *http.Request, body []byte) bool
}

// visit is one request as the service took it.
type visit struct {
	method, target string
	header         http.Header
	body           []byte
}

func (v visit) id() uuid.UUID { return uuid.MustParse(v.header.Get("Sparrow-Request-Id")) }

func newShop(t testing.TB) *shop {
	s := &shop{t: t, at: map[string]int{}, conns: map[net.Conn]bool{}, changed: make(chan struct{})}
	s.listen(reserve.ForTest(t))
	t.Cleanup(s.stop)
	return s
}

func (s *shop) listen(addr string) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.addr = l.Addr().String()
	s.server = &http.Server{Handler: s, ConnState: func(c net.Conn, state http.ConnState) {
		if state == http.StateActive {
			s.mu.Lock()
			s.conns[c] = true
			s.mu.Unlock()
		}
	}}
	go s.server.Serve(l)
}

func (s *shop) stop() { s.server.Close() }

func (s *shop) script(fault func(w http.ResponseWriter, r *http.Request, body []byte) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = fault
}

func (s *shop) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	s.mu.Lock()
	s.calls++
	s.at[r.Header.Get("Sparrow-Request-Id")]++
	s.inside++
	s.most = max(s.most, s.inside)
	fault := s.fault
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.inside--
		s.mu.Unlock()
	}()
	if fault != nil && fault(w, r, body) {
		return
	}
	s.take(r, body)
	w.WriteHeader(http.StatusAccepted)
	io.WriteString(w, "thanks")
}

func (s *shop) take(r *http.Request, body []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	header := r.Header.Clone()
	header.Set("Host", r.Host)
	s.got = append(s.got, visit{method: r.Method, target: r.RequestURI, header: header, body: body})
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *shop) visits() []visit {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.got)
}

func (s *shop) called() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

// has waits until the service took n requests.
func (s *shop) has(n int) {
	s.t.Helper()
	deadline := time.After(60 * time.Second)
	for {
		s.mu.Lock()
		have, changed := len(s.got), s.changed
		s.mu.Unlock()
		if have >= n {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			s.t.Fatalf("the service took %d requests of %d within a minute, in %d calls", have, n, s.called())
		}
	}
}

// withShop starts a mirror whose candidate is a shop.
func withShop(t testing.TB, change func(*Options)) (*bench, *shop) {
	t.Helper()
	s := newShop(t)
	b := setUp(t, func(o *Options) {
		o.Blue = "http://" + s.addr
		o.Stacks = map[event.Stack]StackOptions{event.Blue: {Protocol: "http"}}
		if change != nil {
			change(o)
		}
	})
	return b, s
}

// took checks that the service took exactly ids but those missing, each once unless again.
func (b *bench) took(s *shop, ids map[uuid.UUID]bool, again bool, missing ...uuid.UUID) {
	b.t.Helper()
	seen := map[uuid.UUID]int{}
	for _, v := range s.visits() {
		seen[v.id()]++
	}
	for id, n := range seen {
		if n > 1 && !again {
			b.t.Errorf("%s was taken %d times", id, n)
		}
		if !ids[id] {
			b.t.Errorf("%s was taken, and never accepted", id)
		}
	}
	lost := 0
	for id := range ids {
		if seen[id] == 0 && !slices.Contains(missing, id) {
			lost++
		}
	}
	if lost > 0 {
		b.t.Errorf("%d of %d accepted requests are missing", lost, len(ids))
	}
	for _, id := range missing {
		if seen[id] > 0 {
			b.t.Errorf("%s was taken, but was given up", id)
		}
	}
}

// Each request reaches an ordinary service as the client sent it: method, path, query, journaled headers, and the body
// byte for byte, whatever it is; with our stamps, and without anything that was not journaled.
func TestHTTPStackGetsWhatClientsSent(t *testing.T) {
	b, s := withShop(t, func(o *Options) {
		o.Intake.Headers = []string{"Content-Type", "Content-Encoding", "User-Agent", "X-Kept"}
		o.Intake.Requests = []string{"POST /v1/events", "GET /collect", "HEAD /collect", "POST /g/*", "PUT /g/items"}
	})
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	z.Write([]byte(`{"event":"zipped"}`))
	z.Close()
	binary := make([]byte, 300_000)
	for i := range binary {
		binary[i] = byte(i * 7)
	}
	rows := []struct {
		name, query string
		header      http.Header
		body        []byte
		chunked     bool
		request     string // empty: POST /v1/events
	}{
		{"json", "k=dev&x=%20y", http.Header{"Content-Type": {"application/json"}}, []byte(`{"event":"a"}`), false, ""},
		{"gzip", "k=dev", http.Header{"Content-Type": {"application/json"}, "Content-Encoding": {"gzip"}}, zipped.Bytes(), false, ""},
		{"form", "", http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, []byte(url.Values{"data": {`{"event":"f"}`}}.Encode()), false, ""},
		{"beacon", "k=1", http.Header{"Content-Type": {"text/plain;charset=UTF-8"}}, []byte("{\"event\":\"ü\"}\r\n\r\n"), false, ""},
		{"chunked", "", http.Header{"Content-Type": {"application/octet-stream"}}, binary, true, ""},
		{"no type, foreign headers", "", http.Header{"Cookie": {"a=b"}, "Authorization": {"Bearer x"}, "Sparrow-Role": {"live"}, "X-Kept": {"1", "2"}, "X-Lost": {"3"}, "User-Agent": {""}}, []byte("x"), false, ""},
		{"pixel", "en=view&dl=%2F&k=dev", http.Header{}, nil, false, "GET /collect"},
		{"pixel without a query", "", http.Header{}, nil, false, "HEAD /collect"},
		{"everything in the query", "v=2&en=view", http.Header{"Content-Type": {"text/plain"}}, nil, false, "POST /g/collect/%7Ba%7D"},
		{"empty and chunked", "", http.Header{}, nil, true, "POST /g/collect"},
		{"another method", "", http.Header{}, []byte("x"), false, "PUT /g/items"},
	}
	ids := map[uuid.UUID]int{}
	for i, row := range rows {
		var body io.Reader = bytes.NewReader(row.body)
		if row.chunked {
			body = io.MultiReader(body) // a reader of which net/http cannot tell the length
		}
		method, path, _ := strings.Cut(or(row.request, "POST /v1/events"), " ")
		r, err := http.NewRequest(method, b.clients+path+"?"+row.query, body)
		if err != nil {
			t.Fatal(err)
		}
		r.Header = row.header
		resp, err := b.http.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 200 {
			t.Fatalf("%s: answered %d", row.name, resp.StatusCode)
		}
		ids[uuid.MustParse(resp.Header.Get("Sparrow-Request-Id"))] = i
	}
	b.settled()
	want := map[uuid.UUID]arrived{} // as the other stack, which speaks frames, got it
	for _, a := range b.green.got() {
		want[a.id] = a
	}
	visits := s.visits()
	if len(visits) != len(rows) {
		t.Fatalf("%d requests came, want %d", len(visits), len(rows))
	}
	for _, v := range visits {
		row, a := rows[ids[v.id()]], want[v.id()]
		method, target, _ := strings.Cut(or(row.request, "POST /v1/events"), " ")
		if row.query != "" {
			target += "?" + row.query
		}
		if v.method != method || v.target != target || !bytes.Equal(v.body, row.body) {
			t.Errorf("%s: %s %s with %d bytes, want %s %s with %d", row.name, v.method, v.target, len(v.body), method, target, len(row.body))
		}
		header := http.Header{
			"Host": {s.addr}, "Content-Length": {fmt.Sprint(len(row.body))}, "X-Forwarded-For": {"127.0.0.1"},
			"Sparrow-Request-Id":  {a.id.String()},
			"Sparrow-Received-At": {time.UnixMicro(a.request.ReceivedAt).UTC().Format("2006-01-02T15:04:05.000000Z")},
			"Sparrow-Position":    {a.Cursor.String()},
			"Sparrow-Role":        {"candidate"}, "Sparrow-Generation": {"1"}, "Sparrow-Stack": {"blue"},
		}
		for _, name := range []string{"Content-Type", "Content-Encoding", "X-Kept"} {
			if values := row.header[name]; values != nil {
				header[name] = values
			}
		}
		if row.name != "no type, foreign headers" {
			header["User-Agent"] = []string{"Go-http-client/1.1"}
		}
		if diff := cmp.Diff(header, v.header); diff != "" {
			t.Errorf("%s: headers:\n%s", row.name, diff)
		}
	}
}

// Both protocols side by side, in either role, through flips: what each stack is told of a request's role is the same.
func TestProtocolsMixed(t *testing.T) {
	b, s := withShop(t, nil)
	ids := map[uuid.UUID]bool{}
	live := event.Green
	for range 4 {
		for id := range b.send(300, 16) {
			ids[id] = true
		}
		live = live.Other()
		b.control(event.Cutover, live, 0)
		b.equation()
	}
	b.settled()
	b.exactlyOnce(b.green, ids)
	b.took(s, ids, false)
	stamps := map[uuid.UUID]arrived{}
	for _, a := range b.green.got() {
		stamps[a.id] = a
	}
	flipped := false
	for _, v := range s.visits() {
		a := stamps[v.id()]
		role := "candidate"
		if a.live == event.Blue {
			role, flipped = "live", true
		}
		if v.header.Get("Sparrow-Role") != role || v.header.Get("Sparrow-Generation") != fmt.Sprint(a.generation) || v.header.Get("Sparrow-Position") != a.Cursor.String() {
			t.Errorf("%v: green was told %v/%d, the service %v", a.Cursor, a.live, a.generation, v.header)
		}
	}
	if !flipped {
		t.Error("the service was never live")
	}
	st, err := b.client.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if x := st.Stacks[event.Blue]; x.Protocol != "http" || x.Delivered != 1200 || !x.Reachable || st.Stacks[event.Green].Protocol != "frames" {
		t.Errorf("status: %+v", st.Stacks)
	}
}

// No more requests are under way than configured, and no more connections than that are made.
func TestHTTPConcurrency(t *testing.T) {
	b, s := withShop(t, func(o *Options) {
		o.Stacks[event.Blue] = StackOptions{Protocol: "http", Concurrency: 5}
		o.Feed.CallTimeout = time.Hour // none is to be sent twice, however slow this machine is
	})
	// A request waits a little for others beside it. Not until five are there: a round may hold fewer, and then ends first.
	s.script(func(http.ResponseWriter, *http.Request, []byte) bool {
		time.Sleep(5 * time.Millisecond)
		return false
	})
	most := func() int {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.most
	}
	ids := b.send(100, 16)
	b.settled()
	b.await("five at once", func() error {
		n := most()
		if n >= 5 {
			return nil
		}
		maps.Copy(ids, b.send(20, 16))
		return fmt.Errorf("%d", n)
	})
	b.settled()
	b.took(s, ids, false)
	if n := most(); n != 5 {
		t.Errorf("%d at once, want 5", n)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.conns); n != 5 {
		t.Errorf("%d connections for %d requests, want 5", n, len(ids))
	}
}

// Nothing an ordinary service does keeps a request from it for good; and nothing it does shows at green or at clients.
func TestFaultsOfAnHTTPStack(t *testing.T) {
	answer := func(status int) func(*shop) func(http.ResponseWriter, *http.Request, []byte) bool {
		return func(*shop) func(http.ResponseWriter, *http.Request, []byte) bool {
			return func(w http.ResponseWriter, _ *http.Request, _ []byte) bool { w.WriteHeader(status); return true }
		}
	}
	faults := map[string]func(s *shop) func(http.ResponseWriter, *http.Request, []byte) bool{
		"503": answer(503), "429": answer(429), "502": answer(502), "504": answer(504), "408": answer(408),
		"500 for everything": answer(500), "404 for everything": answer(404), "redirects": answer(302),
		"resets": func(*shop) func(http.ResponseWriter, *http.Request, []byte) bool {
			return func(w http.ResponseWriter, _ *http.Request, _ []byte) bool { hijack(w); return true }
		},
		"hangs": func(*shop) func(http.ResponseWriter, *http.Request, []byte) bool {
			return func(_ http.ResponseWriter, r *http.Request, _ []byte) bool { <-r.Context().Done(); return true }
		},
		"not HTTP": func(*shop) func(http.ResponseWriter, *http.Request, []byte) bool {
			return func(w http.ResponseWriter, _ *http.Request, _ []byte) bool {
				c, _, err := http.NewResponseController(w).Hijack()
				if err == nil {
					io.WriteString(c, "SSH-2.0-OpenSSH\r\n")
					c.Close()
				}
				return true
			}
		},
		"endless headers": func(*shop) func(http.ResponseWriter, *http.Request, []byte) bool {
			return func(w http.ResponseWriter, _ *http.Request, _ []byte) bool {
				c, _, err := http.NewResponseController(w).Hijack()
				if err == nil {
					io.WriteString(c, "HTTP/1.1 200 OK\r\n")
					for range 1 << 12 {
						if _, err := io.WriteString(c, "X: "+strings.Repeat("y", 1000)+"\r\n"); err != nil {
							break
						}
					}
					c.Close()
				}
				return true
			}
		},
		"a byte a second": func(*shop) func(http.ResponseWriter, *http.Request, []byte) bool {
			return func(w http.ResponseWriter, r *http.Request, _ []byte) bool {
				for {
					select {
					case <-r.Context().Done():
						return true
					case <-time.After(time.Second): // that is the fault
						w.Write([]byte(" "))
						http.NewResponseController(w).Flush()
					}
				}
			}
		},
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, s := withShop(t, func(o *Options) {
				o.Feed.CallTimeout = 2 * time.Second // no busy machine is as slow
				o.Feed.MaxBackoff = 50 * time.Millisecond
				o.Feed.Patience = time.Hour
			})
			ids := b.send(20, 4)
			b.settled()
			f := fault(s)
			s.script(f)
			before := s.called()
			for i := range 100 {
				id, err := b.post(i)
				if err != nil {
					t.Fatal(err)
				}
				ids[id] = true
			}
			b.green.has(120)
			b.await("the service has been tried a few times", func() error {
				if n := s.called() - before; n < 5 {
					return fmt.Errorf("%d calls", n)
				}
				return nil
			})
			if e := b.equation(); e.Stacks[event.Blue].Dead != 0 {
				t.Errorf("dead letters: %+v", e)
			}
			s.script(nil)
			b.settled()
			b.exactlyOnce(b.green, ids)
			b.took(s, ids, name == "a byte a second") // there it may have had them
		})
	}
}

// A service that is down only lags; an idle connection that it closed costs nothing.
func TestHTTPStackDownAndUp(t *testing.T) {
	b, s := withShop(t, nil)
	ids := b.send(20, 4)
	b.settled()
	addr := s.addr
	s.stop()
	for id := range b.send(200, 8) {
		ids[id] = true
	}
	b.green.has(220)
	if x := b.equation().Stacks[event.Blue]; x.Pending != 200 {
		t.Errorf("the service is down: %+v", x)
	}
	s.listen(addr)
	b.settled()
	b.took(s, ids, false)
	if n := status(b).Repeated; n != 0 {
		t.Errorf("%d are said to have been sent again", n)
	}
}

func status(b *bench) StackStatus {
	b.t.Helper()
	st, err := b.client.Status(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	return st.Stacks[event.Blue]
}

// Requests that the service cannot take, while it takes others: they alone are given up, their bytes are safe, and the
// others do not wait for them.
func TestPoisonAtAnHTTPStack(t *testing.T) {
	b, s := withShop(t, func(o *Options) { o.Feed.Patience = time.Hour })
	s.script(func(w http.ResponseWriter, r *http.Request, body []byte) bool {
		if bytes.Contains(body, []byte("poison")) {
			http.Error(w, "cannot take "+r.Header.Get("Sparrow-Request-Id"), http.StatusUnprocessableEntity)
			return true
		}
		return false
	})
	ids := b.send(100, 16)
	poison := []uuid.UUID{b.sendPoison(), b.sendPoison()}
	for i := range 200 { // traffic goes on
		id, err := b.post(i)
		if err != nil {
			t.Fatal(err)
		}
		ids[id] = true
	}
	b.await("the neighbours got through", func() error {
		if n := len(s.visits()); n < 300 {
			return fmt.Errorf("%d", n)
		}
		return nil
	})
	for i := 0; len(b.deadLetters(event.Blue)) < 2; i++ { // neighbours for the last attempts
		id, err := b.post(i)
		if err != nil {
			t.Fatal(err)
		}
		ids[id] = true
	}
	e := b.settled()
	if x := e.Stacks[event.Blue]; x.Dead != 2 || x.Delivered != uint64(len(ids)) {
		t.Errorf("the equation: %+v, %d sent", x, len(ids))
	}
	for _, l := range b.deadLetters(event.Blue) {
		if id := uuid.MustParse(l.ID); !slices.Contains(poison, id) || l.Attempts < 5 || l.Status != 422 || l.Detail != "cannot take "+l.ID || len(l.Request) == 0 {
			t.Errorf("dead letter %+v", l)
		}
		if s.at[l.ID] < 5 {
			t.Errorf("%s was tried %d times", l.ID, s.at[l.ID])
		}
	}
	for _, id := range poison {
		ids[id] = true
	}
	b.took(s, ids, false, poison...)
}

// A request at which the service resets, hangs or answers 503 is never given up, however often that happens.
func TestPoisonThatIsNoAnswer(t *testing.T) {
	for name, fail := range map[string]func(http.ResponseWriter, *http.Request){
		"reset": func(w http.ResponseWriter, _ *http.Request) { hijack(w) },
		"503":   func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) },
		"hang":  func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, s := withShop(t, func(o *Options) {
				o.Feed.Attempts = 2
				o.Feed.Patience = time.Millisecond
				if o.Feed.CallTimeout = 50 * time.Millisecond; name != "hang" { // no busy machine is as slow
					o.Feed.CallTimeout = 20 * time.Second
				}
				o.Feed.MaxBackoff = 20 * time.Millisecond
			})
			calls := new(atomic.Int64)
			s.script(func(w http.ResponseWriter, r *http.Request, body []byte) bool {
				if !bytes.Contains(body, []byte("poison")) {
					return false
				}
				calls.Add(1)
				fail(w, r)
				return true
			})
			ids := b.send(20, 4)
			ids[b.sendPoison()] = true
			for id := range b.send(20, 4) {
				ids[id] = true
			}
			b.await("it was tried twenty times", func() error {
				if n := calls.Load(); n < 20 {
					return fmt.Errorf("%d", n)
				}
				return nil
			})
			if n := len(b.deadLetters(event.Blue)); n != 0 {
				t.Errorf("%d dead letters", n)
			}
			s.script(nil)
			b.settled()
			b.took(s, ids, name == "hang") // on a busy machine others time out too
			// Only where nobody knows whether the service took it is it said to have been repeated.
			if n := status(b).Repeated; (n > 0) != (name != "503") {
				t.Errorf("%s: %d repeated", name, n)
			}
		})
	}
}

// kill -9 of the mirror under load: what the service gets twice was in flight, is no more than a round (and a little) each time, and
// nothing is missing.
func TestKillBeforeAnHTTPStack(t *testing.T) {
	s := newShop(t)
	b := &bench{t: t, green: newRig(t, event.Green), blue: newRig(t, event.Blue)}
	dir := t.TempDir()
	clients, admin := reserve.ForTest(t), reserve.ForTest(t)
	env := append(os.Environ(), "SPARROW_TEST_CHILD="+dir, "SPARROW_TEST_GREEN="+b.green.url(), "SPARROW_TEST_BLUE=http://"+s.addr,
		"SPARROW_TEST_PROTOCOL=http", "SPARROW_TEST_CLIENTS="+clients, "SPARROW_TEST_ADMIN="+admin)
	acked := map[uuid.UUID]bool{}
	var mu sync.Mutex
	const kills = 3
	for round := range kills {
		child := exec.Command(os.Args[0], "-test.run=^$")
		child.Env = env
		child.Stderr = os.Stderr
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		b.http = newClient()
		b.clients = "http://" + clients
		before := len(s.visits())
		var wg sync.WaitGroup
		stop := make(chan struct{})
		for range 8 {
			wg.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					if id, err := b.post(round); err == nil {
						mu.Lock()
						acked[id] = true
						mu.Unlock()
					}
				}
			})
		}
		s.has(before + 500)
		if err := child.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		child.Wait()
		close(stop)
		wg.Wait()
		b.http.CloseIdleConnections()
	}
	b.options = testOptions(dir, b.green.url(), "http://"+s.addr)
	b.options.Stacks = map[event.Stack]StackOptions{event.Blue: {Protocol: "http"}}
	b.start()
	t.Cleanup(b.stop)
	e := b.settled()
	seen := map[uuid.UUID]int{}
	twice, marked := 0, 0
	for _, v := range s.visits() {
		if seen[v.id()]++; seen[v.id()] > 1 {
			twice++
		}
		if v.header.Get("Sparrow-Repeated") != "" {
			marked++
		}
	}
	for id := range acked {
		if seen[id] == 0 {
			t.Errorf("%s was acknowledged and is missing", id)
		}
	}
	if x := e.Stacks[event.Blue]; x.Delivered != uint64(len(seen)) {
		t.Errorf("%d different requests came, %+v", len(seen), x)
	}
	repeated := status(b).Repeated
	if twice > kills*(maxRound+unnoted) || marked < twice {
		t.Errorf("%d came twice, %d were marked as repeated, %d counted", twice, marked, repeated)
	}
	t.Logf("%d acknowledged, %d came twice over %d kills; %d counted as perhaps repeated", len(acked), twice, kills, repeated)
}

// Methods and paths that an http stack is not configured for are counted out.
func TestHTTPPaths(t *testing.T) {
	for _, row := range []struct {
		rule Rule
		all  bool
	}{
		{Rule{Paths: []string{"/v1/*"}, Methods: []string{"POST"}}, true},
		{Rule{Paths: []string{"/v1/events"}}, true},
		{Rule{Paths: []string{"/v2/events"}}, false},
		{Rule{Methods: []string{"GET"}}, false},
	} {
		b, s := withShop(t, func(o *Options) { o.Stacks[event.Blue] = StackOptions{Protocol: "http", Rule: row.rule} })
		ids := b.send(50, 4)
		e := b.settled().Stacks[event.Blue]
		if row.all {
			b.took(s, ids, false)
		}
		if row.all != (e.Delivered == 50 && e.Sampled == 0) || row.all == (e.Delivered == 0 && e.Sampled == 50) || !row.all && len(s.visits()) > 0 {
			t.Errorf("%+v: %+v, the service has %d", row.rule, e, len(s.visits()))
		}
		b.stop()
	}
}

// What cannot be written as HTTP/1.1 never reaches a wire, and so can never become two requests there.
func TestNothingIsSmuggled(t *testing.T) {
	w, err := newWeb(event.Blue, "http://127.0.0.1:1/base/")
	if err != nil {
		t.Fatal(err)
	}
	id := uuid.New()
	good := func() *event.Request {
		return &event.Request{Id: id[:], Method: []byte("POST"), Path: []byte("/a"), Query: []byte("b"), Body: []byte("c")}
	}
	out, err := w.write(nil, &letter{request: good()})
	if err != nil || !bytes.HasPrefix(out, []byte("POST /base/a?b HTTP/1.1\r\nHost: 127.0.0.1:1\r\n")) || !bytes.HasSuffix(out, []byte("\r\nContent-Length: 1\r\n\r\nc")) {
		t.Errorf("%q, %v", out, err)
	}
	for name, spoil := range map[string]func(*event.Request){
		"path with a line end":    func(r *event.Request) { r.Path = []byte("/a\r\nX: y") },
		"path with a space":       func(r *event.Request) { r.Path = []byte("/a HTTP/1.1") },
		"query with a line end":   func(r *event.Request) { r.Query = []byte("a\nb") },
		"method with a space":     func(r *event.Request) { r.Method = []byte("GET /x") },
		"no method":               func(r *event.Request) { r.Method = nil },
		"header with a line end":  func(r *event.Request) { r.Headers = []*event.Header{{Name: "A", Value: []byte("b\r\nC: d")}} },
		"header's name with one":  func(r *event.Request) { r.Headers = []*event.Header{{Name: "A\r\nB", Value: []byte("b")}} },
		"header with a null byte": func(r *event.Request) { r.Headers = []*event.Header{{Name: "A", Value: []byte("b\x00")}} },
	} {
		r := good()
		spoil(r)
		if out, err := w.write(nil, &letter{request: r}); err == nil {
			t.Errorf("%s: %q", name, out)
		}
	}
}

// A call that is interrupted ends at once, and the connection is not used again.
func TestInterruptedRound(t *testing.T) {
	s := newShop(t)
	s.script(func(_ http.ResponseWriter, r *http.Request, _ []byte) bool { <-r.Context().Done(); return true })
	w, err := newWeb(event.Blue, "http://"+s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer w.closeIdle()
	ctx, cancel := context.WithCancel(t.Context())
	id := uuid.New()
	letters := make([]letter, 20)
	for i := range letters {
		letters[i] = letter{request: &event.Request{Id: id[:], Method: []byte("POST"), Path: []byte("/")}}
	}
	go func() {
		for s.called() < 4 {
			time.Sleep(time.Millisecond) // polling
		}
		cancel()
	}()
	unsent := 0
	for _, r := range w.sendAll(ctx, letters, 4, time.Hour) {
		var busy *busyError
		if errors.Is(r.err, errUnsent) {
			unsent++
		} else if !errors.As(r.err, &busy) || !busy.unknown {
			t.Errorf("%v", r.err)
		}
	}
	if unsent != 16 || len(w.idle) != 0 || len(w.busy) != 0 {
		t.Errorf("%d not sent; %d idle and %d busy connections are left", unsent, len(w.idle), len(w.busy))
	}
}

// A service that hangs, sampled or not, does not keep a small journal from accepting: what it cannot get in time expires,
// counted by position; clients and green see nothing of it.
func TestHTTPCandidateExpires(t *testing.T) {
	sample := event.Sample{Percent: 50, By: event.ByRequestID}
	for name, rule := range map[string]Rule{"everything": {}, "half": {Sample: &sample}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, s := withShop(t, func(o *Options) {
				o.Stacks[event.Blue] = StackOptions{Protocol: "http", Rule: rule}
				o.Journal.MaxBytes = 16 << 20
				o.Retention.Every = 20 * time.Millisecond
				o.Retention.Pressure = 0.5
				o.Feed.CallTimeout = time.Hour // freeing space must not wait for that
				o.Grace = time.Second
			})
			ids := b.send(10, 1)
			b.settled()
			released := make(chan struct{})
			s.script(func(_ http.ResponseWriter, r *http.Request, _ []byte) bool {
				select {
				case <-r.Context().Done():
					return true
				case <-released:
					return false
				}
			})
			body := strings.Repeat("x", 64<<10)
			var mu sync.Mutex
			fill := func() {
				resp, err := b.http.Post(b.clients+"/v1/events", "", strings.NewReader(body))
				if err != nil {
					t.Error(err)
					return
				}
				resp.Body.Close()
				switch resp.StatusCode {
				case 200:
				case 503: // full: on a busy machine four clients are faster than the call that holds up the expiry is cut
					return
				default:
					t.Errorf("answered %d", resp.StatusCode)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				ids[uuid.MustParse(resp.Header.Get("Sparrow-Request-Id"))] = true
			}
			for !t.Failed() && b.mirrorExpired(event.Blue) == 0 {
				var wg sync.WaitGroup
				for range 4 {
					wg.Go(func() {
						for range 5 {
							fill()
						}
					})
				}
				wg.Wait()
				b.equation()
			}
			accepted := len(ids)
			b.green.has(accepted)
			s.script(nil)
			close(released)
			e := b.settled()
			x := e.Stacks[event.Blue]
			if x.Delivered+x.Expired+x.Sampled != uint64(accepted) || x.Expired == 0 || x.Dead != 0 || (x.Sampled > 0) != (rule.Sample != nil) || e.Stacks[event.Green].Expired != 0 {
				t.Errorf("%d accepted: %+v", accepted, e)
			}
			// Where it lacks something, the ledger says so: each request is with it, left out by the rule, or in a hole.
			st, err := b.client.Status(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var holes []Hole
			if l, err := b.client.Ledger(t.Context(), 1, st.Journal.LastFrame); err != nil {
				t.Error(err)
			} else {
				holes = l.Stacks[event.Blue].Holes
			}
			has := map[uuid.UUID]bool{}
			for _, v := range s.visits() {
				has[v.id()] = true
			}
			for _, a := range b.green.got() {
				under := slices.ContainsFunc(holes, func(h Hole) bool {
					return h.From.Compare(a.Cursor) <= 0 && a.Cursor.Compare(h.To) < 0 && (h.Sample == nil || !h.Sample.Keeps(a.request))
				})
				if !has[a.id] && !under {
					t.Errorf("%v is neither with the service nor under a hole", a.Cursor)
				}
			}
		})
	}
}

// An http stack is the build that its last answers named: none if they disagree, or if it cannot be asked.
func TestHTTPStackSaysItsBuild(t *testing.T) {
	b, s := withShop(t, nil)
	says := func(header ...string) { // one for each request in turn
		var mu sync.Mutex
		n := 0
		s.script(func(w http.ResponseWriter, _ *http.Request, _ []byte) bool {
			mu.Lock()
			defer mu.Unlock()
			w.Header().Set("Sparrow-Build", header[n%len(header)])
			n++
			return false
		})
	}
	is := func(what string, want event.Build) {
		t.Helper()
		b.await(what, func() error {
			st, err := b.client.Status(t.Context())
			if err != nil || st.Stacks[event.Blue].Build != want {
				return fmt.Errorf("%+v, %v", st.Stacks[event.Blue].Build, err)
			}
			return nil
		})
	}
	says("a-1 first edition")
	b.send(20, 2)
	b.settled()
	is("it says", event.Build{ID: "a-1", Version: "first edition"})
	says("b-2")
	b.send(1, 1)
	b.settled()
	is("it became another", event.Build{ID: "b-2"})
	unknown := func() bool { return b.mirror.Builds()[event.Blue] == event.Build{} }
	for tries := 0; ; tries++ { // until the last round holds more than one request
		s.stop()
		is("it is gone", event.Build{})
		b.send(200, 8)
		says("b-2", "c-3")
		s.listen(s.addr)
		b.settled()
		if unknown() {
			break
		}
		if tries == 10 {
			t.Fatalf("two of them answer, and it is taken for %+v", b.mirror.Builds()[event.Blue])
		}
	}
	says("c-3")
	b.send(1, 1)
	b.settled()
	is("one is left", event.Build{ID: "c-3"})
	if got := b.mirror.Builds()[event.Blue]; got.ID != "c-3" {
		t.Errorf("decisions are told %+v", got)
	}
}

// A service that is late on a connection that was used before may have the request: what is sent again then is marked and
// counted, not taken for what an idle connection lost.
func TestLateAnswerIsMarkedWhenRepeated(t *testing.T) {
	b, s := withShop(t, func(o *Options) { o.Feed.CallTimeout = 500 * time.Millisecond })
	ids := b.send(5, 1) // the connection has been used
	b.settled()
	s.script(func(_ http.ResponseWriter, r *http.Request, body []byte) bool {
		s.take(r, body)
		s.script(nil)
		<-r.Context().Done() // it has it, and does not say so
		return true
	})
	for id := range b.send(1, 1) {
		ids[id] = true
	}
	b.settled()
	b.took(s, ids, true)
	seen, marked, unmarked := map[uuid.UUID]bool{}, uint64(0), 0
	for _, v := range s.visits() {
		switch again := v.header.Get("Sparrow-Repeated") == "true"; {
		case again:
			marked++
		case seen[v.id()]:
			unmarked++
		}
		seen[v.id()] = true
	}
	if n := status(b).Repeated; unmarked != 0 || marked == 0 || n < marked {
		t.Errorf("%d repetitions are marked, %d are not, %d are counted", marked, unmarked, n)
	}
}
