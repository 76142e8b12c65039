package bigquery

import (
	"fmt"
	"strings"
	"time"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// spot is where an event lies in any run.
type spot struct {
	run uint64
	event.Position
}

// calendarDay is a partition of a log: a day since the epoch, or noDay.
type calendarDay int64

// noDay is the partition of events whose time is outside the others. Marks lie there too, and are never meant.
const noDay calendarDay = -1 << 62

// within is the condition that a row of t is an event's in the partition. It names the table's own column and constants,
// so that BigQuery reads, and rewrites, no other partition.
func (d calendarDay) within() string {
	if d == noDay {
		return "t.`timestamp` IS NULL AND t.micros IS NOT NULL"
	}
	at := func(d calendarDay) string {
		return time.UnixMicro(0).UTC().AddDate(0, 0, int(d)).Format("TIMESTAMP '2006-01-02 15:04:05+00'")
	}
	return "t.`timestamp` >= " + at(d) + " AND t.`timestamp` < " + at(d+1)
}

// days lists the partitions of a log that hold events, with their rows.
func (n names) days(t table) string {
	return "SELECT DIV(UNIX_MICROS(t.`timestamp`), 86400000000) AS day, COUNT(*) AS n\nFROM " + n.table(t) + " AS t\n" +
		"WHERE t.`timestamp` IS NOT NULL OR t.micros IS NOT NULL\nGROUP BY day\nORDER BY day"
}

// find selects what may be a person's events in a partition of a stack's raw_log, from a frame on; of replays, all of
// them. Its parameters are the id as text and as bytes. An id that is not there letter by letter is spelled with a
// backslash, or the name of its field is; warehouse.Person.In tells which are meant. data is NULL where the id is in
// what is no UTF-8.
func (n names) find(stack event.Stack, who warehouse.Person, d calendarDay, since uint64) string {
	return "SELECT run, frame, request, item, data\nFROM " + n.table(rawLog.table(stack)) + " AS t\n" +
		"WHERE " + d.within() + fmt.Sprintf(" AND t.erased IS NULL AND (t.frame >= %d OR t.run > 0)\n", since) +
		"  AND (STRPOS(t.data, ?) > 0 OR STRPOS(t.dataBytes, ?) > 0\n" +
		"    OR REGEXP_CONTAINS(t.data, " + text(`(?i)"`+who.Key()+`"\s*:\s*("[^"]*\\|[\[{][^\\]*\\)`) + ")\n" +
		"    OR REGEXP_CONTAINS(t.data, " + text(`\\[^"]*"\s*:`) + "))"
}

// at is the condition that a row of t lies at one of the spots, which are in order, and is no tombstone.
func at(spots []spot) string {
	var rows []string
	for _, s := range spots {
		rows = append(rows, fmt.Sprintf("(%d, %d, %d, %d)", s.run, s.Frame, s.Request, s.Item))
	}
	return fmt.Sprintf("t.erased IS NULL AND t.frame BETWEEN %d AND %d AND EXISTS (\n", spots[0].Frame, spots[len(spots)-1].Frame) +
		"SELECT 1 FROM UNNEST(ARRAY<STRUCT<run INT64, frame INT64, request INT64, item INT64>>[" + strings.Join(rows, ", ") + "]) AS s\n" +
		"WHERE s.run = t.run AND s.frame = t.frame AND s.request = t.request AND s.item = t.item)"
}

// locate counts the rows of a log that lie at the spots, by partition.
func (n names) locate(t table, spots []spot) string {
	return "SELECT DIV(UNIX_MICROS(t.`timestamp`), 86400000000) AS day, COUNT(*) AS n\nFROM " + n.table(t) + " AS t\n" +
		"WHERE (t.`timestamp` IS NOT NULL OR t.micros IS NOT NULL) AND " + at(spots) + "\nGROUP BY day\nORDER BY day"
}

// bury makes tombstones of the rows of one partition that lie at the spots. It holds nothing personal: BigQuery keeps the
// statements that ran.
func (n names) bury(l log, stack event.Stack, d calendarDay, spots []spot) string {
	set := "event = '', reason = '" + erasedReason + "', digest = 0, sent = NULL, answer = NULL"
	if l == rawLog {
		set = "event = '', data = '', dataBytes = NULL, context = '" + erasedContext + "'"
	}
	return "UPDATE " + n.table(l.table(stack)) + " AS t\nSET " + set + ", erased = 1\nWHERE " + d.within() + " AND " + at(spots)
}

// forget deletes the digests of the buckets that the spots lie in, event names and all. They are made anew when somebody
// compares.
func (n names) forget(stack event.Stack, spots []spot, width uint64) string {
	var first []string
	for _, s := range spots {
		if b := fmt.Sprint(s.Frame / width * width); len(first) == 0 || first[len(first)-1] != b {
			first = append(first, b)
		}
	}
	return "DELETE FROM " + n.table(digestsOf(stack)) + " AS t\nWHERE t.`first` IN (" + strings.Join(first, ", ") + ")"
}

// What a tombstone has, as in the other engine.
const (
	erasedContext = `{"erased":true}`
	erasedReason  = "erased"
)
