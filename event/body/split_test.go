package body_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/sparrowhq/sparrow/event/body"
)

// split is a Body with text instead of bytes, to be read in tables and failures.
type split struct {
	List     bool
	Items    []string // the slice, then its name after " = " if it has one
	Whole    string
	Envelope string
}

func readable(b body.Body) split {
	s := split{List: b.List, Whole: string(b.Whole), Envelope: string(b.Envelope)}
	for _, item := range b.Items {
		text := string(item.Data)
		if item.Event != "" {
			text += " = " + item.Event
		}
		s.Items = append(s.Items, text)
	}
	return s
}

func single(text string) split {
	data, _, _ := strings.Cut(text, " = ")
	return split{Items: []string{text}, Whole: data}
}

func TestSplit(t *testing.T) {
	for _, row := range []struct {
		text string
		want split
	}{
		// one event
		{`{"event":"pageview"}`, single(`{"event":"pageview"} = pageview`)},
		{"\r\n\t {\"event\" :\n\"a b\" } \n", single("{\"event\" :\n\"a b\" } = a b")},
		{`{}`, single(`{}`)},
		{`{"batch":null,"event":"e"}`, single(`{"batch":null,"event":"e"} = e`)},
		{`{"batch":{"batch":[1]}}`, single(`{"batch":{"batch":[1]}}`)},
		{`{"batch":"[1]"}`, single(`{"batch":"[1]"}`)},
		{`{"Batch":[1]}`, single(`{"Batch":[1]}`)},
		{`null`, single(`null`)},
		{` -0.5e+9 `, single(`-0.5e+9`)},
		{`"event"`, single(`"event"`)},

		// the event's name
		{`{"event":"a","event":"b"}`, single(`{"event":"a","event":"b"} = b`)},
		{`{"event":"a","event":7}`, single(`{"event":"a","event":7}`)},
		{`{"event":["a"]}`, single(`{"event":["a"]}`)},
		{`{"properties":{"event":"a"}}`, single(`{"properties":{"event":"a"}}`)},
		{`{"\u0065vent":"a"}`, single(`{"\u0065vent":"a"} = a`)},
		{`{"\u0065\u0076\u0065\u006e\u0074":"a"}`, single(`{"\u0065\u0076\u0065\u006e\u0074":"a"} = a`)},
		{`{"event":"caf\u00e9 \"\ud83d\ude00\" \n"}`, single(`{"event":"caf\u00e9 \"\ud83d\ude00\" \n"}` + " = café \"😀\" \n")},
		{`{"event":"Diskussion über Łódź"}`, single(`{"event":"Diskussion über Łódź"} = Diskussion über Łódź`)},
		{`{"event":"half \ud83d pair"}`, single(`{"event":"half \ud83d pair"}` + " = half \uFFFD pair")},
		{"{\"event\":\"bad \xff\xfe\"}", single("{\"event\":\"bad \xff\xfe\"} = bad \uFFFD\uFFFD")},
		{`{"event":"\u0000"}`, single(`{"event":"\u0000"}` + " = \x00")},

		// an array
		{`[]`, split{List: true, Whole: `[]`}},
		{" [ \n] ", split{List: true, Whole: "[ \n]"}},
		{`[{"event":"a"}]`, split{true, []string{`{"event":"a"} = a`}, `[{"event":"a"}]`, ""}},
		{`[ {"event":"a"} , 1,"x" ,[{"event":"b"}],null ]`, split{true,
			[]string{`{"event":"a"} = a`, `1`, `"x"`, `[{"event":"b"}]`, `null`}, `[ {"event":"a"} , 1,"x" ,[{"event":"b"}],null ]`, ""}},
		{`[{"batch":[1,2]}]`, split{true, []string{`{"batch":[1,2]}`}, `[{"batch":[1,2]}]`, ""}},

		// a batch
		{`{"batch":[]}`, split{List: true, Whole: `{"batch":[]}`}},
		{`{"batch":[{"event":"a"},{"event":"b"}]}`, split{true, []string{`{"event":"a"} = a`, `{"event":"b"} = b`}, `{"batch":[{"event":"a"},{"event":"b"}]}`, ""}},
		{`{"ba\u0074ch":[1]}`, split{true, []string{`1`}, `{"ba\u0074ch":[1]}`, ""}},
		{`{"a":1, "batch":[1] ,"b" : 2}`, split{true, []string{`1`}, `{"a":1, "batch":[1] ,"b" : 2}`, `{"a":1,"b" : 2}`}},
		{`{"batch":[1],"sentAt":1.0e0 }`, split{true, []string{`1`}, `{"batch":[1],"sentAt":1.0e0 }`, `{"sentAt":1.0e0}`}},
		{`{ "k":",", "batch":[1] }`, split{true, []string{`1`}, `{ "k":",", "batch":[1] }`, `{"k":","}`}},
		{`{"event":"outer","batch":[{"event":"a"}]}`, split{true, []string{`{"event":"a"} = a`}, `{"event":"outer","batch":[{"event":"a"}]}`, `{"event":"outer"}`}},
		{`{"batch":[1],"batch":[2,3]}`, split{true, []string{`2`, `3`}, `{"batch":[1],"batch":[2,3]}`, `{"batch":[1]}`}},
		{`{"batch":7,"batch":[2]}`, split{true, []string{`2`}, `{"batch":7,"batch":[2]}`, `{"batch":7}`}},
		{`{"batch":[1],"batch":7}`, single(`{"batch":[1],"batch":7}`)},
		{"{\"x\":\"\xff\",\"batch\":[\"\xfe\"]}", split{true, []string{"\"\xfe\""}, "{\"x\":\"\xff\",\"batch\":[\"\xfe\"]}", "{\"x\":\"\xff\"}"}},
	} {
		var got body.Body
		if reason := body.Split([]byte(row.text), 10, &got); reason != "" {
			t.Errorf("%q: %s", row.text, reason)
			continue
		}
		if diff := cmp.Diff(row.want, readable(got)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", row.text, diff)
		}
	}
}

