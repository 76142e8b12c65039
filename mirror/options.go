package mirror

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"github.com/gorilla/mux"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/journal"
	"github.com/sparrowhq/sparrow/telemetry"
)

// Options configure New.
type Options struct {
	// Journal says where requests become durable. With FirstFrame nil, a new journal begins above everything the stacks
	// already have: both are asked, and until both have answered nothing is accepted. Telemetry is filled in.
	Journal journal.Options

	// Green and Blue are the addresses of the stacks' dispatchers, "http://host:port". Required.
	Green, Blue string
	// Stacks says what is particular to a stack. Empty: both are Sparrow dispatchers, and get everything.
	Stacks map[event.Stack]StackOptions

	// Secret authenticates the hop to the stacks. Token authenticates operators at the admin API. Both required.
	Secret, Token string

	Intake    IntakeOptions
	Feed      FeedOptions
	Retention RetentionOptions

	// SDK answers GET /sparrow.js on the clients' listener. nil: 404.
	SDK http.Handler

	// AdminHosts are the names under which the admin listener may be addressed, beside localhost and IP addresses, which
	// cannot be rebound.
	AdminHosts []string
	// Admin adds routes to the admin API: behind the operator token and the checks against cross-site requests. May be
	// nil.
	Admin func(*mux.Router)

	// Grace bounds each step of the orderly stop. 0: 10 s.
	Grace time.Duration

	Telemetry *telemetry.Telemetry // required
}

// StackOptions say how one stack is fed.
type StackOptions struct {
	// Protocol is "frames" for a Sparrow dispatcher, or "http" for any other service: it gets each request as the client
	// sent it, at the stack's address. Empty: frames.
	Protocol string
	// Concurrency is how many requests an http stack is sent at once; 0: 32.
	Concurrency int
	// Rule leaves requests out. Zero: none.
	Rule Rule
}

// Protocols.
const (
	protocolFrames = "frames"
	protocolHTTP   = "http"
)

func (o StackOptions) withDefaults(headers []string) (StackOptions, error) {
	orDefault(&o.Protocol, protocolFrames)
	orDefault(&o.Concurrency, 32)
	switch {
	case o.Protocol != protocolFrames && o.Protocol != protocolHTTP:
		return o, fmt.Errorf("protocol %q: want frames or http", o.Protocol)
	case o.Concurrency < 0 || o.Concurrency > 4096:
		return o, fmt.Errorf("concurrency %d: want 1 to 4096", o.Concurrency)
	}
	var err error
	o.Rule, err = o.Rule.checked(headers)
	return o, err
}

// IntakeOptions bound what clients may do.
type IntakeOptions struct {
	// Requests are what is taken, each "METHOD /path"; a path that ends in /* stands for all below it. nil: POST /v1/events.
	Requests []string
	// Origins whose pages may read answers, "https://example.org"; with a port of * any port. Empty: none.
	Origins []string
	// TrustedProxies may say on whose behalf they forward, in X-Forwarded-For. Empty: the peer is the client.
	TrustedProxies []netip.Prefix
	// Headers are the names that are journaled. nil: User-Agent, Accept-Language, Referer, Origin, Content-Type,
	// Content-Encoding, Sec-GPC, DNT.
	Headers []string

	MaxBody        int64         // bytes of one body as sent; 0: 1 MiB
	MaxHeader      int           // bytes of the request line and headers together; 0: 32 KiB
	MaxHeaders     int           // header lines; 0: 100
	MaxConnections int           // further ones are answered 503 and closed; 0: 8192
	MaxReading     int64         // bytes of bodies over 4 KiB being read; 0: 64 MiB
	MaxQueue       int           // bytes waiting to be committed; 0: 32 MiB
	MaxFrame       int           // bytes of one frame, unless a single request is larger; 0: 4 MiB
	MaxRequests    int           // requests of one frame; 0: 8192
	ReadTimeout    time.Duration // for headers and the first 16 KiB of the body; 0: 15 s
	MinRate        int64         // bytes a second a client must send beyond that; 0: 16 KiB
	IdleTimeout    time.Duration // of a connection between requests; 0: 75 s
	Preflight      time.Duration // for which browsers may remember a preflight's answer; 0: 24 h
	Rate           RateOptions   // zero: no limit
	TLS            TLSOptions    // zero: plain HTTP/1.1

	// Drain is how long, once a stop is asked for, requests are still taken and each answer ends its connection, so that
	// clients move on to whoever comes after by themselves. It ends early when nobody is connected. 0: none.
	Drain time.Duration
}

