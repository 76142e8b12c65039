package sandbox

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	sdk "github.com/getsentry/sentry-go"
)

const sentryPath = "/sentry/api/1/envelope/"

func sentryAuth() []string {
	return []string{"X-Sentry-Auth", "Sentry sentry_version=7, sentry_client=x/1, sentry_key=" + DefaultProjects()[Sentry][0].Key}
}

// The real SDK reports to the sandbox by nothing but its DSN.
func TestSentrySDK(t *testing.T) {
	s := start(t, Options{})
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	client, err := sdk.NewClient(sdk.ClientOptions{
		Dsn:           Address(s.url, Sentry, DefaultProjects()[Sentry][1]),
		HTTPTransport: transport,
		Transport:     sdk.NewHTTPSyncTransport(),
	})
	if err != nil {
		t.Fatal(err)
	}
	hub := sdk.NewHub(client, sdk.NewScope())
	id := hub.CaptureException(errors.New("the vendor said no"))
	hub.Flush(5 * time.Second)
	client.Close()
	if id == nil {
		t.Fatal("nothing was captured")
	}
	e := s.event(Sentry, "staging")
	var event struct {
		Exception []struct{ Value string }
	}
	if err := json.Unmarshal(e.Event, &event); err != nil {
		t.Fatal(err)
	}
	if e.ID != string(*id) || e.Name != "event" || len(event.Exception) != 1 || event.Exception[0].Value != "the vendor said no" {
		t.Errorf("id %s, want %s; %s %s", e.ID, *id, e.Name, e.Event)
	}
	found, err := s.client.Search(t.Context(), "the vendor said no")
	if err != nil || found.Counts["the vendor said no"] != 1 {
		t.Errorf("search in envelopes: %+v %v", found, err)
	}
}

func TestSentryEnvelopes(t *testing.T) {
	for _, row := range []struct {
		name, body string
		status     int
		names      string
	}{
		{"one item", `{"event_id":"e"}` + "\n" + `{"type":"event","length":2}` + "\n{}\n", 200, "event"},
		{"no last newline", `{"event_id":"e"}` + "\n" + `{"type":"event","length":2}` + "\n{}", 200, "event"},
		{"no length", `{"event_id":"e"}` + "\n" + `{"type":"event"}` + "\n{\"a\":1}", 200, "event"},
		{"two items", `{"event_id":"e"}` + "\n" + `{"type":"event"}` + "\n{}\n" + `{"type":"attachment","length":3}` + "\n\n\n\n\n", 200, "event attachment"},
		{"empty payload", `{}` + "\n" + `{"type":"session","length":0}` + "\n\n" + `{"type":"event","length":2}` + "\n{}", 200, "session event"},
		{"no items", `{"event_id":"e"}` + "\n", 200, ""},
		{"no header", "\n", 400, ""},
		{"header is no object", "[]\n", 400, ""},
		{"item without type", "{}\n{}\n{}", 400, ""},
		{"item with an empty type", "{}\n{\"type\":\"\"}\n{}", 400, ""},
		{"item header is no JSON", "{}\nevent\n{}", 400, ""},
		{"length beyond the end", "{}\n" + `{"type":"event","length":9}` + "\n{}", 400, ""},
		{"length not a number", "{}\n" + `{"type":"event","length":"2"}` + "\n{}", 400, ""},
		{"no newline after the payload", "{}\n" + `{"type":"event","length":1}` + "\n{}", 400, ""},
		{"the good one before the bad one is refused with it", "{}\n" + `{"type":"event","length":2}` + "\n{}\nx", 400, "event"},
	} {
		for _, zip := range []bool{false, true} {
			s := start(t, Options{})
			body, headers := []byte(row.body), sentryAuth()
			if zip {
				body, headers = gzipped(t, row.body), append(headers, "Content-Encoding", "gzip")
			}
			got, err := s.try(sentryPath, body, headers...)
			if err != nil || got.status != row.status {
				t.Errorf("%s: %d %s %v", row.name, got.status, got.body, err)
			}
			var names []string
			for _, e := range s.events(Sentry, "production") {
				names = append(names, e.Name)
			}
			if got := strings.Join(names, " "); got != row.names {
				t.Errorf("%s: items %q, want %q", row.name, got, row.names)
			}
			if c := s.counts(Sentry, "production"); (c.Deliveries > 0) != (row.status == 200 && row.names != "") {
				t.Errorf("%s: %+v", row.name, c)
			}
		}
	}
}

func TestSentryKeys(t *testing.T) {
	key := DefaultProjects()[Sentry][0].Key
	item := "\n" + `{"type":"event"}` + "\n{}"
	for _, row := range []struct {
		name, path, body string
		headers          []string
		status           int
	}{
		{"header", sentryPath, "{}" + item, sentryAuth(), 200},
		{"query", sentryPath + "?sentry_key=" + key, "{}" + item, nil, 200},
		{"envelope", sentryPath, `{"dsn":"https://` + key + `@x.ingest.sentry.io/1"}` + item, nil, 200},
		{"none", sentryPath, "{}" + item, nil, 403},
		{"another", sentryPath + "?sentry_key=other", "{}" + item, nil, 403},
	} {
		s := start(t, Options{})
		if got := s.post(row.path, row.body, row.headers...); got.status != row.status {
			t.Errorf("%s: %d %s", row.name, got.status, got.body)
		}
	}
}
