package bigquery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	bq "cloud.google.com/go/bigquery"
	"golang.org/x/sync/errgroup"
	"google.golang.org/api/googleapi"
	"google.golang.org/api/iterator"
)

// bound gives a REST call of ours an end: the client library tries again for as long as it is let.
func (e *Engine) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, e.o.restTimeout)
}

// run runs a statement of ours that answers nothing, such as one that makes a table.
func (e *Engine) run(ctx context.Context, sql string) error {
	q := e.rest.Query(sql)
	q.Location = e.o.Location
	return e.insist(ctx, func() (final bool, err error) {
		ctx, cancel := e.bound(ctx)
		defer cancel()
		_, err = e.attempt(ctx, q, "make")
		return permanent(err), err
	})
}

// atOnce is how many statements of ours run at the same time.
const atOnce = 8

// runAll runs statements that do not depend on each other.
func (e *Engine) runAll(ctx context.Context, statements []string) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for _, sql := range statements {
		g.Go(func() error {
			if err := e.run(ctx, sql); err != nil {
				line, _, _ := strings.Cut(sql, "\n")
				return fmt.Errorf("%s: %w", line, err)
			}
			return nil
		})
	}
	return g.Wait()
}

// each runs a query of ours and calls fn with each row.
func (e *Engine) each(ctx context.Context, sql string, fn func(row []any) error, args ...any) error {
	ctx, cancel := e.bound(ctx)
	defer cancel()
	q := e.rest.Query(sql)
	q.Location, q.DefaultDatasetID, q.DisableQueryCache = e.o.Location, e.names.dataset(shared), true
	for _, a := range args {
		q.Parameters = append(q.Parameters, bq.QueryParameter{Value: a})
	}
	return rows(ctx, q, fn)
}

// rows runs a query and calls fn with each row.
func rows(ctx context.Context, q *bq.Query, fn func(row []any) error) error {
	it, err := q.Read(ctx)
	if err != nil {
		return err
	}
	for {
		var values []bq.Value
		if err := it.Next(&values); errors.Is(err, iterator.Done) {
			return nil
		} else if err != nil {
			return err
		}
		row := make([]any, len(values))
		for i, v := range values {
			row[i] = v
		}
		if err := fn(row); err != nil {
			return err
		}
	}
}

// permanent reports whether trying again is of no use.
func permanent(err error) bool {
	var api *googleapi.Error
	if errors.As(err, &api) {
		if reason := firstReason(api); reason == "rateLimitExceeded" || reason == "quotaExceeded" || reason == "jobRateLimitExceeded" || reason == "jobBackendError" || reason == "jobInternalError" {
			return false
		}
		return api.Code >= 400 && api.Code < 500 && api.Code != http.StatusRequestTimeout && api.Code != http.StatusTooManyRequests && api.Code != http.StatusUnauthorized && api.Code != http.StatusNotFound
	}
	var job *bq.Error
	if errors.As(err, &job) {
		return job.Reason == "invalidQuery" || job.Reason == "accessDenied" || job.Reason == "invalid" || job.Reason == "billingNotEnabled"
	}
	return false
}

func firstReason(e *googleapi.Error) string {
	if len(e.Errors) == 0 {
		return ""
	}
	return e.Errors[0].Reason
}

// absent reports whether the error says that something is not there.
func absent(err error) bool {
	var api *googleapi.Error
	return errors.As(err, &api) && api.Code == http.StatusNotFound
}

// ensure makes sure that a table is there, has our columns, of our types, and keeps rows for as long as it should.
func (e *Engine) ensure(ctx context.Context, t table) error {
	bounded, cancel := e.bound(ctx)
	defer cancel()
	m, err := e.rest.DatasetInProject(e.names.project, e.names.dataset(t.dataset)).Table(t.name).Metadata(bounded)
	if err != nil {
		return err
	}
	have := map[string]string{}
	for _, f := range m.Schema {
		have[strings.ToLower(f.Name)] = string(f.Type)
		if f.Repeated {
			have[strings.ToLower(f.Name)] = "REPEATED " + string(f.Type)
		}
	}
	var missing []column
	for _, c := range t.columns {
		switch kind := have[strings.ToLower(c.name)]; {
		case kind == "":
			missing = append(missing, c)
		case kind != legacy(c.kind):
			return fmt.Errorf("%w: column %s of %s is of type %s, it must be %s: somebody changed it", errNotOurs, c.name, e.names.table(t), kind, c.kind)
		}
	}
	if len(missing) > 0 {
		if err := e.run(ctx, e.names.addColumns(t, missing)); err != nil {
			return err
		}
	}
	return e.keep(ctx, t, m.TimePartitioning)
}

// keep makes sure that a table keeps rows for as long as the settings say. Without a setting it stays as it is.
func (e *Engine) keep(ctx context.Context, t table, now *bq.TimePartitioning) error {
	have, want := time.Duration(0), time.Duration(e.o.Retention.days(t))*24*time.Hour
	if now != nil {
		have = now.Expiration
	}
	if want == 0 && have > 0 {
		e.o.Telemetry.Log.Warn("a table deletes old days, which no setting of ours says", slog.String("table", e.names.table(t)), slog.Duration("after", have))
		e.mu.Lock()
		e.days[e.names.table(t)] = max(1, int(have/(24*time.Hour)))
		e.mu.Unlock()
	}
	if want == 0 || have == want {
		return nil
	}
	e.rekept.Store(true)
	return e.run(ctx, e.names.expire(t, e.o.Retention.days(t)))
}

// legacy is how the REST API calls a type.
func legacy(kind string) string {
	if kind == "INT64" {
		return "INTEGER"
	}
	return kind
}

// expires is after how many days BigQuery deletes a partition of a table; 0: never.
func (e *Engine) expires(t table) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	if days, ok := e.days[e.names.table(t)]; ok {
		return days
	}
	return e.o.Retention.days(t)
}

// prepare makes whatever is not there yet, and reports whether that was anything.
func (e *Engine) prepare(ctx context.Context) (made bool, err error) {
	all := tables()
	lacking := make([]bool, len(all))
	g, grouped := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for i, t := range all {
		g.Go(func() error {
			return e.insist(grouped, func() (bool, error) {
				err := e.ensure(grouped, t)
				if absent(err) {
					lacking[i] = true
					return false, nil
				}
				return errors.Is(err, errNotOurs) || permanent(err), err
			})
		})
	}
	if err := g.Wait(); err != nil || !slices.Contains(lacking, true) {
		return e.rekept.Load(), err
	}
	for _, sql := range e.names.create(e.o.Location, e.o.Retention) {
		if err := e.run(ctx, sql); err != nil {
			line, _, _ := strings.Cut(sql, "\n")
			return false, fmt.Errorf("%s: %w", line, err)
		}
	}
	return true, nil
}
