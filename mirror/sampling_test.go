package mirror

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/journal"
)

func half(by string) map[event.Stack]StackOptions {
	s, err := event.ParseSample(50, by)
	if err != nil {
		panic(err)
	}
	return map[event.Stack]StackOptions{event.Blue: {Rule: Rule{Sample: &s}}}
}

// kept splits ids by what anybody computes of them.
func kept(ids map[uuid.UUID]bool, s *event.Sample) (in map[uuid.UUID]bool, out []uuid.UUID) {
	in = map[uuid.UUID]bool{}
	for id := range ids {
		if s.Keeps(&event.Request{Id: id[:]}) {
			in[id] = true
		} else {
			out = append(out, id)
		}
	}
	return in, out
}

// A sampled candidate gets exactly what the sample keeps, in order; the rest stands under holes; what it lacks is counted,
// for everything and for any window; also after a restart and when it steps back.
func TestSampledCandidate(t *testing.T) {
	b := setUp(t, func(o *Options) { o.Stacks = half(event.ByRequestID) })
	sample := b.options.Stacks[event.Blue].Rule.Sample
	ids := b.send(1_000, 32)
	in, out := kept(ids, sample)
	check := func(when string) {
		t.Helper()
		e := b.settled()
		b.exactlyOnce(b.green, ids)
		b.exactlyOnce(b.blue, in)
		for _, a := range b.blue.got() {
			if !in[a.id] {
				t.Fatalf("%s: %s is not in the sample", when, a.id)
			}
		}
		if x := e.Stacks[event.Blue]; x.Sampled != uint64(len(out)) || x.Delivered != uint64(len(in)) {
			t.Fatalf("%s: %+v, want %d and %d left out", when, x, len(in), len(out))
		}
		if x := e.Stacks[event.Green]; x.Sampled != 0 || x.Delivered != uint64(len(ids)) {
			t.Fatalf("%s: green: %+v", when, x)
		}
	}
	check("at first")
	windows := func(when string) {
		t.Helper()
		st, err := b.client.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for range 8 {
			from := 1 + rand.Uint64N(st.Journal.LastFrame)
			to := from + rand.Uint64N(st.Journal.LastFrame-from+1)
			l, err := b.client.Ledger(t.Context(), from, to)
			if err != nil {
				t.Fatalf("%s: [%d, %d]: %v", when, from, to, err)
			}
			var want event.Totals
			for _, a := range b.green.got() {
				if a.Frame >= from && a.Frame <= to && !in[a.id] {
					want.Add(a.id, len(a.request.Body), a.request.ReceivedAt)
				}
			}
			x := l.Stacks[event.Blue]
			x.Sampled.FirstAt, x.Sampled.LastAt, want.FirstAt, want.LastAt = 0, 0, 0, 0
			if diff := cmp.Diff(want, x.Sampled); diff != "" || x.Approximate {
				t.Errorf("%s: [%d, %d]: %v\n%s", when, from, to, x.Approximate, diff)
			}
			if want.Requests > 0 && (len(x.Holes) != 1 || x.Holes[0].Sample == nil || *x.Holes[0].Sample != *sample || x.Holes[0].Requests != want.Requests) {
				t.Errorf("%s: [%d, %d]: holes %+v", when, from, to, x.Holes)
			}
		}
	}
	windows("at first")
	// On closed lines too, of which only the sums are kept: the rest is read again from the journal.
	f := b.mirror.state.Load().feeds[event.Blue]
	f.tally.hurry()
	if err := f.tally.settle(t.Context(), f.journal.AppendRecord); err != nil || len(f.tally.lines) == 0 {
		t.Fatalf("%v, %d lines", err, len(f.tally.lines))
	}
	windows("on a closed line")
	spans, err := b.mirror.Holes(event.Blue, 0)
	if err != nil || len(spans) == 0 {
		t.Errorf("Holes: %v, %v", spans, err)
	}

	b.stop()
	b.start()
	for id := range b.send(300, 8) {
		ids[id] = true
	}
	in, out = kept(ids, sample)
	check("after a restart")
	windows("after a restart")

	b.blue.mu.Lock()
	b.blue.cursor, b.blue.requests, b.blue.controls = event.Cursor{}, nil, map[uint64][]byte{}
	b.blue.mu.Unlock()
	b.equation()
	for id := range b.send(100, 8) {
		ids[id] = true
	}
	in, out = kept(ids, sample)
	check("after it stepped back")
	windows("after it stepped back")
}

