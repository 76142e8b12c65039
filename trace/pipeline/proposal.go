package pipeline

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// YAML writes the proposal as a configuration file with what was seen as comments: how often, and where the scrubber
// found something.
func (p *Proposal) YAML() []byte {
	doc := mappingNode()
	doc.HeadComment = fmt.Sprintf("Proposed from %d events. Read it line by line: everything listed here leaves for the vendors.\nRemove what nobody needs, mark what must be there with required: true, shorten with max.", p.Rows-p.Odd)
	if p.Odd > 0 {
		doc.HeadComment += fmt.Sprintf("\n%d rows are no events and were not looked at.", p.Odd)
	}
	if p.Overflow > 0 {
		doc.HeadComment += fmt.Sprintf("\n%d events have names that are too many, too rare, too long or look like data, and are not listed.", p.Overflow)
	}
	sources := mappingNode()
	for _, name := range sortedNames(p.Config.Sources) {
		s := p.Config.Sources[name]
		one := mappingNode()
		put(one, "keys", listNode(s.Keys))
		put(one, "origins", listNode(s.Origins))
		put(sources, name, one)
	}
	put(doc, "sources", sources)
	events := mappingNode()
	for _, e := range p.events {
		e.put(events, p.Config.Events[e.name])
	}
	put(doc, "events", events)
	trackers := mappingNode()
	for _, name := range sortedNames(p.Config.Trackers) {
		one := mappingNode()
		if vendor := p.Config.Trackers[name].Vendor; vendor != name {
			put(one, "vendor", textNode(vendor))
		} else {
			one.Style = yaml.FlowStyle
		}
		put(trackers, name, one)
	}
	if len(trackers.Content) > 0 {
		put(doc, "trackers", trackers).HeadComment = "Who gets what is listed above. Remove those that you do not use."
	}
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(doc); err != nil {
		panic(fmt.Sprintf("pipeline: writing YAML: %v", err)) // into memory, of nodes made here
	}
	return b.Bytes()
}

// put adds the event to the mapping of events.
func (e *seenEvent) put(events *yaml.Node, rule EventRule) {
	node, properties := mappingNode(), mappingNode()
	comment := []string{fmt.Sprintf("%d times", e.count)}
	for _, p := range e.sorted() {
		r, listed := rule.Properties[p.path]
		if !listed {
			_, why := p.rule()
			comment = append(comment, fmt.Sprintf("left out: %s: %s", p.path, cmp.Or(why, "contradicts another path")))
			continue
		}
		value := ruleNode(r)
		key := put(properties, p.path, value)
		note := fmt.Sprintf("in %d of %d", p.count, e.count)
		if p.touched != 0 {
			note += "; the scrubber found: " + (&scrubber{names: builtInNames[:]}).touchedNames(p.touched)
		}
		if value.Kind == yaml.ScalarNode {
			value.LineComment = note
		} else {
			key.HeadComment = note
		}
	}
	put(node, "properties", properties)
	if len(rule.Trackers) > 0 {
		trackers := mappingNode()
		for _, name := range sortedNames(rule.Trackers) {
			put(trackers, name, mappingOf(rule.Trackers[name]))
		}
		put(node, "trackers", trackers)
	}
	if e.left > 0 {
		comment = append(comment, fmt.Sprintf("left out: %d times a property whose name looks like data", e.left))
	}
	if e.overflow > 0 {
		comment = append(comment, fmt.Sprintf("left out: %d times a property beyond the bound", e.overflow))
	}
	for i := range comment {
		comment[i] = strings.Map(func(r rune) rune {
			if r < ' ' || r == 0x7F || r == 0x85 || r == 0x2028 || r == 0x2029 || r == 0xFEFF || r == utf8.RuneError {
				return ' '
			}
			return r
		}, comment[i])
	}
	put(events, e.name, node).HeadComment = strings.Join(comment, "\n")
}

func mappingOf(m Mapping) *yaml.Node {
	node := mappingNode()
	if m.Name != "" {
		put(node, "name", textNode(m.Name))
	}
	if len(m.Properties) > 0 {
		properties := mappingNode()
		for _, path := range sortedNames(m.Properties) {
			put(properties, path, textNode(m.Properties[path]))
		}
		put(node, "properties", properties)
	}
	if len(m.Omit) > 0 {
		put(node, "omit", listNode(m.Omit))
	}
	return node
}

func ruleNode(r PropertyRule) *yaml.Node {
	if r.Max == 0 && r.Members == nil {
		return textNode(string(r.Type))
	}
	node := mappingNode()
	put(node, "type", textNode(string(r.Type)))
	if r.Max != 0 {
		put(node, "max", &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: fmt.Sprint(r.Max)})
	}
	if r.Members != nil {
		ms := mappingNode()
		for _, name := range sortedNames(r.Members) {
			put(ms, name, ruleNode(r.Members[name]))
		}
		put(node, "members", ms)
	}
	return node
}

func mappingNode() *yaml.Node { return &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"} }

// textNode is a string. What is more than a plain word is quoted: the encoder leaves some texts bare that mean something
// else when they are read, such as <<.
func textNode(s string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s}
	for i := range len(s) {
		if class[s[i]]&isAlnum == 0 && s[i] != '_' && s[i] != '.' && s[i] != '-' {
			n.Style = yaml.DoubleQuotedStyle
		}
	}
	return n
}

func listNode(list []string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", Style: yaml.FlowStyle}
	for _, s := range list {
		n.Content = append(n.Content, textNode(s))
	}
	return n
}

// put adds a member to a mapping and returns its key.
func put(mapping *yaml.Node, key string, value *yaml.Node) *yaml.Node {
	k := textNode(key)
	mapping.Content = append(mapping.Content, k, value)
	return k
}

func sortedNames[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
