package event_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sparrowhq/sparrow/event"
)

// chain builds timelines in tests as the journal does: it fills in what continues the chain.
type chain struct {
	t testing.TB
	event.Timeline
}

func (c *chain) next(sequence uint64, control event.Control) event.Record {
	c.t.Helper()
	control.Format = event.ControlFormat
	head, ok := c.Head()
	if ok && control.Kind != event.Initial {
		control.Generation, control.Previous = head.Generation+1, head.Hash()
	} else {
		control.Generation, control.Previous = 1, ""
	}
	if control.Live == "" {
		control.Live = head.Live
	}
	data, err := control.Encode()
	if err != nil {
		c.t.Fatal(err)
	}
	r, err := event.DecodeRecord(sequence, data)
	if err != nil {
		c.t.Fatal(err)
	}
	return r
}

func (c *chain) add(sequence uint64, control event.Control) {
	c.t.Helper()
	t, err := c.Append(c.next(sequence, control))
	if err != nil {
		c.t.Fatal(err)
	}
	c.Timeline = t
}

func start(t testing.TB, sequence uint64) *chain {
	c := &chain{t: t}
	c.add(sequence, event.Control{Kind: event.Initial, Live: event.Green})
	return c
}

// The hash chain runs over these bytes: a change of spelling, order or a default breaks every chain ever written.
func TestGoldenRecords(t *testing.T) {
	for _, row := range []struct {
		control     event.Control
		bytes, hash string
	}{
		{
			event.Control{Format: 1, Generation: 1, Kind: event.Initial, Live: event.Green, At: 1700000000000001},
			`{"format":1,"generation":1,"kind":"initial","live":"green","candidate":{"id":"","version":""},"liveBuild":{"id":"","version":""},"at":1700000000000001,"previous":""}`,
			"ae3e563c56203925b8cb7be6c486384b193190f2c8024e9361ce8f2b873023f7",
		},
		{
			event.Control{
				Format: 1, Generation: 7, Kind: event.Rollback, Live: event.Blue, From: 4711,
				Candidate: event.Build{ID: "ab", Version: "v1.2.3"}, LiveBuild: event.Build{ID: "cd", Version: "v1.2.2"},
				Verdict: "v-9", Forced: true, Holes: []event.Span{{First: 5, Last: 9}, {First: 11}}, Reason: "é <b>", Actor: "ana",
				At: 1700000000000002, Previous: "ef",
			},
			`{"format":1,"generation":7,"kind":"rollback","live":"blue","from":4711,"candidate":{"id":"ab","version":"v1.2.3"},"liveBuild":{"id":"cd","version":"v1.2.2"},"verdict":"v-9","forced":true,"holes":[{"first":5,"last":9},{"first":11}],"reason":"é \u003cb\u003e","actor":"ana","at":1700000000000002,"previous":"ef"}`,
			"513f2456f18a33c056e115fa00a47f4281457a9f3132481801f13929eaa89cc9",
		},
	} {
		got, err := row.control.Encode()
		if err != nil || string(got) != row.bytes {
			t.Errorf("encoded\n%s, %v; want\n%s", got, err, row.bytes)
		}
		r, err := event.DecodeRecord(5000, []byte(row.bytes))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(row.control, r.Control); diff != "" {
			t.Error(diff)
		}
		if r.Hash() != row.hash {
			t.Errorf("hash %s, want %s", r.Hash(), row.hash)
		}
		if e := r.Entry(); e.Sequence != 5000 || string(e.Record) != row.bytes {
			t.Errorf("wire form: %v", e)
		}
	}
}

func TestDecodeRecordRefuses(t *testing.T) {
	const good = `{"format":1,"generation":1,"kind":"initial","live":"green","candidate":{"id":"","version":""},"liveBuild":{"id":"","version":""},"at":1,"previous":""}`
	for _, row := range []struct{ what, data, want string }{
		{"nothing", "", "at 9"},
		{"not JSON", "{", "at 9"},
		{"something after it", good + "{}", "at 9"},
		{"a newer format", strings.Replace(good, `"format":1`, `"format":2`, 1), "newer build"},
		{"no format", `{"generation":1,"kind":"initial","live":"green"}`, "format 0"},
		{"an unknown kind", strings.Replace(good, "initial", "flip", 1), "newer build"},
		{"an unknown stack", strings.Replace(good, "green", "red", 1), `"red"`},
		{"frames still to come", strings.Replace(good, `"at":1`, `"at":1,"from":10`, 1), "ahead"},
	} {
		if _, err := event.DecodeRecord(9, []byte(row.data)); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: error %v, want one with %q", row.what, err, row.want)
		}
	}
	if _, err := event.DecodeRecord(9, []byte(good)); err != nil {
		t.Error(err)
	}
}

