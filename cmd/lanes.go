package cmd

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sparrowhq/sparrow/cmd/terminal"
	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/service"
	"github.com/sparrowhq/sparrow/trace"
	"github.com/sparrowhq/sparrow/trace/tracker"
	"github.com/sparrowhq/sparrow/warehouse"
)

// lane is what people want to know of one tracker of one stack.
type lane struct {
	Stack    event.Stack      `json:"stack"`
	Tracker  string           `json:"tracker"`
	Status   trace.LaneStatus `json:"status"`
	Sandbox  []tracker.Sink   `json:"sandbox"`  // sinks that have no account of their own
	Troubles []string         `json:"troubles"` // what is in its way
}

// lanes returns the trackers of one stack's trace, by name.
func lanes(st trace.Status, sandboxURL string) []lane {
	var all []lane
	for _, name := range slices.Sorted(maps.Keys(st.Lanes)) {
		s := st.Lanes[name]
		if s.Tracker == nil { // stage trace: not a tracker's
			continue
		}
		l := lane{Stack: st.Stack, Tracker: name, Status: s, Sandbox: []tracker.Sink{}, Troubles: []string{}}
		if s.Stopped != "" {
			l.Troubles = append(l.Troubles, "stands still: "+s.Stopped)
		}
		for _, sink := range slices.Sorted(maps.Keys(s.Tracker.Sinks)) {
			one := s.Tracker.Sinks[sink]
			if sandboxURL != "" && strings.HasPrefix(one.Address, strings.TrimSuffix(sandboxURL, "/")+"/") {
				l.Sandbox = append(l.Sandbox, sink)
			}
			if one.State != tracker.Closed {
				l.Troubles = append(l.Troubles, fmt.Sprintf("%s does not take events (breaker %s, %d failures): %s", sink, one.State, one.Failures, one.Why))
			}
		}
		if s.ShipError != "" {
			l.Troubles = append(l.Troubles, "outcomes wait for the warehouse: "+s.ShipError)
		}
		all = append(all, l)
	}
	return all
}

// text writes a lane in one line.
func (l lane) text(now time.Time) string {
	parts := []string{"up to date"}
	if l.Status.Lag > 0 {
		parts[0] = fmt.Sprintf("%s events behind", terminal.Count(l.Status.Lag))
		if l.Status.OldestAt > 0 {
			parts[0] += ", " + terminal.Elapsed(now.Sub(time.UnixMicro(l.Status.OldestAt)))
		}
	}
	if l.Status.Dead > 0 {
		parts = append(parts, terminal.Count(l.Status.Dead)+" dead")
	}
	if l.Status.Again > 0 {
		parts = append(parts, terminal.Count(l.Status.Again)+" sent again after a crash")
	}
	switch len(l.Sandbox) {
	case 0:
	case 1:
		parts = append(parts, fmt.Sprintf("%s goes to the sandbox", l.Sandbox[0]))
	default:
		parts = append(parts, "to the sandbox")
	}
	return terminal.Printable(strings.Join(append(parts, l.Troubles...), "; "))
}

// traceStatus asks the trace of a stack.
func traceStatus(ctx context.Context, client *http.Client, url string) (trace.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var s trace.Status
	return s, getJSON(ctx, client, url+"/v1/status", &s)
}

// traces asks the traces of both stacks. What does not answer is in errs.
func (in installation) traces(ctx context.Context) (all map[event.Stack]trace.Status, errs map[event.Stack]error) {
	all, errs = map[event.Stack]trace.Status{}, map[event.Stack]error{}
	secret, err := in.secret()
	client := service.Client(secret)
	defer client.CloseIdleConnections()
	for _, stack := range event.Stacks() {
		url := in.endpoints.url(traceName(stack))
		if url == "" {
			continue // it has none
		}
		if err != nil {
			errs[stack] = err
			continue
		}
		s, err := traceStatus(ctx, client, url)
		if err != nil {
			errs[stack] = err
			continue
		}
		all[stack] = s
	}
	return all, errs
}

