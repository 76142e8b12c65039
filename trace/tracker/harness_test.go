package tracker_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/trace/pipeline"
	"github.com/sparrowhq/sparrow/trace/sandbox"
	"github.com/sparrowhq/sparrow/trace/sandbox/record"
	"github.com/sparrowhq/sparrow/trace/tracker"
)

// vendors is a sandbox behind a real socket.
type vendors struct {
	*sandbox.Sandbox
	t      testing.TB
	url    string
	client *sandbox.Client
}

// lifted raises the rates, so that tests are quick. Everything else is as documented.
func lifted() sandbox.Limits {
	return sandbox.Limits{
		Heap:      sandbox.HeapLimits{MinuteApp: sandbox.Unlimited, MinuteIdentity: sandbox.Unlimited},
		Amplitude: sandbox.AmplitudeLimits{PerSecond: sandbox.Unlimited},
	}
}

func startVendors(t testing.TB, o sandbox.Options) *vendors {
	t.Helper()
	s, err := sandbox.New(o)
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
	v := &vendors{Sandbox: s, t: t, url: "http://" + l.Addr().String()}
	v.client = sandbox.NewClient(v.url, "")
	t.Cleanup(func() {
		_, _ = v.client.SetScenario(context.Background(), []byte("rules: []")) // lets what hangs go
		v.client.Close()
		http.DefaultClient.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return v
}

func (v *vendors) credentials(which sandbox.Vendor) map[tracker.Sink]tracker.Credential {
	out := map[tracker.Sink]tracker.Credential{}
	for _, p := range sandbox.DefaultProjects()[which] {
		c := tracker.Credential{URL: sandbox.Address(v.url, which, p), Key: p.Key, Secret: p.Secret}
		if which == sandbox.Webhook {
			c.Key = ""
		}
		out[tracker.Sink(p.Name)] = c
	}
	return out
}

func (v *vendors) counts(which sandbox.Vendor, project string) record.Counts {
	for _, c := range v.Counts() {
		if c.Vendor == string(which) && c.Project == project {
			return c
		}
	}
	return record.Counts{}
}

func (v *vendors) events(which sandbox.Vendor, project string) []sandbox.SeenEvent {
	v.t.Helper()
	var all []sandbox.SeenEvent
	q := sandbox.EventQuery{Limit: 1000}
	for {
		got, err := v.client.Events(context.Background(), which, project, q)
		if err != nil {
			v.t.Fatal(err)
		}
		all = append(all, got.Events...)
		if !got.More {
			return all
		}
		q.After = got.Events[len(got.Events)-1].Seq
	}
}

func (v *vendors) scenario(text string) {
	v.t.Helper()
	if _, err := v.client.SetScenario(context.Background(), []byte(text)); err != nil {
		v.t.Fatal(err)
	}
}

// sending is a Sender whose results are collected.
type sending struct {
	*tracker.Sender
	t testing.TB

	mu      sync.Mutex
	results map[event.Position]tracker.Result
	order   []event.Position
	twice   []event.Position
	came    chan struct{}
	close   func()
}

func startSender(t testing.TB, o tracker.Options) *sending {
	t.Helper()
	s := &sending{t: t, results: map[event.Position]tracker.Result{}, came: make(chan struct{}, 1)}
	o.Done = s.done
	if o.Name == "" {
		o.Name = o.Vendor.Traits().Vendor
	}
	if o.RetryMin == 0 {
		o.RetryMin, o.RetryMax = 5*time.Millisecond, 50*time.Millisecond
	}
	if o.Gather == 0 {
		o.Gather = time.Millisecond
	}
	var err error
	if s.Sender, err = tracker.New(o); err != nil {
		t.Fatal(err)
	}
	s.close = sync.OnceFunc(s.Sender.Close)
	t.Cleanup(s.close)
	return s
}

func (s *sending) done(results []tracker.Result) {
	s.mu.Lock()
	for _, r := range results {
		if _, known := s.results[r.Position]; known {
			s.twice = append(s.twice, r.Position)
		}
		s.results[r.Position] = r
		s.order = append(s.order, r.Position)
	}
	s.mu.Unlock()
	select {
	case s.came <- struct{}{}:
	default:
	}
}

func (s *sending) send(items ...tracker.Item) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.Send(ctx, items); err != nil {
		s.t.Fatal(err)
	}
}

// patience bounds every wait: a loaded machine is slow, not broken.
const patience = time.Minute

// all waits for n results and returns them by position.
func (s *sending) all(n int) map[event.Position]tracker.Result {
	s.t.Helper()
	timeout := time.After(patience)
	for {
		s.mu.Lock()
		got := len(s.results)
		s.mu.Unlock()
		if got >= n {
			break
		}
		select {
		case <-s.came:
		case <-timeout:
			s.t.Fatalf("%d of %d results; %s", got, n, js(s.Status()))
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.results) != n || len(s.twice) > 0 {
		s.t.Fatalf("%d results, want %d; more than once: %v", len(s.results), n, s.twice)
	}
	out := map[event.Position]tracker.Result{}
	for p, r := range s.results {
		out[p] = r
	}
	return out
}

// until waits for something to become true.
func until(t testing.TB, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !f(); time.Sleep(2 * time.Millisecond) { // polling what has no event to wait for
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// item makes the n-th event, from one of devices.
func item(n, devices int, sink tracker.Sink, properties ...pipeline.Property) tracker.Item {
	id := fmt.Sprintf("0190b3a2-7c1e-7abc-8def-%012d", n)
	now := time.Now().UnixMicro()
	if properties == nil {
		properties = []pipeline.Property{{Name: "count", Value: json.RawMessage("12345678901234567890123")}, {Name: "zone", Value: json.RawMessage(`"north-e\u00e4st ✓"`)}}
	}
	return tracker.Item{Sink: sink, Event: pipeline.Event{
		Position: event.Position{Frame: uint64(n / 10), Request: uint32(n % 10)}, ID: id, Key: id, Source: "web", Name: "zone_delete",
		DeviceID: fmt.Sprintf("device-%d", n%devices), Time: now, ReceivedAt: now, Properties: properties,
	}}
}

func items(n, devices int, sink tracker.Sink) []tracker.Item {
	all := make([]tracker.Item, n)
	for i := range all {
		all[i] = item(i, devices, sink)
	}
	return all
}

func js(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}
