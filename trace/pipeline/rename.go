package pipeline

import (
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
)

// mapFor proposes how tracker t spells an event, so that its vendor drops none of it for its name or its type. ok is
// false if it can stay as it is. taken are the names of events that this tracker sends already; the proposed one is
// added.
func mapFor(limits VendorLimits, name string, rules map[string]PropertyRule, taken map[string]bool) (m Mapping, ok bool) {
	refused := func(name string) bool {
		return limits.Names && !isIdentifier(name) || slices.Contains(limits.Events, name) || reserved(name, limits.Prefixes) ||
			limits.EventName > 0 && len([]rune(name)) > limits.EventName
	}
	if refused(name) && !slices.Contains(limits.Translated, name) {
		m.Name = unique(identifier(name, "event", limits.EventName), taken, limits.EventName)
	}
	sent := map[string]bool{}
	paths := slices.Sorted(maps.Keys(rules))
	for _, path := range paths {
		sent[propertyName(path)] = true
	}
	for _, path := range paths {
		is := propertyName(path)
		switch rules[path].Type {
		case Object, Array, Strings, Integers, Numbers:
			if limits.Scalars && !(rules[path].Type == Array && slices.Contains(limits.Lists, is)) {
				m.Omit = append(m.Omit, path)
				continue
			}
		}
		if limits.Names && !isIdentifier(is) || reserved(is, limits.Prefixes) || limits.PropertyName > 0 && len([]rune(is)) > limits.PropertyName {
			if m.Properties == nil {
				m.Properties = map[string]string{}
			}
			m.Properties[path] = unique(identifier(is, "property", limits.PropertyName), sent, limits.PropertyName)
		}
	}
	return m, m.Name != "" || m.Properties != nil || m.Omit != nil
}

// identifier writes name as a letter followed by letters, digits and underscores, at most most of them (0: any number). A
// name in another script keeps nothing, so it gets the word and a hash.
func identifier(name, word string, most int) string {
	var b strings.Builder
	for i := range len(name) {
		switch c := name[i]; {
		case class[c]&isAlnum != 0:
			b.WriteByte(c)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "_"):
			b.WriteByte('_')
		}
	}
	out := strings.TrimRight(b.String(), "_")
	switch {
	case out == "":
		h := fnv.New32a()
		h.Write([]byte(name))
		out = fmt.Sprintf("%s_%08x", word, h.Sum32())
	case !isIdentifier(out) || isIdentifier(name): // a digit first, or a reserved word or prefix
		out = word + "_" + out
	}
	if most > 0 && len(out) > most {
		out = strings.TrimRight(out[:most], "_")
	}
	return out
}

// unique returns name, or name_2, name_3…, whichever is free, and takes it.
func unique(name string, taken map[string]bool, most int) string {
	is := name
	for n := 2; taken[is]; n++ {
		end := fmt.Sprintf("_%d", n)
		is = name
		if most > 0 && len(is)+len(end) > most {
			is = is[:most-len(end)]
		}
		is += end
	}
	taken[is] = true
	return is
}
