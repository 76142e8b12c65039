package backlog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/trace/tracker"
	"github.com/sparrowhq/sparrow/warehouse"
)

// LaneState is how far one lane has come.
type LaneState struct {
	Through uint64       `json:"through"` // the last message whose outcomes are in the warehouse, and all before it
	Cursor  event.Cursor `json:"cursor"`  // up to where outcomes are in the warehouse; within the message after Through if that was large
	Total   uint64       `json:"total"`   // Message.Total of Through
	Since   event.Cursor `json:"since"`   // where the lane began: positions below are not its business
	Again   uint64       `json:"again"`   // events sent again since nobody knew whether a crash came before or after
	Late    uint64       `json:"late"`    // number of the next correction
	Shipped uint64       `json:"shipped"` // number of the first correction that is not in the warehouse
	Ended   bool         `json:"ended"`   // not configured any more: nothing is kept for it
}

// Change is what became known of a lane's events. All of it becomes durable, or nothing.
type Change struct {
	Through     uint64              // the highest number of a message that Intents and Results are of
	Intents     []event.Position    // calls with these are about to be made
	Results     []warehouse.Outcome // final; they end their intents
	Again       int                 // how many of Results and Corrections were sent again in doubt
	Letters     []Letter            // dead letters, new or changed
	Freed       []event.Position    // dead letters that are none any more
	Retry       []event.Position    // dead letters that are to be sent again, as they are after Letters and Freed
	Corrections []warehouse.Outcome // outcomes of a higher revision, numbered on in this order
}

func (c *Change) empty() bool {
	return len(c.Intents)+len(c.Results)+len(c.Letters)+len(c.Freed)+len(c.Retry)+len(c.Corrections) == 0
}

// Lane is one lane's part of the backlog. Its methods may be called concurrently, but Commit by one goroutine at a time.
type Lane struct {
	b    *Backlog
	name string

	// Guarded by b.mu; as committed.
	state    LaneState
	segments []segment
	nextLog  uint64
	dead     [2]int // by sinkByte
}

// segment is a record of the lane's log. It is removed when everything in it is in the warehouse.
type segment struct{ number, through uint64 }

var (
	bucketLog  = []byte("log")
	bucketDead = []byte("dead")
	bucketLate = []byte("late")
)

func putLane(lane *bolt.Bucket, s LaneState) error {
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return lane.Put(keyState, text)
}

func readLane(lane *bolt.Bucket) (s LaneState, err error) {
	if err = json.Unmarshal(lane.Get(keyState), &s); err != nil {
		err = fmt.Errorf("state: %w", err)
	}
	return s, err
}

// newLane makes a lane, or begins anew one that had ended: its dead letters and corrections stay.
func newLane(b *Backlog, tx *bolt.Tx, name string, s LaneState) (*Lane, error) {
	lane, err := tx.Bucket(bucketLanes).CreateBucketIfNotExists([]byte(name))
	if err != nil {
		return nil, err
	}
	if lane.Bucket(bucketLog) != nil {
		if err := lane.DeleteBucket(bucketLog); err != nil {
			return nil, err
		}
	}
	for _, part := range [][]byte{bucketLog, bucketDead, bucketLate} {
		if _, err := lane.CreateBucketIfNotExists(part); err != nil {
			return nil, err
		}
	}
	if err := putLane(lane, s); err != nil {
		return nil, err
	}
	return loadLane(b, name, lane)
}

func loadLane(b *Backlog, name string, lane *bolt.Bucket) (*Lane, error) {
	l := &Lane{b: b, name: name}
	var err error
	if l.state, err = readLane(lane); err != nil {
		return nil, err
	}
	err = lane.Bucket(bucketLog).ForEach(func(k, v []byte) error {
		r := &reader{buf: v}
		r.byte()
		l.segments = append(l.segments, segment{number(k), r.uint()})
		l.nextLog = number(k) + 1
		return r.err
	})
	if err != nil {
		return nil, err
	}
	return l, lane.Bucket(bucketDead).ForEach(func(_, v []byte) error {
		sink, err := letterSink(v)
		l.dead[sink]++
		return err
	})
}

// Lane returns the lane called name, or nil if there is none.
func (b *Backlog) Lane(name string) *Lane {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.lanes[name]
}

// Lanes returns the states of all lanes there ever were, by name.
func (b *Backlog) Lanes() map[string]LaneState {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := map[string]LaneState{}
	for name, l := range b.lanes {
		all[name] = l.state
	}
	return all
}

// Join adds a lane that begins behind everything taken in so far, or begins anew one that had ended.
func (b *Backlog) Join(ctx context.Context, name string) (*Lane, error) {
	var l *Lane
	err := b.do(ctx, &change{
		apply: func(tx *bolt.Tx) error {
			s, err := readState(tx)
			if err != nil {
				return err
			}
			var state LaneState
			if old := tx.Bucket(bucketLanes).Bucket([]byte(name)); old != nil {
				if state, err = readLane(old); err != nil {
					return err
				}
			}
			state.Through, state.Total, state.Since, state.Cursor, state.Ended = s.Last, s.Total, s.Cursor, s.Cursor, false
			l, err = newLane(b, tx, name, state)
			return err
		},
		done: func() { b.lanes[name] = l },
	})
	return l, err
}

