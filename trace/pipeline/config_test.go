package pipeline

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const leastConfig = `
sources: {web: {keys: [k], origins: [none]}}
events: {e: {}}
`

func TestConfigFaults(t *testing.T) {
	for _, test := range []struct{ name, yaml, want string }{
		{"empty", "", "the file is empty"},
		{"comment only", "# nothing\n", "the file is empty"},
		{"not YAML", "a: [", "line 1"},
		{"two documents", leastConfig + "---\na: 1\n", "more than one document"},
		{"unknown key", leastConfig + "evnts: {}\n", "line 4: field evnts not found"},
		{"unknown key in a source", "sources: {web: {keys: [k], origins: [none], x: 1}}", "field x not found"},
		{"unknown key in a property", leastConfig + "properties:\n  a: {type: string, requird: true}\n", `line 5: unknown key "requird"`},
		{"unknown key in a mapping", "sources: {web: {keys: [k], origins: [none]}}\nevents:\n  e:\n    trackers:\n      ga4: {nam: x}\ntrackers: {ga4: {}}\n", `line 5: unknown key "nam"`},
		{"property is a list", leastConfig + "properties:\n  a: [string]\n", "line 5: a property is a type"},
		{"mapping is a text", "sources: {web: {keys: [k], origins: [none]}}\nevents:\n  e:\n    trackers:\n      ga4: yes please\ntrackers: {ga4: {}}\n", "line 5: an event's tracker is true, false"},
		{"duplicate key", leastConfig + "events: {f: {}}\n", "already defined"},
		{"newer format", "format: 2\n" + leastConfig, "line 1: format: this build reads format 1, this is 2"},
		{"no sources", "events: {e: {}}", "sources: there are none"},
		{"no events", "sources: {web: {keys: [k], origins: [none]}}", "events: there are none"},
		{"source without keys", "events: {e: {}}\nsources:\n  web: {origins: [none]}", "line 3: sources.web: keys is empty"},
		{"source without origins", "events: {e: {}}\nsources:\n  web: {keys: [k]}", "line 3: sources.web: origins is empty"},
		{"key of two sources", "events: {e: {}}\nsources:\n  a: {keys: [k], origins: [none]}\n  b:\n    keys: [k]\n    origins: [none]", "line 5: sources.b.keys.k: the write key belongs to source a already"},
		{"origin with a path", "events: {e: {}}\nsources:\n  a:\n    keys: [k]\n    origins:\n      - https://a.example\n      - https://b.example/", "line 7: sources.a.origins.https://b.example/"},
		{"origin without scheme", "events: {e: {}}\nsources: {a: {keys: [k], origins: [www.example.com]}}", "want scheme://host"},
		{"origin in capitals", "events: {e: {}}\nsources: {a: {keys: [k], origins: [\"https://Example.com\"]}}", "lower case"},
		{"star is a host", "events: {e: {}}\nsources: {a: {keys: [k], origins: [\"https://*\"]}}", "a star stands for"},
		{"star over a whole domain", "events: {e: {}}\nsources: {a: {keys: [k], origins: [\"https://*.com\"]}}", "at least two more"},
		{"star in the middle", "events: {e: {}}\nsources: {a: {keys: [k], origins: [\"https://a.*.com\"]}}", "a star may stand"},
		{"negative limit", leastConfig + "limits: {depth: -1}", "limits.depth: must not be negative"},
		{"deep limit", leastConfig + "limits: {depth: 65}", "at most 64"},
		{"no duration", leastConfig + "limits:\n  age: 3 days", `line 5: "3 days" is no duration`},
		{"policy", leastConfig + "on_wrong: ignore", "neither drop nor reject"},
		{"type", leastConfig + "properties:\n  a: int\n", `line 5: properties.a: type "int": want one of string, integer`},
		{"no type", leastConfig + "properties:\n  a: {required: true}\n", `type ""`},
		{"max of a number", leastConfig + "properties:\n  a: {type: integer, max: 3}\n", "has no length"},
		{"values of a number", leastConfig + "properties:\n  a: {type: integer, values: [1]}\n", "only a string can have listed values"},
		{"members of a string", leastConfig + "properties:\n  a: {type: string, members: {b: string}}\n", "only object and array have members"},
		{"required member", leastConfig + "properties:\n  a: {type: object, members: {b: {type: string, required: true}}}\n", "a member is never required"},
		{"member of unknown type", leastConfig + "properties:\n  a: {type: object, members: {b: text}}\n", `properties.a.members.b: type "text"`},
		{"keep", leastConfig + "properties:\n  a: {type: string, keep: [phone]}\n", `no scrubbing rule is called "phone"`},
		{"empty path", leastConfig + "properties:\n  a..b: string\n", "a key in it is empty"},
		{"bad escape", leastConfig + "properties:\n  'a\\b': string\n", "a backslash must be followed"},
		{"path inside a property", leastConfig + "properties:\n  a: object\n  a.b: string\n", `line 6: properties.a.b: "a" is listed as a whole`},
		{"same name twice", leastConfig + "properties:\n  a.b: string\n  'a\\.b': string\n", "has the same name"},
		{"event against common property", "sources: {web: {keys: [k], origins: [none]}}\nproperties: {a: object}\nevents:\n  e:\n    properties:\n      a.b: string\n", `line 6: events.e.properties.a.b: "a" is listed as a whole: list either the object or paths inside it (a property of every event)`},
		{"long event", "sources: {web: {keys: [k], origins: [none]}}\nevents: {" + strings.Repeat("x", 129) + ": {}}", "1 to 128 bytes"},
		{"unknown tracker", "sources: {web: {keys: [k], origins: [none]}}\nevents:\n  e:\n    trackers:\n      ga5: true\n", `line 5: events.e.trackers.ga5: no tracker is called "ga5"`},
		{"mapping of what is left out", leastConfig[:len(leastConfig)-len("events: {e: {}}\n")] + "events: {e: {trackers: {ga4: {name: x}}}, f: {}}\ntrackers: {ga4: {events: [f]}}", "leaves this event out"},
		{"omit unknown", leastConfig[:len(leastConfig)-len("events: {e: {}}\n")] + "events: {e: {trackers: {ga4: {omit: [x]}}}}\ntrackers: {ga4: {}}", `no property "x"`},
		{"only and omit", leastConfig[:len(leastConfig)-len("events: {e: {}}\n")] + "events: {e: {properties: {x: string}, trackers: {ga4: {omit: [x], only: [x]}}}}\ntrackers: {ga4: {}}", "either only or omit"},
		{"two names alike", leastConfig[:len(leastConfig)-len("events: {e: {}}\n")] + "events: {e: {properties: {x: string, y: string}, trackers: {ga4: {properties: {x: y}}}}}\ntrackers: {ga4: {}}", `would get "y" twice: from x and from y`},
		{"empty name", leastConfig[:len(leastConfig)-len("events: {e: {}}\n")] + "events: {e: {properties: {x: string}, trackers: {ga4: {properties: {x: \"\"}}}}}\ntrackers: {ga4: {}}", "use omit"},
		{"scrubbing rule", leastConfig + "scrub:\n  rules:\n    phone: mask", `line 6: scrub.rules.phone: there is no such rule`},
		{"scrubbing action", leastConfig + "scrub:\n  rules:\n    email: encrypt", `line 6: scrub.rules.email: "encrypt"`},
		{"hashing URLs", leastConfig + "scrub: {rules: {url: hash}}", "can only be removed"},
		{"pattern", leastConfig + "scrub:\n  patterns:\n    - {name: a, match: '('}", "line 6: scrub.patterns.0.match: error parsing regexp"},
		{"pattern matches nothing", leastConfig + "scrub: {patterns: [{name: a, match: 'x*'}]}", "matches the empty text"},
		{"pattern's name", leastConfig + "scrub: {patterns: [{name: email, match: 'x'}]}", "want a name of its own"},
		{"field", leastConfig + "scrub: {fields: {mail: hash}}", "no listed property"},
		{"parameter", leastConfig + "scrub: {keep_params: ['*']}", "want a parameter's name"},
		{"consent path", leastConfig + "consent: {ads: a..b}", "consent.ads"},
		{"vendor", leastConfig + "trackers: {mix: {}}", `trackers.mix.vendor: "mix": want one of amplitude, ga4, heap, webhook`},
		{"tracker is a stage", leastConfig + "trackers: {raw: {vendor: webhook}}", "is the name of a stage"},
		{"tracker's event", leastConfig + "trackers: {ga4: {events: [e, f]}}", `no event is called "f"`},
		{"ids", leastConfig + "trackers: {ga4: {ids: raw}}", "neither hash nor plain"},
		{"signal", leastConfig + "trackers: {ga4: {consent: {signals: [tcf]}}}", "want gpc or dnt"},
		{"purpose", leastConfig + "trackers: {ga4: {consent: {purposes: [ads]}}}", `consent does not say which property holds "ads"`},
		{"without", leastConfig + "trackers: {ga4: {consent: {without: ask}}}", "neither refuse nor send"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := ParseConfig([]byte(test.yaml))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v\nwant %s", err, test.want)
			}
		})
	}
}

