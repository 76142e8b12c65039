package sandbox

import (
	"net/http"
	"slices"
)

// amplitudeEvent is what the rules look at.
type amplitudeEvent struct {
	raw                  value
	user, device         string
	userKind, deviceKind byte // 0: absent
	kind                 string
	kindKind             byte
	insert               string
	time                 value
}

func readAmplitudeEvent(e value) amplitudeEvent {
	ev := amplitudeEvent{raw: e}
	for name, v := range e.members() {
		switch string(name) {
		case "user_id":
			ev.user, _ = v.text()
			ev.userKind = v.kind()
		case "device_id":
			ev.device, _ = v.text()
			ev.deviceKind = v.kind()
		case "event_type":
			ev.kind, _ = v.text()
			ev.kindKind = v.kind()
		case "insert_id":
			ev.insert, _ = v.text()
		case "time":
			ev.time = v
		}
	}
	return ev
}

// refusedIDs are those the documents list. Most are shorter than any id may be, which min_id_length can change.
var refusedIDs = []string{"anonymous", "nil", "none", "null", "n/a", "na", "undefined", "unknown", "",
	"00000000-0000-0000-0000-000000000000", "{}", "lmy47d", "0", "-1"}

// textFields are those the documents say are strings, about the device and where it is.
var textFields = []string{"platform", "os_name", "os_version", "device_brand", "device_manufacturer", "device_model", "carrier",
	"country", "region", "city", "dma", "language", "ip"}

var reservedTypes = []string{"$identify", "$groupidentify"}

// check names the events that break a rule, by field and index.
func (u *upload) check(limits AmplitudeLimits, mark func(int, string)) (problem, bool) {
	p := problem{Code: http.StatusBadRequest, Error: "Invalid field values on some events",
		Invalid: map[string][]int{}, Missing: map[string][]int{}, Lengths: map[string][]int{}}
	name := func(m map[string][]int, field string, i int, reason string) {
		if at := m[field]; len(at) == 0 || at[len(at)-1] != i {
			m[field] = append(at, i)
		}
		mark(i, reason)
	}
	for i, e := range u.events {
		if e.raw.kind() != '{' {
			name(p.Missing, "event_type", i, "event is not an object")
			continue
		}
		switch {
		case e.kindKind == 0 || e.kindKind == 'n' || e.kindKind == '"' && e.kind == "":
			name(p.Missing, "event_type", i, "no event_type")
		case e.kindKind != '"':
			name(p.Invalid, "event_type", i, "event_type is not a string")
		case slices.Contains(reservedTypes, e.kind):
			name(p.Invalid, "event_type", i, "event_type reserved")
		}
		noUser := e.userKind == 0 || e.userKind == 'n'
		noDevice := e.deviceKind == 0 || e.deviceKind == 'n'
		if noUser && noDevice {
			name(p.Missing, "user_id", i, "neither user_id nor device_id")
			name(p.Missing, "device_id", i, "neither user_id nor device_id")
		}
		for _, id := range [...]struct {
			field, text string
			kind        byte
			absent      bool
		}{{"user_id", e.user, e.userKind, noUser}, {"device_id", e.device, e.deviceKind, noDevice}} {
			switch {
			case id.absent:
			case id.kind != '"':
				name(p.Invalid, id.field, i, id.field+" is not a string")
			case slices.Contains(refusedIDs, id.text):
				name(p.Invalid, id.field, i, id.field+" is one of those refused")
			case len([]rune(id.text)) < u.minID:
				name(p.Lengths, id.field, i, id.field+" too short")
			}
		}
		if n, ok := e.time.integer(); e.time != nil && e.time.kind() != 'n' && (!ok || n < 0) {
			name(p.Invalid, "time", i, "time is not milliseconds")
		}
		for raw, v := range e.raw.members() {
			if k := v.kind(); k != '"' && k != 'n' && slices.Contains(textFields, string(raw)) {
				name(p.Invalid, string(raw), i, "not a string")
			}
			switch depth, long := v.measure(limits.Text); {
			case long:
				name(p.Invalid, string(raw), i, "string too long")
			case over(depth, limits.Depth):
				name(p.Invalid, string(raw), i, "nested too deeply")
			}
		}
	}
	if len(p.Missing) > 0 && len(p.Invalid)+len(p.Lengths) == 0 {
		p.Error = "Request missing required field"
	}
	return p, len(p.Missing)+len(p.Invalid)+len(p.Lengths) > 0
}
