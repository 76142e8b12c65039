package served_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/service/reserve"
	"github.com/sparrowhq/sparrow/telemetry"
	"github.com/sparrowhq/sparrow/warehouse"
	"github.com/sparrowhq/sparrow/warehouse/served"
)

func batch(rows int) *warehouse.Batch {
	b := &warehouse.Batch{Stack: event.Green, Stage: warehouse.Raw, Journal: "j", To: event.Cursor{Frame: 2}}
	for i := range rows {
		b.Rows = append(b.Rows, warehouse.Row{Position: event.Position{Frame: 1, Request: uint32(i)}, EventID: fmt.Sprint(i), Event: "e", Data: []byte("{}"), ItemsInRequest: 1, Build: "b", Context: []byte("{}")})
	}
	return b
}

func TestEveryRouteWantsTheSecret(t *testing.T) {
	p := open(t)
	defer p.Close()
	for _, route := range []string{"POST /v1/append", "GET /v1/cursors?stack=green", "GET /v1/journals", "POST /v1/query"} {
		method, path, _ := strings.Cut(route, " ")
		for _, header := range []string{"", "Bearer ", "Bearer wrong", "Bearer " + secret[1:]} {
			r, err := http.NewRequest(method, p.server.URL+path, strings.NewReader(`{"sql":"SELECT 1"}`))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Authorization", header)
			answer, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			answer.Body.Close()
			if answer.StatusCode != http.StatusUnauthorized {
				t.Errorf("%s with Authorization %q: %s, want 401", route, header, answer.Status)
			}
		}
	}
	http.DefaultClient.CloseIdleConnections()
	wrong, err := served.New(served.ClientOptions{URL: p.server.URL, Secret: "not the secret"})
	if err != nil {
		t.Fatal(err)
	}
	defer wrong.Close()
	if _, err := wrong.Append(t.Context(), batch(1)); err == nil || !strings.Contains(err.Error(), "secret") {
		t.Errorf("append with a wrong secret: %v", err)
	}
	closed := httptest.NewServer(served.Handler(served.Options{Warehouse: p.engine}))
	defer closed.Close()
	empty, err := served.New(served.ClientOptions{URL: closed.URL, Secret: " "})
	if err != nil {
		t.Fatal(err)
	}
	defer empty.Close()
	if _, err := empty.Journals(t.Context()); err == nil {
		t.Error("a handler without a secret answers")
	}
}

