package duckdb

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// Tombstones: a row of raw is one by its context, which no client can choose, an outcome by its reason.
const (
	erasedContext = `{"erased":true}`
	erasedReason  = "erased"
)

// isRow and isOutcome are what views show.
const (
	isRow     = `context <> '` + erasedContext + `'`
	isOutcome = `reason <> '` + erasedReason + `'`
)

// erasuresTable records who had whom erased and when: the hash of the id, never the id.
const erasuresTable = `CREATE TABLE erasures ("at" TIMESTAMP NOT NULL, kind VARCHAR NOT NULL, salt VARCHAR NOT NULL, hash VARCHAR NOT NULL, "by" VARCHAR NOT NULL, events BIGINT NOT NULL, "rows" BIGINT NOT NULL, outcomes BIGINT NOT NULL)`

// eraseBuckets bounds the frames that one transaction of an erasure changes, in buckets of digests: appends wait for it.
const eraseBuckets = 8

// erasePasses bounds how often an erasure looks for what was appended while it looked before.
const erasePasses = 3

// spot is where an event lies in any run.
type spot struct {
	run uint64
	event.Position
}

var _ warehouse.Eraser = (*Engine)(nil)

// Erase implements warehouse.Eraser.
func (e *Engine) Erase(ctx context.Context, who warehouse.Person, by string) (warehouse.Erased, error) {
	out := warehouse.Erased{Rows: map[event.Stack]uint64{}, Outcomes: map[event.Stack]uint64{}}
	for _, stack := range event.Stacks() {
		out.Rows[stack], out.Outcomes[stack] = 0, 0
	}
	if err := who.Check(); err != nil {
		return out, fmt.Errorf("warehouse: erase: %w", err)
	}
	e.mu.Lock()
	closed := e.closed
	if !closed {
		e.running.Add(1)
	}
	e.mu.Unlock()
	if closed {
		return out, ErrClosed
	}
	defer e.running.Done()
	fail := func(err error) (warehouse.Erased, error) {
		return out, fmt.Errorf("warehouse: erase: %w", err)
	}
	seen := map[spot]bool{}
	for range erasePasses { // until nothing came meanwhile
		spots, err := e.spots(ctx, who)
		if err != nil {
			return fail(err)
		}
		for _, s := range spots {
			seen[s] = true
		}
		out.Events = len(seen)
		if e.looked != nil {
			e.looked()
		}
		buried, err := e.buryAll(ctx, seen, &out)
		if err != nil {
			return fail(err)
		}
		if !buried {
			break
		}
	}
	out.At = time.Now().UnixMicro()
	out.Salt, out.Hash = who.Salted()
	var rows, outcomes uint64
	for _, stack := range event.Stacks() {
		rows, outcomes = rows+out.Rows[stack], outcomes+out.Outcomes[stack]
	}
	err := e.alone(func(c *conn) error {
		return c.transaction(func() error {
			return c.run(`INSERT INTO erasures VALUES (make_timestamp(?), ?, ?, ?, ?, ?, ?, ?)`, out.At, who.Kind, out.Salt, out.Hash, by, out.Events, rows, outcomes)
		})
	})
	if err == nil {
		err = e.alone(func(c *conn) error { return c.exec("CHECKPOINT") }) // the log holds the old rows
	}
	if err != nil {
		return fail(err)
	}
	return out, nil
}

// buryAll makes tombstones at all spots where none are yet, and reports whether that was anything.
func (e *Engine) buryAll(ctx context.Context, seen map[spot]bool, out *warehouse.Erased) (bool, error) {
	spots := slices.SortedFunc(maps.Keys(seen), func(a, b spot) int { return a.Position.Compare(b.Position) })
	total := func() (n uint64) {
		for _, stack := range event.Stacks() {
			n += out.Rows[stack] + out.Outcomes[stack]
		}
		return n
	}
	before := total()
	for _, part := range together(spots, e.state.digestFrames()) {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		if err := e.alone(func(c *conn) error { return e.bury(c, part, out) }); err != nil {
			return false, err
		}
	}
	return total() > before, nil
}

// alone runs fn on a connection while nobody else writes.
func (e *Engine) alone(fn func(*conn) error) error {
	opened, err := func() (int, error) {
		e.folding.RLock()
		defer e.folding.RUnlock()
		e.shared.Lock()
		defer e.shared.Unlock()
		if e.db == nil {
			return e.opened, &commitError{e.failed} // have it opened again
		}
		c, err := e.db.connect()
		if err != nil {
			return e.opened, err
		}
		defer c.close()
		if err := fn(c); err != nil {
			return e.opened, err
		}
		return e.opened, e.syncNames()
	}()
	if err != nil && broken(err) {
		e.reopen(opened, err)
	}
	return err
}

