package sandbox

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sparrowhq/sparrow/trace/sandbox/record"
)

const (
	ga4Production = "/ga4/mp/collect?measurement_id=G-SANDBOXPROD&api_secret=sandbox-production"
	ga4Check      = "/ga4/debug/mp/collect?measurement_id=G-SANDBOXPROD&api_secret=sandbox-production"
)

// ga4Hit is a body with one event of that name and params, in order.
func ga4Hit(name, params string) string {
	return `{"client_id":"c.1","events":[{"name":` + js(name) + `,"params":{"event_id":"e1","session_id":"1","engagement_time_msec":1` + params + `}}]}`
}

func ga4UserProperties(properties string) string {
	return `{"client_id":"c.1","user_properties":{` + properties + `},"events":[{"name":"a","params":{"event_id":"e1","session_id":"1","engagement_time_msec":1}}]}`
}

// verdict is what a rule leads to, on both endpoints.
type verdict struct {
	dropped string   // reason; empty: accepted
	ignored []string // properties
	codes   []string // "CODE fieldPath" of the validation server under ENFORCE_RECOMMENDATIONS
	relaxed []string // the same by default, if it differs: nil means as codes
}

func TestGA4Rules(t *testing.T) {
	now := newClock().Now()
	hours := func(h float64) int64 { return now.Add(-time.Duration(h * float64(time.Hour))).UnixMicro() }
	params := func(n int) string { // with the three of ga4Hit
		return "," + times(n-3, func(i int) string { return sprintf(`"p%d":1`, i) })
	}
	none := []string{}
	for _, row := range []struct {
		name, body string
		want       verdict
	}{
		{"plain", ga4Hit("zone_delete", ""), verdict{}},
		{"page view is not reserved", ga4Hit("page_view", ""), verdict{}},
		{"not JSON", `{"client_id":`, verdict{dropped: "not a JSON object", codes: []string{"VALUE_INVALID "}}},
		{"not an object", `[]`, verdict{dropped: "not a JSON object", codes: []string{"VALUE_INVALID "}}},
		{"empty body", ``, verdict{dropped: "not a JSON object", codes: []string{"VALUE_INVALID "}}},
		{"no client_id", `{"events":[{"name":"a","params":{"event_id":"e1"}}]}`, verdict{dropped: "no client_id", codes: []string{"VALUE_REQUIRED client_id"}}},
		{"empty client_id", `{"client_id":"","events":[{"name":"a","params":{"event_id":"e1"}}]}`, verdict{dropped: "no client_id", codes: []string{"VALUE_REQUIRED client_id"}}},
		{"any form of client_id", `{"client_id":"0190b3a2-7c1e-7abc-8def-000000000001","events":[{"name":"a"}]}`, verdict{}},
		{"no events", `{"client_id":"c"}`, verdict{dropped: "no events", codes: []string{"VALUE_REQUIRED events"}}},
		{"events empty", `{"client_id":"c","events":[]}`, verdict{dropped: "no events", codes: []string{"VALUE_REQUIRED events"}}},
		{"no name", `{"client_id":"c","events":[{"params":{}}]}`, verdict{dropped: "no name", codes: []string{"VALUE_REQUIRED events"}}},
		{"name of 40", ga4Hit(long(40), ""), verdict{}},
		{"name of 41", ga4Hit(long(41), ""), verdict{dropped: "name too long", codes: []string{"NAME_INVALID events"}}},
		{"name with a dash", ga4Hit("zone-delete", ""), verdict{dropped: "name invalid", codes: []string{"NAME_INVALID events"}}},
		{"name with a dot", ga4Hit("zone.delete", ""), verdict{dropped: "name invalid", codes: []string{"NAME_INVALID events"}}},
		{"name with a digit first", ga4Hit("1a", ""), verdict{dropped: "name invalid", codes: []string{"NAME_INVALID events"}}},
		{"name with an underscore first", ga4Hit("_badEventName", ""), verdict{dropped: "name invalid", codes: []string{"NAME_INVALID events"}}},
		{"name not ASCII", ga4Hit("événement", ""), verdict{dropped: "name invalid", codes: []string{"NAME_INVALID events"}}},
		{"name with an at sign", ga4Hit("a@b", ""), verdict{dropped: "name invalid", codes: []string{"NAME_INVALID events"}}},
		{"name reserved", ga4Hit("session_start", ""), verdict{dropped: "name reserved", codes: []string{"NAME_RESERVED events"}}},
		{"name for apps only", ga4Hit("screen_view", ""), verdict{dropped: "name reserved", codes: []string{"NAME_RESERVED events"}}},
		{"name with a reserved prefix", ga4Hit("firebase_x", ""), verdict{dropped: "name reserved", codes: []string{"NAME_RESERVED events"}}},
		{"name with ga_", ga4Hit("ga_x", ""), verdict{dropped: "name reserved", codes: []string{"NAME_RESERVED events"}}},
		{"name with google_", ga4Hit("google_x", ""), verdict{dropped: "name reserved", codes: []string{"NAME_RESERVED events"}}},
		{"25 parameters", ga4Hit("a", params(25)), verdict{}},
		{"27 parameters", ga4Hit("a", params(27)), verdict{ignored: []string{"params.p22", "params.p23"}, codes: []string{"EXCEEDED_MAX_ENTITIES events.params"}, relaxed: none}},
		{"parameter with a dash", ga4Hit("a", `,"a-b":1`), verdict{ignored: []string{"params.a-b"}, codes: []string{"NAME_INVALID events.params"}}},
		{"parameter of 40", ga4Hit("a", `,"`+long(40)+`":1`), verdict{}},
		{"parameter of 41", ga4Hit("a", `,"`+long(41)+`":1`), verdict{ignored: []string{"params." + long(41)}, codes: []string{"NAME_INVALID events.params"}}},
		{"parameter reserved", ga4Hit("a", `,"google_x":1`), verdict{ignored: []string{"params.google_x"}, codes: []string{"NAME_RESERVED events.params"}}},
		{"parameter twice", ga4Hit("a", `,"x":1,"x":2`), verdict{ignored: []string{"params.x"}, codes: []string{"NAME_DUPLICATED events.params"}}},
		{"value of 100", ga4Hit("a", `,"x":"`+long(100)+`"`), verdict{}},
		{"value of 101", ga4Hit("a", `,"x":"`+long(101)+`"`), verdict{ignored: []string{"params.x"}, codes: []string{"VALUE_OUT_OF_BOUNDS events.params.x"}, relaxed: none}},
		{"value of 100 characters, 300 bytes", ga4Hit("a", `,"x":"`+strings.Repeat("語", 100)+`"`), verdict{}},
		{"value of 100 characters, escaped", ga4Hit("a", `,"x":"`+strings.Repeat(`\u8a9e`, 100)+`"`), verdict{}},
		{"title of 300", ga4Hit("a", `,"page_title":"`+long(300)+`"`), verdict{}},
		{"title of 301", ga4Hit("a", `,"page_title":"`+long(301)+`"`), verdict{ignored: []string{"params.page_title"}, codes: []string{"VALUE_OUT_OF_BOUNDS events.params.page_title"}, relaxed: none}},
		{"referrer of 420", ga4Hit("a", `,"page_referrer":"`+long(420)+`"`), verdict{}},
		{"referrer of 421", ga4Hit("a", `,"page_referrer":"`+long(421)+`"`), verdict{ignored: []string{"params.page_referrer"}, codes: []string{"VALUE_OUT_OF_BOUNDS events.params.page_referrer"}, relaxed: none}},
		{"location of 1000", ga4Hit("a", `,"page_location":"`+long(1000)+`"`), verdict{}},
		{"location of 1001", ga4Hit("a", `,"page_location":"`+long(1001)+`"`), verdict{ignored: []string{"params.page_location"}, codes: []string{"VALUE_OUT_OF_BOUNDS events.params.page_location"}, relaxed: none}},
		{"params not an object", `{"client_id":"c","events":[{"name":"a","params":[1]}]}`, verdict{dropped: "params is not an object", codes: []string{"VALUE_INVALID events.params"}}},
		{"event not an object", `{"client_id":"c","events":[7]}`, verdict{dropped: "event is not an object", codes: []string{"VALUE_INVALID events"}}},
		{"72 hours old", ga4Hit("a", sprintf(`,"timestamp_micros":%d`, hours(72))), verdict{}},
		{"older, by its parameter", ga4Hit("a", sprintf(`,"timestamp_micros":%d`, hours(72.01))), verdict{dropped: "too old", codes: []string{"VALUE_OUT_OF_BOUNDS timestamp_micros"}, relaxed: none}},
		{"older, by the request", sprintf(`{"client_id":"c","timestamp_micros":%d,"events":[{"name":"a"}]}`, hours(73)), verdict{dropped: "too old", codes: []string{"VALUE_OUT_OF_BOUNDS timestamp_micros"}, relaxed: none}},
		{"older, by the event", sprintf(`{"client_id":"c","events":[{"name":"a","timestamp_micros":%d}]}`, hours(73)), verdict{dropped: "too old", codes: []string{"VALUE_OUT_OF_BOUNDS timestamp_micros"}, relaxed: none}},
		{"the event's time counts, not the request's", sprintf(`{"client_id":"c","timestamp_micros":%d,"events":[{"name":"a","timestamp_micros":"%d"}]}`, hours(73), hours(1)), verdict{}},
		{"time is no number", `{"client_id":"c","timestamp_micros":"yesterday","events":[{"name":"a"}]}`, verdict{dropped: "timestamp invalid", codes: []string{"VALUE_INVALID timestamp_micros"}}},
		{"in the future", ga4Hit("a", sprintf(`,"timestamp_micros":%d`, hours(-1))), verdict{}},
		{"25 user properties", ga4UserProperties(times(25, func(i int) string { return sprintf(`"u%d":{"value":1}`, i) })), verdict{}},
		{"26 user properties", ga4UserProperties(times(26, func(i int) string { return sprintf(`"u%d":{"value":1}`, i) })), verdict{ignored: []string{"user_properties.u25"}, codes: []string{"EXCEEDED_MAX_ENTITIES user_properties"}, relaxed: none}},
		{"user property name of 24", ga4UserProperties(`"` + long(24) + `":{"value":1}`), verdict{}},
		{"user property name of 25", ga4UserProperties(`"` + long(25) + `":{"value":1}`), verdict{ignored: []string{"user_properties." + long(25)}, codes: []string{"NAME_INVALID user_properties"}}},
		{"user property reserved", ga4UserProperties(`"user_id":{"value":1}`), verdict{ignored: []string{"user_properties.user_id"}, codes: []string{"NAME_RESERVED user_properties"}}},
		{"user property value of 36", ga4UserProperties(`"u":{"value":"` + long(36) + `"}`), verdict{}},
		{"user property value of 37", ga4UserProperties(`"u":{"value":"` + long(37) + `"}`), verdict{ignored: []string{"user_properties.u"}, codes: []string{"VALUE_OUT_OF_BOUNDS user_properties.u"}, relaxed: none}},
		{"user property twice", ga4UserProperties(`"u":{"value":1},"u":{"value":2}`), verdict{ignored: []string{"user_properties.u"}, codes: []string{"NAME_DUPLICATED user_properties"}}},
		{"user property without value", ga4UserProperties(`"u":7`), verdict{ignored: []string{"user_properties.u"}, codes: []string{"VALUE_INVALID user_properties.u"}}},
		{"where it comes from", ga4Context(`"user_location":{"country_id":"DE","city":"Berlin"},"device":{"category":"smart tv","language":"en","operating_system":"webOS","browser":"Opera","browser_version":"1"},"ip_override":"203.0.113.0"`), verdict{}},
		{"language with a region, address of version 6", ga4Context(`"device":{"language":"pt-BR"},"ip_override":"2001:db8:1::"`), verdict{}},
		{"country of three letters", ga4Context(`"user_location":{"country_id":"DEU"}`), verdict{ignored: []string{"user_location.country_id"}, codes: []string{"VALUE_INVALID user_location.country_id"}}},
		{"country in small letters", ga4Context(`"user_location":{"country_id":"de"}`), verdict{ignored: []string{"user_location.country_id"}, codes: []string{"VALUE_INVALID user_location.country_id"}}},
		{"language of three letters", ga4Context(`"device":{"language":"fil"}`), verdict{ignored: []string{"device.language"}, codes: []string{"VALUE_INVALID device.language"}}},
		{"a version that is a number", ga4Context(`"device":{"browser_version":126}`), verdict{ignored: []string{"device.browser_version"}, codes: []string{"VALUE_INVALID device.browser_version"}}},
		{"device has no such field", ga4Context(`"device":{"class":"desktop"}`), verdict{ignored: []string{"device.class"}, codes: []string{"VALUE_INVALID device.class"}}},
		{"device not an object", ga4Context(`"device":"desktop"`), verdict{ignored: []string{"device"}, codes: []string{"VALUE_INVALID device"}}},
		{"no address", ga4Context(`"ip_override":"203.0.113.0/24"`), verdict{ignored: []string{"ip_override"}, codes: []string{"VALUE_INVALID ip_override"}}},
		{"body just below 130 kB", ga4Padded(129_999), verdict{}},
		{"body of 130 kB", ga4Padded(130_000), verdict{dropped: "body too large", codes: []string{"VALUE_OUT_OF_BOUNDS "}}},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := start(t, Options{})
			if got := s.post(ga4Production, row.body); got.status != http.StatusNoContent || got.body != "" {
				t.Fatalf("collect answered %d %q, want 204 and nothing, whatever comes", got.status, got.body)
			}
			e := s.event(GA4, "production")
			if want := row.want.dropped; want == "" && e.Outcome != record.Accepted || want != "" && (e.Outcome != record.Dropped || e.Reason != want) {
				t.Errorf("event is %s (%s), want dropped %q", e.Outcome, e.Reason, want)
			}
			if diff := cmp.Diff(row.want.ignored, e.Ignored); diff != "" && row.want.dropped == "" {
				t.Errorf("ignored (-want +got):\n%s", diff)
			}
			relaxed := row.want.relaxed
			if relaxed == nil {
				relaxed = row.want.codes
			}
			if got := s.validate(row.body); cmp.Diff(append([]string{}, relaxed...), got) != "" {
				t.Errorf("validation by default gave %q, want %q", got, relaxed)
			}
			if doc := strings.TrimSpace(row.body); strings.HasPrefix(doc, `{"`) && json.Valid([]byte(doc)) && len(doc) < 120_000 {
				strict := `{"validation_behavior":"ENFORCE_RECOMMENDATIONS",` + doc[1:]
				if got := s.validate(strict); cmp.Diff(append([]string{}, row.want.codes...), got) != "" {
					t.Errorf("validation under ENFORCE_RECOMMENDATIONS gave %q, want %q", got, row.want.codes)
				}
			}
			c := s.counts(GA4, "production")
			if c.Deliveries+c.Dropped[row.want.dropped] != 1 {
				t.Errorf("validation requests were counted as deliveries: %+v", c)
			}
			if len(relaxed) > 0 && c.Messages[strings.Fields(relaxed[0])[0]] == 0 || c.Checks == 0 {
				t.Errorf("validation messages are not counted: %+v", c)
			}
		})
	}
}

