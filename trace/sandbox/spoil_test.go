package sandbox

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sparrowhq/sparrow/trace/sandbox/record"
)

func heapGood(key string) string {
	return sprintf(`{"app_id":"1000000001","event":"a","identity":"u","idempotency_key":%q}`, key)
}

// A fault hits what its rule names and nothing else.
func TestFaultsAreAimed(t *testing.T) {
	heapStaging := strings.Replace(heapGood("k"), "1000000001", "1000000002", 1)
	for _, row := range []struct {
		name, rule         string
		production, stage  int // Heap
		amplitude, batched int
	}{
		{"all", `{fault: status, status: 418}`, 418, 418, 418, 418},
		{"a vendor", `{vendor: heap, fault: status, status: 418}`, 418, 418, 200, 200},
		{"a project", `{vendor: heap, project: staging, fault: status, status: 418}`, 200, 418, 200, 200},
		{"a project of any vendor", `{project: production, fault: status, status: 418}`, 418, 200, 418, 418},
		{"a path", `{path: /amplitude/batch, fault: status, status: 418}`, 200, 200, 200, 418},
		{"paths", `{path: "/amplitude/*", fault: status, status: 418}`, 200, 200, 418, 418},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := start(t, Options{Scenario: parsed(t, "rules: ["+row.rule+"]")})
			for _, c := range []struct {
				path, body string
				want       int
			}{{heapPath, heapGood("k"), row.production}, {heapPath, heapStaging, row.stage}, {amplitudePath, amplitudeBody(amplitudeGood), row.amplitude}, {amplitudeBulk, amplitudeBody(amplitudeGood), row.batched}} {
				if got := s.post(c.path, c.body); got.status != c.want {
					t.Errorf("%s answered %d, want %d", c.path, got.status, c.want)
				}
			}
		})
	}
}

func TestFaultAnswers(t *testing.T) {
	const secret = "planted-7f3a"
	for _, row := range []struct {
		name, rule, body string
		status           int
		want             string // in the answer
		header           string // "Name: value"
		delivered        bool
	}{
		{"down", `{fault: outage, retry_after: 90s}`, heapGood("k"), 503, "", "Retry-After: 90", false},
		{"down after taking it in", `{fault: outage, when: after}`, heapGood("k"), 503, "", "", true},
		{"status", `{fault: status, status: 451, body: no, content_type: text/x, headers: {X-A: b}}`, heapGood("k"), 451, "no", "X-A: b", false},
		{"status after", `{fault: status, status: 500, when: after}`, heapGood("k"), 500, "", "", true},
		{"a fraction of a second is rounded up", `{fault: status, status: 429, retry_after: 0.2}`, heapGood("k"), 429, "", "Retry-After: 1", false},
		{"storm", `{fault: throttle, retry_after: 5}`, heapGood("k"), 429, "too many requests", "Retry-After: 5", false},
		{"error in a 200", `{fault: error-body}`, heapGood("k"), 200, `"error":"internal error"`, "Content-Type: application/json", false},
		{"wrong type", `{fault: content-type}`, heapGood("k"), 200, "{}", "Content-Type: text/html; charset=utf-8", true},
		{"wrong type and body", `{fault: content-type, body: "<html>"}`, heapGood("k"), 200, "<html>", "Content-Type: text/html; charset=utf-8", true},
		{"echo of the body", `{fault: echo}`, heapGood(secret), 400, secret, "", false},
		{"echo after", `{fault: echo, when: after, status: 500}`, heapGood(secret), 500, secret, "", true},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := start(t, Options{Scenario: parsed(t, "rules: ["+row.rule+"]")})
			got := s.post(heapPath, row.body)
			name, value, _ := strings.Cut(row.header, ": ")
			if got.status != row.status || !strings.Contains(got.body, row.want) || got.header.Get(name) != value {
				t.Errorf("%d %v %s", got.status, got.header, got.body)
			}
			c := s.counts(Heap, "production")
			if (c.Deliveries == 1) != row.delivered {
				t.Errorf("delivered %d, want %v: %+v", c.Deliveries, row.delivered, c)
			}
			if c.Requests[sprintf("%d", row.status)] != 1 || len(c.Faults) != 1 {
				t.Errorf("counted %+v", c)
			}
			if row.delivered && c.Unacknowledged != 1 {
				t.Error("the sender saw no answer of the vendor's own: unacknowledged")
			}
		})
	}
}

