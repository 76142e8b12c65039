// Command peers measures Sparrow's mirror beside nginx, on one machine, in one go: the same back ends, the same body,
// the same load, turn by turn, so that what the machine does meanwhile happens to all of them.
//
// Invariant: a figure is printed only with the number of copies that were lost while it was measured.
//
// It is one program in three roles, each a process of its own: the conductor (default), a back end (`peers backend`)
// and the load (`peers load`).
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	switch {
	case len(os.Args) > 1 && os.Args[1] == "backend":
		err = runBackend(ctx, os.Args[2:])
	case len(os.Args) > 1 && os.Args[1] == "load":
		err = runLoad(ctx, os.Args[2:])
	default:
		err = conduct(ctx, os.Args[1:])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

type options struct {
	sparrow  string
	rounds   int
	seconds  time.Duration
	conns    []int
	faults   bool
	recovery time.Duration
	faultFor time.Duration
	trials   int
	modes    []string
	ours     []string
	markdown string
	svg      string
}

func parse(args []string) (options, error) {
	var o options
	f := flag.NewFlagSet("peers", flag.ContinueOnError)
	f.StringVar(&o.sparrow, "sparrow", "bin/sparrow", "the program to measure")
	f.IntVar(&o.rounds, "rounds", 5, "turns of each variant at each number of connections")
	f.DurationVar(&o.seconds, "for", 4*time.Second, "length of one turn")
	ours := f.String("protocols", "frames,http", "protocols of ours to measure")
	conns := f.String("connections", "1,32,256", "numbers of connections")
	f.BoolVar(&o.faults, "faults", true, "also run the fault matrix")
	f.DurationVar(&o.recovery, "recovery", time.Minute, "how long after a fault copies may still arrive")
	f.DurationVar(&o.faultFor, "fault-for", 4*time.Second, "length of one turn of the fault matrix")
	f.IntVar(&o.trials, "fault-trials", 1, "times each case of the fault matrix is tried, of which the median counts")
	only := f.String("fault-modes", "", "faults of the candidate to try, as slow,hang; empty: all")
	f.StringVar(&o.markdown, "markdown", "docs/peers.md", "where the table goes")
	f.StringVar(&o.svg, "svg", "docs/peers.svg", "where the chart goes")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	o.ours = strings.Split(*ours, ",")
	for c := range strings.SplitSeq(*conns, ",") {
		n, err := strconv.Atoi(c)
		if err != nil || n < 1 {
			return o, fmt.Errorf("--connections %q: want numbers from 1", *conns)
		}
		o.conns = append(o.conns, n)
	}
	if o.rounds < 1 || o.trials < 1 {
		return o, fmt.Errorf("--rounds %d, --fault-trials %d: want at least 1", o.rounds, o.trials)
	}
	if *only != "" {
		o.modes = strings.Split(*only, ",")
	}
	return o, nil
}
