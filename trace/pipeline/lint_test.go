package pipeline

import (
	"strings"
	"testing"
)

func lintOf(t *testing.T, yaml string) []Finding {
	t.Helper()
	c, err := ParseConfig([]byte("sources: {web: {keys: [k], origins: [https://www.example.com]}}\n" + yaml))
	if err != nil {
		t.Fatal(err)
	}
	return Lint(c)
}

func TestLint(t *testing.T) {
	long := strings.Repeat("x", 41)
	many := ""
	for c := 'a'; c <= 'x'; c++ {
		many += "p" + string(c) + ": integer, "
	}
	for _, test := range []struct{ name, yaml, place, tracker, text string }{
		{"dot in a name", "events: {zone.delete: {}}\ntrackers: {ga4: {}}", "events.zone.delete", "ga4", "drops it silently; give it another name with events.zone.delete.trackers.ga4.name"},
		{"dash in a mapped name", "events: {e: {trackers: {ga4: {name: a-b}}}}\ntrackers: {ga4: {}}", "events.e", "ga4", `"a-b"`},
		{"long name", "events: {" + long + ": {}}\ntrackers: {ga4: {}}", "events." + long, "ga4", "41 characters, at most 40"},
		{"reserved name", "events: {session_start: {}}\ntrackers: {ga4: {}}", "events.session_start", "ga4", "reserved"},
		{"reserved prefix", "events: {google_x: {}}\ntrackers: {ga4: {}}", "events.google_x", "ga4", "reserved"},
		{"Amplitude's own", "events: {$identify: {}}\ntrackers: {amplitude: {}}", "events.$identify", "amplitude", "reserved"},
		{"name for Heap", "limits: {name: 2000}\nevents:\n  ? " + strings.Repeat("x", 1025) + "\n  : {}\ntrackers: {heap: {}}", "events." + strings.Repeat("x", 1025), "heap", "at most 1024"},
		{"another vendor's tracker", "events: {a.b: {}}\ntrackers: {google: {vendor: ga4}}", "events.a.b", "google", "silently"},
		{"dot in a property", "events: {e: {properties: {a.b: integer}}}\ntrackers: {ga4: {}}", "events.e.properties.a.b", "ga4", "map it in events.e.trackers.ga4.properties"},
		{"long property", "events: {e: {properties: {" + long + ": integer}}}\ntrackers: {ga4: {}}", "events.e.properties." + long, "ga4", "at most 40"},
		{"reserved property", "events: {e: {properties: {ga_x: integer}}}\ntrackers: {ga4: {}}", "events.e.properties.ga_x", "ga4", "reserved prefix"},
		{"list", "events: {e: {properties: {l: strings}}}\ntrackers: {ga4: {}}", "events.e.properties.l", "ga4", "of type strings is dropped"},
		{"text too long for GA4", "events: {e: {properties: {s: string}}}\ntrackers: {ga4: {}}", "events.e.properties.s", "ga4", "up to 4096 characters are let pass, 100 are kept: longer ones are cut"},
		{"text too long for Heap", "events: {e: {properties: {s: string}}}\ntrackers: {heap: {}}", "events.e.properties.s", "heap", "1023 are kept: longer ones are refused"},
		{"text too long for Amplitude", "events: {e: {properties: {s: {type: string, max: 1025}}}}\ntrackers: {amplitude: {}}", "events.e.properties.s", "amplitude", "set max: 1024"},
		{"GA4's longer ones", "events: {e: {properties: {page_title: {type: string, max: 301}}}}\ntrackers: {ga4: {}}", "events.e.properties.page_title", "ga4", "300 are kept"},
		{"common property", "properties: {a.b: integer}\nevents: {e: {}, f: {}}\ntrackers: {ga4: {}}", "properties.a.b", "ga4", "map it"},
		{"too many", "events: {e: {properties: {" + many + "}}}\ntrackers: {ga4: {}}", "events.e", "ga4", "24 properties and 3 that the tracker adds are more than 25"},
		{"country of no header", "events: {e: {}}\ntrackers: {ga4: {context: [country]}}", "trackers.ga4.context.country", "ga4", "no country is known"},
		{"address beside a country", "context: {country: CF-IPCountry}\nevents: {e: {}}\ntrackers: {ga4: {context: [country, ip]}}", "trackers.ga4.context.ip", "ga4", "choose one of them"},
		{"long referrers", "events: {e: {}}\ntrackers: {ga4: {context: [referrer]}}", "trackers.ga4.context.referrer", "ga4", "420 are kept"},
		{"context of the same name", "events: {e: {properties: {context_os: {type: string, max: 9}}}}\ntrackers: {heap: {context: [os]}}", "events.e.properties.context_os", "heap", "without the context's os"},
		{"too many with the page", "events: {e: {properties: {" + many + "}, trackers: {ga4: {omit: [pa, pb]}}}}\ntrackers: {ga4: {context: [page]}}", "events.e", "ga4", "22 properties and 4 that the tracker adds are more than 25"},
		{"nobody gets it", "events: {e: {trackers: {heap: false}}}\ntrackers: {heap: {}}", "events.e", "", "no tracker gets this event"},
	} {
		t.Run(test.name, func(t *testing.T) {
			found := lintOf(t, test.yaml)
			if len(found) != 1 || found[0].Place != test.place || found[0].Tracker != test.tracker || !strings.Contains(found[0].Text, test.text) {
				t.Errorf("%+v", found)
			}
		})
	}
	for name, yaml := range map[string]string{
		"nothing wrong":       "events: {pageview: {properties: {url: {type: url, max: 100}}}, zone.delete: {trackers: {ga4: {name: zone_delete}}}}\ntrackers: {ga4: {}, heap: {}, amplitude: {}}",
		"webhook":             "events: {\"a b.c\": {properties: {l: object}}}\ntrackers: {webhook: {}}",
		"left out":            "events: {a.b: {trackers: {ga4: false, heap: true}}}\ntrackers: {ga4: {}, heap: {}}",
		"omitted":             "events: {e: {properties: {l: object}, trackers: {ga4: {omit: [l]}}}}\ntrackers: {ga4: {}}",
		"GA4's items":         "events: {e: {properties: {items: {type: array, members: {sku: string}}}}}\ntrackers: {ga4: {}}",
		"listed values":       "events: {e: {properties: {s: {type: string, max: 10, values: [a, b]}}}}\ntrackers: {ga4: {}}",
		"no trackers":         "events: {e: {}}",
		"chosen with only":    "events: {e: {properties: {" + many + "}, trackers: {ga4: {only: [pa]}}}}\ntrackers: {ga4: {}}",
		"a page of its own":   "events: {pageview: {properties: {url: {type: url, max: 100}}}}\ntrackers: {ga4: {context: [page, browser, os, device, language, ip]}}",
		"22 are not too many": "events: {e: {properties: {" + many + "}, trackers: {ga4: {omit: [pa, pb]}}}}\ntrackers: {ga4: {}}",
	} {
		if found := lintOf(t, yaml); len(found) != 0 {
			t.Errorf("%s: %+v", name, found)
		}
	}
}

func TestLintOfSources(t *testing.T) {
	c, err := ParseConfig([]byte("events: {e: {}}\nsources:\n  a: {keys: [k], origins: [https://x.example.com, none]}\n  b: {keys: [l], origins: [http://x.example.com]}\n  c: {keys: [m], origins: [none, 'http://localhost:*']}\n"))
	if err != nil {
		t.Fatal(err)
	}
	found := Lint(c)
	if len(found) != 2 || found[0].Place != "sources.a.origins" || !strings.Contains(found[0].Text, "any program") || found[1].Place != "sources.b.origins" || !strings.Contains(found[1].Text, "not HTTPS") {
		t.Errorf("%+v", found)
	}
	if found := Lint(Default()); len(found) != 1 || found[0].Place != "events.pageview.properties.pathname" || found[0].Tracker != "ga4" || !strings.Contains(found[0].Text, "are cut") {
		t.Errorf("the default configuration: %+v", found)
	}
}
