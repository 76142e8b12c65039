package contract

import (
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

const fixedColumns = `eventId timestamp event frame request item run build context deviceId userId messageId`

// columnsOf returns the names of a view's columns.
func columnsOf(t *testing.T, w warehouse.Warehouse, view string) string {
	t.Helper()
	rows, err := w.Query(t.Context(), warehouse.Query{SQL: "SELECT * FROM " + view, Limit: 1})
	if err != nil {
		t.Fatalf("%s: %v", view, err)
	}
	defer rows.Close()
	var names []string
	for _, c := range rows.Columns {
		names = append(names, c.Name)
	}
	return strings.Join(names, " ")
}

func wantColumns(t *testing.T, w warehouse.Warehouse, own map[string]string) {
	t.Helper()
	for view, more := range own {
		want := strings.TrimSpace(fixedColumns + " " + more)
		if got := columnsOf(t, w, view+".raw_normalized"); got != want {
			t.Errorf("columns of %s.raw_normalized: %s\nwant %s", view, got, want)
		}
	}
}

// bodies appends a frame of one request that holds the given bodies, for a stack.
func bodies(h *history, data ...string) {
	for i := range h.frames[h.frame(len(data))] {
		h.frames[h.next-1][i].Data = []byte(data[i])
	}
}

func properties(kinds ...string) (all []warehouse.Property) {
	for _, k := range kinds {
		name, kind, _ := strings.Cut(k, ":")
		all = append(all, warehouse.Property{Name: name, Keys: strings.Split(name, "."), Type: kind})
	}
	return all
}

func normalise(t *testing.T, w warehouse.Warehouse, stack event.Stack, list []warehouse.Property) {
	t.Helper()
	if err := w.Normalise(t.Context(), stack, list); err != nil {
		t.Fatal(err)
	}
}

func fixedOnly(t *testing.T, w warehouse.Warehouse) {
	wantColumns(t, w, map[string]string{"green": "", "blue": "", "live": "stack", "staging": "stack"})
	h, c := small(t)
	bodies(h, `{"event":"e","deviceId":"d\u00e9-1","userId":12345678901234567890123,"messageId":"m'1","properties":{"a":1}}`,
		`{"event":"e","deviceId":7.5,"userId":{"id":1},"messageId":null}`, `[1,2]`, `not json`, "\xff")
	mustAppend(t, w, h.batch(event.Green, event.Cursor{}, h.end(), c))
	mustAppend(t, w, h.batch(event.Blue, event.Cursor{}, event.Cursor{Frame: 3}, c))
	for view, rows := range map[string]int{"green": len(h.rows()), "live": len(h.rows()), "blue": 1, "staging": 1} {
		if got := ask(t, w, "SELECT count(*) FROM "+view+".raw_normalized"); got[0][0] != int64(rows) {
			t.Errorf("%s.raw_normalized has %v rows, want %d", view, got[0][0], rows)
		}
	}
	want := [][]any{{"dé-1", "12345678901234567890123", "m'1"}, {nil, nil, nil}, {nil, nil, nil}, {nil, nil, nil}, {nil, nil, nil}}
	got := ask(t, w, `SELECT "deviceId", "userId", "messageId" FROM live.raw_normalized WHERE frame = ? ORDER BY item`, h.next-1)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ids (-want +got):\n%s", diff)
	}
	one := ask(t, w, `SELECT r."eventId", n."eventId", r."timestamp" = n."timestamp" AND r.event = n.event AND r.build = n.build AND r.context = n.context AND r.run = n.run FROM green.raw r JOIN green.raw_normalized n USING (frame, request, item)`)
	for _, row := range one {
		if row[0] != row[1] || row[2] != true {
			t.Errorf("a row of raw_normalized is not raw's: %v", row)
		}
	}
	if len(one) != len(h.rows()) {
		t.Errorf("%d rows of raw_normalized have one of raw, want %d", len(one), len(h.rows()))
	}
}

