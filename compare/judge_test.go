package compare

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// agreed is evidence that passes: 3,000 requests of three names, everything equal, closed and accounted for.
func agreed() Evidence {
	sum := event.Sum{Lo: 12345}
	side := func(s event.Stack, b event.Build) Side {
		return Side{Stack: s, Build: b, Reachable: true, Feed: event.Cursor{Frame: 103}, Stored: map[warehouse.Stage]event.Cursor{warehouse.Raw: {Frame: 103}},
			Builds: []BuildSeen{{ID: b.ID, Rows: 3000, First: 3, Last: 102}}, Rows: 3000, Requests: 3000, IDSum: sum, Holes: Holes{Located: true}}
	}
	return Evidence{Schema: Schema, At: began, Journal: "j", Generation: 2, Head: "head", Window: Window{First: 3, Last: 102},
		Declared: Declaration{Build: blueBuild, Sequence: 2},
		Ledger:   LedgerCount{Totals: event.Totals{Requests: 3000, IDSum: sum}, Complete: true},
		Either:   EitherCount{Requests: 3000, IDSum: sum, BothKnown: true},
		Live:     side(event.Green, greenBuild), Candidate: side(event.Blue, blueBuild),
		Events: []Event{
			{Name: "view", Stage: warehouse.Raw, Live: 2900, Candidate: 2900},
			{Name: "click", Stage: warehouse.Raw, Live: 90, Candidate: 90},
			{Name: "", Stage: warehouse.Raw, Live: 10, Candidate: 10},
		}}
}

// agreedStages is the same, with trace and two trackers; heap is meant for clicks only.
func agreedStages() Evidence {
	ev := agreed()
	end := event.Cursor{Frame: 103}
	for _, stage := range []warehouse.Stage{warehouse.Trace, "ga4", "heap"} {
		names := ev.Events[:3:3]
		if stage == "heap" {
			names = ev.Events[1:2:2]
		}
		s := StageEvidence{Stage: stage, Live: StageSide{Found: true}, Candidate: StageSide{Found: true}}
		for _, e := range names {
			e.Stage = stage
			ev.Events = append(ev.Events, e)
			s.Live.Rows += e.Live
		}
		s.Candidate.Rows = s.Live.Rows
		s.Live.Builds = []BuildSeen{{ID: greenBuild.ID, Rows: s.Live.Rows, First: 3, Last: 102}}
		s.Candidate.Builds = []BuildSeen{{ID: blueBuild.ID, Rows: s.Live.Rows, First: 3, Last: 102}}
		if stage != warehouse.Trace {
			s.Live.Sent, s.Candidate.Sent = s.Live.Rows, s.Live.Rows
		}
		ev.Stages = append(ev.Stages, s)
		ev.Live.Stored[stage], ev.Candidate.Stored[stage] = end, end
	}
	return ev
}

// named picks an event of agreedStages.
func (ev *Evidence) named(stage warehouse.Stage, name string) *Event {
	for i := range ev.Events {
		if ev.Events[i].Stage == stage && ev.Events[i].Name == name {
			return &ev.Events[i]
		}
	}
	return nil
}

