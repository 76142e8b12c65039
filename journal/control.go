package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sparrowhq/sparrow/event"
)

// controlRoom is the free disk space a control record is written into: one record, a new block file and what the server
// writes at a restart are far smaller.
const controlRoom = 256 << 10

// AppendControl appends a control record if c.Generation is the head's generation plus one, and fills in its Format and
// Previous. On return the record is synced to disk. It returns ErrConflict if another record came first; the error names
// the head.
//
// It works while frames are refused. On a disk without any space left it gives up some of the ballast, and if the
// embedded server has stopped writing it is restarted first.
func (j *Journal) AppendControl(ctx context.Context, c event.Control) (event.Record, error) {
	const attempts = 8
	var failed error
	for attempt := range attempts {
		e, _, err := j.engine()
		if errors.Is(err, ErrClosed) || err != nil && j.folder == nil {
			return event.Record{}, err
		}
		if j.folder != nil {
			if err := j.folder.makeRoom(controlRoom, 0); err != nil {
				// Free space is a figure of the whole disk; there may still be enough for one record.
				j.o.Telemetry.Log.Warn("writing a control record without room to spare", "error", err)
			}
		}
		if err != nil {
			if failed = j.repair(ctx, nil, err); failed != nil {
				return event.Record{}, failed
			}
			continue
		}
		r, err := j.appendControl(ctx, e, c, attempt > 0)
		if err == nil || !errors.Is(err, ErrUnavailable) || ctx.Err() != nil || j.folder == nil {
			return r, err
		}
		failed = err
		if cause := e.failure(); cause != nil || e.life.Err() != nil {
			if err := j.repair(ctx, e, errors.Join(cause, err)); err != nil {
				return event.Record{}, err
			}
		}
	}
	return event.Record{}, fmt.Errorf("after %d attempts: %w", attempts, failed)
}

// appendControl tries once. again says that an earlier try may have written the very same record.
func (j *Journal) appendControl(ctx context.Context, e *engine, c event.Control, again bool) (event.Record, error) {
	t, err := j.readTimeline(ctx, e)
	if err != nil {
		return event.Record{}, err
	}
	head, ok := t.Head()
	if again && c.Generation == head.Generation {
		return written(t, c)
	}
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
	m := &nats.Msg{Subject: controlSubject, Data: data}
	sequence, err := j.store(ctx, e, mainStream, m, jetstream.WithExpectLastSequencePerSubject(head.Sequence))
	if err == nil {
		j.stored(storedSize(m), sequence)
		return event.DecodeRecord(sequence, data)
	}
	if errors.Is(err, ErrFull) {
		return event.Record{}, err
	}
	t, readErr := j.readTimeline(context.WithoutCancel(ctx), e)
	switch now, _ := t.Head(); {
	case readErr != nil && !errors.Is(err, ErrConflict):
		return event.Record{}, fmt.Errorf("%w; whether generation %d was written could not be found out: %w", err, c.Generation, readErr)
	case readErr != nil:
		return event.Record{}, err
	case errors.Is(err, ErrConflict):
		return event.Record{}, conflict(c, now)
	case now.Generation >= c.Generation: // the answer was lost
		return written(t, c)
	}
	return event.Record{}, err
}

// written returns the record of c's generation if it is c, else a conflict.
func written(t event.Timeline, c event.Control) (event.Record, error) {
	records := t.Records()
	for i, r := range records {
		if r.Generation != c.Generation {
			continue
		}
		c.Format, c.Previous = event.ControlFormat, ""
		if i > 0 {
			c.Previous = records[i-1].Hash()
		}
		if data, err := c.Encode(); err == nil && bytes.Equal(data, r.Bytes) {
			return r, nil
		}
	}
	head, _ := t.Head()
	return event.Record{}, conflict(c, head)
}

func conflict(c event.Control, head event.Record) error {
	return fmt.Errorf("%w: generation %d cannot follow generation %d (%s at %d, %s live)", ErrConflict, c.Generation, head.Generation, head.Kind, head.Sequence, head.Live)
}

// Timeline reads the timeline from the stream itself, complete as of the call. Records known already are not read
// again, since none is ever changed or removed: an unchanged timeline costs one question for the last record.
func (j *Journal) Timeline(ctx context.Context) (t event.Timeline, err error) {
	err = j.ask(ctx, func(e *engine) error {
		t, err = j.readTimeline(ctx, e)
		return err
	})
	return t, err
}

func (j *Journal) readTimeline(ctx context.Context, e *engine) (event.Timeline, error) {
	j.timeline.Lock()
	known, _ := j.timeline.Head()
	j.timeline.Unlock()
	last, err := e.lastFor(ctx, mainStream, controlSubject)
	if err != nil && !missing(err) {
		return event.Timeline{}, err
	}
	if err != nil {
		last = new(jetstream.RawStreamMsg)
	}
	if known.Sequence > last.Sequence {
		return event.Timeline{}, fmt.Errorf("journal %s: the stream's last control record is at %d, but one at %d is known: the stream lost its end or was replaced; restore it", j.id, last.Sequence, known.Sequence)
	}
	j.timeline.Lock()
	defer j.timeline.Unlock()
	t := j.timeline.Timeline
	head, _ := t.Head()
	for head.Sequence < last.Sequence {
		m, err := e.nextFor(ctx, mainStream, controlSubject, head.Sequence+1)
		if err != nil {
			return event.Timeline{}, err
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
	return e.get(ctx, stream, map[string]any{"last_by_subj": subject})
}

// nextFor returns the first message of a subject at or after from.
func (e *engine) nextFor(ctx context.Context, stream, subject string, from uint64) (*jetstream.RawStreamMsg, error) {
	return e.get(ctx, stream, map[string]any{"next_by_subj": subject, "seq": max(from, 1)})
}
