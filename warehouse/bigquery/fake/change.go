package fake

import (
	"context"
	"database/sql"
	"fmt"
)

// change is what UPDATE or DELETE says: FROM where WHERE what.
type change struct {
	dataset, table string
	from, where    string // in DuckDB's words
}

// changed reads UPDATE table AS t SET … WHERE … and DELETE FROM table AS t WHERE …; nil without WHERE, or
// without the table's full name.
func changed(all []token) *change {
	start, end, where := 1, 0, 0
	if all[0].is("DELETE") && len(all) > 1 && all[1].is("FROM") {
		start = 2
	}
	depth := 0
	for i, t := range all {
		switch {
		case t.is("("):
			depth++
		case t.is(")"):
			depth--
		case depth == 0 && end == 0 && i > start && (t.is("SET") || t.is("WHERE")):
			end = i
		}
		if depth == 0 && t.is("WHERE") {
			where = i
		}
	}
	if where == 0 || end < start+5 || all[start].kind != 'n' {
		return nil
	}
	return &change{dataset: all[start+2].text, table: all[start+4].text, from: write(all[start:end]), where: write(all[where+1:])}
}

// change changes rows, unless some of them were written just now and the server is one that does not let them be changed
// yet. BigQuery said so of rows of the Storage Write API for years; now it does of those of insertAll only.
func (s *Server) change(ctx context.Context, conn *sql.Conn, st *statement) error {
	if st.dml == nil {
		return &problem{400, "invalidQuery", "the fake changes rows of a table with its full name, and none without WHERE"}
	}
	s.mu.Lock()
	t := s.tables[st.dml.dataset+"."+st.dml.table]
	s.mu.Unlock()
	if t == nil {
		return &problem{404, "notFound", "Not found: Table " + st.dml.dataset + "." + st.dml.table}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if s.o.Fresh > 0 && t.fresh {
		var n int64
		if err := conn.QueryRowContext(ctx, fmt.Sprintf("SELECT count(*) FROM %s WHERE rowid >= %d AND (%s)", st.dml.from, t.settled, st.dml.where)).Scan(&n); err != nil {
			return err
		}
		if n > 0 {
			if t.refused++; t.refused >= s.o.Fresh {
				t.refused = 0
				if err := conn.QueryRowContext(ctx, fmt.Sprintf("SELECT coalesce(max(rowid) + 1, 0) FROM %q.%q", t.dataset, t.name)).Scan(&t.settled); err != nil {
					return err
				}
			}
			return &problem{400, "invalidQuery", fmt.Sprintf("UPDATE or DELETE statement over table %s.%s.%s would affect rows in the streaming buffer, which is not supported", s.o.Project, t.dataset, t.name)}
		}
	}
	_, err := conn.ExecContext(ctx, st.sql)
	return err
}
