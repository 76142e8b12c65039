package pipeline

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Vendors lists the kinds of trackers, for TrackerRule.Vendor.
func Vendors() []string { return []string{"amplitude", "ga4", "heap", "webhook"} }

// types lists the types of properties, in the order in which messages name them.
func types() []Type {
	return []Type{String, Integer, Number, Boolean, Scalar, Time, URL, Strings, Integers, Numbers, Object, Array}
}

// checker collects what is wrong with a normalised configuration.
type checker struct {
	config *Config
	faults faults
}

// check returns everything that is wrong with a normalised configuration. What it lets pass, New compiles.
func (c *Config) check() faults {
	k := &checker{config: c}
	if c.Format != ConfigFormat {
		k.fault(at("format"), "this build reads format %d, this is %d", ConfigFormat, c.Format)
	}
	k.sources()
	k.limits()
	k.policy(at("on_wrong"), c.OnWrong)
	k.properties(at("properties"), c.Properties)
	k.events()
	k.scrub()
	for _, purpose := range slices.Sorted(maps.Keys(c.Consent)) {
		k.path(at("consent", purpose), c.Consent[purpose])
	}
	for i, p := range c.Context.Page {
		k.path(at("context", "page", fmt.Sprint(i)), p)
	}
	for i, p := range c.Context.Referrer {
		k.path(at("context", "referrer", fmt.Sprint(i)), p)
	}
	k.trackers()
	return k.faults
}

// at is a place in the configuration.
func at(path ...string) []string { return path }

func (k *checker) fault(path []string, format string, args ...any) {
	k.faults = append(k.faults, fault{path: slices.Clone(path), text: fmt.Sprintf(format, args...)})
}

// in returns path with more elements; the result shares nothing with path.
func in(path []string, more ...string) []string { return append(slices.Clone(path), more...) }

func (k *checker) sources() {
	if len(k.config.Sources) == 0 {
		k.fault(at("sources"), "there are none, so every event would be rejected: add one with keys and origins")
	}
	owner := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(k.config.Sources)) {
		s, here := k.config.Sources[name], at("sources", name)
		if name == "" {
			k.fault(here, "a source needs a name")
		}
		if len(s.Keys) == 0 {
			k.fault(here, "keys is empty: name the write keys (?k=…) that belong to this source")
		}
		if len(s.Origins) == 0 {
			k.fault(here, "origins is empty: list the web origins that may send, or none for servers")
		}
		for _, key := range s.Keys {
			switch other, taken := owner[key]; {
			case key == "":
				k.fault(in(here, "keys"), "a write key is empty")
			case taken:
				k.fault(in(here, "keys", key), "the write key belongs to source %s already", other)
			}
			owner[key] = name
		}
		for _, o := range s.Origins {
			if _, err := parseOrigin(o); err != nil {
				k.fault(in(here, "origins", o), "%v", err)
			}
		}
	}
}

func (k *checker) limits() {
	l := k.config.Limits
	for name, v := range map[string]int{"body_bytes": l.BodyBytes, "items": l.Items, "event_bytes": l.EventBytes, "depth": l.Depth, "members": l.Members,
		"name": l.Name, "id": l.ID, "string": l.String, "array": l.Array, "skew": int(l.Skew), "age": int(l.Age)} {
		if v < 0 {
			k.fault(at("limits", name), "must not be negative")
		}
	}
	if l.Depth > 64 {
		k.fault(at("limits", "depth"), "at most 64 levels")
	}
}

func (k *checker) policy(path []string, p Policy) {
	if p != Drop && p != Reject {
		k.fault(path, "%q is neither drop nor reject", p)
	}
}

func (k *checker) path(where []string, p string) {
	if _, err := parsePath(p); err != nil {
		k.fault(where, "path %q: %v", p, err)
	}
}

func (k *checker) events() {
	c := k.config
	if len(c.Events) == 0 {
		k.fault(at("events"), "there are none, so every event would be rejected: list the events you want (sparrow trace learn proposes some)")
	}
	for _, name := range slices.Sorted(maps.Keys(c.Events)) {
		e, here := c.Events[name], at("events", name)
		if name == "" || len(name) > c.Limits.Name {
			k.fault(here, "an event's name has 1 to %d bytes (limits.name)", c.Limits.Name)
		}
		own := len(k.faults)
		k.properties(in(here, "properties"), e.Properties)
		if len(k.faults) == own {
			k.merged(here, e)
		}
		for _, tracker := range slices.Sorted(maps.Keys(e.Trackers)) {
			k.mapping(in(here, "trackers", tracker), name, tracker, e.Trackers[tracker])
		}
	}
}

