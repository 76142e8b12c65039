package mirror

import (
	"strings"

	"github.com/sparrowhq/sparrow/event"
)

// buildHeader is how an http stack says which build it is, in each answer: an id of visible ASCII without spaces, then, if
// it likes, a space and what people call it.
const buildHeader = "Sparrow-Build"

// Bounds of what a service may say of itself.
const (
	maxBuildID      = 128
	maxBuildVersion = 128
)

// buildOf reads buildHeader; the zero Build if it says nothing that can be an id.
func buildOf(value string) event.Build {
	id, version, _ := strings.Cut(strings.TrimSpace(value), " ")
	visible := func(text string, from rune) bool {
		return !strings.ContainsFunc(text, func(c rune) bool { return c < from || c > '~' })
	}
	version = strings.TrimSpace(version)
	if id == "" || len(id) > maxBuildID || len(version) > maxBuildVersion || !visible(id, '!') || !visible(version, ' ') {
		return event.Build{}
	}
	return event.Build{ID: id, Version: version}
}

// buildOfAll is the one build that took what was taken. Where two took part, as in the middle of a restart of theirs, or
// one did not say, it is the zero Build: then nothing may be decided about any.
func buildOfAll(results []outcome) (build event.Build) {
	first := true
	for _, r := range results {
		switch {
		case r.err != nil: // perhaps of somebody who stands in between
		case first:
			build, first = r.build, false
		case r.build != build:
			return event.Build{}
		}
	}
	return build
}
