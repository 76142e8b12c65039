package sandbox

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Codes of the validation server.
const (
	valueInvalid     = "VALUE_INVALID"
	valueRequired    = "VALUE_REQUIRED"
	nameInvalid      = "NAME_INVALID"
	nameReserved     = "NAME_RESERVED"
	valueOutOfBounds = "VALUE_OUT_OF_BOUNDS"
	exceededMax      = "EXCEEDED_MAX_ENTITIES"
	nameDuplicated   = "NAME_DUPLICATED"
)

// hit is a body of the Measurement Protocol, read.
type hit struct {
	list    []ga4Event
	enforce bool // validation_behavior is ENFORCE_RECOMMENDATIONS
	faults  []fault
}

type ga4Event struct {
	id, name            string
	session, engagement bool // whether it has a session_id, an engagement_time_msec
}

// fault is one way in which a hit breaks the documented rules.
type fault struct {
	code, path, text string
	reason           string // what is counted on /mp/collect
	event            int    // -1: the request
	property         string // what is ignored because of it: "params.NAME", "user_properties.NAME"; empty: all of the event or request
	strict           bool   // the validation server speaks of it under ENFORCE_RECOMMENDATIONS only
	said             bool   // an earlier message covers it
}

// The one documented message has the path "events" and the index in its text; the others are modelled on it.
func (h *hit) fault(code, path, reason, text string, args ...any) *fault {
	h.faults = append(h.faults, fault{code: code, path: path, reason: reason, text: fmt.Sprintf(text, args...), event: -1})
	return &h.faults[len(h.faults)-1]
}

func (g *ga4) read(c *call) *hit {
	h := &hit{}
	if over(len(c.body)+1, g.limits.Body) { // "smaller than"
		h.fault(valueOutOfBounds, "", "body too large", "The body has %d bytes. It must be smaller than %d.", len(c.body), g.limits.Body)
	}
	doc, ok := c.document()
	if !ok || doc.kind() != '{' {
		h.fault(valueInvalid, "", "not a JSON object", "The body is not a JSON object.")
		return h
	}
	var events, properties, micros value
	var client string
	for name, v := range doc.members() {
		switch string(name) {
		case "client_id":
			client, _ = v.text()
		case "timestamp_micros":
			micros = v
		case "user_properties":
			properties = v
		case "user_location", "device", "ip_override":
			readContext(h, string(name), v)
		case "validation_behavior":
			s, _ := v.text()
			h.enforce = s == "ENFORCE_RECOMMENDATIONS"
		case "events":
			events = v
		}
	}
	if client == "" {
		h.fault(valueRequired, "client_id", "no client_id", "Measurement requires a client_id.")
	}
	if events.kind() != '[' || events.empty() {
		h.fault(valueRequired, "events", "no events", "Measurement requires events.")
		return h
	}
	if n := events.size(); over(n, g.limits.Events) {
		h.fault(exceededMax, "events", "too many events", "Measurement has %d events. At most %d are allowed.", n, g.limits.Events)
	}
	g.readUserProperties(h, properties)
	for i, e := range events.elements() {
		g.readEvent(h, i, e, micros, c.at)
	}
	return h
}

