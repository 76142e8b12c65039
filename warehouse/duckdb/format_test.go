package duckdb

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// format1 is what a build that knew format 1 only had in a file.
func format1(initial, cutover string) []string {
	const raw = `"eventId" VARCHAR NOT NULL, "timestamp" TIMESTAMP NOT NULL, event VARCHAR NOT NULL, data VARCHAR, "dataBytes" BLOB, ` +
		`frame BIGINT NOT NULL, request INTEGER NOT NULL, item INTEGER NOT NULL, "itemsInRequest" INTEGER NOT NULL, ` +
		`run BIGINT NOT NULL, build VARCHAR NOT NULL, context VARCHAR NOT NULL, CHECK ((data IS NULL) <> ("dataBytes" IS NULL))`
	row := func(stack string, frame int) string {
		return fmt.Sprintf(`INSERT INTO %s.raw VALUES ('id-%d', make_timestamp(%d), 'e', '{"deviceId":"d%d","properties":{"n":%d}}', NULL, %d, 0, 0, 1, 0, 'b', '{}')`, stack, frame, frame, frame, frame, frame)
	}
	return []string{
		"CREATE SCHEMA green", "CREATE TABLE green.raw (" + raw + ")", "CREATE SCHEMA blue", "CREATE TABLE blue.raw (" + raw + ")",
		"CREATE SCHEMA live", "CREATE SCHEMA staging",
		"CREATE TABLE meta (name VARCHAR NOT NULL, value VARCHAR NOT NULL)", "INSERT INTO meta VALUES ('format', '1')",
		`CREATE TABLE timeline (sequence BIGINT NOT NULL, generation BIGINT NOT NULL, kind VARCHAR NOT NULL, live VARCHAR NOT NULL, "from" BIGINT NOT NULL, "at" TIMESTAMP NOT NULL, record VARCHAR NOT NULL)`,
		`CREATE TABLE cursors (stack VARCHAR NOT NULL, run BIGINT NOT NULL, stage VARCHAR NOT NULL, journal VARCHAR NOT NULL, frame BIGINT NOT NULL, request INTEGER NOT NULL, "rows" BIGINT NOT NULL)`,
		`CREATE TABLE journals_seen (id VARCHAR NOT NULL, first BIGINT NOT NULL, highest BIGINT)`,
		`CREATE VIEW journals AS SELECT id, first, coalesce(highest, (SELECT max(CASE WHEN request > 0 THEN frame ELSE frame - 1 END) FROM cursors WHERE run = 0 AND journal = id), first) AS highest FROM journals_seen`,
		`CREATE OR REPLACE VIEW live.raw AS SELECT *, 'green' AS stack FROM green.raw WHERE run = 0 AND (frame BETWEEN 2 AND 3) UNION ALL SELECT *, 'blue' AS stack FROM blue.raw WHERE run = 0 AND (frame >= 4)`,
		`CREATE OR REPLACE VIEW staging.raw AS SELECT *, 'green' AS stack FROM green.raw WHERE run = 0 AND (frame >= 4) UNION ALL SELECT *, 'blue' AS stack FROM blue.raw WHERE run = 0 AND (frame BETWEEN 2 AND 3)`,
		row("green", 2), row("green", 4), row("blue", 2), row("blue", 4),
		`INSERT INTO journals_seen VALUES ('j', 1, NULL)`,
		`INSERT INTO cursors VALUES ('green', 0, 'raw', 'j', 5, 0, 2), ('blue', 0, 'raw', 'j', 5, 0, 2), ('green', 0, 'trace', 'j', 3, 0, 0)`,
		fmt.Sprintf(`INSERT INTO timeline VALUES (1, 1, 'initial', 'green', 2, make_timestamp(0), '%s'), (3, 2, 'cutover', 'blue', 4, make_timestamp(0), '%s')`, initial, cutover),
	}
}

// table is an answer as text.
func table(t *testing.T, e *Engine, sql string) string {
	t.Helper()
	c, err := e.db.connect()
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	var out []string
	err = c.rows(sql, nil, func(r []any) error {
		out = append(out, strings.TrimSpace(fmt.Sprintln(r...)))
		return nil
	})
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return strings.Join(out, "; ")
}

