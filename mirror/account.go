package mirror

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync"

	"github.com/sparrowhq/sparrow/event"
)

// account is what one stack got and did not get, by position. Its cursor and its counts move together, so that at every
// moment they describe the same set of requests: those below the cursor.
type account struct {
	stack event.Stack

	mu        sync.Mutex
	cursor    event.Cursor
	delivered uint64         // requests below the cursor that the stack confirmed
	dead      []event.Cursor // dead-lettered positions, ascending; also above the cursor
	expired   []expiry       // ascending, disjoint
	changed   bool           // since it was last saved
	saved     event.Cursor   // the cursor as last saved
}

// expiry is a range whose frames were given up to free space before the stack had them.
type expiry struct {
	From   event.Cursor `json:"from"`
	To     event.Cursor `json:"to"` // exclusive
	Totals event.Totals `json:"totals"`
	// Approximate says that the frames were gone before they could be counted: Totals is an upper bound.
	Approximate bool `json:"approximate,omitempty"`
}

// stateFormat is the format of a saved account that this build writes, and the newest it reads.
const stateFormat = 1

// savedAccount is the durable form. The dead positions have a log of their own.
type savedAccount struct {
	Format    int          `json:"format"`
	Cursor    event.Cursor `json:"cursor"`
	Delivered uint64       `json:"delivered"`
	Expired   []expiry     `json:"expired,omitempty"`
}

func (a *account) key() string { return "feed." + string(a.stack) }

// encode returns the durable form, and the cursor in it.
func (a *account) encode() ([]byte, event.Cursor, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.changed = false
	data, err := json.Marshal(savedAccount{Format: stateFormat, Cursor: a.cursor, Delivered: a.delivered, Expired: a.expired})
	return data, a.cursor, err
}

// decode restores what encode wrote.
func (a *account) decode(data []byte) error {
	var s savedAccount
	if err := json.Unmarshal(data, &s); err != nil {
		return fmt.Errorf("state of the feed of %s: %w", a.stack, err)
	}
	if s.Format != stateFormat {
		return fmt.Errorf("state of the feed of %s has format %d, this build reads %d: run the newer build", a.stack, s.Format, stateFormat)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.cursor, a.saved, a.delivered, a.expired = s.Cursor, s.Cursor, s.Delivered, s.Expired
	return nil
}

// markSaved notes that a state with this cursor is durable.
func (a *account) markSaved(c event.Cursor) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.saved = c
}

// safe returns the cursor below which no frame is needed any more, even after a crash now.
func (a *account) safe() event.Cursor {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.saved.Compare(a.cursor) < 0 {
		return a.saved
	}
	return a.cursor
}

// advance moves the cursor to c, with n requests confirmed on the way.
func (a *account) advance(c event.Cursor, n uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.cursor, a.delivered, a.changed = c, a.delivered+n, true
}

// retreat moves the cursor back to c, with n confirmed requests no longer below it.
func (a *account) retreat(c event.Cursor, n uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.cursor, a.delivered, a.changed = c, a.delivered-min(n, a.delivered), true
}

// at returns the cursor.
func (a *account) at() event.Cursor {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.cursor
}

// bury notes that the request at c is dead-lettered. One that lies in an expired range counts as expired.
func (a *account) bury(c event.Cursor) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, e := range a.expired {
		if e.From.Compare(c) <= 0 && c.Compare(e.To) < 0 {
			return
		}
	}
	if i, found := slices.BinarySearchFunc(a.dead, c, event.Cursor.Compare); !found {
		a.dead = slices.Insert(a.dead, i, c)
	}
}

// nextDead returns the first dead position at or above c.
func (a *account) nextDead(c event.Cursor) (event.Cursor, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	i, _ := slices.BinarySearchFunc(a.dead, c, event.Cursor.Compare)
	if i == len(a.dead) {
		return event.Cursor{}, false
	}
	return a.dead[i], true
}

// deadIn returns the dead positions in [from, to).
func (a *account) deadIn(from, to event.Cursor) []event.Cursor {
	a.mu.Lock()
	defer a.mu.Unlock()
	i, _ := slices.BinarySearchFunc(a.dead, from, event.Cursor.Compare)
	j, _ := slices.BinarySearchFunc(a.dead, to, event.Cursor.Compare)
	return slices.Clone(a.dead[i:max(i, j)])
}

// expire notes that e will not be delivered. It grows the last range if e continues it and the stack has not passed
// its end, so that the list stays short while a stack is down.
func (a *account) expire(e expiry) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.changed = true
	a.dead = slices.DeleteFunc(a.dead, func(c event.Cursor) bool { return e.From.Compare(c) <= 0 && c.Compare(e.To) < 0 })
	if n := len(a.expired); n > 0 {
		last := &a.expired[n-1]
		if last.To == e.From && a.cursor.Compare(last.To) < 0 {
			last.To = e.To
			last.Totals.Merge(e.Totals)
			last.Approximate = last.Approximate || e.Approximate
			return
		}
	}
	i, _ := slices.BinarySearchFunc(a.expired, e.From, func(x expiry, c event.Cursor) int { return x.From.Compare(c) })
	a.expired = slices.Insert(a.expired, i, e)
}

// expiredIn returns the expired ranges that overlap [from, to).
func (a *account) expiredIn(from, to event.Cursor) []expiry {
	a.mu.Lock()
	defer a.mu.Unlock()
	var in []expiry
	for _, e := range a.expired {
		if e.From.Compare(to) < 0 && e.To.Compare(from) > 0 {
			in = append(in, e)
		}
	}
	return in
}

// passed is what stands below a stack's cursor, by what became of it.
type passed struct {
	cursor    event.Cursor
	delivered uint64
	dead      uint64
	expired   event.Totals
}

// snapshot returns everything below the cursor, all of one moment.
func (a *account) snapshot() passed {
	a.mu.Lock()
	defer a.mu.Unlock()
	i, _ := slices.BinarySearchFunc(a.dead, a.cursor, event.Cursor.Compare)
	p := passed{cursor: a.cursor, delivered: a.delivered, dead: uint64(i)}
	for _, e := range a.expired {
		if e.To.Compare(a.cursor) <= 0 {
			p.expired.Merge(e.Totals)
		}
	}
	return p
}
