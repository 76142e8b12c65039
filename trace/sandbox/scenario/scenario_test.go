package scenario

import (
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func parse(t testing.TB, text string) *Scenario {
	t.Helper()
	s, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestParseRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"rules: [{fault: outag}]":                                               `fault "outag": want one of outage, status`,
		"rules: [{fault: outage, sttus: 1}]":                                    "field sttus not found",
		"rulez: []":                                                             "field rulez not found",
		"rules: [{fault: outage, mode: down}]":                                  "want 503, refuse, reset or hang",
		"rules: [{fault: status}]":                                              "status 0",
		"rules: [{fault: status, status: 99}]":                                  "status 99",
		"rules: [{fault: drop}]":                                                "name either",
		"rules: [{fault: drop, property: a, events: 2}]":                        "name either",
		"rules: [{fault: slow}]":                                                "how slow",
		"rules: [{fault: slow, delay: 5 parsecs}]":                              "want seconds, or a text",
		"rules: [{fault: slow, delay: .nan}]":                                   "billion",
		"rules: [{fault: slow, delay: -1}]":                                     "negative",
		"rules: [{fault: outage, from: 10, until: 10}]":                         "not after from",
		"rules: [{fault: outage, from_request: 5, until_request: 5}]":           "not after from_request",
		"rules: [{fault: truncate, when: before}]":                              "cannot come before",
		"rules: [{fault: half-open, when: after}]":                              "cannot come after",
		"rules: [{fault: outage, mode: refuse, when: after}]":                   "cannot come after",
		"rules: [{fault: outage, when: later}]":                                 "want before or after",
		"rules: [{fault: silence}]":                                             "name the device ids",
		"rules: [{fault: silence, vendor: heap, ids: [a]}]":                     "name the device ids",
		"rules: [{fault: outage, path: '['}]":                                   "path",
		"rules: [{name: a, fault: outage}, {name: a, fault: outage}]":           "is taken",
		"rules: [{fault: status, status: 200, headers: {content-length: '1'}}]": "Content-Length",
		"rules: 7":    "scenario",
		"{}\n---\n{}": "more than one document",
	} {
		if _, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func TestParseDefaults(t *testing.T) {
	s := parse(t, `
seed: 3
rules:
- {fault: outage}
- {name: x, fault: truncate, from: 90s, until: 120}
- {fault: echo}
- {fault: trickle}
- {fault: silence, ids: [a]}
`)
	want := &Scenario{Seed: 3, Rules: []Rule{
		{Name: "outage-1", Fault: Outage, Mode: "503", Status: 503, When: Before},
		{Name: "x", Fault: Truncate, From: Duration(90 * time.Second), Until: Duration(120 * time.Second), When: After},
		{Name: "echo-3", Fault: Echo, Status: 400, When: Before},
		{Name: "trickle-4", Fault: Trickle, Interval: Duration(time.Second), When: After},
		{Name: "silence-5", Fault: Silence, Vendor: "amplitude", IDs: []string{"a"}, When: Before},
	}}
	if diff := cmp.Diff(want, s); diff != "" {
		t.Error(diff)
	}
	empty := parse(t, "")
	if len(empty.Rules) != 0 {
		t.Error("an empty file has rules")
	}
}

// JSON is a form of YAML, and what the state shows can be set again.
func TestStateCanBeSetAgain(t *testing.T) {
	s := parse(t, "seed: 5\nrules: [{fault: slow, delay: 1m30s, vendor: heap, one_in: 3}]")
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(s, parse(t, string(text))); diff != "" {
		t.Errorf("%s: %s", text, diff)
	}
	var state State
	text, err = json.Marshal(Start(s, noon).State(noon.Add(time.Minute)))
	if err == nil {
		err = json.Unmarshal(text, &state)
	}
	if err != nil || time.Duration(state.Rules[0].Delay) != 90*time.Second || time.Duration(state.Elapsed) != time.Minute {
		t.Errorf("%s: %+v %v", text, state, err)
	}
}

// run makes n requests and returns the numbers of those that went wrong.
func run(e *Engine, n int) (hit []int) {
	for i := range n {
		if d := e.Decide(noon, "heap", "production", "/heap/api/track"); d.Rule != nil {
			hit = append(hit, i)
		}
	}
	return hit
}

func TestDeterminism(t *testing.T) {
	text := "seed: %\nrules: [{name: a, fault: outage, one_in: 10}]"
	seeded := func(seed string) *Engine { return Start(parse(t, strings.Replace(text, "%", seed, 1)), noon) }
	first := run(seeded("1"), 1000)
	if again := run(seeded("1"), 1000); !slices.Equal(first, again) {
		t.Error("the same seed gave other faults")
	}
	if other := run(seeded("2"), 1000); slices.Equal(first, other) {
		t.Error("another seed gave the same faults")
	}
	if len(first) < 60 || len(first) > 140 {
		t.Errorf("1 in 10 of 1000 is %d", len(first))
	}
	// Requests to others change nothing.
	e := seeded("1")
	e.scenario.Rules[0].Vendor = "heap"
	var hit []int
	for i := range 1000 {
		e.Decide(noon, "ga4", "production", "/ga4/mp/collect")
		if e.Decide(noon, "heap", "production", "/heap/api/track").Rule != nil {
			hit = append(hit, i)
		}
	}
	if !slices.Equal(first, hit) {
		t.Error("requests to another vendor changed the faults of this one")
	}
	// Neither does how many come at once: as many go wrong.
	e = seeded("1")
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() { run(e, 100) })
	}
	wg.Wait()
	if got := e.State(noon).Rules[0].Applied; got != uint64(len(first)) {
		t.Errorf("%d at once, %d one by one", got, len(first))
	}
}

