package cmd

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/sparrowhq/sparrow/cmd/config"
	"github.com/sparrowhq/sparrow/cmd/terminal"
	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/trace"
	"github.com/sparrowhq/sparrow/trace/pipeline"
	"github.com/sparrowhq/sparrow/trace/tracker"
)

type explainFlags struct {
	file, key, origin, received, client string
	headers                             []string
}

func (p *program) traceExplain() *cobra.Command {
	var f explainFlags
	c := &cobra.Command{
		Use:   "explain FILE",
		Short: "Say what would happen to events, offline: the rule that decides, what is scrubbed, each vendor's exact request",
		Long: `Say what would become of the events in FILE (- for standard input), each line the body of one request, under a pipeline
file: which rule decides, what stays behind, what is scrubbed, and the exact request that each vendor would get for
the event alone. Secrets are hidden. Nothing is sent, and nothing that runs is asked.`,
		Example: `  sparrow trace explain events.ndjson --pipeline allowlist.yaml
  echo '{"event":"pageview","deviceId":"d1","properties":{"pathname":"/"}}' | sparrow trace explain - --header 'Sec-GPC: 1'`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return p.explain(c.Context(), &f, args[0]) },
	}
	g := c.Flags()
	g.StringVar(&f.file, "pipeline", "", "pipeline file (default: that of the green stack in the settings)")
	g.StringVar(&f.key, "key", "", "write key of the requests (default: the first of the first source)")
	g.StringVar(&f.origin, "origin", "", "Origin header of the requests; none for no header (default: one that the key's source accepts)")
	g.StringArrayVar(&f.headers, "header", nil, `further header of the requests, as "Name: value"; may be repeated`)
	g.StringVar(&f.client, "client", "192.0.2.1", "address of the client")
	g.StringVar(&f.received, "received", "", "when the requests arrive, as 2026-01-15T12:00:00Z (default: now)")
	p.jsonFlag(c)
	return c
}

// explained is what `sparrow trace explain` says of one event.
type explained struct {
	Line     int                 `json:"line"`
	Outcome  pipeline.Outcome    `json:"outcome"`
	Ignored  bool                `json:"timestampIgnored,omitempty"`
	Left     []pipeline.Unknown  `json:"left,omitempty"`
	Scrubbed []pipeline.Touch    `json:"scrubbed,omitempty"`
	Trackers []explainedAtVendor `json:"trackers,omitempty"`
}

// explainedAtVendor is what one tracker would do.
type explainedAtVendor struct {
	Tracker  string            `json:"tracker"`
	Vendor   string            `json:"vendor"`
	Decision string            `json:"decision"` // sent, not selected, rejected
	Reason   string            `json:"reason,omitempty"`
	Rule     string            `json:"rule,omitempty"`
	Detail   string            `json:"detail,omitempty"`
	URL      string            `json:"url,omitempty"`
	Headers  map[string]string `json:"headers,omitempty"`
	Body     json.RawMessage   `json:"body,omitempty"` // as a JSON string if it is no JSON
	Warnings []tracker.Warning `json:"warnings,omitempty"`
}

const hidden = "HIDDEN"

func (p *program) explain(_ context.Context, f *explainFlags, path string) error {
	x, err := p.newExplainer(f)
	if err != nil {
		return err
	}
	all := []explained{}
	err = p.eachLine(path, func(n int, line []byte) error {
		all = append(all, x.request(n, line)...)
		return nil
	})
	if err != nil {
		return err
	}
	if p.json {
		return p.printJSON(map[string]any{"events": all})
	}
	var b strings.Builder
	for _, e := range all {
		e.write(&b)
	}
	_, err = io.WriteString(p.Stdout, b.String())
	return err
}

// explainer is a pipeline with its vendors, connected to nothing.
type explainer struct {
	pipeline *pipeline.Pipeline
	trackers map[string]tracker.Options
	query    []byte
	headers  []*event.Header
	client   []byte
	at       int64
}

