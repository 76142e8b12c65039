package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sparrowhq/sparrow/event"
)

// AppendControl appends a control record if c.Generation is the head's generation plus one, and fills in its Format and
// Previous. On return the record is synced to disk. It returns ErrConflict if another record came first; the error names
// the head. It works while the journal refuses frames for lack of space.
func (j *Journal) AppendControl(ctx context.Context, c event.Control) (event.Record, error) {
	t, err := j.Timeline(ctx)
	if err != nil {
		return event.Record{}, err
	}
	head, ok := t.Head()
	if c.Generation != head.Generation+1 {
		return event.Record{}, conflict(c, head)
	}
	c.Format, c.Previous = event.ControlFormat, ""
	if ok {
		c.Previous = head.Hash()
	}
	data, err := c.Encode()
	if err != nil {
		return event.Record{}, fmt.Errorf("control record: %w", err)
	}
	// Decoding checks what every reader will check. The sequence is not known yet, only that it lies beyond the head's.
	draft, err := event.DecodeRecord(max(head.Sequence+1, c.From), data)
	if err != nil {
		return event.Record{}, err
	}
	if _, err := t.Append(draft); err != nil {
		return event.Record{}, err
	}
	e, _, err := j.engine()
	if err != nil {
		return event.Record{}, err
	}
	m := &nats.Msg{Subject: controlSubject, Data: data}
	sequence, err := j.store(ctx, e, m, jetstream.WithExpectLastSequencePerSubject(head.Sequence))
	if err == nil {
		return event.DecodeRecord(sequence, data)
	}
	if errors.Is(err, ErrFull) {
		return event.Record{}, err
	}
	return j.settleControl(ctx, c, data, err)
}

// settleControl finds out whether the record was written after all: an answer may be lost, and a repeated attempt then
// conflicts with itself.
func (j *Journal) settleControl(ctx context.Context, c event.Control, data []byte, cause error) (event.Record, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	t, err := j.Timeline(ctx)
	if err != nil {
		return event.Record{}, fmt.Errorf("%w; whether generation %d was written could not be found out: %w", cause, c.Generation, err)
	}
	for _, r := range t.Records() {
		if r.Generation != c.Generation {
			continue
		}
		if bytes.Equal(r.Bytes, data) {
			return r, nil
		}
		head, _ := t.Head()
		return event.Record{}, conflict(c, head)
	}
	return event.Record{}, cause
}

func conflict(c event.Control, head event.Record) error {
	return fmt.Errorf("%w: generation %d cannot follow generation %d (%s at %d, %s live)", ErrConflict, c.Generation, head.Generation, head.Kind, head.Sequence, head.Live)
}

// Timeline reads the timeline from the stream itself, complete as of the call. Records known already are not read
// again, since none is ever changed or removed: an unchanged timeline costs one question for the last record.
func (j *Journal) Timeline(ctx context.Context) (event.Timeline, error) {
	e, _, err := j.engine()
	if err != nil {
		return event.Timeline{}, err
	}
	last, err := e.lastFor(ctx, mainStream, controlSubject)
	if missing(err) {
		return event.Timeline{}, nil
	}
	if err != nil {
		return event.Timeline{}, err
	}
	j.timeline.Lock()
	defer j.timeline.Unlock()
	t := j.timeline.Timeline
	head, _ := t.Head()
	for head.Sequence < last.Sequence {
		m := last
		if head.Sequence > 0 || last.Sequence > 1 {
			if m, err = e.nextFor(ctx, mainStream, controlSubject, head.Sequence+1); err != nil {
				return event.Timeline{}, err
			}
		}
		r, err := event.DecodeRecord(m.Sequence, m.Data)
		if err != nil {
			return event.Timeline{}, err
		}
		if t, err = t.Append(r); err != nil {
			return event.Timeline{}, err
		}
		head = r
	}
	j.timeline.Timeline = t
	return t, nil
}

// lastFor returns the last message of a subject, as the stream's leader has it.
func (e *engine) lastFor(ctx context.Context, stream, subject string) (*jetstream.RawStreamMsg, error) {
	return e.get(ctx, stream, subject, 0)
}

// nextFor returns the first message of a subject at or after from.
func (e *engine) nextFor(ctx context.Context, stream, subject string, from uint64) (*jetstream.RawStreamMsg, error) {
	return e.get(ctx, stream, subject, max(from, 1))
}
