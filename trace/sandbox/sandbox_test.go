package sandbox

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sparrowhq/sparrow/telemetry"
	"github.com/sparrowhq/sparrow/trace/sandbox/record"
)

func TestControlAPIAsksForTheSecret(t *testing.T) {
	const secret = "0123456789abcdef0123456789abcdef"
	s := start(t, Options{Secret: secret})
	if got := s.post(heapPath, heapGood("k")); got.status != 200 {
		t.Errorf("vendors know only their own credentials: %d", got.status)
	}
	for _, path := range []string{"/v1/status", "/v1/vendors", "/v1/vendors/heap/production/events", "/v1/vendors/heap/production/ids", "/v1/search?text=a", "/v1/scenario"} {
		for auth, want := range map[string]int{"": 401, "Bearer wrong": 401, "Bearer " + secret: 200} {
			req, err := http.NewRequest(http.MethodGet, s.url+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", auth)
			resp, err := s.http.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			text, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if resp.StatusCode != want || want == 401 && strings.Contains(string(text), "production") {
				t.Errorf("%s with %q: %d %s", path, auth, resp.StatusCode, text)
			}
		}
	}
	wrong := NewClient(s.url, "wrong")
	defer wrong.Close()
	if err := wrong.Reset(t.Context()); err == nil {
		t.Error("records were deleted without the secret")
	}
	if c := s.counts(Heap, "production"); c.Deliveries != 1 {
		t.Errorf("%+v", c)
	}
}

func TestStatusSaysWhatIsNotAsDocumented(t *testing.T) {
	s := start(t, Options{})
	got, err := s.client.Status(t.Context())
	if err != nil || len(got.Differ) != 0 || got.Limits != Documented() {
		t.Errorf("by default: %+v %v", got, err)
	}
	s = start(t, Options{Limits: Limits{Heap: HeapLimits{MinuteApp: Unlimited}, GA4: GA4Limits{Events: 100}}})
	got, err = s.client.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"ga4.events: 100 instead of 25", "heap.minute_app: none instead of 15000"}, got.Differ); diff != "" {
		t.Error(diff)
	}
	if got.Limits.GA4.Events != 100 || got.Limits.GA4.Params != 25 {
		t.Errorf("%+v", got.Limits.GA4)
	}
	if text := s.get("/v1/status"); strings.Contains(text, "sandbox-production") {
		t.Errorf("status shows a secret: %s", text)
	}
}

func (r *running) get(path string) string {
	r.t.Helper()
	resp, err := r.http.Get(r.url + path)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return string(text)
}

func TestVendorsByHost(t *testing.T) {
	s := start(t, Options{})
	envelope := `{"dsn":"https://` + DefaultProjects()[Sentry][0].Key + `@o1.ingest.sentry.io/1"}` + "\n" + `{"type":"event"}` + "\n{}"
	for _, row := range []struct{ host, path, body, vendor string }{
		{"o1.ingest.sentry.io", "/api/1/envelope/", envelope, "sentry"},
		{"sentry.io", "/api/1/envelope/", envelope, "sentry"},
		{"www.google-analytics.com", strings.TrimPrefix(ga4Production, "/ga4"), ga4Hit("a", ""), "ga4"},
		{"region1.google-analytics.com:443", strings.TrimPrefix(ga4Production, "/ga4"), ga4Hit("a", ""), "ga4"},
		{"heapanalytics.com", "/api/track", heapGood("k"), "heap"},
		{"c.eu.heap-api.com", "/api/track", heapGood("l"), "heap"},
		{"api2.amplitude.com", "/2/httpapi", amplitudeBody(amplitudeGood), "amplitude"},
		{"api.eu.amplitude.com", "/batch", amplitudeBody(amplitudeOther), "amplitude"},
	} {
		before := s.counts(Vendor(row.vendor), "production").Deliveries
		if got := s.post(row.path, row.body, "Host", row.host); got.status/100 != 2 {
			t.Errorf("%s: %d %s", row.host, got.status, got.body)
		}
		if got := s.counts(Vendor(row.vendor), "production").Deliveries; got != before+1 {
			t.Errorf("%s: %d deliveries", row.host, got-before)
		}
	}
}