func (g *ga4) readEvent(h *hit, i int, e, requestTime value, now time.Time) {
	h.list = append(h.list, ga4Event{})
	ev := &h.list[i]
	event := func(f *fault) *fault { f.event = i; return f }
	if e.kind() != '{' {
		event(h.fault(valueInvalid, "events", "event is not an object", "Event at index: [%d] is not an object.", i))
		return
	}
	var params value
	micros := requestTime
	named := false
	for name, v := range e.members() {
		switch string(name) {
		case "name":
			ev.name, named = v.text()
		case "params":
			params = v
		case "timestamp_micros":
			micros = v
		}
	}
	switch {
	case !named || ev.name == "":
		event(h.fault(valueRequired, "events", "no name", "Event at index: [%d] requires a name.", i))
	case !alphabetic(ev.name):
		event(h.fault(nameInvalid, "events", "name invalid", "Event at index: [%d] has invalid name [%s]. Names must start with an alphabetic character.", i, ev.name))
	case !word(ev.name):
		event(h.fault(nameInvalid, "events", "name invalid", "Event at index: [%d] has invalid name [%s]. Names must contain only letters, digits and underscores.", i, ev.name))
	case over(len(ev.name), g.limits.Name):
		event(h.fault(nameInvalid, "events", "name too long", "Event at index: [%d] has invalid name [%s]. Names must have at most %d characters.", i, ev.name, g.limits.Name))
	case reservedEvent(ev.name):
		event(h.fault(nameReserved, "events", "name reserved", "Event at index: [%d] has name [%s] which is reserved.", i, ev.name))
	}
	switch params.kind() {
	case '{':
		if own := g.readParams(h, i, params); own != nil {
			micros = own
		}
	case 0, 'n':
	default:
		event(h.fault(valueInvalid, "events.params", "params is not an object", "Event at index: [%d] has params that are not an object.", i))
	}
	if k := micros.kind(); k == 0 || k == 'n' {
		return
	}
	at, ok := microseconds(micros)
	if !ok {
		event(h.fault(valueInvalid, "timestamp_micros", "timestamp invalid", "Event at index: [%d] has a timestamp_micros that is not a whole number.", i))
		return
	}
	if limit := g.limits.BackDatingHours; limit >= 0 && now.Sub(time.UnixMicro(at)) > time.Duration(limit)*time.Hour {
		event(h.fault(valueOutOfBounds, "timestamp_micros", "too old", "Event at index: [%d] has a timestamp_micros more than %d hours in the past.", i, limit)).strict = true
	}
}

// readParams returns the parameter that overrides the time, if there is one.
func (g *ga4) readParams(h *hit, i int, params value) (micros value) {
	ev := &h.list[i]
	var names []string
	for raw, v := range params.members() {
		name := string(raw)
		param := func(f *fault) *fault { f.event, f.property = i, "params."+name; return f }
		switch name {
		case "session_id":
			ev.session = true
		case "engagement_time_msec":
			ev.engagement = true
		case "timestamp_micros":
			micros = v
		}
		if name == g.idParam {
			ev.id, _ = v.text()
		}
		if slices.Contains(names, name) {
			param(h.fault(nameDuplicated, "events.params", "name duplicated", "Event at index: [%d] has the parameter [%s] more than once.", i, name))
			continue
		}
		names = append(names, name)
		if n := len(names); over(n, g.limits.Params) {
			// One message for all of them, and each of them ignored.
			f := param(h.fault(exceededMax, "events.params", "too many parameters", "Event at index: [%d] has more than %d parameters.", i, g.limits.Params))
			f.strict, f.said = true, n > g.limits.Params+1
		}
		switch {
		case !alphabetic(name) || !word(name):
			param(h.fault(nameInvalid, "events.params", "name invalid", "Event at index: [%d] has a parameter with invalid name [%s]. Names must start with a letter and contain only letters, digits and underscores.", i, name))
		case over(len(name), g.limits.Name):
			param(h.fault(nameInvalid, "events.params", "name too long", "Event at index: [%d] has a parameter with invalid name [%s]. Names must have at most %d characters.", i, name, g.limits.Name))
		case reservedPrefix(name):
			param(h.fault(nameReserved, "events.params", "name reserved", "Event at index: [%d] has a parameter with name [%s] which is reserved.", i, name))
		}
		limit := g.limits.Value
		switch name {
		case "page_title":
			limit = g.limits.PageTitle
		case "page_referrer":
			limit = g.limits.PageReferrer
		case "page_location":
			limit = g.limits.PageLocation
		}
		if n := v.runes(); over(n, limit) {
			param(h.fault(valueOutOfBounds, "events.params."+name, "value too long", "Event at index: [%d] has a parameter [%s] of %d characters. At most %d are allowed.", i, name, n, limit)).strict = true
		}
	}
	return micros
}

