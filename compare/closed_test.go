package compare

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// narrow is a warehouse that gives one row and says that there are more.
type narrow struct{ Warehouse }

func (n narrow) Query(ctx context.Context, q warehouse.Query) (*warehouse.Rows, error) {
	q.Limit = 1
	return n.Warehouse.Query(ctx, q)
}

// TestFailClosed has something go wrong on the way to a verdict. Not one of these may pass.
func TestFailClosed(t *testing.T) {
	down := errors.New("connection refused")
	for _, c := range []struct {
		name string
		do   func(w *world)
		with func(Warehouse) Warehouse
		o    Options
		exit int
		says string
	}{
		{name: "nothing was sent", do: func(w *world) { w.accepted, w.rows, w.next = nil, map[event.Stack][]warehouse.Row{}, 3 }, exit: 3, says: "no frame"},
		{name: "the candidate is stopped", do: func(w *world) {
			w.cursor[event.Blue] = event.Cursor{Frame: 40}
			w.status.Stacks[event.Blue] = StackStatus{Build: blueBuild, Error: "connection refused"}
		}, exit: 3, says: "cannot be reached: connection refused"},
		{name: "the candidate is a service that writes no rows", do: func(w *world) {
			w.cursor[event.Blue] = event.Cursor{} // and what is in rows is not stored
			w.status.Stacks[event.Blue] = StackStatus{Build: blueBuild, Reachable: true, Protocol: "http", Cursor: event.Cursor{Frame: w.next}}
		}, o: Options{Wait: time.Hour}, exit: 3, says: "written nothing to the warehouse"},
		{name: "live is a service that writes no rows", do: func(w *world) {
			w.cursor[event.Green] = event.Cursor{}
			w.status.Stacks[event.Green] = StackStatus{Build: greenBuild, Reachable: true, Protocol: "http", Cursor: event.Cursor{Frame: w.next}}
		}, o: Options{Wait: time.Hour}, exit: 3, says: "written nothing to the warehouse"},
		{name: "the candidate is late", do: func(w *world) { w.cursor[event.Blue] = event.Cursor{Frame: 40} }, exit: 3, says: "up to frame 39"},
		{name: "the candidate stays late", do: func(w *world) { w.cursor[event.Blue] = event.Cursor{Frame: 40} }, o: Options{Wait: 20 * time.Millisecond, Poll: time.Millisecond}, exit: 124, says: "up to frame 39"},
		{name: "the candidate stays late, and has lost something", do: func(w *world) {
			w.cursor[event.Blue] = event.Cursor{Frame: 40}
			w.drop(event.Blue, func(i int, _ warehouse.Row) bool { return i == 3 })
		}, o: Options{Wait: 20 * time.Millisecond, Poll: time.Millisecond}, exit: 1, says: "1 event"},
		{name: "the mirror is down", do: func(w *world) { w.onStatus = func(int, *Status) error { return down } }, exit: 4, says: "mirror could not be read"},
		{name: "the mirror goes down while reading", do: func(w *world) {
			w.onStatus = func(n int, _ *Status) error {
				if n == 3 {
					return down
				}
				return nil
			}
		}, exit: 4, says: "mirror could not be read"},
		{name: "the ledger does not answer", do: func(w *world) { w.onLedger = func(*Ledger) error { return down } }, exit: 4, says: "mirror could not be read"},
		{name: "the ledger answers for other frames", do: func(w *world) { w.onLedger = func(l *Ledger) error { l.From = 0; return nil } }, exit: 3, says: "exactly the window"},
		{name: "the ledger knows nothing of a stack", do: func(w *world) { w.onLedger = func(l *Ledger) error { delete(l.Stacks, event.Blue); return nil } }, exit: 3, says: "does not say what blue"},
		{name: "the answers are cut short", with: func(e Warehouse) Warehouse { return narrow{e} }, exit: 4, says: "cut an answer short"},
		{name: "a statement takes too long", o: Options{QueryWait: time.Nanosecond}, exit: 4, says: "warehouse could not be read"},
		{name: "somebody decides while reading", do: func(w *world) {
			w.onStatus = func(n int, s *Status) error {
				if n == 3 {
					w.decide(event.Control{Kind: event.Cutover, Live: event.Blue})
					head, _ := w.timeline.Head()
					s.Generation, s.Live, s.Head = head.Generation, head.Live, head.Hash()
				}
				return nil
			}
		}, exit: 3, says: "somebody decided meanwhile"},
		{name: "the candidate is restarted with another build while reading", do: func(w *world) {
			w.onStatus = func(n int, s *Status) error {
				if n == 3 {
					s.Stacks[event.Blue] = StackStatus{Build: event.Build{ID: "cccc"}, Reachable: true, Cursor: event.Cursor{Frame: w.next}}
				}
				return nil
			}
		}, exit: 3, says: "another build than when the reading began"},
		{name: "the mirror writes another journal", do: func(w *world) {
			w.onStatus = func(_ int, s *Status) error { s.Journal.ID = "99999999-0000-4000-8000-000000000000"; return nil }
		}, exit: 3, says: "another journal"},
		{name: "two builds wrote the candidate's rows", do: func(w *world) {
			w.alter(event.Blue, func(i int, r *warehouse.Row) bool {
				if i > 500 {
					r.Build = "cccc"
				}
				return true
			})
		}, exit: 3, says: "ran 2 builds"},
		{name: "two builds wrote live's rows", do: func(w *world) {
			w.alter(event.Green, func(i int, r *warehouse.Row) bool {
				if i > 500 {
					r.Build = "cccc"
				}
				return true
			})
		}, exit: 3, says: "live (green) ran 2 builds"},
		{name: "another build than the declared one", do: func(w *world) {
			w.alter(event.Blue, func(_ int, r *warehouse.Row) bool { r.Build = "cccc"; return true })
		}, exit: 3, says: "declared candidate is"},
		{name: "the window lies in the future", o: Options{Window: WindowSpec{From: 3, To: 5000}}, exit: 3, says: "up to frame"},
		{name: "the history is empty", do: func(w *world) { w.timeline = event.Timeline{} }, exit: 4, says: "history is empty"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.many(1000, "view", "click")
			w.status.Stacks[event.Green] = StackStatus{Role: "live", Build: greenBuild, Reachable: true}
			stored := w.timeline
			if c.do != nil {
				c.do(w)
			}
			kept := w.timeline
			w.timeline = stored
			var e Warehouse = w.store()
			w.timeline = kept
			if c.with != nil {
				e = c.with(e)
			}
			ev, err := Collect(context.Background(), Sources{Pipeline: w, Warehouse: e}, c.o)
			var v Verdict
			if ev != nil {
				v = Judge(*ev, Policy{})
			}
			if v.Outcome == Pass {
				t.Errorf("PASS: %s", v.Summary)
			}
			if got := ExitStatus(v, err); got != c.exit {
				t.Errorf("exit status %d, want %d: %v, %s %+v", got, c.exit, err, v.Outcome, v.Reasons)
			}
			said := fmt.Sprint(err)
			for _, r := range v.Reasons {
				said += "\n" + r.Text
			}
			if !strings.Contains(said, c.says) {
				t.Errorf("says %s, want %q", said, c.says)
			}
		})
	}
}

