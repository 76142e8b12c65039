package compare

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/big"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// maxRows is asked for with every statement: more than any answer has, so that a smaller default of the warehouse cuts
// nothing short unseen.
const maxRows = 100_000_000

// row is one row of an answer. Its methods remember the first value that is not what the statement promises.
type row struct {
	columns []warehouse.Column
	values  []any
	err     error
}

func (r *row) bad(i int) {
	if r.err != nil {
		return
	}
	if i >= len(r.values) {
		r.err = fmt.Errorf("the answer has %d columns, column %d is missing", len(r.values), i+1)
		return
	}
	r.err = fmt.Errorf("column %s: unexpected %T", r.columns[i].Name, r.values[i])
}

// sum returns column i as an unsigned integer of up to 128 bits.
func (r *row) sum(i int) event.Sum {
	if i >= len(r.values) {
		r.bad(i)
		return event.Sum{}
	}
	switch v := r.values[i].(type) {
	case int64:
		if v >= 0 {
			return event.Sum{Lo: uint64(v)}
		}
	case uint64:
		return event.Sum{Lo: v}
	case *big.Int:
		if s, err := event.ParseSum(v.String()); err == nil {
			return s
		}
	}
	r.bad(i)
	return event.Sum{}
}

// count returns column i as an unsigned integer.
func (r *row) count(i int) uint64 {
	s := r.sum(i)
	if s.Hi != 0 {
		r.bad(i)
	}
	return s.Lo
}

// signed returns column i as a signed integer.
func (r *row) signed(i int) int64 {
	if i < len(r.values) {
		switch v := r.values[i].(type) {
		case int64:
			return v
		case uint64:
			if v < 1<<63 {
				return int64(v)
			}
		}
	}
	r.bad(i)
	return 0
}

// text returns column i as text; NULL is "".
func (r *row) text(i int) string {
	if i < len(r.values) {
		switch v := r.values[i].(type) {
		case string:
			return v
		case []byte:
			return string(v)
		case nil:
			return ""
		}
	}
	r.bad(i)
	return ""
}

// null reports whether column i is NULL.
func (r *row) null(i int) bool { return i < len(r.values) && r.values[i] == nil }

// query runs a statement and calls each for every row of the answer, never at the same time as another statement's. An
// answer that was cut short is an error: half a side is not a side.
func (c *collector) query(ctx context.Context, sql string, each func(*row)) error {
	fail := func(err error) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return &UnreadableError{Side: "warehouse", Err: err}
	}
	rows, err := c.Warehouse.Query(ctx, warehouse.Query{SQL: c.sql.words(sql), Limit: maxRows, MaxWait: c.o.QueryWait.String()})
	if err != nil {
		return fail(err)
	}
	alone := func(r *row) {
		c.telling.Lock()
		defer c.telling.Unlock()
		each(r)
	}
	if err := errors.Join(read(rows, alone), rows.Close()); err != nil {
		return fail(err)
	}
	return nil
}

// speak finds out which dialect the warehouse speaks, once.
func (c *collector) speak(ctx context.Context) error {
	if c.sql.table != nil {
		return nil
	}
	d, err := warehouse.DialectOf(ctx, c.Warehouse)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return context.Cause(ctx)
	default:
		return &UnreadableError{Side: "warehouse", Err: err}
	}
	c.sql = duckSQL
	if d.Google {
		c.sql = googleSQL(d.Prefix)
	}
	return nil
}

// read calls each for every row.
func read(rows *warehouse.Rows, each func(*row)) error {
	for {
		values, err := rows.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		r := row{columns: rows.Columns, values: values}
		each(&r)
		if r.err != nil {
			return fmt.Errorf("answer not understood: %w", r.err)
		}
	}
	if rows.Truncated() {
		return errors.New("the warehouse cut an answer short at its row limit: compare a smaller --window")
	}
	return nil
}
