package pipeline

import (
	"maps"
	"slices"
)

// eventRules is a compiled EventRule.
type eventRules struct {
	name       string
	root       *node
	properties []*property // by name
	views      map[string]*mapping
}

// property is a compiled PropertyRule.
type property struct {
	path     string // as configured
	name     string
	place    string // of the rule in the configuration
	slot     int
	kind     Type
	required bool
	reject   bool // what is wrong rejects the event
	max      int  // characters or elements
	text     int  // characters of an element
	values   map[string]bool
	on       rules  // that apply
	whole    Action // what is done with the whole value; Off: nothing
	members  map[string]*property
	keys     []string // of members, sorted
}

// node is a key that properties' paths go through.
type node struct {
	property *property // listed here; nil: only on the way to others
	uses     []int     // of extras: what the configuration reads from here without sending it
	children map[string]*node
}

func (n *node) child(key string) *node {
	c := n.children[key]
	if c == nil {
		c = &node{}
		if n.children == nil {
			n.children = map[string]*node{}
		}
		n.children[key] = c
	}
	return c
}

// walk returns the node that keys lead to, making those that are not there.
func (n *node) walk(path string) *node {
	keys, _ := parsePath(path) // checked
	for _, key := range keys {
		n = n.child(key)
	}
	return n
}

// compileEvent compiles one event of a checked configuration.
func (p *Pipeline) compileEvent(name string, e EventRule) *eventRules {
	c := &p.config
	r := &eventRules{name: name, root: &node{}, views: map[string]*mapping{}}
	rules := c.propertiesOf(e)
	for path, rule := range rules {
		place := "events." + name + ".properties." + path
		if _, own := e.Properties[path]; !own {
			place = "properties." + path
		}
		one := p.compileProperty(path, place, rule)
		r.properties = append(r.properties, one)
		r.root.walk(path).property = one
	}
	slices.SortFunc(r.properties, func(a, b *property) int { return compare(a.name, b.name) })
	for i, one := range r.properties {
		one.slot = i
	}
	for i, path := range p.extras {
		n := r.root.walk(path)
		n.uses = append(n.uses, i)
	}
	for tracker, t := range c.Trackers {
		m := e.Trackers[tracker]
		if m.Skip || t.Events != nil && !slices.Contains(t.Events, name) {
			continue
		}
		v := &mapping{name: name, properties: map[string]string{}}
		if m.Name != "" {
			v.name = m.Name
		}
		for path := range rules {
			if m.sends(path) {
				v.properties[propertyName(path)] = m.propertyName(path)
			}
		}
		r.views[tracker] = v
	}
	return r
}

func (p *Pipeline) compileProperty(path, place string, rule PropertyRule) *property {
	c := &p.config
	one := &property{
		path:     path,
		name:     propertyName(path),
		place:    place,
		kind:     rule.Type,
		required: rule.Required,
		reject:   (rule.OnWrong == "" && c.OnWrong == Reject) || rule.OnWrong == Reject,
		max:      rule.Max,
		text:     c.Limits.String,
		on:       p.scrubber.without(rule.Keep),
		whole:    p.scrubber.field(path),
	}
	if one.max == 0 {
		switch rule.Type {
		case Strings, Integers, Numbers, Array:
			one.max = c.Limits.Array
		default:
			one.max = c.Limits.String
		}
	}
	if len(rule.Values) > 0 {
		one.values = map[string]bool{}
		for _, v := range rule.Values {
			one.values[v] = true
		}
	}
	if rule.Members != nil {
		one.members = map[string]*property{}
		for key, member := range rule.Members {
			one.members[key] = p.compileProperty(path+"."+escapeKey(key), place+".members."+key, member)
		}
		one.keys = slices.Sorted(maps.Keys(rule.Members))
	}
	return one
}

// mapping is a compiled Mapping: what one tracker gets of one event.
type mapping struct {
	name       string
	properties map[string]string // name → the tracker's name
}

// Columns lists one typed column for each allowlisted property, by name: what raw_normalized shows. A property that
// events disagree about is a String.
func (c *Config) Columns() []Column {
	types := map[string]Type{}
	paths := map[string]string{}
	see := func(rules map[string]PropertyRule) {
		for path, rule := range rules {
			name := propertyName(path)
			if t, ok := types[name]; ok && t != rule.Type {
				rule.Type = String
			}
			if p, ok := paths[name]; ok && p < path { // one name, two paths that differ in escapes: take the same one always
				path = p
			}
			types[name], paths[name] = rule.Type, path
		}
	}
	see(c.Properties)
	for _, name := range slices.Sorted(maps.Keys(c.Events)) {
		see(c.Events[name].Properties)
	}
	columns := make([]Column, 0, len(types))
	for _, name := range slices.Sorted(maps.Keys(types)) {
		keys, _ := parsePath(paths[name])
		columns = append(columns, Column{Name: name, Keys: keys, Type: types[name]})
	}
	return columns
}

// Column is one allowlisted property as a column.
type Column struct {
	Name string   // as in Property
	Keys []string // that lead to it inside properties
	Type Type
}
