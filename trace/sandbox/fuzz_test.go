package sandbox

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/sparrowhq/sparrow/trace/sandbox/record"
)

// judgeAll has every vendor judge a body: nothing panics, every event has an outcome that fits the answer, and what
// can be cut out of the body fits the events.
func FuzzVendors(f *testing.F) {
	for _, body := range []string{
		ga4Hit("a-b", `,"x":1,"x":2,"timestamp_micros":1`), ga4UserProperties(`"u":7`), heapSingle(`,"identity":"u"`), heapBulk(2, func(int) string { return "u" }),
		amplitudeBody(amplitudeGood, "7"), "{}\n" + `{"type":"event","length":2}` + "\n{}", `[]`, ``, `{"events":{}}`, `{"client_id":"c","events":[7],"user_properties":[]}`,
		"{}\n{}\n", `{"event_id":"e"}` + "\n" + `{"type":"a"}` + "\n\n" + `{"type":"b"}`,
	} {
		f.Add([]byte(body))
	}
	limits, _ := Limits{}.complete()
	projects := DefaultProjects()
	f.Fuzz(func(t *testing.T, body []byte) {
		vendors := map[string]vendor{
			"/mp/collect": &ga4{limits: limits.GA4, idParam: "event_id"}, "/debug/mp/collect": &ga4{limits: limits.GA4, idParam: "event_id"},
			"/api/track": newHeap(limits.Heap), "/2/httpapi": newAmplitude(limits.Amplitude, limits.AmplitudeBatch),
			"/batch": newAmplitude(limits.Amplitude, limits.AmplitudeBatch), "/production": &webhook{idField: "eventId"}, "/api/1/envelope/": sentry{},
		}
		for path, v := range vendors {
			c := &call{at: newClock().Now(), path: path, header: http.Header{}, query: url.Values{"api_secret": {"sandbox-production"}}, body: body, project: &projects[GA4][0]}
			if key, ok := v.key(c); !ok {
				t.Fatalf("%s: no key in a body that was read, %q", path, key)
			}
			j := v.judge(c)
			if j.status == 0 {
				t.Fatalf("%s: no answer", path)
			}
			for i, e := range j.events {
				good := j.status/100 == 2 && (e.Outcome == record.Accepted || e.Outcome == record.Dropped) || j.status/100 == 4 && e.Outcome == record.Refused
				if !good || (e.Reason == "") != (e.Outcome == record.Accepted) || e.Index != i {
					t.Fatalf("%s answered %d with event %d %+v", path, j.status, i, e)
				}
			}
			if cut := v.cut(path, body); j.status == 200 && !j.check && len(cut) != len(j.events) {
				t.Fatalf("%s: %d events, %d cut out", path, len(j.events), len(cut))
			}
			if a := v.throttle(c); a.status != http.StatusTooManyRequests {
				t.Fatalf("%s: throttled with %d", path, a.status)
			}
		}
	})
}

func FuzzEnvelope(f *testing.F) {
	f.Add([]byte("{}\n" + `{"type":"event","length":2}` + "\n{}\n" + `{"type":"x"}` + "\nabc"))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, _ := readEnvelope(b)
		size := 0
		for _, item := range e.items {
			size += len(item.payload)
		}
		if size > len(b) {
			t.Fatalf("%d bytes hold payloads of %d", len(b), size)
		}
	})
}
