package trace

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/trace/backlog"
	"github.com/sparrowhq/sparrow/trace/pipeline"
	"github.com/sparrowhq/sparrow/trace/tracker"
)

// ReasonSkipped is the reason of a dead letter that was to be sent again when the tracker does not get such events any
// more.
const ReasonSkipped = "not selected any more"

// resending is a dead letter on its way to the vendor again.
type resending struct {
	letter backlog.Letter
	again  bool // an earlier process may have sent it
}

// requeued is a dead letter that is to be sent again.
type requeued struct {
	event.Position
	sink tracker.Sink
}

// maxResend is how many dead letters are taken out of the backlog at once.
const maxResend = 100

// findRetries queues the dead letters that an earlier process was to send again.
func (l *lane) findRetries() error {
	var found []requeued
	for after := (event.Position{}); ; {
		letters, err := l.kept.Letters(after, maxResend)
		if err != nil {
			return err
		}
		if len(letters) == 0 {
			break
		}
		for i := range letters {
			if letters[i].Retrying {
				found = append(found, requeued{letters[i].Event.Position, letters[i].Event.Sink})
			}
		}
		after = letters[len(letters)-1].Event.Position
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.requeued = append(l.requeued, found...)
	return nil
}

// retryDead notes durably that dead letters are to be sent again, and returns how many. No positions: all of them. Letters
// that are on their way already are not counted. It fails with an error that wraps backlog.ErrNoLetter if there is no
// dead letter at a position; then nothing is sent again.
func (l *lane) retryDead(ctx context.Context, positions []event.Position) (n int, err error) {
	select {
	case <-l.asked: // else corrections could get numbers that the warehouse has given
	default:
		return 0, errors.New("the warehouse has not said yet which corrections it has: try again later")
	}
	sinks := map[event.Position]tracker.Sink{}
	for _, p := range positions {
		letter, err := l.kept.Letter(p)
		if err != nil {
			return 0, err
		}
		sinks[p] = letter.Event.Sink
	}
	if len(positions) == 0 {
		for after := (event.Position{}); ; {
			letters, err := l.kept.Letters(after, maxResend)
			if err != nil {
				return 0, err
			}
			if len(letters) == 0 {
				break
			}
			for i := range letters {
				p := letters[i].Event.Position
				positions = append(positions, p)
				sinks[p] = letters[i].Event.Sink
			}
			after = positions[len(positions)-1]
		}
	}

	done := make(chan error, 1)
	l.mu.Lock()
	positions = l.idleLocked(positions)
	l.pending.Retry = append(l.pending.Retry, positions...)
	l.waiting = append(l.waiting, done)
	l.mu.Unlock()
	signal(l.known)
	select {
	case err = <-done:
	case <-ctx.Done():
		err = ctx.Err()
	case <-l.drained.Done():
		err = errors.New("trace is stopping")
	}
	if err != nil {
		return 0, fmt.Errorf("it is not known whether the dead letters are to be sent again; ask again: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	positions = l.idleLocked(positions) // somebody else may have asked for the same
	for _, p := range positions {
		l.requeued = append(l.requeued, requeued{p, sinks[p]})
	}
	for _, h := range l.heads {
		signal(h.retry)
	}
	return len(positions), nil
}

// idleLocked leaves out what is on its way already, and what comes twice.
func (l *lane) idleLocked(positions []event.Position) []event.Position {
	busy := map[event.Position]bool{}
	for _, one := range l.requeued {
		busy[one.Position] = true
	}
	var idle []event.Position
	for _, p := range positions {
		if !busy[p] && l.resending[p] == nil {
			idle = append(idle, p)
		}
		busy[p] = true
	}
	return idle
}

// resend hands the queued dead letters of h's sink to the sender. Only the head's goroutine calls it.
func (l *lane) resend(h *head) {
	for l.t.reading.Err() == nil {
		l.mu.Lock()
		var positions []event.Position
		taken := map[event.Position]bool{}
		for i := 0; i < len(l.requeued) && len(positions) < maxResend; i++ {
			if l.requeued[i].sink == h.sink {
				positions = append(positions, l.requeued[i].Position)
				taken[l.requeued[i].Position] = true
			}
		}
		l.mu.Unlock()
		if len(positions) == 0 {
			return
		}
		var items []tracker.Item
		for _, p := range positions {
			if item, ok := l.revive(p); ok {
				items = append(items, item)
			}
		}
		l.mu.Lock()
		l.requeued = slices.DeleteFunc(l.requeued, func(one requeued) bool { return taken[one.Position] })
		l.mu.Unlock()
		signal(l.known)
		if len(items) == 0 {
			continue
		}
		if err := l.sender.Send(l.t.reading, items); err != nil && l.t.reading.Err() == nil {
			l.broken(&h.bug, err)
			return
		}
	}
}

// revive makes an item of a dead letter, or its correction if it is not to be sent by the configuration in force.
func (l *lane) revive(p event.Position) (tracker.Item, bool) {
	letter, err := l.kept.Letter(p)
	if errors.Is(err, backlog.ErrNoLetter) || err == nil && !letter.Retrying {
		return tracker.Item{}, false // it was asked for twice, and has been sent again meanwhile
	}
	if err != nil {
		l.t.o.Telemetry.Failure("a dead letter cannot be sent again", err, slog.String("tracker", l.name), slog.String("position", p.String()))
		return tracker.Item{}, false
	}
	force := l.t.inForce.Load()
	view, decision, refused := l.view(force.pipeline, &letter.Event.Event)
	one := &resending{letter: letter, again: letter.Intent}
	one.letter.Outcome.Build = force.build.ID
	l.mu.Lock()
	defer l.mu.Unlock()
	l.resending[p] = one
	if decision == pipeline.Send {
		return tracker.Item{Event: view, Sink: letter.Event.Sink, Again: one.again}, true
	}
	o := &one.letter.Outcome
	o.Outcome, o.Reason, o.Status, o.Attempts, o.Digest, o.Sink, o.Request, o.Response = string(pipeline.Rejected), ReasonSkipped, 0, 0, 0, "", nil, nil
	if decision == pipeline.Refuse {
		o.Reason, o.Response = string(refused.Reason), ruling(&refused)
	}
	now := time.Now().UnixMicro()
	o.Latency = now - o.Timestamp
	l.correctLocked(one, "", now)
	return tracker.Item{}, false
}

// redoneLocked takes the result of a dead letter that was sent again.
func (l *lane) redoneLocked(one *resending, r *tracker.Result) {
	o := &one.letter.Outcome
	outcome(o, r, one.again)
	if one.again && r.Attempts > 0 {
		l.pending.Again++
		l.listAgainLocked(r.Position)
	}
	l.t.metrics.result(l.name, o, r)
	l.correctLocked(one, r.Detail, r.At)
	if r.Checking {
		l.validatingLocked(o)
	}
}

// correctLocked makes of a letter's new outcome a correction, and ends the letter unless the event is dead again. The
// letter counts as being on its way until that is durable: what the backlog says of it is old until then.
func (l *lane) correctLocked(one *resending, detail string, at int64) {
	letter := &one.letter
	letter.Outcome.Revision++
	l.pending.Corrections = append(l.pending.Corrections, letter.Outcome)
	if letter.Outcome.Outcome == string(tracker.Dead) {
		letter.Retrying, letter.Intent, letter.Detail, letter.At = false, false, detail, at
		l.pending.Letters = append(l.pending.Letters, *letter)
	} else {
		l.pending.Freed = append(l.pending.Freed, letter.Event.Position)
	}
}
