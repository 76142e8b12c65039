package duckdb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	native "github.com/duckdb/duckdb-go-bindings"

	"github.com/sparrowhq/sparrow/warehouse"
)

// Query implements warehouse.Reader.
func (e *Engine) Query(ctx context.Context, q warehouse.Query) (_ *warehouse.Rows, err error) {
	wait := e.o.MaxWait
	if q.MaxWait != "" {
		asked, err := time.ParseDuration(q.MaxWait)
		if err != nil || asked <= 0 {
			return nil, fmt.Errorf("maxWait %q: want a duration such as 10s", q.MaxWait)
		}
		wait = min(wait, asked)
	}
	limit := q.Limit
	if limit <= 0 {
		limit = e.o.Limit
	}
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return nil, ErrClosed
	}
	e.reading.Add(1)
	e.mu.Unlock()
	r := &reader{e: e, limit: limit}
	r.ctx, r.cancel = context.WithTimeoutCause(ctx, wait, fmt.Errorf("query stopped after %s: %w", wait, context.DeadlineExceeded))
	defer func() {
		if err != nil {
			r.close()
		}
	}()
	select {
	case e.slots <- struct{}{}:
		r.slot = true
	case <-r.ctx.Done():
		return nil, context.Cause(r.ctx)
	case <-e.queries.Done():
		return nil, ErrClosed
	}
	if r.conn, err = e.db.connect(); err != nil {
		return nil, err
	}
	r.watch()
	if err := r.start(q.SQL, q.Args); err != nil {
		return nil, r.explain(err)
	}
	return &warehouse.Rows{Columns: r.columns, Next: r.next, Truncated: func() bool { return r.truncated }, Close: r.close}, nil
}

// reader is one query in progress: a connection of its own, with a read-only transaction.
type reader struct {
	e      *Engine
	ctx    context.Context // ends at the deadline
	cancel context.CancelFunc
	limit  int
	slot   bool // one of e.slots is ours

	conn      *conn
	statement *statement
	answer    *answer
	columns   []warehouse.Column
	rows      int
	truncated bool
	ended     error // what next returns from now on

	watching sync.WaitGroup
	done     chan struct{} // closed by close: the watcher ends
	once     sync.Once
}

// watch interrupts the connection once the context ends, again and again, since an interrupt that comes between two
// statements is forgotten.
func (r *reader) watch() {
	r.done = make(chan struct{})
	r.watching.Go(func() {
		select {
		case <-r.done:
			return
		case <-r.ctx.Done():
		case <-r.e.queries.Done():
		}
		again := time.NewTicker(20 * time.Millisecond)
		defer again.Stop()
		for {
			r.conn.interrupt()
			select {
			case <-r.done:
				return
			case <-again.C:
			}
		}
	})
}

// start checks the statement and runs it up to its first rows.
func (r *reader) start(sql string, args []any) error {
	if err := r.conn.exec("BEGIN TRANSACTION READ ONLY"); err != nil {
		return err
	}
	var err error
	if r.statement, r.columns, err = r.conn.readOnly(sql); err != nil {
		return err
	}
	if err := r.statement.bind(args); err != nil {
		return err
	}
	r.answer, err = r.statement.stream()
	return err
}

// explain names the reason why a statement was stopped; DuckDB only says that it was.
func (r *reader) explain(err error) error {
	switch {
	case r.ctx.Err() != nil:
		return context.Cause(r.ctx)
	case r.e.queries.Err() != nil:
		return ErrClosed
	case isKind(err, native.ErrorTypeOutOfMemory):
		return fmt.Errorf("the query needs more than the %d MiB that this warehouse gives: filter by frame or timestamp, or aggregate: %w", r.e.o.Memory>>20, err)
	}
	return err
}

func (r *reader) next() ([]any, error) {
	if r.ended != nil {
		return nil, r.ended
	}
	if err := r.ctx.Err(); err != nil {
		r.ended = context.Cause(r.ctx)
		return nil, r.ended
	}
	row, err := r.answer.next()
	switch {
	case err != nil:
		r.ended = r.explain(err)
	case row == nil:
		r.ended = io.EOF
	case r.rows == r.limit:
		r.truncated = true
		r.ended = io.EOF
	default:
		r.rows++
		return row, nil
	}
	return nil, r.ended
}

func (r *reader) close() error {
	r.once.Do(func() {
		r.ended = errors.New("rows are closed")
		if r.done != nil {
			close(r.done)
			r.watching.Wait()
		}
		if r.answer != nil {
			r.answer.close()
		}
		if r.statement != nil {
			r.statement.close()
		}
		if r.conn != nil {
			r.conn.close()
		}
		r.cancel()
		if r.slot {
			<-r.e.slots
		}
		r.e.reading.Done()
	})
	return nil
}

// readOnly prepares sql if it is a single statement that only reads, and tells its columns. Columns of types that
// answers cannot carry are cast to text by the statement itself.
func (c *conn) readOnly(sql string) (*statement, []warehouse.Column, error) {
	if i := strings.IndexByte(sql, 0); i >= 0 {
		return nil, nil, fmt.Errorf("the statement has a NUL byte at offset %d", i)
	}
	if err := c.single(sql); err != nil {
		return nil, nil, err
	}
	s, err := c.prepare(sql)
	if err != nil {
		return nil, nil, err
	}
	if s.kind != native.StatementTypeSelect && s.kind != native.StatementTypeExplain {
		s.close()
		return nil, nil, fmt.Errorf("%w: this is %s", warehouse.ErrReadOnly, kindName(s.kind))
	}
	columns, casts := s.describe()
	if len(casts) == 0 || s.kind != native.StatementTypeSelect {
		return s, columns, nil
	}
	s.close()
	s, err = c.prepare(recast(sql, columns, casts))
	return s, columns, err
}

// single refuses anything but one statement, before any of them is prepared.
func (c *conn) single(sql string) error {
	var all native.ExtractedStatements
	n := native.ExtractStatements(c.handle, sql, &all)
	defer native.DestroyExtracted(&all)
	switch {
	case n == 1:
		return nil
	case n > 1:
		return fmt.Errorf("%w: these are %d statements", warehouse.ErrReadOnly, n)
	}
	if message := native.ExtractStatementsError(all); message != "" {
		return messageError(message)
	}
	return fmt.Errorf("%w: the statement is empty", warehouse.ErrReadOnly)
}

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
