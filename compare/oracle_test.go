package compare

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// expectation is what the evidence of a world has to say, worked out row by row without any SQL.
type expectation struct {
	Events    map[string]Event // without examples
	Lost      uint64
	Requests  map[event.Stack]uint64
	Absent    map[event.Stack]uint64
	Either    uint64
	IDs       map[event.Stack]event.Sum
	EitherIDs event.Sum
	examples  map[string][]event.Position // by kind and name, every position
}

type placed struct{ l, c []warehouse.Row }

func (w *world) expect(win Window) expectation {
	x := expectation{Events: map[string]Event{}, Requests: map[event.Stack]uint64{}, Absent: map[event.Stack]uint64{},
		IDs: map[event.Stack]event.Sum{}, examples: map[string][]event.Position{}}
	at := map[event.Position]*placed{}
	of := func(p event.Position) *placed {
		if at[p] == nil {
			at[p] = &placed{}
		}
		return at[p]
	}
	note := func(name string, f func(*Event)) {
		e := x.Events[name]
		e.Name, e.Stage = name, warehouse.Raw
		f(&e)
		x.Events[name] = e
	}
	type key struct {
		frame   uint64
		request uint32
	}
	owedLive, owedCandidate := map[key]uint32{}, map[key]uint32{}
	for _, s := range event.Stacks() {
		firsts := map[key]bool{}
		for _, r := range w.rows[s] {
			if r.Frame < win.First || r.Frame > win.Last || !w.cursor[s].Covers(r.Frame, r.Request) {
				continue
			}
			k := key{r.Frame, r.Request}
			p := of(r.Position)
			if s == event.Green {
				p.l = append(p.l, r)
				owedLive[k] = max(owedLive[k], r.ItemsInRequest, 1)
				note(r.Event, func(e *Event) { e.Live++ })
			} else {
				p.c = append(p.c, r)
				owedCandidate[k] = max(owedCandidate[k], r.ItemsInRequest, 1)
				note(r.Event, func(e *Event) { e.Candidate++ })
			}
			if r.Item == 0 && !firsts[k] {
				firsts[k] = true
				x.Requests[s]++
			}
		}
	}
	for k, n := range owedCandidate {
		if _, ok := owedLive[k]; !ok {
			owedLive[k] = n
		}
	}
	for k, n := range owedLive {
		for i := range n {
			of(event.Position{Frame: k.frame, Request: k.request, Item: i})
		}
	}
	for p, rows := range at {
		x.judge(w, p, *rows, note)
	}
	return x
}

func (x *expectation) judge(w *world, p event.Position, rows placed, note func(string, func(*Event))) {
	contents := func(rows []warehouse.Row, times int) []string {
		var out []string
		for _, r := range rows {
			for range times {
				out = append(out, fmt.Sprintf("%s|%d|%q|%q|%d|%q", r.EventID, r.Timestamp, r.Event, r.Data, r.ItemsInRequest, r.Context))
			}
		}
		slices.Sort(out)
		return out
	}
	name := func(rows []warehouse.Row) string {
		return slices.MinFunc(rows, func(a, b warehouse.Row) int { return cmp.Compare(a.Event, b.Event) }).Event
	}
	example := func(kind Kind, name string) {
		k := string(kind) + " " + name
		x.examples[k] = append(x.examples[k], p)
	}
	why := func(s event.Stack) string {
		for _, d := range w.holes[s].Dead {
			if d.Frame == p.Frame && d.Request == p.Request {
				return "dead"
			}
		}
		here := event.Cursor{Frame: p.Frame, Request: p.Request}
		for _, h := range w.holes[s].Holes {
			if h.From.Compare(here) <= 0 && here.Compare(h.To) < 0 {
				return "hole"
			}
		}
		if !w.cursor[s].Covers(p.Frame, p.Request) {
			return "pending"
		}
		return ""
	}
	if p.Item == 0 && len(rows.l)+len(rows.c) > 0 {
		x.Either++
	}
	switch l, c := rows.l, rows.c; {
	case len(l) == 0 && len(c) == 0:
		x.Lost++
		return
	case len(c) == 0:
		switch why(event.Blue) {
		case "dead":
			note(name(l), func(e *Event) { e.Dead++ })
			example(Dead, name(l))
		case "hole":
			note(name(l), func(e *Event) { e.Undelivered++ })
		case "pending":
			note(name(l), func(e *Event) { e.Pending++ })
		default:
			note(name(l), func(e *Event) { e.Missing++ })
			example(Missing, name(l))
			if p.Item == 0 {
				x.Absent[event.Blue]++
			}
		}
	case len(l) == 0:
		switch why(event.Green) {
		case "dead":
			note(name(c), func(e *Event) { e.DeadLive++ })
		case "hole":
			note(name(c), func(e *Event) { e.UndeliveredLive++ })
		case "pending":
			note(name(c), func(e *Event) { e.PendingLive++ })
		default:
			note(name(c), func(e *Event) { e.Extra++ })
			example(Extra, name(c))
			if p.Item == 0 {
				x.Absent[event.Green]++
			}
		}
	case !slices.Equal(contents(l, len(c)), contents(c, len(l))):
		note(name(l), func(e *Event) { e.Changed++ })
		example(Changed, name(l))
		if name(l) != name(c) {
			note(name(l), func(e *Event) { e.RenamedFrom++ })
			note(name(c), func(e *Event) { e.RenamedTo++ })
		}
	}
	if n := len(rows.l); n > 1 {
		note(name(rows.l), func(e *Event) { e.DuplicatesLive += uint64(n - 1) })
	}
	if n := len(rows.c); n > 1 {
		note(name(rows.c), func(e *Event) { e.DuplicatesCandidate += uint64(n - 1) })
	}
}

