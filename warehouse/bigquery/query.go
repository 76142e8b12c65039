package bigquery

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"strings"
	"sync"
	"time"

	bq "cloud.google.com/go/bigquery"
	"google.golang.org/api/googleapi"
	"google.golang.org/api/iterator"

	"github.com/sparrowhq/sparrow/warehouse"
)

// maxStatement bounds a statement, in bytes.
const maxStatement = 128 << 10

// Query implements warehouse.Reader. The statement is GoogleSQL. It is tried without running it first: BigQuery itself
// says then whether it only reads, and what it would scan.
func (e *Engine) Query(ctx context.Context, q warehouse.Query) (*warehouse.Rows, error) {
	wait := e.o.MaxWait
	if q.MaxWait != "" {
		asked, err := time.ParseDuration(q.MaxWait)
		if err != nil || asked <= 0 {
			return nil, fmt.Errorf("maxWait %q: want a duration such as 10s", q.MaxWait)
		}
		wait = min(wait, asked)
	}
	if len(q.SQL) > maxStatement {
		return nil, fmt.Errorf("the statement has %d bytes, the most is %d: pass long values as parameters", len(q.SQL), maxStatement)
	}
	if i := strings.IndexByte(q.SQL, 0); i >= 0 {
		return nil, fmt.Errorf("the statement has a NUL byte at offset %d", i)
	}
	if strings.TrimSpace(q.SQL) == "" {
		return nil, fmt.Errorf("%w: the statement is empty", warehouse.ErrReadOnly)
	}
	parameters, err := parameters(q.Args)
	if err != nil {
		return nil, err
	}
	if err := e.enter(ctx); err != nil {
		return nil, err
	}
	a := &answer{e: e, limit: q.Limit}
	if a.limit <= 0 {
		a.limit = e.o.Limit
	}
	a.ctx, a.cancel = context.WithTimeoutCause(ctx, wait, fmt.Errorf("query stopped after %s: %w", wait, context.DeadlineExceeded))
	a.unhook = context.AfterFunc(e.running, a.cancel)
	if err := a.start(q.SQL, parameters, wait); err != nil {
		err = a.fault(err)
		a.close()
		return nil, err
	}
	return &warehouse.Rows{Columns: a.columns, Next: a.next, Truncated: func() bool { return a.truncated }, Close: a.close}, nil
}

// enter waits for one of the places for queries.
func (e *Engine) enter(ctx context.Context) error {
	e.mu.Lock()
	closed := e.closed
	if !closed {
		e.reading.Add(1)
	}
	e.mu.Unlock()
	if closed {
		return ErrClosed
	}
	select {
	case e.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		e.reading.Done()
		return fmt.Errorf("waiting for one of %d places for queries: %w", cap(e.slots), context.Cause(ctx))
	case <-e.running.Done():
		e.reading.Done()
		return ErrClosed
	}
}

// answer is a query in progress. Its methods are for one goroutine, but for close.
type answer struct {
	e         *Engine
	ctx       context.Context
	cancel    context.CancelFunc
	unhook    func() bool
	job       *bq.Job // nil: none is running
	rows      *bq.RowIterator
	columns   []warehouse.Column
	limit     int
	read      int
	ended     error // what every further next answers
	truncated bool
	once      sync.Once
}

func (a *answer) query(sql string, parameters []bq.QueryParameter) *bq.Query {
	q := a.e.rest.Query(sql)
	q.Parameters = parameters
	q.Location, q.DefaultDatasetID = a.e.o.Location, a.e.names.dataset(shared)
	q.MaxBytesBilled = a.e.o.MaxScanned
	return q
}

