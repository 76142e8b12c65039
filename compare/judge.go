package compare

import (
	"fmt"
	"strings"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// maxReasons bounds the reasons of one code that name an event; the last one counts the others.
const maxReasons = 20

// Judge says what the evidence comes to. It is a pure function of its arguments: the same evidence gives the same verdict
// on any machine.
//
// The order is: evidence that cannot be trusted or belongs to no single build is INCONCLUSIVE, whatever it shows; a proven
// fault is a FAIL even in a window that is still open, since what is lost below a cursor is lost; anything that is not yet
// there is INCONCLUSIVE; only what is left is PASS.
func Judge(ev Evidence, p Policy) Verdict {
	j := &judge{ev: ev, p: p.withDefaults(), needed: p.Needed(&ev)}
	j.v = Verdict{Schema: Schema, Policy: j.p, Journal: ev.Journal, Generation: ev.Generation, Head: ev.Head, Window: ev.Window,
		Stack: ev.Candidate.Stack, EvidenceAt: ev.At}
	j.trust()
	if len(j.v.Reasons) == 0 {
		j.builds()
	}
	if len(j.v.Reasons) > 0 {
		return j.inconclusive()
	}
	j.faults()
	if len(j.v.Reasons) > 0 {
		return j.fail()
	}
	j.presence()
	if len(j.v.Reasons) > 0 {
		return j.inconclusive()
	}
	return j.pass()
}

type judge struct {
	ev     Evidence
	p      Policy
	needed []warehouse.Stage // for a PASS, raw first
	v      Verdict
}

func (j *judge) because(code Code, format string, args ...any) {
	j.v.Reasons = append(j.v.Reasons, Reason{Code: code, Text: fmt.Sprintf(format, args...)})
}

func (j *judge) await(format string, args ...any) {
	j.v.Missing = append(j.v.Missing, fmt.Sprintf(format, args...))
}

func (j *judge) note(format string, args ...any) {
	j.v.Notes = append(j.v.Notes, fmt.Sprintf(format, args...))
}

// trust refuses evidence that says nothing about any build.
func (j *judge) trust() {
	ev := j.ev
	if ev.Schema != Schema {
		j.because(CodeSchema, "the evidence has schema %d, this build judges %d", ev.Schema, Schema)
		j.await("run sparrow compare of the same version as the server")
		return
	}
	for _, what := range ev.Unsettled {
		j.because(CodeUnsettled, "%s", what)
	}
	if len(ev.Unsettled) > 0 {
		j.await("run sparrow compare again once that is settled")
	}
	if _, err := event.ParseStack(string(ev.Live.Stack)); err != nil || ev.Candidate.Stack != ev.Live.Stack.Other() {
		j.because(CodeUnsettled, "the evidence does not say which stack is live and which is the candidate")
	}
	if ev.Window.First == 0 {
		j.because(CodeUnsettled, "the evidence does not say which window it is about")
	}
	if ev.Journal == "" {
		j.because(CodeUnsettled, "the evidence does not say which journal it is about")
	}
}

// builds names the one build the verdict is about, or says why there is none.
func (j *judge) builds() {
	for _, s := range []struct {
		role string
		Side
	}{{"live", j.ev.Live}, {"candidate", j.ev.Candidate}} {
		if len(s.Builds) > 1 {
			var seen []string
			for _, b := range s.Builds {
				seen = append(seen, fmt.Sprintf("%s in frames %d–%d", ShortBuild(b.ID), b.First, b.Last))
			}
			last := s.Builds[len(s.Builds)-1]
			j.because(CodeMixed, "%s (%s) ran %d builds in the window: %s", s.role, s.Stack, len(s.Builds), strings.Join(seen, ", "))
			j.await("a window that only one build of %s wrote: begin it after frame %d, or declare the candidate again", s.Stack, last.First)
		}
		if len(s.Builds) == 1 && s.Builds[0].ID == "" {
			j.because(CodeBuild, "%s (%s) did not say which build wrote its rows", s.role, s.Stack)
		}
		j.stageBuilds(s.role, s.Side)
	}
	if len(j.v.Reasons) > 0 {
		return
	}
	if len(j.ev.Live.Builds) == 1 {
		j.v.Live = named(j.ev.Live.Builds[0].ID, j.ev.Live.Build)
	}
	k := j.ev.Candidate
	if len(k.Builds) == 0 {
		return // it stored nothing: presence or faults will say so
	}
	seen := k.Builds[0].ID
	if d := j.ev.Declared.Build; d.ID != "" && d.ID != seen {
		j.because(CodeBuild, "the rows are of build %s, the declared candidate is %s", ShortBuild(seen), BuildName(d))
		j.await("declare what runs with sparrow deploy candidate, or start the declared build on %s", k.Stack)
	}
	if k.Build.ID != "" && k.Build.ID != seen {
		j.because(CodeBuild, "the rows are of build %s, %s now runs %s", ShortBuild(seen), k.Stack, BuildName(k.Build))
		j.await("declare what runs with sparrow deploy candidate, and let it see traffic")
	}
	j.v.Candidate = named(seen, k.Build, j.ev.Declared.Build)
}

// stageBuilds checks that each stage of a side was written by the build that wrote its raw rows.
func (j *judge) stageBuilds(role string, s Side) {
	for _, name := range j.needed[1:] {
		of := j.ev.stage(name)
		if of == nil {
			continue // presence will say so
		}
		for _, b := range of.side(&j.ev, s.Stack).Builds {
			switch {
			case len(s.Builds) > 0 && s.Builds[0].ID == b.ID:
			case b.ID == "":
				j.because(CodeBuild, "%s (%s) did not say which build wrote its outcomes of %s", role, s.Stack, shownName(string(name)))
			case len(s.Builds) > 0:
				j.because(CodeMixed, "%s (%s) ran build %s at %s in frames %d–%d, and %s at raw", role, s.Stack, ShortBuild(b.ID), shownName(string(name)), b.First, b.Last, ShortBuild(s.Builds[0].ID))
				j.await("a window that only one build of %s wrote at every stage: declare the candidate again", s.Stack)
			}
		}
	}
}

func named(id string, known ...event.Build) event.Build {
	for _, b := range known {
		if b.ID == id {
			return b
		}
	}
	return event.Build{ID: id}
}
