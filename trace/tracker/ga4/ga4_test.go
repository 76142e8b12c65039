package ga4_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sparrowhq/sparrow/trace/pipeline"
	"github.com/sparrowhq/sparrow/trace/tracker"
	"github.com/sparrowhq/sparrow/trace/tracker/contract"
	"github.com/sparrowhq/sparrow/trace/tracker/ga4"
)

// sent is an event in the vendor's form, read.
type sent struct {
	Name   string                     `json:"name"`
	Micros json.Number                `json:"timestamp_micros"`
	Params map[string]json.RawMessage `json:"params"`
}

func form(t *testing.T, e pipeline.Event) (sent, *tracker.Form) {
	t.Helper()
	var f tracker.Form
	if b := ga4.New().Form(&e, &f); b != nil {
		t.Fatalf("rejected: %+v", b)
	}
	var s sent
	if err := json.Unmarshal(f.Body, &s); err != nil {
		t.Fatal(err)
	}
	return s, &f
}

func made(name string, properties ...string) pipeline.Event {
	e := contract.Plain(1)
	e.Name = name
	for i := 0; i < len(properties); i += 2 {
		e.Properties = append(e.Properties, pipeline.Property{Name: properties[i], Value: json.RawMessage(properties[i+1])})
	}
	return e
}

func quoted(n int) string { return `"` + strings.Repeat("é", n) + `"` }

func TestNames(t *testing.T) {
	for name, reason := range map[string]string{
		"zone_delete": "", "Z9_": "", strings.Repeat("a", 40): "", "pageview": "", "page_view": "", "errors": "",
		strings.Repeat("a", 41): "name not allowed", "": "name not allowed", "zone.delete": "name not allowed", "zone-delete": "name not allowed", "1st": "name not allowed",
		"_x": "name not allowed", "ga_x": "name not allowed", "google_x": "name not allowed", "firebase_x": "name not allowed", "gtag.x": "name not allowed", "naïve": "name not allowed",
		"session_start": "name reserved", "first_visit": "name reserved", "user_engagement": "name reserved", "error": "name reserved", "screen_view": "name reserved", "app_update": "name reserved",
	} {
		e := made(name)
		b := ga4.New().Form(&e, new(tracker.Form))
		if got := ""; b != nil {
			got = b.Reason
			if got != reason || b.Detail == "" {
				t.Errorf("%q: %+v, want %q", name, b, reason)
			}
		} else if reason != "" {
			t.Errorf("%q is let pass", name)
		}
	}
}

func TestValuesAreCutWhereTheVendorWould(t *testing.T) {
	for name, limit := range map[string]int{"zone": 100, "page_title": 300, "page_referrer": 420, "page_location": 1000} {
		for _, n := range []int{limit, limit + 1} {
			s, f := form(t, made("zone_delete", name, quoted(n)))
			if string(s.Params[name]) != quoted(limit) {
				t.Errorf("%s of %d: %s", name, n, s.Params[name])
			}
			if want := n > limit; want != (len(f.Warnings) == 1 && f.Warnings[0].Code == "VALUE_OUT_OF_BOUNDS" && f.Warnings[0].Field == "events.params."+name) {
				t.Errorf("%s of %d: %+v", name, n, f.Warnings)
			}
		}
	}
	// Escapes count as what they stand for, and are never cut in two.
	s, f := form(t, made("zone_delete", "zone", `"`+strings.Repeat(`\ud83d\ude00`, 101)+`"`))
	if string(s.Params["zone"]) != `"`+strings.Repeat(`\ud83d\ude00`, 100)+`"` || len(f.Warnings) != 1 {
		t.Errorf("%s %+v", s.Params["zone"], f.Warnings)
	}
}

