package contract

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// outcomes covers [from, to) for a stage of a stack: one outcome for each of the journal's rows.
func (h *history) outcomes(stack event.Stack, stage warehouse.Stage, from, to event.Cursor, controls ...*event.ControlEntry) *warehouse.Batch {
	rows := h.batch(stack, from, to, controls...)
	b := &warehouse.Batch{Stack: stack, Stage: stage, Journal: h.journal, From: from, To: to, Controls: controls}
	for _, r := range rows.Rows {
		o := warehouse.Outcome{
			Position: r.Position, Timestamp: r.Timestamp, Build: r.Build, Event: r.Event, Sink: "production", Outcome: "delivered",
			Reason: []string{"", "twelve bytes", "bytes twelve", "a text beyond them", "them beyond a text"}[r.Item/2%5], // repeated, and others of the same length
			Status: 200 + int32(r.Item%5), Attempts: 1 + r.Item%2, Digest: uint64(r.Frame)<<56 + uint64(r.Item), Latency: int64(r.Frame * 1000),
		}
		if r.Frame%7 == 3 {
			o.Outcome, o.Reason, o.Status, o.Request, o.Response = "dead", "refused by "+string(stage), 400, []byte(`{"e":1}`), []byte("no\x00\xff")
		}
		b.Outcomes = append(b.Outcomes, o)
	}
	return b
}

// corrections are the corrections numbered from n on.
func (h *history) corrections(stack event.Stack, stage warehouse.Stage, n uint64, list ...warehouse.Outcome) *warehouse.Batch {
	return &warehouse.Batch{Stack: stack, Stage: stage.Late(), Journal: h.journal, From: event.Cursor{Frame: n}, To: event.Cursor{Frame: n + uint64(len(list))}, Outcomes: list}
}

const outcomeColumns = `frame, request, item, "timestamp", build, event, sink, outcome, reason, status, attempts, digest, latency, revision, sent, answer`

// storedOutcomes returns what a view shows of a stage in run 0, by position.
func storedOutcomes(t *testing.T, w warehouse.Warehouse, view string, stage warehouse.Stage) []warehouse.Outcome {
	t.Helper()
	var all []warehouse.Outcome
	for _, v := range ask(t, w, "SELECT "+outcomeColumns+" FROM "+view+" WHERE run = 0 AND stage = ? ORDER BY frame, request, item, revision", string(stage)) {
		n := func(i int) int64 { return v[i].(int64) }
		o := warehouse.Outcome{
			Position: event.Position{Frame: uint64(n(0)), Request: uint32(n(1)), Item: uint32(n(2))}, Timestamp: v[3].(time.Time).UnixMicro(),
			Build: v[4].(string), Event: v[5].(string), Sink: v[6].(string), Outcome: v[7].(string), Reason: v[8].(string),
			Status: int32(n(9)), Attempts: uint32(n(10)), Digest: uint64(n(11)), Latency: n(12), Revision: uint32(n(13)),
		}
		if v[14] != nil {
			o.Request = v[14].([]byte)
		}
		if v[15] != nil {
			o.Response = v[15].([]byte)
		}
		all = append(all, o)
	}
	return all
}

func equalOutcomes(t *testing.T, what string, want, got []warehouse.Outcome) {
	t.Helper()
	if len(want) != len(got) {
		t.Errorf("%s: %d outcomes, want %d", what, len(got), len(want))
	}
	for i := range min(len(want), len(got)) {
		if reflect.DeepEqual(want[i], got[i]) {
			continue
		}
		if diff := cmp.Diff(want[i], got[i]); diff != "" {
			t.Fatalf("%s, outcome %d (-want +got):\n%s", what, i, diff)
		}
	}
}

