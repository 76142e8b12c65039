package sandbox

import "time"

// rate counts what came for each key within a sliding window. It is exact: at no moment did more than the limit come
// within any span of the window's length. A window that starts anew each minute would let twice as much through around
// its edge, and a sender paced by it would not be safe with a vendor that counts otherwise.
//
// Memory is bounded by what the limit lets through in one window. Callers hold a lock.
type rate struct {
	limit  int // negative: none
	window time.Duration
	count  map[string]int
	queue  []arrival // by time
	head   int       // of queue: what is before has left the window
}

type arrival struct {
	at  time.Time
	key string
	n   int
}

func newRate(limit int, window time.Duration) *rate {
	return &rate{limit: limit, window: window, count: map[string]int{}}
}

// with returns how many there are for key in the window that ends now, if n more come, and whether that is too many.
func (r *rate) with(now time.Time, key string, n int) (total int, tooMany bool) {
	for r.head < len(r.queue) && now.Sub(r.queue[r.head].at) >= r.window {
		a := &r.queue[r.head]
		if r.count[a.key] -= a.n; r.count[a.key] == 0 {
			delete(r.count, a.key)
		}
		*a = arrival{}
		if r.head++; r.head > 1024 && r.head*2 > len(r.queue) {
			r.queue = append(r.queue[:0], r.queue[r.head:]...)
			r.head = 0
		}
	}
	total = r.count[key] + n
	return total, over(total, r.limit)
}

// add counts n for key.
func (r *rate) add(now time.Time, key string, n int) {
	if r.limit < 0 {
		return
	}
	r.count[key] += n
	r.queue = append(r.queue, arrival{at: now, key: key, n: n})
}