func TestConfigReportsAllFaultsByLine(t *testing.T) {
	_, err := ParseConfig([]byte("on_wrong: x\nsources: {web: {keys: [k], origins: [none]}}\nevents:\n  e: {properties: {a: int}}\n  f: {properties: {b: str}}\n"))
	if err == nil {
		t.Fatal("no error")
	}
	first, second, third := strings.Index(err.Error(), "line 1:"), strings.Index(err.Error(), "line 4:"), strings.Index(err.Error(), "line 5:")
	if first < 0 || second < first || third < second {
		t.Error(err)
	}
}

func TestCanonical(t *testing.T) {
	parse := func(yaml string) []byte {
		t.Helper()
		c, err := ParseConfig([]byte(yaml))
		if err != nil {
			t.Fatal(err)
		}
		return c.Canonical()
	}
	base := parse(testConfig)
	for name, same := range map[string]string{
		"comments":    "# hello\n" + testConfig,
		"description": strings.Replace(testConfig, "empty: {}", "empty: {description: nothing}", 1),
		"defaults":    testConfig + "on_wrong: drop\nscrub: {rules: {email: hash}}\n",
		"order":       strings.Replace(testConfig, "keys: [pk_web, pk_old]", "keys: [pk_old, pk_web]", 1),
		"long form":   strings.Replace(testConfig, "records: integer", "records: {type: integer}", 1),
	} {
		if !bytes.Equal(parse(same), base) {
			t.Errorf("%s: another canonical form", name)
		}
	}
	for name, other := range map[string]string{
		"type":     strings.Replace(testConfig, "records: integer", "records: number", 1),
		"required": strings.Replace(testConfig, "records: integer", "records: {type: integer, required: true}", 1),
		"origin":   strings.Replace(testConfig, "https://www.example.com,", "https://example.com,", 1),
		"rule":     testConfig + "scrub: {rules: {email: mask}}\n",
		"params":   testConfig + "scrub: {keep_params: []}\n",
		"signals":  strings.Replace(testConfig, "ga4: {}", "ga4: {consent: {signals: []}}", 1),
		"limit":    strings.Replace(testConfig, "depth: 8", "depth: 9", 1),
		"mapping":  strings.Replace(testConfig, "empty: {}", "empty: {trackers: {ga4: false}}", 1),
	} {
		if bytes.Equal(parse(other), base) {
			t.Errorf("%s: the same canonical form", name)
		}
	}
	c, _ := ParseConfig([]byte(testConfig))
	before := c.Canonical()
	c.Normalise()
	if !bytes.Equal(c.Canonical(), before) {
		t.Error("Normalise is not idempotent")
	}
}

