package compare

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/sparrowhq/sparrow/event"
)

// googleSQL is the dialect of BigQuery. Names of datasets begin with prefix.
func googleSQL(prefix string) dialect {
	in := func(name string) func(event.Stack) string {
		return func(s event.Stack) string { return prefix + string(s) + "." + name }
	}
	d := dialect{
		table:       in("raw"),
		outcomes:    in("outcomes"),
		log:         in("outcomes_log"),    // and marks of cursors, which have no stage
		corrections: in("corrections_log"), // likewise
		digests:     in("digests"),
		cursorTable: "cursors", spans: "spans", expiredTable: "expired", // in the dataset that is every query's default
		// A tuple in parentheses has fields without names, so that the same values give the same text wherever they come
		// from; NULL is null there and differs from an empty text, and a number keeps its digits.
		digest: func(columns string) string {
			return "(CAST(FARM_FINGERPRINT(TO_JSON_STRING((" + columns + "))) AS BIGNUMERIC) + CAST('9223372036854775808' AS BIGNUMERIC))" // beyond what an integer may be written as
		},
		wide: func(expr string) string { return "CAST(" + expr + " AS BIGNUMERIC)" },
		tail: func(id string) string {
			return "SAFE_CAST('0x' || SUBSTR(" + id + ", 21, 3) || SUBSTR(" + id + ", 25, 12) AS INT64)"
		},
		micros:  func(column string) string { return "UNIX_MICROS(" + column + ")" },
		instant: func(micros int64) string { return fmt.Sprintf("TIMESTAMP_MICROS(%d)", micros) },
		divide:  func(a, b string) string { return "DIV(" + a + ", " + b + ")" },
		// An array has about a million elements at most. No request owes as many: digests differ all the same.
		upto: func(n, column string) string {
			return "UNNEST(GENERATE_ARRAY(0, LEAST(" + n + ", 1000000) - 1)) AS " + column
		},
		values: func(name string, columns []string, rows [][]uint64) string {
			var b strings.Builder
			b.WriteString("UNNEST(ARRAY<STRUCT<" + strings.Join(columns, " INT64, ") + " INT64>>[")
			for i, row := range rows {
				if i > 0 {
					b.WriteString(", ")
				}
				for j, v := range row {
					b.WriteString([]string{"(", ", "}[min(j, 1)])
					b.WriteString(strconv.FormatUint(v, 10))
				}
				if len(row) == 1 {
					b.WriteString(", 0") // one value in parentheses is no tuple
				}
				b.WriteByte(')')
			}
			s := b.String() + "]) AS " + name
			if len(columns) == 1 {
				s = strings.Replace(s, " INT64>>[", " INT64, zero INT64>>[", 1)
			}
			return s
		},
		text:   func(expr string) string { return "CAST(" + expr + " AS STRING)" },
		octets: func(column string) string { return "BYTE_LENGTH(" + column + ")" },
		bytes:  func(column string) string { return "BYTE_LENGTH(" + column + ")" },
		before: func(column, mark string) string {
			return "REGEXP_EXTRACT(" + column + ", " + quoted("^[^"+mark+"]*") + ")"
		},
		lookup: true,
		spell:  spellGoogle,
	}
	d.dated = func(raw, log days) dialect {
		dated := d
		dated.table, dated.log = raw.of(d.table), log.of(d.log)
		return dated
	}
	return d
}

// days are the times between which all rows of a window were received, in microseconds. The zero days are any.
type days struct{ from, to int64 }

// of makes a table show these days alone. Tables are partitioned by day, and BigQuery reads no others then; of the columns
// it reads those that the statement around uses.
func (t days) of(table func(event.Stack) string) func(event.Stack) string {
	if t == (days{}) {
		return table
	}
	return func(s event.Stack) string {
		return fmt.Sprintf(`(SELECT * FROM %s WHERE "timestamp" BETWEEN TIMESTAMP_MICROS(%d) AND TIMESTAMP_MICROS(%d))`, table(s), t.from, t.to)
	}
}

// spellGoogle puts names into backticks, and escapes texts as GoogleSQL does: a quote is not doubled but has a backslash.
func spellGoogle(sql string) string {
	var b strings.Builder
	text := false
	for i := 0; i < len(sql); i++ {
		switch c := sql[i]; {
		case !text && c == '"':
			b.WriteByte('`')
		case text && c == '\\':
			b.WriteString(`\\`)
		case text && c == '\'' && i+1 < len(sql) && sql[i+1] == '\'':
			b.WriteString(`\'`)
			i++
		case text && c == '\n':
			b.WriteString(`\n`)
		case text && c == '\r':
			b.WriteString(`\r`)
		case c == '\'':
			text = !text
			b.WriteByte(c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}
