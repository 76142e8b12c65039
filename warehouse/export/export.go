// Package export writes one day of one table to a Parquet file that BigQuery loads, and beside it a manifest of what the
// file holds.
//
// Invariant: a file that is there is whole: every row that the warehouse had of that day, once, in order; and whoever
// finds the manifest can tell. It reads through the warehouse's queries like everybody else, in bounded pieces, so that
// neither appends nor other queries wait for it, and the warehouse process itself writes nothing.
package export

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sparrowhq/sparrow/service"
	"github.com/sparrowhq/sparrow/warehouse"
	"github.com/sparrowhq/sparrow/warehouse/duckdb"
)

// Format is the manifests' format.
const Format = 1

// Datasets and Tables are what can be asked for.
var (
	Datasets = []string{"green", "blue", "live", "staging"}
	Tables   = []string{"raw", "outcomes", "raw_normalized"}
)

// Querier is what is asked. A warehouse.Reader is one; the contract is there.
type Querier interface {
	Query(ctx context.Context, q warehouse.Query) (*warehouse.Rows, error)
}

// Options say what to write. All but Now, Rows and Progress are required.
type Options struct {
	Warehouse Querier
	Dataset   string // one of Datasets
	Table     string // one of Tables
	Day       time.Time
	Dir       string                // is made if it is not there
	Now       func() time.Time      // nil: time.Now
	Rows      int64                 // asked for at once; 0: 100,000
	Progress  func(done, all int64) // rows; called now and then from the calling goroutine; nil: nobody
}

// Manifest is what a file holds. Writing a day again, nothing having changed, gives the same bytes of both.
type Manifest struct {
	Format  int              `json:"format"`
	Dataset string           `json:"dataset"`
	Table   string           `json:"table"`
	Day     string           `json:"day"` // UTC, by the time of receipt
	Rows    int64            `json:"rows"`
	First   uint64           `json:"first,omitempty"` // frames; of run 0
	Last    uint64           `json:"last,omitempty"`
	Events  map[string]int64 `json:"events"` // rows by event name
	Columns []Column         `json:"columns"`
	File    string           `json:"file"` // in the same folder
	Bytes   int64            `json:"bytes"`
	SHA256  string           `json:"sha256"`
	Path    string           `json:"-"` // of the file
}

// Column is one column of the file, with its type as BigQuery loads it.
type Column struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

// Day writes DIR/DATASET.TABLE.DAY.parquet and then DIR/DATASET.TABLE.DAY.json, each at once in place of one that may be
// there. A day without rows has a file without rows. Errors: the warehouse's; a day that is not over, that retention has
// deleted from, or that changed while it was read.
func Day(ctx context.Context, o Options) (*Manifest, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Rows <= 0 {
		o.Rows = 100_000
	}
	if o.Progress == nil {
		o.Progress = func(int64, int64) {}
	}
	x := &exporter{Options: o, from: o.Day.UTC().Truncate(24 * time.Hour)}
	x.to = x.from.AddDate(0, 0, 1)
	m, err := x.run(ctx)
	if err != nil {
		return nil, fmt.Errorf("export of %s.%s of %s: %w", o.Dataset, o.Table, x.from.Format(time.DateOnly), err)
	}
	return m, nil
}

type exporter struct {
	Options
	from, to time.Time
	m        *Manifest
	file     *duckdb.Parquet
}

