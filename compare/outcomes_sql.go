package compare

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// quoted is a text as a literal of every dialect here.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

func quotedList(stages []warehouse.Stage) string {
	out := make([]string, len(stages))
	for i, s := range stages {
		out[i] = quoted(string(s))
	}
	return strings.Join(out, ", ")
}

// is tells whether a row's reason is one of reasons.
func is(reasons ...string) string {
	for i, r := range reasons {
		reasons[i] = quoted(r)
	}
	return "reason IN (" + strings.Join(reasons, ", ") + ")"
}

// what is how an outcome is told from another: by name, outcome, and why, up to the first colon and without what only
// says how it came about. Sink, status, attempts and latency are not part of it; the digest is compared apart.
func (d dialect) what() string {
	return `event, outcome, CASE WHEN reason = '' OR ` + is(dryRun, notSampled, sentAgain) + ` THEN '' ELSE ` + d.before("reason", ":") + ` END`
}

// from selects a part's outcomes: the latest, or, where none was corrected, the first, which are the same then and take a
// fifth of the time to read.
func (d dialect) from(stack event.Stack, corrected bool, stages []warehouse.Stage, p part) string {
	which := "stage IN (" + quotedList(stages) + ") AND " + d.where(p)
	if corrected {
		return "FROM " + d.outcomes(stack) + " WHERE " + which
	}
	return "FROM " + d.log(stack) + " WHERE revision = 0 AND " + which
}

// late returns the buckets of each stage in which outcomes were corrected.
func (d dialect) late(stack event.Stack, stages []warehouse.Stage, p part) string {
	return `SELECT DISTINCT stage, ` + d.bucket(p) + ` AS bucket
FROM ` + d.corrections(stack) + ` WHERE revision > 0 AND stage IN (` + quotedList(stages) + `) AND ` + d.where(p)
}

// cursors returns how far each stage of the traffic itself is stored.
func (d dialect) cursors() string {
	return `SELECT stack, stage, frame, request
FROM ` + d.cursorTable + `
WHERE run = 0
ORDER BY stack, stage`
}

// outcomeProfile sums a side's first outcomes up by stage and bucket.
func (d dialect) outcomeProfile(stack event.Stack, stages []warehouse.Stage, p part) string {
	return `SELECT stage, bucket, COUNT(*) AS n, SUM(mark) AS mark
FROM (
  SELECT stage, ` + d.bucket(p) + ` AS bucket,
    ` + d.wide(d.digest("frame, request, item, "+d.what()+", digest")) + ` AS mark
  ` + d.from(stack, false, stages, p) + `
) AS r
GROUP BY stage, bucket`
}

// outcomeNames counts a side's outcomes by stage, event name and build, with what is told of them beside.
func (d dialect) outcomeNames(stack event.Stack, corrected bool, sink string, stages []warehouse.Stage, p part) string {
	sum := func(condition string) string { return "SUM(CASE WHEN " + condition + " THEN 1 ELSE 0 END)" }
	return `SELECT stage, event AS name, build AS id, COUNT(*) AS n, MIN(frame) AS firstFrame, MAX(frame) AS lastFrame,
  ` + sum("digest <> 0") + ` AS went, ` + sum(is(dryRun, notSampled)+" AND digest <> 0") + ` AS rehearsed, ` + sum(is(dryRun, notSampled)+" AND digest = 0") + ` AS unseen,
  SUM(CASE WHEN attempts > 1 THEN attempts - 1 ELSE 0 END) AS retries, ` + sum(is(sentAgain)) + ` AS again, ` + sum(d.misrouted(sink)) + ` AS misrouted
` + d.from(stack, corrected, stages, p) + `
GROUP BY stage, name, id`
}

// misrouted tells whether a row says that something passed the transport under another credential than sink's.
func (d dialect) misrouted(sink string) string {
	return "sink <> " + quoted(sink) + " AND (sink <> '' OR attempts > 0)"
}

// strays returns the first misrouted outcomes and those sent again, by stage and event name.
func (d dialect) strays(stack event.Stack, corrected bool, sink string, stages []warehouse.Stage, p part, examples int) string {
	side := func(kind int, condition string) string {
		return `    SELECT ` + strconv.Itoa(kind) + ` AS kind, stage, event AS name, frame, request, item, sink
    ` + d.from(stack, corrected, stages, p) + ` AND ` + condition
	}
	return `SELECT kind, stage, name, frame, request, item, sink
FROM (
  SELECT kind, stage, name, frame, request, item, sink,
    ROW_NUMBER() OVER (PARTITION BY kind, stage, name ORDER BY frame, request, item) AS place
  FROM (
` + side(strayMisrouted, d.misrouted(sink)) + `
    UNION ALL
` + side(strayAgain, is(sentAgain)) + `
  ) AS r
) AS s
WHERE place <= ` + strconv.Itoa(examples) + `
ORDER BY kind, stage, name, frame, request, item`
}

// Codes of kinds in the answers of strays.
const (
	strayMisrouted = 1
	strayAgain     = 2
)

