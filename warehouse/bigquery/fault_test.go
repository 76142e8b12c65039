package bigquery

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
	"github.com/sparrowhq/sparrow/warehouse/bigquery/fake"
)

// soak asks for the long forms.
var soak = os.Getenv("SPARROW_SOAK") != ""

// traffic is a journal of frames, of which batches of every stage are cut.
type traffic struct {
	control *event.ControlEntry
	frames  int // from 2 on
}

func newTraffic(t *testing.T, frames int) *traffic {
	t.Helper()
	data, err := event.Control{Format: event.ControlFormat, Generation: 1, Kind: event.Initial, Live: event.Green, At: 1_700_000_000_000_000}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return &traffic{control: &event.ControlEntry{Sequence: 1, Record: data}, frames: frames}
}

func (j *traffic) end() event.Cursor { return event.Cursor{Frame: uint64(2 + j.frames)} }

// items is how many events the requests of a frame hold.
func (j *traffic) items(frame uint64) []int { return []int{1 + int(frame%3), 1} }

// batch is what a stage has of [from, to).
func (j *traffic) batch(stack event.Stack, stage warehouse.Stage, from, to event.Cursor) *warehouse.Batch {
	b := &warehouse.Batch{Stack: stack, Stage: stage, Journal: "journal", From: from, To: to, Controls: []*event.ControlEntry{j.control}}
	if stage != stage.Base() {
		for n := from.Frame; n < to.Frame; n++ {
			o := j.outcome(event.Position{Frame: 2 + n%uint64(j.frames)}, stack)
			o.Outcome, o.Revision = "delivered", uint32(1+n)
			b.Outcomes = append(b.Outcomes, o)
		}
		return b
	}
	for frame := max(2, from.Frame); frame < j.end().Frame; frame++ {
		for request, items := range j.items(frame) {
			at := event.Cursor{Frame: frame, Request: uint32(request)}
			if at.Compare(from) < 0 || at.Compare(to) >= 0 {
				continue
			}
			for item := range items {
				p := event.Position{Frame: frame, Request: uint32(request), Item: uint32(item)}
				if stage == warehouse.Raw {
					b.Rows = append(b.Rows, j.row(p, items))
				} else {
					b.Outcomes = append(b.Outcomes, j.outcome(p, stack))
				}
			}
		}
	}
	return b
}

func (j *traffic) row(p event.Position, items int) warehouse.Row {
	id := uuid.UUID{6: 0x70, 8: 0x80, 13: byte(p.Frame >> 8), 14: byte(p.Frame), 15: byte(p.Request)}
	return warehouse.Row{Position: p, EventID: event.ID(id, p.Item, items > 1), Timestamp: time.Now().UnixMicro(), Event: "click", Data: []byte(`{}`), ItemsInRequest: uint32(items), Build: "b", Context: []byte("{}")}
}

func (j *traffic) outcome(p event.Position, stack event.Stack) warehouse.Outcome {
	return warehouse.Outcome{Position: p, Timestamp: time.Now().UnixMicro(), Build: "b", Event: "click", Sink: "staging", Outcome: "dead", Digest: p.Frame * 0x9e3779b97f4a7c15}
}

// lane is one stage of one stack, and how far it was told that it is.
type lane struct {
	stack event.Stack
	stage warehouse.Stage
	end   event.Cursor
	acked event.Cursor
}

func (j *traffic) lanes() []*lane {
	var all []*lane
	for _, stack := range event.Stacks() {
		all = append(all, &lane{stack: stack, stage: warehouse.Raw, end: j.end()}, &lane{stack: stack, stage: "trace", end: j.end()}, &lane{stack: stack, stage: warehouse.Stage("ga4").Late(), end: event.Cursor{Frame: 5}})
	}
	return all
}

