package tracker

import "time"

// State is that of a circuit breaker.
type State string

// The states.
const (
	Closed  State = "closed"  // calls go out
	Waiting State = "waiting" // something failed: no call until a moment has passed
	Open    State = "open"    // failures in a row: nothing goes out but one small call now and then
)

// breaker decides when calls to one project may go out. It is guarded by the Sender's mutex.
type breaker struct {
	trips    int
	failures int       // rounds of calls that failed in a row
	round    uint64    // calls belong to the round in which they began; of many that fail together one counts
	until    time.Time // nothing goes out before
	since    time.Time // of the first failure in a row
	why      string    // of the last, without secrets
	probing  bool      // a probe is out
}

func (b *breaker) open() bool { return b.failures >= b.trips }

// allow says whether a call may begin, and if not, when to ask again; zero: once the probe is back.
func (b *breaker) allow(now time.Time) (ok bool, again time.Time) {
	switch {
	case b.failures == 0:
		return true, time.Time{}
	case now.Before(b.until):
		return false, b.until
	case b.probing:
		return false, time.Time{}
	}
	return true, time.Time{}
}

// fail notes a failed call of round. wait is asked only if it is the first of its round, with how many rounds have
// failed in a row. It says whether the breaker opened.
func (b *breaker) fail(now time.Time, round uint64, why string, wait func(failures int) time.Duration) (opened bool) {
	b.why = why
	if round != b.round {
		return false
	}
	was := b.open()
	if b.failures == 0 {
		b.since = now
	}
	b.failures++
	b.round++
	b.until = now.Add(wait(b.failures))
	return !was && b.open()
}

// succeed says whether the breaker was open.
func (b *breaker) succeed() (closed bool) {
	closed = b.open()
	b.failures = 0
	return closed
}

func (b *breaker) state() State {
	switch {
	case b.failures == 0:
		return Closed
	case b.open():
		return Open
	}
	return Waiting
}