func nested(n int, inner string) string {
	return strings.Repeat("[", n) + inner + strings.Repeat("]", n)
}

func TestSplitRefuses(t *testing.T) {
	for _, row := range []struct {
		text string
		want body.Reason
	}{
		{"", body.NotJSON},
		{" \n", body.NotJSON},
		{"plain text", body.NotJSON},
		{"\ufeff{}", body.NotJSON},
		{"{}{}", body.NotJSON},
		{"{\"event\":\"a\"}\n{\"event\":\"b\"}\n", body.NotJSON},
		{"{\"event\":\"a\"", body.NotJSON},
		{"{\"event\":\"a\nb\"}", body.NotJSON},
		{"{\"event\":\"a\x00b\"}", body.NotJSON},
		{"{\"event\":\"a\"}\x00", body.NotJSON},
		{"[1,2", body.NotJSON},
		{"[1,]", body.NotJSON},
		{"[,1]", body.NotJSON},
		{`{"a":1,}`, body.NotJSON},
		{`{"batch":[1,]}`, body.NotJSON},
		{`{"batch":[1] "a":2}`, body.NotJSON},
		{`{'a':1}`, body.NotJSON},
		{`[01]`, body.NotJSON},
		{`[1.]`, body.NotJSON},
		{`[.5]`, body.NotJSON},
		{`[+1]`, body.NotJSON},
		{`[1e]`, body.NotJSON},
		{`[-]`, body.NotJSON},
		{`[NaN]`, body.NotJSON},
		{`[nul]`, body.NotJSON},
		{`["\x41"]`, body.NotJSON},
		{`["\u12g4"]`, body.NotJSON},
		{`["\u12`, body.NotJSON},
		{"event=pageview&k=w", body.NotJSON},
		{"[" + strings.Repeat("1,", 10) + "1]", body.TooManyItems},
		{`{"batch":[` + strings.Repeat("1,", 10) + "1]}", body.TooManyItems},
		{nested(10_001, ""), body.TooDeep},
		{nested(5_000_000, ""), body.TooDeep},
		{strings.Repeat("[", 5_000_000), body.TooDeep},
		{strings.Repeat(`{"a":`, 10_001), body.TooDeep},
		{`{"batch":[{"a":` + nested(9_998, "1") + `}]}`, body.TooDeep},
	} {
		got := body.Body{List: true, Items: []body.Item{{Event: "left over"}}, Whole: []byte("left over")}
		reason := body.Split([]byte(row.text), 10, &got)
		if reason != row.want {
			t.Errorf("%.60q: %q, want %q", row.text, reason, row.want)
		}
		if got.List || len(got.Items) != 0 || got.Whole != nil || got.Envelope != nil {
			t.Errorf("%.60q: something is left: %v", row.text, readable(got))
		}
	}
	for _, text := range []string{
		"[" + strings.Repeat("1,", 9) + "1]", nested(10_000, ""), nested(10_000, "{\"a\":1}")[1 : 20_000+7-1],
		`{"batch":[{"a":` + nested(9_997, "1") + `}]}`,
		nested(9_999, `{"a":[],"b":{}}`)[1 : 2*9_999+15-1],
	} {
		var got body.Body
		if reason := body.Split([]byte(text), 10, &got); reason != "" {
			t.Errorf("%.60q: %s", text, reason)
		}
	}
}

