package main

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/sparrowhq/sparrow/event"
)

// maxBacklogMemory bounds the mirror's resident memory, whatever a stack has not got yet.
const maxBacklogMemory = 256 << 20

// backlogTime is for how long a stack is away.
func backlogTime(t *testing.T) time.Duration {
	if !soak() {
		return 6 * time.Second
	}
	minutes := os.Getenv("SPARROW_SOAK_MINUTES")
	if minutes == "" {
		return 10 * time.Minute
	}
	n, err := strconv.Atoi(minutes)
	if err != nil || n < 1 {
		t.Fatalf("SPARROW_SOAK_MINUTES=%s: want a number of minutes", minutes)
	}
	return time.Duration(n) * time.Minute
}

// A stack is away at full load, then comes back: the mirror's memory stays flat and bounded, the equation holds at every
// look, the stack catches up while the load goes on, and in the end both have the same requests: those that were answered
// 200, no more and no less.
func TestProofBacklog(t *testing.T) {
	t.Run("candidate", func(t *testing.T) { backlog(t, "blue") })
	t.Run("live", func(t *testing.T) { backlog(t, "green") })
}

func backlog(t *testing.T, stack string) {
	s := up(t)
	away := backlogTime(t)
	x := &full{}
	x.start(s.ends.Clients, 64)
	s.await("traffic flows", time.Minute, func() error {
		if n := x.count.Load(); n < 1000 {
			return fmt.Errorf("%d answers", n)
		}
		return nil
	})

	w := watch(s)
	s.signal(stack+"-dispatcher", syscall.SIGSTOP) // it takes connections, and answers nothing
	began, before := time.Now(), x.count.Load()
	time.Sleep(away) // the length of the test
	rate := float64(x.count.Load()-before) / time.Since(began).Seconds()
	lag := s.status().Stacks[stack].Pending
	pending := lag.Requests
	if pending < uint64(x.count.Load()-before)/2 {
		t.Errorf("%d requests pend after %s at %.0f requests/s: the stack was not away", pending, away, rate)
	}
	behind := time.Since(time.UnixMicro(lag.OldestAt))
	memory := w.memory()
	s.signal(stack+"-dispatcher", syscall.SIGCONT)
	back := time.Now()
	time.Sleep(min(away, 30*time.Second) / 4) // it catches up beside the load for a while
	want := x.stop(t)
	s.await("both stacks caught up", away+3*time.Minute, s.caughtUp)
	t.Logf("%s away for %s at %.0f requests/s: %d pending, the oldest for %s; caught up within %s", stack, away, rate, pending, behind.Round(time.Second), time.Since(back).Round(time.Second))
	w.stop(t)
	all := w.memory()
	t.Logf("the mirror's memory: at most %d MiB while the stack was away, %d MiB in all; %d looks at the equation", highest(memory)>>20, highest(all)>>20, w.looks.Load())
	if n := highest(all); n > maxBacklogMemory {
		t.Errorf("the mirror had %d MiB of memory, want at most %d", n>>20, maxBacklogMemory>>20)
	}
	// Flat: the last quarter of the time needs no more than the second did.
	if q := len(memory) / 4; highest(memory[3*q:]) > highest(memory[q:2*q])+48<<20 {
		t.Errorf("the mirror's memory grows with the backlog: %d MiB in the second quarter, %d MiB in the last", highest(memory[q:2*q])>>20, highest(memory[3*q:])>>20)
	}

	var ledger struct {
		Totals event.Totals `json:"totals"`
	}
	if err := s.admin(fmt.Sprintf("/v1/ledger?from=1&to=%d", s.status().Journal.LastFrame), &ledger); err != nil {
		t.Fatal(err)
	}
	if ledger.Totals.Requests != want.Requests || ledger.Totals.IDSum != want.IDSum {
		t.Errorf("answered 200: %d requests, id sum %s; the journal has %d, %s", want.Requests, want.IDSum, ledger.Totals.Requests, ledger.Totals.IDSum)
	}
	s.ledgerAgrees()
	for only, beside := range map[string]string{"live": "staging", "staging": "live"} {
		if n := s.number(fmt.Sprintf(`SELECT count(*) FROM (SELECT "eventId" FROM %s.raw EXCEPT SELECT "eventId" FROM %s.raw)`, only, beside)); n != 0 {
			t.Errorf("%d ids are in %s only", n, only)
		}
	}
}