func TestEchoRepeatsURLAndHeaders(t *testing.T) {
	s := start(t, Options{Scenario: parsed(t, "rules: [{vendor: ga4, fault: echo, status: 500}]")})
	got := s.post("/ga4/mp/collect?measurement_id=G-X&api_secret=s3cr3t", `{"a":1}`, "X-Planted", "h34d3r")
	for _, want := range []string{"api_secret=s3cr3t", "X-Planted: h34d3r", `{"a":1}`} {
		if !strings.Contains(got.body, want) {
			t.Errorf("no %q in %s", want, got.body)
		}
	}
}

func TestThrottleInAmplitudesOwnForm(t *testing.T) {
	s := start(t, Options{Scenario: parsed(t, "rules: [{vendor: amplitude, fault: throttle, until_request: 2}]")})
	got := s.post(amplitudePath, amplitudeBody(amplitudeGood, amplitudeOther))
	want := `{"code":429,"error":"Too many requests for some devices and users","eps_threshold":30,"throttled_devices":{"device-1":31,"device-2":31},"throttled_users":{"user-1":31,"user-2":31},"throttled_events":[0,1]}`
	if got.status != 429 || got.body != want {
		t.Errorf("got  %d %s\nwant %s", got.status, got.body, want)
	}
	if got := s.post(amplitudePath, amplitudeBody(amplitudeGood)); got.status != 200 {
		t.Errorf("after the storm: %d %s", got.status, got.body)
	}
}

func TestSilencedDevices(t *testing.T) {
	s := start(t, Options{Scenario: parsed(t, "rules: [{fault: silence, ids: [device-2]}]")})
	got := s.post(amplitudePath, amplitudeBody(amplitudeGood, amplitudeOther))
	want := `{"code":400,"error":"Events silenced for device_id","silenced_events":[1],"silenced_devices":["device-2"]}`
	if got.status != 400 || got.body != want {
		t.Errorf("got  %d %s\nwant %s", got.status, got.body, want)
	}
	if got := s.post(amplitudePath, amplitudeBody(amplitudeGood)); got.status != 200 {
		t.Errorf("the rest: %d %s", got.status, got.body)
	}
	if got := s.post(heapPath, heapGood("k")); got.status != 200 {
		t.Errorf("another vendor: %d", got.status)
	}
}

func TestRefusedAndResetConnections(t *testing.T) {
	for _, row := range []struct {
		mode, when string
		want       error
		delivered  uint64
	}{
		{"refuse", "before", io.EOF, 0},
		{"reset", "before", syscall.ECONNRESET, 0},
		{"reset", "after", syscall.ECONNRESET, 1},
	} {
		s := start(t, Options{Scenario: parsed(t, sprintf("rules: [{fault: outage, mode: %s, when: %s}]", row.mode, row.when))})
		if _, err := s.try(heapPath, []byte(heapGood("k"))); !errors.Is(err, row.want) {
			t.Errorf("%s %s: %v, want %v", row.mode, row.when, err, row.want)
		}
		c := s.counts(Heap, "production")
		if row.mode == "refuse" {
			c = s.counts(Heap, "unknown") // unread, the project stands in the body
		}
		if c.Requests["none"] != 1 || c.Deliveries != row.delivered || c.Unacknowledged != row.delivered {
			t.Errorf("%s %s: %+v", row.mode, row.when, c)
		}
	}
}

