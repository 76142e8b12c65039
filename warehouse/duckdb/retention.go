package duckdb

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// Retention says for how many whole days (UTC) before today rows are kept, by the time they were received. 0: for ever.
type Retention struct {
	Raw      int
	Outcomes int
}

const (
	// expireRows is how many rows one step looks at and deletes at most: a third of a row group, so that a step takes
	// milliseconds. What it writes to the log is a number for each row.
	expireRows = 40_960

	// expireRest is how long retention rests after a step, as a multiple of what the step took.
	expireRest = 4

	// expireEvery is how often there is a look for days that have ended.
	expireEvery = time.Hour
)

// expiredTable counts what retention deleted, day by day, so that the rows that are there and those that were deleted
// still add up to what the cursors counted, and so that whoever asks for such a day learns that it is gone. first and last
// are frames of run 0; NULL if there were none.
const expiredTable = `CREATE TABLE expired (stack VARCHAR NOT NULL, "table" VARCHAR NOT NULL, "day" DATE NOT NULL, first BIGINT, last BIGINT, "rows" BIGINT NOT NULL, "at" TIMESTAMP NOT NULL)`

// keep deletes what has expired, now and then every expireEvery, until Close.
func (e *Engine) keep() {
	exemptThread()
	next := time.NewTimer(0)
	defer next.Stop()
	for {
		select {
		case <-e.queries.Done():
			return
		case <-next.C:
		}
		began := time.Now()
		n, err := e.expire(e.queries, began)
		switch {
		case e.queries.Err() != nil:
			return
		case err != nil:
			e.metrics.failures.Inc()
			e.o.Telemetry.Failure("retention failed; it is tried again in an hour", err)
		case n > 0:
			e.o.Telemetry.Log.Info("retention deleted whole days", slog.Int64("rows", n), slog.Duration("took", time.Since(began)))
		}
		next.Reset(expireEvery)
	}
}

// expire deletes every day that has ended longer ago than is kept, in steps, and returns how many rows that were. What
// it has deleted stays deleted, and counted, after any error.
func (e *Engine) expire(ctx context.Context, now time.Time) (rows int64, err error) {
	midnight := now.UTC().Truncate(24 * time.Hour)
	for _, of := range []struct {
		table string
		days  int
	}{{"raw", e.o.Retention.Raw}, {"outcomes_log", e.o.Retention.Outcomes}} {
		if of.days <= 0 {
			continue
		}
		for _, stack := range event.Stacks() {
			x := &expiry{e: e, ctx: ctx, stack: stack, table: of.table, before: midnight.AddDate(0, 0, -of.days), now: now.UTC()}
			err := x.run()
			rows += x.rows
			if err != nil {
				return rows, fmt.Errorf("retention: %s.%s before %s: %w", stack, of.table, x.before.Format(time.DateOnly), err)
			}
		}
	}
	return rows, nil
}

// expiry deletes the days before a midnight from one table.
type expiry struct {
	e      *Engine
	ctx    context.Context
	stack  event.Stack
	table  string
	before time.Time
	now    time.Time

	at   int64 // rowid from which on to look
	rows int64 // deleted so far
}

// run steps through the table until nothing is found from its beginning. Row ids only ever become smaller, at a
// checkpoint that drops deleted rows before them, so a pass may leave some out; the last pass finds none.
func (x *expiry) run() error {
	for failures := 0; ; {
		began := time.Now()
		whole := x.at == 0
		found, err := x.attempt()
		switch {
		case err != nil && (failures == 3 || x.ctx.Err() != nil):
			return err
		case err != nil:
			failures++
		case !found && whole:
			return nil
		case !found:
			x.at = 0
			continue
		default:
			failures = 0
		}
		if err := x.rest(time.Since(began)); err != nil {
			return err
		}
	}
}

// rest leaves the machine to others.
func (x *expiry) rest(took time.Duration) error {
	t := time.NewTimer(min(expireRest*took, time.Second))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-x.ctx.Done():
		return context.Cause(x.ctx)
	}
}

