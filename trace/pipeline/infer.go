package pipeline

import (
	"strings"
)

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
