package tracker

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/telemetry"
)

// Options configure New. Zero fields mean the default named beside them.
type Options struct {
	Name        string                 // the tracker's, for metrics and logs; required
	Vendor      Vendor                 // required
	Credentials map[Sink]Credential    // of each sink that items may have; required
	Modes       map[Sink]Mode          // a sink that is not in it: Send
	Telemetry   *telemetry.Telemetry   // nil: nobody reads it
	Clock       func() time.Time       // time.Now; rates, holds and ages go by it, waiting does not
	Done        func(results []Result) // required. Called from the Sender's goroutines, also several at once; must be quick. The Results are the receiver's

	// Before is called before each call to a vendor that is not Keyed, with the positions it carries, and is durable on
	// return. If it fails the call waits. nil: nothing is noted.
	Before func(ctx context.Context, positions []event.Position) error

	// Checked gets what the vendor's validation endpoint said of an event of the sample, in its own time: once for each
	// Result with Checking, mostly after it, unless the Sender is closed before. Called from one goroutine; must be quick.
	// nil: metrics and reports only.
	Checked func(c Checked)

	Items  int           // in flight at each sink: given to Send and not yet in a Result; 20,000
	Bytes  int           // of their vendor forms; 32 MiB
	Calls  int           // at the same time for each sink; as the vendor's Traits say
	Events int           // in a request; as Traits say, and never more
	Gather time.Duration // how long an event waits for company; 50 ms. Negative: not at all
	Linger time.Duration // likewise while many come, so that requests are fuller; 20 times Gather, and never less than it
	NoGzip bool          // never compress

	// NoPacing lifts the documented rates, for benchmarks against a sandbox that lifts them too. Rates replaces them.
	NoPacing bool
	Rates    []Rate

	Timeout       time.Duration // of one attempt, from the connection to the end of the answer; 30 s
	RetryMin      time.Duration // the first wait after a failure; 250 ms
	RetryMax      time.Duration // the longest; 30 s
	RetryAfterMax time.Duration // the longest a vendor may ask for; 10 min
	Trips         int           // failures in a row that open the circuit breaker; 5

	Sample      int // one in so many Results of delivered events holds request and response; 1,000. Negative: none
	CheckSample int // one in so many events is also sent to the validation endpoint, if the vendor has one; 1,000. Negative: none
}

// ModeKind is what a sink does with events.
type ModeKind string

// The kinds of modes.
const (
	Send   ModeKind = "send"
	Some   ModeKind = "sample"  // some events; the others as in dry-run
	DryRun ModeKind = "dry-run" // built, checked, digested, not sent
)

// Mode is what a sink does with events. The zero Mode sends all.
type Mode struct {
	Kind    ModeKind // empty: Send
	Percent float64  // of Some: 0 to 100. By the hash of an event's idempotency key, so both stacks choose alike
}

// Checked is what the validation endpoint said.
type Checked struct {
	event.Position
	Sink     Sink
	Warnings []Warning // nil: it finds nothing wrong, or gave no answer
}

func (o Options) withDefaults() (Options, error) {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if o.Name == "" {
		fault("it has no name")
	}
	if o.Vendor == nil {
		fault("it has no vendor")
	}
	if o.Done == nil {
		fault("nobody takes its results: set Done")
	}
	if len(o.Credentials) == 0 {
		fault("it has no credentials")
	}
	for sink, c := range o.Credentials {
		if sink != Production && sink != Staging {
			fault("sink %q: want %s or %s", sink, Production, Staging)
		}
		for _, address := range []string{c.URL, c.Check} {
			if err := checkURL(address); err != nil && (address != "" || address == c.URL) {
				fault("sink %s: %w", sink, err)
			}
		}
	}
	if p, s := o.Credentials[Production], o.Credentials[Staging]; len(o.Credentials) == 2 && p.URL == s.URL && p.Key == s.Key && p.Secret == s.Secret {
		fault("production and staging have the same address and credential: a candidate's events would count as live")
	}
	for sink, m := range o.Modes {
		switch m.Kind {
		case "", Send, DryRun:
		case Some:
			if !(m.Percent >= 0 && m.Percent <= 100) {
				fault("sink %s: %v %% of events: want 0 to 100", sink, m.Percent)
			}
		default:
			fault("sink %s: mode %q: want %s, %s or %s", sink, m.Kind, Send, Some, DryRun)
		}
	}
	if err := errors.Join(faults...); err != nil {
		return o, fmt.Errorf("tracker %s: %w", o.Name, err)
	}
	t := o.Vendor.Traits()
	if o.Telemetry == nil {
		o.Telemetry = telemetry.Discard()
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	o.Items = orDefault(o.Items, 20_000)
	o.Bytes = orDefault(o.Bytes, 32<<20)
	o.Calls = orDefault(o.Calls, max(t.Calls, 1))
	o.Events = min(orDefault(o.Events, t.Events), t.Events)
	o.Gather = max(orDefault(o.Gather, 50*time.Millisecond), 0)
	o.Linger = max(orDefault(o.Linger, 20*o.Gather), o.Gather)
	if o.Rates == nil {
		o.Rates = t.Rates
	}
	if o.NoPacing {
		o.Rates = nil
	}
	o.Timeout = orDefault(o.Timeout, 30*time.Second)
	o.RetryMin = orDefault(o.RetryMin, 250*time.Millisecond)
	o.RetryMax = max(orDefault(o.RetryMax, 30*time.Second), o.RetryMin)
	o.RetryAfterMax = orDefault(o.RetryAfterMax, 10*time.Minute)
	o.Trips = orDefault(o.Trips, 5)
	o.Sample = orDefault(o.Sample, 1000)
	o.CheckSample = orDefault(o.CheckSample, 1000)
	return o, nil
}

func orDefault[T int | time.Duration](v, otherwise T) T {
	if v == 0 {
		return otherwise
	}
	return v
}

// checkURL refuses every address that would send events in the clear. Its errors do not repeat the query, which may
// hold a secret, nor what is no URL at all.
func checkURL(address string) error {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return errors.New("the address is not a URL like https://HOST/PATH")
	}
	return checkScheme(u)
}

func checkScheme(u *url.URL) error {
	if u.Scheme == "https" || u.Scheme == "http" && loopback(u.Hostname()) {
		return nil
	}
	return fmt.Errorf("%w: the address at %s must begin with https://, except on this machine", errNotHTTPS, u.Hostname())
}

var errNotHTTPS = errors.New("not https")

func loopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}
