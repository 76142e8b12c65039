package cmd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/sparrowhq/sparrow/cmd/terminal"
	"github.com/sparrowhq/sparrow/compare"
	"github.com/sparrowhq/sparrow/deploy"
	"github.com/sparrowhq/sparrow/service"
)

type compareFlags struct {
	exact               bool
	window, format, out string
	wait                time.Duration
	examples            int
}

func (p *program) compare() *cobra.Command {
	var f compareFlags
	c := &cobra.Command{
		Use:   "compare",
		Short: "Compare what both stacks stored, event by event, and get a verdict on the candidate",
		Long: `Compare what the live stack and the candidate stored over one window of frames, and what became of each event at every
stage after it: trace and the trackers. Both are checked against the mirror's own ledger. compare.stages in sparrow.yaml
says which stages a PASS takes; the others are reported. The evidence goes to the mirror, which judges it under its own policy and keeps the verdict: a PASS is
what "deploy cutover" asks for.

A window is FROM..TO (frames, both included), last:N (frames), or a duration such as 15m. Without one it is everything
since the candidate was declared.

Exit status: 0 PASS, 1 FAIL, 2 wrong usage, 3 INCONCLUSIVE, 4 mirror or warehouse could not be read, 5 the pipeline
changed meanwhile, 124 the wait ran out before the window was closed.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return p.runCompare(c.Context(), &f) },
	}
	g := c.Flags()
	g.StringVar(&f.window, "window", "", "frames to compare (default: since the candidate was declared)")
	g.DurationVar(&f.wait, "wait", 0, "wait up to this long until both stacks are through with the window, at every stage a PASS takes")
	g.StringVar(&f.format, "format", "text", "text, json, junit, markdown or html")
	g.StringVar(&f.out, "out", "", "file for the report (default: standard output)")
	g.IntVar(&f.examples, "examples", 5, "ids to name for each event and kind of difference")
	g.BoolVar(&f.exact, "exact", false, "read every row, whatever the digests that the warehouse keeps say")
	g.BoolVar(&p.plain, "plain", false, "no colour and no progress on a terminal")
	g.BoolVar(&p.json, "json", false, "the same as --format json")
	p.serverFlag(c)
	return c
}

func (p *program) runCompare(ctx context.Context, f *compareFlags) error {
	if p.json {
		f.format = "json"
	}
	format, err := compare.ParseFormat(f.format)
	if err != nil {
		return usage("--format: %w", err)
	}
	window, err := compare.ParseWindow(f.window)
	if err != nil {
		return usage("--window: %w", err)
	}
	if f.examples < 1 || f.wait < 0 {
		return usage("--examples %d, --wait %s: want at least one example, and no negative time", f.examples, f.wait)
	}
	report, err := p.judge(ctx, compare.Options{Window: window, Wait: f.wait, Examples: f.examples, Exact: f.exact})
	status := compare.ExitStatus(compare.Verdict{}, err)
	if report != nil {
		status = compare.ExitStatus(report.Verdict, err)
		if e := p.writeReport(*report, format, f.out); e != nil {
			return e
		}
	}
	if status == compare.ExitPass {
		return nil
	}
	if report != nil && err == nil {
		return &exitStatus{status: status} // the report says it all
	}
	return &exitStatus{status: status, err: err}
}

// judge collects the evidence and gets the server's verdict. There may be a report although there is an error: what
// could be seen when the wait ran out.
func (p *program) judge(ctx context.Context, o compare.Options) (*compare.Report, error) {
	in, err := p.find()
	if err != nil {
		return nil, &compare.UnreadableError{Side: "mirror", Err: err}
	}
	operator, err := in.admin()
	if err != nil {
		return nil, &compare.UnreadableError{Side: "mirror", Err: err}
	}
	w, err := in.warehouse()
	if err != nil {
		return nil, &compare.UnreadableError{Side: "warehouse", Err: err}
	}
	defer w.Close()
	screen := p.screen(p.Stderr)
	live := terminal.NewLive(screen)
	o.Stages = in.config.Compare.Named()
	o.Progress = func(g compare.Progress) { live.Draw(waitingLines(g, o.Wait)) }
	evidence, err := compare.Collect(ctx, compare.Sources{Pipeline: compare.Server{URL: in.endpoints.Admin, HTTP: operator}, Warehouse: w}, o)
	live.Clear()
	if evidence == nil {
		return nil, err
	}
	report, submitErr := p.decisions(in, operator).Submit(ctx, evidence)
	if submitErr != nil {
		var untrue *deploy.UntrueError
		if errors.As(submitErr, &untrue) { // what is true has changed since it was read
			return nil, errors.Join(err, &compare.StaleError{Err: submitErr})
		}
		return nil, errors.Join(err, &compare.UnreadableError{Side: "mirror", Err: fmt.Errorf("handing in the evidence: %w", submitErr)})
	}
	return &report, err
}

func waitingLines(g compare.Progress, wait time.Duration) []string {
	lines := []string{fmt.Sprintf("frames %d to %d; live has stored up to %v, the candidate up to %v", g.Window.First, g.Window.Last, g.Live, g.Candidate)}
	if len(g.Open) > 0 {
		lines = append(lines, fmt.Sprintf("waiting, %s of %s:", terminal.Elapsed(g.Waited), terminal.Elapsed(wait)))
	}
	for _, open := range g.Open {
		lines = append(lines, "  "+terminal.Printable(open))
	}
	return lines
}

func (p *program) writeReport(r compare.Report, format compare.Format, out string) error {
	r, err := visible(r)
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	if out == "" {
		return r.Write(p.Stdout, format, p.screen(p.Stdout).Terminal)
	}
	var b bytes.Buffer
	if err := r.Write(&b, format, false); err != nil {
		return err
	}
	if err := service.WriteFile(out, b.Bytes(), 0o644); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	_, err = fmt.Fprintf(p.Stdout, "%s: %s\nreport in %s\n", r.Verdict.Outcome, terminal.Printable(r.Verdict.Summary), out)
	return err
}