func TestJudgeStages(t *testing.T) {
	for _, s := range []struct {
		name   string
		change func(*Evidence)
		policy Policy
		want   Outcome
		code   Code
		stage  warehouse.Stage
	}{
		{"everything agrees", func(*Evidence) {}, Policy{}, Pass, "", ""},
		{"everything agrees, asked for by name", func(*Evidence) {}, Policy{Stages: []warehouse.Stage{"heap", "ga4"}, Required: []string{"click"}}, Pass, "", ""},
		{"one missing at a tracker", func(e *Evidence) {
			e.named("ga4", "view").Candidate--
			e.named("ga4", "view").Missing = 1
			e.stage("ga4").Candidate.Rows--
		}, Policy{}, Fail, CodeMissing, "ga4"},
		{"one skipped", func(e *Evidence) { e.named("trace", "view").Skipped = 1 }, Policy{}, Fail, CodeSkipped, "trace"},
		{"one misrouted", func(e *Evidence) { e.named("heap", "click").Misrouted = 1 }, Policy{}, Fail, CodeMisrouted, "heap"},
		{"one misrouted by live", func(e *Evidence) { e.named("heap", "click").MisroutedLive = 1 }, Policy{}, Fail, CodeMisrouted, "heap"},
		{"one changed, folded away", func(e *Evidence) { e.Folded = []Folded{{Stage: "ga4", Names: 1, Faults: Faults{Changed: 1}}} }, Policy{}, Fail, CodeChanged, "ga4"},
		{"raw first", func(e *Evidence) { e.named("ga4", "view").Missing, e.named("raw", "click").Missing = 9, 1 }, Policy{}, Fail, CodeMissing, "raw"},
		{"a stage that decides nothing differs", func(e *Evidence) { e.named("heap", "click").Misrouted = 1 }, Policy{Stages: []warehouse.Stage{"ga4"}}, Pass, "", ""},
		{"raw cannot be left out", func(e *Evidence) { e.named("raw", "view").Changed = 1 }, Policy{Stages: []warehouse.Stage{"ga4"}}, Fail, CodeChanged, "raw"},
		{"trace cannot be left out of a tracker", func(e *Evidence) { e.named("trace", "view").Changed = 1 }, Policy{Stages: []warehouse.Stage{"ga4"}}, Fail, CodeChanged, "trace"},
		{"missing for an earlier stage that shows nothing", func(e *Evidence) {
			e.named("ga4", "view").Candidate--
			e.named("ga4", "view").Upstream = 1
			e.stage("ga4").Candidate.Rows--
			e.stage("ga4").Candidate.Builds[0].Rows--
		}, Policy{}, Inconclusive, CodeUnsettled, ""},
		{"trace has fewer outcomes than raw has rows", func(e *Evidence) {
			for _, s := range []*StageSide{&e.stage("trace").Live, &e.stage("trace").Candidate} {
				s.Rows--
				s.Builds[0].Rows--
			}
			e.named("trace", "view").Live--
			e.named("trace", "view").Candidate--
		}, Policy{}, Inconclusive, CodeUnsettled, ""},
		{"a tracker is behind", func(e *Evidence) { e.Candidate.Stored["ga4"] = event.Cursor{Frame: 102, Request: 9} }, Policy{}, Inconclusive, CodeOpen, "ga4"},
		{"a tracker is missing", func(e *Evidence) { e.stage("ga4").Candidate.Found = false }, Policy{}, Inconclusive, CodeStage, "ga4"},
		{"a tracker named by the policy is nowhere", func(*Evidence) {}, Policy{Stages: []warehouse.Stage{"segment"}}, Inconclusive, CodeStage, "segment"},
		{"the stages are cut off", func(e *Evidence) { e.Stages = nil }, Policy{}, Inconclusive, CodeUnsettled, ""},
		{"two builds at a tracker", func(e *Evidence) {
			s := &e.stage("ga4").Candidate
			s.Builds = append(s.Builds, BuildSeen{ID: "cccc", First: 90, Last: 102})
		}, Policy{}, Inconclusive, CodeMixed, ""},
		{"nothing that live sent was built", func(e *Evidence) { e.stage("ga4").Candidate.Sent, e.stage("ga4").Candidate.Unseen = 0, 3000 }, Policy{}, Inconclusive, CodeUnseen, "ga4"},
	} {
		t.Run(s.name, func(t *testing.T) {
			ev := agreedStages()
			s.change(&ev)
			v := Judge(ev, s.policy)
			if v.Outcome != s.want {
				t.Fatalf("%s, want %s: %+v", v.Outcome, s.want, v.Reasons)
			}
			if s.want == Pass {
				if !strings.Contains(v.Summary, "at raw, trace") {
					t.Errorf("the summary does not say which stages: %q", v.Summary)
				}
				return
			}
			if v.Reasons[0].Code != s.code || v.Reasons[0].Stage != s.stage {
				t.Errorf("%+v, want %s at %q", v.Reasons, s.code, s.stage)
			}
		})
	}
}

