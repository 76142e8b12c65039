package dispatcher_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sparrowhq/sparrow/dispatcher"
	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/service"
	"github.com/sparrowhq/sparrow/telemetry"
	"github.com/sparrowhq/sparrow/warehouse"
)

// tracer is a trace process as far as its end of the hop goes: it keeps what it is sent, in order.
type tracer struct {
	mu     sync.Mutex
	cursor event.Cursor
	held   []string // "frame.request" of what it was sent and took
	calls  int
	fault  func(http.ResponseWriter, *http.Request) bool // answers instead, if it returns true
}

func (tr *tracer) handler(t testing.TB) http.Handler {
	r := service.Router(telemetry.Discard(), func() []error { return nil })
	v1 := r.PathPrefix("/v1").Subrouter()
	v1.Use(service.Authenticated(secret))
	v1.HandleFunc("/cursors", func(w http.ResponseWriter, r *http.Request) {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		if run := r.URL.Query().Get("run"); run != "0" {
			t.Errorf("asked for run %q", run)
		}
		service.JSON(w, map[string]any{"stages": map[string]event.Cursor{"trace": tr.cursor, "ga4": {}}})
	})
	v1.HandleFunc("/frames", func(w http.ResponseWriter, r *http.Request) {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		tr.calls++
		text, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		d, err := event.DecodeDelivery(text)
		if err != nil || r.Header.Get("Content-Type") != event.DeliveryType {
			t.Errorf("trace got %q: %v", r.Header.Get("Content-Type"), err)
			return
		}
		if tr.fault != nil && tr.fault(w, r) {
			return
		}
		if d.From().Compare(tr.cursor) > 0 {
			service.ProblemWith(w, http.StatusConflict, "gap", map[string]any{"reason": "gap", "cursor": tr.cursor})
			return
		}
		for _, f := range d.Frames {
			frame, err := event.DecodeFrame(f.Data)
			if err != nil {
				t.Error(err)
			}
			for i := range frame.Requests {
				if d.Contains(f.Sequence, uint32(i)) && !tr.cursor.Covers(f.Sequence, uint32(i)) {
					tr.held = append(tr.held, fmt.Sprintf("%d.%d", f.Sequence, i))
				}
			}
		}
		if d.To().Compare(tr.cursor) > 0 {
			tr.cursor = d.To()
		}
		service.JSON(w, map[string]any{"cursor": tr.cursor})
	})
	return r
}

func (tr *tracer) set(fault func(http.ResponseWriter, *http.Request) bool) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.fault = fault
}

// hang holds a call until its caller gives up.
func hang(_ http.ResponseWriter, r *http.Request) bool {
	<-r.Context().Done()
	return true
}

func withTrace(t testing.TB, appendTimeout time.Duration) (*stack, *memory, *tracer) {
	m, tr := newMemory(), &tracer{}
	peer := serve(t, tr.handler(t), telemetry.Discard())
	o := options(m)
	o.AppendTimeout = appendTimeout
	f, err := dispatcher.NewTrace(peer.url, secret)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	o.Forwarder = f
	return start(t, o), m, tr
}

func TestDeliveriesGoToTraceToo(t *testing.T) {
	s, m, tr := withTrace(t, 0)
	s.sendWhole(delivery(small(t, 1, 2), small(t, 2, 1)))
	s.sendWhole(delivery(small(t, 1, 2), small(t, 2, 1)))
	want := []string{"1.0", "1.1", "2.0"}
	if diff := cmp.Diff(want, tr.held); diff != "" {
		t.Errorf("trace: %s", diff)
	}
	if diff := cmp.Diff(want, requestsAt(m.raw())); diff != "" {
		t.Errorf("raw: %s", diff)
	}
	got := s.do(http.MethodGet, "/v1/cursors", "", nil)
	if diff := cmp.Diff(map[string]event.Cursor{"raw": {Frame: 3}, "trace": {Frame: 3}}, got.Stages); diff != "" {
		t.Error(diff)
	}
}

