package dispatcher_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/sparrowhq/sparrow/dispatcher"
	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/service"
	"github.com/sparrowhq/sparrow/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const secret = "0123456789abcdef0123456789abcdef"

var build = event.Build{ID: "b1", Version: "v1"}

// stack is a dispatcher behind a real server.
type stack struct {
	t      testing.TB
	url    string
	client *http.Client
}

// options are complete but for the warehouse.
func options(m *memory) dispatcher.Options {
	return dispatcher.Options{Stack: event.Green, Build: build, Secret: secret, Warehouse: m, Journals: m, Telemetry: telemetry.Discard()}
}

func start(t testing.TB, o dispatcher.Options) *stack {
	t.Helper()
	d, err := dispatcher.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return serve(t, d.Handler(), telemetry.Discard())
}

func listen(t testing.TB, address string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func serve(t testing.TB, h http.Handler, tel *telemetry.Telemetry) *stack {
	t.Helper()
	l := listen(t, "127.0.0.1:0")
	ctx, cancel := context.WithCancel(context.Background())
	stopped := make(chan error, 1)
	go func() { stopped <- service.Serve(ctx, tel, l, h, 5*time.Second) }()
	s := &stack{t: t, url: "http://" + l.Addr().String(), client: service.Client(secret)}
	t.Cleanup(func() {
		s.client.CloseIdleConnections()
		cancel()
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	})
	return s
}

// answer is every member an answer may have.
type answer struct {
	Status  int
	Retry   string
	Cursor  *event.Cursor           `json:"cursor"`
	Build   event.Build             `json:"build"`
	Stack   event.Stack             `json:"stack"`
	Stages  map[string]event.Cursor `json:"stages"`
	Reason  string                  `json:"reason"`
	Detail  string                  `json:"detail"`
	Frame   uint64                  `json:"frame"`
	Request uint32                  `json:"request"`

	Journals []struct {
		ID             string
		First, Highest uint64
	} `json:"journals"`
}

func (s *stack) do(method, path, contentType string, body io.Reader) answer {
	s.t.Helper()
	req, err := http.NewRequest(method, s.url+path, body)
	if err != nil {
		s.t.Fatal(err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	a := answer{Status: resp.StatusCode, Retry: resp.Header.Get("Retry-After")}
	if err := json.Unmarshal(text, &a); err != nil {
		s.t.Fatalf("%d, %q: %v", resp.StatusCode, text, err)
	}
	if a.Status != http.StatusOK && resp.Header.Get("Content-Type") != "application/problem+json" {
		s.t.Errorf("%d is answered as %q", a.Status, resp.Header.Get("Content-Type"))
	}
	if a.Status == http.StatusServiceUnavailable && a.Retry == "" {
		s.t.Error("503 without Retry-After")
	}
	return a
}

func (s *stack) send(d *event.Delivery) answer {
	s.t.Helper()
	return s.do(http.MethodPost, "/v1/frames", event.DeliveryType, bytes.NewReader(encode(s.t, d)))
}

// sendWhole sends d and fails unless it is applied up to its end.
func (s *stack) sendWhole(d *event.Delivery) {
	s.t.Helper()
	a := s.send(d)
	if a.Status != http.StatusOK || a.Cursor == nil || a.Cursor.Compare(d.To()) < 0 || a.Build != build || a.Stack != event.Green {
		s.t.Fatalf("delivery of [%v, %v) is answered %+v", d.From(), d.To(), a)
	}
}

func encode(t testing.TB, d *event.Delivery) []byte {
	t.Helper()
	data, err := proto.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// requestID is the same for the same number.
func requestID(n int) uuid.UUID {
	return uuid.NewSHA1(uuid.Nil, []byte{byte(n), byte(n >> 8), byte(n >> 16)})
}

// request is a request as the mirror journals it; headers are name, value, ….
func request(n int, body []byte, headers ...string) *event.Request {
	id := requestID(n)
	r := &event.Request{
		Id: id[:], ReceivedAt: 1700000000000000 + int64(n), Method: []byte("POST"), Path: []byte("/v1/events"), Query: []byte("k=dev"),
		Body: body, Client: []byte("203.0.113.77"),
	}
	for i := 0; i < len(headers); i += 2 {
		r.Headers = append(r.Headers, &event.Header{Name: headers[i], Value: []byte(headers[i+1])})
	}
	return r
}

// frame is one journal message.
func frame(t testing.TB, sequence uint64, requests ...*event.Request) *event.DeliveredFrame {
	t.Helper()
	var data []byte
	for _, r := range requests {
		var err error
		if data, err = event.AppendRequest(data, r); err != nil {
			t.Fatal(err)
		}
	}
	return &event.DeliveredFrame{Sequence: sequence, Live: string(event.Green), Generation: 1, Data: data}
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

func gzipped(t testing.TB, text []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	if _, err := w.Write(text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func withNewTelemetry(o dispatcher.Options) dispatcher.Options {
	o.Telemetry = telemetry.Discard()
	return o
}
