package sandbox

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sparrowhq/sparrow/trace/sandbox/record"
)

const (
	amplitudePath  = "/amplitude/2/httpapi"
	amplitudeBulk  = "/amplitude/batch"
	amplitudeGood  = `{"user_id":"user-1","device_id":"device-1","event_type":"zone_delete","insert_id":"i1"}`
	amplitudeOther = `{"user_id":"user-2","device_id":"device-2","event_type":"zone_delete","insert_id":"i2"}`
)

func amplitudeBody(events ...string) string {
	return `{"api_key":"sandbox-amplitude-production","events":[` + strings.Join(events, ",") + `]}`
}

func amplitudeEventOf(fields string) string { return `{"event_type":"a",` + fields + `}` }

func nested(levels int) string { // levels containers, one in another
	return strings.Repeat(`{"a":`, levels) + "1" + strings.Repeat("}", levels)
}

func TestAmplitudeRules(t *testing.T) {
	for _, row := range []struct {
		name, event string
		want        string // members of the 400 after code and error; empty: taken in
	}{
		{"user and device", amplitudeGood, ""},
		{"user only", amplitudeEventOf(`"user_id":"user-1"`), ""},
		{"device only", amplitudeEventOf(`"device_id":"device-1"`), ""},
		{"about the device and the place", amplitudeEventOf(`"device_id":"device-1","platform":"Web","os_name":"Windows","device_model":"desktop","language":"en","country":"DE","ip":"203.0.113.0"`), ""},
		{"country is a number", amplitudeEventOf(`"device_id":"device-1","country":49`), `"events_with_invalid_fields":{"country":[1]}`},
		{"no id", `{"event_type":"a"}`, `"events_with_missing_fields":{"device_id":[1],"user_id":[1]}`},
		{"ids null", amplitudeEventOf(`"user_id":null,"device_id":null`), `"events_with_missing_fields":{"device_id":[1],"user_id":[1]}`},
		{"no type", `{"user_id":"user-1"}`, `"events_with_missing_fields":{"event_type":[1]}`},
		{"type empty", `{"user_id":"user-1","event_type":""}`, `"events_with_missing_fields":{"event_type":[1]}`},
		{"type a number", `{"user_id":"user-1","event_type":7}`, `"events_with_invalid_fields":{"event_type":[1]}`},
		{"$identify", `{"user_id":"user-1","event_type":"$identify"}`, `"events_with_invalid_fields":{"event_type":[1]}`},
		{"$groupidentify", `{"user_id":"user-1","event_type":"$groupidentify"}`, `"events_with_invalid_fields":{"event_type":[1]}`},
		{"id of 5", amplitudeEventOf(`"user_id":"12345"`), ""},
		{"id of 4", amplitudeEventOf(`"user_id":"1234"`), `"events_with_invalid_id_lengths":{"user_id":[1]}`},
		{"device of 4", amplitudeEventOf(`"user_id":"12345","device_id":"1234"`), `"events_with_invalid_id_lengths":{"device_id":[1]}`},
		{"id a number", amplitudeEventOf(`"user_id":123456`), `"events_with_invalid_fields":{"user_id":[1]}`},
		{"id of 1024", amplitudeEventOf(`"user_id":"` + long(1024) + `"`), ""},
		{"id of 1025", amplitudeEventOf(`"user_id":"` + long(1025) + `"`), `"events_with_invalid_fields":{"user_id":[1]}`},
		{"time in ms", amplitudeEventOf(`"user_id":"12345","time":1396381378123`), ""},
		{"time in ISO", amplitudeEventOf(`"user_id":"12345","time":"2014-04-01T19:42:58Z"`), `"events_with_invalid_fields":{"time":[1]}`},
		{"time as text", amplitudeEventOf(`"user_id":"12345","time":"1396381378123"`), `"events_with_invalid_fields":{"time":[1]}`},
		{"time with a fraction", amplitudeEventOf(`"user_id":"12345","time":1396381378.123`), `"events_with_invalid_fields":{"time":[1]}`},
		{"time negative", amplitudeEventOf(`"user_id":"12345","time":-1`), `"events_with_invalid_fields":{"time":[1]}`},
		{"string of 1024", amplitudeEventOf(`"user_id":"12345","event_properties":{"a":"` + long(1024) + `"}`), ""},
		{"string of 1025", amplitudeEventOf(`"user_id":"12345","event_properties":{"a":"` + long(1025) + `"}`), `"events_with_invalid_fields":{"event_properties":[1]}`},
		{"string of 1025 deep inside", amplitudeEventOf(`"user_id":"12345","user_properties":{"a":[{"b":["` + long(1025) + `"]}]}`), `"events_with_invalid_fields":{"user_properties":[1]}`},
		{"string of 1024 characters, 3072 bytes", amplitudeEventOf(`"user_id":"12345","language":"` + strings.Repeat("語", 1024) + `"`), ""},
		{"name of 1025", amplitudeEventOf(`"user_id":"12345","event_properties":{"` + long(1025) + `":1}`), ""},
		{"40 deep", amplitudeEventOf(`"user_id":"12345","event_properties":` + nested(40)), ""},
		{"41 deep", amplitudeEventOf(`"user_id":"12345","event_properties":` + nested(41)), `"events_with_invalid_fields":{"event_properties":[1]}`},
		{"not an object", `7`, `"events_with_missing_fields":{"event_type":[1]}`},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := start(t, Options{})
			for _, path := range []string{amplitudePath, amplitudeBulk} {
				if err := s.client.Reset(t.Context()); err != nil {
					t.Fatal(err)
				}
				got := s.post(path, amplitudeBody(amplitudeOther, row.event))
				if row.want == "" {
					if got.status != 200 {
						t.Fatalf("%s: %d %s", path, got.status, got.body)
					}
					continue
				}
				if got.status != 400 || !strings.HasSuffix(got.body, ","+row.want+"}") {
					t.Errorf("%s: %d %s, want 400 with %s", path, got.status, got.body, row.want)
				}
				// The whole request is refused: the good neighbour was not taken in either.
				if c := s.counts(Amplitude, "production"); c.Deliveries != 0 || c.Refused["refused with its request"] != 1 {
					t.Errorf("%s: %+v", path, c)
				}
			}
		})
	}
}

