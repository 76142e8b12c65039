package service_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sparrowhq/sparrow/service"
	"github.com/sparrowhq/sparrow/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const secret = "0123456789abcdef0123456789abcdef"

// process is a service that is running.
type process struct {
	t       *testing.T
	url     string
	log     *bytes.Buffer // to be read once it has stopped
	stop    context.CancelFunc
	result  chan error
	reasons atomic.Value // []error
}

// startProcess serves, besides what Router serves, /v1/echo and whatever add adds, both for those who have the secret.
func startProcess(t *testing.T, grace time.Duration, add func(http.ResponseWriter, *http.Request)) *process {
	t.Helper()
	p := &process{t: t, log: new(bytes.Buffer), result: make(chan error, 1)}
	tel, err := telemetry.New(telemetry.Options{Process: "test", Output: p.log, Level: slog.LevelDebug})
	if err != nil {
		t.Fatal(err)
	}
	r := service.Router(tel, func() []error {
		reasons, _ := p.reasons.Load().([]error)
		return reasons
	})
	ours := r.PathPrefix("/v1").Subrouter()
	ours.Use(service.Authenticated(secret))
	ours.HandleFunc("/items/{item}", add)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.url, p.stop = "http://"+l.Addr().String(), cancel
	go func() { p.result <- service.Serve(ctx, tel, l, r, grace) }()
	return p
}

// end stops the process and returns what Serve returned.
func (p *process) end() error {
	p.stop()
	return <-p.result
}

func get(t *testing.T, client *http.Client, url string) (status int, header http.Header, body string) {
	t.Helper()
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(b)
}

func ok(w http.ResponseWriter, _ *http.Request) { service.JSON(w, map[string]int{"n": 1}) }

func TestOnlyThoseWithTheSecretGetIn(t *testing.T) {
	p := startProcess(t, time.Second, ok)
	defer func() {
		if err := p.end(); err != nil {
			t.Error(err)
		}
	}()
	for _, row := range []struct {
		header string
		status int
	}{
		{"", 401}, {"Bearer ", 401}, {"Bearer x", 401}, {"Bearer " + secret[1:], 401}, {"Bearer " + secret + "0", 401}, {"Bearer  " + secret, 401},
		{"Basic " + secret, 401}, {"bearer " + strings.ToUpper(secret), 401}, {secret, 401},
		{"Bearer " + secret, 200},
	} {
		req, err := http.NewRequest(http.MethodGet, p.url+"/v1/items/1", nil)
		if err != nil {
			t.Fatal(err)
		}
		if row.header != "" {
			req.Header.Set("Authorization", row.header)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if resp.StatusCode != row.status {
			t.Errorf("%q: %d, want %d", row.header, resp.StatusCode, row.status)
		}
		if row.status == 401 && (resp.Header.Get("WWW-Authenticate") != "Bearer" || resp.Header.Get("Content-Type") != "application/problem+json") {
			t.Errorf("%q: %v", row.header, resp.Header)
		}
	}
	http.DefaultClient.CloseIdleConnections()
	client := service.Client(secret)
	defer client.CloseIdleConnections()
	if status, _, body := get(t, client, p.url+"/v1/items/1"); status != 200 || body != "{\"n\":1}\n" {
		t.Errorf("our own client: %d %s", status, body)
	}

	// A process that was given no secret lets nobody in, least of all those who send none.
	open := httptest.NewRecorder()
	req := httptest.NewRequest(http.MethodGet, "/", nil)
	req.Header.Set("Authorization", "Bearer ")
	service.Authenticated("")(http.HandlerFunc(ok)).ServeHTTP(open, req)
	if open.Code != 401 {
		t.Errorf("an empty secret: %d", open.Code)
	}
}

// The secret goes to the address that was configured and to no other.
func TestClientFollowsNoRedirect(t *testing.T) {
	var got []string
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = append(got, r.Header.Get("Authorization")) }))
	defer other.Close()
	first := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusTemporaryRedirect))
	defer first.Close()
	client := service.Client(secret)
	defer client.CloseIdleConnections()
	if resp, err := client.Get(first.URL); err == nil || !strings.Contains(err.Error(), "never redirects") {
		t.Errorf("%v, %v", resp, err)
	}
	if len(got) > 0 {
		t.Errorf("the other server got %q", got)
	}
}

