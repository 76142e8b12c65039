package cmd

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sparrowhq/sparrow/cmd/terminal"
	"github.com/sparrowhq/sparrow/trace/sandbox"
	"github.com/sparrowhq/sparrow/trace/sandbox/record"
	"github.com/sparrowhq/sparrow/trace/sandbox/scenario"
)

func (p *program) sandboxStatus() *cobra.Command {
	c := &cobra.Command{
		Use:   "status",
		Short: "Show what each project received: deliveries, distinct ids, what was lost and why",
		Args:  cobra.NoArgs,
		RunE: p.asking(func(ctx context.Context, s *sandbox.Client, _ []string) error {
			counts, err := s.Vendors(ctx)
			if err != nil {
				return err
			}
			st, err := s.Status(ctx)
			if err != nil {
				return err
			}
			if p.json {
				return p.printJSON(map[string]any{"status": st, "vendors": counts})
			}
			var rows [][]string
			for _, c := range counts {
				rows = append(rows, []string{
					c.Vendor, c.Project, terminal.Count(sum(c.Requests)), terminal.Count(c.Deliveries), terminal.Count(c.Distinct), terminal.Count(c.Duplicates),
					reasons(c.Dropped), reasons(c.Refused), reasons(c.Faults),
				})
			}
			screen := p.screen(p.Stdout)
			if err := screen.Table(terminal.Columns("vendor", "project", ">requests", ">deliveries", ">distinct", ">duplicates", "dropped", "refused", "faults"), rows); err != nil {
				return err
			}
			return writeSandboxNotes(p.Stdout, st)
		}),
	}
	p.jsonFlag(c)
	p.serverFlag(c)
	return c
}

func writeSandboxNotes(w io.Writer, st sandbox.Status) error {
	notes := []string{fmt.Sprintf("%s requests recorded, %s", terminal.Count(st.Recording.Requests), terminal.Bytes(st.Recording.Bytes))}
	if !st.Recording.Complete {
		notes = append(notes, "not everything could be kept: what is missing here may have arrived")
	}
	if len(st.Differ) > 0 {
		notes = append(notes, "limits that are not as documented: "+strings.Join(st.Differ, "; "))
	}
	notes = append(notes, scenarioText(st.Scenario)...)
	_, err := fmt.Fprintf(w, "%s\n", terminal.Printable(notes[0])+linesAfter(notes))
	return err
}

func linesAfter(notes []string) string {
	var b strings.Builder
	for _, n := range notes[1:] {
		b.WriteString("\n" + terminal.Printable(n))
	}
	return b.String()
}

// scenarioText says what goes wrong on purpose.
func scenarioText(s scenario.State) []string {
	if len(s.Rules) == 0 {
		return []string{"no scenario: nothing goes wrong on purpose"}
	}
	var lines []string
	for _, r := range s.Rules {
		lines = append(lines, fmt.Sprintf("scenario: %s, %d requests matched, %d spoiled", r.Name, r.Matched, r.Applied))
	}
	return lines
}

func sum(counts map[string]uint64) (n uint64) {
	for _, c := range counts {
		n += c
	}
	return n
}

// reasons writes counts by reason, the most frequent first.
func reasons(counts map[string]uint64) string {
	names := slices.Collect(maps.Keys(counts))
	slices.SortFunc(names, func(a, b string) int {
		if counts[a] != counts[b] {
			return int(min(counts[b], 1<<30)) - int(min(counts[a], 1<<30))
		}
		return strings.Compare(a, b)
	})
	var parts []string
	for _, name := range names {
		parts = append(parts, fmt.Sprintf("%d %s", counts[name], name))
	}
	return strings.Join(parts, ", ")
}

func (p *program) sandboxIDs() *cobra.Command {
	c := &cobra.Command{
		Use:   "ids VENDOR PROJECT",
		Short: "List every event id that a project took in, and how often it came",
		Args:  cobra.ExactArgs(2),
		RunE: p.asking(func(ctx context.Context, s *sandbox.Client, args []string) error {
			out := bufio.NewWriterSize(p.Stdout, 64<<10)
			lines := json.NewEncoder(out)
			for id, err := range s.IDs(ctx, sandbox.Vendor(args[0]), args[1]) {
				if err != nil {
					return err
				}
				if p.json {
					err = lines.Encode(id)
				} else {
					_, err = fmt.Fprintf(out, "%s\t%d\n", terminal.Printable(id.ID), id.Count)
				}
				if err != nil {
					return err
				}
			}
			return out.Flush()
		}),
	}
	c.Flags().BoolVar(&p.json, "json", false, "a JSON document for each line")
	p.serverFlag(c)
	return c
}