// repeated returns the buckets in which a side has more than one first outcome of an event at a stage.
func (d dialect) repeated(stack event.Stack, stage warehouse.Stage, p part) string {
	return `SELECT DISTINCT ` + d.bucket(p) + ` AS bucket
FROM (
  SELECT frame
  ` + d.from(stack, false, []warehouse.Stage{stage}, p) + `
  GROUP BY frame, request, item
  HAVING COUNT(*) > 1
) AS r`
}

// disorder counts the first outcomes of a stage that do not lie after the one before them, as they are stored. Zero is
// proof that no event has two, and takes less than a tenth of the time that gathering the places does (tried).
func (d dialect) disorder(stack event.Stack, stage warehouse.Stage, p part) string {
	return `SELECT COUNT(*) AS n
FROM (
  SELECT frame, request, item, LAG(frame) OVER () AS f, LAG(request) OVER () AS q, LAG(item) OVER () AS i
  ` + d.from(stack, false, []warehouse.Stage{stage}, p) + `
) AS r
WHERE NOT (f IS NULL OR frame > f OR frame = f AND (request > q OR request = q AND item > i))`
}

// unanswered returns the buckets in which trace does not have exactly the places that raw has, by comparing digests.
func (d dialect) unanswered(stack event.Stack, p part) string {
	place := d.wide(d.digest("frame, request, item"))
	return `SELECT bucket
FROM (
  SELECT ` + d.bucket(p) + ` AS bucket, ` + place + ` AS stored, ` + d.wide("0") + ` AS answered
  FROM ` + d.table(stack) + `
  WHERE ` + d.where(p) + `
  UNION ALL
  SELECT ` + d.bucket(p) + `, ` + d.wide("0") + `, ` + place + `
  ` + d.from(stack, false, []warehouse.Stage{warehouse.Trace}, p) + `
) AS r
GROUP BY bucket
HAVING SUM(stored) <> SUM(answered)
ORDER BY bucket`
}

// upstream returns the positions of a part that the stage before lets through to stage.
func (d dialect) upstream(e edge, stage warehouse.Stage, p part) string {
	if stage == warehouse.Trace {
		return "SELECT DISTINCT frame, request, item FROM " + d.table(e.stack) + " WHERE " + d.where(p)
	}
	return "SELECT DISTINCT frame, request, item " + d.from(e.stack, e.traceCorrected, []warehouse.Stage{warehouse.Trace}, p) + " AND outcome = 'accepted'"
}

