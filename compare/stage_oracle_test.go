package compare

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// latest is what the warehouse shows of a stage: the first outcomes, and in the place of those that were corrected the
// last correction.
func (w *world) latest(at stageAt) map[event.Position][]warehouse.Outcome {
	to, ok := w.through[at]
	if !ok {
		to = w.cursor[at.stack]
	}
	out := map[event.Position][]warehouse.Outcome{}
	for _, o := range w.outs[at] {
		if to.Covers(o.Frame, o.Position.Request) {
			out[o.Position] = append(out[o.Position], o)
		}
	}
	for _, o := range w.late[at] {
		out[o.Position] = []warehouse.Outcome{o}
	}
	return out
}

// expectStage works out what a stage's evidence has to say, row by row and without any SQL.
func (w *world) expectStage(stage warehouse.Stage, win Window) map[string]Event {
	events := map[string]Event{}
	note := func(name string, f func(*Event)) {
		e := events[name]
		e.Name, e.Stage = name, stage
		f(&e)
		events[name] = e
	}
	inside := func(p event.Position) bool { return p.Frame >= win.First && p.Frame <= win.Last }
	sides := map[event.Stack]map[event.Position][]warehouse.Outcome{}
	raw := map[event.Stack]map[event.Position][]string{}
	positions := map[event.Position]bool{}
	for _, s := range event.Stacks() {
		sides[s] = w.latest(stageAt{s, stage})
		for p := range sides[s] {
			positions[p] = inside(p)
		}
		raw[s] = map[event.Position][]string{}
		for _, r := range w.rows[s] {
			if w.cursor[s].Covers(r.Frame, r.Request) {
				raw[s][r.Position] = append(raw[s][r.Position], r.Event)
				positions[r.Position] = inside(r.Position)
			}
		}
	}
	before := map[event.Stack]map[event.Position][]warehouse.Outcome{}
	for _, s := range event.Stacks() {
		before[s] = w.latest(stageAt{s, warehouse.Trace})
	}
	through := func(s event.Stack, p event.Position) bool {
		if stage == warehouse.Trace {
			return len(raw[s][p]) > 0
		}
		return slices.ContainsFunc(before[s][p], func(o warehouse.Outcome) bool { return o.Outcome == "accepted" })
	}
	final := func(s event.Stack, p event.Position) bool {
		to, ok := w.through[stageAt{s, stage}]
		if !ok {
			to = w.cursor[s]
		}
		return to.Covers(p.Frame, p.Request)
	}
	// why a side lacks p
	why := func(s event.Stack, p event.Position) string {
		here := event.Cursor{Frame: p.Frame, Request: p.Request}
		for _, d := range w.holes[s].Dead {
			if d.Frame == p.Frame && d.Request == p.Request {
				return "hole"
			}
		}
		for _, h := range w.holes[s].Holes {
			if h.From.Compare(here) <= 0 && here.Compare(h.To) < 0 {
				return "hole"
			}
		}
		switch {
		case !final(s, p):
			return "pending"
		case !through(s, p) && through(s.Other(), p):
			return "upstream"
		}
		return ""
	}
	name := func(rows []warehouse.Outcome) string {
		names := make([]string, len(rows))
		for i, o := range rows {
			names[i] = o.Event
		}
		return slices.Min(names)
	}
	for p, in := range positions {
		if !in {
			continue
		}
		l, c := sides[event.Green][p], sides[event.Blue][p]
		for _, o := range l {
			note(o.Event, func(e *Event) { e.Live++ })
			if o.Sink != "production" && (o.Sink != "" || o.Attempts > 0) {
				note(o.Event, func(e *Event) { e.MisroutedLive++ })
			}
		}
		for _, o := range c {
			note(o.Event, func(e *Event) { e.Candidate++ })
			if o.Sink != "staging" && (o.Sink != "" || o.Attempts > 0) {
				note(o.Event, func(e *Event) { e.Misrouted++ })
			}
		}
		if n := len(l); n > 1 {
			note(name(l), func(e *Event) { e.DuplicatesLive += uint64(n - 1) })
		}
		if n := len(c); n > 1 {
			note(name(c), func(e *Event) { e.DuplicatesCandidate += uint64(n - 1) })
		}
		switch {
		case len(l) == 0 && len(c) == 0:
			var names []string
			for _, s := range event.Stacks() {
				if final(s, p) {
					names = append(names, raw[s][p]...)
				}
			}
			if stage == warehouse.Trace && len(names) > 0 {
				note(slices.Min(names), func(e *Event) { e.Skipped++ })
			}
		case len(c) == 0:
			note(name(l), func(e *Event) {
				*map[string]*uint64{"hole": &e.Undelivered, "pending": &e.Pending, "upstream": &e.Upstream, "": &e.Missing}[why(event.Blue, p)]++
			})
		case len(l) == 0:
			note(name(c), func(e *Event) {
				*map[string]*uint64{"hole": &e.UndeliveredLive, "pending": &e.PendingLive, "upstream": &e.UpstreamLive, "": &e.Extra}[why(event.Green, p)]++
			})
		case unlike(l, c):
			note(name(l), func(e *Event) { e.Changed++ })
			if name(l) != name(c) {
				note(name(l), func(e *Event) { e.RenamedFrom++ })
				note(name(c), func(e *Event) { e.RenamedTo++ })
			}
		}
	}
	return events
}

