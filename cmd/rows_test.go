package cmd

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"io"
	"math"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sparrowhq/sparrow/warehouse"
)

// answer is rows of every type a warehouse has.
func answer(t *testing.T, end error, rows ...[]any) *warehouse.Rows {
	t.Helper()
	a := &warehouse.Rows{Truncated: func() bool { return false }, Close: func() error { return nil }}
	for _, name := range []string{"a", "b c", "ページ"} {
		a.Columns = append(a.Columns, warehouse.Column{Name: name})
	}
	a.Next = func() ([]any, error) {
		if len(rows) == 0 {
			return nil, end
		}
		row := rows[0]
		rows = rows[1:]
		return row, nil
	}
	return a
}

func everyType(t *testing.T) *warehouse.Rows {
	t.Helper()
	huge, _ := new(big.Int).SetString("170141183460469231731687303715884105727", 10)
	at := time.Date(2026, 5, 1, 12, 30, 15, 120000, time.UTC)
	return answer(t, io.EOF,
		[]any{int64(math.MinInt64), uint64(math.MaxUint64), huge},
		[]any{0.1, math.Inf(-1), 1e300},
		[]any{true, nil, at},
		[]any{"", "a \"quote\", a\r\nline and\nanother", []byte{0, 0xff, 'x'}},
		[]any{" spaced ", "<&>\u2028", "日本語"},
	)
}

func TestJSONRows(t *testing.T) {
	var out bytes.Buffer
	if err := printJSONRows(&out, everyType(t)); err != nil {
		t.Fatal(err)
	}
	want := `[
{"a":-9223372036854775808,"b c":18446744073709551615,"ページ":170141183460469231731687303715884105727},
{"a":0.1,"b c":"-Inf","ページ":1e+300},
{"a":true,"b c":null,"ページ":"2026-05-01T12:30:15.000120Z"},
{"a":"","b c":"a \"quote\", a\r\nline and\nanother","ページ":"AP94"},
{"a":" spaced ","b c":"<&>\u2028","ページ":"日本語"}
]
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
	var parsed []map[string]any
	if err := json.Unmarshal(out.Bytes(), &parsed); err != nil || len(parsed) != 5 {
		t.Errorf("%d rows, %v", len(parsed), err)
	}
	out.Reset()
	if err := printJSONRows(&out, answer(t, io.EOF)); err != nil || out.String() != "[]\n" {
		t.Errorf("no rows: %q, %v", out.String(), err)
	}
}

func TestCSV(t *testing.T) {
	var out bytes.Buffer
	if err := printCSV(&out, everyType(t)); err != nil {
		t.Fatal(err)
	}
	want := strings.ReplaceAll(`a,b c,ページ
-9223372036854775808,18446744073709551615,170141183460469231731687303715884105727
0.1,-Inf,1e+300
true,,2026-05-01T12:30:15.000120Z
"","a ""quote"", a<CR><LF>line and<LF>another",\x00ff78
" spaced ",<&>`+"\u2028"+`,日本語
`, "\n", "\r\n")
	want = strings.NewReplacer("<CR>", "\r", "<LF>", "\n").Replace(want)
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
	rows, err := csv.NewReader(&out).ReadAll()
	if err != nil || len(rows) != 6 {
		t.Errorf("another reader sees %d lines, %v", len(rows), err)
	}
}

func TestCSVOfOneColumnKeepsEmptyRows(t *testing.T) {
	a := answer(t, io.EOF, []any{nil}, []any{"x"}, []any{""})
	a.Columns = a.Columns[:1]
	var out bytes.Buffer
	if err := printCSV(&out, a); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(&out).ReadAll()
	if diff := cmp.Diff([][]string{{"a"}, {""}, {"x"}, {""}}, rows); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
}

func TestTableRows(t *testing.T) {
	var out bytes.Buffer
	p := &program{}
	long := strings.Repeat("é", 1000)
	if err := p.printTable(&out, answer(t, io.EOF, []any{int64(7), nil, "x\ty"}, []any{int64(1234), []byte{1, 2}, long})); err != nil {
		t.Fatal(err)
	}
	want := "   a  b c     ページ\n" +
		"   7  NULL    x\\ty\n" +
		"1234  \\x0102  " + strings.Repeat("é", 59) + "…\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

// An answer that breaks off must not look like a whole one.
func TestCutAnswerIsAnError(t *testing.T) {
	cut := errors.New("connection reset")
	p := &program{}
	for name, print := range map[string]func(io.Writer, *warehouse.Rows) error{"table": p.printTable, "json": printJSONRows, "csv": printCSV} {
		var out bytes.Buffer
		if err := print(&out, answer(t, cut, []any{int64(1), int64(2), int64(3)})); !errors.Is(err, cut) {
			t.Errorf("%s: %v", name, err)
		}
		if name == "json" && json.Valid(out.Bytes()) {
			t.Errorf("half an answer is valid JSON: %s", out.String())
		}
	}
}

// A date is shown as one, in every format.
func TestDates(t *testing.T) {
	p := &program{}
	for name, c := range map[string]struct {
		print func(io.Writer, *warehouse.Rows) error
		want  string
	}{
		"table": {p.printTable, "a           b c                          ページ\n2026-05-01  2026-05-01T00:00:00.000000Z  NULL\n"},
		"csv":   {printCSV, "a,b c,ページ\r\n2026-05-01,2026-05-01T00:00:00.000000Z,\r\n"},
		"json":  {printJSONRows, "[\n{\"a\":\"2026-05-01\",\"b c\":\"2026-05-01T00:00:00.000000Z\",\"ページ\":null}\n]\n"},
	} {
		at := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
		rows := answer(t, io.EOF, []any{at, at, nil})
		rows.Columns[0].Type, rows.Columns[1].Type = "DATE", "TIMESTAMP"
		var out bytes.Buffer
		if err := c.print(&out, rows); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, out.String()); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
