package pipeline

import (
	"bytes"
	"cmp"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// LearnOptions bound what Learn keeps. The zero value means the defaults.
type LearnOptions struct {
	Events     int               // names of events it proposes; 0: 200
	Properties int               // paths it keeps of one event; 0: 100
	Depth      int               // levels of objects whose members become paths; 0: 3
	Sources    map[string]Source // nil: Default's
}

// Proposal is a starter allowlist for a person to edit. It holds names and types, never a value.
type Proposal struct {
	Config   Config
	Rows     int // read
	Odd      int // rows that are no event: no object, or without a name
	Overflow int // rows of events beyond the bound
	events   []*seenEvent
}

// Learn looks at raw rows, each the bytes of one event, and proposes an allowlist that lets them pass. Names in which a
// scrubbing rule finds something are left out, since no name on an allowlist may be one.
func Learn(rows iter.Seq[[]byte], o LearnOptions) *Proposal {
	o.Events, o.Properties, o.Depth = cmp.Or(o.Events, 200), cmp.Or(o.Properties, 100), cmp.Or(o.Depth, 3)
	l := &learner{o: o, events: map[string]*seenEvent{}, proposal: &Proposal{}, scrubber: newScrubber(Scrub{Rules: DefaultRules(), KeepParams: DefaultParams()}, make([]byte, MinSecret)).masking()}
	for row := range rows {
		l.row(row)
	}
	return l.propose()
}

type learner struct {
	o        LearnOptions
	events   map[string]*seenEvent
	proposal *Proposal
	scrubber *scrubber
}

type seenEvent struct {
	name       string
	count      int
	properties map[string]*seenProperty // by path
	overflow   int                      // properties beyond the bound, counted each time
	left       int                      // properties whose names look like data
}

type seenProperty struct {
	path     string
	count    int // not null
	kinds    [kindObject + 1]int
	integers int
	urls     int
	times    int
	longest  int // characters of a string, elements of an array
	elements [kindObject + 1]int
	whole    int   // integers among elements
	touched  rules // that found something in values
	members  map[string]*seenProperty
}

// room is how many names more than proposed are kept while reading, so that frequent ones that come late have a chance.
const room = 10

func (l *learner) row(row []byte) {
	l.proposal.Rows++
	row = bytes.TrimSpace(row)
	if len(row) == 0 || row[0] != '{' || !utf8.Valid(row) || endOfValue(row, 0, 64) != len(row) {
		l.proposal.Odd++
		return
	}
	var name, properties []byte
	members(row, func(key, value []byte) bool {
		switch string(unquote(key)) {
		case "event":
			name = value
		case "properties":
			properties = value
		}
		return true
	})
	if name == nil || kindOf(name) != kindString || len(name) < 3 {
		l.proposal.Odd++
		return
	}
	text := string(unquote(name))
	e := l.events[text]
	if e == nil {
		if len(l.events) == l.o.Events*room || len(text) > 128 || l.looksLikeData([]byte(text)) {
			l.proposal.Overflow++
			return
		}
		e = &seenEvent{name: text, properties: map[string]*seenProperty{}}
		l.events[text] = e
	}
	e.count++
	if properties != nil && kindOf(properties) == kindObject {
		l.object(e, properties, "", 1)
	}
}

func (l *learner) looksLikeData(name []byte) bool {
	return l.scrubber.scrub(name, l.scrubber.on, false).touched != 0
}

func (l *learner) object(e *seenEvent, object []byte, path string, depth int) {
	members(object, func(key, value []byte) bool {
		name := unquote(key)
		at := path + escapeKey(string(name))
		if kindOf(value) == kindObject && depth < l.o.Depth {
			l.object(e, value, at+".", depth+1)
			return true
		}
		p := e.properties[at]
		if p == nil {
			switch {
			case len(name) == 0 || len(name) > 128 || l.looksLikeData(name):
				e.left++
				return true
			case len(e.properties) == l.o.Properties:
				e.overflow++
				return true
			}
			p = &seenProperty{path: at}
			e.properties[at] = p
		}
		l.value(p, value)
		return true
	})
}

func (l *learner) value(p *seenProperty, value []byte) {
	k := kindOf(value)
	p.kinds[k]++
	switch k {
	case kindNull:
		return
	case kindString:
		text := unquote(value)
		p.longest = max(p.longest, utf8.RuneCount(text))
		if isWeb(text) || len(text) > 1 && text[0] == '/' && bytes.IndexByte(text, ' ') < 0 {
			p.urls++
		}
		if _, err := time.Parse(time.RFC3339Nano, string(text)); err == nil {
			p.times++
		}
		p.touched |= l.scrubber.scrub(text, l.scrubber.on, false).touched
	case kindNumber:
		if isInteger(value) {
			p.integers++
		}
	case kindArray:
		n := 0
		elements(value, func(element []byte) bool {
			n++
			ek := kindOf(element)
			p.elements[ek]++
			if ek == kindNumber && isInteger(element) {
				p.whole++
			}
			if ek == kindObject {
				members(element, func(key, member []byte) bool {
					name := string(unquote(key))
					m := p.members[name]
					if m == nil {
						if len(p.members) == l.o.Properties || name == "" || l.looksLikeData([]byte(name)) {
							return true
						}
						if p.members == nil {
							p.members = map[string]*seenProperty{}
						}
						m = &seenProperty{path: name}
						p.members[name] = m
					}
					if kindOf(member) != kindArray { // one level of members is enough to start with
						l.value(m, member)
					}
					return true
				})
			}
			return true
		})
		p.longest = max(p.longest, n)
	}
	p.count++
}

// propose turns what was seen into rules.
func (l *learner) propose() *Proposal {
	p := l.proposal
	p.Config = Config{Sources: l.o.Sources, Events: map[string]EventRule{}}
	if p.Config.Sources == nil {
		p.Config.Sources = Default().Sources
	}
	for _, e := range l.events {
		p.events = append(p.events, e)
	}
	slices.SortFunc(p.events, func(a, b *seenEvent) int { return cmp.Or(cmp.Compare(b.count, a.count), compare(a.name, b.name)) })
	for len(p.events) > l.o.Events {
		last := p.events[len(p.events)-1]
		p.Overflow += last.count
		p.events = p.events[:len(p.events)-1]
	}
	for _, e := range p.events {
		rules := map[string]PropertyRule{}
		for _, one := range e.sorted() {
			if rule, why := one.rule(); why == "" && !e.insideOther(one.path) {
				rules[one.path] = rule
			}
		}
		p.Config.Events[e.name] = EventRule{Properties: rules}
	}
	p.Config.Normalise()
	return p
}

func (e *seenEvent) sorted() []*seenProperty {
	var list []*seenProperty
	for _, p := range e.properties {
		list = append(list, p)
	}
	slices.SortFunc(list, func(a, b *seenProperty) int { return compare(a.path, b.path) })
	return list
}

// insideOther reports whether a part of path is a property too, as where an object is sometimes a string, or another
// path has the same name: such paths cannot both be listed, and the outer or first one is.
func (e *seenEvent) insideOther(path string) bool {
	for i := range path {
		if outer := e.properties[path[:i]]; path[i] == '.' && outer != nil && outer.listed() {
			return true
		}
	}
	for other, p := range e.properties {
		if other < path && p.listed() && propertyName(other) == propertyName(path) {
			return true
		}
	}
	return false
}

func (p *seenProperty) listed() bool {
	_, why := p.rule()
	return why == ""
}

// private are words in names of properties that hold what should be asked about before it is sent anywhere.
var private = []string{"email", "mail", "phone", "birth", "ssn", "iban", "firstname", "lastname", "fullname", "surname", "street", "passport"}

// rule returns the rule for what was seen, or why the property is better left out.
func (p *seenProperty) rule() (rule PropertyRule, why string) {
	if p.count == 0 {
		return rule, "always null"
	}
	folded := foldName(p.path)
	if endsInCredentialName([]byte(p.path)) && !strings.HasSuffix(folded, "sessionid") { // of an analytics session, mostly
		return rule, "its name says it is a secret"
	}
	for _, word := range private {
		if strings.Contains(folded, word) {
			return rule, "its name says it is about a person"
		}
	}
	only := func(kinds ...kind) bool {
		n := 0
		for _, k := range kinds {
			n += p.kinds[k]
		}
		return n == p.count
	}
	switch {
	case only(kindString) && p.times == p.count:
		rule.Type = Time
	case only(kindString) && p.urls == p.count:
		rule.Type = URL
	case only(kindString):
		rule.Type = String
	case only(kindNumber) && p.integers == p.count:
		rule.Type = Integer
	case only(kindNumber):
		rule.Type = Number
	case only(kindBool):
		rule.Type = Boolean
	case only(kindString, kindNumber, kindBool):
		rule.Type = Scalar
	case only(kindArray):
		return p.array()
	case only(kindObject):
		return rule, "an object deeper than is looked at: list paths inside it"
	default:
		return rule, "sometimes an object or array, sometimes not"
	}
	if p.longest > 4096 {
		rule.Max = (p.longest + 1023) / 1024 * 1024
	}
	return rule, ""
}

func (p *seenProperty) array() (rule PropertyRule, why string) {
	n := 0
	for _, c := range p.elements {
		n += c
	}
	switch n {
	case 0:
		return rule, "always empty"
	case p.elements[kindString]:
		rule.Type = Strings
	case p.whole:
		rule.Type = Integers
	case p.elements[kindNumber]:
		rule.Type = Numbers
	case p.elements[kindObject]:
		rule.Type = Array
		rule.Members = map[string]PropertyRule{}
		for name, m := range p.members {
			if r, why := m.rule(); why == "" {
				rule.Members[name] = r
			}
		}
		if len(rule.Members) == 0 {
			return rule, "its objects have no members of a plain type"
		}
	default:
		return rule, "its elements are of different types"
	}
	if p.longest > 256 {
		rule.Max = (p.longest + 255) / 256 * 256
	}
	return rule, ""
}

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
