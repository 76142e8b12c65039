package trace_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	"github.com/sparrowhq/sparrow/dispatcher"
	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/service"
	"github.com/sparrowhq/sparrow/telemetry"
	"github.com/sparrowhq/sparrow/trace"
	"github.com/sparrowhq/sparrow/trace/pipeline"
	"github.com/sparrowhq/sparrow/trace/sandbox"
	"github.com/sparrowhq/sparrow/trace/tracker"
	"github.com/sparrowhq/sparrow/trace/tracker/amplitude"
	"github.com/sparrowhq/sparrow/trace/tracker/ga4"
	"github.com/sparrowhq/sparrow/trace/tracker/heap"
	"github.com/sparrowhq/sparrow/trace/tracker/webhook"
	"github.com/sparrowhq/sparrow/warehouse"
	"github.com/sparrowhq/sparrow/warehouse/duckdb"
)

const secret = "0123456789abcdef0123456789abcdef"

var build = event.Build{ID: "b1", Version: "v1"}

const configText = `
sources:
  web: {keys: [dev], origins: [none]}
events:
  pageview:
    properties: {pathname: url, n: integer, title: string}
  zone.delete:
    properties: {zone: string, n: integer}
    trackers: {ga4: {name: zone_delete}, hook: false}
trackers:
  ga4: {}
  heap: {}
  amplitude: {}
  hook: {vendor: webhook}
`

