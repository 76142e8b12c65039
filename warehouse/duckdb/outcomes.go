package duckdb

import (
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

// newOutcomeAppender prepares to append to outcomes_log.
func newOutcomeAppender(c *conn, stack event.Stack) (*appender, error) {
	return newAppender(c, string(stack), "outcomes_log", outcomeWidth, colOutSent, colOutAnswer)
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