// merged checks an event's own properties together with the common ones, which they replace by name.
func (k *checker) merged(here []string, e EventRule) {
	both := &checker{config: k.config}
	both.properties(in(here, "properties"), k.config.propertiesOf(e))
	for _, f := range both.faults {
		f.text += " (a property of every event)"
		if !slices.ContainsFunc(k.faults, func(g fault) bool { return slices.Equal(f.path[3:], g.path[1:]) }) {
			k.faults = append(k.faults, f)
		}
	}
}

// propertiesOf returns the rules of the event's properties by path: its own, and the common ones it does not replace.
func (c *Config) propertiesOf(e EventRule) map[string]PropertyRule {
	all := maps.Clone(c.Properties)
	if all == nil {
		return e.Properties
	}
	maps.Copy(all, e.Properties)
	return all
}

func (k *checker) mapping(here []string, event, tracker string, m Mapping) {
	t, ok := k.config.Trackers[tracker]
	if !ok {
		k.fault(here, "no tracker is called %q: add it under trackers", tracker)
		return
	}
	if m.Skip {
		return
	}
	if t.Events != nil && !slices.Contains(t.Events, event) {
		k.fault(here, "trackers.%s.events leaves this event out: list it there or remove the mapping", tracker)
	}
	rules := k.config.propertiesOf(k.config.Events[event])
	listed := func(what, p string) {
		if _, ok := rules[p]; !ok {
			k.fault(in(here, what, p), "the event has no property %q", p)
		}
	}
	if len(m.Only) > 0 && len(m.Omit) > 0 {
		k.fault(in(here, "omit"), "use either only or omit")
	}
	for _, p := range m.Omit {
		listed("omit", p)
	}
	for _, p := range m.Only {
		listed("only", p)
	}
	taken := map[string]string{}
	for _, p := range slices.Sorted(maps.Keys(rules)) {
		if !m.sends(p) {
			continue
		}
		name := m.propertyName(p)
		if other, ok := taken[name]; ok {
			k.fault(in(here, "properties", p), "the tracker would get %q twice: from %s and from %s", name, other, p)
		}
		taken[name] = p
	}
	for _, p := range slices.Sorted(maps.Keys(m.Properties)) {
		listed("properties", p)
		if m.Properties[p] == "" {
			k.fault(in(here, "properties", p), "the tracker's name is empty: to leave the property out use omit")
		}
	}
}

// sends reports whether the property at path goes to the tracker.
func (m Mapping) sends(path string) bool {
	return !slices.Contains(m.Omit, path) && (len(m.Only) == 0 || slices.Contains(m.Only, path))
}

// propertyName is the tracker's name for the property at path.
func (m Mapping) propertyName(path string) string {
	if name, ok := m.Properties[path]; ok {
		return name
	}
	return propertyName(path)
}

func (k *checker) knownRule(name string) bool {
	_, builtIn := DefaultRules()[name]
	return builtIn || slices.ContainsFunc(k.config.Scrub.Patterns, func(p Pattern) bool { return p.Name == name })
}

func (k *checker) trackers() {
	c := k.config
	for _, name := range slices.Sorted(maps.Keys(c.Trackers)) {
		t, here := c.Trackers[name], at("trackers", name)
		if !slices.Contains(Vendors(), t.Vendor) {
			k.fault(in(here, "vendor"), "%q: want one of %s", t.Vendor, strings.Join(Vendors(), ", "))
		}
		if name == StageName || name == "raw" {
			k.fault(here, "%s is the name of a stage; call the tracker something else", name)
		}
		for _, e := range t.Events {
			if _, ok := c.Events[e]; !ok {
				k.fault(in(here, "events", e), "no event is called %q", e)
			}
		}
		if t.IDs != HashedIDs && t.IDs != PlainIDs {
			k.fault(in(here, "ids"), "%q is neither hash nor plain", t.IDs)
		}
		for _, word := range t.Context {
			if !slices.Contains(ContextWords(), word) {
				k.fault(in(here, "context", string(word)), "%q: want one of %s", word, join(ContextWords()))
			}
		}
		for _, s := range t.Consent.Signals {
			if s != SignalGPC && s != SignalDNT {
				k.fault(in(here, "consent", "signals", s), "%q: want gpc or dnt", s)
			}
		}
		for _, p := range t.Consent.Purposes {
			if _, ok := c.Consent[p]; !ok {
				k.fault(in(here, "consent", "purposes", p), "consent does not say which property holds %q", p)
			}
		}
		if w := t.Consent.Without; w != WithoutRefuse && w != WithoutSend {
			k.fault(in(here, "consent", "without"), "%q is neither refuse nor send", w)
		}
	}
}

func join[T ~string](list []T) string {
	var b strings.Builder
	for i, s := range list {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(string(s))
	}
	return b.String()
}
