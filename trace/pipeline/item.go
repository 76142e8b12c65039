package pipeline

import (
	"bytes"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// fields are an item's own members, as raw JSON; nil where missing or null.
type fields struct {
	deviceID, userID, messageID, timestamp, properties []byte
}

// item processes one item of the body, which says it is called o.Name if the allowlist holds that name.
func (w *work) item(o Outcome, data []byte, name string) {
	p, limits := w.p, &w.p.config.Limits
	switch {
	case len(data) > limits.EventBytes:
		w.reject(o, TooLarge, "limits.event_bytes", "")
		return
	case !utf8.Valid(data):
		w.reject(o, NotUTF8, "", "")
		return
	case data[0] != '{':
		w.reject(o, NotObject, "", "an event is an object with event, deviceId and properties")
		return
	}
	if end := endOfValue(data, 0, limits.Depth); end == tooDeep {
		w.reject(o, TooDeep, "limits.depth", "")
		return
	} else if end != len(data) {
		w.reject(o, NotJSON, "", "")
		return
	}
	f := readFields(data)
	if rule, hint := w.fields(&f, name); rule != "" {
		w.reject(o, WrongField, rule, hint)
		return
	}
	rules := p.events[name]
	if rules == nil {
		w.batch.Unknown = append(w.batch.Unknown, Unknown{Event: o.Name, Reason: UnknownEvent})
		hint := ""
		if meant := p.near.find(name); meant != "" {
			hint = "did you mean " + meant + "?"
		}
		w.reject(o, UnknownEvent, "events", hint)
		return
	}

	e := Event{Position: w.at, ID: o.ID, Source: o.Source, Name: rules.name, ReceivedAt: w.request.ReceivedAt}
	x := extracted{values: make([][]byte, len(rules.properties)), extras: make([][]byte, len(p.extras))}
	if f.properties != nil {
		if w.walk(rules, rules.root, f.properties, "", &x); x.count > limits.Members {
			w.reject(o, TooMany, "limits.members", "")
			return
		}
	}
	if reason, one := w.properties(rules, &x, &e); reason != "" {
		w.reject(o, reason, one.place, "")
		return
	}
	w.identify(&f, &e)
	e.Time, e.ClientTime = clientTime(f.timestamp, e.ReceivedAt, limits)
	w.addContext(&x, &e)
	for _, s := range p.stages {
		if !s.Apply(&e) {
			w.reject(o, RefusedByCode, s.Name(), "")
			return
		}
	}
	o.Result = Accepted
	w.batch.Events = append(w.batch.Events, e)
	w.batch.Outcomes = append(w.batch.Outcomes, o)
	if w.explain != nil {
		w.explain(f.timestamp != nil && !e.ClientTime)
	}
}

// readFields reads an item's own members. Of members with the same name the last one counts.
func readFields(data []byte) (f fields) {
	members(data, func(key, value []byte) bool {
		if kindOf(value) == kindNull {
			value = nil
		}
		switch name := unquote(key); string(name) {
		case "deviceId":
			f.deviceID = value
		case "userId":
			f.userID = value
		case "messageId":
			f.messageID = value
		case "timestamp":
			f.timestamp = value
		case "properties":
			f.properties = value
		}
		return true
	})
	return f
}

// fields checks the item's own members, and reads its ids. It returns the rule that one breaks.
func (w *work) fields(f *fields, name string) (rule, hint string) {
	limits := &w.p.config.Limits
	switch {
	case name == "":
		return "event", "the event's name is missing, empty, or not a string"
	case len(name) > limits.Name:
		return "limits.name", "the event's name is too long"
	}
	for _, id := range [...]struct {
		value *[]byte
		name  string
	}{{&f.deviceID, "deviceId"}, {&f.userID, "userId"}, {&f.messageID, "messageId"}} {
		if *id.value == nil {
			continue
		}
		switch kindOf(*id.value) {
		case kindString:
			*id.value = unquote(*id.value)
		case kindNumber: // a database's id: its digits are the id
			if !isInteger(*id.value) {
				return id.name, "must be a string or an integer"
			}
		default:
			return id.name, "must be a string or an integer"
		}
		if len(*id.value) > limits.ID {
			return "limits.id", id.name + " is too long"
		}
	}
	if len(f.deviceID) == 0 {
		return "deviceId", "missing or empty"
	}
	if f.properties != nil && kindOf(f.properties) != kindObject {
		return "properties", "must be an object"
	}
	return "", ""
}

// extracted is what the properties of an item hold.
type extracted struct {
	values [][]byte // by property.slot
	extras [][]byte // by Pipeline.extras
	count  int      // of members, listed or not
}

// walk picks from object what the allowlist lists below n, and what context and consent are read from.
func (w *work) walk(rules *eventRules, n *node, object []byte, path string, x *extracted) {
	members(object, func(key, value []byte) bool {
		x.count++
		name := unquote(key)
		next := n.children[string(name)]
		if next == nil {
			w.unlisted(rules, path, name)
			return x.count <= w.p.config.Limits.Members
		}
		for _, use := range next.uses {
			x.extras[use] = value
		}
		if next.property != nil {
			x.values[next.property.slot] = value
		}
		if next.children != nil && kindOf(value) == kindObject {
			w.walk(rules, next, value, path+string(name)+".", x)
		} else if next.property == nil && next.uses == nil {
			w.unlisted(rules, path, name)
		}
		return x.count <= w.p.config.Limits.Members
	})
}

// unlisted counts a property that the allowlist does not hold and that therefore goes no further.
func (w *work) unlisted(rules *eventRules, path string, key []byte) {
	w.batch.Unknown = append(w.batch.Unknown, Unknown{rules.name, path + w.p.foreign(string(key)), Unlisted})
}

// foreign makes a name that the allowlist does not hold fit to be shown: scrubbed, and cut to 64 bytes.
func (p *Pipeline) foreign(name string) string {
	const most = 64
	if len(name) > 4*most {
		return "(long name)"
	}
	text := p.masking.scrub([]byte(name), p.masking.on, false).text
	if len(text) > most {
		text = text[:most-len("…")]
		for len(text) > 0 && !utf8.Valid(text) {
			text = text[:len(text)-1]
		}
		return string(text) + "…"
	}
	return string(text)
}

// properties checks and scrubs what was picked, and adds it to e. It returns why the event is rejected, and by which rule.
func (w *work) properties(rules *eventRules, x *extracted, e *Event) (Reason, *property) {
	for _, one := range rules.properties {
		value := x.values[one.slot]
		if value == nil || kindOf(value) == kindNull {
			if one.required {
				return Missing, one
			}
			continue
		}
		if reason := one.fits(value); reason != "" {
			if one.reject || one.required {
				return reason, one
			}
			w.batch.Unknown = append(w.batch.Unknown, Unknown{rules.name, one.name, reason})
			continue
		}
		clean, touched := w.p.clean(one, value)
		if touched != "" {
			w.touch(rules.name, one.name, touched)
		}
		if clean != nil {
			if e.Properties == nil {
				e.Properties = make([]Property, 0, len(rules.properties))
			}
			e.Properties = append(e.Properties, Property{Name: one.name, Value: clean})
		}
	}
	return "", nil
}

func (w *work) touch(event, field, rule string) {
	w.batch.Touched = append(w.batch.Touched, Touch{event, field, rule})
}

// identify sets the event's ids and key.
func (w *work) identify(f *fields, e *Event) {
	s := w.p.scrubber
	e.DeviceID = s.hash("device", f.deviceID)
	if len(f.userID) > 0 {
		e.UserID = s.hash("user", f.userID)
	}
	e.Key = e.ID
	if len(f.messageID) > 0 {
		e.Key = s.hash("message", []byte(w.key), f.deviceID, f.messageID)
	}
	if w.p.plain {
		e.Plain = &Identifiers{DeviceID: w.plain(e.Name, "deviceId", f.deviceID), UserID: w.plain(e.Name, "userId", f.userID)}
	}
}

// plain returns id if it is written like an id and no scrubbing rule finds anything in it, else "". Ids may look random.
func (w *work) plain(event, field string, id []byte) string {
	for _, c := range id {
		if class[c]&isAlnum == 0 && c < 0x80 && !strings.ContainsRune("-_.:|@", rune(c)) {
			return ""
		}
	}
	s := w.p.scrubber
	r := s.scrub(id, s.on&^(1<<entropy_), false)
	if r.touched != 0 {
		w.found(event, field, r.touched)
		return ""
	}
	return string(id)
}

// clientTime returns the client's timestamp in microseconds if it is one and lies within the limits, else receivedAt.
// It is a string as in RFC 3339, or a number of milliseconds since the epoch.
func clientTime(timestamp []byte, receivedAt int64, limits *Limits) (micros int64, client bool) {
	if timestamp == nil {
		return receivedAt, false
	}
	switch kindOf(timestamp) {
	case kindString:
		t, err := time.Parse(time.RFC3339Nano, string(unquote(timestamp)))
		if err != nil {
			return receivedAt, false
		}
		micros = t.UnixMicro()
	case kindNumber:
		ms, err := strconv.ParseFloat(string(timestamp), 64)
		if err != nil || ms < 0 || ms > 1e14 {
			return receivedAt, false
		}
		micros = int64(ms * 1000)
	default:
		return receivedAt, false
	}
	if micros > receivedAt+time.Duration(limits.Skew).Microseconds() || micros < receivedAt-time.Duration(limits.Age).Microseconds() {
		return receivedAt, false
	}
	return micros, true
}

// isInteger reports whether a valid JSON number is written as an integer.
func isInteger(number []byte) bool { return !bytes.ContainsAny(number, ".eE") }
