package pipeline

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestExplain(t *testing.T) {
	p := mustPipeline(t, testConfig)
	all := p.Explain(7, 3, request(`[{"event":"zone.delete","deviceId":"d","timestamp":"2001-01-01T00:00:00Z","properties":{"zone":"z","records":"x","other":1,"owner":{"name":"jim@example.com"}}},{"event":"Zone.Delete","deviceId":"d"},{"event":"empty","deviceId":"d"}]`))
	if len(all) != 3 {
		t.Fatalf("%d explanations", len(all))
	}
	x := all[0]
	if x.Outcome.Result != Accepted || x.Event == nil || !x.TimestampIgnored {
		t.Errorf("%+v", x)
	}
	if diff := cmp.Diff([]Unknown{{"zone.delete", "other", Unlisted}, {"zone.delete", "records", WrongType}}, x.Left); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]Touch{{"zone.delete", "owner.name", "email"}, {"zone.delete", "context.page", "url"}}, x.Scrubbed); diff != "" {
		t.Error(diff)
	}
	if len(x.Views) != 1 || x.Views[0].Tracker != "ga4" || x.Views[0].Decision != Send || x.Views[0].Event.Name != "zone.delete" {
		t.Errorf("%+v", x.Views)
	}
	if x := all[1]; x.Event != nil || x.Outcome.Reason != UnknownEvent || x.Outcome.Item != 1 || len(x.Views) != 0 || len(x.Scrubbed) != 0 {
		t.Errorf("%+v", x)
	}
	if x := all[2]; x.Event == nil || x.Event.Item != 2 || x.TimestampIgnored || x.Left != nil {
		t.Errorf("%+v", x)
	}
	if all := p.Explain(7, 3, request(`{`)); len(all) != 1 || all[0].Outcome.Reason != NotJSON {
		t.Errorf("%+v", all)
	}
}

// Explain says what Process does: the two must never part.
func TestExplainAgreesWithProcess(t *testing.T) {
	p := mustPipeline(t, testConfig)
	for i, r := range goldenRequests() {
		b := process(t, p, r)
		var outcomes []Outcome
		var events []Event
		var unknown []Unknown
		var touched []Touch
		for _, x := range p.Explain(7, 3, r) {
			outcomes = append(outcomes, x.Outcome)
			if x.Event != nil {
				events = append(events, *x.Event)
			}
			unknown = append(unknown, x.Left...)
			touched = append(touched, x.Scrubbed...)
		}
		if !cmp.Equal(outcomes, b.Outcomes) || !cmp.Equal(events, b.Events) || !cmp.Equal(unknown, b.Unknown) || !cmp.Equal(touched, b.Touched) {
			t.Errorf("request %d:\n%s%s", i, cmp.Diff(outcomes, b.Outcomes), cmp.Diff(events, b.Events))
		}
	}
}