// Hanging requests end with the client's patience, with the scenario, and with the sandbox.
func TestHangingEnds(t *testing.T) {
	for _, rule := range []string{"{fault: outage, mode: hang}", "{fault: outage, mode: hang, when: after}", "{fault: half-open}", "{fault: slow, delay: 1h}"} {
		for _, way := range []string{"client", "scenario", "sandbox"} {
			t.Run(rule+" "+way, func(t *testing.T) {
				s := start(t, Options{Scenario: parsed(t, "rules: ["+rule+"]")})
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				failed := make(chan error, 1)
				go func() {
					req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+heapPath, strings.NewReader(heapGood("k")))
					if err == nil {
						var resp *http.Response
						if resp, err = s.http.Do(req); err == nil {
							resp.Body.Close()
						}
					}
					failed <- err
				}()
				<-s.clock.came // it hangs
				select {
				case err := <-failed:
					t.Fatalf("answered: %v", err)
				default:
				}
				switch way {
				case "client":
					cancel()
				case "scenario":
					s.SetScenario(nil)
				case "sandbox":
					if err := s.end(); err != nil {
						t.Error(err)
					}
				}
				if err := <-failed; err == nil && !strings.Contains(rule, "slow") {
					t.Error("answered after all")
				}
				if way == "client" && !strings.Contains(rule, "half-open") { // nobody sees the client go while its body is unread
					<-s.clock.left
				}
				if err := s.end(); err != nil {
					t.Error(err)
				}
				for _, c := range s.Counts() {
					taken := strings.Contains(rule, "after") || strings.Contains(rule, "slow") && way != "client"
					if c.Vendor == string(Heap) && c.Project == "production" && (c.Deliveries == 1) != taken {
						t.Errorf("taken in %d times, want %v: who gave up was never heard", c.Deliveries, taken)
					}
				}
			})
		}
	}
}

func TestSlow(t *testing.T) {
	for _, when := range []string{"before", "after"} {
		s := start(t, Options{Scenario: parsed(t, "rules: [{fault: slow, delay: 10s, when: "+when+"}]")})
		answered := make(chan reply, 1)
		go func() {
			got, err := s.try(heapPath, []byte(heapGood("k")))
			if err != nil {
				t.Error(err)
			}
			answered <- got
		}()
		<-s.clock.came
		if n := s.counts(Heap, "production").Deliveries; (n == 1) != (when == "after") {
			t.Errorf("%s: %d deliveries while it waits", when, n)
		}
		s.clock.advance(9 * time.Second)
		select {
		case got := <-answered:
			t.Errorf("%s: answered %d after 9 s", when, got.status)
		default:
		}
		s.clock.advance(time.Second)
		if got := <-answered; got.status != 200 {
			t.Errorf("%s: %d", when, got.status)
		}
		if c := s.counts(Heap, "production"); c.Deliveries != 1 || c.Unacknowledged != 0 {
			t.Errorf("%s: %+v", when, c)
		}
	}
}

func TestTruncatedAnswers(t *testing.T) {
	s := start(t, Options{Scenario: parsed(t, "rules: [{fault: truncate}]")})
	got, err := s.try(amplitudePath, []byte(amplitudeBody(amplitudeGood)))
	if !errors.Is(err, io.ErrUnexpectedEOF) || got.status != 200 || !strings.HasPrefix(got.body, `{"code":200`) {
		t.Errorf("half a body: %d %q %v", got.status, got.body, err)
	}
	if c := s.counts(Amplitude, "production"); c.Deliveries != 1 || c.Unacknowledged != 1 || c.Requests["none"] != 1 {
		t.Errorf("%+v", c)
	}
	if got, err := s.try(ga4Production, []byte(ga4Hit("a", ""))); err == nil {
		t.Errorf("half a head: %d %v", got.status, got.header)
	}
}

func TestTrickle(t *testing.T) {
	s := start(t, Options{Scenario: parsed(t, "rules: [{fault: trickle, interval: 2s}]")})
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	body := heapGood("k")
	if _, err := io.WriteString(conn, "POST "+heapPath+" HTTP/1.1\r\nHost: x\r\nContent-Length: "+sprintf("%d", len(body))+"\r\n\r\n"+body); err != nil {
		t.Fatal(err)
	}
	var text []byte
	for b := make([]byte, 64); ; {
		<-s.clock.came // it has sent one and waits
		n, err := conn.Read(b)
		if err != nil || n != 1 {
			t.Fatalf("%d bytes at once after %q: %v", n, text, err)
		}
		text = append(text, b[0])
		s.clock.advance(2 * time.Second)
		if strings.HasSuffix(string(text), "\r\n\r\n{}") {
			break
		}
	}
	resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(string(text))), nil)
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("%q: %v", text, err)
	}
	resp.Body.Close()
	if c := s.counts(Heap, "production"); c.Deliveries != 1 {
		t.Errorf("%+v", c)
	}
}

