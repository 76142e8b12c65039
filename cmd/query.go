package cmd

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sparrowhq/sparrow/cmd/terminal"
	"github.com/sparrowhq/sparrow/warehouse"
	"github.com/sparrowhq/sparrow/warehouse/served"
)

type queryFlags struct {
	format, file string
	limit        int
	wait         time.Duration
	saved        string
	args         []string
	list, show   bool
}

func (p *program) query() *cobra.Command {
	var f queryFlags
	c := &cobra.Command{
		Use:   "query [SQL | -]",
		Short: "Ask the warehouse: live.raw and staging.raw, or green.raw and blue.raw as the stacks wrote them",
		Long: `Run one SELECT against the warehouse and print the rows. The statement is the argument, standard input (-), the
content of --file, or one that is built in: --list names them. live.raw holds each event once as the live stack stored
it, staging.raw as the candidate did. An answer that does not fit on the terminal is shown with $PAGER.`,
		Example: `  sparrow query "SELECT event, count(*) AS n FROM live.raw GROUP BY event ORDER BY n DESC"
  sparrow query --format csv --limit 1000000 "SELECT * FROM staging.raw" > staging.csv
  sparrow query --saved underreports --arg since="2 hours"`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return p.runQuery(c.Context(), &f, args) },
	}
	g := c.Flags()
	g.StringVar(&f.format, "format", "table", "table, json or csv")
	g.IntVar(&f.limit, "limit", 1000, "most rows to print")
	g.StringVar(&f.file, "file", "", "file with the statement")
	g.DurationVar(&f.wait, "max-wait", 0, "stop the statement after this long (default: as the warehouse is configured)")
	g.StringVar(&f.saved, "saved", "", "run a query that is built in: see --list")
	g.StringArrayVar(&f.args, "arg", nil, "name=value, for --saved; may be repeated")
	g.BoolVar(&f.list, "list", false, "list the queries that are built in")
	g.BoolVar(&f.show, "show", false, "print the statement of --saved instead of running it")
	g.BoolVar(&p.noPager, "no-pager", false, "print a long answer as it is, even on a terminal")
	g.BoolVar(&p.plain, "plain", false, "plain table even on a terminal")
	g.BoolVar(&p.json, "json", false, "the same as --format json")
	p.serverFlag(c)
	return c
}

func (p *program) statement(f *queryFlags, args []string) (sql string, values []any, err error) {
	switch {
	case f.saved != "" && (f.file != "" || len(args) > 0):
		return "", nil, usage("give the statement once: as --saved, as the argument, or in --file")
	case f.saved != "":
		q, given, err := savedQuery(f)
		if err != nil {
			return "", nil, err
		}
		if sql, values, err = q.Bind(given); err != nil {
			return "", nil, usage("%w", err)
		}
		return sql, values, nil
	case len(f.args) > 0 || f.show:
		return "", nil, usage("--arg and --show go with --saved")
	}
	sql, err = p.typed(f, args)
	return sql, nil, err
}

func (p *program) typed(f *queryFlags, args []string) (string, error) {
	switch {
	case f.file != "" && len(args) > 0:
		return "", usage("give the statement once: as the argument, or in --file")
	case f.file != "":
		data, err := os.ReadFile(f.file)
		return string(data), err
	case len(args) == 0:
		return "", usage("which statement? Give it as the argument, as -, or with --file")
	case args[0] == "-":
		data, err := io.ReadAll(p.Stdin)
		return string(data), err
	}
	return args[0], nil
}

func (p *program) runQuery(ctx context.Context, f *queryFlags, args []string) error {
	if p.json {
		f.format = "json"
	}
	switch {
	case f.list && (f.saved != "" || f.file != "" || len(args) > 0):
		return usage("--list takes no statement")
	case f.list:
		return p.listSaved(f.format)
	case f.show && f.saved != "" && f.file == "" && len(args) == 0:
		return p.showSaved(f)
	}
	sql, values, err := p.statement(f, args)
	if err != nil {
		return err
	}
	print, ok := map[string]func(io.Writer, *warehouse.Rows) error{
		"table": p.printTable, "json": printJSONRows, "csv": printCSV,
	}[f.format]
	switch {
	case !ok:
		return usage("--format %q: want table, json or csv", f.format)
	case strings.TrimSpace(sql) == "":
		return usage("the statement is empty")
	case f.limit < 1:
		return usage("--limit %d: want at least 1", f.limit)
	case f.wait < 0:
		return usage("--max-wait %s: want a time that is not negative", f.wait)
	}
	w, err := p.openWarehouse()
	if err != nil {
		return err
	}
	defer w.Close()
	if f.saved != "" {
		if sql, values, err = savedFor(ctx, w, f); err != nil {
			return err
		}
	}
	q := warehouse.Query{SQL: sql, Args: values, Limit: f.limit}
	if f.wait > 0 {
		q.MaxWait = f.wait.String()
	}
	rows, err := w.Query(ctx, q)
	if err != nil {
		return err
	}
	show := p.page
	if f.format != "table" {
		show = func(write func(io.Writer) error) error { return write(p.Stdout) }
	}
	if err := show(func(w io.Writer) error { return errors.Join(print(w, rows), rows.Close()) }); err != nil {
		return err
	}
	if rows.Truncated() {
		tell(p.Stderr, "sparrow: only the first %s rows are shown: raise --limit to see more\n", terminal.Count(f.limit))
	}
	return nil
}

// openWarehouse returns a client of the running Sparrow's warehouse.
func (p *program) openWarehouse() (*served.Client, error) {
	in, err := p.find()
	if err != nil {
		return nil, err
	}
	return in.warehouse()
}

func (in installation) warehouse() (*served.Client, error) {
	secret, err := in.secret()
	if err != nil {
		return nil, err
	}
	return served.New(served.ClientOptions{URL: in.endpoints.url(warehouseName), Secret: secret})
}
