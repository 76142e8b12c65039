package duckdb

import (
	"context"
	"fmt"
	"strings"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
	"github.com/sparrowhq/sparrow/warehouse/rules"
)

// digestColumns is the digests table of a stack. A bucket is a range of frames, "first" to "last". It has a line for each
// stage, event name, build and sink, counted and added up from the rows themselves; and one mark for each stage, without a
// name, that says that the bucket was closed and read: a bucket without exactly one mark has no digest.
//
// digest is of what compare compares, places of positions alone; unordered counts rows that do not lie after the row
// before them, so 0 is proof that no position is there twice; unplaced is what a bucket's items occupy, less what its
// requests announce. Corrections have no share: compare reads them as rows.
const digestColumns = `stage VARCHAR NOT NULL, "first" BIGINT NOT NULL, "last" BIGINT NOT NULL, marks INTEGER NOT NULL, event VARCHAR, build VARCHAR, sink VARCHAR, ` +
	`"rows" BIGINT NOT NULL, digest HUGEINT NOT NULL, places HUGEINT NOT NULL, unordered BIGINT NOT NULL, unplaced HUGEINT NOT NULL, ` +
	`"firstFrame" BIGINT, "lastFrame" BIGINT, ` +
	`requests BIGINT NOT NULL, owed BIGINT NOT NULL, "idSum" HUGEINT NOT NULL, "badIds" BIGINT NOT NULL, ` +
	`went BIGINT NOT NULL, rehearsed BIGINT NOT NULL, unseen BIGINT NOT NULL, retries BIGINT NOT NULL, again BIGINT NOT NULL, attempted BIGINT NOT NULL`

// digestFramesKey is the name of meta's row that tells how many frames a bucket has.
const digestFramesKey = "digestFrames"

// mostBuckets bounds how many buckets one transaction closes: a journal may begin anywhere. Older ones stay without a
// digest, which costs compare time and nothing else.
const mostBuckets = 4096

// manyBuckets are closed together however few rows they have.
const manyBuckets = 64

var _ warehouse.Digester = (*Engine)(nil)

// DigestFrames implements warehouse.Digester.
func (e *Engine) DigestFrames(context.Context) (uint64, error) { return e.state.digestFrames(), nil }

// digest closes the buckets that a cursor has left behind, once enough has come together: it reads their rows back in the
// transaction that is open. A statement costs some 10 ms whatever it reads, so one for each bucket would cost more than
// the appends themselves (docs/decisions/0019-digests.md). What is not closed yet, compare reads as rows.
func (w *writer) digest(t *transaction, m move) error {
	if m.run != 0 || rules.IsLate(m.stage) {
		return nil
	}
	w.undigested[m.key] += m.rows
	width := w.e.state.digestFrames()
	first, end := w.e.state.digested(m.key), m.to.Frame/width
	if first >= end || w.undigested[m.key] < w.e.o.DigestRows && end-first < manyBuckets {
		return nil
	}
	if end-first > mostBuckets {
		first = end - mostBuckets
	}
	if err := writeDigests(w.conn, m.stack, m.stage, first, end, width); err != nil {
		return fmt.Errorf("digests of %s, frames %d to %d: %w", m.stack, first*width, end*width-1, err)
	}
	w.undigested[m.key] = 0
	if t.closed == nil {
		t.closed = map[key]uint64{}
	}
	t.closed[m.key] = end
	return nil
}

