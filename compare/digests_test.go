package compare

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// bothWays collects with digests and from rows alone, fails if they do not say the same, and returns the first.
func (w *world) bothWays(t *testing.T, e Warehouse, o Options) *Evidence {
	t.Helper()
	told := w.collect(e, o)
	o.Exact = true
	read := w.collect(e, o)
	var joined, digested uint64
	for _, r := range read.Readings {
		digested += r.Digested
		joined += r.Joined
	}
	if digested > 0 {
		t.Errorf("an exact reading took %d rows from digests", digested)
	}
	plain := func(ev *Evidence) Evidence {
		x := *ev
		x.At, x.Readings = 0, nil
		x.Events = slices.Clone(x.Events)
		for i := range x.Events {
			var list []Example // of a position that is there twice, which of its ids is told depends on how it was read
			for _, y := range x.Events[i].Examples {
				list = append(list, Example{Kind: y.Kind, Position: y.Position, Side: y.Side, Copies: y.Copies})
			}
			slices.SortFunc(list, func(a, b Example) int {
				return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Side, b.Side), a.Position.Compare(b.Position))
			})
			x.Events[i].Examples = list
		}
		return x
	}
	if d := gocmp.Diff(plain(read), plain(told)); d != "" {
		t.Errorf("digests do not tell what rows do: -rows +digests\n%s", d)
	}
	return told
}

func (ev *Evidence) digested() (n uint64) {
	for _, r := range ev.Readings {
		n += r.Digested
	}
	return n
}

// TestDigestsTellWhatRowsDo makes random worlds with every kind of difference there is, several at a time.
func TestDigestsTellWhatRowsDo(t *testing.T) { digestsTellWhatRowsDo(t, worlds(4, 25), false) }

// TestDigestsTellWhatRowsDoInGoogleSQL does so on BigQuery's fake.
func TestDigestsTellWhatRowsDoInGoogleSQL(t *testing.T) {
	digestsTellWhatRowsDo(t, worlds(1, 25), true)
}

func digestsTellWhatRowsDo(t *testing.T, seeds int, google bool) {
	var digested uint64
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 31))
			w := newWorld(t)
			w.random, w.digestFrames, w.google = r, 1+r.Uint64N(4), google
			w.scatter(r)
			if seed%2 == 0 { // as much again without a fault
				for range 30 {
					w.accept(one("view", `{"n":1}`), []item{{"a", "{}"}, {"b", "{}"}})
				}
				for s, at := range w.cursor {
					w.cursor[s] = event.Cursor{Frame: at.Frame + 30, Request: at.Request}
				}
			}
			w.pass("ga4", "heap")
			if seed%2 == 1 {
				w.disturb(r, "trace", "ga4", "heap")
			}
			spec := WindowSpec{}
			if seed%3 == 2 {
				spec = WindowSpec{From: 2 + r.Uint64N(5), To: w.next - 1 - r.Uint64N(3)}
			}
			digested += w.bothWays(t, w.store(), Options{Window: spec, Examples: 1000, ChunkRows: 1 + r.Uint64N(200), PieceRows: 1 + r.Uint64N(60), AtOnce: 1 + r.IntN(4)}).digested()
		})
	}
	if digested == 0 {
		t.Error("no row of any world was known alike by digests")
	}
}

// TestDigestsHideNothing makes one difference of each kind in a world that is otherwise known alike by digests.
func TestDigestsHideNothing(t *testing.T) { digestsHideNothing(t, false) }

func TestDigestsHideNothingInGoogleSQL(t *testing.T) { digestsHideNothing(t, true) }

