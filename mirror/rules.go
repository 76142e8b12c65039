package mirror

import (
	"fmt"
	"net/http"
	"strings"
)

// rules are what of the intake can change while it runs. A request is judged by one set of them from beginning to end.
type rules struct {
	options    IntakeOptions // with defaults
	routes     *routes
	origins    *origins
	proxies    proxies
	headers    []string // journaled
	maxHeaders int      // header lines of a request
	bodies     bodyLimits
	rate       *limiter // nil: no limit
}

// newRules checks o, which has its defaults, and returns what follows from it. before, which may be nil, gives its
// memory of the clients' rates on if the limit is the same.
func newRules(o IntakeOptions, before *rules, evicted func()) (*rules, error) {
	allowed, err := newOrigins(o.Origins, o.Preflight)
	if err != nil {
		return nil, err
	}
	taken, err := newRoutes(o.Requests)
	if err != nil {
		return nil, err
	}
	headers, err := headerList(o.Headers)
	if err != nil {
		return nil, err
	}
	r := &rules{
		options:    o,
		routes:     taken,
		origins:    allowed,
		proxies:    o.TrustedProxies,
		headers:    headers,
		maxHeaders: o.MaxHeaders,
		bodies:     bodyLimits{max: o.MaxBody, budget: o.MaxReading, timeout: o.ReadTimeout, minRate: o.MinRate},
	}
	if before != nil && before.options.Rate == o.Rate {
		r.rate = before.rate
	} else {
		r.rate = newLimiter(o.Rate, evicted)
	}
	return r, nil
}

// Refusals by rules alone: nothing was read of the body.
var (
	refuseRate    = &refusal{http.StatusTooManyRequests, "rate", "this client sends more requests than it may: nothing was stored, send the request again after the time in Retry-After", false}
	refuseStreams = &refusal{http.StatusServiceUnavailable, "streams", "too many requests are under way: nothing was stored, send the request again later", false}
	refuseHeaders = &refusal{http.StatusRequestHeaderFieldsTooLarge, "headers", "the request has too many header lines: nothing was stored", true}
)

// headerLines counts the header lines of a request.
func headerLines(h http.Header) (n int) {
	for _, values := range h {
		n += len(values)
	}
	return n
}

// RestartError says that a change cannot be made while the mirror runs. Nothing was changed.
type RestartError struct{ Settings []string }

func (e *RestartError) Error() string {
	return fmt.Sprintf("a restart is needed to change %s: nothing was changed", strings.Join(e.Settings, ", "))
}

// CheckIntake returns what Reload would find wrong with o, beside changes that need a restart. It reads the certificate.
func CheckIntake(o IntakeOptions) error {
	o, err := o.withDefaults()
	if err != nil {
		return err
	}
	if _, err := newRules(o, nil, func() {}); err != nil {
		return err
	}
	if o.TLS.enabled() {
		_, err = loadCertificate(o.TLS)
	}
	return err
}

// ReloadFeeds changes what stacks get at a time and how failures are met: each feed follows once the call that it is in has
// ended. Gather, Linger, ProbeEvery and SaveEvery stay as they are. With an error nothing has changed.
func (m *Mirror) ReloadFeeds(o FeedOptions) error {
	feed := m.o.Feed
	o.Gather, o.Linger, o.ProbeEvery, o.SaveEvery = feed.Gather, feed.Linger, feed.ProbeEvery, feed.SaveEvery
	o, err := o.withDefaults()
	if err != nil {
		return err
	}
	m.reloading.Lock()
	defer m.reloading.Unlock()
	m.feeding.Store(&o)
	if s := m.state.Load(); s != nil {
		for _, f := range s.feeds {
			f.next.Store(&o)
		}
	}
	return nil
}

// Reload changes what clients may do from the next request on; requests under way, and connections, are not disturbed. It
// changes all of it or, with an error, nothing: *RestartError if a bound of the server itself is another (MaxHeader,
// MaxFrame, MaxRequests, ReadTimeout, IdleTimeout, and whether there is TLS at all).
func (m *Mirror) Reload(o IntakeOptions) error {
	o, err := o.withDefaults()
	if err != nil {
		return err
	}
	m.reloading.Lock()
	defer m.reloading.Unlock()
	was := m.intake.rules.Load()
	var fixed []string
	for _, f := range []struct {
		name    string
		changed bool
	}{
		{"MaxHeader", o.MaxHeader != was.options.MaxHeader},
		{"MaxFrame", o.MaxFrame != was.options.MaxFrame},
		{"MaxRequests", o.MaxRequests != was.options.MaxRequests},
		{"ReadTimeout", o.ReadTimeout != was.options.ReadTimeout},
		{"IdleTimeout", o.IdleTimeout != was.options.IdleTimeout},
		{"TLS on or off", o.TLS.enabled() != was.options.TLS.enabled()},
	} {
		if f.changed {
			fixed = append(fixed, f.name)
		}
	}
	if len(fixed) > 0 {
		return &RestartError{fixed}
	}
	next, err := newRules(o, was, m.intake.metrics.evicted.Inc)
	if err != nil {
		return err
	}
	if o.TLS.enabled() { // the last that can fail
		if err := m.certificate.replace(o.TLS); err != nil {
			return err
		}
	}
	m.intake.rules.Store(next)
	if l := m.listening.Load(); l != nil {
		l.max.Store(int64(o.MaxConnections))
	}
	if s := m.state.Load(); s != nil {
		s.committer.resize(o.MaxQueue)
	}
	return nil
}
