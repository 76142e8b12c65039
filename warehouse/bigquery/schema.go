package bigquery

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// format is the format of the tables this build writes, and the newest it reads.
const format = 1

// shared is the dataset of what belongs to neither stack. It is the default dataset of every query, so that timeline,
// cursors and journals need no name before theirs.
const shared = "sparrow"

// column is a column of one of our tables. All may be NULL: BigQuery cannot add others to a table that exists.
type column struct{ name, kind string }

// The columns of a log table that are not the event's: they let one append carry rows and cursor together. A row of a
// log is either an event's row, or a mark: the place at which a cursor stands after the append that the mark is in.
//
// A mark has no timestamp, so marks live in the partition of NULL, where finding them costs nothing else, and where no
// retention by day reaches them. Its frame, request and item are the cursor.
var markColumns = []column{
	{"micros", "INT64"},         // of an event's row whose time is outside the partitions: the time, in place of timestamp
	{"number", "INT64"},         // of a correction: its number
	{"cursorStage", "STRING"},   // of a mark: the stage
	{"cursorJournal", "STRING"}, // the journal
	{"cursorRows", "INT64"},     // how many rows of the stage came with it
	{"cursorStream", "STRING"},  // the stream it came through
	{"cursorEnd", "INT64"},      // rows in that stream after the append
	{"cursorFirst", "INT64"},    // frame of the first of those rows; NULL: there are none, or an older build wrote the mark
	{"cursorFrom", "INT64"},     // earliest timestamp of those rows, in microseconds; NULL: none has one
	{"cursorTo", "INT64"},       // latest
	{"cursorOdd", "INT64"},      // how many of them have micros in place of timestamp
	erasedColumn,
}

// erasedColumn is 1 in a tombstone, else NULL, which costs nothing to store or to read.
var erasedColumn = column{"erased", "INT64"}

// rawColumns are those of raw, in the order in which appendRow writes them.
var rawColumns = []column{
	{"eventId", "STRING"}, {"timestamp", "TIMESTAMP"}, {"event", "STRING"}, {"data", "STRING"}, {"dataBytes", "BYTES"},
	{"frame", "INT64"}, {"request", "INT64"}, {"item", "INT64"}, {"itemsInRequest", "INT64"}, {"run", "INT64"},
	{"build", "STRING"}, {"context", "STRING"},
}

// outcomeColumns are those of outcomes, in the order in which appendOutcome writes them.
var outcomeColumns = []column{
	{"frame", "INT64"}, {"request", "INT64"}, {"item", "INT64"}, {"run", "INT64"}, {"stage", "STRING"}, {"timestamp", "TIMESTAMP"},
	{"build", "STRING"}, {"event", "STRING"}, {"sink", "STRING"}, {"outcome", "STRING"}, {"reason", "STRING"}, {"status", "INT64"},
	{"attempts", "INT64"}, {"digest", "INT64"}, {"latency", "INT64"}, {"revision", "INT64"}, {"sent", "BYTES"}, {"answer", "BYTES"},
}

// table is a table that we write.
type table struct {
	dataset   string // without prefix
	name      string
	columns   []column
	partition string   // column by whose day it is partitioned; empty: not at all
	cluster   []string //
}

// log names the three tables of a stack that have a stream each. Corrections lie apart from what they correct, so that
// reading outcomes costs next to nothing more while there are hardly any.
type log string

const (
	rawLog         log = "raw_log"
	outcomesLog    log = "outcomes_log"
	correctionsLog log = "corrections_log"
)

var logs = []log{rawLog, outcomesLog, correctionsLog}

// logOf returns the log that holds a stage's rows and its cursor.
func logOf(stage warehouse.Stage) log {
	switch {
	case stage == warehouse.Raw:
		return rawLog
	case stage != stage.Base():
		return correctionsLog
	}
	return outcomesLog
}

// columns are the log's columns that are the event's.
func (l log) columns() []column {
	if l == rawLog {
		return rawColumns
	}
	return outcomeColumns
}

// table returns the log of a stack.
func (l log) table(stack event.Stack) table {
	return table{
		dataset: string(stack), name: string(l), columns: slices.Concat(l.columns(), markColumns),
		partition: "timestamp", cluster: []string{"run", "frame"},
	}
}

