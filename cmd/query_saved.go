package cmd

import (
	"context"
	"fmt"
	"strings"

	"github.com/sparrowhq/sparrow/cmd/saved"
	"github.com/sparrowhq/sparrow/cmd/terminal"
	"github.com/sparrowhq/sparrow/warehouse"
)

// savedQuery finds the query of --saved and reads --arg.
func savedQuery(f *queryFlags) (saved.Query, map[string]string, error) {
	q, ok := saved.Find(f.saved)
	if !ok {
		var names []string
		for _, q := range saved.All() {
			names = append(names, q.Name)
		}
		return q, nil, usage("--saved %q: there are %s", f.saved, strings.Join(names, ", "))
	}
	values := map[string]string{}
	for _, arg := range f.args {
		name, value, ok := strings.Cut(arg, "=")
		if !ok {
			return q, nil, usage("--arg %q: want name=value", arg)
		}
		values[name] = value
	}
	return q, values, nil
}

// savedFor is the statement of --saved in the words of a warehouse.
func savedFor(ctx context.Context, w warehouse.Reader, f *queryFlags) (string, []any, error) {
	q, given, err := savedQuery(f)
	if err != nil {
		return "", nil, err
	}
	d, err := warehouse.DialectOf(ctx, w)
	if err != nil {
		return "", nil, err
	}
	sql, values, err := q.In(d).Bind(given)
	if err != nil {
		return "", nil, usage("%w", err)
	}
	return sql, values, nil
}

// showSaved prints the statement of --saved, in the words of the engine that the settings name; what it needs and was not
// given stays as {name}.
func (p *program) showSaved(f *queryFlags) error {
	q, values, err := savedQuery(f)
	if err != nil {
		return err
	}
	if err := q.Check(values); err != nil {
		return usage("%w", err)
	}
	if c, err := p.config(); err == nil && c.Warehouse.Engine == "bigquery" {
		q = q.In(warehouse.Dialect{Google: true, Prefix: c.BigQuery.Prefix})
	}
	_, err = fmt.Fprintln(p.Stdout, q.Show(values))
	return err
}

// listSaved prints what is built in.
func (p *program) listSaved(format string) error {
	switch format {
	case "json":
		return p.printJSON(saved.All())
	case "table":
	default:
		return usage("--list --format %q: want table or json", format)
	}
	var cells [][]string
	for _, q := range saved.All() {
		var args []string
		for _, a := range q.Args {
			if a.Needed {
				args = append(args, a.Name+"=…")
			} else {
				args = append(args, fmt.Sprintf("%s=%q", a.Name, a.Default))
			}
		}
		cells = append(cells, []string{q.Name, strings.Join(args, " "), q.About})
	}
	return p.screen(p.Stdout).Wide(130).Table(terminal.Columns("name", "arguments", "what it answers"), cells)
}
