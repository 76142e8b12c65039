package compare

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// verdict collects and judges.
func (w *world) verdict(e Warehouse, o Options) (*Evidence, Verdict) {
	w.t.Helper()
	ev := w.collect(e, o)
	return ev, Judge(*ev, Policy{})
}

func TestEqualSidesPass(t *testing.T) {
	w := newWorld(t)
	w.many(1000, "view", "click", "", "購入")
	w.accept([]item{{"view", `{"a":1}`}, {"view", `{"a":2}`}, {"click", `{"a":3}`}})
	w.accept([]item{}, one("view", "not JSON \xff"), one("view", ""))
	_, v := w.verdict(w.store(), Options{})
	if v.Outcome != Fail || v.Reasons[0].Code != CodeLost {
		t.Fatalf("a request without any row, even for an empty list: %s %+v, want it reported lost", v.Outcome, v.Reasons)
	}
	if want := []event.Span{{First: w.next - 1, Last: w.next - 1}}; !slices.Equal(v.Reasons[0].Frames, want) {
		t.Errorf("lost in frames %v, want %v", v.Reasons[0].Frames, want)
	}

	w = newWorld(t)
	w.many(1000, "view", "click", "", "購入")
	w.accept([]item{{"view", `{"a":1}`}, {"view", `{"a":2}`}, {"click", `{"a":3}`}})
	w.accept(one("view", "not JSON \xff"), one("view", ""), one("", "[]"))
	for _, s := range event.Stacks() {
		w.alter(s, func(_ int, r *warehouse.Row) bool {
			if string(r.Data) == "[]" {
				r.ItemsInRequest = 0 // an empty list has one row and announces no item
			}
			return true
		})
	}
	ev, v := w.verdict(w.store(), Options{})
	if v.Outcome != Pass {
		t.Fatalf("%s: %s %+v", v.Outcome, v.Summary, v.Reasons)
	}
	if v.Judged != 1006 || ev.Live.Requests != 1004 || ev.Candidate.Requests != 1004 || ev.Either.IDSum != ev.Ledger.IDSum {
		t.Errorf("judged %d, requests %d and %d, sums %v and %v", v.Judged, ev.Live.Requests, ev.Candidate.Requests, ev.Either.IDSum, ev.Ledger.IDSum)
	}
	if v.Candidate != blueBuild || v.Live != greenBuild || v.Stack != event.Blue {
		t.Errorf("the verdict is about %+v on %s against %+v", v.Candidate, v.Stack, v.Live)
	}
}

// TestSameBuildTwice is A/A: ten windows, the same build on both sides, no difference in any of them.
func TestSameBuildTwice(t *testing.T) {
	w := newWorld(t)
	w.status.Stacks[event.Blue] = StackStatus{Role: "candidate", Build: greenBuild, Reachable: true}
	w.decide(event.Control{Kind: event.Candidate, Live: event.Green, Candidate: greenBuild, LiveBuild: greenBuild})
	var windows []WindowSpec
	for range 10 {
		from := w.next
		w.many(500, oddNames...)
		windows = append(windows, WindowSpec{From: from, To: w.next - 1})
	}
	e := w.store()
	for _, spec := range windows {
		ev, v := w.verdict(e, Options{Window: spec})
		if v.Outcome != Pass || v.Judged != 500 {
			t.Errorf("%d..%d: %s, %s, %d judged, %+v", spec.From, spec.To, v.Outcome, v.Summary, v.Judged, ev.Unsettled)
		}
	}
}

