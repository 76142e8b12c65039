package journal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sparrowhq/sparrow/event"
)

// totalsHeader carries a frame's totals, so that the ledger need not read bodies.
const totalsHeader = "Sparrow-Totals"

// Publish appends a frame and returns its sequence. On return the frame is synced to disk (with a cluster: by a quorum
// of it). It blocks until then, or until ctx ends. The frame's bytes belong to the caller again on return.
//
// Errors wrap ErrFull (the frame was not taken) or ErrUnavailable (it was not taken, or it is not known). Frames given
// concurrently are stored in some order.
func (j *Journal) Publish(ctx context.Context, frame []byte, t event.Totals) (uint64, error) {
	if len(frame) > MaxFrameBytes {
		return 0, fmt.Errorf("frame of %d bytes: a frame has at most %d", len(frame), MaxFrameBytes)
	}
	e, _, err := j.engine()
	if err != nil {
		return 0, err
	}
	m := &nats.Msg{Subject: framesSubject, Data: frame, Header: nats.Header{totalsHeader: {t.String()}}}
	size := storedSize(m)
	if err := j.reserve(size); err != nil {
		j.metrics.refused(err)
		return 0, err
	}
	began := time.Now()
	sequence, err := j.store(ctx, e, mainStream, m)
	j.settle(size, sequence)
	if err != nil {
		j.metrics.refused(err)
		return 0, err
	}
	j.metrics.published.Observe(time.Since(began).Seconds())
	return sequence, nil
}

// store writes one message to its stream, and returns when it is durable. Errors wrap ErrFull, ErrConflict or
// ErrUnavailable.
func (j *Journal) store(ctx context.Context, e *engine, stream string, m *nats.Msg, opts ...jetstream.PublishOpt) (uint64, error) {
	call, cancel := e.call(ctx)
	defer cancel()
	ack, err := e.js.PublishMsg(call, m, append(opts, jetstream.WithRetryAttempts(0))...)
	if err == nil {
		return ack.Sequence, j.syncName(e, stream)
	}
	var api *jetstream.APIError
	switch {
	case e.life.Err() != nil && ctx.Err() == nil:
		return 0, fmt.Errorf("%w: %s: the embedded server was stopped before it answered", ErrUnavailable, m.Subject)
	case !errors.As(err, &api):
		return 0, fmt.Errorf("%w: %s: %w", ErrUnavailable, m.Subject, err)
	case api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence, api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant:
		return 0, fmt.Errorf("%w: %w", ErrConflict, err)
	case api.Description == atLimit:
		return 0, fmt.Errorf("%w: the stream of %s: %w", ErrFull, m.Subject, err)
	}
	return 0, fmt.Errorf("%w: %s: %w", ErrUnavailable, m.Subject, err)
}

// syncName makes the name of a block file durable that may just have been created; see durable.go.
func (j *Journal) syncName(e *engine, stream string) error {
	if j.folder == nil || j.o.unsafeNoSync {
		return nil
	}
	err := j.folder.dirs.sync(stream)
	if err == nil {
		return nil
	}
	e.fault.CompareAndSwap(nil, &err)
	select {
	case j.alarm <- struct{}{}:
	default:
	}
	return fmt.Errorf("%w: syncing the folder of stream %s: %w", ErrUnavailable, stream, err)
}

// atLimit is how the server words that a stream is at its limit; it has no code of its own.
const atLimit = "maximum bytes exceeded"

// storedSize is how many bytes of the stream's limit m takes: 22 for the record's head, 4 for the header's length, 8
// for the checksum.
func storedSize(m *nats.Msg) uint64 {
	n := 34 + len(m.Subject) + len(m.Data)
	if len(m.Header) > 0 {
		n += len("NATS/1.0\r\n\r\n")
		for k, vs := range m.Header {
			for _, v := range vs {
				n += len(k) + len(v) + len(": \r\n")
			}
		}
	}
	return uint64(n)
}
