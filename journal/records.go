package journal

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

var (
	logName = regexp.MustCompile(`^(ledger|verdict|(dead|sampled)\.[a-z0-9]+)$`)
	keyName = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$`)
)

// PutState sets the last value of key, durable on return. Keys are letters, digits, - and _, with dots in between.
// Errors wrap ErrFull or ErrUnavailable; with the latter the value may be set or not.
func (j *Journal) PutState(ctx context.Context, key string, value []byte) error {
	if !keyName.MatchString(key) {
		return fmt.Errorf("state key %q: want letters, digits, - and _, with single dots in between", key)
	}
	_, err := j.write(ctx, stateStream, statePrefix+key, value)
	return err
}

// GetState returns the last value of key; ErrNotFound if there is none.
func (j *Journal) GetState(ctx context.Context, key string) ([]byte, error) {
	if !keyName.MatchString(key) {
		return nil, fmt.Errorf("state key %q: want letters, digits, - and _, with single dots in between", key)
	}
	m, err := j.last(ctx, stateStream, statePrefix+key)
	if missing(err) {
		return nil, fmt.Errorf("state %s: %w", key, ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	return m.Data, nil
}

// AppendRecord appends value to a log ("ledger", "verdict", "dead.<stack>", "sampled.<stack>") and returns its sequence there, durable on
// return. Sequences of a log ascend, but not by one. Errors wrap ErrFull or ErrUnavailable; with the latter the record
// may be there or not.
func (j *Journal) AppendRecord(ctx context.Context, log string, value []byte) (uint64, error) {
	if !logName.MatchString(log) {
		return 0, fmt.Errorf("log %q: want ledger, verdict, dead.<stack> or sampled.<stack>", log)
	}
	return j.write(ctx, logStream(log), recordsPrefix+log, value)
}

// logStream is the stream that keeps the log.
func logStream(log string) string {
	switch {
	case log == "ledger":
		return ledgerStream
	case strings.HasPrefix(log, "sampled."):
		return sampledStream
	}
	return recordsStream
}

// write stores a message that is neither frame nor control record. It is refused when the disk is as full as that
// frames are refused: what is left is for control records.
func (j *Journal) write(ctx context.Context, stream, subject string, value []byte) (uint64, error) {
	e, _, err := j.engine()
	if err != nil {
		return 0, err
	}
	if j.folder != nil {
		n, err := j.folder.free()
		if err != nil {
			return 0, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		if n-int64(len(value)) < j.o.MinFree {
			return 0, fmt.Errorf("%w: the disk of %s has %d bytes free, and the last %d are for control records (journal.min_free): free some space", ErrFull, j.folder.path, n, j.o.MinFree)
		}
	}
	return j.store(ctx, e, stream, &nats.Msg{Subject: subject, Data: value})
}

// Records calls fn for each record of the log from sequence from on, in order, up to the last one there is when it is
// called. It stops at fn's first error, and returns that. value is fn's to keep.
func (j *Journal) Records(ctx context.Context, log string, from uint64, fn func(seq uint64, value []byte) error) error {
	if !logName.MatchString(log) {
		return fmt.Errorf("log %q: want ledger, verdict, dead.<stack> or sampled.<stack>", log)
	}
	stream := logStream(log)
	last, err := j.last(ctx, stream, recordsPrefix+log)
	if missing(err) || err == nil && last.Sequence < from {
		return nil
	}
	if err != nil {
		return err
	}
	p := puller{j: j, stream: stream, filter: recordsPrefix + log, next: max(from, 1)}
	defer p.hangUp()
	for p.next <= last.Sequence {
		messages, err := p.pull(ctx, 4<<20)
		if err == errIdle {
			// The last record may have reached its age meanwhile.
			if now, err := j.last(ctx, stream, recordsPrefix+log); missing(err) || err == nil && now.Sequence < p.next {
				return nil
			}
			continue
		}
		if err != nil {
			return fmt.Errorf("log %s: %w", log, err)
		}
		for _, m := range messages {
			if m.sequence > last.Sequence {
				return nil
			}
			if err := fn(m.sequence, m.Data); err != nil {
				return err
			}
		}
	}
	return nil
}

// last returns the last message of a subject.
func (j *Journal) last(ctx context.Context, stream, subject string) (m *jetstream.RawStreamMsg, err error) {
	err = j.ask(ctx, func(e *engine) error {
		m, err = e.lastFor(ctx, stream, subject)
		return err
	})
	return m, err
}