// spots finds the person's events on either stack, in order. What is no JSON, or no UTF-8, counts as the person's if the
// id is anywhere in it; so does what names the id a second time (trace goes by the last), in another case, or in a list,
// none of which raw_normalized shows.
func (e *Engine) spots(ctx context.Context, who warehouse.Person) ([]spot, error) {
	id := map[string]string{warehouse.ByDevice: "deviceId", warehouse.ByUser: "userId"}[who.Kind]
	found := map[spot]bool{}
	for _, stack := range event.Stacks() {
		c, free, err := e.reader()
		if err != nil {
			return nil, err
		}
		stop := context.AfterFunc(ctx, c.interrupt)
		err = c.rows(fmt.Sprintf(`SELECT run, frame, request, item FROM %[1]s.raw_normalized WHERE "%[2]s" = $1
UNION ALL SELECT run, frame, request, item FROM (SELECT run, frame, request, item, data AS found, %[3]s AS data FROM %[1]s.raw WHERE data IS NOT NULL AND contains(data, $1)) WHERE NOT json_valid(data)
UNION ALL SELECT run, frame, request, item FROM (SELECT run, frame, request, item, %[3]s AS data FROM %[1]s.raw WHERE data IS NOT NULL AND (contains(data, $1) OR contains(data, '\u'))) AS r
  WHERE json_valid(data) AND EXISTS (SELECT 1 FROM json_each(CASE WHEN json_valid(r.data) THEN r.data END) AS j
    WHERE lower(j.key) = lower('%[2]s') AND (j.atom IS NOT NULL AND json_extract_string(j.value, '$') = $1 OR j.atom IS NULL AND contains(j.value, CAST(to_json($1) AS VARCHAR))))
UNION ALL SELECT run, frame, request, item FROM %[1]s.raw WHERE "dataBytes" IS NOT NULL AND contains(CAST("dataBytes" AS VARCHAR), CAST(CAST($2 AS BLOB) AS VARCHAR))`, stack, id, mended),
			[]any{who.ID, []byte(who.ID)}, func(r []any) error {
				found[spot{uint64(r[0].(int64)), event.Position{Frame: uint64(r[1].(int64)), Request: uint32(r[2].(int64)), Item: uint32(r[3].(int64))}}] = true
				return nil
			})
		stop()
		free()
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil {
			return nil, err
		}
	}
	var all []spot
	for s := range found {
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b spot) int { return a.Position.Compare(b.Position) })
	return all, nil
}

// together divides spots by frames, so that each part lies in few buckets.
func together(spots []spot, width uint64) [][]spot {
	var out [][]spot
	for _, s := range spots {
		if n := len(out); n == 0 || s.Frame/width-out[n-1][0].Frame/width >= eraseBuckets {
			out = append(out, nil)
		}
		out[len(out)-1] = append(out[len(out)-1], s)
	}
	return out
}

// bury makes tombstones of one part, and its digests anew, in one transaction.
func (e *Engine) bury(c *conn, part []spot, out *warehouse.Erased) error {
	width := e.state.digestFrames()
	first, end := part[0].Frame/width, part[len(part)-1].Frame/width+1
	rows, outcomes := map[event.Stack]uint64{}, map[event.Stack]uint64{}
	err := c.transaction(func() error {
		if err := c.exec("CREATE OR REPLACE TEMP TABLE buried (run BIGINT, frame BIGINT, request INTEGER, item INTEGER)"); err != nil {
			return err
		}
		for list := range slices.Chunk(part, 1000) {
			var values []string
			for _, s := range list {
				values = append(values, fmt.Sprintf("(%d, %d, %d, %d)", s.run, s.Frame, s.Request, s.Item))
			}
			if err := c.exec("INSERT INTO buried VALUES " + strings.Join(values, ", ")); err != nil {
				return err
			}
		}
		for _, stack := range event.Stacks() {
			where := func(table string) string {
				return fmt.Sprintf(`FROM buried AS b WHERE %[1]s.frame BETWEEN %[2]d AND %[3]d AND %[1]s.run = b.run AND %[1]s.frame = b.frame AND %[1]s.request = b.request AND %[1]s.item = b.item`,
					table, part[0].Frame, part[len(part)-1].Frame)
			}
			for _, x := range []struct {
				sql string
				to  map[event.Stack]uint64
			}{
				{fmt.Sprintf(`UPDATE %s.raw SET event = '', data = '', "dataBytes" = NULL, context = '%s' `, stack, erasedContext) + where("raw") + " AND " + isRow, rows},
				{fmt.Sprintf(`UPDATE %s.outcomes_log SET event = '', reason = '%s', digest = 0, sent = NULL, answer = NULL `, stack, erasedReason) + where("outcomes_log") + " AND " + isOutcome, outcomes},
			} {
				s, err := c.prepare(x.sql)
				if err != nil {
					return err
				}
				n, err := s.exec()
				s.close()
				if err != nil {
					return err
				}
				x.to[stack] = uint64(n)
			}
			if rows[stack]+outcomes[stack] == 0 {
				continue
			}
			if err := redigest(c, stack, first, end, width); err != nil {
				return err
			}
		}
		if e.buried != nil {
			return e.buried()
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, stack := range event.Stacks() {
		out.Rows[stack] += rows[stack]
		out.Outcomes[stack] += outcomes[stack]
	}
	return nil
}

// redigest makes the digests that a stack has of the buckets [first, end) anew.
func redigest(c *conn, stack event.Stack, first, end, width uint64) error {
	type closed struct {
		stage  warehouse.Stage
		bucket uint64
	}
	var have []closed
	within := fmt.Sprintf(`"first" BETWEEN %d AND %d`, first*width, end*width-1)
	err := c.rows(fmt.Sprintf(`SELECT stage, "first" FROM %s.digests WHERE %s AND marks > 0 GROUP BY ALL HAVING sum(marks) = 1`, stack, within), nil, func(r []any) error {
		have = append(have, closed{warehouse.Stage(r[0].(string)), uint64(r[1].(int64)) / width})
		return nil
	})
	if err != nil {
		return err
	}
	if err := c.exec(fmt.Sprintf("DELETE FROM %s.digests WHERE %s", stack, within)); err != nil {
		return err
	}
	buckets := map[warehouse.Stage][]uint64{}
	for _, h := range have {
		buckets[h.stage] = append(buckets[h.stage], h.bucket)
	}
	for stage, list := range buckets {
		slices.Sort(list)
		for i := 0; i < len(list); {
			j := i + 1
			for j < len(list) && list[j] == list[j-1]+1 {
				j++
			}
			if err := writeDigests(c, stack, stage, list[i], list[j-1]+1, width); err != nil {
				return err
			}
			i = j
		}
	}
	return nil
}