func TestParametersThatAreLeftOut(t *testing.T) {
	for _, row := range []struct{ name, value, code string }{
		{"a-b", `1`, "NAME_INVALID"}, {"1a", `1`, "NAME_INVALID"}, {strings.Repeat("p", 41), `1`, "NAME_INVALID"}, {"plan.name", `1`, "NAME_INVALID"}, {"", `1`, "NAME_INVALID"},
		{"_a", `1`, "NAME_RESERVED"}, {"ga_a", `1`, "NAME_RESERVED"}, {"google_a", `1`, "NAME_RESERVED"}, {"firebase_a", `1`, "NAME_RESERVED"}, {"gtag.a", `1`, "NAME_RESERVED"},
		{"list", `[1]`, "VALUE_INVALID"}, {"object", `{"a":1}`, "VALUE_INVALID"}, {"timestamp_micros", `"x"`, "VALUE_INVALID"}, {"event_id", `"x"`, "NAME_DUPLICATED"},
		{"long", strings.Repeat("9", 101), "VALUE_OUT_OF_BOUNDS"},
	} {
		s, f := form(t, made("zone_delete", row.name, row.value))
		if len(s.Params) != 3 || len(f.Warnings) != 1 || f.Warnings[0].Code != row.code {
			t.Errorf("%s: %d parameters, %+v", row.name, len(s.Params), f.Warnings)
		}
	}
	var many []string
	for i := range 30 {
		many = append(many, fmt.Sprintf("p%02d", i), "1")
	}
	s, f := form(t, made("zone_delete", many...))
	if len(s.Params) != 25 || s.Params["p21"] == nil || s.Params["p22"] != nil || len(f.Warnings) != 8 || f.Warnings[0].Code != "EXCEEDED_MAX_ENTITIES" {
		t.Errorf("%d parameters, %+v", len(s.Params), f.Warnings)
	}
	if s, _ := form(t, made("purchase", "items", `[{"item_id":"a"}]`)); s.Params["items"] == nil {
		t.Error("items are left out")
	}
}

func TestPageView(t *testing.T) {
	s, _ := form(t, made("pageview", "pathname", `"/a"`, "referrer", `"https://r.example/"`, "title", `"T"`, "url", `"https://x.example/a"`))
	if s.Name != "page_view" || string(s.Params["page_location"]) != `"https://x.example/a"` || string(s.Params["page_referrer"]) != `"https://r.example/"` || string(s.Params["page_title"]) != `"T"` || string(s.Params["pathname"]) != `"/a"` {
		t.Errorf("%+v", s)
	}
	if s, _ := form(t, made("pageview", "pathname", `"/a"`)); string(s.Params["page_location"]) != `"/a"` || s.Params["pathname"] != nil {
		t.Errorf("%+v", s)
	}
	if s, _ := form(t, made("pageview", "page_location", `"own"`, "url", `"other"`)); string(s.Params["page_location"]) != `"own"` || string(s.Params["url"]) != `"other"` {
		t.Errorf("%+v", s)
	}
}

func TestSessionsAndEngagement(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	session := func(device string, d time.Duration, properties ...string) string {
		e := made("zone_delete", properties...)
		e.DeviceID, e.Time = device, at.Add(d).UnixMicro()
		s, _ := form(t, e)
		return string(s.Params["session_id"])
	}
	a := session("d", 0)
	if a != session("d", 29*time.Minute) || a == session("d", 30*time.Minute) || a == session("e", 0) || strings.Trim(a, `"0123456789`) != "" {
		t.Error("a session is a device's half hour")
	}
	if got := session("d", 0, "session_id", "42"); got != "42" {
		t.Errorf("the event's own session_id became %s", got)
	}
	if s, _ := form(t, made("zone_delete", "engagement_time_msec", "1234")); string(s.Params["engagement_time_msec"]) != "1234" {
		t.Errorf("%+v", s)
	}
	if s, _ := form(t, made("zone_delete", "engagement_time_msec", `"much"`)); string(s.Params["engagement_time_msec"]) != "1" {
		t.Errorf("%+v", s)
	}
}

func TestAgeAndSize(t *testing.T) {
	e := made("zone_delete")
	_, f := form(t, e)
	if left := time.UnixMicro(f.Until).Sub(time.UnixMicro(e.Time)); left > 72*time.Hour || left < 71*time.Hour {
		t.Errorf("it may be sent for %v", left)
	}
	var items []string
	for range 1300 {
		items = append(items, quoted(50))
	}
	e = made("purchase", "items", "["+strings.Join(items, ",")+"]")
	if b := ga4.New().Form(&e, new(tracker.Form)); b == nil || b.Reason != "too large" {
		t.Errorf("%+v", b)
	}
	e = made("zone_delete")
	e.DeviceID = ""
	if b := ga4.New().Form(&e, new(tracker.Form)); b == nil || b.Reason != "invalid id" {
		t.Errorf("%+v", b)
	}
}

