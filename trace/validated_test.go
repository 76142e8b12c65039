package trace_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/telemetry"
	"github.com/sparrowhq/sparrow/trace/sandbox"
	"github.com/sparrowhq/sparrow/trace/tracker"
)

// What GA4's validation endpoint says of an event is in its outcome, as one correction; what compare looks at stays, and
// nothing is sent for it.
func TestValidationBecomesOutcome(t *testing.T) {
	v := startVendors(t, sandbox.GA4Limits{Params: 4}) // stricter than the tracker: something for it to say
	w := openWarehouse(t)
	o := options(t, t.TempDir(), v, w)
	ga4 := o.Trackers["ga4"]
	ga4.CheckSample = 1
	o.Trackers["ga4"] = ga4
	p := start(t, o)
	const n = 40
	var frames []*event.DeliveredFrame
	for i := range n {
		body := pageview(i)
		if i%4 == 0 { // three parameters of the tracker's own and one: nothing to say
			body = fmt.Sprintf(`{"event":"zone.delete","deviceId":"device-%d","properties":{"zone":"z"}}`, i)
		}
		frames = append(frames, frame(t, uint64(i+1), event.Green, request(i, body)))
	}
	p.deliver(delivery(frames...))
	p.settled()
	count := func(what string) int64 {
		return query(t, w, `SELECT count(*) FROM green.outcomes_log WHERE `+what)[0][0].(int64)
	}
	until(t, "what was said is in the warehouse", func() bool { return count(`stage = 'ga4' AND revision = 1`) == n*3/4 })
	p.stop()

	// Once said, it is not said again.
	o.Telemetry = telemetry.Discard()
	p = start(t, o)
	p.settled()
	p.stop()
	if got := count(`revision > 0`); got != n*3/4 {
		t.Errorf("%d corrections, want %d", got, n*3/4)
	}
	rows := query(t, w, `SELECT l.frame, l.event = f.event AND l.outcome = f.outcome AND l.reason = f.reason AND l.digest = f.digest AND l.sink = f.sink AND l.attempts = f.attempts AND l.status = f.status, l.revision, decode(l.answer)
		FROM green.outcomes l JOIN green.outcomes_log f USING (stage, frame, request, item) WHERE stage = 'ga4' AND f.revision = 0 AND l.outcome = 'delivered' ORDER BY frame`)
	if len(rows) != n {
		t.Fatalf("%d delivered, want %d", len(rows), n)
	}
	for i, r := range rows {
		if r[1] != true {
			t.Errorf("frame %v: the correction changes more than the answer", r[0])
		}
		if i%4 == 0 {
			if fmt.Sprint(r[2]) != "0" {
				t.Errorf("frame %v is corrected for nothing: %v", r[0], r[3])
			}
			continue
		}
		var answer struct {
			Validation []struct{ Code, Field, Text string }
		}
		text, _ := r[3].(string)
		if err := json.Unmarshal([]byte(text), &answer); err != nil || !slices.ContainsFunc(answer.Validation, func(m struct{ Code, Field, Text string }) bool {
			return m.Code == "EXCEEDED_MAX_ENTITIES" && m.Field == "events.params" && m.Text != ""
		}) {
			t.Errorf("frame %v: %q, %v", r[0], text, err)
		}
	}
	// The query of docs/vendors.md, on one stack.
	rows = query(t, w, `SELECT event, json_extract_string(decode(answer), '$.validation[0].code') AS code, json_extract_string(decode(answer), '$.validation[0].field') AS field, count(*) AS events FROM green.outcomes WHERE stage = 'ga4' AND outcome = 'delivered' AND revision > 0 AND decode(answer) LIKE '{"validation":%' GROUP BY ALL`)
	if len(rows) != 1 || fmt.Sprint(rows[0]) != "[pageview EXCEEDED_MAX_ENTITIES events.params 30]" {
		t.Errorf("%v", rows)
	}
	if got := len(outcomes(t, w, "ga4")); got != n {
		t.Errorf("%d outcomes at ga4, want %d", got, n)
	}
	sent := 0
	for _, times := range v.ids(sandbox.GA4, string(tracker.Production)) {
		sent += times
	}
	if sent != n {
		t.Errorf("%d deliveries, want %d", sent, n)
	}
}
