package export_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	native "github.com/duckdb/duckdb-go-bindings"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
	"github.com/sparrowhq/sparrow/warehouse/duckdb"
	"github.com/sparrowhq/sparrow/warehouse/export"
	"github.com/sparrowhq/sparrow/warehouse/served"
)

var day = time.Date(2026, 3, 9, 0, 0, 0, 0, time.UTC)

// other is DuckDB in memory, of which the warehouse knows nothing.
type other struct {
	t testing.TB
	c native.Connection
}

func newOther(t testing.TB) other {
	t.Helper()
	var config native.Config
	var db native.Database
	var c native.Connection
	var message string
	if native.CreateConfig(&config) == native.StateError || native.OpenExt("", &db, config, &message) == native.StateError || native.Connect(db, &c) == native.StateError {
		t.Fatal("no DuckDB: ", message)
	}
	t.Cleanup(func() {
		native.Disconnect(&c)
		native.Close(&db)
		native.DestroyConfig(&config)
	})
	return other{t, c}
}

// text is an answer, of text columns only.
func (o other) text(sql string) string {
	o.t.Helper()
	var r native.Result
	defer native.DestroyResult(&r)
	if native.Query(o.c, sql, &r) == native.StateError {
		o.t.Fatalf("%s: %s", sql, native.ResultError(&r))
	}
	var lines []string
	for chunk := native.FetchChunk(r); chunk.Ptr != nil; chunk = native.FetchChunk(r) {
		for i := range native.DataChunkGetSize(chunk) {
			var cells []string
			for col := range native.DataChunkGetColumnCount(chunk) {
				v := native.DataChunkGetVector(chunk, col)
				s := (*[1 << 20]native.StringT)(native.VectorGetData(v))[i]
				cells = append(cells, native.StringTData(&s))
			}
			lines = append(lines, strings.Join(cells, " "))
		}
		native.DestroyDataChunk(&chunk)
	}
	return strings.Join(lines, "; ")
}