func (a *answer) start(sql string, parameters []bq.QueryParameter, wait time.Duration) error {
	try := a.query(sql, parameters)
	try.DryRun = true
	dry, err := try.Run(a.ctx)
	if err != nil {
		return err
	}
	if status := dry.LastStatus(); status.Statistics != nil {
		if d, ok := status.Statistics.Details.(*bq.QueryStatistics); ok && d.StatementType != "SELECT" {
			return fmt.Errorf("%w: this is %s", warehouse.ErrReadOnly, d.StatementType)
		}
		if n := status.Statistics.TotalBytesProcessed; n > a.e.o.MaxScanned {
			return fmt.Errorf("the query would scan %d bytes, the most is %d: name fewer columns, a day of timestamp or a range of frames, or raise warehouse.bigquery.max_scanned", n, a.e.o.MaxScanned)
		}
	} else {
		return fmt.Errorf("%w: BigQuery does not say what kind of statement this is", warehouse.ErrReadOnly)
	}
	q := a.query(sql, parameters)
	q.JobTimeout = wait
	q.JobID = jobID("query")
	err = a.e.insist(a.ctx, func() (final bool, err error) {
		a.job, err = a.e.submit(a.ctx, q)
		return permanent(err), err
	})
	if err != nil {
		return err // if it runs all the same, it ends at its own time limit
	}
	if a.rows, err = a.job.Read(a.ctx); err != nil {
		return err
	}
	for _, f := range a.rows.Schema {
		a.columns = append(a.columns, warehouse.Column{Name: f.Name, Type: typeName(f)})
	}
	return nil
}

// next implements warehouse.Rows.Next.
func (a *answer) next() ([]any, error) {
	if a.ended != nil {
		return nil, a.ended
	}
	var values []bq.Value
	err := a.rows.Next(&values)
	switch {
	case errors.Is(err, iterator.Done):
		a.job = nil
		a.ended = io.EOF
	case err != nil:
		a.ended = a.fault(err)
	case a.read == a.limit:
		a.truncated = true
		a.ended = io.EOF
	}
	if a.ended != nil {
		return nil, a.ended
	}
	a.read++
	row := make([]any, len(values))
	for i, v := range values {
		row[i] = value(a.rows.Schema[i], v)
	}
	return row, nil
}

// fault is an error as the caller should see it.
func (a *answer) fault(err error) error {
	if cause := context.Cause(a.ctx); cause != nil {
		a.e.metrics.queries.WithLabelValues("stopped").Inc()
		return cause
	}
	a.e.metrics.queries.WithLabelValues("failed").Inc()
	var api *googleapi.Error
	if errors.As(err, &api) {
		return errors.New(api.Message) // without the request
	}
	return err
}

// close ends the query, at BigQuery too, and gives its place back.
func (a *answer) close() error {
	a.once.Do(func() {
		a.unhook()
		stopped := a.ctx.Err() != nil
		a.cancel()
		if a.job != nil && (stopped || a.rows == nil) {
			a.stopJob()
		}
		if a.ended == nil {
			a.ended = errors.New("the answer is closed")
		}
		if errors.Is(a.ended, io.EOF) {
			a.e.metrics.queries.WithLabelValues("answered").Inc()
			a.ended = errors.New("the answer is closed")
		}
		<-a.e.slots
		a.e.reading.Done()
	})
	return nil
}

// stopJob has BigQuery stop what nobody waits for.
func (a *answer) stopJob() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(a.ctx), 2*time.Second)
	defer cancel()
	_ = a.job.Cancel(ctx) // it ends by itself at its own time limit otherwise
}

// parameters makes parameters of values.
func parameters(args []any) ([]bq.QueryParameter, error) {
	var out []bq.QueryParameter
	for i, arg := range args {
		var v any
		switch arg := arg.(type) {
		case nil:
			v = bq.NullString{}
		case bool, int64, float64, string, []byte, time.Time:
			v = arg
		case int:
			v = int64(arg)
		case int32:
			v = int64(arg)
		case uint32:
			v = int64(arg)
		case uint64:
			if arg <= math.MaxInt64 {
				v = int64(arg)
			} else {
				v = &bq.QueryParameterValue{Type: bq.StandardSQLDataType{TypeKind: "BIGNUMERIC"}, Value: new(big.Int).SetUint64(arg).String()}
			}
		case *big.Int:
			v = &bq.QueryParameterValue{Type: bq.StandardSQLDataType{TypeKind: "BIGNUMERIC"}, Value: arg.String()}
		default:
			return nil, fmt.Errorf("parameter %d is of type %T: want a string, an integer, a float, a boolean or null", i+1, arg)
		}
		out = append(out, bq.QueryParameter{Value: v})
	}
	return out, nil
}
