package webhook_test

import (
	"encoding/json"
	"testing"

	"github.com/sparrowhq/sparrow/trace/pipeline"
	"github.com/sparrowhq/sparrow/trace/tracker"
	"github.com/sparrowhq/sparrow/trace/tracker/contract"
	"github.com/sparrowhq/sparrow/trace/tracker/webhook"
)

func TestFields(t *testing.T) {
	w, err := webhook.New(webhook.Options{IDField: "id", TokenHeader: "X-Api-Key", Header: map[string]string{"x-team": "growth"}, Fields: []webhook.Field{
		{"type", "=track"}, {"name", "event"}, {"zone", "properties.zone.name"}, {"none", "properties.none"}, {"user", "userId"}, {"ms", "timestampMs"}, {"all", "properties"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	e := contract.Plain(1)
	e.Time = 1700000000123456
	e.Properties = []pipeline.Property{{Name: "n", Value: json.RawMessage("1.0")}, {Name: "zone.name", Value: json.RawMessage(`"\u00e9"`)}}
	var f tracker.Form
	if b := w.Form(&e, &f); b != nil {
		t.Fatal(b)
	}
	want := `{"id":"` + e.ID + `","type":"track","name":"zone_delete","zone":"\u00e9","ms":1700000000123,"all":{"n":1.0,"zone.name":"\u00e9"}}`
	if string(f.Body) != want {
		t.Errorf("%s\nwant %s", f.Body, want)
	}
	var r tracker.Request
	w.Assemble(tracker.Credential{URL: "https://x.example/in", Secret: "s3cret"}, []*tracker.Form{&f}, &r)
	if r.Header.Get("X-Api-Key") != "s3cret" || r.Header.Get("Authorization") != "" || r.Header.Get("X-Team") != "growth" || r.Header.Get("Idempotency-Key") != e.ID || string(r.Body) != want {
		t.Errorf("%+v %s", r.Header, r.Body)
	}
}

func TestOptionsThatCannotWork(t *testing.T) {
	for name, o := range map[string]webhook.Options{
		"two fields of a name": {Fields: []webhook.Field{{"a", "event"}, {"a", "key"}}},
		"the id's field":       {Fields: []webhook.Field{{"eventId", "event"}}},
		"from nowhere":         {Fields: []webhook.Field{{"a", "password"}}},
		"own header":           {Header: map[string]string{"idempotency-key": "x"}},
		"the token's header":   {Header: map[string]string{"authorization": "x"}},
		"no header":            {Header: map[string]string{"a b": "x"}},
		"a line break":         {Header: map[string]string{"a": "x\r\nb: c"}},
	} {
		if _, err := webhook.New(o); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}
