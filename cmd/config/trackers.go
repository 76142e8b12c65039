package config

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sparrowhq/sparrow/trace/sandbox"
)

// Trackers are the vendors' accounts, by the name of the tracker in the pipeline's file. They are no part of a build:
// what is sent is decided there, where to is decided here.
type Trackers map[string]*Tracker

// Of returns the section of a tracker; the defaults if there is none.
func (t Trackers) Of(name string) *Tracker {
	if one := t[name]; one != nil {
		return one
	}
	one := &Tracker{}
	one.applyDefaults()
	return one
}

// Names are the names of the sections, sorted.
func (t Trackers) Names() []string { return slices.Sorted(maps.Keys(t)) }

// Tracker is where one tracker sends to. A field that is 0 or empty has its default.
type Tracker struct {
	Production Sink     `yaml:"production"`
	Staging    Sink     `yaml:"staging"`
	Calls      int      `yaml:"calls"`   // at once; 0: as suits the vendor
	Pacing     *bool    `yaml:"pacing"`  // keep the documented rates; nil: true
	Gather     Duration `yaml:"gather"`  // a batch
	Timeout    Duration `yaml:"timeout"` // of one call
	Webhook    Webhook  `yaml:"webhook"` // of a tracker whose vendor is webhook
}

// Webhook is how a receiver of no well-known vendor wants its events. What of it decides on the events' form is part of
// the build.
type Webhook struct {
	Events      int      `yaml:"events"`       // in a request; 0 or 1: one, as an object
	Wrap        string   `yaml:"wrap"`         // member that holds the list; empty: the body is the list
	IDField     string   `yaml:"id_field"`     // empty: eventId
	Fields      []string `yaml:"fields"`       // name=from; empty: all there are
	Headers     []string `yaml:"headers"`      // "Name: value"
	TokenHeader string   `yaml:"token_header"` // empty: Authorization, with Bearer
	Keyed       bool     `yaml:"keyed"`        // it drops an event that it has already got
	Gzip        bool     `yaml:"gzip"`         // it takes gzip
}

// Sink is one account at a vendor.
type Sink struct {
	URL        string `yaml:"url"`         // empty: the vendor's own
	Key        string `yaml:"key"`         // measurement id, app id, API key; empty, and no URL either: the sandbox
	SecretFile string `yaml:"secret_file"` // GA4's api_secret, a webhook's bearer token; never inline
	Mode       Mode   `yaml:"mode"`        // empty: send
}

// Sandboxed reports whether nothing was configured, so that events go to the sandbox.
func (s Sink) Sandboxed() bool { return s.URL == "" && s.Key == "" }

// defaultTrackers has a section for each vendor, so that each can be configured by environment variables alone.
func defaultTrackers() Trackers {
	t := Trackers{}
	t.applyDefaults()
	return t
}

func (t Trackers) applyDefaults() {
	for _, name := range []string{"ga4", "heap", "amplitude", "webhook"} {
		if t[name] == nil {
			t[name] = &Tracker{}
		}
	}
	for name, one := range t {
		if one == nil {
			one = &Tracker{}
			t[name] = one
		}
		one.applyDefaults()
	}
}

func (t *Tracker) applyDefaults() {
	if t.Pacing == nil {
		yes := true
		t.Pacing = &yes
	}
	if t.Gather == 0 {
		t.Gather = Duration(50 * time.Millisecond)
	}
	if t.Timeout == 0 {
		t.Timeout = Duration(30 * time.Second)
	}
	for _, s := range []*Sink{&t.Production, &t.Staging} {
		if s.Mode == "" {
			s.Mode = "send"
		}
	}
}

// Mode says how much of what belongs to a sink is sent: "send", "dry-run" (built, checked, digested, not sent), or a
// part such as "10%", drawn by the event's key.
type Mode string

// Percent returns the part that is sent, and whether the mode is one: 100 for send, 0 for dry-run.
func (m Mode) Percent() (float64, bool) {
	switch m {
	case "", "send":
		return 100, true
	case "dry-run":
		return 0, true
	}
	text, ok := strings.CutSuffix(string(m), "%")
	if !ok {
		return 0, false
	}
	p, err := strconv.ParseFloat(text, 64)
	return p, err == nil && p > 0 && p <= 100
}

// UnmarshalText reads a mode.
func (m *Mode) UnmarshalText(text []byte) error {
	if _, ok := Mode(text).Percent(); !ok {
		return fmt.Errorf("%q: want send, dry-run, or a part like 10%%", text)
	}
	*m = Mode(text)
	return nil
}

// Sandbox is the vendors' stand-in.
type Sandbox struct {
	URL      string         `yaml:"url"`
	Listen   string         `yaml:"listen"` // empty: the address in URL; under `sparrow up` a free loopback port
	MaxBytes Size           `yaml:"max_bytes"`
	MaxIDs   int            `yaml:"max_ids"`
	Scenario string         `yaml:"scenario"` // file
	Limits   sandbox.Limits `yaml:"limits"`
}
