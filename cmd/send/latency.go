package send

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// histogram counts durations in buckets about 3 % wide, from 1 µs to hours. It is safe for concurrent use.
type histogram struct {
	buckets [64 * 32]atomic.Uint64
	longest atomic.Int64
}

func (h *histogram) add(d time.Duration) {
	h.buckets[bucket(d)].Add(1)
	for {
		longest := h.longest.Load()
		if int64(d) <= longest || h.longest.CompareAndSwap(longest, int64(d)) {
			return
		}
	}
}

// bucket is the top bit's place and the five bits below it, of microseconds.
func bucket(d time.Duration) int {
	us := uint64(max(d.Microseconds(), 0))
	if us < 32 {
		return int(us)
	}
	e := bits.Len64(us) - 6
	return (e+1)*32 + int(us>>e)&31
}

// upper is the longest duration of a bucket.
func upper(i int) time.Duration {
	if i < 32 {
		return time.Duration(i) * time.Microsecond
	}
	e := i/32 - 1
	return time.Duration((uint64(32+i%32)+1)<<e-1) * time.Microsecond
}

// quantile returns a duration that the fraction q of all did not exceed.
func (h *histogram) quantile(q float64) time.Duration {
	total := uint64(0)
	for i := range h.buckets {
		total += h.buckets[i].Load()
	}
	rank, seen := uint64(q*float64(total)), uint64(0)
	for i := range h.buckets {
		seen += h.buckets[i].Load()
		if seen > rank {
			return min(upper(i), h.max())
		}
	}
	return h.max()
}

func (h *histogram) max() time.Duration { return time.Duration(h.longest.Load()) }
