package compare

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/sparrowhq/sparrow/event"
)

// content is what two rows of one position must have in common. The build is not part of it, and run is 0 throughout.
const content = `frame, request, item, "eventId", "timestamp", event, data, "dataBytes", "itemsInRequest", context`

// part is a piece of the window: whole buckets of width frames, counted from the window's first frame.
type part struct {
	first, last uint64   // frames, both included
	origin      uint64   // the window's first frame
	width       uint64   // frames per bucket
	buckets     []uint64 // of [first, last]; empty: all of them
}

func (d dialect) bucket(p part) string {
	return d.divide(fmt.Sprintf("(frame - %d)", p.origin), strconv.FormatUint(p.width, 10))
}

// where selects the part's rows.
func (d dialect) where(p part) string {
	s := fmt.Sprintf("run = 0 AND frame BETWEEN %d AND %d", p.first, p.last)
	if len(p.buckets) > 0 {
		s += " AND " + d.bucket(p) + " IN (" + list(p.buckets) + ")"
	}
	return s
}

func list(numbers []uint64) string {
	out := make([]string, len(numbers))
	for i, n := range numbers {
		out[i] = strconv.FormatUint(n, 10)
	}
	return strings.Join(out, ", ")
}

// profile sums a side up by bucket: rows, their digests, requests (rows with item 0, a doubled one as often as it is
// there), and owed, the number of rows that those requests announce. With ids it adds up the tails of the requests' ids,
// too: where both sides are known to be alike and nothing is doubled, that is the sum of each side and of both together.
func (d dialect) profile(stack event.Stack, p part, ids bool) string {
	sums, tail := "", ""
	if ids {
		sums = ",\n  COALESCE(SUM(tail), 0) AS idSum, SUM(first) - COUNT(tail) AS badIds"
		tail = ",\n    CASE WHEN item = 0 THEN " + d.wide(d.tail(`"eventId"`)) + " END AS tail"
	}
	return `SELECT bucket, COUNT(*) AS n, SUM(digest) AS digest, SUM(first) AS requests, SUM(owed) AS owed` + sums + `
FROM (
  SELECT ` + d.bucket(p) + ` AS bucket, ` + d.wide(d.digest(content)) + ` AS digest,
    CASE WHEN item = 0 THEN 1 ELSE 0 END AS first,
    CASE WHEN item = 0 THEN GREATEST("itemsInRequest", 1) ELSE 0 END AS owed` + tail + `
  FROM ` + d.table(stack) + `
  WHERE ` + d.where(p) + `
) AS r
GROUP BY bucket`
}

// names counts a side's rows by event name.
func (d dialect) names(stack event.Stack, p part) string {
	return `SELECT COALESCE(event, '') AS name, COUNT(*) AS n
FROM ` + d.table(stack) + `
WHERE ` + d.where(p) + `
GROUP BY name`
}

// builds counts a side's rows by the build that wrote them, with its first and last frame.
func (d dialect) builds(stack event.Stack, p part) string {
	return `SELECT COALESCE(build, '') AS id, COUNT(*) AS n, MIN(frame) AS firstFrame, MAX(frame) AS lastFrame
FROM ` + d.table(stack) + `
WHERE ` + d.where(p) + `
GROUP BY id
ORDER BY firstFrame, id`
}

// places returns the buckets in which the items of lists are not exactly those that their requests announce, by
// comparing digests of the places taken with digests of the places owed.
func (d dialect) places(stack event.Stack, p part) string {
	place := func(item string) string { return d.wide(d.digest("frame, request, " + item)) }
	return `SELECT bucket
FROM (
  SELECT ` + d.bucket(p) + ` AS bucket, ` + place("item") + ` AS taken, ` + d.wide("0") + ` AS owed
  FROM ` + d.table(stack) + `
  WHERE ` + d.where(p) + ` AND NOT (item = 0 AND "itemsInRequest" <= 1)
  UNION ALL
  SELECT ` + d.bucket(p) + `, ` + d.wide("0") + `, ` + place("CAST(owedItem AS INTEGER)") + `
  FROM ` + d.table(stack) + `, ` + d.upto(`"itemsInRequest"`, "owedItem") + `
  WHERE ` + d.where(p) + ` AND item = 0 AND "itemsInRequest" > 1
) AS r
GROUP BY bucket
HAVING SUM(taken) <> SUM(owed)
ORDER BY bucket`
}

