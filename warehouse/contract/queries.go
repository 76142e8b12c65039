package contract

import (
	"context"
	"errors"
	"io"
	"math"
	"math/big"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

func typesOfValues(t *testing.T, w warehouse.Warehouse) {
	big128, _ := new(big.Int).SetString("-170141183460469231731687303715884105727", 10)
	unsigned128, _ := new(big.Int).SetString("340282366920938463463374607431768211455", 10)
	for _, c := range []struct {
		sql  string
		want any
		kind string
	}{
		{"NULL", nil, ""},
		{"true", true, "BOOLEAN"},
		{"false", false, "BOOLEAN"},
		{"CAST(-7 AS TINYINT)", int64(-7), "TINYINT"},
		{"CAST(-300 AS SMALLINT)", int64(-300), "SMALLINT"},
		{"CAST(7 AS INTEGER)", int64(7), "INTEGER"},
		{"CAST(-9223372036854775808 AS BIGINT)", int64(math.MinInt64), "BIGINT"},
		{"9223372036854775807", int64(math.MaxInt64), "BIGINT"},
		{"CAST(255 AS UTINYINT)", uint64(255), "UTINYINT"},
		{"CAST(65535 AS USMALLINT)", uint64(65535), "USMALLINT"},
		{"CAST(4294967295 AS UINTEGER)", uint64(math.MaxUint32), "UINTEGER"},
		{"CAST(18446744073709551615 AS UBIGINT)", uint64(math.MaxUint64), "UBIGINT"},
		{"CAST(-170141183460469231731687303715884105727 AS HUGEINT)", big128, "HUGEINT"},
		{"CAST(5 AS HUGEINT)", big.NewInt(5), "HUGEINT"},
		{"CAST('340282366920938463463374607431768211455' AS UHUGEINT)", unsigned128, "UHUGEINT"},
		{"CAST(1.5 AS FLOAT)", 1.5, "FLOAT"},
		{"CAST(0.1 AS DOUBLE)", 0.1, "DOUBLE"},
		{"CAST('NaN' AS DOUBLE)", math.NaN(), "DOUBLE"},
		{"CAST('-Infinity' AS DOUBLE)", math.Inf(-1), "DOUBLE"},
		{"CAST('-0' AS DOUBLE)", math.Copysign(0, -1), "DOUBLE"},
		{"5e-324", 5e-324, "DOUBLE"},
		{"'text with \x01 and 😀'", "text with \x01 and 😀", "VARCHAR"},
		{"''", "", "VARCHAR"},
		{"chr(0)", "\x00", "VARCHAR"},
		{"CAST('\\x00\\xFF\\x80' AS BLOB)", []byte{0, 0xff, 0x80}, "BLOB"},
		{"CAST('' AS BLOB)", []byte{}, "BLOB"},
		{"CAST('2025-07-23 19:46:40.123456' AS TIMESTAMP)", time.UnixMicro(1753300000123456).UTC(), "TIMESTAMP"},
		{"CAST('1900-01-01 00:00:00.000001' AS TIMESTAMP)", time.Date(1900, 1, 1, 0, 0, 0, 1000, time.UTC), "TIMESTAMP"},
		{"CAST('2025-07-23' AS DATE)", time.Date(2025, 7, 23, 0, 0, 0, 0, time.UTC), "DATE"},
		{"CAST('1899-12-31' AS DATE)", time.Date(1899, 12, 31, 0, 0, 0, 0, time.UTC), "DATE"},
		{"CAST('-12.340' AS DECIMAL(9,3))", "-12.340", "DECIMAL(9,3)"},
		{"CAST('99999999999999999999999999999999999.999' AS DECIMAL(38,3))", "99999999999999999999999999999999999.999", "DECIMAL(38,3)"},
		{"CAST('12:34:56.5' AS TIME)", "12:34:56.5", "TIME"},
		{"[1, NULL, 3]", "[1,null,3]", "INTEGER[]"},
		{"{'a': 1, 'b': 'x'}", `{"a":1,"b":"x"}`, "STRUCT"},
		{"MAP {'k': 1}", `{"k":1}`, "MAP"},
		{"CAST('0190a1b2-0000-7000-8000-00000000000f' AS UUID)", "0190a1b2-0000-7000-8000-00000000000f", "UUID"},
		{"sum(9223372036854775807) FROM (VALUES (1), (2)) v", new(big.Int).Mul(big.NewInt(math.MaxInt64), big.NewInt(2)), "HUGEINT"},
	} {
		rows, err := w.Query(t.Context(), warehouse.Query{SQL: "SELECT " + c.sql})
		if err != nil {
			t.Errorf("%s: %v", c.sql, err)
			continue
		}
		row, err := rows.Next()
		if err != nil {
			t.Errorf("%s: %v", c.sql, err)
			continue
		}
		if _, err := rows.Next(); err != io.EOF {
			t.Errorf("%s: after the last row: %v, want io.EOF", c.sql, err)
		}
		if len(rows.Columns) != 1 || c.kind != "" && rows.Columns[0].Type != c.kind {
			t.Errorf("%s: columns %v, want one of type %s", c.sql, rows.Columns, c.kind)
		}
		if diff := cmp.Diff([]any{c.want}, row, cmp.Comparer(sameInt), cmp.Comparer(sameFloat)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.sql, diff)
		}
		rows.Close()
	}
	// Names may repeat, nested columns among them, and order stays.
	rows, err := w.Query(t.Context(), warehouse.Query{SQL: `SELECT i AS a, [i] AS a, 'x' AS "b c" FROM range(5) r(i) ORDER BY i DESC;`})
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	if diff := cmp.Diff([]warehouse.Column{{Name: "a", Type: "BIGINT"}, {Name: "a", Type: "BIGINT[]"}, {Name: "b c", Type: "VARCHAR"}}, rows.Columns); diff != "" {
		t.Errorf("columns (-want +got):\n%s", diff)
	}
	if first, err := rows.Next(); err != nil || !cmp.Equal(first, []any{int64(4), "[4]", "x"}) {
		t.Errorf("first row %v, %v", first, err)
	}
}

