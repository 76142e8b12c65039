package tracker_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/sparrowhq/sparrow/telemetry"
	"github.com/sparrowhq/sparrow/trace/sandbox"
	"github.com/sparrowhq/sparrow/trace/tracker"
	"github.com/sparrowhq/sparrow/trace/tracker/ga4"
)

// output is where logs go.
type output struct {
	mu sync.Mutex
	bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.Buffer.Write(p)
}

func (o *output) text() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.String()
}

// Credentials are planted in every vendor, and vendors repeat whole requests in their errors, close, hang, redirect: no
// credential is in a result, a log line, a metric, the status or a report, in any spelling.
func TestNoPlantedSecretGetsOut(t *testing.T) {
	secrets := map[tracker.Sink]string{tracker.Production: `pl4nted+prod/uction&"x"=%\ü<s>`, tracker.Staging: "pl4nted-staging"}
	spellings := func(secret string) []string {
		quoted := js(secret)
		plain, err := json.Marshal(secret)
		if err != nil {
			t.Fatal(err)
		}
		return []string{secret, url.QueryEscape(secret), url.PathEscape(secret), strings.ToLower(url.QueryEscape(secret)), quoted[1 : len(quoted)-1], string(plain[1 : len(plain)-1]), "pl4nted"}
	}
	for _, k := range kinds {
		t.Run(string(k.which), func(t *testing.T) {
			t.Parallel()
			projects := sandbox.DefaultProjects()
			for i := range projects[k.which] {
				p := &projects[k.which][i]
				switch k.which {
				case sandbox.GA4, sandbox.Webhook:
					p.Secret = secrets[tracker.Sink(p.Name)]
				case sandbox.Amplitude, sandbox.Heap:
					p.Key = secrets[tracker.Sink(p.Name)]
				}
			}
			v := startVendors(t, sandbox.Options{Limits: lifted(), Projects: projects})
			var log output
			sentry := projects[sandbox.Sentry][0]
			tele, err := telemetry.New(telemetry.Options{Process: "trace", Output: &log, SentryDSN: sandbox.Address(v.url, sandbox.Sentry, sentry),
				Allow: telemetry.Allowlist{Response: []string{"error"}, Body: []string{"event"}, Query: []string{"measurement_id", "api_secret"}, Headers: []string{"Authorization"}}})
			if err != nil {
				t.Fatal(err)
			}
			credentials := map[tracker.Sink]tracker.Credential{}
			for _, p := range projects[k.which] {
				c := tracker.Credential{URL: sandbox.Address(v.url, k.which, p), Key: p.Key, Secret: p.Secret}
				if k.which == sandbox.Webhook {
					c.Key = ""
				}
				credentials[tracker.Sink(p.Name)] = c
			}
			s := startSender(t, tracker.Options{Vendor: k.vendor, Credentials: credentials, NoPacing: true, Telemetry: tele, Sample: 1, CheckSample: 1, Timeout: 100 * time.Millisecond, Trips: 2})
			sent := 0
			for i, fault := range []string{
				"fault: echo, until_request: 30", "fault: echo, status: 503, until_request: 6", "fault: echo, status: 401, until_request: 4", "fault: outage, mode: refuse, until_request: 5",
				"fault: outage, mode: reset, until_request: 5", "fault: outage, mode: hang, until_request: 3", "fault: half-open, until_request: 2", "fault: truncate, until_request: 3",
				"fault: error-body, until_request: 3", "fault: throttle, until_request: 3", "fault: content-type, until_request: 3",
			} {
				v.scenario("rules: [{name: x, vendor: " + string(k.which) + ", " + fault + "}]")
				all := items(20, 4, tracker.Production)
				for j := range all {
					all[j].Event.Frame += uint64(1000 * i)
					all[j].Sink = []tracker.Sink{tracker.Production, tracker.Staging}[j%2]
				}
				s.send(all...)
				sent += 20
				s.all(sent)
			}
			results := s.all(sent)
			status := s.Status()
			s.close()
			tele.Close(10 * time.Second)
			metrics := httptest.NewRecorder()
			promhttp.HandlerFor(tele.Registry, promhttp.HandlerOpts{}).ServeHTTP(metrics, httptest.NewRequest(http.MethodGet, "/metrics", nil))

			dead := 0
			for _, secret := range secrets {
				for _, spelling := range spellings(secret) {
					for place, text := range map[string]string{"the log": log.text(), "metrics": metrics.Body.String(), "the status": js(status)} {
						if strings.Contains(text, spelling) {
							t.Errorf("%q is in %s", spelling, place)
						}
					}
					for p, r := range results {
						for place, text := range map[string]string{"detail": r.Detail, "request": string(r.Request), "response": string(r.Response), "result": js(r)} {
							if strings.Contains(text, spelling) {
								t.Fatalf("%q is in the %s of %v: %s", spelling, place, p, text)
							}
						}
					}
				}
			}
			for _, r := range results {
				if r.Outcome == tracker.Dead {
					dead++
				}
			}
			events, err := v.client.Events(context.Background(), sandbox.Sentry, sentry.Name, sandbox.EventQuery{Limit: 1000})
			if err != nil {
				t.Fatal(err)
			}
			if len(events.Events) == 0 || log.text() == "" || dead == 0 {
				t.Fatalf("%d reports, %d dead: the test looks at nothing; log:\n%s", len(events.Events), dead, log.text())
			}
			for _, e := range events.Events {
				if strings.Contains(string(e.Event), "pl4nted") {
					t.Fatalf("a report holds a secret: %s", e.Event)
				}
			}
		})
	}
}