func outcomesComeBack(t *testing.T, w warehouse.Warehouse) {
	h, c := small(t)
	b := h.outcomes(event.Green, "ga4", event.Cursor{}, h.end(), c)
	odd := func(i int, change func(o *warehouse.Outcome)) { change(&b.Outcomes[i]) }
	odd(0, func(o *warehouse.Outcome) {
		o.Digest, o.Latency, o.Status = math.MaxUint64, math.MinInt64, math.MinInt32
	})
	odd(1, func(o *warehouse.Outcome) {
		o.Digest, o.Latency, o.Attempts, o.Timestamp = 1<<63, math.MaxInt64, math.MaxInt32, -1
	})
	odd(2, func(o *warehouse.Outcome) { o.Event, o.Sink, o.Reason, o.Build = "", "", "", "" })
	odd(3, func(o *warehouse.Outcome) {
		o.Event, o.Reason = "name with \x00 and ' and \" and 😀", strings.Repeat("thirteen byte ", 1000)
	})
	odd(4, func(o *warehouse.Outcome) { o.Request, o.Response = []byte{}, nil })
	odd(5, func(o *warehouse.Outcome) { o.Request, o.Response = nil, []byte(strings.Repeat("\xff\x00", 100_000)) })
	mustAppend(t, w, b)
	equalOutcomes(t, "green.outcomes", b.Outcomes, storedOutcomes(t, w, "green.outcomes", "ga4"))
	equalOutcomes(t, "live.outcomes", b.Outcomes, storedOutcomes(t, w, "live.outcomes", "ga4"))
	for _, view := range []string{"blue.outcomes", "staging.outcomes"} {
		equalOutcomes(t, view, nil, storedOutcomes(t, w, view, "ga4"))
	}
	if got := ask(t, w, "SELECT DISTINCT stack FROM live.outcomes"); !cmp.Equal(got, [][]any{{"green"}}) {
		t.Errorf("stacks in live.outcomes: %v", got)
	}
	wantJournals(t, w, warehouse.Journal{ID: "journal-1", First: 1, Highest: 5})

	again := h.outcomes(event.Green, "ga4", event.Cursor{}, h.end())
	again.Run = 3
	mustAppend(t, w, again)
	equalOutcomes(t, "live.outcomes after a replay", b.Outcomes, storedOutcomes(t, w, "live.outcomes", "ga4"))
	if got := ask(t, w, "SELECT count(*) FROM green.outcomes WHERE run = 3"); got[0][0] != int64(len(b.Outcomes)) {
		t.Errorf("run 3 has %v outcomes, want %d", got[0][0], len(b.Outcomes))
	}
	if got := ask(t, w, "SELECT count(*) FROM live.outcomes WHERE run = 3"); got[0][0] != int64(0) {
		t.Errorf("live.outcomes shows %v outcomes of a replay", got[0][0])
	}
}

// outcomesOverlap sends ranges of several stages that overlap in every way, and ranges that leave a gap.
func outcomesOverlap(t *testing.T, w warehouse.Warehouse) {
	r := seed(t)
	h, c := small(t)
	h.frame(1, 2, 1)
	cuts := h.cuts()
	stages := []warehouse.Stage{warehouse.Trace, "ga4", "heap"}
	have := map[warehouse.Stage]event.Cursor{}
	for unfinished := len(stages); unfinished > 0; {
		stage := stages[r.IntN(len(stages))]
		from, to := cuts[r.IntN(len(cuts))], cuts[r.IntN(len(cuts))]
		if from.Compare(to) > 0 || have[stage] == h.end() {
			continue
		}
		at, err := w.Append(t.Context(), h.outcomes(event.Green, stage, from, to, c))
		if from.Compare(have[stage]) > 0 {
			var gap *warehouse.GapError
			if !errors.As(err, &gap) || *gap != (warehouse.GapError{Have: have[stage], From: from}) {
				t.Fatalf("%s from %v with the cursor at %v: %v, %v; want a GapError", stage, from, have[stage], at, err)
			}
		} else if err != nil {
			t.Fatal(err)
		} else if to.Compare(have[stage]) > 0 {
			have[stage] = to
		}
		if at, err = w.Cursor(t.Context(), event.Green, 0, stage); err != nil || at != have[stage] {
			t.Fatalf("%s after [%v, %v): cursor %v, %v; want %v", stage, from, to, at, err, have[stage])
		}
		if have[stage] == h.end() {
			unfinished--
		}
	}
	for _, stage := range stages {
		equalOutcomes(t, string(stage), h.outcomes(event.Green, stage, event.Cursor{}, h.end()).Outcomes, storedOutcomes(t, w, "green.outcomes", stage))
		got := ask(t, w, "SELECT stack, stage, frame, request FROM cursors WHERE stage = ?", string(stage))
		if want := [][]any{{"green", string(stage), int64(h.next), int64(0)}}; !cmp.Equal(want, got) {
			t.Errorf("cursors %v, want %v", got, want)
		}
	}
	if got := stored(t, w, "green.raw"); len(got) != 0 {
		t.Errorf("outcomes left %d rows in raw", len(got))
	}
}

