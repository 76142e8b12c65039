package contract

import (
	"context"
	"errors"
	"io"
	"math"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

func googleTypes(t *testing.T, w warehouse.Warehouse) {
	for _, c := range []struct {
		sql  string
		want any
		kind string
	}{
		{"true", true, "BOOL"},
		{"CAST(-9223372036854775808 AS INT64)", int64(math.MinInt64), "INT64"},
		{"9223372036854775807", int64(math.MaxInt64), "INT64"},
		{"CAST('79228162514264337593543950335' AS BIGNUMERIC)", new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 96), big.NewInt(1)), "BIGNUMERIC"},
		{"CAST(0.1 AS FLOAT64)", 0.1, "FLOAT64"},
		{"CAST('NaN' AS FLOAT64)", math.NaN(), "FLOAT64"},
		{"CAST('-inf' AS FLOAT64)", math.Inf(-1), "FLOAT64"},
		{"'text with \\x01 and 😀'", "text with \x01 and 😀", "STRING"},
		{"''", "", "STRING"},
		{"CAST('abc' AS BYTES)", []byte("abc"), "BYTES"},
		{"CAST('' AS BYTES)", []byte{}, "BYTES"},
		{"TIMESTAMP_MICROS(1753300000123456)", time.UnixMicro(1753300000123456).UTC(), "TIMESTAMP"},
		{"TIMESTAMP_MICROS(-2208988800000001)", time.UnixMicro(-2208988800000001).UTC(), "TIMESTAMP"},
		{"CAST('2025-07-23' AS DATE)", time.Date(2025, 7, 23, 0, 0, 0, 0, time.UTC), "DATE"},
		{"[1, 2, 3]", "[1,2,3]", "ARRAY<INT64>"},
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
		if len(rows.Columns) != 1 || rows.Columns[0].Type != c.kind {
			t.Errorf("%s: columns %v, want one of type %s", c.sql, rows.Columns, c.kind)
		}
		if diff := cmp.Diff([]any{c.want}, row, cmp.Comparer(sameInt), cmp.Comparer(sameFloat)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.sql, diff)
		}
		rows.Close()
	}
	if got := ask(t, w, "SELECT CAST(NULL AS STRING), CAST(NULL AS BYTES), CAST(NULL AS INT64), CAST(NULL AS TIMESTAMP)"); !cmp.Equal(got, [][]any{{nil, nil, nil, nil}}) {
		t.Errorf("nulls %v", got)
	}
}

func googleParameters(t *testing.T, w warehouse.Warehouse) {
	args := []any{"a'b 😀", int64(math.MinInt64), 0.1, -1e300, true, nil, 42, uint64(math.MaxUint64)}
	want := []any{"a'b 😀", int64(math.MinInt64), 0.1, -1e300, true, nil, int64(42), new(big.Int).SetUint64(math.MaxUint64)}
	got := ask(t, w, "SELECT ?, ?, ?, ?, ?, ?, ?, ?", args...)
	if diff := cmp.Diff(want, got[0], cmp.Comparer(sameFloat), cmp.Comparer(sameInt)); diff != "" {
		t.Errorf("parameters (-want +got):\n%s", diff)
	}
	h, c := small(t)
	mustAppend(t, w, h.batch(event.Green, event.Cursor{}, h.end(), c))
	if got := ask(t, w, "SELECT COUNT(*) FROM green.raw WHERE frame BETWEEN ? AND ? AND event = ?", 2, 3, "click"); got[0][0] == int64(0) {
		t.Error("nothing found by parameters")
	}
	for _, args := range [][]any{{}, {[]string{"x"}}, {make(chan int)}} {
		if _, err := read(t.Context(), w, warehouse.Query{SQL: "SELECT ?", Args: args}); err == nil {
			t.Errorf("SELECT ? with %d arguments (%T) answered", len(args), args)
		}
	}
}

func googleLimit(t *testing.T, w warehouse.Warehouse) {
	for _, c := range []struct {
		rows, limit int
		want        int
		truncated   bool
	}{{10, 0, 10, false}, {10, 10, 10, false}, {10, 9, 9, true}, {10, 11, 10, false}, {0, 1, 0, false}, {12_000, 11_999, 11_999, true}, {12_000, 12_000, 12_000, false}} {
		rows, err := w.Query(t.Context(), warehouse.Query{SQL: "SELECT n FROM UNNEST(GENERATE_ARRAY(1, ?)) AS n ORDER BY n", Args: []any{c.rows}, Limit: c.limit})
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
			if n++; row[0] != int64(n) {
				t.Fatalf("row %d is %v", n, row)
			}
		}
		if n != c.want || rows.Truncated() != c.truncated {
			t.Errorf("%d rows, limit %d: got %d, truncated %v; want %d, %v", c.rows, c.limit, n, rows.Truncated(), c.want, c.truncated)
		}
		if err := rows.Close(); err != nil {
			t.Error(err)
		}
	}
}