// attempt takes one step once the live stack has nothing to append, or after Options.Patience; the file is opened again
// if the step broke it. It reports whether there was anything to delete.
func (x *expiry) attempt() (found bool, err error) {
	e := x.e
	e.gate.enter(nobody)
	if err := context.Cause(x.ctx); err != nil {
		return false, err
	}
	e.folding.RLock()
	e.shared.RLock()
	opened := e.opened
	if e.db == nil {
		err = &commitError{e.failed}
	} else {
		found, err = x.step()
	}
	e.shared.RUnlock()
	e.folding.RUnlock()
	if err != nil && broken(err) {
		e.reopen(opened, err)
	}
	return found, err
}

// nobody waits at the gate as a candidate does.
const nobody event.Stack = "retention"

// step deletes what has expired of expireRows rows, and counts it, in one transaction. e.shared is held.
func (x *expiry) step() (found bool, err error) {
	c, err := x.e.db.connect()
	if err != nil {
		return false, err
	}
	defer c.close()
	table := fmt.Sprintf("%s.%s", x.stack, x.table)
	const from, below = `SELECT rowid FROM %s WHERE rowid >= ? AND "timestamp" < ? LIMIT 1`, `rowid >= ? AND rowid < ? AND "timestamp" < ?`
	var first int64
	err = c.rows(fmt.Sprintf(from, table), []any{x.at, x.before}, func(r []any) error {
		first, found = r[0].(int64), true
		return nil
	})
	if err != nil || !found {
		return false, err
	}
	window := []any{first, first + x.e.expireRows, x.before}
	var rows int64
	err = c.transaction(func() error {
		rows = 0
		var days [][]any
		err := c.rows(fmt.Sprintf(`SELECT CAST(CAST("timestamp" AS DATE) AS VARCHAR), min(frame) FILTER (run = 0), max(frame) FILTER (run = 0), count(*) FROM %s WHERE %s GROUP BY 1`, table, below), window, func(r []any) error {
			rows += r[3].(int64)
			days = append(days, r)
			return nil
		})
		if err != nil {
			return err
		}
		for _, day := range days {
			if err := x.count(c, day[0].(string), day[1], day[2], day[3].(int64)); err != nil {
				return fmt.Errorf("count of %s: %w", day[0], err)
			}
		}
		if err := x.undigest(c, table, below, window); err != nil {
			return fmt.Errorf("digests: %w", err)
		}
		s, err := c.prepare(fmt.Sprintf("DELETE FROM %s WHERE %s", table, below))
		if err != nil {
			return err
		}
		defer s.close()
		n, err := s.exec(window...)
		if err == nil && n != rows {
			err = fmt.Errorf("%d rows were counted, %d deleted", rows, n)
		}
		return err
	})
	if err != nil {
		return false, err
	}
	x.at = first + x.e.expireRows
	x.rows += rows
	x.e.metrics.expired.WithLabelValues(string(x.stack), x.table).Add(float64(rows))
	return true, nil
}

// undigest takes away the digests of the buckets that are about to lose rows, which they would otherwise go on counting:
// compare reads such a bucket as rows.
func (x *expiry) undigest(c *conn, table, below string, window []any) error {
	stage := "stage"
	if x.table == "raw" {
		stage = "'" + string(warehouse.Raw) + "'"
	}
	return c.run(fmt.Sprintf(`DELETE FROM %[1]s.digests WHERE (stage, "first") IN (SELECT DISTINCT %[2]s, frame // %[3]d * %[3]d FROM %[4]s WHERE run = 0 AND %[5]s)`,
		x.stack, stage, x.e.state.digestFrames(), table, below), window...)
}

// count adds to what was deleted of a day. Nobody else writes the table.
func (x *expiry) count(c *conn, day string, first, last any, rows int64) error {
	// least and greatest pass over NULL.
	s, err := c.prepare(`UPDATE expired SET first = least(first, ?::BIGINT), last = greatest(last, ?::BIGINT), "rows" = "rows" + ?, "at" = ? WHERE stack = ? AND "table" = ? AND "day" = ?::DATE`)
	if err != nil {
		return err
	}
	defer s.close()
	n, err := s.exec(first, last, rows, x.now, string(x.stack), x.table, day)
	if err != nil || n == 1 {
		return err
	}
	return c.run(`INSERT INTO expired VALUES (?, ?, ?::DATE, ?, ?, ?, ?)`, string(x.stack), x.table, day, first, last, rows, x.now)
}
