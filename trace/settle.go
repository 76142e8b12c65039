package trace

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/trace/backlog"
	"github.com/sparrowhq/sparrow/trace/tracker"
	"github.com/sparrowhq/sparrow/warehouse"
)

// ReasonAgain is the reason of an event that was delivered, and may have been before a crash, too.
const ReasonAgain = "sent again after a crash"

// maxPayload bounds the requests and responses that a lane keeps until they are in the warehouse. Beyond it outcomes go
// without; dead letters keep theirs.
const maxPayload = 32 << 20

// maxSpare is how many results a lane keeps room for between two commits.
const maxSpare = 4096

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
		if r.Checking {
			l.validatingLocked(&row.Outcome)
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
		l.pending.Through = max(l.pending.Through, row.part.work.number)
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

// settle makes durable what became known, until the lane is drained.
func (l *lane) settle() {
	const least = 100 * time.Millisecond
	wait := least
	for {
		select {
		case <-l.known:
		case <-l.drained.Done():
		}
		ended := l.drained.Err() != nil
		if !ended {
			l.gather()
		}
		l.mu.Lock()
		change, waiting := l.pending, l.waiting
		l.pending, l.waiting = backlog.Change{Results: l.spare}, nil
		l.spare = nil
		l.mu.Unlock()
		err := l.kept.Commit(context.Background(), change)
		l.mu.Lock()
		if err != nil {
			l.putBackLocked(change)
		} else {
			l.settledLocked(change.Results)
			if cap(change.Results) <= maxSpare {
				clear(change.Results) // of bytes sent and answered
				l.spare = change.Results[:0]
			}
			for i := range change.Corrections {
				delete(l.resending, change.Corrections[i].Position)
				signal(l.ripe)
			}
			if len(change.Freed)+len(change.Results) > 0 {
				l.roomLocked()
			}
		}
		l.settleErr = err
		l.mu.Unlock()
		for _, done := range waiting {
			done <- err
		}
		if err == nil {
			l.unsettled.Over(l.t.o.Telemetry, "results are made durable again", slog.String("tracker", l.name))
			if ended {
				return
			}
			wait = least
			continue
		}
		l.unsettled.Failed(l.t.o.Telemetry, "results cannot be made durable", err, slog.String("tracker", l.name))
		if ended {
			return // what is not durable is found out by the next process: it is sent again
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-l.drained.Done():
			timer.Stop()
		}
		wait = min(2*wait, 5*time.Second)
		signal(l.known)
	}
}

// gather lets results come together for a moment, since a transaction costs the same for one as for many. Calls that wait
// for their intents are not held up.
func (l *lane) gather() {
	const moment = 25 * time.Millisecond
	timer := time.NewTimer(moment)
	defer timer.Stop()
	for {
		l.mu.Lock()
		urgent := len(l.waiting) > 0
		l.mu.Unlock()
		if urgent {
			return
		}
		select {
		case <-timer.C:
			return
		case <-l.known:
		case <-l.drained.Done():
			return
		}
	}
}

// putBackLocked puts a change that failed before what became known since. Its intents are given up: who waits for them is
// told, and makes no call.
func (l *lane) putBackLocked(c backlog.Change) {
	now := &l.pending
	now.Through = max(now.Through, c.Through)
	now.Results = append(c.Results, now.Results...)
	now.Again += c.Again
	now.Letters = append(c.Letters, now.Letters...)
	now.Freed = append(c.Freed, now.Freed...)
	now.Retry = append(c.Retry, now.Retry...)
	now.Corrections = append(c.Corrections, now.Corrections...)
}

// roomLocked wakes the heads: there may be room to read on.
func (l *lane) roomLocked() {
	for _, h := range l.heads {
		signal(h.room)
	}
}

// settledLocked notes that results are durable.
func (l *lane) settledLocked(results []warehouse.Outcome) {
	for i := range results {
		r := l.rows[results[i].Position]
		delete(l.rows, results[i].Position)
		r.part.head.flying--
		if r.part.open--; r.part.open == 0 && r.part.work.final() {
			signal(l.ripe)
		}
	}
}