// What goes astray is recorded: a secret sent to the wrong address has left all the same.
func TestMisdirectedRequestsAreRecorded(t *testing.T) {
	s := start(t, Options{})
	const secret = "astray-9c1d"
	for path, want := range map[string]int{"/amplitude/identify": 404, "/ga4/collect": 404, "/nowhere": 404, "/heap//api/track": 404, "/webhook/": 404} {
		if got := s.post(path, secret); got.status != want {
			t.Errorf("%s: %d", path, got.status)
		}
	}
	resp, err := s.http.Get(s.url + "/heap/api/track?x=" + secret)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("GET: %d", resp.StatusCode)
	}
	found, err := s.client.Search(t.Context(), secret)
	if err != nil || found.Counts[secret] != 6 {
		t.Errorf("%+v %v", found, err)
	}
}

func TestSearchFindsEveryByte(t *testing.T) {
	const secret = `p@ss "wörd"/1😀`
	encoded := `p%40ss%20%22w%C3%B6rd%22%2F1%f0%9f%98%80`
	for _, row := range []struct {
		where, path, body string
		zip               bool
		headers           []string
	}{
		{"url", heapPath + "?x=" + encoded, heapGood("k"), false, nil},
		{"header X-A", heapPath, heapGood("k"), false, []string{"X-A", secret}},
		{"header User-Agent", heapPath, heapGood("k"), false, []string{"User-Agent", "agent " + encoded}},
		{"body", heapPath, `{"x":` + js(secret) + `}`, false, nil},
		{"body", heapPath, `{` + js(secret) + `:1}`, false, nil},
		{"body", heapPath, `{"x":` + js(js(map[string]string{"y": secret})) + `}`, false, nil},
		{"body", heapPath, `{"x":"p\u0040ss \u0022w\u00f6rd\u0022\/1\ud83d\ude00"}`, false, nil},
		{"body", heapPath, "https://x.example/?q=" + encoded, false, nil},
		{"body", heapPath, secret, false, nil},
		{"body", amplitudePath, amplitudeBody(amplitudeEventOf(`"user_id":` + js(secret))), true, nil},
		{"body", ga4Production, secret, true, nil}, // gzip the vendor would not take
		{"body", heapPath, "\xff\xfe" + secret, false, nil},
		{"body", sentryPath, "{}\n" + `{"type":"event"}` + "\n" + js(map[string]string{"message": secret}), false, sentryAuth()},
	} {
		s := start(t, Options{})
		body, headers := []byte(row.body), row.headers
		if row.zip {
			// Filled up: a short text would stand in its gzip form letter by letter.
			body, headers = gzipped(t, row.body+strings.Repeat(" e\n", 3000)), append(headers, "Content-Encoding", "gzip")
			if bytes.Contains(body, []byte("p@ss")) {
				t.Fatal("gzip did not hide the text")
			}
		}
		if _, err := s.try(row.path, body, headers...); err != nil {
			t.Fatal(err)
		}
		found, err := s.client.Search(t.Context(), secret, "not there")
		if err != nil || len(found.Hits) != 1 || found.Hits[0].Where != row.where || found.Counts[secret] != 1 || found.Counts["not there"] != 0 || !found.Complete || found.Requests != 1 {
			t.Errorf("%s %s %q: %+v %v", row.where, row.path, row.body, found, err)
		}
	}
}

// A request is recorded whole whatever a fault did to it.
func TestSearchFindsSpoiledRequests(t *testing.T) {
	for _, rule := range []string{"{fault: outage}", "{fault: outage, mode: reset}", "{fault: echo}", "{fault: truncate}", "{fault: error-body}", "{vendor: heap, project: production, fault: outage, mode: refuse}"} {
		s := start(t, Options{Scenario: parsed(t, "rules: ["+rule+"]")})
		s.try(heapPath, []byte(heapGood("planted-1")), "X-A", "planted-2")
		found, err := s.client.Search(t.Context(), "planted-1", "planted-2")
		if err != nil || found.Counts["planted-1"] != 1 || found.Counts["planted-2"] != 1 {
			t.Errorf("%s: %+v %v", rule, found, err)
		}
	}
}