func TestDropLosesAPropertyInSilence(t *testing.T) {
	s := start(t, Options{Scenario: parsed(t, "rules: [{name: thief, vendor: heap, fault: drop, property: colour}]")})
	for _, properties := range []string{`{"colour":"red","size":1}`, `{"size":1}`} {
		if got := s.post(heapPath, `{"app_id":"1000000001","event":"a","identity":"u","properties":`+properties+`}`); got.status != 200 {
			t.Fatal(got.status)
		}
	}
	all := s.events(Heap, "production")
	if len(all[0].Ignored) != 1 || all[0].Ignored[0] != "colour" || len(all[1].Ignored) != 0 {
		t.Errorf("ignored %v and %v", all[0].Ignored, all[1].Ignored)
	}
	if c := s.counts(Heap, "production"); c.Deliveries != 2 || c.Ignored != 1 || c.Faults["thief"] != 1 {
		t.Errorf("%+v", c)
	}
}

func TestDropLosesTheSameEventsEachTime(t *testing.T) {
	lost := func(order []int) (ids string) {
		s := start(t, Options{Scenario: parsed(t, "seed: 7\nrules: [{name: hole, fault: drop, events: 10}]")})
		for _, i := range order {
			if got := s.post(heapPath, sprintf(`{"app_id":"1000000001","event":"a","identity":"u%d","idempotency_key":"k%d"}`, i, i)); got.status != 200 {
				t.Fatal(got.status)
			}
		}
		got := map[string]bool{}
		for _, e := range s.events(Heap, "production") {
			if e.Outcome == record.Dropped && e.Reason == "fault hole" {
				got[e.ID] = true
			}
		}
		c := s.counts(Heap, "production")
		if c.Dropped["fault hole"]+c.Deliveries != uint64(len(order)) {
			t.Errorf("%+v", c)
		}
		for i := range 200 {
			if id := sprintf("k%d", i); got[id] {
				ids += " " + id
			}
		}
		return ids
	}
	var forth, back []int
	for i := range 200 {
		forth, back = append(forth, i), append([]int{i}, back...)
	}
	a, b := lost(forth), lost(append(back, back...))
	if a != b || len(strings.Fields(a)) < 8 || len(strings.Fields(a)) > 35 {
		t.Errorf("lost\n%s\nand, in another order and twice,\n%s", a, b)
	}
}

func TestScenarioByTimeAndCount(t *testing.T) {
	s := start(t, Options{})
	s.scenario("rules:\n- {from: 10s, until: 20s, fault: status, status: 500}\n- {from_request: 3, until_request: 5, fault: status, status: 502}\n")
	for i, row := range []struct {
		wait time.Duration
		want int
	}{{0, 200}, {0, 200}, {0, 502}, {0, 502}, {0, 200}, {9999 * time.Millisecond, 200}, {time.Millisecond, 500}, {9 * time.Second, 500}, {time.Second, 200}} {
		s.clock.advance(row.wait)
		if got := s.post(heapPath, heapGood(sprintf("k%d", i))); got.status != row.want {
			t.Errorf("request %d: %d, want %d", i+1, got.status, row.want)
		}
	}
	state, err := s.client.Scenario(t.Context())
	if err != nil || state.Rules[0].Applied != 2 || state.Rules[1].Applied != 2 || state.Rules[1].Matched != 9 {
		t.Errorf("%+v %v", state, err)
	}
	if err := s.client.EndScenario(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// The validation endpoint goes on while the other is down, and the other way round: they are different paths.
func TestScenarioSeparatesEndpoints(t *testing.T) {
	s := start(t, Options{Scenario: parsed(t, "rules: [{path: /ga4/mp/collect, fault: outage}]")})
	if got := s.post(ga4Production, ga4Hit("a", "")); got.status != 503 {
		t.Error(got.status)
	}
	if got := s.post(ga4Check, ga4Hit("a", "")); got.status != 200 {
		t.Error(got.status)
	}
}
