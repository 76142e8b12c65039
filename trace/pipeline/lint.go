package pipeline

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Finding is something in a valid configuration that a vendor would drop, cut or refuse, or that has no effect.
type Finding struct {
	Place   string // in the configuration, as in "events.zone.delete.properties.zone"
	Tracker string // whose vendor would; empty: none in particular
	Text    string // what happens and what to do
}

// VendorLimits are what a vendor documents for what the configuration decides. 0 and nil: no limit is documented.
type VendorLimits struct {
	Names          bool // event and property names: a letter, then letters, digits and underscores
	EventName      int  // characters
	PropertyName   int
	Properties     int                    // of an event
	Own            int                    // of which the tracker itself fills in so many
	Text           int                    // characters of a string
	Texts          map[string]int         // of the string properties so called
	Prefixes       []string               // reserved for the vendor, of events and properties
	Events         []string               // reserved
	Scalars        bool                   // values that are objects or arrays are dropped
	Lists          []string               // but for arrays so called
	Translated     []string               // events the tracker gives the vendor's own name
	Renamed        map[string]string      // properties of these that it does, too
	TextIsRefused  bool                   // a string that is too long is refused, not cut
	EventIsDropped string                 // how an event whose name is not allowed fares
	Fields         map[ContextWord]string // parts of the context that become properties so called, unless the event has them
	Placed         bool                   // a country takes the place of an ip
}

// LimitsOf returns what vendor documents; false for a vendor that documents nothing, such as webhook.
func LimitsOf(vendor string) (VendorLimits, bool) {
	l, ok := map[string]VendorLimits{
		"ga4": {
			Names: true, EventName: 40, PropertyName: 40, Properties: 25, Own: 3, Text: 100,
			Texts:    map[string]int{"page_title": 300, "page_referrer": 420, "page_location": 1000},
			Prefixes: []string{"_", "firebase_", "ga_", "google_", "gtag."},
			Events: []string{"ad_activeview", "ad_click", "ad_exposure", "ad_impression", "ad_query", "ad_reward", "adunit_exposure", "app_background", "app_clear_data", "app_exception", "app_install", "app_remove", "app_store_refund",
				"app_store_subscription_cancel", "app_store_subscription_convert", "app_store_subscription_renew", "app_update", "app_upgrade", "dynamic_link_app_open", "dynamic_link_app_update",
				"dynamic_link_first_open", "error", "firebase_campaign", "first_open", "first_visit", "in_app_purchase", "notification_dismiss", "notification_foreground", "notification_open",
				"notification_receive", "notification_send", "os_update", "screen_view", "session_start", "user_engagement"},
			Scalars: true, Lists: []string{"items"}, Translated: []string{"pageview"},
			Renamed: map[string]string{"url": "page_location", "referrer": "page_referrer", "title": "page_title"}, EventIsDropped: "GA4 answers 204 and drops it silently",
			Fields: map[ContextWord]string{ContextPage: "page_location", ContextReferrer: "page_referrer"}, Placed: true,
		},
		"heap": {
			EventName: 1024, Text: 1023, Scalars: true, TextIsRefused: true, EventIsDropped: "Heap refuses it",
			Fields: map[ContextWord]string{ContextBrowser: PropertyBrowser, ContextOS: PropertyOS, ContextDevice: PropertyDevice, ContextLanguage: PropertyLanguage,
				ContextCountry: PropertyCountry, ContextPage: PropertyPage, ContextReferrer: PropertyReferrer, ContextIP: PropertyIP},
		},
		"amplitude": {
			Text: 1024, Events: []string{"$identify", "$groupidentify"}, EventIsDropped: "Amplitude takes it for something else",
			Fields: map[ContextWord]string{ContextBrowser: PropertyBrowser, ContextPage: PropertyPage, ContextReferrer: PropertyReferrer},
		},
	}[vendor]
	return l, ok
}

// Lint returns what a vendor would drop of what a valid configuration lets pass, and rules that have no effect. The
// order is by place and tracker.
func Lint(c Config) []Finding {
	c.Normalise()
	l := &linter{config: &c}
	for _, name := range slices.Sorted(maps.Keys(c.Events)) {
		for _, tracker := range slices.Sorted(maps.Keys(c.Trackers)) {
			l.event(name, tracker)
		}
		l.reach(name)
	}
	for _, tracker := range slices.Sorted(maps.Keys(c.Trackers)) {
		l.context(tracker)
	}
	l.sources()
	slices.SortStableFunc(l.findings, func(a, b Finding) int { return compare(a.Place+"\x00"+a.Tracker, b.Place+"\x00"+b.Tracker) })
	return l.findings
}

