package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const schema = "-- what the statements below read\n" + `
CREATE SCHEMA IF NOT EXISTS ` + "`p`.`d`" + `;

CREATE TABLE IF NOT EXISTS ` + "`p`.`d`.`raw_log`" + ` (
  ` + "`eventId`" + ` STRING,
  ` + "`timestamp`" + ` TIMESTAMP,
  frame INT64
)
PARTITION BY DATE(` + "`timestamp`" + `)
CLUSTER BY frame
OPTIONS (description = 'a; semicolon');

CREATE TABLE ` + "`p`.`d_green`.`raw`" + ` (eventId STRING);

CREATE TABLE ` + "`p`.`d_green`.`other`" + ` (x INT64);

CREATE OR REPLACE VIEW ` + "`p`.`d`.`raw`" + ` AS
SELECT eventId, frame + 1 AS next FROM ` + "`p`.`d`.`raw_log`" + `
WHERE TRUE QUALIFY ROW_NUMBER() OVER (PARTITION BY eventId ORDER BY frame) = 1;
`

// check runs statements after the schema and returns the exit status and what was said.
func check(t *testing.T, statements string) (int, string) {
	t.Helper()
	dir := t.TempDir()
	var files []string
	for name, text := range map[string]string{"a-schema.sql": schema, "statements.sql": statements} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, path)
	}
	if strings.HasSuffix(files[0], "statements.sql") {
		files[0], files[1] = files[1], files[0]
	}
	var out bytes.Buffer
	status := run(options{home: "p.d", prefix: "d_"}, files, &out, &out)
	return status, out.String()
}

func TestStatements(t *testing.T) {
	for _, c := range []struct{ name, sql, refused string }{
		{"reads a view", "SELECT eventId, next FROM `p`.`d`.`raw` WHERE next > 7", ""},
		{"a name without project", "SELECT next FROM d.raw AS a JOIN `p`.d_green.raw AS b USING (eventId)", ""},
		{"a name without prefix", "SELECT eventId FROM green.raw", ""},
		{"a name in the default dataset", "SELECT next FROM raw", ""},
		{"a name of another dataset alone", "SELECT x FROM other", "other"},
		{"named parameters", "SELECT eventId FROM `p`.d.raw WHERE next > @from", ""},
		{"parameters by position", "SELECT eventId FROM `p`.d.raw WHERE next > ? LIMIT ?", ""},
		{"a column is added", "ALTER TABLE `p`.`d`.`raw_log` ADD COLUMN IF NOT EXISTS build STRING", ""},
		{"another name of a type", "SELECT CAST(next AS INTEGER), CAST(next AS DECIMAL) FROM raw", ""},
		{"an alias hides a column", "SELECT SUM(next) AS next FROM raw HAVING SUM(next) > 1", "Aggregations of aggregations"},
		{"an integer too large to be written", "SELECT next + 9223372036854775808 FROM raw", "Invalid integer literal"},
		{"a semicolon in a text", "SELECT ';' AS x", ""},
		{"a column is misspelt", "SELECT evntId FROM `p`.`d`.`raw`", "evntId"},
		{"a column the view does not pass on", "SELECT frame FROM `p`.`d`.`raw`", "frame"},
		{"a table is misspelt", "SELECT 1 FROM `p`.`d`.`rwa`", "rwa"},
		{"a type does not fit", "SELECT SUM(eventId) FROM `p`.`d`.`raw`", "SUM"},
		{"a function of DuckDB", "SELECT list_aggregate([1], 'sum')", "list_aggregate"},
		{"a cast of DuckDB", "SELECT eventId::INT64 FROM `p`.`d`.`raw`", "Syntax error"},
		{"a type of DuckDB", "SELECT CAST(eventId AS HUGEINT) FROM `p`.`d`.`raw`", "HUGEINT"},
		{"a type of Google's own products", "SELECT CAST(eventId AS UINT64) FROM `p`.`d`.`raw`", "UINT64"},
		{"a column is not grouped", "SELECT eventId, COUNT(*) FROM `p`.`d`.`raw`", "eventId"},
		{"sides of a union differ", "SELECT eventId FROM `p`.d.raw UNION ALL SELECT next FROM `p`.d.raw", "UNION ALL"},
		{"made twice", "CREATE TABLE `p`.`d`.`raw_log` (x INT64)", "made twice"},
		{"a name in part", "CREATE TABLE `d`.`raw_log` (x INT64)", "want project"},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, said := check(t, c.sql+";\n")
			if c.refused == "" && status != 0 {
				t.Errorf("exit status %d\n%s", status, said)
			}
			if c.refused != "" && (status != 1 || !strings.Contains(said, c.refused) || !strings.Contains(said, "statements.sql:1:")) {
				t.Errorf("exit status %d, want it refused for %q\n%s", status, c.refused, said)
			}
		})
	}
}

// A view that is replaced has its new columns from there on, and no longer the old ones.
func TestReplacedView(t *testing.T) {
	status, said := check(t, "CREATE OR REPLACE VIEW `p`.`d`.`raw` AS SELECT frame FROM `p`.`d`.`raw_log`;\n\nSELECT frame FROM `p`.d.raw;\n\nSELECT next FROM `p`.d.raw;\n")
	if status != 1 || !strings.Contains(said, "statements.sql:5: Unrecognized name: next") || !strings.Contains(said, "3 statements, 1 refused") {
		t.Errorf("exit status %d\n%s", status, said)
	}
}

func TestEmptyFile(t *testing.T) {
	if status, said := check(t, "-- nothing\n"); status != 1 {
		t.Errorf("exit status %d\n%s", status, said)
	}
}
