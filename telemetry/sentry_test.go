package telemetry_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/goleak"

	"github.com/sparrowhq/sparrow/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sentry is a server that takes envelopes.
type sentry struct {
	*httptest.Server
	mu     sync.Mutex
	bytes  []byte // everything it was sent, headers included
	events []map[string]any
	answer func(http.ResponseWriter, *http.Request) // instead of 200
}

func newSentry(t *testing.T) *sentry {
	s := &sentry{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.bytes = append(fmt.Append(s.bytes, r.Method, r.URL, r.Header), body...)
		lines := bufio.NewScanner(bytes.NewReader(body))
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var header struct{ Type string }
			if json.Unmarshal(lines.Bytes(), &header) == nil && header.Type == "event" && lines.Scan() {
				var event map[string]any
				if err := json.Unmarshal(lines.Bytes(), &event); err != nil {
					t.Error(err)
				}
				s.events = append(s.events, event)
			}
		}
		if s.answer != nil {
			s.answer(w, r)
			return
		}
		io.WriteString(w, `{"id":"x"}`)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *sentry) dsn() string { return "http://PUBLICKEY@" + s.Listener.Addr().String() + "/7" }

// received returns what arrived. The telemetry must be closed before.
func (s *sentry) received() []map[string]any {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.events)
}

// at returns the value at a path of keys and indexes.
func at(v any, path ...any) any {
	for _, step := range path {
		switch step := step.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[step]
		case int:
			l, _ := v.([]any)
			if step < 0 {
				step += len(l)
			}
			if step < 0 || step >= len(l) {
				return nil
			}
			v = l[step]
		}
	}
	return v
}

func metric(t *testing.T, tel *telemetry.Telemetry, name string) float64 {
	t.Helper()
	families, err := tel.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.Metric {
				sum += value(m)
			}
		}
	}
	return sum
}

func value(m *dto.Metric) float64 { return m.GetCounter().GetValue() }

func open(t *testing.T, o telemetry.Options) (*telemetry.Telemetry, *bytes.Buffer) {
	t.Helper()
	log := new(bytes.Buffer)
	o.Process, o.Stack, o.Version, o.Output = "dispatcher", "blue", "v1.2", log
	tel, err := telemetry.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tel.Close(time.Second) })
	return tel, log
}

func fail(tel *telemetry.Telemetry) {
	tel.Failure("append failed", fmt.Errorf("warehouse: %w", io.ErrUnexpectedEOF), slog.Uint64("frame", 7), slog.String("event", "not a tag"))
}

func TestFailureReachesSentry(t *testing.T) {
	s := newSentry(t)
	tel, log := open(t, telemetry.Options{SentryDSN: s.dsn(), Environment: "test"})
	fail(tel)
	tel.Close(5 * time.Second)

	if text := log.String(); !strings.Contains(text, "append failed") || !strings.Contains(text, "frame=7") || !strings.Contains(text, "unexpected EOF") {
		t.Errorf("log: %s", text)
	}
	events := s.received()
	if len(events) != 1 {
		t.Fatalf("%d events", len(events))
	}
	e := events[0]
	for _, row := range []struct {
		path []any
		want any
	}{
		{[]any{"level"}, "error"},
		{[]any{"environment"}, "test"},
		{[]any{"release"}, "sparrow@v1.2"},
		{[]any{"fingerprint"}, []any{"dispatcher", "append failed"}},
		{[]any{"exception", 0, "type"}, "append failed"},
		{[]any{"exception", 0, "value"}, "warehouse: unexpected EOF"},
		{[]any{"exception", 0, "stacktrace", "frames", -1, "function"}, "fail"},
		{[]any{"exception", 0, "stacktrace", "frames", -1, "in_app"}, true},
		{[]any{"exception", 0, "stacktrace", "frames", -2, "function"}, "TestFailureReachesSentry"},
		{[]any{"tags"}, map[string]any{"process": "dispatcher", "stack": "blue", "frame": "7"}},
		{[]any{"contexts", "error", "types"}, []any{"*fmt.wrapError", "*errors.errorString"}},
		{[]any{"server_name"}, nil},
		{[]any{"user"}, map[string]any{}},
		{[]any{"modules"}, nil},
		{[]any{"breadcrumbs"}, nil},
		{[]any{"contexts", "device"}, nil},
		{[]any{"contexts", "os"}, nil},
	} {
		if diff := cmp.Diff(row.want, at(e, row.path...)); diff != "" {
			t.Errorf("%v: %s", row.path, diff)
		}
	}
	if metric(t, tel, "sparrow_failures_total") != 1 || metric(t, tel, "sparrow_sentry_sent_total") != 1 {
		t.Error("not counted")
	}
}