// FeedOptions bound what a stack gets and how failures are met. Each feed has budgets of its own.
type FeedOptions struct {
	MaxBytes    int           // bytes of one delivery, unless a single frame is larger; 0: 4 MiB
	Gather      time.Duration // least time between two deliveries, so that few requests share one; 0: 2 ms
	Linger      time.Duration // likewise while they come densely: fuller deliveries cost everything behind less; 0: 100 ms
	CallTimeout time.Duration // of one call; 0: 30 s
	MaxBackoff  time.Duration // between attempts at a stack that is down or busy; 0: 5 s
	CatchUpRate int64         // bytes a second at which a candidate catches up; 0: 32 MiB
	// Attempts is how often a request must fail alone, while others succeed, before it is dead-lettered; 0: 5.
	Attempts int
	// Patience is how long a request must have failed alone if no other request was there to succeed; it doubles with
	// each further one in a row. 0: 30 s.
	Patience time.Duration
	// ProbeEvery is how often an idle, or a refusing, stack is asked for its cursor; 0: 5 s.
	ProbeEvery time.Duration
	// SaveEvery is the least time between two writes of a feed's state; 0: 200 ms.
	SaveEvery time.Duration
}

// RetentionOptions say when frames that both stacks have are removed from the journal.
type RetentionOptions struct {
	MaxAge time.Duration // 0: 72 h
	// Pressure is the part of the journal's size limit from which frames are removed before their age, and the
	// candidate is no longer waited for; 0: 0.80.
	Pressure float64
	Every    time.Duration // between checks; 0: 1 s
}

// withDefaults returns o checked, with every zero value replaced.
func (o Options) withDefaults() (Options, error) {
	if o.Telemetry == nil {
		return o, errors.New("mirror: Options.Telemetry is missing")
	}
	if o.Secret == "" || o.Token == "" {
		return o, errors.New("mirror: Options.Secret and Options.Token are both required")
	}
	for stack, address := range map[event.Stack]string{event.Green: o.Green, event.Blue: o.Blue} {
		u, err := url.Parse(address)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil {
			return o, fmt.Errorf("mirror: the address of stack %s must read http://host:port", stack)
		}
	}
	if o.Grace == 0 {
		o.Grace = 10 * time.Second
	}
	o.Journal.Telemetry = o.Telemetry
	var err error
	if o.Intake, err = o.Intake.withDefaults(); err != nil {
		return o, err
	}
	headers, err := headerList(o.Intake.Headers)
	if err != nil {
		return o, err
	}
	stacks := map[event.Stack]StackOptions{}
	for _, name := range event.Stacks() {
		if stacks[name], err = o.Stacks[name].withDefaults(headers); err != nil {
			return o, fmt.Errorf("mirror: stack %s: %w", name, err)
		}
	}
	o.Stacks = stacks
	if o.Feed, err = o.Feed.withDefaults(); err != nil {
		return o, err
	}
	o.Retention, err = o.Retention.withDefaults()
	return o, err
}

