package bigquery

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse/rules"
)

// list writes columns as a SELECT names them, after a prefix.
func list(prefix string, columns []column) string {
	var out []string
	for _, c := range columns {
		out = append(out, prefix+quote(c.name))
	}
	return strings.Join(out, ", ")
}

// events selects the events' rows of a log: those with a day, and the few whose time is in no partition. Both halves
// name their partitions by the table's own column, so that BigQuery reads no others. and is a further condition.
func (n names) events(l log, stack event.Stack, and string, more ...column) string {
	from := n.in(string(stack), string(l))
	columns := slices.Concat(l.columns(), more)
	odd := strings.Replace(list("", columns), quote("timestamp"), "TIMESTAMP_MICROS(micros) AS `timestamp`", 1)
	return "SELECT " + list("", columns) + "\nFROM " + from + "\nWHERE `timestamp` IS NOT NULL" + and + "\nUNION ALL\n" +
		"SELECT " + odd + "\nFROM " + from + "\nWHERE `timestamp` IS NULL AND micros IS NOT NULL" + and
}

// standing leaves tombstones out.
const standing = " AND erased IS NULL"

// marks selects the marks of all logs of the given kinds.
func (n names) marks(columns string, of ...log) string {
	var parts []string
	for _, stack := range event.Stacks() {
		for _, l := range of {
			parts = append(parts, fmt.Sprintf("SELECT '%s' AS stack, %s\nFROM %s\nWHERE `timestamp` IS NULL AND cursorStage IS NOT NULL", stack, columns, n.in(string(stack), string(l))))
		}
	}
	return strings.Join(parts, "\nUNION ALL\n")
}

// fixedViews are those that do not depend on the timeline.
func (n names) fixedViews(days func(table) int) []string {
	view := func(dataset, name, sql string) string {
		return "CREATE OR REPLACE VIEW " + n.in(dataset, name) + " AS\n" + sql
	}
	out := []string{
		// For whoever asks by the served API, and knows no settings.
		view(shared, "datasets", "SELECT '"+n.prefix+"' AS prefix"),
		view(shared, "timeline", "SELECT sequence, generation, kind, live, `from`, `at`, record\nFROM "+n.table(timelineLog)+
			"\nWHERE TRUE\nQUALIFY ROW_NUMBER() OVER (PARTITION BY sequence ORDER BY generation) = 1"),
		view(shared, "spans", n.spans()),
		view(shared, "cursors", `SELECT stack, run, cursorStage AS stage, cursorJournal AS journal, frame, request,
  CAST(SUM(cursorRows) OVER (PARTITION BY stack, run, cursorStage) AS INT64) AS `+"`rows`"+`
FROM (
`+n.marks("run, frame, request, item, cursorStage, cursorJournal, cursorRows", logs...)+`
) AS m
WHERE TRUE
QUALIFY ROW_NUMBER() OVER (PARTITION BY stack, run, cursorStage ORDER BY frame DESC, request DESC, item DESC) = 1`),
		view(shared, "journals", `SELECT j.id, j.first, COALESCE(MAX(CASE WHEN m.request > 0 OR m.frame = 0 THEN m.frame ELSE m.frame - 1 END), j.first) AS highest
FROM (SELECT id, MIN(first) AS first FROM `+n.table(journalsLog)+` GROUP BY id) AS j
LEFT JOIN (
`+n.marks("run, frame, request, cursorJournal", rawLog, outcomesLog)+`
) AS m ON m.cursorJournal = j.id AND m.run = 0
GROUP BY j.id, j.first`),
		view(shared, "expired", n.expired(days)),
		view(shared, "erasures", "SELECT "+list("", erasuresLog.columns)+"\nFROM "+n.table(erasuresLog)+
			"\nWHERE TRUE\nQUALIFY ROW_NUMBER() OVER (PARTITION BY salt ORDER BY `at`) = 1"),
	}
	for _, stack := range event.Stacks() {
		out = append(out,
			view(string(stack), "raw", n.events(rawLog, stack, "")),
			view(string(stack), "outcomes", n.outcomes(stack, "")))
	}
	return out
}