func outer(list []int) { inner(list) }

func inner(list []int) { _ = list[3] }

func TestPanicReachesSentry(t *testing.T) {
	s := newSentry(t)
	tel, log := open(t, telemetry.Options{SentryDSN: s.dsn()})
	recovering := func(f func()) {
		defer func() { tel.Panic(recover(), slog.Int("request", 4)) }()
		f()
	}
	recovering(func() { outer(nil) })
	recovering(func() { panic("deviceId PLANTED") })
	recovering(func() { panic(errors.New("deviceId PLANTED")) })
	recovering(func() { panic(struct{ s string }{"PLANTED"}) })
	//lint:ignore SA5000 the panic is what is tested
	recovering(func() { var m map[string]int; m["PLANTED"] = 1 })
	tel.Close(5 * time.Second)

	events := s.received()
	if len(events) != 5 {
		t.Fatalf("%d events", len(events))
	}
	for _, row := range []struct {
		event int
		path  []any
		want  any
	}{
		{0, []any{"level"}, "fatal"},
		{0, []any{"exception", 0, "value"}, "runtime error: index out of range [3] with length 0"},
		{0, []any{"exception", 0, "stacktrace", "frames", -1, "function"}, "inner"},
		{0, []any{"exception", 0, "stacktrace", "frames", -2, "function"}, "outer"},
		{0, []any{"fingerprint", -1}, "github.com/sparrowhq/sparrow/telemetry_test.inner"},
		{0, []any{"tags", "request"}, "4"},
		{0, []any{"environment"}, "production"},
		{1, []any{"exception", 0, "value"}, "a value of type string, withheld: it may hold what a client sent"},
		{2, []any{"exception", 0, "value"}, "a value of type *errors.errorString, withheld: it may hold what a client sent"},
		{4, []any{"exception", 0, "value"}, "assignment to entry in nil map"},
		{4, []any{"exception", 0, "stacktrace", "frames", -1, "function"}, "TestPanicReachesSentry.func6"},
	} {
		if diff := cmp.Diff(row.want, at(events[row.event], row.path...)); diff != "" {
			t.Errorf("event %d, %v: %s", row.event, row.path, diff)
		}
	}
	if text := log.String(); strings.Contains(text, "PLANTED") || !strings.Contains(text, "telemetry_test.inner sentry_test.go:") || strings.Count(text, "level=ERROR msg=panic") != 5 {
		t.Errorf("log: %s", text)
	}
	if bytes.Contains(s.bytes, []byte("PLANTED")) {
		t.Errorf("Sentry got what a client sent: %s", s.bytes)
	}
	if n := metric(t, tel, "sparrow_panics_total"); n != 5 {
		t.Errorf("%v panics counted", n)
	}
}

