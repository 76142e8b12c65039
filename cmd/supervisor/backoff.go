package supervisor

import (
	"math/rand/v2"
	"time"
)

// Backoff says how long to wait before a process that ended is started again: Min, then doubled each time up to Max,
// each lowered by up to half at random so that several do not restart in step. A run of Stable starts over.
type Backoff struct {
	Min    time.Duration // zero: 200 ms
	Max    time.Duration // zero: 15 s
	Stable time.Duration // zero: 30 s
}

func (b Backoff) withDefaults() Backoff {
	if b.Min == 0 {
		b.Min = 200 * time.Millisecond
	}
	if b.Max == 0 {
		b.Max = 15 * time.Second
	}
	if b.Stable == 0 {
		b.Stable = 30 * time.Second
	}
	return b
}

// after returns the wait after the given number of failures in a row, from 1. draw is uniform in [0, 1).
func (b Backoff) after(failures int, draw float64) time.Duration {
	d := b.Min
	for range min(failures-1, 30) {
		d = min(2*d, b.Max)
	}
	return d - time.Duration(draw*float64(d)/2)
}

func jitter() float64 { return rand.Float64() }
