package cmd

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sparrowhq/sparrow/cmd/terminal"
	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/mirror"
	"github.com/sparrowhq/sparrow/service"
	"github.com/sparrowhq/sparrow/trace"
)

func (p *program) dead() *cobra.Command {
	c := &cobra.Command{
		Use:   "dead",
		Short: "List, show and send again what was set aside: requests that a stack cannot take, events that a vendor refused",
	}
	group(c)
	c.AddCommand(p.deadList(), p.deadShow(), p.deadRetry())
	return c
}

// deadStage is where the mirror's feed sets requests aside; a tracker sets events aside under its own name.
const deadStage = "dispatcher"

// deadEntry is one thing that was set aside.
type deadEntry struct {
	Stack    event.Stack    `json:"stack"`
	Stage    string         `json:"stage"` // dispatcher, or a tracker
	Position event.Position `json:"position"`
	ID       string         `json:"id"`              // of the request; of the event
	Event    string         `json:"event,omitempty"` // a tracker's
	Sink     string         `json:"sink,omitempty"`  // likewise
	At       int64          `json:"at"`              // microseconds since the epoch
	Status   int            `json:"status"`
	Attempts uint64         `json:"attempts"`
	Reason   string         `json:"reason"`
	Detail   string         `json:"detail,omitempty"`
	Retrying bool           `json:"retrying,omitempty"`
}

// name is how `dead show` and `dead retry` are told which.
func (d deadEntry) name() string {
	return fmt.Sprintf("%s/%s/%s", d.Stack, d.Stage, d.Position)
}

type deadFlags struct {
	stack, tracker string
	limit          int
}

func (f *deadFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.stack, "stack", "", "only of green or blue")
	c.Flags().StringVar(&f.tracker, "tracker", "", `only of this tracker; "dispatcher" for requests that the stack itself cannot take`)
}

func (f *deadFlags) stacks() ([]event.Stack, error) {
	if f.stack == "" {
		return event.Stacks(), nil
	}
	stack, err := event.ParseStack(f.stack)
	if err != nil {
		return nil, usage("--stack: %w", err)
	}
	return []event.Stack{stack}, nil
}

func (p *program) deadList() *cobra.Command {
	var f deadFlags
	c := &cobra.Command{
		Use:   "list",
		Short: "List what was set aside, and why",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			stacks, err := f.stacks()
			if err != nil {
				return err
			}
			if f.limit < 1 {
				return usage("--limit %d: want at least 1", f.limit)
			}
			in, err := p.find()
			if err != nil {
				return err
			}
			entries, more, err := in.deadEntries(c.Context(), stacks, &f)
			if err != nil {
				return err
			}
			if p.json {
				return p.printJSON(map[string]any{"dead": entries, "more": more})
			}
			return p.showDead(entries, more)
		},
	}
	f.add(c)
	c.Flags().IntVar(&f.limit, "limit", 100, "most entries for each tracker of each stack")
	p.jsonFlag(c)
	p.serverFlag(c)
	return c
}

func (p *program) showDead(entries []deadEntry, more bool) error {
	if len(entries) == 0 {
		_, err := fmt.Fprintln(p.Stdout, "nothing is dead")
		return err
	}
	var rows [][]string
	for _, d := range entries {
		state := d.Reason
		if d.Retrying {
			state = "being sent again; was " + state
		}
		status := ""
		if d.Status > 0 {
			status = strconv.Itoa(d.Status)
		}
		rows = append(rows, []string{d.name(), d.ID, d.Event, d.Sink, time.UnixMicro(d.At).UTC().Format(time.DateTime), status, strconv.FormatUint(d.Attempts, 10), state, d.Detail})
	}
	if err := p.screen(p.Stdout).Wide(120).Table(terminal.Columns("which", "id", "event", "sink", "at", ">status", ">attempts", "reason", "answer"), rows); err != nil {
		return err
	}
	if more {
		tell(p.Stderr, "sparrow: there are more: raise --limit\n")
	}
	return nil
}

