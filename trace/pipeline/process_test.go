package pipeline

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sparrowhq/sparrow/event"
)

const testConfig = `
sources:
  web: {keys: [pk_web, pk_old], origins: [https://www.example.com, "https://*.shop.example.com", "http://localhost:*"]}
  server: {keys: [sk_server], origins: [none]}
consent: {analytics: consent.analytics, ads: consent.ads}
context: {country: CF-IPCountry}
limits: {event_bytes: 20000, depth: 8, members: 40}
properties:
  session_id: string
events:
  pageview:
    properties:
      pathname: {type: url, required: true}
      url: url
  zone.delete:
    properties:
      zone: {type: string, required: true, max: 10}
      records: integer
      ratio: {type: number, on_wrong: reject}
      dry: boolean
      plan: {type: string, values: [free, pro], on_wrong: reject}
      at: time
      any: scalar
      names: {type: strings, max: 3}
      ids: integers
      marks: numbers
      owner.name: string
      owner.team.id: integer
      a\.b: string
      labels: object
      list: array
      items: {type: array, members: {sku: string, price: number}}
      address: {type: object, members: {city: string}}
  empty: {}
trackers:
  ga4: {}
`

// a request that testConfig accepts.
func request(body string) *event.Request {
	r := benchRequest(body)
	return r
}

func with(r *event.Request, name, value string) *event.Request {
	r.Headers = append(r.Headers, &event.Header{Name: name, Value: []byte(value)})
	return r
}

func without(r *event.Request, name string) *event.Request {
	var kept []*event.Header
	for _, h := range r.Headers {
		if !strings.EqualFold(h.Name, name) {
			kept = append(kept, h)
		}
	}
	r.Headers = kept
	return r
}

func process(t testing.TB, p *Pipeline, r *event.Request) Batch {
	t.Helper()
	var b Batch
	p.Process(7, 3, r, &b)
	for _, f := range b.Faults {
		t.Errorf("panic: %s", f.Stack)
	}
	return b
}

const noProperties = `{"event":"empty","deviceId":"d"}`

