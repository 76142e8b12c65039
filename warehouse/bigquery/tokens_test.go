package bigquery

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/telemetry"
	"github.com/sparrowhq/sparrow/warehouse"
	"github.com/sparrowhq/sparrow/warehouse/bigquery/fake"
)

// tokenServer is Google's token endpoint, as far as a service account sees it.
type tokenServer struct {
	*httptest.Server
	mu      sync.Mutex
	fetched int             // guarded by mu
	good    map[string]bool // guarded by mu: tokens that BigQuery takes
	refuses bool            // guarded by mu: answers with an error that quotes what it was sent
	seen    []string        // guarded by mu: assertions
}

func newTokenServer(t *testing.T) *tokenServer {
	s := &tokenServer{good: map[string]bool{}}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.ParseForm()
		s.mu.Lock()
		defer s.mu.Unlock()
		s.fetched++
		s.seen = append(s.seen, r.Form.Get("assertion"))
		w.Header().Set("Content-Type", "application/json")
		if s.refuses {
			w.WriteHeader(http.StatusBadRequest)
			json.NewEncoder(w).Encode(map[string]string{"error": "invalid_grant", "error_description": "Invalid JWT: " + r.Form.Get("assertion")})
			return
		}
		token := fmt.Sprintf("ya29.secret-access-token-%d", s.fetched)
		s.good[token] = true
		json.NewEncoder(w).Encode(map[string]any{"access_token": token, "token_type": "Bearer", "expires_in": 3600})
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *tokenServer) takes(token string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.good[token]
}

func (s *tokenServer) fetches() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fetched
}

// revoke has BigQuery refuse every token given out so far.
func (s *tokenServer) revoke() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.good)
}

// account writes a service-account file, and returns its private key too.
func (s *tokenServer) account(t *testing.T) (path, key string) {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	key = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	data, err := json.Marshal(map[string]string{
		"type": "service_account", "project_id": "project", "private_key_id": "1", "private_key": key,
		"client_email": "sparrow@project.iam.gserviceaccount.com", "client_id": "1", "token_uri": s.URL + "/token",
	})
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "account.json")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path, key
}

// appendAll has every stage of both stacks append everything, all at once.
func appendAll(t *testing.T, e *Engine, j *traffic) {
	t.Helper()
	var wg sync.WaitGroup
	for _, stack := range event.Stacks() {
		for _, stage := range []warehouse.Stage{warehouse.Raw, warehouse.Trace} {
			wg.Go(func() {
				for at := (event.Cursor{}); at != j.end(); {
					to := event.Cursor{Frame: min(at.Frame+3, j.end().Frame)}
					if _, err := e.Append(t.Context(), j.batch(stack, stage, at, to)); err != nil {
						t.Errorf("%s, %s: %v", stack, stage, err)
						return
					}
					at = to
				}
			})
		}
	}
	wg.Wait()
}

func TestOneTokenForAllWriters(t *testing.T) {
	tokens := newTokenServer(t)
	o := options(start(t, fake.Options{Token: tokens.takes}))
	o.Credentials, _ = tokens.account(t)
	e := open(t, o)
	defer e.Close()
	j := newTraffic(t, 20)
	appendAll(t, e, j)
	if n := tokens.fetches(); n != 1 {
		t.Errorf("%d tokens fetched by opening and six writers, want one", n)
	}
	for range 2 { // the middle of it: every token is revoked
		tokens.revoke()
		j.frames += 20
		for _, stack := range event.Stacks() {
			for _, stage := range []warehouse.Stage{warehouse.Raw, warehouse.Trace} {
				from, err := e.Cursor(t.Context(), stack, 0, stage)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := e.Append(t.Context(), j.batch(stack, stage, from, j.end())); err != nil {
					t.Errorf("after a 401: %s, %s: %v", stack, stage, err)
				}
			}
		}
		err := e.each(t.Context(), "SELECT COUNT(*) FROM green.raw", func([]any) error { return nil })
		if err != nil {
			t.Errorf("query after a 401: %v", err)
		}
	}
	lanes := event.Cursor{Frame: 5}
	for _, stack := range event.Stacks() {
		if _, err := e.Append(t.Context(), j.batch(stack, warehouse.Stage("ga4").Late(), event.Cursor{}, lanes)); err != nil {
			t.Error(err)
		}
	}
	j.verify(t, e)
	// Open calls keep the token that they were opened with, so a token that is revoked is fetched anew when the first
	// call after it asks: once each time.
	if n := tokens.fetches(); n < 2 || n > 3 {
		t.Errorf("%d tokens fetched with two revocations, want 2 or 3", n)
	}
}

