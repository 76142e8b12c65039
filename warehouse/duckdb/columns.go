package duckdb

import (
	"fmt"
	"strings"

	native "github.com/duckdb/duckdb-go-bindings"

	"github.com/sparrowhq/sparrow/warehouse"
)

// ask runs a query and returns its columns and rows. Columns of types that answers cannot carry are cast to text by the
// statement itself.
func (c *conn) ask(sql string, args []any) (columns []warehouse.Column, _ *statement, _ *answer, err error) {
	s, err := c.readOnly(sql)
	if err != nil {
		return nil, nil, nil, err
	}
	columns, casts := s.describe()
	if len(casts) > 0 && s.kind == native.StatementTypeSelect {
		s.close()
		if s, err = c.prepare(recast(sql, columns, casts)); err != nil {
			return nil, nil, nil, err
		}
	}
	a, err := s.open(args)
	if err == nil && len(casts) == 0 {
		// The types of some statements, such as SELECT ?, are known only once they run.
		if columns, casts = a.describe(); len(casts) > 0 && s.kind == native.StatementTypeSelect {
			a.close()
			s.close()
			if s, err = c.prepare(recast(sql, columns, casts)); err != nil {
				return nil, nil, nil, err
			}
			a, err = s.open(args)
		}
	}
	if err != nil {
		s.close()
		return nil, nil, nil, err
	}
	return columns, s, a, nil
}

// open binds and runs the statement.
func (s *statement) open(args []any) (*answer, error) {
	if err := s.bind(args); err != nil {
		return nil, err
	}
	return s.stream()
}

// describe returns the statement's columns and the places of those that must be cast.
func (s *statement) describe() ([]warehouse.Column, map[int]native.Type) {
	return describe(int(native.PreparedStatementColumnCount(s.handle)), func(i native.IdxT) (string, native.LogicalType) {
		return native.PreparedStatementColumnName(s.handle, i), native.PreparedStatementColumnLogicalType(s.handle, i)
	})
}

// describe returns the same of an answer.
func (a *answer) describe() ([]warehouse.Column, map[int]native.Type) {
	return describe(len(a.columns), func(i native.IdxT) (string, native.LogicalType) {
		return a.columns[i].name, native.ColumnLogicalType(&a.result, i)
	})
}

func describe(n int, column func(native.IdxT) (string, native.LogicalType)) ([]warehouse.Column, map[int]native.Type) {
	casts := map[int]native.Type{}
	columns := make([]warehouse.Column, n)
	for i := range columns {
		name, l := column(native.IdxT(i))
		columns[i] = warehouse.Column{Name: name, Type: typeName(l)}
		if t := native.GetTypeId(l); t != native.TypeInvalid && !readable(t) {
			casts[i] = t
		}
		native.DestroyLogicalType(&l)
	}
	return columns, casts
}

// recast wraps the statement so that the named columns come as text: nested values as JSON, others as DuckDB writes
// them. Columns are renamed inside, since a statement may use one name twice.
func recast(sql string, columns []warehouse.Column, casts map[int]native.Type) string {
	var names, list []string
	for i := range columns {
		name := fmt.Sprintf("c%d", i)
		names = append(names, name)
		switch t, cast := casts[i]; {
		case !cast:
			list = append(list, name)
		case t == native.TypeList || t == native.TypeStruct || t == native.TypeMap || t == native.TypeArray || t == native.TypeUnion:
			list = append(list, fmt.Sprintf("CAST(to_json(%s) AS VARCHAR)", name))
		default:
			list = append(list, fmt.Sprintf("CAST(%s AS VARCHAR)", name))
		}
	}
	sql = strings.TrimRight(strings.TrimSpace(sql), ";")
	return fmt.Sprintf("SELECT %s FROM (%s\n) AS q(%s)", strings.Join(list, ", "), sql, strings.Join(names, ", "))
}