// deadEntries asks the mirror for requests and the traces for events.
func (in installation) deadEntries(ctx context.Context, stacks []event.Stack, f *deadFlags) (entries []deadEntry, more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	entries = []deadEntry{}
	if f.tracker == "" || f.tracker == deadStage {
		token, err := existingSecret(in.endpoints.TokenFile)
		if err != nil {
			return nil, false, fmt.Errorf("operator token: %w", err)
		}
		m := mirror.NewClient(in.endpoints.Admin, token)
		defer m.Close()
		for _, stack := range stacks {
			n := 0
			err := m.Dead(ctx, stack, false, func(l mirror.DeadLetter) error {
				if n++; n > f.limit {
					more = true
					return errEnough
				}
				entries = append(entries, requestEntry(stack, l))
				return nil
			})
			if err != nil && !errors.Is(err, errEnough) {
				return nil, false, err
			}
		}
	}
	if f.tracker == deadStage {
		return entries, more, nil
	}
	secret, err := in.secret()
	if err != nil {
		return nil, false, err
	}
	client := service.Client(secret)
	defer client.CloseIdleConnections()
	for _, stack := range stacks {
		found, rest, err := in.deadLetters(ctx, client, stack, f)
		if err != nil {
			return nil, false, fmt.Errorf("trace of %s: %w", stack, err)
		}
		entries, more = append(entries, found...), more || rest
	}
	return entries, more, nil
}

var errEnough = errors.New("enough")

func requestEntry(stack event.Stack, l mirror.DeadLetter) deadEntry {
	return deadEntry{
		Stack: stack, Stage: deadStage, Position: l.Position, ID: l.ID, At: l.At, Status: l.Status, Attempts: uint64(l.Attempts),
		Reason: "the stack fails on this request alone", Detail: l.Detail,
	}
}

func letterEntry(stack event.Stack, l trace.DeadLetter) deadEntry {
	return deadEntry{
		Stack: stack, Stage: l.Tracker, Position: l.Position, ID: l.ID, Event: l.Event, Sink: string(l.Sink), At: l.At, Status: int(l.Status),
		Attempts: uint64(l.Attempts), Reason: l.Reason, Detail: l.Detail, Retrying: l.Retrying,
	}
}

// deadLetters asks one trace, tracker by tracker.
func (in installation) deadLetters(ctx context.Context, client *http.Client, stack event.Stack, f *deadFlags) (entries []deadEntry, more bool, err error) {
	base := in.endpoints.url(traceName(stack))
	if base == "" {
		return nil, false, nil
	}
	st, err := traceStatus(ctx, client, base)
	if err != nil {
		return nil, false, err
	}
	for _, name := range slices.Sorted(maps.Keys(st.Lanes)) {
		if st.Lanes[name].Dead == 0 || f.tracker != "" && f.tracker != name {
			continue
		}
		after, left := "", f.limit
		for left > 0 {
			var page struct {
				Dead []trace.DeadLetter `json:"dead"`
				More bool               `json:"more"`
			}
			q := url.Values{"tracker": {name}, "limit": {strconv.Itoa(min(left, 1000))}}
			if after != "" {
				q.Set("after", after)
			}
			if err := getJSON(ctx, client, base+"/v1/dead?"+q.Encode(), &page); err != nil {
				return nil, false, err
			}
			for _, l := range page.Dead {
				entries = append(entries, letterEntry(stack, l))
				after = l.Position.String()
			}
			if left -= len(page.Dead); !page.More || len(page.Dead) == 0 {
				break
			}
			more = more || left == 0
		}
	}
	return entries, more, nil
}

// deadName reads what `dead list` shows in its first column: STACK/STAGE/POSITION.
func deadName(text string) (stack event.Stack, stage, position string, err error) {
	parts := strings.Split(text, "/")
	if len(parts) != 3 || parts[1] == "" || parts[2] == "" {
		return "", "", "", usage("%q: want STACK/STAGE/POSITION, as in the first column of `sparrow dead list`", text)
	}
	if stack, err = event.ParseStack(parts[0]); err != nil {
		return "", "", "", usage("%q: %w", text, err)
	}
	return stack, parts[1], parts[2], nil
}