// fault is a scenario of TestSeededFaults: what a candidate does wrong, and what has to be found.
func TestSeededFaults(t *testing.T) {
	const n = 20_000
	every := func(k int) func(int, warehouse.Row) bool {
		return func(i int, _ warehouse.Row) bool { return i%k == k/2 }
	}
	for _, c := range []struct {
		name  string
		do    func(w *world)
		plant []string
		want  func(Faults) uint64
		total uint64
		code  Code
		event string // the only name that differs; "*": several
		cols  []string
		paths []string
	}{
		{"loses one in ten thousand", func(w *world) { w.drop(event.Blue, every(10_000)) }, nil, func(f Faults) uint64 { return f.Missing }, 2, CodeMissing, "*", nil, nil},
		{"loses one", func(w *world) { w.drop(event.Blue, every(2*n-2)) }, nil, func(f Faults) uint64 { return f.Missing }, 1, CodeMissing, "*", nil, nil},
		{"stores one name no more", func(w *world) {
			w.drop(event.Blue, func(_ int, r warehouse.Row) bool { return r.Event == "rare" })
		}, nil, func(f Faults) uint64 { return f.Missing }, n / 4, CodeMissing, "rare", nil, nil},
		{"doubles some", func(w *world) { w.double(event.Blue, every(5000)) }, nil, func(f Faults) uint64 { return f.DuplicatesCandidate }, 4, CodeDuplicated, "*", nil, nil},
		{"live doubles some", func(w *world) { w.double(event.Green, every(5000)) }, nil, func(f Faults) uint64 { return f.DuplicatesLive }, 4, CodeDuplicated, "*", nil, nil},
		{"both double the same", func(w *world) {
			w.double(event.Green, every(5000))
			w.double(event.Blue, every(5000))
		}, nil, func(f Faults) uint64 { return min(f.DuplicatesLive, f.DuplicatesCandidate) }, 4, CodeDuplicated, "*", nil, nil},
		{"loses and doubles as many", func(w *world) {
			w.double(event.Blue, func(i int, r warehouse.Row) bool { return r.Event == "view" && i%1000 == 0 })
			dropped := 0
			w.drop(event.Blue, func(i int, r warehouse.Row) bool {
				if r.Event == "view" && i%1000 == 500 && dropped < 20 {
					dropped++
					return true
				}
				return false
			})
		}, nil, func(f Faults) uint64 { return f.DuplicatesCandidate }, 20, CodeMissing, "view", nil, nil},
		{"changes a byte", func(w *world) {
			w.alter(event.Blue, func(i int, r *warehouse.Row) bool {
				if i == 777 {
					r.Data[len(r.Data)-3] ^= 1 // the last digit of n
				}
				return true
			})
		}, nil, func(f Faults) uint64 { return f.Changed }, 1, CodeChanged, "*", []string{"data"}, []string{"data.properties.n"}},
		{"swaps two bodies", func(w *world) {
			w.edit(event.Blue, func(rows []warehouse.Row) []warehouse.Row {
				rows[100].Context, rows[104].Context = []byte(`{"a":1}`), []byte(`{"a":2}`)
				return rows
			})
			w.edit(event.Green, func(rows []warehouse.Row) []warehouse.Row {
				rows[100].Context, rows[104].Context = []byte(`{"a":2}`), []byte(`{"a":1}`)
				return rows
			})
		}, nil, func(f Faults) uint64 { return f.Changed }, 2, CodeChanged, "view", []string{"context"}, []string{"context.a"}},
		{"another eventId", func(w *world) {
			w.alter(event.Blue, func(i int, r *warehouse.Row) bool {
				if i == 4 {
					r.EventID = "00000000-0000-7000-8000-000000000000"
				}
				return true
			})
		}, nil, func(f Faults) uint64 { return f.Changed }, 1, CodeChanged, "view", []string{"eventId"}, nil},
		{"stores a name under another", func(w *world) {
			w.alter(event.Blue, func(i int, r *warehouse.Row) bool {
				if i == 4 {
					r.Event = "View"
				}
				return true
			})
		}, nil, func(f Faults) uint64 { return f.RenamedFrom }, 1, CodeChanged, "*", []string{"event"}, nil},
		{"a microsecond late", func(w *world) {
			w.alter(event.Blue, func(i int, r *warehouse.Row) bool {
				if i == 4 {
					r.Timestamp++
				}
				return true
			})
		}, nil, func(f Faults) uint64 { return f.Changed }, 1, CodeChanged, "view", []string{"timestamp"}, nil},
		{"bytes for an empty text", func(w *world) {
			for _, s := range event.Stacks() {
				w.alter(s, func(i int, r *warehouse.Row) bool {
					if i == 4 {
						r.Data = nil
					}
					return true
				})
			}
		}, []string{`UPDATE blue.raw SET data = NULL, "dataBytes" = ''::BLOB WHERE data = ''`}, func(f Faults) uint64 { return f.Changed }, 1, CodeChanged, "view", []string{"data", "dataBytes"}, nil},
		{"one byte of what is not UTF-8", func(w *world) {
			for i, s := range event.Stacks() {
				w.alter(s, func(k int, r *warehouse.Row) bool {
					if k == 4 {
						r.Data = []byte{0xff, 0, 0xfe, byte(i)}
					}
					return true
				})
			}
		}, nil, func(f Faults) uint64 { return f.Changed }, 1, CodeChanged, "view", []string{"dataBytes"}, nil},
		{"invents one", func(w *world) { w.drop(event.Green, every(2*n-2)) }, nil, func(f Faults) uint64 { return f.Extra }, 1, CodeExtra, "*", nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.many(n, "view", "click", "rare", "購入")
			c.do(w)
			ev, v := w.verdict(w.store(c.plant...), Options{})
			if v.Outcome != Fail || v.Reasons[0].Code != c.code {
				t.Fatalf("%s %+v, want FAIL for %s", v.Outcome, v.Reasons, c.code)
			}
			var total uint64
			for _, e := range ev.Events {
				total += c.want(e.Faults)
				if c.event != "*" && e.Differ() != (e.Name == c.event) {
					t.Errorf("event %q: %+v", e.Name, e.Faults)
				}
				for _, x := range e.Examples {
					if x.EventID == "" || x.At == 0 {
						t.Errorf("an example without id or time: %+v", x)
					}
					if x.Kind == Changed && (!slices.Equal(x.Columns, c.cols) || !slices.Equal(x.Paths, c.paths)) {
						t.Errorf("differs in %q at %q, want %q at %q", x.Columns, x.Paths, c.cols, c.paths)
					}
				}
			}
			if total != c.total {
				t.Errorf("%d found, want %d", total, c.total)
			}
			if len(v.Reasons[0].IDs) == 0 {
				t.Errorf("no ids: %+v", v.Reasons[0])
			}
		})
	}
}

