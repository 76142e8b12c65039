package compare

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// at returns the evidence of an event at a stage.
func (ev *Evidence) at(stage warehouse.Stage, name string) Event {
	for _, e := range ev.Events {
		if e.Stage == stage && e.Name == name {
			return e
		}
	}
	return Event{}
}

// TestEqualStagesPass is A/A through trace and three trackers: no difference at any stage, in any of several windows.
func TestEqualStagesPass(t *testing.T) {
	w := newWorld(t)
	var windows []WindowSpec
	for range 4 {
		from := w.next
		w.many(500, oddNames...)
		w.accept([]item{{"view", `{"a":1}`}, {"view", `{"a":2}`}}, one("", "not JSON \xff"))
		windows = append(windows, WindowSpec{From: from, To: w.next - 1})
	}
	w.pass("ga4", "heap", "it's; DROP TABLE green.raw --")
	e := w.store()
	for _, spec := range append(windows, WindowSpec{}) {
		ev, v := w.verdict(e, Options{Window: spec})
		if v.Outcome != Pass {
			t.Fatalf("%s %+v", v.Outcome, v.Reasons)
		}
		if want := []warehouse.Stage{"raw", "trace", "ga4", "heap", "it's; DROP TABLE green.raw --"}; !slices.Equal(ev.names(), want) {
			t.Fatalf("stages %q, want %q", ev.names(), want)
		}
		for _, s := range ev.Stages {
			if s.Live.Rows != ev.Live.Rows || s.Candidate.Rows != ev.Live.Rows {
				t.Errorf("%s: %d and %d outcomes of %d rows", s.Stage, s.Live.Rows, s.Candidate.Rows, ev.Live.Rows)
			}
			if sent := s.Candidate.Sent; (s.Stage != warehouse.Trace) != (sent == s.Candidate.Rows) {
				t.Errorf("%s: %d sent of %d", s.Stage, sent, s.Candidate.Rows)
			}
		}
		for _, x := range ev.Events {
			if x.Faults != (Faults{}) {
				t.Errorf("%q at %s: %+v", x.Name, x.Stage, x.Faults)
			}
		}
		if !strings.Contains(v.Guarantee, "at each stage") {
			t.Errorf("guarantee %q", v.Guarantee)
		}
	}
}

