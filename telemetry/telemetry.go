// Package telemetry is where a process speaks about itself: structured logs, metrics, and reports of failures.
//
// Invariant: no secret and no personal data passes through here. Logs carry ids, positions and counts, and are
// redacted; what goes to Sentry is built anew out of what an allowlist names; nothing takes a body or a header as it
// came. Nobody who reports a failure ever waits for the report.
package telemetry

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/getsentry/sentry-go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Options configure New.
type Options struct {
	Process     string     // "mirror", "dispatcher", …; required
	Stack       string     // "green", "blue"; empty for a process that belongs to neither
	Version     string     // what people read
	Format      string     // "text" or "json"; empty: text
	Level       slog.Level // zero: info
	Output      io.Writer  // nil: standard error
	SentryDSN   string     // empty: nothing is reported
	Environment string     // Sentry's environment; empty: production
	Allow       Allowlist  // what of HTTP exchanges may reach Sentry; zero: method, path and status
	Secrets     []string   // this process's own: hidden wherever they turn up, if of 8 characters or more
}

// Telemetry is one process's voice. It is safe for concurrent use.
type Telemetry struct {
	Log      *slog.Logger
	Registry *prometheus.Registry // our metrics' names begin with sparrow_; Go's own keep theirs

	process, stack string
	failures       *prometheus.CounterVec // what
	panics         prometheus.Counter
	suppressed     prometheus.Counter
	flood          flood
	allow          atomic.Pointer[Allowlist] // what of HTTP exchanges may reach Sentry

	mu       sync.Mutex
	whats    map[string]bool // guarded by mu: the values of failures' label
	reporter *reporter       // nil: nothing is reported. Set once, before New returns
	close    sync.Once
}

// New returns the telemetry of one process. Its Close must be called if a SentryDSN is given.
func New(o Options) (*Telemetry, error) {
	if o.Output == nil {
		o.Output = os.Stderr
	}
	switch o.Format {
	case "", "text", "json":
	default:
		return nil, fmt.Errorf("log format %q: must be text or json", o.Format)
	}
	h := newHider(append([]string{o.SentryDSN}, o.Secrets...))
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	t := &Telemetry{
		Log:        newLogger(o, o.Output, h),
		Registry:   prometheus.NewRegistry(),
		process:    o.Process,
		stack:      o.Stack,
		failures:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: "sparrow_failures_total", Help: "Failures that somebody should look at."}, []string{"what"}),
		panics:     counter("sparrow_panics_total", "Panics recovered."),
		suppressed: counter("sparrow_sentry_suppressed_total", "Reports left out by the flood limit."),
		whats:      map[string]bool{},
	}
	t.allow.Store(&o.Allow)
	sent := counter("sparrow_sentry_sent_total", "Reports that Sentry took.")
	failed := counter("sparrow_sentry_failed_total", "Reports that did not reach Sentry.")
	t.Registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		t.failures, t.panics, t.suppressed, sent, failed)
	if o.SentryDSN != "" {
		var err error
		if t.reporter, err = newReporter(o, gate{h, &t.allow}, newTransport(sent, failed)); err != nil {
			return nil, fmt.Errorf("telemetry: %w", err)
		}
	}
	return t, nil
}

// Discard returns telemetry that nobody reads, for tests and offline commands.
func Discard() *Telemetry {
	t, err := New(Options{Process: "discard", Output: io.Discard})
	if err != nil {
		panic(err) // these options are sound
	}
	return t
}

// Allow replaces the Allowlist, for what is reported from now on.
func (t *Telemetry) Allow(a Allowlist) { t.allow.Store(&a) }

// Failure reports an error that somebody should look at: to the log, and to Sentry within the flood limit. what is a
// constant text that names the kind of failure; failures of one kind are one issue. tags are ids, positions, names and
// counts, never content; those with a key that is known reach Sentry too. Call it where the error is decided, once.
func (t *Telemetry) Failure(what string, err error, tags ...slog.Attr) {
	t.failure(what, err, nil, tags)
}

// FailureOf is Failure with the HTTP exchange that failed.
func (t *Telemetry) FailureOf(what string, err error, x Exchange, tags ...slog.Attr) {
	t.failure(what, err, &x, tags)
}

func (t *Telemetry) failure(what string, err error, x *Exchange, tags []slog.Attr) {
	if err == nil {
		err = errors.New(what)
	}
	t.failures.WithLabelValues(t.label(what)).Inc()
	args := []any{slog.Any("error", err)}
	for _, a := range tags {
		args = append(args, a)
	}
	t.Log.Error(what, args...)
	t.report(report{
		kind: what, text: err.Error(), level: sentry.LevelError, fingerprint: []string{what},
		types: errorTypes(err), stack: callers(2), exchange: x, tags: tags,
	})
}

// Warning reports something that is wrong and not urgent, as Failure reports failures; what is its whole text.
func (t *Telemetry) Warning(what string, tags ...slog.Attr) {
	args := make([]any, len(tags))
	for i, a := range tags {
		args[i] = a
	}
	t.Log.Warn(what, args...)
	t.report(report{kind: what, text: what, level: sentry.LevelWarning, fingerprint: []string{what}, tags: tags})
}

// Panic reports a recovered panic with its stack trace; call it in the deferred function that recovered. Of the value
// only what the Go runtime says is repeated; of any other value its type.
func (t *Telemetry) Panic(recovered any, tags ...slog.Attr) {
	t.panicked(recovered, nil, tags)
}

// PanicOf is Panic with the HTTP exchange that it was about.
func (t *Telemetry) PanicOf(recovered any, x Exchange, tags ...slog.Attr) {
	t.panicked(recovered, &x, tags)
}

func (t *Telemetry) panicked(recovered any, x *Exchange, tags []slog.Attr) {
	t.panics.Inc()
	stack := callers(2)
	text, where := panicText(recovered), innermost(stack)
	args := []any{slog.String("value", text), slog.String("trace", lines(stack))}
	for _, a := range tags {
		args = append(args, a)
	}
	t.Log.Error("panic", args...)
	t.report(report{
		kind: "panic in " + where, text: text, level: sentry.LevelFatal, fingerprint: []string{"panic", where},
		types: []string{fmt.Sprintf("%T", recovered)}, stack: stack, exchange: x, tags: tags,
	})
}

// report sends p within the flood limit.
func (t *Telemetry) report(p report) {
	if t.reporter == nil {
		return
	}
	n, ok := t.flood.allow(strings.Join(p.fingerprint, "\x00"))
	if !ok {
		t.suppressed.Inc()
		return
	}
	p.suppressed = n
	p.fingerprint = append([]string{t.process}, p.fingerprint...)
	p.tags = append(p.tags[:len(p.tags):len(p.tags)], slog.String("process", t.process))
	if t.stack != "" {
		p.tags = append(p.tags, slog.String("stack", t.stack))
	}
	t.reporter.send(p)
}

// maxWhats bounds the series of sparrow_failures_total, should somebody pass a what that is not constant.
const maxWhats = 200

func (t *Telemetry) label(what string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.whats[what] && len(t.whats) >= maxWhats {
		return "other"
	}
	t.whats[what] = true
	return strings.ToValidUTF8(what, "\uFFFD")
}

// Close flushes what is still to be reported, for at most timeout, and gives up the rest. What is reported afterwards
// is logged only.
func (t *Telemetry) Close(timeout time.Duration) {
	t.close.Do(func() {
		if t.reporter != nil {
			t.reporter.close(timeout)
		}
	})
}
