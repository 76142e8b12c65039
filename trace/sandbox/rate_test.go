package sandbox

import (
	"math/rand/v2"
	"testing"
	"time"
)

// The sliding window against its definition, on random arrivals.
func TestRateIsExact(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	const limit, window = 10, 100 * time.Millisecond
	x := newRate(limit, window)
	now := time.Unix(0, 0)
	type taken struct {
		at  time.Time
		key string
		n   int
	}
	var all []taken
	for range 20_000 {
		now = now.Add(time.Duration(r.IntN(8)) * time.Millisecond)
		key, n := sprintf("%d", r.IntN(3)), 1+r.IntN(4)
		within := 0
		for i := len(all) - 1; i >= 0 && now.Sub(all[i].at) < window; i-- {
			if all[i].key == key {
				within += all[i].n
			}
		}
		total, tooMany := x.with(now, key, n)
		if total != within+n || tooMany != (within+n > limit) {
			t.Fatalf("at %v: %d %v, want %d", now, total, tooMany, within+n)
		}
		if !tooMany {
			x.add(now, key, n)
			all = append(all, taken{now, key, n})
		}
	}
	if len(x.queue) > 4096 {
		t.Errorf("%d arrivals kept for a window that holds %d", len(x.queue), 3*limit)
	}
	now = now.Add(window)
	x.with(now, "", 0)
	if len(x.count) != 0 {
		t.Errorf("%d keys kept after they left the window", len(x.count))
	}
}