func TestAppendKeepsTheChain(t *testing.T) {
	c := start(t, 1)
	c.add(10, event.Control{Kind: event.Candidate, Candidate: event.Build{ID: "b"}})
	c.add(20, event.Control{Kind: event.Cutover, Live: event.Blue})
	before := c.Records()

	good := func() event.Record { return c.next(30, event.Control{Kind: event.Rollback, Live: event.Green}) }
	for _, row := range []struct {
		what   string
		change func(*event.Record)
		want   string
	}{
		{"at the head's place", func(r *event.Record) { r.Sequence = 20 }, "not after 20"},
		{"before the head", func(r *event.Record) { r.Sequence = 15 }, "not after 20"},
		{"a generation left out", func(r *event.Record) { r.Generation++ }, "generation 5 after 3"},
		{"the same generation", func(r *event.Record) { r.Generation-- }, "generation 3 after 3"},
		{"another predecessor", func(r *event.Record) { r.Previous = before[0].Hash() }, "chain is broken"},
		{"no predecessor", func(r *event.Record) { r.Previous = "" }, "chain is broken"},
		{"a candidate that changes roles", func(r *event.Record) { r.Kind = event.Candidate }, "only a cutover or a rollback"},
		{"an initial record that is not the first generation", func(r *event.Record) { r.Kind, r.Previous = event.Initial, "" }, "generation 1"},
		{"an initial record with a predecessor", func(r *event.Record) { r.Kind, r.Generation = event.Initial, 1 }, "must be initial"},
		{"an initial record below the head", func(r *event.Record) { r.Kind, r.Generation, r.Previous, r.Sequence = event.Initial, 1, "", 19 }, "not after 20"},
	} {
		r := good()
		row.change(&r)
		longer, err := c.Append(r)
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: error %v, want one with %q", row.what, err, row.want)
		}
		if len(longer.Records()) != 3 {
			t.Errorf("%s: %d records", row.what, len(longer.Records()))
		}
	}
	for _, kind := range []event.Kind{event.Candidate, event.Cutover, event.Rollback} {
		r := good()
		r.Kind = kind
		if _, err := (event.Timeline{}).Append(r); err == nil {
			t.Errorf("a timeline begins with a %s", kind)
		}
	}

	// A timeline is immutable: two futures of one past do not disturb each other, or it.
	one, err := c.Append(good())
	if err != nil {
		t.Fatal(err)
	}
	two, err := c.Append(c.next(40, event.Control{Kind: event.Rollback, Live: event.Green, From: 5}))
	if err != nil {
		t.Fatal(err)
	}
	if a, b := one.Records()[3].Sequence, two.Records()[3].Sequence; a != 30 || b != 40 || len(c.Records()) != 3 {
		t.Errorf("futures end at %d and %d, the past has %d records", a, b, len(c.Records()))
	}
}

func TestRolesByExample(t *testing.T) {
	c := start(t, 1)
	c.add(10, event.Control{Kind: event.Candidate, Candidate: event.Build{ID: "b"}})
	c.add(20, event.Control{Kind: event.Cutover, Live: event.Blue})
	c.add(30, event.Control{Kind: event.Rollback, Live: event.Green, From: 25})
	c.add(40, event.Control{Kind: event.Cutover, Live: event.Blue})

	for _, row := range []struct {
		frame        uint64
		at           event.Stack
		atGeneration uint64
		handover     event.Stack
		generation   uint64
	}{
		{1, "", 0, "", 0},
		{2, event.Green, 1, event.Green, 1},
		{11, event.Green, 1, event.Green, 1}, // declaring a candidate changes no role
		{19, event.Green, 1, event.Green, 1},
		{21, event.Blue, 3, event.Blue, 3},
		{24, event.Blue, 3, event.Blue, 3},
		{25, event.Green, 4, event.Blue, 3}, // given back later; blue had acted on it
		{29, event.Green, 4, event.Blue, 3},
		{31, event.Green, 4, event.Green, 4},
		{41, event.Blue, 5, event.Blue, 5},
		{1 << 62, event.Blue, 5, event.Blue, 5},
	} {
		if s, g := c.At(row.frame); s != row.at || g != row.atGeneration {
			t.Errorf("frame %d: live is %q by %d, want %q by %d", row.frame, s, g, row.at, row.atGeneration)
		}
		if s, g := c.AtHandover(row.frame); s != row.handover || g != row.generation {
			t.Errorf("frame %d: live at handover was %q by %d, want %q by %d", row.frame, s, g, row.handover, row.generation)
		}
	}
	if diff := cmp.Diff([]event.Span{{First: 2, Last: 20}, {First: 25, Last: 40}}, c.Spans(event.Green)); diff != "" {
		t.Errorf("green: %s", diff)
	}
	if diff := cmp.Diff([]event.Span{{First: 21, Last: 24}, {First: 41}}, c.Spans(event.Blue)); diff != "" {
		t.Errorf("blue: %s", diff)
	}
	if c.Live() != event.Blue {
		t.Errorf("live now: %s", c.Live())
	}
}

