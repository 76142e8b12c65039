package pipeline

import (
	"maps"
	"slices"
	"strings"
)

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
