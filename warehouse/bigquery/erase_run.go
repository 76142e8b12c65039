package bigquery

import (
	"context"
	"errors"
	"fmt"
	"strings"

	bq "cloud.google.com/go/bigquery"
	"google.golang.org/api/googleapi"
)

// isBuffered reports whether BigQuery refuses to change rows since they were written just now. Today it does so for
// another way of writing only, but it did for ours.
func isBuffered(err error) bool {
	return err != nil && strings.Contains(err.Error(), "streaming buffer")
}

// weigh asks what a statement would scan, and refuses it if that is too much.
func (x *erasure) weigh(ctx context.Context, q *bq.Query) error {
	ctx, cancel := x.e.bound(ctx)
	defer cancel()
	id := q.JobID
	q.DryRun, q.MaxBytesBilled, q.JobID = true, 0, ""
	defer func() { q.DryRun, q.MaxBytesBilled, q.JobID = false, x.e.o.MaxScanned, id }()
	dry, err := q.Run(ctx)
	if err != nil {
		return err
	}
	if status := dry.LastStatus(); status.Statistics != nil {
		n := status.Statistics.TotalBytesProcessed
		if n > x.e.o.MaxScanned {
			return fmt.Errorf("%w: a statement would scan %d bytes, the most is %d: raise warehouse.bigquery.max_scanned", errTooMuch, n, x.e.o.MaxScanned)
		}
		x.out.Scanned += n
	}
	return nil
}

var errTooMuch = errors.New("it costs too much")

func (x *erasure) query(sql string, args []any) *bq.Query {
	q := x.e.rest.Query(sql)
	q.Location, q.DisableQueryCache = x.e.o.Location, true
	for _, a := range args {
		q.Parameters = append(q.Parameters, bq.QueryParameter{Value: a})
	}
	return q
}

// ask runs a query within the limit on bytes.
func (x *erasure) ask(ctx context.Context, sql string, fn func([]any) error, args ...any) error {
	return x.insist(ctx, x.query(sql, args), func(ctx context.Context, q *bq.Query) error { return rows(ctx, q, fn) })
}

// change runs a statement that changes rows within the limit on bytes. A later erasure may run it again: tombstones are left
// alone.
func (x *erasure) change(ctx context.Context, sql string) error {
	return x.insist(ctx, x.query(sql, nil), func(ctx context.Context, q *bq.Query) error {
		_, err := x.e.attempt(ctx, q, "erase")
		return err
	})
}

func (x *erasure) insist(ctx context.Context, q *bq.Query, run func(context.Context, *bq.Query) error) error {
	return x.e.insist(ctx, func() (final bool, err error) {
		ctx, cancel := context.WithTimeout(ctx, x.e.o.eraseTimeout)
		defer cancel()
		before := x.out.Scanned
		if err := x.weigh(ctx, q); err != nil {
			return permanent(err) || errors.Is(err, errTooMuch), plain(err)
		}
		if err := run(ctx, q); err != nil {
			x.out.Scanned = before
			return permanent(err) || isBuffered(err), plain(err)
		}
		return true, nil
	})
}

// plain is an error of the REST API without the request, which may hold the id.
func plain(err error) error {
	var api *googleapi.Error
	if errors.As(err, &api) && api.Message != "" {
		return fmt.Errorf("BigQuery answers %d: %.300s", api.Code, api.Message)
	}
	return err
}