func TestAmplitudeRefusedIDs(t *testing.T) {
	s := start(t, Options{})
	for _, id := range []string{"anonymous", "nil", "none", "null", "n/a", "na", "undefined", "unknown", "", "00000000-0000-0000-0000-000000000000", "{}", "lmy47d", "0", "-1"} {
		for _, field := range []string{"user_id", "device_id"} {
			body := `{"api_key":"sandbox-amplitude-production","options":{"min_id_length":1},"events":[` + amplitudeEventOf(sprintf("%q:%q", field, id)) + `]}`
			if got := s.post(amplitudePath, body); got.status != 400 || !strings.Contains(got.body, sprintf(`"events_with_invalid_fields":{%q:[0]}`, field)) {
				t.Errorf("%s %q: %d %s", field, id, got.status, got.body)
			}
		}
	}
}

func TestAmplitudeMinIDLength(t *testing.T) {
	s := start(t, Options{})
	short := amplitudeEventOf(`"user_id":"123"`)
	with := func(option string) string {
		return `{"api_key":"sandbox-amplitude-production","options":{"min_id_length":` + option + `},"events":[` + short + `]}`
	}
	if got := s.post(amplitudePath, with("3")); got.status != 200 {
		t.Errorf("min_id_length 3: %d %s", got.status, got.body)
	}
	if got := s.post(amplitudePath, with("4")); got.status != 400 {
		t.Errorf("min_id_length 4: %d %s", got.status, got.body)
	}
}

func TestAmplitudeRequests(t *testing.T) {
	for _, row := range []struct{ name, body, want string }{
		{"not JSON", `{`, `{"code":400,"error":"Invalid JSON request body"}`},
		{"not an object", `[]`, `{"code":400,"error":"Invalid JSON request body"}`},
		{"no key", `{"events":[` + amplitudeGood + `]}`, `{"code":400,"error":"Request missing required field","missing_field":"api_key"}`},
		{"no events", `{"api_key":"sandbox-amplitude-production"}`, `{"code":400,"error":"Request missing required field","missing_field":"events"}`},
		{"events empty", amplitudeBody(), `{"code":400,"error":"Request missing required field","missing_field":"events"}`},
		{"another key", `{"api_key":"other","events":[` + amplitudeGood + `]}`, `{"code":400,"error":"Invalid API key"}`},
	} {
		s := start(t, Options{})
		if got := s.post(amplitudePath, row.body); got.status != 400 || got.body != row.want {
			t.Errorf("%s: %d %s", row.name, got.status, got.body)
		}
		if c := s.counts(Amplitude, Unknown); row.name == "another key" && c.Refused["unknown api_key"] != 1 {
			t.Errorf("%s: %+v", row.name, c)
		}
	}
}

