package duckdb

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/sparrowhq/sparrow/event"
)

func liveIs(s event.Stack) func() event.Stack { return func() event.Stack { return s } }

// passes reports whether stack is let through while nothing else happens and no time passes.
func passes(g *gate, stack event.Stack) bool {
	through := make(chan bool, 1)
	go func() { through <- !g.enter(stack) }()
	synctest.Wait()
	select {
	case ok := <-through:
		return ok
	default:
		return false
	}
}

func TestGateLetsLiveThroughAlways(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(liveIs(event.Green), time.Hour)
		g.set(event.Green, 3)
		g.set(event.Blue, 1000)
		if !passes(g, event.Green) {
			t.Error("the live stack waits")
		}
	})
}

func TestGateHoldsCandidateWhileLiveHasAnything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(liveIs(event.Green), time.Hour)
		if !passes(g, event.Blue) {
			t.Error("the candidate waits although the live stack has nothing")
		}
		g.set(event.Green, 2)
		through := make(chan bool, 1)
		go func() { through <- g.enter(event.Blue) }()
		for _, batches := range []int{1, 5, 1} {
			synctest.Wait()
			if len(through) > 0 {
				t.Fatalf("the candidate got through while the live stack had %d batches", batches)
			}
			g.set(event.Green, batches)
		}
		g.set(event.Green, 0)
		if <-through {
			t.Error("it was let through as if out of patience")
		}
	})
}

func TestGateHasPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(liveIs(event.Green), time.Second)
		g.set(event.Green, 1)
		for range 3 {
			start := time.Now()
			if !g.enter(event.Blue) {
				t.Error("it was let through without need of patience")
			}
			if waited := time.Since(start); waited != time.Second {
				t.Errorf("it waited %s, want 1s each time", waited)
			}
		}
	})
}

func TestGateFollowsTheTimeline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		live := event.Stack("")
		g := newGate(func() event.Stack { return live }, time.Hour)
		g.set(event.Green, 1)
		g.set(event.Blue, 1)
		if !passes(g, event.Green) || !passes(g, event.Blue) {
			t.Error("somebody waits although nobody is live yet")
		}
		live = event.Blue
		if passes(g, event.Green) || !passes(g, event.Blue) {
			t.Error("after the cutover the other one must wait")
		}
		g.close() // lets the one that waits go
	})
}
