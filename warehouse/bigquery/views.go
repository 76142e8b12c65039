package bigquery

import (
	"fmt"
	"strings"

	"github.com/sparrowhq/sparrow/event"
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
// name their partitions by the table's own column, so that BigQuery reads no others.
func (n names) events(l log, stack event.Stack) string {
	from := n.in(string(stack), string(l))
	odd := strings.Replace(list("", l.columns()), quote("timestamp"), "TIMESTAMP_MICROS(micros) AS `timestamp`", 1)
	return "SELECT " + list("", l.columns()) + "\nFROM " + from + "\nWHERE `timestamp` IS NOT NULL\nUNION ALL\n" +
		"SELECT " + odd + "\nFROM " + from + "\nWHERE `timestamp` IS NULL AND micros IS NOT NULL"
}

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
func (n names) fixedViews() []string {
	view := func(dataset, name, sql string) string {
		return "CREATE OR REPLACE VIEW " + n.in(dataset, name) + " AS\n" + sql
	}
	out := []string{
		view(shared, "timeline", "SELECT sequence, generation, kind, live, `from`, `at`, record\nFROM "+n.table(timelineLog)+
			"\nWHERE TRUE\nQUALIFY ROW_NUMBER() OVER (PARTITION BY sequence ORDER BY generation) = 1"),
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
	}
	for _, stack := range event.Stacks() {
		out = append(out,
			view(string(stack), "raw", n.events(rawLog, stack)),
			view(string(stack), "outcomes", n.outcomes(stack)))
	}
	return out
}

// outcomes selects the latest revision of every outcome of a stack.
func (n names) outcomes(stack event.Stack) string {
	const key = "run, stage, frame, request, item"
	var same []string
	for _, c := range strings.Split(key, ", ") {
		same = append(same, "c."+c+" = o."+c)
	}
	return "WITH corrections AS (\n" + n.events(correctionsLog, stack) + "\n)\n" +
		"SELECT " + list("o.", outcomeColumns) + "\nFROM (\n" + n.events(outcomesLog, stack) + "\n) AS o\n" +
		"WHERE NOT EXISTS (SELECT 1 FROM corrections AS c WHERE " + strings.Join(same, " AND ") + ")\n" +
		"UNION ALL\nSELECT " + list("", outcomeColumns) + "\nFROM corrections\n" +
		"WHERE TRUE\nQUALIFY ROW_NUMBER() OVER (PARTITION BY " + key + " ORDER BY revision DESC) = 1"
}

// cutViews cuts both stacks' views into live and staging: the frame ranges are the timeline's, as literals, so that
// BigQuery skips what lies outside by the bounds of its clustered blocks.
func (n names) cutViews(t event.Timeline) []string {
	var out []string
	for _, v := range []struct {
		dataset string
		role    func(event.Stack) event.Stack // the stack whose live frames the view takes from a stack's rows
	}{
		{"live", func(s event.Stack) event.Stack { return s }},
		{"staging", event.Stack.Other},
	} {
		for _, of := range []struct {
			name    string
			columns []column
		}{{"raw", rawColumns}, {"outcomes", outcomeColumns}} {
			var parts []string
			for _, stack := range event.Stacks() {
				parts = append(parts, fmt.Sprintf("SELECT %s, '%s' AS stack\nFROM %s\nWHERE run = 0 AND %s",
					list("", of.columns), stack, n.in(string(stack), of.name), within(t.Spans(v.role(stack)))))
			}
			out = append(out, "CREATE OR REPLACE VIEW "+n.in(v.dataset, of.name)+" AS\n"+strings.Join(parts, "\nUNION ALL\n"))
		}
	}
	return out
}

// within is the condition that frame lies in one of the spans.
func within(spans []event.Span) string {
	if len(spans) == 0 {
		return "FALSE"
	}
	var or []string
	for _, s := range spans {
		if s.Last == 0 {
			or = append(or, fmt.Sprintf("frame >= %d", s.First))
		} else {
			or = append(or, fmt.Sprintf("frame BETWEEN %d AND %d", s.First, s.Last))
		}
	}
	return "(" + strings.Join(or, " OR ") + ")"
}