func TestAmplitudeSuccess(t *testing.T) {
	s := start(t, Options{})
	body := amplitudeBody(amplitudeGood, amplitudeOther)
	for _, row := range []struct {
		name string
		send func() (reply, error)
	}{
		{"plain", func() (reply, error) { return s.try(amplitudePath, []byte(body)) }},
		{"gzip", func() (reply, error) { return s.try(amplitudePath, gzipped(t, body), "Content-Encoding", "gzip") }},
	} {
		got, err := row.send()
		if err != nil {
			t.Fatal(err)
		}
		var out map[string]int64
		if err := json.Unmarshal([]byte(got.body), &out); err != nil {
			t.Fatalf("%s: %v in %s", row.name, err, got.body)
		}
		want := map[string]int64{"code": 200, "events_ingested": 2, "payload_size_bytes": int64(len(body)), "server_upload_time": s.clock.Now().UnixMilli()}
		if diff := cmp.Diff(want, out); diff != "" {
			t.Errorf("%s (-want +got):\n%s", row.name, diff)
		}
	}
	if c := s.counts(Amplitude, "production"); c.Deliveries != 4 || c.Distinct != 2 || c.Deduplicated != 2 {
		t.Errorf("%+v", c)
	}
}

func amplitudeMany(n int, fields func(i int) string) string {
	return amplitudeBody(times(n, func(i int) string { return amplitudeEventOf(fields(i)) }))
}

func TestAmplitudeSizes(t *testing.T) {
	each := func(i int) string { return sprintf(`"user_id":"user-%d"`, i) }
	padded := func(n int) string {
		body := amplitudeBody(amplitudeGood)
		return body[:1] + strings.Repeat(" ", n-len(body)) + body[1:]
	}
	for _, row := range []struct {
		name, path, body string
		want             int
	}{
		{"2000 events", amplitudePath, amplitudeMany(2000, each), 200},
		{"2001 events", amplitudePath, amplitudeMany(2001, each), 413},
		{"2001 events in batch", amplitudeBulk, amplitudeMany(2001, each), 200},
		{"just below 1 MB", amplitudePath, padded(999_999), 200},
		{"1 MB", amplitudePath, padded(1_000_000), 413},
		{"1 MB in batch", amplitudeBulk, padded(1_000_000), 200},
		{"20 MB in batch", amplitudeBulk, padded(20_000_000), 413},
	} {
		s := start(t, Options{})
		got := s.post(row.path, row.body)
		if got.status != row.want || row.want == 413 && got.body != `{"code":413,"error":"Payload too large"}` {
			t.Errorf("%s: %d %s, want %d", row.name, got.status, got.body, row.want)
		}
		if c := s.counts(Amplitude, "production"); row.want == 413 && (c.Deliveries != 0 || c.Refused["payload too large"] == 0) {
			t.Errorf("%s: %+v", row.name, c)
		}
	}
	// What counts is the size after decompression.
	s := start(t, Options{})
	got, err := s.try(amplitudePath, gzipped(t, padded(1_000_000)), "Content-Encoding", "gzip")
	if err != nil || got.status != 413 {
		t.Errorf("1 MB in gzip: %d %v", got.status, err)
	}
}

