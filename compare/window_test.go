package compare

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// TestFlipsInTheWindow judges by stack through a cutover and a rollback: only what came after the present candidate's
// declaration counts.
func TestFlipsInTheWindow(t *testing.T) {
	w := newWorld(t)
	w.many(100, "view")
	w.drop(event.Blue, func(i int, _ warehouse.Row) bool { return i == 5 }) // before: does not count
	w.decide(event.Control{Kind: event.Cutover, Live: event.Blue, Forced: true})
	w.many(100, "view")
	w.decide(event.Control{Kind: event.Candidate, Live: event.Blue, Candidate: greenBuild, LiveBuild: blueBuild})
	declared := w.next - 1
	w.many(100, "view")
	e := w.store()
	ev, v := w.verdict(e, Options{})
	if v.Outcome != Pass || v.Stack != event.Green || v.Candidate != greenBuild || ev.Window.First != declared+1 || v.Judged != 100 {
		t.Errorf("%s for %s %+v in %+v, %d judged, %+v", v.Outcome, v.Stack, v.Candidate, ev.Window, v.Judged, v.Reasons)
	}
	ev, v = w.verdict(e, Options{Window: WindowSpec{From: 1, To: w.next - 1}})
	if v.Outcome != Pass || ev.Window.First != declared+1 || !strings.Contains(ev.Window.Chosen, "cut to what came after") {
		t.Errorf("asked for from frame 1: %s in %+v", v.Outcome, ev.Window)
	}
}

func TestWindows(t *testing.T) {
	w := newWorld(t)
	w.many(200, "view") // frames 3 … 22
	now := time.UnixMicro(began + 22*1000)
	e := w.store()
	for _, c := range []struct {
		spec        string
		first, last uint64
	}{
		{"", 3, 22}, {"5..9", 5, 9}, {" 5 .. 9 ", 5, 9}, {"1..9", 3, 9}, {"last:4", 19, 22}, {"last:1000", 3, 22},
		{"4ms", 16, 22}, {"1h", 3, 22}, // a line of the ledger holds 4 frames here
	} {
		spec, err := ParseWindow(c.spec)
		if err != nil {
			t.Fatal(err)
		}
		ev := w.collect(e, Options{Window: spec, Now: func() time.Time { return now }})
		if ev.Window.First != c.first || ev.Window.Last != c.last || ev.Window.Chosen == "" {
			t.Errorf("%q: %+v, want %d..%d", c.spec, ev.Window, c.first, c.last)
		}
	}
	for _, bad := range []string{"5..", "..5", "9..5", "0..5", "-1..5", "last:0", "last:", "last:x", "15", "-15m", "0s", "yesterday", "1..2..3"} {
		_, err := ParseWindow(bad)
		var usage *UsageError
		if !errors.As(err, &usage) || ExitStatus(Verdict{}, err) != ExitUsage {
			t.Errorf("%q: %v, want a usage error", bad, err)
		}
	}
}

