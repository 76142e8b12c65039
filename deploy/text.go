package deploy

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/sparrowhq/sparrow/compare"
	"github.com/sparrowhq/sparrow/event"
)

// WriteText writes the overview for a terminal: who is live, who is the candidate, the verdict, and what to do next.
func (o Overview) WriteText(w io.Writer) error {
	var b strings.Builder
	line := func(label, format string, args ...any) {
		fmt.Fprintf(&b, "%-10s %s\n", label, fmt.Sprintf(format, args...))
	}
	now := time.UnixMicro(o.At)
	role := func(label string, r Role) {
		what := fmt.Sprintf("%-5s %s, since %s", r.Stack, compare.BuildName(r.Status.Build), ago(now, r.Since))
		if r.Forced {
			what += " (FORCED)"
		}
		line(label, "%s", what)
		line("", "%s", health(r))
	}
	role("live", o.Live)
	role("candidate", o.Candidate)
	if o.Declared.Build.ID != "" {
		line("declared", "%s at frame %d", compare.BuildName(o.Declared.Build), o.Declared.Sequence)
	} else {
		line("declared", "none")
	}
	if v := o.Verdict; v != nil {
		line("verdict", "%s, %s, %s: %s", v.Outcome, v.ID, ago(now, v.EvidenceAt), compare.Visible(v.Summary))
		if v.Guarantee != "" {
			line("", "%s", compare.Visible(v.Guarantee))
		}
	} else {
		line("verdict", "none about the present candidate")
	}
	state := "accepting"
	if !o.Journal.Accepting {
		state = "REFUSING: " + compare.Visible(o.Journal.Why)
	}
	line("journal", "%s, frames up to %d", state, o.Journal.LastFrame)
	line("history", "generation %d, %.12s", o.Generation, o.Head)
	if len(o.Refusals) > 0 {
		b.WriteString("\na cutover would be refused\n")
		for _, r := range o.Refusals {
			fmt.Fprintf(&b, "  %s\n", compare.Visible(r.Text))
		}
	}
	fmt.Fprintf(&b, "\nnext: %s\n", o.Next)
	_, err := io.WriteString(w, b.String())
	return err
}

// health says in a few words how a stack fares.
func health(r Role) string {
	s := r.Status
	var parts []string
	if s.Protocol == "http" {
		parts = append(parts, "a service fed plain HTTP")
	}
	switch {
	case s.Blocked:
		parts = append(parts, "its feed waits for a person")
	case !s.Reachable:
		parts = append(parts, "does not answer")
	}
	if s.Pending.Requests == 0 {
		parts = append(parts, "up to date")
	} else {
		parts = append(parts, fmt.Sprintf("%d requests behind, the oldest by %s", s.Pending.Requests, time.Duration(r.Lag*float64(time.Second)).Round(time.Second)))
	}
	for _, p := range []struct {
		n    uint64
		what string
	}{{s.Dead, "dead-lettered"}, {s.Expired, "expired"}, {s.Sampled, "left out by sampling"}} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", p.n, p.what))
		}
	}
	if s.Repeated > 0 {
		parts = append(parts, fmt.Sprintf("%d perhaps sent twice", s.Repeated))
	}
	if s.StuckAt != nil {
		parts = append(parts, fmt.Sprintf("trying %v again", *s.StuckAt))
	}
	if s.Error != "" {
		parts = append(parts, compare.Visible(s.Error))
	}
	return strings.Join(parts, ", ")
}

// ago writes how long before now an instant was.
func ago(now time.Time, micros int64) string {
	if micros == 0 {
		return "an unknown time"
	}
	at := time.UnixMicro(micros)
	d := now.Sub(at)
	switch {
	case d < 0:
		return at.UTC().Format("2006-01-02 15:04:05 MST")
	case d < time.Minute:
		return strconv.Itoa(int(d.Seconds())) + " s ago"
	case d < time.Hour:
		return strconv.Itoa(int(d.Minutes())) + " min ago"
	case d < 48*time.Hour:
		return strconv.Itoa(int(d.Hours())) + " h ago"
	}
	return strconv.Itoa(int(d.Hours()/24)) + " days ago"
}