func TestOutcomes(t *testing.T) {
	p := mustPipeline(t, testConfig)
	zone := func(properties string) *event.Request {
		return request(`{"event":"zone.delete","deviceId":"d","properties":{"zone":"z",` + properties + `}}`)
	}
	query := func(q string) *event.Request {
		r := request(noProperties)
		r.Query = []byte(q)
		return r
	}
	origin := func(o string) *event.Request { return with(without(request(noProperties), "Origin"), "Origin", o) }
	deep := strings.Repeat("[", 7) + strings.Repeat("]", 7)
	for _, test := range []struct {
		name   string
		r      *event.Request
		reason Reason // empty: accepted
		rule   string
		hint   string // a part of it
	}{
		{"least", request(noProperties), "", "", ""},
		{"null properties", request(`{"event":"empty","deviceId":"d","properties":null,"userId":null,"messageId":null,"timestamp":null}`), "", "", ""},
		{"numbers as ids", request(`{"event":"empty","deviceId":12345678901234567890123,"userId":-1,"messageId":0}`), "", "", ""},
		{"escaped names", request(`{"\u0065vent":"\u0065mpty","d\u0065viceId":"d"}`), "", "", ""},
		{"last of equal names", request(`{"event":"nonsense","event":"empty","deviceId":[],"deviceId":"d"}`), "", "", ""},

		{"not JSON", request(`{"event":`), NotJSON, "", ""},
		{"empty body", request(``), NotJSON, "", ""},
		{"empty list", request(`[]`), Empty, "", ""},
		{"empty batch", request(`{"batch":[]}`), Empty, "", ""},
		{"a string", request(`"empty"`), NotObject, "", ""},
		{"invalid UTF-8", request("{\"event\":\"empty\",\"deviceId\":\"\xff\"}"), NotUTF8, "", ""},
		{"too large", request(`{"event":"empty","deviceId":"d","x":"` + strings.Repeat("x", 20000) + `"}`), TooLarge, "limits.event_bytes", ""},
		{"too deep", request(`{"event":"empty","deviceId":"d","x":` + "[" + deep + "]" + `}`), TooDeep, "limits.depth", ""},
		{"just not too deep", request(`{"event":"empty","deviceId":"d","x":` + deep + `}`), "", "", ""},
		{"not gzip", with(request(noProperties), "Content-Encoding", "gzip"), Undecodable, "", ""},
		{"unknown encoding", with(request(noProperties), "content-encoding", "br"), UnknownEncoding, "", ""},
		{"too many members", request(`{"event":"empty","deviceId":"d","properties":{` + strings.Repeat(`"x":1,`, 40) + `"y":1}}`), TooMany, "limits.members", ""},

		{"no event", request(`{"deviceId":"d"}`), WrongField, "event", ""},
		{"event is no string", request(`{"event":1,"deviceId":"d"}`), WrongField, "event", ""},
		{"empty event", request(`{"event":"","deviceId":"d"}`), WrongField, "event", ""},
		{"long event", request(`{"event":"` + strings.Repeat("x", 129) + `","deviceId":"d"}`), WrongField, "limits.name", ""},
		{"no device", request(`{"event":"empty","userId":"u"}`), WrongField, "deviceId", ""},
		{"empty device", request(`{"event":"empty","deviceId":""}`), WrongField, "deviceId", ""},
		{"device is an object", request(`{"event":"empty","deviceId":{}}`), WrongField, "deviceId", ""},
		{"device is a fraction", request(`{"event":"empty","deviceId":1.5}`), WrongField, "deviceId", ""},
		{"long device", request(`{"event":"empty","deviceId":"` + strings.Repeat("x", 257) + `"}`), WrongField, "limits.id", "deviceId"},
		{"user is a boolean", request(`{"event":"empty","deviceId":"d","userId":true}`), WrongField, "userId", ""},
		{"message is a list", request(`{"event":"empty","deviceId":"d","messageId":[]}`), WrongField, "messageId", ""},
		{"properties are a list", request(`{"event":"empty","deviceId":"d","properties":[]}`), WrongField, "properties", ""},

		{"no key", query(""), UnknownKey, "sources", "?k="},
		{"empty key", query("k=&k=pk_web"), UnknownKey, "sources", "?k="},
		{"wrong key", query("k=pk_wrong"), UnknownKey, "sources", "no source"},
		{"badly escaped key", query("k=%zz"), UnknownKey, "sources", ""},
		{"escaped key", query("a=b&k=pk%5Fweb"), "", "", ""},
		{"second key of the source", query("k=pk_old"), "", "", ""},
		{"key of another source", query("k=sk_server"), WrongOrigin, "sources.server.origins", ""},
		{"no origin", without(request(noProperties), "Origin"), WrongOrigin, "sources.web.origins", "no Origin"},
		{"wrong origin", origin("https://evil.example"), WrongOrigin, "sources.web.origins", "does not list"},
		{"wrong scheme", origin("http://www.example.com"), WrongOrigin, "sources.web.origins", ""},
		{"origin as a prefix", origin("https://www.example.com.evil.example"), WrongOrigin, "sources.web.origins", ""},
		{"origin with port", origin("https://www.example.com:8443"), WrongOrigin, "sources.web.origins", ""},
		{"wildcard", origin("https://a.b.shop.example.com"), "", "", ""},
		{"wildcard without label", origin("https://shop.example.com"), WrongOrigin, "sources.web.origins", ""},
		{"wildcard with an empty label", origin("https://.shop.example.com"), WrongOrigin, "sources.web.origins", ""},
		{"wildcard as a suffix", origin("https://evilshop.example.com"), WrongOrigin, "sources.web.origins", ""},
		{"any port", origin("http://localhost:5173"), "", "", ""},
		{"no port", origin("http://localhost"), "", "", ""},
		{"port is a host", origin("http://localhost:1.evil.example"), WrongOrigin, "sources.web.origins", ""},
		{"null origin", origin("null"), WrongOrigin, "sources.web.origins", ""},

		{"unknown event", request(`{"event":"signup","deviceId":"d"}`), UnknownEvent, "events", ""},
		{"near miss", request(`{"event":"Zone.Delete","deviceId":"d"}`), UnknownEvent, "events", "did you mean zone.delete?"},
		{"missing property", request(`{"event":"zone.delete","deviceId":"d","properties":{}}`), Missing, "events.zone.delete.properties.zone", ""},
		{"null required property", request(`{"event":"zone.delete","deviceId":"d","properties":{"zone":null}}`), Missing, "events.zone.delete.properties.zone", ""},
		{"no properties at all", request(`{"event":"pageview","deviceId":"d"}`), Missing, "events.pageview.properties.pathname", ""},
		{"required one of wrong type", request(`{"event":"zone.delete","deviceId":"d","properties":{"zone":7}}`), WrongType, "events.zone.delete.properties.zone", ""},
		{"required one too long", request(`{"event":"zone.delete","deviceId":"d","properties":{"zone":"12345678901"}}`), WrongValue, "events.zone.delete.properties.zone", ""},
		{"characters, not bytes", request(`{"event":"zone.delete","deviceId":"d","properties":{"zone":"äöüäöüäöü€"}}`), "", "", ""},
		{"wrong type, reject", zone(`"ratio":"1"`), WrongType, "events.zone.delete.properties.ratio", ""},
		{"wrong value, reject", zone(`"plan":"enterprise"`), WrongValue, "events.zone.delete.properties.plan", ""},
		{"wrong type, drop", zone(`"records":"7"`), "", "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := process(t, p, test.r)
			if len(b.Outcomes) != 1 {
				t.Fatalf("%d outcomes: %v", len(b.Outcomes), b.Outcomes)
			}
			o := b.Outcomes[0]
			want := Accepted
			if test.reason != "" {
				want = Rejected
			}
			if o.Result != want || o.Reason != test.reason || o.Rule != test.rule || !strings.Contains(o.Hint, test.hint) {
				t.Errorf("got %s, %q, rule %q, hint %q; want %s, %q, %q, %q", o.Result, o.Reason, o.Rule, o.Hint, want, test.reason, test.rule, test.hint)
			}
			if got := len(b.Events) == 1; got != (test.reason == "") {
				t.Errorf("%d events", len(b.Events))
			}
			if o.Frame != 7 || o.Request != 3 || o.ID != "018f3a52-7c1e-7d3a-9b52-0c1f6d2e8a41" && o.ID != "018f3a52-7c1e-7d3a-9b52-0c1f6d2e8a41-0" {
				t.Errorf("position %v, id %s", o.Position, o.ID)
			}
		})
	}
}

