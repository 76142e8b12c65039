package cmd

import (
	"slices"
	"strings"
	"testing"

	"github.com/sparrowhq/sparrow/cmd/config"
	"github.com/sparrowhq/sparrow/trace/pipeline"
)

// A report shows what the allowlist holds, under the names that each vendor gets, and nobody's id.
func TestReported(t *testing.T) {
	p, err := pipeline.ParseConfig([]byte(`
sources: {web: {keys: [k], origins: [none]}}
events:
  pageview: {properties: {url: url, "a.b": string, plan: {type: object, members: {name: string, deep: {type: object, members: {x: integer}}}}, any: object}}
  left: {properties: {out: string}, trackers: {ga4: false, heap: {omit: [out]}, amplitude: {properties: {out: renamed}}}}
trackers: {ga4: {}, heap: {context: [browser, ip]}, amplitude: {}, hook: {vendor: webhook}, own: {vendor: webhook}}
`))
	if err != nil {
		t.Fatal(err)
	}
	c := config.Default()
	c.Trackers["own"] = &config.Tracker{Webhook: config.Webhook{Fields: []string{"where=properties.plan", "who=userId", "v==1"}, Wrap: "list"}}
	a, err := reported(c, p, []byte(strings.Repeat("k", 32)))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"name", "event", "event_type", "insert_id", "params.url", "params.page_location", "params.a.b", "properties.a.b", "event_properties.plan.name", "event_properties.plan.deep.x",
		"event_properties.renamed", "properties.context_browser", "properties.out", "where.name", "list.where.deep.x", "v", "eventId"} {
		if !slices.Contains(a.Body, path) {
			t.Errorf("%s is not in %v", path, a.Body)
		}
	}
	for _, path := range []string{"device_id", "user_id", "identity", "deviceId", "userId", "who", "list.who", "ip", "properties.context_ip", "params.out", "event_properties.out", "params.any", "params.plan", "context", "properties"} {
		if slices.Contains(a.Body, path) {
			t.Errorf("%s is in %v", path, a.Body)
		}
	}
	if got := a.Mask("write to jim@example.com, card 4111 1111 1111 1111"); strings.Contains(got, "jim") || strings.Contains(got, "4111") {
		t.Errorf("%q", got)
	}
	c.Telemetry.SentryPayload = false
	if a, err := reported(c, p, []byte(strings.Repeat("k", 32))); err != nil || len(a.Body) > 0 {
		t.Errorf("%v %v", a.Body, err)
	}
	for _, bad := range []func(*config.Config){
		func(c *config.Config) { c.Telemetry.SentryHeaders = []string{"authorization"} },
		func(c *config.Config) { c.Telemetry.SentryQuery = []string{"api_secret"} },
	} {
		c := config.Default()
		bad(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "never reported") {
			t.Errorf("%v", err)
		}
	}
}
