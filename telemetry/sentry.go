package telemetry

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/getsentry/sentry-go"
)

// Exchange is an HTTP exchange that went wrong, as it was. What of it reaches Sentry is decided by the Allowlist;
// nothing of it is logged.
type Exchange struct {
	Method       string
	URL          string // with its query
	Header       http.Header
	Body         []byte
	Status       int    // of the response; 0: there was none
	ResponseBody []byte // its beginning is enough

	ResponseHeader http.Header
	Way            []Step // of the event, or the first of the events, that the exchange was about; in order
}

// reporter sends reports to Sentry.
type reporter struct {
	client *sentry.Client
}

// newReporter checks the DSN. Its errors do not repeat it: it holds a key.
func newReporter(o Options, g gate, t *transport) (*reporter, error) {
	u, err := url.Parse(o.SentryDSN)
	if err != nil || u.Host == "" {
		return nil, errors.New("the Sentry DSN is not a URL like https://KEY@HOST/PROJECT")
	}
	if u.Scheme != "https" && !loopback(u.Hostname()) {
		return nil, errors.New("the Sentry DSN must begin with https://, except for a Sentry on this machine")
	}
	release := o.Version
	if release == "" {
		release = "unknown" // left empty, the library would ask git and the environment
	}
	environment := o.Environment
	if environment == "" {
		environment = "production"
	}
	client, err := sentry.NewClient(sentry.ClientOptions{
		Dsn: o.SentryDSN, Release: "sparrow@" + release, Environment: environment,
		Transport: t, BeforeSend: g.pass, DisableClientReports: true, DisableTelemetryBuffer: true,
		// No transactions, logs or metrics of ours go there; should a library send some, nothing of it may pass.
		BeforeSendTransaction: func(*sentry.Event, *sentry.EventHint) *sentry.Event { return nil },
		BeforeSendLog:         func(*sentry.Log) *sentry.Log { return nil },
		BeforeSendMetric:      func(*sentry.Metric) *sentry.Metric { return nil },
	})
	if err != nil {
		return nil, errors.New("the Sentry DSN is refused: want one like https://KEY@HOST/PROJECT")
	}
	return &reporter{client: client}, nil
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && a.IsLoopback()
}

// report is one report before it is built.
type report struct {
	kind        string // title of the issue
	text        string
	level       sentry.Level
	fingerprint []string
	types       []string
	stack       *sentry.Stacktrace
	exchange    *Exchange
	tags        []slog.Attr
	suppressed  int
}

func (r *reporter) send(p report) {
	e := sentry.NewEvent()
	e.Level = p.level
	e.Fingerprint = p.fingerprint
	e.Exception = []sentry.Exception{{Type: p.kind, Value: p.text, Stacktrace: p.stack}}
	e.Contexts["error"] = sentry.Context{"types": p.types}
	for _, a := range p.tags {
		e.Tags[a.Key] = a.Value.Resolve().String()
	}
	if p.suppressed > 0 {
		e.Tags["suppressed"] = strconv.Itoa(p.suppressed)
	}
	hint := &sentry.EventHint{}
	if x := p.exchange; x != nil {
		hint.Data = way(x.Way)
		e.Request = &sentry.Request{Method: x.Method, Headers: map[string]string{}, Data: string(x.Body)}
		e.Request.URL, e.Request.QueryString, _ = strings.Cut(x.URL, "?")
		e.Request.Headers = joined(x.Header)
		if x.Status != 0 {
			e.Contexts["response"] = sentry.Context{"status_code": x.Status, "data": string(x.ResponseBody), "headers": joined(x.ResponseHeader)}
		}
	}
	r.client.CaptureEvent(e, hint, nil)
}

func joined(h http.Header) map[string]string {
	all := map[string]string{}
	for name, values := range h {
		all[name] = strings.Join(values, ", ")
	}
	return all
}

func (r *reporter) close(timeout time.Duration) {
	r.client.Flush(timeout)
	r.client.Close()
}

// errorTypes lists the types of an error and of what it wraps.
func errorTypes(err error) (types []string) {
	for next := []error{err}; len(next) > 0 && len(types) < 10; next = next[1:] {
		if next[0] == nil {
			continue
		}
		types = append(types, reflect.TypeOf(next[0]).String())
		switch u := next[0].(type) {
		case interface{ Unwrap() error }:
			next = append(next, u.Unwrap())
		case interface{ Unwrap() []error }:
			next = append(next, u.Unwrap()...)
		}
	}
	return types
}

// panicText describes a panic's value. Only what the runtime says itself is repeated: any other value may hold what a
// client sent, and the stack says where it happened.
func panicText(v any) string {
	if err, ok := v.(runtime.Error); ok {
		return err.Error()
	}
	return fmt.Sprintf("a value of type %T, withheld: it may hold what a client sent", v)
}
