package compare

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

func TestShare(t *testing.T) {
	broken := errors.New("broken")
	c := &collector{o: Options{AtOnce: 3}}
	var begun, running atomic.Int64
	three, hold := make(chan struct{}), make(chan struct{}) // closed once three run; closed to let them go on
	var jobs []job
	for i := range 40 {
		jobs = append(jobs, func(ctx context.Context) error {
			running.Add(1)
			defer running.Add(-1)
			if begun.Add(1) == 3 {
				close(three)
			}
			<-hold
			if i == 20 {
				return broken
			}
			if i > 20 {
				<-ctx.Done() // the other's error ends these
				return ctx.Err()
			}
			return nil
		})
	}
	done := make(chan error)
	go func() { done <- c.share(t.Context(), jobs) }()
	<-three
	for range 1000 { // if more could run, they would by now
		runtime.Gosched()
	}
	if n := begun.Load(); n != 3 {
		t.Errorf("%d at once, want 3", n)
	}
	close(hold)
	if err := <-done; err != broken {
		t.Errorf("%v, want the first error", err)
	}
	if running.Load() != 0 || begun.Load() < 21 || begun.Load() > 23 {
		t.Errorf("%d begun, %d left behind", begun.Load(), running.Load())
	}
	if err := c.share(t.Context(), jobs[:1]); err != nil {
		t.Errorf("one that works: %v", err)
	}
	ctx, stop := context.WithCancelCause(t.Context())
	stop(broken)
	if err := c.share(ctx, jobs[:1]); err != broken {
		t.Errorf("after the end: %v, want its cause", err)
	}
}

// TestPieces divides windows every which way: no frame may be left out or be read twice.
func TestPieces(t *testing.T) {
	for _, requests := range []uint64{0, 1, 9, 100, 1000} {
		for _, x := range []source{
			{part: part{first: 3, last: 3, origin: 3, width: 1}},
			{part: part{first: 3, last: 101, origin: 3, width: 7}},
			{part: part{first: 5, last: 99, origin: 0, width: 8}},
			{part: part{first: 8, last: 55, origin: 0, width: 8, buckets: []uint64{1, 2, 4, 6}}},
		} {
			want, got := x.frames(), []uint64(nil)
			c := &collector{o: Options{PieceRows: 10}, sql: duckSQL, ev: &Evidence{Ledger: LedgerCount{Totals: event.Totals{Requests: requests}}}}
			pieces := c.pieces(x)
			for _, p := range pieces {
				got = append(got, p.frames()...)
			}
			if !slices.Equal(got, want) {
				t.Errorf("%d requests, %+v in %+v: frames %d, want %d", requests, x.part, pieces, got, want)
			}
			if n := uint64(len(pieces)); requests < 10 && n != 1 || n > requests/10+1 {
				t.Errorf("%d requests in %d pieces", requests, n)
			}
		}
	}
}

// frames lists those that the part's statements read.
func (p part) frames() (out []uint64) {
	for f := p.first; f <= p.last; f++ {
		if len(p.buckets) == 0 || slices.Contains(p.buckets, (f-p.origin)/p.width) {
			out = append(out, f)
		}
	}
	return out
}

// TestEqualSidesAreNotJoined checks that the first pass is enough where both sides and the ledger agree.
func TestEqualSidesAreNotJoined(t *testing.T) {
	w := newWorld(t)
	w.many(300, "view")
	w.accept([]item{{"view", `{"a":1}`}, {"click", `{"a":2}`}})
	ev, v := w.verdict(w.store(), Options{Exact: true, PieceRows: 40})
	if r := ev.Readings[0]; v.Outcome != Pass || r.Joined != 0 || r.Summed != 604 {
		t.Errorf("%s, %v", v.Outcome, r)
	}
}

// TestFirstExamples asks for fewer examples than there are: they are the first, whichever statement ends first.
func TestFirstExamples(t *testing.T) {
	w := newWorld(t)
	w.many(300, "view")
	w.drop(event.Blue, func(i int, _ warehouse.Row) bool { return i%2 == 0 })
	ev := w.collect(w.store(), Options{Examples: 3, ChunkRows: 20, AtOnce: 4})
	var got []event.Position
	for _, x := range ev.Events[0].Examples {
		got = append(got, x.Position)
	}
	if want := []event.Position{{Frame: 3}, {Frame: 3, Request: 2}, {Frame: 3, Request: 4}}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// TestRepeatedApart repeats an outcome on both sides far from where it lies, so that only its order gives it away.
func TestRepeatedApart(t *testing.T) {
	for name, where := range map[string]string{"the last of all": "frame = 22 AND request = 9", "in the middle of others": "frame BETWEEN 6 AND 12"} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.many(200, "view", "click")
			w.pass("ga4")
			var plant []string
			for _, s := range event.Stacks() {
				plant = append(plant, fmt.Sprintf("INSERT INTO %[1]s.outcomes_log SELECT * FROM %[1]s.outcomes_log WHERE stage = 'ga4' AND %[2]s ORDER BY frame, request", s, where))
			}
			ev := w.collect(w.store(plant...), Options{Exact: true, ChunkRows: 90})
			var doubled uint64
			for _, e := range ev.Events {
				doubled += e.DuplicatesLive
			}
			want := map[string]uint64{"the last of all": 1, "in the middle of others": 70}[name]
			if doubled != want {
				t.Errorf("%d outcomes known to be there twice, want %d", doubled, want)
			}
		})
	}
}
