package main

import (
	"fmt"
	"syscall"
	"testing"
	"time"
)

// The mirror is replaced under load, again and again: nobody is refused, nobody who asked goes unanswered, everything
// acknowledged is stored once on each side.
func TestProofUpgrade(t *testing.T) {
	s := up(t)
	x := &traffic{}
	x.clients(s.ends.Clients, 12, true, 230)
	x.clients(s.ends.Clients, 4, false, 230)
	for round := range choose(2, 30) {
		before, pid := x.answered.Load(), s.pid("mirror")
		s.await("traffic flows", time.Minute, func() error {
			if n := x.answered.Load() - before; n < 500 {
				return fmt.Errorf("%d answers", n)
			}
			return nil
		})
		x.mu.Lock()
		x.slowest = 0
		x.mu.Unlock()
		if err := s.cmd.Process.Signal(syscall.SIGUSR2); err != nil {
			t.Fatal(err)
		}
		s.await("another mirror answers", time.Minute, func() error {
			if now := s.pid("mirror"); now == pid || now == 0 {
				return fmt.Errorf("process %d", now)
			}
			var st status
			return s.admin("/v1/status", &st)
		})
		before = x.answered.Load()
		s.await("traffic flows again", time.Minute, func() error {
			if n := x.answered.Load() - before; n < 200 {
				return fmt.Errorf("%d answers", n)
			}
			return nil
		})
		x.mu.Lock()
		t.Logf("round %d: the slowest request took %s", round, x.slowest.Round(time.Millisecond))
		x.mu.Unlock()
	}
	s.exactlyOnce(x.stop(t))
}