func TestHealthReadinessMetrics(t *testing.T) {
	p := startProcess(t, time.Second, ok)
	defer p.end()
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for path, want := range map[string]string{"/healthz": "ok\n", "/readyz": "ready\n", "/metrics": "sparrow_panics_total 0\n"} {
		if status, _, body := get(t, client, p.url+path); status != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: %d %.200s", path, status, body)
		}
	}
	p.reasons.Store([]error{errors.New("journal is full"), errors.New(`Get "http://h/p?token=PLANTED": refused`)})
	status, header, body := get(t, client, p.url+"/readyz")
	var problem struct {
		Title, Detail string
		Status        int
	}
	if err := json.Unmarshal([]byte(body), &problem); err != nil {
		t.Fatal(err)
	}
	if status != 503 || problem.Status != 503 || problem.Title != "Service Unavailable" || header.Get("Retry-After") == "" ||
		problem.Detail != `journal is full; Get "http://h/p?[redacted]": refused` {
		t.Errorf("%d %v %+v", status, header, problem)
	}
	if status, _, _ := get(t, client, p.url+"/healthz"); status != 200 {
		t.Errorf("healthz while not ready: %d", status)
	}
	for _, path := range []string{"/", "/v1", "/metrics/x", "/debug/pprof/"} {
		if status, _, _ := get(t, client, p.url+path); status != 404 {
			t.Errorf("%s: %d", path, status)
		}
	}
}

// A panic costs its request and nothing else, and is reported without what the client sent.
func TestPanicInAHandler(t *testing.T) {
	p := startProcess(t, time.Second, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "PLANTED") {
			panic("because of " + r.URL.Path)
		}
		if strings.HasSuffix(r.URL.Path, "abort") {
			panic(http.ErrAbortHandler)
		}
		ok(w, r)
	})
	client := service.Client(secret)
	defer client.CloseIdleConnections()
	status, header, body := get(t, client, p.url+"/v1/items/PLANTED?token=PLANTED")
	if status != 500 || header.Get("Content-Type") != "application/problem+json" || strings.Contains(body, "PLANTED") {
		t.Errorf("%d %v %s", status, header, body)
	}
	if resp, err := client.Get(p.url + "/v1/items/abort"); err == nil { // the standard way to drop a connection
		resp.Body.Close()
		t.Errorf("aborted: %d", resp.StatusCode)
	}
	if status, _, _ := get(t, client, p.url+"/v1/items/1"); status != 200 {
		t.Errorf("afterwards: %d", status)
	}
	if _, _, text := get(t, client, p.url+"/metrics"); !strings.Contains(text, "sparrow_panics_total 1\n") {
		t.Error("not counted, or the aborted one was")
	}
	if err := p.end(); err != nil {
		t.Error(err)
	}
	if text := p.log.String(); strings.Contains(text, "PLANTED") || !strings.Contains(text, "/v1/items/{item}") || !strings.Contains(text, "service_test.go") {
		t.Errorf("log: %s", text)
	}
}

// Stopping lets running requests end, and takes no new ones.
func TestOrderlyStop(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	p := startProcess(t, 30*time.Second, func(w http.ResponseWriter, r *http.Request) {
		close(entered)
		<-release
		ok(w, r)
	})
	client := service.Client(secret)
	defer client.CloseIdleConnections()
	running := make(chan string, 1)
	go func() {
		resp, err := client.Get(p.url + "/v1/items/1")
		if err != nil {
			running <- err.Error()
			return
		}
		defer resp.Body.Close()
		running <- fmt.Sprint(resp.StatusCode)
	}()
	<-entered
	p.stop()
	for {
		conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
		if err != nil {
			break // nobody listens any more
		}
		conn.Close()
	}
	select {
	case err := <-p.result:
		t.Fatalf("stopped with a request running: %v", err)
	default:
	}
	close(release)
	if got := <-running; got != "200" {
		t.Errorf("the running request: %s", got)
	}
	if err := <-p.result; err != nil {
		t.Error(err)
	}
}

// A request that does not end is cut off after the grace, and Serve says so.
func TestStopIsBounded(t *testing.T) {
	entered := make(chan struct{})
	p := startProcess(t, 20*time.Millisecond, func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
	})
	client := service.Client(secret)
	defer client.CloseIdleConnections()
	cut := make(chan error, 1)
	go func() {
		resp, err := client.Get(p.url + "/v1/items/1")
		if err == nil {
			resp.Body.Close()
		}
		cut <- err
	}()
	<-entered
	if err := p.end(); err == nil || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "cut") {
		t.Errorf("%v", err)
	}
	if err := <-cut; err == nil {
		t.Error("the request was answered")
	}
}

func TestServeSaysWhyItCannot(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := service.Serve(context.Background(), telemetry.Discard(), l, http.NotFoundHandler(), time.Second); err == nil || !strings.Contains(err.Error(), l.Addr().String()) {
		t.Errorf("%v", err)
	}
}

func TestProblemWith(t *testing.T) {
	w := httptest.NewRecorder()
	w.Header().Set("Retry-After", "7")
	service.ProblemWith(w, http.StatusTooManyRequests, "slow down", map[string]any{"reason": "rate"})
	want := `{"detail":"slow down","reason":"rate","status":429,"title":"Too Many Requests"}` + "\n"
	if w.Code != 429 || w.Body.String() != want || w.Header().Get("Retry-After") != "7" || w.Header().Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
}