func sameInt(a, b *big.Int) bool { return a == b || a != nil && b != nil && a.Cmp(b) == 0 }

func sameFloat(a, b float64) bool {
	return math.Float64bits(a) == math.Float64bits(b) || a != a && b != b
}

func parameters(t *testing.T, w warehouse.Warehouse) {
	args := []any{"a'b\x00😀", int64(math.MinInt64), uint64(math.MaxUint64), 0.1, 5.0, -1e300, true, nil, 42}
	want := []any{"a'b\x00😀", int64(math.MinInt64), uint64(math.MaxUint64), 0.1, 5.0, -1e300, true, nil, int64(42)}
	got := ask(t, w, "SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?", args...)
	if diff := cmp.Diff(want, got[0], cmp.Comparer(sameFloat)); diff != "" {
		t.Errorf("parameters (-want +got):\n%s", diff)
	}
	h, c := small(t)
	mustAppend(t, w, h.batch(event.Green, event.Cursor{}, h.end(), c))
	if got := ask(t, w, "SELECT count(*) FROM green.raw WHERE frame BETWEEN ? AND ? AND event = ?", 2, 3, "click"); got[0][0] == int64(0) {
		t.Error("nothing found by parameters")
	}
	for _, args := range [][]any{{}, {1, 2}, {[]string{"x"}}, {make(chan int)}} {
		if _, err := read(t.Context(), w, warehouse.Query{SQL: "SELECT ?", Args: args}); err == nil {
			t.Errorf("SELECT ? with %d arguments (%T) answered", len(args), args)
		}
	}
}

