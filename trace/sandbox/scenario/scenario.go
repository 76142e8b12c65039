// Package scenario says which requests to a vendor go wrong, and how.
//
// Invariant: the same scenario, seed, and sequence of requests gives the same faults, whatever the clock of the machine
// or the order of unrelated requests; an event that is silently dropped is dropped each time it comes.
package scenario

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Kind is a way to go wrong.
type Kind string

const (
	Outage      Kind = "outage"       // the vendor is down: see Mode
	Status      Kind = "status"       // answers Status with Body
	Throttle    Kind = "throttle"     // answers 429 in the vendor's own form, whatever the rate
	Drop        Kind = "drop"         // answers as always, and loses a property or 1 event in Events
	Slow        Kind = "slow"         // waits Delay
	HalfOpen    Kind = "half-open"    // accepts the connection, reads nothing more, never answers
	Trickle     Kind = "trickle"      // sends its answer a byte each Interval
	Truncate    Kind = "truncate"     // sends half of its answer and closes the connection
	ContentType Kind = "content-type" // answers with ContentType instead of its own
	ErrorBody   Kind = "error-body"   // answers 200 with an error in the body
	Echo        Kind = "echo"         // answers Status with the request's own URL, headers and body
	Silence     Kind = "silence"      // Amplitude's 400 naming the events of IDs as silenced
)

// Kinds lists them all.
var Kinds = []Kind{Outage, Status, Throttle, Drop, Slow, HalfOpen, Trickle, Truncate, ContentType, ErrorBody, Echo, Silence}

// When says whether the vendor has taken the request in when it goes wrong.
type When string

const (
	Before When = "before" // it has not: nothing of the request is stored
	After  When = "after"  // it has: only the answer is spoiled, and a sender that tries again delivers twice
)

// Scenario is a list of rules. Of those that match a request the first one that is not Drop applies, and every Drop.
type Scenario struct {
	Seed  uint64 `yaml:"seed" json:"seed"`
	Rules []Rule `yaml:"rules" json:"rules"`
}

// Rule is one way to go wrong, and for what.
type Rule struct {
	Name string `yaml:"name" json:"name"` // shown in counts; empty: its kind and number

	// What it is for. Empty fields match all. In Path a final * matches any rest, elsewhere * matches one part.
	Vendor  string `yaml:"vendor" json:"vendor,omitempty"`
	Project string `yaml:"project" json:"project,omitempty"` // name: production, staging, unknown
	Path    string `yaml:"path" json:"path,omitempty"`       // as the sandbox serves it, without query: /ga4/mp/collect, /amplitude/*

	// When it applies: from ≤ t < until. Times count from when the scenario was set; requests are those that Vendor,
	// Project and Path match, the first being number 1. Zero: no limit.
	From         Duration `yaml:"from" json:"from,omitempty"`
	Until        Duration `yaml:"until" json:"until,omitempty"`
	FromRequest  uint64   `yaml:"from_request" json:"from_request,omitempty"`
	UntilRequest uint64   `yaml:"until_request" json:"until_request,omitempty"`
	OneIn        uint64   `yaml:"one_in" json:"one_in,omitempty"` // 1 in so many of these requests, drawn by seed; 0, 1: each

	Fault Kind `yaml:"fault" json:"fault"`
	When  When `yaml:"when" json:"when,omitempty"` // empty: After for truncate, trickle and content-type, else Before

	Mode        string            `yaml:"mode" json:"mode,omitempty"`                 // outage: 503 (default), refuse, reset, hang
	Status      int               `yaml:"status" json:"status,omitempty"`             // status; echo: default 400
	Body        string            `yaml:"body" json:"body,omitempty"`                 // status, outage, error-body, content-type
	ContentType string            `yaml:"content_type" json:"content_type,omitempty"` // of Body; content-type: default text/html
	Headers     map[string]string `yaml:"headers" json:"headers,omitempty"`           // of any answer the rule gives
	RetryAfter  Duration          `yaml:"retry_after" json:"retry_after,omitempty"`   // the header of that name, in whole seconds
	Delay       Duration          `yaml:"delay" json:"delay,omitempty"`               // slow
	Jitter      Duration          `yaml:"jitter" json:"jitter,omitempty"`             // slow: added to Delay, from 0 up to this, by seed
	Interval    Duration          `yaml:"interval" json:"interval,omitempty"`         // trickle: default 1s
	Property    string            `yaml:"property" json:"property,omitempty"`         // drop
	Events      uint64            `yaml:"events" json:"events,omitempty"`             // drop: 1 event in so many, drawn by seed and event id
	IDs         []string          `yaml:"ids" json:"ids,omitempty"`                   // silence: device ids
}

// Duration is written "1m30s", or as a number of seconds.
type Duration time.Duration

// UnmarshalYAML reads both forms.
func (d *Duration) UnmarshalYAML(n *yaml.Node) error {
	var seconds float64
	if n.Decode(&seconds) == nil {
		if !(seconds < 1e9 && seconds > -1e9) { // NaN as well
			return fmt.Errorf("line %d: duration %q: want less than a billion seconds", n.Line, n.Value)
		}
		*d = Duration(seconds * float64(time.Second))
		return nil
	}
	v, err := time.ParseDuration(n.Value)
	if err != nil {
		return fmt.Errorf("line %d: duration %q: want seconds, or a text like 90s or 1m30s", n.Line, n.Value)
	}
	*d = Duration(v)
	return nil
}