func properties(e *Event) map[string]string {
	m := map[string]string{}
	for _, p := range e.Properties {
		m[p.Name] = string(p.Value)
	}
	return m
}

func TestPropertiesByType(t *testing.T) {
	p := mustPipeline(t, testConfig)
	for _, test := range []struct{ in, name, want string }{ // want empty: not there
		{`"records":12345678901234567890123456789`, "records", `12345678901234567890123456789`},
		{`"records":-0`, "records", `-0`},
		{`"records":1.0`, "records", ``},
		{`"records":1e3`, "records", ``},
		{`"records":null`, "records", ``},
		{`"ratio":1.2300e-7`, "ratio", `1.2300e-7`},
		{`"ratio":123456789.123456789123456789`, "ratio", `123456789.123456789123456789`},
		{`"dry":true`, "dry", `true`},
		{`"dry":"true"`, "dry", ``},
		{`"plan":"pr\u006f"`, "plan", `"pr\u006f"`},
		{`"at":"2026-01-15T12:00:00.123456+02:00"`, "at", `"2026-01-15T12:00:00.123456+02:00"`},
		{`"at":"yesterday"`, "at", ``},
		{`"any":1`, "any", `1`}, {`"any":"x"`, "any", `"x"`}, {`"any":false`, "any", `false`}, {`"any":[]`, "any", ``},
		{`"any":"\ud83d\ude00 \u00fc ü \ud800"`, "any", `"\ud83d\ude00 \u00fc ü \ud800"`}, // escapes stay as they are, even a lone surrogate
		{`"names":["a" , "b"]`, "names", `["a" , "b"]`},
		{`"names":["a",1]`, "names", ``},
		{`"names":["1","2","3","4"]`, "names", ``},
		{`"ids":[1,2]`, "ids", `[1,2]`}, {`"ids":[1,2.5]`, "ids", ``}, {`"marks":[1,2.5]`, "marks", `[1,2.5]`}, {`"marks":["1"]`, "marks", ``}, {`"ids":[]`, "ids", `[]`},
		{`"owner":{"name":"jim","age":7,"team":{"id":3,"x":1}}`, "owner.name", `"jim"`},
		{`"owner":{"name":"jim","age":7,"team":{"id":3,"x":1}}`, "owner.team.id", `3`},
		{`"owner":"jim"`, "owner.name", ``},
		{`"owner.name":"jim"`, "owner.name", ``},
		{`"a.b":"x"`, "a.b", `"x"`},
		{`"a":{"b":"x"}`, "a.b", ``},
		{`"labels":{"k":[1,{"x":"y"}]}`, "labels", `{"k":[1,{"x":"y"}]}`},
		{`"labels":[]`, "labels", ``},
		{`"list":[1,"x",{"y":null}]`, "list", `[1,"x",{"y":null}]`},
		{`"items":[{"sku":"1","price":2.50,"secret":"x"},{"price":"3","sku":"2"},{}]`, "items", `[{"price":2.50,"sku":"1"},{"sku":"2"},{}]`},
		{`"items":[{"sku":"1"},2]`, "items", ``},
		{`"address":{"street":"x","city":"Ulm","city":"Bonn"}`, "address", `{"city":"Bonn"}`},
		{`"session_id":"s"`, "session_id", `"s"`},
		{`"unlisted":"s"`, "unlisted", ``},
	} {
		b := process(t, p, request(`{"event":"zone.delete","deviceId":"d","properties":{"zone":"z", `+test.in+`}}`))
		if len(b.Events) != 1 {
			t.Errorf("%s: rejected: %v", test.in, b.Outcomes[0].Reason)
			continue
		}
		if got := properties(&b.Events[0])[test.name]; got != test.want {
			t.Errorf("%s: %s is %s, want %s", test.in, test.name, got, test.want)
		}
	}
}