func (p *program) sandboxEvents() *cobra.Command {
	var q sandbox.EventQuery
	var outcome string
	c := &cobra.Command{
		Use:   "events VENDOR PROJECT",
		Short: "Show events as they arrived, and what the vendor made of them",
		Args:  cobra.ExactArgs(2),
		RunE: p.asking(func(ctx context.Context, s *sandbox.Client, args []string) error {
			q.Outcome = record.Outcome(outcome)
			found, err := s.Events(ctx, sandbox.Vendor(args[0]), args[1], q)
			if err != nil {
				return err
			}
			if p.json {
				return p.printJSON(found)
			}
			var rows [][]string
			for _, e := range found.Events {
				what := string(e.Outcome)
				if e.Reason != "" {
					what += ": " + e.Reason
				}
				if len(e.Ignored) > 0 {
					what += "; without " + strings.Join(e.Ignored, ", ")
				}
				rows = append(rows, []string{e.At.UTC().Format(time.TimeOnly), e.ID, e.Name, strconv.Itoa(e.Status), what, string(e.Event)})
			}
			if err := p.screen(p.Stdout).Wide(160).Table(terminal.Columns("at", "id", "event", ">status", "outcome", "as sent"), rows); err != nil {
				return err
			}
			if found.More {
				tell(p.Stderr, "sparrow: there are more: raise --limit, or go on with --after %d\n", found.Events[len(found.Events)-1].Seq)
			}
			return nil
		}),
	}
	g := c.Flags()
	g.StringVar(&q.ID, "id", "", "only this event")
	g.StringVar(&outcome, "outcome", "", "accepted, duplicate, dropped or refused")
	g.Uint64Var(&q.After, "after", 0, "only requests after this number")
	g.IntVar(&q.Limit, "limit", 20, "most events to show")
	p.jsonFlag(c)
	p.serverFlag(c)
	return c
}

func (p *program) sandboxSearch() *cobra.Command {
	c := &cobra.Command{
		Use:   "search TEXT…",
		Short: "Look for texts in everything that arrived; the exit status is 1 if one is found, 3 if absence proves nothing",
		Long: `Look for texts in every URL, header and body that arrived: as they are, behind JSON's escapes, or percent-encoded.
A text of - is read from standard input, one a line, so that it does not show in the list of processes.

Exit status: 0 nothing was found, 1 something was, 3 nothing was found but not everything could be kept.`,
		Args: cobra.MinimumNArgs(1),
		RunE: p.asking(func(ctx context.Context, s *sandbox.Client, args []string) error {
			texts, err := p.texts(args)
			if err != nil {
				return err
			}
			found, err := s.Search(ctx, texts...)
			if err != nil {
				return err
			}
			if p.json {
				err = p.printJSON(found)
			} else {
				var rows [][]string
				for _, h := range found.Hits {
					rows = append(rows, []string{h.Text, h.Vendor, h.Project, strconv.FormatUint(h.Seq, 10), h.Where})
				}
				if len(rows) > 0 {
					err = p.screen(p.Stdout).Table(terminal.Columns("text", "vendor", "project", ">request", "where"), rows)
				}
				if err == nil {
					_, err = fmt.Fprintf(p.Stdout, "%s found in %s requests\n", terminal.Count(sum(found.Counts)), terminal.Count(found.Requests))
				}
			}
			switch {
			case err != nil:
				return err
			case sum(found.Counts) > 0:
				return &exitStatus{status: exitError}
			case !found.Complete:
				return &exitStatus{status: 3, err: fmt.Errorf("some requests are forgotten, so absence proves nothing: raise sandbox.max_bytes")}
			}
			return nil
		}),
	}
	p.jsonFlag(c)
	p.serverFlag(c)
	return c
}

// texts are the arguments, with - replaced by the lines of standard input.
func (p *program) texts(args []string) ([]string, error) {
	var texts []string
	for _, a := range args {
		if a != "-" {
			texts = append(texts, a)
			continue
		}
		in := bufio.NewScanner(p.Stdin)
		for in.Scan() {
			if line := in.Text(); line != "" {
				texts = append(texts, line)
			}
		}
		if err := in.Err(); err != nil {
			return nil, err
		}
	}
	if len(texts) == 0 {
		return nil, usage("which text? Standard input is empty")
	}
	return texts, nil
}

func (p *program) sandboxScenario() *cobra.Command {
	var end bool
	c := &cobra.Command{
		Use:   "scenario [FILE | -]",
		Short: "Begin a scenario, show the running one, or end it",
		Args:  cobra.MaximumNArgs(1),
		RunE: p.asking(func(ctx context.Context, s *sandbox.Client, args []string) error {
			switch {
			case end && len(args) > 0:
				return usage("--end takes no file")
			case end:
				if err := s.EndScenario(ctx); err != nil {
					return err
				}
			case len(args) == 1:
				text, err := p.read(args[0])
				if err != nil {
					return err
				}
				if _, err := s.SetScenario(ctx, text); err != nil {
					return err
				}
			}
			state, err := s.Scenario(ctx)
			if err != nil {
				return err
			}
			if p.json {
				return p.printJSON(state)
			}
			_, err = fmt.Fprintf(p.Stdout, "%s\n", strings.Join(scenarioText(state), "\n"))
			return err
		}),
	}
	c.Flags().BoolVar(&end, "end", false, "end it: nothing goes wrong any more")
	p.jsonFlag(c)
	p.serverFlag(c)
	return c
}

func (p *program) sandboxReset() *cobra.Command {
	c := &cobra.Command{
		Use:   "reset",
		Short: "Forget what arrived, and what the vendors remember of it",
		Args:  cobra.NoArgs,
		RunE:  p.asking(func(ctx context.Context, s *sandbox.Client, _ []string) error { return s.Reset(ctx) }),
	}
	p.serverFlag(c)
	return c
}

// read returns what a file holds, or standard input for -.
func (p *program) read(path string) ([]byte, error) {
	if path == "-" {
		return io.ReadAll(p.Stdin)
	}
	return os.ReadFile(path)
}
