package warehouse

import (
	"strings"

	"github.com/sparrowhq/sparrow/event"
)

// Trace is the stage of the allowlist's decisions. A tracker's stage is called as the tracker is.
const Trace Stage = "trace"

// late ends the name of a stage's second row of cursors.
const late = "/late"

// Late is the stage whose batches correct outcomes of s that were appended before. Its cursor counts corrections, in
// Frame, from 0; Request is always 0. A batch of corrections From {n, 0} To {m, 0} has m-n outcomes: the one at index k
// is correction number n+k, whatever its position, and has a Revision above 0. Those numbered below the cursor are
// skipped. They are stored as outcomes of s.
func (s Stage) Late() Stage { return s + late }

// Base is the stage that s corrects; s itself unless it is a Late one.
func (s Stage) Base() Stage { return Stage(strings.TrimSuffix(string(s), late)) }

// Outcome is what a stage did with one event. Rows are narrow, since there is one for each event and stage: the
// eventId is raw's, found by position.
type Outcome struct {
	event.Position
	Timestamp int64  // received-at, microseconds since the epoch, UTC
	Build     string //
	Event     string // the event's name, scrubbed; empty if the body has none
	Sink      string // whose credential was used: production or staging; empty: nothing was sent
	Outcome   string // accepted, rejected, delivered, dead
	Reason    string //
	Status    int32  // HTTP status of the last answer; 0: none
	Attempts  uint32 // requests that carried the event
	Digest    uint64 // of the vendor's form as it was sent; 0: nothing was sent
	Latency   int64  // microseconds from received-at to the outcome; not compared
	Revision  uint32 // 0, then one more with each correction of the same position; only on a Late stage above 0
	Request   []byte // for failures and a sample; else nil
	Response  []byte // likewise
}