// requests counts the distinct requests that live, the candidate, and either of them holds, and adds up their ids' tails,
// for either live's where they disagree.
func (d dialect) requests(live, candidate event.Stack, p part) string {
	side := func(stack event.Stack, l, c string) string {
		return `    SELECT frame, request, ` + l + ` AS l, ` + c + ` AS c, ` + d.wide(d.tail(`"eventId"`)) + ` AS tail
    FROM ` + d.table(stack) + ` WHERE ` + d.where(p) + ` AND item = 0`
	}
	return `SELECT SUM(l) AS live, COALESCE(SUM(liveTail), 0) AS liveSum,
  SUM(c) AS candidate, COALESCE(SUM(candidateTail), 0) AS candidateSum,
  COUNT(*) AS either, COALESCE(SUM(COALESCE(liveTail, candidateTail)), 0) AS eitherSum, COUNT(*) - COUNT(COALESCE(liveTail, candidateTail)) AS badIds
FROM (
  SELECT frame, request, MAX(l) AS l, MAX(c) AS c, MIN(CASE WHEN l = 1 THEN tail END) AS liveTail, MIN(CASE WHEN c = 1 THEN tail END) AS candidateTail
  FROM (
` + side(live, "1", "0") + `
    UNION ALL
` + side(candidate, "0", "1") + `
  ) AS r
  GROUP BY frame, request
) AS r`
}

// edge is what one side can still not be blamed for: its cursor and its holes.
type edge struct {
	stack  event.Stack
	cursor event.Cursor // everything below is final
	holes  []Hole       // disjoint

	// Of a stage beyond raw: whether any outcome of it in the part was corrected, and any of trace.
	corrected, traceCorrected bool
}

// samples reports whether a hole of the side means only a sample of its range.
func (e edge) samples() bool {
	return slices.ContainsFunc(e.holes, func(h Hole) bool { return h.from() > 0 })
}

// cause tells why a side lacks the event at (frame, request).
func (d dialect) cause(e edge, alias string) string {
	s := "CASE"
	switch {
	case len(e.holes) == 0:
	case d.lookup:
		list, within := d.holeList(e, alias)
		found := "(SELECT MAX(" + alias + ".reason) FROM " + list + " WHERE " + within + ")"
		return "COALESCE(" + found + fmt.Sprintf(", CASE WHEN frame > %d OR frame = %d AND request >= %d THEN 4 ELSE 0 END)", e.cursor.Frame, e.cursor.Frame, e.cursor.Request)
	default:
		s = fmt.Sprintf("CASE WHEN %s.reason IS NOT NULL THEN %s.reason", alias, alias)
	}
	return s + fmt.Sprintf(" WHEN frame > %d OR frame = %d AND request >= %d THEN 4 ELSE 0 END", e.cursor.Frame, e.cursor.Frame, e.cursor.Request)
}

// Codes of causes in the answers of faults.
const (
	causeAbsent  = 0
	causeDead    = 1
	causeExpired = 2
	causeSampled = 3
	causePending = 4
	// causeUpstream: an earlier stage of the side did not let it through, and the other side's did.
	causeUpstream = 5
)

func causeCode(reason string) uint64 {
	switch reason {
	case "dead":
		return causeDead
	case "sampled":
		return causeSampled
	default:
		return causeExpired
	}
}

// holes joins the holes of a side, where the dialect can.
func (d dialect) holes(e edge, alias string) string {
	if len(e.holes) == 0 || d.lookup {
		return ""
	}
	list, within := d.holeList(e, alias)
	return `
  LEFT JOIN ` + list + `
    ON ` + within
}