// TestOldFramesAreCut has a mirror that kept whole lines only of the window's beginning.
func TestOldFramesAreCut(t *testing.T) {
	w := newWorld(t)
	w.many(200, "view") // frames 3 … 22; a line holds 8 here
	w.drop(event.Blue, func(_ int, r warehouse.Row) bool { return r.Frame == 5 })
	e := w.store()
	p := inexact{w, 16}
	ev, err := Collect(context.Background(), Sources{Pipeline: p, Warehouse: e}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if v := Judge(*ev, Policy{}); v.Outcome != Pass || ev.Window.First != 8 || !strings.Contains(ev.Window.Chosen, "cut to begin at 8") {
		t.Errorf("%s in %+v: %+v", v.Outcome, ev.Window, v.Reasons)
	}
	// A window that lies in one such line holds no frame that could be counted.
	ev, err = Collect(context.Background(), Sources{Pipeline: p, Warehouse: e}, Options{Window: WindowSpec{From: 3, To: 6}})
	if err != nil {
		t.Fatal(err)
	}
	if v := Judge(*ev, Policy{}); v.Outcome != Inconclusive || v.Reasons[0].Code != CodeEmpty {
		t.Errorf("%s in %+v: %+v", v.Outcome, ev.Window, v.Reasons)
	}
	if _, err = Collect(context.Background(), Sources{Pipeline: inexact{w, 1 << 40}, Warehouse: e}, Options{Window: WindowSpec{From: 8, To: 15}}); err != nil {
		t.Errorf("at the edges of a line: %v", err)
	}
}

// inexact is a mirror that has only whole lines of eight frames below a frame.
type inexact struct {
	*world
	below uint64
}

func (p inexact) Ledger(ctx context.Context, from, to uint64) (Ledger, error) {
	for _, edge := range []uint64{from, to + 1} {
		if edge < p.below && edge%8 != 0 {
			return Ledger{}, fmt.Errorf("asked: %w", &InexactError{Detail: "gone", Below: edge / 8 * 8, Above: edge/8*8 + 8})
		}
	}
	return p.world.Ledger(ctx, from, to)
}

func TestControlRecordAtTheEnd(t *testing.T) {
	w := newWorld(t)
	w.many(20, "view")
	end := w.next - 1
	w.decide(event.Control{Kind: event.Candidate, Live: event.Green, Candidate: blueBuild, LiveBuild: greenBuild})
	w.cursor = map[event.Stack]event.Cursor{event.Green: {Frame: end + 1}, event.Blue: {Frame: end + 1}}
	ev := w.collect(w.store(), Options{Window: WindowSpec{Count: 3}})
	if !ev.Window.Empty() {
		t.Errorf("window %+v, want none after the declaration", ev.Window)
	}
	if ev.Window.Last != end {
		t.Errorf("the window ends at %d, the last frame is %d", ev.Window.Last, end)
	}
}

func TestNotExercised(t *testing.T) {
	w := newWorld(t)
	w.many(40, "view", "rare")
	w.many(40, "view")
	e := w.store()
	ev, v := w.verdict(e, Options{Window: WindowSpec{From: w.next - 3, To: w.next - 1}})
	want := []Unexercised{{Name: "rare", Events: 40, LastSeen: began + 6000 + 9}}
	if d := gocmp.Diff(want, ev.NotExercised); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
	if v.Outcome != Pass || !strings.Contains(strings.Join(v.Notes, "\n"), `not exercised: 1 event name seen within 28 days did not occur in the window: "rare"`) {
		t.Errorf("%s, notes %q", v.Outcome, v.Notes)
	}
	if v := Judge(*ev, Policy{Required: []string{"rare"}}); v.Outcome != Inconclusive || v.Reasons[0].Code != CodeRequired {
		t.Errorf("required: %s %+v", v.Outcome, v.Reasons)
	}
}

// TestManyNames folds what is beyond the limit without losing a count, and keeps long names apart.
func TestManyNames(t *testing.T) {
	w := newWorld(t)
	long := strings.Repeat("あ", 200)
	var bodies [][]item
	for i := range 50 {
		bodies = append(bodies, one(fmt.Sprint("name", i), "{}"))
	}
	bodies = append(bodies, one(long+"x", "{}"), one(long+"y", "{}"))
	w.accept(bodies...)
	w.drop(event.Blue, func(_ int, r warehouse.Row) bool { return r.Event == "name7" || r.Event == long+"y" })
	e := w.store()
	ev, v := w.verdict(e, Options{Events: 10})
	if len(ev.Events) != 10 || len(ev.Folded) != 1 || ev.Folded[0].Names != 42 || ev.Folded[0].Live != 42 {
		t.Fatalf("%d events, folded %+v", len(ev.Events), ev.Folded)
	}
	if len(v.Reasons) != 2 || v.Outcome != Fail {
		t.Errorf("%s %+v", v.Outcome, v.Reasons)
	}
	for _, r := range v.Reasons {
		if len(*r.Event) > MaxName || *r.Event != "name7" && !strings.HasPrefix(*r.Event, "あああ") {
			t.Errorf("name %q", *r.Event)
		}
	}
	ev, v = w.verdict(e, Options{Events: 1})
	var total uint64
	for _, r := range v.Reasons {
		total += r.Count
	}
	if total != 2 || ev.Folded[0].Missing != 1 {
		t.Errorf("%d counted with one name listed, folded %+v", total, ev.Folded)
	}
}