// member is what encoding/json says of an object's member.
type member struct {
	key string
	raw json.RawMessage
}

func members(t *testing.T, object []byte) []member {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(object))
	if _, err := dec.Token(); err != nil {
		t.Fatalf("%q: %v", object, err)
	}
	var all []member
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			t.Fatalf("%q: %v", object, err)
		}
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			t.Fatalf("%q: %v", object, err)
		}
		all = append(all, member{key.(string), raw})
	}
	return all
}

func lastOf(all []member, key string) (last int) {
	last = -1
	for i, m := range all {
		if m.key == key {
			last = i
		}
	}
	return last
}

// expect is Split written with encoding/json.
func expect(t *testing.T, text []byte) split {
	t.Helper()
	whole := bytes.Trim(text, " \t\r\n")
	want := split{Whole: string(whole)}
	item := func(data []byte) {
		readable := string(data)
		if data[0] == '{' {
			all := members(t, data)
			if i := lastOf(all, "event"); i >= 0 && all[i].raw[0] == '"' {
				var name string
				if err := json.Unmarshal(all[i].raw, &name); err != nil {
					t.Fatal(err)
				}
				if name != "" {
					readable += " = " + name
				}
			}
		}
		want.Items = append(want.Items, readable)
	}
	list := func(array []byte) {
		want.List = true
		var elements []json.RawMessage
		if err := json.Unmarshal(array, &elements); err != nil {
			t.Fatalf("%q: %v", array, err)
		}
		for _, e := range elements {
			item(e)
		}
	}
	if whole[0] == '[' {
		list(whole)
		return want
	}
	if whole[0] == '{' {
		all := members(t, whole)
		if i := lastOf(all, "batch"); i >= 0 && all[i].raw[0] == '[' {
			list(all[i].raw)
			return want
		}
	}
	item(whole)
	return want
}

func checkAgainstEncodingJSON(t *testing.T, text []byte) {
	t.Helper()
	const most = 1 << 20
	var got body.Body
	reason := body.Split(text, most, &got)
	if valid := json.Valid(text); valid != (reason == "") {
		t.Fatalf("%q: encoding/json says valid: %v; reason %q", text, valid, reason)
	}
	if reason != "" {
		return
	}
	want := expect(t, text)
	envelope := got.Envelope
	got.Envelope = nil
	if now := readable(got); !reflect.DeepEqual(want, now) {
		t.Fatalf("%q (-encoding/json +got):\n%s", text, cmp.Diff(want, now))
	}
	for _, item := range got.Items {
		if !utf8.ValidString(item.Event) {
			t.Fatalf("%q: the name %q is not valid UTF-8", text, item.Event)
		}
		if cap(item.Data) != len(item.Data) {
			t.Fatalf("%q: appending to an event would overwrite what follows it", text)
		}
	}
	if want.List && want.Whole[0] == '{' {
		all := members(t, []byte(want.Whole))
		last := lastOf(all, "batch")
		all = append(all[:last:last], all[last+1:]...)
		var inEnvelope []member
		if envelope != nil {
			inEnvelope = members(t, envelope)
		}
		if diff := cmp.Diff(fmt.Sprint(all), fmt.Sprint(inEnvelope)); diff != "" || (envelope != nil && !json.Valid(envelope)) {
			t.Fatalf("%q: envelope %q: %s", text, envelope, diff)
		}
	} else if envelope != nil {
		t.Fatalf("%q: envelope %q", text, envelope)
	}
}