// typedColumns gives each type values of every kind: its own come back exactly, all others are NULL.
func typedColumns(t *testing.T, w warehouse.Warehouse) {
	huge := func(s string) *big.Int { n, _ := new(big.Int).SetString(s, 10); return n }
	at := time.Date(2025, 7, 23, 17, 46, 40, 123456000, time.UTC)
	none := map[string]any{}
	values := []struct {
		json string
		want map[string]any // by type; NULL where nothing is said
	}{
		{`"text"`, map[string]any{"string": "text", "json": `"text"`}},
		{`""`, map[string]any{"string": "", "json": `""`}},
		{`"h\u00e9 \"q\" \\ \n 😀 \ud83d\ude00"`, map[string]any{"string": "hé \"q\" \\ \n 😀 😀"}},
		{`"12"`, map[string]any{"string": "12", "json": `"12"`}},
		{`"true"`, map[string]any{"string": "true", "json": `"true"`}},
		{`12`, map[string]any{"integer": big.NewInt(12), "number": 12.0, "json": "12"}},
		{`-0`, map[string]any{"number": 0.0}},
		{`9223372036854775808`, map[string]any{"integer": huge("9223372036854775808"), "number": 9223372036854775808.0, "json": "9223372036854775808"}},
		{`-99999999999999999999999999999`, map[string]any{"integer": huge("-99999999999999999999999999999"), "number": -1e29, "json": "-99999999999999999999999999999"}},
		{`100000000000000000000000000000`, map[string]any{"number": 1e29, "json": "100000000000000000000000000000"}}, // a digit too many
		{strings.Repeat("9", 500), map[string]any{"json": strings.Repeat("9", 500)}},
		{`1.5`, map[string]any{"number": 1.5, "json": "1.5"}},
		{`1.0`, map[string]any{"number": 1.0}},
		{`1e3`, map[string]any{"number": 1000.0}},
		{`1e400`, none},
		{`true`, map[string]any{"boolean": true, "json": "true"}},
		{`false`, map[string]any{"boolean": false, "json": "false"}},
		{`null`, none},
		{`{"a":[1,"x"]}`, map[string]any{"json": `{"a":[1,"x"]}`}},
		{`["x"]`, map[string]any{"json": `["x"]`}},
		{`"2025-07-23T19:46:40.123456789+02:00"`, map[string]any{"string": "2025-07-23T19:46:40.123456789+02:00", "time": at}},
		{`"2025-07-23T17:46:40.123456Z"`, map[string]any{"string": "2025-07-23T17:46:40.123456Z", "time": at}},
		{`"2025-07-23"`, map[string]any{"string": "2025-07-23"}},
		{`"2025-13-45T99:99:99Z"`, map[string]any{"string": "2025-13-45T99:99:99Z"}},
		{`"infinity"`, map[string]any{"string": "infinity"}},
		{`1753300000`, map[string]any{"integer": big.NewInt(1753300000), "number": 1753300000.0}},
	}
	kinds := []string{"string", "integer", "number", "boolean", "time", "json"}
	var list []warehouse.Property
	for _, k := range kinds {
		list = append(list, warehouse.Property{Name: "the " + k, Keys: []string{"p", "deep"}, Type: k})
	}
	normalise(t, w, event.Green, list)
	wantColumns(t, w, map[string]string{"green": "the_string the_integer the_number the_boolean the_time the_json"})
	h, c := small(t)
	var data []string
	for _, v := range values {
		data = append(data, `{"event":"e","properties":{"q":1,"p":{"deep":`+v.json+`}}}`)
	}
	// A lone half of a surrogate pair, as JavaScript writes it, spoils neither its row nor its neighbours.
	odd := len(data)
	data = append(data, `{"event":"e","properties":{"p":{"deep":"a\\ud800 \ud83d\ude00 \ud800 b"},"x":"\udc00"}}`, `{"event":"e","properties":{"p":{"deep":"cut off`, `{"properties":"none"}`, `{"properties":["p"]}`, `{}`, `7`, "\xff{}")
	bodies(h, data...)
	mustAppend(t, w, h.batch(event.Green, event.Cursor{}, h.end(), c))
	got := ask(t, w, "SELECT the_string, the_integer, the_number, the_boolean, the_time, the_json FROM live.raw_normalized WHERE frame = ? ORDER BY item", h.next-1)
	for i, row := range got {
		for k, kind := range kinds {
			want := any(nil)
			switch {
			case i < len(values):
				want = values[i].want[kind]
			case i == odd && kind == "string":
				want = "a\\ud800 😀 \ufffd b"
			}
			if i < len(values) && kind == "json" && want == nil && values[i].json != "null" || i == odd && kind == "json" {
				continue // its spelling is the engine's
			}
			if i < len(values) && values[i].json == "-0" && kind == "integer" {
				want = big.NewInt(0)
			}
			same := cmp.Equal(want, row[k], cmp.Comparer(func(a, b *big.Int) bool { return a.Cmp(b) == 0 }))
			if !same {
				t.Errorf("%s as %s: %v (%T), want %v", data[i], kind, row[k], row[k], want)
			}
		}
	}
	if len(got) != len(data) {
		t.Errorf("%d rows, want %d", len(got), len(data))
	}
	if got := ask(t, w, "SELECT sum(the_integer) < 0, sum(the_number) > 1e10 FROM live.raw_normalized"); !cmp.Equal(got, [][]any{{true, true}}) {
		t.Errorf("sums: %v", got)
	}
}

