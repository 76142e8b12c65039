package cmd

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/sparrowhq/sparrow/cmd/terminal"
	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/event/body"
	"github.com/sparrowhq/sparrow/service"
	"github.com/sparrowhq/sparrow/trace/pipeline"
	"github.com/sparrowhq/sparrow/warehouse"
)

// readPipeline returns the configuration in the file at path; an empty path means pipeline.Default.
func readPipeline(path string) (pipeline.Config, error) {
	if path == "" {
		return pipeline.Default(), nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return pipeline.Config{}, fmt.Errorf("pipeline configuration: %w", err)
	}
	c, err := pipeline.ParseConfig(text)
	if err != nil {
		return pipeline.Config{}, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// pipelineFiles are the files that a command is about: those named, else those of the settings.
func (p *program) pipelineFiles(args []string) ([]string, error) {
	if len(args) > 0 {
		return args, nil
	}
	c, err := p.config()
	if err != nil {
		return nil, err
	}
	files := map[string]bool{}
	for _, stack := range event.Stacks() {
		files[c.Stacks.Of(stack).Trace.Pipeline] = true
	}
	return slices.Sorted(maps.Keys(files)), nil
}

func (p *program) traceLint() *cobra.Command {
	var strict bool
	c := &cobra.Command{
		Use:   "lint [FILE…]",
		Short: "Say what a vendor would drop, cut or refuse of what a pipeline file lets pass",
		Long: `Check pipeline files (default: those of the settings). What is wrong in one is an error, with its line. What is valid
but would be dropped, cut or refused by a vendor is listed.

Exit status: 0 the files are valid; 1 one is not, or, with --strict, something is listed.`,
		RunE: func(_ *cobra.Command, args []string) error {
			files, err := p.pipelineFiles(args)
			if err != nil {
				return err
			}
			return p.lint(files, strict)
		},
	}
	c.Flags().BoolVar(&strict, "strict", false, "exit status 1 if anything is listed")
	p.jsonFlag(c)
	return c
}

// lintFinding is one line of `sparrow trace lint`.
type lintFinding struct {
	File    string `json:"file"` // empty: the built-in configuration
	Place   string `json:"place"`
	Tracker string `json:"tracker,omitempty"`
	Text    string `json:"text"`
}

func (p *program) lint(files []string, strict bool) error {
	found := []lintFinding{}
	var errs []error
	for _, file := range files {
		c, err := readPipeline(file)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, f := range pipeline.Lint(c) {
			found = append(found, lintFinding{file, f.Place, f.Tracker, f.Text})
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if p.json {
		if err := p.printJSON(map[string]any{"findings": found}); err != nil {
			return err
		}
	} else if err := p.showLint(found, len(files) > 1); err != nil {
		return err
	}
	if strict && len(found) > 0 {
		return &exitStatus{status: exitError}
	}
	return nil
}

func (p *program) showLint(found []lintFinding, files bool) error {
	if len(found) == 0 {
		_, err := fmt.Fprintln(p.Stdout, "nothing to say: no vendor drops, cuts or refuses what this lets pass")
		return err
	}
	columns := terminal.Columns("place", "tracker", "what happens, and what to do")
	if files {
		columns = append(terminal.Columns("file"), columns...)
	}
	var rows [][]string
	for _, f := range found {
		row := []string{f.Place, f.Tracker, f.Text}
		if files {
			row = append([]string{f.File}, row...)
		}
		rows = append(rows, row)
	}
	return p.screen(p.Stdout).Wide(300).Table(columns, rows)
}

type learnFlags struct {
	input, out string
	rows       int
	o          pipeline.LearnOptions
}

func (p *program) traceLearn() *cobra.Command {
	var f learnFlags
	c := &cobra.Command{
		Use:   "learn",
		Short: "Propose a pipeline file from the events that raw holds, for a person to edit",
		Long: `Look at raw events and write a starter pipeline file: names and types, how often each was seen, where the scrubber
found something. It holds no value. Read it line by line: everything it lists leaves for the vendors.

The events are those of live.raw, or the lines of --input, each the body of one request.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return p.learn(c.Context(), &f) },
	}
	g := c.Flags()
	g.StringVar(&f.input, "input", "", "file with the body of one request a line; - for standard input (default: live.raw)")
	g.StringVar(&f.out, "out", "", "file to write; it must not exist (default: standard output)")
	g.IntVar(&f.rows, "rows", 1_000_000, "most rows of live.raw to look at, drawn at random if there are more")
	g.IntVar(&f.o.Events, "events", 200, "most names of events to propose, the most frequent ones")
	g.IntVar(&f.o.Properties, "properties", 100, "most properties of one event to propose")
	p.serverFlag(c)
	return c
}

func (p *program) learn(ctx context.Context, f *learnFlags) error {
	if f.rows < 1 || f.o.Events < 1 || f.o.Properties < 1 {
		return usage("--rows %d, --events %d, --properties %d: want at least 1", f.rows, f.o.Events, f.o.Properties)
	}
	var failed error
	rows := p.rowsOfInput(f.input, &failed)
	if f.input == "" {
		rows = p.rowsOfRaw(ctx, f.rows, &failed)
	}
	proposal := pipeline.Learn(rows, f.o)
	if failed != nil {
		return failed
	}
	if len(proposal.Config.Events) == 0 {
		return fmt.Errorf("there is nothing to learn from: %d rows, and none is an event with a usable name: send some first", proposal.Rows)
	}
	text := proposal.YAML()
	if _, err := pipeline.ParseConfig(text); err != nil {
		return fmt.Errorf("the proposal is not what it should be; please report this: %w", err)
	}
	if f.out == "" {
		_, err := p.Stdout.Write(text)
		return err
	}
	if _, err := os.Stat(f.out); err == nil {
		return fmt.Errorf("%s exists: a person may have edited it; name another file, or remove it", f.out)
	}
	if err := service.WriteFile(f.out, text, 0o644); err != nil {
		return err
	}
	_, err := fmt.Fprintf(p.Stdout, "%s: %s events of %s rows; read it line by line before you use it\n", f.out, terminal.Count(len(proposal.Config.Events)), terminal.Count(proposal.Rows))
	return err
}

// rowsOfInput yields the events of a file of bodies. What goes wrong is in failed afterwards.
func (p *program) rowsOfInput(path string, failed *error) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		*failed = p.eachLine(path, func(_ int, line []byte) error {
			var split body.Body
			if body.Split(line, 10_000, &split) != "" || len(split.Items) == 0 {
				yield(line)
				return nil
			}
			for _, item := range split.Items {
				if !yield(item.Data) {
					return io.EOF
				}
			}
			return nil
		})
	}
}

// eachLine calls fn with each line of a file that is not blank, and its number from 1; io.EOF from fn ends it.
func (p *program) eachLine(path string, fn func(n int, line []byte) error) error {
	in := p.Stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 64<<10), 64<<20)
	for n := 1; lines.Scan(); n++ {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		if err := fn(n, lines.Bytes()); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// rowsOfRaw yields events that the live stack stored.
func (p *program) rowsOfRaw(ctx context.Context, most int, failed *error) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		*failed = func() error {
			w, err := p.openWarehouse()
			if err != nil {
				return err
			}
			defer w.Close()
			d, err := warehouse.DialectOf(ctx, w)
			if err != nil {
				return err
			}
			sample := " USING SAMPLE reservoir(%d ROWS) REPEATABLE (1)"
			if d.Google {
				sample = " ORDER BY FARM_FINGERPRINT(eventId) LIMIT %d" // BigQuery samples tables only, and live.raw is a view
			}
			rows, err := w.Query(ctx, warehouse.Query{
				SQL:   fmt.Sprintf("SELECT data FROM "+d.Dataset("live")+".raw WHERE data IS NOT NULL"+sample, most),
				Limit: most,
			})
			if err != nil {
				return err
			}
			err = eachRow(rows, func(row []any) error {
				if text, ok := row[0].(string); ok && !yield([]byte(text)) {
					return io.EOF
				}
				return nil
			})
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return errors.Join(err, rows.Close())
		}()
	}
}