// TestPipelineLoss takes from both sides alike: the ledger alone can tell, and the frames are found by asking for halves.
func TestPipelineLoss(t *testing.T) {
	w := newWorld(t)
	w.many(5000, "view", "click")
	for _, s := range event.Stacks() {
		w.drop(s, func(i int, r warehouse.Row) bool {
			return r.Frame == 57 && r.Request == 3 || r.Frame == 400 && r.Request < 2
		})
	}
	_, v := w.verdict(w.store(), Options{})
	if v.Outcome != Fail || len(v.Reasons) != 1 {
		t.Fatalf("%s %+v", v.Outcome, v.Reasons)
	}
	r := v.Reasons[0]
	if want := []event.Span{{First: 57, Last: 57}, {First: 400, Last: 400}}; r.Code != CodeLost || r.Count != 3 || !slices.Equal(r.Frames, want) {
		t.Errorf("%+v, want 3 lost in frames %v", r, want)
	}
	if !strings.Contains(r.Text, "not the candidate's alone") {
		t.Errorf("the candidate is blamed: %q", r.Text)
	}

	w = newWorld(t)
	w.many(100, "view")
	for _, s := range event.Stacks() { // lost, and another put in its place
		w.alter(s, func(i int, r *warehouse.Row) bool {
			if i == 42 {
				r.EventID = "00000000-0000-7000-8000-000000000001"
			}
			return true
		})
	}
	if _, v = w.verdict(w.store(), Options{}); v.Outcome != Fail || v.Reasons[0].Code != CodeIDs || !slices.Equal(v.Reasons[0].Frames, []event.Span{{First: 7, Last: 7}}) {
		t.Errorf("%s %+v, want ids in frame 7", v.Outcome, v.Reasons)
	}
}

// TestListsLostByBoth has both sides lose one item of a list, and double another, in the same way: everything is equal,
// every number is right, and the ledger knows requests only.
func TestListsLostByBoth(t *testing.T) {
	for _, double := range []bool{false, true} {
		w := newWorld(t)
		w.many(100, "view")
		w.accept([]item{{"a", `{"n":0}`}, {"b", `{"n":1}`}, {"c", `{"n":2}`}}, []item{{"a", "1"}, {"b", "2"}})
		at := w.next - 1
		for _, s := range event.Stacks() {
			w.drop(s, func(_ int, r warehouse.Row) bool { return r.Frame == at && r.Request == 0 && r.Item == 1 })
			if double {
				w.double(s, func(_ int, r warehouse.Row) bool { return r.Frame == at && r.Request == 1 && r.Item == 1 })
			}
		}
		ev, v := w.verdict(w.store(), Options{})
		if v.Outcome != Fail || v.Reasons[0].Code != CodeLost || ev.Lost.Events != 1 {
			t.Fatalf("doubled too: %v: %s %+v", double, v.Outcome, v.Reasons)
		}
		want := event.ID(w.accepted[len(w.accepted)-2].id, 1, true)
		if !slices.Equal(v.Reasons[0].IDs, []string{want}) {
			t.Errorf("ids %v, want %s", v.Reasons[0].IDs, want)
		}
	}
}

