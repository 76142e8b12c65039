package trace

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/trace/backlog"
	"github.com/sparrowhq/sparrow/trace/pipeline"
	"github.com/sparrowhq/sparrow/trace/tracker"
	"github.com/sparrowhq/sparrow/warehouse"
)

// ReasonAgain is the reason of an event that was delivered, and may have been before a crash, too.
const ReasonAgain = "sent again after a crash"

// maxPayload bounds the requests and responses that a lane keeps until they are in the warehouse. Beyond it outcomes go
// without; dead letters keep theirs.
const maxPayload = 32 << 20

// maxListed is how many of the events sent again are listed in the status; the warehouse has all.
const maxListed = 100

// done takes results. It is the sender's Done.
func (l *lane) done(results []tracker.Result) {
	defer signal(l.known)
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range results {
		r := &results[i]
		if one := l.resending[r.Position]; one != nil {
			l.redoneLocked(one, r)
			continue
		}
		row := l.rows[r.Position]
		if row == nil || row.known {
			l.t.o.Telemetry.Failure("a tracker told of an event that it does not have", fmt.Errorf("at %v", r.Position), slog.String("tracker", l.name))
			continue
		}
		outcome(&row.Outcome, r, row.again)
		if row.again && r.Attempts > 0 {
			l.pending.Again++
			l.listAgainLocked(r.Position)
		}
		if r.Outcome == tracker.Dead {
			l.pending.Letters = append(l.pending.Letters, backlog.Letter{Event: *row.event, Outcome: row.Outcome, Detail: r.Detail, At: r.At})
		}
		if size := len(row.Request) + len(row.Response); l.payload+size <= maxPayload {
			l.payload += size
		} else {
			row.Request, row.Response = nil, nil
		}
		row.known, row.event = true, nil
		l.pending.Results = append(l.pending.Results, row.Outcome)
		l.pending.Through = max(l.pending.Through, row.work.number)
		l.t.metrics.result(l.name, &row.Outcome, r)
	}
}

func (l *lane) listAgainLocked(p event.Position) {
	if len(l.again) == maxListed {
		l.again = append(l.again[:0], l.again[1:]...)
	}
	l.again = append(l.again, p)
}

// outcome fills in what a result says.
func outcome(o *warehouse.Outcome, r *tracker.Result, again bool) {
	o.Sink, o.Outcome, o.Reason, o.Status = string(r.Credential), string(r.Outcome), r.Reason, int32(r.Status)
	o.Attempts, o.Digest, o.Latency = r.Attempts, r.Digest, r.At-o.Timestamp
	o.Request, o.Response = r.Request, r.Response
	if again && r.Outcome == tracker.Delivered && o.Reason == "" {
		o.Reason = ReasonAgain
	}
}

// resending is a dead letter on its way to the vendor again.
type resending struct {
	letter backlog.Letter
	build  string
}

// redoneLocked takes the result of a dead letter that was sent again: a correction of its outcome.
func (l *lane) redoneLocked(one *resending, r *tracker.Result) {
	o := &one.letter.Outcome
	again := one.letter.Intent
	outcome(o, r, again && r.Again())
	l.correctLocked(one, r.Detail, r.At, r.Outcome == tracker.Dead)
	l.t.metrics.result(l.name, o, r)
}