// full is clients that send requests of 230 bytes as fast as they are answered, and keep nothing of them but their number
// and the sum of their ids.
type full struct {
	count    atomic.Int64
	stopping atomic.Bool
	wg       sync.WaitGroup
	mu       sync.Mutex
	totals   event.Totals
	failures []string
}

func (x *full) start(clients string, n int) {
	ask := request(1, 230)
	for range n {
		x.wg.Go(func() {
			var mine event.Totals
			err := func() error {
				w, err := dial(clients)
				if err != nil {
					return err
				}
				defer w.Close()
				for !x.stopping.Load() {
					w.SetDeadline(time.Now().Add(2 * time.Minute))
					resp, err := w.ask(ask)
					if err != nil {
						return err
					}
					id, err := uuid.Parse(resp.Header.Get("Sparrow-Request-Id"))
					if err != nil {
						return fmt.Errorf("answered %s", resp.Status)
					}
					mine.Add(id, 230, 0)
					x.count.Add(1)
				}
				return nil
			}()
			x.mu.Lock()
			defer x.mu.Unlock()
			x.totals.Merge(mine)
			if err != nil {
				x.failures = append(x.failures, err.Error())
			}
		})
	}
}

func (x *full) stop(t *testing.T) event.Totals {
	t.Helper()
	x.stopping.Store(true)
	x.wg.Wait()
	if len(x.failures) > 0 {
		t.Errorf("%d of the clients did not get 200, the first: %s", len(x.failures), x.failures[0])
	}
	return x.totals
}

// watcher looks at the mirror again and again.
type watcher struct {
	looks   atomic.Int64
	done    chan struct{}
	wg      sync.WaitGroup
	mu      sync.Mutex
	samples []int64 // bytes of resident memory
	broken  []string
}

func watch(s *sparrow) *watcher {
	w := &watcher{done: make(chan struct{})}
	pid, at := s.pid("mirror"), &sparrow{ends: s.ends} // s itself reads endpoints.json again meanwhile
	w.wg.Go(func() {
		tick := time.NewTicker(250 * time.Millisecond)
		defer tick.Stop()
		for {
			var eq struct {
				OK     bool `json:"ok"`
				Stacks any  `json:"stacks"`
			}
			err := at.admin("/v1/equation", &eq)
			rss, rssErr := resident(pid)
			w.mu.Lock()
			if err == nil {
				w.looks.Add(1)
				if !eq.OK {
					w.broken = append(w.broken, fmt.Sprint(eq.Stacks))
				}
			}
			if rssErr == nil {
				w.samples = append(w.samples, rss)
			}
			w.mu.Unlock()
			select {
			case <-tick.C:
			case <-w.done:
				return
			}
		}
	})
	return w
}

func (w *watcher) memory() []int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]int64(nil), w.samples...)
}

func (w *watcher) stop(t *testing.T) {
	t.Helper()
	close(w.done)
	w.wg.Wait()
	if w.looks.Load() < 5 {
		t.Errorf("the equation could be read %d times only", w.looks.Load())
	}
	for _, b := range w.broken {
		t.Errorf("the equation does not hold: %s", b)
	}
}

func highest(samples []int64) (n int64) {
	for _, s := range samples {
		n = max(n, s)
	}
	return n
}

// resident returns the bytes of memory that a process holds.
func resident(pid int) (int64, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for in := bufio.NewScanner(f); in.Scan(); {
		if text, ok := strings.CutPrefix(in.Text(), "VmRSS:"); ok {
			n, err := strconv.ParseInt(strings.Fields(text)[0], 10, 64)
			return n << 10, err
		}
	}
	return 0, fmt.Errorf("process %d tells no VmRSS", pid)
}
