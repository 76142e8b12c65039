package cmd

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// ask runs sparrow query in this process against a Sparrow that runs.
func askQuery(ctx context.Context, dir string, stdout io.Writer, environ []string, args ...string) (status int, stderr string) {
	var said bytes.Buffer
	status = Run(ctx, Options{Args: append([]string{"query", "--data", dir}, args...), Environ: environ, Stdout: stdout, Stderr: &said, Stdin: strings.NewReader("")})
	return status, said.String()
}

// TestQueryHasNoWayOut asks a warehouse process that runs for everything but an answer from its tables. Each attempt is
// refused, or bounded, with an error that says what to do instead; nothing changes, and the process goes on.
func TestQueryHasNoWayOut(t *testing.T) {
	config := filepath.Join(t.TempDir(), "sparrow.yaml")
	if err := os.WriteFile(config, []byte("warehouse:\n  memory: 128MiB\n  spill: 64MiB\n  queries:\n    max_wait: 500ms\n    limit: 1000\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := startUp(t, t.TempDir(), "--config", config)
	outside := t.TempDir()
	secret := filepath.Join(outside, "secret.csv")
	if err := os.WriteFile(secret, []byte("a,b\nplanted-secret,1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	r.await("the warehouse", func() error {
		out.Reset()
		if status, said := askQuery(t.Context(), r.dir, &out, nil, "--format", "csv", "SELECT count(*) AS n FROM timeline"); status != 0 {
			return fmt.Errorf("%s", said)
		}
		if out.String() != "n\r\n1\r\n" {
			return fmt.Errorf("%q", out.String())
		}
		return nil
	})
	pid := r.pid(warehouseName)
	at := func(text string) string {
		return strings.NewReplacer("@FILE", secret, "OUT", outside+"/out", "OWN", filepath.Join(r.dir, "warehouse", "sparrow.duckdb")).Replace(text)
	}
	for _, c := range []struct {
		advice   string // what the error must say to do
		attempts []string
	}{
		{"own tables, see SHOW ALL TABLES", []string{ // reading files
			"SELECT * FROM read_text('@FILE')", "SELECT * FROM read_blob('OWN')", "SELECT * FROM read_csv('@FILE')", "SELECT * FROM read_csv_auto('@FILE')", "SELECT * FROM sniff_csv('@FILE')",
			"SELECT * FROM read_json('@FILE')", "SELECT * FROM read_parquet('@FILE')", "SELECT * FROM parquet_metadata('@FILE')", "SELECT * FROM glob('/*')", "SELECT * FROM '@FILE'", `SELECT * FROM "@FILE"`,
			"FROM 'https://example.com/a.parquet'", "DESCRIBE SELECT * FROM '@FILE'", "SUMMARIZE '@FILE'", "SELECT * FROM read_duckdb('OWN')", "WITH x AS (FROM read_text('@FILE')) FROM x", "SELECT (SELECT content FROM read_text('@FILE'))",
			"SELECT * FROM range(1), LATERAL (FROM read_text('@FILE'))", "EXPLAIN ANALYZE SELECT * FROM read_text('@FILE')", "SELECT * FROM duckdb_secrets()", "SELECT * FROM which_secret('s3://x', 's3')", "SELECT * FROM duckdb_logs()",
			"SELECT * FROM query('SELECT 1')", "SELECT * FROM query_table('timeline')", "FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))", "FROM enable_logging()", "FROM checkpoint()",
		}},
		{"use --format csv or json, or sparrow warehouse export", []string{ // writing files
			"COPY timeline TO 'OUT.csv'", "COPY (SELECT 1) TO 'OUT.parquet' (FORMAT parquet)", "EXPORT DATABASE 'OUT'", "EXPLAIN ANALYZE COPY (SELECT 1) TO 'OUT.csv'", "COPY FROM DATABASE memory TO other",
			"/* x */ copy timeline to 'OUT.csv'", "COPY timeline FROM '@FILE'", "IMPORT DATABASE 'OUT'",
		}},
		{"sparrow warehouse export and a DuckDB of your own", []string{ // attaching, extensions, secrets
			"ATTACH 'OUT.duckdb'", "ATTACH ':memory:' AS m", "DETACH memory", "USE blue", "INSTALL httpfs", "FORCE INSTALL spatial FROM community", "LOAD httpfs", "LOAD '@FILE'", "UPDATE EXTENSIONS", "CREATE SECRET s (TYPE s3)", "CREATE PERSISTENT SECRET s (TYPE s3)", "DROP SECRET s",
		}},
		{"the section warehouse of the settings", []string{ // settings
			"SET memory_limit = '100GB'", "SET GLOBAL enable_external_access = true", "SET lock_configuration = false", "RESET memory_limit", "SET VARIABLE a = 1", "SET SESSION search_path = 'blue'",
			"PRAGMA memory_limit = '100GB'", "PRAGMA enable_profiling", "PRAGMA database_list", "PRAGMA force_checkpoint", "CALL enable_logging()", "CALL pragma_version()", "CALL force_checkpoint()", "CHECKPOINT", "VACUUM", "ANALYZE",
		}},
		{"only appends change it", []string{ // writing
			"DELETE FROM green.raw", "INSERT INTO cursors SELECT * FROM cursors", "UPDATE cursors SET frame = 0", "TRUNCATE timeline", "DROP TABLE timeline", "ALTER TABLE timeline ADD COLUMN x INTEGER", "CREATE TABLE x (a INTEGER)",
			"CREATE TEMP TABLE x AS SELECT 1", "CREATE MACRO m() AS 1", "EXPLAIN ANALYZE DELETE FROM timeline", "MERGE INTO cursors USING cursors c ON true WHEN MATCHED THEN DELETE",
		}},
		{"one SELECT, without BEGIN or PREPARE", []string{ // transactions and prepared statements
			"BEGIN", "COMMIT", "ROLLBACK", "PREPARE p AS SELECT 1", "PREPARE p AS DELETE FROM timeline", "EXECUTE p", "DEALLOCATE p", "EXPLAIN EXECUTE p",
		}},
		{"ask them one at a time", []string{"SELECT 1; SELECT 2", "SELECT 1; DROP TABLE timeline", "SELECT 1;; COPY timeline TO 'OUT.csv'", "PREPARE p AS SELECT 1; EXECUTE p", "SET threads = 1; SELECT 1"}},
		{"getenv does not exist", []string{"SELECT getenv('HOME')"}},
		{"filter by frame or timestamp, or", []string{ // running for ever, taking all memory
			"SELECT count(*) FROM range(1000000000000) a, range(1000000) b", "SELECT length(repeat('x', 3000000000))", "SELECT * FROM range(1000000000) ORDER BY hash(range)",
		}},
		{"parameters", []string{"SELECT ?", "SELECT $1"}},
		{"statement", []string{"SELECT 1 \x00; DROP TABLE timeline", "-- nothing"}},
	} {
		for _, attempt := range c.attempts {
			out.Reset()
			began := time.Now()
			status, said := askQuery(t.Context(), r.dir, &out, nil, "--format", "csv", "--", at(attempt))
			if status != exitError || !strings.Contains(said, c.advice) {
				t.Errorf("%s: status %d, %q; want %q", attempt, status, said, c.advice)
			}
			if strings.Contains(out.String()+said, "planted-secret") {
				t.Errorf("%s: it read the file", attempt)
			}
			if took := time.Since(began); took > time.Minute {
				t.Errorf("%s: took %v", attempt, took)
			}
		}
	}
	if files, err := os.ReadDir(outside); err != nil || len(files) != 1 {
		t.Errorf("files outside: %v, %v", files, err)
	}
	out.Reset()
	if status, said := askQuery(t.Context(), r.dir, &out, nil, "--format", "csv", "SELECT (SELECT count(*) FROM timeline) AS records, count(*) FILTER (table_name IN ('x', 'm', 'p')) AS made FROM duckdb_tables()"); status != 0 || out.String() != "records,made\r\n1,0\r\n" {
		t.Errorf("afterwards: %d, %s, %q", status, said, out.String())
	}
	if now := r.pid(warehouseName); now != pid {
		t.Errorf("the warehouse process ended: it was %d, now %d", pid, now)
	}

	// On a terminal a long answer goes to the pager, a short one and one that is piped do not.
	master, slave := openPTY(t)
	var seen watched
	go io.Copy(&seen, master) // ends when the terminal is closed
	paged := filepath.Join(outside, "paged")
	environ := []string{"PATH=" + os.Getenv("PATH"), "TERM=xterm", "PAGER=cat > " + paged}
	for _, s := range []struct {
		sql   string
		to    io.Writer
		args  []string
		pager bool
	}{
		{"SELECT 4711 AS n FROM range(100)", slave, nil, true},
		{"SELECT 4711 AS n", slave, nil, false},
		{"SELECT 4711 AS n, repeat('x', 50) AS a, repeat('y', 50) AS b, repeat('z', 50) AS c", slave, nil, true},
		{"SELECT 4711 AS n FROM range(100)", slave, []string{"--no-pager"}, false},
		{"SELECT 4711 AS n FROM range(100)", slave, []string{"--format", "csv"}, false},
		{"SELECT 4711 AS n FROM range(100)", &out, nil, false},
	} {
		os.Remove(paged)
		status, said := askQuery(t.Context(), r.dir, s.to, environ, append(s.args, s.sql)...)
		text, err := os.ReadFile(paged)
		if status != 0 || (err == nil) != s.pager || s.pager && !strings.Contains(string(text), "4711") {
			t.Errorf("%s %v: status %d, %s; paged %v: %.50q", s.sql, s.args, status, said, err == nil, text)
		}
	}
	if status, said := askQuery(t.Context(), r.dir, slave, []string{"TERM=xterm", "PAGER=/nonexistent"}, "SELECT 4711 FROM range(100)"); status != 0 || !strings.Contains(said, "does not run: set PAGER, or use --no-pager") {
		t.Errorf("a pager that does not run: %d, %s", status, said)
	}
	for _, s := range []struct {
		want string
		args []string
	}{
		{"event", []string{"--saved", "counts", "--format", "csv"}},
		{"CAST('2 hours' AS INTERVAL)", []string{"--saved", "underreports", "--show", "--arg", "since=2 hours"}},
		{"drop-by-release", []string{"--list"}},
	} {
		out.Reset()
		if status, said := askQuery(t.Context(), r.dir, &out, nil, s.args...); status != 0 || !strings.Contains(out.String(), s.want) {
			t.Errorf("%v: %d, %s, %q", s.args, status, said, out.String())
		}
	}
}