// TestFormat1IsMigrated opens a file of the previous format: everything is still there, and what is new works.
func TestFormat1IsMigrated(t *testing.T) {
	first := initial(t, event.Green)
	r, err := event.DecodeRecord(1, first.Record)
	if err != nil {
		t.Fatal(err)
	}
	data, err := event.Control{Format: event.ControlFormat, Generation: 2, Kind: event.Cutover, Live: event.Blue, Previous: r.Hash()}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "warehouse")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "warehouse.duckdb")
	change(t, path, format1(string(first.Record), string(data))...)

	for round := range 2 { // and again as a file of this format
		e, err := Open(Options{Path: path})
		if err != nil {
			t.Fatal(err)
		}
		for sql, want := range map[string]string{
			"SELECT value FROM meta WHERE name = 'format'":                                    "4",
			"SELECT frame, stack FROM live.raw ORDER BY frame":                                "2 green; 4 blue",
			"SELECT frame, stack FROM staging.raw ORDER BY frame":                             "2 blue; 4 green",
			`SELECT frame, "deviceId", stack FROM live.raw_normalized ORDER BY frame`:         "2 d2 green; 4 d4 blue",
			`SELECT frame, "deviceId", stack FROM staging.raw_normalized ORDER BY frame`:      "2 d2 blue; 4 d4 green",
			"SELECT id, first, highest FROM journals":                                         "j 1 4",
			"SELECT stack, stage, frame, request FROM cursors WHERE stage = 'raw' ORDER BY 1": "blue raw 5 0; green raw 5 0",
		} {
			if got := table(t, e, sql); got != want {
				t.Errorf("round %d: %s: %s, want %s", round, sql, got, want)
			}
		}
		at := uint64(3)
		if round > 0 {
			at = 5
		}
		if c, err := e.Cursor(t.Context(), event.Green, 0, "trace"); err != nil || c.Frame != at {
			t.Errorf("round %d: cursor of trace %v, %v; want %d", round, c, err, at)
		}
		b := &warehouse.Batch{Stack: event.Green, Stage: "trace", Journal: "j", From: event.Cursor{Frame: 3}, To: event.Cursor{Frame: 5},
			Outcomes: []warehouse.Outcome{{Position: event.Position{Frame: 4}, Outcome: "accepted"}}}
		if _, err := e.Append(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		if got := table(t, e, "SELECT frame, outcome, stack FROM staging.outcomes"); got != "4 accepted green" {
			t.Errorf("round %d: outcomes %s", round, got)
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFormat3IsMigrated opens a file whose cursors are a table, changed in place: they go on from where they are.
func TestFormat3IsMigrated(t *testing.T) {
	path := filepath.Join(t.TempDir(), "warehouse", "warehouse.duckdb")
	e, err := Open(Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	for at := uint64(0); at < 6; at += 3 {
		if _, err := e.Append(t.Context(), frames(event.Green, at, at+3, 2)); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	change(t, path, "CREATE TABLE c AS SELECT * FROM cursors", "DROP VIEW cursors", "DROP TABLE cursors_log", "ALTER TABLE c RENAME TO cursors",
		"UPDATE meta SET value = '3' WHERE name = 'format'")
	for at := uint64(6); at < 8; at++ { // and again as a file of this format
		if e, err = Open(Options{Path: path}); err != nil {
			t.Fatal(err)
		}
		if c, err := e.Cursor(t.Context(), event.Green, 0, warehouse.Raw); err != nil || c.Frame != at {
			t.Errorf("cursor %v, %v; want %d", c, err, at)
		}
		if _, err := e.Append(t.Context(), frames(event.Green, at, at+1, 2)); err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf("green 0 raw j %d 0 %d", at+1, 2*(at-1))
		if got := table(t, e, "SELECT * FROM cursors"); got != want {
			t.Errorf("cursors %s, want %s", got, want)
		}
		if got := table(t, e, "SELECT id, first, highest FROM journals"); got != fmt.Sprint("j 0 ", at) {
			t.Errorf("journals %s at frame %d", got, at)
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