// holeList is a table expression of the holes of a side, and the condition that a row lies in one.
func (d dialect) holeList(e edge, alias string) (list, within string) {
	var rows [][]uint64
	for _, h := range e.holes {
		row := []uint64{h.From.Frame, uint64(h.From.Request), h.To.Frame, uint64(h.To.Request), causeCode(h.Reason)}
		if e.samples() {
			row = append(row, h.from())
		}
		rows = append(rows, row)
	}
	columns, sampled := []string{"fromFrame", "fromRequest", "toFrame", "toRequest", "reason"}, ""
	if e.samples() {
		columns = append(columns, "fromBucket")
		// A row whose id cannot be read lies under no sample.
		sampled = `
    AND (` + alias + `.fromBucket = 0 OR MOD(tail, ` + strconv.Itoa(event.SampleBuckets) + `) >= ` + alias + `.fromBucket)`
	}
	return d.values(alias, columns, rows), `(frame > ` + alias + `.fromFrame OR frame = ` + alias + `.fromFrame AND request >= ` + alias + `.fromRequest)
    AND (frame < ` + alias + `.toFrame OR frame = ` + alias + `.toFrame AND request < ` + alias + `.toRequest)` + sampled
}

// faults joins both sides of a part by position and returns every way in which they differ: per (kind, cause, event) the
// number of events, of those the first items of their requests, and the first examples by position.
//
// A position is
//
//	missing            live has it, the candidate has not
//	extra              the candidate has it, live has not
//	changed            both have it, and not the same contents (in the same proportion, where a side has it more than once)
//	from, to           changed, and the name differs: under live's name, and under the candidate's
//	doubledLive, doubledCandidate    a side has it more than once
//	lost               its request announces it, and neither side has it
//
// lists says that requests of more than one item may occur; only then can an item be owed.
func (d dialect) faults(live, candidate edge, p part, lists bool, examples int) string {
	// Where a hole means only a sample, a position needs the id's tail too.
	tail, tailOf, tailColumn, noTail := "", "", "", ""
	if live.samples() || candidate.samples() {
		tail, tailOf = ", "+d.wide(d.tail(`"eventId"`))+" AS tail", ",\n    MIN(tail) AS tail"
		tailColumn, noTail = ", tail", ", NULL"
	}
	digest := d.wide(d.digest(content))
	side := func(stack event.Stack, columns string) string {
		return `    SELECT frame, request, item, GREATEST("itemsInRequest", 1) AS items, ` + columns + tail + `
    FROM ` + d.table(stack) + ` WHERE ` + d.where(p)
	}
	const name = "COALESCE(event, '')"
	owed, withOwed := "", "stored AS r"
	if lists {
		owed = `), owed AS (
  SELECT frame, request, CAST(owedItem AS INTEGER) AS item
  FROM (
    SELECT frame, request, COALESCE(MAX(CASE WHEN l = 1 THEN items END), LEAST(MAX(items), 65536)) AS items
    FROM stored AS s
    GROUP BY frame, request
    HAVING MAX(s.items) > 1 OR MAX(item) > 0
  ) AS lists, ` + d.upto("items", "owedItem") + `
`
		withOwed = `(
    SELECT frame, request, item, l, c, liveDigest, candidateDigest, liveName, candidateName` + tailColumn + ` FROM stored
    UNION ALL
    SELECT frame, request, item, 0, 0, NULL, NULL, NULL, NULL` + noTail + ` FROM owed
  ) AS r`
	}
	return `WITH stored AS (
` + side(live.stack, "1 AS l, 0 AS c, "+digest+" AS liveDigest, "+d.wide("NULL")+" AS candidateDigest, "+name+" AS liveName, NULL AS candidateName") + `
    UNION ALL
` + side(candidate.stack, "0 AS l, 1 AS c, "+d.wide("NULL")+" AS liveDigest, "+digest+" AS candidateDigest, NULL AS liveName, "+name+" AS candidateName") + `
` + owed + `), positions AS (
  SELECT frame, request, item, SUM(l) AS l, SUM(c) AS c,
    SUM(liveDigest) * SUM(c) <> SUM(candidateDigest) * SUM(l) AS differs,
    MIN(liveName) AS liveName, MIN(candidateName) AS candidateName` + tailOf + `
  FROM ` + withOwed + `
  GROUP BY frame, request, item
  HAVING SUM(r.l) <> 1 OR SUM(r.c) <> 1 OR SUM(liveDigest) <> SUM(candidateDigest)
), faults AS (
  SELECT k.kind, frame, request, item,
    CASE k.kind WHEN 1 THEN ` + d.cause(candidate, "hc") + ` WHEN 2 THEN ` + d.cause(live, "hl") + ` ELSE 0 END AS cause,
    CASE WHEN k.kind IN (2, 5, 7) THEN candidateName WHEN k.kind = 8 THEN '' ELSE liveName END AS event,
    CASE k.kind WHEN 6 THEN l - 1 WHEN 7 THEN c - 1 ELSE 1 END AS amount
  FROM positions` + d.holes(candidate, "hc") + d.holes(live, "hl") + `
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
    SUM(amount) OVER (PARTITION BY kind, cause, event) AS total,
    SUM(CASE WHEN item = 0 THEN 1 ELSE 0 END) OVER (PARTITION BY kind, cause, event) AS firsts,
    ROW_NUMBER() OVER (PARTITION BY kind, cause, event ORDER BY frame, request, item) AS place
  FROM faults
) AS f
WHERE place <= ` + strconv.Itoa(examples) + `
ORDER BY kind, cause, event, frame, request, item`
}