func TestTokenIsRenewedBeforeItExpires(t *testing.T) {
	server := newTokenServer(t)
	file, _ := server.account(t)
	s, err := newTokens(file, server.Client())
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	s.now = func() time.Time { return now }
	all := func() map[string]bool {
		var mu sync.Mutex
		got := map[string]bool{}
		var wg sync.WaitGroup
		for range 32 {
			wg.Go(func() {
				v, err := s.get(t.Context())
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				got[v] = true
				mu.Unlock()
			})
		}
		wg.Wait()
		return got
	}
	first := all()
	if server.fetches() != 1 || len(first) != 1 {
		t.Fatalf("32 callers fetched %d tokens and got %d", server.fetches(), len(first))
	}
	now = now.Add(time.Hour - early - 30*time.Second) // the clock of the test began a moment before the token
	if all(); server.fetches() != 1 {
		t.Errorf("a token of an hour is fetched anew with %s left", early+30*time.Second)
	}
	now = now.Add(60 * time.Second) // and it would be good for another three minutes
	if next := all(); server.fetches() != 2 || len(next) != 1 || next[keyOf(first)] {
		t.Errorf("with less than %s left: %d tokens fetched, %v", early, server.fetches(), len(next))
	}
	s.reject(keyOf(first)) // an old one: the new one stays
	if all(); server.fetches() != 2 {
		t.Error("the refusal of an old token costs the new one")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.reject(keyOf(all()))
	if _, err := s.get(ctx); err == nil {
		t.Error("a token for nobody")
	}
}

func keyOf(m map[string]bool) string {
	for k := range m {
		return k
	}
	return ""
}

// TestNothingSecretIsPrinted has everything about credentials go wrong, and reads every error, log line and metric.
func TestNothingSecretIsPrinted(t *testing.T) {
	tokens := newTokenServer(t)
	s := start(t, fake.Options{Token: tokens.takes})
	file, key := tokens.account(t)
	var log bytes.Buffer
	var mu sync.Mutex
	tm, err := telemetry.New(telemetry.Options{Process: "warehouse", Output: writerFunc(func(p []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return log.Write(p)
	})})
	if err != nil {
		t.Fatal(err)
	}
	var printed []string
	note := func(what string, err error) {
		t.Helper()
		if err == nil {
			t.Errorf("%s: no error", what)
			return
		}
		printed = append(printed, what+": "+err.Error())
	}
	o := options(s)
	o.Credentials, o.Telemetry, o.Patience = file, tm, 50*time.Millisecond
	o.CallTimeout, o.MaxWait, o.restTimeout = 2*time.Second, 300*time.Millisecond, 2*time.Second
	e := open(t, o)
	j := newTraffic(t, 5)
	tokens.mu.Lock()
	tokens.refuses = true
	tokens.mu.Unlock()
	tokens.revoke()
	for range 2 {
		_, err = e.Append(t.Context(), j.batch(event.Green, warehouse.Raw, event.Cursor{}, j.end()))
		note("append with a refused key", err)
	}
	_, err = e.Query(t.Context(), warehouse.Query{SQL: "SELECT 1"})
	note("query with a refused key", err)
	e.Close()
	_, err = Open(t.Context(), o)
	note("open with a refused key", err)
	tokens.CloseClientConnections()
	tokens.Close()
	_, err = Open(t.Context(), o)
	note("open without a token server", err)
	broken := filepath.Join(t.TempDir(), "account.json")
	if err := os.WriteFile(broken, []byte(strings.ReplaceAll(`{"type":"service_account","private_key":"`+strings.ReplaceAll(key, "\n", `\n`)+`"`, "}", "")), 0o600); err != nil {
		t.Fatal(err)
	}
	o.Credentials = broken
	_, err = Open(t.Context(), o)
	note("open with half a file", err)
	o.Credentials = filepath.Join(t.TempDir(), "none.json")
	_, err = Open(t.Context(), o)
	note("open without a file", err)

	mu.Lock()
	printed = append(printed, log.String())
	mu.Unlock()
	families, err := tm.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	printed = append(printed, fmt.Sprint(families))
	secrets := slices.Concat([]string{"ya29.", "assertion="}, tokens.seen, strings.Split(strings.TrimSpace(key), "\n")[1:3])
	for _, p := range printed {
		for _, secret := range secrets {
			if secret != "" && strings.Contains(p, secret) {
				t.Errorf("%.20q… is printed in %.300s", secret, p)
			}
		}
	}
	if len(tokens.seen) < 2 || log.Len() == 0 {
		t.Errorf("%d assertions seen, %d bytes logged: nothing was put to the test", len(tokens.seen), log.Len())
	}
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
