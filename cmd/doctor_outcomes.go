package cmd

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/sparrowhq/sparrow/cmd/config"
	"github.com/sparrowhq/sparrow/cmd/terminal"
	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/mirror"
	"github.com/sparrowhq/sparrow/trace/census"
	"github.com/sparrowhq/sparrow/trace/pipeline"
	"github.com/sparrowhq/sparrow/warehouse/served"
)

// censusFlags bound the standing check.
type censusFlags struct{ older, since time.Duration }

// eventsByTracker says which events each tracker of a configuration gets.
func eventsByTracker(c *pipeline.Config) map[string][]string {
	all := map[string][]string{}
	for name := range c.Trackers {
		all[name] = c.EventsOf(name)
	}
	return all
}

// outcomes checks that every event a stack stored some time ago has a final outcome wherever it belongs.
func (d *doctor) outcomes(ctx context.Context, w *served.Client, st mirror.Status) {
	settings, err := d.in.running()
	if err != nil {
		d.find("outcomes", wrong, "%v", err)
		return
	}
	for _, stack := range event.Stacks() {
		s := settings.Stacks.Of(stack)
		if s.Trace.URL == "" || s.Service() {
			continue
		}
		check := "outcomes " + string(stack)
		c, err := readPipeline(s.Trace.Pipeline)
		if err != nil {
			d.find(check, wrong, "which tracker gets what is not known: %v", err)
			continue
		}
		now := time.Now()
		stages, err := census.Take(ctx, census.Options{
			Warehouse: w, Stack: stack, Build: st.Stacks[stack].Build.ID, Events: eventsByTracker(&c),
			Before: now.Add(-d.flags.older), Since: now.Add(-d.flags.since), Examples: 5,
		})
		if err != nil {
			d.find(check, wrong, "%v", err)
			continue
		}
		lanes := d.lanes(ctx, stack)
		for _, stage := range stages {
			d.stage(check+" "+string(stage.Stage), stage, stack == st.Live, lanes[stage.Stage])
		}
	}
}

// stage judges what the census found at one stage. why is what the stage itself says is in its way.
func (d *doctor) stage(check string, s census.Stage, live bool, why string) {
	bad := wrong
	if !live {
		bad = note
	}
	total := uint64(0)
	var dead []string
	for _, o := range s.Outcomes {
		total += o.Events
		if o.Outcome == "dead" {
			dead = append(dead, fmt.Sprintf("%s dead: %s", terminal.Count(o.Events), o.Reason))
		}
	}
	switch {
	case s.Lost > 0:
		var ids []string
		for _, x := range s.Examples {
			ids = append(ids, fmt.Sprintf("%s (%s)", x.EventID, terminal.Printable(x.Event)))
		}
		d.find(check, wrong, "%s events were passed over: they have no outcome although the stage says that all up to %v is final: %s", terminal.Count(s.Lost), s.Cursor, strings.Join(ids, ", "))
	case s.Behind > 0:
		if why != "" {
			why = ": " + why
		}
		d.find(check, bad, "%s events older than %s are not final, the oldest by %s%s", terminal.Count(s.Behind), d.flags.older, terminal.Elapsed(time.Since(time.UnixMicro(s.OldestAt))), why)
	case len(dead) > 0:
		d.find(check, note, "%s final; %s: `sparrow dead list` shows them", terminal.Count(total), strings.Join(dead, ", "))
	default:
		d.find(check, fine, "%s final%s", terminal.Count(total), kinds(s.Outcomes))
	}
}

// kinds writes the most frequent outcomes.
func kinds(outcomes []census.Outcome) string {
	var parts []string
	for i, o := range outcomes {
		if i == 4 {
			parts = append(parts, "…")
			break
		}
		part := terminal.Count(o.Events) + " " + o.Outcome
		if o.Reason != "" {
			part += " (" + terminal.Printable(o.Reason) + ")"
		}
		parts = append(parts, part)
	}
	if parts == nil {
		return ""
	}
	return ": " + strings.Join(parts, ", ")
}

// running returns the settings of the running processes: those `sparrow up` gave them, if it runs here.
func (in installation) running() (config.Config, error) {
	if in.local {
		return config.LoadSnapshot(settingsFile(in.dir))
	}
	return in.config, nil
}
