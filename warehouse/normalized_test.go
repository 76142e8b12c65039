package warehouse_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sparrowhq/sparrow/warehouse"
)

func names(list ...string) (all []warehouse.Property) {
	for _, n := range list {
		all = append(all, warehouse.Property{Name: n, Keys: []string{n}, Type: warehouse.TypeString})
	}
	return all
}

func TestColumnNames(t *testing.T) {
	long := strings.Repeat("x", 200)
	for _, c := range []struct{ from, want []string }{
		{[]string{"pathname", "session_number", "Plan.Name", "zoneKind", "a-b c"}, []string{"pathname", "session_number", "plan_name", "zonekind", "a_b_c"}},
		{[]string{"eventId", "TIMESTAMP", "stack", "build", "messageid"}, []string{"eventid_2", "timestamp_2", "stack_2", "build_2", "messageid_2"}},
		{[]string{"_TABLE_SUFFIX", "_file_name", "_partitiontime", "_ROW_TIMESTAMP", "__root__x", "_colidentifier_1", "_CHANGE_TYPE", "__x"},
			[]string{"table_suffix", "file_name", "partitiontime", "row_timestamp", "root_x", "colidentifier_1", "change_type", "x"}},
		{[]string{"", "é", "日本", "'; DROP TABLE x; --", `"`}, []string{"property", "property_3", "property_4", "drop_table_x", "property_2"}},
		{[]string{"3d", "1", "9_"}, []string{"p_3d", "p_1", "p_9"}},
		{[]string{"a.b", "A.B", "a_b", "a__b", "a_b_2"}, []string{"a_b_4", "a_b_3", "a_b", "a_b_5", "a_b_2"}},
		{[]string{long, long + "y"}, []string{strings.Repeat("x", 128), strings.Repeat("x", 126) + "_2"}},
		{[]string{"select", "order", "group"}, []string{"select", "order", "group"}}, // always quoted
	} {
		if diff := cmp.Diff(c.want, warehouse.ColumnNames(names(c.from...))); diff != "" {
			t.Errorf("%q (-want +got):\n%s", c.from, diff)
		}
	}
}

// TestColumnNamesHold makes properties of whatever and looks at what every dialect needs.
func TestColumnNamesHold(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	alphabet := []rune("aAbB_._-1 \"'`;$\\/é日😀\x00")
	for range 300 {
		seen := map[string]bool{}
		var list []string
		for range r.IntN(60) {
			var b strings.Builder
			for range r.IntN(6) {
				b.WriteRune(alphabet[r.IntN(len(alphabet))])
			}
			if r.IntN(5) == 0 {
				b.WriteString(strings.Repeat("z", 120+r.IntN(10)))
			}
			if !seen[b.String()] {
				seen[b.String()] = true
				list = append(list, b.String())
			}
		}
		columns := warehouse.ColumnNames(names(list...))
		taken := map[string]bool{"eventid": true, "timestamp": true, "event": true, "frame": true, "request": true, "item": true, "run": true, "build": true, "context": true, "deviceid": true, "userid": true, "messageid": true, "stack": true}
		by := map[string]string{}
		for i, c := range columns {
			if taken[strings.ToLower(c)] || c == "" || len(c) > 128 || strings.Trim(c, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" || !strings.ContainsAny(c[:1], "abcdefghijklmnopqrstuvwxyz") {
				t.Fatalf("%q of %q: taken, or no name that both dialects take", c, list[i])
			}
			taken[strings.ToLower(c)] = true
			by[list[i]] = c
		}
		r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		for i, c := range warehouse.ColumnNames(names(list...)) {
			if by[list[i]] != c {
				t.Fatalf("%q is %q in one order and %q in another", list[i], by[list[i]], c)
			}
		}
	}
}

func TestCheckProperties(t *testing.T) {
	good := warehouse.Property{Name: "a.b", Keys: []string{"a", ""}, Type: warehouse.TypeJSON}
	var many []warehouse.Property
	for i := range 5001 {
		many = append(many, warehouse.Property{Name: fmt.Sprint(i), Keys: []string{"a"}, Type: warehouse.TypeTime})
	}
	if err := warehouse.CheckProperties(append(slices.Clone(many[:4999]), good)); err != nil {
		t.Error(err)
	}
	for name, list := range map[string][]warehouse.Property{
		"too many":      many,
		"too many keys": {{Name: "a", Keys: make([]string, 65), Type: warehouse.TypeJSON}},
		"long name":     {{Name: strings.Repeat("n", 5000), Keys: []string{"a"}, Type: warehouse.TypeJSON}},
		"long key":      {{Name: "a", Keys: []string{strings.Repeat("n", 5000)}, Type: warehouse.TypeJSON}},
		"twice":         {good, good},
		"no type":       {{Name: "a", Keys: []string{"a"}}},
	} {
		if err := warehouse.CheckProperties(list); err == nil {
			t.Errorf("%s: taken", name)
		} else if len(err.Error()) > 500 {
			t.Errorf("%s: an error of %d bytes repeats its input", name, len(err.Error()))
		}
	}
}
