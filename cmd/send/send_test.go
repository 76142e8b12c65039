package send

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/klauspost/compress/gzip"
	"go.uber.org/goleak"

	"github.com/sparrowhq/sparrow/service/reserve"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// mirror is an HTTP server that accepts what a mirror accepts, as answer says, and remembers what it accepted.
type mirror struct {
	// answer says how the n-th request, from 0, is answered: a status, 0 to break off before it, or -1 to break off within
	// the body of a 200.
	answer func(n int, body string) int

	mu       sync.Mutex
	n        int
	accepted map[string]string // request id → body
	times    []time.Duration
	began    time.Time
	keys     map[string]bool
}

func newMirror(answer func(int, string) int) *mirror {
	return &mirror{answer: answer, accepted: map[string]string{}, began: time.Now(), keys: map[string]bool{}}
}

func (m *mirror) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	in := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		in = z
	}
	body, err := io.ReadAll(in)
	if err != nil {
		return
	}
	m.mu.Lock()
	m.times = append(m.times, time.Since(m.began))
	m.keys[r.URL.Query().Get("k")] = true
	status := m.answer(m.n, string(body))
	m.n++
	id := uuid.Must(uuid.NewV7()).String()
	if status == http.StatusOK {
		m.accepted[id] = string(body)
	}
	m.mu.Unlock()
	switch status {
	case -1:
		w.Header().Set("Sparrow-Request-Id", id)
		w.Header().Set("Content-Length", "2")
		io.WriteString(w, "O")
		http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	case 0:
		panic(http.ErrAbortHandler)
	case http.StatusOK:
		w.Header().Set("Sparrow-Request-Id", id)
		io.WriteString(w, "OK")
	case http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", "7")
		fallthrough
	default:
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"detail":"reason %d"}`, status)
	}
}

// pipes is a listener in memory, so that a whole exchange runs under a fake clock.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// run sends with o to m. In a synctest bubble, time costs nothing.
func run(t *testing.T, ctx context.Context, m *mirror, o Options) (Summary, map[string]int, error) {
	t.Helper()
	p := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
	srv := &http.Server{Handler: m}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(p) }()
	defer func() { close(p.done); srv.Close(); <-served }()

	path := filepath.Join(t.TempDir(), "acks")
	acks, err := CreateAcks(path)
	if err != nil {
		t.Fatal(err)
	}
	o.URL, o.Acks = "http://mirror", acks
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	s.client.Transport.(*http.Transport).DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		client, server := net.Pipe()
		select {
		case p.conns <- server:
			return client, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	sum, runErr := s.Run(ctx)
	if err := acks.Close(); err != nil {
		t.Fatal(err)
	}
	return sum, readAcks(t, path), runErr
}

func readAcks(t *testing.T, path string) map[string]int {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]int{}
	for line := range strings.Lines(string(data)) {
		id, number, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		n, err := strconv.Atoi(number)
		if !ok || err != nil || all[id] != 0 {
			t.Fatalf("acks: line %q", line)
		}
		all[id] = n
	}
	return all
}

func numbered(n int) Source {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "{\"event\":\"e%d\"}\n", i+1)
	}
	return Lines(strings.NewReader(b.String()))
}

// wantAcks is what the list must hold, by what the mirror accepted: single events.
func (m *mirror) wantAcks() map[string]int {
	want := map[string]int{}
	for id, body := range m.accepted {
		n, _ := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(body, `{"event":"e`), `"}`))
		want[id] = n
	}
	return want
}

func TestListsExactlyWhatWasAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// Every third attempt breaks off, every fifth is put off, every seventh is too many: all end up accepted.
		m := newMirror(func(n int, _ string) int {
			switch {
			case n%3 == 1:
				return 0
			case n%11 == 1:
				return -1
			case n%5 == 1:
				return http.StatusServiceUnavailable
			case n%7 == 1:
				return http.StatusTooManyRequests
			}
			return http.StatusOK
		})
		sum, acks, err := run(t, t.Context(), m, Options{Source: numbered(500), Retries: 50, Connections: 4, Key: "k&1"})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(m.wantAcks(), acks); diff != "" {
			t.Error(diff)
		}
		lines := map[int]bool{}
		for _, n := range acks {
			lines[n] = true
		}
		if len(lines) != 500 || !sum.Complete() || sum.Acknowledged != 500 {
			t.Errorf("%d lines acknowledged, want 500: %+v", len(lines), sum)
		}
		if sum.Attempts != int64(m.n) || sum.Unknown != sum.Statuses["none"] || sum.Unknown == 0 || sum.Statuses["503"] == 0 || sum.Statuses["429"] == 0 {
			t.Errorf("the server saw %d attempts; %+v", m.n, sum)
		}
		if !m.keys["k&1"] || len(m.keys) != 1 {
			t.Errorf("write keys seen: %v", m.keys)
		}
	})
}

func TestRefusedForGoodIsNotRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMirror(func(_ int, body string) int {
			if strings.Contains(body, "e3") {
				return http.StatusRequestEntityTooLarge
			}
			return http.StatusOK
		})
		sum, acks, err := run(t, t.Context(), m, Options{Source: numbered(9), Retries: 50})
		if err != nil {
			t.Fatal(err)
		}
		if len(acks) != 8 || sum.Refused != 1 || sum.Complete() || sum.Attempts != 9 || !strings.Contains(sum.Problem, "reason 413") {
			t.Errorf("%d acknowledged; %+v", len(acks), sum)
		}
	})
}

func TestRetryAfterIsHonouredAndRetriesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMirror(func(int, string) int { return http.StatusServiceUnavailable })
		sum, acks, err := run(t, t.Context(), m, Options{Source: numbered(1), Retries: 3})
		if err != nil {
			t.Fatal(err)
		}
		if len(acks) != 0 || sum.Refused != 1 || len(m.times) != 4 {
			t.Fatalf("%d acknowledged after attempts at %v; %+v", len(acks), m.times, sum)
		}
		for i := 1; i < len(m.times); i++ {
			if gap := m.times[i] - m.times[i-1]; gap < 7*time.Second || gap > 9*time.Second {
				t.Errorf("attempt %d came %s after the one before, though told to wait 7 s", i, gap)
			}
		}
	})
}

func TestPacingIsExact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMirror(func(n int, _ string) int {
			if n == 10 {
				time.Sleep(time.Second) // one connection: everything behind it is late, and catches up
			}
			return http.StatusOK
		})
		sum, _, err := run(t, t.Context(), m, Options{Source: numbered(3000), Rate: 1000, Connections: 1})
		if err != nil {
			t.Fatal(err)
		}
		for i, at := range m.times {
			due := time.Duration(i) * time.Millisecond
			if i > 10 && due < 1010*time.Millisecond {
				due = 1010 * time.Millisecond
			}
			if at != due {
				t.Fatalf("request %d was sent at %s, want %s", i, at, due)
			}
		}
		if sum.Max < 999 || sum.P50 > 1 || sum.P99 < 900 {
			t.Errorf("the stall must count for all it held up: %+v", sum)
		}
	})
}

func TestBatchesKeepLineNumbers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMirror(func(int, string) int { return http.StatusOK })
		in := strings.Join([]string{`{"n":1}`, ``, `{"n":3}`, `{"n":4}`, `[{"n":5},{"n":5}]`, `not JSON`, `{"n":7}`, `{"batch":[{},{},{}]}`}, "\n")
		_, acks, err := run(t, t.Context(), m, Options{Source: Lines(strings.NewReader(in)), Batch: 2, Gzip: true})
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]int{}
		for id, body := range m.accepted {
			switch body {
			case `[{"n":1},{"n":3}]`:
				want[id+"-0"], want[id+"-1"] = 1, 3
			case `[{"n":4}]`:
				want[id+"-0"] = 4
			case `[{"n":5},{"n":5}]`:
				want[id+"-0"], want[id+"-1"] = 5, 5
			case `not JSON`:
				want[id] = 6
			case `[{"n":7},{"batch":[{},{},{}]}]`:
				want[id+"-0"], want[id+"-1"] = 7, 8
			default:
				t.Errorf("sent %s", body)
			}
		}
		if diff := cmp.Diff(want, acks); diff != "" {
			t.Error(diff)
		}
		if len(want) != 8 {
			t.Errorf("%d events, want 8", len(want))
		}
	})
}

func TestListsAreOneEventEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMirror(func(int, string) int { return http.StatusOK })
		in := ` {"batch":[{},{}]}` + "\n" + `[{}]` + "\r\n" + `[]` + "\n" + `{"event":"batch"}`
		_, acks, err := run(t, t.Context(), m, Options{Source: Lines(strings.NewReader(in))})
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]int{}
		for id, body := range m.accepted {
			switch body {
			case ` {"batch":[{},{}]}`:
				want[id+"-0"], want[id+"-1"] = 1, 1
			case `[{}]`:
				want[id+"-0"] = 2
			case `{"event":"batch"}`:
				want[id] = 4
			}
		}
		if diff := cmp.Diff(want, acks); diff != "" {
			t.Error(diff)
		}
	})
}

func TestEndOfContextLetsAnswersArrive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		m := newMirror(func(n int, _ string) int {
			if n == 2 {
				cancel()
				time.Sleep(time.Second) // within the grace
			}
			return http.StatusOK
		})
		sum, acks, err := run(t, ctx, m, Options{Source: numbered(100), Connections: 1})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(m.wantAcks(), acks); diff != "" {
			t.Error(diff)
		}
		if sum.Sent != 3 || !sum.Complete() {
			t.Errorf("%+v", sum)
		}
	})
}

func TestEndOfContextDoesNotWaitForAHungMirror(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		m := newMirror(func(n int, _ string) int {
			cancel()
			time.Sleep(20 * time.Second)
			return http.StatusOK
		})
		began := time.Now()
		sum, acks, err := run(t, ctx, m, Options{Source: numbered(1), Retries: -1})
		if err != nil {
			t.Fatal(err)
		}
		if len(acks) != 0 || sum.Unknown != 1 || sum.Interrupted != 1 {
			t.Errorf("%d acknowledged; %+v", len(acks), sum)
		}
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("it took %s, want the grace of 5 s", took)
		}
		time.Sleep(time.Minute) // of the fake clock: the hung handler must end before the bubble does
	})
}

func TestDurationEndsTheInput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMirror(func(int, string) int { return http.StatusOK })
		sum, acks, err := run(t, t.Context(), m, Options{Source: Generate(1, 1_000_000), Rate: 100, Duration: 3 * time.Second})
		if err != nil || len(acks) != 300 || !sum.Complete() {
			t.Errorf("%d acknowledged, want 300; %v; %+v", len(acks), err, sum)
		}
	})
}

func TestOverRealSockets(t *testing.T) {
	m := newMirror(func(n int, _ string) int {
		if n%10 == 3 {
			return 0
		}
		return http.StatusOK
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: m}
	go srv.Serve(l)
	defer srv.Close()
	path := filepath.Join(t.TempDir(), "acks")
	acks, err := CreateAcks(path)
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Options{URL: "http://" + l.Addr().String(), Source: numbered(2000), Retries: 20, Acks: acks})
	if err != nil {
		t.Fatal(err)
	}
	sum, err := s.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := acks.Close(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(m.wantAcks(), readAcks(t, path)); diff != "" {
		t.Error(diff)
	}
	if !sum.Complete() || sum.Unknown == 0 {
		t.Errorf("%+v", sum)
	}
}

func TestNobodyThere(t *testing.T) {
	s, err := New(Options{URL: "http://" + reserve.ForTest(t), Source: numbered(1), Retries: 1})
	if err != nil {
		t.Fatal(err)
	}
	sum, err := s.Run(t.Context())
	if err != nil || sum.Refused != 1 || sum.Unknown != 0 || sum.Statuses["none"] != 2 || !strings.Contains(sum.Problem, "refused") {
		t.Errorf("%v; %+v", err, sum)
	}
}

func TestNotASparrow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := New(Options{URL: "http://x", Source: numbered(100)})
		if err != nil {
			t.Fatal(err)
		}
		s.client.Transport = answers(func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader("hello"))}, nil
		})
		if _, err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "no mirror is at this address") {
			t.Errorf("a server that is no mirror: %v", err)
		}
	})
}

type answers func(*http.Request) (*http.Response, error)

func (a answers) RoundTrip(r *http.Request) (*http.Response, error) { return a(r) }

func TestBadInputStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMirror(func(int, string) int { return http.StatusOK })
		broken := io.MultiReader(strings.NewReader("{}\n{}\n"), failing{})
		sum, acks, err := run(t, t.Context(), m, Options{Source: Lines(broken)})
		if !errors.Is(err, errBroken) || len(acks) != 2 || sum.Sent != 2 {
			t.Errorf("%v; %d acknowledged", err, len(acks))
		}
	})
}

var errBroken = errors.New("disk on fire")

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errBroken }

func TestGenerateIsDeterministic(t *testing.T) {
	all := func(seed uint64) []byte {
		var b bytes.Buffer
		g := Generate(seed, 1000)
		for {
			l, err := g.Next()
			if errors.Is(err, io.EOF) {
				return b.Bytes()
			}
			if !batchable(l.Body) {
				t.Fatalf("not a JSON object: %s", l.Body)
			}
			b.Write(append(l.Body, '\n'))
		}
	}
	if !bytes.Equal(all(7), all(7)) {
		t.Error("the same seed gave different events")
	}
	if bytes.Equal(all(7), all(8)) {
		t.Error("different seeds gave the same events")
	}
}

func TestRepeatNumbersFromOne(t *testing.T) {
	src := Repeat(2, func() (io.Reader, error) { return strings.NewReader("a\n\nb"), nil })
	var got []string
	for {
		l, err := src.Next()
		if err != nil {
			break
		}
		got = append(got, fmt.Sprintf("%d%s", l.Number, l.Body))
	}
	if diff := cmp.Diff([]string{"1a", "3b", "1a", "3b"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestHistogram(t *testing.T) {
	var h histogram
	for i := 1; i <= 100_000; i++ {
		h.add(time.Duration(i) * time.Microsecond)
	}
	for q, want := range map[float64]time.Duration{0.5: 50 * time.Millisecond, 0.99: 99 * time.Millisecond, 0: time.Microsecond} {
		got := h.quantile(q)
		if got < want || got > want+want/25+time.Microsecond {
			t.Errorf("quantile %g: %s, want %s or up to 4 %% more", q, got, want)
		}
	}
	for i := range bucket(1 << 62) {
		if i > 0 && bucket(upper(i)) != i {
			t.Fatalf("bucket %d reaches up to %s, which lies in bucket %d", i, upper(i), bucket(upper(i)))
		}
	}
}
