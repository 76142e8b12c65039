package journal

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/telemetry"
)

func frameTotals(t testing.TB) event.Totals {
	_, totals := frame(t, "", 0)
	return totals
}

// breakDown makes the journal find its embedded server broken, as after an error of the disk, and waits until another
// is in its place.
func breakDown(t *testing.T, j *Journal) {
	t.Helper()
	e, changed, err := j.engine()
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken by a test")
	e.fault.Store(&broken)
	j.alarm <- struct{}{}
	for now := e; now == nil || now == e; now, changed, _ = j.engine() {
		select {
		case <-changed:
		case <-time.After(20 * time.Second):
			t.Fatal("not restarted")
		}
	}
}

func TestReadersAndRecordsOutliveRestarts(t *testing.T) {
	j := open(t, options(t.TempDir()))
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	published := make(chan []Entry, 1)
	go func() {
		var frames []Entry
		for i := 0; ctx.Err() == nil; i++ {
			b, totals := frame(t, fmt.Sprint(i), 500)
			n, err := j.Publish(t.Context(), b, totals)
			if err == nil {
				frames = append(frames, Entry{Sequence: n, Kind: Frame, Data: b, Totals: totals, First: n, Last: n})
			} else if !errors.Is(err, ErrUnavailable) {
				t.Error(err)
				break
			}
		}
		published <- frames
	}()
	const readers, end = 3, math.MaxUint64
	var last atomic.Uint64
	last.Store(end)
	got := make(chan []Entry, readers)
	for range readers {
		go func() {
			r := j.Read(1)
			defer r.Close()
			var all []Entry
			for len(all) == 0 || all[len(all)-1].Last < last.Load() {
				wait, cancel := context.WithTimeout(t.Context(), time.Second)
				es, err := r.Next(wait, 2000)
				cancel()
				if err != nil && !errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
					break
				}
				all = append(all, es...)
			}
			got <- all
		}()
	}
	for range 5 {
		breakDown(t, j)
		cutover(t, j)
		publishWithin(t, j, 10*time.Second)
	}
	stop()
	frames := <-published
	b, err := j.Bounds(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	last.Store(b.Last)
	for range readers {
		next := uint64(1)
		at := map[uint64]Entry{}
		for _, e := range <-got {
			if e.First != next || e.Kind == Gap {
				t.Fatalf("%s at %d-%d, want %d", e.Kind, e.First, e.Last, next)
			}
			next = e.Last + 1
			at[e.Sequence] = e
		}
		for _, f := range frames {
			if string(at[f.Sequence].Data) != string(f.Data) {
				t.Errorf("frame %d is not what was published there", f.Sequence)
			}
		}
	}
	if n := testutil.ToFloat64(j.metrics.restarts); n < 5 {
		t.Errorf("%v restarts counted, want at least 5", n)
	}
}

func TestRefusalsSayWhy(t *testing.T) {
	var log strings.Builder
	o := options(t.TempDir())
	tel, err := telemetry.New(telemetry.Options{Process: "test", Output: &log})
	if err != nil {
		t.Fatal(err)
	}
	o.Telemetry = tel
	j := open(t, o)
	breakDown(t, j)
	err = j.Accepting()
	if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "restarted after an error of the disk") {
		t.Errorf("just after a restart: %v", err)
	}
	publishWithin(t, j, 10*time.Second)
	j.Close()
	if !strings.Contains(log.String(), "broken by a test") {
		t.Errorf("the log does not say why the journal was restarted:\n%s", log.String())
	}
	if err := j.Accepting(); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestMetricsNameTheJournal(t *testing.T) {
	o := options(t.TempDir())
	j := open(t, o)
	publish(t, j, "x")
	if err := j.refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	err := testutil.GatherAndCompare(o.Telemetry.Registry, strings.NewReader(`
# HELP sparrow_journal_accepting 1 while frames are accepted.
# TYPE sparrow_journal_accepting gauge
sparrow_journal_accepting 1
# HELP sparrow_journal_ballast_bytes Space kept back for control records.
# TYPE sparrow_journal_ballast_bytes gauge
sparrow_journal_ballast_bytes 1.048576e+06
# HELP sparrow_journal_first_sequence First sequence still there.
# TYPE sparrow_journal_first_sequence gauge
sparrow_journal_first_sequence 1
# HELP sparrow_journal_last_sequence Last sequence given.
# TYPE sparrow_journal_last_sequence gauge
sparrow_journal_last_sequence 2
# HELP sparrow_journal_max_bytes Limit of the same; frames are refused at 95 % of it.
# TYPE sparrow_journal_max_bytes gauge
sparrow_journal_max_bytes 1.073741824e+09
# HELP sparrow_journal_publish_errors_total Frames not stored, or not known to be, by kind.
# TYPE sparrow_journal_publish_errors_total counter
sparrow_journal_publish_errors_total{kind="full"} 0
sparrow_journal_publish_errors_total{kind="unavailable"} 0
# HELP sparrow_journal_restarts_total Restarts of the embedded server after an error of the disk.
# TYPE sparrow_journal_restarts_total counter
sparrow_journal_restarts_total 0
`), "sparrow_journal_accepting", "sparrow_journal_ballast_bytes", "sparrow_journal_first_sequence", "sparrow_journal_last_sequence",
		"sparrow_journal_max_bytes", "sparrow_journal_publish_errors_total", "sparrow_journal_restarts_total")
	if err != nil {
		t.Error(err)
	}
	if _, err := Open(t.Context(), func() Options { o := o; o.Dir = t.TempDir(); return o }()); err == nil {
		t.Error("a second journal took the same registry")
	}
}

// An answer may be lost with the server that would have given it. What AppendControl says is what the stream holds.
func TestControlRecordsAreWrittenOnceThroughRestarts(t *testing.T) {
	j := open(t, options(t.TempDir()))
	const records = 60
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			case <-time.After(rand.N(50 * time.Millisecond)):
				breakDown(t, j)
			}
		}
	}()
	defer func() { <-done }()
	defer close(stop)
	for range records {
		cutover(t, j) // fails the test on a conflict: nobody else writes
	}
	tl, err := j.Timeline(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if n := len(tl.Records()); n != records+1 {
		t.Errorf("%d records appended, the timeline has %d", records, n-1)
	}
	if n := testutil.ToFloat64(j.metrics.restarts); n < 3 {
		t.Errorf("only %v restarts in between", n)
	}
}
