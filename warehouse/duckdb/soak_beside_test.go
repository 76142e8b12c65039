//go:build linux

package duckdb

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sparrowhq/sparrow/event"
)

// beside offers 20,000 rows/s, alone and beside as many queries as may run.
func (s *soak) beside() {
	const rate = 20_000
	offered, taken, took := s.offer(rate, s.phase)
	s.say("offered 20,000 rows/s, nothing beside: taken; append p50, p99", "%.1f %%; %v, %v", 100*float64(taken)/float64(offered), quantile(took, 50), quantile(took, 99))
	ctx, stop := context.WithCancel(s.t.Context())
	var asking sync.WaitGroup
	var asked atomic.Int64
	for range s.e.o.Queries {
		asking.Go(func() {
			for ctx.Err() == nil {
				for _, sql := range s.queries() {
					if _, err := s.ask(ctx, sql); err == nil {
						asked.Add(1)
					}
				}
			}
		})
	}
	offered, taken, took = s.offer(rate, s.phase)
	stop()
	asking.Wait()
	share := 100 * float64(taken) / float64(offered)
	s.say("the same beside 4 queries at any time: taken; append p50, p99; queries answered", "%.1f %%; %v, %v; %d", share, quantile(took, 50), quantile(took, 99), asked.Load())
	if s.long && share < 90 {
		s.t.Errorf("of 20,000 rows/s offered %.1f %% were taken beside queries", share)
	}
}

// candidate measures live's appends at 2,000 rows/s, alone and beside a candidate that is offered a hundred times as many,
// so that the log is folded into the file nearly all the time.
func (s *soak) candidate() {
	const rate = 2_000
	_, _, alone := s.offer(rate, s.phase)
	ctx, stop := context.WithCancel(s.t.Context())
	var flood sync.WaitGroup
	var wrote atomic.Uint64
	folds := s.watchFolds()
	flood.Go(func() {
		began := time.Now()
		for n := uint64(0); ctx.Err() == nil; n += 20_000 {
			if float64(n) > 100*rate*time.Since(began).Seconds() {
				time.Sleep(time.Millisecond) // a hundred times live's pace, no more
				n -= 20_000
				continue
			}
			if _, err := s.e.Append(ctx, s.batch(event.Blue, n, n+20_000, 1)); err != nil {
				if !errors.Is(err, context.Canceled) {
					s.t.Error(err)
				}
				return
			}
			wrote.Add(20_000)
		}
	})
	_, taken, beside := s.offer(rate, s.phase)
	stop()
	flood.Wait()
	folded := folds()
	s.say("live's appends at 2,000 rows/s, nothing beside: p50, p99, longest", "%v, %v, %v", quantile(alone, 50), quantile(alone, 99), quantile(alone, 100))
	s.say("the same beside a candidate offered 100 times that", "%v, %v, %v; the candidate wrote %.0f times live's rows", quantile(beside, 50), quantile(beside, 99), quantile(beside, 100), float64(wrote.Load())/float64(taken))
	s.say("checkpoints meanwhile: how many, p50, longest", "%d, %v, %v", len(folded), quantile(folded, 50), quantile(folded, 100))
	// docs/benchmarks.md: it was 26 times as long when live waited for checkpoints.
	if s.long && quantile(beside, 99) > max(4*quantile(alone, 99), quantile(alone, 99)+50*time.Millisecond) {
		s.t.Errorf("live's appends took %v at the 99th percentile, beside a candidate %v", quantile(alone, 99), quantile(beside, 99))
	}
}

// watchFolds times checkpoints until what it returns is called.
func (s *soak) watchFolds() func() []time.Duration {
	var mu sync.Mutex
	var took []time.Duration
	s.e.folding.Lock()
	s.e.folds = func(bool) func(error) {
		began := time.Now()
		return func(error) {
			mu.Lock()
			defer mu.Unlock()
			took = append(took, time.Since(began))
		}
	}
	s.e.folding.Unlock()
	return func() []time.Duration {
		mu.Lock()
		defer mu.Unlock()
		return took
	}
}
