package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// modes are the candidate's faults, with what the table calls them; first those at which copies are lost that must then be
// waited for, beside the others.
var modes = []struct{ mode, says string }{
	{"refuse", "refuses"}, {"reset", "resets"}, {"500", "answers 500"},
	{"slow", "answers after 100 ms"}, {"hang", "hangs"}, {"trickle", "reads a byte a second"},
}

// faultConns is the number of connections of the fault matrix.
const faultConns = 32

// settling is how long everybody waits for the copies of a turn that are on their way, so that nobody is measured beside
// somebody who catches up. What has not come then is waited for beside the turns of others.
const settling = 15 * time.Second

// pool has the processes of one kind of variant: those with copies outstanding wait, others are measured meanwhile.
type pool struct {
	begin func() (*variant, error)
	all   []*variant
	idle  chan *variant
}

// take returns one that is not waiting for copies; a new one if there is none.
func (p *pool) take() (*variant, error) {
	select {
	case v := <-p.idle:
		return v, nil
	default:
	}
	v, err := p.begin()
	if err == nil {
		p.all = append(p.all, v)
	}
	return v, err
}

// trial is one turn with a misbehaving candidate between two with a healthy one.
type trial struct {
	healthy  [2]result
	sick     result
	copied   [2]uint64 // of sick's answered requests, at each back end when the turn ended, the fault still there
	arrived  [2]uint64 // the same, at the latest some time after the fault ended: options.recovery
	memory   int64
	finished chan error // closed when arrived is final
}

// rate and p99 are the sick turn's, relative to the mean of the healthy ones around it.
func (t *trial) rate() float64 {
	return 2 * t.sick.rate() / (t.healthy[0].rate() + t.healthy[1].rate())
}
func (t *trial) p99() float64 { return 2 * t.sick.P99 / (t.healthy[0].P99 + t.healthy[1].P99) }

// faults measures what clients notice when the candidate misbehaves, and whether its copies arrive once it recovers.
func faults(ctx context.Context, page *strings.Builder, o options, begin []func() (*variant, error)) (err error) {
	type row struct {
		says, kind, proxy string
		trials            []*trial
	}
	var (
		rows    []*row
		pools   []*pool
		waiting sync.WaitGroup
	)
	defer func() {
		waiting.Wait()
		for _, p := range pools {
			for _, v := range p.all {
				v.stop()
			}
		}
	}()
	for _, b := range begin {
		pools = append(pools, &pool{begin: b, idle: make(chan *variant, 1000)})
	}
	for _, m := range modes {
		if len(o.modes) > 0 && !slices.Contains(o.modes, m.mode) {
			continue
		}
		for _, fresh := range []bool{false, true} {
			kind := "keep-alive"
			if fresh {
				kind = "fresh"
			}
			for _, p := range pools {
				r := &row{says: m.says, kind: kind}
				rows = append(rows, r)
				for range o.trials {
					v, err := p.take()
					if err != nil {
						return err
					}
					r.proxy = v.name
					t, err := try(ctx, o, v, m.mode, fresh, func(t *trial) {
						waiting.Go(func() {
							defer close(t.finished)
							if err := v.finish(ctx, o, t); err != nil {
								t.finished <- err
							}
							p.idle <- v
						})
					})
					if err != nil {
						return err
					}
					r.trials = append(r.trials, t)
					fmt.Fprintf(os.Stderr, "candidate %-22s %-10s %-16s %.2f of healthy (%.0f, %.0f, %.0f requests/s); the candidate has %.0f %% when the turn ends\n",
						m.says, kind, v.name, t.rate(), t.healthy[0].rate(), t.sick.rate(), t.healthy[1].rate(), 100*float64(t.copied[1])/float64(max(t.sick.OK, 1)))
				}
			}
		}
	}
	fmt.Fprintf(page, faultsText, faultConns, o.faultFor, o.recovery)
	if o.trials > 1 {
		fmt.Fprintf(page, "Medians of %d trials; copies of all of them together.\n", o.trials)
	}
	page.WriteString("\n| candidate | connections | proxy | requests/s, of healthy | p99, of healthy | refused | answered | ids at live | at the candidate | of those during the fault | memory MiB |\n|---|---|---|---:|---:|---:|---:|---:|---:|---:|---:|\n")
	for _, r := range rows {
		var rates, p99 []float64
		var refused, answered, live, candidate, during uint64
		var memory int64
		for _, t := range r.trials {
			if err := <-t.finished; err != nil {
				return err
			}
			rates, p99 = append(rates, t.rate()), append(p99, t.p99())
			refused, answered, memory = refused+t.sick.Other+t.sick.Failed, answered+t.sick.OK, max(memory, t.memory)
			live, candidate, during = live+t.arrived[0], candidate+t.arrived[1], during+t.copied[1]
		}
		tail := "–"
		if x := median(p99); !math.IsNaN(x) && !math.IsInf(x, 0) && answered > 0 {
			tail = fmt.Sprintf("%.2f", x)
		}
		fmt.Fprintf(page, "| %s | %s | %s | %.2f | %s | %d | %d | %d | %d | %d | %.0f |\n", r.says, r.kind, r.proxy, median(rates), tail, refused, answered, live, candidate, during, float64(memory)/(1<<20))
	}
	return nil
}

