package cmd

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"strings"
)

// bounded is what the error of a query that would run for ever, or take all memory, says to do.
const bounded = "filter by frame or timestamp, or"

// attempts are statements that sparrow query must refuse, or bound, and what the error must say to do. @FILE is a file with
// a secret, OUT begins a name that must not come to be, OWN is the warehouse's own file.
var attempts = []struct {
	advice   string
	attempts []string
}{
	{"own tables, see SHOW ALL TABLES", []string{ // reading files
		"SELECT * FROM read_text('@FILE')", "SELECT * FROM read_blob('OWN')", "SELECT * FROM read_csv('@FILE')", "SELECT * FROM read_csv_auto('@FILE')", "SELECT * FROM sniff_csv('@FILE')",
		"SELECT * FROM read_json('@FILE')", "SELECT * FROM read_parquet('@FILE')", "SELECT * FROM parquet_metadata('@FILE')", "SELECT * FROM glob('/*')", "SELECT * FROM '@FILE'", `SELECT * FROM "@FILE"`,
		"FROM 'https://example.com/a.parquet'", "DESCRIBE SELECT * FROM '@FILE'", "SUMMARIZE '@FILE'", "SELECT * FROM read_duckdb('OWN')", "WITH x AS (FROM read_text('@FILE')) FROM x", "SELECT (SELECT content FROM read_text('@FILE'))",
		"SELECT * FROM range(1), LATERAL (FROM read_text('@FILE'))", "EXPLAIN ANALYZE SELECT * FROM read_text('@FILE')", "SELECT * FROM duckdb_secrets()", "SELECT * FROM which_secret('s3://x', 's3')", "SELECT * FROM duckdb_logs()",
		"SELECT * FROM query('SELECT 1')", "SELECT * FROM query_table('timeline')", "FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))", "FROM enable_logging()", "FROM checkpoint()",
		"SELECT * FROM READ_TEXT/**/('@FILE')", `SELECT * FROM "Read_Text"('@FILE')`, "SELECT * FROM system.main.read_text('@FILE')", "FROM 'file://@FILE'", "TABLE '@FILE'", "FROM 'a.csv'", `FROM main."a.csv"`,
		"SELECT * FROM read_ndjson_objects('@FILE')", "SELECT * FROM parquet_scan('@FILE')", "SELECT * FROM parquet_schema('@FILE')", "SELECT * FROM sqlite_scan('OWN', 'x')", "SELECT * FROM postgres_query('x', 'SELECT 1')",
		"SELECT * FROM duckdb_settings()", "SELECT * FROM duckdb_extensions()", "SELECT * FROM duckdb_secrets(redact = false)", "SELECT * FROM duckdb_databases()", "SELECT * FROM duckdb_variables()", "SELECT * FROM duckdb_prepared_statements()",
		"SELECT 1 UNION ALL SELECT content FROM read_text('@FILE')", "SELECT 1 ORDER BY (SELECT content FROM read_text('@FILE'))", "SELECT 1 LIMIT (SELECT length(content) FROM read_text('@FILE'))", "SELECT 1 HAVING (SELECT true FROM read_text('@FILE'))",
		"VALUES ((SELECT content FROM read_text('@FILE')))", "SELECT sum(1) FILTER (EXISTS (FROM read_text('@FILE')))", "SELECT count(*) OVER (ORDER BY (SELECT 1 FROM read_text('@FILE')))", "SELECT list_transform([1], x -> (SELECT content FROM read_text('@FILE')))",
		"SELECT struct_pack(a := (SELECT content FROM read_text('@FILE')))", "SELECT * FROM timeline SEMI JOIN read_text('@FILE') ON true", "SELECT * FROM timeline POSITIONAL JOIN glob('/*')", "SELECT * FROM (DESCRIBE SELECT * FROM '@FILE')",
		"FROM range(3) t(i) SELECT (FROM query('SELECT ' || i))", "SELECT json_execute_serialized_sql(json_serialize_sql('SELECT 1'))", "SELECT pg_sleep(1000)", "SELECT system.main.sleep_ms(100)", "SELECT apply([1], x -> sleep_ms(1))", "SELECT main.nextval('s')", `SELECT "nextval"('s')`, "SELECT write_log('x')",
	}},
	{"use --format csv or json, or sparrow warehouse export", []string{ // writing files
		"COPY timeline TO 'OUT.csv'", "COPY (SELECT 1) TO 'OUT.parquet' (FORMAT parquet)", "EXPORT DATABASE 'OUT'", "EXPLAIN ANALYZE COPY (SELECT 1) TO 'OUT.csv'", "COPY FROM DATABASE memory TO other",
		"/* x */ copy timeline to 'OUT.csv'", "COPY timeline FROM '@FILE'", "IMPORT DATABASE 'OUT'",
		"COPY FROM DATABASE sparrow TO memory", "COPY (SELECT 1) TO '/dev/stdout'", "EXPORT DATABASE 'OUT' (FORMAT parquet)",
	}},
	{"sparrow warehouse export and a DuckDB of your own", []string{ // attaching, extensions, secrets
		"ATTACH 'OUT.duckdb'", "USE memory", "ATTACH IF NOT EXISTS 'OWN' AS again (READ_ONLY)", "ATTACH ':memory:' AS m", "DETACH memory", "USE blue", "INSTALL httpfs", "FORCE INSTALL spatial FROM community", "LOAD httpfs", "LOAD '@FILE'", "UPDATE EXTENSIONS", "CREATE SECRET s (TYPE s3)", "CREATE PERSISTENT SECRET s (TYPE s3)", "DROP SECRET s",
	}},
	{"the section warehouse of the settings", []string{ // settings
		"SET memory_limit = '100GB'", "SET GLOBAL enable_external_access = true", "SET lock_configuration = false", "RESET memory_limit", "SET VARIABLE a = 1", "SET SESSION search_path = 'blue'",
		"PRAGMA memory_limit = '100GB'", "PRAGMA enable_profiling", "PRAGMA database_list", "PRAGMA force_checkpoint", "CALL enable_logging()", "CALL pragma_version()", "CALL force_checkpoint()", "CHECKPOINT", "VACUUM", "ANALYZE",
		"SET VARIABLE x = (SELECT content FROM read_text('@FILE'))", "RESET VARIABLE x", "RESET SESSION threads", "SET TimeZone = 'UTC'", "CALL read_text('@FILE')", "PRAGMA table_info('timeline')", "PRAGMA import_database('OUT')", "FORCE CHECKPOINT", "CHECKPOINT sparrow", "VACUUM ANALYZE",
		`PRAGMA json_execute_serialized_sql('{"error":false,"statements":[{"node":{"type":"SELECT_NODE","modifiers":[],"cte_map":{"map":[]},"select_list":[{"class":"CONSTANT","type":"VALUE_CONSTANT","alias":"","query_location":7,"value":{"type":{"id":"INTEGER","type_info":null},"is_null":false,"value":42}}],"from_table":{"type":"EMPTY","alias":"","sample":null,"query_location":18446744073709551615},"where_clause":null,"group_expressions":[],"group_sets":[],"aggregate_handling":"STANDARD_HANDLING","having":null,"sample":null,"qualify":null},"named_param_map":[]}]}')`,
	}},
	{"only appends change it", []string{ // writing
		"DELETE FROM green.raw", "INSERT INTO cursors SELECT * FROM cursors", "UPDATE cursors SET frame = 0", "TRUNCATE timeline", "DROP TABLE timeline", "ALTER TABLE timeline ADD COLUMN x INTEGER", "CREATE TABLE x (a INTEGER)",
		"CREATE TEMP TABLE x AS SELECT 1", "CREATE MACRO m() AS 1", "EXPLAIN ANALYZE DELETE FROM timeline", "MERGE INTO cursors USING cursors c ON true WHEN MATCHED THEN DELETE",
		"WITH a AS (SELECT 1) DELETE FROM timeline", "WITH a AS (SELECT 1) INSERT INTO timeline SELECT * FROM timeline", "EXPLAIN ANALYZE WITH a AS (SELECT 1) DELETE FROM timeline", "EXPLAIN (ANALYZE, FORMAT json) DELETE FROM timeline", "EXPLAIN/**/ANALYZE/**/INSERT INTO timeline SELECT * FROM timeline",
		"CREATE SEQUENCE s", "CREATE TEMPORARY VIEW v AS SELECT 1", "CREATE OR REPLACE TEMP MACRO f() AS TABLE SELECT * FROM read_text('@FILE')", "CREATE TYPE t AS ENUM ('a')", "CREATE INDEX i ON timeline(sequence)", "CREATE SCHEMA s", "DROP SCHEMA green CASCADE", "DROP VIEW live.raw", "COMMENT ON TABLE timeline IS 'x'", "ALTER DATABASE sparrow SET ALIAS TO x",
	}},
	{"one SELECT, without BEGIN or PREPARE", []string{ // transactions and prepared statements
		"BEGIN", "COMMIT", "ROLLBACK", "PREPARE p AS SELECT 1", "PREPARE p AS DELETE FROM timeline", "EXECUTE p", "DEALLOCATE p", "EXPLAIN EXECUTE p",
	}},
	{"ask them one at a time", []string{"SELECT 1; SELECT 2", "SELECT 1; DROP TABLE timeline", "SELECT 1;; COPY timeline TO 'OUT.csv'", "PREPARE p AS SELECT 1; EXECUTE p", "SET threads = 1; SELECT 1"}},
	{"getenv does not exist", []string{"SELECT getenv('HOME')"}},
	{bounded, []string{ // running for ever, taking all memory
		"SELECT count(*) FROM range(1000000000000) a, range(1000000) b", "SELECT length(repeat('x', 3000000000))", "SELECT * FROM range(1000000000) ORDER BY hash(range)",
		"WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r) SELECT max(n) FROM r", "WITH RECURSIVE r AS (SELECT 'x' AS s UNION ALL SELECT s || s FROM r) SELECT max(length(s)) FROM r", "SELECT list(i) FROM range(1000000000000) t(i)",
		"SELECT repeat([1], 2000000000)", "SELECT list_resize(['x'], 2000000000)", "SELECT list_sort(range(300000000))",
	}},
	{"a DuckDB of your own", []string{ // what cannot be stopped
		"SELECT levenshtein(repeat('a', 300000), repeat('b', 300000))", "SELECT main.Levenshtein('a', 'b')", "SELECT list_transform(['a'], x -> editdist3(x, 'b'))", "SELECT damerau_levenshtein('a', 'b')", "EXPLAIN ANALYZE SELECT jaro_similarity('a', 'b')", "SELECT jaro_winkler_similarity('a', 'b') FROM timeline",
	}},
	{"2^32", []string{"SELECT range(1000000000000)", "SELECT * FROM unnest(range(10000000000))"}},
	{"PIVOT must name its values", []string{"PIVOT timeline ON live", "SELECT * FROM (PIVOT timeline ON live USING count(*))"}},
	{"Error: ", []string{ // what does not parse
		"ＳＥＬＥＣＴ 1", "SEL\u200bECT 1", "(DELETE FROM timeline)", "SELECT * FROM (DELETE FROM timeline RETURNING *)", "WITH a AS (DELETE FROM timeline RETURNING *) FROM a", "DESCRIBE DELETE FROM timeline", "SUMMARIZE DELETE FROM timeline", "EXPLAIN EXPLAIN DELETE FROM timeline", "SELECT 1 INTO x", `FROM "s3://bucket"."x"`, "FROM 'hostname'",
		"SELECT " + strings.Repeat("(", 50_000) + "1" + strings.Repeat(")", 50_000), "SELECT 1" + strings.Repeat("+1", 40_000), "SELECT " + strings.Repeat("NOT ", 20_000) + "true",
	}},
	{"pass long values as parameters", []string{"SELECT '" + strings.Repeat("x", 128<<10) + "'"}},
	{"parameters", []string{"SELECT ?", "SELECT $1"}},
	{"statement", []string{"SELECT 1 \x00; DROP TABLE timeline", "-- nothing"}},
}

// sendOn sends events until the function it returns is called, which returns how many were acknowledged.
func (r *running) sendOn() (done func() int) {
	ctx, stop := context.WithCancel(r.t.Context())
	var out bytes.Buffer
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		Run(ctx, Options{Args: []string{"send", "--data", r.dir, "--generate", "1000000", "--batch", "5", "--rate", "200", "--connections", "1", "--json"}, Stdin: strings.NewReader(""), Stdout: &out, Stderr: io.Discard})
	}()
	return func() int {
		stop()
		<-ended
		var report struct{ Acknowledged, Interrupted, Unknown int }
		if err := json.Unmarshal(out.Bytes(), &report); err != nil {
			r.t.Fatalf("send: %v\n%s", err, out.String())
		}
		r.t.Logf("sent meanwhile: %+v", report)
		return report.Acknowledged
	}
}
