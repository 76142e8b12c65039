package mirror

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/journal"
)

// DeadLetter is a request that a stack failed at alone, again and again, while it took others.
type DeadLetter struct {
	Format     int            `json:"format"`
	Sequence   uint64         `json:"sequence,omitempty"` // in the log of the stack's dead letters
	Position   event.Position `json:"position"`           // of the request; Item is 0
	ID         string         `json:"id"`                 // the request's
	Attempts   int            `json:"attempts"`
	Status     int            `json:"status"`  // of the last answer
	Detail     string         `json:"detail"`  // what the stack said, bounded
	FirstAt    int64          `json:"firstAt"` // microseconds since the epoch: when it first failed alone
	At         int64          `json:"at"`      // when it was given up
	Build      event.Build    `json:"build"`   // of the stack
	Live       event.Stack    `json:"live"`    // for the frame
	Generation uint64         `json:"generation"`
	Request    []byte         `json:"request,omitempty"` // encoded event.Request
}

const deadFormat = 1

func deadLog(s event.Stack) string { return "dead." + string(s) }

// suspect acts on a delivery that reached the stack and failed there.
func (f *feed) suspect(ctx context.Context, d *delivery, content *contentError) error {
	switch {
	case d.requests == 0:
		return &busyError{err: fmt.Errorf("refuses a delivery without requests: %w", content)}
	case d.requests > 1:
		if !f.isolation.active() {
			f.telemetry.Log.Warn("the stack failed at a delivery; looking for the request that does it", "stack", string(f.stack.name),
				"status", content.status, "from", d.from.String(), "to", d.to.String())
		}
		f.isolation.split(d.requests)
		return nil
	}
	c := d.frames[0].first()
	if !f.isolation.alone(c, time.Now(), content) {
		return content
	}
	// The stack must be well at this moment, or it is not the request that is at fault.
	call, cancel := f.call(f.o.CallTimeout)
	defer cancel()
	if _, err := f.stack.deliver(call, &delivery{journal: d.journal, from: d.from, to: d.from}); err != nil {
		return err
	}
	if err := f.bury(ctx, c, d.frames[0], f.isolation.failed, f.isolation.since, &f.isolation.last); err != nil {
		return &busyError{err: err}
	}
	return nil
}

// bury dead-letters the request at c, which failed that often since then: first its bytes are made safe.
func (f *feed) bury(ctx context.Context, c event.Cursor, frame deliveredFrame, failed int, since time.Time, last *contentError) error {
	encoded, id, err := requestAt(frame.data, c.Request)
	if err != nil {
		return err
	}
	letter := DeadLetter{
		Format:     deadFormat,
		Position:   event.Position{Frame: c.Frame, Request: c.Request},
		ID:         uuid.UUID(id).String(),
		Attempts:   failed,
		Status:     last.status,
		Detail:     last.detail,
		FirstAt:    since.UnixMicro(),
		At:         time.Now().UnixMicro(),
		Build:      f.seen().build,
		Live:       frame.live,
		Generation: frame.generation,
		Request:    encoded,
	}
	data, err := json.Marshal(letter)
	if err != nil {
		return err
	}
	if _, err := f.journal.AppendRecord(ctx, deadLog(f.stack.name), data); err != nil {
		return fmt.Errorf("request %s fails alone, but cannot be put aside yet: %w", letter.ID, err)
	}
	f.account.bury(c)
	f.isolation.buried()
	f.telemetry.Failure("request dead-lettered", fmt.Errorf("the stack answered %d, %d times, while it took others", letter.Status, letter.Attempts),
		stackTag(f.stack.name), cursorTag("position", c), slog.String("id", letter.ID))
	return nil
}

// graves is the journal as dead letters are read from it; the contract is journal.Journal's.
type graves interface {
	Records(ctx context.Context, log string, from uint64, fn func(seq uint64, value []byte) error) error
}

// deadLetters calls fn for the stack's dead letters from sequence from on.
func deadLetters(ctx context.Context, j graves, s event.Stack, from uint64, fn func(DeadLetter) error) error {
	return j.Records(ctx, deadLog(s), from, func(seq uint64, value []byte) error {
		var l DeadLetter
		if err := json.Unmarshal(value, &l); err != nil {
			return fmt.Errorf("dead letter %d of %s: %w", seq, s, err)
		}
		if l.Format != deadFormat {
			return fmt.Errorf("dead letter %d of %s has format %d, this build reads %d: run the newer build", seq, s, l.Format, deadFormat)
		}
		l.Sequence = seq
		return fn(l)
	})
}

func stackTag(s event.Stack) slog.Attr                { return slog.String("stack", string(s)) }
func cursorTag(name string, c event.Cursor) slog.Attr { return slog.String(name, c.String()) }

var _ graves = (*journal.Journal)(nil)