// TestStageFaults has a candidate, or live, do one thing wrong at one stage.
func TestStageFaults(t *testing.T) {
	const n = 800
	every := func(k int) func(int, warehouse.Outcome) bool {
		return func(i int, _ warehouse.Outcome) bool { return i%k == k/2 }
	}
	some := func(k int, f func(o *warehouse.Outcome)) func(int, *warehouse.Outcome) {
		return func(i int, o *warehouse.Outcome) {
			if i%k == k/2 {
				f(o)
			}
		}
	}
	for _, c := range []struct {
		name  string
		do    func(w *world)
		code  Code
		stage warehouse.Stage
		want  func(Faults) uint64
		total uint64
		says  string // in some text of an example
	}{
		{"a mapping changes one property", func(w *world) {
			w.touch(event.Blue, "ga4", func(_ int, o *warehouse.Outcome) {
				if o.Event == "click" {
					rewrite(o, `{"name":"click","to":"ga4","properties":1}`)
				}
			})
		}, CodeChanged, "ga4", func(f Faults) uint64 { return f.Changed }, n / 4, "sent.properties"},
		{"one property, of an event whose form was not kept", func(w *world) {
			w.touch(event.Blue, "ga4", func(i int, o *warehouse.Outcome) {
				if i == 5 {
					rewrite(o, "{}")
				}
			})
		}, CodeChanged, "ga4", func(f Faults) uint64 { return f.Changed }, 1, "digest"},
		{"renames", func(w *world) {
			w.touch(event.Blue, "heap", some(200, func(o *warehouse.Outcome) { o.Event = "Renamed" }))
		}, CodeChanged, "heap", func(f Faults) uint64 { return f.RenamedFrom }, 4, "Renamed"},
		{"rejects what live delivers", func(w *world) {
			w.touch(event.Blue, "heap", some(200, func(o *warehouse.Outcome) {
				o.Outcome, o.Reason, o.Digest, o.Attempts, o.Sink = "rejected", "invalid id", 0, 0, ""
			}))
		}, CodeChanged, "heap", func(f Faults) uint64 { return f.Changed }, 4, "outcome"},
		{"rejects for another reason", func(w *world) {
			for _, s := range event.Stacks() {
				reason := map[event.Stack]string{event.Green: "wrong type: properties.n", event.Blue: "wrong value: properties.n"}[s]
				w.touch(s, "trace", some(200, func(o *warehouse.Outcome) { o.Outcome, o.Reason = "rejected", reason }))
				w.lose(s, "ga4", every(200))
				w.lose(s, "heap", every(200))
			}
		}, CodeChanged, "trace", func(f Faults) uint64 { return f.Changed }, 4, "reason"},
		{"says it delivered and sent nothing", func(w *world) {
			w.touch(event.Blue, "ga4", some(200, func(o *warehouse.Outcome) { o.Digest, o.Attempts, o.Sink = 0, 0, "" }))
		}, CodeChanged, "ga4", func(f Faults) uint64 { return f.Changed }, 4, "digest"},
		{"loses at a tracker", func(w *world) { w.lose(event.Blue, "heap", every(200)) }, CodeMissing, "heap", func(f Faults) uint64 { return f.Missing }, 4, ""},
		{"loses after the log", func(w *world) {
			w.lose(event.Blue, "trace", every(200))
			w.lose(event.Blue, "ga4", every(200))
			w.lose(event.Blue, "heap", every(200))
		}, CodeMissing, "trace", func(f Faults) uint64 { return f.Missing }, 4, ""},
		{"both skip the same", func(w *world) {
			for _, s := range event.Stacks() {
				for _, stage := range []warehouse.Stage{"trace", "ga4", "heap"} {
					w.lose(s, stage, every(200))
				}
			}
		}, CodeSkipped, "trace", func(f Faults) uint64 { return f.Skipped }, 4, "on either side"},
		{"sends twice", func(w *world) { w.repeat(event.Blue, "ga4", every(200)) }, CodeDuplicated, "ga4", func(f Faults) uint64 { return f.DuplicatesCandidate }, 4, "2 rows"},
		{"live sends twice", func(w *world) { w.repeat(event.Green, "ga4", every(200)) }, CodeDuplicated, "ga4", func(f Faults) uint64 { return f.DuplicatesLive }, 4, "2 rows"},
		{"both send the same twice", func(w *world) {
			w.repeat(event.Green, "ga4", every(200))
			w.repeat(event.Blue, "ga4", every(200))
		}, CodeDuplicated, "ga4", func(f Faults) uint64 { return min(f.DuplicatesCandidate, f.DuplicatesLive) }, 4, "2 rows"},
		{"sends more than live", func(w *world) { w.lose(event.Green, "ga4", every(200)) }, CodeExtra, "ga4", func(f Faults) uint64 { return f.Extra }, 4, ""},
		{"sends to production", func(w *world) {
			w.touch(event.Blue, "ga4", some(200, func(o *warehouse.Outcome) { o.Sink = "production" }))
		}, CodeMisrouted, "ga4", func(f Faults) uint64 { return f.Misrouted }, 4, "by blue with the credential of production"},
		{"sends under no known credential", func(w *world) {
			w.touch(event.Blue, "ga4", some(200, func(o *warehouse.Outcome) { o.Sink = "" }))
		}, CodeMisrouted, "ga4", func(f Faults) uint64 { return f.Misrouted }, 4, "nobody known"},
		{"live sends to staging", func(w *world) {
			w.touch(event.Green, "heap", some(200, func(o *warehouse.Outcome) { o.Sink = "staging" }))
		}, CodeMisrouted, "heap", func(f Faults) uint64 { return f.MisroutedLive }, 4, "by green with the credential of staging"},
		{"a correction says it is dead", func(w *world) {
			w.correct(event.Blue, "heap", 7, func(o *warehouse.Outcome) { o.Outcome, o.Reason = "dead", "invalid id" })
		}, CodeChanged, "heap", func(f Faults) uint64 { return f.Changed }, 1, "outcome"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.many(n, "view", "click", "rare", "購入")
			w.pass("ga4", "heap")
			c.do(w)
			ev, v := w.verdict(w.store(), Options{ChunkRows: 700})
			if v.Outcome != Fail || v.Reasons[0].Code != c.code || v.Reasons[0].Stage != c.stage {
				t.Fatalf("%s %+v, want FAIL for %s at %s", v.Outcome, v.Reasons, c.code, c.stage)
			}
			for _, r := range v.Reasons {
				if r.Code != c.code || r.Stage != c.stage || len(r.IDs) == 0 || r.IDs[0] == "" {
					t.Errorf("reason %+v, want only %s at %s, with ids", r, c.code, c.stage)
				}
				if !strings.Contains(r.Text, "at "+string(c.stage)) {
					t.Errorf("text %q does not name the stage", r.Text)
				}
			}
			var total uint64
			shown := ""
			for _, e := range ev.Events {
				total += c.want(e.Faults)
				for _, x := range e.Examples {
					shown += NewReport(ev, Policy{}).remark(x) + x.describes() + "\n"
				}
			}
			if total != c.total {
				t.Errorf("%d found, want %d", total, c.total)
			}
			if !strings.Contains(shown, c.says) {
				t.Errorf("examples say %q, want %q", shown, c.says)
			}
		})
	}
}

