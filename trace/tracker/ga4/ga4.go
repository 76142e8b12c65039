// Package ga4 puts events into the form of Google Analytics 4's Measurement Protocol.
//
// Invariant: pure functions; what the vendor would drop without a word is rejected, or left out with a warning, here:
// its status proves nothing.
package ga4

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/sparrowhq/sparrow/trace/pipeline"
	"github.com/sparrowhq/sparrow/trace/tracker"
	"github.com/sparrowhq/sparrow/trace/tracker/wire"
)

// GA4 is the vendor. Its zero value is ready.
type GA4 struct{}

// New returns the vendor.
func New() GA4 { return GA4{} }

// Traits returns the documented limits. A request holds one client_id, so most hold few events: many go out at a time.
func (GA4) Traits() tracker.Traits {
	return tracker.Traits{Vendor: "ga4", Alone: true, Events: maxEvents, Bytes: maxBody, Calls: 64}
}

// Form writes the event as
//
//	{"name":…,"timestamp_micros":…,"params":{"event_id":…,"session_id":…,"engagement_time_msec":…,…}}
//
// and as Head what stands once in a request: client_id, user_id, and of the context what the configuration lets pass, as
// user_location, ip_override and device.
func (GA4) Form(e *pipeline.Event, f *tracker.Form) *tracker.Breach {
	if e.DeviceID == "" {
		return &tracker.Breach{Reason: "invalid id", Detail: "there is no client_id"}
	}
	name := e.Name
	if name == "pageview" {
		name = "page_view"
	}
	if rule := nameRule(name, maxName); rule != "" {
		return &tracker.Breach{Reason: "name not allowed", Detail: "event names " + rule}
	}
	if reservedEvents[name] {
		return &tracker.Breach{Reason: "name reserved", Detail: "the vendor keeps this name for itself"}
	}
	f.Key = e.ID
	f.Until = e.Time + (backDating - flight).Microseconds()

	h := wire.AppendString(append(f.Head, `"client_id":`...), e.DeviceID)
	if e.UserID != "" {
		h = wire.AppendString(append(h, `,"user_id":`...), e.UserID)
	}
	h = appendContext(h, &e.Context, f)
	f.Head, f.Group = h, string(h)

	b := wire.AppendString(append(f.Body, `{"name":`...), name)
	b = appendInt(append(b, `,"timestamp_micros":`...), e.Time)
	b = wire.AppendString(append(b, `,"params":{"event_id":`...), e.ID)
	w := params{form: f, b: b, n: 1}
	w.own(e)
	w.context(e, name == "page_view")
	w.others(e, name == "page_view")
	f.Body = append(w.b, '}', '}')
	if size := len(f.Head) + len(f.Body) + len(`{,"events":[]}`); size >= maxBody {
		return &tracker.Breach{Reason: "too large", Detail: "the request would have 130,000 bytes and more"}
	}
	return nil
}

var header = http.Header{"Content-Type": {"application/json"}}

// Assemble writes {"client_id":…,"user_id":…,"events":[…]}; the credential goes into the query.
func (GA4) Assemble(c tracker.Credential, forms []*tracker.Form, r *tracker.Request) {
	assemble(c.URL, c, "", forms, r)
}

func assemble(address string, c tracker.Credential, more string, forms []*tracker.Form, r *tracker.Request) {
	mark := "?"
	if strings.Contains(address, "?") {
		mark = "&"
	}
	r.URL = address + mark + "measurement_id=" + url.QueryEscape(c.Key) + "&api_secret=" + url.QueryEscape(c.Secret)
	r.Header = header
	b := append(append(append(r.Body, '{'), forms[0].Head...), more...)
	b = append(b, `,"events":[`...)
	for i, f := range forms {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, f.Body...)
	}
	r.Body = append(b, ']', '}')
}

// Split reads a request: what stands beside the events belongs to each of them.
func (GA4) Split(r *tracker.Request) (tracker.Passed, error) {
	var p tracker.Passed
	address, query, _ := strings.Cut(r.URL, "?")
	var rest []string
	for pair := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		text, err := url.QueryUnescape(value)
		if err != nil {
			return p, errors.New("ga4: the query is not readable")
		}
		switch name {
		case "measurement_id":
			p.Credential.Key = text
		case "api_secret":
			p.Credential.Secret = text
		case "":
		default:
			rest = append(rest, pair)
		}
	}
	if len(rest) > 0 {
		address += "?" + strings.Join(rest, "&")
	}
	p.Credential.URL = address
	var head []byte
	listed := false
	whole := wire.Members(r.Body, func(name, value []byte) bool {
		if string(name) != "events" {
			if len(head) > 0 {
				head = append(head, ',')
			}
			head = append(append(append(append(head, '"'), name...), `":`...), value...)
			return true
		}
		listed = wire.Elements(value, func(e []byte) bool {
			p.Events = append(p.Events, tracker.PassedEvent{Key: string(wire.Text(wire.Member(wire.Member(e, "params"), "event_id"))), Body: e})
			return true
		})
		return true
	})
	if !whole || !listed {
		return tracker.Passed{}, errors.New("ga4: not a request of the Measurement Protocol")
	}
	for i := range p.Events {
		p.Events[i].Head = head
	}
	return p, nil
}

// Judge goes by the status. 204 says that the request arrived, and no more.
func (GA4) Judge(a *tracker.Answer, _ int) tracker.Judgement { return tracker.JudgeStatus(a) }

// flight is what a request may take on its way: what is about to be too old would be when it arrives.
const flight = time.Minute
