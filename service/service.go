// Package service is the HTTP face that every Sparrow process shares: authentication between our own processes, health,
// readiness, metrics, problem+json, and an orderly stop.
//
// Invariant: nothing but /healthz, /readyz and /metrics answers without the secret, and a panic in a handler is a
// reported 500, never a dead process.
package service

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/gorilla/mux"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/sparrowhq/sparrow/telemetry"
)

// Problem answers with application/problem+json (RFC 9457). detail says what happened, to which input, and what to do.
func Problem(w http.ResponseWriter, status int, detail string) {
	ProblemWith(w, status, detail, nil)
}

// ProblemWith is Problem with members of its own beside the usual ones.
func ProblemWith(w http.ResponseWriter, status int, detail string, members map[string]any) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if (status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests) && w.Header().Get("Retry-After") == "" {
		w.Header().Set("Retry-After", "1")
	}
	w.WriteHeader(status)
	problem := map[string]any{"title": http.StatusText(status), "status": status, "detail": detail}
	maps.Copy(problem, members)
	json.NewEncoder(w).Encode(problem)
}

// JSON answers 200 with v.
func JSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v)
}

// Router returns a router that answers /healthz, /readyz and /metrics, and recovers panics. ready returns one error per
// reason for which the process should not get traffic; nil means ready.
func Router(t *telemetry.Telemetry, ready func() []error) *mux.Router {
	r := mux.NewRouter()
	r.Use(func(next http.Handler) http.Handler { return recovered(t, next) })
	r.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("ok\n")) }).Methods(http.MethodGet)
	r.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		var reasons []string
		for _, err := range ready() {
			reasons = append(reasons, telemetry.Redact(err.Error())) // anybody may ask
		}
		if len(reasons) > 0 {
			Problem(w, http.StatusServiceUnavailable, strings.Join(reasons, "; "))
			return
		}
		w.Write([]byte("ready\n"))
	}).Methods(http.MethodGet)
	r.Handle("/metrics", promhttp.HandlerFor(t.Registry, promhttp.HandlerOpts{ErrorLog: slog.NewLogLogger(t.Log.Handler(), slog.LevelError)})).Methods(http.MethodGet)
	return r
}

func recovered(t *telemetry.Telemetry, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			v := recover()
			if v == nil {
				return
			}
			if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				panic(v)
			}
			t.Panic(v, slog.String("route", route(r)))
			Problem(w, http.StatusInternalServerError, "the process met a bug while handling this request; it is reported")
		}()
		next.ServeHTTP(w, r)
	})
}

// route is the pattern that matched: the path itself is the client's, and may hold anything.
func route(r *http.Request) string {
	current := mux.CurrentRoute(r)
	if current == nil {
		return "unknown"
	}
	pattern, err := current.GetPathTemplate()
	if err != nil {
		return "unknown"
	}
	return pattern
}

// Authenticated lets only requests with "Authorization: Bearer <secret>" through.
func Authenticated(secret string) mux.MiddlewareFunc {
	want := sha256.Sum256([]byte(secret))
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
			got := sha256.Sum256([]byte(token))
			if !ok || secret == "" || subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
				w.Header().Set("WWW-Authenticate", "Bearer")
				Problem(w, http.StatusUnauthorized, "the Authorization header does not carry this installation's secret")
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

// bearer adds the secret to each request.
type bearer struct {
	secret string
	next   http.RoundTripper
}

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+b.secret)
	return b.next.RoundTrip(r)
}

// CloseIdleConnections is what http.Client.CloseIdleConnections looks for.
func (b bearer) CloseIdleConnections() {
	if c, ok := b.next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// Client returns an HTTP client of its own (connections are never shared between peers) that authenticates with secret.
// It sets no overall timeout: callers bound each call by its context.
func Client(secret string) *http.Client {
	tr := &http.Transport{
		DialContext:           (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		MaxIdleConnsPerHost:   4,
		IdleConnTimeout:       time.Minute,
		DisableCompression:    true,
		WriteBufferSize:       64 << 10,
		ReadBufferSize:        64 << 10,
		ExpectContinueTimeout: time.Second,
	}
	return &http.Client{Transport: bearer{secret: secret, next: tr}, CheckRedirect: func(*http.Request, []*http.Request) error {
		return errors.New("redirected: a Sparrow process never redirects, the address must be wrong")
	}}
}

// Serve answers on l until ctx ends, then stops accepting and gives running requests up to grace. It returns once the
// server is down; nil after an orderly stop.
func Serve(ctx context.Context, t *telemetry.Telemetry, l net.Listener, h http.Handler, grace time.Duration) error {
	srv := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          log.New(discardTLSNoise{t.Log}, "", 0),
	}
	return Run(ctx, srv, l, grace)
}

// Run is Serve for a server with limits of its own, and with TLS if it has a TLSConfig.
func Run(ctx context.Context, srv *http.Server, l net.Listener, grace time.Duration) error {
	failed := make(chan error, 1)
	go func() {
		if srv.TLSConfig != nil {
			failed <- srv.ServeTLS(l, "", "")
			return
		}
		failed <- srv.Serve(l)
	}()
	select {
	case err := <-failed:
		return fmt.Errorf("listener %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	err := srv.Shutdown(stop)
	if err != nil {
		srv.Close()
		err = fmt.Errorf("listener %s: requests still running after %s were cut: %w", l.Addr(), grace, err)
	}
	<-failed
	return err
}

// discardTLSNoise sends net/http's own messages to the log at debug level: they tell of clients, not of us.
type discardTLSNoise struct{ log *slog.Logger }

func (d discardTLSNoise) Write(p []byte) (int, error) {
	d.log.Debug("http", "message", strings.TrimSpace(string(p)))
	return len(p), nil
}