// googleOneStatement tries what is not one statement that reads.
func googleOneStatement(t *testing.T, w warehouse.Warehouse) {
	h, c := small(t)
	mustAppend(t, w, h.batch(event.Green, event.Cursor{}, h.end(), c))
	for _, sql := range []string{
		"", " ", "DELETE FROM green.raw_log WHERE TRUE", "INSERT INTO green.raw_log (event) VALUES ('x')", "UPDATE green.raw_log SET event = 'x' WHERE TRUE", "TRUNCATE TABLE green.raw_log",
		"MERGE green.raw_log USING green.raw ON FALSE WHEN NOT MATCHED BY SOURCE THEN DELETE", "CREATE TABLE green.x (a INT64)", "CREATE TEMP TABLE x AS SELECT 1", "CREATE VIEW green.v AS SELECT 1",
		"CREATE OR REPLACE VIEW live.raw AS SELECT 1", "DROP TABLE green.raw_log", "DROP VIEW live.raw", "ALTER TABLE green.raw_log ADD COLUMN x INT64", "DROP SCHEMA green CASCADE",
		"SELECT 1; SELECT 2", "SELECT 1; DROP TABLE green.raw_log", "SELECT 1; -- x\nDROP VIEW live.raw", "/* SELECT */ DROP TABLE green.raw_log",
		"EXECUTE IMMEDIATE 'DROP TABLE green.raw_log'", "BEGIN TRANSACTION", "EXPORT DATA OPTIONS (uri = 'gs://b/x-*', format = 'CSV') AS SELECT 1", "CALL p()", "LOAD DATA INTO green.x FROM FILES (format = 'CSV', uris = ['gs://b/x'])",
		"GRANT `roles/bigquery.dataOwner` ON SCHEMA green TO 'user:a@example.org'",
	} {
		_, err := read(t.Context(), w, warehouse.Query{SQL: sql})
		if !errors.Is(err, warehouse.ErrReadOnly) {
			t.Errorf("%q: %v, want ErrReadOnly", sql, err)
		}
	}
	equalRows(t, "green.raw", h.rows(), stored(t, w, "green.raw"))
	equalRows(t, "live.raw", h.rows(), stored(t, w, "live.raw"))
	for _, sql := range []string{"SELECT 1", "select 1;", " -- c\nSELECT 1", "WITH a AS (SELECT 1 AS n) SELECT * FROM a", "(SELECT 1)", "SELECT 1 UNION ALL SELECT 2", "SELECT ';'", "SELECT 'DROP TABLE x' -- ; DELETE FROM green.raw",
		"SELECT event, COUNT(*) FROM live.raw GROUP BY event HAVING COUNT(*) > 0 ORDER BY 2 DESC LIMIT 5"} {
		if _, err := read(t.Context(), w, warehouse.Query{SQL: sql}); err != nil {
			t.Errorf("%q is refused: %v", sql, err)
		}
	}
}

func googleFaults(t *testing.T, w warehouse.Warehouse) {
	for sql, want := range map[string]string{
		"SELEC 1":                       "SELEC",
		"SELECT nothing FROM green.raw": "nothing",
		"SELECT * FROM nowhere":         "nowhere",
		"SELECT no_such_function(1)":    "no_such_function",
		"SELECT CAST('x' AS INT64)":     "x",
		"SELECT ERROR('told you')":      "told you",
	} {
		_, err := read(t.Context(), w, warehouse.Query{SQL: sql})
		if err == nil || !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(want)) {
			t.Errorf("%q: %v, want the fault named (%s)", sql, err, want)
		}
	}
	for name, q := range map[string]warehouse.Query{
		"maxWait soon":           {SQL: "SELECT 1", MaxWait: "soon"},
		"a NUL byte":             {SQL: "SELECT 1\x00; DROP TABLE timeline"},
		"a statement of 256 KiB": {SQL: "SELECT '" + strings.Repeat("x", 1<<18) + "'"},
	} {
		if _, err := read(t.Context(), w, q); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

// googleEndless is a query that never ends by itself and gives no rows.
const googleEndless = "SELECT COUNT(*) FROM UNNEST(GENERATE_ARRAY(1, 1000000)) AS a, UNNEST(GENERATE_ARRAY(1, 1000000)) AS b WHERE a = b + 7 OR a * b = -1"

func googleDeadline(t *testing.T, w warehouse.Warehouse) {
	_, err := read(t.Context(), w, warehouse.Query{SQL: googleEndless, MaxWait: "300ms"})
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(errText(err), "300ms") {
		t.Errorf("%v, want it stopped after 300ms", err)
	}
	if got := ask(t, w, "SELECT 1"); len(got) != 1 {
		t.Error("nothing works afterwards")
	}
}

func googleCancellation(t *testing.T, w warehouse.Warehouse) {
	for range 3 {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			_, err := read(ctx, w, warehouse.Query{SQL: googleEndless})
			done <- err
		}()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled query: %v", err)
		}
	}
}

func googleClose(t *testing.T, w warehouse.Warehouse) {
	for range 12 { // more than run at once: places must come back
		rows, err := w.Query(t.Context(), warehouse.Query{SQL: "SELECT n FROM UNNEST(GENERATE_ARRAY(1, 3000)) AS n"})
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
