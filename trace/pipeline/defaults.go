package pipeline

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// DefaultRules says what the scrubber does where the configuration does not. Addresses are hashed, since counting
// distinct ones is of use; what is a secret is never worth keeping.
func DefaultRules() map[string]Action {
	return map[string]Action{
		RuleEmail:      Hash,
		RuleCard:       Mask,
		RuleToken:      Mask,
		RuleCredential: Mask,
		RuleEntropy:    Mask,
		RuleIP:         Mask,
		RuleURL:        Cut,
	}
}

// DefaultParams are the query parameters that stay in URLs where the configuration does not say: those that tell
// campaigns apart.
func DefaultParams() []string {
	return []string{"utm_campaign", "utm_content", "utm_id", "utm_medium", "utm_source", "utm_term"}
}

// Default is what runs until somebody writes a configuration: one source for development on this machine, and the page
// view, to every vendor that has an API of its own.
func Default() Config {
	c := Config{
		Sources: map[string]Source{"development": {
			Keys:    []string{"dev", "development"},
			Origins: []string{"http://localhost:*", "http://127.0.0.1:*", "http://[::1]:*", NoOrigin},
		}},
		Events: map[string]EventRule{"pageview": {Properties: map[string]PropertyRule{
			"pathname": {Type: URL, Required: true, Max: 1000}, // GA4 keeps 100 characters of it, and 1000 of url
			"referrer": {Type: URL, Max: 420},
			"title":    {Type: String, Max: 300},
			"url":      {Type: URL, Max: 1000},
		}}},
		Trackers: map[string]TrackerRule{"ga4": {}, "heap": {}, "amplitude": {}},
	}
	c.Normalise()
	return c
}

// Normalise spells out defaults and puts lists whose order means nothing in order. Maps and slices are replaced, never
// changed in place. It is idempotent.
func (c *Config) Normalise() {
	c.Format = cmp.Or(c.Format, ConfigFormat)
	c.OnWrong = cmp.Or(c.OnWrong, Drop)
	c.Limits.normalise()

	c.Sources = each(c.Sources, func(s Source) Source {
		s.Keys, s.Origins = sorted(s.Keys), sorted(s.Origins)
		return s
	})
	c.Properties = each(c.Properties, PropertyRule.normalised)
	c.Events = each(c.Events, func(e EventRule) EventRule {
		e.Properties = each(e.Properties, PropertyRule.normalised)
		e.Trackers = each(e.Trackers, func(m Mapping) Mapping {
			m.Omit, m.Only = sorted(m.Omit), sorted(m.Only)
			return m
		})
		return e
	})

	rules := DefaultRules()
	maps.Copy(rules, c.Scrub.Rules)
	c.Scrub.Rules = rules
	if c.Scrub.KeepParams == nil {
		c.Scrub.KeepParams = DefaultParams()
	}
	c.Scrub.KeepParams = sorted(c.Scrub.KeepParams)
	c.Scrub.Patterns = slices.Clone(c.Scrub.Patterns)
	for i := range c.Scrub.Patterns {
		c.Scrub.Patterns[i].Action = cmp.Or(c.Scrub.Patterns[i].Action, Mask)
	}

	if c.Context.Page == nil {
		c.Context.Page = []string{"url"}
	}
	if c.Context.Referrer == nil {
		c.Context.Referrer = []string{"referrer"}
	}

	trackers := make(map[string]TrackerRule, len(c.Trackers))
	for name, t := range c.Trackers {
		t.Vendor = cmp.Or(t.Vendor, name)
		t.IDs = cmp.Or(t.IDs, HashedIDs)
		t.Events = sorted(t.Events)
		t.Context = sorted(t.Context)
		if t.Consent.Signals == nil {
			t.Consent.Signals = []string{SignalDNT, SignalGPC}
		}
		t.Consent.Signals, t.Consent.Purposes = sorted(t.Consent.Signals), sorted(t.Consent.Purposes)
		t.Consent.Without = cmp.Or(t.Consent.Without, WithoutRefuse)
		trackers[name] = t
	}
	c.Trackers = trackers
}

func (l *Limits) normalise() {
	l.BodyBytes = cmp.Or(l.BodyBytes, 8<<20)
	l.Items = cmp.Or(l.Items, 10_000)
	l.EventBytes = cmp.Or(l.EventBytes, 64<<10)
	l.Depth = cmp.Or(l.Depth, 16)
	l.Members = cmp.Or(l.Members, 512)
	l.Name = cmp.Or(l.Name, 128)
	l.ID = cmp.Or(l.ID, 256)
	l.String = cmp.Or(l.String, 4096)
	l.Array = cmp.Or(l.Array, 256)
	l.Skew = cmp.Or(l.Skew, Duration(10*time.Minute))
	l.Age = cmp.Or(l.Age, Duration(72*time.Hour))
}

func (r PropertyRule) normalised() PropertyRule {
	r.Values, r.Keep = sorted(r.Values), sorted(r.Keep)
	r.Members = each(r.Members, PropertyRule.normalised)
	return r
}

// each returns m with f applied to each value; nil for nil.
func each[V any](m map[string]V, f func(V) V) map[string]V {
	if m == nil {
		return nil
	}
	out := make(map[string]V, len(m))
	for name, v := range m {
		out[name] = f(v)
	}
	return out
}

func sorted[T ~string](list []T) []T {
	list = slices.Clone(list)
	slices.Sort(list)
	return slices.Compact(list)
}
