package pipeline

import (
	"bytes"
	"cmp"
	"iter"
	"slices"
	"time"
	"unicode/utf8"
)

// LearnOptions bound what Learn keeps. The zero value means the defaults.
type LearnOptions struct {
	Events     int                    // names of events it proposes; 0: 200
	Properties int                    // paths it keeps of one event; 0: 100
	Depth      int                    // levels of objects whose members become paths; 0: 3
	Sources    map[string]Source      // nil: Default's
	Trackers   map[string]TrackerRule // nil: Default's
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
	p.Config = Config{Sources: l.o.Sources, Events: map[string]EventRule{}, Trackers: l.o.Trackers}
	if p.Config.Sources == nil {
		p.Config.Sources = Default().Sources
	}
	if p.Config.Trackers == nil {
		p.Config.Trackers = Default().Trackers
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
	p.spell()
	return p
}

// spell adds for each tracker how it has to spell what its vendor would drop for its name or type.
func (p *Proposal) spell() {
	for _, tracker := range sortedNames(p.Config.Trackers) {
		limits, known := LimitsOf(p.Config.Trackers[tracker].Vendor)
		if !known {
			continue
		}
		taken := map[string]bool{}
		for name := range p.Config.Events {
			taken[name] = true
		}
		for _, name := range sortedNames(p.Config.Events) {
			e := p.Config.Events[name]
			if m, ok := mapFor(limits, name, e.Properties, taken); ok {
				if e.Trackers == nil {
					e.Trackers = map[string]Mapping{}
				}
				e.Trackers[tracker] = m
				p.Config.Events[name] = e
			}
		}
	}
	p.Config.Normalise()
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
