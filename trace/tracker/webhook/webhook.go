// Package webhook puts events into a form of your own, for any REST endpoint that takes JSON.
//
// Invariant: pure functions of the event and the configuration. Every event carries its eventId.
package webhook

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/sparrowhq/sparrow/trace/pipeline"
	"github.com/sparrowhq/sparrow/trace/tracker"
	"github.com/sparrowhq/sparrow/trace/tracker/wire"
)

// Options configure New.
type Options struct {
	Events int    // in a request; 0 or 1: one, as a JSON object, with the header Idempotency-Key; more: a list
	Wrap   string // member that holds the list: {"events":[…]}; empty: the body is the list itself
	Bytes  int    // of a request; 0: 1 MiB

	// Header is sent with each request. What is secret belongs in the Credential, which is sent as
	// "Authorization: Bearer SECRET", or in TokenHeader as it is.
	Header      map[string]string
	TokenHeader string // empty: Authorization

	IDField string // member that holds the eventId; empty: "eventId"
	// Fields says which members an event has, in their order; nil: DefaultFields. IDField is written first in any case.
	Fields []Field
	// Keyed says that the receiver drops an event it has already got. Otherwise what may be sent again after a crash is
	// noted before it is sent, and listed.
	Keyed bool
	Gzip  bool // the receiver takes it
	Calls int  // at the same time; 0: 8
}

// Field is one member of an event.
type Field struct {
	Name string // in the request
	// From is event, key, source, deviceId, userId, timestamp (RFC 3339), timestampMs, receivedAt, properties (all of
	// them as an object), properties.NAME (one; absent if the event has none), context (what the configuration lets pass
	// of it, as an object; absent if that is nothing), context.PART (one, absent if it is not known), or =TEXT for a
	// constant. PART is browser, browser_version, os, device, language, country, page, referrer or ip.
	From string
}

// DefaultFields are those of Options.Fields.
func DefaultFields() []Field {
	return []Field{{"event", "event"}, {"source", "source"}, {"deviceId", "deviceId"}, {"userId", "userId"}, {"timestamp", "timestamp"}, {"receivedAt", "receivedAt"}, {"properties", "properties"}, {"context", "context"}}
}

// Webhook is the vendor.
type Webhook struct {
	o      Options
	fields []field
	header http.Header
}

type field struct {
	name []byte // `"name":`
	from string
	arg  string // the property's name
	text []byte // the constant
}

// New returns the vendor.
func New(o Options) (*Webhook, error) {
	if o.Events <= 0 {
		o.Events = 1
	}
	if o.Bytes <= 0 {
		o.Bytes = 1 << 20
	}
	if o.Calls <= 0 {
		o.Calls = 8
	}
	if o.IDField == "" {
		o.IDField = "eventId"
	}
	if o.TokenHeader == "" {
		o.TokenHeader = "Authorization"
	}
	if o.Fields == nil {
		o.Fields = DefaultFields()
	}
	w := &Webhook{o: o, header: http.Header{"Content-Type": {"application/json"}}}
	if !validName(o.TokenHeader) {
		return nil, fmt.Errorf("webhook: %q is no name of a header", o.TokenHeader)
	}
	for name, value := range o.Header {
		switch canonical := http.CanonicalHeaderKey(name); {
		case !validName(name) || !validValue(value):
			return nil, fmt.Errorf("webhook: the header %q is not one that can be sent", name)
		case slices.Contains([]string{"Content-Encoding", "Content-Length", "Host", "Idempotency-Key", "Transfer-Encoding", http.CanonicalHeaderKey(o.TokenHeader)}, canonical):
			return nil, fmt.Errorf("webhook: the header %q is the tracker's own to set", name)
		default:
			w.header[canonical] = []string{value}
		}
	}
	names := []string{o.IDField}
	for _, f := range o.Fields {
		one := field{name: append(wire.AppendString([]byte{','}, f.Name), ':'), from: f.From}
		switch {
		case f.Name == "" || slices.Contains(names, f.Name):
			return nil, fmt.Errorf("webhook: the field %q is empty or there twice", f.Name)
		case strings.HasPrefix(f.From, "="):
			one.from, one.text = "=", wire.AppendString(nil, f.From[1:])
		case strings.HasPrefix(f.From, "properties."):
			one.from, one.arg = "properties.", strings.TrimPrefix(f.From, "properties.")
		case strings.HasPrefix(f.From, "context.") && slices.Contains(parts, strings.TrimPrefix(f.From, "context.")):
			one.from, one.arg = "context.", contextPrefix+strings.TrimPrefix(f.From, "context.")
		case !slices.Contains([]string{"event", "key", "source", "deviceId", "userId", "timestamp", "timestampMs", "receivedAt", "properties", "context"}, f.From):
			return nil, fmt.Errorf("webhook: the field %q is to come from %q, which is nothing an event has", f.Name, f.From)
		}
		names = append(names, f.Name)
		w.fields = append(w.fields, one)
	}
	return w, nil
}