func TestNewRefuses(t *testing.T) {
	good := Default()
	for name, o := range map[string]Options{
		"short secret":  {Config: good, Secret: make([]byte, 15)},
		"bad config":    {Secret: make([]byte, 16)},
		"nameless":      {Config: good, Secret: make([]byte, 16), Stages: []Stage{stage{}}},
		"nil stage":     {Config: good, Secret: make([]byte, 16), Stages: []Stage{nil}},
		"many patterns": {Config: func() Config { c := good; c.Scrub.Patterns = manyPatterns(58); return c }(), Secret: make([]byte, 16)},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	good.Scrub.Patterns = manyPatterns(57)
	p, err := New(Options{Config: good, Secret: make([]byte, 16)})
	if err != nil {
		t.Fatal(err)
	}
	if r := p.scrubber.scrub([]byte("secret56x"), p.scrubber.on, false); string(r.text) != "(p56)" {
		t.Errorf("the last pattern gives %q", r.text)
	}
}

func manyPatterns(n int) (list []Pattern) {
	for i := range n {
		name := "p" + string(rune('0'+i/10)) + string(rune('0'+i%10))
		list = append(list, Pattern{Name: name, Match: "secret" + name[1:] + "x", Action: Mask})
	}
	return list
}

func TestCurrentSwaps(t *testing.T) {
	one, two := mustPipeline(t, leastConfig), mustPipeline(t, testConfig)
	c := NewCurrent(one)
	if c.Load() != one || c.Swap(two) != one || c.Load() != two {
		t.Error("not what was put in")
	}
	if one.KeyID() != two.KeyID() || len(one.KeyID()) != 8 {
		t.Error("key ids differ though the secret is one")
	}
	other, err := New(Options{Config: Default(), Secret: []byte("another secret of the tests")})
	if err != nil || other.KeyID() == one.KeyID() {
		t.Errorf("%v: key ids of two secrets are alike", err)
	}
}

func TestColumns(t *testing.T) {
	c, err := ParseConfig([]byte(`
sources: {web: {keys: [k], origins: [none]}}
properties: {z: string}
events:
  e: {properties: {a: integer, b.c: number}}
  f: {properties: {a: integer, 'x\.y': time, b.c: string}}
`))
	if err != nil {
		t.Fatal(err)
	}
	want := []Column{{"a", []string{"a"}, Integer}, {"b.c", []string{"b", "c"}, String}, {"x.y", []string{"x.y"}, Time}, {"z", []string{"z"}, String}}
	if diff := cmp.Diff(want, c.Columns()); diff != "" {
		t.Error(diff)
	}
}

// The guide's example is a configuration that works, and lint has nothing to say about it.
func TestGuidesExample(t *testing.T) {
	guide, err := os.ReadFile("../../docs/allowlist.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(guide), "```yaml\n# allowlist.yaml")
	if !ok {
		t.Fatal("the guide has no example that begins with # allowlist.yaml")
	}
	text, _, _ := strings.Cut(rest, "```")
	c, err := ParseConfig([]byte("# allowlist.yaml" + text))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(Options{Config: c, Secret: make([]byte, 16)}); err != nil {
		t.Fatal(err)
	}
	for _, f := range Lint(c) {
		t.Errorf("lint: %+v", f)
	}
}