func (g *ga4) readUserProperties(h *hit, properties value) {
	var names []string
	for raw, v := range properties.members() {
		name := string(raw)
		property := func(f *fault) *fault { f.property = "user_properties." + name; return f }
		if slices.Contains(names, name) {
			property(h.fault(nameDuplicated, "user_properties", "name duplicated", "User property [%s] is given more than once.", name))
			continue
		}
		names = append(names, name)
		if n := len(names); over(n, g.limits.UserProperties) {
			f := property(h.fault(exceededMax, "user_properties", "too many user properties", "There are more than %d user properties.", g.limits.UserProperties))
			f.strict, f.said = true, n > g.limits.UserProperties+1
		}
		if over(len([]rune(name)), g.limits.UserPropertyName) {
			property(h.fault(nameInvalid, "user_properties", "name too long", "User property [%s] has a name of more than %d characters.", name, g.limits.UserPropertyName))
		} else if reservedPrefix(name) || slices.Contains(reservedUserProperties, name) {
			property(h.fault(nameReserved, "user_properties", "name reserved", "User property [%s] has a reserved name.", name))
		}
		inner := v.get("value")
		if inner == nil {
			property(h.fault(valueInvalid, "user_properties."+name, "no value", "User property [%s] is not an object with a value.", name))
		} else if n := inner.runes(); over(n, g.limits.UserPropertyValue) {
			property(h.fault(valueOutOfBounds, "user_properties."+name, "value too long", "User property [%s] has a value of %d characters. At most %d are allowed.", name, n, g.limits.UserPropertyValue)).strict = true
		}
	}
	if k := properties.kind(); k != 0 && k != '{' && k != 'n' {
		h.fault(valueInvalid, "user_properties", "user_properties is not an object", "user_properties is not an object.")
	}
}

// microseconds reads a whole number, also one given as a string.
func microseconds(v value) (int64, bool) {
	if s, ok := v.text(); ok {
		n, err := strconv.ParseInt(s, 10, 64)
		return n, err == nil
	}
	return v.integer()
}

func alphabetic(name string) bool {
	return name != "" && ('a' <= name[0]|0x20 && name[0]|0x20 <= 'z')
}

// word says whether name is letters, digits and underscores, as in ^[A-Za-z]\w*$.
func word(name string) bool {
	for i := range len(name) {
		c := name[i]
		if !('a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' || c == '_') {
			return false
		}
	}
	return true
}

var reservedPrefixes = []string{"_", "firebase_", "ga_", "google_", "gtag."}

func reservedPrefix(name string) bool {
	return slices.ContainsFunc(reservedPrefixes, func(p string) bool { return strings.HasPrefix(name, p) })
}

func reservedEvent(name string) bool {
	return reservedPrefix(name) || slices.Contains(reservedEvents, name)
}

// reservedEvents are those of the protocol's reference, and below them those it allows for app streams only.
var reservedEvents = []string{
	"ad_activeview", "ad_click", "ad_exposure", "ad_query", "ad_reward", "adunit_exposure", "app_clear_data", "app_exception",
	"app_install", "app_remove", "app_store_refund", "app_update", "app_upgrade", "dynamic_link_app_open",
	"dynamic_link_app_update", "dynamic_link_first_open", "error", "first_open", "first_visit", "notification_dismiss",
	"notification_foreground", "notification_open", "notification_receive", "notification_send", "os_update", "session_start",
	"user_engagement",
	"ad_impression", "in_app_purchase", "screen_view",
}

var reservedUserProperties = []string{"first_open_time", "first_visit_time", "last_deep_link_referrer", "user_id", "first_open_after_install"}