func TestEmptyTimeline(t *testing.T) {
	var empty event.Timeline
	if _, ok := empty.Head(); ok || empty.Live() != "" || empty.Spans(event.Green) != nil {
		t.Error("an empty timeline has a head, a live stack or spans")
	}
	if s, g := empty.At(1); s != "" || g != 0 {
		t.Errorf("frame 1: %q by %d", s, g)
	}
}

// A journal that was lost and begun anew starts above the old one's frames, with a chain of its own.
func TestNewJournalAboveTheOld(t *testing.T) {
	c := start(t, 1)
	c.add(20, event.Control{Kind: event.Cutover, Live: event.Blue})
	c.add(101, event.Control{Kind: event.Initial, Live: event.Green})
	c.add(110, event.Control{Kind: event.Cutover, Live: event.Blue})
	if head, _ := c.Head(); head.Generation != 2 {
		t.Errorf("generation %d", head.Generation)
	}
	if diff := cmp.Diff([]event.Span{{First: 2, Last: 20}, {First: 102, Last: 110}}, c.Spans(event.Green)); diff != "" {
		t.Errorf("green: %s", diff)
	}
	if s, g := c.At(50); s != event.Blue || g != 2 {
		t.Errorf("frame 50 of the old journal: %s by %d", s, g)
	}
}

// Random histories: flips, candidates, rollbacks reaching back, new journals. Of every frame after the first record
// exactly one stack is live, by At and by Spans alike, and what a frame was handed over with never changes.
func TestRandomHistories(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 11))
		first := 1 + r.Uint64N(20)
		c := start(t, first)
		sequence := first
		prefixes := []event.Timeline{c.Timeline}
		control := map[uint64]bool{first: true}
		for range r.IntN(14) {
			sequence += 1 + r.Uint64N(12)
			control[sequence] = true
			var next event.Control
			switch r.IntN(6) {
			case 0:
				next = event.Control{Kind: event.Candidate, Candidate: event.Build{ID: fmt.Sprint(seed)}}
			case 1, 2:
				next = event.Control{Kind: event.Cutover, Live: c.Live().Other()}
			case 3:
				next = event.Control{Kind: event.Rollback, Live: c.Live().Other()}
			case 4:
				next = event.Control{Kind: event.Rollback, Live: event.Stacks()[r.IntN(2)], From: 1 + r.Uint64N(sequence)}
			case 5:
				next = event.Control{Kind: event.Initial, Live: event.Green}
			}
			c.add(sequence, next)
			prefixes = append(prefixes, c.Timeline)
		}

		end := sequence + 30
		owners := map[uint64][]event.Stack{}
		for _, s := range event.Stacks() {
			spans := c.Spans(s)
			for i, span := range spans {
				last := span.Last
				if last == 0 {
					last = end
					if i != len(spans)-1 {
						t.Fatalf("seed %d: an open span before the last: %v", seed, spans)
					}
				}
				if span.First > last || i > 0 && span.First <= spans[i-1].Last+1 {
					t.Fatalf("seed %d: %s has spans out of order, or two that are one: %v", seed, s, spans)
				}
				for f := span.First; f <= last; f++ {
					owners[f] = append(owners[f], s)
				}
			}
		}
		for f := first + 1; f <= end; f++ {
			live, _ := c.At(f)
			if !slices.Equal(owners[f], []event.Stack{live}) {
				t.Fatalf("seed %d: frame %d lies in spans of %v, live is %s", seed, f, owners[f], live)
			}
			if control[f] {
				continue // never a frame
			}
			known := 0
			for known < len(prefixes) && prefixes[known].Records()[known].Sequence < f {
				known++
			}
			wantLive, wantGeneration := prefixes[known-1].At(f)
			for _, later := range prefixes[known-1:] {
				if s, g := later.AtHandover(f); s != wantLive || g != wantGeneration {
					t.Fatalf("seed %d: frame %d was handed over as %s by %d, later as %s by %d", seed, f, wantLive, wantGeneration, s, g)
				}
			}
		}
		if live, _ := c.At(end); live != c.Live() {
			t.Fatalf("seed %d: live for frames to come is %s, now %s", seed, live, c.Live())
		}
	}
}

func FuzzDecodeRecord(f *testing.F) {
	c := start(f, 1)
	f.Add(uint64(1), c.Records()[0].Bytes)
	f.Fuzz(func(t *testing.T, sequence uint64, data []byte) {
		r, err := event.DecodeRecord(sequence, data)
		if err != nil {
			return
		}
		again, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		back, err := event.DecodeRecord(sequence, again)
		if err != nil {
			t.Fatal(err)
		}
		third, err := back.Encode()
		if err != nil || string(again) != string(third) {
			t.Errorf("encoded twice: %s, %s, %v", again, third, err)
		}
		if !json.Valid(data) {
			t.Errorf("%q was read", data)
		}
	})
}
