package deploy

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/sparrowhq/sparrow/compare"
	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/journal"
	"github.com/sparrowhq/sparrow/telemetry"
	"github.com/sparrowhq/sparrow/warehouse"
)

var (
	greenBuild = event.Build{ID: "aaaaaaaaaaaaaaaaaaaaaaaa", Version: "v1.0.0"}
	blueBuild  = event.Build{ID: "bbbbbbbbbbbbbbbbbbbbbbbb", Version: "v1.1.0"}
)

// stage is a real journal, with a mirror's view of two stacks that the test sets.
type stage struct {
	*journal.Journal
	t   testing.TB
	d   *Deploy
	now time.Time

	mu     sync.Mutex
	stacks map[event.Stack]compare.StackStatus
	totals map[uint64]event.Totals // by frame
	holes  map[event.Stack]compare.StackLedger
	down   error         // Status fails
	silent chan struct{} // Status hangs until it is closed
	blind  error         // Ledger fails
}

func newStage(t testing.TB) *stage {
	t.Helper()
	j, err := journal.Open(t.Context(), journal.Options{Dir: t.TempDir(), MinFree: 1, Telemetry: telemetry.Discard()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	s := &stage{Journal: j, t: t, now: time.UnixMicro(1_790_000_000_000_000), totals: map[uint64]event.Totals{}, holes: map[event.Stack]compare.StackLedger{},
		stacks: map[event.Stack]compare.StackStatus{
			event.Green: {Build: greenBuild, Reachable: true},
			event.Blue:  {Build: blueBuild, Reachable: true},
		}}
	tl, err := j.Timeline(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := tl.Head(); !ok {
		if _, err := j.AppendControl(t.Context(), event.Control{Generation: 1, Kind: event.Initial, Live: event.Green, At: s.now.UnixMicro()}); err != nil {
			t.Fatal(err)
		}
	}
	s.d = s.deploy(Policy{})
	return s
}

func (s *stage) deploy(p Policy) *Deploy {
	s.t.Helper()
	d, err := New(Options{Pipeline: s, Verdicts: s.Journal, Policy: p, Now: func() time.Time { return s.now }})
	if err != nil {
		s.t.Fatal(err)
	}
	return d
}

// send publishes n frames of one request each.
func (s *stage) send(n int) {
	s.t.Helper()
	for range n {
		var id uuid.UUID
		s.mu.Lock()
		binary.BigEndian.PutUint64(id[8:], uint64(len(s.totals)+1))
		s.mu.Unlock()
		at := s.now.UnixMicro()
		frame, err := event.AppendRequest(nil, &event.Request{Id: id[:], ReceivedAt: at, Body: []byte("{}")})
		if err != nil {
			s.t.Fatal(err)
		}
		var t event.Totals
		t.Add(id, 2, at)
		seq, err := s.Publish(s.t.Context(), frame, t)
		if err != nil {
			s.t.Fatal(err)
		}
		s.mu.Lock()
		s.totals[seq] = t
		s.mu.Unlock()
	}
}

// Status implements Pipeline: both stacks have everything, but for what the test set.
func (s *stage) Status(ctx context.Context) (compare.Status, error) {
	s.mu.Lock()
	silent := s.silent
	s.mu.Unlock()
	if silent != nil {
		select {
		case <-silent:
		case <-ctx.Done():
			return compare.Status{}, ctx.Err()
		}
	}
	tl, err := s.Timeline(ctx)
	if err != nil {
		return compare.Status{}, err
	}
	b, err := s.Bounds(ctx)
	if err != nil {
		return compare.Status{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down != nil {
		return compare.Status{}, s.down
	}
	head, _ := tl.Head()
	st := compare.Status{Journal: compare.JournalStatus{ID: s.ID(), FirstFrame: b.First, LastFrame: b.Last, Accepting: true},
		Generation: head.Generation, Live: head.Live, Candidate: head.Candidate, Head: head.Hash(), Stacks: map[event.Stack]compare.StackStatus{}}
	for name, x := range s.stacks {
		x.Cursor = event.AfterFrame(b.Last)
		st.Stacks[name] = x
	}
	return st, nil
}

// Ledger implements Pipeline.
func (s *stage) Ledger(_ context.Context, from, to uint64) (compare.Ledger, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.blind != nil {
		return compare.Ledger{}, s.blind
	}
	l := compare.Ledger{From: from, To: to, Stacks: map[event.Stack]compare.StackLedger{event.Green: {}, event.Blue: {}}}
	for seq, t := range s.totals {
		if seq >= from && seq <= to {
			l.Totals.Merge(t)
		}
	}
	for name, h := range s.holes {
		out := compare.StackLedger{Holes: h.Holes}
		for _, p := range h.Dead {
			if p.Frame >= from && p.Frame <= to {
				out.Dead = append(out.Dead, p)
			}
		}
		for _, x := range h.Holes {
			for seq, t := range s.totals {
				if seq >= max(from, x.From.Frame) && seq <= to && seq < x.To.Frame {
					out.Expired.Merge(t)
				}
			}
		}
		l.Stacks[name] = out
	}
	return l, nil
}

// AppendControl implements Pipeline.
func (s *stage) AppendControl(ctx context.Context, c event.Control) (event.Record, error) {
	r, err := s.Journal.AppendControl(ctx, c)
	if errors.Is(err, journal.ErrConflict) {
		return r, fmt.Errorf("%w: %w", ErrConflict, err)
	}
	return r, err
}

// set changes what a stack reports.
func (s *stage) set(name event.Stack, f func(*compare.StackStatus)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.stacks[name]
	f(&x)
	s.stacks[name] = x
}

// evidence is what an honest sparrow compare gathers now about a candidate that is as good as live.
func (s *stage) evidence() *compare.Evidence {
	s.t.Helper()
	ctx := s.t.Context()
	st, err := s.d.state(ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	head, _ := st.Timeline.Head()
	since, declared := compare.Declared(st.Timeline)
	w := compare.Window{First: since.Sequence + 1, Last: lastFrame(st)}
	l, err := s.Ledger(ctx, w.First, w.Last)
	if err != nil {
		s.t.Fatal(err)
	}
	n := l.Totals.Requests
	side := func(name event.Stack) compare.Side {
		x := compare.Side{Stack: name, Build: st.Stacks[name].Build, Reachable: true, Feed: st.Stacks[name].Cursor,
			Stored: map[warehouse.Stage]event.Cursor{warehouse.Raw: st.Stacks[name].Cursor}, Rows: n, Requests: n, IDSum: l.Totals.IDSum,
			Holes: l.Stacks[name].Within(w), Builds: []compare.BuildSeen{}}
		if n > 0 {
			x.Builds = append(x.Builds, compare.BuildSeen{ID: x.Build.ID, Rows: n, First: w.First, Last: w.Last})
		}
		return x
	}
	ev := &compare.Evidence{Schema: compare.Schema, At: s.now.UnixMicro(), Journal: st.Journal.ID, Generation: head.Generation, Head: head.Hash(), Window: w,
		Ledger: compare.LedgerCount{Totals: l.Totals, Complete: true}, Either: compare.EitherCount{Requests: n, IDSum: l.Totals.IDSum, BothKnown: true},
		Live: side(st.Timeline.Live()), Candidate: side(st.Candidate()), Events: []compare.Event{}}
	if declared {
		ev.Declared = compare.Declaration{Build: since.Candidate, Sequence: since.Sequence}
	}
	if n > 0 {
		ev.Events = append(ev.Events, compare.Event{Name: "view", Stage: warehouse.Raw, Live: n, Candidate: n})
	}
	return ev
}

// pass declares the candidate, sends traffic and submits a PASS.
func (s *stage) pass() compare.Report {
	s.t.Helper()
	s.must(s.d.Candidate(s.t.Context(), Request{Actor: "test"}))
	s.send(5)
	r, err := s.d.SubmitEvidence(s.t.Context(), s.evidence(), "ci")
	if err != nil {
		s.t.Fatal(err)
	}
	if r.Verdict.Outcome != compare.Pass {
		s.t.Fatalf("%s %+v", r.Verdict.Outcome, r.Verdict.Reasons)
	}
	return r
}

func (s *stage) must(d Decision, err error) Decision {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
	return d
}

// live returns the stack that the journal itself says is live.
func (s *stage) live() event.Stack {
	s.t.Helper()
	tl, err := s.Timeline(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return tl.Live()
}