// TestStageNoFaults has what looks like a difference and is none.
func TestStageNoFaults(t *testing.T) {
	for _, c := range []struct {
		name  string
		do    func(w *world)
		notes []string
	}{
		{"retries, and another status and latency", func(w *world) {
			w.touch(event.Blue, "ga4", func(i int, o *warehouse.Outcome) {
				o.Attempts, o.Status, o.Latency = uint32(1+i%3), 200, 1_000_000
			})
		}, []string{"blue at ga4 took 399 retries: not a difference"}},
		{"sent again after a crash", func(w *world) {
			w.touch(event.Blue, "ga4", func(i int, o *warehouse.Outcome) {
				if i == 3 {
					o.Reason, o.Attempts = sentAgain, 2
				}
			})
		}, []string{"blue at ga4 sent 1 event again after a crash, since the vendor may not have had them: "}},
		{"a sample for staging", func(w *world) {
			w.touch(event.Blue, "ga4", func(i int, o *warehouse.Outcome) {
				if i%10 != 0 {
					o.Reason, o.Digest, o.Sink, o.Attempts, o.Status, o.Request = notSampled, 0, "", 0, 0, nil
				}
			})
		}, []string{"blue neither built nor sent 360 of 400 events at ga4"}},
		{"a dry run with digests", func(w *world) {
			w.touch(event.Blue, "ga4", func(i int, o *warehouse.Outcome) { o.Reason, o.Sink, o.Attempts, o.Status = dryRun, "", 0, 0 })
		}, []string{"blue built and did not send 400 of 400 events at ga4"}},
		{"dead, and delivered in the end", func(w *world) {
			w.touch(event.Blue, "ga4", func(i int, o *warehouse.Outcome) {
				if i == 3 {
					o.Outcome, o.Reason = "dead", "gone"
				}
			})
			w.correct(event.Blue, "ga4", 3, func(o *warehouse.Outcome) { o.Outcome, o.Reason = "dead", "still gone" })
			w.correct(event.Blue, "ga4", 3, func(o *warehouse.Outcome) { o.Outcome, o.Reason = "delivered", "" })
		}, nil},
		{"another wording behind the reason", func(w *world) {
			for _, s := range event.Stacks() {
				w.touch(s, "trace", func(i int, o *warehouse.Outcome) {
					if i == 3 {
						o.Outcome, o.Reason = "rejected", "unknown event: from "+string(s)
					}
				})
				w.lose(s, "ga4", func(i int, _ warehouse.Outcome) bool { return i == 3 })
			}
		}, nil},
		{"a tracker that nothing was meant for", func(w *world) {
			for _, s := range event.Stacks() {
				w.outs[stageAt{s, "heap"}] = nil
			}
		}, []string{"not exercised: no event of the window came to stage heap"}},
		{"the candidate has a tracker more, which differs", func(w *world) {
			w.outs[stageAt{event.Blue, "heap"}] = w.outs[stageAt{event.Blue, "ga4"}]
		}, []string{"stage heap decides nothing: live does not have it"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.many(400, "view", "click")
			w.pass("ga4")
			c.do(w)
			ev, v := w.verdict(w.store(), Options{})
			if v.Outcome != Pass {
				t.Fatalf("%s %+v", v.Outcome, v.Reasons)
			}
			for _, e := range ev.Events {
				if e.Differ() {
					t.Errorf("%q at %s differs: %+v", e.Name, e.Stage, e.Faults)
				}
			}
			for _, note := range c.notes {
				if !strings.Contains(strings.Join(v.Notes, "\n"), note) {
					t.Errorf("notes %q, want %q", v.Notes, note)
				}
			}
			for _, s := range ev.Stages {
				if uint64(len(s.Candidate.AgainIDs)) != s.Candidate.Again || slices.Contains(s.Candidate.AgainIDs, "") {
					t.Errorf("%d sent again, ids %q", s.Candidate.Again, s.Candidate.AgainIDs)
				}
			}
		})
	}
}