// TestHoles has the mirror withhold requests from the candidate: none of them is the candidate's fault but those that
// failed alone there.
func TestHoles(t *testing.T) {
	at := func(frame uint64, request uint32) event.Cursor { return event.Cursor{Frame: frame, Request: request} }
	setup := func(t *testing.T) *world {
		w := newWorld(t)
		w.many(1000, "view", "click")
		w.holes[event.Blue] = StackLedger{Holes: []Hole{{From: at(20, 4), To: at(31, 2), Reason: "expired", Requests: 108}}}
		w.drop(event.Blue, func(_ int, r warehouse.Row) bool {
			here := at(r.Frame, r.Request)
			return here.Compare(at(20, 4)) >= 0 && here.Compare(at(31, 2)) < 0
		})
		return w
	}
	t.Run("expired only", func(t *testing.T) {
		w := setup(t)
		ev, v := w.verdict(w.store(), Options{})
		if v.Outcome != Pass || v.Judged != 892 || ev.Candidate.Holes.Expired != 108 {
			t.Fatalf("%s, judged %d, %+v, %+v", v.Outcome, v.Judged, ev.Candidate.Holes, v.Reasons)
		}
		if !strings.Contains(strings.Join(v.Notes, "\n"), "108 requests of the window (108 expired) in frames 20–31") {
			t.Errorf("the holes are hidden: %q", v.Notes)
		}
	})
	t.Run("a loss beside the hole", func(t *testing.T) {
		w := setup(t)
		w.drop(event.Blue, func(_ int, r warehouse.Row) bool { return r.Frame == 20 && r.Request == 3 })
		_, v := w.verdict(w.store(), Options{})
		if v.Outcome != Fail || v.Reasons[0].Code != CodeMissing || v.Reasons[0].Count != 1 {
			t.Fatalf("%s %+v", v.Outcome, v.Reasons)
		}
	})
	t.Run("dead at the candidate, accepted by live", func(t *testing.T) {
		w := setup(t)
		w.holes[event.Blue] = StackLedger{Holes: w.holes[event.Blue].Holes, Dead: []event.Position{{Frame: 50, Request: 1}}}
		w.drop(event.Blue, func(_ int, r warehouse.Row) bool { return r.Frame == 50 && r.Request == 1 })
		_, v := w.verdict(w.store(), Options{})
		if v.Outcome != Fail || v.Reasons[0].Code != CodeDead || v.Reasons[0].Count != 1 || len(v.Reasons[0].IDs) != 1 {
			t.Fatalf("%s %+v", v.Outcome, v.Reasons)
		}
	})
	t.Run("dead at both", func(t *testing.T) {
		w := setup(t)
		dead := []event.Position{{Frame: 50, Request: 1}}
		w.holes[event.Blue] = StackLedger{Holes: w.holes[event.Blue].Holes, Dead: dead}
		w.holes[event.Green] = StackLedger{Dead: dead}
		for _, s := range event.Stacks() {
			w.drop(s, func(_ int, r warehouse.Row) bool { return r.Frame == 50 && r.Request == 1 })
		}
		ev, v := w.verdict(w.store(), Options{})
		if v.Outcome != Pass || ev.Either.UnderBoth != 1 {
			t.Fatalf("%s %+v, %d under both", v.Outcome, v.Reasons, ev.Either.UnderBoth)
		}
	})
	t.Run("dead at both, and another lost by both", func(t *testing.T) {
		w := setup(t)
		dead := []event.Position{{Frame: 50, Request: 1}}
		w.holes[event.Blue], w.holes[event.Green] = StackLedger{Dead: dead, Holes: w.holes[event.Blue].Holes}, StackLedger{Dead: dead}
		for _, s := range event.Stacks() {
			w.drop(s, func(_ int, r warehouse.Row) bool { return r.Frame == 50 && r.Request <= 1 })
		}
		_, v := w.verdict(w.store(), Options{})
		if v.Outcome != Fail || v.Reasons[0].Code != CodeLost || v.Reasons[0].Count != 1 {
			t.Fatalf("%s %+v", v.Outcome, v.Reasons)
		}
	})
	t.Run("expired, and the mirror does not say where", func(t *testing.T) {
		w := setup(t)
		w.onLedger = func(l *Ledger) error {
			s := l.Stacks[event.Blue]
			s.Holes = nil
			l.Stacks[event.Blue] = s
			return nil
		}
		_, v := w.verdict(w.store(), Options{})
		if v.Outcome != Inconclusive {
			t.Fatalf("%s %+v", v.Outcome, v.Reasons)
		}
	})
	t.Run("a reason nobody knows", func(t *testing.T) {
		w := setup(t)
		w.holes[event.Blue].Holes[0].Reason = "mislaid"
		if _, v := w.verdict(w.store(), Options{}); v.Outcome != Inconclusive {
			t.Fatalf("%s %+v", v.Outcome, v.Reasons)
		}
	})
}

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
	if len(ev.Events) != 10 || ev.Folded == nil || ev.Folded.Names != 42 || ev.Folded.Live != 42 {
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
	if total != 2 || ev.Folded.Missing != 1 {
		t.Errorf("%d counted with one name listed, folded %+v", total, ev.Folded)
	}
}
