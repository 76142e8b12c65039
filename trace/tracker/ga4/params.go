package ga4

import (
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/sparrowhq/sparrow/trace/pipeline"
	"github.com/sparrowhq/sparrow/trace/tracker"
	"github.com/sparrowhq/sparrow/trace/tracker/wire"
)

// params writes the parameters of one event.
type params struct {
	form *tracker.Form
	b    []byte
	n    int // written
}

// Parameters that the tracker fills in: without the last two an event shows in no report.
const (
	eventID    = "event_id"
	sessionID  = "session_id"
	engagement = "engagement_time_msec"
)

// timestamp as a parameter overrides the event's time, and an event whose time is unreadable is lost.
const timestamp = "timestamp_micros"

// own writes session_id and engagement_time_msec: the event's own, if they are of use, else made of the event.
func (w *params) own(e *pipeline.Event) {
	if v := e.Property(sessionID); scalar(v) && wire.Characters(v) <= maxValue && string(v) != `""` {
		w.put(sessionID, v)
	} else {
		w.b = append(w.b, `,"`+sessionID+`":"`...)
		w.b = append(strconv.AppendUint(w.b, session(e.DeviceID, e.Time), 10), '"')
		w.n++
	}
	if v := e.Property(engagement); wire.Kind(v) == '0' {
		w.put(engagement, v)
	} else {
		w.b = append(w.b, `,"`+engagement+`":1`...)
		w.n++
	}
}

// session returns a number that is the same for a device within half an hour.
func session(device string, micros int64) uint64 {
	bucket := uint64(micros / (30 * time.Minute).Microseconds())
	h := uint64(14695981039346656037)
	for i := range len(device) {
		h = (h ^ uint64(device[i])) * 1099511628211
	}
	for range 8 {
		h = (h ^ bucket&0xff) * 1099511628211
		bucket >>= 8
	}
	return h>>11 | 1<<52 // 53 bits: any reader keeps them
}

// page maps the properties of a page view to the vendor's own parameters, unless the event has these itself.
var page = map[string]string{"url": "page_location", "title": "page_title", "referrer": "page_referrer"}

// others writes the event's properties, in their order, as far as the vendor takes them.
func (w *params) others(e *pipeline.Event, view bool) {
	located := e.Property("page_location") != nil || e.Property("url") != nil || e.Context.Page != ""
	for i := range e.Properties {
		p := &e.Properties[i]
		name := p.Name
		switch {
		case name == sessionID || name == engagement:
			continue
		case name == eventID:
			w.warn("NAME_DUPLICATED", name, "the tracker writes it itself; the property was left out")
			continue
		case name == timestamp:
			w.warn("VALUE_INVALID", name, "the vendor would take it for the time of the event; the property was left out")
			continue
		case view && name == "pathname" && !located:
			name = "page_location"
		case view && page[name] != "" && e.Property(page[name]) == nil:
			name = page[name]
		}
		if reservedPrefix(name) {
			w.warn("NAME_RESERVED", name, "the prefix is the vendor's own; the parameter was left out")
			continue
		}
		if rule := nameRule(name, maxName); rule != "" {
			w.warn("NAME_INVALID", name, "parameter names "+rule+"; it was left out")
			continue
		}
		w.value(name, p.Value)
	}
}

func (w *params) value(name string, v []byte) {
	limit := maxValue
	switch name {
	case "page_title":
		limit = maxTitle
	case "page_referrer":
		limit = maxReferrer
	case "page_location":
		limit = maxLocation
	}
	switch wire.Kind(v) {
	case '"':
		if n := wire.Characters(v); n > limit {
			v = wire.Cut(v, limit)
			w.warn("VALUE_OUT_OF_BOUNDS", name, strconv.Itoa(n)+" characters; cut to "+strconv.Itoa(limit))
		}
	case '0':
		if len(v) > limit {
			w.warn("VALUE_OUT_OF_BOUNDS", name, strconv.Itoa(len(v))+" digits; at most "+strconv.Itoa(limit)+" are allowed; it was left out")
			return
		}
	case 't', 'f':
	case '[':
		if name != "items" {
			w.warn("VALUE_INVALID", name, "a list; only items may be one; it was left out")
			return
		}
	default:
		w.warn("VALUE_INVALID", name, "neither number nor text; it was left out")
		return
	}
	if w.n == maxParams {
		w.warn("EXCEEDED_MAX_ENTITIES", name, "an event has at most "+strconv.Itoa(maxParams)+" parameters; it was left out")
		return
	}
	w.put(name, v)
}

func (w *params) put(name string, v []byte) {
	w.b = append(append(append(append(w.b, `,"`...), name...), `":`...), v...) // names are letters, digits, underscores
	w.n++
}

func (w *params) warn(code, name, text string) {
	field := "events.params." + name
	if !utf8.ValidString(name) || len(name) > 2*maxName {
		field = "events.params"
	}
	w.form.Warnings = append(w.form.Warnings, tracker.Warning{Code: code, Field: field, Text: text})
}

func scalar(v []byte) bool { k := wire.Kind(v); return k == '"' || k == '0' }

func appendInt(dst []byte, n int64) []byte { return strconv.AppendInt(dst, n, 10) }