func TestJudge(t *testing.T) {
	type scenario struct {
		name   string
		change func(*Evidence)
		policy Policy
		want   Outcome
		code   Code   // of the first reason
		says   string // in the first reason's text
	}
	for _, s := range []scenario{
		{"everything agrees", func(*Evidence) {}, Policy{}, Pass, "", ""},
		{"the policy's required events occurred", func(*Evidence) {}, Policy{Required: []string{"click", ""}, MinEvents: 3000}, Pass, "", ""},
		{"no candidate is declared", func(e *Evidence) { e.Declared = Declaration{} }, Policy{}, Pass, "", ""},
		{"not exercised is a note", func(e *Evidence) { e.NotExercised = []Unexercised{{Name: "rare"}} }, Policy{}, Pass, "", ""},

		// Proven faults.
		{"one missing", func(e *Evidence) { e.Events[0].Candidate--; e.Events[0].Missing = 1 }, Policy{}, Fail, CodeMissing, `1 event "view"`},
		{"one dead-lettered by the candidate only", func(e *Evidence) {
			e.Events[1].Candidate--
			e.Events[1].Dead = 1
			e.Candidate.Holes.Dead = 1
		}, Policy{}, Fail, CodeDead, "live accepted it"},
		{"one extra", func(e *Evidence) { e.Events[0].Live--; e.Events[0].Extra = 1 }, Policy{}, Fail, CodeExtra, "ledger sides with the candidate"},
		{"one changed", func(e *Evidence) { e.Events[2].Changed = 1 }, Policy{}, Fail, CodeChanged, "(no name)"},
		{"one doubled by the candidate", func(e *Evidence) { e.Events[0].Candidate++; e.Events[0].DuplicatesCandidate = 1 }, Policy{}, Fail, CodeDuplicated, "by the candidate"},
		{"one doubled by live", func(e *Evidence) { e.Events[0].Live++; e.Events[0].DuplicatesLive = 1 }, Policy{}, Fail, CodeDuplicated, "by live"},
		{"loss and doubling that cancel", func(e *Evidence) { e.Events[0].Missing, e.Events[0].DuplicatesCandidate = 60, 60 }, Policy{}, Fail, CodeMissing, "60 events"},
		{"a name never stored by the candidate", func(e *Evidence) { e.Events[1].Candidate = 0; e.Events[1].Missing = 90 }, Policy{}, Fail, CodeMissing, `90 events "click"`},
		{"live dead-lettered what the candidate took", func(e *Evidence) { e.Events[0].DeadLive = 1 }, Policy{}, Fail, CodeDeadLive, "at live"},
		{"a fault among the folded names", func(e *Evidence) {
			e.Folded = []Folded{{Stage: warehouse.Raw, Names: 3, Live: 9, Candidate: 8, Faults: Faults{Missing: 1}}}
		}, Policy{}, Fail, CodeMissing, "further names"},
		{"both sides lost a request", func(e *Evidence) { e.Ledger.Requests++ }, Policy{}, Fail, CodeLost, "not the candidate's alone"},
		{"both sides lost an item", func(e *Evidence) { e.Lost.Events = 2 }, Policy{}, Fail, CodeLost, "2 items"},
		{"a request that was never accepted", func(e *Evidence) { e.Ledger.Requests-- }, Policy{}, Fail, CodeForeign, "never accepted"},
		{"the ids do not add up", func(e *Evidence) { e.Ledger.IDSum.Lo++ }, Policy{}, Fail, CodeIDs, "not the same ones"},
		{"a proven loss in a window still open", func(e *Evidence) {
			e.Events[0].Missing = 1
			e.Candidate.Stored[warehouse.Raw] = event.Cursor{Frame: 50}
			e.Candidate.Reachable = false
		}, Policy{}, Fail, CodeMissing, ""},
		{"the candidate stored nothing and says it is done", func(e *Evidence) {
			e.Candidate.Builds, e.Candidate.Rows = nil, 0
			e.Events[0].Candidate, e.Events[0].Missing = 0, 2900
		}, Policy{}, Fail, CodeMissing, ""},

		// Whatever is not there to be seen.
		{"no frame in the window", func(e *Evidence) { e.Window = Window{First: 3, Last: 2}; e.Events = nil }, Policy{}, Inconclusive, CodeEmpty, "no frame"},
		{"frames without a request", func(e *Evidence) {
			e.Events, e.Ledger.Totals, e.Either = nil, event.Totals{}, EitherCount{BothKnown: true}
			e.Live.Builds, e.Candidate.Builds = nil, nil
		}, Policy{}, Inconclusive, CodeEmpty, "nothing was accepted"},
		{"all of it expired for the candidate", func(e *Evidence) {
			e.Candidate.Holes.Expired = 3000
			e.Candidate.Builds = nil
			for i := range e.Events {
				e.Events[i].Candidate, e.Events[i].Undelivered = 0, e.Events[i].Live
			}
		}, Policy{}, Inconclusive, CodeEmpty, "reached both sides"},
		{"the candidate is behind", func(e *Evidence) { e.Candidate.Feed = event.Cursor{Frame: 50} }, Policy{}, Inconclusive, CodeOpen, "up to frame 49"},
		{"the candidate's last request is not stored", func(e *Evidence) { e.Candidate.Stored[warehouse.Raw] = event.Cursor{Frame: 102, Request: 7} }, Policy{}, Inconclusive, CodeOpen, "stored raw up to frame 101"},
		{"live is behind", func(e *Evidence) { e.Live.Stored[warehouse.Raw] = event.Cursor{Frame: 102} }, Policy{}, Inconclusive, CodeOpen, "live (green)"},
		{"no cursor at all", func(e *Evidence) { e.Live.Stored = nil }, Policy{}, Inconclusive, CodeOpen, ""},
		{"a pending event", func(e *Evidence) {
			e.Events[0].Candidate, e.Events[0].Pending = 2899, 1
			e.Candidate.Stored[warehouse.Raw] = event.Cursor{Frame: 102}
		}, Policy{}, Inconclusive, CodeOpen, ""},
		{"the candidate is unreachable", func(e *Evidence) { e.Candidate.Reachable, e.Candidate.Error = false, "refused" }, Policy{}, Inconclusive, CodeUnreachable, "refused"},
		{"live is unreachable", func(e *Evidence) { e.Live.Reachable = false }, Policy{}, Inconclusive, CodeUnreachable, "live (green)"},
		{"two builds of the candidate", func(e *Evidence) {
			e.Candidate.Builds = append(e.Candidate.Builds, BuildSeen{ID: "cccc", First: 90, Last: 102})
			e.Events[0].Missing = 5 // whose?
		}, Policy{}, Inconclusive, CodeMixed, "cccc in frames 90–102"},
		{"two builds of live", func(e *Evidence) { e.Live.Builds = append(e.Live.Builds, BuildSeen{ID: "cccc", First: 90, Last: 102}) }, Policy{}, Inconclusive, CodeMixed, "live (green)"},
		{"rows that name no build", func(e *Evidence) { e.Candidate.Builds[0].ID = "" }, Policy{}, Inconclusive, CodeBuild, "did not say"},
		{"rows of another build than declared", func(e *Evidence) { e.Declared.Build.ID = "cccc"; e.Declared.Build.Version = "v9" }, Policy{}, Inconclusive, CodeBuild, "declared candidate is v9"},
		{"the candidate now runs another build", func(e *Evidence) { e.Candidate.Build.ID = "cccc" }, Policy{}, Inconclusive, CodeBuild, "now runs"},
		{"no row names a build, yet events", func(e *Evidence) { e.Candidate.Builds = nil }, Policy{}, Inconclusive, CodeBuild, ""},
		{"the ledger cannot count the window", func(e *Evidence) { e.Ledger = LedgerCount{} }, Policy{}, Inconclusive, CodeLedger, ""},
		{"holes that cannot be placed", func(e *Evidence) { e.Candidate.Holes = Holes{Expired: 4} }, Policy{}, Inconclusive, CodeHoles, ""},
		{"holes on both sides that cannot be told apart", func(e *Evidence) { e.Either.BothKnown = false }, Policy{}, Inconclusive, CodeHoles, ""},
		{"ids that are no UUIDs", func(e *Evidence) { e.Either.BadIDs = 1 }, Policy{}, Inconclusive, CodeLedger, "no UUID"},
		{"something moved", func(e *Evidence) { e.Unsettled = []string{"somebody decided"}; e.Events[0].Missing = 7 }, Policy{}, Inconclusive, CodeUnsettled, "somebody decided"},
		{"a newer schema", func(e *Evidence) { e.Schema++ }, Policy{}, Inconclusive, CodeSchema, "schema 3"},
		{"no schema: the zero evidence", func(e *Evidence) { *e = Evidence{} }, Policy{}, Inconclusive, CodeSchema, ""},
		{"both sides are the same stack", func(e *Evidence) { e.Candidate.Stack = event.Green }, Policy{}, Inconclusive, CodeUnsettled, ""},
		{"no journal", func(e *Evidence) { e.Journal = "" }, Policy{}, Inconclusive, CodeUnsettled, ""},
		{"fewer events than the policy wants", func(*Evidence) {}, Policy{MinEvents: 3001}, Inconclusive, CodeFew, "3,000 events judged"},
		{"a required event did not occur", func(*Evidence) {}, Policy{Required: []string{"purchase"}}, Inconclusive, CodeRequired, `"purchase"`},
		{"a required event reached only one side", func(e *Evidence) {
			e.Events[1].Candidate, e.Events[1].Undelivered = 0, 90
			e.Candidate.Holes.Expired = 90
		}, Policy{Required: []string{"click"}}, Inconclusive, CodeRequired, `"click"`},
	} {
		t.Run(s.name, func(t *testing.T) {
			ev := agreed()
			s.change(&ev)
			before, _ := json.Marshal(ev)
			v := Judge(ev, s.policy)
			if after, _ := json.Marshal(ev); string(before) != string(after) {
				t.Error("Judge changed the evidence")
			}
			if v.Outcome != s.want {
				t.Fatalf("%s, want %s: %s %+v", v.Outcome, s.want, v.Summary, v.Reasons)
			}
			if s.want == Pass {
				if len(v.Reasons) > 0 || v.Guarantee == "" || v.Candidate != blueBuild {
					t.Errorf("a PASS with reasons %+v, guarantee %q, for %+v", v.Reasons, v.Guarantee, v.Candidate)
				}
				return
			}
			if v.Guarantee != "" {
				t.Errorf("%s promises %q", v.Outcome, v.Guarantee)
			}
			if len(v.Reasons) == 0 || v.Reasons[0].Code != s.code || !strings.Contains(v.Reasons[0].Text, s.says) {
				t.Errorf("reasons %+v, want first %s saying %q", v.Reasons, s.code, s.says)
			}
			if v.Summary == "" || (s.want == Inconclusive && s.code != CodeSchema && s.code != CodeUnsettled && s.code != CodeBuild && s.code != CodeLedger && len(v.Missing) == 0) {
				t.Errorf("summary %q, missing %q", v.Summary, v.Missing)
			}
		})
	}
}

