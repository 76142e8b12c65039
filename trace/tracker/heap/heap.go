// Package heap puts events into the form of Heap's server-side track API, bulk.
//
// Invariant: pure functions; an anonymous event is never dropped: its identity is its device.
package heap

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/sparrowhq/sparrow/trace/pipeline"
	"github.com/sparrowhq/sparrow/trace/tracker"
	"github.com/sparrowhq/sparrow/trace/tracker/wire"
)

// What the vendor documents.
const (
	maxName     = 1024 // characters of an event's name
	maxIdentity = 255
	maxText     = 1023 // of a property's name or text: "fewer than 1024"
	maxEvents   = 1000 // in a request
	perIdentity = 1000 // events a minute
	perApp      = 15_000
)

// maxBytes is not documented. It keeps one slow request from holding up too much.
const maxBytes = 4 << 20

// Heap is the vendor. Its zero value is ready.
type Heap struct{}

// New returns the vendor.
func New() Heap { return Heap{} }

// Traits returns the documented limits.
func (Heap) Traits() tracker.Traits {
	return tracker.Traits{
		Vendor: "heap", Keyed: true, Events: maxEvents, Bytes: maxBytes, Calls: 4,
		Rates: []tracker.Rate{{Events: perIdentity, Per: time.Minute, ByID: true}, {Events: perApp, Per: time.Minute}},
	}
}

// Form writes
//
//	{"identity":…,"event":…,"timestamp":…,"idempotency_key":…,"properties":{…}}
//
// The vendor has no fields for the context: what the configuration lets pass of it are properties, context_country and the
// like, unless the event has one so called.
func (Heap) Form(e *pipeline.Event, f *tracker.Form) *tracker.Breach {
	identity := e.UserID
	if identity == "" {
		identity = e.DeviceID
	}
	switch n := utf8.RuneCountInString(e.Name); {
	case n == 0 || n > maxName:
		return &tracker.Breach{Reason: "name not allowed", Detail: fmt.Sprintf("the name has %d characters; 1 to %d are allowed", n, maxName)}
	}
	switch n := utf8.RuneCountInString(identity); {
	case n == 0 || n > maxIdentity:
		return &tracker.Breach{Reason: "invalid id", Detail: fmt.Sprintf("the identity has %d characters; 1 to %d are allowed", n, maxIdentity)}
	}
	f.Key, f.Group, f.IDs[0] = e.Key, identity, identity
	b := wire.AppendString(append(f.Body, `{"identity":`...), identity)
	b = wire.AppendString(append(b, `,"event":`...), e.Name)
	b = time.UnixMicro(e.Time).UTC().AppendFormat(append(b, `,"timestamp":"`...), "2006-01-02T15:04:05.000000Z")
	b = wire.AppendString(append(b, `","idempotency_key":`...), e.Key)
	b = append(b, `,"properties":{`...)
	first := true
	for name, text := range e.Context.Parts() {
		if e.Property(name) != nil {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = wire.AppendString(append(wire.AppendString(b, name), ':'), text)
	}
	for _, p := range e.Properties {
		if n := utf8.RuneCountInString(p.Name); n > maxText {
			f.Warnings = append(f.Warnings, tracker.Warning{Code: "NAME_INVALID", Field: "properties", Text: "a property's name is too long; the property was left out"})
			continue
		}
		switch wire.Kind(p.Value) {
		case '"':
			if n := wire.Characters(p.Value); n > maxText {
				return &tracker.Breach{Reason: "value too long", Detail: fmt.Sprintf("the property %s has %d characters; at most %d are allowed", p.Name, n, maxText)}
			}
		case '0', 't', 'f':
		default:
			f.Warnings = append(f.Warnings, tracker.Warning{Code: "VALUE_INVALID", Field: "properties." + p.Name, Text: "neither number nor text; the property was left out"})
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = append(wire.AppendString(b, p.Name), ':')
		if k := p.Value[0]; k == 't' || k == 'f' { // the vendor takes numbers and text
			b = append(append(append(b, '"'), p.Value...), '"')
		} else {
			b = append(b, p.Value...)
		}
	}
	f.Body = append(b, '}', '}')
	return nil
}

var header = http.Header{"Content-Type": {"application/json"}}

// Assemble writes {"app_id":…,"events":[…]}.
func (Heap) Assemble(c tracker.Credential, forms []*tracker.Form, r *tracker.Request) {
	r.URL, r.Header = c.URL, header
	b := wire.AppendString(append(r.Body, `{"app_id":`...), c.Key)
	b = append(b, `,"events":[`...)
	for i, f := range forms {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, f.Body...)
	}
	r.Body = append(b, ']', '}')
}

// Split reads a bulk request.
func (Heap) Split(r *tracker.Request) (tracker.Passed, error) {
	p := tracker.Passed{Credential: tracker.Credential{URL: r.URL}}
	listed := false
	whole := wire.Members(r.Body, func(name, value []byte) bool {
		switch string(name) {
		case "app_id":
			p.Credential.Key = unquoted(value)
		case "events":
			listed = wire.Elements(value, func(e []byte) bool {
				p.Events = append(p.Events, tracker.PassedEvent{Key: unquoted(wire.Member(e, "idempotency_key")), Body: e})
				return true
			})
		}
		return true
	})
	if !whole || !listed {
		return tracker.Passed{}, errors.New("heap: not a bulk request")
	}
	return p, nil
}

func unquoted(value []byte) string {
	var s string
	if err := json.Unmarshal(value, &s); err != nil {
		return ""
	}
	return s
}

// Judge goes by the status: no table of answers is documented. An error in a 2xx cannot be one of the vendor's own.
func (Heap) Judge(a *tracker.Answer, _ int) tracker.Judgement {
	j := tracker.JudgeStatus(a)
	if j.Verdict == tracker.Taken && wire.Member(a.Body, "error") != nil {
		return tracker.Judgement{Verdict: tracker.Barred, Reason: "an error under a good status"}
	}
	return j
}