// lanes says for each stage of a stack what is in its way.
func (d *doctor) lanes(ctx context.Context, stack event.Stack) map[warehouse.Stage]string {
	why := map[warehouse.Stage]string{}
	st, err := traceStatus(ctx, service.Client(d.secret), d.in.endpoints.url(traceName(stack)))
	if err != nil {
		return why // the process itself is a finding already
	}
	if st.Accepting != "" {
		why[warehouse.Trace] = "takes no deliveries: " + st.Accepting
	}
	for _, l := range lanes(st, "") {
		why[warehouse.Stage(l.Tracker)] = strings.Join(l.Troubles, "; ")
	}
	return why
}

func (p *program) traceStatus() *cobra.Command {
	c := &cobra.Command{
		Use:   "status",
		Short: "Show each tracker of both stacks: how far it is, what is in its way, and what the allowlist does not hold",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			in, err := p.find()
			if err != nil {
				return err
			}
			all, errs := in.traces(c.Context())
			if p.json {
				texts := map[event.Stack]string{}
				for stack, err := range errs {
					texts[stack] = err.Error()
				}
				return p.printJSON(map[string]any{"stacks": all, "errors": texts})
			}
			return p.showTraces(in, all, errs)
		},
	}
	p.jsonFlag(c)
	p.serverFlag(c)
	return c
}

func (p *program) showTraces(in installation, all map[event.Stack]trace.Status, errs map[event.Stack]error) error {
	now := time.Now()
	var rows [][]string
	for _, stack := range event.Stacks() {
		if err := errs[stack]; err != nil {
			rows = append(rows, []string{string(stack), "", "", "", "", "does not answer: " + err.Error()})
			continue
		}
		for _, l := range lanes(all[stack], in.sandboxURL()) {
			sent := uint64(0)
			for _, s := range l.Status.Tracker.Sinks {
				sent += s.Delivered
			}
			rows = append(rows, []string{
				string(stack), l.Tracker, terminal.Count(sent), terminal.Count(l.Status.Lag), terminal.Count(l.Status.Dead), l.text(now),
			})
		}
	}
	screen := p.screen(p.Stdout)
	if err := screen.Wide(200).Table(terminal.Columns("stack", "tracker", ">delivered", ">behind", ">dead", "state"), rows); err != nil {
		return err
	}
	return p.showUnknown(all)
}

// showLanes lists the trackers of both stacks, after a status. Where the secret is not at hand, or a stack has no trace,
// there is nothing to list.
func (p *program) showLanes(ctx context.Context, in installation) error {
	all, errs := in.traces(ctx)
	var b strings.Builder
	for _, stack := range event.Stacks() {
		if err := errs[stack]; err != nil {
			fmt.Fprintf(&b, "  %-5s trackers: not known: %s\n", stack, terminal.Printable(err.Error()))
		}
		for _, l := range lanes(all[stack], in.sandboxURL()) {
			fmt.Fprintf(&b, "  %-5s %-10s %s\n", stack, terminal.Printable(l.Tracker), l.text(time.Now()))
		}
	}
	if b.Len() == 0 {
		return nil
	}
	_, err := fmt.Fprintf(p.Stdout, "\ntrackers\n%s", b.String())
	return err
}

// showUnknown lists what the allowlist does not hold, of the stack that saw more of it.
func (p *program) showUnknown(all map[event.Stack]trace.Status) error {
	var rows [][]string
	for _, stack := range event.Stacks() {
		for i, u := range all[stack].Unknown {
			if i == 10 {
				break
			}
			what := u.Event
			if u.Property != "" {
				what += " . " + u.Property
			}
			rows = append(rows, []string{string(stack), what, string(u.Reason), terminal.Count(u.Count)})
		}
	}
	if len(rows) == 0 {
		return nil
	}
	if _, err := fmt.Fprintln(p.Stdout, "\nnot on the allowlist, most often:"); err != nil {
		return err
	}
	return p.screen(p.Stdout).Table(terminal.Columns("stack", "event . property", "why", ">times"), rows)
}

// sandboxURL is where the sandbox of a running installation is.
func (in installation) sandboxURL() string {
	if url := in.endpoints.url(sandboxName); url != "" {
		return url
	}
	return in.config.Sandbox.URL
}
