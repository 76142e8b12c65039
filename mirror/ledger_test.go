package mirror

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/journal"
	"github.com/sparrowhq/sparrow/telemetry"
)

// written is a journal with known content.
type written struct {
	*journal.Journal
	dir    string
	birth  uint64
	frames []event.Totals // from birth on; nothing for a control record
	last   uint64
}

func openJournal(t testing.TB, dir string, first uint64) *journal.Journal {
	t.Helper()
	j, err := journal.Open(t.Context(), journal.Options{Dir: dir, MinFree: 1 << 20, Ballast: 64 << 10, Telemetry: telemetry.Discard(),
		FirstFrame: func(context.Context) (uint64, error) { return first, nil }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	return j
}

// write makes a journal of n sequences from first on, with control records in between.
func write(t testing.TB, first uint64, n int) *written {
	t.Helper()
	w := &written{dir: journalDir(t), birth: first}
	w.Journal = openJournal(t, w.dir, first)
	w.more(t, n)
	return w
}

func (w *written) more(t testing.TB, n int) {
	t.Helper()
	for i := range n {
		if i%700 == 350 {
			tl, err := w.Timeline(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			head, _ := tl.Head()
			r, err := w.AppendControl(t.Context(), event.Control{Generation: head.Generation + 1, Kind: event.Candidate, Live: event.Green, At: 1})
			if err != nil {
				t.Fatal(err)
			}
			w.put(r.Sequence, event.Totals{})
			continue
		}
		var frame []byte
		var totals event.Totals
		for range 1 + rand.IntN(3) {
			id := uuid.Must(uuid.NewV7())
			at := time.Now().UnixMicro()
			body := make([]byte, rand.IntN(20))
			var err error
			if frame, err = event.AppendRequest(frame, &event.Request{Id: id[:], ReceivedAt: at, Body: body}); err != nil {
				t.Fatal(err)
			}
			totals.Add(id, len(body), at)
		}
		seq, err := w.Publish(t.Context(), frame, totals)
		if err != nil {
			t.Fatal(err)
		}
		w.put(seq, totals)
	}
}

func (w *written) put(seq uint64, totals event.Totals) {
	for w.birth+uint64(len(w.frames)) <= seq {
		w.frames = append(w.frames, event.Totals{})
	}
	w.frames[seq-w.birth], w.last = totals, seq
}

// between is what the ledger must say of [from, to].
func (w *written) between(from, to uint64) event.Totals {
	var sum event.Totals
	for seq := max(from, w.birth); seq <= min(to, w.last); seq++ {
		sum.Merge(w.frames[seq-w.birth])
	}
	return sum
}

// startLedger opens the ledger and lets it count everything.
func startLedger(t testing.TB, w *written) (l *ledger, stop func()) {
	t.Helper()
	k := newTimelines(w.Journal)
	l, err := openLedger(t.Context(), w.Journal, k, telemetry.Discard(), w.birth)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { l.run(ctx); close(done) }()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	wait, cancelWait := context.WithTimeout(t.Context(), time.Minute)
	defer cancelWait()
	if err := l.reached(wait, w.last+1); err != nil {
		t.Fatal(err)
	}
	return l, stop
}

// check asks for random ranges, and ranges at edges.
func (w *written) check(t *testing.T, l *ledger, lowest uint64) {
	t.Helper()
	edges := []uint64{w.birth, w.last, w.last + 1}
	for edge := edgeBelow(w.birth); edge <= w.last+lineSpan; edge += lineSpan {
		for d := range uint64(3) {
			if s := edge + d; s > 0 {
				edges = append(edges, s-1)
			}
		}
	}
	for range 100 {
		from, to := edges[rand.IntN(len(edges))], edges[rand.IntN(len(edges))]
		if rand.IntN(2) == 0 {
			from, to = w.birth+rand.Uint64N(w.last-w.birth+1), w.birth+rand.Uint64N(w.last-w.birth+1)
		}
		from, to = max(min(from, to), lowest), max(from, to, lowest)
		var sum event.Totals
		next := max(from, w.birth)
		err := l.fold(t.Context(), from, to, func(s span) error {
			if s.First != next || s.Last < s.First || edgeBelow(s.First) != edgeBelow(s.Last) {
				t.Errorf("[%d, %d]: bucket [%d, %d], expected to begin at %d", from, to, s.First, s.Last, next)
			}
			if want := w.between(s.First, s.Last); want != s.Totals {
				t.Errorf("[%d, %d]: bucket [%d, %d] holds %v, want %v", from, to, s.First, s.Last, s.Totals, want)
			}
			next = s.Last + 1
			sum.Merge(s.Totals)
			return nil
		})
		if err != nil {
			t.Fatalf("[%d, %d]: %v", from, to, err)
		}
		if want := w.between(from, to); want != sum {
			t.Fatalf("[%d, %d]: %v, want %v", from, to, sum, want)
		}
		through, err := l.through(t.Context(), to)
		if want := w.between(0, to-1); err != nil || to > 0 && (through.Requests != want.Requests || through.IDSum != want.IDSum || through.Bytes != want.Bytes) {
			t.Fatalf("below %d: %v, %v, want %v", to, through, err, want)
		}
		below, oldest, err := l.standing(t.Context(), to)
		if want := w.between(max(to, 1), w.last); err != nil || below.Requests != through.Requests || oldest != want.FirstAt {
			t.Fatalf("standing at %d: %v, oldest %d, %v; want %d", to, below, oldest, err, want.FirstAt)
		}
	}
}

func TestLedgerRanges(t *testing.T) {
	for _, first := range []uint64{1, 1500} {
		w := write(t, first, 2700)
		l, stop := startLedger(t, w)
		w.check(t, l, 0)

		// A later start goes on from the last line, and finds older ones in the log.
		stop()
		w.more(t, 500)
		l, stop = startLedger(t, w)
		if n := len(l.lines); n > 3 {
			t.Errorf("%d lines in memory after a restart: it did not go on from the last one", n)
		}
		w.check(t, l, 0)
		stop()

		// What is trimmed is still known at the edges of buckets, and only there.
		edge := edgeBelow(first) + 2*lineSpan
		if _, err := w.Trim(t.Context(), edge-1); err != nil {
			t.Fatal(err)
		}
		l, stop = startLedger(t, w)
		w.check(t, l, edge)
		var inexact *inexactError
		for _, r := range []struct{ from, to, below, above uint64 }{
			{edge - 1, edge + 5, edge - lineSpan, edge},
			{edge - lineSpan + 7, edge - 1, edge - lineSpan, edge},
			{0, edge - 3, edge - lineSpan, edge},
		} {
			err := l.fold(t.Context(), r.from, r.to, func(span) error { return nil })
			if !errors.As(err, &inexact) || inexact.Below != r.below || inexact.Above != r.above {
				t.Errorf("[%d, %d], partly trimmed: %v", r.from, r.to, err)
			}
		}
		var sum event.Totals
		err := l.fold(t.Context(), edge-lineSpan, edge+9, func(s span) error { sum.Merge(s.Totals); return nil })
		if want := w.between(edge-lineSpan, edge+9); err != nil || sum != want {
			t.Errorf("from a trimmed bucket's edge: %v, %v, want %v", sum, err, want)
		}
		upper, exact, err := l.totals(t.Context(), edge-5, edge+5)
		if want := w.between(edge-lineSpan, edge+5); err != nil || exact || upper.Requests != want.Requests {
			t.Errorf("an upper bound: %v, exact %v, %v; want %v", upper, exact, err, want)
		}
		stop()
	}
}

func TestSubtract(t *testing.T) {
	a := event.Totals{Requests: 5, Bytes: 7, FirstAt: 1, LastAt: 2, IDSum: event.Sum{Hi: 2, Lo: 1}}
	b := event.Totals{Requests: 2, Bytes: 3, FirstAt: 1, LastAt: 1, IDSum: event.Sum{Hi: 0, Lo: 2}}
	want := event.Totals{Requests: 3, Bytes: 4, FirstAt: 1, LastAt: 2, IDSum: event.Sum{Hi: 1, Lo: ^uint64(0)}}
	if diff := cmp.Diff(want, subtract(a, b)); diff != "" {
		t.Error(diff)
	}
}

func TestFormatsOfOtherBuilds(t *testing.T) {
	if _, err := decodeLine([]byte(`{"format":2,"bucket":7}`)); err == nil {
		t.Error("a ledger line of a newer build is read")
	}
	if _, err := (&account{}).decode([]byte(`{"format":3}`)); err == nil {
		t.Error("a feed's state of a newer build is read")
	}
}
