package compare

import "github.com/sparrowhq/sparrow/event"

// Kind says what an example is an example of.
type Kind string

// The kinds of examples.
const (
	Missing     Kind = "missing"
	Dead        Kind = "dead"
	Extra       Kind = "extra"
	Changed     Kind = "changed"
	Doubled     Kind = "duplicated"
	LostByBoth  Kind = "lost"
	Undelivered Kind = "undelivered"
	Pending     Kind = "pending"
	Skipped     Kind = "skipped"
	Misrouted   Kind = "misrouted"
)

// Example is one event that shows a difference.
type Example struct {
	Kind Kind `json:"kind"`
	event.Position
	EventID string      `json:"eventId,omitempty"`
	At      int64       `json:"at,omitempty"`     // received-at, microseconds since the epoch
	Side    event.Stack `json:"side,omitempty"`   // for duplicated, dead, undelivered, pending and misrouted: the side concerned
	Sink    string      `json:"sink,omitempty"`   // for misrouted: whose credential was used
	Copies  uint64      `json:"copies,omitempty"` // for duplicated: rows at this position
	// Columns names what differs. Paths names the fields that differ within data, where both sides hold JSON.
	Columns   []string `json:"columns,omitempty"`
	Paths     []string `json:"paths,omitempty"`
	MorePaths int      `json:"morePaths,omitempty"` // paths left out
	RenamedTo string   `json:"renamedTo,omitempty"` // the candidate's name for it
}

// Lost is what was accepted and is in neither dataset: the pipeline's loss, never the candidate's alone.
type Lost struct {
	Events   uint64    `json:"events"` // items that a request announces and neither side holds
	Examples []Example `json:"examples,omitempty"`
	// Shortfalls are ranges of frames whose requests do not add up to the ledger, as narrow as it could be told.
	Shortfalls []Shortfall `json:"shortfalls,omitempty"`
}

// Shortfall is a range of frames in which a side does not hold what the ledger says.
type Shortfall struct {
	event.Span
	Accepted  uint64 `json:"accepted"`  // requests
	Live      uint64 `json:"live"`      // requests stored or under holes
	Candidate uint64 `json:"candidate"` // requests stored or under holes
}

// Unexercised is an event that the window did not see.
type Unexercised struct {
	Name     string `json:"event"`
	Events   uint64 `json:"events"`   // rows of both sides in the 28 days
	LastSeen int64  `json:"lastSeen"` // microseconds since the epoch
}