// loadDigested returns the first bucket of each stage that is not closed yet. Of a stage that never had a digest, as in a
// file that an older build wrote, that is the one its cursor stands in: what lies before would take too long.
func loadDigested(c *conn, cursors map[key]event.Cursor, width uint64) (map[key]uint64, error) {
	out := map[key]uint64{}
	for k, at := range cursors {
		if k.run == 0 && !rules.IsLate(k.stage) {
			out[k] = at.Frame / width
		}
	}
	for _, stack := range event.Stacks() {
		err := c.rows(fmt.Sprintf(`SELECT stage, max("last") FROM %s.digests WHERE marks > 0 GROUP BY stage`, stack), nil, func(r []any) error {
			out[key{stack: stack, stage: warehouse.Stage(r[0].(string))}] = (uint64(r[1].(int64)) + 1) / width
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("digests: %w", err)
		}
	}
	return out, nil
}

// writeDigests makes the digests of a stage for the buckets [first, end), of width frames each.
func writeDigests(c *conn, stack event.Stack, stage warehouse.Stage, first, end, width uint64) error {
	// Frames are literals, since only those let DuckDB skip what lies outside. The stage's name is never part of a statement.
	marks := fmt.Sprintf(`SELECT ?, b * %d, b * %d + %d, 1, NULL, NULL, NULL, 0, 0, 0, 0, 0, NULL, NULL, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 FROM range(%d, %d) AS t(b)`, width, width, width-1, first, end)
	parts, args := []string{marks}, []any{string(stage), string(stage), string(stage)}
	if stage == warehouse.Raw {
		parts = append(parts, rawDigests(stack, first, end, width), owedDigests(stack, first, end, width))
	} else {
		parts = append(parts, outcomeDigests(stack, stage, first, end, width))
	}
	return c.run(fmt.Sprintf("INSERT INTO %s.digests ", stack)+strings.Join(parts, "\nUNION ALL\n"), args...)
}

// digestOf is a 64-bit integer of some columns. hash() folds them together by exclusive-or at the end, so its result is
// mixed once more before it is added up.
func digestOf(columns string) string { return "hash(hash(" + columns + "))" }

const (
	// unordered tells whether a row does not lie after the one before it, as they are stored.
	unordered = `CASE WHEN f IS NULL OR frame > f OR frame = f AND (request > q OR request = q AND item > i) THEN 0 ELSE 1 END`
	before    = `lag(frame) OVER () AS f, lag(request) OVER () AS q, lag(item) OVER () AS i`
)

// bucketOf are the first and last frame of a row's bucket.
func bucketOf(width uint64) string {
	return fmt.Sprintf(`frame // %d * %d AS "from", frame // %d * %d + %d AS "to"`, width, width, width, width, width-1)
}

func framesOf(first, end, width uint64) string {
	return fmt.Sprintf("run = 0 AND frame BETWEEN %d AND %d", first*width, end*width-1)
}

func rawDigests(stack event.Stack, first, end, width uint64) string {
	return fmt.Sprintf(`SELECT ?, "from", "to", 0, event, build, '', count(*), sum(digest), sum(place), sum(%s), sum(CASE WHEN listed THEN place ELSE 0 END), `+
		`min(frame), max(frame), sum(CASE WHEN item = 0 THEN 1 ELSE 0 END), sum(CASE WHEN item = 0 THEN greatest(items, 1) ELSE 0 END), coalesce(sum(tail), 0), sum(CASE WHEN item = 0 AND tail IS NULL THEN 1 ELSE 0 END), 0, 0, 0, 0, 0, 0
FROM (
  SELECT %s, event, build, frame, request, item, "itemsInRequest" AS items, NOT (item = 0 AND "itemsInRequest" <= 1) AS listed,
    %s AS digest, %s AS place, %s,
    CASE WHEN item = 0 THEN %s("eventId") END AS tail
  FROM %s.raw WHERE %s
) GROUP BY "from", "to", event, build`,
		unordered, bucketOf(width), digestOf(`frame, request, item, "eventId", "timestamp", event, data, "dataBytes", "itemsInRequest", context`),
		digestOf("frame, request, item"), before, idTail, stack, framesOf(first, end, width))
}

// owedDigests takes away the places that lists announce. One that claims more items than any body has is not believed,
// since a line's work must be bounded: its bucket then does not add up, and compare looks at the rows.
func owedDigests(stack event.Stack, first, end, width uint64) string {
	return fmt.Sprintf(`SELECT ?, "from", "to", 0, NULL, NULL, NULL, 0, 0, 0, 0, -sum(place), NULL, NULL, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
FROM (
  SELECT "from", "to", %s AS place FROM (
    SELECT %s, frame, request, CAST(unnest(range(least("itemsInRequest", 65536))) AS INTEGER) AS owed FROM %s.raw WHERE %s AND item = 0 AND "itemsInRequest" > 1
  )
) GROUP BY "from", "to"`,
		digestOf("frame, request, owed"), bucketOf(width), stack, framesOf(first, end, width))
}

func outcomeDigests(stack event.Stack, stage warehouse.Stage, first, end, width uint64) string {
	place := "0" // only trace has to have the places of raw
	if stage == warehouse.Trace {
		place = digestOf("frame, request, item")
	}
	quote := func(reasons ...string) string { return "reason IN ('" + strings.Join(reasons, "', '") + "')" }
	excused := quote(warehouse.ReasonDryRun, warehouse.ReasonNotSampled)
	return fmt.Sprintf(`SELECT ?, "from", "to", 0, event, build, sink, count(*), sum(mark), sum(place), sum(%s), 0, `+
		`min(frame), max(frame), 0, 0, 0, 0, `+
		`sum(CASE WHEN digest <> 0 THEN 1 ELSE 0 END), sum(CASE WHEN excused AND digest <> 0 THEN 1 ELSE 0 END), sum(CASE WHEN excused AND digest = 0 THEN 1 ELSE 0 END), `+
		`sum(CASE WHEN attempts > 1 THEN attempts - 1 ELSE 0 END), sum(CASE WHEN again THEN 1 ELSE 0 END), sum(CASE WHEN attempts > 0 THEN 1 ELSE 0 END)
FROM (
  SELECT %s, event, build, sink, frame, request, item, digest, attempts, reason <> '' AND %s AS excused, reason <> '' AND %s AS again,
    %s AS mark, %s AS place, %s
  FROM %s.outcomes_log WHERE revision = 0 AND stage = ? AND %s
) GROUP BY "from", "to", event, build, sink`,
		unordered, bucketOf(width), excused, quote(warehouse.ReasonAgain),
		digestOf(`frame, request, item, event, outcome, CASE WHEN reason = '' OR `+quote(warehouse.ReasonDryRun, warehouse.ReasonNotSampled, warehouse.ReasonAgain)+` THEN '' ELSE split_part(reason, ':', 1) END, digest`),
		place, before, stack, framesOf(first, end, width))
}