func badOutcomes(t *testing.T, w warehouse.Warehouse) {
	h, c := small(t)
	fixed := func(o warehouse.Outcome) warehouse.Outcome { o.Revision = 1; return o }
	for name, spoil := range map[string]func(b *warehouse.Batch){
		"name not UTF-8":           func(b *warehouse.Batch) { b.Outcomes[2].Event = "a\xff" },
		"reason not UTF-8":         func(b *warehouse.Batch) { b.Outcomes[2].Reason = "a\xff" },
		"sink not UTF-8":           func(b *warehouse.Batch) { b.Outcomes[2].Sink = "a\xff" },
		"build not UTF-8":          func(b *warehouse.Batch) { b.Outcomes[2].Build = "a\xff" },
		"stage not UTF-8":          func(b *warehouse.Batch) { b.Stage = "a\xff" },
		"no outcome":               func(b *warehouse.Batch) { b.Outcomes[2].Outcome = "" },
		"out of order":             func(b *warehouse.Batch) { b.Outcomes[1], b.Outcomes[2] = b.Outcomes[2], b.Outcomes[1] },
		"before the range":         func(b *warehouse.Batch) { b.From = event.Cursor{Frame: 3} },
		"after the range":          func(b *warehouse.Batch) { b.To = event.Cursor{Frame: 3} },
		"of stage raw":             func(b *warehouse.Batch) { b.Stage = warehouse.Raw },
		"rows beside them":         func(b *warehouse.Batch) { b.Rows = h.rows() },
		"frame too large":          func(b *warehouse.Batch) { last(b).Frame, b.To.Frame = math.MaxInt64+1, math.MaxUint64 },
		"request too large":        func(b *warehouse.Batch) { last(b).Position.Request = math.MaxInt32 + 1 },
		"item too large":           func(b *warehouse.Batch) { last(b).Item = math.MaxUint32 },
		"attempts too many":        func(b *warehouse.Batch) { b.Outcomes[2].Attempts = math.MaxUint32 },
		"timestamp infinite":       func(b *warehouse.Batch) { b.Outcomes[2].Timestamp = math.MaxInt64 },
		"a revision":               func(b *warehouse.Batch) { b.Outcomes[2].Revision = 1 },
		"correction of revision 0": func(b *warehouse.Batch) { *b = *h.corrections(event.Green, "ga4", 0, b.Outcomes[0]) },
		"revision too large": func(b *warehouse.Batch) {
			b.Outcomes[0].Revision = math.MaxUint32
			*b = *h.corrections(event.Green, "ga4", 0, b.Outcomes[0])
		},
		"fewer corrections than numbers": func(b *warehouse.Batch) {
			*b = *h.corrections(event.Green, "ga4", 0, fixed(b.Outcomes[0]))
			b.To.Frame++
		},
		"more corrections than numbers": func(b *warehouse.Batch) {
			*b = *h.corrections(event.Green, "ga4", 0, fixed(b.Outcomes[0]))
			b.To.Frame--
		},
		"corrections by request":     func(b *warehouse.Batch) { *b = *h.corrections(event.Green, "ga4", 0); b.To.Request = 1 },
		"corrections of raw":         func(b *warehouse.Batch) { *b = *h.corrections(event.Green, warehouse.Raw, 0) },
		"corrections of corrections": func(b *warehouse.Batch) { *b = *h.corrections(event.Green, warehouse.Stage("ga4").Late(), 0) },
		"corrections of no stage":    func(b *warehouse.Batch) { *b = *h.corrections(event.Green, "", 0) },
		"corrections of nothing known": func(b *warehouse.Batch) {
			*b = *h.corrections(event.Green, "ga4", 0, fixed(b.Outcomes[0]))
		},
	} {
		b := h.outcomes(event.Green, "ga4", event.Cursor{}, h.end(), c)
		spoil(b)
		if at, err := w.Append(t.Context(), b); err == nil {
			t.Errorf("%s: taken, cursor %v", name, at)
		} else if errors.Is(err, warehouse.ErrBusy) {
			t.Errorf("%s: %v: sending it again would never help", name, err)
		}
	}
	for _, table := range []string{"green.outcomes", "blue.outcomes", "timeline", "cursors", "journals"} {
		if got := ask(t, w, "SELECT count(*) FROM "+table); got[0][0] != int64(0) {
			t.Errorf("refused batches left %v rows in %s", got[0][0], table)
		}
	}
	mustAppend(t, w, h.outcomes(event.Green, "ga4", event.Cursor{}, h.end(), c)) // and none of them is in the way
}

