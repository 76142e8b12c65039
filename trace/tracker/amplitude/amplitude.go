// Package amplitude puts events into the form of Amplitude's HTTP V2 API.
//
// Invariant: pure functions; a refusal is taken apart as the vendor documents it: the events it names are out, or wait,
// and the others go again with the same insert_id.
package amplitude

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sparrowhq/sparrow/trace/pipeline"
	"github.com/sparrowhq/sparrow/trace/tracker"
	"github.com/sparrowhq/sparrow/trace/tracker/wire"
)

// What the vendor documents.
const (
	maxText   = 1024 // characters of a string
	maxDepth  = 40   // of nested properties, the properties object the first
	maxEvents = 2000 // in a request
	perID     = 30   // events a second of a user or device
	hold      = 30 * time.Second
)

// maxBytes of a request: older documents say 1 MB.
const maxBytes = 1_000_000 - 1

// Options configure New.
type Options struct {
	// MinIDLength is the least length of ids that the vendor is told to take, 1 or more; 0: 1, since an id that the
	// allowlist lets through is one, however short. The vendor's own default is 5.
	MinIDLength int
	Hold        time.Duration // how long the ids of a 429 wait; 0: 30 s, as documented
	Backfill    bool          // the address is /batch: 20 MB and 1,000 events a second for each id
}

// Amplitude is the vendor.
type Amplitude struct {
	o     Options
	after []byte // what follows the events in a request
}

// New returns the vendor.
func New(o Options) Amplitude {
	if o.MinIDLength <= 0 {
		o.MinIDLength = 1
	}
	if o.Hold <= 0 {
		o.Hold = hold
	}
	return Amplitude{o, fmt.Appendf(nil, `],"options":{"min_id_length":%d}}`, o.MinIDLength)}
}

// Traits returns the documented limits.
func (v Amplitude) Traits() tracker.Traits {
	t := tracker.Traits{
		Vendor: "amplitude", Keyed: true, Gzip: true, Events: maxEvents, Bytes: maxBytes, Calls: 4,
		Rates: []tracker.Rate{{Events: perID, Per: time.Second, ByID: true}},
	}
	if v.o.Backfill {
		t.Bytes = 20_000_000 - 1
		t.Rates[0].Events = 1000
	}
	return t
}

// refusedIDs are those the vendor takes for placeholders. It does not say whether case matters: here it does not.
var refusedIDs = map[string]bool{
	"anonymous": true, "nil": true, "none": true, "null": true, "n/a": true, "na": true, "undefined": true, "unknown": true, "": true,
	"00000000-0000-0000-0000-000000000000": true, "{}": true, "lmy47d": true, "0": true, "-1": true,
}

// usable says whether the vendor takes an id.
func (v Amplitude) usable(id string) bool {
	n := utf8.RuneCountInString(id)
	return n >= v.o.MinIDLength && n <= maxText && !refusedIDs[strings.ToLower(id)]
}

// Form writes
//
//	{"event_type":…,"user_id":…,"device_id":…,"time":…,"insert_id":…,"event_properties":{…}}
//
// with the context, as far as the configuration lets it pass, in front of event_properties and in them: see context.go.
// An id that the vendor refuses is left out if the other one will do.
func (v Amplitude) Form(e *pipeline.Event, f *tracker.Form) *tracker.Breach {
	switch n := utf8.RuneCountInString(e.Name); {
	case n == 0 || n > maxText:
		return &tracker.Breach{Reason: "name not allowed", Detail: fmt.Sprintf("the name has %d characters; 1 to %d are allowed", n, maxText)}
	case e.Name == "$identify" || e.Name == "$groupidentify":
		return &tracker.Breach{Reason: "name reserved", Detail: "the vendor keeps this name for itself"}
	case e.Time < 0:
		return &tracker.Breach{Reason: "invalid time", Detail: "it lies before 1970"}
	}
	user, device := v.usable(e.UserID), v.usable(e.DeviceID)
	if !user && !device {
		return &tracker.Breach{Reason: "invalid id", Detail: "neither the user's nor the device's id is one that the vendor takes"}
	}
	f.Key = e.Key
	b := wire.AppendString(append(f.Body, `{"event_type":`...), e.Name)
	if user {
		b = wire.AppendString(append(b, `,"user_id":`...), e.UserID)
		f.IDs[0] = "u" + e.UserID
		f.Group = f.IDs[0]
	} else if e.UserID != "" {
		f.Warnings = append(f.Warnings, tracker.Warning{Code: "invalid_id", Field: "user_id", Text: "one that the vendor refuses; it was left out"})
	}
	if device {
		b = wire.AppendString(append(b, `,"device_id":`...), e.DeviceID)
		f.IDs[1] = "d" + e.DeviceID
		f.Group = f.IDs[1] // order is that of the device
	} else {
		f.Warnings = append(f.Warnings, tracker.Warning{Code: "invalid_id", Field: "device_id", Text: "one that the vendor refuses; it was left out"})
	}
	b = strconv.AppendInt(append(b, `,"time":`...), e.Time/1000, 10)
	b = wire.AppendString(append(b, `,"insert_id":`...), e.Key)
	b = appendContext(b, &e.Context)
	b = append(b, `,"event_properties":{`...)
	first := true
	for name, text := range e.Context.Unplaced() {
		if e.Property(name) != nil { // the event's own
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = wire.AppendString(append(wire.AppendString(b, name), ':'), text)
	}
	for _, p := range e.Properties {
		if wire.Depth(p.Value) >= maxDepth {
			f.Warnings = append(f.Warnings, tracker.Warning{Code: "too_deep", Field: "event_properties." + p.Name, Text: fmt.Sprintf("nested more than %d deep; the property was left out", maxDepth)})
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = append(wire.AppendString(b, p.Name), ':')
		if len(p.Value) <= maxText {
			b = append(b, p.Value...)
			continue
		}
		var cut bool
		if b, cut = wire.AppendCut(b, p.Value, maxText); cut {
			f.Warnings = append(f.Warnings, tracker.Warning{Code: "too_long", Field: "event_properties." + p.Name, Text: fmt.Sprintf("cut to %d characters", maxText)})
		}
	}
	f.Body = append(b, '}', '}')
	return nil
}

var header = http.Header{"Content-Type": {"application/json"}, "Accept": {"*/*"}}

// Assemble writes {"api_key":…,"events":[…],"options":{"min_id_length":…}}.
func (v Amplitude) Assemble(c tracker.Credential, forms []*tracker.Form, r *tracker.Request) {
	r.URL, r.Header = c.URL, header
	b := wire.AppendString(append(r.Body, `{"api_key":`...), c.Key)
	b = append(b, `,"events":[`...)
	for i, f := range forms {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, f.Body...)
	}
	r.Body = append(b, v.after...)
}

// Split reads a request.
func (Amplitude) Split(r *tracker.Request) (tracker.Passed, error) {
	p := tracker.Passed{Credential: tracker.Credential{URL: r.URL}}
	listed := false
	whole := wire.Members(r.Body, func(name, value []byte) bool {
		switch string(name) {
		case "api_key":
			if err := json.Unmarshal(value, &p.Credential.Key); err != nil {
				p.Credential.Key = ""
			}
		case "events":
			listed = wire.Elements(value, func(e []byte) bool {
				p.Events = append(p.Events, tracker.PassedEvent{Key: string(wire.Text(wire.Member(e, "insert_id"))), Body: e})
				return true
			})
		}
		return true
	})
	if !whole || !listed {
		return tracker.Passed{}, errors.New("amplitude: not an upload")
	}
	return p, nil
}