// step has a lane append something from where it should go on.
func (j *traffic) step(t *testing.T, e *Engine, r *rand.Rand, l *lane) {
	t.Helper()
	at, err := e.Cursor(t.Context(), l.stack, 0, l.stage)
	if err != nil {
		t.Fatal(err)
	}
	if at.Compare(l.acked) < 0 {
		t.Fatalf("the cursor of %s, %s stands at %v, but %v was acknowledged", l.stack, l.stage, at, l.acked)
	}
	if at == l.end || l.stage != l.stage.Base() && at.Frame == 0 && len(e.known.get().Journals) == 0 {
		return
	}
	from := at
	if back := uint64(r.IntN(3)); l.stage == l.stage.Base() && from.Frame > back { // what is in is sent again, too
		from = event.Cursor{Frame: from.Frame - back}
	}
	to := event.Cursor{Frame: min(at.Frame+1+uint64(r.IntN(5)), l.end.Frame)}
	if l.stage == l.stage.Base() && to != l.end && r.IntN(2) == 0 {
		to.Request = uint32(r.IntN(2))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	got, err := e.Append(ctx, j.batch(l.stack, l.stage, from, to))
	var gap *warehouse.GapError
	switch {
	case err == nil && got.Compare(to) < 0:
		t.Fatalf("%s, %s: answered with the cursor at %v after a batch up to %v", l.stack, l.stage, got, to)
	case err == nil:
		l.acked = to
	case errors.As(err, &gap):
		t.Fatalf("%s, %s: %v", l.stack, l.stage, err)
	}
}

// verify compares what can be read with what there was to store.
func (j *traffic) verify(t *testing.T, e *Engine) {
	t.Helper()
	var want []string
	for frame := uint64(2); frame < j.end().Frame; frame++ {
		for request, items := range j.items(frame) {
			for item := range items {
				want = append(want, fmt.Sprintf("%d.%d.%d", frame, request, item))
			}
		}
	}
	for _, view := range []string{"green.raw", "blue.raw", "live.raw", "staging.raw", "green.outcomes WHERE stage = 'trace'", "blue.outcomes WHERE stage = 'trace'"} {
		var got []string
		err := e.each(t.Context(), "SELECT frame, request, item FROM "+view+" ORDER BY frame, request, item", func(r []any) error {
			got = append(got, fmt.Sprintf("%d.%d.%d", r...))
			return nil
		})
		if err != nil {
			t.Fatalf("%s: %v", view, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", view, diff)
		}
	}
	for _, stack := range event.Stacks() {
		for log, n := range map[string]int64{"raw_log": int64(len(want)), "outcomes_log": int64(len(want)), "corrections_log": 5} {
			err := e.each(t.Context(), fmt.Sprintf("SELECT COUNT(cursorStage), COUNT(*) - COUNT(cursorStage), CAST(COALESCE(SUM(cursorRows), 0) AS INT64) FROM %s.%s", stack, log), func(r []any) error {
				if r[1] != n || r[2] != n {
					t.Errorf("%s.%s holds %v rows, and marks of %v; want %d", stack, log, r[1], r[2], n)
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestAnySingleFault has one thing go wrong again and again, while every stage appends, and the process is stopped now
// and then in the middle of it and begins anew. Afterwards every event is there once.
func TestAnySingleFault(t *testing.T) {
	type faults map[string][]fake.Kind
	both := []fake.Kind{fake.RequestLost, fake.AnswerLost, fake.Hang, fake.AnswerHangs, fake.Quota, fake.Internal, fake.InternalAfter}
	all := faults{
		"AppendRows":          append([]fake.Kind{fake.DeliveredLate, fake.RowsHidden, fake.Stopped, fake.Finalized, fake.StreamGone, fake.TableHidden, fake.SchemaBehind}, both...),
		"CreateWriteStream":   append([]fake.Kind{fake.TableHidden}, both...),
		"FinalizeWriteStream": both,
		"tables.patch":        {fake.RequestLost, fake.AnswerLost, fake.InternalAfter, fake.Conflict},
		"tables.get":          {fake.RequestLost, fake.Internal},
		"jobs.insert":         {fake.RequestLost, fake.AnswerLost, fake.Quota},
		"jobs.query":          {fake.AnswerLost, fake.Internal},
	}
	for call, kinds := range all {
		for _, kind := range kinds {
			t.Run(call+"/"+string(kind), func(t *testing.T) {
				t.Parallel()
				f := fake.Fault{Call: call, Kind: kind, Every: 4, After: 3}
				if call != "AppendRows" && call != "FinalizeWriteStream" {
					f.Every = 7
				}
				if !soak && strings.Contains(call, ".") {
					f.Times = 3 // the client library waits a second or more after some of them
				}
				anyFault(t, f)
			})
		}
	}
}

func anyFault(t *testing.T, f fake.Fault) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	s := start(t, fake.Options{Hidden: 1})
	o := options(s)
	o.CallTimeout, o.Patience = 250*time.Millisecond, 3*time.Second
	frames := 10
	if soak {
		frames = 60
	}
	j := newTraffic(t, frames)
	lanes := j.lanes()
	s.Set(f)
	hits := 0
	var e *Engine
	reopen := func() {
		for e == nil {
			var err error
			if e, err = Open(t.Context(), o); err != nil {
				t.Logf("open: %v", err)
				e = nil
			}
		}
	}
	crash := func(l *lane) { // with an append on its way, or not
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			at, _ := e.Cursor(ctx, l.stack, 0, l.stage)
			if to := (event.Cursor{Frame: min(at.Frame+2, l.end.Frame)}); l.stage == l.stage.Base() && to.Compare(at) > 0 {
				e.Append(ctx, j.batch(l.stack, l.stage, at, to))
			}
		}()
		e.Close()
		cancel()
		<-done
		e = nil
	}
	for i := 0; i < 400 && slices.ContainsFunc(lanes, func(l *lane) bool { return l.acked != l.end }); i++ {
		reopen()
		j.step(t, e, r, lanes[r.IntN(len(lanes))])
		// Some calls are made by whoever begins only, so that one crash at least has to be early.
		if i == 4 || r.IntN(40) == 0 {
			crash(lanes[r.IntN(len(lanes))])
		}
	}
	reopen()
	hits = s.Hits()
	s.Set()
	if hits == 0 {
		t.Fatal("the fault never struck")
	}
	e.Close()
	e = nil
	reopen()
	defer e.Close()
	for slices.ContainsFunc(lanes, func(l *lane) bool { return l.acked != l.end }) {
		for _, l := range lanes {
			j.step(t, e, r, l)
			if at, _ := e.Cursor(t.Context(), l.stack, 0, l.stage); at == l.end {
				l.acked = l.end
			}
		}
	}
	j.verify(t, e)
	t.Logf("struck %d times", hits)
}

// TestTwoProcesses has a second warehouse started by mistake: each takes the tables away from the other, again and again,
// and what either acknowledged is there once.
func TestTwoProcesses(t *testing.T) {
	s := start(t, fake.Options{})
	o := options(s)
	j := newTraffic(t, 40)
	s.Set(fake.Fault{Call: "AppendRows", Kind: fake.DeliveredLate, Every: 5, After: 2})
	var wg sync.WaitGroup
	for range 2 {
		e := open(t, o)
		defer e.Close()
		for _, stack := range event.Stacks() {
			for _, stage := range []warehouse.Stage{warehouse.Raw, warehouse.Trace} {
				wg.Go(func() {
					for at := (event.Cursor{}); at.Compare(j.end()) < 0; {
						to := event.Cursor{Frame: min(at.Frame+4, j.end().Frame)}
						got, err := e.Append(t.Context(), j.batch(stack, stage, at, to))
						var gap *warehouse.GapError
						switch {
						case errors.As(err, &gap):
							t.Errorf("%s, %s: %v although everything below was acknowledged", stack, stage, err)
							return
						case err == nil:
							at = got
						}
					}
				})
			}
		}
	}
	wg.Wait()
	s.Set()
	e := open(t, o)
	defer e.Close()
	for _, stack := range event.Stacks() {
		if _, err := e.Append(t.Context(), j.batch(stack, warehouse.Stage("ga4").Late(), event.Cursor{}, event.Cursor{Frame: 5})); err != nil {
			t.Fatal(err)
		}
	}
	j.verify(t, e)
}

// TestRequestLargerThanAnAppend has a request arrive in parts, and the process end between them.
func TestRequestLargerThanAnAppend(t *testing.T) {
	s := start(t, fake.Options{})
	o := options(s)
	o.AppendBytes, o.CallTimeout, o.Patience = 4096, time.Second, 100*time.Millisecond
	j := newTraffic(t, 1)
	const items = 200
	b := j.batch(event.Green, warehouse.Raw, event.Cursor{}, event.Cursor{Frame: 3})
	b.Rows = b.Rows[:0]
	for item := range uint32(items) {
		b.Rows = append(b.Rows, j.row(event.Position{Frame: 2, Request: 1, Item: item}, items))
	}
	s.Set(fake.Fault{Call: "AppendRows", Kind: fake.Hang, Every: 4}) // the first is the journal's
	for n := 0; ; n++ {
		e := open(t, o)
		before := s.Calls("AppendRows")
		at, err := e.Append(t.Context(), b)
		if err == nil && at == b.To {
			e.Close()
			if n == 0 || s.Calls("AppendRows") == before {
				t.Fatalf("the request came in one piece, %d times interrupted", n)
			}
			break
		}
		if at, err := e.Cursor(t.Context(), event.Green, 0, warehouse.Raw); err != nil || at.Compare(event.Cursor{Frame: 2, Request: 1}) > 0 {
			t.Fatalf("cursor %v, %v: it stands behind a request that is not all there", at, err)
		}
		e.Close()
	}
	s.Set()
	e := open(t, o)
	defer e.Close()
	err := e.each(t.Context(), "SELECT COUNT(*), COUNT(DISTINCT item), MAX(item) FROM green.raw", func(r []any) error {
		if r[0] != int64(items) || r[1] != int64(items) || r[2] != int64(items-1) {
			t.Errorf("%v rows, %v items, the last is %v; want %d, once each", r[0], r[1], r[2], items)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestUnknownIsNotTakenForStored has an append arrive whose answer never comes, until its callers give up. What is sent
// next, at what would be the same offset, is something else.
func TestUnknownIsNotTakenForStored(t *testing.T) {
	s := start(t, fake.Options{})
	o := options(s)
	o.CallTimeout, o.Patience = time.Second, time.Millisecond
	e := open(t, o)
	defer e.Close()
	j := newTraffic(t, 20)
	from, mid := event.Cursor{}, event.Cursor{Frame: 5}
	if _, err := e.Append(t.Context(), j.batch(event.Green, warehouse.Raw, from, mid)); err != nil {
		t.Fatal(err)
	}
	s.Set(fake.Fault{Call: "AppendRows", Kind: fake.AnswerHangs})
	if at, err := e.Append(t.Context(), j.batch(event.Green, warehouse.Raw, mid, event.Cursor{Frame: 7})); err == nil {
		t.Fatalf("acknowledged without an answer, cursor %v", at)
	}
	s.Set()
	for {
		if at, err := e.Append(t.Context(), j.batch(event.Green, warehouse.Raw, mid, j.end())); err == nil {
			if at != j.end() {
				t.Fatalf("cursor %v", at)
			}
			break
		}
	}
	want := int64(len(j.batch(event.Green, warehouse.Raw, from, j.end()).Rows))
	err := e.each(t.Context(), "SELECT COUNT(*), COUNT(DISTINCT frame * 100 + request * 10 + item) FROM green.raw", func(r []any) error {
		if r[0] != want || r[1] != want {
			t.Errorf("%v rows at %v positions, want %d", r[0], r[1], want)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestClaimsDoNotOverwriteEachOther has many processes claim a table at once: the description still names every stream
// that somebody was told is theirs, or it could never be finalised.
func TestClaimsDoNotOverwriteEachOther(t *testing.T) {
	s := start(t, fake.Options{})
	e := open(t, options(s))
	defer e.Close()
	w := e.writers[event.Blue][correctionsLog]
	var mu sync.Mutex
	var claimed []string
	var wg sync.WaitGroup
	for n := range 24 {
		wg.Go(func() {
			name := fmt.Sprintf("stream-%d", n)
			if _, _, err := w.claim(t.Context(), name); err == nil {
				mu.Lock()
				claimed = append(claimed, name)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	m, err := w.meta().Metadata(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	d, err := parseDescription("t", m.Description)
	if err != nil {
		t.Fatal(err)
	}
	if len(claimed) == 0 || len(d.before) != len(claimed) { // and the stream of the engine itself
		t.Errorf("%d claims succeeded, the description has %d streams before the last", len(claimed), len(d.before))
	}
	for _, name := range claimed {
		if d.writer != name && !slices.Contains(d.before, name) {
			t.Errorf("%s was claimed and is forgotten", name)
		}
	}
}

// TestViewsFollowAfterAFault has the list of properties kept, but the views not made. Whoever asks again gets them.
func TestViewsFollowAfterAFault(t *testing.T) {
	s := start(t, fake.Options{})
	o := options(s)
	o.Patience, o.restTimeout = time.Millisecond, time.Second
	e := open(t, o)
	defer e.Close()
	list := []warehouse.Property{{Name: "colour", Keys: []string{"colour"}, Type: warehouse.TypeString}}
	s.Set(fake.Fault{Call: "jobs.insert", Kind: fake.Quota})
	if err := e.Normalise(t.Context(), event.Green, list); err == nil {
		t.Fatal("said to be done, but no view could be made")
	}
	s.Set()
	if err := e.Normalise(t.Context(), event.Green, list); err != nil {
		t.Fatal(err)
	}
	if err := e.each(t.Context(), "SELECT colour FROM green.raw_normalized", func([]any) error { return nil }); err != nil {
		t.Error(err)
	}
}
