package backlog

import (
	"encoding/binary"
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/trace/pipeline"
	"github.com/sparrowhq/sparrow/trace/tracker"
	"github.com/sparrowhq/sparrow/warehouse"
)

// Letter is an event that a vendor refused for good, kept to be looked at and sent again.
type Letter struct {
	Event    Event             // as in the backlog's messages, not as the vendor got it
	Outcome  warehouse.Outcome // the last one, with the vendor's form and answer
	Detail   string            // what the vendor said, for people
	At       int64             // when, microseconds since the epoch
	Retrying bool              // it is to be sent again
	Intent   bool              // and a call was begun whose result is not known
}

// letterFormat is the format of letters that this build writes, and the newest it reads.
const letterFormat = 1

const (
	isRetrying = 1 << iota
	hasIntent
)

func (l *Letter) encode() []byte {
	w := &writer{}
	w.byte(letterFormat)
	var flags byte
	if l.Retrying {
		flags |= isRetrying
	}
	if l.Intent {
		flags |= hasIntent
	}
	w.byte(flags)
	w.byte(sinkByte(l.Event.Sink))
	w.bytes(l.Event.Append(nil))
	w.outcome(&l.Outcome)
	w.text(l.Detail)
	w.int(l.At)
	return w.buf
}

func decodeLetter(data []byte) (l Letter, err error) {
	r := &reader{buf: append([]byte(nil), data...)} // the event keeps parts of it
	if format := r.byte(); r.err == nil && format != letterFormat {
		return Letter{}, fmt.Errorf("dead letter of format %d: this build reads %d; run the newer build", format, letterFormat)
	}
	flags := r.byte()
	l.Retrying, l.Intent = flags&isRetrying != 0, flags&hasIntent != 0
	l.Event.Sink = tracker.Production
	if r.byte() != 0 {
		l.Event.Sink = tracker.Staging
	}
	if l.Event.Event, err = pipeline.DecodeEvent(r.slice()); err != nil {
		return Letter{}, fmt.Errorf("dead letter: %w", err)
	}
	l.Outcome, l.Detail, l.At = r.outcome(), r.text(), r.int()
	return l, r.end("dead letter")
}

// positionKey orders positions as they are.
func positionKey(p event.Position) []byte {
	k := binary.BigEndian.AppendUint64(nil, p.Frame)
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(k, p.Request), p.Item)
}

// letterSink reads of an encoded letter whose it is, as sinkByte says.
func letterSink(data []byte) (byte, error) {
	if len(data) < 3 || data[2] > 1 {
		return 0, fmt.Errorf("dead letter: %w", errTorn)
	}
	return data[2], nil
}

// putLetters returns by how many letters there are more, by sinkByte.
func putLetters(dead *bolt.Bucket, letters []Letter, freed []event.Position) (more [2]int, err error) {
	count := func(k []byte, by int) error {
		v := dead.Get(k)
		if v == nil {
			return nil
		}
		sink, err := letterSink(v)
		more[sink] += by
		return err
	}
	for i := range letters {
		k := positionKey(letters[i].Event.Position)
		if err := count(k, -1); err != nil {
			return more, err
		}
		if err := dead.Put(k, letters[i].encode()); err != nil {
			return more, err
		}
		more[sinkByte(letters[i].Event.Sink)]++
	}
	for _, p := range freed {
		k := positionKey(p)
		if err := count(k, -1); err != nil {
			return more, err
		}
		if err := dead.Delete(k); err != nil {
			return more, err
		}
	}
	return more, nil
}

// markRetry marks the letters at positions; where there is none any more nothing happens.
func markRetry(dead *bolt.Bucket, positions []event.Position) error {
	for _, p := range positions {
		v := dead.Get(positionKey(p))
		if v == nil {
			continue
		}
		letter, err := decodeLetter(v)
		if err != nil {
			return err
		}
		letter.Retrying = true
		if err := dead.Put(positionKey(p), letter.encode()); err != nil {
			return err
		}
	}
	return nil
}

// ErrNoLetter says that there is no dead letter at a position.
var ErrNoLetter = errors.New("no dead letter is there")

// Letters returns at most limit dead letters behind after, by position; the zero position is before all.
func (l *Lane) Letters(after event.Position, limit int) (letters []Letter, err error) {
	err = l.b.view(func(tx *bolt.Tx) error {
		c := tx.Bucket(bucketLanes).Bucket([]byte(l.name)).Bucket(bucketDead).Cursor()
		from := positionKey(after)
		for k, v := c.Seek(from); k != nil && len(letters) < limit; k, v = c.Next() {
			if string(k) == string(from) {
				continue
			}
			letter, err := decodeLetter(v)
			if err != nil {
				return err
			}
			letters = append(letters, letter)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("backlog: lane %q: %w", l.name, err)
	}
	return letters, nil
}

// Letter returns the dead letter at p, or an error that wraps ErrNoLetter.
func (l *Lane) Letter(p event.Position) (letter Letter, err error) {
	err = l.b.view(func(tx *bolt.Tx) error {
		v := tx.Bucket(bucketLanes).Bucket([]byte(l.name)).Bucket(bucketDead).Get(positionKey(p))
		if v == nil {
			return fmt.Errorf("%v: %w", p, ErrNoLetter)
		}
		letter, err = decodeLetter(v)
		return err
	})
	if err != nil {
		return Letter{}, fmt.Errorf("backlog: lane %q: %w", l.name, err)
	}
	return letter, nil
}
