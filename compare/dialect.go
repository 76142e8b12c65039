package compare

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/sparrowhq/sparrow/event"
)

// dialect is what differs between the engines' SQL. Every statement of this package is generated here and nowhere else;
// testdata holds each of them in full.
type dialect struct {
	// table returns the name of a stack's raw table.
	table func(event.Stack) string
	// outcomes returns the name of a stack's latest outcomes, log that of all first ones (and more, of later revisions),
	// corrections that of all later ones (and more).
	outcomes, log, corrections func(event.Stack) string
	// digests returns the name of a stack's table of digests; nil: there is none.
	digests func(event.Stack) string
	// cursorTable is the name of the table of cursors.
	cursorTable string
	// expiredTable is the name of the table of what retention deleted; empty: the engine keeps none.
	expiredTable string
	// digest returns a well-mixed 64-bit integer of the columns that tells NULL from empty and does not depend on the
	// order of rows. Digests are added up, so equal sums must mean equal rows but for one case in 2^64.
	digest func(columns string) string
	// wide turns a digest or a small integer into one whose SUM cannot overflow.
	wide func(expr string) string
	// tail returns event.IDTail of an eventId, NULL if it holds no hexadecimal digits where they belong.
	tail func(eventID string) string
	// micros returns a timestamp as microseconds since the epoch.
	micros func(column string) string
	// instant returns the timestamp of an integer of microseconds since the epoch.
	instant func(micros int64) string
	// divide is the integer quotient.
	divide func(a, b string) string
	// upto returns a table expression with one row per integer in [0, n), called column, laterally joined.
	upto func(n, column string) string
	// values returns a table expression called name of integer rows.
	values func(name string, columns []string, rows [][]uint64) string
	// text turns a value into text.
	text func(expr string) string
	// octets is the length of a text in bytes.
	octets func(column string) string
	// bytes is the length of bytes.
	bytes func(column string) string
	// before is the part of a text up to a mark, or all of it.
	before func(column, mark string) string
	// spans is the name of a view of when what was received lies where; empty: there is none, and none is needed.
	spans string
	// dated makes table and log show nothing but what was received within days; nil: they are not divided by time.
	dated func(raw, log days) dialect
	// single is set where a statement runs on one processor, however much it reads.
	single bool
	// ordered is set where rows come in the order in which they were stored, so that LAG() OVER () costs next to nothing.
	ordered bool
	// lookup is set where a row's hole has to be looked up row by row, since an outer join needs an equality.
	lookup bool
	// spell puts names in double quotes and texts in single quotes, as all statements here have them, into the dialect's
	// spelling. nil: it is the same.
	spell func(sql string) string
}

// words is a statement as the engine reads it.
func (d dialect) words(sql string) string {
	if d.spell == nil {
		return sql
	}
	return d.spell(sql)
}

// duckSQL is the dialect of DuckDB 1.5.
var duckSQL = dialect{
	table:       func(s event.Stack) string { return string(s) + ".raw" },
	outcomes:    func(s event.Stack) string { return string(s) + ".outcomes" },
	log:         func(s event.Stack) string { return string(s) + ".outcomes_log" },
	corrections: func(s event.Stack) string { return string(s) + ".outcomes_log" },
	digests:     func(s event.Stack) string { return string(s) + ".digests" },
	cursorTable: "cursors", expiredTable: "expired",
	// hash() folds its columns together by exclusive-or at the end, which added up would let two rows swap their last
	// column once in 10^8 times; hashing the result again mixes it.
	digest:  func(columns string) string { return "hash(hash(" + columns + "))" },
	wide:    func(expr string) string { return "CAST(" + expr + " AS HUGEINT)" },
	tail:    func(id string) string { return "event_id_tail(" + id + ")" }, // the engine's own
	micros:  func(column string) string { return "epoch_us(" + column + ")" },
	instant: func(micros int64) string { return fmt.Sprintf("make_timestamp(%d)", micros) },
	divide:  func(a, b string) string { return a + " // " + b },
	upto: func(n, column string) string {
		return "UNNEST(range(" + n + ")) AS numbers(" + column + ")"
	},
	values: func(name string, columns []string, rows [][]uint64) string {
		var b strings.Builder
		b.WriteString("(VALUES ")
		for i, row := range rows {
			if i > 0 {
				b.WriteString(", ")
			}
			b.WriteByte('(')
			for j, v := range row {
				if j > 0 {
					b.WriteString(", ")
				}
				b.WriteString(strconv.FormatUint(v, 10))
			}
			b.WriteByte(')')
		}
		return b.String() + ") AS " + name + "(" + strings.Join(columns, ", ") + ")"
	},
	text:   func(expr string) string { return "CAST(" + expr + " AS VARCHAR)" },
	single: true, ordered: true,
	octets: func(column string) string { return "strlen(" + column + ")" },
	bytes:  func(column string) string { return "octet_length(" + column + ")" },
	before: func(column, mark string) string { return "split_part(" + column + ", " + quoted(mark) + ", 1)" },
}
