// Package pipeline decides what may leave: it turns a journaled request into the events that trackers may see.
//
// Invariant: everything here is a pure function of the request as journaled (body, headers, query, client address,
// received-at, position) and of the configuration. There is no clock, no randomness and no I/O, so two equal builds give
// equal bytes. Every item of a body has exactly one Outcome; an item has an Event if and only if that outcome is Accepted.
// No text a client chose is in an Event unless the configuration names the field and the scrubber has seen it, nor in an
// Outcome but the event's name, which has been scrubbed.
//
// The way of an item: split → source (write key, origin) → validate → allowlist → scrub → context → Event. What one
// tracker may see of an Event (selection, consent, names, form of the ids) is Pipeline.View.
package pipeline

import (
	"encoding/json"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/event/body"
)

// Event is one allowlisted, scrubbed, typed event. What Pipeline.Process returns is the form that is kept in the log,
// common to all trackers; Pipeline.View turns it into the form that one tracker may send.
type Event struct {
	event.Position
	ID     string // eventId
	Key    string // idempotency key: a keyed hash (26 characters [a-z2-7]) of write key, deviceId and messageId; without messageId: ID
	Source string // name of the source in the configuration
	Name   string // as the allowlist spells it; in a View: as the tracker's mapping spells it

	// DeviceID and UserID are keyed hashes of 26 characters [a-z2-7]. In a View of a tracker with `ids: plain` they are
	// what the client sent, unless it is not written like an id or a scrubbing rule finds something in it: then the hash
	// stays. UserID may be empty.
	DeviceID string
	UserID   string
	Plain    *Identifiers // nil unless some tracker has `ids: plain`; always nil in a View

	Time       int64 // microseconds since the epoch, UTC: the client's timestamp if it is usable, else ReceivedAt
	ClientTime bool  // whether Time is the client's
	ReceivedAt int64 // microseconds since the epoch, UTC

	Properties []Property // by name, bytewise; names are unique
	Context    Context
}

// Identifiers are the ids as the client sent them; empty where only the hash may go on.
type Identifiers struct {
	DeviceID string
	UserID   string
}

// Property is one allowlisted property.
type Property struct {
	Name string // the allowlist's path, segments joined by dots; in a View: the tracker's name for it
	// Value is valid JSON, UTF-8. Unless the scrubber changed it, it is the client's own slice: numbers and escapes are
	// never re-encoded.
	Value json.RawMessage
}

// Property returns the value of the property called name, or nil.
func (e *Event) Property(name string) json.RawMessage {
	for i := range e.Properties {
		if e.Properties[i].Name == name {
			return e.Properties[i].Value
		}
	}
	return nil
}

// Context says where an event comes from, in words of our own tables: no header's text is in it, only what was
// recognised, except Page and Referrer, which are scrubbed. In a View it holds what `trackers.NAME.context` lists, and no
// more: a tracker may send what it finds here.
type Context struct {
	Browser  string // family, as in "Chrome"; empty: not recognised
	Version  string // major version, digits
	OS       string // family, as in "Windows"
	Device   string // desktop, mobile, tablet, tv, bot or empty
	Language string // "en" or "en-US"
	Page     string // URL of the page that sent the event, query parameters by allowlist
	Referrer string // origin and path of the page before
	IP       string // truncated: 203.0.113.0 (24 bits) or 2001:db8:1:: (48 bits)
	Country  string // two capital letters
	Privacy  Privacy
}

// Privacy is what the person behind the event asked for.
type Privacy struct {
	GPC     bool      // Sec-GPC: 1
	DNT     bool      // DNT: 1
	Consent []Consent // by purpose, for every purpose that the configuration names and the event speaks of
}

// Consent is an answer to one purpose.
type Consent struct {
	Purpose string
	Granted bool
}

// Result is an outcome's class at the trace stage. Trackers add delivered and dead.
type Result string

// The classes this package gives.
const (
	Accepted Result = "accepted"
	Rejected Result = "rejected"
)

// StageName is the name of this package's stage in outcomes.
const StageName = "trace"

// Outcome says what happened to one item of a body.
type Outcome struct {
	event.Position
	ID     string `json:"id"`              // eventId
	Name   string `json:"event,omitempty"` // for a name the allowlist does not hold: scrubbed and cut to 64 bytes
	Source string `json:"source,omitempty"`
	Stage  string `json:"stage"` // StageName, or the tracker's name for an Outcome that View gives
	Result Result `json:"outcome"`
	Reason Reason `json:"reason,omitempty"` // of a rejection
	Rule   string `json:"rule,omitempty"`   // the configuration's path of the rule that decided, as in "events.zone.delete.properties.zone"
	Hint   string `json:"hint,omitempty"`   // what to do, or the allowlisted name that was probably meant
}

// Reason is why an item was rejected. Reasons are few and fixed, so that they can label a metric. Those of a body are
// spelled as in package body.
type Reason string

// The reasons.
const (
	UnknownEncoding = Reason(body.UnknownEncoding)
	Undecodable     = Reason(body.Undecodable)
	TooLarge        = Reason(body.TooLarge) // the body, once decoded, or the event
	NotJSON         = Reason(body.NotJSON)
	TooDeep         = Reason(body.TooDeep) // the body, or the event: limits.depth
	TooManyItems    = Reason(body.TooManyItems)

	Empty       Reason = "empty list"        // the body has no event
	NotUTF8     Reason = "not utf-8"         // the event
	NotObject   Reason = "not an object"     // the item is JSON, but no object
	TooMany     Reason = "too many members"  // limits.members
	WrongField  Reason = "wrong field"       // event, deviceId, userId, messageId or properties: missing, wrong type or length
	UnknownKey  Reason = "unknown write key" // missing, or of no source
	WrongOrigin Reason = "wrong origin"      // missing, or not one of the write key's source

	UnknownEvent  Reason = "unknown event"    // not on the allowlist
	Missing       Reason = "missing property" // a required one
	WrongType     Reason = "wrong type"       // of a property, where the configuration says reject
	WrongValue    Reason = "wrong value"      // length or not a listed value, where the configuration says reject
	NoConsent     Reason = "no consent"       // View: this tracker needs a consent that is not there
	RefusedByCode Reason = "refused by stage" // a stage given in Options refused it
	Bug           Reason = "internal error"   // the pipeline met a bug on this item; reported, never passed on
)