// TestNothingPassesByAccident takes away from passing evidence whatever one thing it rests on, by way of its JSON: each
// number set to 0 or raised by one, each truth denied, each text and list emptied. Only what is known not to matter may
// still pass.
func TestNothingPassesByAccident(t *testing.T) {
	harmless := []string{
		"at", "generation", "head", "journal+", "window.asked", "window.chosen",
		"declared.sequence", "declared.build.version", "declared.build.id=", // not declared: the cutover's guard asks for it
		"ledger.bytes", "ledger.firstAt", "ledger.lastAt",
		"live.error", "candidate.error", "live.idSum", "candidate.idSum", // of one side: the check is on either's
		"live.absent", "candidate.absent", "live.requests=0", // with more absent it still adds up
		"live.feed.request", "candidate.feed.request", "live.stored.raw.request", "candidate.stored.raw.request",
		"live.feed.frame+", "candidate.feed.frame+", "live.stored.raw.frame+", "candidate.stored.raw.frame+",
		"live.holes.dead", "live.holes.expired", "live.holes.sampled", "candidate.holes.dead", "candidate.holes.expired", "candidate.holes.sampled",
		"live.build.id", "live.build.version", "candidate.build.version", "candidate.build.id=", "live.builds.0.id+",
		"live.builds.0.first", "live.builds.0.last", "candidate.builds.0.first", "candidate.builds.0.last",
		"events.0.event", "events.1.event", "events.2.event",
		// Told of a stage for people.
		"stages.1.live.sent", "stages.2.live.sent", "stages.1.candidate.sent", "stages.2.candidate.sent",
	}
	for i := range 10 {
		harmless = append(harmless, fmt.Sprintf("events.%d.event", i))
	}
	for _, side := range []string{"live", "candidate"} {
		for _, stage := range []string{"trace", "ga4", "heap"} {
			harmless = append(harmless, side+".stored."+stage+".request", side+".stored."+stage+".frame+")
		}
		for i := range 3 {
			harmless = append(harmless, fmt.Sprintf("stages.%d.%s.builds.0.first", i, side), fmt.Sprintf("stages.%d.%s.builds.0.last", i, side))
		}
	}
	data, err := json.Marshal(agreedStages())
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	if err := json.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	tried := 0
	try := func(path string) {
		tried++
		changed, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		ev, err := DecodeEvidence(changed)
		if err != nil {
			return // refused before it is judged
		}
		if v := Judge(*ev, Policy{}); v.Outcome == Pass && !slices.Contains(harmless, path) && !slices.Contains(harmless, strings.TrimRight(path, "+-=0")) {
			t.Errorf("passes with %s changed", path)
		}
	}
	var walk func(path string, get any, set func(any))
	walk = func(path string, get any, set func(any)) {
		was := get
		defer set(was)
		switch v := get.(type) {
		case map[string]any:
			for k := range v {
				walk(strings.TrimPrefix(path+"."+k, "."), v[k], func(x any) { v[k] = x })
			}
		case []any:
			for i := range v {
				walk(fmt.Sprintf("%s.%d", path, i), v[i], func(x any) { v[i] = x })
			}
			set([]any{})
			try(path)
		case float64:
			set(v + 1)
			try(path + "+")
			if v != 0 {
				set(v - 1)
				try(path + "-")
				set(0.0)
				try(path + "=0")
			}
		case bool:
			set(!v)
			try(path)
		case string:
			if v != "" {
				set("")
				try(path + "=")
			}
			set("9" + v)
			try(path + "+")
		}
	}
	walk("", doc, func(any) {})
	if tried < 100 {
		t.Errorf("only %d changes tried", tried)
	}
}