func (x *exporter) run(ctx context.Context) (*Manifest, error) {
	switch {
	case !slices.Contains(Datasets, x.Dataset):
		return nil, fmt.Errorf("dataset %q: want one of %s", x.Dataset, strings.Join(Datasets, ", "))
	case !slices.Contains(Tables, x.Table):
		return nil, fmt.Errorf("table %q: want one of %s", x.Table, strings.Join(Tables, ", "))
	case x.Now().Before(x.to):
		return nil, fmt.Errorf("that day is not over (UTC): rows may still come")
	}
	if err := os.MkdirAll(x.Dir, 0o700); err != nil {
		return nil, err
	}
	if err := x.kept(ctx); err != nil {
		return nil, err
	}
	pieces, all, err := x.pieces(ctx)
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("%s.%s.%s", x.Dataset, x.Table, x.from.Format(time.DateOnly))
	x.m = &Manifest{Format: Format, Dataset: x.Dataset, Table: x.Table, Day: x.from.Format(time.DateOnly), Events: map[string]int64{}, File: name + ".parquet", Path: filepath.Join(x.Dir, name+".parquet")}
	defer func() {
		if x.file != nil {
			x.file.Close()
		}
	}()
	for _, p := range pieces {
		if err := x.copy(ctx, p); err != nil {
			return nil, err
		}
		x.Progress(x.m.Rows, all)
	}
	if err := x.kept(ctx); err != nil { // still
		return nil, err
	}
	// What was written before is no longer what the file holds.
	if err := os.Remove(filepath.Join(x.Dir, name+".json")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	if err := x.file.Finish(); err != nil {
		return nil, err
	}
	if err := x.sum(); err != nil {
		return nil, err
	}
	data, err := json.MarshalIndent(x.m, "", "  ")
	if err != nil {
		return nil, err
	}
	return x.m, service.WriteFile(filepath.Join(x.Dir, name+".json"), append(data, '\n'), 0o600)
}

// kept returns an error if retention has deleted rows of the day.
func (x *exporter) kept(ctx context.Context) error {
	table := "raw"
	if x.Table == "outcomes" {
		table = "outcomes_log"
	}
	return x.each(ctx, `SELECT CAST(sum("rows") AS BIGINT) FROM expired WHERE "table" = ? AND "day" = CAST(? AS DATE) AND (stack = ? OR ? IN ('live', 'staging')) HAVING count(*) > 0`,
		[]any{table, x.from.Format(time.DateOnly), x.Dataset, x.Dataset}, nil, func(row []any) error {
			return fmt.Errorf("the warehouse has deleted %v rows of it (setting warehouse.retention): export a day before it expires", row[0])
		})
}

// piece is a range of frames of a run, both ends included, and how many rows it has.
type piece struct{ run, first, last, rows int64 }

// frames share an entry of the plan.
const frames = 16

// pieces divides the day.
func (x *exporter) pieces(ctx context.Context) (out []piece, all int64, err error) {
	sql := fmt.Sprintf(`SELECT run, frame // %d, count(*), CAST(sum(count(*)) OVER () AS BIGINT) FROM %s.%s WHERE %s GROUP BY 1, 2 ORDER BY 1, 2`, frames, x.Dataset, x.Table, x.within())
	err = x.each(ctx, sql, nil, nil, func(row []any) error {
		p := piece{run: number(row[0]), first: number(row[1]) * frames, last: number(row[1])*frames + frames - 1, rows: number(row[2])}
		all = number(row[3])
		if n := len(out) - 1; n >= 0 && out[n].run == p.run && out[n].rows+p.rows <= x.Rows {
			out[n].last, out[n].rows = p.last, out[n].rows+p.rows
			return nil
		}
		out = append(out, p)
		return nil
	})
	if len(out) == 0 { // for the columns
		out = []piece{{}}
	}
	return out, all, err
}

func number(v any) int64 {
	n, _ := v.(int64)
	return n
}

// within selects the day.
func (x *exporter) within() string {
	return fmt.Sprintf(`"timestamp" >= make_timestamp(%d) AND "timestamp" < make_timestamp(%d)`, x.from.UnixMicro(), x.to.UnixMicro())
}

// copy adds a piece to the file.
func (x *exporter) copy(ctx context.Context, p piece) error {
	order := `frame, request, item, "eventId", build`
	if x.Table == "outcomes" {
		order = "frame, request, item, stage, revision"
	}
	sql := fmt.Sprintf(`SELECT * FROM %s.%s WHERE run = %d AND frame BETWEEN %d AND %d AND %s ORDER BY %s`, x.Dataset, x.Table, p.run, p.first, p.last, x.within(), order)
	rows, event, frame := int64(0), -1, -1
	err := x.each(ctx, sql, nil, func(columns []warehouse.Column) (err error) {
		for i, c := range columns {
			switch c.Name {
			case "event":
				event = i
			case "frame":
				frame = i
			}
		}
		if x.file != nil {
			return nil
		}
		for _, c := range columns {
			x.m.Columns = append(x.m.Columns, Column{c.Name, duckdb.BigQueryType(c)})
		}
		x.file, err = duckdb.CreateParquet(x.m.Path, columns)
		return err
	}, func(row []any) error {
		rows++
		if event >= 0 {
			name, _ := row[event].(string)
			x.m.Events[name]++
		}
		if f := uint64(number(row[frame])); p.run == 0 {
			if x.m.First == 0 {
				x.m.First = f
			}
			x.m.Last = f
		}
		return x.file.Put(row)
	})
	if err == nil && rows != p.rows {
		err = fmt.Errorf("frames %d to %d had %d rows a moment ago, now %d: rows of that day are still arriving, or being deleted; try again once both stacks are past it", p.first, p.last, p.rows, rows)
	}
	x.m.Rows += rows
	return err
}

// most is asked for with every statement, so that no default of the warehouse cuts an answer unseen.
const most = 100_000_000

func (x *exporter) each(ctx context.Context, sql string, args []any, columns func([]warehouse.Column) error, each func([]any) error) error {
	rows, err := x.Warehouse.Query(ctx, warehouse.Query{SQL: sql, Args: args, Limit: most, MaxWait: "10m"})
	if err != nil {
		return err
	}
	defer rows.Close()
	if columns != nil {
		if err := columns(rows.Columns); err != nil {
			return err
		}
	}
	for {
		row, err := rows.Next()
		if errors.Is(err, io.EOF) {
			if rows.Truncated() {
				return errors.New("the warehouse cut an answer short")
			}
			return nil
		}
		if err == nil {
			err = each(row)
		}
		if err != nil {
			return err
		}
	}
}

// sum notes the file's size and hash.
func (x *exporter) sum() error {
	f, err := os.Open(x.m.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	if x.m.Bytes, err = io.Copy(h, f); err != nil {
		return err
	}
	x.m.SHA256 = hex.EncodeToString(h.Sum(nil))
	return nil
}