// Promise 11: secrets planted at every place from which something could get out are in no envelope and in no log.
func TestNoPlantedSecretGetsOut(t *testing.T) {
	s := newSentry(t)
	const ours = "OURSECRET-0123456789abcdef" // this process's own
	tel, log := open(t, telemetry.Options{
		SentryDSN: s.dsn(), Secrets: []string{ours}, Environment: "test",
		Allow: telemetry.Allowlist{Headers: []string{"content-type", "X-Request-Id"}, Query: []string{"measurement_id"},
			Body: []string{"events.name", "events.count", "note"}, Response: []string{"code", "error"}},
	})
	exchange := func() telemetry.Exchange {
		return telemetry.Exchange{
			Method: "POST",
			URL:    "https://user:PLANTED@vendor.example/mp/collect?measurement_id=G-1&api_secret=PLANTED&x=PLANTED#PLANTED",
			Header: http.Header{"Authorization": {"Bearer PLANTED"}, "Cookie": {"s=PLANTED"}, "X-Api-Key": {"PLANTED"}, "Content-Type": {"application/json"},
				"X-Request-Id": {"id-1", "token=PLANTED"}, "X-Forwarded-For": {"198.51.100.7"}},
			Body: []byte(`{"client_id":"PLANTED","note":"write to ana@example.com","events":[{"name":"purchase","count":2.50,"params":{"name":"PLANTED","email":"PLANTED"}},` +
				`{"name":{"deep":"PLANTED"}}],"deep":{"note":"PLANTED","events":{"name":"PLANTED"}}}`),
			Status:       413,
			ResponseBody: []byte(`{"code":413,"error":"token=PLANTED is too long","echo":{"client_id":"PLANTED"}}`),
		}
	}
	failed := errors.New(`Post "https://vendor.example/mp/collect?api_secret=PLANTED": refused; Authorization: Bearer PLANTED; ana@example.com; ` + ours)
	tel.FailureOf("vendor refused", failed, exchange(), slog.String("status", "413"), slog.String("deviceId", "DEVICE-PLANTED-IN-A-TAG"), slog.String("reason", "password=PLANTED"))
	tel.Failure("token=PLANTED", errors.Join(failed, fmt.Errorf("again: %w", failed)))
	broken := exchange()
	broken.URL, broken.Body, broken.ResponseBody = "://PLANTED?%zz=PLANTED", []byte("api_secret=PLANTED&note=PLANTED"), []byte("<html>PLANTED</html>")
	tel.FailureOf("vendor is odd", failed, broken)
	tel.FailureOf("vendor is large", failed, telemetry.Exchange{Body: fmt.Appendf(nil, `{"note":"%s"}`, strings.Repeat("PLANTED", 20_000)), ResponseBody: []byte(`"PLANTED"`), Status: 1})
	func() {
		defer func() { tel.Panic(recover(), slog.String("route", "/v1/x?api_secret=PLANTED")) }()
		panic(fmt.Sprintf("%s PLANTED", ours))
	}()
	tel.Log.Error("by the way", "error", failed)
	tel.Close(5 * time.Second)

	events := s.received()
	if len(events) != 5 {
		t.Fatalf("%d events", len(events))
	}
	for _, gone := range []string{"PLANTED", "ana@example.com", ours, "198.51.100.7", "user:"} {
		if bytes.Contains(s.bytes, []byte(gone)) {
			t.Errorf("%q reached Sentry:\n%s", gone, s.bytes)
		}
	}
	// A tag with content breaks the rule that Failure states, and is dropped from the report; the log can only redact it.
	for _, gone := range []string{"=PLANTED", " PLANTED", "\"PLANTED", ":PLANTED", "ana@example.com", ours} {
		if text := log.String(); strings.Contains(text, gone) {
			t.Errorf("%q is in the log:\n%s", gone, text)
		}
	}
	// What is listed is there: the test does not pass because nothing got through.
	for _, row := range []struct {
		path []any
		want any
	}{
		{[]any{"request", "method"}, "POST"},
		{[]any{"request", "url"}, "https://vendor.example/mp/collect"},
		{[]any{"request", "query_string"}, "measurement_id=G-1"},
		{[]any{"request", "headers"}, map[string]any{"Content-Type": "application/json", "X-Request-Id": "id-1, token=[redacted]"}},
		{[]any{"request", "data"}, `{"events":[{"count":2.50,"name":"purchase"}],"note":"write to [redacted]"}`},
		{[]any{"contexts", "response", "status_code"}, 413.0},
		{[]any{"contexts", "response", "data"}, `{"code":413,"error":"token=[redacted] is too long"}`},
		{[]any{"tags"}, map[string]any{"process": "dispatcher", "stack": "blue", "status": "413", "reason": "password=[redacted]"}},
	} {
		if diff := cmp.Diff(row.want, at(events[0], row.path...)); diff != "" {
			t.Errorf("%v: %s", row.path, diff)
		}
	}
}

// With no allowlist an exchange is its method, address without query, and status.
func TestNothingIsAllowedByDefault(t *testing.T) {
	s := newSentry(t)
	tel, _ := open(t, telemetry.Options{SentryDSN: s.dsn()})
	tel.FailureOf("refused", io.EOF, telemetry.Exchange{Method: "POST", URL: "https://h/p?a=PLANTED", Header: http.Header{"A": {"PLANTED"}}, Body: []byte(`{"a":"PLANTED"}`),
		Status: 400, ResponseBody: []byte(`{"a":"PLANTED"}`)})
	tel.Close(5 * time.Second)
	if events := s.received(); len(events) != 1 || bytes.Contains(s.bytes, []byte("PLANTED")) || at(events[0], "contexts", "response", "status_code") != 400.0 {
		t.Errorf("%s", s.bytes)
	}
}

