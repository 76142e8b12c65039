package deploy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sparrowhq/sparrow/compare"
	"github.com/sparrowhq/sparrow/event"
)

// statusTime bounds the look at the stacks, which a rollback can do without: it takes effect in under a second.
const statusTime = 500 * time.Millisecond

// Rollback makes the stack live again that was live before the last cutover, for the frames to come or from an earlier
// frame on. It needs neither a verdict nor the warehouse, nor that any stack answers.
// Errors: *RefusedError, ErrConflict, or why the record could not be written.
func (d *Deploy) Rollback(ctx context.Context, r Request) (Decision, error) {
	d.deciding.Lock()
	defer d.deciding.Unlock()
	var s State
	var warnings []string
	var err error
	// The history alone decides; what else is known only warns.
	if s.Timeline, err = d.o.Pipeline.Timeline(ctx); err != nil {
		return Decision{}, fmt.Errorf("the control history: %w", err)
	}
	if _, ok := s.Timeline.Head(); !ok {
		return Decision{}, errors.New("the control history is empty: the journal is not open yet")
	}
	asking, cancel := context.WithTimeout(ctx, statusTime)
	s.Status, err = d.o.Pipeline.Status(asking)
	cancel()
	if err != nil {
		warnings = append(warnings, fmt.Sprintf("the mirror's status is not known: %v", err))
	}
	returning := s.Timeline.Live().Other()
	refusals := rollbackRoles(s, returning)
	is := s.Stacks[returning]
	if err == nil && !is.Reachable {
		warnings = append(warnings, fmt.Sprintf("%s does not answer%s: requests are kept, and reach it once it does", returning, because(is.Error)))
	}
	if is.Dead+is.Expired+is.Sampled > 0 && r.From == 0 {
		warnings = append(warnings, fmt.Sprintf("%s never got %d requests in its time; those to come are not touched by that", returning, is.Dead+is.Expired+is.Sampled))
	}
	if n := is.Pending.Requests; n > 0 && r.From != 0 {
		warnings = append(warnings, fmt.Sprintf("%s has still to get %d requests: until then live lacks them", returning, n))
	}
	c := event.Control{Kind: event.Rollback, Live: returning, From: r.From, LiveBuild: bound(is.Build)}
	if r.From != 0 {
		refused, holes := d.reassigns(ctx, s, returning, r)
		refusals = append(refusals, refused...)
		c.Holes = holes
	}
	if fatal := slices.ContainsFunc(refusals, func(x Refusal) bool { return x.Code == RefuseRange || x.Code == RefuseHoles }); fatal {
		return Decision{}, d.refused("the rollback", refusals) // no force helps: there is a frame or a flag to name
	}
	if err := d.overrule("the rollback", r, refusals); err != nil {
		return Decision{}, err
	}
	c.Forced = len(refusals) > 0
	decision, err := d.append(ctx, s, r, c)
	decision.Overruled, decision.Warnings = refusals, warnings
	return decision, err
}

// rollbackRoles refuses what would be a cutover by another name: the stack that returns must be the one the last cutover
// took the live role from, running what it ran then.
func rollbackRoles(s State, returning event.Stack) []Refusal {
	var last event.Record
	for _, r := range slices.Backward(s.Timeline.Records()) {
		if r.Kind != event.Candidate {
			last = r
			break
		}
	}
	if last.Kind != event.Cutover {
		text := fmt.Sprintf("nothing was cut over since %s became live", s.Timeline.Live())
		if last.Kind == event.Rollback {
			text = fmt.Sprintf("the last cutover is already rolled back, at %d", last.Sequence)
		}
		return []Refusal{{RefuseRoles, text, "use sparrow deploy cutover, with a verdict"}}
	}
	was := liveBuild(s.Timeline, returning)
	is := s.Stacks[returning]
	if is.Build.ID != "" && was.ID != "" && is.Build.ID != was.ID {
		return []Refusal{{RefuseUnproven, fmt.Sprintf("%s runs %s, it was live with %s", returning, compare.BuildName(is.Build), compare.BuildName(was)), "start that build again, or add --force with a --reason"}}
	}
	return nil
}

// liveBuild is the build that the stack ran when it was last live.
func liveBuild(t event.Timeline, stack event.Stack) event.Build {
	for _, r := range slices.Backward(t.Records()) {
		if r.Live == stack && r.LiveBuild.ID != "" {
			return r.LiveBuild
		}
	}
	return event.Build{}
}

// reassigns checks the frames that would change sides, and returns the holes of the returning stack in them.
func (d *Deploy) reassigns(ctx context.Context, s State, returning event.Stack, r Request) ([]Refusal, []event.Span) {
	records := s.Timeline.Records()
	begin := uint64(1)
	for _, x := range records {
		if x.Kind == event.Initial {
			begin = x.Sequence + 1
		}
	}
	head, _ := s.Timeline.Head()
	end := max(s.Journal.LastFrame, head.Sequence)
	switch {
	case r.From < begin:
		return []Refusal{{RefuseRange, fmt.Sprintf("frame %d lies before this journal's first, %d", r.From, begin), fmt.Sprintf("name a frame from %d on", begin)}}, nil
	case s.Journal.LastFrame == 0:
		return []Refusal{{RefuseRange, "the mirror does not say where the journal ends, so past frames cannot be reassigned now", "roll back without --from: it takes effect for the frames to come"}}, nil
	case r.From > end:
		return []Refusal{{RefuseRange, fmt.Sprintf("frame %d lies in the future, the journal ends at %d", r.From, end), "roll back without --from: it takes effect for the frames to come"}}, nil
	}
	l, err := d.ledger(ctx, r.From, end)
	if err != nil {
		if r.AcceptHoles {
			return nil, []event.Span{{First: r.From, Last: end}}
		}
		return []Refusal{{RefuseHoles, fmt.Sprintf("what %s never got of the frames %d to %d cannot be found out: %v", returning, r.From, end, err), "add --accept-holes, which puts the whole range on record, or roll back without --from"}}, nil
	}
	holes := l.Stacks[returning].Within(compare.Window{First: r.From, Last: end})
	if holes.Requests() == 0 && holes.Located {
		return nil, nil
	}
	spans := holes.Spans
	if !holes.Located || len(spans) == compare.MaxSpans {
		spans = []event.Span{{First: r.From, Last: end}} // too many to name, or not known where: all of it is in doubt
	}
	if r.AcceptHoles {
		return nil, spans
	}
	return []Refusal{{RefuseHoles, fmt.Sprintf("%s never got %d requests of the frames %d to %d (%s): they would be missing from live", returning, holes.Requests(), r.From, end, compare.Frames(spans)),
		"add --accept-holes, which puts them on record, or roll back without --from"}}, nil
}

// ledger counts a range that may begin where only whole lines of the ledger are left; then it begins a little earlier.
func (d *Deploy) ledger(ctx context.Context, from, to uint64) (compare.Ledger, error) {
	l, err := d.o.Pipeline.Ledger(ctx, from, to)
	var inexact *compare.InexactError
	if errors.As(err, &inexact) && inexact.Below < from {
		l, err = d.o.Pipeline.Ledger(ctx, inexact.Below, to)
	}
	return l, err
}
