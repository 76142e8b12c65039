package pipeline

import (
	"bytes"
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// rules is a set of scrubbing rules, one bit each. The built-in ones come first; own patterns follow in their order.
type rules uint64

// The built-in rules that look for something in any text, in the order of finders.
const (
	email = iota
	card
	token_
	credential
	entropy_
	ip
	urls
	builtIn // how many there are
)

var builtInNames = [builtIn]string{RuleEmail, RuleCard, RuleToken, RuleCredential, RuleEntropy, RuleIP, RuleURL}

// maxPatterns is how many own patterns fit a set of rules.
const maxPatterns = 64 - builtIn

// scrubber replaces what rules find in texts. It is immutable.
type scrubber struct {
	names    []string // by rule
	actions  []Action
	on       rules
	patterns []*regexp.Regexp
	params   params
	fields   []fieldRule
	macs     *sync.Pool // of hash.Hash
}

type fieldRule struct {
	glob   string
	action Action
}

// newScrubber compiles a checked configuration.
func newScrubber(s Scrub, secret []byte) *scrubber {
	c := &scrubber{params: newParams(s.KeepParams), macs: &sync.Pool{New: func() any { return hmac.New(sha256.New, secret) }}}
	for i, name := range builtInNames {
		c.add(name, s.Rules[name])
		if s.Rules[name] == Off {
			c.on &^= 1 << i
		}
	}
	for _, p := range s.Patterns {
		c.add(p.Name, p.Action)
		c.patterns = append(c.patterns, regexp.MustCompile(p.Match))
	}
	for glob, action := range s.Fields {
		c.fields = append(c.fields, fieldRule{glob, action})
	}
	// The most specific rule counts: the longest, then the first by name.
	slices.SortFunc(c.fields, func(a, b fieldRule) int {
		return cmp.Or(cmp.Compare(len(b.glob), len(a.glob)), cmp.Compare(a.glob, b.glob))
	})
	return c
}

func (c *scrubber) add(name string, action Action) {
	c.on |= 1 << len(c.names)
	c.names = append(c.names, name)
	c.actions = append(c.actions, action)
}

// masking returns a scrubber with the same rules and all the built-in ones, which masks whatever it finds: for texts
// that go where no person's data may be.
func (c *scrubber) masking() *scrubber {
	m := *c
	m.actions = slices.Repeat([]Action{Mask}, len(c.actions))
	m.on = 1<<len(c.actions) - 1
	m.fields = nil
	return &m
}

// Mask returns text with whatever any rule finds in it masked, for texts of others that go where no person's data may be.
func (p *Pipeline) Mask(text string) string {
	r := p.masking.scrub([]byte(text), p.masking.on, false)
	if r.drop {
		return ""
	}
	return string(r.text)
}

// without returns the rules that apply where those called keep do not.
func (c *scrubber) without(keep []string) rules {
	on := c.on
	for i, name := range c.names {
		if slices.Contains(keep, name) {
			on &^= 1 << i
		}
	}
	return on
}

// field returns what is to be done with the whole value of the property at path; Off if nothing.
func (c *scrubber) field(p string) Action {
	for _, f := range c.fields {
		if ok, _ := path.Match(f.glob, p); ok {
			return f.action
		}
	}
	return Off
}

// found is something a rule found.
type found struct {
	from, to int // in the original text
	rule     int
	text     []byte // as read; what is hashed
}

// result is what became of a text.
type result struct {
	text    []byte // the original if nothing was found
	touched rules  // that found something
	drop    bool   // a rule wants the whole value gone
}

// hints say what a text holds at all, so that most finders need not look.
const (
	hasAt = 1 << iota
	hasDigit
	hasDigits // at least as many as a card has
	hasColon
	hasEquals
	hasEncoding
	hasSlash
	hasRun  // of 32 characters or more without a space
	hasWord // so long that it may be a token
)

func hintsOf(text []byte) (hints int) {
	run, digits := 0, 0
	for i, c := range text {
		switch {
		case c == '@':
			hints |= hasAt
		case c == ':':
			hints |= hasColon
		case c == '=':
			hints |= hasEquals
		case c == '/':
			hints |= hasSlash
		case '0' <= c && c <= '9':
			digits++
		case c == '%' || c == '\\' || c == '&' || c >= 0xC2:
			if hints&hasEncoding == 0 && encoded(text[i:min(len(text), i+4)]) {
				hints |= hasEncoding
			}
		}
		if c <= ' ' {
			run = 0
		} else if run++; run == minHex {
			hints |= hasRun
		}
	}
	if len(text) >= 10 {
		hints |= hasWord
	}
	if digits > 0 {
		hints |= hasDigit
	}
	if digits >= 12 {
		hints |= hasDigits
	}
	return hints
}

// scrub applies the rules on to text. whole: the text is a URL, with a scheme or without.
func (c *scrubber) scrub(text []byte, on rules, whole bool) result {
	r := result{text: text}
	if on == 0 || len(text) == 0 {
		return r
	}
	hints := hintsOf(text)
	if on&(1<<urls) != 0 && (hints&(hasSlash|hasEncoding) != 0 || whole) {
		if clean := c.cutURLs(text, hints, whole); len(clean) < len(text) {
			r.text, r.touched = clean, 1<<urls
			hints = hintsOf(clean)
		}
	}
	var buf [8]found
	all := buf[:0]
	for range maxPasses {
		all = c.findAll(r.text, hints, on, all[:0])
		if len(all) == 0 {
			break
		}
		r = c.replace(r, all)
		hints = hintsOf(r.text)
		on &= 1<<builtIn - 1 // an own pattern may match its own name
	}
	return r
}

// maxPasses bounds how often a text is looked at again after something was found: what is left beside it may be worth
// finding by itself.
const maxPasses = 4

// findAll appends what the rules on find in all readings of text.
func (c *scrubber) findAll(text []byte, hints int, on rules, all []found) []found {
	all = c.find(&reading{text: text}, hints, on, all)
	if hints&hasEncoding == 0 {
		return all
	}
	one := reading{text: text}
	for range maxReadings {
		next, changed := one.decode()
		if !changed {
			break
		}
		one = next
		all = c.find(&one, hintsOf(one.text), on, all)
	}
	return all
}

// finders by built-in rule, and what a text must hold for them to be worth their while: one of these.
var finders = [urls]struct {
	find finder
	hint int
}{
	email:      {findEmail, hasAt},
	card:       {findCard, hasDigits},
	token_:     {findToken, hasWord},
	credential: {findCredential, hasColon | hasEquals},
	entropy_:   {findEntropy, hasRun},
	ip:         {findIP, hasColon | hasDigit},
}

// find appends what the rules on find in one reading.
func (c *scrubber) find(one *reading, hints int, on rules, all []found) []found {
	var room [8]span
	add := func(rule int, spans []span) {
		for _, s := range spans {
			from, to := one.span(s.from, s.to)
			all = append(all, found{from, to, rule, one.text[s.from:s.to]})
		}
	}
	for rule := range finders {
		if f := &finders[rule]; hints&f.hint != 0 && on&(1<<rule) != 0 {
			add(rule, f.find(one.text, room[:0]))
		}
	}
	for i, p := range c.patterns {
		if on&(1<<(builtIn+i)) == 0 {
			continue
		}
		for _, s := range p.FindAllIndex(one.text, -1) {
			if s[1] > s[0] {
				add(builtIn+i, []span{{s[0], s[1]}})
			}
		}
	}
	return all
}

// replace puts the actions' results in place of what was found. Findings that overlap are one, so that no part of
// either survives; the later reading of it is hashed, since it has the least encoding in it.
func (c *scrubber) replace(r result, all []found) result {
	slices.SortStableFunc(all, func(a, b found) int { return cmp.Compare(a.from, b.from) })
	out := make([]byte, 0, len(r.text)+32)
	done := 0
	for i := 0; i < len(all); {
		one := all[i]
		for i++; i < len(all) && all[i].from < one.to; i++ {
			if c.stronger(all[i], one) {
				one.rule, one.text = all[i].rule, all[i].text
			}
			one.to = max(one.to, all[i].to)
		}
		r.touched |= 1 << one.rule
		out = append(out, r.text[done:one.from]...)
		done = one.to
		switch c.actions[one.rule] {
		case Cut:
			r.drop = true
		case Hash:
			text := one.text
			if one.rule == email {
				text = bytes.ToLower(text)
			}
			out = append(out, '(')
			out = append(out, c.names[one.rule]...)
			out = append(out, '.')
			out = append(out, c.hash("value", text)...)
			out = append(out, ')')
		default:
			out = append(out, '(')
			out = append(out, c.names[one.rule]...)
			out = append(out, ')')
		}
	}
	r.text = append(out, r.text[done:]...)
	return r
}

// stronger reports whether, of two findings that overlap, a says better than b what to do: drop before mask before
// hash, then the later reading of the same rule.
func (c *scrubber) stronger(a, b found) bool {
	rank := func(f found) int { return slices.Index([]Action{Hash, Mask, Cut}, c.actions[f.rule]) }
	return rank(a) > rank(b) || a.rule == b.rule
}

// isReplacement reports whether value begins as what replace writes, so that a text scrubbed twice stays the same.
func isReplacement(value []byte) bool {
	rest, ok := bytes.CutPrefix(value, []byte("("))
	if !ok {
		return false
	}
	for _, name := range builtInNames {
		if after, ok := bytes.CutPrefix(rest, []byte(name)); ok && (len(after) == 0 || after[0] == '.' && len(after) == 1+26) {
			return true
		}
	}
	return false
}

// touchedNames lists the names of rules, for reports.
func (c *scrubber) touchedNames(touched rules) string {
	var names []string
	for i, name := range c.names {
		if touched&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ",")
}