// TestOpenStages has stages that are late, or not there: never PASS, and the reason names stage, stack and distance.
func TestOpenStages(t *testing.T) {
	for _, c := range []struct {
		name   string
		do     func(w *world)
		policy []warehouse.Stage
		want   Outcome
		code   Code
		says   string
	}{
		{"a tracker is behind", func(w *world) { w.through[stageAt{event.Blue, "ga4"}] = event.Cursor{Frame: 23, Request: 4} }, nil,
			Inconclusive, CodeOpen, "candidate (blue) has stored ga4 up to frame 22, the window ends at 42: the tracker is 20 frames behind"},
		{"a tracker of live is behind", func(w *world) { w.through[stageAt{event.Green, "ga4"}] = event.Cursor{Frame: 23} }, nil, Inconclusive, CodeOpen, "live (green) has stored ga4"},
		{"trace is behind", func(w *world) {
			for _, s := range []warehouse.Stage{"trace", "ga4", "heap"} {
				w.through[stageAt{event.Blue, s}] = event.Cursor{Frame: 23}
			}
		}, nil, Inconclusive, CodeOpen, "has stored trace up to"},
		{"a tracker is missing at the candidate", func(w *world) { delete(w.outs, stageAt{event.Blue, "ga4"}) }, nil, Inconclusive, CodeStage, "candidate (blue) has no stage ga4"},
		{"trace is missing at the candidate", func(w *world) {
			for _, s := range []warehouse.Stage{"trace", "ga4", "heap"} {
				delete(w.outs, stageAt{event.Blue, s})
			}
		}, nil, Inconclusive, CodeStage, "has no stage trace"},
		{"the policy names a stage that is nowhere", func(w *world) {}, []warehouse.Stage{"segment"}, Inconclusive, CodeStage, "has no stage segment"},
		{"the policy names a tracker that saw nothing", func(w *world) {
			for _, s := range event.Stacks() {
				w.outs[stageAt{s, "heap"}] = nil
			}
		}, []warehouse.Stage{"heap"}, Inconclusive, CodeEmpty, "no event of the window came to heap"},
		{"all of staging is left out by sampling", func(w *world) {
			w.touch(event.Blue, "ga4", func(i int, o *warehouse.Outcome) { o.Reason, o.Digest, o.Sink, o.Attempts = notSampled, 0, "", 0 })
		}, nil, Inconclusive, CodeUnseen, "live sent 400 events at ga4"},
		{"another build at a tracker", func(w *world) {
			w.touch(event.Blue, "ga4", func(i int, o *warehouse.Outcome) {
				if i > 300 {
					o.Build = "cccc"
				}
			})
		}, nil, Inconclusive, CodeMixed, "ran build cccc at ga4"},
		{"behind, and proven before", func(w *world) {
			w.through[stageAt{event.Blue, "ga4"}] = event.Cursor{Frame: 23}
			w.lose(event.Blue, "ga4", func(i int, _ warehouse.Outcome) bool { return i == 3 })
		}, nil, Fail, CodeMissing, `1 event "click"`},
		{"behind where the policy does not ask", func(w *world) { w.through[stageAt{event.Blue, "ga4"}] = event.Cursor{Frame: 23} }, []warehouse.Stage{"heap"}, Pass, "", ""},
		{"different where the policy does not ask", func(w *world) { w.lose(event.Blue, "ga4", func(i int, _ warehouse.Outcome) bool { return i == 3 }) }, []warehouse.Stage{"trace"}, Pass, "", ""},
		{"trace differs, which every tracker takes", func(w *world) {
			w.touch(event.Blue, "trace", func(i int, o *warehouse.Outcome) {
				if i == 3 {
					o.Outcome = "rejected"
				}
			})
		}, []warehouse.Stage{"heap"}, Fail, CodeChanged, "at trace"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.many(400, "view", "click")
			w.pass("ga4", "heap")
			c.do(w)
			e := w.store()
			ev := w.collect(e, Options{Stages: c.policy})
			v := Judge(*ev, Policy{Stages: c.policy})
			if v.Outcome != c.want {
				t.Fatalf("%s %+v, want %s", v.Outcome, v.Reasons, c.want)
			}
			if c.want == Pass {
				return
			}
			if v.Reasons[0].Code != c.code || !strings.Contains(v.Reasons[0].Text, c.says) {
				t.Errorf("%+v, want %s: %q", v.Reasons[0], c.code, c.says)
			}
			if c.want == Inconclusive && len(v.Missing) == 0 {
				t.Error("does not say what is missing")
			}
			for _, r := range v.Reasons {
				if r.Code == CodeUnsettled {
					t.Errorf("true evidence is said to contradict itself: %s", r.Text)
				}
			}
			if c.want == Inconclusive && (c.code == CodeOpen || c.code == CodeStage) {
				_, err := Collect(context.Background(), Sources{Pipeline: w, Warehouse: e}, Options{Stages: c.policy, Wait: 5 * time.Millisecond, Poll: time.Millisecond})
				var wait *WaitError
				if !errors.As(err, &wait) || !strings.Contains(err.Error(), c.says) {
					t.Errorf("waiting ends with %v, want it to say %q", err, c.says)
				}
			}
		})
	}
}

