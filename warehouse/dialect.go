package warehouse

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
)

// Dialect is the SQL that an engine is asked in.
type Dialect struct {
	Google bool   // GoogleSQL, BigQuery's; else DuckDB's
	Prefix string // names of datasets begin with it: letters, digits, _
}

// Dataset is the name of a dataset as a query has to say it.
func (d Dialect) Dataset(name string) string { return d.Prefix + name }

var prefixForm = regexp.MustCompile(`^[A-Za-z0-9_]*$`)

// DialectOf finds out how r is to be asked, by what type it says that 1 has: INTEGER in DuckDB, INT64 in BigQuery. Errors
// are r's, or say that it is neither.
func DialectOf(ctx context.Context, r interface {
	Query(ctx context.Context, q Query) (*Rows, error)
}) (d Dialect, err error) {
	rows, err := r.Query(ctx, Query{SQL: "SELECT 1 AS one"})
	if err != nil {
		return d, err
	}
	if err := rows.Close(); err != nil {
		return d, err
	}
	switch integer := rows.Columns[0].Type; integer {
	case "INTEGER":
		return d, nil
	case "INT64":
		d.Google = true
	default:
		return d, fmt.Errorf("it calls an integer %.40q, and is neither DuckDB nor BigQuery", integer)
	}
	if rows, err = r.Query(ctx, Query{SQL: "SELECT prefix FROM datasets"}); err != nil {
		return d, err
	}
	row, err := rows.Next()
	if err != nil && !errors.Is(err, io.EOF) {
		return d, errors.Join(err, rows.Close())
	}
	if len(row) == 1 {
		d.Prefix, _ = row[0].(string)
	}
	if !prefixForm.MatchString(d.Prefix) {
		err = fmt.Errorf("it says that the names of its datasets begin with %.80q", d.Prefix)
	} else {
		err = nil
	}
	return d, errors.Join(err, rows.Close())
}