func TestJitterIsSeededAndBounded(t *testing.T) {
	delays := func() (all []time.Duration) {
		e := Start(parse(t, "seed: 4\nrules: [{fault: slow, delay: 1s, jitter: 2s}]"), noon)
		for range 200 {
			all = append(all, e.Decide(noon, "v", "p", "/").Delay)
		}
		return all
	}
	a := delays()
	if !slices.Equal(a, delays()) {
		t.Error("not the same twice")
	}
	if slices.Min(a) < time.Second || slices.Max(a) >= 3*time.Second || slices.Max(a)-slices.Min(a) < time.Second {
		t.Errorf("from %s to %s", slices.Min(a), slices.Max(a))
	}
}

func TestFirstRuleApplies(t *testing.T) {
	e := Start(parse(t, `
rules:
- {name: late, from: 10s, fault: status, status: 500}
- {name: first, fault: status, status: 501}
- {name: second, fault: status, status: 502}
- {name: hole, fault: drop, events: 1}
- {name: thief, fault: drop, property: x}
`), noon)
	d := e.Decide(noon, "v", "p", "/")
	if d.Rule == nil || d.Rule.Name != "first" || len(d.Drops) != 2 || d.Loses("", 3) != "hole" {
		t.Errorf("%+v", d)
	}
	if d := e.Decide(noon.Add(10*time.Second), "v", "p", "/"); d.Rule.Name != "late" {
		t.Errorf("%+v", d)
	}
}

func TestNeedsProject(t *testing.T) {
	e := Start(parse(t, "rules: [{vendor: heap, project: staging, fault: half-open}, {vendor: amplitude, fault: half-open}]"), noon)
	if !e.NeedsProject("heap", "/heap/api/track") || e.NeedsProject("amplitude", "/amplitude/batch") || e.NeedsProject("ga4", "/ga4/mp/collect") {
		t.Error("only heap's rule names a project")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("seed: 1\nrules: [{fault: slow, delay: 1s, jitter: 2}]"))
	f.Add([]byte(`{"rules":[{"fault":"drop","events":3}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := Parse(text)
		if err != nil {
			return
		}
		e := Start(s, noon)
		for range 3 {
			d := e.Decide(noon.Add(time.Second), "heap", "production", "/heap/api/track")
			d.Loses("id", 0)
		}
		if _, err := json.Marshal(e.State(noon)); err != nil {
			t.Fatal(err)
		}
	})
}