// Codes of kinds in the answers of faults.
const (
	faultMissing          = 1
	faultExtra            = 2
	faultChanged          = 3
	faultRenamedFrom      = 4
	faultRenamedTo        = 5
	faultDoubledLive      = 6
	faultDoubledCandidate = 7
	faultLost             = 8
)

// details returns a side's rows at given positions, with a digest per column, and data itself where it is JSON text of
// at most maxData bytes.
func (d dialect) details(stack event.Stack, positions [][]uint64, maxData int) string {
	first, last := frames(positions)
	return `SELECT r.frame, r.request, r.item, r."eventId", ` + d.micros(`r."timestamp"`) + ` AS received, r.event,
  ` + d.digest(`r."eventId"`) + `, ` + d.digest(`r."timestamp"`) + `, ` + d.digest("r.event") + `, ` + d.digest("r.data") + `, ` +
		d.digest(`r."dataBytes"`) + `, ` + d.digest(`r."itemsInRequest"`) + `, ` + d.digest("r.context") + `,
  CASE WHEN ` + d.octets("r.data") + ` <= ` + strconv.Itoa(maxData) + ` THEN r.data END AS data,
  CASE WHEN ` + d.octets("r.context") + ` <= ` + strconv.Itoa(maxData) + ` THEN r.context END AS context
FROM ` + d.table(stack) + ` AS r
JOIN ` + d.values("w", []string{"frame", "request", "item"}, positions) + ` ON r.frame = w.frame AND r.request = w.request AND r.item = w.item
WHERE r.run = 0 AND r.frame BETWEEN ` + fmt.Sprintf("%d AND %d", first, last) + `
ORDER BY r.frame, r.request, r.item`
}

// frames is the range of frames that positions lie in: it lets the engine skip most of the table. Positions never are empty.
func frames(positions [][]uint64) (first, last uint64) {
	first, last = positions[0][0], positions[0][0]
	for _, p := range positions {
		first, last = min(first, p[0]), max(last, p[0])
	}
	return first, last
}

// unexercised returns the event names seen outside the window since an instant, by rows.
func (d dialect) unexercised(live, candidate event.Stack, w Window, since int64) string {
	// Before and after apart, since one range lets the engine skip what lies outside it and two joined by OR do not.
	side := func(s event.Stack, beside string, frame uint64) string {
		return `SELECT COALESCE(event, '') AS event, "timestamp" AS seen FROM ` + d.table(s) + `
  WHERE run = 0 AND "timestamp" >= ` + d.instant(since) + fmt.Sprintf(" AND frame %s %d", beside, frame)
	}
	return `SELECT event, COUNT(*) AS n, ` + d.micros("MAX(seen)") + ` AS lastSeen
FROM (
  ` + side(live, "<", w.First) + `
  UNION ALL
  ` + side(live, ">", w.Last) + `
  UNION ALL
  ` + side(candidate, "<", w.First) + `
  UNION ALL
  ` + side(candidate, ">", w.Last) + `
) AS r
GROUP BY event
ORDER BY n DESC, event`
}
