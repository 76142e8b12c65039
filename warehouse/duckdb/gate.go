package duckdb

import (
	"sync"
	"time"

	"github.com/sparrowhq/sparrow/event"
)

// gate decides which stack may begin a transaction. The live stack always may. The candidate may while the live stack
// has nothing queued and nothing in progress; and once after every patience, so that a live stack that never pauses
// cannot stop it for ever. Who is live, the timeline says.
type gate struct {
	live     func() event.Stack
	patience time.Duration

	mu      sync.Mutex
	load    map[event.Stack]int // batches queued or in progress
	changed chan struct{}       // closed and replaced whenever load falls to zero
	closed  bool
}

func newGate(live func() event.Stack, patience time.Duration) *gate {
	return &gate{live: live, patience: patience, load: map[event.Stack]int{}, changed: make(chan struct{})}
}

// set notes how many batches of a stack are queued or in progress.
func (g *gate) set(stack event.Stack, batches int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.load[stack] = batches
	if batches == 0 {
		g.wake()
	}
}

// wake lets everybody look again; g.mu is held.
func (g *gate) wake() {
	close(g.changed)
	g.changed = make(chan struct{})
}

// close lets everybody through, for good.
func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	g.wake()
}

// enter returns when stack may begin a transaction, and reports whether it had to be let through by patience.
func (g *gate) enter(stack event.Stack) (impatient bool) {
	var deadline <-chan time.Time
	for {
		live := g.live()
		g.mu.Lock()
		free := g.closed || live == "" || live == stack || g.load[live] == 0
		changed := g.changed
		g.mu.Unlock()
		if free {
			return false
		}
		if deadline == nil {
			t := time.NewTimer(g.patience)
			defer t.Stop()
			deadline = t.C
		}
		select {
		case <-changed:
		case <-deadline:
			return true
		}
	}
}