type linter struct {
	config   *Config
	findings []Finding
}

func (l *linter) find(place, tracker, format string, args ...any) {
	l.findings = append(l.findings, Finding{place, tracker, fmt.Sprintf(format, args...)})
}

// event checks one event against the limits of one tracker's vendor.
func (l *linter) event(name, tracker string) {
	c := l.config
	t, m := c.Trackers[tracker], c.Events[name].Trackers[tracker]
	limits, known := LimitsOf(t.Vendor)
	if !known || m.Skip || t.Events != nil && !slices.Contains(t.Events, name) {
		return
	}
	place := "events." + name
	hint := fmt.Sprintf("give it another name with events.%s.trackers.%s.name", name, tracker)
	sent := name
	if m.Name != "" {
		sent = m.Name
	}
	if !slices.Contains(limits.Translated, sent) {
		switch {
		case limits.Names && !isIdentifier(sent):
			l.find(place, tracker, "the name %q is not a letter followed by letters, digits and underscores: %s; %s", sent, limits.EventIsDropped, hint)
		case limits.EventName > 0 && len([]rune(sent)) > limits.EventName:
			l.find(place, tracker, "the name has %d characters, at most %d are allowed: %s; %s", len([]rune(sent)), limits.EventName, limits.EventIsDropped, hint)
		case slices.Contains(limits.Events, sent), reserved(sent, limits.Prefixes):
			l.find(place, tracker, "the name %q is reserved: %s; %s", sent, limits.EventIsDropped, hint)
		}
	}
	rules := c.propertiesOf(c.Events[name])
	count := 0
	for _, path := range slices.Sorted(maps.Keys(rules)) {
		if !m.sends(path) {
			continue
		}
		count++
		as := m.propertyName(path)
		if to, ok := limits.Renamed[as]; ok && slices.Contains(limits.Translated, sent) {
			as = to
		}
		l.property(name, tracker, path, as, rules[path], limits)
	}
	own := limits.Own
	for _, word := range t.Context {
		field, ok := limits.Fields[word]
		if !ok {
			continue
		}
		own++
		for _, path := range slices.Sorted(maps.Keys(rules)) {
			as := m.propertyName(path)
			if to, renamed := limits.Renamed[as]; renamed && slices.Contains(limits.Translated, sent) {
				as = to
			}
			if !m.sends(path) || as != field {
				continue
			}
			own--
			if !limits.Placed { // GA4's are meant to give way: the page of a page view is the event's own
				l.find(place+".properties."+path, tracker, "an event with this property is sent without the context's %s, which is called %s as well; %s", word, field,
					fmt.Sprintf("map it in events.%s.trackers.%s.properties", name, tracker))
			}
		}
	}
	if limits.Properties > 0 && count > limits.Properties-own {
		l.find(place, tracker, "%d properties and %d that the tracker adds are more than %d: those beyond are dropped; choose with events.%s.trackers.%s.only", count, own, limits.Properties, name, tracker)
	}
}

// context checks what one tracker gets of the context.
func (l *linter) context(tracker string) {
	t := l.config.Trackers[tracker]
	limits, _ := LimitsOf(t.Vendor)
	place := "trackers." + tracker + ".context."
	for _, word := range t.Context {
		field := limits.Fields[word]
		switch {
		case word == ContextCountry && l.config.Context.Country == "":
			l.find(place+string(word), tracker, "context.country names no header, so no country is known: name the one that a trusted proxy sets, or take this away")
		case word == ContextIP && limits.Placed && slices.Contains(t.Context, ContextCountry):
			l.find(place+string(word), tracker, "it is not sent where the country is known, since the vendor would ignore it: choose one of them")
		case limits.Texts[field] > 0 && limits.Texts[field] < maxAddress:
			l.find(place+string(word), tracker, "up to %d characters are let pass, %d are kept: longer ones are cut", maxAddress, limits.Texts[field])
		}
	}
}