func last(b *warehouse.Batch) *warehouse.Outcome { return &b.Outcomes[len(b.Outcomes)-1] }

// latest is what a stage's outcomes are, by position.
type latest map[event.Position]warehouse.Outcome

func (l latest) list() []warehouse.Outcome {
	var all []warehouse.Outcome
	for _, o := range l {
		all = append(all, o)
	}
	slices.SortFunc(all, func(a, b warehouse.Outcome) int { return a.Position.Compare(b.Position) })
	return all
}

// next is a correction of one of the outcomes.
func (l latest) next(r *rand.Rand, n int) warehouse.Outcome {
	all := l.list()
	o := all[r.IntN(len(all))]
	o.Revision++
	o.Outcome, o.Reason, o.Attempts, o.Latency = "delivered", fmt.Sprintf("correction %d", n), o.Attempts+1, o.Latency+int64(n)
	o.Request, o.Response = nil, nil
	l[o.Position] = o
	return o
}

// corrections sends corrections of several stages, in ranges that overlap, come again and leave gaps, between the
// outcomes that they correct and others.
func corrections(t *testing.T, w warehouse.Warehouse) {
	r := seed(t)
	h, c := small(t)
	stages := []warehouse.Stage{"ga4", "heap"}
	want := map[warehouse.Stage]latest{}
	log := map[warehouse.Stage][]warehouse.Outcome{}
	have := map[warehouse.Stage]uint64{}
	for _, stage := range stages {
		want[stage] = latest{}
	}
	from := event.Cursor{}
	for range 12 {
		for range 2 {
			h.frame(1+r.IntN(3), 1)
		}
		for _, stage := range stages {
			b := h.outcomes(event.Green, stage, from, h.end(), c)
			mustAppend(t, w, b)
			for _, o := range b.Outcomes {
				want[stage][o.Position] = o
			}
			for range 1 + r.IntN(6) {
				log[stage] = append(log[stage], want[stage].next(r, len(log[stage])))
			}
			all := uint64(len(log[stage]))
			for have[stage] < all {
				lo, hi := r.Uint64N(all+1), r.Uint64N(all+1)
				if lo > hi {
					continue
				}
				at, err := w.Append(t.Context(), h.corrections(event.Green, stage, lo, log[stage][lo:hi]...))
				if lo > have[stage] {
					var gap *warehouse.GapError
					if !errors.As(err, &gap) || gap.Have != (event.Cursor{Frame: have[stage]}) {
						t.Fatalf("corrections from %d with %d there: %v, want a GapError", lo, have[stage], err)
					}
					continue
				}
				if have[stage] = max(have[stage], hi); err != nil || at != (event.Cursor{Frame: have[stage]}) {
					t.Fatalf("corrections [%d, %d): cursor %v, %v; want %d", lo, hi, at, err, have[stage])
				}
			}
		}
		from = h.end()
	}
	for _, stage := range stages {
		for _, view := range []string{"green.outcomes", "live.outcomes"} {
			equalOutcomes(t, fmt.Sprintf("%s of %s", view, stage), want[stage].list(), storedOutcomes(t, w, view, stage))
		}
		counted := ask(t, w, `SELECT "rows" FROM cursors WHERE stack = 'green' AND run = 0 AND stage = ?`, string(stage.Late()))
		if n := int64(len(log[stage])); !cmp.Equal(counted, [][]any{{n}}) {
			t.Errorf("%s: %v corrections stored, want %d", stage, counted, n)
		}
		if got := storedOutcomes(t, w, "green.outcomes", stage.Late()); len(got) != 0 {
			t.Errorf("%d corrections are stored under %s", len(got), stage.Late())
		}
	}
	// Corrections count no frames, however many there are.
	repeated := slices.Repeat(log["ga4"][:1], int(h.next))
	mustAppend(t, w, h.corrections(event.Green, "amplitude", 0, repeated...))
	wantJournals(t, w, warehouse.Journal{ID: "journal-1", First: 1, Highest: h.next - 1})
	if got := ask(t, w, "SELECT id, first, highest FROM journals"); !cmp.Equal(got, [][]any{{"journal-1", int64(1), int64(h.next - 1)}}) {
		t.Errorf("journals %v, want highest %d", got, h.next-1)
	}
}