func TestHealth(t *testing.T) {
	p := open(t)
	defer p.Close()
	for path, want := range map[string]string{"/healthz": "ok", "/readyz": "ready", "/metrics": "sparrow_warehouse_requests_total"} {
		if _, err := p.Append(t.Context(), batch(3)); err != nil {
			t.Fatal(err)
		}
		answer, err := http.Get(p.server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(answer.Body)
		answer.Body.Close()
		if answer.StatusCode != http.StatusOK || !strings.Contains(string(body), want) {
			t.Errorf("%s: %s %.100s", path, answer.Status, body)
		}
	}
	http.DefaultClient.CloseIdleConnections()
	if err := p.engine.Close(); err != nil {
		t.Fatal(err)
	}
	answer, err := http.Get(p.server.URL + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("/readyz of a closed warehouse: %s", answer.Status)
	}
}

// stub is a warehouse that answers as told.
type stub struct {
	warehouse.Warehouse
	append func(context.Context, *warehouse.Batch) (event.Cursor, error)
	query  func(context.Context, warehouse.Query) (*warehouse.Rows, error)
}

func (s *stub) Append(ctx context.Context, b *warehouse.Batch) (event.Cursor, error) {
	return s.append(ctx, b)
}
func (s *stub) Query(ctx context.Context, q warehouse.Query) (*warehouse.Rows, error) {
	return s.query(ctx, q)
}

func serveStub(t *testing.T, s *stub, o served.Options) (*served.Client, *httptest.Server) {
	t.Helper()
	o.Warehouse, o.Secret = s, secret
	server := httptest.NewServer(served.Handler(o))
	t.Cleanup(server.Close)
	c, err := served.New(served.ClientOptions{URL: server.URL + "/", Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c, server
}

func TestErrorsSurviveTheHop(t *testing.T) {
	gap := &warehouse.GapError{Have: event.Cursor{Frame: 1<<63 - 1, Request: 7}, From: event.Cursor{Frame: 1<<64 - 1}}
	journal := &warehouse.JournalError{Known: "a", Got: "b", Highest: 1<<64 - 1, First: 3}
	for _, want := range []error{gap, journal, warehouse.ErrBusy, warehouse.ErrReadOnly, context.DeadlineExceeded, errors.New("disk on fire"), errors.New("")} {
		wrapped := fmt.Errorf("around: %w", want)
		c, _ := serveStub(t, &stub{append: func(context.Context, *warehouse.Batch) (event.Cursor, error) { return event.Cursor{}, wrapped }}, served.Options{})
		_, err := c.Append(t.Context(), batch(1))
		if err == nil || !strings.Contains(err.Error(), wrapped.Error()) {
			t.Errorf("%v came as %v", wrapped, err)
		}
		var g *warehouse.GapError
		var j *warehouse.JournalError
		switch {
		case errors.As(want, &g) != errors.As(err, &g), g != nil && *g != *gap:
			t.Errorf("%v came as GapError %v", want, g)
		case errors.As(want, &j) != errors.As(err, &j), j != nil && *j != *journal:
			t.Errorf("%v came as JournalError %v", want, j)
		}
		for _, sentinel := range []error{warehouse.ErrBusy, warehouse.ErrReadOnly, context.DeadlineExceeded} {
			if errors.Is(want, sentinel) != errors.Is(err, sentinel) {
				t.Errorf("%v came as %v", want, err)
			}
		}
	}
}

// TestStatuses checks what those who speak HTTP themselves are told.
func TestStatuses(t *testing.T) {
	for want, err := range map[int]error{
		409: &warehouse.GapError{}, 503: warehouse.ErrBusy, 500: errors.New("x"),
	} {
		_, server := serveStub(t, &stub{append: func(context.Context, *warehouse.Batch) (event.Cursor, error) { return event.Cursor{}, err }}, served.Options{})
		body, e := served.EncodeBatch(batch(1))
		if e != nil {
			t.Fatal(e)
		}
		r, _ := http.NewRequest(http.MethodPost, server.URL+"/v1/append", bytes.NewReader(body))
		r.Header.Set("Authorization", "Bearer "+secret)
		r.Header.Set("Sparrow-Stack", "green")
		answer, e := http.DefaultClient.Do(r)
		if e != nil {
			t.Fatal(e)
		}
		answer.Body.Close()
		if answer.StatusCode != want || (want == 503) != (answer.Header.Get("Retry-After") != "") || answer.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%v: %s %v", err, answer.Status, answer.Header)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}

// TestShortCursorIsAnError: an engine (or a proxy in between) that answers with a cursor below the batch's end has not
// stored it.
func TestShortCursorIsAnError(t *testing.T) {
	c, _ := serveStub(t, &stub{append: func(context.Context, *warehouse.Batch) (event.Cursor, error) { return event.Cursor{Frame: 1}, nil }}, served.Options{})
	if at, err := c.Append(t.Context(), batch(1)); err == nil {
		t.Errorf("taken for stored up to %v", at)
	}
}

func TestBodiesAreBounded(t *testing.T) {
	size := int64(len(encoded(t, batch(300))))
	release := make(chan struct{})
	entered := make(chan struct{}, 10)
	c, server := serveStub(t, &stub{append: func(_ context.Context, b *warehouse.Batch) (event.Cursor, error) {
		entered <- struct{}{}
		<-release
		return b.To, nil
	}}, served.Options{MaxBatch: size, MaxReads: size * 3 / 2})
	if _, err := c.Append(t.Context(), batch(2000)); err == nil || errors.Is(err, warehouse.ErrBusy) || !strings.Contains(err.Error(), "in parts") {
		t.Errorf("batch beyond MaxBatch: %v", err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := c.Append(t.Context(), batch(300)); err != nil {
			t.Error(err)
		}
	})
	<-entered
	if _, err := c.Append(t.Context(), batch(300)); !errors.Is(err, warehouse.ErrBusy) {
		t.Errorf("beside another one, beyond MaxReads: %v, want ErrBusy", err)
	}
	wg.Go(func() {
		other := batch(300)
		other.Stack = event.Blue
		if _, err := c.Append(t.Context(), other); err != nil {
			t.Errorf("the other stack has a share of its own: %v", err)
		}
	})
	<-entered
	close(release)
	wg.Wait()
	// A body without a length, one that lies about its stack, one that is none.
	for name, r := range map[string]*http.Request{
		"no length": request(t, server.URL, io.MultiReader(strings.NewReader("x")), "green"),
		"no stack":  request(t, server.URL, strings.NewReader("x"), ""),
		"garbage":   request(t, server.URL, strings.NewReader("garbage"), "green"),
		"liar":      request(t, server.URL, bytes.NewReader(encoded(t, batch(1))), "blue"),
	} {
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusUnprocessableEntity {
			t.Errorf("%s: %s, want 422", name, answer.Status)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}

func encoded(t *testing.T, b *warehouse.Batch) []byte {
	t.Helper()
	body, err := served.EncodeBatch(b)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func request(t *testing.T, url string, body io.Reader, stack string) *http.Request {
	t.Helper()
	r, err := http.NewRequest(http.MethodPost, url+"/v1/append", body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+secret)
	r.Header.Set("Sparrow-Stack", stack)
	return r
}

// TestCutAnswersAreErrors records an answer and cuts it at every byte: rows may come, but never an end.
func TestCutAnswersAreErrors(t *testing.T) {
	p := open(t)
	defer p.Close()
	r, err := http.NewRequest(http.MethodPost, p.server.URL+"/v1/query", strings.NewReader(`{"sql":"SELECT range, 'text', NULL, 1.5, [range] FROM range(20)"}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+secret)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	whole, err := io.ReadAll(answer.Body)
	answer.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	if err != nil {
		t.Fatal(err)
	}
	cut := len(whole)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", served.RowsType)
		w.Write(whole[:cut])
	}))
	defer server.Close()
	c, err := served.New(served.ClientOptions{URL: server.URL, Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	all := func() (n int, err error) {
		rows, err := c.Query(t.Context(), warehouse.Query{SQL: "SELECT 1"})
		if err != nil {
			return 0, err
		}
		defer rows.Close()
		for ; ; n++ {
			if _, err := rows.Next(); err != nil {
				return n, err
			}
		}
	}
	if n, err := all(); n != 20 || err != io.EOF {
		t.Fatalf("whole: %d rows, %v", n, err)
	}
	for cut = range whole {
		if n, err := all(); err == nil || err == io.EOF {
			t.Errorf("cut at byte %d of %d: %d rows and %v", cut, len(whole), n, err)
		}
	}
}

// TestConnectionCutInTheMiddle cuts the connection itself, under a chunked answer.
func TestConnectionCutInTheMiddle(t *testing.T) {
	next := 0
	c, _ := serveStub(t, &stub{query: func(context.Context, warehouse.Query) (*warehouse.Rows, error) {
		return &warehouse.Rows{Columns: []warehouse.Column{{Name: "a", Type: "VARCHAR"}}, Truncated: func() bool { return false }, Close: func() error { return nil },
			Next: func() ([]any, error) {
				if next++; next == 10_000 {
					panic(http.ErrAbortHandler)
				}
				return []any{strings.Repeat("x", 100)}, nil
			}}, nil
	}}, served.Options{})
	rows, err := c.Query(t.Context(), warehouse.Query{SQL: "x"})
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	n := 0
	for err == nil {
		_, err = rows.Next()
		n++
	}
	if err == io.EOF || n < 100 {
		t.Errorf("%d rows, then %v", n, err)
	}
}

func TestAddresses(t *testing.T) {
	for _, url := range []string{"", "localhost:9000", "ftp://x", "http://", "http://a b"} {
		if _, err := served.New(served.ClientOptions{URL: url, Secret: secret}); err == nil {
			t.Errorf("address %q is taken", url)
		}
	}
	c, err := served.New(served.ClientOptions{URL: "http://" + reserve.ForTest(t), Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Append(t.Context(), batch(1)); err == nil || strings.Contains(err.Error(), secret) {
		t.Errorf("nobody listens: %v", err)
	}
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	if c, err = served.New(served.ClientOptions{URL: other.URL, Secret: secret}); err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Journals(t.Context()); err == nil || !strings.Contains(err.Error(), "check the address") {
		t.Errorf("another program listens: %v", err)
	}
}

// TestNothingIsLogged looks for bytes that clients and operators chose in what the process logs.
func TestNothingIsLogged(t *testing.T) {
	var log bytes.Buffer
	tel, err := telemetry.New(telemetry.Options{Process: "warehouse", Output: &log, Level: -8})
	if err != nil {
		t.Fatal(err)
	}
	p := open(t)
	defer p.Close()
	server := httptest.NewServer(served.Handler(served.Options{Warehouse: p.engine, Secret: secret, Telemetry: tel}))
	defer server.Close()
	c, err := served.New(served.ClientOptions{URL: server.URL, Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b := batch(2)
	b.Rows[0].Data, b.Rows[0].Event, b.Rows[1].Event = []byte("personal"), "personal", "personal\xff"
	c.Append(t.Context(), b)
	for _, sql := range []string{"SELECT 'personal'::INTEGER", "SELECT personal", "DELETE FROM personal", "SELECT error('personal')"} {
		if rows, err := c.Query(t.Context(), warehouse.Query{SQL: sql, Args: []any{}}); err == nil {
			for err == nil {
				_, err = rows.Next()
			}
			rows.Close()
		}
	}
	if strings.Contains(log.String(), "personal") || strings.Contains(log.String(), secret) {
		t.Errorf("the log tells:\n%s", log.String())
	}
}

func TestNoGoroutineIsLeft(t *testing.T) {
	before := goleak.IgnoreCurrent()
	p := open(t)
	if _, err := p.Append(t.Context(), batch(10)); err != nil {
		t.Fatal(err)
	}
	rows, err := p.Query(t.Context(), warehouse.Query{SQL: "SELECT range FROM range(1000000000000)", Limit: 1 << 40})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rows.Next(); err != nil {
		t.Fatal(err)
	}
	if err := rows.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if rows, err := p.Query(ctx, warehouse.Query{SQL: "SELECT count(*) FROM range(1000000000) a, range(1000000000) b WHERE a.range * b.range = -1"}); err == nil {
		rows.Close()
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	goleak.VerifyNone(t, before)
}
