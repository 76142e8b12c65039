package sandbox

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sparrowhq/sparrow/trace/sandbox/record"
)

const heapPath = "/heap/api/track"

func heapEvent(fields string) string {
	return `{"event":"zone_delete","idempotency_key":"k1"` + fields + `}`
}

func heapSingle(fields string) string {
	return `{"app_id":"1000000001",` + heapEvent(fields)[1:]
}

func TestHeapRules(t *testing.T) {
	property := func(v string) string { return `,"identity":"u","properties":{` + v + `}` }
	for _, row := range []struct {
		name, fields string
		reason       string // empty: taken in
	}{
		{"identity", `,"identity":"u"`, ""},
		{"user_id", `,"user_id":"42"`, ""},
		{"both", `,"identity":"u","user_id":"42"`, "both identity and user_id"},
		{"neither", ``, "neither identity nor user_id"},
		{"identity empty", `,"identity":""`, "identity is not a text"},
		{"identity a number", `,"identity":7`, "identity is not a text"},
		{"identity of 255", `,"identity":"` + long(255) + `"`, ""},
		{"identity of 256", `,"identity":"` + long(256) + `"`, "identity too long"},
		{"user_id 0", `,"user_id":"0"`, ""},
		{"user_id 2^53-1", `,"user_id":"9007199254740991"`, ""},
		{"user_id 2^53", `,"user_id":"9007199254740992"`, "user_id is not the text of an integer from 0 to 2^53-1"},
		{"user_id a number", `,"user_id":42`, "user_id is not the text of an integer from 0 to 2^53-1"},
		{"user_id negative", `,"user_id":"-1"`, "user_id is not the text of an integer from 0 to 2^53-1"},
		{"user_id a UUID", `,"user_id":"0190b3a2-7c1e-7abc-8def-000000000001"`, "user_id is not the text of an integer from 0 to 2^53-1"},
		{"numbers and texts", property(`"a":1,"b":"x","c":1.5e3,"d":-0`), ""},
		{"text of 1023", property(`"a":"` + long(1023) + `"`), ""},
		{"text of 1024", property(`"a":"` + long(1024) + `"`), "property too long"},
		{"property name of 1023", property(`"` + long(1023) + `":1`), ""},
		{"property name of 1024", property(`"` + long(1024) + `":1`), "property name too long"},
		{"boolean", property(`"a":true`), "property is neither number nor text"},
		{"null", property(`"a":null`), "property is neither number nor text"},
		{"nested", property(`"a":{"b":1}`), "property is neither number nor text"},
		{"list", property(`"a":["b"]`), "property is neither number nor text"},
		{"properties not an object", `,"identity":"u","properties":[]`, "properties is not an object"},
		{"timestamp", `,"identity":"u","timestamp":"2017-03-10T22:21:56+00:00"`, ""},
		{"timestamp in Z with microseconds", `,"identity":"u","timestamp":"2017-03-10T22:21:56.123456Z"`, ""},
		{"timestamp of any age", `,"identity":"u","timestamp":"1999-01-01T00:00:00Z"`, ""},
		{"timestamp in milliseconds", `,"identity":"u","timestamp":1489184516000`, "timestamp is not ISO 8601"},
		{"timestamp in words", `,"identity":"u","timestamp":"yesterday"`, "timestamp is not ISO 8601"},
		{"key a number", `,"identity":"u","idempotency_key":7`, "idempotency_key is not a string"},
		{"name of 1024", `,"identity":"u","event":"` + long(1024) + `"`, ""},
		{"name of 1025", `,"identity":"u","event":"` + long(1025) + `"`, "event name too long"},
		{"name empty", `,"identity":"u","event":""`, "no event name"},
		{"name a number", `,"identity":"u","event":7`, "no event name"},
	} {
		for form, body := range map[string]string{"single": heapSingle(row.fields), "bulk": `{"app_id":"1000000001","events":[` + heapEvent(row.fields) + `]}`} {
			t.Run(row.name+"/"+form, func(t *testing.T) {
				s := start(t, Options{})
				got := s.post(heapPath, body)
				want := http.StatusOK
				if row.reason != "" {
					want = http.StatusBadRequest
				}
				if got.status != want {
					t.Errorf("answered %d %s, want %d", got.status, got.body, want)
				}
				if e := s.event(Heap, "production"); e.Reason != row.reason || (e.Outcome == record.Accepted) != (row.reason == "") {
					t.Errorf("%s %q, want %q", e.Outcome, e.Reason, row.reason)
				}
			})
		}
	}
}

func TestHeapRequests(t *testing.T) {
	good := heapEvent(`,"identity":"u"`)
	for _, row := range []struct {
		name, body, answer string
		status             int
	}{
		{"not JSON", `{`, "not a JSON object", 400},
		{"no app", good, "unknown app_id", 400},
		{"another app", strings.Replace(heapSingle(`,"identity":"u"`), "1000000001", "7", 1), "unknown app_id", 400},
		{"events not a list", `{"app_id":"1000000001","events":{}}`, "events is not a list", 400},
		{"events empty", `{"app_id":"1000000001","events":[]}`, "events is empty", 400},
		{"staging", strings.Replace(heapSingle(`,"identity":"u"`), "1000000001", "1000000002", 1), "", 200},
	} {
		s := start(t, Options{})
		if got := s.post(heapPath, row.body); got.status != row.status || !strings.Contains(got.body, row.answer) {
			t.Errorf("%s: %d %s", row.name, got.status, got.body)
		}
		if row.name == "staging" && s.counts(Heap, "staging").Deliveries != 1 {
			t.Error("the app_id of staging did not lead to staging")
		}
	}
}

