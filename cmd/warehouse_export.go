package cmd

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sparrowhq/sparrow/cmd/terminal"
	"github.com/sparrowhq/sparrow/warehouse"
	"github.com/sparrowhq/sparrow/warehouse/export"
)

type exportFlags struct {
	day, from, to, out string
	datasets, tables   []string
}

func (p *program) warehouseExport() *cobra.Command {
	var f exportFlags
	c := &cobra.Command{
		Use:   "export",
		Short: "Write days of the warehouse to Parquet files that BigQuery loads",
		Long: `Write one Parquet file for each day (UTC, by the time of receipt), dataset and table, and beside it a manifest: rows,
frames, rows by event name, columns with their BigQuery types, SHA-256. A file appears whole under its name or not at all,
and writing a day again gives the same bytes. Days are read through the running warehouse, in pieces; nothing waits for it.`,
		Example: `  sparrow warehouse export --day 2026-03-09 --out archive
  sparrow warehouse export --from 2026-03-01 --to 2026-03-09 --dataset green,blue --table raw,outcomes --out archive
  bq load --source_format=PARQUET archive.raw 'archive/live.raw.2026-03-09.parquet'`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return p.runExport(c.Context(), &f) },
	}
	g := c.Flags()
	g.StringVar(&f.day, "day", "", "the day, as YYYY-MM-DD")
	g.StringVar(&f.from, "from", "", "the first of several days")
	g.StringVar(&f.to, "to", "", "the last of them")
	g.StringVar(&f.out, "out", "", "folder for the files")
	g.StringSliceVar(&f.datasets, "dataset", []string{"live"}, "green, blue, live, staging; several with commas")
	g.StringSliceVar(&f.tables, "table", []string{"raw"}, "raw, outcomes, raw_normalized; several with commas")
	p.jsonFlag(c)
	p.serverFlag(c)
	return c
}

// days checks the flags, and returns the first and last day they name.
func (f *exportFlags) days() (first, last time.Time, err error) {
	from, to := f.from, f.to
	switch {
	case f.out == "":
		return first, last, usage("--out: name the folder for the files")
	case f.day != "" && (from != "" || to != ""), f.day == "" && (from == "" || to == ""):
		return first, last, usage("which days? Give --day YYYY-MM-DD, or --from and --to")
	case f.day != "":
		from, to = f.day, f.day
	}
	if first, err = time.Parse(time.DateOnly, from); err != nil {
		return first, last, usage("%q is not a day: write it as YYYY-MM-DD", from)
	}
	if last, err = time.Parse(time.DateOnly, to); err != nil {
		return first, last, usage("%q is not a day: write it as YYYY-MM-DD", to)
	}
	if last.Before(first) {
		return first, last, usage("--from %s is after --to %s", from, to)
	}
	for _, dataset := range f.datasets {
		if !slices.Contains(export.Datasets, dataset) {
			return first, last, usage("--dataset %q: want some of %s", dataset, strings.Join(export.Datasets, ", "))
		}
	}
	for _, table := range f.tables {
		if !slices.Contains(export.Tables, table) {
			return first, last, usage("--table %q: want some of %s", table, strings.Join(export.Tables, ", "))
		}
	}
	return first, last, nil
}

func (p *program) runExport(ctx context.Context, f *exportFlags) error {
	first, last, err := f.days()
	if err != nil {
		return err
	}
	w, err := p.openWarehouse()
	if err != nil {
		return err
	}
	defer w.Close()
	d, err := warehouse.DialectOf(ctx, w)
	if err != nil {
		return err
	}
	if d.Google {
		return usage("this warehouse is in BigQuery, which writes its own files: run EXPORT DATA OPTIONS (uri = 'gs://BUCKET/%[1]s-*.parquet', format = 'PARQUET') AS SELECT * FROM %[2]s%[3]s.%[4]s WHERE `timestamp` >= '%[1]s' AND `timestamp` < '%[5]s', or bq extract of a partition of raw_log; see docs/bigquery.md",
			first.Format(time.DateOnly), d.Prefix, f.datasets[0], f.tables[0], first.AddDate(0, 0, 1).Format(time.DateOnly))
	}
	done := []*export.Manifest{}
	var failed error
	for day := first; failed == nil && !day.After(last); day = day.AddDate(0, 0, 1) {
		for _, dataset := range f.datasets {
			for _, table := range f.tables {
				m, err := export.Day(ctx, export.Options{Warehouse: w, Dataset: dataset, Table: table, Day: day, Dir: f.out})
				if err != nil {
					failed = errors.Join(failed, err)
					break
				}
				done = append(done, m)
			}
		}
	}
	return errors.Join(p.printExports(done), failed)
}

func (p *program) printExports(done []*export.Manifest) error {
	if p.json {
		enc := json.NewEncoder(p.Stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(done)
	}
	if len(done) == 0 {
		return nil
	}
	var cells [][]string
	for _, m := range done {
		cells = append(cells, []string{m.Day, m.Dataset + "." + m.Table, terminal.Count(m.Rows), terminal.Bytes(m.Bytes), m.Path})
	}
	return p.screen(p.Stdout).Table([]terminal.Column{{Name: "day"}, {Name: "table"}, {Name: "rows", Right: true}, {Name: "bytes", Right: true}, {Name: "file"}}, cells)
}