// End ends a lane: its cursor is kept, and messages are not kept for it any more.
func (b *Backlog) End(ctx context.Context, name string) error {
	l := b.Lane(name)
	if l == nil {
		return fmt.Errorf("backlog: no lane %q", name)
	}
	return l.change(ctx, func(_ *bolt.Tx, _ *bolt.Bucket, s *LaneState) error {
		s.Ended = true
		return nil
	}, nil)
}

// change changes the lane's state and what apply changes beside it, and lets go of the messages that nobody needs after
// it. done is called with b.mu held.
func (l *Lane) change(ctx context.Context, apply func(tx *bolt.Tx, lane *bolt.Bucket, s *LaneState) error, done func()) error {
	var s LaneState
	var trimmed trimmed
	return l.b.do(ctx, &change{
		apply: func(tx *bolt.Tx) (err error) {
			lane := tx.Bucket(bucketLanes).Bucket([]byte(l.name))
			if s, err = readLane(lane); err != nil {
				return err
			}
			before := s
			if err = apply(tx, lane, &s); err != nil {
				return err
			}
			if s == before {
				return nil
			}
			if err = putLane(lane, s); err != nil || s.Through == before.Through && s.Ended == before.Ended {
				return err
			}
			trimmed, err = l.b.trim(tx)
			return err
		},
		done: func() {
			l.state = s
			if done != nil {
				done()
			}
			l.b.first = max(l.b.first, trimmed.first)
			l.b.messages -= trimmed.bytes
		},
	})
}

// trimmed is what trim removed.
type trimmed struct {
	first uint64 // message now
	bytes int64
}

// trim removes the messages that every lane is done with.
func (b *Backlog) trim(tx *bolt.Tx) (t trimmed, err error) {
	last, err := readState(tx)
	if err != nil {
		return t, err
	}
	through := last.Last
	lanes := tx.Bucket(bucketLanes)
	err = lanes.ForEachBucket(func(name []byte) error {
		s, err := readLane(lanes.Bucket(name))
		if err == nil && !s.Ended {
			through = min(through, s.Through)
		}
		return err
	})
	if err != nil {
		return t, err
	}
	messages := tx.Bucket(bucketMessages)
	c := messages.Cursor()
	for k, _ := c.First(); k != nil && number(k) <= through; k, _ = c.First() {
		t.bytes += int64(len(messages.Bucket(k).Get(keyBody)))
		if err := messages.DeleteBucket(append([]byte(nil), k...)); err != nil {
			return t, err
		}
	}
	t.first = through + 1
	return t, nil
}

// State returns what is committed.
func (l *Lane) State() LaneState {
	l.b.mu.Lock()
	defer l.b.mu.Unlock()
	return l.state
}

// Name is the lane's.
func (l *Lane) Name() string { return l.name }

// Dead is how many dead letters the lane has for a sink; for "", for all.
func (l *Lane) Dead(sink tracker.Sink) int {
	l.b.mu.Lock()
	defer l.b.mu.Unlock()
	if sink == "" {
		return l.dead[0] + l.dead[1]
	}
	return l.dead[sinkByte(sink)]
}

// logFormat is the format of log records that this build writes, and the newest it reads.
const logFormat = 1

// Commit makes c durable.
func (l *Lane) Commit(ctx context.Context, c Change) error {
	if c.empty() {
		return nil
	}
	var record []byte
	if len(c.Intents)+len(c.Results) > 0 {
		w := &writer{buf: make([]byte, 0, 64+8*len(c.Intents)+64*len(c.Results))}
		w.byte(logFormat)
		w.uint(c.Through)
		w.uint(uint64(len(c.Intents)))
		for _, p := range c.Intents {
			w.position(p)
		}
		w.uint(uint64(len(c.Results)))
		for i := range c.Results {
			w.outcome(&c.Results[i])
		}
		record = w.buf
	}
	l.b.mu.Lock()
	n := l.nextLog
	l.b.mu.Unlock()
	var dead [2]int
	return l.change(ctx, func(tx *bolt.Tx, lane *bolt.Bucket, s *LaneState) error {
		if record != nil {
			if err := lane.Bucket(bucketLog).Put(key(n), record); err != nil {
				return err
			}
		}
		s.Again += uint64(c.Again)
		var err error
		if dead, err = putLetters(lane.Bucket(bucketDead), c.Letters, c.Freed); err != nil {
			return err
		}
		if err := markRetry(lane.Bucket(bucketDead), c.Retry); err != nil {
			return err
		}
		late := lane.Bucket(bucketLate)
		for i := range c.Corrections {
			w := &writer{}
			w.outcome(&c.Corrections[i])
			if err := late.Put(key(s.Late), w.buf); err != nil {
				return err
			}
			s.Late++
		}
		return nil
	}, func() {
		l.dead[0] += dead[0]
		l.dead[1] += dead[1]
		if record != nil {
			l.segments = append(l.segments, segment{n, c.Through})
			l.nextLog = n + 1
		}
	})
}

