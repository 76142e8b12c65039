package mirror

import (
	"cmp"
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
	sampled   uint64         // requests below the cursor that its rule leaves out
	dead      []event.Cursor // dead-lettered positions, ascending; also above the cursor
	expired   []expiry       // ascending, disjoint
	saved     event.Cursor   // the cursor as last saved
	noted     uint64         // delivered as last saved, or less
	rules     []since        // by frame; the last one holds. Before the first everything is delivered

	// Of a stack behind plain HTTP, which keeps no cursor itself.
	sent  event.Cursor // what lies at or above it was never sent
	again uint64       // requests sent once more because nobody knew whether the stack had them
}

// expiry is a range whose frames were given up to free space before the stack had them.
type expiry struct {
	From   event.Cursor `json:"from"`
	To     event.Cursor `json:"to"` // exclusive
	Totals event.Totals `json:"totals"`
	// Approximate says that the frames were gone before they could be counted: Totals is an upper bound.
	Approximate bool `json:"approximate,omitempty"`
}

// stateFormat is the newest format of a saved account that this build reads. It writes format 1 as long as nothing in
// the account is new in 2, so that the build before can be gone back to.
const stateFormat = 2

// savedAccount is the durable form. The dead positions have a log of their own.
type savedAccount struct {
	Format    int          `json:"format"`
	Cursor    event.Cursor `json:"cursor"`
	Delivered uint64       `json:"delivered"`
	Expired   []expiry     `json:"expired,omitempty"`

	// Since format 2.
	Sampled uint64       `json:"sampled,omitempty"`
	Rules   []since      `json:"rules,omitempty"`
	Tally   uint64       `json:"tally,omitempty"` // in the log of left-out requests: where what is still known begins
	Sent    event.Cursor `json:"sent,omitzero"`
	Again   uint64       `json:"again,omitempty"`
}

func (a *account) key() string { return "feed." + string(a.stack) }

// encode returns the durable form, and the cursor in it.
func (a *account) encode(tally uint64) ([]byte, event.Cursor, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := savedAccount{Format: 1, Cursor: a.cursor, Delivered: a.delivered, Expired: a.expired,
		Sampled: a.sampled, Rules: a.rules, Tally: tally, Sent: a.sent, Again: a.again}
	if s.Sampled > 0 || len(s.Rules) > 0 || s.Sent != (event.Cursor{}) {
		s.Format = stateFormat
	}
	data, err := json.Marshal(s)
	return data, a.cursor, err
}

// decode restores what encode wrote.
func (a *account) decode(data []byte) (tally uint64, err error) {
	var s savedAccount
	if err := json.Unmarshal(data, &s); err != nil {
		return 0, fmt.Errorf("state of the feed of %s: %w", a.stack, err)
	}
	if s.Format < 1 || s.Format > stateFormat {
		return 0, fmt.Errorf("state of the feed of %s has format %d, this build reads %d: run the newer build", a.stack, s.Format, stateFormat)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.cursor, a.saved, a.delivered, a.expired = s.Cursor, s.Cursor, s.Delivered, s.Expired
	a.noted, a.sampled, a.rules, a.sent, a.again = s.Delivered, s.Sampled, s.Rules, s.Sent, s.Again
	return s.Tally, nil
}

// markSaved notes that a state with this cursor and count is durable.
func (a *account) markSaved(c event.Cursor, delivered uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.saved, a.noted = c, delivered
}

// count is how many requests were delivered.
func (a *account) count() uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.delivered
}

// safe returns the cursor below which the stack needs no frame any more, even after a crash now.
func (a *account) safe() event.Cursor {
	a.mu.Lock()
	defer a.mu.Unlock()
	c := a.cursor
	if a.saved.Compare(c) < 0 {
		c = a.saved
	}
	return a.skipLocked(c)
}

// safe returns the first frame that the feed still needs, even after a crash now.
func (f *feed) safe() uint64 { return min(f.account.safe().Frame, f.tally.safe()) }

// skip returns c, or where the expired range ends that c lies in.
func (a *account) skip(c event.Cursor) event.Cursor {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.skipLocked(c)
}