// fixture is a warehouse process with some days in it: raw with odd bytes, outcomes with corrections, typed columns, a
// cutover in the middle of the day.
func fixture(t testing.TB, retention duckdb.Retention) (path string, w *served.Client, closed func()) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "warehouse", "sparrow.duckdb")
	e, err := duckdb.Open(duckdb.Options{Path: path, Limit: 10})
	if err != nil {
		t.Fatal(err)
	}
	control := func(sequence uint64, c event.Control) (*event.ControlEntry, event.Record) {
		c.Format = event.ControlFormat
		data, err := c.Encode()
		if err != nil {
			t.Fatal(err)
		}
		r, err := event.DecodeRecord(sequence, data)
		if err != nil {
			t.Fatal(err)
		}
		return &event.ControlEntry{Sequence: sequence, Record: data}, r
	}
	first, r := control(1, event.Control{Generation: 1, Kind: event.Initial, Live: event.Green})
	cutover, _ := control(40, event.Control{Generation: 2, Kind: event.Cutover, Live: event.Blue, Previous: r.Hash()})
	const frames, perFrame = 80, 30
	for _, stack := range event.Stacks() {
		b := &warehouse.Batch{Stack: stack, Stage: warehouse.Raw, Journal: "j", To: event.Cursor{Frame: frames}, Controls: []*event.ControlEntry{first, cutover}}
		out := &warehouse.Batch{Stack: stack, Stage: "trace", Journal: "j", To: event.Cursor{Frame: frames}}
		late := &warehouse.Batch{Stack: stack, Stage: warehouse.Stage("trace").Late(), Journal: "j", To: event.Cursor{Frame: 5}}
		for f := uint64(2); f < frames; f++ {
			if f == 40 {
				continue
			}
			for i := range uint32(perFrame) {
				p := event.Position{Frame: f, Request: i}
				at := day.Add(time.Duration(f-20) * time.Hour / 2).Add(time.Duration(i) * time.Microsecond).UnixMicro() // the day has frames 20 to 67
				data := fmt.Appendf(nil, `{"deviceId":"d%d","properties":{"n":-99999999999%d,"x":%d.5,"b":true,"at":"2026-03-09T10:00:00Z"}}`, i, f, i)
				switch i % 10 {
				case 7:
					data = []byte{0xff, 0xfe, byte(f), 0}
				case 8:
					data = []byte("\"a\x00b\u2028é😀'\"")
				}
				b.Rows = append(b.Rows, warehouse.Row{Position: p, EventID: fmt.Sprintf("%s-%d-%d", stack, f, i), Timestamp: at, Event: []string{"page", "it's a \"click\"", ""}[i%3], Data: data, ItemsInRequest: 1, Build: "b", Context: []byte(`{"origin":"x"}`)})
				out.Outcomes = append(out.Outcomes, warehouse.Outcome{Position: p, Timestamp: at, Build: "b", Event: "e", Outcome: "rejected", Digest: 1<<63 + uint64(i), Request: []byte{0, byte(i)}, Latency: -1})
			}
		}
		for n := range 5 {
			o := out.Outcomes[600+n]
			o.Revision, o.Outcome = 1, "delivered"
			late.Outcomes = append(late.Outcomes, o)
		}
		for _, b := range []*warehouse.Batch{b, out, late} {
			if _, err := e.Append(t.Context(), b); err != nil {
				t.Fatal(err)
			}
		}
		if err := e.Normalise(t.Context(), stack, []warehouse.Property{
			{Name: "n", Keys: []string{"n"}, Type: warehouse.TypeInteger}, {Name: "x", Keys: []string{"x"}, Type: warehouse.TypeNumber}, {Name: "s", Keys: []string{"s"}, Type: warehouse.TypeString},
			{Name: "b", Keys: []string{"b"}, Type: warehouse.TypeBoolean}, {Name: "at", Keys: []string{"at"}, Type: warehouse.TypeTime}, {Name: "j", Keys: []string{"b"}, Type: warehouse.TypeJSON},
		}); err != nil {
			t.Fatal(err)
		}
	}
	server := httptest.NewServer(served.Handler(served.Options{Warehouse: e, Secret: "s"}))
	if w, err = served.New(served.ClientOptions{URL: server.URL, Secret: "s"}); err != nil {
		t.Fatal(err)
	}
	done := false
	closed = func() {
		if done {
			return
		}
		done = true
		w.Close()
		server.Close()
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(closed)
	return path, w, closed
}