// outcomeViews plays random timelines, as viewsProperty does, with outcomes and corrections of both stacks.
func outcomeViews(t *testing.T, w warehouse.Warehouse) {
	r := seed(t)
	h := newHistory("journal-1")
	h.frame(1)
	h.control(t, event.Initial, event.Stacks()[r.IntN(2)], 0)
	at := map[event.Stack]event.Cursor{}
	late := map[event.Stack]uint64{}
	want := map[event.Stack]latest{event.Green: {}, event.Blue: {}}
	catchUp := func(stack event.Stack) {
		var controls []*event.ControlEntry
		for _, c := range h.timeline.Records() {
			controls = append(controls, c.Entry())
		}
		b := h.outcomes(stack, "ga4", at[stack], h.end(), controls...)
		mustAppend(t, w, b)
		for _, o := range b.Outcomes {
			want[stack][o.Position] = o
		}
		at[stack] = h.end()
		if r.IntN(2) == 0 {
			mustAppend(t, w, h.corrections(stack, "ga4", late[stack], want[stack].next(r, int(late[stack]))))
			late[stack]++
		}
	}
	check := func() {
		catchUp(event.Green)
		catchUp(event.Blue)
		for view, role := range map[string]func(event.Stack) event.Stack{"live.outcomes": func(s event.Stack) event.Stack { return s }, "staging.outcomes": event.Stack.Other} {
			shown := latest{}
			for _, row := range h.rows() {
				if live, _ := h.timeline.At(row.Frame); live != "" {
					shown[row.Position] = want[role(live)][row.Position]
				}
			}
			equalOutcomes(t, view, shown.list(), storedOutcomes(t, w, view, "ga4"))
		}
	}
	for range 40 {
		switch n := r.IntN(10); {
		case n < 5:
			h.frame(1+r.IntN(2), r.IntN(3))
		case n < 7:
			h.control(t, event.Cutover, h.timeline.Live().Other(), 0)
		case n < 8:
			h.control(t, event.Rollback, h.timeline.Live().Other(), 1+r.Uint64N(h.next))
		default:
			catchUp(event.Stacks()[r.IntN(2)])
		}
		if r.IntN(8) == 0 {
			check()
		}
	}
	check()
}

func outcomeJournals(t *testing.T, w warehouse.Warehouse) {
	h, c := small(t)
	mustAppend(t, w, h.batch(event.Green, event.Cursor{}, h.end(), c)) // frames 2 to 5
	mustAppend(t, w, h.outcomes(event.Green, "ga4", event.Cursor{}, event.Cursor{Frame: 3}, c))

	lost, lostFirst := successor(t, "journal-2", 1, event.Green)
	for range 10 {
		lost.frame(1)
	}
	wantCollision(t, w, lost.outcomes(event.Green, "ga4", event.Cursor{Frame: 3}, lost.end(), lostFirst), warehouse.JournalError{Known: "journal-1", Got: "journal-2", Highest: 5, First: 1})
	wantCollision(t, w, lost.outcomes(event.Blue, "trace", event.Cursor{}, lost.end()), warehouse.JournalError{Known: "journal-1", Got: "journal-2", Highest: 5})
	o := lost.outcomes(event.Green, "ga4", event.Cursor{}, lost.end()).Outcomes[0]
	o.Revision = 1
	wantCollision(t, w, lost.corrections(event.Green, "ga4", 0, o), warehouse.JournalError{Known: "journal-1", Got: "journal-2", Highest: 5})

	next, first := successor(t, "journal-3", 6, event.Green)
	next.frame(1, 2)
	mustAppend(t, w, next.batch(event.Green, h.end(), next.end(), first))
	// Outcomes of the old journal's frames may still come: they were accepted, and the vendor had them.
	mustAppend(t, w, h.outcomes(event.Green, "ga4", event.Cursor{Frame: 3}, h.end()))
	o = h.outcomes(event.Green, "ga4", event.Cursor{}, h.end()).Outcomes[0]
	o.Revision = 1
	mustAppend(t, w, h.corrections(event.Green, "ga4", 0, o))
	mustAppend(t, w, next.outcomes(event.Green, "ga4", h.end(), next.end()))
	h.next = 7
	wantCollision(t, w, h.outcomes(event.Green, "heap", event.Cursor{}, h.end()), warehouse.JournalError{Known: "journal-3", Got: "journal-1", Highest: 7})
	wantJournals(t, w, warehouse.Journal{ID: "journal-1", First: 1, Highest: 5}, warehouse.Journal{ID: "journal-3", First: 6, Highest: 7})
	want := latest{}
	for _, o := range append(h.outcomes(event.Green, "ga4", event.Cursor{}, event.Cursor{Frame: 6}).Outcomes, next.outcomes(event.Green, "ga4", event.Cursor{}, next.end()).Outcomes...) {
		want[o.Position] = o
	}
	want[o.Position] = o
	equalOutcomes(t, "green.outcomes", want.list(), storedOutcomes(t, w, "green.outcomes", "ga4"))
}