// faultsText is what the figures mean: connections, length of a turn, time to recover.
const faultsText = `
## With a misbehaving candidate

%d connections, turns of %s: one with a healthy candidate, one with a misbehaving one, one with a healthy one again, each
alone on the machine. A figure "of healthy" is the turn in the middle relative to the mean of the two around it. It can be
above 1: in a healthy turn the proxy and the candidate handle each copy while clients are served, on the same cores; from a
candidate that takes none (or few at a time), that work comes later, after the turn. What to read from it is that it is
not below 1. A candidate that hung or read slowly goes on where it stood when it recovers. Ids are those of the requests
of that turn that were answered 2xx: how many of them live and candidate have, counted at the latest %s after the
candidate recovered, and how many of them the candidate had while it still misbehaved.
`

// try runs one trial. It calls later, from whoever waits for copies that are still missing, or when there are none.
func try(ctx context.Context, o options, v *variant, mode string, fresh bool, later func(*trial)) (t *trial, err error) {
	t = &trial{finished: make(chan error, 1)}
	turn := func(r *result) error {
		if err == nil {
			*r, err = v.load(ctx, faultConns, o.faultFor, fresh)
		}
		return err
	}
	if turn(&t.healthy[0]) != nil {
		return nil, err
	}
	if err := v.settle(t.healthy[0]); err != nil { // what the first turn left to do is not the second's
		return nil, err
	}
	if err := v.back.misbehave(mode); err != nil {
		return nil, err
	}
	if turn(&t.sick) != nil {
		return nil, err
	}
	if t.copied, err = v.arrived(t.sick); err != nil {
		return nil, err
	}
	if err := v.back.misbehave(""); err != nil {
		return nil, err
	}
	v.due = time.Now().Add(o.recovery)
	t.memory = memory(v.proc.cmd.Process.Pid)
	if err := v.settle(t.sick); err != nil {
		return nil, err
	}
	if turn(&t.healthy[1]) != nil {
		return nil, err
	}
	if err := v.settle(t.healthy[1]); err != nil {
		return nil, err
	}
	later(t)
	return t, nil
}

// settle waits until nothing of a turn is missing, or nothing more comes; no longer than settling.
func (v *variant) settle(r result) error {
	deadline, before, since := time.Now().Add(settling), [2]uint64{}, time.Now()
	for {
		there, err := v.arrived(r)
		if err != nil || there[0] == r.OK && (v.copies < 2 || there[1] == r.OK) || time.Now().After(deadline) {
			return err
		}
		if there != before {
			before, since = there, time.Now()
		}
		if !v.durable && time.Since(since) > time.Second {
			return nil // it does not try again
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// finish counts a trial's ids: as soon as none is missing, and otherwise when all the time to recover has passed.
func (v *variant) finish(ctx context.Context, o options, t *trial) (err error) {
	if t.arrived, err = v.arrived(t.sick); err != nil || t.arrived[0] == t.sick.OK && t.arrived[1] == t.sick.OK {
		return err
	}
	wait := time.NewTimer(time.Until(v.due))
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	t.arrived, err = v.arrived(t.sick)
	return err
}