func (p *program) newExplainer(f *explainFlags) (*explainer, error) {
	c, err := p.config()
	if err != nil {
		return nil, err
	}
	if f.file == "" {
		f.file = c.Stacks.Green.Trace.Pipeline
	}
	pipe, err := readPipeline(f.file)
	if err != nil {
		return nil, err
	}
	o := trace.Options{Stack: event.Green, Pipeline: pipe, Key: make([]byte, pipeline.MinSecret)}
	if o.Trackers, err = offlineTrackers(c, pipe); err != nil {
		return nil, err
	}
	if extend := p.Extension.Trace; extend != nil {
		extend(&o)
	}
	x := &explainer{trackers: o.Trackers, client: []byte(f.client), at: time.Now().UnixMicro()}
	if f.received != "" {
		at, err := time.Parse(time.RFC3339, f.received)
		if err != nil {
			return nil, usage("--received %q: want a time like 2026-01-15T12:00:00Z", f.received)
		}
		x.at = at.UnixMicro()
	}
	if x.pipeline, err = pipeline.New(pipeline.Options{Config: o.Pipeline, Secret: o.Key, Stages: o.Stages}); err != nil {
		return nil, err
	}
	return x, x.address(f, x.pipeline.Config())
}

// offlineTrackers are the trackers with accounts whose secrets nobody reads.
func offlineTrackers(c config.Config, p pipeline.Config) (map[string]tracker.Options, error) {
	all := map[string]tracker.Options{}
	for _, name := range slices.Sorted(maps.Keys(p.Trackers)) {
		kind := p.Trackers[name].Vendor
		v, ok := vendors[kind]
		if !ok {
			return nil, fmt.Errorf("tracker %s: there is no vendor %q", name, kind)
		}
		made, err := v.new(c.Trackers.Of(name).Webhook)
		if err != nil {
			return nil, fmt.Errorf("setting trackers.%s.webhook: %w", name, err)
		}
		o := tracker.Options{Vendor: made, Credentials: map[tracker.Sink]tracker.Credential{}}
		account := c.Trackers.Of(name).Production
		credential := tracker.Credential{URL: account.URL, Key: account.Key}
		if account.Sandboxed() {
			if credential, err = v.credential(c.Sandbox.URL, kind, tracker.Production, config.Sink{}); err != nil {
				return nil, fmt.Errorf("tracker %s: %w", name, err)
			}
		} else if credential.URL == "" {
			credential.URL = v.address
		}
		if v.secret {
			credential.Secret = hidden
		}
		o.Credentials[tracker.Production] = credential
		all[name] = o
	}
	return all, nil
}

// address makes the query and headers by which a source knows the requests.
func (x *explainer) address(f *explainFlags, c pipeline.Config) error {
	key, origin := f.key, f.origin
	for _, name := range slices.Sorted(maps.Keys(c.Sources)) {
		s := c.Sources[name]
		if key == "" {
			key = s.Keys[0]
		}
		if origin == "" && slices.Contains(s.Keys, key) {
			origin = anOrigin(s.Origins)
		}
	}
	x.query = []byte("k=" + key)
	if origin != "" && origin != pipeline.NoOrigin {
		x.headers = append(x.headers, &event.Header{Name: "Origin", Value: []byte(origin)})
	}
	for _, h := range f.headers {
		name, value, ok := strings.Cut(h, ":")
		if !ok || strings.TrimSpace(name) == "" {
			return usage(`--header %q: want "Name: value"`, h)
		}
		x.headers = append(x.headers, &event.Header{Name: strings.TrimSpace(name), Value: []byte(strings.TrimSpace(value))})
	}
	return nil
}

// anOrigin is one that a list of origins accepts.
func anOrigin(origins []string) string {
	if slices.Contains(origins, pipeline.NoOrigin) {
		return pipeline.NoOrigin
	}
	return strings.TrimSuffix(strings.Replace(origins[0], "://*.", "://www.", 1), ":*")
}

