package compare

import (
	"slices"
	"strings"
	"testing"
)

func TestDiffPaths(t *testing.T) {
	for _, c := range []struct {
		name, a, b string
		want       []string
	}{
		{"a value", `{"a":1,"b":{"c":[1,2,{"d":true}]}}`, `{"a":1,"b":{"c":[1,2,{"d":false}]}}`, []string{"data.b.c[2].d"}},
		{"an integer turned into text", `{"n":31}`, `{"n":"31"}`, []string{"data.n"}},
		{"a number written otherwise", `{"n":1.0}`, `{"n":1.00}`, []string{"data.n"}},
		{"a field dropped and one added", `{"a":1,"b":2}`, `{"a":1,"c":2}`, []string{"data.b (live only)", "data.c (candidate only)"}},
		{"an element dropped", `{"t":[1,2,3]}`, `{"t":[1,2]}`, []string{"data.t (3 and 2 elements)"}},
		{"order of an array", `[1,2]`, `[2,1]`, []string{"data[0]", "data[1]"}},
		{"another kind", `{"a":[1]}`, `{"a":{"0":1}}`, []string{"data.a"}},
		{"null", `{"a":null}`, `{}`, []string{"data.a (live only)"}},
		{"a key twice", `{"a":1,"a":2}`, `{"a":1,"a":3}`, []string{"data.a"}},
		{"a key twice and once", `{"a":1,"a":2}`, `{"a":1}`, []string{"data.a (live only)"}},
		{"order of keys", `{"a":1,"b":2}`, `{"b":2,"a":1}`, []string{"data (spelling only: spaces, escapes or order of keys; from byte 2 on)"}},
		{"spaces", `{"a":1}`, `{"a": 1}`, []string{"data (spelling only: spaces, escapes or order of keys; from byte 5 on)"}},
		{"an escape", `{"a":"é"}`, `{"a":"\u00e9"}`, []string{"data (spelling only: spaces, escapes or order of keys; from byte 6 on)"}},
		{"odd keys", `{"a.b":{"":{"\u001b[31m":1}}}`, `{"a.b":{"":{"\u001b[31m":2}}}`, []string{`data."a.b".""."\x1b[31m"`}},
		{"cut short", `{"a":1}`, `{"a":`, []string{"data (not JSON on the candidate's side; differs from byte 5 on)"}},
		{"not JSON at all", `x`, `y`, []string{"data (not JSON on both sides; differs from byte 0 on)"}},
		{"top level", `1`, `2`, []string{"data"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, more := diffPaths("data", c.a, c.b)
			if !slices.Equal(got, c.want) || more != 0 {
				t.Errorf("%q and %d more, want %q", got, more, c.want)
			}
		})
	}
	deep := strings.Repeat(`{"a":`, 5000) + "1" + strings.Repeat("}", 5000)
	if got, _ := diffPaths("data", deep, strings.Replace(deep, "1", "2", 1)); len(got) != 1 || len(got[0]) != len("data")+maxDepth*2 {
		t.Errorf("deep: %q", got)
	}
	var a, b strings.Builder
	for i := range 100 {
		a.WriteString(`"` + strings.Repeat("k", i+1) + `":1,`)
		b.WriteString(`"` + strings.Repeat("k", i+1) + `":2,`)
	}
	got, more := diffPaths("data", "{"+a.String()+`"z":0}`, "{"+b.String()+`"z":0}`)
	if len(got) != maxPaths || more != 100-maxPaths {
		t.Errorf("%d paths and %d more", len(got), more)
	}
}

// FuzzDiffPaths: whatever two texts are, the answer is short, printable, holds a path if they differ, and no value.
func FuzzDiffPaths(f *testing.F) {
	f.Add(`{"a":1}`, `{"a":2}`)
	f.Add(`[{"x":[1,{}]}]`, `[{"x":[1,[]]}]`)
	f.Add(`"secret"`, `{"secret":"secret"}`)
	f.Fuzz(func(t *testing.T, a, b string) {
		got, more := diffPaths("data", a, b)
		if a != b && len(got) == 0 || more > 0 && len(got) != maxPaths || len(got) > maxPaths {
			t.Fatalf("%q and %d more", got, more)
		}
		for _, p := range got {
			if Visible(p) != p || !strings.HasPrefix(p, "data") {
				t.Fatalf("path %q", p)
			}
		}
	})
}
