package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"go.uber.org/goleak"

	"github.com/sparrowhq/sparrow/trace/sandbox/record"
	"github.com/sparrowhq/sparrow/trace/sandbox/scenario"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock is a Clock that stands still until it is moved.
type clock struct {
	mu       sync.Mutex
	now      time.Time
	sleepers map[chan struct{}]time.Time
	came     chan struct{} // gets one for each sleeper
	left     chan struct{} // gets one for each that is interrupted
}

func newClock() *clock {
	return &clock{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), sleepers: map[chan struct{}]time.Time{}, came: make(chan struct{}, 1000), left: make(chan struct{}, 1000)}
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Sleep(ctx context.Context, d time.Duration) error {
	c.mu.Lock()
	wake := make(chan struct{})
	c.sleepers[wake] = c.now.Add(d)
	c.mu.Unlock()
	c.came <- struct{}{}
	select {
	case <-wake:
		return nil
	case <-ctx.Done():
		c.mu.Lock()
		delete(c.sleepers, wake)
		c.mu.Unlock()
		c.left <- struct{}{}
		return ctx.Err()
	}
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	for wake, at := range c.sleepers {
		if !at.After(c.now) {
			delete(c.sleepers, wake)
			close(wake)
		}
	}
}

// running is a sandbox behind a real socket.
type running struct {
	*Sandbox
	t      testing.TB
	clock  *clock
	url    string
	client *Client
	http   *http.Client
	end    func() error // stops serving; what was recorded stays
}

func start(t testing.TB, o Options) *running {
	t.Helper()
	c := newClock()
	if o.Clock == nil {
		o.Clock = c
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, l) }()
	tr := &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}
	r := &running{Sandbox: s, t: t, clock: c, url: "http://" + l.Addr().String(), http: &http.Client{Transport: tr, Timeout: 30 * time.Second}}
	r.client = NewClient(r.url, o.Secret)
	r.end = sync.OnceValue(func() error {
		tr.CloseIdleConnections()
		r.client.Close()
		cancel()
		err := <-done
		if closed := s.Close(); err == nil {
			err = closed
		}
		return err
	})
	t.Cleanup(func() {
		if err := r.end(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// reply is an answer, read.
type reply struct {
	status int
	header http.Header
	body   string
}

func (r *running) try(path string, body []byte, headers ...string) (reply, error) {
	req, err := http.NewRequest(http.MethodPost, r.url+path, bytes.NewReader(body))
	if err != nil {
		return reply{}, err
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			req.Host = headers[i+1]
			continue
		}
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := r.http.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, resp.Header, string(text)}, err
}

func (r *running) post(path, body string, headers ...string) reply {
	r.t.Helper()
	got, err := r.try(path, []byte(body), headers...)
	if err != nil {
		r.t.Fatalf("POST %s: %v", path, err)
	}
	return got
}

func (r *running) counts(v Vendor, project string) record.Counts {
	r.t.Helper()
	all, err := r.client.Vendors(context.Background())
	if err != nil {
		r.t.Fatal(err)
	}
	for _, c := range all {
		if c.Vendor == string(v) && c.Project == project {
			return c
		}
	}
	return record.Counts{}
}

func (r *running) events(v Vendor, project string) []SeenEvent {
	r.t.Helper()
	got, err := r.client.Events(context.Background(), v, project, EventQuery{Limit: maxEvents})
	if err != nil {
		r.t.Fatal(err)
	}
	return got.Events
}

// event returns the only event a project received.
func (r *running) event(v Vendor, project string) SeenEvent {
	r.t.Helper()
	all := r.events(v, project)
	if len(all) != 1 {
		r.t.Fatalf("%s %s has %d events, want 1: %+v", v, project, len(all), all)
	}
	return all[0]
}

func (r *running) scenario(text string) {
	r.t.Helper()
	if _, err := r.client.SetScenario(context.Background(), []byte(text)); err != nil {
		r.t.Fatal(err)
	}
}

func parsed(t testing.TB, text string) *scenario.Scenario {
	t.Helper()
	s, err := scenario.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func gzipped(t testing.TB, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := io.WriteString(z, text); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// js writes v as JSON.
func js(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// times joins n texts, each made from its number.
func times(n int, f func(i int) string) string {
	parts := make([]string, n)
	for i := range parts {
		parts[i] = f(i)
	}
	return strings.Join(parts, ",")
}

func long(n int) string { return strings.Repeat("x", n) }

func sprintf(format string, args ...any) string { return fmt.Sprintf(format, args...) }