func config(t testing.TB, text string) pipeline.Config {
	t.Helper()
	c, err := pipeline.ParseConfig([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// vendors is a sandbox behind a real socket.
type vendors struct {
	t      testing.TB
	url    string
	client *sandbox.Client
}

func startVendors(t testing.TB, limits ...sandbox.GA4Limits) *vendors {
	t.Helper()
	s, err := sandbox.New(sandbox.Options{Limits: sandbox.Limits{
		GA4:       append(limits, sandbox.GA4Limits{})[0],
		Heap:      sandbox.HeapLimits{MinuteApp: sandbox.Unlimited, MinuteIdentity: sandbox.Unlimited},
		Amplitude: sandbox.AmplitudeLimits{PerSecond: sandbox.Unlimited},
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	l := listen(t)
	go func() { done <- s.Run(ctx, l) }()
	v := &vendors{t: t, url: "http://" + l.Addr().String()}
	v.client = sandbox.NewClient(v.url, "")
	t.Cleanup(func() {
		v.scenario("rules: []") // lets what hangs go
		v.client.Close()
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

func (v *vendors) scenario(text string) {
	v.t.Helper()
	if _, err := v.client.SetScenario(context.Background(), []byte(text)); err != nil {
		v.t.Fatal(err)
	}
}

// ids returns what a project took in, and how often.
func (v *vendors) ids(vendor sandbox.Vendor, project string) map[string]int {
	v.t.Helper()
	got := map[string]int{}
	for id, err := range v.client.IDs(context.Background(), vendor, project) {
		if err != nil {
			v.t.Fatal(err)
		}
		got[id.ID] = int(id.Count)
	}
	return got
}

// trackers are those of configText, at the sandbox.
func trackers(t testing.TB, url string) map[string]tracker.Options {
	t.Helper()
	hook, err := webhook.New(webhook.Options{Events: 50})
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]tracker.Options{}
	for name, v := range map[string]struct {
		tracker.Vendor
		at sandbox.Vendor
	}{
		"ga4": {ga4.New(), sandbox.GA4}, "heap": {heap.New(), sandbox.Heap}, "amplitude": {amplitude.New(amplitude.Options{}), sandbox.Amplitude}, "hook": {hook, sandbox.Webhook},
	} {
		o := tracker.Options{Vendor: v.Vendor, Credentials: map[tracker.Sink]tracker.Credential{}, NoPacing: true, Gather: 5 * time.Millisecond,
			Timeout: 5 * time.Second, RetryMin: 20 * time.Millisecond, RetryMax: 200 * time.Millisecond}
		for _, p := range sandbox.DefaultProjects()[v.at] {
			c := tracker.Credential{URL: sandbox.Address(url, v.at, p), Key: p.Key, Secret: p.Secret}
			if v.at == sandbox.Webhook {
				c.Key = ""
			}
			o.Credentials[tracker.Sink(p.Name)] = c
		}
		all[name] = o
	}
	return all
}

func options(t testing.TB, dir string, v *vendors, w trace.Warehouse) trace.Options {
	return trace.Options{
		Stack: event.Green, Build: build, Secret: secret, Dir: dir, Pipeline: config(t, configText), Key: []byte("a key of sixteen bytes"),
		Trackers: trackers(t, v.url), Warehouse: w, Telemetry: telemetry.Discard(), MinFree: -1, ShipEvery: 20 * time.Millisecond,
		AskFirst: 200 * time.Millisecond, Grace: 2 * time.Second,
	}
}

func openWarehouse(t testing.TB) *duckdb.Engine {
	t.Helper()
	e, err := duckdb.Open(duckdb.Options{Path: filepath.Join(t.TempDir(), "warehouse.duckdb"), Memory: 256 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// process is a trace behind a real server, and the dispatcher's end of the hop.
type process struct {
	t      testing.TB
	trace  *trace.Trace
	url    string
	client *http.Client
	feed   *dispatcher.Trace
	stop   func()
}

func start(t testing.TB, o trace.Options) *process {
	t.Helper()
	tr, err := trace.New(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	return serve(t, tr)
}

// serve serves tr, and closes it when it stops.
func serve(t testing.TB, tr *trace.Trace) *process {
	l := listen(t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- service.Serve(ctx, telemetry.Discard(), l, tr.Handler(), 5*time.Second) }()
	p := connect(t, "http://"+l.Addr().String())
	p.trace = tr
	p.stop = sync.OnceFunc(func() {
		p.feed.Close()
		p.client.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := tr.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(p.stop)
	return p
}

// connect is the other end of a trace at url.
func connect(t testing.TB, url string) *process {
	feed, err := dispatcher.NewTrace(url, secret)
	if err != nil {
		t.Fatal(err)
	}
	return &process{t: t, url: url, client: service.Client(secret), feed: feed}
}

func (p *process) forward(d *event.Delivery) (event.Cursor, error) {
	data, err := proto.Marshal(d)
	if err != nil {
		p.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return p.feed.Forward(ctx, d, data)
}

// deliver hands a delivery over, as often as it is told to come again.
func (p *process) deliver(d *event.Delivery) {
	p.t.Helper()
	var err error
	for range 200 {
		var c event.Cursor
		if c, err = p.forward(d); err == nil {
			if c.Compare(d.To()) < 0 {
				p.t.Fatalf("the cursor stands at %v after [%v, %v)", c, d.From(), d.To())
			}
			return
		}
		pause()
	}
	p.t.Fatal(err)
}

// pause is how long a test waits before it looks again.
func pause() { time.Sleep(20 * time.Millisecond) }

// until waits for a condition.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("it did not come about that %s", what)
		}
		pause()
	}
}

func (p *process) do(method, path string, body any, into any) int {
	p.t.Helper()
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			p.t.Fatal(err)
		}
		content = bytes.NewReader(text)
	}
	req, err := http.NewRequest(method, p.url+path, content)
	if err != nil {
		p.t.Fatal(err)
	}
	resp, err := p.client.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	if into != nil {
		if err := json.Unmarshal(text, into); err != nil {
			p.t.Fatalf("%s %s: %d %s: %v", method, path, resp.StatusCode, text, err)
		}
	}
	return resp.StatusCode
}

func (p *process) status() (s trace.Status) {
	p.t.Helper()
	if code := p.do(http.MethodGet, "/v1/status", nil, &s); code != http.StatusOK {
		p.t.Fatalf("status is answered %d", code)
	}
	return s
}

// settled waits until every lane is final and shipped up to the intake cursor.
func (p *process) settled() {
	p.t.Helper()
	var s trace.Status
	defer func() {
		if p.t.Failed() {
			text, _ := json.MarshalIndent(s, "", " ")
			p.t.Logf("%s", text)
		}
	}()
	until(p.t, "all lanes are done", func() bool {
		s = p.status()
		for _, l := range s.Lanes {
			if l.Lag != 0 || l.Unshipped != 0 || l.Shipped != s.Cursor || l.Cursor != s.Cursor || l.Resending != 0 {
				return false
			}
		}
		return len(s.Lanes) > 0
	})
}

// outcomes are the latest outcomes of a stage by position.
func outcomes(t testing.TB, w *duckdb.Engine, stage string) map[event.Position]string {
	t.Helper()
	got := map[event.Position]string{}
	for _, r := range query(t, w, `SELECT frame, request, item, outcome, coalesce(reason, '') FROM green.outcomes WHERE stage = ?`, stage) {
		p := event.Position{Frame: uint64(r[0].(int64)), Request: uint32(r[1].(int64)), Item: uint32(r[2].(int64))}
		text := r[3].(string)
		if reason := r[4].(string); reason != "" {
			text += ": " + reason
		}
		if before, ok := got[p]; ok {
			t.Errorf("%s has two outcomes at %v: %s and %s", stage, p, before, text)
		}
		got[p] = text
	}
	return got
}

func query(t testing.TB, w *duckdb.Engine, sql string, args ...any) (all [][]any) {
	t.Helper()
	rows, err := w.Query(context.Background(), warehouse.Query{SQL: sql, Args: args, Limit: 1_000_000})
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for {
		r, err := rows.Next()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
}

// requestID is the same for the same number.
func requestID(n int) uuid.UUID {
	id := uuid.NewSHA1(uuid.Nil, fmt.Appendf(nil, "%d", n))
	return id
}

// started is when the first event of a test was received. Vendors refuse old events, so it is near now.
var started = time.Now().Add(-time.Hour).UnixMicro()

// request is a request as the mirror journals it.
func request(n int, body string) *event.Request {
	id := requestID(n)
	return &event.Request{Id: id[:], ReceivedAt: started + int64(n)*1000, Method: []byte("POST"), Path: []byte("/v1/events"), Query: []byte("k=dev"),
		Body: []byte(body), Client: []byte("203.0.113.77")}
}

// frame is one journal message, live on green unless said otherwise.
func frame(t testing.TB, sequence uint64, live event.Stack, requests ...*event.Request) *event.DeliveredFrame {
	t.Helper()
	var data []byte
	for _, r := range requests {
		var err error
		if data, err = event.AppendRequest(data, r); err != nil {
			t.Fatal(err)
		}
	}
	return &event.DeliveredFrame{Sequence: sequence, Live: string(live), Generation: 1, Data: data}
}

// delivery covers whole frames; if the first is frame 1, from the very beginning.
func delivery(frames ...*event.DeliveredFrame) *event.Delivery {
	d := &event.Delivery{
		Format: event.DeliveryFormat, Journal: "j1", FromFrame: frames[0].Sequence, ToFrame: frames[len(frames)-1].Sequence + 1, Frames: frames,
	}
	if d.FromFrame == 1 {
		d.FromFrame = 0
	}
	return d
}

// pageview is an allowed event of one of 50 devices.
func pageview(n int) string {
	return fmt.Sprintf(`{"event":"pageview","deviceId":"device-%d","properties":{"pathname":"/p/%d","n":%d}}`, n%50, n, n)
}