func (a *account) skipLocked(c event.Cursor) event.Cursor {
	for _, e := range a.expired { // ascending, so that one may lead to the next
		if e.From.Compare(c) <= 0 && c.Compare(e.To) < 0 {
			c = e.To
		}
	}
	return c
}

// amount counts requests: those that the stack confirmed, and those that its rule leaves out.
type amount struct{ delivered, sampled uint64 }

func (n amount) plus(m amount) amount {
	return amount{n.delivered + m.delivered, n.sampled + m.sampled}
}

// advance moves the cursor to c, with n requests on the way.
func (a *account) advance(c event.Cursor, n amount) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.cursor, a.delivered, a.sampled = c, a.delivered+n.delivered, a.sampled+n.sampled
}

// retreat moves the cursor back to c, with n requests no longer below it.
func (a *account) retreat(c event.Cursor, n amount) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.cursor, a.delivered, a.sampled = c, a.delivered-min(n.delivered, a.delivered), a.sampled-min(n.sampled, a.sampled)
}

// rule makes r the rule of the frames from first on, unless it is the rule already; changed says that it was not.
func (a *account) rule(r Rule, first uint64) (changed bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var last Rule
	if n := len(a.rules); n > 0 {
		last = a.rules[n-1].Rule
	}
	if last.equal(r) {
		return false
	}
	a.rules = append(slices.Clip(a.rules), since{Frame: first, Rule: r})
	return true
}

// ruleAt returns the rule that a frame falls under, and the last frame that does; 0: there is no end to it.
func (a *account) ruleAt(frame uint64) (r Rule, last uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, x := range slices.Backward(a.rules) {
		if x.Frame <= frame {
			return x.Rule, last
		}
		last = x.Frame - 1
	}
	return Rule{}, last
}

// ruled returns the first frame that a rule applies to; 0 if there never was one.
func (a *account) ruled() uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.rules) == 0 {
		return 0
	}
	return a.rules[0].Frame
}

// intend notes that the n requests up to c are about to be sent, and reports whether that must be written down first:
// where sending ends goes a little ahead of few requests, so that not each takes a write, and as few may be delivered and
// not noted.
func (a *account) intend(c event.Cursor, n uint64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if c.Compare(a.sent) <= 0 {
		return a.delivered-min(a.noted, a.delivered) > unnoted
	}
	if a.sent = c; n < unnoted/8 {
		a.sent = event.Cursor{Frame: c.Frame + unnoted}
	}
	return true
}

// unnoted is how many requests may be delivered before that is written down, and how many frames sending may be noted
// ahead.
const unnoted = 128

// intended returns where sending ended.
func (a *account) intended() event.Cursor {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.sent
}

