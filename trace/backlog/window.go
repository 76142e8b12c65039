package backlog

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"
)

// window is the messageIds of the last KeyAge, by received-at, and no more than MaxKeys of them: the first in goes out
// first. All it does follows from the sequence of calls of seen, so two stacks that take in the same events forget the
// same, however their deliveries are cut.
//
//	ordinals   … first ……………………… stored ………… next
//	           └ entries that count ┴ not durable ┘
type window struct {
	max  int
	age  int64 // microseconds
	slop int64 // how much older an entry gets before it goes: received-at is not quite in the journal's order

	entries []messageID // by ordinal, from base
	base    uint64
	first   uint64
	next    uint64
	durable uint64 // ordinals from here on are not stored yet
	index   map[[idBytes]byte]uint64
	newest  int64 // latest received-at
	lost    uint64

	counted atomic.Int64 // next-first, for others
}

// idBytes is how much of a messageId's keyed hash is kept: 16 characters of 5 bits.
const idBytes = 16

type messageID struct {
	id [idBytes]byte
	at int64
}

func (w *window) at(ordinal uint64) *messageID { return &w.entries[ordinal-w.base] }

func (w *window) pending() uint64 { return w.next - w.durable }

func (w *window) seen(text string, at int64) bool {
	if at > w.newest {
		w.newest = at
	}
	for w.first < w.next && w.at(w.first).at < w.newest-w.age-w.slop {
		w.pop()
	}
	var id [idBytes]byte
	copy(id[:], text)
	if ordinal, ok := w.index[id]; ok {
		if d := at - w.at(ordinal).at; d <= w.age && d >= -w.age {
			return true
		}
	}
	w.add(messageID{id, at})
	for w.next-w.first > uint64(w.max) {
		w.pop()
		w.lost++
	}
	w.counted.Store(int64(w.next - w.first))
	return false
}

func (w *window) add(m messageID) {
	w.entries = append(w.entries, m)
	w.index[m.id] = w.next
	w.next++
}

// pop forgets the oldest.
func (w *window) pop() {
	if m := w.at(w.first); w.index[m.id] == w.first {
		delete(w.index, m.id)
	}
	w.first++
	// What is not stored yet stays, for store.
	if gone := min(w.first, w.durable) - w.base; gone > 1024 && gone > uint64(len(w.entries)/2) {
		w.entries = w.entries[:copy(w.entries, w.entries[gone:])]
		w.base += gone
	}
}

// store writes what is not stored yet, and removes what does not count any more.
func (w *window) store(tx *bolt.Tx, s *State) error {
	s.FirstKey, s.NewestAt, s.Lost = w.first, w.newest, w.lost
	keys := tx.Bucket(bucketKeys)
	if w.durable < w.next {
		chunk := make([]byte, 0, (w.next-w.durable)*(idBytes+8))
		for n := w.durable; n < w.next; n++ {
			chunk = binary.BigEndian.AppendUint64(append(chunk, w.at(n).id[:]...), uint64(w.at(n).at))
		}
		if err := keys.Put(key(w.durable), chunk); err != nil {
			return err
		}
	}
	for c := keys.Cursor(); ; {
		k, v := c.First()
		if k == nil || number(k)+uint64(len(v)/(idBytes+8)) > w.first {
			return nil
		}
		if err := keys.Delete(append([]byte(nil), k...)); err != nil {
			return err
		}
	}
}

// stored notes that store's transaction was committed.
func (w *window) stored() { w.durable = w.next }

// load reads the window as it is stored.
func (w *window) load(tx *bolt.Tx, o Options, s State) error {
	w.max, w.age, w.slop = o.MaxKeys, o.KeyAge.Microseconds(), time.Hour.Microseconds()
	w.newest, w.lost = s.NewestAt, s.Lost
	w.first, w.next, w.base = s.FirstKey, s.FirstKey, s.FirstKey
	w.entries, w.index = w.entries[:0], map[[idBytes]byte]uint64{}
	err := tx.Bucket(bucketKeys).ForEach(func(k, v []byte) error {
		n := number(k)
		if len(v)%(idBytes+8) != 0 || n > w.next {
			return fmt.Errorf("messageIds from %d on: %w", n, errTorn)
		}
		for ; len(v) > 0; v, n = v[idBytes+8:], n+1 {
			if n < w.next { // does not count any more
				continue
			}
			m := messageID{at: int64(binary.BigEndian.Uint64(v[idBytes:]))}
			copy(m.id[:], v)
			w.add(m)
		}
		return nil
	})
	for err == nil && w.next-w.first > uint64(w.max) { // the bound was lowered
		w.pop()
		w.lost++
	}
	w.durable = w.next
	w.counted.Store(int64(w.next - w.first))
	return err
}