// expired tells which frames have rows in days that BigQuery has deleted, going by marks, which stay. BigQuery keeps no
// record of it: at is when it may have done so at the earliest.
func (n names) expired(days func(table) int) string {
	const aDay = "86400000000"
	var parts []string
	for _, stack := range event.Stacks() {
		for _, of := range []struct {
			log   log
			stage string
			name  string
		}{{rawLog, "stage = 'raw'", "raw"}, {outcomesLog, "stage <> 'raw'", "outcomes_log"}} {
			if keep := days(of.log.table(stack)); keep > 0 {
				parts = append(parts, fmt.Sprintf("SELECT stack, '%s' AS `table`, DIV(`from`, %s) AS number, %d AS keep, `first`, `last`, `rows`\nFROM (\n%s\n) AS s\nWHERE stack = '%s' AND %s AND DIV(`from`, %s) + %d <= DIV(UNIX_MICROS(CURRENT_TIMESTAMP()), %s)",
					of.name, aDay, keep, n.spans(), stack, of.stage, aDay, keep, aDay))
			}
		}
	}
	if len(parts) == 0 {
		parts = []string{"SELECT '' AS stack, '' AS `table`, 0 AS number, 0 AS keep, 0 AS `first`, 0 AS `last`, 0 AS `rows`\nFROM UNNEST([1]) AS one\nWHERE FALSE"}
	}
	return "SELECT stack, `table`, CAST(TIMESTAMP_MICROS(number * " + aDay + ") AS DATE) AS day, MIN(`first`) AS `first`, MAX(`last`) AS `last`, CAST(SUM(`rows`) AS INT64) AS `rows`, TIMESTAMP_MICROS((number + MAX(keep)) * " + aDay + ") AS `at`\nFROM (\n" +
		strings.Join(parts, "\nUNION ALL\n") + "\n) AS d\nGROUP BY stack, `table`, number"
}

// outcomes selects the latest revision of every outcome of a stack. and is a further condition.
func (n names) outcomes(stack event.Stack, and string) string {
	const key = "run, stage, frame, request, item"
	var same []string
	for _, c := range strings.Split(key, ", ") {
		same = append(same, "c."+c+" = o."+c)
	}
	return "WITH corrections AS (\n" + n.events(correctionsLog, stack, and, column{"number", ""}) + "\n)\n" +
		"SELECT " + list("o.", outcomeColumns) + "\nFROM (\n" + n.events(outcomesLog, stack, and) + "\n) AS o\n" +
		"WHERE NOT EXISTS (SELECT 1 FROM corrections AS c WHERE " + strings.Join(same, " AND ") + ")\n" +
		"UNION ALL\nSELECT " + list("", outcomeColumns) + "\nFROM corrections\n" +
		"WHERE TRUE\nQUALIFY ROW_NUMBER() OVER (PARTITION BY " + key + " ORDER BY revision DESC, number DESC) = 1"
}

// cutViews are those that depend on the timeline or on the columns of raw_normalized: live and staging cut both stacks'
// logs by frame ranges, the timeline's as literals, so that BigQuery skips what lies outside by the bounds of its
// clustered blocks, and leave tombstones out. raw_normalized of the stacks comes first, since the others read it.
func (n names) cutViews(t event.Timeline, all properties) []string {
	return append(n.stackViews(all), n.roleViews(t, all)...)
}

// roleViews are live and staging.
func (n names) roleViews(t event.Timeline, all properties) (out []string) {
	for _, r := range rules.Roles() {
		for _, of := range []struct {
			name    string
			columns []column
			from    func(event.Stack) string
		}{
			{"raw", rawColumns, func(s event.Stack) string { return n.events(rawLog, s, standing) }},
			{"outcomes", outcomeColumns, func(s event.Stack) string { return n.outcomes(s, standing) }},
		} {
			var parts []string
			for _, stack := range event.Stacks() {
				parts = append(parts, fmt.Sprintf("SELECT %s, '%s' AS stack\nFROM (\n%s\n) AS e\nWHERE run = 0 AND %s",
					list("", of.columns), stack, of.from(stack), r.Frames(t, stack)))
			}
			out = append(out, "CREATE OR REPLACE VIEW "+n.in(r.Name, of.name)+" AS\n"+strings.Join(parts, "\nUNION ALL\n"))
		}
		out = append(out, n.normalizedUnion(r, t, all))
	}
	return out
}

// stackViews are the stacks' own raw_normalized.
func (n names) stackViews(all properties) []string {
	var out []string
	for _, stack := range event.Stacks() {
		out = append(out, n.normalizedView(stack, all[stack]))
	}
	return out
}
