package duckdb

import (
	"fmt"
	"math"
	"unicode/utf8"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// outcomeColumns is the outcomes_log table of a stack, in the order in which appender.putOutcome fills it: every outcome
// as it was appended, corrections beside what they correct.
const outcomeColumns = `frame BIGINT NOT NULL, request INTEGER NOT NULL, item INTEGER NOT NULL, run BIGINT NOT NULL, stage VARCHAR NOT NULL, ` +
	`"timestamp" TIMESTAMP NOT NULL, build VARCHAR NOT NULL, event VARCHAR NOT NULL, sink VARCHAR NOT NULL, outcome VARCHAR NOT NULL, reason VARCHAR NOT NULL, ` +
	`status INTEGER NOT NULL, attempts INTEGER NOT NULL, digest BIGINT NOT NULL, latency BIGINT NOT NULL, revision INTEGER NOT NULL, sent BLOB, answer BLOB`

// The columns of outcomes_log.
const (
	colOutFrame = iota
	colOutRequest
	colOutItem
	colOutRun
	colOutStage
	colOutTimestamp
	colOutBuild
	colOutEvent
	colOutSink
	colOutOutcome
	colOutReason
	colOutStatus
	colOutAttempts
	colOutDigest
	colOutLatency
	colOutRevision
	colOutSent
	colOutAnswer
	outcomeWidth
)

// isLate reports whether the batch corrects outcomes.
func isLate(stage warehouse.Stage) bool { return stage != stage.Base() }

// checkOutcome refuses what outcomes_log cannot hold exactly.
func checkOutcome(o *warehouse.Outcome) error {
	switch {
	case o.Frame > math.MaxInt64:
		return fmt.Errorf("outcome %v: frame %d is beyond %d", o.Position, o.Frame, int64(math.MaxInt64))
	case o.Position.Request > math.MaxInt32:
		return fmt.Errorf("outcome %v: request %d is beyond %d", o.Position, o.Position.Request, math.MaxInt32)
	case o.Item > math.MaxInt32:
		return fmt.Errorf("outcome %v: item %d is beyond %d", o.Position, o.Item, math.MaxInt32)
	case o.Attempts > math.MaxInt32:
		return fmt.Errorf("outcome %v: %d attempts are beyond %d", o.Position, o.Attempts, math.MaxInt32)
	case o.Revision > math.MaxInt32:
		return fmt.Errorf("outcome %v: revision %d is beyond %d", o.Position, o.Revision, math.MaxInt32)
	case o.Timestamp == math.MaxInt64 || o.Timestamp <= -math.MaxInt64:
		return fmt.Errorf("outcome %v: timestamp %d is none", o.Position, o.Timestamp)
	case o.Outcome == "":
		return fmt.Errorf("outcome %v: says nothing", o.Position)
	case !utf8.ValidString(o.Build) || !utf8.ValidString(o.Event) || !utf8.ValidString(o.Sink) || !utf8.ValidString(o.Outcome) || !utf8.ValidString(o.Reason):
		return fmt.Errorf("outcome %v: build, event, sink, outcome or reason is not UTF-8", o.Position)
	case len(o.Request) > math.MaxUint32 || len(o.Response) > math.MaxUint32:
		return fmt.Errorf("outcome %v: its request or response is beyond %d bytes", o.Position, uint32(math.MaxUint32))
	}
	return nil
}

// checkOutcomes refuses outcomes that do not fit their batch.
func checkOutcomes(b *warehouse.Batch) error {
	late := isLate(b.Stage)
	if late && (b.From.Request != 0 || b.To.Request != 0 || b.To.Frame-b.From.Frame != uint64(len(b.Outcomes))) {
		return fmt.Errorf("batch [%v, %v) of stage %s has %d corrections: want one for each number", b.From, b.To, b.Stage, len(b.Outcomes))
	}
	for i := range b.Outcomes {
		o := &b.Outcomes[i]
		if err := checkOutcome(o); err != nil {
			return err
		}
		if late != (o.Revision > 0) {
			return fmt.Errorf("outcome %v of stage %s has revision %d: corrections have one above 0, and only they", o.Position, b.Stage, o.Revision)
		}
		if late {
			continue
		}
		at := event.Cursor{Frame: o.Frame, Request: o.Position.Request}
		if at.Compare(b.From) < 0 || at.Compare(b.To) >= 0 {
			return fmt.Errorf("outcome %v lies outside its batch [%v, %v)", o.Position, b.From, b.To)
		}
		// An outcome given twice is stored twice, as a row of raw is: compare says what is wrong with it.
		if i > 0 && b.Outcomes[i-1].Position.Compare(o.Position) > 0 {
			return fmt.Errorf("outcome %v comes after outcome %v: outcomes must be in order", o.Position, b.Outcomes[i-1].Position)
		}
	}
	return nil
}

// newOutcomeAppender prepares to append to outcomes_log.
func newOutcomeAppender(c *conn, stack event.Stack) (*appender, error) {
	return newAppender(c, stack, "outcomes_log", outcomeWidth, colOutSent, colOutAnswer)
}

// putOutcome adds an outcome that checkOutcome let through.
func (a *appender) putOutcome(run uint64, stage warehouse.Stage, o *warehouse.Outcome) error {
	if err := a.next(); err != nil {
		return err
	}
	set(a, colOutFrame, int64(o.Frame))
	set(a, colOutRequest, int32(o.Position.Request))
	set(a, colOutItem, int32(o.Item))
	set(a, colOutRun, int64(run))
	a.word(colOutStage, string(stage))
	set(a, colOutTimestamp, o.Timestamp)
	a.word(colOutBuild, o.Build)
	a.word(colOutEvent, o.Event)
	a.word(colOutSink, o.Sink)
	a.word(colOutOutcome, o.Outcome)
	a.word(colOutReason, o.Reason)
	set(a, colOutStatus, o.Status)
	set(a, colOutAttempts, int32(o.Attempts))
	set(a, colOutDigest, int64(o.Digest)) // its bits
	set(a, colOutLatency, o.Latency)
	set(a, colOutRevision, int32(o.Revision))
	a.blob(colOutSent, o.Request)
	a.blob(colOutAnswer, o.Response)
	a.size++
	return nil
}

// blob writes bytes, or NULL if there are none at all.
func (a *appender) blob(column int, b []byte) {
	if b == nil {
		a.null(column)
	} else {
		a.bytes(column, b)
	}
}
