package telemetry

import (
	"time"

	"github.com/getsentry/sentry-go"
)

// Step is one station on the way of an event that ended in a failure: a breadcrumb. It holds ids, numbers and words of
// our own, never content.
type Step struct {
	At     time.Time // zero: not known
	Stage  string    // "journal", "trace", or the tracker
	What   string    // "received", "accepted", "sent", "refused"
	Status int       // of an answer; 0: there was none
	Number int       // of the attempt; 0: not one
}

// maxSteps of a way are reported, the last ones.
const maxSteps = 20

// way is how a report's Steps get to the gate: nothing else can put one into the hint.
type way []Step

func (g gate) breadcrumbs(w way) []*sentry.Breadcrumb {
	if len(w) > maxSteps {
		w = w[len(w)-maxSteps:]
	}
	crumbs := make([]*sentry.Breadcrumb, 0, len(w))
	for _, s := range w {
		b := &sentry.Breadcrumb{Type: "default", Category: g.short(s.Stage, maxTag), Message: g.short(s.What, maxTag), Level: sentry.LevelInfo, Timestamp: s.At}
		if s.Status != 0 || s.Number != 0 {
			b.Data = map[string]any{}
		}
		if s.Status != 0 {
			b.Data["status_code"] = s.Status
		}
		if s.Number != 0 {
			b.Data["attempt"] = s.Number
		}
		crumbs = append(crumbs, b)
	}
	return crumbs
}