func digestsHideNothing(t *testing.T, google bool) {
	const at = 107
	is := func(i int, _ warehouse.Row) bool { return i == at }
	set := func(s event.Stack, f func(*warehouse.Row)) func(*world) {
		return func(w *world) {
			w.alter(s, func(i int, r *warehouse.Row) bool {
				if i == at {
					f(r)
				}
				return true
			})
		}
	}
	outcome := func(s event.Stack, stage warehouse.Stage, f func(*warehouse.Outcome)) func(*world) {
		return func(w *world) {
			w.touch(s, stage, func(i int, o *warehouse.Outcome) {
				if i == at {
					f(o)
				}
			})
		}
	}
	isOutcome := func(i int, _ warehouse.Outcome) bool { return i == at }
	both := func(f func(*world, event.Stack)) func(*world) {
		return func(w *world) {
			for _, s := range event.Stacks() {
				f(w, s)
			}
		}
	}
	// before changes rows, from which outcomes follow; after changes outcomes.
	for name, c := range map[string]struct {
		before, after func(*world)
		want          Outcome
	}{
		"nothing":             {nil, nil, Pass},
		"missing":             {func(w *world) { w.drop(event.Blue, is) }, nil, Fail},
		"extra":               {func(w *world) { w.drop(event.Green, is) }, nil, ""},
		"lost by both":        {both(func(w *world, s event.Stack) { w.drop(s, is) }), nil, ""},
		"doubled":             {func(w *world) { w.double(event.Blue, is) }, nil, Fail},
		"doubled by both":     {both(func(w *world, s event.Stack) { w.double(s, is) }), nil, ""},
		"data":                {set(event.Blue, func(r *warehouse.Row) { r.Data[3] ^= 1 }), nil, Fail},
		"data as bytes":       {set(event.Blue, func(r *warehouse.Row) { r.Data[3] = 0xff }), nil, Fail},
		"name":                {set(event.Blue, func(r *warehouse.Row) { r.Event = "other" }), nil, Fail},
		"time":                {set(event.Blue, func(r *warehouse.Row) { r.Timestamp++ }), nil, Fail},
		"context":             {set(event.Blue, func(r *warehouse.Row) { r.Context = []byte(`{}`) }), nil, Fail},
		"id":                  {set(event.Blue, func(r *warehouse.Row) { r.EventID = r.EventID[:35] + "g" }), nil, ""},
		"columns swapped":     {set(event.Blue, func(r *warehouse.Row) { r.Data, r.Context = r.Context, r.Data }), nil, Fail},
		"items":               {set(event.Blue, func(r *warehouse.Row) { r.ItemsInRequest = 2 }), nil, ""},
		"items of both":       {both(func(w *world, s event.Stack) { set(s, func(r *warehouse.Row) { r.ItemsInRequest = 2 })(w) }), nil, ""},
		"build":               {set(event.Blue, func(r *warehouse.Row) { r.Build = "other" }), nil, ""},
		"outcome missing":     {nil, func(w *world) { w.lose(event.Blue, "ga4", isOutcome) }, Fail},
		"outcome skipped":     {nil, both(func(w *world, s event.Stack) { w.lose(s, "trace", isOutcome) }), ""},
		"outcome repeated":    {nil, func(w *world) { w.repeat(event.Blue, "ga4", isOutcome) }, Fail},
		"repeated by both":    {nil, both(func(w *world, s event.Stack) { w.repeat(s, "ga4", isOutcome) }), ""},
		"outcome's digest":    {nil, outcome(event.Blue, "ga4", func(o *warehouse.Outcome) { o.Digest++ }), Fail},
		"outcome's class":     {nil, outcome(event.Blue, "ga4", func(o *warehouse.Outcome) { o.Outcome, o.Reason = "dead", "name" }), Fail},
		"outcome's reason":    {nil, outcome(event.Blue, "trace", func(o *warehouse.Outcome) { o.Reason = "other" }), Fail},
		"misrouted":           {nil, outcome(event.Blue, "ga4", func(o *warehouse.Outcome) { o.Sink = liveSink }), Fail},
		"misrouted unnamed":   {nil, outcome(event.Blue, "ga4", func(o *warehouse.Outcome) { o.Sink = "" }), Fail},
		"corrected":           {nil, func(w *world) { w.correct(event.Blue, "ga4", at, func(o *warehouse.Outcome) { o.Outcome = "dead" }) }, Fail},
		"the ledger has more": {func(w *world) { w.accepted = append(w.accepted, w.accepted[at]) }, nil, ""},
	} {
		if google && worlds(0, 1) == 0 && !slices.Contains([]string{"data", "repeated by both", "outcome's reason"}, name) {
			continue // a fake of its own for each
		}
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.digestFrames, w.google = 4, google
			w.many(300, "view", "click")
			if c.before != nil {
				c.before(w)
			}
			w.pass("ga4")
			if c.after != nil {
				c.after(w)
			}
			e := w.store()
			ev := w.bothWays(t, e, Options{Examples: 1000, PieceRows: 40})
			if name != "the ledger has more" && ev.Readings[1].Digested == 0 {
				t.Errorf("nothing at trace was known by digests: %v", ev.Readings)
			}
			switch got := Judge(*ev, Policy{}).Outcome; {
			case c.want == "" && got == Pass, c.want != "" && c.want != Pass && got != c.want:
				t.Errorf("verdict %s", got)
			case c.want == Pass && slices.ContainsFunc(ev.Events, func(e Event) bool { return e.Differ() }):
				t.Errorf("equal sides differ: %+v", ev.Events)
			}
		})
	}
}

