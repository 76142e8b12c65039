package sandbox

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWebhookForms(t *testing.T) {
	one, two := `{"eventId":"a","event":"x"}`, `{"eventId":"b","event":"y"}`
	for _, row := range []struct {
		name, body string
		headers    []string
		ids        []string
	}{
		{"object", one, nil, []string{"a"}},
		{"list", "[" + one + "," + two + "]", nil, []string{"a", "b"}},
		{"under events", `{"events":[` + one + "," + two + `]}`, nil, []string{"a", "b"}},
		{"under batch", `{"batch":[` + one + "," + two + `]}`, nil, []string{"a", "b"}},
		{"lines", one + "\n" + two + "\n", nil, []string{"a", "b"}},
		{"no JSON", "a=b&c=d", nil, []string{""}},
		{"id in the header", `{"x":1}`, []string{"Idempotency-Key", "k"}, []string{"k"}},
		{"no id", `{"x":1}`, nil, []string{""}},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := start(t, Options{})
			if got := s.post("/webhook/production", row.body, row.headers...); got.status != 200 {
				t.Fatal(got.status, got.body)
			}
			var ids []string
			for _, e := range s.events(Webhook, "production") {
				ids = append(ids, e.ID)
			}
			if diff := cmp.Diff(row.ids, ids); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestWebhookGzipTokenAndField(t *testing.T) {
	s := start(t, Options{WebhookIDField: "key", Projects: map[Vendor][]Project{Webhook: {{Name: "orders", Key: "orders", Secret: "token"}}}})
	if got := s.post("/webhook/orders", `{"key":"a"}`); got.status != 401 {
		t.Errorf("no token: %d", got.status)
	}
	if got := s.post("/webhook/other", `{"key":"a"}`, "Authorization", "Bearer token"); got.status != 404 {
		t.Errorf("unknown webhook: %d", got.status)
	}
	got, err := s.try("/webhook/orders", gzipped(t, `{"key":"a"}`), "Authorization", "Bearer token", "Content-Encoding", "gzip")
	if err != nil || got.status != 200 {
		t.Fatal(got, err)
	}
	if c := s.counts(Webhook, "orders"); c.Distinct != 1 || c.Refused["wrong token"] != 1 {
		t.Errorf("%+v", c)
	}
}