func limit(t *testing.T, w warehouse.Warehouse) {
	for _, c := range []struct {
		rows, limit int
		want        int
		truncated   bool
	}{{10, 0, 10, false}, {10, 10, 10, false}, {10, 9, 9, true}, {10, 11, 10, false}, {0, 1, 0, false}, {50_000, 49_999, 49_999, true}, {50_000, 50_000, 50_000, false}} {
		rows, err := w.Query(t.Context(), warehouse.Query{SQL: "SELECT range FROM range(?)", Args: []any{c.rows}, Limit: c.limit})
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for {
			row, err := rows.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if row[0] != int64(n) {
				t.Fatalf("row %d is %v", n, row)
			}
			n++
		}
		if n != c.want || rows.Truncated() != c.truncated {
			t.Errorf("%d rows, limit %d: got %d, truncated %v; want %d, %v", c.rows, c.limit, n, rows.Truncated(), c.want, c.truncated)
		}
		if err := rows.Close(); err != nil {
			t.Error(err)
		}
	}
	// A limit spares the work: this would not end otherwise.
	if got, err := read(t.Context(), w, warehouse.Query{SQL: "SELECT range FROM range(1000000000000)", Limit: 3}); err != nil || len(got) != 3 {
		t.Errorf("%d rows, %v; want 3", len(got), err)
	}
}