// While one of the two fails there is no 200, the other makes progress, and nothing is doubled afterwards.
func TestNo200UnlessBothAreDurable(t *testing.T) {
	problem := func(status int, members map[string]any) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, _ *http.Request) bool {
			service.ProblemWith(w, status, "told to", members)
			return true
		}
	}
	for _, row := range []struct {
		what   string
		trace  func(http.ResponseWriter, *http.Request) bool
		raw    error
		status int
		reason string
	}{
		{"trace is busy", problem(http.StatusServiceUnavailable, nil), nil, http.StatusServiceUnavailable, ""},
		{"trace fails on a request", problem(http.StatusUnprocessableEntity, map[string]any{"frame": 1, "request": 1}), nil, http.StatusUnprocessableEntity, "failed"},
		{"trace meets a bug", problem(http.StatusInternalServerError, nil), nil, http.StatusUnprocessableEntity, "failed"},
		{"trace has another secret", problem(http.StatusUnauthorized, nil), nil, http.StatusServiceUnavailable, ""},
		{"trace refuses the journal", problem(http.StatusConflict, map[string]any{"reason": "journal", "journal": warehouse.JournalError{Known: "j0"}}), nil, http.StatusConflict, "journal"},
		{"trace answers something else", func(w http.ResponseWriter, _ *http.Request) bool { io.WriteString(w, "<html>"); return true }, nil, http.StatusServiceUnavailable, ""},
		{"trace answers a cursor below the end", func(w http.ResponseWriter, _ *http.Request) bool {
			io.WriteString(w, `{"cursor":{"frame":1}}`)
			return true
		}, nil, http.StatusServiceUnavailable, ""},
		{"trace hangs", hang, nil, http.StatusServiceUnavailable, ""},
		{"trace drops the connection", func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) }, nil, http.StatusServiceUnavailable, ""},
		{"the warehouse is down", nil, errors.New("down"), http.StatusServiceUnavailable, ""},
		{"the warehouse is down, trace fails on a request", problem(http.StatusUnprocessableEntity, nil), errors.New("down"), http.StatusUnprocessableEntity, "failed"},
	} {
		t.Run(row.what, func(t *testing.T) {
			t.Parallel()
			timeout := time.Minute
			if row.what == "trace hangs" {
				timeout = 300 * time.Millisecond
			}
			s, m, tr := withTrace(t, timeout)
			tr.set(row.trace)
			if row.raw != nil {
				m.before = func(context.Context, *warehouse.Batch) error { return row.raw }
			}
			d := delivery(small(t, 1, 2))
			if got := s.send(d); got.Status != row.status || got.Reason != row.reason {
				t.Fatalf("answered %+v", got)
			}
			if row.raw == nil && len(m.raw()) != 2 {
				t.Errorf("trace held the warehouse up: %d rows", len(m.raw()))
			}
			tr.set(nil)
			m.before = nil
			s.sendWhole(d)
			if len(tr.held) != 2 || len(m.raw()) != 2 {
				t.Errorf("in the end trace holds %v, raw %v", tr.held, requestsAt(m.raw()))
			}
		})
	}
}

// A trace that lost its log makes the feed rewind; what the warehouse has is not appended again.
func TestTraceBehindTheWarehouse(t *testing.T) {
	s, m, tr := withTrace(t, 0)
	one, two, three := delivery(small(t, 1, 1)), delivery(small(t, 2, 1)), delivery(small(t, 3, 1))
	s.sendWhole(one)
	s.sendWhole(two)
	tr.mu.Lock()
	tr.cursor, tr.held = event.Cursor{}, nil
	tr.mu.Unlock()
	if got := s.send(three); got.Status != http.StatusConflict || got.Reason != "gap" || *got.Cursor != (event.Cursor{}) {
		t.Fatalf("answered %+v", got)
	}
	if got := s.send(one); got.Status != http.StatusOK || *got.Cursor != (event.Cursor{Frame: 2}) {
		t.Errorf("the warehouse is further on than trace; answered %+v", got)
	}
	s.sendWhole(two)
	s.sendWhole(three)
	want := []string{"1.0", "2.0", "3.0"}
	if diff := cmp.Diff(want, tr.held); diff != "" {
		t.Errorf("trace: %s", diff)
	}
	if diff := cmp.Diff(want, requestsAt(m.raw())); diff != "" {
		t.Errorf("raw: %s", diff)
	}
}

func TestTraceThatIsDown(t *testing.T) {
	m := newMemory()
	o := options(m)
	f, err := dispatcher.NewTrace("http://127.0.0.1:1", secret)
	if err != nil {
		t.Fatal(err)
	}
	o.Forwarder = f
	s := start(t, o)
	if got := s.send(delivery(small(t, 1, 1))); got.Status != http.StatusServiceUnavailable || !strings.Contains(got.Detail, "trace") {
		t.Errorf("%+v", got)
	}
	resp, err := s.client.Get(s.url + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(text), "trace") {
		t.Errorf("%d %s", resp.StatusCode, text)
	}
	for _, address := range []string{"", "127.0.0.1:1", "ftp://x", "http://user:pass@x", "http://x?k=v"} {
		if _, err := dispatcher.NewTrace(address, secret); err == nil || strings.Contains(err.Error(), "pass") {
			t.Errorf("address %q: %v", address, err)
		}
	}
}
