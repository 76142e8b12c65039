package mirror

import (
	"time"

	"github.com/sparrowhq/sparrow/event"
)

// isolation finds the request that a stack cannot take, by halving what is sent until one fails alone.
//
// It errs on the side of waiting. What it must never do is to blame requests for a stack that fails at everything: a
// request is given up only if others got through after the trouble began. Where there are no others (the request is the
// first of all that waits, and nothing can be delivered past it) it is given up after patience, doubled each time, so
// that a stack that is down in this particular way costs a handful of requests in a day, each kept and counted.
type isolation struct {
	attempts int           // alone, before a request is given up
	patience time.Duration // alone, where no other was there to get through

	limit   uint32       // requests of the next delivery; 0: no limit
	applied bool         // a request got through since the trouble began
	graves  int          // given up since a request got through
	at      event.Cursor // the request that fails alone
	failed  int          // times it did
	since   time.Time    // when it first did
	last    contentError // its last failure
}

// maxGraves is how many requests in a row one success excuses giving up.
const maxGraves = 8

// active reports whether something is being isolated.
func (i *isolation) active() bool { return i.limit > 0 }

// split notes that n > 1 requests failed together: the next delivery holds half as many.
func (i *isolation) split(n uint64) {
	if !i.active() {
		i.applied = false
	}
	i.limit = uint32(max(n/2, 1))
	i.failed = 0
}

// alone notes that the request at c failed alone, and reports whether it is to be given up.
func (i *isolation) alone(c event.Cursor, now time.Time, err *contentError) bool {
	if !i.active() {
		i.applied, i.limit = false, 1
	}
	if i.failed == 0 || i.at != c {
		i.at, i.failed, i.since = c, 0, now
	}
	i.failed++
	i.last = *err
	if i.failed < i.attempts {
		return false
	}
	if i.applied && i.graves < maxGraves {
		return true
	}
	patience := i.patience << min(i.graves, 9)
	return now.Sub(i.since) >= patience
}

// buried notes that the request that failed alone was given up.
func (i *isolation) buried() {
	i.failed = 0
	i.graves++
}

// success notes that n > 0 requests got through: the next delivery may be twice as large.
func (i *isolation) success(n uint64) {
	i.applied, i.graves, i.failed = true, 0, 0
	if i.limit == 0 {
		return
	}
	if i.limit *= 2; i.limit > 1<<16 {
		i.limit = 0
	}
}

// stuck returns the request that is failing alone.
func (i *isolation) stuck() (event.Cursor, bool) { return i.at, i.failed > 0 }
