package pipeline

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const viewConfig = `
sources: {web: {keys: [pk_web], origins: [https://www.example.com]}}
consent: {analytics: consent.analytics}
events:
  zone.delete:
    properties: {zone: string, plan.name: string, count: integer, secret: string}
    trackers:
      ga4: {name: zone_delete, properties: {zone: z_id, plan.name: plan}, omit: [secret]}
      heap: false
      amplitude: {only: [count, zone]}
      hook: true
  other: {}
trackers:
  ga4: {}
  heap: {consent: {signals: []}}
  amplitude: {consent: {signals: [gpc], purposes: [analytics]}}
  hook: {vendor: webhook, events: [zone.delete], consent: {signals: [dnt], purposes: [analytics], without: send}}
`

func TestViewMapsAndSelects(t *testing.T) {
	p := mustPipeline(t, viewConfig)
	b := process(t, p, request(`[{"event":"zone.delete","deviceId":"d","properties":{"zone":"z","plan":{"name":"pro"},"count":3,"secret":"s","consent":{"analytics":true}}},{"event":"other","deviceId":"d","properties":{"consent":{"analytics":true}}}]`))
	type view struct {
		Decision   Decision
		Name       string
		Properties string
	}
	views := func(e *Event) map[string]view {
		all := map[string]view{}
		for _, tracker := range p.Trackers() {
			v, decision, o := p.View(tracker, e)
			if o != (Outcome{}) {
				t.Errorf("%s: outcome %+v", tracker, o)
			}
			var list []string
			for _, one := range v.Properties {
				list = append(list, one.Name+"="+string(one.Value))
			}
			all[tracker] = view{decision, v.Name, strings.Join(list, " ")}
		}
		return all
	}
	if diff := cmp.Diff(map[string]view{
		"ga4":       {Send, "zone_delete", `count=3 plan="pro" z_id="z"`},
		"heap":      {Skip, "", ""},
		"amplitude": {Send, "zone.delete", `count=3 zone="z"`},
		"hook":      {Send, "zone.delete", `count=3 plan.name="pro" secret="s" zone="z"`},
	}, views(&b.Events[0])); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]view{"ga4": {Send, "other", ""}, "heap": {Send, "other", ""}, "amplitude": {Send, "other", ""}, "hook": {Skip, "", ""}}, views(&b.Events[1])); diff != "" {
		t.Error(diff)
	}
	defer func() {
		if recover() == nil {
			t.Error("an unknown tracker does not panic")
		}
	}()
	p.View("nobody", &b.Events[0])
}

func TestViewAsksForConsent(t *testing.T) {
	p := mustPipeline(t, viewConfig)
	const skip, send = "skip", "send"
	for _, test := range []struct {
		name, consent    string
		gpc, dnt         bool
		ga4, heap, a, wh string
	}{
		{"nothing said", `{}`, false, false, send, send, "purposes.analytics", send},
		{"granted", `{"analytics":"granted"}`, false, false, send, send, send, send},
		{"denied", `{"analytics":false}`, false, false, send, send, "purposes.analytics", "purposes.analytics"},
		{"unreadable", `{"analytics":"hm"}`, false, false, send, send, "purposes.analytics", "purposes.analytics"},
		{"null", `{"analytics":null}`, false, false, send, send, "purposes.analytics", send},
		{"GPC", `{"analytics":true}`, true, false, "signals.gpc", send, "signals.gpc", send},
		{"DNT", `{"analytics":true}`, false, true, "signals.dnt", send, send, "signals.dnt"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := request(`{"event":"zone.delete","deviceId":"d","properties":{"consent":` + test.consent + `}}`)
			if test.gpc {
				with(r, "Sec-GPC", "1")
			}
			if test.dnt {
				with(r, "DNT", "1")
			}
			e := process(t, p, r).Events[0]
			test.heap = skip
			for tracker, want := range map[string]string{"ga4": test.ga4, "heap": test.heap, "amplitude": test.a, "hook": test.wh} {
				v, decision, o := p.View(tracker, &e)
				got := map[Decision]string{Send: send, Skip: skip}[decision]
				if decision == Refuse {
					got = strings.TrimPrefix(o.Rule, "trackers."+tracker+".consent.")
					if o.Reason != NoConsent || o.Stage != tracker || o.Result != Rejected || o.ID != e.ID || o.Position != e.Position || o.Name != "zone.delete" {
						t.Errorf("%s: %+v", tracker, o)
					}
					if !cmp.Equal(v, Event{}) {
						t.Errorf("%s is given an event it may not have", tracker)
					}
				}
				if got != want {
					t.Errorf("%s: %s, want %s", tracker, got, want)
				}
			}
		})
	}
}

