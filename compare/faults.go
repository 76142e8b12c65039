package compare

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// check is one kind of fault that is counted per event name.
type check struct {
	code Code
	of   func(Faults) uint64
	show func(Example) bool // whether an example is one of it
	text string             // what is wrong with THEM at stage raw
	then string             // at the stages after it, AT one of them; empty: text
}

// faults lists what is proven, at the stages that a PASS takes.
func (j *judge) faults() {
	ev := j.ev
	live, candidate := ev.Live.Stack, ev.Candidate.Stack
	of := func(k Kind, side event.Stack) func(Example) bool {
		return func(x Example) bool { return x.Kind == k && x.Side == side }
	}
	j.perEvent(check{CodeDead, func(f Faults) uint64 { return f.Dead }, of(Dead, candidate),
		"failed alone at the candidate and set aside there, while live accepted THEM", ""})
	j.perEvent(check{CodeMissing, func(f Faults) uint64 { return f.Missing }, of(Missing, ""),
		"answered by the candidate and not stored: live has THEM, staging has not",
		"without an outcome AT of the candidate, where live has one"})
	j.pipeline()
	j.perEvent(check{CodeSkipped, func(f Faults) uint64 { return f.Skipped }, of(Skipped, ""),
		"", "stored raw, and without an outcome AT on either side"})
	j.perEvent(check{CodeMisrouted, func(f Faults) uint64 { return f.Misrouted }, of(Misrouted, candidate),
		"", "sent AT by the candidate with another credential than staging's"})
	j.perEvent(check{CodeMisrouted, func(f Faults) uint64 { return f.MisroutedLive }, of(Misrouted, live),
		"", "sent AT by live with another credential than production's"})
	j.perEvent(check{CodeChanged, func(f Faults) uint64 { return f.Changed }, of(Changed, ""),
		"stored with another content than in live",
		"with another outcome or content AT of the candidate than of live"})
	j.perEvent(check{CodeDuplicated, func(f Faults) uint64 { return f.DuplicatesCandidate }, of(Doubled, candidate),
		"stored once too often by the candidate", "with more than one outcome AT of the candidate"})
	j.perEvent(check{CodeDuplicated, func(f Faults) uint64 { return f.DuplicatesLive }, of(Doubled, live),
		"stored once too often by live", "with more than one outcome AT of live"})
	extra := "only in staging, though live answered THEM"
	if ev.closed() && ev.Ledger.Complete && ev.Either.BothKnown && ev.Either.balanced(ev.Ledger) {
		extra += " (the ledger sides with the candidate: live lost THEM)"
	}
	j.perEvent(check{CodeExtra, func(f Faults) uint64 { return f.Extra }, of(Extra, ""), extra,
		"without an outcome AT of live, where the candidate has one"})
	j.perEvent(check{CodeDeadLive, func(f Faults) uint64 { return f.DeadLive }, of(Dead, live),
		"failed alone at live and set aside there, while the candidate accepted THEM", ""})
}

// pipeline checks both datasets together against the ledger, once the window is closed.
func (j *judge) pipeline() {
	ev := j.ev
	if ev.Window.Empty() || !ev.closed() || !ev.Ledger.Complete || !ev.Either.BothKnown {
		return
	}
	var frames []event.Span
	for _, s := range ev.Lost.Shortfalls {
		frames = append(frames, s.Span)
	}
	add := func(r Reason) {
		r.Frames = frames
		j.v.Reasons = append(j.v.Reasons, r)
	}
	have := ev.Either.Requests + ev.Either.UnderBoth
	switch {
	case have < ev.Ledger.Requests:
		n := ev.Ledger.Requests - have
		add(Reason{Code: CodeLost, Count: n, Text: fmt.Sprintf("%s accepted and in neither dataset%s: the pipeline's loss, not the candidate's alone", requests(n), inFrames(frames))})
	case have > ev.Ledger.Requests:
		n := have - ev.Ledger.Requests
		add(Reason{Code: CodeForeign, Count: n, Text: fmt.Sprintf("%s stored that the journal never accepted%s", requests(n), inFrames(frames))})
	case !ev.Either.balanced(ev.Ledger):
		add(Reason{Code: CodeIDs, Count: ev.Either.Requests, Text: fmt.Sprintf("as many requests as accepted, but not the same ones: their ids add up to %s, the ledger's to %s%s",
			ev.Either.IDSum, ev.Ledger.IDSum, inFrames(frames))})
	}
	if ev.Lost.Events > 0 {
		r := Reason{Code: CodeLost, Stage: warehouse.Raw, Count: ev.Lost.Events,
			Text: fmt.Sprintf("%s of lists that their requests announce and neither dataset holds%s", count(ev.Lost.Events, "item"), such(ev.Lost.Examples))}
		for _, x := range ev.Lost.Examples {
			r.IDs = append(r.IDs, x.EventID)
			r.Frames = append(r.Frames, event.Span{First: x.Frame, Last: x.Frame})
		}
		j.v.Reasons = append(j.v.Reasons, r)
	}
}

// perEvent adds a reason for each event name that shows a fault, stage by stage, the most frequent first.
func (j *judge) perEvent(c check) {
	for _, stage := range j.needed {
		j.perName(c, stage)
	}
}

func (j *judge) perName(c check, stage warehouse.Stage) {
	var hit []Event
	for _, e := range j.ev.Events {
		if e.Stage == stage && c.of(e.Faults) > 0 {
			hit = append(hit, e)
		}
	}
	slices.SortStableFunc(hit, func(a, b Event) int { return cmp.Compare(c.of(b.Faults), c.of(a.Faults)) })
	var rest uint64
	for i, e := range hit {
		n := c.of(e.Faults)
		if i >= maxReasons {
			rest += n
			continue
		}
		r := Reason{Code: c.code, Event: &e.Name, Stage: e.Stage, Count: n}
		var shown []Example
		for _, x := range e.Examples {
			if c.show(x) {
				shown = append(shown, x)
				r.IDs = append(r.IDs, x.EventID)
				r.Frames = append(r.Frames, event.Span{First: x.Frame, Last: x.Frame})
			}
		}
		slices.SortFunc(r.Frames, func(a, b event.Span) int { return cmp.Compare(a.First, b.First) })
		r.Frames = slices.Compact(r.Frames)
		r.Text = fmt.Sprintf("%s %s: %s%s", count(n, "event"), quoteName(e.Name), c.textFor(n, stage), such(shown))
		j.v.Reasons = append(j.v.Reasons, r)
	}
	for _, f := range j.ev.Folded {
		if f.Stage == stage {
			rest += c.of(f.Faults)
		}
	}
	if rest > 0 {
		j.v.Reasons = append(j.v.Reasons, Reason{Code: c.code, Stage: stage, Count: rest,
			Text: fmt.Sprintf("%s of further names: %s", count(rest, "event"), c.textFor(rest, stage))})
	}
}

func (c check) textFor(n uint64, stage warehouse.Stage) string {
	text := c.text
	if stage != warehouse.Raw && c.then != "" {
		text = strings.ReplaceAll(c.then, "AT", "at "+shownName(string(stage)))
	}
	if n == 1 {
		return strings.ReplaceAll(text, "THEM", "it")
	}
	return strings.ReplaceAll(text, "THEM", "them")
}