// request explains the events of one body.
func (x *explainer) request(line int, body []byte) []explained {
	id := uuid.NewSHA1(uuid.Nil, fmt.Appendf(nil, "line %d", line)) // the same each time
	r := &event.Request{
		Id: id[:], ReceivedAt: x.at, Method: []byte(http.MethodPost), Path: []byte("/v1/events"), Query: x.query, Headers: x.headers,
		Body: bytes.Clone(body), Client: x.client,
	}
	var all []explained
	for _, e := range x.pipeline.Explain(1, 0, r) {
		one := explained{Line: line, Outcome: e.Outcome, Ignored: e.TimestampIgnored, Left: e.Left, Scrubbed: e.Scrubbed}
		for _, v := range e.Views {
			one.Trackers = append(one.Trackers, x.view(v))
		}
		all = append(all, one)
	}
	return all
}

// view makes the request that a tracker would send for the event alone.
func (x *explainer) view(v pipeline.TrackerView) explainedAtVendor {
	o := x.trackers[v.Tracker]
	out := explainedAtVendor{Tracker: v.Tracker, Vendor: o.Vendor.Traits().Vendor}
	switch v.Decision {
	case pipeline.Skip:
		out.Decision = "not selected"
		return out
	case pipeline.Refuse:
		out.Decision, out.Reason, out.Rule, out.Detail = "rejected", string(v.Outcome.Reason), v.Outcome.Rule, v.Outcome.Hint
		return out
	}
	var form tracker.Form
	if breach := o.Vendor.Form(&v.Event, &form); breach != nil {
		out.Decision, out.Reason, out.Detail = "rejected", breach.Reason, breach.Detail
		return out
	}
	r := tracker.Request{Header: http.Header{}}
	o.Vendor.Assemble(o.Credentials[tracker.Production], []*tracker.Form{&form}, &r)
	out.Decision, out.URL, out.Warnings, out.Headers = "sent", r.URL, form.Warnings, map[string]string{}
	for name, values := range r.Header {
		out.Headers[name] = strings.Join(values, ", ")
	}
	out.Body = r.Body
	if !json.Valid(r.Body) {
		out.Body, _ = json.Marshal(strings.ToValidUTF8(string(r.Body), string(utf8.RuneError))) // of a string: never fails
	}
	return out
}

// write shows one event to people.
func (e *explained) write(b *strings.Builder) {
	name := e.Outcome.Name
	if name == "" {
		name = "(no name)"
	}
	fmt.Fprintf(b, "line %d, event %d: %s is %s", e.Line, e.Outcome.Item, terminal.Printable(name), e.Outcome.Result)
	if e.Outcome.Reason != "" {
		fmt.Fprintf(b, ": %s", e.Outcome.Reason)
	}
	b.WriteString("\n")
	say := func(label, format string, args ...any) {
		fmt.Fprintf(b, "  %-10s %s\n", label, terminal.Printable(fmt.Sprintf(format, args...)))
	}
	if e.Outcome.Rule != "" {
		say("rule", "%s", e.Outcome.Rule)
	}
	if e.Outcome.Hint != "" {
		say("hint", "%s", e.Outcome.Hint)
	}
	if e.Ignored {
		say("timestamp", "the client's is unreadable or too far off: the time of receipt counts")
	}
	for _, l := range e.Left {
		if l.Property != "" {
			say("left out", "%s: %s", l.Property, l.Reason)
		}
	}
	for _, s := range e.Scrubbed {
		say("scrubbed", "%s: %s", s.Field, s.Rule)
	}
	for _, t := range e.Trackers {
		t.write(b, say)
	}
}

func (t *explainedAtVendor) write(b *strings.Builder, say func(label, format string, args ...any)) {
	switch t.Decision {
	case "sent":
		say(t.Tracker, "POST %s", t.URL)
		for _, name := range slices.Sorted(maps.Keys(t.Headers)) {
			say("", "%s: %s", name, t.Headers[name])
		}
		say("", "%s", t.Body)
		for _, w := range t.Warnings {
			say("", "warning: %s %s: %s", w.Code, w.Field, w.Text)
		}
	case "rejected":
		text := t.Decision + ": " + t.Reason
		for _, more := range []string{t.Rule, t.Detail} {
			if more != "" {
				text += "; " + more
			}
		}
		say(t.Tracker, "%s", text)
	default:
		say(t.Tracker, "%s", t.Decision)
	}
}
