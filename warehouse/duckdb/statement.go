package duckdb

import (
	"fmt"
	"math/big"
	"time"

	native "github.com/duckdb/duckdb-go-bindings"
)

// statement is a prepared statement of one connection.
type statement struct {
	handle native.PreparedStatement
	kind   native.StatementType
}

// prepare prepares the single statement that sql holds.
func (c *conn) prepare(sql string) (*statement, error) {
	s := new(statement)
	if native.Prepare(c.handle, sql, &s.handle) == native.StateError {
		err := messageError(native.PrepareError(s.handle))
		native.DestroyPrepare(&s.handle)
		return nil, err
	}
	s.kind = native.PreparedStatementType(s.handle)
	return s, nil
}

func (s *statement) close() { native.DestroyPrepare(&s.handle) }

// bind sets all parameters.
func (s *statement) bind(args []any) error {
	if want := int(native.NParams(s.handle)); want != len(args) {
		return fmt.Errorf("the statement has %d parameters, %d values are given", want, len(args))
	}
	for i, arg := range args {
		n := native.IdxT(i + 1)
		state := native.StateSuccess
		switch v := arg.(type) {
		case nil:
			state = native.BindNull(s.handle, n)
		case bool:
			state = native.BindBoolean(s.handle, n, v)
		case int:
			state = native.BindInt64(s.handle, n, int64(v))
		case int32:
			state = native.BindInt32(s.handle, n, v)
		case uint32:
			state = native.BindUInt32(s.handle, n, v)
		case int64:
			state = native.BindInt64(s.handle, n, v)
		case uint64:
			state = native.BindUInt64(s.handle, n, v)
		case float64:
			state = native.BindDouble(s.handle, n, v)
		case string:
			state = native.BindVarcharLength(s.handle, n, v, native.IdxT(len(v)))
		case []byte:
			state = native.BindBlob(s.handle, n, v)
		case time.Time:
			state = native.BindTimestamp(s.handle, n, native.NewTimestamp(v.UnixMicro()))
		case *big.Int:
			// As text: DuckDB casts a literal to what the statement wants.
			text := v.String()
			state = native.BindVarcharLength(s.handle, n, text, native.IdxT(len(text)))
		default:
			return fmt.Errorf("parameter %d is of type %T: want a string, an integer, a float, a boolean or null", i+1, arg)
		}
		if state == native.StateError {
			return fmt.Errorf("parameter %d: %w", i+1, messageError(native.PrepareError(s.handle)))
		}
	}
	return nil
}

// exec runs the statement and returns how many rows it changed.
func (s *statement) exec(args ...any) (int64, error) {
	if err := s.bind(args); err != nil {
		return 0, err
	}
	var r native.Result
	defer native.DestroyResult(&r)
	if native.ExecutePrepared(s.handle, &r) == native.StateError {
		return 0, &nativeError{kind: native.ResultErrorType(&r), message: native.ResultError(&r)}
	}
	return int64(native.RowsChanged(&r)), nil
}

// rows runs a query of ours and calls fn with each row.
func (c *conn) rows(sql string, args []any, fn func(row []any) error) error {
	s, err := c.prepare(sql)
	if err != nil {
		return err
	}
	defer s.close()
	return s.rows(args, fn)
}

func (s *statement) rows(args []any, fn func(row []any) error) error {
	if err := s.bind(args); err != nil {
		return err
	}
	a, err := s.stream()
	if err != nil {
		return err
	}
	defer a.close()
	for {
		row, err := a.next()
		if err != nil || row == nil {
			return err
		}
		if err := fn(row); err != nil {
			return err
		}
	}
}

// value runs a query of ours that answers one row of one column.
func (c *conn) value(sql string, args ...any) (v any, err error) {
	found := false
	err = c.rows(sql, args, func(row []any) error {
		v, found = row[0], true
		return nil
	})
	if err == nil && !found {
		err = fmt.Errorf("no row for %s", sql)
	}
	return v, err
}
