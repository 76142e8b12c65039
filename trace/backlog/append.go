package backlog

import (
	"context"
	"encoding/json"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

func readState(tx *bolt.Tx) (s State, err error) {
	if err = json.Unmarshal(tx.Bucket(bucketMeta).Get(keyState), &s); err != nil {
		err = fmt.Errorf("state: %w", err)
	}
	return s, err
}

// Begin says where a new backlog begins: at cursor, everything below which is done with, as far as the lanes named know.
func (b *Backlog) Begin(ctx context.Context, cursor event.Cursor, lanes map[string]LaneState) error {
	var s State
	var begun []*Lane
	return b.do(ctx, &change{
		apply: func(tx *bolt.Tx) (err error) {
			if s, err = readState(tx); err != nil {
				return err
			}
			if s.Begun {
				return fmt.Errorf("the backlog has begun at %v already", s.Cursor)
			}
			s.Begun, s.Cursor = true, cursor
			for name, state := range lanes {
				l, err := newLane(b, tx, name, state)
				if err != nil {
					return err
				}
				begun = append(begun, l)
			}
			return putState(tx, s)
		},
		done: func() {
			b.state = s
			for _, l := range begun {
				b.lanes[l.name] = l
			}
		},
	})
}

// Addition is what one delivery adds.
type Addition struct {
	Cursor   event.Cursor        // the intake cursor afterwards
	Journals []warehouse.Journal // as State.Journals is to be afterwards
	Head     uint64              // likewise
	Total    uint64              // likewise
	Messages [][]byte            // encoded; contiguous, the last one ends at Cursor
}

// Append makes a delivery's messages durable, with the messageIds that Seen took in since the last one, and moves the
// intake cursor. The messages' bytes must not be changed afterwards. After an error nothing of it is there, and what Seen
// took in is forgotten.
func (b *Backlog) Append(ctx context.Context, a Addition) error {
	var s State
	first := uint64(0)
	err := b.do(ctx, &change{
		apply: func(tx *bolt.Tx) (err error) {
			if s, err = readState(tx); err != nil {
				return err
			}
			s.Cursor, s.Journals, s.Head, s.Total = a.Cursor, a.Journals, a.Head, a.Total
			first = s.Last + 1
			messages := tx.Bucket(bucketMessages)
			for _, data := range a.Messages {
				s.Last++
				one, err := messages.CreateBucket(key(s.Last))
				if err != nil {
					return err
				}
				if err := one.Put(keyBody, data); err != nil {
					return err
				}
			}
			if err := b.window.store(tx, &s); err != nil {
				return err
			}
			return putState(tx, s)
		},
		done: func() {
			b.state = s
			for i, data := range a.Messages {
				b.cache.put(first+uint64(i), data)
				b.messages += int64(len(data))
			}
			close(b.grown)
			b.grown = make(chan struct{})
		},
	})
	if err != nil {
		b.Forget()
		return err
	}
	b.window.stored()
	return nil
}

// Seen reports whether a messageId was seen not long before at, a received-at in microseconds; else it takes it in. It
// is to be called for every accepted event with a messageId, in the journal's order; so it answers the same wherever
// deliveries are cut.
func (b *Backlog) Seen(messageID string, at int64) bool { return b.window.seen(messageID, at) }

// Forget undoes what Seen took in since the last Append.
func (b *Backlog) Forget() {
	if b.window.pending() == 0 {
		return
	}
	b.view(func(tx *bolt.Tx) error { return b.window.load(tx, b.o, b.State()) })
}