func TestMessages(t *testing.T) {
	v := ga4.New()
	got, err := v.Messages(&tracker.Answer{Status: 200, Body: []byte(`{"validationMessages":[{"fieldPath":"events[3].params","description":"d","validationCode":"NAME_INVALID"}]}`)})
	if err != nil || !slices.Equal(got, []tracker.Warning{{Code: "NAME_INVALID", Field: "events.params", Text: "d"}}) {
		t.Errorf("%+v %v", got, err)
	}
	for _, a := range []tracker.Answer{{Status: 200, Body: []byte(`{}`)}, {Status: 200, Body: []byte(`<html>`)}, {Status: 500, Body: []byte(`{"validationMessages":[]}`)}} {
		if _, err := v.Messages(&a); err == nil {
			t.Errorf("%d %s is taken for a yes", a.Status, a.Body)
		}
	}
}

// What lint warns of is what is rejected.
func TestLintKnowsTheReservedNames(t *testing.T) {
	limits, _ := pipeline.LimitsOf("ga4")
	for _, name := range limits.Events {
		e := made(name)
		if ga4.New().Form(&e, new(tracker.Form)) == nil {
			t.Errorf("%s is let pass", name)
		}
	}
	if _, f := form(t, made("zone_delete")); strings.Count(string(f.Body[strings.Index(string(f.Body), "params"):]), ":")-1 != limits.Own {
		t.Errorf("the tracker's own parameters are not %d: %s", limits.Own, f.Body)
	}
}

func TestContext(t *testing.T) {
	full := pipeline.Context{Browser: "Chrome", Version: "126", OS: "Windows", Device: "tv", Language: "pt-BR", Country: "BR", IP: "203.0.113.0", Page: "https://www.example.com/a", Referrer: "https://r.example/"}
	e := made("zone_delete")
	e.Context = full
	s, f := form(t, e)
	if want := `"client_id":"device-1","user_location":{"country_id":"BR"},"device":{"category":"smart tv","language":"pt-BR","operating_system":"Windows","browser":"Chrome","browser_version":"126"}`; string(f.Head) != want || len(f.Warnings) > 0 {
		t.Errorf("%s %+v", f.Head, f.Warnings)
	}
	if string(s.Params["page_location"]) != `"https://www.example.com/a"` || string(s.Params["page_referrer"]) != `"https://r.example/"` {
		t.Errorf("%s", f.Body)
	}
	// What the event says of itself goes before what the request said; in a page view under the short names, too.
	for _, row := range []struct{ name, property, location, pathname string }{
		{"zone_delete", "page_location", `"own"`, ""}, {"zone_delete", "url", `"https://www.example.com/a"`, ""}, {"pageview", "url", `"own"`, ""}, {"pageview", "pathname", `"https://www.example.com/a"`, `"own"`},
	} {
		e := made(row.name, row.property, `"own"`)
		e.Context = full
		if s, f := form(t, e); string(s.Params["page_location"]) != row.location || string(s.Params["pathname"]) != row.pathname || strings.Count(string(f.Body), `"page_location"`) != 1 {
			t.Errorf("%+v: %s", row, f.Body)
		}
	}
	for _, row := range []struct {
		context pipeline.Context
		head    string
		code    string
	}{
		{pipeline.Context{IP: "203.0.113.0"}, `,"ip_override":"203.0.113.0"`, ""},
		{pipeline.Context{Device: "bot"}, ``, ""},
		{pipeline.Context{Language: "fil", OS: "Linux"}, `,"device":{"operating_system":"Linux"}`, "VALUE_INVALID"},
	} {
		e.Context = row.context
		_, f := form(t, e)
		code := ""
		for _, w := range f.Warnings {
			code += w.Code
		}
		if string(f.Head) != `"client_id":"device-1"`+row.head || code != row.code {
			t.Errorf("%+v: %s %+v", row.context, f.Head, f.Warnings)
		}
	}
	e.Context = pipeline.Context{Referrer: "https://r.example/" + strings.Repeat("r", 500)}
	if s, f := form(t, e); len(s.Params["page_referrer"]) != 422 || len(f.Warnings) != 1 || f.Warnings[0].Code != "VALUE_OUT_OF_BOUNDS" {
		t.Errorf("%s %+v", s.Params["page_referrer"], f.Warnings)
	}
}