// An event may wait in the log while the configuration changes: what is no longer listed does not leave.
func TestViewGoesByTheConfigurationInForce(t *testing.T) {
	before := mustPipeline(t, viewConfig)
	e := process(t, before, request(`{"event":"zone.delete","deviceId":"d","properties":{"zone":"z","count":3}}`)).Events[0]
	narrower := mustPipeline(t, `
sources: {web: {keys: [pk_web], origins: [https://www.example.com]}}
events: {zone.delete: {properties: {count: integer}}}
trackers: {ga4: {}}
`)
	v, decision, _ := narrower.View("ga4", &e)
	if decision != Send || len(v.Properties) != 1 || v.Properties[0].Name != "count" {
		t.Errorf("%v %v", decision, v.Properties)
	}
	gone := mustPipeline(t, "sources: {web: {keys: [k], origins: [none]}}\nevents: {other: {}}\ntrackers: {ga4: {}}")
	if _, decision, o := gone.View("ga4", &e); decision != Refuse || o.Reason != UnknownEvent {
		t.Errorf("%v %+v", decision, o)
	}
	if len(e.Properties) != 2 {
		t.Error("View changed the event")
	}
}

// What of the context a tracker gets is what its list says, and without a list nothing.
func TestViewOfContext(t *testing.T) {
	full := Context{Browser: "Chrome", Version: "126", OS: "Windows", Device: "desktop", Language: "en-GB", Page: "https://www.example.com/", Referrer: "https://r.example/", IP: "203.0.113.0", Country: "GB"}
	parts := map[ContextWord]Context{
		ContextBrowser: {Browser: "Chrome", Version: "126"}, ContextOS: {OS: "Windows"}, ContextDevice: {Device: "desktop"}, ContextLanguage: {Language: "en-GB"},
		ContextCountry: {Country: "GB"}, ContextPage: {Page: "https://www.example.com/"}, ContextReferrer: {Referrer: "https://r.example/"}, ContextIP: {IP: "203.0.113.0"},
	}
	view := func(list string) Context {
		p := mustPipeline(t, "sources: {web: {keys: [k], origins: [none]}}\nevents: {e: {}}\ntrackers: {heap: {context: ["+list+"]}}\n")
		v, decision, _ := p.View("heap", &Event{Name: "e", Context: full})
		if decision != Send {
			t.Fatalf("%q: decision %d", list, decision)
		}
		return v.Context
	}
	if got := view(""); !reflect.DeepEqual(got, Context{}) {
		t.Errorf("without a list: %+v", got)
	}
	for _, word := range ContextWords() {
		if got := view(string(word)); !reflect.DeepEqual(got, parts[word]) || reflect.DeepEqual(got, Context{}) {
			t.Errorf("%s: %+v, want %+v", word, got, parts[word])
		}
	}
	if got := view("ip, page, browser, os, device, language, country, referrer"); !reflect.DeepEqual(got, full) {
		t.Errorf("with all: %+v", got)
	}
	var same [][]byte
	for _, list := range []string{"[os, page]", "[page, os, os]", "[]"} {
		c, err := ParseConfig([]byte("sources: {web: {keys: [k], origins: [none]}}\nevents: {e: {}}\ntrackers: {heap: {context: " + list + "}}\n"))
		if err != nil {
			t.Fatal(err)
		}
		same = append(same, c.Canonical())
	}
	if !bytes.Equal(same[0], same[1]) || bytes.Equal(same[0], same[2]) {
		t.Error("the list is a set, and part of the build")
	}
	if _, err := ParseConfig([]byte("sources: {web: {keys: [k], origins: [none]}}\nevents: {e: {}}\ntrackers: {heap: {context: [cookie]}}\n")); err == nil || !strings.Contains(err.Error(), `"cookie": want one of browser, os`) {
		t.Errorf("a word that is none: %v", err)
	}
}