// What is not on the allowlist is removed, at every level, and counted by a name that gives nothing away.
func TestUnlistedIsRemovedAndCounted(t *testing.T) {
	p := mustPipeline(t, testConfig)
	b := process(t, p, request(`{"event":"zone.delete","deviceId":"d","context":{"ip":"1.2.3.4"},"properties":{"zone":"z","extra":1,"owner":{"name":"n","mail":"jim@example.com"},"jim@example.com":1,"records":"x","`+strings.Repeat("x", 300)+`":1}}`))
	want := []Unknown{
		{"zone.delete", "extra", Unlisted}, {"zone.delete", "owner.mail", Unlisted}, {"zone.delete", "(email)", Unlisted}, {"zone.delete", "(long name)", Unlisted}, {"zone.delete", "records", WrongType},
	}
	if diff := cmp.Diff(want, b.Unknown); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]string{"zone": `"z"`, "owner.name": `"n"`}, properties(&b.Events[0])); diff != "" {
		t.Error(diff)
	}
	b = process(t, p, request(`{"event":"hello jim@example.com of 203.0.113.9, you really have a name that is far too long to be shown","deviceId":"d"}`))
	if got := b.Outcomes[0].Name; strings.Contains(got, "jim") || strings.Contains(got, "203") || len(got) > 64 || b.Unknown[0].Event != got {
		t.Errorf("outcome names %q, unknown %q", got, b.Unknown[0].Event)
	}
}

func TestItemsHaveOutcomesInTheirOrder(t *testing.T) {
	p := mustPipeline(t, testConfig)
	items := []string{noProperties, `1`, `{"event":"signup","deviceId":"d"}`, noProperties}
	for name, body := range map[string]string{
		"array": "[" + strings.Join(items, " , ") + "]",
		"batch": `{"sentAt":1,"batch":[` + strings.Join(items, ",") + `]}`,
	} {
		t.Run(name, func(t *testing.T) {
			b := process(t, p, request(body))
			var got []string
			for i, o := range b.Outcomes {
				if o.Item != uint32(i) || o.ID != fmt.Sprintf("018f3a52-7c1e-7d3a-9b52-0c1f6d2e8a41-%d", i) || o.Source != "web" || o.Stage != "trace" {
					t.Errorf("outcome %d: %+v", i, o)
				}
				got = append(got, string(o.Result)+" "+string(o.Reason))
			}
			if diff := cmp.Diff([]string{"accepted ", "rejected not an object", "rejected unknown event", "accepted "}, got); diff != "" {
				t.Error(diff)
			}
			if len(b.Events) != 2 || b.Events[0].Item != 0 || b.Events[1].Item != 3 {
				t.Errorf("events %v", b.Events)
			}
		})
	}
	t.Run("refused source", func(t *testing.T) {
		r := request("[" + strings.Join(items, ",") + "]")
		r.Query = []byte("k=wrong")
		if b := process(t, p, r); len(b.Outcomes) != 4 || len(b.Events) != 0 || b.Outcomes[3].Reason != UnknownKey || b.Outcomes[3].Name != "empty" {
			t.Errorf("%+v", b)
		}
	})
}

