package fake

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	bq "google.golang.org/api/bigquery/v2"
)

// job is a query job.
type job struct {
	id     string
	config *bq.JobConfiguration
	kind   string
	cancel context.CancelFunc
	done   chan struct{} // closed when what follows is set

	schema *bq.TableSchema
	rows   []*bq.TableRow
	err    *bq.ErrorProto
}

// problem is an error with BigQuery's reason for it.
type problem struct {
	code    int
	reason  string
	message string
}

func (p *problem) Error() string { return p.reason + ": " + p.message }

func invalid(err error) *problem { return &problem{400, "invalidQuery", err.Error()} }

// check says what a statement is and whether it could run.
func (s *Server) check(ctx context.Context, q *bq.JobConfigurationQuery) (*statement, *problem) {
	st, err := translate(q.Query)
	if err != nil {
		return nil, invalid(err)
	}
	if q.MaximumBytesBilled > 0 && s.o.Scanned > q.MaximumBytesBilled && st.kind == "SELECT" {
		return nil, &problem{400, "bytesBilledLimitExceeded", fmt.Sprintf("Query exceeded limit for bytes billed: %d. %d or higher required.", q.MaximumBytesBilled, s.o.Scanned)}
	}
	if st.kind != "SELECT" {
		return st, nil
	}
	conn, err := s.connect(ctx, q)
	if err != nil {
		return nil, invalid(err)
	}
	defer conn.Close()
	p, err := conn.PrepareContext(ctx, st.sql)
	if err != nil {
		return nil, invalid(err)
	}
	return st, errProblem(p.Close())
}

func errProblem(err error) *problem {
	if err != nil {
		return invalid(err)
	}
	return nil
}

// connect returns a connection that looks names up in the default dataset.
func (s *Server) connect(ctx context.Context, q *bq.JobConfigurationQuery) (*sql.Conn, error) {
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	use := fmt.Sprintf("USE %q", s.o.Project)
	if q.DefaultDataset != nil && q.DefaultDataset.DatasetId != "" {
		use = fmt.Sprintf("SET search_path = '%s.%s,%s.main'", s.o.Project, q.DefaultDataset.DatasetId, s.o.Project)
	}
	if _, err := conn.ExecContext(ctx, use); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// start starts a job.
func (s *Server) start(j *job, st *statement) {
	ctx, cancel := context.WithCancel(context.Background())
	if ms := j.config.JobTimeoutMs; ms > 0 {
		ctx, cancel = context.WithTimeout(context.Background(), time.Duration(ms)*time.Millisecond)
	}
	j.cancel = cancel
	go func() {
		defer cancel()
		defer close(j.done)
		var p *problem
		switch err := s.execute(ctx, j, st); {
		case err == nil:
		case ctx.Err() != nil:
			j.err = &bq.ErrorProto{Reason: "stopped", Message: "Job execution was cancelled: " + ctx.Err().Error()}
		case errors.As(err, &p):
			j.err = &bq.ErrorProto{Reason: p.reason, Message: p.message}
		default:
			j.err = &bq.ErrorProto{Reason: "invalidQuery", Message: err.Error()}
		}
	}()
}

func (s *Server) execute(ctx context.Context, j *job, st *statement) error {
	if err := s.reveal(); err != nil {
		return err
	}
	if err := s.expire(ctx); err != nil {
		return err
	}
	if st.kind != "SELECT" {
		return s.define(ctx, j.config.Query, st)
	}
	conn, err := s.connect(ctx, j.config.Query)
	if err != nil {
		return err
	}
	defer conn.Close()
	args, err := arguments(j.config.Query.QueryParameters)
	if err != nil {
		return err
	}
	rows, err := conn.QueryContext(ctx, st.sql, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	types, err := rows.ColumnTypes()
	if err != nil {
		return err
	}
	j.schema = &bq.TableSchema{}
	for _, t := range types {
		f, err := field(t.Name(), t.DatabaseTypeName())
		if err != nil {
			return err
		}
		j.schema.Fields = append(j.schema.Fields, f)
	}
	for rows.Next() {
		values := make([]any, len(types))
		targets := make([]any, len(types))
		for i := range values {
			targets[i] = &values[i]
		}
		if err := rows.Scan(targets...); err != nil {
			return err
		}
		row := &bq.TableRow{}
		for i, v := range values {
			row.F = append(row.F, &bq.TableCell{V: cell(j.schema.Fields[i], v)})
		}
		j.rows = append(j.rows, row)
	}
	return rows.Err()
}

// define runs a statement that makes something.
func (s *Server) define(ctx context.Context, q *bq.JobConfigurationQuery, st *statement) error {
	conn, err := s.connect(ctx, &bq.JobConfigurationQuery{})
	if err != nil {
		return err
	}
	defer conn.Close()
	if st.ddl != nil && st.ddl.set {
		return s.setOptions(st.ddl)
	}
	if st.ddl != nil && st.ddl.add {
		return s.addColumns(ctx, conn, st.ddl)
	}
	if st.kind == "UPDATE" || st.kind == "DELETE" {
		return s.change(ctx, conn, st)
	}
	s.defining.Lock() // DuckDB refuses two who replace the same view at the same time, BigQuery does not
	_, err = conn.ExecContext(ctx, st.sql)
	s.defining.Unlock()
	if err != nil {
		return err
	}
	if st.ddl == nil || st.kind != "CREATE_TABLE" {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	d := st.ddl
	if name := d.dataset + "." + d.table; s.tables[name] == nil {
		s.tables[name] = &table{dataset: d.dataset, name: d.table, columns: d.columns, partition: d.partition, options: d.options, description: d.description, etag: 1, hidden: s.o.Hidden}
	}
	return nil
}

func (s *Server) addColumns(ctx context.Context, conn *sql.Conn, d *ddl) error {
	s.mu.Lock()
	t := s.tables[d.dataset+"."+d.table]
	s.mu.Unlock()
	if t == nil {
		return &problem{404, "notFound", "Not found: Table " + d.dataset + "." + d.table}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range d.columns {
		if _, err := conn.ExecContext(ctx, fmt.Sprintf("ALTER TABLE %q.%q ADD COLUMN IF NOT EXISTS %q %s", d.dataset, d.table, c.name, write([]token{{'w', c.kind}}))); err != nil {
			return err
		}
		t.columns = append(t.columns, c)
	}
	return nil
}

// RemoveColumn takes a column away from a table behind its writers' back.
func (s *Server) RemoveColumn(ctx context.Context, dataset, name, columnName string) error {
	s.mu.Lock()
	t := s.tables[dataset+"."+name]
	s.mu.Unlock()
	if t == nil {
		return fmt.Errorf("no table %s.%s", dataset, name)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, err := s.db.ExecContext(ctx, fmt.Sprintf("ALTER TABLE %q.%q.%q DROP COLUMN %q", s.o.Project, dataset, name, columnName)); err != nil {
		return err
	}
	var kept []column
	for _, c := range t.columns {
		if c.name != columnName {
			kept = append(kept, c)
		}
	}
	t.columns = kept
	return nil
}