// The sample also goes to the validation endpoint, whose messages are counted and reported; delivery does not notice.
func TestValidationClone(t *testing.T) {
	v := startVendors(t, sandbox.Options{Limits: func() sandbox.Limits {
		l := lifted()
		l.GA4.Params = 4 // stricter than the tracker: something for it to say
		return l
	}()})
	var mu sync.Mutex
	checked := map[string]int{}
	var log output
	tele, err := telemetry.New(telemetry.Options{Process: "trace", Output: &log})
	if err != nil {
		t.Fatal(err)
	}
	s := startSender(t, tracker.Options{Vendor: ga4.New(), Credentials: v.credentials(sandbox.GA4), CheckSample: 1, Telemetry: tele, Checked: func(c tracker.Checked) {
		mu.Lock()
		defer mu.Unlock()
		for _, w := range c.Warnings {
			checked[w.Code+" "+w.Field]++
		}
	}})
	s.send(items(40, 10, tracker.Production)...)
	for p, r := range s.all(40) {
		if r.Outcome != tracker.Delivered {
			t.Fatalf("%v: %s", p, js(r))
		}
	}
	until(t, "all are checked", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return checked["EXCEEDED_MAX_ENTITIES events.params"] == 40
	})
	if c := v.counts(sandbox.GA4, "production"); c.Checks != 40 || c.Deliveries != 40 {
		t.Errorf("%s", js(c))
	}
	metrics := httptest.NewRecorder()
	promhttp.HandlerFor(tele.Registry, promhttp.HandlerOpts{}).ServeHTTP(metrics, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for _, want := range []string{`sparrow_tracker_warnings_total{code="EXCEEDED_MAX_ENTITIES",field="events.params",tracker="ga4"} 40`, `sparrow_tracker_checks_total{result="warned",tracker="ga4"} 40`} {
		if !strings.Contains(metrics.Body.String(), want) {
			t.Errorf("no %s", want)
		}
	}
	if !strings.Contains(log.text(), "EXCEEDED_MAX_ENTITIES at events.params") {
		t.Error(log.text())
	}
}

// Validation that hangs delays nobody, and what does not fit is dropped and counted.
func TestHangingValidationDelaysNobody(t *testing.T) {
	v := startVendors(t, sandbox.Options{Limits: lifted()})
	tele := telemetry.Discard()
	s := startSender(t, tracker.Options{Vendor: ga4.New(), Credentials: v.credentials(sandbox.GA4), CheckSample: 1, Telemetry: tele})
	v.scenario("rules: [{name: x, path: /ga4/debug/mp/collect, fault: outage, mode: hang}]")
	s.send(items(1000, 40, tracker.Production)...)
	s.all(1000)
	if c := v.counts(sandbox.GA4, "production"); c.Deliveries != 1000 {
		t.Errorf("%s", js(c))
	}
	metrics := httptest.NewRecorder()
	promhttp.HandlerFor(tele.Registry, promhttp.HandlerOpts{}).ServeHTTP(metrics, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if !strings.Contains(metrics.Body.String(), `sparrow_tracker_checks_total{result="dropped",tracker="ga4"}`) {
		t.Error("nothing is counted as dropped")
	}
}