func TestGzippedBody(t *testing.T) {
	p := mustPipeline(t, testConfig)
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	w.Write([]byte(noProperties))
	w.Close()
	if b := process(t, p, with(request(z.String()), "Content-Encoding", "gzip")); len(b.Events) != 1 {
		t.Errorf("%+v", b.Outcomes)
	}
	if b := process(t, p, with(request(z.String()[:z.Len()-5]), "Content-Encoding", "gzip")); b.Outcomes[0].Reason != Undecodable {
		t.Errorf("%+v", b.Outcomes)
	}
}

func TestTime(t *testing.T) {
	p := mustPipeline(t, testConfig)
	const received = 1768478401000000 // 2026-01-15T12:00:01Z
	for _, test := range []struct {
		timestamp string
		want      int64
		client    bool
	}{
		{`"2026-01-15T12:00:00Z"`, received - 1_000_000, true},
		{`"2026-01-15T12:00:00.123456789Z"`, received - 1_000_000 + 123_456, true},
		{`"2026-01-15T13:00:00+01:00"`, received - 1_000_000, true},
		{`1768478400500`, received - 500_000, true},
		{`1768478400500.5`, received - 499_500, true},
		{`"2026-01-12T12:00:01Z"`, received - 72*3600*1e6, true},
		{`"2026-01-12T12:00:00.999999Z"`, received, false},
		{`"2026-01-15T12:10:01Z"`, received + 600*1e6, true},
		{`"2026-01-15T12:10:01.000001Z"`, received, false},
		{`"2009-11-10T23:00:00Z"`, received, false},
		{`"15.01.2026"`, received, false}, {`""`, received, false}, {`true`, received, false}, {`{}`, received, false}, {`-5`, received, false}, {`1e400`, received, false}, {`null`, received, false},
	} {
		b := process(t, p, request(`{"event":"empty","deviceId":"d","timestamp":`+test.timestamp+`}`))
		if e := b.Events[0]; e.Time != test.want || e.ClientTime != test.client || e.ReceivedAt != received {
			t.Errorf("%s: time %d, client %t; want %d, %t", test.timestamp, e.Time, e.ClientTime, test.want, test.client)
		}
	}
}

func TestKey(t *testing.T) {
	p := mustPipeline(t, testConfig)
	key := func(r *event.Request) string { return process(t, p, r).Events[0].Key }
	one := func(device, message string) *event.Request {
		return request(fmt.Sprintf(`{"event":"empty","deviceId":%q,"messageId":%s}`, device, message))
	}
	base := key(one("d", `"m"`))
	if len(base) != 26 {
		t.Errorf("key %q", base)
	}
	later := one("d", `"m"`)
	later.Id = bytes.Repeat([]byte{1}, 16)
	if key(later) != base {
		t.Error("the same message sent again has another key")
	}
	other := one("d", `"m"`)
	other.Query = []byte("k=pk_old")
	for what, r := range map[string]*event.Request{"another device": one("e", `"m"`), "another message": one("d", `"n"`), "another write key": other, "parts that run together": one("dm", `""`)} {
		if key(r) == base {
			t.Errorf("%s has the same key", what)
		}
	}
	if e := process(t, p, one("d", `""`)).Events[0]; e.Key != e.ID {
		t.Errorf("without messageId the key is %q", e.Key)
	}
}