// The wire's holes are never more than what is delivered between them, whatever the sample, and what is left out does not
// travel.
func TestSampledDeliveryIsBounded(t *testing.T) {
	for _, percent := range []float64{0, 1, 50, 99} {
		s, _ := event.ParseSample(percent, "")
		rule := Rule{Sample: &s}
		var window []item
		body := make([]byte, 500)
		size := 0
		for sequence := uint64(2); sequence < 200; sequence++ {
			var frame []byte
			for range 1 + rand.N(20) {
				id := uuid.Must(uuid.NewV7())
				var err error
				if frame, err = event.AppendRequest(frame, &event.Request{Id: id[:], Body: body}); err != nil {
					t.Fatal(err)
				}
			}
			size += len(frame)
			it := item{}
			it.Kind = journal.Frame
			it.Sequence, it.First, it.Last = sequence, sequence, sequence
			n, err := countRequests(frame)
			if err != nil {
				t.Fatal(err)
			}
			it.requests = n
			if it.skip, it.left, it.Data, err = rule.leaves(frame, true); err != nil {
				t.Fatal(err)
			}
			if it.left.Requests != uint64(lengths(it.skip)) {
				t.Fatalf("%d left out, runs of %d", it.left.Requests, lengths(it.skip))
			}
			window = append(window, it)
		}
		d := plan(event.Cursor{Frame: 2}, window, &account{}, event.Timeline{}, bounds{bytes: 1 << 30})
		if d.to != event.AfterFrame(199) {
			t.Fatalf("%v %%: ends at %v", percent, d.to)
		}
		if uint64(len(d.holes)) > d.requests+1 {
			t.Errorf("%v %%: %d holes among %d requests", percent, len(d.holes), d.requests)
		}
		if most := size/100*int(percent) + size/8; d.bytes > most {
			t.Errorf("%v %%: %d bytes travel of %d", percent, d.bytes, size)
		}
		under := uint64(0)
		for _, h := range d.holes {
			under += h.Requests
		}
		if under != d.sampled {
			t.Errorf("%v %%: %d under holes, %d counted", percent, under, d.sampled)
		}
	}
}