// TestWaitEndsWhenTheAnswerIsThere has a candidate that catches up at the third look, and a mirror that is away at the
// second.
func TestWaitEndsWhenTheAnswerIsThere(t *testing.T) {
	w := newWorld(t)
	w.many(1000, "view")
	e := w.store()
	w.onStatus = func(n int, s *Status) error {
		if n == 3 {
			return errors.New("restarting")
		}
		if n < 6 {
			st := s.Stacks[event.Blue]
			st.Cursor = event.Cursor{Frame: uint64(n)}
			s.Stacks[event.Blue] = st
		}
		return nil
	}
	var seen []Progress
	ev, err := Collect(context.Background(), Sources{Pipeline: w, Warehouse: e}, Options{Wait: time.Minute, Poll: time.Millisecond, Progress: func(p Progress) { seen = append(seen, p) }})
	if err != nil {
		t.Fatal(err)
	}
	if v := Judge(*ev, Policy{}); v.Outcome != Pass {
		t.Errorf("%s %+v", v.Outcome, v.Reasons)
	}
	if len(seen) != 5 || len(seen[0].Open) != 1 || len(seen[4].Open) != 0 || !strings.Contains(seen[1].Open[0], "restarting") {
		t.Errorf("progress: %+v", seen)
	}
}

func TestCancelledCollect(t *testing.T) {
	w := newWorld(t)
	w.many(10, "view")
	w.cursor[event.Blue] = event.Cursor{Frame: 3}
	e := w.store()
	ctx, cancel := context.WithCancel(context.Background())
	_, err := Collect(ctx, Sources{Pipeline: w, Warehouse: e}, Options{Wait: time.Hour, Progress: func(Progress) { cancel() }})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want the context's", err)
	}
}

// TestServiceThatStoresItsRows has a candidate that is fed plain HTTP and appends its rows itself: it is compared like any
// other, and the verdict is about the build that it says it is.
func TestServiceThatStoresItsRows(t *testing.T) {
	for _, build := range []event.Build{blueBuild, {ID: "cccc"}, {}} {
		w := newWorld(t)
		w.many(1000, "view")
		w.status.Stacks[event.Blue] = StackStatus{Role: "candidate", Build: build, Reachable: true, Protocol: "http"}
		ev, err := Collect(context.Background(), Sources{Pipeline: w, Warehouse: w.store()}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		want := Pass
		if build.ID == "cccc" {
			want = Inconclusive
		}
		if v := Judge(*ev, Policy{}); v.Outcome != want || want == Pass && v.Candidate.ID != blueBuild.ID {
			t.Errorf("it says that it is %q: %s about %v, %+v", build.ID, v.Outcome, v.Candidate, v.Reasons)
		}
	}
}