func TestIDs(t *testing.T) {
	hashed := mustPipeline(t, testConfig)
	plain := mustPipeline(t, strings.Replace(testConfig, "ga4: {}", "ga4: {}\n  heap: {ids: plain}", 1))
	ids := func(p *Pipeline, device, user string) (Event, Event) {
		e := process(t, p, request(fmt.Sprintf(`{"event":"empty","deviceId":%q,"userId":%q}`, device, user))).Events[0]
		tracker := "ga4"
		if p == plain {
			tracker = "heap"
		}
		v, decision, _ := p.View(tracker, &e)
		if decision != Send {
			t.Fatal(decision)
		}
		return e, v
	}
	e, v := ids(hashed, "device-1", "jim@example.com")
	if len(e.DeviceID) != 26 || len(e.UserID) != 26 || e.DeviceID == e.UserID || e.Plain != nil || v.DeviceID != e.DeviceID {
		t.Errorf("%+v", e)
	}
	if same, _ := ids(hashed, "x", "x"); same.DeviceID == same.UserID {
		t.Error("device and user with the same id are the same")
	}
	if empty, _ := ids(hashed, "x", ""); empty.UserID != "" {
		t.Error("an empty user has a hash")
	}
	for _, test := range []struct{ device, user, wantDevice, wantUser string }{
		{"device-1", "4711", "device-1", "4711"},
		{"d41d8cd98f00b204e9800998ecf8427e", "", "d41d8cd98f00b204e9800998ecf8427e", ""}, // ids look random
		{"device-1", "jim@example.com", "device-1", ""},
		{"203.0.113.9", "jim%40example.com", "", ""},
	} {
		e, v := ids(plain, test.device, test.user)
		if e.Plain.DeviceID != test.wantDevice || e.Plain.UserID != test.wantUser || v.Plain != nil {
			t.Errorf("%s, %s: plain %+v, view's plain %v", test.device, test.user, e.Plain, v.Plain)
		}
		if want := test.wantDevice; want != "" && v.DeviceID != want || want == "" && v.DeviceID != e.DeviceID {
			t.Errorf("%s: the tracker gets %s", test.device, v.DeviceID)
		}
		if want := test.wantUser; want != "" && v.UserID != want || want == "" && v.UserID != e.UserID {
			t.Errorf("%s: the tracker gets %s", test.user, v.UserID)
		}
		if ga4, _, _ := plain.View("ga4", &e); ga4.DeviceID != e.DeviceID || ga4.Plain != nil {
			t.Error("a tracker with hashed ids gets plain ones")
		}
	}
}

type stage struct {
	name  string
	apply func(*Event) bool
}

func (s stage) Name() string        { return s.name }
func (s stage) Apply(e *Event) bool { return s.apply(e) }

func TestStages(t *testing.T) {
	c, err := ParseConfig([]byte(testConfig))
	if err != nil {
		t.Fatal(err)
	}
	p, err := New(Options{Config: c, Secret: make([]byte, 16), Stages: []Stage{
		stage{"rename", func(e *Event) bool { e.Properties = append(e.Properties, Property{"added", []byte("1")}); return true }},
		stage{"judge", func(e *Event) bool { return e.Item != 1 }},
		stage{"break", func(e *Event) bool {
			if e.Item == 2 {
				panic("jim@example.com")
			}
			return true
		}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	var b Batch
	p.Process(1, 0, request("["+noProperties+","+noProperties+`,{"event":"empty","deviceId":"d","properties":{"x":1}},`+noProperties+"]"), &b)
	if len(b.Events) != 2 || len(b.Outcomes) != 4 || string(b.Events[1].Property("added")) != "1" || b.Events[1].Item != 3 {
		t.Fatalf("%+v", b)
	}
	if o := b.Outcomes[1]; o.Reason != RefusedByCode || o.Rule != "judge" {
		t.Errorf("%+v", o)
	}
	if o := b.Outcomes[2]; o.Reason != Bug || o.Result != Rejected || len(b.Faults) != 1 || b.Faults[0].Item != 2 || !strings.Contains(string(b.Faults[0].Stack), "process_test.go") {
		t.Errorf("%+v %+v", o, b.Faults)
	}
	if len(b.Unknown) != 0 {
		t.Errorf("the broken item is counted: %v", b.Unknown)
	}
	if strings.Contains(string(b.Faults[0].Stack), "jim") {
		t.Error("the fault carries what the panic said")
	}
}

func TestBatchIsUsedAgain(t *testing.T) {
	p := mustPipeline(t, testConfig)
	var b Batch
	p.Process(1, 0, request(noProperties), &b)
	p.Process(1, 1, request(noProperties), &b)
	if len(b.Events) != 2 || b.Events[1].Request != 1 {
		t.Fatalf("%+v", b)
	}
	b.Reset()
	if len(b.Events)+len(b.Outcomes)+len(b.Unknown)+len(b.Touched)+len(b.Faults) != 0 {
		t.Errorf("%+v", b)
	}
	if kept := b.Events[:2]; kept[0].Name != "" || kept[1].Properties != nil {
		t.Error("bodies are kept alive")
	}
}
