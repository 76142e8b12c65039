package pipeline

import (
	"bytes"
	"cmp"
	"encoding/json"
	"time"
	"unicode/utf8"
)

// fits returns why value, valid JSON and not null, is not what the rule says; "" if it is.
func (one *property) fits(value []byte) Reason {
	k := kindOf(value)
	switch one.kind {
	case String, URL, Time:
		if k != kindString {
			return WrongType
		}
		return one.fitsString(value)
	case Integer:
		if k != kindNumber || !isInteger(value) {
			return WrongType
		}
	case Number:
		if k != kindNumber {
			return WrongType
		}
	case Boolean:
		if k != kindBool {
			return WrongType
		}
	case Scalar:
		switch k {
		case kindString:
			return one.fitsString(value)
		case kindNumber, kindBool:
		default:
			return WrongType
		}
	case Strings, Integers, Numbers, Array:
		if k != kindArray {
			return WrongType
		}
		return one.fitsArray(value)
	case Object:
		if k != kindObject {
			return WrongType
		}
	}
	return ""
}

func (one *property) fitsString(value []byte) Reason {
	if one.values == nil && one.kind != Time && len(value)-2 <= one.max { // bytes, escaped, are never fewer than characters
		return ""
	}
	text := unquote(value)
	if one.kind == Time {
		if _, err := time.Parse(time.RFC3339Nano, string(text)); err != nil {
			return WrongType
		}
	}
	if one.values != nil && !one.values[string(text)] || utf8.RuneCount(text) > one.max {
		return WrongValue
	}
	return ""
}

func (one *property) fitsArray(value []byte) (reason Reason) {
	count := 0
	elements(value, func(element []byte) bool {
		k := kindOf(element)
		switch {
		case one.kind == Strings && k != kindString,
			one.kind == Integers && (k != kindNumber || !isInteger(element)),
			one.kind == Numbers && k != kindNumber,
			one.members != nil && k != kindObject:
			reason = WrongType
		}
		if count++; count > one.max || one.kind == Strings && len(element)-2 > one.text && utf8.RuneCount(unquote(element)) > one.text {
			reason = cmp.Or(reason, WrongValue)
		}
		return reason == ""
	})
	return reason
}

// clean scrubs the value of a property that fits its rule. It returns the value itself if nothing was found, nil if the
// property goes, and the names of the rules that found something.
func (p *Pipeline) clean(one *property, value []byte) (json.RawMessage, string) {
	s := p.scrubber
	if one.whole != Off {
		return s.whole(one.whole, value), "field"
	}
	c := cleaner{s: s}
	if one.members != nil {
		return c.listed(nil, one, value), c.names()
	}
	out, drop := c.value(nil, value, one.on, one.kind == URL, one.values != nil)
	switch {
	case drop:
		return nil, c.names()
	case c.touched == 0:
		return value, ""
	}
	return out, c.names()
}

// whole returns what a rule of scrub.fields leaves of a value: a string, or nil if it goes.
func (c *scrubber) whole(action Action, value []byte) []byte {
	switch action {
	case Hash:
		if kindOf(value) == kindString {
			value = unquote(value)
		}
		return appendQuoted(nil, c.hash("value", value))
	case Mask:
		return []byte(`"(field)"`)
	}
	return nil
}

// cleaner rewrites JSON values with what the scrubber left of them.
type cleaner struct {
	s       *scrubber
	touched rules
	field   bool // a rule of scrub.fields was applied to a member
}

func (c *cleaner) names() string {
	names := ""
	if c.touched != 0 {
		names = c.s.touchedNames(c.touched)
	}
	switch {
	case c.field && names != "":
		return "field," + names
	case c.field:
		return "field"
	}
	return names
}

// value appends value to dst, scrubbed; it reports whether the value is to go instead. Only strings that changed are
// written anew; containers come out without white space if they are written at all. safe: a string is one of a list that
// the configuration names.
func (c *cleaner) value(dst, value []byte, on rules, whole, safe bool) ([]byte, bool) {
	switch kindOf(value) {
	case kindString:
		if safe {
			return append(dst, value...), false
		}
		r := c.s.scrub(unquote(value), on, whole)
		c.touched |= r.touched
		if r.touched == 0 {
			return append(dst, value...), false
		}
		return appendQuoted(dst, bytes.ToValidUTF8(r.text, []byte("\uFFFD"))), r.drop
	case kindNumber:
		// A number has no room for a mask: what must not go on goes away.
		if !isInteger(value) || len(value) < 12 && len(c.s.patterns) == 0 {
			return append(dst, value...), false
		}
		r := c.s.scrub(value, on&^(1<<email|1<<token_|1<<credential|1<<entropy_|1<<ip|1<<urls), false)
		c.touched |= r.touched
		return append(dst, value...), r.touched != 0
	case kindArray:
		dst = append(dst, '[')
		elements(value, func(element []byte) bool {
			dst = c.next(dst, '[', func(dst []byte) ([]byte, bool) { return c.value(dst, element, on, whole, safe) })
			return true
		})
		return append(dst, ']'), false
	case kindObject:
		dst = append(dst, '{')
		members(value, func(key, member []byte) bool {
			dst = c.next(dst, '{', func(dst []byte) ([]byte, bool) {
				dst, drop := c.value(dst, key, on, false, false)
				if drop {
					return dst, true
				}
				return c.value(append(dst, ':'), member, on, whole, safe)
			})
			return true
		})
		return append(dst, '}'), false
	}
	return append(dst, value...), false
}

// next appends what add appends as the next element or member of the container that open began, unless add reports that
// it is to go.
func (c *cleaner) next(dst []byte, open byte, add func([]byte) ([]byte, bool)) []byte {
	before := len(dst)
	if last := dst[before-1]; last != open {
		dst = append(dst, ',')
	}
	dst, drop := add(dst)
	if drop {
		return dst[:before]
	}
	return dst
}

// listed appends an object, or an array of objects, with only the members that one lists, in the order of their keys.
// A member that does not fit its rule is left out.
func (c *cleaner) listed(dst []byte, one *property, value []byte) []byte {
	if kindOf(value) == kindArray {
		dst = append(dst, '[')
		elements(value, func(element []byte) bool {
			dst = c.next(dst, '[', func(dst []byte) ([]byte, bool) { return c.listed(dst, one, element), false })
			return true
		})
		return append(dst, ']')
	}
	found := map[string][]byte{}
	members(value, func(key, member []byte) bool {
		if name := unquote(key); one.members[string(name)] != nil {
			found[string(name)] = member
		}
		return true
	})
	dst = append(dst, '{')
	for _, key := range one.keys {
		m, member := one.members[key], found[key]
		if member == nil || kindOf(member) == kindNull || m.fits(member) != "" {
			continue
		}
		dst = c.next(dst, '{', func(dst []byte) ([]byte, bool) {
			dst = append(appendQuoted(dst, key), ':')
			if m.whole != Off {
				c.field = true
				clean := c.s.whole(m.whole, member)
				return append(dst, clean...), clean == nil
			}
			if m.members != nil {
				return c.listed(dst, m, member), false
			}
			return c.value(dst, member, m.on, m.kind == URL, m.values != nil)
		})
	}
	return append(dst, '}')
}
