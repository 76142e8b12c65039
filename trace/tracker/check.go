package tracker

import (
	"context"
	"log/slog"
	"net/http"

	"github.com/sparrowhq/sparrow/event"
)

// checker sends a sample of events to the vendor's validation endpoint as well. It takes no part in delivery: what does
// not fit into its queue is dropped and counted.
type checker struct {
	*Sender
	vendor Checker
	client *client
	queue  chan check // Send offers, run receives; never closed
}

type check struct {
	event.Position
	lane *lane
	form Form
}

const maxChecks = 256

func newChecker(s *Sender, v Checker) *checker {
	return &checker{Sender: s, vendor: v, queue: make(chan check, maxChecks),
		client: newClient(&s.o, func(base http.RoundTripper) http.RoundTripper { return guard{base} }, func() bool { return false })}
}

// guard refuses what would leave in the clear.
type guard struct{ base http.RoundTripper }

func (g guard) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := checkScheme(r.URL); err != nil {
		closeBody(r)
		return nil, err
	}
	return g.base.RoundTrip(r)
}

// offer copies the event's form, and returns whether it will be checked. It never waits.
func (c *checker) offer(l *lane, t *task) bool {
	if len(c.queue) == cap(c.queue) {
		c.count("dropped")
		return false
	}
	f := t.form
	f.Head, f.Body, f.Warnings = append([]byte(nil), f.Head...), append([]byte(nil), f.Body...), nil
	select {
	case c.queue <- check{t.Position, l, f}:
		return true
	default:
		c.count("dropped")
		return false
	}
}

func (c *checker) count(result string) {
	c.metrics.checks.WithLabelValues(c.o.Name, result).Inc()
}

func (c *checker) run() {
	for {
		select {
		case one := <-c.queue:
			warnings := c.check(one)
			if c.o.Checked != nil && c.ctx.Err() == nil {
				c.o.Checked(Checked{one.Position, one.lane.sink, warnings})
			}
		case <-c.ctx.Done():
			return
		}
	}
}

// check asks the endpoint, and counts and reports what it says.
func (c *checker) check(one check) []Warning {
	var req Request
	if !c.vendor.Check(one.lane.credential, []*Form{&one.form}, &req) {
		return nil
	}
	warnings, err := c.ask(&req)
	switch {
	case c.ctx.Err() != nil:
		return nil
	case err != nil:
		c.count("failed")
		return nil
	case len(warnings) == 0:
		c.count("valid")
		return nil
	}
	c.count("warned")
	for i := range warnings {
		w := &warnings[i]
		w.Text = c.hide.text(w.Text, maxDetail)
		w.Field = c.hide.text(w.Field, 200)
		c.metrics.warned(*w)
		c.o.Telemetry.Warning("tracker "+c.o.Name+": "+label(w.Code)+" at "+label(w.Field),
			append(c.tags(one.lane.sink), slog.Any("position", one.Position))...)
	}
	return warnings
}

func (c *checker) ask(req *Request) ([]Warning, error) {
	ctx, cancel := context.WithTimeout(c.ctx, c.o.Timeout)
	defer cancel()
	u, err := parseURL(req.URL)
	if err != nil {
		return nil, err
	}
	a, err := c.client.post(ctx, u, req.Header, req.Body)
	if err != nil {
		return nil, err
	}
	return c.vendor.Messages(a)
}