// By a header: whoever has the same value is in or out as a whole; each hole of a window is listed.
func TestSampledByHeader(t *testing.T) {
	b := setUp(t, func(o *Options) {
		o.Intake.Headers = []string{"X-Device"}
		o.Stacks = half("header x-device")
	})
	device := map[uuid.UUID]string{}
	ids := map[uuid.UUID]bool{}
	for i := range 200 {
		r, err := http.NewRequest(http.MethodPost, b.clients+"/v1/events", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		d := fmt.Sprintf("device-%d", i%20)
		r.Header.Set("X-Device", d)
		resp, err := b.http.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		id := uuid.MustParse(resp.Header.Get("Sparrow-Request-Id"))
		ids[id], device[id] = true, d
	}
	b.settled()
	devices := map[string]int{}
	for _, a := range b.blue.got() {
		devices[device[a.id]]++
	}
	for d, n := range devices {
		if n != 10 {
			t.Errorf("%s came %d times of 10", d, n)
		}
	}
	if len(devices) == 0 || len(devices) == 20 {
		t.Errorf("%d devices of 20 are in a sample of half", len(devices))
	}
	st, err := b.client.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	l, err := b.client.Ledger(t.Context(), 1, st.Journal.LastFrame)
	if err != nil {
		t.Fatal(err)
	}
	x := l.Stacks[event.Blue]
	n := uint64(0)
	for _, h := range x.Holes {
		n += h.Requests
		if h.Sample != nil || h.Reason != event.Sampled {
			t.Errorf("hole %+v", h)
		}
	}
	if n != x.Sampled.Requests || n != uint64(200-10*len(devices)) || x.Approximate {
		t.Errorf("%d under holes, %+v", n, x.Sampled)
	}
}

// The live stack gets everything, whatever is configured for the candidate: roles decide frame by frame. A change of the
// sample leaves what is already in the journal as it was.
func TestSampleFollowsRoleAndTime(t *testing.T) {
	b := setUp(t, func(o *Options) { o.Stacks = half(event.ByRequestID) })
	sample := b.options.Stacks[event.Blue].Rule.Sample
	want := map[uuid.UUID]bool{}
	all := map[uuid.UUID]bool{}
	send := func(keep func(uuid.UUID) bool) {
		for id := range b.send(200, 8) {
			all[id] = true
			if keep(id) {
				want[id] = true
			}
		}
	}
	halved := func(id uuid.UUID) bool { return sample.Keeps(&event.Request{Id: id[:]}) }
	send(halved)
	b.control(event.Cutover, event.Blue, 0)
	send(func(uuid.UUID) bool { return true })
	b.control(event.Rollback, event.Green, 0)
	send(halved)
	release := b.blue.hold() // these wait in the journal while the sample changes
	send(halved)
	b.stop()
	none, _ := event.ParseSample(0, "")
	b.options.Stacks = map[event.Stack]StackOptions{event.Blue: {Rule: Rule{Sample: &none}}}
	release()
	b.start()
	send(func(uuid.UUID) bool { return false })
	b.stop()
	b.options.Stacks = nil
	b.start()
	send(func(uuid.UUID) bool { return true })
	e := b.settled()
	b.exactlyOnce(b.green, all)
	b.exactlyOnce(b.blue, want)
	if x := e.Stacks[event.Blue]; x.Delivered != uint64(len(want)) || x.Sampled != uint64(len(all)-len(want)) || len(b.blue.got()) != len(want) {
		t.Errorf("%+v, want %d of %d; it has %d", x, len(want), len(all), len(b.blue.got()))
	}
	st, err := b.client.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	l, err := b.client.Ledger(t.Context(), 1, st.Journal.LastFrame)
	if err != nil {
		t.Fatal(err)
	}
	x := l.Stacks[event.Blue]
	// Three stretches: half before the cutover, half after the rollback, none at the end.
	if x.Sampled.Requests != uint64(len(all)-len(want)) || len(x.Holes) != 3 || x.Holes[2].Sample.Percent != 0 || x.Holes[2].Requests != 200 {
		t.Errorf("the window: %+v", x)
	}
	if !slices.IsSortedFunc(x.Holes, func(a, b Hole) int { return a.From.Compare(b.From) }) {
		t.Errorf("holes are out of order: %+v", x.Holes)
	}
}

// Poison within a sample is still found: by its own place, not that of what is left out around it.
func TestPoisonInASample(t *testing.T) {
	b := setUp(t, func(o *Options) { o.Stacks = half(event.ByRequestID) })
	sample := b.options.Stacks[event.Blue].Rule.Sample
	b.blue.poison = poisonous
	release := b.blue.hold()
	ids := b.send(100, 8)
	var poison []uuid.UUID
	for len(poison) < 2 {
		if id := b.sendPoison(); sample.Keeps(&event.Request{Id: id[:]}) {
			poison = append(poison, id)
		} else {
			ids[id] = true
		}
	}
	for id := range b.send(100, 8) {
		ids[id] = true
	}
	release()
	e := b.settled()
	in, _ := kept(ids, sample)
	b.exactlyOnce(b.blue, in, poison...)
	if x := e.Stacks[event.Blue]; x.Dead != 2 || x.Delivered != uint64(len(in)) || x.Sampled != uint64(len(ids)-len(in)) {
		t.Errorf("%+v, want %d", x, len(in))
	}
}
