package cmd

import (
	"context"
	"fmt"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/sparrowhq/sparrow/cmd/config"
	"github.com/sparrowhq/sparrow/cmd/supervisor"
	"github.com/sparrowhq/sparrow/cmd/terminal"
	"github.com/sparrowhq/sparrow/compare"
	"github.com/sparrowhq/sparrow/event"
)

// flow is what the mirror counted at one moment.
type flow struct {
	at       time.Time
	status   compare.Status
	err      error   // the mirror does not answer
	accepted float64 // requests a second, since the flow before
	lanes    map[event.Stack][]lane
}

// showStatus refreshes the status on a terminal until ctx ends.
func (u *installed) showStatus(ctx context.Context) {
	if !u.screen.Terminal {
		return
	}
	mirror := compare.Server{URL: reach(u.config.Admin.Listen), HTTP: u.operator}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var last flow
	for {
		ask, cancel := context.WithTimeout(ctx, 2*time.Second)
		now := flow{at: time.Now()}
		now.status, now.err = mirror.Status(ask)
		now.lanes = u.lanes(ask)
		cancel()
		now = now.since(last)
		if now.err == nil {
			last = now
		}
		u.live.Draw(statusLines(u.screen, u.s.States(), now, time.Now()))
		select {
		case <-tick.C:
		case <-ctx.Done():
			u.live.Clear()
			return
		}
	}
}

// lanes asks both traces; one that does not answer has none.
func (u *installed) lanes(ctx context.Context) map[event.Stack][]lane {
	all := map[event.Stack][]lane{}
	for _, stack := range event.Stacks() {
		url := u.config.Stacks.Of(stack).Trace.URL
		if url == "" {
			continue // it has none
		}
		if st, err := traceStatus(ctx, u.internal, url); err == nil {
			all[stack] = lanes(st, u.config.Sandbox.URL)
		}
	}
	return all
}

// laneLine is one tracker of a stack in the status.
func laneLine(s terminal.Screen, l lane, now time.Time) string {
	text := l.text(now)
	if len(l.Troubles) > 0 || l.Status.Dead > 0 {
		text = s.Styled(terminal.Red, text)
	}
	return fmt.Sprintf("      %-10s %s", terminal.Printable(l.Tracker), text)
}

// since fills in the rate since an earlier flow.
func (f flow) since(earlier flow) flow {
	if f.err != nil || earlier.at.IsZero() || f.status.Accepted.Requests < earlier.status.Accepted.Requests {
		return f
	}
	f.accepted = float64(f.status.Accepted.Requests-earlier.status.Accepted.Requests) / f.at.Sub(earlier.at).Seconds()
	return f
}

// statusLines is the block at the bottom of the terminal: processes, flow, and how far each stack lags.
func statusLines(s terminal.Screen, states []supervisor.State, f flow, now time.Time) []string {
	lines := []string{""}
	for _, st := range states {
		style := terminal.Green
		switch st.Phase {
		case supervisor.Failed, supervisor.Unready:
			style = terminal.Red
		case supervisor.Starting, supervisor.Waiting:
			style = terminal.Yellow
		}
		line := fmt.Sprintf("%-17s %s %8s", st.Name, s.Styled(style, text.Pad(string(st.Phase), 9, ' ')), terminal.Elapsed(now.Sub(st.Since)))
		if st.Restarts > 0 {
			line += fmt.Sprintf("  started %d times", st.Restarts+1)
		}
		if st.Why != "" {
			line += "  " + terminal.Printable(st.Why)
		}
		lines = append(lines, line)
	}
	if f.err != nil {
		return append(lines, s.Styled(terminal.Faint, "the mirror does not answer"))
	}
	j := f.status.Journal
	line := fmt.Sprintf("accepted %s requests, %s/s; journal %s of %s", terminal.Count(f.status.Accepted.Requests), terminal.Count(int64(f.accepted)), terminal.Bytes(j.Bytes), terminal.Bytes(j.MaxBytes))
	if !j.Accepting {
		line += "; " + s.Styled(terminal.Red, "refusing requests: "+terminal.Printable(j.Why))
	}
	lines = append(lines, line)
	for _, stack := range event.Stacks() {
		st, ok := f.status.Stacks[stack]
		if !ok {
			continue
		}
		line := fmt.Sprintf("%-5s %-9s build %s  %s", stack, st.Role, buildText(st.Build), lagText(st, now))
		if st.Protocol == config.ProtocolHTTP {
			line += "  fed plain HTTP"
		}
		if st.Dead > 0 {
			line += s.Styled(terminal.Red, fmt.Sprintf("  %s dead", terminal.Count(st.Dead)))
		}
		if lost := st.Expired + st.Sampled; lost > 0 {
			line += fmt.Sprintf("  %s expired or sampled", terminal.Count(lost))
		}
		if st.Error != "" {
			line += "  " + s.Styled(terminal.Red, terminal.Printable(st.Error))
		}
		lines = append(lines, line)
		for _, l := range f.lanes[stack] {
			lines = append(lines, laneLine(s, l, now))
		}
	}
	return lines
}

// lagText is how far a stack is behind.
func lagText(st compare.StackStatus, now time.Time) string {
	if st.Pending.Requests == 0 {
		return "up to date"
	}
	lag := fmt.Sprintf("%s requests behind", terminal.Count(st.Pending.Requests))
	if st.Pending.OldestAt > 0 {
		lag += ", " + terminal.Elapsed(now.Sub(time.UnixMicro(st.Pending.OldestAt)))
	}
	return lag
}

// buildText is a build as people are shown it.
func buildText(b event.Build) string {
	if b.ID == "" {
		return "unknown"
	}
	if b.Version == "" {
		return compare.ShortBuild(b.ID)
	}
	return compare.ShortBuild(b.ID) + " (" + terminal.Cell(b.Version, 30) + ")"
}