// ga4Padded is a valid hit of exactly n bytes: what pads it no rule speaks of.
func ga4Padded(n int) string {
	body := `{"client_id":"c","consent":{"x":""},"events":[{"name":"a"}]}`
	return strings.Replace(body, `"x":""`, `"x":"`+long(n-len(body))+`"`, 1)
}

// validate returns "CODE fieldPath" of each message.
func (r *running) validate(body string) []string {
	r.t.Helper()
	got := r.post(ga4Check, body)
	if got.status != http.StatusOK || got.header.Get("Content-Type") != "application/json" {
		r.t.Fatalf("validation answered %d %s, always 200 JSON", got.status, got.header.Get("Content-Type"))
	}
	var out struct {
		ValidationMessages *[]struct{ FieldPath, Description, ValidationCode string } `json:"validationMessages"`
	}
	if err := json.Unmarshal([]byte(got.body), &out); err != nil || out.ValidationMessages == nil {
		r.t.Fatalf("validation answered %s: %v", got.body, err)
	}
	codes := []string{}
	for _, m := range *out.ValidationMessages {
		if m.Description == "" {
			r.t.Errorf("message without a description: %+v", m)
		}
		codes = append(codes, m.ValidationCode+" "+m.FieldPath)
	}
	return codes
}

func TestGA4EventsOfARequest(t *testing.T) {
	event := func(i int) string { return sprintf(`{"name":"a","params":{"event_id":"e%d"}}`, i) }
	s := start(t, Options{})
	s.post(ga4Production, `{"client_id":"c","events":[`+times(25, event)+`]}`)
	if c := s.counts(GA4, "production"); c.Deliveries != 25 || c.Distinct != 25 || len(c.Dropped) != 0 {
		t.Fatalf("25 events: %+v", c)
	}
	body := `{"client_id":"c","events":[` + times(26, event) + `]}`
	s.post(ga4Production, body)
	if c := s.counts(GA4, "production"); c.Deliveries != 25 || c.Dropped["too many events"] != 26 {
		t.Fatalf("26 events: %+v", c)
	}
	if got := s.validate(body); len(got) != 1 || got[0] != "EXCEEDED_MAX_ENTITIES events" {
		t.Fatalf("validation of 26 events: %q", got)
	}
	// One bad event among good ones takes none with it.
	s.post(ga4Production, `{"client_id":"c","events":[{"name":"a"},{"name":"b-c"},{"name":"d"}]}`)
	if c := s.counts(GA4, "production"); c.Deliveries != 27 || c.Dropped["name invalid"] != 1 || c.WithoutID != 2 {
		t.Fatalf("one bad event of three: %+v", c)
	}
}