// oddNames tries to get out of the view's definition by names and keys.
func oddNames(t *testing.T, w warehouse.Warehouse) {
	keys := []string{`'`, `"`, `';DROP TABLE green.raw;--`, `") FROM green.raw; DROP TABLE timeline; --`, `$`, `$.a`, `$[0]`, `$."a"`, `/`, `~`, `~1`, `a/b`, `#-1`, `*`, `?`, `$1`, `{}`, `%s`, `\`, `\'`, `\u0000`, "\n", "\t--",
		"é", "日本", "😀", "\u202e", "\u2028", "0", "-1", "a b", "A B", "select", "stack", "eventId", "rowid", "_table_x", "_PARTITIONTIME", "x'||chr(39)||'", "/* */", ``, strings.Repeat("k", 500), strings.Repeat("k", 499) + "j"}
	var list []warehouse.Property
	object := map[string]string{}
	for i, k := range keys {
		list = append(list, warehouse.Property{Name: "n" + k, Keys: []string{k}, Type: warehouse.TypeString})
		object[k] = fmt.Sprintf("value %d", i)
	}
	list = append(list, warehouse.Property{Name: "nested", Keys: []string{"o'o", "$", "/~"}, Type: warehouse.TypeString})
	normalise(t, w, event.Green, list)
	normalise(t, w, event.Blue, list)
	h, c := small(t)
	var members []string
	for _, k := range slices.Sorted(maps.Keys(object)) {
		members = append(members, quoted(k)+":"+quoted(object[k]))
	}
	bodies(h, `{"event":"e","properties":{`+strings.Join(members, ",")+`,"o'o":{"$":{"/~":"deep"}}}}`)
	mustAppend(t, w, h.batch(event.Green, event.Cursor{}, h.end(), c))
	names := warehouse.ColumnNames(list)
	for _, view := range []string{"green", "live"} {
		var columns []string
		for _, n := range names {
			columns = append(columns, `"`+n+`"`)
		}
		row := ask(t, w, "SELECT "+strings.Join(columns, ", ")+" FROM "+view+".raw_normalized WHERE frame = ?", h.next-1)[0]
		for i, k := range keys {
			if row[i] != object[k] {
				t.Errorf("%s: column %s of key %q is %v, want %q", view, names[i], k, row[i], object[k])
			}
		}
		if row[len(keys)] != "deep" {
			t.Errorf("%s: nested key: %v", view, row[len(keys)])
		}
	}
	equalRows(t, "green.raw", h.rows(), stored(t, w, "green.raw"))

	for name, bad := range map[string][]warehouse.Property{
		"NUL":          {{Name: "a", Keys: []string{"a\x00"}, Type: "string"}},
		"not UTF-8":    {{Name: "a\xff", Keys: []string{"a"}, Type: "string"}},
		"key UTF-8":    {{Name: "a", Keys: []string{"a\xff"}, Type: "string"}},
		"no name":      {{Keys: []string{"a"}, Type: "string"}},
		"no keys":      {{Name: "a", Type: "string"}},
		"twice":        properties("a:string", "a:json"),
		"unknown type": properties("a:VARCHAR); DROP TABLE green.raw; --"),
		"too many":     make([]warehouse.Property, 1_000_000),
	} {
		if err := w.Normalise(t.Context(), event.Green, bad); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if err := w.Normalise(t.Context(), "red", nil); err == nil {
		t.Error("stack red has columns")
	}
	if got := columnsOf(t, w, "green.raw_normalized"); !strings.HasSuffix(got, names[len(names)-1]) {
		t.Errorf("a refused list changed the columns: %s", got)
	}
}

// quoted writes a JSON string.
func quoted(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\t", `\t`).Replace(s) + `"`
}

// leadingColumns flips roles: live has the live stack's columns, staging the candidate's, for all rows.
func leadingColumns(t *testing.T, w warehouse.Warehouse) {
	h := newHistory("journal-1")
	both := func(from event.Cursor) {
		t.Helper()
		var controls []*event.ControlEntry
		for _, r := range h.timeline.Records() {
			controls = append(controls, r.Entry())
		}
		mustAppend(t, w, h.batch(event.Blue, from, h.end(), controls...))
		mustAppend(t, w, h.batch(event.Green, from, h.end(), controls...))
	}
	normalise(t, w, event.Green, properties("Plan.Name:string", "count:integer", "old:string"))
	normalise(t, w, event.Blue, properties("plan-name:string", "Plan.Name:string", "count:string", "new:boolean"))
	wantColumns(t, w, map[string]string{"green": "plan_name count old", "blue": "plan_name_2 plan_name count new", "live": "stack", "staging": "stack"})
	h.control(t, event.Initial, event.Green, 0)
	const body = `{"event":"e","properties":{"Plan":{"Name":"gold"},"plan-name":"other","count":%s,"old":"o","new":true}}`
	bodies(h, fmt.Sprintf(body, `5`), fmt.Sprintf(body, `"6"`))
	both(event.Cursor{})
	wantColumns(t, w, map[string]string{"live": "plan_name count old stack", "staging": "plan_name_2 plan_name count new stack"})
	check := func(view string, columns string, want ...[]any) {
		t.Helper()
		got := ask(t, w, "SELECT frame, item, stack, "+columns+" FROM "+view+".raw_normalized ORDER BY frame, item")
		if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b *big.Int) bool { return a.Cmp(b) == 0 })); diff != "" {
			t.Errorf("%s (-want +got):\n%s", view, diff)
		}
	}
	n := big.NewInt
	check("live", "plan_name, count, old", []any{int64(2), int64(0), "green", "gold", n(5), "o"}, []any{int64(2), int64(1), "green", "gold", nil, "o"})
	check("staging", "plan_name, plan_name_2, count, new", []any{int64(2), int64(0), "blue", "gold", "other", nil, true}, []any{int64(2), int64(1), "blue", "gold", "other", "6", true})

	at := h.end()
	h.control(t, event.Cutover, event.Blue, 0)
	bodies(h, fmt.Sprintf(body, `7`), fmt.Sprintf(body, `"8"`))
	both(at)
	wantColumns(t, w, map[string]string{"live": "plan_name_2 plan_name count new stack", "staging": "plan_name count old stack"})
	// Rows of green's time have what green has: no column for plan-name and none for new, and count as green reads it.
	check("live", "plan_name, plan_name_2, count, new",
		[]any{int64(2), int64(0), "green", "gold", nil, "5", nil}, []any{int64(2), int64(1), "green", "gold", nil, nil, nil},
		[]any{int64(4), int64(0), "blue", "gold", "other", nil, true}, []any{int64(4), int64(1), "blue", "gold", "other", "8", true})
	check("staging", "plan_name, count, old",
		[]any{int64(2), int64(0), "blue", "gold", nil, nil}, []any{int64(2), int64(1), "blue", "gold", n(6), nil},
		[]any{int64(4), int64(0), "green", "gold", n(7), "o"}, []any{int64(4), int64(1), "green", "gold", nil, "o"})

	normalise(t, w, event.Blue, properties("count:number")) // the last call counts, for all views
	wantColumns(t, w, map[string]string{"blue": "count", "live": "count stack", "staging": "plan_name count old stack"})
	normalise(t, w, event.Blue, nil)
	normalise(t, w, event.Blue, nil)
	wantColumns(t, w, map[string]string{"blue": "", "live": "stack", "staging": "plan_name count old stack"})
	if got := ask(t, w, "SELECT count(*) FROM live.raw_normalized"); got[0][0] != int64(4) {
		t.Errorf("%v rows in live.raw_normalized, want 4", got[0][0])
	}
}
