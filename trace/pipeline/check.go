package pipeline

import (
	"fmt"
	"maps"
	"path"
	"regexp"
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

// properties checks the rules of properties or members, and that no path contradicts another.
func (k *checker) properties(here []string, rules map[string]PropertyRule) {
	names := map[string]string{} // name → path
	paths := map[string]string{} // keys, each ended by a zero byte → path
	for _, p := range slices.Sorted(maps.Keys(rules)) {
		keys, err := parsePath(p)
		if err != nil {
			k.fault(in(here, p), "path %q: %v", p, err)
			continue
		}
		name := strings.Join(keys, ".")
		if other, taken := names[name]; taken {
			k.fault(in(here, p), "has the same name as %q in what trackers get", other)
		}
		names[name] = p
		paths[strings.Join(keys, "\x00")+"\x00"] = p
		k.rule(in(here, p), rules[p])
	}
	for _, joined := range slices.Sorted(maps.Keys(paths)) {
		for i := range len(joined) - 1 {
			if whole, taken := paths[joined[:i+1]]; taken && joined[i] == 0 {
				k.fault(in(here, paths[joined]), "%q is listed as a whole: list either the object or paths inside it", whole)
			}
		}
	}
}

func (k *checker) rule(here []string, r PropertyRule) {
	if !slices.Contains(types(), r.Type) {
		k.fault(here, "type %q: want one of %s", r.Type, join(types()))
		return
	}
	if r.OnWrong != "" {
		k.policy(in(here, "on_wrong"), r.OnWrong)
	}
	if r.Max < 0 {
		k.fault(in(here, "max"), "must not be negative")
	}
	switch r.Type {
	case Integer, Number, Boolean, Time, Object:
		if r.Max != 0 {
			k.fault(in(here, "max"), "a property of type %s has no length", r.Type)
		}
	}
	if len(r.Values) > 0 && r.Type != String {
		k.fault(in(here, "values"), "only a string can have listed values, this is of type %s", r.Type)
	}
	for _, rule := range r.Keep {
		if !k.knownRule(rule) {
			k.fault(in(here, "keep", rule), "no scrubbing rule is called %q", rule)
		}
	}
	if r.Members == nil {
		return
	}
	if r.Type != Object && r.Type != Array {
		k.fault(in(here, "members"), "only object and array have members, this is of type %s", r.Type)
	}
	for _, key := range slices.Sorted(maps.Keys(r.Members)) {
		m, where := r.Members[key], in(here, "members", key)
		if m.Required || m.OnWrong != "" {
			k.fault(where, "a member is never required, and left out where it is wrong: required and on_wrong are for properties")
		}
		k.rule(where, m)
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

var patternName = regexp.MustCompile(`^[a-z0-9-]+$`)

func (k *checker) scrub() {
	s, here := k.config.Scrub, at("scrub")
	for _, rule := range slices.Sorted(maps.Keys(s.Rules)) {
		if _, ok := DefaultRules()[rule]; !ok {
			k.fault(in(here, "rules", rule), "there is no such rule: want one of %s", join(slices.Sorted(maps.Keys(DefaultRules()))))
		}
		if rule == RuleURL && s.Rules[rule] != Cut && s.Rules[rule] != Off {
			k.fault(in(here, "rules", rule), "parts of URLs can only be removed: want drop or off, this is %q", s.Rules[rule])
			continue
		}
		k.action(in(here, "rules", rule), s.Rules[rule])
	}
	for i, p := range s.KeepParams {
		if p == "" || p == "*" || strings.Contains(strings.TrimSuffix(p, "*"), "*") {
			k.fault(in(here, "keep_params", fmt.Sprint(i)), "%q: want a parameter's name, or the beginning of one and a trailing *", p)
		}
	}
	seen := map[string]bool{}
	for i, p := range s.Patterns {
		where := in(here, "patterns", fmt.Sprint(i))
		if _, builtIn := DefaultRules()[p.Name]; !patternName.MatchString(p.Name) || builtIn || seen[p.Name] {
			k.fault(in(where, "name"), "%q: want a name of its own of lower-case letters, digits and dashes", p.Name)
		}
		seen[p.Name] = true
		if p.Action == Off {
			k.fault(in(where, "action"), "remove the pattern instead of switching it off")
		} else {
			k.action(in(where, "action"), p.Action)
		}
		if re, err := regexp.Compile(p.Match); err != nil {
			k.fault(in(where, "match"), "%v", err)
		} else if re.MatchString("") {
			k.fault(in(where, "match"), "matches the empty text, so it would match everywhere")
		}
	}
	for _, glob := range slices.Sorted(maps.Keys(s.Fields)) {
		where := in(here, "fields", glob)
		k.action(where, s.Fields[glob])
		if _, err := path.Match(glob, ""); err != nil {
			k.fault(where, "%v", err)
		} else if !k.matchesProperty(glob) {
			k.fault(where, "no listed property has this path")
		}
	}
}

func (k *checker) matchesProperty(glob string) bool {
	if matchesAny(glob, "", k.config.Properties) {
		return true
	}
	for _, e := range k.config.Events {
		if matchesAny(glob, "", e.Properties) {
			return true
		}
	}
	return false
}

// matchesAny reports whether glob matches the path of one of the rules or of their members.
func matchesAny(glob, prefix string, rules map[string]PropertyRule) bool {
	for p, rule := range rules {
		if prefix != "" {
			p = prefix + "." + escapeKey(p)
		}
		if ok, _ := path.Match(glob, p); ok || matchesAny(glob, p, rule.Members) {
			return true
		}
	}
	return false
}

func (k *checker) action(path []string, a Action) {
	switch a {
	case Hash, Mask, Cut, Off:
	default:
		k.fault(path, "%q: want hash, mask, drop or off", a)
	}
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