// TestDay exports every table of every dataset through the served warehouse, in many pieces, and reads each file back in
// a DuckDB of its own: the same rows, of types that BigQuery loads as what they are. A second time gives the same bytes.
func TestDay(t *testing.T) {
	path, w, closed := fixture(t, duckdb.Retention{})
	dir := filepath.Join(t.TempDir(), "it's here")
	var all []*export.Manifest
	for _, dataset := range export.Datasets {
		for _, table := range export.Tables {
			o := export.Options{Warehouse: w, Dataset: dataset, Table: table, Day: day.Add(5 * time.Hour), Dir: dir, Rows: 500}
			m, err := export.Day(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			before := read(t, dir, m)
			for _, path := range []string{m.Path, strings.TrimSuffix(m.Path, "parquet") + "json"} {
				if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
					t.Errorf("%s is not private: %v, %v", path, info.Mode(), err)
				}
			}
			if dataset == "green" {
				if m, err = export.Day(t.Context(), o); err != nil {
					t.Fatal(err)
				}
				if d := gocmp.Diff(before, read(t, dir, m)); d != "" {
					t.Errorf("%s.%s again:\n%.500s", dataset, table, d)
				}
			}
			all = append(all, m)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2*len(all) {
		t.Errorf("%d files in the folder, want %d: %v", len(entries), 2*len(all), err)
	}
	closed()
	o := newOther(t)
	o.text("SET TimeZone = 'UTC'")
	o.text(fmt.Sprintf("ATTACH '%s' AS w (READ_ONLY)", path))
	for _, m := range all {
		from := fmt.Sprintf(`(FROM w.%s.%s WHERE "timestamp" >= TIMESTAMP '2026-03-09' AND "timestamp" < TIMESTAMP '2026-03-10')`, m.Dataset, m.Table)
		file := "read_parquet('" + strings.ReplaceAll(m.Path, "'", "''") + "')"
		if got := o.text(fmt.Sprintf(`SELECT count(*)::VARCHAR, (SELECT count(*) FROM %[1]s)::VARCHAR, (SELECT count(*) FROM (FROM %[2]s EXCEPT ALL FROM %[1]s))::VARCHAR, (SELECT count(*) FROM (FROM %[1]s EXCEPT ALL FROM %[2]s))::VARCHAR FROM %[2]s`, from, file)); got != fmt.Sprintf("%[1]d %[1]d 0 0", m.Rows) {
			t.Errorf("%s: rows, those of the warehouse, too many, missing: %s; the manifest has %d", m.File, got, m.Rows)
		}
		if m.Rows != 47*30 || m.First != 20 || m.Last != 67 || m.Events["page"] != 470 || m.Events[""] != 470 && m.Table != "outcomes" {
			if m.Table != "outcomes" || m.Rows != 47*30 || m.Events["e"] != m.Rows {
				t.Errorf("%s: %d rows, frames %d to %d, events %v", m.File, m.Rows, m.First, m.Last, m.Events)
			}
		}
		if got := o.text(fmt.Sprintf(`SELECT (count(*) FILTER (a <= b))::VARCHAR FROM (SELECT (frame, request) AS b, lag((frame, request)) OVER () AS a FROM %s)`, file)); got != fmt.Sprint(m.Rows-1) {
			t.Errorf("%s: %s of %d rows in order", m.File, got, m.Rows)
		}
		want := map[string]string{ // type and logical type, as BigQuery's documentation of loading Parquet has them
			"STRING": "BYTE_ARRAY UTF8 ", "BYTES": "BYTE_ARRAY  ", "INT64": "INT64 INT_64 ", "FLOAT64": "DOUBLE  ", "BOOL": "BOOLEAN  ",
			"NUMERIC":   "FIXED_LEN_BYTE_ARRAY DECIMAL DecimalType(scale=0, precision=29)",
			"TIMESTAMP": "INT64 TIMESTAMP_MICROS TimestampType(isAdjustedToUTC=1, unit=TimeUnit(MILLIS=<null>, MICROS=MicroSeconds(), NANOS=<null>))",
		}
		for _, c := range m.Columns {
			got := o.text(fmt.Sprintf(`SELECT type, coalesce(converted_type, ''), coalesce(CASE WHEN logical_type LIKE 'IntType%%' THEN '' ELSE logical_type END, '') FROM parquet_schema('%s') WHERE name = '%s'`, strings.ReplaceAll(m.Path, "'", "''"), c.Name))
			if c.Type == "" || got != want[c.Type] {
				t.Errorf("%s: column %s is %q, want %q", m.File, c.Name, got, want[c.Type])
			}
		}
	}
	if got := o.text(fmt.Sprintf(`SELECT string_agg(DISTINCT outcome, ',' ORDER BY outcome), (count(*) FILTER (revision = 1))::VARCHAR FROM read_parquet('%s')`, strings.ReplaceAll(filepath.Join(dir, "green.outcomes.2026-03-09.parquet"), "'", "''"))); got != "delivered,rejected 5" {
		t.Errorf("outcomes: %s", got)
	}
}

// read returns both files' bytes.
func read(t *testing.T, dir string, m *export.Manifest) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, name := range []string{m.File, strings.TrimSuffix(m.File, ".parquet") + ".json"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		out[name] = string(data)
	}
	var again export.Manifest
	if err := json.Unmarshal([]byte(out[strings.TrimSuffix(m.File, ".parquet")+".json"]), &again); err != nil {
		t.Error(err)
	}
	if int64(len(out[m.File])) != again.Bytes || again.Rows != m.Rows {
		t.Errorf("the manifest says %d bytes, %d rows", again.Bytes, again.Rows)
	}
	return out
}

// TestWhatCannotBeExported is refused, and leaves what was written before.
func TestWhatCannotBeExported(t *testing.T) {
	path, w, closed := fixture(t, duckdb.Retention{})
	dir := t.TempDir()
	o := export.Options{Warehouse: w, Dataset: "green", Table: "raw", Day: day, Dir: dir, Rows: 500}
	m, err := export.Day(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	before := read(t, dir, m)
	refused := func(what, want string, o export.Options) {
		t.Helper()
		if _, err := export.Day(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", what, err, want)
		}
		if d := gocmp.Diff(before, read(t, dir, m)); d != "" {
			t.Errorf("%s changed what was there", what)
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 {
			t.Errorf("%s left %v, %v", what, entries, err)
		}
	}
	with := func(f func(*export.Options)) export.Options {
		o := o
		f(&o)
		return o
	}
	refused("a dataset", `dataset "main; DROP": want one of green`, with(func(o *export.Options) { o.Dataset = "main; DROP" }))
	refused("a table", `table "cursors": want one of raw`, with(func(o *export.Options) { o.Table = "cursors" }))
	refused("a day that is not over", "is not over", with(func(o *export.Options) { o.Now = func() time.Time { return day.Add(23 * time.Hour) } }))
	refused("an answer that breaks off", "connection lost", with(func(o *export.Options) { o.Warehouse = &breaking{w, 2, nil} }))
	refused("rows that come meanwhile", "still arriving", with(func(o *export.Options) {
		o.Warehouse = &breaking{w, 100, func(sql string) string {
			return strings.Replace(sql, "frame BETWEEN", "item = 0 AND request > 0 AND frame BETWEEN", 1)
		}}
	}))
	if m, err := export.Day(t.Context(), with(func(o *export.Options) { o.Day, o.Dir = day.AddDate(0, 0, -30), t.TempDir() })); err != nil || m.Rows != 0 || m.Bytes == 0 {
		t.Errorf("a day without rows: %+v, %v", m, err)
	}
	closed()
	e, err := duckdb.Open(duckdb.Options{Path: path, Retention: duckdb.Retention{Raw: 1}})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	deadline := time.Now().Add(30 * time.Second)
	for want := "have been"; want != ""; {
		_, err := export.Day(t.Context(), with(func(o *export.Options) { o.Warehouse = e }))
		switch {
		case err != nil && strings.Contains(err.Error(), "the warehouse has deleted 1410 rows of it"):
			want = ""
		case time.Now().After(deadline):
			t.Fatalf("a day that was deleted: %v", err)
		}
		time.Sleep(5 * time.Millisecond) // polling
	}
}

// breaking asks another, changes what is asked, and loses the connection after some questions.
type breaking struct {
	export.Querier
	left   int
	change func(string) string
}

func (b *breaking) Query(ctx context.Context, q warehouse.Query) (*warehouse.Rows, error) {
	if b.change != nil {
		q.SQL = b.change(q.SQL)
	}
	rows, err := b.Querier.Query(ctx, q)
	if err != nil {
		return nil, err
	}
	if b.left--; b.left > 0 {
		return rows, nil
	}
	next, n := rows.Next, 0
	rows.Next = func() ([]any, error) {
		if n++; n > 2 {
			return nil, errors.New("connection lost")
		}
		row, err := next()
		if errors.Is(err, io.EOF) {
			return nil, errors.New("connection lost")
		}
		return row, err
	}
	return rows, nil
}