func (p *program) deadShow() *cobra.Command {
	c := &cobra.Command{
		Use:   "show STACK/STAGE/POSITION",
		Short: "Show one thing that was set aside: what was sent, and what was answered",
		Long: `Show one thing that was set aside, named as in the first column of "sparrow dead list": of a tracker, the event in the
vendor's form without secrets, and the vendor's answer; of a stack's dispatcher, the request as the client sent it.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			stack, stage, position, err := deadName(args[0])
			if err != nil {
				return err
			}
			in, err := p.find()
			if err != nil {
				return err
			}
			if stage == deadStage {
				return p.showRequest(c.Context(), in, stack, position)
			}
			secret, err := in.secret()
			if err != nil {
				return err
			}
			var l trace.DeadLetter
			address := in.endpoints.url(traceName(stack)) + "/v1/dead/" + url.PathEscape(stage) + "/" + url.PathEscape(position)
			if err := getJSON(c.Context(), service.Client(secret), address, &l); err != nil {
				return err
			}
			if p.json {
				return p.printJSON(l)
			}
			return p.showLetter(stack, l)
		},
	}
	p.jsonFlag(c)
	p.serverFlag(c)
	return c
}

func (p *program) showLetter(stack event.Stack, l trace.DeadLetter) error {
	d := letterEntry(stack, l)
	lines := [][2]string{
		{"which", d.name()}, {"id", d.ID}, {"event", d.Event}, {"sink", d.Sink}, {"received", time.UnixMicro(l.Received).UTC().Format(time.RFC3339Nano)},
		{"refused", time.UnixMicro(l.At).UTC().Format(time.RFC3339Nano)}, {"reason", d.Reason}, {"detail", d.Detail},
		{"status", strconv.Itoa(d.Status)}, {"attempts", strconv.FormatUint(d.Attempts, 10)}, {"request", l.Request}, {"answer", l.Response},
	}
	var b strings.Builder
	for _, line := range lines {
		if line[1] != "" && line[1] != "0" {
			fmt.Fprintf(&b, "%-9s %s\n", line[0], terminal.Printable(line[1]))
		}
	}
	_, err := fmt.Fprint(p.Stdout, b.String())
	return err
}

// showRequest shows a request that a stack cannot take, decoded as far as it is text.
func (p *program) showRequest(ctx context.Context, in installation, stack event.Stack, position string) error {
	token, err := existingSecret(in.endpoints.TokenFile)
	if err != nil {
		return fmt.Errorf("operator token: %w", err)
	}
	m := mirror.NewClient(in.endpoints.Admin, token)
	defer m.Close()
	var found *mirror.DeadLetter
	err = m.Dead(ctx, stack, true, func(l mirror.DeadLetter) error {
		if l.Position.String() == position {
			found = &l
			return errEnough
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return err
	}
	if found == nil {
		return fmt.Errorf("nothing at %s/%s/%s was set aside: see `sparrow dead list`", stack, deadStage, position)
	}
	if p.json {
		return p.printJSON(found)
	}
	frame, err := event.DecodeFrame(found.Request)
	if err != nil || len(frame.Requests) != 1 {
		_, err := fmt.Fprintf(p.Stdout, "request of %d bytes, as journaled: %s\n", len(found.Request), base64.StdEncoding.EncodeToString(found.Request))
		return err
	}
	r := frame.Requests[0]
	var b strings.Builder
	fmt.Fprintf(&b, "which     %s\nid        %s\nstatus    %d, %d times\nanswer    %s\n", requestEntry(stack, *found).name(), found.ID, found.Status, found.Attempts, terminal.Printable(found.Detail))
	fmt.Fprintf(&b, "received  %s\nrequest   %s %s\n", time.UnixMicro(r.ReceivedAt).UTC().Format(time.RFC3339Nano), terminal.Printable(string(r.Method)), terminal.Printable(string(r.Path)))
	for _, h := range r.Headers {
		fmt.Fprintf(&b, "          %s: %s\n", terminal.Printable(h.Name), terminal.Printable(string(h.Value)))
	}
	fmt.Fprintf(&b, "body      %s\n", terminal.Printable(string(r.Body)))
	_, err = fmt.Fprint(p.Stdout, b.String())
	return err
}

func (p *program) deadRetry() *cobra.Command {
	var f deadFlags
	var all bool
	c := &cobra.Command{
		Use:   "retry [STACK/TRACKER/POSITION…]",
		Short: "Send dead events to their vendor again; their outcomes are corrected when it is known",
		Long: `Send dead events to their vendor again: those named as in the first column of "sparrow dead list", or with --all, all
of a --tracker, or of all trackers. Each goes to the same project as the first time, and its outcome is corrected when it
is known.

A request that a stack cannot take is never sent again. Everything behind it has been applied since, and a stack applies
each position in order or not at all: that is what makes a cursor mean that everything below it is final, and what lets
the same rows be appended twice without being there twice. What to do instead:

 - of the candidate: mend the build, swap it in and declare it anew. Its verdict begins behind the hole, which is counted.
 - of the live stack: the other stack most likely has the request. "sparrow deploy cutover" to it, and "sparrow deploy
   rollback --from FRAME" if live is to show what it made of the frames already past.
 - nowhere else but in the dead letter: "sparrow dead show NAME --json" has its bytes. Sent by a client again it is another
   request, for both stacks, with an id of its own.`,
		RunE: func(c *cobra.Command, args []string) error {
			if all == (len(args) > 0) {
				return usage("name what to send again, or say --all")
			}
			stacks, err := f.stacks()
			if err != nil {
				return err
			}
			in, err := p.find()
			if err != nil {
				return err
			}
			retries, err := in.retries(c.Context(), stacks, &f, args)
			if err != nil {
				return err
			}
			kept, err := in.keptRequests(c.Context(), stacks, &f, all)
			if err != nil {
				return err
			}
			return p.retry(c.Context(), in, retries, kept)
		},
	}
	f.add(c)
	c.Flags().BoolVar(&all, "all", false, "all of them")
	p.jsonFlag(c)
	p.serverFlag(c)
	return c
}

// retry is one call of POST /v1/dead/retry.
type retry struct {
	stack     event.Stack
	Tracker   string   `json:"tracker"`
	Positions []string `json:"positions,omitempty"`
	All       bool     `json:"all,omitempty"`
}

// retries are the calls to make: of those named, by stack and tracker; or for all trackers that have any.
func (in installation) retries(ctx context.Context, stacks []event.Stack, f *deadFlags, names []string) ([]retry, error) {
	var all []retry
	for _, name := range names {
		stack, stage, position, err := deadName(name)
		if err != nil {
			return nil, err
		}
		if stage == deadStage {
			return nil, usage("%s: a request that a stack cannot take is not sent again, since everything behind it has been applied: mend the build, and see `sparrow dead retry --help` for what else can be done", name)
		}
		i := slices.IndexFunc(all, func(r retry) bool { return r.stack == stack && r.Tracker == stage })
		if i < 0 {
			all = append(all, retry{stack: stack, Tracker: stage})
			i = len(all) - 1
		}
		all[i].Positions = append(all[i].Positions, position)
	}
	if len(names) > 0 {
		return all, nil
	}
	status, errs := in.traces(ctx)
	for _, stack := range stacks {
		if err := errs[stack]; err != nil {
			return nil, fmt.Errorf("trace of %s: %w", stack, err)
		}
		for _, name := range slices.Sorted(maps.Keys(status[stack].Lanes)) {
			if status[stack].Lanes[name].Dead > 0 && (f.tracker == "" || f.tracker == name) {
				all = append(all, retry{stack: stack, Tracker: name, All: true})
			}
		}
	}
	return all, nil
}

// keptRequests counts the requests that are not sent again although all that is dead was meant.
func (in installation) keptRequests(ctx context.Context, stacks []event.Stack, f *deadFlags, all bool) (n int, err error) {
	if !all || f.tracker != "" && f.tracker != deadStage {
		return 0, nil
	}
	requests := *f
	requests.tracker, requests.limit = deadStage, 1_000_000
	entries, _, err := in.deadEntries(ctx, stacks, &requests)
	return len(entries), err
}

// retry asks the traces. kept is how many requests the stacks cannot take: they are not sent again.
func (p *program) retry(ctx context.Context, in installation, retries []retry, kept int) error {
	secret, err := in.secret()
	if err != nil {
		return err
	}
	client := service.Client(secret)
	defer client.CloseIdleConnections()
	type answer struct {
		Stack    event.Stack `json:"stack"`
		Tracker  string      `json:"tracker"`
		Retrying int         `json:"retrying"`
	}
	answers := []answer{}
	for _, r := range retries {
		var a answer
		if err := postJSON(ctx, client, in.endpoints.url(traceName(r.stack))+"/v1/dead/retry", r, &a); err != nil {
			return fmt.Errorf("%s, %s: %w", r.stack, r.Tracker, err)
		}
		a.Stack = r.stack
		answers = append(answers, a)
	}
	if p.json {
		return p.printJSON(map[string]any{"retries": answers, "requests": kept})
	}
	if kept > 0 {
		tell(p.Stderr, "sparrow: %s requests that a stack cannot take stay set aside: they are not sent again; see `sparrow dead list --tracker dispatcher` and `sparrow dead retry --help`\n", terminal.Count(kept))
	}
	if len(answers) == 0 && kept > 0 {
		return nil
	}
	if len(answers) == 0 {
		_, err := fmt.Fprintln(p.Stdout, "nothing is dead")
		return err
	}
	for _, a := range answers {
		if _, err := fmt.Fprintf(p.Stdout, "%s, %s: %s events are sent again\n", a.Stack, a.Tracker, terminal.Count(a.Retrying)); err != nil {
			return err
		}
	}
	return nil
}