// Traits returns what the options say. No rates are known: a receiver that has them answers 429.
func (w *Webhook) Traits() tracker.Traits {
	return tracker.Traits{Vendor: "webhook", Keyed: w.o.Keyed, Gzip: w.o.Gzip, Events: w.o.Events, Bytes: w.o.Bytes, Calls: w.o.Calls}
}

// Form writes the event's fields.
func (w *Webhook) Form(e *pipeline.Event, f *tracker.Form) *tracker.Breach {
	f.Key, f.Group = e.ID, e.DeviceID
	b := wire.AppendString(append(f.Body, '{'), w.o.IDField)
	b = wire.AppendString(append(b, ':'), e.ID)
	for i := range w.fields {
		one := &w.fields[i]
		switch one.from {
		case "userId":
			if e.UserID == "" {
				continue
			}
		case "properties.":
			if e.Property(one.arg) == nil {
				continue
			}
		case "context":
			if context := appendContext(nil, &e.Context); len(context) > 0 {
				b = append(append(b, one.name...), context...)
			}
			continue
		case "context.":
			for name, text := range e.Context.Parts() {
				if name == one.arg {
					b = wire.AppendString(append(b, one.name...), text)
				}
			}
			continue
		}
		b = one.append(append(b, one.name...), e)
	}
	f.Body = append(b, '}')
	return nil
}

func (f *field) append(b []byte, e *pipeline.Event) []byte {
	const stamp = `"2006-01-02T15:04:05.000000Z"`
	switch f.from {
	case "=":
		return append(b, f.text...)
	case "event":
		return wire.AppendString(b, e.Name)
	case "key":
		return wire.AppendString(b, e.Key)
	case "source":
		return wire.AppendString(b, e.Source)
	case "deviceId":
		return wire.AppendString(b, e.DeviceID)
	case "userId":
		return wire.AppendString(b, e.UserID)
	case "timestamp":
		return time.UnixMicro(e.Time).UTC().AppendFormat(b, stamp)
	case "timestampMs":
		return fmt.Append(b, e.Time/1000)
	case "receivedAt":
		return time.UnixMicro(e.ReceivedAt).UTC().AppendFormat(b, stamp)
	case "properties.":
		return append(b, e.Property(f.arg)...)
	}
	b = append(b, '{') // properties
	for i, p := range e.Properties {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(wire.AppendString(b, p.Name), ':'), p.Value...)
	}
	return append(b, '}')
}

// Assemble writes an object, a list, or a list in an object.
func (w *Webhook) Assemble(c tracker.Credential, forms []*tracker.Form, r *tracker.Request) {
	r.URL, r.Header = c.URL, w.header.Clone()
	if c.Secret != "" {
		token := c.Secret
		if strings.EqualFold(w.o.TokenHeader, "Authorization") {
			token = "Bearer " + token
		}
		r.Header.Set(w.o.TokenHeader, token)
	}
	if w.o.Events == 1 {
		r.Header.Set("Idempotency-Key", forms[0].Key)
		r.Body = append(r.Body, forms[0].Body...)
		return
	}
	b := r.Body
	if w.o.Wrap != "" {
		b = append(wire.AppendString(append(b, '{'), w.o.Wrap), ':')
	}
	b = append(b, '[')
	for i, f := range forms {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, f.Body...)
	}
	b = append(b, ']')
	if w.o.Wrap != "" {
		b = append(b, '}')
	}
	r.Body = b
}

// Split reads a request.
func (w *Webhook) Split(r *tracker.Request) (tracker.Passed, error) {
	p := tracker.Passed{Credential: tracker.Credential{URL: r.URL, Secret: r.Header.Get(w.o.TokenHeader)}}
	if strings.EqualFold(w.o.TokenHeader, "Authorization") {
		p.Credential.Secret = strings.TrimPrefix(p.Credential.Secret, "Bearer ")
	}
	event := func(e []byte) bool {
		var key string
		if err := json.Unmarshal(wire.Member(e, w.o.IDField), &key); err != nil {
			key = ""
		}
		p.Events = append(p.Events, tracker.PassedEvent{Key: key, Body: e})
		return true
	}
	body := r.Body
	if w.o.Events == 1 {
		if !wire.Members(body, func(_, _ []byte) bool { return true }) {
			return tracker.Passed{}, errors.New("webhook: the body is no JSON object")
		}
		event(body)
		return p, nil
	}
	if w.o.Wrap != "" {
		body = wire.Member(body, w.o.Wrap)
	}
	if !wire.Elements(body, event) {
		return tracker.Passed{}, errors.New("webhook: the body is no list")
	}
	return p, nil
}

// Judge goes by the status.
func (w *Webhook) Judge(a *tracker.Answer, _ int) tracker.Judgement { return tracker.JudgeStatus(a) }

// validName says whether a header may be called so.
func validName(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool {
		return !('a' <= r|0x20 && r|0x20 <= 'z' && r < 0x80 || '0' <= r && r <= '9' || strings.ContainsRune("!#$%&'*+-.^_`|~", r))
	})
}

func validValue(value string) bool {
	return !strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}
