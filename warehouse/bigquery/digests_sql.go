package bigquery

import (
	"fmt"
	"strings"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// digestsOf is the table of a stack's digests, DuckDB's of the same name with the same columns and one more. A bucket is a range of
// frames, first to last. It has a line for each stage, event name, build and sink, counted and added up from the rows
// themselves; and one mark for each stage, without a name, which comes in the same statement. A bucket without exactly
// one mark has no digest.
func digestsOf(stack event.Stack) table {
	return table{dataset: string(stack), name: "digests", cluster: []string{"stage", quote("first")}, columns: []column{
		{"stage", "STRING"}, {"first", "INT64"}, {"last", "INT64"}, {"marks", "INT64"}, {"event", "STRING"}, {"build", "STRING"}, {"sink", "STRING"},
		{"rows", "INT64"}, {"digest", "BIGNUMERIC"}, {"places", "BIGNUMERIC"}, {"unordered", "INT64"}, {"unplaced", "BIGNUMERIC"},
		{"firstFrame", "INT64"}, {"lastFrame", "INT64"},
		{"requests", "INT64"}, {"owed", "INT64"}, {"idSum", "BIGNUMERIC"}, {"badIds", "INT64"},
		{"went", "INT64"}, {"rehearsed", "INT64"}, {"unseen", "INT64"}, {"retries", "INT64"}, {"again", "INT64"}, {"attempted", "INT64"},
		{"lastAt", "INT64"}, // of raw alone, and not in DuckDB's: the latest timestamp, in microseconds
	}}
}

// digestOf is an integer from 0 to 2^64 − 1 of some columns. A tuple has fields without names, and NULL is null there.
func digestOf(columns string) string {
	return "(CAST(FARM_FINGERPRINT(TO_JSON_STRING((" + columns + "))) AS BIGNUMERIC) + CAST('9223372036854775808' AS BIGNUMERIC))"
}

// spans is a view of what lies where: for each append and bucket of frames, in which days. A comparison reads no others.
// first is NULL where an older build wrote rows, of which nothing is known but that they lie no further than last.
func (n names) spans() string {
	return "SELECT stack, run, cursorStage AS stage, cursorFirst AS `first`, CASE WHEN request > 0 OR item > 0 OR frame = 0 THEN frame ELSE frame - 1 END AS `last`, cursorRows AS `rows`, cursorFrom AS `from`, cursorTo AS `to`, cursorOdd AS odd\nFROM (\n" +
		n.marks("run, frame, request, item, cursorStage, cursorRows, cursorFirst, cursorFrom, cursorTo, cursorOdd", rawLog, outcomesLog) +
		"\n) AS m\nWHERE cursorRows > 0"
}

// marked selects the stages and buckets that have a mark, within a range of frames.
func (n names) marked(stack event.Stack) string {
	return "SELECT DISTINCT stage, `first` FROM " + n.table(digestsOf(stack)) + " WHERE marks > 0 AND `first` >= ? AND `last` <= ?"
}

// told adds up the marks of a log from a frame on: by stage and bucket its rows, their first and last time, and how many
// have none; without a bucket, up to which frame marks of an older build reach.
func (n names) told(stack event.Stack, l log, width uint64) string {
	return fmt.Sprintf("SELECT cursorStage AS stage, DIV(cursorFirst, %d) AS bucket, CAST(SUM(cursorRows) AS INT64) AS n, MIN(cursorFrom) AS firstTime, MAX(cursorTo) AS lastTime, CAST(COALESCE(SUM(cursorOdd), 0) AS INT64) AS odd, MAX(frame) AS reach\nFROM %s\n"+
		"WHERE `timestamp` IS NULL AND cursorStage IS NOT NULL AND run = 0 AND cursorRows > 0 AND frame >= ?\nGROUP BY cursorStage, bucket", width, n.in(string(stack), string(l)))
}

// bucketRows selects the rows of a run of buckets: by frame, and by time, so that BigQuery reads no other days. Marks have
// no time.
func bucketRows(group []shelf, width uint64) string {
	s := shelf{from: lastTime, to: firstTime}
	for _, x := range group {
		s.from, s.to, s.odd = min(s.from, x.from), max(s.to, x.to), s.odd || x.odd
	}
	var times []string
	if s.from <= s.to {
		times = append(times, fmt.Sprintf("`timestamp` BETWEEN TIMESTAMP_MICROS(%d) AND TIMESTAMP_MICROS(%d)", s.from, s.to))
	}
	if s.odd {
		times = append(times, "`timestamp` IS NULL AND micros IS NOT NULL")
	}
	time := "FALSE"
	switch len(times) {
	case 1:
		time = times[0]
	case 2:
		time = "(" + strings.Join(times, " OR ") + ")"
	}
	return fmt.Sprintf("%s AND run = 0 AND frame BETWEEN %d AND %d", time, group[0].number*width, group[len(group)-1].number*width+width-1)
}

// stagesOf are the stages of a run of buckets, as texts.
func stagesOf(group []shelf) string {
	var out []string
	for _, stage := range group[0].stages() {
		out = append(out, text(string(stage)))
	}
	return strings.Join(out, ", ")
}

// of is a row's stage in a log, and the condition that it is one of the group's.
func of(l log, group []shelf) (stage, condition string) {
	if l == rawLog {
		return text(string(warehouse.Raw)), ""
	}
	return "stage", " AND stage IN (" + stagesOf(group) + ")"
}

// seen counts the rows of a run of buckets that have any.
func (n names) seen(stack event.Stack, l log, group []shelf, width uint64) string {
	stage, condition := of(l, group)
	return fmt.Sprintf("SELECT %s AS stage, DIV(frame, %d) AS bucket, COUNT(*) AS n\nFROM %s\nWHERE %s%s\nGROUP BY stage, bucket", stage, width, n.in(string(stack), string(l)), bucketRows(group, width), condition)
}

// makeDigests stores the digests of a run of buckets: their lines, from one reading of the rows, and their marks.
func (n names) makeDigests(stack event.Stack, l log, group []shelf, width uint64) string {
	var columns []string
	for _, c := range digestsOf(stack).columns {
		columns = append(columns, quote(c.name))
	}
	lines := outcomeLines()
	if l == rawLog {
		lines = rawLines
	}
	_, condition := of(l, group)
	lines = strings.NewReplacer("{0}", zero, "{width}", fmt.Sprint(width), "{last}", fmt.Sprint(width-1),
		"{from}", n.in(string(stack), string(l)), "{where}", bucketRows(group, width)+condition).Replace(lines)
	return fmt.Sprintf("INSERT INTO %s (%s)\n%s\nUNION ALL\n"+
		"SELECT s, b * %d, b * %d + %d, 1, CAST(NULL AS STRING), CAST(NULL AS STRING), CAST(NULL AS STRING), 0, "+zero+", "+zero+", 0, "+zero+", CAST(NULL AS INT64), CAST(NULL AS INT64), 0, 0, "+zero+", 0, 0, 0, 0, 0, 0, 0, CAST(NULL AS INT64)\nFROM UNNEST(GENERATE_ARRAY(%d, %d)) AS b, UNNEST([%s]) AS s",
		n.table(digestsOf(stack)), strings.Join(columns, ", "), lines,
		width, width, width-1, group[0].number, group[len(group)-1].number, stagesOf(group))
}

const zero = "CAST(0 AS BIGNUMERIC)"

// A line's unordered counts the rows whose position is there already; nothing else can, since BigQuery stores rows in no
// order. unplaced is what items occupy, less what their requests announce; one that announces more than any body has is
// not believed, so that a line's work is bounded: its bucket does not add up then, and compare looks at the rows.
var rawLines = `SELECT 'raw', bucket * {width}, bucket * {width} + {last}, 0, event, build, '', COUNT(*), SUM(digest), SUM(place), COUNTIF(copy > 1), SUM(unplaced),
  MIN(frame), MAX(frame), COUNTIF(item = 0), SUM(CASE WHEN item = 0 THEN GREATEST(items, 1) ELSE 0 END), COALESCE(SUM(tail), {0}), COUNTIF(item = 0 AND tail IS NULL), 0, 0, 0, 0, 0, 0, MAX(received)
FROM (
  SELECT bucket, event, build, frame, item, items, digest, place, copy, tail, received,
    CASE WHEN item = 0 AND items <= 1 THEN {0} ELSE place END
      - CASE WHEN item = 0 AND items > 1 THEN (SELECT SUM(` + digestOf("frame, request, o") + `) FROM UNNEST(GENERATE_ARRAY(0, LEAST(items, 65536) - 1)) AS o) ELSE {0} END AS unplaced
  FROM (
    SELECT DIV(frame, {width}) AS bucket, COALESCE(event, '') AS event, COALESCE(build, '') AS build, frame, request, item, itemsInRequest AS items, ` + "COALESCE(UNIX_MICROS(`timestamp`), micros)" + ` AS received,
      ` + digestOf("frame, request, item, eventId, `timestamp`, micros, event, data, dataBytes, itemsInRequest, context") + ` AS digest,
      ` + digestOf("frame, request, item") + ` AS place, ROW_NUMBER() OVER (PARTITION BY frame, request, item ORDER BY run) AS copy,
      CASE WHEN item = 0 THEN CAST(SAFE_CAST('0x' || SUBSTR(eventId, 21, 3) || SUBSTR(eventId, 25, 12) AS INT64) AS BIGNUMERIC) END AS tail
    FROM {from}
    WHERE {where}
  ) AS r
) AS s
GROUP BY bucket, event, build`

func outcomeLines() string {
	reasons := func(list ...string) string {
		for i := range list {
			list[i] = text(list[i])
		}
		return "reason IN (" + strings.Join(list, ", ") + ")"
	}
	why := "CASE WHEN reason = '' OR " + reasons(warehouse.ReasonDryRun, warehouse.ReasonNotSampled, warehouse.ReasonAgain) + " THEN '' ELSE REGEXP_EXTRACT(reason, '^[^:]*') END"
	return `SELECT stage, bucket * {width}, bucket * {width} + {last}, 0, event, build, sink, COUNT(*), SUM(mark), SUM(place), COUNTIF(copy > 1), {0},
  MIN(frame), MAX(frame), 0, 0, {0}, 0, COUNTIF(digest <> 0), COUNTIF(excused AND digest <> 0), COUNTIF(excused AND digest = 0),
  SUM(CASE WHEN attempts > 1 THEN attempts - 1 ELSE 0 END), COUNTIF(again), COUNTIF(attempts > 0), CAST(NULL AS INT64)
FROM (
  SELECT stage, DIV(frame, {width}) AS bucket, event, build, sink, frame, digest, attempts,
    ` + reasons(warehouse.ReasonDryRun, warehouse.ReasonNotSampled) + ` AS excused, ` + reasons(warehouse.ReasonAgain) + ` AS again,
    ` + digestOf("frame, request, item, event, outcome, "+why+", digest") + ` AS mark, ` + digestOf("frame, request, item") + ` AS place,
    ROW_NUMBER() OVER (PARTITION BY stage, frame, request, item ORDER BY run) AS copy
  FROM {from}
  WHERE {where} AND revision = 0
) AS r
GROUP BY stage, bucket, event, build, sink`
}
