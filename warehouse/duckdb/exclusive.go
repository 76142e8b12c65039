package duckdb

import (
	"sync"
	"time"
)

// exclusive lets any number of queries execute at once, or somebody have DuckDB's memory without them.
type exclusive struct {
	mu        sync.Mutex
	executing int
	held      int
	changed   chan struct{} // closed and replaced whenever executing or held falls to zero
}

func newExclusive() *exclusive { return &exclusive{changed: make(chan struct{})} }

// wake lets everybody look again; x.mu is held.
func (x *exclusive) wake() {
	close(x.changed)
	x.changed = make(chan struct{})
}

// begin returns when a query may execute. It reports false if stop came first.
func (x *exclusive) begin(stop <-chan struct{}) bool {
	for {
		x.mu.Lock()
		if x.held == 0 {
			x.executing++
			x.mu.Unlock()
			return true
		}
		changed := x.changed
		x.mu.Unlock()
		select {
		case <-changed:
		case <-stop:
			return false
		}
	}
}

// end says that a query no longer executes, and holds none of DuckDB's memory.
func (x *exclusive) end() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.executing--; x.executing == 0 {
		x.wake()
	}
}

// idle reports whether no query executes.
func (x *exclusive) idle() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.executing == 0
}

// hold keeps further queries from executing, until release is called, and waits for those that do to end, for at most
// wait. It reports whether they did. Several may hold at once.
func (x *exclusive) hold(wait time.Duration) (release func(), alone bool) {
	deadline := time.NewTimer(wait)
	defer deadline.Stop()
	x.mu.Lock()
	x.held++
	x.mu.Unlock()
	release = func() {
		x.mu.Lock()
		defer x.mu.Unlock()
		if x.held--; x.held == 0 {
			x.wake()
		}
	}
	for {
		x.mu.Lock()
		alone, changed := x.executing == 0, x.changed
		x.mu.Unlock()
		if alone {
			return release, true
		}
		select {
		case <-changed:
		case <-deadline.C:
			return release, false
		}
	}
}