// oddNames are names that tables, statements and encodings stumble over.
var oddNames = []string{"view", "", "購入", "it's; DROP TABLE green.raw --", "a\x00b", "\u202etxt", "NULL", "\"quoted\"", "%s %d", "🦤", " ", "View"}

// worlds is how many random worlds a test makes: long in make soak.
func worlds(short, long int) int {
	if os.Getenv("SPARROW_SOAK") != "" {
		return long
	}
	return short
}

// TestAgainstOracle compares the statements' answers with a row by row account of random small worlds, with every fault
// there is, several at a time.
func TestAgainstOracle(t *testing.T) {
	againstOracle(t, worlds(6, 25), false)
}

// TestAgainstOracleOnBigQuery does the same with the engine for BigQuery and its statements.
func TestAgainstOracleOnBigQuery(t *testing.T) {
	againstOracle(t, worlds(3, 25), true)
}

func againstOracle(t *testing.T, seeds int, google bool) {
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 99))
			w := newWorld(t)
			w.google = google
			w.random = r
			w.scatter(r)
			spec := WindowSpec{}
			if seed%5 == 4 {
				spec = WindowSpec{From: 2 + r.Uint64N(5), To: w.next - 1 - r.Uint64N(3)}
			}
			e := w.store()
			ev := w.collect(e, Options{Window: spec, Examples: 1000, ChunkRows: 1 + r.Uint64N(40), PieceRows: 1 + r.Uint64N(60), AtOnce: 1 + r.IntN(4)})
			want := w.expect(ev.Window)
			got := expectation{Events: map[string]Event{}, Lost: ev.Lost.Events, Either: ev.Either.Requests,
				Requests: map[event.Stack]uint64{}, Absent: map[event.Stack]uint64{}}
			for _, side := range []Side{ev.Live, ev.Candidate} {
				if side.Requests > 0 {
					got.Requests[side.Stack] = side.Requests
				}
				if side.Absent > 0 {
					got.Absent[side.Stack] = side.Absent
				}
			}
			var sum Event
			for _, e := range ev.Events {
				for _, kind := range []Kind{Missing, Extra, Changed, Dead} {
					var places []event.Position
					for _, x := range e.Examples {
						if x.Kind == kind && (kind != Dead || x.Side == event.Blue) {
							places = append(places, x.Position)
						}
					}
					wanted := want.examples[string(kind)+" "+e.Name]
					slices.SortFunc(wanted, event.Position.Compare)
					if !slices.Equal(places, wanted) && len(places) < maxExamples/8 {
						t.Errorf("examples of %s %q: %v, want %v", kind, e.Name, places, wanted)
					}
				}
				e.Examples = nil
				got.Events[e.Name] = e
				sum.Live, sum.Candidate = sum.Live+e.Live, sum.Candidate+e.Candidate
				sum.Faults.add(e.Faults)
			}
			want.IDs, want.examples = nil, nil
			if d := gocmp.Diff(want, got, gocmp.AllowUnexported(expectation{})); d != "" {
				t.Errorf("window %+v: -want +got\n%s", ev.Window, d)
			}
			j := &judge{ev: *ev, needed: Policy{}.Needed(ev)}
			for _, c := range j.contradictions() {
				// What is pending, or what neither side has, is missing from the sum.
				short := !ev.closed() || ev.Either.Requests+ev.Either.UnderBoth < ev.Ledger.Requests
				if !(short && strings.Contains(c, "accepted")) && !strings.Contains(c, "pending") {
					t.Errorf("true evidence is said to contradict itself: %s", c)
				}
			}
			f := sum.Faults
			if l, r := sum.Candidate+f.Missing+f.Dead+f.Undelivered+f.Pending+f.RenamedFrom+f.DuplicatesLive,
				sum.Live+f.Extra+f.DeadLive+f.UndeliveredLive+f.PendingLive+f.RenamedTo+f.DuplicatesCandidate; l != r {
				t.Errorf("the counts do not balance: %d and %d of %+v", l, r, sum)
			}
		})
	}
}

