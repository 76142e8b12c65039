package pipeline

import (
	"cmp"
	"container/heap"
	"slices"
	"sync"
)

// Tally counts Unknowns by name within a bound, however many names clients make up: the names seen most often stay, the
// others are in the remainder. It is safe for concurrent use.
//
// The method is Space-Saving (Metwally, Agrawal, El Abbadi 2005): when the table is full, a new name takes the place of
// the one with the lowest count and inherits it as its possible error. A name that makes up more than 1/size of all is
// always in the table.
type Tally struct {
	mu    sync.Mutex
	size  int
	total uint64
	table map[Unknown]*counter
	heap  counters // by count
}

type counter struct {
	unknown Unknown
	count   uint64 // never less than how often it was seen
	surplus uint64 // how much of count may belong to others
	index   int    // in the heap
}

// NewTally returns a Tally of at most size names; 0: 1,000.
func NewTally(size int) *Tally {
	return &Tally{size: cmp.Or(size, 1000), table: map[Unknown]*counter{}}
}

// Add counts what a Batch reports.
func (t *Tally) Add(unknown []Unknown) {
	if len(unknown) == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, u := range unknown {
		t.total++
		c := t.table[u]
		switch {
		case c != nil:
			c.count++
			heap.Fix(&t.heap, c.index)
		case len(t.heap) < t.size:
			c = &counter{unknown: u, count: 1}
			t.table[u] = c
			heap.Push(&t.heap, c)
		default:
			c = t.heap[0]
			delete(t.table, c.unknown)
			c.unknown, c.surplus = u, c.count
			c.count++
			t.table[u] = c
			heap.Fix(&t.heap, 0)
		}
	}
}

// Counted is how often an Unknown was seen: at least Count − Surplus times, at most Count times.
type Counted struct {
	Unknown
	Count   uint64
	Surplus uint64
}

// Top returns the at most n names seen most often, most often first, and how many sightings of all are surely not among
// those of the names returned.
func (t *Tally) Top(n int) (top []Counted, remainder uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range t.heap {
		top = append(top, Counted{c.unknown, c.count, c.surplus})
	}
	slices.SortFunc(top, func(a, b Counted) int {
		return cmp.Or(cmp.Compare(b.Count-b.Surplus, a.Count-a.Surplus), compare(a.Event, b.Event), compare(a.Property, b.Property), compare(string(a.Reason), string(b.Reason)))
	})
	top = top[:min(n, len(top))]
	remainder = t.total
	for _, c := range top {
		remainder -= min(remainder, c.Count)
	}
	return top, remainder
}

// counters is a heap.
type counters []*counter

func (h counters) Len() int           { return len(h) }
func (h counters) Less(i, j int) bool { return h[i].count < h[j].count }
func (h counters) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}
func (h *counters) Push(x any) {
	c := x.(*counter)
	c.index = len(*h)
	*h = append(*h, c)
}
func (h *counters) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}
