package compare

import (
	"slices"
	"strings"
	"testing"

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
	// A sampled candidate: one hole for the whole window says by which rule. Its rows tell the rest by their ids.
	sampled := func(t *testing.T, percent float64, by string) (w *world, s event.Sample) {
		w = newWorld(t)
		w.many(1000, "view", "click")
		s, err := event.ParseSample(percent, by)
		if err != nil {
			t.Fatal(err)
		}
		keeps := map[event.Cursor]bool{}
		out := uint64(0)
		for _, r := range w.accepted {
			if keeps[at(r.frame, r.request)] = s.Keeps(&event.Request{Id: r.id[:]}); !keeps[at(r.frame, r.request)] && r.frame >= 20 {
				out++
			}
		}
		w.holes[event.Blue] = StackLedger{Holes: []Hole{{From: at(20, 0), To: at(w.next, 0), Reason: "sampled", Requests: out, Sample: &s}}}
		w.drop(event.Blue, func(_ int, r warehouse.Row) bool { return r.Frame >= 20 && !keeps[at(r.Frame, r.Request)] })
		return w, s
	}
	t.Run("partly sampled", func(t *testing.T) {
		w, _ := sampled(t, 30, "")
		ev, v := w.verdict(w.store(), Options{})
		out := w.holes[event.Blue].Holes[0].Requests
		if v.Outcome != Pass || v.Judged != 1000-out || ev.Candidate.Holes.Sampled != out || out < 400 {
			t.Fatalf("%s, judged %d of 1000 without %d, %+v, %+v", v.Outcome, v.Judged, out, ev.Candidate.Holes, v.Reasons)
		}
	})
	t.Run("a loss within the sample", func(t *testing.T) {
		w, s := sampled(t, 30, "")
		lost := ""
		w.drop(event.Blue, func(_ int, r warehouse.Row) bool {
			id, _, _, err := event.ParseID(r.EventID)
			if err != nil {
				t.Fatal(err)
			}
			if lost == "" && r.Frame >= 40 && s.Keeps(&event.Request{Id: id[:]}) {
				lost = r.EventID
			}
			return r.EventID == lost
		})
		_, v := w.verdict(w.store(), Options{})
		if v.Outcome != Fail || v.Reasons[0].Code != CodeMissing || v.Reasons[0].Count != 1 || !slices.Equal(v.Reasons[0].IDs, []string{lost}) {
			t.Fatalf("%s %+v, want %s", v.Outcome, v.Reasons, lost)
		}
	})
	t.Run("partly sampled, at every stage", func(t *testing.T) {
		w, _ := sampled(t, 30, "")
		w.pass("ga4", "heap")
		if _, v := w.verdict(w.store(), Options{}); v.Outcome != Pass {
			t.Fatalf("%s %+v", v.Outcome, v.Reasons)
		}
		w, _ = sampled(t, 30, "")
		w.pass("ga4", "heap")
		w.lose(event.Blue, "ga4", func(i int, _ warehouse.Outcome) bool { return i == 300 })
		_, v := w.verdict(w.store(), Options{})
		if v.Outcome != Fail || len(v.Reasons) != 1 || v.Reasons[0].Stage != "ga4" || v.Reasons[0].Count != 1 {
			t.Fatalf("one lost at ga4: %s %+v", v.Outcome, v.Reasons)
		}
	})
	t.Run("wholly sampled", func(t *testing.T) {
		w, _ := sampled(t, 0, "")
		w.drop(event.Blue, func(_ int, r warehouse.Row) bool { return true })
		w.holes[event.Blue].Holes[0].From = at(3, 0)
		_, v := w.verdict(w.store(), Options{})
		if v.Outcome != Inconclusive {
			t.Fatalf("%s %+v", v.Outcome, v.Reasons)
		}
	})
	t.Run("sampled by a header, and not listed", func(t *testing.T) {
		w, _ := sampled(t, 30, "header X-Device")
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