// outcomeFaults joins both sides' outcomes of one stage by position and returns every way in which they differ, in the
// form of faults. An outcome that says it was not sent, on dry run or by sampling, need not have a digest; where both
// have one, it has to be the same. At stage trace every raw row below a side's cursor has to have an outcome: where
// neither side has one, it was skipped, which is told as lost. Examples with what was sent on both sides come first.
func (d dialect) outcomeFaults(live, candidate edge, stage warehouse.Stage, p part, examples int) string {
	one := []warehouse.Stage{stage}
	side := func(e edge, l, c string) string {
		return `    SELECT frame, request, item, ` + l + ` AS l, ` + c + ` AS c, ` + d.wide(d.digest(d.what())) + ` AS what, ` + d.wide("digest") + ` AS digest,
      CASE WHEN digest <> 0 THEN 1 ELSE 0 END AS went, CASE WHEN ` + is(dryRun, notSampled) + ` THEN 1 ELSE 0 END AS excused,
      CASE WHEN sent IS NOT NULL THEN 1 ELSE 0 END AS kept, event AS name
    ` + d.from(e.stack, e.corrected, one, p)
	}
	owed := func(e edge) string {
		return `
    UNION ALL
    SELECT frame, request, item, 0, 0, ` + d.wide("0") + `, ` + d.wide("0") + `, 0, 0, 0, COALESCE(event, '')
    FROM ` + d.table(e.stack) + ` WHERE ` + d.where(p) + fmt.Sprintf(" AND (frame < %d OR frame = %d AND request < %d)", e.cursor.Frame, e.cursor.Frame, e.cursor.Request)
	}
	places := ""
	if stage == warehouse.Trace {
		places = owed(live) + owed(candidate)
	}
	through := func(alias string, e edge) string {
		return `
  LEFT JOIN (` + d.upstream(e, stage, p) + `) AS ` + alias + ` ON ` + alias + `.frame = x.frame AND ` + alias + `.request = x.request AND ` + alias + `.item = x.item`
	}
	// Where a hole means only a sample, a position needs its id's tail, which raw has: an outcome carries no id.
	odd, tailed := "odd", ""
	if live.samples() || candidate.samples() {
		tails := func(e edge) string {
			return "SELECT frame, request, " + d.wide(d.tail(`"eventId"`)) + " AS tail FROM " + d.table(e.stack) + " WHERE " + d.where(p) + " AND item = 0"
		}
		odd, tailed = "tailed", `), tails AS (
  SELECT frame, request, MIN(tail) AS tail FROM (`+tails(live)+` UNION ALL `+tails(candidate)+`) AS r GROUP BY frame, request
), tailed AS (
  SELECT odd.*, tails.tail FROM odd LEFT JOIN tails ON tails.frame = odd.frame AND tails.request = odd.request
`
	}
	return `WITH positions AS (
  SELECT frame, request, item, SUM(l) AS l, SUM(c) AS c,
    SUM(CASE WHEN l = 1 THEN what END) * SUM(c) <> SUM(CASE WHEN c = 1 THEN what END) * SUM(l) OR CASE
      WHEN SUM(l * went) > 0 AND SUM(c * went) > 0 THEN SUM(l * digest) * SUM(c * went) <> SUM(c * digest) * SUM(l * went)
      WHEN SUM(l * went) > 0 THEN SUM(c * excused) = 0
      WHEN SUM(c * went) > 0 THEN SUM(l * excused) = 0
      ELSE FALSE END AS differs,
    LEAST(SUM(l * kept), SUM(c * kept)) AS kept,
    MIN(CASE WHEN l = 1 THEN name END) AS liveName, MIN(CASE WHEN c = 1 THEN name END) AS candidateName, MIN(name) AS rawName
  FROM (
` + side(live, "1", "0") + `
    UNION ALL
` + side(candidate, "0", "1") + places + `
  ) AS r
  GROUP BY frame, request, item
), odd AS (
  SELECT * FROM positions WHERE l <> 1 OR c <> 1 OR differs
` + tailed + `), explained AS (
  SELECT ` + odd + `.*, ` + d.cause(candidate, "hc") + ` AS candidateCause, ` + d.cause(live, "hl") + ` AS liveCause
  FROM ` + odd + d.holes(candidate, "hc") + d.holes(live, "hl") + `
), placed AS (
  SELECT x.*, CASE
    WHEN c = 0 AND l > 0 THEN CASE WHEN candidateCause = 0 AND uc.frame IS NULL AND ul.frame IS NOT NULL THEN 5 ELSE candidateCause END
    WHEN l = 0 AND c > 0 THEN CASE WHEN liveCause = 0 AND ul.frame IS NULL AND uc.frame IS NOT NULL THEN 5 ELSE liveCause END
    ELSE 0 END AS cause
  FROM explained AS x` + through("uc", candidate) + through("ul", live) + `
), faults AS (
  SELECT k.kind, frame, request, item, CASE WHEN k.kind IN (1, 2) THEN cause ELSE 0 END AS cause, kept,
    CASE WHEN k.kind IN (2, 5, 7) THEN candidateName WHEN k.kind = 8 THEN rawName ELSE liveName END AS event,
    CASE k.kind WHEN 6 THEN l - 1 WHEN 7 THEN c - 1 ELSE 1 END AS amount
  FROM placed
  CROSS JOIN ` + d.values("k", []string{"kind"}, [][]uint64{{1}, {2}, {3}, {4}, {5}, {6}, {7}, {8}}) + `
  WHERE CASE k.kind
    WHEN 1 THEN l > 0 AND c = 0
    WHEN 2 THEN l = 0 AND c > 0
    WHEN 3 THEN l > 0 AND c > 0 AND differs
    WHEN 4 THEN l > 0 AND c > 0 AND differs AND liveName <> candidateName
    WHEN 5 THEN l > 0 AND c > 0 AND differs AND liveName <> candidateName
    WHEN 6 THEN l > 1
    WHEN 7 THEN c > 1
    ELSE l = 0 AND c = 0 END
)
SELECT kind, cause, event, frame, request, item, amount, total, firsts
FROM (
  SELECT kind, cause, event, frame, request, item, amount,
    SUM(amount) OVER (PARTITION BY kind, cause, event) AS total, 0 AS firsts,
    ROW_NUMBER() OVER (PARTITION BY kind, cause, event ORDER BY CASE WHEN kept > 0 THEN 0 ELSE 1 END, frame, request, item) AS place
  FROM faults
) AS f
WHERE place <= ` + strconv.Itoa(examples) + `
ORDER BY kind, cause, event, place`
}

// outcomeDetails returns a side's outcomes of one stage at given positions: a digest per column, and what was sent where
// it was kept and is text of at most maxData bytes.
func (d dialect) outcomeDetails(stack event.Stack, stage warehouse.Stage, positions [][]uint64, maxData int) string {
	first, last := frames(positions)
	return `SELECT o.frame, o.request, o.item, o.event, o.outcome, o.reason, o.digest,
  CASE WHEN ` + d.bytes("o.sent") + ` <= ` + strconv.Itoa(maxData) + ` THEN o.sent END AS sent
FROM ` + d.outcomes(stack) + ` AS o
JOIN ` + d.values("w", []string{"frame", "request", "item"}, positions) + ` ON o.frame = w.frame AND o.request = w.request AND o.item = w.item
WHERE o.run = 0 AND o.stage = ` + quoted(string(stage)) + ` AND o.frame BETWEEN ` + fmt.Sprintf("%d AND %d", first, last) + `
ORDER BY o.frame, o.request, o.item`
}
