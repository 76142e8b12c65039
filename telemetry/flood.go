package telemetry

import (
	"sync"
	"time"
)

// A fingerprint may be reported burst times at once, then once per interval: an outage must not become one report a
// request.
const (
	burst           = 5
	interval        = time.Minute
	maxFingerprints = 1000 // beyond, they share one budget
)

// flood decides which reports go out, and counts the others. The zero flood is ready; it is safe for concurrent use.
type flood struct {
	mu    sync.Mutex
	kinds map[string]*budget
}

type budget struct {
	left       int
	since      time.Time // when left was last topped up
	suppressed int       // since the last report that went out
}

// allow reports whether a report of this fingerprint may go out, and if so how many were suppressed since the last.
func (f *flood) allow(fingerprint string) (suppressed int, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.kinds == nil {
		f.kinds = map[string]*budget{}
	}
	b := f.kinds[fingerprint]
	if b == nil && len(f.kinds) >= maxFingerprints {
		fingerprint = ""
		b = f.kinds[fingerprint]
	}
	now := time.Now()
	if b == nil {
		b = &budget{left: burst, since: now}
		f.kinds[fingerprint] = b
	}
	if n := int(now.Sub(b.since) / interval); n > 0 {
		b.left = min(b.left+n, burst)
		b.since = b.since.Add(time.Duration(n) * interval)
	}
	if b.left == 0 {
		b.suppressed++
		return 0, false
	}
	b.left--
	suppressed, b.suppressed = b.suppressed, 0
	return suppressed, true
}
