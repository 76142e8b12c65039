package compare

import (
	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// Schema is the version of the evidence and verdict documents this build writes, and the newest it judges.
const Schema = 2

// Evidence is everything a verdict rests on: one window, both sides, and the ledger between them. It holds counts, ids,
// positions, names of columns and paths of fields, never a value that a client sent.
type Evidence struct {
	Schema     int         `json:"schema"`
	At         int64       `json:"at"` // when the reading was finished, microseconds since the epoch
	Journal    string      `json:"journal"`
	Generation uint64      `json:"generation"` // of the control history, as read first
	Head       string      `json:"head"`       // hash of the newest control record, as read first
	Window     Window      `json:"window"`
	Declared   Declaration `json:"declared"` // the candidate as the history declares it; zero: none is
	Ledger     LedgerCount `json:"ledger"`   // what the journal accepted in the window
	Either     EitherCount `json:"either"`   // what at least one side stored of it
	Live       Side        `json:"live"`
	Candidate  Side        `json:"candidate"`
	// Stages are those beyond raw that either side has a cursor of, or that were asked for: trace first, then by name.
	Stages []StageEvidence `json:"stages,omitempty"`
	Events []Event         `json:"events"`           // by stage; those that differ first, then by rows, most first
	Folded []Folded        `json:"folded,omitempty"` // at most one for each stage
	Lost   Lost            `json:"lost"`
	// NotExercised lists events seen outside the window within 28 days before its end, and not in it.
	NotExercised     []Unexercised `json:"notExercised,omitempty"`
	MoreNotExercised int           `json:"moreNotExercised,omitempty"` // names left out of NotExercised
	// Unsettled says what moved while the evidence was read, or could not be understood; any entry forbids PASS and FAIL.
	Unsettled []string `json:"unsettled,omitempty"`
}

// Window is a range of frames.
type Window struct {
	First  uint64 `json:"first"` // first and last frame, both included; Last < First: no frame at all
	Last   uint64 `json:"last"`
	Asked  string `json:"asked"`  // as the operator wrote it; empty: the default
	Chosen string `json:"chosen"` // how First and Last follow from that, for people
}

// Empty reports whether the window holds no frame.
func (w Window) Empty() bool { return w.Last < w.First }

// Declaration is the control record that declared the candidate.
type Declaration struct {
	Build    event.Build `json:"build"`
	Sequence uint64      `json:"sequence"` // of the record; frames after it count
}

// LedgerCount is the mirror's own count of the window.
type LedgerCount struct {
	event.Totals
	Complete bool `json:"complete"` // it covers exactly the window
}

// EitherCount counts the distinct requests that at least one side holds. Together with those under holes on both sides
// it has to make up the ledger's count: what is missing here is missing in both datasets.
type EitherCount struct {
	Requests  uint64    `json:"requests"`
	IDSum     event.Sum `json:"idSum"`
	BadIDs    uint64    `json:"badIds"`    // requests whose eventId holds no UUID, left out of IDSum
	UnderBoth uint64    `json:"underBoth"` // requests under a hole on both sides
	// BothKnown says that UnderBoth could be counted: the mirror gave the place of every hole.
	BothKnown bool `json:"bothKnown"`
}

// Side is one stack over the window.
type Side struct {
	Stack     event.Stack `json:"stack"`
	Build     event.Build `json:"build"` // as the stack's dispatcher reports it now
	Reachable bool        `json:"reachable"`
	Error     string      `json:"error,omitempty"`    // why it is not, or what it last answered
	Protocol  string      `json:"protocol,omitempty"` // how the mirror feeds it: frames, http
	// Feed is the mirror's cursor, Stored the warehouse's per stage: everything below is final.
	Feed   event.Cursor                     `json:"feed"`
	Stored map[warehouse.Stage]event.Cursor `json:"stored"`
	Builds []BuildSeen                      `json:"builds"` // that wrote rows of the window, by first frame

	// The rest is of stage raw, and the holes are everybody's.
	Rows     uint64    `json:"rows"`     // as stored, duplicates included
	Requests uint64    `json:"requests"` // distinct (frame, request) with an item 0
	IDSum    event.Sum `json:"idSum"`    // of their ids' tails
	Absent   uint64    `json:"absent"`   // requests that only the other side holds, and no hole or lateness explains
	Holes    Holes     `json:"holes"`
}

// rowless reports whether the side is a service that is fed plain HTTP and has never written a row to the warehouse: then
// nothing of it can be compared, and waiting changes nothing.
func (s Side) rowless() bool {
	return s.Protocol == protocolHTTP && s.Stored[warehouse.Raw] == event.Cursor{}
}

// protocolHTTP is Side.Protocol of a service that is no dispatcher of ours.
const protocolHTTP = "http"

// BuildSeen is a build found in a side's rows.
type BuildSeen struct {
	ID    string `json:"id"`
	Rows  uint64 `json:"rows"`
	First uint64 `json:"first"` // frames
	Last  uint64 `json:"last"`
}

// Holes is what the mirror knows the side never got, within the window.
type Holes struct {
	Dead    uint64 `json:"dead"` // requests
	Expired uint64 `json:"expired"`
	Sampled uint64 `json:"sampled"`
	// Located says that the mirror gave the place of every hole, so that each missing row can be attributed.
	Located bool         `json:"located"`
	Spans   []event.Span `json:"spans,omitempty"` // frames that hold holes, at most MaxSpans, merged where they touch
}

// Requests is the number of requests under holes.
func (h Holes) Requests() uint64 { return h.Dead + h.Expired + h.Sampled }

// MaxSpans bounds a list of frame ranges in the evidence.
const MaxSpans = 100

// Event is one event name at one stage.
type Event struct {
	Name      string          `json:"event"` // empty: the body named none; a name beyond MaxName bytes is shortened
	Stage     warehouse.Stage `json:"stage"`
	Live      uint64          `json:"live"`      // rows, duplicates included
	Candidate uint64          `json:"candidate"` // rows, duplicates included
	Faults
	Examples []Example `json:"examples,omitempty"`
}

// Faults counts, in events, how two sides differ. Names ending in Live are of what the live side lacks. What one side
// lacks is counted once, by its cause, so that
//
//	candidate − live = (extra + deadLive + undeliveredLive + pendingLive + upstreamLive + renamedTo + duplicatesCandidate)
//	                 − (missing + dead + undelivered + pending + upstream + renamedFrom + duplicatesLive)
//
// and a loss that is made up for by doubling shows on both sides of the equation.
type Faults struct {
	Missing             uint64 `json:"missing"`             // live has it, the candidate answered and has not
	Extra               uint64 `json:"extra"`               // the candidate has it, live answered and has not
	Changed             uint64 `json:"changed"`             // both have it, not with the same content
	DuplicatesLive      uint64 `json:"duplicatesLive"`      // rows beyond the first of a position
	DuplicatesCandidate uint64 `json:"duplicatesCandidate"` // rows beyond the first of a position
	RenamedFrom         uint64 `json:"renamedFrom"`         // part of Changed: the candidate has another name for it
	RenamedTo           uint64 `json:"renamedTo"`           // the candidate has it under this name, live under another
	Dead                uint64 `json:"dead"`                // live has it, at the candidate it failed alone and was set aside
	DeadLive            uint64 `json:"deadLive"`
	Undelivered         uint64 `json:"undelivered"` // the mirror never handed it over: expired or sampled, the mirror's doing
	UndeliveredLive     uint64 `json:"undeliveredLive"`
	Pending             uint64 `json:"pending"` // not there yet: at or past the cursor
	PendingLive         uint64 `json:"pendingLive"`

	// Of stages beyond raw only. Upstream is what a side lacks here because an earlier stage of it, where that is counted,
	// did not let it through as the other side's did. Skipped is raw, and neither side says what became of it.
	Upstream      uint64 `json:"upstream,omitempty"`
	UpstreamLive  uint64 `json:"upstreamLive,omitempty"`
	Skipped       uint64 `json:"skipped,omitempty"`
	Misrouted     uint64 `json:"misrouted,omitempty"` // rows that the candidate sent under another credential than staging's
	MisroutedLive uint64 `json:"misroutedLive,omitempty"`
}

// Differ reports whether anything but the mirror's holes and lateness sets the sides apart.
func (f Faults) Differ() bool {
	return f.Missing|f.Extra|f.Changed|f.DuplicatesLive|f.DuplicatesCandidate|f.RenamedTo|f.Dead|f.DeadLive|
		f.Skipped|f.Misrouted|f.MisroutedLive != 0
}

func (f *Faults) add(g Faults) {
	f.Missing += g.Missing
	f.Extra += g.Extra
	f.Changed += g.Changed
	f.DuplicatesLive += g.DuplicatesLive
	f.DuplicatesCandidate += g.DuplicatesCandidate
	f.RenamedFrom += g.RenamedFrom
	f.RenamedTo += g.RenamedTo
	f.Dead += g.Dead
	f.DeadLive += g.DeadLive
	f.Undelivered += g.Undelivered
	f.UndeliveredLive += g.UndeliveredLive
	f.Pending += g.Pending
	f.PendingLive += g.PendingLive
	f.Upstream += g.Upstream
	f.UpstreamLive += g.UpstreamLive
	f.Skipped += g.Skipped
	f.Misrouted += g.Misrouted
	f.MisroutedLive += g.MisroutedLive
}

// Judged is the number of distinct events that live has under this name, or only the candidate has, and that both sides
// were handed and had time to store: the denominator.
func (e Event) Judged() uint64 {
	n := e.Live + e.Extra
	return n - min(n, e.DuplicatesLive+e.Undelivered+e.Pending+e.Upstream)
}

// Folded sums up the names of a stage that did not fit into Events.
type Folded struct {
	Stage     warehouse.Stage `json:"stage"`
	Names     int             `json:"names"`
	Live      uint64          `json:"live"`
	Candidate uint64          `json:"candidate"`
	Least     uint64          `json:"least"` // rows judged of the rarest of them
	Faults
}