func heapBulk(n int, identity func(i int) string) string {
	return `{"app_id":"1000000001","events":[` + times(n, func(i int) string {
		return sprintf(`{"event":"a","identity":%q}`, identity(i))
	}) + `]}`
}

func TestHeapBulkSize(t *testing.T) {
	each := func(i int) string { return sprintf("u%d", i) }
	s := start(t, Options{})
	if got := s.post(heapPath, heapBulk(1000, each)); got.status != 200 {
		t.Errorf("1000 events: %d %s", got.status, got.body)
	}
	if got := s.post(heapPath, heapBulk(1001, each)); got.status != 400 {
		t.Errorf("1001 events: %d %s", got.status, got.body)
	}
	if c := s.counts(Heap, "production"); c.Deliveries != 1000 || c.Refused["too many events"] != 1001 {
		t.Errorf("%+v", c)
	}
}

func TestHeapBulkIsTakenWholeOrNotAtAll(t *testing.T) {
	s := start(t, Options{})
	got := s.post(heapPath, `{"app_id":"1000000001","events":[{"event":"a","identity":"u"},{"event":"b"},{"event":"c","identity":"u"}]}`)
	if got.status != 400 {
		t.Fatalf("answered %d", got.status)
	}
	c := s.counts(Heap, "production")
	if c.Deliveries != 0 || c.Refused["refused with its request"] != 2 || c.Refused["neither identity nor user_id"] != 1 {
		t.Errorf("%+v", c)
	}
}

func TestHeapRates(t *testing.T) {
	same := func(int) string { return "u" }
	each := func(i int) string { return sprintf("u%d", i) }
	expect := func(t *testing.T, s *running, body string, want int) {
		t.Helper()
		if got := s.post(heapPath, body); got.status != want {
			t.Fatalf("answered %d %s, want %d", got.status, got.body, want)
		}
	}
	t.Run("1000 a minute for one identity", func(t *testing.T) {
		s := start(t, Options{})
		expect(t, s, heapBulk(600, same), 200)
		s.clock.advance(30 * time.Second)
		expect(t, s, heapBulk(400, same), 200)
		expect(t, s, heapBulk(1, same), 429)
		expect(t, s, heapBulk(1, each), 200) // another identity
		s.clock.advance(29 * time.Second)
		expect(t, s, heapBulk(1, same), 429)
		s.clock.advance(time.Second) // the first 600 are a minute old
		expect(t, s, heapBulk(600, same), 200)
		expect(t, s, heapBulk(1, same), 429)
	})
	t.Run("15000 a minute for the app", func(t *testing.T) {
		s := start(t, Options{})
		serial := 0
		unique := func(int) string { serial++; return sprintf("v%d", serial) }
		for range 15 {
			expect(t, s, heapBulk(1000, unique), 200)
		}
		expect(t, s, heapBulk(1, each), 429)
		s.clock.advance(time.Minute)
		expect(t, s, heapBulk(1, each), 200)
	})
	t.Run("30 requests in 30 seconds, not in bulk", func(t *testing.T) {
		s := start(t, Options{})
		for range 30 {
			expect(t, s, heapSingle(`,"identity":"u"`), 200)
		}
		expect(t, s, heapSingle(`,"identity":"u"`), 429)
		expect(t, s, heapSingle(`,"identity":"v"`), 200)
		expect(t, s, heapBulk(1, same), 200) // bulk has a rate of its own
		s.clock.advance(30 * time.Second)
		expect(t, s, heapSingle(`,"identity":"u"`), 200)
	})
	t.Run("raised", func(t *testing.T) {
		s := start(t, Options{Limits: Limits{Heap: HeapLimits{MinuteIdentity: Unlimited, MinuteApp: Unlimited}}})
		for range 20 {
			expect(t, s, heapBulk(1000, same), 200)
		}
	})
}

func TestHeapDeduplicatesByKeyForEver(t *testing.T) {
	s := start(t, Options{})
	s.post(heapPath, heapSingle(`,"identity":"u"`))
	s.clock.advance(400 * 24 * time.Hour)
	if got := s.post(heapPath, heapSingle(`,"identity":"u"`)); got.status != 200 {
		t.Errorf("a duplicate is no error: %d", got.status)
	}
	s.post(heapPath, strings.Replace(heapSingle(`,"identity":"u"`), "1000000001", "1000000002", 1)) // another app's key
	c := s.counts(Heap, "production")
	if c.Deliveries != 2 || c.Distinct != 1 || c.Duplicates != 1 || c.Deduplicated != 1 {
		t.Errorf("%+v", c)
	}
	if c := s.counts(Heap, "staging"); c.Deliveries != 1 || c.Deduplicated != 0 {
		t.Errorf("staging: %+v", c)
	}
}