func TestAmplitudeThrottles(t *testing.T) {
	s := start(t, Options{})
	device := func(id string) func(int) string {
		return func(int) string { return sprintf(`"device_id":%q`, id) }
	}
	if got := s.post(amplitudePath, amplitudeMany(30, device("device-1"))); got.status != 200 {
		t.Fatalf("30 events: %d %s", got.status, got.body)
	}
	mixed := amplitudeBody(amplitudeEventOf(`"device_id":"device-2"`), amplitudeEventOf(`"device_id":"device-1","user_id":"user-1"`), amplitudeEventOf(`"user_id":"user-1"`))
	got := s.post(amplitudePath, mixed)
	want := `{"code":429,"error":"Too many requests for some devices and users","eps_threshold":30,"throttled_devices":{"device-1":31},"throttled_events":[1]}`
	if got.status != 429 || got.body != want {
		t.Fatalf("the 31st event in a second:\ngot  %d %s\nwant 429 %s", got.status, got.body, want)
	}
	// Nothing of it was taken in; the rest can be sent at once.
	if c := s.counts(Amplitude, "production"); c.Deliveries != 30 || c.Refused["throttled"] != 1 || c.Refused["refused with its request"] != 2 {
		t.Errorf("%+v", c)
	}
	if got := s.post(amplitudePath, amplitudeBody(amplitudeEventOf(`"device_id":"device-2"`))); got.status != 200 {
		t.Errorf("another device: %d", got.status)
	}
	s.clock.advance(999 * time.Millisecond)
	if got := s.post(amplitudePath, amplitudeMany(1, device("device-1"))); got.status != 429 {
		t.Errorf("within the second: %d", got.status)
	}
	s.clock.advance(time.Millisecond)
	if got := s.post(amplitudePath, amplitudeMany(30, device("device-1"))); got.status != 200 {
		t.Errorf("a second later: %d", got.status)
	}

	user := func(int) string { return `"user_id":"user-9"` }
	got = s.post(amplitudePath, amplitudeMany(31, user))
	if got.status != 429 || !strings.Contains(got.body, `"throttled_users":{"user-9":31}`) {
		t.Errorf("31 of a user: %d %s", got.status, got.body)
	}
	if got := s.post(amplitudeBulk, amplitudeMany(1000, user)); got.status != 200 {
		t.Errorf("batch takes 1000: %d %s", got.status, got.body)
	}
	if got := s.post(amplitudeBulk, amplitudeMany(1, user)); got.status != 429 || !strings.Contains(got.body, `"eps_threshold":1000`) {
		t.Errorf("batch takes no more: %d %s", got.status, got.body)
	}
}

func TestAmplitudeDeduplication(t *testing.T) {
	s := start(t, Options{})
	send := func(event string) record.Outcome {
		t.Helper()
		if got := s.post(amplitudePath, amplitudeBody(event)); got.status != 200 {
			t.Fatalf("%d %s", got.status, got.body)
		}
		all := s.events(Amplitude, "production")
		return all[len(all)-1].Outcome
	}
	event := func(device, insert string) string {
		return amplitudeEventOf(sprintf(`"user_id":"user-1","device_id":%q,"insert_id":%q`, device, insert))
	}
	for _, row := range []struct {
		name, event string
		after       time.Duration
		want        record.Outcome
	}{
		{"first", event("device-1", "i"), 0, record.Accepted},
		{"again", event("device-1", "i"), 0, record.Duplicate},
		{"same insert_id on another device", event("device-2", "i"), 0, record.Accepted},
		{"another insert_id", event("device-1", "j"), 0, record.Accepted},
		{"just within 7 days", event("device-1", "i"), 7*24*time.Hour - time.Second, record.Duplicate},
		{"after 7 days", event("device-1", "i"), time.Second, record.Accepted},
		{"remembered anew", event("device-1", "i"), time.Hour, record.Duplicate},
		{"no device", amplitudeEventOf(`"user_id":"user-1","insert_id":"i"`), 0, record.Accepted},
		{"no device, again", amplitudeEventOf(`"user_id":"user-1","insert_id":"i"`), 0, record.Accepted},
	} {
		s.clock.advance(row.after)
		if got := send(row.event); got != row.want {
			t.Errorf("%s: %s, want %s", row.name, got, row.want)
		}
	}
	if c := s.counts(Amplitude, "production"); c.Deliveries != 9 || c.Deduplicated != 3 || c.Distinct != 2 {
		t.Errorf("%+v", c)
	}
	// Within one request as well.
	if got := s.post(amplitudePath, amplitudeBody(event("device-3", "z"), event("device-3", "z"))); got.status != 200 {
		t.Fatal(got.status)
	}
	if c := s.counts(Amplitude, "production"); c.Deduplicated != 4 {
		t.Errorf("twice in one request: %+v", c)
	}
}

func TestAmplitudeProjects(t *testing.T) {
	s := start(t, Options{})
	s.post(amplitudePath, strings.Replace(amplitudeBody(amplitudeGood), "production", "staging", 1))
	s.post(amplitudePath, amplitudeBody(amplitudeGood))
	for _, project := range []string{"production", "staging"} {
		if c := s.counts(Amplitude, project); c.Deliveries != 1 || c.Deduplicated != 0 {
			t.Errorf("%s: %+v: projects share nothing", project, c)
		}
	}
}