// scatter fills the world with random traffic and random faults.
func (w *world) scatter(r *rand.Rand) {
	for range 5 + r.IntN(60) {
		var bodies [][]item
		for range r.IntN(5) {
			items := make([]item, 1+r.IntN(2)*r.IntN(4))
			for i := range items {
				items[i] = item{oddNames[r.IntN(len(oddNames))], fmt.Sprintf(`{"n":%d,"s":"%d"}`, r.IntN(3), r.IntN(3))}
				if r.IntN(8) == 0 {
					items[i].data = "\xff\xfe" + items[i].data
				}
			}
			bodies = append(bodies, items)
		}
		w.accept(bodies...)
	}
	w.cursor = map[event.Stack]event.Cursor{event.Green: {Frame: w.next}, event.Blue: {Frame: w.next}}
	for _, s := range event.Stacks() {
		rate := r.IntN(4) * 15 // per mille and fault; a quarter of the sides have none
		hit := func() bool { return r.IntN(1000) < rate }
		w.drop(s, func(int, warehouse.Row) bool { return hit() })
		w.double(s, func(int, warehouse.Row) bool { return hit() })
		w.alter(s, func(_ int, x *warehouse.Row) bool {
			switch {
			case hit() && len(x.Data) > 0:
				x.Data[len(x.Data)-1] ^= 1
			case hit():
				x.Event = oddNames[r.IntN(len(oddNames))]
			case hit():
				x.Context = []byte(`{"origin":null}`)
			case hit():
				x.Timestamp++
			case hit():
				x.EventID = x.EventID + "0"
			case hit():
				x.ItemsInRequest++
			case hit():
				x.Data = nil
			}
			return true
		})
		if r.IntN(3) == 0 {
			w.cursor[s] = event.Cursor{Frame: w.next - r.Uint64N(4), Request: uint32(r.IntN(3))}
		}
		w.punch(s, r)
	}
	// What both sides do wrong in the same way.
	for range r.IntN(4) {
		if len(w.rows[event.Green]) == 0 {
			break
		}
		at := w.rows[event.Green][r.IntN(len(w.rows[event.Green]))].Position
		both := func(f func(event.Stack, func(int, warehouse.Row) bool)) {
			for _, s := range event.Stacks() {
				f(s, func(_ int, x warehouse.Row) bool { return x.Position == at })
			}
		}
		if r.IntN(2) == 0 {
			both(w.drop)
		} else {
			both(w.double)
		}
	}
}

// punch gives a side some holes and removes what they cover.
func (w *world) punch(s event.Stack, r *rand.Rand) {
	if r.IntN(2) == 0 || len(w.accepted) == 0 {
		return
	}
	var h StackLedger
	for range 1 + r.IntN(3) {
		a := w.accepted[r.IntN(len(w.accepted))]
		h.Dead = append(h.Dead, event.Position{Frame: a.frame, Request: a.request})
	}
	a := w.accepted[r.IntN(len(w.accepted))]
	from := event.Cursor{Frame: a.frame, Request: a.request}
	h.Holes = []Hole{{From: from, To: event.Cursor{Frame: a.frame + r.Uint64N(4), Request: a.request + 1}, Reason: []string{"expired", "sampled"}[r.IntN(2)]}}
	w.holes[s] = h
	w.drop(s, func(_ int, x warehouse.Row) bool {
		at := event.Cursor{Frame: x.Frame, Request: x.Request}
		for _, d := range h.Dead {
			if x.Frame == d.Frame && x.Request == d.Request {
				return true
			}
		}
		return h.Holes[0].From.Compare(at) <= 0 && at.Compare(h.Holes[0].To) < 0
	})
}