// unlike reports whether two sides' outcomes of one event differ.
func unlike(l, c []warehouse.Outcome) bool {
	type told struct {
		what    []string
		digests []uint64
		excused bool
	}
	tell := func(rows []warehouse.Outcome, times int) (t told) {
		for _, o := range rows {
			reason, _, _ := strings.Cut(o.Reason, ":")
			switch o.Reason {
			case "dry-run", "not sampled":
				reason, t.excused = "", true
			case "sent again after a crash":
				reason = ""
			}
			for range times {
				t.what = append(t.what, o.Event+"|"+o.Outcome+"|"+reason)
			}
			if o.Digest != 0 {
				t.digests = append(t.digests, o.Digest)
			}
		}
		slices.Sort(t.what)
		return t
	}
	repeated := func(digests []uint64, times int) (out []uint64) {
		for _, d := range digests {
			for range times {
				out = append(out, d)
			}
		}
		slices.Sort(out)
		return out
	}
	x, y := tell(l, len(c)), tell(c, len(l))
	if !slices.Equal(x.what, y.what) {
		return true
	}
	switch {
	case len(x.digests) > 0 && len(y.digests) > 0:
		return !slices.Equal(repeated(x.digests, len(y.digests)), repeated(y.digests, len(x.digests)))
	case len(x.digests) > 0:
		return !y.excused
	case len(y.digests) > 0:
		return !x.excused
	}
	return false
}

// disturb gives the stages of both sides random faults.
func (w *world) disturb(r *rand.Rand, stages ...warehouse.Stage) {
	for _, s := range event.Stacks() {
		for _, stage := range stages {
			at := stageAt{s, stage}
			rate := r.IntN(4) * 20 // per mille and fault
			hit := func() bool { return r.IntN(1000) < rate }
			w.lose(s, stage, func(int, warehouse.Outcome) bool { return hit() })
			w.repeat(s, stage, func(int, warehouse.Outcome) bool { return hit() })
			w.touch(s, stage, func(_ int, o *warehouse.Outcome) {
				switch {
				case hit():
					o.Event = oddNames[r.IntN(len(oddNames))]
				case hit():
					o.Outcome, o.Reason = "rejected", []string{"wrong type", "wrong type: n", "unknown event"}[r.IntN(3)]
				case hit():
					o.Digest, o.Reason = 0, []string{"", dryRun, notSampled, sentAgain}[r.IntN(4)]
				case hit():
					o.Digest = r.Uint64()
				case hit():
					o.Sink = []string{"", "production", "staging", "else's"}[r.IntN(4)]
				case hit():
					o.Reason, o.Attempts = sentAgain, 2
				}
			})
			for i := range w.outs[at] {
				if hit() {
					w.correct(s, stage, i, func(o *warehouse.Outcome) { o.Outcome = []string{"dead", "accepted", "delivered"}[r.IntN(3)] })
				}
			}
			if r.IntN(3) == 0 {
				w.through[at] = event.Cursor{Frame: w.next - r.Uint64N(5), Request: uint32(r.IntN(3))}
			}
		}
	}
}

// TestStagesAgainstOracle compares the statements' answers with a row by row account of random small worlds, with faults
// at raw and at every stage after it, several at a time.
func TestStagesAgainstOracle(t *testing.T) {
	stagesAgainstOracle(t, worlds(4, 10), false)
}

// TestStagesAgainstOracleOnBigQuery does the same with the engine for BigQuery and its statements.
func TestStagesAgainstOracleOnBigQuery(t *testing.T) {
	stagesAgainstOracle(t, worlds(2, 10), true)
}

func stagesAgainstOracle(t *testing.T, seeds int, google bool) {
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 7))
			w := newWorld(t)
			w.google = google
			w.random = r
			w.scatter(r)
			w.pass("ga4", "heap")
			w.disturb(r, "trace", "ga4", "heap")
			e := w.store()
			ev := w.collect(e, Options{Examples: 1000, ChunkRows: 20 + r.Uint64N(200), PieceRows: 1 + r.Uint64N(60), AtOnce: 1 + r.IntN(4)})
			for _, s := range ev.Stages {
				got := map[string]Event{}
				var sum uint64 // at most: there is room for the examples of so many
				for _, x := range ev.Events {
					if f := x.Faults; x.Stage == s.Stage {
						sum += f.Missing + f.Extra + f.Changed + f.DuplicatesLive + f.DuplicatesCandidate + f.Skipped + f.Misrouted + f.MisroutedLive
					}
				}
				for _, x := range ev.Events {
					if x.Stage != s.Stage {
						continue
					}
					told := map[Kind]uint64{}
					for _, y := range x.Examples {
						told[y.Kind]++
					}
					if sum < maxExamples/4 && (told[Missing] != x.Missing || told[Changed] != x.Changed || told[Skipped] != x.Skipped || told[Misrouted] != x.Misrouted+x.MisroutedLive) {
						t.Errorf("%s %q: examples %v of %+v", s.Stage, x.Name, told, x.Faults)
					}
					x.Examples = nil
					got[x.Name] = x
				}
				if d := gocmp.Diff(w.expectStage(s.Stage, ev.Window), got); d != "" {
					t.Errorf("stage %s, window %+v: -want +got\n%s", s.Stage, ev.Window, d)
				}
			}
			j := &judge{ev: *ev, needed: Policy{}.Needed(ev)}
			for _, c := range j.contradictions() {
				// What is pending at raw, or what neither side has, is missing from the sum.
				short := !ev.closed() || ev.Either.Requests+ev.Either.UnderBoth < ev.Ledger.Requests
				if !(short && strings.Contains(c, "accepted")) && !strings.Contains(c, "pending") {
					t.Errorf("true evidence is said to contradict itself: %s", c)
				}
			}
		})
	}
}