func (o IntakeOptions) withDefaults() (IntakeOptions, error) {
	if o.Headers == nil {
		o.Headers = []string{"User-Agent", "Accept-Language", "Referer", "Origin", "Content-Type", "Content-Encoding", "Sec-Gpc", "Dnt"}
	}
	if o.Requests == nil {
		o.Requests = []string{http.MethodPost + " " + pathOfEvents}
	}
	orDefault(&o.MaxBody, 1<<20)
	orDefault(&o.MaxHeader, 32<<10)
	orDefault(&o.MaxHeaders, 100)
	orDefault(&o.TLS.MinVersion, tls.VersionTLS12)
	orDefault(&o.TLS.CheckEvery, 10*time.Second)
	orDefault(&o.MaxConnections, 8192)
	orDefault(&o.MaxReading, 64<<20)
	orDefault(&o.MaxQueue, 32<<20)
	orDefault(&o.MaxFrame, 4<<20)
	orDefault(&o.MaxRequests, 8192)
	orDefault(&o.ReadTimeout, 15*time.Second)
	orDefault(&o.MinRate, 16<<10)
	orDefault(&o.IdleTimeout, 75*time.Second)
	orDefault(&o.Preflight, 24*time.Hour)
	// A frame must hold at least one request of the largest size.
	largest := o.MaxBody + int64(o.MaxHeader) + requestOverhead
	if largest > event.MaxFrameBytes {
		return o, fmt.Errorf("mirror: bodies of %d bytes do not fit into a frame, which has at most %d bytes with headers: lower the limit", o.MaxBody, event.MaxFrameBytes)
	}
	if o.MaxFrame > event.MaxFrameBytes {
		return o, fmt.Errorf("mirror: frames of %d bytes: the journal takes at most %d", o.MaxFrame, event.MaxFrameBytes)
	}
	if int64(o.MaxQueue) < largest {
		return o, fmt.Errorf("mirror: a queue of %d bytes cannot hold one request of %d", o.MaxQueue, largest)
	}
	if o.Rate.PerSecond < 0 || o.Rate.PerSecond > 1e6 || o.Rate.Burst < 0 || o.Rate.Burst > 1e6 {
		return o, fmt.Errorf("mirror: a rate of %d requests a second, %d at once: each may be 0 to 1,000,000", o.Rate.PerSecond, o.Rate.Burst)
	}
	if (o.TLS.Cert == "") != (o.TLS.Key == "") {
		return o, errors.New("mirror: TLS takes two files: the certificate and its key")
	}
	if o.TLS.MinVersion < tls.VersionTLS12 {
		return o, fmt.Errorf("mirror: %s is not secure: the oldest is TLS 1.2", tls.VersionName(o.TLS.MinVersion))
	}
	return o, nil
}

func (o FeedOptions) withDefaults() (FeedOptions, error) {
	orDefault(&o.MaxBytes, 4<<20)
	orDefault(&o.Gather, 2*time.Millisecond)
	orDefault(&o.Linger, 100*time.Millisecond)
	orDefault(&o.CallTimeout, 30*time.Second)
	orDefault(&o.MaxBackoff, 5*time.Second)
	orDefault(&o.CatchUpRate, 32<<20)
	orDefault(&o.Attempts, 5)
	orDefault(&o.Patience, 30*time.Second)
	orDefault(&o.ProbeEvery, 5*time.Second)
	orDefault(&o.SaveEvery, 200*time.Millisecond)
	if o.MaxBytes < 0 || o.CatchUpRate < 0 || o.Attempts < 0 {
		return o, errors.New("mirror: a negative bound in Options.Feed")
	}
	return o, nil
}

func (o RetentionOptions) withDefaults() (RetentionOptions, error) {
	orDefault(&o.MaxAge, 72*time.Hour)
	orDefault(&o.Pressure, 0.80)
	orDefault(&o.Every, time.Second)
	if o.Pressure <= 0 || o.Pressure > 0.90 {
		return o, fmt.Errorf("mirror: retention pressure of %v: must be above 0, and at most 0.90 so that it sets in before the journal refuses at 0.95", o.Pressure)
	}
	return o, nil
}

func orDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