func TestFloodLimit(t *testing.T) {
	s := newSentry(t)
	tel, log := open(t, telemetry.Options{SentryDSN: s.dsn()})
	for range 50 {
		fail(tel)
	}
	tel.Failure("something else", io.EOF)
	tel.Close(5 * time.Second)
	if n := len(s.received()); n != 6 {
		t.Errorf("%d events, want a burst of 5 and the other", n)
	}
	if n := strings.Count(log.String(), "append failed"); n != 50 {
		t.Errorf("%d lines in the log", n)
	}
	for name, want := range map[string]float64{"sparrow_failures_total": 51, "sparrow_sentry_sent_total": 6, "sparrow_sentry_suppressed_total": 45, "sparrow_sentry_failed_total": 0} {
		if got := metric(t, tel, name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
}

// A Sentry that hangs costs whoever reports nothing, and Close no more than it was given.
func TestSentryThatHangs(t *testing.T) {
	s := newSentry(t)
	release := make(chan struct{})
	s.answer = func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}
	defer close(release)
	tel, _ := open(t, telemetry.Options{SentryDSN: s.dsn()})
	const reports = 500
	for i := range reports { // would never end if any of them waited
		tel.Failure(fmt.Sprint("kind ", i), io.EOF)
	}
	tel.Close(50 * time.Millisecond)
	tel.Failure("after the end", io.EOF)
	counted := metric(t, tel, "sparrow_sentry_sent_total") + metric(t, tel, "sparrow_sentry_failed_total") + metric(t, tel, "sparrow_sentry_suppressed_total")
	if counted != reports+1 || metric(t, tel, "sparrow_sentry_sent_total") != 0 {
		t.Errorf("%v of %d reports counted", counted, reports+1)
	}
}

func TestSentryThatRefuses(t *testing.T) {
	for what, answer := range map[string]func(http.ResponseWriter, *http.Request){
		"500": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) },
		"429": func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Retry-After", "60"); w.WriteHeader(429) },
		"a redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		},
		"a reset": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		s := newSentry(t)
		s.answer = answer
		tel, _ := open(t, telemetry.Options{SentryDSN: s.dsn()})
		for i := range 3 {
			tel.Failure(fmt.Sprint("kind ", i), io.EOF)
		}
		tel.Close(5 * time.Second)
		if sent, failed := metric(t, tel, "sparrow_sentry_sent_total"), metric(t, tel, "sparrow_sentry_failed_total"); sent != 0 || failed != 3 {
			t.Errorf("%s: %v sent, %v failed", what, sent, failed)
		}
		s.mu.Lock()
		followed := bytes.Contains(s.bytes, []byte("elsewhere"))
		s.mu.Unlock()
		if followed {
			t.Errorf("%s: a redirect was followed", what)
		}
	}
}

func TestDSN(t *testing.T) {
	for _, dsn := range []string{"http://PUBLICKEY@sentry.example/7", "://PUBLICKEY", "PUBLICKEY", "https://PUBLICKEY@sentry.example/", "https://sentry.example/7", "http://PUBLICKEY@127.0.0.1.example/7"} {
		tel, err := telemetry.New(telemetry.Options{Process: "p", Output: io.Discard, SentryDSN: dsn})
		if err == nil {
			tel.Close(0)
			t.Errorf("%s is accepted", dsn)
		} else if strings.Contains(err.Error(), "PUBLICKEY") {
			t.Errorf("the error repeats the key: %v", err)
		}
	}
	for _, dsn := range []string{"https://PUBLICKEY@sentry.example/7", "http://PUBLICKEY@localhost:1/7", "http://PUBLICKEY@[::1]:1/7"} {
		tel, err := telemetry.New(telemetry.Options{Process: "p", Output: io.Discard, SentryDSN: dsn})
		if err != nil {
			t.Errorf("%s: %v", dsn, err)
			continue
		}
		tel.Close(0)
		tel.Close(0) // twice does no harm
	}
}

// What names a failure is a constant; if it ever is not, the metric must not grow without end.
func TestFailureLabelsAreBounded(t *testing.T) {
	tel, _ := open(t, telemetry.Options{})
	for i := range 1000 {
		tel.Failure(fmt.Sprint("kind \xff", i), nil)
	}
	families, err := tel.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "sparrow_failures_total" && len(f.Metric) > 201 {
			t.Errorf("%d series", len(f.Metric))
		}
	}
	if n := metric(t, tel, "sparrow_failures_total"); n != 1000 {
		t.Errorf("%v counted", n)
	}
}

func TestMetricsHaveOurPrefix(t *testing.T) {
	tel := telemetry.Discard()
	families, err := tel.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "sparrow_") && !strings.HasPrefix(f.GetName(), "go_") && !strings.HasPrefix(f.GetName(), "process_") {
			t.Errorf("metric %s", f.GetName())
		}
	}
}