// repeated counts n requests that are sent again.
func (a *account) repeated(n uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.again += n
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

// deadIn returns the dead positions in [from, to).
func (a *account) deadIn(from, to event.Cursor) []event.Cursor {
	a.mu.Lock()
	defer a.mu.Unlock()
	i, _ := slices.BinarySearchFunc(a.dead, from, event.Cursor.Compare)
	j, _ := slices.BinarySearchFunc(a.dead, to, event.Cursor.Compare)
	return slices.Clone(a.dead[i:max(i, j)])
}

// expire notes that e will not be delivered. It grows the last range if e continues it and the stack has not passed
// its end, so that the list stays short while a stack is down. undo takes it back.
func (a *account) expire(e expiry) (undo func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	dead, expired := slices.Clone(a.dead), slices.Clone(a.expired)
	undo = func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.dead, a.expired = dead, expired
	}
	a.dead = slices.DeleteFunc(a.dead, func(c event.Cursor) bool { return e.From.Compare(c) <= 0 && c.Compare(e.To) < 0 })
	if n := len(a.expired); n > 0 {
		last := &a.expired[n-1]
		if last.To == e.From && a.cursor.Compare(last.To) < 0 {
			last.To = e.To
			last.Totals.Merge(e.Totals)
			last.Approximate = last.Approximate || e.Approximate
			return undo
		}
	}
	i, _ := slices.BinarySearchFunc(a.expired, e.From, func(x expiry, c event.Cursor) int { return x.From.Compare(c) })
	a.expired = slices.Insert(a.expired, i, e)
	return undo
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

// standing is what became of the requests of the journal, as far as one stack is concerned.
type standing struct {
	cursor    event.Cursor
	next      event.Cursor // what is delivered next: the cursor, or where the expired range ends that it stands in
	delivered uint64
	sampled   uint64
	again     uint64
	dead      uint64
	expired   event.Totals
	ahead     uint64 // of dead and expired: those at or above next
}

// snapshot returns the standing, all of one moment.
func (a *account) snapshot() standing {
	a.mu.Lock()
	defer a.mu.Unlock()
	p := standing{cursor: a.cursor, next: a.skipLocked(a.cursor), delivered: a.delivered, sampled: a.sampled, again: a.again, dead: uint64(len(a.dead))}
	i, _ := slices.BinarySearchFunc(a.dead, p.next, event.Cursor.Compare)
	p.ahead = uint64(len(a.dead) - i)
	for _, e := range a.expired {
		p.expired.Merge(e.Totals)
		if e.To.Compare(p.next) > 0 {
			p.ahead += e.Totals.Requests
		}
	}
	return p
}

// frames returns the frames from first on that hold what the stack never got, and those of spans.
func (a *account) frames(first uint64, spans []event.Span) []event.Span {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, e := range a.expired {
		spans = append(spans, event.Span{First: e.From.Frame, Last: e.To.Frame - 1})
	}
	for _, c := range a.dead {
		spans = append(spans, event.Span{First: c.Frame, Last: c.Frame})
	}
	slices.SortFunc(spans, func(x, y event.Span) int { return cmp.Compare(x.First, y.First) })
	var merged []event.Span
	for _, s := range spans {
		if s.Last < first {
			continue
		}
		s.First = max(s.First, first)
		if n := len(merged); n > 0 && s.First <= merged[n-1].Last+1 {
			merged[n-1].Last = max(merged[n-1].Last, s.Last)
			continue
		}
		merged = append(merged, s)
	}
	return merged
}

// holeAt returns the hole that the request at c lies in, from c on.
func (a *account) holeAt(c event.Cursor) (Hole, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, e := range a.expired {
		if e.From.Compare(c) <= 0 && c.Compare(e.To) < 0 {
			return Hole{From: c, To: e.To, Reason: reasonExpired, Requests: e.Totals.Requests}, true
		}
	}
	if _, found := slices.BinarySearchFunc(a.dead, c, event.Cursor.Compare); found {
		return Hole{From: c, To: event.Cursor{Frame: c.Frame, Request: c.Request + 1}, Reason: reasonDead, Requests: 1}, true
	}
	return Hole{}, false
}

// holeWithin returns the index of the first request of the frame of c, above c, at which a hole begins; all of the
// frame's requests are below it if there is none.
func (a *account) holeWithin(c event.Cursor, requests uint32) uint32 {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, e := range a.expired {
		if e.From.Frame == c.Frame && e.From.Request > c.Request {
			requests = min(requests, e.From.Request)
		}
	}
	i, _ := slices.BinarySearchFunc(a.dead, event.Cursor{Frame: c.Frame, Request: c.Request + 1}, event.Cursor.Compare)
	if i < len(a.dead) && a.dead[i].Frame == c.Frame {
		requests = min(requests, a.dead[i].Request)
	}
	return requests
}

// redeem corrects an expired range of which the stack has a part after all: it stands at c, inside the range. The part
// below holds n requests, or fewer if that is not exact; redeem returns how many are no longer expired.
func (a *account) redeem(c event.Cursor, n uint64, exact bool) uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range a.expired {
		if e := &a.expired[i]; e.From.Compare(c) < 0 && c.Compare(e.To) < 0 {
			n = min(n, e.Totals.Requests)
			e.From, e.Approximate = c, e.Approximate || !exact
			e.Totals.Requests -= n
			return n
		}
	}
	return 0
}
