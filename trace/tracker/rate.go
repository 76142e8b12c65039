package tracker

import "time"

// window counts events by id over the span of a rate: within no span of that length do more than limit go out, wherever
// it begins. An event counts from the moment it is taken until the span has passed since its call ended, since nobody
// knows when during the call it arrived.
type window struct {
	Rate
	counts  map[string]int // of ids with any
	passing []passing      // by time
	from    int            // index of the oldest in passing
}

type passing struct {
	at time.Time // when it no longer counts
	id string
}

func newWindow(r Rate) *window { return &window{Rate: r, counts: map[string]int{}} }

// slack is added to the span: the vendor's clock and ours do not tick alike.
const slack = 20 * time.Millisecond

func (w *window) expire(now time.Time) {
	for ; w.from < len(w.passing) && !w.passing[w.from].at.After(now); w.from++ {
		id := w.passing[w.from].id
		w.passing[w.from].id = ""
		if w.counts[id]--; w.counts[id] <= 0 {
			delete(w.counts, id)
		}
	}
	if w.from > 1024 && w.from > len(w.passing)/2 {
		w.passing = w.passing[:copy(w.passing, w.passing[w.from:])]
		w.from = 0
	}
}

func (w *window) room(id string) bool { return w.counts[id] < w.Events }

func (w *window) take(id string) { w.counts[id]++ }

// done says that the call that carried an event of id has ended.
func (w *window) done(now time.Time, id string) {
	w.passing = append(w.passing, passing{now.Add(w.Per + slack), id})
}

// next is when something expires; zero: nothing is about to.
func (w *window) next() time.Time {
	if w.from == len(w.passing) {
		return time.Time{}
	}
	return w.passing[w.from].at
}