// Our own words about a request are not what arrived.
func TestSearchIgnoresVerdicts(t *testing.T) {
	s := start(t, Options{})
	s.post(ga4Production, `{"client_id":"c","events":[{"params":{}}]}`)
	found, err := s.client.Search(t.Context(), "dropped", "no name", "production\",\"method")
	if err != nil || len(found.Hits) != 0 {
		t.Errorf("%+v %v", found, err)
	}
}

func TestEventsAPI(t *testing.T) {
	s := start(t, Options{})
	for i := range 30 {
		s.post(ga4Production, sprintf(`{"client_id":"c","events":[{"name":"a","params":{"event_id":"e%d"}},{"name":"b-c","params":{"event_id":"f%d"}}]}`, i, i%3))
	}
	ask := func(q EventQuery) Events {
		t.Helper()
		got, err := s.client.Events(t.Context(), GA4, "production", q)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := ask(EventQuery{ID: "e7"}); len(got.Events) != 1 || string(got.Events[0].Event) != `{"name":"a","params":{"event_id":"e7"}}` || got.Events[0].Seq != 8 {
		t.Errorf("by id: %+v", got)
	}
	if got := ask(EventQuery{ID: "f1"}); len(got.Events) != 10 || got.Events[0].Outcome != record.Dropped || got.More {
		t.Errorf("dropped ones have an id as well: %+v", got)
	}
	if got := ask(EventQuery{ID: "e"}); len(got.Events) != 0 {
		t.Errorf("part of an id: %+v", got)
	}
	if got := ask(EventQuery{Outcome: record.Accepted, Limit: 100}); len(got.Events) != 30 {
		t.Errorf("by outcome: %d", len(got.Events))
	}
	first := ask(EventQuery{Outcome: record.Accepted, Limit: 20})
	rest := ask(EventQuery{Outcome: record.Accepted, Limit: 20, After: first.Events[len(first.Events)-1].Seq})
	if len(first.Events) != 20 || !first.More || len(rest.Events) != 10 || rest.More {
		t.Errorf("pages of %d (%v) and %d (%v)", len(first.Events), first.More, len(rest.Events), rest.More)
	}
	if _, err := s.client.Events(t.Context(), GA4, "nobody", EventQuery{}); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("unknown project: %v", err)
	}
	for _, path := range []string{"/v1/vendors/ga4/production/events?limit=x", "/v1/vendors/ga4/production/events?outcome=x", "/v1/vendors/ga4/production/ids?cursor=-1", "/v1/search", "/v1/search?text="} {
		if got := s.get(path); !strings.Contains(got, `"status":400`) {
			t.Errorf("%s: %s", path, got)
		}
	}
	if got := s.get("/v1/nothing"); !strings.Contains(got, `"status":404`) {
		t.Error(got)
	}
}

func collectIDs(t *testing.T, s *running, v Vendor, project string) map[string]uint32 {
	t.Helper()
	ids := map[string]uint32{}
	for id, err := range s.client.IDs(context.Background(), v, project) {
		if err != nil {
			t.Fatal(err)
		}
		if ids[id.ID] != 0 {
			t.Errorf("id %s came twice", id.ID)
		}
		ids[id.ID] = id.Count
	}
	return ids
}