// oneStatement tries what is not one statement that reads. Everything must be ErrReadOnly, and nothing may change.
func oneStatement(t *testing.T, w warehouse.Warehouse) {
	h, c := small(t)
	mustAppend(t, w, h.batch(event.Green, event.Cursor{}, h.end(), c))
	for _, sql := range []string{
		"", " ", ";", "-- nothing", "/* nothing */",
		"DELETE FROM green.raw", "INSERT INTO green.raw SELECT * FROM green.raw", "UPDATE cursors SET frame = 0", "TRUNCATE green.raw",
		"INSERT INTO green.raw SELECT * FROM green.raw RETURNING *", "MERGE INTO cursors USING cursors c ON true WHEN MATCHED THEN DELETE",
		"CREATE TABLE x (a INTEGER)", "CREATE TEMP TABLE x AS SELECT 1", "CREATE VIEW v AS SELECT 1", "CREATE MACRO m() AS 1", "CREATE SEQUENCE s", "CREATE SCHEMA s", "CREATE TYPE t AS ENUM ('a')",
		"DROP TABLE green.raw", "DROP VIEW live.raw", "ALTER TABLE green.raw ADD COLUMN x INTEGER", "COMMENT ON TABLE green.raw IS 'x'",
		"SELECT 1; SELECT 2", "SELECT 1; DELETE FROM green.raw", "SELECT 1;;DROP TABLE timeline", "SELECT 1; -- \nDROP TABLE timeline",
		"WITH x AS (DELETE FROM green.raw RETURNING *) SELECT * FROM x", "WITH x AS (INSERT INTO cursors VALUES ('x', 1, 'y', 'z', 1, 1) RETURNING *) SELECT * FROM x",
		"SET threads = 1", "SET GLOBAL memory_limit = '100GB'", "RESET memory_limit", "SET VARIABLE a = 1", "SET SESSION search_path = 'blue'", "USE blue",
		"PRAGMA memory_limit = '100GB'", "PRAGMA enable_profiling", "PRAGMA database_list", "PRAGMA enable_checkpoint_on_shutdown", "PRAGMA force_checkpoint",
		"CHECKPOINT", "FORCE CHECKPOINT", "VACUUM", "ANALYZE", "BEGIN", "COMMIT", "ROLLBACK", "ABORT",
		"CALL enable_logging()", "CALL pragma_version()", "PREPARE p AS SELECT 1", "EXECUTE p", "DEALLOCATE p",
		"EXPLAIN ANALYZE DELETE FROM green.raw", "EXPLAIN DELETE FROM green.raw", "EXPLAIN ANALYZE CREATE TABLE x AS SELECT 1", "EXPLAIN (ANALYZE) DROP TABLE green.raw",
		"/* a */ EXPLAIN /* b */ ANALYZE -- c\n INSERT INTO cursors SELECT * FROM cursors",
		"SELECT * FROM enable_logging()", "SELECT * FROM disable_logging()", "SELECT * FROM truncate_duckdb_logs()", "FROM checkpoint()", "FROM force_checkpoint()",
		"SELECT * FROM enable_profiling()", "SELECT * FROM enable_peg_parser()", "SELECT write_log('x')", "SELECT sleep_ms(1)", "SELECT (SELECT nextval('s'))",
		"SELECT * FROM query('SELECT 1')", "SELECT * FROM query_table('green.raw')", "FROM json_execute_serialized_sql('{}')",
		"SELECT (SELECT count(*) FROM (SELECT * FROM enable_logging()))", "WITH x AS (FROM checkpoint()) SELECT * FROM x", "SELECT 1 WHERE EXISTS (FROM checkpoint())",
		"SELECT * FROM range(1), LATERAL (SELECT * FROM checkpoint())", "SELECT list_transform([1], lambda x: write_log('y'))", "SELECT Write_Log('x')", `SELECT "write_log"('x')`, `FROM "Enable_Logging"()`,
		"SELECT 1 UNION ALL SELECT 2 FROM checkpoint()", "VALUES ((SELECT count(*) FROM checkpoint()))", "SELECT 1 ORDER BY (SELECT count(*) FROM checkpoint())", "DESCRIBE SELECT * FROM checkpoint()", "SUMMARIZE SELECT * FROM checkpoint()",
	} {
		_, err := read(t.Context(), w, warehouse.Query{SQL: sql})
		if !errors.Is(err, warehouse.ErrReadOnly) && !strings.Contains(errText(err), "Parser Error") && !strings.Contains(errText(err), "syntax error") {
			t.Errorf("%q: %v, want ErrReadOnly", sql, err)
		}
	}
	equalRows(t, "green.raw", h.rows(), stored(t, w, "green.raw"))
	equalRows(t, "live.raw", h.rows(), stored(t, w, "live.raw"))
	if got := ask(t, w, "SELECT count(*) FROM information_schema.tables WHERE table_name IN ('x', 'v')"); got[0][0] != int64(0) {
		t.Errorf("%v tables were made", got[0][0])
	}
	for _, sql := range []string{"SELECT 1", "select 1;", " -- c\nSELECT 1", "FROM timeline", "VALUES (1)", "WITH a AS (SELECT 1) SELECT * FROM a", "(SELECT 1)", "SELECT 1 UNION SELECT 2",
		"EXPLAIN SELECT 1", "explain analyze select count(*) from green.raw", "DESCRIBE live.raw", "SHOW TABLES", "SHOW ALL TABLES", "SUMMARIZE cursors", "SELECT * FROM information_schema.columns",
		"SELECT ';'", "SELECT 'DROP TABLE x' -- ; DELETE FROM green.raw", "SELECT * FROM duckdb_tables()", "SELECT * FROM unnest([1, 2])", "SELECT * FROM generate_series(1, 3)", "SELECT * FROM pragma_table_info('cursors')",
		"SELECT event, count(*) FROM live.raw GROUP BY event HAVING count(*) > 0 ORDER BY 2 DESC LIMIT 5", "SELECT * FROM green.raw ASOF JOIN blue.raw b USING (frame)"} {
		if _, err := read(t.Context(), w, warehouse.Query{SQL: sql}); err != nil {
			t.Errorf("%q is refused: %v", sql, err)
		}
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// nothingOutside tries to get out of the database.
func nothingOutside(t *testing.T, w warehouse.Warehouse) {
	dir := t.TempDir()
	for _, sql := range []string{
		"SELECT * FROM read_csv('/etc/passwd')", "SELECT * FROM read_csv_auto('/etc/passwd')", "SELECT * FROM read_text('/etc/passwd')", "SELECT * FROM read_blob('/etc/passwd')",
		"SELECT * FROM read_json('/etc/passwd')", "SELECT * FROM read_ndjson_objects('/etc/passwd')", "SELECT * FROM read_parquet('/x')", "SELECT * FROM parquet_scan('/x')", "SELECT * FROM parquet_metadata('/x')",
		"SELECT * FROM '/etc/passwd'", `SELECT * FROM "/etc/passwd"`, "SELECT * FROM 'data.csv'", "SELECT * FROM 'https://example.com/a.parquet'", "FROM 's3://b/*.parquet'", "SELECT * FROM glob('/*')", "SELECT * FROM sniff_csv('/etc/passwd')",
		"SELECT * FROM read_duckdb('/x.duckdb')", "SELECT * FROM sqlite_scan('/x', 't')", "SELECT * FROM postgres_scan('', '', '')", "DESCRIBE '/etc/passwd'", "DESCRIBE SELECT * FROM '/etc/passwd'", "SUMMARIZE '/etc/passwd'",
		"COPY green.raw TO '" + dir + "/out.csv'", "COPY (SELECT 1) TO '" + dir + "/out.parquet' (FORMAT parquet)", "COPY green.raw FROM '/etc/passwd'", "EXPORT DATABASE '" + dir + "/e'", "IMPORT DATABASE '" + dir + "/e'",
		"COPY FROM DATABASE memory TO other", "EXPLAIN ANALYZE COPY (SELECT 1) TO '" + dir + "/out.csv'",
		"ATTACH '" + dir + "/x.duckdb'", "ATTACH ':memory:' AS m", "DETACH memory", "INSTALL httpfs", "LOAD httpfs", "FORCE INSTALL spatial", "UPDATE EXTENSIONS",
		"CREATE SECRET s (TYPE s3)", "DROP SECRET s", "SELECT * FROM duckdb_secrets()", "SELECT * FROM which_secret('s3://x', 's3')", "SELECT getenv('HOME')", "SELECT * FROM duckdb_extensions()", "SELECT * FROM duckdb_logs()",
	} {
		if got, err := read(t.Context(), w, warehouse.Query{SQL: sql}); err == nil {
			t.Errorf("%q answered %.200v", sql, got)
		} else if len(err.Error()) < 20 {
			t.Errorf("%q: %q does not say what happened", sql, err)
		}
	}
}

func faults(t *testing.T, w warehouse.Warehouse) {
	for sql, want := range map[string]string{
		"SELEC 1":                                           "SELEC",
		"SELECT nothing FROM green.raw":                     "nothing",
		"SELECT * FROM nowhere":                             "nowhere",
		"SELECT no_such_function(1)":                        "no_such_function",
		"SELECT CAST('x' AS INTEGER)":                       "'x'",
		"SELECT CAST(i AS TINYINT) FROM range(100000) r(i)": "127",
		"SELECT error('told ' || 'you')":                    "told you",
	} {
		_, err := read(t.Context(), w, warehouse.Query{SQL: sql})
		if err == nil || !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(want)) && !strings.Contains(err.Error(), "range") {
			t.Errorf("%q: %v, want the fault named (%s)", sql, err, want)
		}
		if errors.Is(err, warehouse.ErrReadOnly) {
			t.Errorf("%q: %v: it is a fault, not a write", sql, err)
		}
	}
	if _, err := read(t.Context(), w, warehouse.Query{SQL: "SELECT 1", MaxWait: "soon"}); err == nil {
		t.Error("maxWait soon is taken")
	}
	if _, err := read(t.Context(), w, warehouse.Query{SQL: "SELECT 1\x00; DROP TABLE timeline"}); err == nil {
		t.Error("a statement with a NUL byte is taken")
	}
	if _, err := read(t.Context(), w, warehouse.Query{SQL: "SELECT '" + strings.Repeat("x", 1<<18) + "'"}); err == nil {
		t.Error("a statement of 256 KiB is taken")
	}
	// A fault in the middle of an answer is an error, not its end.
	got, err := read(t.Context(), w, warehouse.Query{SQL: "SELECT CASE WHEN range = 2000000 THEN error('half-way') ELSE range END FROM range(3000000)", Limit: 3_000_000})
	if err == nil || !strings.Contains(err.Error(), "half-way") {
		t.Errorf("%d rows, then %v", len(got), err)
	}
}

// endless is a query that never ends by itself and gives no rows.
const endless = "SELECT count(*) FROM range(1000000000) a, range(1000000000) b WHERE a.range = b.range + 7 OR a.range * b.range = -1"

func deadline(t *testing.T, w warehouse.Warehouse) {
	for _, sql := range []string{endless, "SELECT range FROM range(1000000000000)", "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT * FROM t"} {
		_, err := read(t.Context(), w, warehouse.Query{SQL: sql, MaxWait: "300ms", Limit: math.MaxInt})
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(errText(err), "300ms") {
			t.Errorf("%q: %v, want it stopped after 300ms", sql, err)
		}
	}
	if got := ask(t, w, "SELECT 1"); len(got) != 1 {
		t.Error("nothing works afterwards")
	}
}

func cancellation(t *testing.T, w warehouse.Warehouse) {
	for range 3 {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			_, err := read(ctx, w, warehouse.Query{SQL: endless})
			done <- err
		}()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled query: %v", err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	rows, err := w.Query(ctx, warehouse.Query{SQL: "SELECT range FROM range(1000000000000)", Limit: math.MaxInt})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rows.Next(); err != nil {
		t.Fatal(err)
	}
	cancel()
	for err == nil {
		_, err = rows.Next()
	}
	if !errors.Is(err, context.Canceled) {
		t.Errorf("rows after cancellation: %v", err)
	}
	rows.Close()
}