// Ship notes that the outcomes of everything below cursor are in the warehouse: that is all of the message numbered
// through, whose Total is given, and all before it.
func (l *Lane) Ship(ctx context.Context, through, total uint64, cursor event.Cursor) error {
	l.b.mu.Lock()
	gone := 0
	for gone < len(l.segments) && l.segments[gone].through <= through {
		gone++
	}
	segments := l.segments[:gone]
	l.b.mu.Unlock()
	return l.change(ctx, func(tx *bolt.Tx, lane *bolt.Bucket, s *LaneState) error {
		s.Through, s.Total, s.Cursor = through, total, cursor
		log := lane.Bucket(bucketLog)
		for _, one := range segments {
			if err := log.Delete(key(one.number)); err != nil {
				return err
			}
		}
		return nil
	}, func() { l.segments = l.segments[gone:] })
}

// Recovered is what an earlier process left of events that are not in the warehouse.
type Recovered struct {
	Results map[event.Position]warehouse.Outcome
	Intents map[event.Position]bool // calls that were begun and of which no result is known
}

// Recover reads the log.
func (l *Lane) Recover() (r Recovered, err error) {
	r = Recovered{Results: map[event.Position]warehouse.Outcome{}, Intents: map[event.Position]bool{}}
	err = l.b.view(func(tx *bolt.Tx) error {
		lane := tx.Bucket(bucketLanes).Bucket([]byte(l.name))
		s, err := readLane(lane)
		if err != nil {
			return err
		}
		return lane.Bucket(bucketLog).ForEach(func(_, v []byte) error {
			intents, results, err := decodeLog(v)
			if err != nil {
				return err
			}
			for _, p := range intents {
				r.Intents[p] = true
			}
			for _, o := range results {
				delete(r.Intents, o.Position)
				r.Results[o.Position] = o
			}
			for _, p := range intents {
				if s.Cursor.Covers(p.Frame, p.Request) {
					delete(r.Intents, p)
				}
			}
			for _, o := range results {
				if s.Cursor.Covers(o.Frame, o.Position.Request) {
					delete(r.Results, o.Position)
				}
			}
			return nil
		})
	})
	if err != nil {
		return Recovered{}, fmt.Errorf("backlog: lane %q: %w", l.name, err)
	}
	return r, nil
}

func decodeLog(data []byte) (intents []event.Position, results []warehouse.Outcome, err error) {
	r := &reader{buf: data}
	if format := r.byte(); r.err == nil && format != logFormat {
		return nil, nil, fmt.Errorf("log of format %d: this build reads %d; run the newer build", format, logFormat)
	}
	r.uint()
	for range r.count(3) {
		intents = append(intents, r.position())
	}
	for range r.count(minOutcome) {
		results = append(results, r.outcome())
	}
	return intents, results, r.end("log")
}

// ShipLate notes that corrections below number n are in the warehouse.
func (l *Lane) ShipLate(ctx context.Context, n uint64) error {
	return l.change(ctx, func(_ *bolt.Tx, lane *bolt.Bucket, s *LaneState) error {
		late := lane.Bucket(bucketLate)
		for ; s.Shipped < n; s.Shipped++ {
			if err := late.Delete(key(s.Shipped)); err != nil {
				return err
			}
		}
		s.Late = max(s.Late, s.Shipped)
		return nil
	}, nil)
}

// RenumberLate gives the corrections that are not in the warehouse the numbers from n on: it has lost some it had.
func (l *Lane) RenumberLate(ctx context.Context, n uint64) error {
	return l.change(ctx, func(_ *bolt.Tx, lane *bolt.Bucket, s *LaneState) error {
		late := lane.Bucket(bucketLate)
		var kept [][]byte
		for ; s.Shipped < s.Late; s.Shipped++ {
			kept = append(kept, append([]byte(nil), late.Get(key(s.Shipped))...))
			if err := late.Delete(key(s.Shipped)); err != nil {
				return err
			}
		}
		s.Shipped, s.Late = n, n
		for _, one := range kept {
			if err := late.Put(key(s.Late), one); err != nil {
				return err
			}
			s.Late++
		}
		return nil
	}, nil)
}

// Corrections returns at most limit corrections that are not in the warehouse, and the number of the first.
func (l *Lane) Corrections(limit int) (first uint64, corrections []warehouse.Outcome, err error) {
	err = l.b.view(func(tx *bolt.Tx) error {
		lane := tx.Bucket(bucketLanes).Bucket([]byte(l.name))
		s, err := readLane(lane)
		if err != nil {
			return err
		}
		first = s.Shipped
		c := lane.Bucket(bucketLate).Cursor()
		for k, v := c.Seek(key(first)); k != nil && len(corrections) < limit; k, v = c.Next() {
			if number(k) != first+uint64(len(corrections)) {
				return errors.New("a correction is missing")
			}
			r := &reader{buf: v}
			corrections = append(corrections, r.outcome())
			if err := r.end("correction"); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, nil, fmt.Errorf("backlog: lane %q: %w", l.name, err)
	}
	return first, corrections, nil
}
