package wire

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"
)

func TestAppendStringIsJSON(t *testing.T) {
	for _, text := range []string{"", "a", `"\`, "\x00\x1f\n\r\t\b", "é😀", "a\xffb", "\xed\xa0\x80", "</script>\u2028"} {
		var back string
		if err := json.Unmarshal(AppendString([]byte(nil), text), &back); err != nil || back != strings.ToValidUTF8(text, "\uFFFD") && utf8.ValidString(text) {
			t.Errorf("%q: %s %v", text, AppendString([]byte(nil), text), err)
		}
	}
}

func TestCutNeverCutsACharacter(t *testing.T) {
	for quoted, want := range map[string]string{
		`"abc"`: `"ab"`, `"ab"`: `"ab"`, `""`: `""`, `"éèê"`: `"éè"`, `"😀😀😀"`: `"😀😀"`, `"\ud83d\ude00\ud83d\ude00x"`: `"\ud83d\ude00\ud83d\ude00"`,
		`"\"\"\""`: `"\"\""`, `"\\\\\\"`: `"\\\\"`, `"\ud800\ud800x"`: `"\ud800\ud800"`, `"\ud83dx\ude00"`: `"\ud83dx"`, `"\u00e9\u00E9a"`: `"\u00e9\u00E9"`,
	} {
		if got := string(Cut([]byte(quoted), 2)); got != want {
			t.Errorf("%s: %s, want %s", quoted, got, want)
		}
	}
}

func TestDepth(t *testing.T) {
	for text, want := range map[string]int{`1`: 0, `"[[["`: 0, `[]`: 1, `{"a":[{}],"b":1}`: 3, `["]",[1]]`: 2} {
		if got := Depth([]byte(text)); got != want {
			t.Errorf("%s: %d, want %d", text, got, want)
		}
	}
}

// What is read agrees with encoding/json wherever that accepts the text, and nothing panics elsewhere.
func FuzzRead(f *testing.F) {
	for _, s := range []string{`{"a":1,"b":[1,"x",{"c":null}]}`, `[1, 2 ,"\u00e9"]`, `{}`, `[]`, ` { "a" : "\"" } `, `{"a"`, `[1,`, `"\ud83d\ude00"`, `"`, `\`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		names, values := 0, 0
		whole := Members(b, func(_, _ []byte) bool { names++; return true })
		list := Elements(b, func(v []byte) bool { values++; return true })
		Depth(b)
		AppendCut(nil, b, 3)
		if !json.Valid(b) {
			return
		}
		var object map[string]json.RawMessage
		if json.Unmarshal(b, &object) == nil && object != nil {
			if !whole || names < len(object) {
				t.Fatalf("%q: %d of %d members, whole %t", b, names, len(object), whole)
			}
		}
		var array []json.RawMessage
		if json.Unmarshal(b, &array) == nil && array != nil {
			if !list || values != len(array) {
				t.Fatalf("%q: %d of %d elements, whole %t", b, values, len(array), list)
			}
		}
		var text string
		if v := strings.TrimSpace(string(b)); json.Unmarshal([]byte(v), &text) == nil && Kind([]byte(v)) == '"' && utf8.ValidString(v) {
			if got := Characters([]byte(v)); got != len([]rune(text)) {
				t.Fatalf("%s: %d characters, want %d (%d units)", v, got, len([]rune(text)), len(utf16.Encode([]rune(text))))
			}
			if cut := Cut([]byte(v), 3); !json.Valid(cut) || Characters(cut) > 3 {
				t.Fatalf("%s is cut to %s", v, cut)
			}
		}
	})
}