// Whatever order requests come in, and however many at once: every delivery is counted, and each id as often as it came.
func TestCountsUnderConcurrency(t *testing.T) {
	s := start(t, Options{Limits: Limits{Amplitude: AmplitudeLimits{PerSecond: Unlimited}}, Clock: systemClock{}})
	const senders, requests, batch, different = 8, 50, 10, 700
	sent := make([]map[string]uint32, senders)
	var wg sync.WaitGroup
	for i := range senders {
		wg.Go(func() {
			sent[i] = map[string]uint32{}
			r := rand.New(rand.NewPCG(1, uint64(i)))
			for range requests {
				body := amplitudeMany(batch, func(int) string {
					id := sprintf("id-%d", r.IntN(different))
					sent[i][id]++
					return sprintf(`"device_id":"device-1","insert_id":%q`, id)
				})
				if got := s.post(amplitudePath, body); got.status != 200 {
					t.Error(got.status, got.body)
				}
				s.Counts() // readers get in nobody's way
			}
		})
	}
	wg.Wait()
	want := map[string]uint32{}
	for _, m := range sent {
		for id, n := range m {
			want[id] += n
		}
	}
	if diff := cmp.Diff(want, collectIDs(t, s, Amplitude, "production")); diff != "" {
		t.Errorf("(-sent +recorded):\n%s", diff)
	}
	c := s.counts(Amplitude, "production")
	total, distinct := uint64(senders*requests*batch), uint64(len(want))
	if c.Deliveries != total || c.Distinct != distinct || c.Duplicates != total-distinct || c.Deduplicated != total-distinct {
		t.Errorf("%+v; want %d deliveries of %d ids", c, total, distinct)
	}
}

