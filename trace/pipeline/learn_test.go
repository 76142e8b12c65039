package pipeline

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func learn(rows ...string) *Proposal {
	return Learn(func(yield func([]byte) bool) {
		for _, row := range rows {
			if !yield([]byte(row)) {
				return
			}
		}
	}, LearnOptions{})
}

func TestLearnProposesTypes(t *testing.T) {
	row := func(properties string) string {
		return `{"event":"e","deviceId":"d","properties":{` + properties + `}}`
	}
	p := learn(
		row(`"s":"a","i":1,"n":1,"b":true,"u":"https://a.example/x","at":"2026-01-15T12:00:00Z","mix":"a","null":null,"deep":{"a":{"b":1,"c":{"d":{"e":1}}}},"ss":["a"],"ii":[1],"nn":[1,2.5],"oo":[{"sku":"a","n":1,"l":[1]}],"e":[],"odd":[1,"a"],"both":1,"a.b":1`),
		row(`"s":"b","i":-12345678901234567890,"n":1.5,"b":false,"u":"/relative","at":"2026-01-15T12:00:00.5+01:00","mix":2,"null":null,"ss":[],"oo":[{"sku":"b","n":2.5}],"both":{"x":1},"password":"x","email":"jim@example.com","free":"mail jim@example.com","jim@example.com":1`),
	)
	got := p.Config.Events["e"].Properties
	want := map[string]PropertyRule{
		"s": {Type: String}, "i": {Type: Integer}, "n": {Type: Number}, "b": {Type: Boolean}, "u": {Type: URL}, "at": {Type: Time}, "mix": {Type: Scalar},
		"deep.a.b": {Type: Integer}, "ss": {Type: Strings}, "ii": {Type: Integers}, "nn": {Type: Numbers}, "both": {Type: Integer}, `a\.b`: {Type: Integer}, "free": {Type: String},
		"oo": {Type: Array, Members: map[string]PropertyRule{"sku": {Type: String}, "n": {Type: Number}}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	text := string(p.YAML())
	for _, part := range []string{"# 2 times", "s: string # in 2 of 2", "free: string # in 1 of 2; the scrubber found: email", "left out: password: its name says it is a secret", "left out: email: its name says it is about a person",
		"left out: null: always null", "left out: e: always empty", "left out: odd: its elements are of different types", "left out: both.x: contradicts another path", "left out: 1 times a property whose name looks like data"} {
		if !strings.Contains(text, part) {
			t.Errorf("the file does not say %q:\n%s", part, text)
		}
	}
	for _, value := range []string{"jim", "example.com", "2026", "12345678901234567890"} {
		if strings.Contains(text, value) {
			t.Errorf("the file holds a value: %q", value)
		}
	}
	again, err := ParseConfig([]byte(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if !slices.Equal(again.Canonical(), p.Config.Canonical()) {
		t.Errorf("the file is not the configuration\n%s\n%s", again.Canonical(), p.Config.Canonical())
	}
}

func TestLearnIsBounded(t *testing.T) {
	p := Learn(func(yield func([]byte) bool) {
		for i := range 3000 {
			yield(fmt.Appendf(nil, `{"event":"made up %d","deviceId":"d","properties":{}}`, i))
			yield(fmt.Appendf(nil, `{"event":"often","deviceId":"d","properties":{"p%d":1,"q":{"r%d":2}}}`, i, i))
		}
		yield([]byte(`not JSON`))
		yield([]byte(`{"deviceId":"no event"}`))
		yield([]byte(`[]`))
		yield([]byte(`{"event":"jim@example.com"}`))
		yield([]byte(`{"event":"` + strings.Repeat("x", 129) + `"}`))
	}, LearnOptions{Events: 20, Properties: 10})
	if len(p.Config.Events) != 20 || len(p.Config.Events["often"].Properties) != 10 {
		t.Errorf("%d events, %d properties", len(p.Config.Events), len(p.Config.Events["often"].Properties))
	}
	if p.Rows != 6005 || p.Odd != 3 || p.Overflow != 3000-19+2 {
		t.Errorf("%d rows, %d odd, %d beyond the bound", p.Rows, p.Odd, p.Overflow)
	}
	if !strings.Contains(string(p.YAML()), "times a property beyond the bound") {
		t.Error("the file hides that properties are missing")
	}
	if strings.Contains(string(p.YAML()), "jim") {
		t.Error("a name that is an address is in the file")
	}
}

// Names are whatever clients wrote: the file must be YAML all the same.
func TestLearnWritesOddNames(t *testing.T) {
	names := []string{"a: b", "- x", "#c", "yes", "null", "1", "'", `"`, "{", "über\tx", "x\ny", "a\u2028b", " ", "!!int", "*a", "&a", "a\u0000b", "\u0085", "|", "~", "..."}
	var rows []string
	for _, n := range names {
		q := quote(n)
		rows = append(rows, `{"event":`+q+`,"properties":{`+q+`:{`+q+`:1},"list":[{`+q+`:1}],`+quote(n+"x")+`:null}}`)
	}
	p := learn(rows...)
	again, err := ParseConfig(p.YAML())
	if err != nil {
		t.Fatalf("%v\n%s", err, p.YAML())
	}
	if diff := cmp.Diff(string(p.Config.Canonical()), string(again.Canonical())); diff != "" {
		t.Error(diff)
	}
	if len(again.Events) < len(names)-1 {
		t.Errorf("%d of %d events", len(again.Events), len(names))
	}
}

// Whatever rows hold, the file that is proposed is one that can be read, and lets pass what it was made from.
func FuzzLearn(f *testing.F) {
	f.Add([]byte(`{"event":"e","properties":{"a":{"b":1},"a.b":2}}`), []byte(`{"event":"e","properties":{"a":1,"a\\.b":[{"c":1}]}}`))
	f.Add([]byte(`{"event":"\u0000","properties":{"\\":1,".":2,"..":{"":1}}}`), []byte(`{"event":" x ","properties":{"<<":1,"\ud800":2,"\uffff":3}}`))
	f.Add([]byte(`{"event":"e","properties":{"a":[{"b":{"c":1}}],"n":null}}`), []byte(`{"event":"e","properties":{"a":[{"b":2}],"n":[null]}}`))
	f.Fuzz(func(t *testing.T, one, two []byte) {
		p := learn(string(one), string(two))
		text := p.YAML()
		if len(p.Config.Events) == 0 {
			return
		}
		c, err := ParseConfig(text)
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if !slices.Equal(c.Canonical(), p.Config.Canonical()) {
			t.Fatalf("the file is not the configuration\n%s\n%s\n%s", text, c.Canonical(), p.Config.Canonical())
		}
		if _, err := New(Options{Config: c, Secret: make([]byte, 16)}); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
	})
}

// What is proposed arrives: no vendor drops an event or a property of it for its name or its type.
func TestLearnSpellsNamesForVendors(t *testing.T) {
	p := learn(
		`{"event":"add to cart","deviceId":"d","properties":{"zone-kind":"a","a":{"b":1},"a_b":2,"ga_x":1,"größe":"s","1st":1,"items":[{"sku":"a"}],"tags":["a"],"`+strings.Repeat("long", 12)+`":1}}`,
		`{"event":"add.to.cart","deviceId":"d","properties":{}}`, `{"event":"add_to_cart","deviceId":"d","properties":{}}`,
		`{"event":"ページ閲覧","deviceId":"d","properties":{"検索":"x"}}`, `{"event":"error","deviceId":"d","properties":{}}`,
		`{"event":"pageview","deviceId":"d","properties":{"pathname":"/"}}`, `{"event":"$identify","deviceId":"d","properties":{}}`,
		`{"event":"`+strings.Repeat("very ", 12)+`long","deviceId":"d","properties":{}}`, `{"event":"`+strings.Repeat("very ", 12)+`long too","deviceId":"d","properties":{}}`,
	)
	c, err := ParseConfig(p.YAML())
	if err != nil {
		t.Fatalf("%v\n%s", err, p.YAML())
	}
	for _, f := range Lint(c) {
		if !strings.Contains(f.Text, "characters are let pass") { // how long texts may be is for a person to say
			t.Errorf("%+v", f)
		}
	}
	names := map[string]string{}
	for event, rule := range c.Events {
		name := rule.Trackers["ga4"].Name
		if name == "" {
			name = event
		}
		if other, taken := names[name]; taken {
			t.Errorf("%s and %s are both sent as %s", event, other, name)
		}
		names[name] = event
	}
	if c.Events["pageview"].Trackers != nil || c.Events["add_to_cart"].Trackers != nil {
		t.Errorf("names that can stay were changed: %+v", c.Events)
	}
	if m := c.Events["add to cart"].Trackers["heap"]; !slices.Equal(m.Omit, []string{"items", "tags"}) || m.Properties != nil {
		t.Errorf("heap: %+v", m)
	}
	if !slices.Equal(c.Canonical(), p.Config.Canonical()) {
		t.Errorf("the file is not the configuration\n%s\n%s", c.Canonical(), p.Config.Canonical())
	}
}