// WriteHistory writes every decision as a table, the newest first; with drawn lines only for a terminal.
func WriteHistory(w io.Writer, t event.Timeline, lines bool) error {
	out := table.NewWriter()
	style := table.StyleLight
	if !lines {
		style = table.StyleDefault
		style.Box.PaddingLeft, style.Box.PaddingRight = "", "  "
		style.Options = table.Options{}
	}
	style.Format.Header = text.FormatDefault
	style.Options.DrawBorder, style.Options.SeparateColumns = false, false
	out.SetStyle(style)
	out.SuppressTrailingSpaces()
	out.AppendHeader(table.Row{"generation", "when", "what", "live", "from frame", "build", "verdict", "by", "why"})
	columns := []table.ColumnConfig{{Number: 1, Align: text.AlignRight}, {Number: 5, Align: text.AlignRight}}
	if lines {
		columns = append(columns, table.ColumnConfig{Number: 9, WidthMax: 60, WidthMaxEnforcer: text.WrapSoft})
	}
	out.SetColumnConfigs(columns)
	records := t.Records()
	for i := len(records) - 1; i >= 0; i-- {
		out.AppendRow(historyRow(records[i]))
	}
	_, err := io.WriteString(w, out.Render()+"\n")
	return err
}

func historyRow(r event.Record) table.Row {
	what := string(r.Kind)
	if r.Forced {
		what += " (FORCED)"
	}
	from := r.From
	if from == 0 {
		from = r.Sequence + 1
	}
	build := r.LiveBuild
	if r.Kind == event.Candidate {
		build = r.Candidate
	}
	name := ""
	if build.ID != "" {
		name = text.Snip(compare.BuildName(build), 40, "…")
	}
	why := compare.Visible(r.Reason)
	if len(r.Holes) > 0 {
		if why != "" {
			why += "; "
		}
		why += "accepted holes in " + compare.Frames(r.Holes)
	}
	verdict := r.Verdict
	if len(verdict) > 12 {
		verdict = verdict[:12]
	}
	return table.Row{r.Generation, time.UnixMicro(r.At).UTC().Format("2006-01-02 15:04:05"), what, r.Live, from, name, compare.Visible(verdict), text.Snip(compare.Visible(r.Actor), 24, "…"), why}
}

// WriteText writes what was decided.
func (d Decision) WriteText(w io.Writer) error {
	var b strings.Builder
	r := d.Record
	switch r.Kind {
	case event.Candidate:
		fmt.Fprintf(&b, "%s is the candidate, with %s; its window begins at frame %d\n", r.Live.Other(), compare.BuildName(r.Candidate), d.Sequence+1)
	case event.Cutover:
		fmt.Fprintf(&b, "%s is live from frame %d on\n", r.Live, d.Sequence+1)
	case event.Rollback:
		from := r.From
		if from == 0 {
			from = d.Sequence + 1
		}
		fmt.Fprintf(&b, "%s is live again from frame %d on\n", r.Live, from)
	}
	switch {
	case r.Forced && r.Kind == event.Candidate:
		fmt.Fprintf(&b, "on record as FORCED: %s\n", compare.Visible(r.Reason))
	case r.Forced:
		b.WriteString("FORCED in spite of:\n")
		for _, x := range d.Overruled {
			fmt.Fprintf(&b, "  %s\n", compare.Visible(x.Text))
		}
	}
	if len(r.Holes) > 0 {
		fmt.Fprintf(&b, "it never got all of %s: these stay on record\n", compare.Frames(r.Holes))
	}
	for _, x := range d.Warnings {
		fmt.Fprintf(&b, "note: %s\n", compare.Visible(x))
	}
	fmt.Fprintf(&b, "generation %d, history %.12s\n", r.Generation, d.Hash)
	_, err := io.WriteString(w, b.String())
	return err
}

// WriteError writes why a decision was refused and what to do, a line each. It reports whether err is a refusal.
func WriteError(w io.Writer, err error) bool {
	var refused *RefusedError
	if !errors.As(err, &refused) {
		return false
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s is refused\n", refused.What)
	for _, r := range refused.Refusals {
		fmt.Fprintf(&b, "  %s\n    %s\n", compare.Visible(r.Text), compare.Visible(r.Do))
	}
	_, _ = io.WriteString(w, b.String()) // an error on the way to telling an error: nobody is left to tell
	return true
}