func (l *linter) property(event, tracker, path, sent string, rule PropertyRule, limits VendorLimits) {
	place := "events." + event + ".properties." + path
	if _, own := l.config.Events[event].Properties[path]; !own {
		place = "properties." + path
		if l.seen(place, tracker) {
			return
		}
	}
	hint := fmt.Sprintf("map it in events.%s.trackers.%s.properties", event, tracker)
	switch {
	case limits.Names && !isIdentifier(sent):
		l.find(place, tracker, "the name %q is not a letter followed by letters, digits and underscores: the property is dropped silently; %s", sent, hint)
	case limits.PropertyName > 0 && len([]rune(sent)) > limits.PropertyName:
		l.find(place, tracker, "the name has %d characters, at most %d are allowed: the property is dropped; %s", len([]rune(sent)), limits.PropertyName, hint)
	case reserved(sent, limits.Prefixes):
		l.find(place, tracker, "the name %q begins with a reserved prefix: the property is dropped; %s", sent, hint)
	}
	switch rule.Type {
	case Object, Array, Strings, Integers, Numbers:
		if limits.Scalars && !(rule.Type == Array && slices.Contains(limits.Lists, sent)) {
			l.find(place, tracker, "a value of type %s is dropped: only strings and numbers are kept; list paths inside it, or omit it for this tracker", rule.Type)
		}
	case String, URL, Scalar:
		most := limits.Text
		if special, ok := limits.Texts[sent]; ok {
			most = special
		}
		longest := rule.Max
		for _, v := range rule.Values {
			longest = max(longest, len([]rune(v)))
		}
		if longest == 0 {
			longest = l.config.Limits.String
		}
		if most > 0 && longest > most {
			fate := "longer ones are cut"
			if limits.TextIsRefused {
				fate = "longer ones are refused"
			}
			l.find(place, tracker, "up to %d characters are let pass, %d are kept: %s; set max: %d if it should not happen", longest, most, fate, most)
		}
	}
}

// SentAs returns the names that a tracker may give the property at path, and its vendor's code after it; none if it does
// not get it.
func (m Mapping) SentAs(path string, limits VendorLimits) []string {
	if m.Skip || !m.sends(path) {
		return nil
	}
	names := []string{m.propertyName(path)}
	if to, ok := limits.Renamed[names[0]]; ok {
		names = append(names, to)
	}
	return names
}

func (l *linter) seen(place, tracker string) bool {
	return slices.ContainsFunc(l.findings, func(f Finding) bool { return f.Place == place && f.Tracker == tracker })
}

// reach finds events that go nowhere, and properties that are never sent.
func (l *linter) reach(name string) {
	c := l.config
	if len(c.Trackers) == 0 {
		return
	}
	for tracker, t := range c.Trackers {
		if !c.Events[name].Trackers[tracker].Skip && (t.Events == nil || slices.Contains(t.Events, name)) {
			return
		}
	}
	l.find("events."+name, "", "no tracker gets this event")
}

// sources finds origins that let too many in.
func (l *linter) sources() {
	for _, name := range slices.Sorted(maps.Keys(l.config.Sources)) {
		s := l.config.Sources[name]
		web := slices.ContainsFunc(s.Origins, func(o string) bool { return o != NoOrigin && !loopback(o) })
		if web && slices.Contains(s.Origins, NoOrigin) {
			l.find("sources."+name+".origins", "", "the write key is in web pages for all to see, and none accepts it from any program: give servers a source with a key of their own")
		}
		for _, o := range s.Origins {
			if strings.HasPrefix(o, "http://") && !loopback(o) {
				l.find("sources."+name+".origins", "", "%s is not HTTPS: anybody on the way can read and change events", o)
			}
		}
	}
}

func loopback(origin string) bool {
	o, err := parseOrigin(origin)
	return err == nil && !o.anyLabel && (o.host == "localhost" || o.host == "127.0.0.1" || o.host == "[::1]")
}

func reserved(name string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(name, p) })
}

// isIdentifier reports whether name is a letter followed by letters, digits and underscores, all ASCII.
func isIdentifier(name string) bool {
	if name == "" || class[name[0]]&(isLower|isUpper) == 0 {
		return false
	}
	for i := range len(name) {
		if !alnum(name[i]) && name[i] != '_' {
			return false
		}
	}
	return true
}
