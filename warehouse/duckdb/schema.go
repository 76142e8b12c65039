package duckdb

import (
	"errors"
	"fmt"

	"github.com/sparrowhq/sparrow/event"
)

// format is the file format this build writes, and the newest it reads.
const format = 4

// schema creates everything that a file of this format holds. Tables have no keys: DuckDB would keep an index in memory
// for each, and the one cursor per stage already makes appends idempotent.
func schema(frames uint64) []string {
	ddl := []string{
		"CREATE TABLE meta (name VARCHAR NOT NULL, value VARCHAR NOT NULL)",
		fmt.Sprintf("INSERT INTO meta VALUES ('format', '%d')", format),
		`CREATE TABLE timeline (sequence BIGINT NOT NULL, generation BIGINT NOT NULL, kind VARCHAR NOT NULL, live VARCHAR NOT NULL, "from" BIGINT NOT NULL, "at" TIMESTAMP NOT NULL, record VARCHAR NOT NULL)`,
		cursorsLog, cursorsView,
		// highest is NULL for the journal that is written now: then the cursors tell, so that appending changes no row.
		`CREATE TABLE journals_seen (id VARCHAR NOT NULL, first BIGINT NOT NULL, highest BIGINT)`,
		"CREATE SCHEMA live", "CREATE SCHEMA staging",
	}
	for _, stack := range event.Stacks() {
		ddl = append(ddl, fmt.Sprintf("CREATE SCHEMA %s", stack), fmt.Sprintf("CREATE TABLE %s.raw (%s)", stack, rawColumns))
	}
	return append(append(ddl, schema2()...), schema3(frames)...)
}

// schema2 creates what format 2 added.
func schema2() []string {
	ddl := []string{
		// properties is the JSON list of warehouse.Property that the stack's raw_normalized has columns for.
		"CREATE TABLE normalized (stack VARCHAR NOT NULL, properties VARCHAR NOT NULL)",
		// The cursor of corrections counts them and says nothing of frames.
		`CREATE OR REPLACE VIEW journals AS SELECT id, first, coalesce(highest, (SELECT max(CASE WHEN request > 0 THEN frame ELSE frame - 1 END) FROM cursors WHERE run = 0 AND journal = id AND NOT ends_with(stage, '/late')), first) AS highest FROM journals_seen`,
	}
	for _, stack := range event.Stacks() {
		ddl = append(ddl, fmt.Sprintf("CREATE TABLE %s.outcomes_log (%s)", stack, outcomeColumns), outcomesView(stack))
	}
	return ddl
}

// schema3 creates what format 3 added: an earlier build would take rows that retention deleted for lost.
// It brought digests and erasures, too.
func schema3(frames uint64) []string {
	ddl := []string{expiredTable, erasuresTable, fmt.Sprintf("INSERT INTO meta VALUES ('%s', '%d')", digestFramesKey, frames)}
	for _, stack := range event.Stacks() {
		ddl = append(ddl, fmt.Sprintf("CREATE TABLE %s.digests (%s)", stack, digestColumns))
	}
	return ddl
}

// errNewer says that the file was written by a newer build.
var errNewer = errors.New("a newer build wrote it")

// migrate brings the file to this build's format: creates it, or refuses it.
func migrate(c *conn, frames uint64) error {
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
			return c.execAll(schema(frames), views(event.Timeline{}, nil))
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
	if have == format {
		return nil
	}
	// What is there stays as it is.
	return c.transaction(func() error {
		if have < 2 {
			if err := c.execAll(schema2()); err != nil {
				return err
			}
		}
		timeline, err := loadTimeline(c)
		if err != nil {
			return err
		}
		properties, err := loadNormalized(c)
		if err != nil {
			return err
		}
		if have < 3 {
			if err := c.execAll(schema3(frames)); err != nil {
				return err
			}
		}
		return c.execAll(schema4(), views(timeline, properties), []string{fmt.Sprintf("UPDATE meta SET value = '%d' WHERE name = 'format'", format)})
	})
}
