package duckdb

import (
	"fmt"
	"strings"

	native "github.com/duckdb/duckdb-go-bindings"

	"github.com/sparrowhq/sparrow/warehouse"
)

// describe returns the statement's columns and the places of those that must be cast.
func (s *statement) describe() ([]warehouse.Column, map[int]native.Type) {
	casts := map[int]native.Type{}
	var columns []warehouse.Column
	for i := range native.PreparedStatementColumnCount(s.handle) {
		t := native.PreparedStatementColumnType(s.handle, i)
		l := native.PreparedStatementColumnLogicalType(s.handle, i)
		columns = append(columns, warehouse.Column{Name: native.PreparedStatementColumnName(s.handle, i), Type: typeName(l)})
		native.DestroyLogicalType(&l)
		if t != native.TypeInvalid && !readable(t) {
			casts[int(i)] = t
		}
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