// MarshalText writes the form with units.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads it.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	*d = Duration(v)
	return err
}

// Parse reads a scenario file: YAML, and so JSON as well. Unknown keys are errors.
func Parse(text []byte) (*Scenario, error) {
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	s := &Scenario{}
	if err := d.Decode(s); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("scenario: %w", err)
	}
	if err := d.Decode(new(any)); !errors.Is(err, io.EOF) {
		return nil, errors.New("scenario: more than one document in the file: keep one")
	}
	if err := s.complete(); err != nil {
		return nil, err
	}
	return s, nil
}

// complete fills in defaults and refuses what makes no sense.
func (s *Scenario) complete() error {
	names := map[string]bool{}
	for i := range s.Rules {
		r := &s.Rules[i]
		if r.Name == "" {
			r.Name = fmt.Sprintf("%s-%d", r.Fault, i+1)
		}
		if err := r.complete(); err != nil {
			return fmt.Errorf("scenario: rule %d (%s): %w", i+1, r.Name, err)
		}
		if names[r.Name] {
			return fmt.Errorf("scenario: rule %d: the name %q is taken: what a rule did is counted by its name", i+1, r.Name)
		}
		names[r.Name] = true
	}
	return nil
}

func (r *Rule) complete() error {
	if !slices.Contains(Kinds, r.Fault) {
		return fmt.Errorf("fault %q: want one of %s", r.Fault, join(Kinds))
	}
	if r.Until != 0 && r.Until <= r.From {
		return fmt.Errorf("until %s is not after from %s", time.Duration(r.Until), time.Duration(r.From))
	}
	if r.UntilRequest != 0 && r.UntilRequest <= r.FromRequest {
		return fmt.Errorf("until_request %d is not after from_request %d", r.UntilRequest, r.FromRequest)
	}
	for _, d := range []Duration{r.From, r.Until, r.RetryAfter, r.Delay, r.Jitter, r.Interval} {
		if d < 0 {
			return fmt.Errorf("negative duration %s", time.Duration(d))
		}
	}
	for name := range r.Headers {
		if http.CanonicalHeaderKey(name) == "Content-Length" {
			return errors.New("headers: Content-Length is not yours to set: use fault truncate")
		}
	}
	if _, err := path.Match(r.Path, ""); err != nil {
		return fmt.Errorf("path %q: %w", r.Path, err)
	}
	answers := func(status int) {
		if r.Status == 0 {
			r.Status = status
		}
	}
	switch r.Fault {
	case Outage:
		if r.Mode == "" {
			r.Mode = "503"
		}
		if !slices.Contains([]string{"503", "refuse", "reset", "hang"}, r.Mode) {
			return fmt.Errorf("mode %q: want 503, refuse, reset or hang", r.Mode)
		}
		if r.Mode == "503" {
			r.Status = http.StatusServiceUnavailable
		}
		if r.Mode == "refuse" && r.When == After {
			return errors.New("mode refuse has taken nothing in: it cannot come after; use reset")
		}
	case Status:
		if r.Status < 200 || r.Status > 599 {
			return fmt.Errorf("status %d: want 200 to 599", r.Status)
		}
	case Throttle:
		answers(http.StatusTooManyRequests)
	case Echo:
		answers(http.StatusBadRequest)
	case ErrorBody:
		answers(http.StatusOK)
		if r.Body == "" {
			r.Body, r.ContentType = `{"code":500,"error":"internal error"}`, "application/json"
		}
	case Drop:
		if (r.Property == "") == (r.Events == 0) {
			return errors.New("drop: name either a property, or events: N to lose 1 in N")
		}
	case Slow:
		if r.Delay == 0 && r.Jitter == 0 {
			return errors.New("slow: say how slow, with delay or jitter")
		}
	case HalfOpen:
		if r.When == After {
			return errors.New("half-open reads no request: it cannot come after; use outage with mode hang")
		}
	case Trickle:
		if r.Interval == 0 {
			r.Interval = Duration(time.Second)
		}
	case ContentType:
		if r.ContentType == "" {
			r.ContentType = "text/html; charset=utf-8"
		}
	case Silence:
		if len(r.IDs) == 0 || (r.Vendor != "" && r.Vendor != "amplitude") {
			return errors.New("silence: name the device ids, for vendor amplitude: no other vendor has this answer")
		}
		r.Vendor = "amplitude"
	}
	own := r.Fault == Trickle || r.Fault == Truncate || r.Fault == ContentType
	if own && r.When == Before {
		return fmt.Errorf("%s spoils the vendor's own answer: it cannot come before", r.Fault)
	}
	switch {
	case r.When == "" && own:
		r.When = After
	case r.When == "":
		r.When = Before
	case r.When != Before && r.When != After:
		return fmt.Errorf("when %q: want before or after", r.When)
	}
	return nil
}

func join(kinds []Kind) string {
	var b strings.Builder
	for i, k := range kinds {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(string(k))
	}
	return b.String()
}
