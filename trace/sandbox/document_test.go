package sandbox

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"
	"unicode/utf8"
)

// decode reads a value the way encoding/json would, through our own walk.
func decode(v value) any {
	switch v.kind() {
	case '{':
		out := map[string]any{}
		for name, m := range v.members() {
			out[string(name)] = decode(m)
		}
		return out
	case '[':
		out := []any{}
		for i, e := range v.elements() {
			if i != len(out) {
				panic("elements are not numbered in order")
			}
			out = append(out, decode(e))
		}
		return out
	case '"':
		s, _ := v.text()
		return s
	case '0':
		return json.Number(v)
	case 't':
		return true
	case 'f':
		return false
	case 'n':
		return nil
	}
	panic("kind " + string(v.kind()))
}

func FuzzDocument(f *testing.F) {
	for _, text := range []string{
		`{"a":1,"b":[true,false,null,-1.5e+3,"\u00e9\\\"",{}],"a":{"c":[]}}`, ` [ 1 , 2 ] `, `""`, `-0`, "{\"\xff\":\"\xed\xa0\x80\"}", `{"a" : {"b" : "}"} , "c":"]"}`,
		`"\ud800"`, `[[[[]]]]`, `{"":""}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		v, ok := parse(text)
		var want any
		d := json.NewDecoder(bytes.NewReader(text))
		d.UseNumber()
		if ok != json.Valid(text) {
			t.Fatalf("%q: valid %v", text, ok)
		}
		if !ok {
			return
		}
		if err := d.Decode(&want); err != nil {
			t.Skip() // deeper than the decoder goes
		}
		if got := decode(v); !reflect.DeepEqual(got, want) {
			t.Fatalf("%q reads as %#v, want %#v", text, got, want)
		}
		if n := v.runes(); v.kind() == '"' && n != utf8.RuneCountInString(want.(string)) {
			t.Fatalf("%q has %d characters", text, n)
		}
		depth, long := v.measure(3)
		if wantDepth, wantLong := measured(want, 3); v.kind() != '{' || noDoubles(v) {
			if depth != wantDepth || long != wantLong {
				t.Fatalf("%q measures %d %v, want %d %v", text, depth, long, wantDepth, wantLong)
			}
		}
	})
}

// measured is measure on a decoded value.
func measured(v any, limit int) (depth int, long bool) {
	each := func(m any) {
		d, l := measured(m, limit)
		depth, long = max(depth, d), long || l
	}
	switch v := v.(type) {
	case map[string]any:
		for _, m := range v {
			each(m)
		}
		return depth + 1, long
	case []any:
		for _, m := range v {
			each(m)
		}
		return depth + 1, long
	case string:
		return 0, utf8.RuneCountInString(v) > limit
	}
	return 0, false
}

// noDoubles says that no object in v has a name twice: a map forgets the first one's value.
func noDoubles(v value) bool {
	seen := map[string]bool{}
	for name, m := range v.members() {
		if seen[string(name)] || !noDoubles(m) {
			return false
		}
		seen[string(name)] = true
	}
	for _, m := range v.elements() {
		if !noDoubles(m) {
			return false
		}
	}
	return true
}

func TestGetTakesTheLast(t *testing.T) {
	v, _ := parse([]byte(`{"a":1,"b":2,"a":3}`))
	if got := string(v.get("a")); got != "3" || v.get("c") != nil || v.size() != 3 {
		t.Error(got)
	}
}
