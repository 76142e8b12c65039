package pipeline

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
)

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