// timelineLog, journalsLog, normalizedLog and erasuresLog are written at least once, and read without repetitions.
var (
	timelineLog = table{dataset: shared, name: "timeline_log", columns: []column{
		{"sequence", "INT64"}, {"generation", "INT64"}, {"kind", "STRING"}, {"live", "STRING"}, {"from", "INT64"}, {"at", "TIMESTAMP"}, {"record", "STRING"},
	}}
	normalizedLog = table{dataset: shared, name: "normalized_log", columns: []column{{"stack", "STRING"}, {"revision", "INT64"}, {"properties", "STRING"}}}
	journalsLog   = table{dataset: shared, name: "journals_log", columns: []column{{"id", "STRING"}, {"first", "INT64"}}}
	erasuresLog   = table{dataset: shared, name: "erasures_log", columns: []column{
		{"at", "TIMESTAMP"}, {"kind", "STRING"}, {"salt", "STRING"}, {"hash", "STRING"}, {"by", "STRING"}, {"events", "INT64"}, {"rows", "INT64"}, {"outcomes", "INT64"},
	}}
)

// tables lists everything that we write.
func tables() []table {
	all := []table{timelineLog, journalsLog, normalizedLog, erasuresLog}
	for _, stack := range event.Stacks() {
		for _, l := range logs {
			all = append(all, l.table(stack))
		}
		all = append(all, digestsOf(stack))
	}
	return all
}

// names spells what we have in a project.
type names struct{ project, prefix string }

func quote(name string) string { return "`" + name + "`" }

// dataset is the name of one of our datasets.
func (n names) dataset(name string) string { return n.prefix + name }

// in names a table or view in one of our datasets, in full.
func (n names) in(dataset, name string) string {
	return quote(n.project) + "." + quote(n.dataset(dataset)) + "." + quote(name)
}

func (n names) table(t table) string { return n.in(t.dataset, t.name) }

// parent is the table's name in the Storage API.
func (n names) parent(t table) string {
	return fmt.Sprintf("projects/%s/datasets/%s/tables/%s", n.project, n.dataset(t.dataset), t.name)
}

// create returns the statements that make whatever is not there yet: datasets and tables.
func (n names) create(location string, keep Retention) []string {
	var out []string
	for _, d := range []string{shared, string(event.Green), string(event.Blue), "live", "staging"} {
		s := "CREATE SCHEMA IF NOT EXISTS " + quote(n.project) + "." + quote(n.dataset(d))
		if location != "" {
			s += " OPTIONS (location = '" + location + "')"
		}
		out = append(out, s)
	}
	for _, t := range tables() {
		out = append(out, n.createTable(t, keep.days(t)))
	}
	return out
}

func (n names) createTable(t table, days int) string {
	var columns []string
	for _, c := range t.columns {
		columns = append(columns, "  "+quote(c.name)+" "+c.kind)
	}
	s := "CREATE TABLE IF NOT EXISTS " + n.table(t) + " (\n" + strings.Join(columns, ",\n") + "\n)"
	if t.partition != "" {
		s += "\nPARTITION BY DATE(" + quote(t.partition) + ")"
	}
	if len(t.cluster) > 0 {
		s += "\nCLUSTER BY " + strings.Join(t.cluster, ", ")
	}
	s += "\nOPTIONS (description = '" + describe(description{}) + "'"
	if days > 0 {
		s += fmt.Sprintf(", partition_expiration_days = %d", days)
	}
	return s + ")"
}

// expire returns the statement that has BigQuery delete a table's days. The partition of NULL, with the cursors, has no day
// to count from.
func (n names) expire(t table, days int) string {
	return fmt.Sprintf("ALTER TABLE %s SET OPTIONS (partition_expiration_days = %d)", n.table(t), days)
}

// addColumns returns the statement that gives a table of an earlier build the columns it lacks.
func (n names) addColumns(t table, missing []column) string {
	var add []string
	for _, c := range missing {
		add = append(add, "ADD COLUMN IF NOT EXISTS "+quote(c.name)+" "+c.kind)
	}
	return "ALTER TABLE " + n.table(t) + " " + strings.Join(add, ", ")
}

// descriptor describes the rows that we send for a table: field n is the n-th column, from 1.
func (t table) descriptor() *descriptorpb.DescriptorProto {
	d := &descriptorpb.DescriptorProto{Name: proto.String("Row")}
	for i, c := range t.columns {
		kind := descriptorpb.FieldDescriptorProto_TYPE_INT64 // TIMESTAMP too: microseconds
		switch c.kind {
		case "STRING":
			kind = descriptorpb.FieldDescriptorProto_TYPE_STRING
		case "BYTES":
			kind = descriptorpb.FieldDescriptorProto_TYPE_BYTES
		}
		d.Field = append(d.Field, &descriptorpb.FieldDescriptorProto{
			Name: proto.String(c.name), Number: proto.Int32(int32(i + 1)), Type: kind.Enum(), Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
		})
	}
	return d
}