// TestCorrectedWhileReading has a dead letter retried between two statements.
func TestCorrectedWhileReading(t *testing.T) {
	w := newWorld(t)
	w.many(100, "view")
	w.pass("ga4")
	e := w.store()
	at := stageAt{event.Blue, "ga4"}
	w.onStatus = func(n int, _ *Status) error {
		if n == 3 {
			w.correct(event.Blue, "ga4", 5, func(o *warehouse.Outcome) { o.Outcome = "dead" })
			w.storeLate(e, at, 0)
		}
		return nil
	}
	_, v := w.verdict(e, Options{})
	if v.Outcome != Inconclusive || v.Reasons[0].Code != CodeUnsettled || !strings.Contains(v.Reasons[0].Text, "blue at ga4 were corrected") {
		t.Errorf("%s %+v", v.Outcome, v.Reasons)
	}
}

// TestUpstream has each loss told where it happened, and only there.
func TestUpstream(t *testing.T) {
	w := newWorld(t)
	w.many(400, "view", "click")
	w.pass("ga4", "heap")
	gone := func(p event.Position) bool { return p.Frame == 7 && p.Request == 2 }
	w.drop(event.Blue, func(_ int, r warehouse.Row) bool { return gone(r.Position) })
	for _, s := range []warehouse.Stage{"trace", "ga4", "heap"} {
		w.lose(event.Blue, s, func(_ int, o warehouse.Outcome) bool { return gone(o.Position) })
	}
	w.touch(event.Blue, "trace", func(i int, o *warehouse.Outcome) {
		if i == 100 {
			o.Outcome, o.Reason = "rejected", "wrong type"
		}
	})
	lost := w.outs[stageAt{event.Blue, "trace"}][100].Position
	w.lose(event.Blue, "heap", func(_ int, o warehouse.Outcome) bool { return o.Position == lost })
	ev, v := w.verdict(w.store(), Options{})
	if v.Outcome != Fail || len(v.Reasons) != 2 || v.Reasons[0].Stage != warehouse.Raw || v.Reasons[1].Stage != warehouse.Trace {
		t.Fatalf("%s %+v, want one reason at raw and one at trace", v.Outcome, v.Reasons)
	}
	if e := ev.at("trace", "view"); e.Upstream != 1 || e.Missing != 0 {
		t.Errorf("trace: %+v", e.Faults)
	}
	var upstream uint64
	for _, e := range ev.Events {
		if e.Stage == "heap" {
			upstream += e.Upstream
		}
	}
	if upstream != 2 {
		t.Errorf("heap lacks %d for what happened before, want 2", upstream)
	}
	j := &judge{ev: *ev, needed: Policy{}.Needed(ev)}
	if c := j.contradictions(); len(c) > 0 {
		t.Errorf("true evidence is said to contradict itself: %q", c)
	}
}