func TestGA4DocumentedMessage(t *testing.T) {
	s := start(t, Options{})
	got := s.post(ga4Check, `{"client_id":"CLIENT_ID","events":[{"name":"_badEventName","params":{}}]}`)
	want := `{"validationMessages":[{"fieldPath":"events","description":"Event at index: [0] has invalid name [_badEventName]. Names must start with an alphabetic character.","validationCode":"NAME_INVALID"}]}`
	if got.body != want {
		t.Errorf("the vendor's own example:\ngot  %s\nwant %s", got.body, want)
	}
	if got := s.post(ga4Check, ga4Hit("a", "")); got.body != `{"validationMessages":[]}` {
		t.Errorf("a valid hit: %s", got.body)
	}
}

func TestGA4Credentials(t *testing.T) {
	s := start(t, Options{})
	for _, row := range []struct{ query, project, dropped string }{
		{"measurement_id=G-SANDBOXPROD&api_secret=sandbox-production", "production", ""},
		{"measurement_id=G-SANDBOXSTAGE&api_secret=sandbox-staging", "staging", ""},
		{"measurement_id=G-SANDBOXPROD&api_secret=sandbox-staging", "production", "wrong api_secret"},
		{"measurement_id=G-SANDBOXPROD", "production", "wrong api_secret"},
		{"measurement_id=G-OTHER&api_secret=sandbox-production", "unknown", "unknown measurement_id"},
		{"", "unknown", "unknown measurement_id"},
	} {
		if err := s.client.Reset(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := s.post("/ga4/mp/collect?"+row.query, ga4Hit("a", "")); got.status != http.StatusNoContent {
			t.Errorf("%s: answered %d; the vendor never says no", row.query, got.status)
		}
		if e := s.event(GA4, row.project); e.Reason != row.dropped {
			t.Errorf("%s: %s %q, want %q", row.query, e.Outcome, e.Reason, row.dropped)
		}
		if got := s.post("/ga4/debug/mp/collect?"+row.query, ga4Hit("a", "")); got.body != `{"validationMessages":[]}` {
			t.Errorf("%s: the validation server looks at no credential, and said %s", row.query, got.body)
		}
	}
}

func TestGA4VisibleInReportsOnlyWithSessionAndEngagement(t *testing.T) {
	for params, want := range map[string]string{
		`{"session_id":"1","engagement_time_msec":1}`: "",
		`{"session_id":"1"}`:                          record.RealtimeOnly,
		`{"engagement_time_msec":1}`:                  record.RealtimeOnly,
		`{}`:                                          record.RealtimeOnly,
		`{"engagement_time_msec":1,"session_id":"` + long(101) + `"}`: record.RealtimeOnly, // ignored, so not there
	} {
		s := start(t, Options{})
		s.post(ga4Production, `{"client_id":"c","events":[{"name":"a","params":`+params+`}]}`)
		if e := s.event(GA4, "production"); e.Visible != want {
			t.Errorf("%s: visible %q, want %q", params, e.Visible, want)
		}
		if c := s.counts(GA4, "production"); (c.RealtimeOnly == 1) != (want != "") {
			t.Errorf("%s: counted %d", params, c.RealtimeOnly)
		}
	}
}

func TestGA4DoesNotDeduplicate(t *testing.T) {
	s := start(t, Options{})
	for range 3 {
		s.post(ga4Production, ga4Hit("a", ""))
	}
	if c := s.counts(GA4, "production"); c.Deliveries != 3 || c.Distinct != 1 || c.Duplicates != 2 || c.Deduplicated != 0 {
		t.Errorf("the same event three times: %+v", c)
	}
}

func TestGA4TakesNoGzip(t *testing.T) {
	s := start(t, Options{})
	if _, err := s.try(ga4Production, gzipped(t, ga4Hit("a", "")), "Content-Encoding", "gzip"); err != nil {
		t.Fatal(err)
	}
	if e := s.event(GA4, "production"); e.Reason != "not a JSON object" {
		t.Errorf("no document says it takes gzip: %s %q", e.Outcome, e.Reason)
	}
}

func TestGA4OtherIDParameter(t *testing.T) {
	s := start(t, Options{EventIDParam: "eid"})
	s.post(ga4Production, `{"client_id":"c","events":[{"name":"a","params":{"eid":"x"}}]}`)
	if e := s.event(GA4, "production"); e.ID != "x" {
		t.Errorf("id %q", e.ID)
	}
	s.post(ga4Production, `{"client_id":"c","events":[{"name":"a","params":{"eid":"`+long(101)+`"}}]}`)
	if c := s.counts(GA4, "production"); c.WithoutID != 1 || c.Distinct != 1 {
		t.Errorf("an id too long to be stored counts as none: %+v", c)
	}
}

// ga4Context is a hit with members beside its events.
func ga4Context(members string) string {
	return `{"client_id":"c",` + members + `,"events":[{"name":"a"}]}`
}