// manyOutcomes sends batches far beyond one transaction, of live stack and candidate.
func manyOutcomes(t *testing.T, w warehouse.Warehouse) {
	h, c := small(t)
	h.frame(1, many(w, 50_000), many(w, 20_000), 1)
	h.frame(1)
	for _, stack := range event.Stacks() {
		b := h.outcomes(stack, "heap", event.Cursor{}, h.end(), c)
		mustAppend(t, w, b)
		equalOutcomes(t, string(stack)+".outcomes", b.Outcomes, storedOutcomes(t, w, string(stack)+".outcomes", "heap"))
		late := b.Outcomes[many(w, 1000):many(w, 11_000)]
		for i := range late {
			late[i].Revision = 1
		}
		mustAppend(t, w, h.corrections(stack, "heap", 0, late...))
		equalOutcomes(t, string(stack)+".outcomes corrected", b.Outcomes, storedOutcomes(t, w, string(stack)+".outcomes", "heap"))
	}
}

// concurrentStages has raw, all stages and their corrections of both stacks append at once.
func concurrentStages(t *testing.T, w warehouse.Warehouse) {
	h := newHistory("journal-1")
	c := h.control(t, event.Initial, event.Green, 0)
	for i := range 200 {
		h.frame(1+i%3, 1)
	}
	mustAppend(t, w, h.batch(event.Green, event.Cursor{}, event.Cursor{Frame: 2}, c))
	stages := []warehouse.Stage{warehouse.Raw, warehouse.Trace, "ga4", "heap"}
	var wg sync.WaitGroup
	for _, stack := range event.Stacks() {
		for _, stage := range stages {
			r := seed(t)
			wg.Go(func() {
				for from := uint64(0); from < h.next; {
					to := min(from+1+r.Uint64N(30), h.next)
					b := h.batch(stack, event.Cursor{Frame: from}, event.Cursor{Frame: to}, c)
					if stage != warehouse.Raw {
						b = h.outcomes(stack, stage, event.Cursor{Frame: from}, event.Cursor{Frame: to}, c)
					}
					if _, err := w.Append(t.Context(), b); err != nil && !errors.Is(err, warehouse.ErrBusy) {
						t.Error(err)
						return
					} else if err == nil {
						from = to - min(from, r.Uint64N(2))
						if to == h.next {
							from = to
						}
					}
				}
			})
		}
		wg.Go(func() {
			o := h.outcomes(stack, "ga4", event.Cursor{}, h.end()).Outcomes[7]
			for n := range uint32(50) {
				o.Revision = n + 1
				if _, err := w.Append(t.Context(), h.corrections(stack, "ga4", uint64(n), o)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	for _, stack := range event.Stacks() {
		equalRows(t, string(stack)+".raw", h.rows(), stored(t, w, string(stack)+".raw"))
		for _, stage := range stages[1:] {
			want := h.outcomes(stack, stage, event.Cursor{}, h.end()).Outcomes
			if stage == "ga4" {
				want[7].Revision = 50
			}
			equalOutcomes(t, fmt.Sprintf("%s, %s", stack, stage), want, storedOutcomes(t, w, string(stack)+".outcomes", stage))
		}
	}
}
