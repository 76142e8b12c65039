package duckdb

import (
	"errors"
	"fmt"
	"strings"

	"github.com/sparrowhq/sparrow/event"
)

// format is the file format this build writes, and the newest it reads.
const format = 1

// schema creates everything that a file of this format holds. Tables have no keys: DuckDB would keep an index in memory
// for each, and the one cursor per stage already makes appends idempotent.
func schema() []string {
	var ddl []string
	for _, stack := range event.Stacks() {
		ddl = append(ddl, fmt.Sprintf("CREATE SCHEMA %s", stack), fmt.Sprintf("CREATE TABLE %s.raw (%s)", stack, rawColumns))
	}
	ddl = append(ddl,
		"CREATE SCHEMA live", "CREATE SCHEMA staging",
		"CREATE TABLE meta (name VARCHAR NOT NULL, value VARCHAR NOT NULL)",
		fmt.Sprintf("INSERT INTO meta VALUES ('format', '%d')", format),
		`CREATE TABLE timeline (sequence BIGINT NOT NULL, generation BIGINT NOT NULL, kind VARCHAR NOT NULL, live VARCHAR NOT NULL, "from" BIGINT NOT NULL, "at" TIMESTAMP NOT NULL, record VARCHAR NOT NULL)`,
		// rows counts what was appended, in the same row as the cursor: it must equal the rows that are there.
		`CREATE TABLE cursors (stack VARCHAR NOT NULL, run BIGINT NOT NULL, stage VARCHAR NOT NULL, journal VARCHAR NOT NULL, frame BIGINT NOT NULL, request INTEGER NOT NULL, "rows" BIGINT NOT NULL)`,
		// highest is NULL for the journal that is written now: then the cursors tell, so that appending touches one row,
		// not two, and never a row that the other stack's transaction touches too.
		`CREATE TABLE journals_seen (id VARCHAR NOT NULL, first BIGINT NOT NULL, highest BIGINT)`,
		`CREATE VIEW journals AS SELECT id, first, coalesce(highest, (SELECT max(CASE WHEN request > 0 THEN frame ELSE frame - 1 END) FROM cursors WHERE run = 0 AND journal = id), first) AS highest FROM journals_seen`,
	)
	return append(ddl, views(event.Timeline{})...)
}

// errNewer says that the file was written by a newer build.
var errNewer = errors.New("a newer build wrote it")

// migrate brings the file to this build's format: creates it, or refuses it.
func migrate(c *conn) error {
	n, err := c.value("SELECT count(*) FROM duckdb_tables() WHERE schema_name = 'main' AND table_name = 'meta'")
	if err != nil {
		return err
	}
	if n == int64(0) {
		others, err := c.value("SELECT count(*) FROM duckdb_tables()")
		if err != nil {
			return err
		}
		if others != int64(0) {
			return errors.New("it is a DuckDB file of something else: give the warehouse a file of its own")
		}
		return c.transaction(func() error {
			for _, ddl := range schema() {
				if err := c.exec(ddl); err != nil {
					return fmt.Errorf("%s: %w", ddl, err)
				}
			}
			return nil
		})
	}
	v, err := c.value("SELECT value FROM meta WHERE name = 'format'")
	if err != nil {
		return err
	}
	var have int
	if _, err := fmt.Sscan(v.(string), &have); err != nil || have < 1 {
		return fmt.Errorf("its format %q is no number", v)
	}
	if have > format {
		return fmt.Errorf("%w: its format is %d, this build reads %d; run the newer build", errNewer, have, format)
	}
	return nil
}

// views cuts both stacks' tables into live and staging: two views whose frame ranges are the timeline's, as literals,
// so that DuckDB skips what lies outside by its row groups' bounds.
func views(t event.Timeline) []string {
	var out []string
	for _, v := range []struct {
		schema string
		role   func(event.Stack) event.Stack // the stack whose live frames the view takes from a stack's table
	}{
		{"live", func(s event.Stack) event.Stack { return s }},
		{"staging", event.Stack.Other},
	} {
		var parts []string
		for _, stack := range event.Stacks() {
			parts = append(parts, fmt.Sprintf(`SELECT *, '%s' AS stack FROM %s.raw WHERE run = 0 AND %s`, stack, stack, within(t.Spans(v.role(stack)))))
		}
		out = append(out, fmt.Sprintf("CREATE OR REPLACE VIEW %s.raw AS %s", v.schema, strings.Join(parts, " UNION ALL ")))
	}
	return out
}

// within is the condition that frame lies in one of the spans.
func within(spans []event.Span) string {
	if len(spans) == 0 {
		return "false"
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
