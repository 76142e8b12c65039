package duckdb

import (
	"fmt"
	"strings"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
	"github.com/sparrowhq/sparrow/warehouse/rules"
)

// views makes everything anew that depends on the timeline or on the columns of raw_normalized: live and staging cut
// both stacks' tables by frame ranges, the timeline's as literals, so that DuckDB skips what lies outside by its row
// groups' bounds.
func views(t event.Timeline, properties map[event.Stack][]warehouse.Property) []string {
	var out []string
	for _, stack := range event.Stacks() {
		out = append(out, normalizedView(stack, properties[stack]))
	}
	for _, r := range rules.Roles() {
		for table, shown := range map[string]string{"raw": isRow, "outcomes": isOutcome} {
			var parts []string
			for _, stack := range event.Stacks() {
				parts = append(parts, fmt.Sprintf(`SELECT *, '%s' AS stack FROM %s.%s WHERE run = 0 AND %s AND %s`, stack, stack, table, r.Frames(t, stack), shown))
			}
			out = append(out, fmt.Sprintf("CREATE OR REPLACE VIEW %s.%s AS %s", r.Name, table, strings.Join(parts, " UNION ALL ")))
		}
		out = append(out, normalizedUnion(r, t, properties))
	}
	return out
}

// outcomesView shows the latest revision of each outcome. Nearly all have one only: those are taken as they are, unless a
// correction has the same position; only the few corrections, found by their row groups' bounds, are sorted. Of
// corrections that claim one revision the last appended counts. (An anti-join spelled out: of NOT EXISTS DuckDB makes a
// plan that takes three times as long.)
func outcomesView(stack event.Stack) string {
	const key = "frame, request, item, stage, run"
	return fmt.Sprintf(`CREATE OR REPLACE VIEW %[1]s.outcomes AS `+
		`SELECT * FROM (SELECT * FROM %[1]s.outcomes_log WHERE revision = 0) ANTI JOIN (SELECT %[2]s FROM %[1]s.outcomes_log WHERE revision > 0) USING (%[2]s) `+
		`UNION ALL SELECT * FROM %[1]s.outcomes_log WHERE revision > 0 QUALIFY row_number() OVER (PARTITION BY %[2]s ORDER BY revision DESC, rowid DESC) = 1`, stack, key)
}
