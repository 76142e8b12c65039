package deploy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sparrowhq/sparrow/compare"
	"github.com/sparrowhq/sparrow/event"
)

// UntrueError says that evidence does not agree with what the server knows itself: it is stale, forged, or about
// something else.
type UntrueError struct{ Why string }

func (e *UntrueError) Error() string { return "the evidence is not accepted: " + e.Why }

// SubmitEvidence checks the evidence against the server's own knowledge, judges it again under the server's policy, and
// keeps the verdict, whatever it is. Errors: *UntrueError; anything else says why it could not be checked or kept.
func (d *Deploy) SubmitEvidence(ctx context.Context, ev *compare.Evidence, actor string) (compare.Report, error) {
	s, err := d.state(ctx)
	if err != nil {
		return compare.Report{}, err
	}
	if err := d.verify(ctx, s, ev); err != nil {
		return compare.Report{}, err
	}
	r := compare.NewReport(ev, d.policy.Load().Compare)
	r, err = d.verdicts.put(ctx, r, d.o.Now().UnixMicro(), bounded(actor))
	if err != nil {
		return compare.Report{}, err
	}
	d.o.Telemetry.Log.Info("verdict", "id", r.ID, "outcome", r.Verdict.Outcome, "generation", r.Verdict.Generation,
		"first", r.Verdict.Window.First, "last", r.Verdict.Window.Last, "judged", r.Verdict.Judged)
	d.metrics.verdicts.WithLabelValues(string(r.Verdict.Outcome)).Inc()
	return r, nil
}

// verify compares everything in the evidence that the server can know by itself with what it knows.
func (d *Deploy) verify(ctx context.Context, s State, ev *compare.Evidence) error {
	untrue := func(format string, args ...any) error { return &UntrueError{Why: fmt.Sprintf(format, args...)} }
	if ev.Schema != compare.Schema {
		return untrue("its schema is %d, this server judges %d: run the sparrow compare of this version", ev.Schema, compare.Schema)
	}
	head, _ := s.Timeline.Head()
	since, declared := compare.Declared(s.Timeline)
	want := compare.Declaration{}
	if declared {
		want = compare.Declaration{Build: since.Candidate, Sequence: since.Sequence}
	}
	switch now := d.o.Now(); {
	case ev.Journal != s.Journal.ID:
		return untrue("it is about the journal %s, this is %s", compare.Visible(ev.Journal), s.Journal.ID)
	case ev.Generation != head.Generation || ev.Head != head.Hash():
		return untrue("it was read at generation %d, now it is %d: somebody decided meanwhile, run sparrow compare again", ev.Generation, head.Generation)
	case ev.Live.Stack != s.Timeline.Live() || ev.Candidate.Stack != s.Candidate():
		return untrue("it calls %s live, which is %s", compare.Visible(string(ev.Live.Stack)), s.Timeline.Live())
	case ev.Declared != want:
		return untrue("it says that %s was declared at %d; the history says %s at %d", compare.BuildName(ev.Declared.Build), ev.Declared.Sequence, compare.BuildName(want.Build), want.Sequence)
	case time.UnixMicro(ev.At).After(now.Add(time.Minute)):
		return untrue("it is from the future, by %s: set the clocks", time.UnixMicro(ev.At).Sub(now).Round(time.Second))
	}
	for _, side := range []compare.Side{ev.Live, ev.Candidate} {
		if is := s.Stacks[side.Stack].Build; side.Build != is {
			return untrue("it says that %s runs %s, which is %s", side.Stack, compare.BuildName(side.Build), compare.BuildName(is))
		}
	}
	for _, side := range []compare.Side{ev.Live, ev.Candidate} {
		if is := s.Stacks[side.Stack].Protocol; side.Protocol != is {
			return untrue("it says that %s is fed by %q, which is %q", side.Stack, compare.Visible(side.Protocol), is)
		}
	}
	if ev.Window.Empty() {
		return nil // there is nothing to check, and it cannot pass
	}
	return d.verifyWindow(ctx, s, since, ev)
}

// verifyWindow counts the window again in the mirror's ledger.
func (d *Deploy) verifyWindow(ctx context.Context, s State, since event.Record, ev *compare.Evidence) error {
	untrue := func(format string, args ...any) error { return &UntrueError{Why: fmt.Sprintf(format, args...)} }
	w := ev.Window
	if w.First <= since.Sequence {
		return untrue("its window begins at frame %d, before what was decided at %d", w.First, since.Sequence)
	}
	l, err := d.o.Pipeline.Ledger(ctx, w.First, w.Last)
	var inexact *compare.InexactError
	if errors.As(err, &inexact) {
		return untrue("the frames %d to %d can no longer be counted: run sparrow compare again", w.First, w.Last)
	}
	if err != nil {
		return fmt.Errorf("counting the window: %w", err)
	}
	if exact := l.From == w.First && l.To == w.Last; exact != ev.Ledger.Complete || ev.Ledger.Requests != l.Totals.Requests || ev.Ledger.IDSum != l.Totals.IDSum {
		return untrue("it counts %d requests accepted in frames %d to %d with ids that add up to %s, the ledger %d and %s",
			ev.Ledger.Requests, w.First, w.Last, ev.Ledger.IDSum, l.Totals.Requests, l.Totals.IDSum)
	}
	ev.Ledger.Totals = l.Totals // the times are the server's: the guard goes by them
	for _, side := range []compare.Side{ev.Live, ev.Candidate} {
		holes := l.Stacks[side.Stack].Within(w)
		if side.Holes.Dead != holes.Dead || side.Holes.Expired != holes.Expired || side.Holes.Sampled != holes.Sampled || side.Holes.Located != holes.Located {
			return untrue("what %s will never get has changed: run sparrow compare again", side.Stack)
		}
		// What the stack itself confirmed to the mirror bounds what it can have stored.
		if at := s.Stacks[side.Stack].Cursor; side.Feed.Compare(at) > 0 {
			return untrue("it says that %s was handed everything below %v, the mirror stands at %v", side.Stack, side.Feed, at)
		}
	}
	return nil
}