// TestDigestsThatDoNotFitAreRefused takes rows away behind the digests' back, and digests away.
func TestDigestsThatDoNotFitAreRefused(t *testing.T) { digestsThatDoNotFit(t, false) }

func TestDigestsThatDoNotFitAreRefusedInGoogleSQL(t *testing.T) { digestsThatDoNotFit(t, true) }

func digestsThatDoNotFit(t *testing.T, google bool) {
	for name, c := range map[string]struct {
		plant   []string
		refused bool
		missing uint64
	}{
		"rows deleted":     {[]string{"DELETE FROM blue.raw WHERE frame = 9"}, true, 10},
		"outcomes deleted": {[]string{"DELETE FROM blue.outcomes_log WHERE frame = 9 AND stage = 'ga4'"}, true, 10},
		"older file":       {[]string{"DELETE FROM blue.digests", "DELETE FROM green.digests"}, false, 0},
		"older on a side":  {[]string{`DELETE FROM blue.digests WHERE "first" < 20`, "DELETE FROM blue.raw WHERE frame = 9"}, false, 10},
		"marked twice":     {[]string{`INSERT INTO blue.digests SELECT * FROM blue.digests WHERE "first" < 20`}, false, 0},
	} {
		if google && worlds(0, 1) == 0 && name != "older on a side" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.digestFrames, w.google = 4, google
			w.many(300, "view", "click")
			w.pass("ga4")
			e := w.store(c.plant...)
			ev := w.bothWays(t, e, Options{Examples: 1000})
			refused, missing := false, uint64(0)
			for _, r := range ev.Readings {
				refused = refused || r.Refused != ""
			}
			for _, e := range ev.Events {
				missing += e.Missing
			}
			if name == "older file" && ev.digested() > 0 && !google { // there they are made again
				t.Errorf("rows known alike by digests that are not there: %v", ev.Readings)
			}
			if refused != c.refused || missing < c.missing {
				t.Errorf("refused %v, %d missing; want %v, %d: %v", refused, missing, c.refused, c.missing, ev.Readings)
			}
		})
	}
}

// TestDaysHideNothing has rows of many days, some before any partition, and differences among them. A statement that reads
// the window's days alone must say what one does that reads all: DuckDB's.
func TestDaysHideNothing(t *testing.T) {
	const day = 24 * 3600_000_000
	for name, odd := range map[string]bool{"days": false, "odd": true} {
		t.Run(name, func(t *testing.T) {
			var told [2]*Evidence
			for i, google := range []bool{false, true} {
				w := newWorld(t)
				w.digestFrames, w.google = 4, google
				w.many(200, "view", "click")
				for _, s := range event.Stacks() {
					w.alter(s, func(i int, r *warehouse.Row) bool {
						r.Timestamp += int64(i%5-3) * day
						if odd && i%40 == 7 {
							r.Timestamp -= 20 * 365 * day
						}
						return true
					})
				}
				w.pass("ga4")
				for _, n := range []int{3, 47, 87, 150} { // 47 and 87 are odd
					w.drop(event.Blue, func(i int, _ warehouse.Row) bool { return i == n })
					w.lose(event.Green, "ga4", func(i int, _ warehouse.Outcome) bool { return i == n+1 })
				}
				e := w.store()
				told[i] = w.collect(e, Options{Window: WindowSpec{From: 6, To: 20}, Examples: 1000, Exact: !google})
				told[i].At, told[i].Readings = 0, nil
			}
			if d := gocmp.Diff(told[0], told[1]); d != "" {
				t.Errorf("-all days +the window's\n%s", d)
			}
			var missing uint64
			for _, e := range told[1].Events {
				missing += e.Missing
			}
			if missing == 0 {
				t.Error("nothing is missing")
			}
		})
	}
}