func TestRestartCountsOn(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sandbox")
	send := func(s *running) {
		s.post(heapPath, heapGood("k"))
		s.post(heapPath, heapGood("l"))
		s.post(ga4Production, ga4Hit("a", `,"x":"`+long(101)+`"`))
		s.post(ga4Production, ga4Hit("a-b", ""))
		s.post(ga4Check, ga4Hit("a-b", ""))
		s.post(amplitudePath, amplitudeBody(amplitudeGood))
		s.post(amplitudePath, `{`)
	}
	s := start(t, Options{Dir: dir})
	send(s)
	before := s.Counts()
	ids := collectIDs(t, s, Heap, "production")
	for _, path := range []string{dir, filepath.Join(dir, "lock")} {
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s is open to others: %v %v", path, info.Mode(), err)
		}
	}
	if _, err := New(Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), "another sandbox uses it") {
		t.Errorf("two on one folder: %v", err)
	}
	if err := s.end(); err != nil {
		t.Fatal(err)
	}
	// A kill may cut the last line short.
	files, err := filepath.Glob(filepath.Join(dir, "requests-*.ndjson"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	f, err := os.OpenFile(files[0], os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"seq":8,"at":1`); err != nil {
		t.Fatal(err)
	}
	f.Close()

	s = start(t, Options{Dir: dir})
	if diff := cmp.Diff(before, s.Counts()); diff != "" {
		t.Errorf("(-before +after):\n%s", diff)
	}
	if text, err := os.ReadFile(files[0]); err != nil || !strings.HasSuffix(string(text), "}\n") {
		t.Errorf("what the kill left is still there: %v", err)
	}
	if diff := cmp.Diff(ids, collectIDs(t, s, Heap, "production")); diff != "" {
		t.Errorf("ids: %s", diff)
	}
	send(s) // de-duplication goes on as well
	for _, v := range []Vendor{Heap, Amplitude} {
		if c := s.counts(v, "production"); c.Deliveries != 2*c.Distinct || c.Deduplicated != c.Distinct {
			t.Errorf("%+v", c)
		}
	}
	if all := s.events(GA4, "production"); len(all) != 4 || all[3].Seq != 11 {
		t.Errorf("numbers go on: %+v", all)
	}
}

func TestReset(t *testing.T) {
	for _, dir := range []string{"", t.TempDir()} {
		s := start(t, Options{Dir: dir, Scenario: parsed(t, "rules: [{vendor: webhook, fault: outage}]")})
		fresh := s.Counts()
		for range 31 {
			s.post(heapPath, heapGood("k"))
		}
		if s.counts(Heap, "production").Refused["too many for one identity"] != 1 {
			t.Fatal("the rate did not bite")
		}
		if err := s.client.Reset(t.Context()); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(fresh, s.Counts()); diff != "" {
			t.Errorf("after the reset: %s", diff)
		}
		if got := s.post(heapPath, heapGood("k")); got.status != 200 {
			t.Errorf("rates are forgotten too: %d", got.status)
		}
		if c := s.counts(Heap, "production"); c.Deduplicated != 0 || c.Distinct != 1 {
			t.Errorf("keys are forgotten too: %+v", c)
		}
		if got := s.post("/webhook/production", "{}"); got.status != 503 {
			t.Errorf("the scenario stays: %d", got.status)
		}
		if all := s.events(Heap, "production"); len(all) != 1 || all[0].Seq != 1 {
			t.Errorf("%+v", all)
		}
	}
}

func TestMetricsAndHealth(t *testing.T) {
	s := start(t, Options{Telemetry: telemetry.Discard()})
	s.post(heapPath, heapGood("k"))
	s.post(heapPath, heapGood("k"))
	s.post(heapPath, "{")
	text := s.get("/metrics")
	for _, want := range []string{
		`sparrow_sandbox_requests_total{project="production",status="200",vendor="heap"} 2`,
		`sparrow_sandbox_requests_total{project="unknown",status="400",vendor="heap"} 1`,
		`sparrow_sandbox_events_total{outcome="accepted",project="production",vendor="heap"} 1`,
		`sparrow_sandbox_events_total{outcome="duplicate",project="production",vendor="heap"} 1`,
		`sparrow_sandbox_distinct_ids{project="production",vendor="heap"} 1`,
		`sparrow_sandbox_complete 1`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("no %s in the metrics", want)
		}
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		if got := s.get(path); got != "ok\n" && got != "ready\n" {
			t.Errorf("%s: %s", path, got)
		}
	}
}

// A sandbox that can no longer record answers no vendor's request as if it had.
func TestNothingIsAnsweredUnrecorded(t *testing.T) {
	s := start(t, Options{Dir: t.TempDir()})
	s.post(heapPath, heapGood("k"))
	s.store.Close() // as a full disk would, it makes every further write fail
	if got := s.post(heapPath, heapGood("l")); got.status != 500 {
		t.Errorf("answered %d", got.status)
	}
	if got := s.get("/readyz"); !strings.Contains(got, "closed") {
		t.Errorf("ready: %s", got)
	}
}

func TestBodyBound(t *testing.T) {
	s := start(t, Options{MaxBody: 1000})
	if got := s.post(heapPath, long(1001)); got.status != 413 {
		t.Errorf("too large: %d", got.status)
	}
	// A small body that decodes to a large one is not taken in decoded.
	got, err := s.try(amplitudePath, gzipped(t, amplitudeBody(amplitudeGood)+strings.Repeat(" ", 1001)), "Content-Encoding", "gzip")
	if err != nil || got.status != 400 {
		t.Errorf("a bomb: %d %v", got.status, err)
	}
}

func TestAddresses(t *testing.T) {
	s := start(t, Options{})
	bodies := map[Vendor]string{GA4: ga4Hit("a", ""), Heap: heapGood("k"), Amplitude: amplitudeBody(amplitudeGood), Webhook: "{}"}
	for v, body := range bodies {
		p := DefaultProjects()[v][0]
		path := strings.TrimPrefix(Address(s.url+"/", v, p), s.url)
		if v == GA4 {
			path += "?measurement_id=" + p.Key + "&api_secret=" + p.Secret
		}
		if got := s.post(path, body); got.status/100 != 2 || s.counts(v, p.Name).Deliveries != 1 {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
}

func TestOptions(t *testing.T) {
	for want, o := range map[string]Options{
		"no such vendor":       {Projects: map[Vendor][]Project{"mixpanel": {{Name: "a", Key: "b"}}}},
		"needs a key":          {Projects: map[Vendor][]Project{Heap: {{Name: "a"}}}},
		`other than "unknown"`: {Projects: map[Vendor][]Project{Heap: {{Name: "unknown", Key: "b"}}}},
		"is taken":             {Projects: map[Vendor][]Project{Heap: {{Name: "a", Key: "b"}, {Name: "c", Key: "b"}}}},
		"negative bound":       {MaxBytes: -1},
	} {
		if s, err := New(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", o, err, want)
			if s != nil {
				s.Close()
			}
		}
	}
}
