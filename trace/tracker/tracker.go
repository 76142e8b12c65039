// Package tracker carries events to one vendor: it puts them into the vendor's form, sends them in batches within the
// vendor's limits, and says what became of each.
//
// Invariant: every Item given to Send comes back in exactly one Result, unless the process ends first. A Result says
// only what was seen: how often the event went out, in which bytes and under which credential is read from the request
// as it passed the HTTP transport, never from what the code meant to send. Nothing leaves but over HTTPS (loopback
// excepted), and no error, log line or Result holds a secret.
package tracker

import (
	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/trace/pipeline"
)

// Sink names the project of a vendor that an event goes to: Production for an event of a live frame, Staging for one
// of a candidate frame.
type Sink string

// The sinks.
const (
	Production Sink = "production"
	Staging    Sink = "staging"
)

// Item is an event on its way to one vendor.
type Item struct {
	Event pipeline.Event // the View for this tracker
	Sink  Sink
	Again bool // an earlier process may have sent it and ended before it knew; always false for vendors with an idempotency key
}

// Outcome is what became of an Item.
type Outcome string

// The outcomes of a tracker.
const (
	Delivered Outcome = "delivered" // the vendor answered that it took it; for a sink in dry-run, or left out by sampling: see Result.Reason
	Rejected  Outcome = "rejected"  // never sent: it breaks a documented limit of the vendor
	Dead      Outcome = "dead"      // sent, and refused for good
)

// Result is what became of one Item.
type Result struct {
	event.Position
	Sink       Sink
	Credential Sink // whose credential the request that passed the transport carried; empty: none passed, or one of nobody's. In dry-run: of the request as built
	Outcome    Outcome
	Reason     string // few and fixed words, fit to label a metric: "name not allowed", "invalid id", "dry-run", "not sampled", "sent again after a crash", "sent more than needed", "left out of its request"
	Detail     string // for people: the vendor's answer about this event, scrubbed, at most 1 KiB
	Status     int    // HTTP status of the last answer; 0: none
	Attempts   uint32 // requests with this event that passed the transport; 0 in dry-run
	Digest     uint64 // first 8 bytes of SHA-256 of the vendor form that passed the transport last (without secrets, attempts, batching); 0: none passed. In dry-run: of the request as built
	At         int64  // when it was known, microseconds since the epoch
	Request    []byte // the vendor form of this event (no secret), for failures, and for a sample by hash of the event's id; else nil
	Response   []byte // what was answered, likewise
	Warnings   []Warning
	Checking   bool // the event is in the validation endpoint's sample: Options.Checked says what came of it
}

// Warning is something the vendor takes and then drops or cuts, or that its validation endpoint says.
type Warning struct {
	Code  string // as the vendor spells it, "VALUE_INVALID", or one of ours
	Field string // path in the vendor's form, array indexes left out, as in "events.params.page_title"
	Text  string // scrubbed
}