var corpus = []string{
	`{"event":"pageview","deviceId":"d","properties":{"pathname":"/","n":[1,-2.5e3,true,false,null,{"x":{}}]}}`,
	`[{"event":"a"},{"event":"b","properties":{}}]`,
	`{"sentAt":"2024-01-01T00:00:00Z","batch":[{"event":"a"},2],"context":{"library":{"name":"x"}}}`,
	`{"batch":[1],"\u0062atch":[2],"batch":3,"bat\u0063h":[4]}`,
	`{"event":"\ud83d\ude00\ud83d","\u0065vent":"x\/\b\f\n\r\t\\\""}`,
	"{\"event\":\"\xff\xc0\x80\",\"\xff\":\"\xed\xa0\x80\"}",
	`[[{"x":1},[1,2],{"y":[{"z":[[],{}]},[3]]},[[4],5]]]`, // an array where an object was, and the other way round
	"\t[ ]\r\n", ` { } `, `""`, `0`, `-0`, `1e400`, `[1E-7,0.00]`, `tru`, `[}`, `{]`, `{"a"}`, `{"a":}`, `["\u00"]`, "\"\x7f\"", "[\"\x1f\"]",
	`{"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa":"bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\"cc"}`,
}

func TestSplitAgreesWithEncodingJSON(t *testing.T) {
	for _, text := range corpus {
		checkAgainstEncodingJSON(t, []byte(text))
		// every prefix, and every byte changed
		for i := range text {
			checkAgainstEncodingJSON(t, []byte(text[:i]))
			for _, c := range []byte("\x00\"\\,:[]{} 0e-u\xff") {
				changed := []byte(text)
				changed[i] = c
				checkAgainstEncodingJSON(t, changed)
			}
		}
	}
	for n := 9_990; n < 10_010; n++ {
		checkAgainstEncodingJSON(t, []byte(nested(n, "")))
		checkAgainstEncodingJSON(t, []byte(`{"batch":`+nested(n, "1")+`}`))
		checkAgainstEncodingJSON(t, []byte(strings.Repeat(`[{"a":`, n/2)+nested(n%2, "0")+strings.Repeat(`}]`, n/2)))
	}
}

func FuzzSplit(f *testing.F) {
	for _, text := range corpus {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) { checkAgainstEncodingJSON(t, text) })
}

// A Body that is used again must not keep what was in it.
func TestSplitReusesItems(t *testing.T) {
	var b body.Body
	body.Split([]byte(`[1,2,3]`), 10, &b)
	all := b.Items[:3]
	body.Split([]byte(`[4]`), 10, &b)
	if got := readable(b); len(got.Items) != 1 || got.Items[0] != "4" {
		t.Errorf("%v", got)
	}
	if all[1].Data != nil || all[2].Data != nil {
		t.Error("earlier bodies are kept alive")
	}
}

func event230() []byte {
	return []byte(`{"event":"pageview","deviceId":"01890a5d-ac96-774b-bcce-b302099a8057","timestamp":1700000000000,"properties":{"pathname":"/docs/getting-started","referrer":"https://example.com/","title":"Getting started","width":1440,"new":true}}`)
}

func BenchmarkSplitSingle(b *testing.B) {
	text := event230()
	var out body.Body
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if reason := body.Split(text, 10_000, &out); reason != "" {
			b.Fatal(reason)
		}
	}
}

func BenchmarkSplitBatch50(b *testing.B) {
	text := []byte(`{"sentAt":"2024-01-01T00:00:00Z","batch":[` + strings.Repeat(string(event230())+",", 49) + string(event230()) + `]}`)
	var out body.Body
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if reason := body.Split(text, 10_000, &out); reason != "" {
			b.Fatal(reason)
		}
	}
}

func BenchmarkEncodingJSONValid(b *testing.B) {
	text := event230()
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if !json.Valid(text) {
			b.Fatal("invalid")
		}
	}
}
