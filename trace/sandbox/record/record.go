// Package record keeps what arrived at the sandbox: every request whole, and for every project how often each event
// came.
//
// Invariant: an event the vendor took in is counted each time it comes, before any de-duplication; what is counted is
// in the log, and the log is what a restart counts again. What no longer fits is itself counted, and every answer built
// on an incomplete record says so.
package record

import (
	"net/http"
	"time"
)

// Outcome says what a vendor did with one event.
type Outcome string

const (
	Accepted  Outcome = "accepted"  // taken in and stored
	Duplicate Outcome = "duplicate" // taken in, and dropped by the vendor's own de-duplication
	Dropped   Outcome = "dropped"   // answered 2xx and yet not stored
	Refused   Outcome = "refused"   // answered 4xx: the sender knows
)

// RealtimeOnly marks a stored event that shows in the vendor's live view and never in its reports.
const RealtimeOnly = "realtime-only"

// Event is one event of a request as the vendor judged it.
type Event struct {
	Index   int      `json:"index"`             // place in the request
	ID      string   `json:"id,omitempty"`      // what identifies it: insert_id, idempotency_key, …; empty: nothing does
	Name    string   `json:"name,omitempty"`    // the vendor's name of it
	Outcome Outcome  `json:"outcome"`           //
	Reason  string   `json:"reason,omitempty"`  // for Dropped and Refused
	Visible string   `json:"visible,omitempty"` // RealtimeOnly, or empty
	Ignored []string `json:"ignored,omitempty"` // properties the vendor leaves out of what it stores
	Key     string   `json:"key,omitempty"`     // what the vendor de-duplicates by; empty: it does not

	// Window is for how long after an event its key is remembered; 0, and always if the key is the id itself: for ever.
	// It is not kept in the log.
	Window time.Duration `json:"-"`
}

// Request is one HTTP request as it arrived, and what became of it.
type Request struct {
	Seq     uint64      // its number, from 1, in the order of the log
	At      time.Time   //
	Vendor  string      //
	Project string      //
	Method  string      //
	URL     string      // path and query as sent
	Host    string      //
	Header  http.Header //
	Body    []byte      // content-decoded, if the encoding is known; as received otherwise; nil if a fault left it unread

	Status         int    // answered; 0: no answer was given
	Fault          string // name of the rule that spoiled the request or its answer; empty: none
	Unacknowledged bool   // judged by the vendor, but the answer the sender saw was not the vendor's own

	Events   []Event  // in the order of the request
	Messages []string // codes of the validation messages answered, one each
	Check    bool     // a validation request: its events are never taken in
}

// Counts sums up what one project of one vendor received.
type Counts struct {
	Vendor  string `json:"vendor"`
	Project string `json:"project"`

	Requests       map[string]uint64 `json:"requests"`       // by status; "none": no answer was given
	Deliveries     uint64            `json:"deliveries"`     // events taken in, each time they came
	Distinct       uint64            `json:"distinct"`       // different ids among them
	Duplicates     uint64            `json:"duplicates"`     // deliveries of an id that had come before
	Deduplicated   uint64            `json:"deduplicated"`   // deliveries the vendor itself drops as duplicates
	WithoutID      uint64            `json:"withoutId"`      // deliveries that carry no id: in no other column below Deliveries
	Untracked      uint64            `json:"untracked"`      // deliveries whose id no longer fitted: Distinct and Duplicates lack them
	Unacknowledged uint64            `json:"unacknowledged"` // deliveries whose sender did not get the vendor's own answer
	RealtimeOnly   uint64            `json:"realtimeOnly"`   // deliveries that never show in reports
	Ignored        uint64            `json:"ignored"`        // properties left out of deliveries
	Dropped        map[string]uint64 `json:"dropped"`        // events answered 2xx and not stored, by reason
	Refused        map[string]uint64 `json:"refused"`        // events of requests answered 4xx, by reason
	Checks         uint64            `json:"checks"`         // validation requests
	Messages       map[string]uint64 `json:"messages"`       // validation messages, by code
	Faults         map[string]uint64 `json:"faults"`         // requests spoiled on purpose, by rule
}

// IDCount is how often an event came.
type IDCount struct {
	ID    string `json:"id"`
	Count uint32 `json:"count"`
}

// Status says how much is kept.
type Status struct {
	Requests uint64 `json:"requests"` // recorded since the start or the last reset
	Kept     uint64 `json:"kept"`     // of these, those whose bytes are still here
	Bytes    int64  `json:"bytes"`    // of the log
	MaxBytes int64  `json:"maxBytes"`
	IDs      int    `json:"ids"`
	MaxIDs   int    `json:"maxIds"`
	Dir      string `json:"dir,omitempty"` // empty: memory only
	Complete bool   `json:"complete"`      // nothing was evicted, no id left untracked
	Error    string `json:"error,omitempty"`
}