func TestGuarantee(t *testing.T) {
	ev := agreed()
	v := Judge(ev, Policy{})
	// 1 − 0.05^(1/3000) = 0.0998 %, 1 − 0.05^(1/10) = 25.9 %, both rounded up.
	if want := `loss < 0.10 % over all 3,000 events, and < 26 % for each of 3 event names, at 95 % confidence; the weakest is (no name) with 10 events`; v.Guarantee != want {
		t.Errorf("guarantee %q, want %q", v.Guarantee, want)
	}
	for _, c := range []struct {
		n    uint64
		conf float64
		want string
	}{{2995, 0.95, "0.10 %"}, {29956, 0.95, "0.010 %"}, {1, 0.95, "95 %"}, {2_995_732, 0.95, "0.00010 %"}, {1, 0.5, "50 %"}} {
		if got := bound(zeroOf(c.n, c.conf)); got != c.want {
			t.Errorf("%d events at %v: %s, want %s", c.n, c.conf, got, c.want)
		}
	}
}

func TestReasonsAreBounded(t *testing.T) {
	ev := agreed()
	ev.Events = nil
	for i := range 1000 {
		ev.Events = append(ev.Events, Event{Name: fmt.Sprint("event ", i), Stage: warehouse.Raw, Live: 2, Candidate: 1, Faults: Faults{Missing: 1}})
	}
	v := Judge(ev, Policy{})
	var total uint64
	for _, r := range v.Reasons {
		total += r.Count
	}
	if len(v.Reasons) != maxReasons+1 || total != 1000 {
		t.Errorf("%d reasons that count %d events, want %d and 1000", len(v.Reasons), total, maxReasons+1)
	}
}

func TestExitStatus(t *testing.T) {
	wait := &WaitError{Open: []string{"x"}}
	for _, c := range []struct {
		outcome Outcome
		err     error
		want    int
	}{
		{Pass, nil, 0}, {Fail, nil, 1}, {Inconclusive, nil, 3}, {"", nil, 3}, {"MAYBE", nil, 3},
		{Pass, &UsageError{fmt.Errorf("x")}, 2}, {"", &UnreadableError{"mirror", fmt.Errorf("x")}, 4}, {Pass, fmt.Errorf("anything"), 4},
		{Pass, &StaleError{fmt.Errorf("x")}, 5}, {Inconclusive, fmt.Errorf("wrapped: %w", wait), 124}, {Pass, wait, 124}, {Fail, wait, 1},
	} {
		if got := ExitStatus(Verdict{Outcome: c.outcome}, c.err); got != c.want {
			t.Errorf("%q with %v: %d, want %d", c.outcome, c.err, got, c.want)
		}
	}
}