func snapshot(t *testing.T, w warehouse.Warehouse) {
	h := newHistory("journal-1")
	c := h.control(t, event.Initial, event.Green, 0)
	each := many(w, 500)
	for range 20 {
		h.frame(each)
	}
	before := h.end()
	mustAppend(t, w, h.batch(event.Green, event.Cursor{}, before, c))
	rows, err := w.Query(t.Context(), warehouse.Query{SQL: "SELECT frame FROM live.raw"})
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	first, err := rows.Next()
	if err != nil {
		t.Fatal(err)
	}
	h.frame(each)
	mustAppend(t, w, h.batch(event.Green, before, h.end()))
	n := 1
	for ; err == nil; n++ {
		if first[0].(int64) >= int64(before.Frame) {
			t.Fatalf("a row of frame %v, appended after the query began", first[0])
		}
		first, err = rows.Next()
	}
	if err != io.EOF || n-1 != 20*each {
		t.Errorf("%d rows, then %v; want %d", n-1, err, 20*each)
	}
	if got := ask(t, w, "SELECT count(*) FROM live.raw"); got[0][0] != int64(21*each) {
		t.Errorf("a new query sees %v rows, want %d", got[0][0], 21*each)
	}
}

func closeRows(t *testing.T, w warehouse.Warehouse) {
	for range 20 { // more than run at once: places must come back
		rows, err := w.Query(t.Context(), warehouse.Query{SQL: "SELECT range FROM range(1000000000000)", Limit: math.MaxInt})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := rows.Next(); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := rows.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := rows.Next(); err == nil || err == io.EOF {
			t.Fatalf("closed rows answer: %v", err)
		}
	}
}

func manyQueries(t *testing.T, w warehouse.Warehouse) {
	h := newHistory("journal-1")
	c := h.control(t, event.Initial, event.Green, 0)
	rows := many(w, 1000)
	for range rows / 10 {
		h.frame(10)
	}
	mustAppend(t, w, h.batch(event.Green, event.Cursor{}, h.end(), c))
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 5 {
				got, err := read(t.Context(), w, warehouse.Query{SQL: "SELECT * FROM live.raw ORDER BY frame, item"})
				if err != nil || len(got) != rows {
					t.Errorf("%d rows, %v", len(got), err)
				}
			}
		})
	}
	wg.Wait()
}
