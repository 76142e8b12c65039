package compare

import (
	"fmt"
	"strconv"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// The statements of this file answer from digests what their namesakes in sql.go and outcomes_sql.go answer from rows, in
// the same columns.

func (d dialect) digestBucket(p part) string {
	return d.divide(fmt.Sprintf(`("first" - %d)`, p.origin), strconv.FormatUint(p.width, 10))
}

// fromDigests selects the digests of a part that are made of nothing but its frames.
func (d dialect) fromDigests(stack event.Stack, p part, stages ...warehouse.Stage) string {
	s := "FROM " + d.digests(stack) + ` WHERE stage IN (` + quotedList(stages) + fmt.Sprintf(`) AND "first" >= %d AND "last" <= %d`, p.first, p.last)
	if len(p.buckets) > 0 {
		s += " AND " + d.digestBucket(p) + " IN (" + list(p.buckets) + ")"
	}
	return s
}

// marks counts the buckets that were closed and read, by stage.
func (d dialect) marks(stack event.Stack, p part) string {
	return `SELECT stage, bucket, SUM(marks) AS n
FROM (
  SELECT stage, "first", ` + d.digestBucket(p) + ` AS bucket, CASE WHEN SUM(marks) = 1 THEN 1 ELSE 0 END AS marks
  FROM ` + d.digests(stack) + fmt.Sprintf(` WHERE marks > 0 AND "first" >= %d AND "last" <= %d`, p.first, p.last) + `
  GROUP BY stage, "first"
) AS r
GROUP BY stage, bucket`
}

func (d dialect) digestProfile(stack event.Stack, p part, ids bool) string {
	sums := ""
	if ids {
		sums = `, SUM("idSum") AS idSum, SUM("badIds") AS badIds`
	}
	return `SELECT ` + d.digestBucket(p) + ` AS bucket, SUM("rows") AS n, SUM(digest) AS digest, SUM(requests) AS requests, SUM(owed) AS owed` + sums + `
` + d.fromDigests(stack, p, warehouse.Raw) + ` AND event IS NOT NULL
GROUP BY bucket`
}

func (d dialect) digestNames(stack event.Stack, p part) string {
	return `SELECT event AS name, SUM("rows") AS n
` + d.fromDigests(stack, p, warehouse.Raw) + ` AND event IS NOT NULL
GROUP BY name`
}

func (d dialect) digestBuilds(stack event.Stack, p part) string {
	return `SELECT build AS id, SUM("rows") AS n, MIN("firstFrame") AS firstFrame, MAX("lastFrame") AS lastFrame
` + d.fromDigests(stack, p, warehouse.Raw) + ` AND event IS NOT NULL
GROUP BY id
ORDER BY firstFrame, id`
}

// digestPlaces also returns the buckets in which rows do not follow each other, as they do not where one is doubled.
func (d dialect) digestPlaces(stack event.Stack, p part) string {
	return `SELECT ` + d.digestBucket(p) + ` AS bucket
` + d.fromDigests(stack, p, warehouse.Raw) + `
GROUP BY bucket
HAVING SUM(unplaced) <> 0 OR SUM(unordered) <> 0
ORDER BY bucket`
}

func (d dialect) digestOutcomeProfile(stack event.Stack, stages []warehouse.Stage, p part) string {
	return `SELECT stage, ` + d.digestBucket(p) + ` AS bucket, SUM("rows") AS n, SUM(digest) AS mark
` + d.fromDigests(stack, p, stages...) + ` AND event IS NOT NULL
GROUP BY stage, bucket`
}

func (d dialect) digestOutcomeNames(stack event.Stack, sink string, stages []warehouse.Stage, p part) string {
	return `SELECT stage, event AS name, build AS id, SUM("rows") AS n, MIN("firstFrame") AS firstFrame, MAX("lastFrame") AS lastFrame,
  SUM(went) AS went, SUM(rehearsed) AS rehearsed, SUM(unseen) AS unseen, SUM(retries) AS retries, SUM(again) AS again,
  SUM(CASE WHEN sink = ` + quoted(sink) + ` THEN 0 WHEN sink <> '' THEN "rows" ELSE attempted END) AS misrouted
` + d.fromDigests(stack, p, stages...) + ` AND event IS NOT NULL
GROUP BY stage, name, id`
}

// digestRepeated returns the buckets in which outcomes do not follow each other, as they do not where one is repeated.
func (d dialect) digestRepeated(stack event.Stack, stage warehouse.Stage, p part) string {
	return `SELECT ` + d.digestBucket(p) + ` AS bucket
` + d.fromDigests(stack, p, stage) + `
GROUP BY bucket
HAVING SUM(unordered) <> 0`
}

func (d dialect) digestUnanswered(stack event.Stack, p part) string {
	return `SELECT ` + d.digestBucket(p) + ` AS bucket
` + d.fromDigests(stack, p, warehouse.Raw, warehouse.Trace) + `
GROUP BY bucket
HAVING SUM(CASE WHEN stage = ` + quoted(string(warehouse.Raw)) + ` THEN places ELSE -places END) <> 0
ORDER BY bucket`
}

// count counts a side's rows.
func (d dialect) count(stack event.Stack, p part) string {
	return "SELECT COUNT(*) AS n FROM " + d.table(stack) + " WHERE " + d.where(p)
}

// outcomeCount counts a side's first outcomes of stages.
func (d dialect) outcomeCount(stack event.Stack, stages []warehouse.Stage, p part) string {
	return "SELECT COUNT(*) AS n " + d.from(stack, false, stages, p)
}

// digestCount is what digests have counted of them.
func (d dialect) digestCount(stack event.Stack, stages []warehouse.Stage, p part) string {
	return `SELECT COALESCE(SUM("rows"), 0) AS n
` + d.fromDigests(stack, p, stages...)
}

// digestUnexercised is unexercised for what was received before an instant, of buckets that lie outside the window.
func (d dialect) digestUnexercised(live, candidate event.Stack, w Window, since, before int64) string {
	side := func(s event.Stack) string {
		return `SELECT event, "rows" AS n, "lastAt" AS seen FROM ` + d.digests(s) + `
  WHERE stage = ` + quoted(string(warehouse.Raw)) + fmt.Sprintf(` AND event IS NOT NULL AND "lastAt" >= %d AND "lastAt" < %d AND ("last" < %d OR "first" > %d)`, since, before, w.First, w.Last)
	}
	return `SELECT event, SUM(n) AS events, MAX(seen) AS lastSeen
FROM (
  ` + side(live) + `
  UNION ALL
  ` + side(candidate) + `
) AS r
GROUP BY event`
}
