package cmd

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/sparrowhq/sparrow/compare"
	"github.com/sparrowhq/sparrow/deploy"
	"github.com/sparrowhq/sparrow/event"
)

// till is a service of somebody's own: it keeps what it is sent, and says which build it is.
type till struct {
	mu    sync.Mutex
	build string
	got   []string // method, target, body
}

func (s *till) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got = append(s.got, r.Method+" "+r.RequestURI+" "+string(body))
	if s.build != "" {
		w.Header().Set("Sparrow-Build", s.build)
	}
}

func (s *till) runs(build string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.build = build
}

func (s *till) took() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.got)
}

// `sparrow up` feeds a service of somebody's own as the candidate: it starts nothing for it and everything else, every
// command says what it is, and no decision takes it for what it is not known to be.
func TestUpWithService(t *testing.T) {
	shop := &till{}
	server := httptest.NewServer(shop)
	defer server.Close()
	dir := t.TempDir()
	settings := filepath.Join(dir, "sparrow.yaml")
	config := fmt.Sprintf("clients: {requests: [POST /v1/events, GET /collect]}\nstacks: {blue: {protocol: http, url: %q}}\n", server.URL)
	if err := os.WriteFile(settings, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	r := startUp(t, filepath.Join(dir, "data"), "--config", settings)
	var names []string
	for _, p := range r.endpoints().Processes {
		names = append(names, p.Name)
	}
	if want := []string{"mirror", "green-dispatcher", "green-trace", "warehouse", "sandbox"}; !slices.Equal(names, want) {
		t.Errorf("it runs %v, want %v", names, want)
	}
	send := func(method, target, body string) {
		t.Helper()
		req, err := http.NewRequest(method, r.endpoints().Clients+target, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 200 {
			t.Fatalf("%s %s is answered %s", method, target, resp.Status)
		}
	}
	const page = `{"event":"pageview","deviceId":"d","properties":{"pathname":"/"}}`
	send("POST", "/v1/events?k=dev", page)
	r.await("the service has it", func() error {
		if got := shop.took(); !slices.Equal(got, []string{"POST /v1/events?k=dev " + page}) {
			return fmt.Errorf("it took %q", got)
		}
		return nil
	})

	shop.runs("till-7 seventh edition")
	send("GET", "/collect?k=dev&page=%2F", "")
	overview := func() (o deploy.Overview) {
		t.Helper()
		out, errs, status := r.run("deploy", "status", "--json")
		if status != 0 {
			t.Fatalf("deploy status: %d: %s", status, errs)
		}
		if err := json.Unmarshal([]byte(out), &o); err != nil {
			t.Fatal(err)
		}
		return o
	}
	is := func(want event.Build) {
		t.Helper()
		r.await("the service's build", func() error {
			if got := overview().Candidate.Status; got.Build != want || got.Protocol != "http" {
				return fmt.Errorf("%+v", got)
			}
			return nil
		})
	}
	is(event.Build{ID: "till-7", Version: "seventh edition"})
	if got := shop.took(); len(got) != 2 || got[1] != "GET /collect?k=dev&page=%2F " {
		t.Errorf("the service took %q", got)
	}
	if out, errs, status := r.run("deploy", "candidate"); status != 0 || !strings.Contains(out, "till-7") {
		t.Fatalf("declaring it: status %d, %s%s", status, out, errs)
	}
	send("POST", "/v1/events?k=dev", page)

	// It writes no rows: that is a verdict, and there is nothing to wait for.
	r.await("a verdict", func() error {
		out, errs, status := r.run("compare", "--wait", "10m", "--format", "json")
		var v compare.Report
		if err := json.Unmarshal([]byte(out), &v); err != nil {
			return fmt.Errorf("%v: %s%s", err, out, errs)
		}
		if status != 3 || v.Verdict.Outcome != compare.Inconclusive || len(v.Verdict.Reasons) != 1 || v.Verdict.Reasons[0].Code != compare.CodeRowless {
			return fmt.Errorf("status %d: %+v", status, v.Verdict.Reasons)
		}
		return nil
	})
	if _, errs, status := r.run("deploy", "cutover"); status == 0 || !strings.Contains(errs, "INCONCLUSIVE") {
		t.Errorf("cutover without a PASS: status %d, %s", status, errs)
	}
	// What runs is another now: a decision about the declared one is refused for that as well.
	shop.runs("till-8")
	send("POST", "/v1/events?k=dev", page)
	is(event.Build{ID: "till-8"})
	if codes := overview().Refusals; !slices.ContainsFunc(codes, func(x deploy.Refusal) bool { return x.Code == deploy.RefuseBuild }) {
		t.Errorf("a service that was replaced is refused for %+v only", codes)
	}
	if out, errs, status := r.run("deploy", "candidate", "--binary", r.bin); status == 0 || !strings.Contains(errs, "a service of your own") {
		t.Errorf("a binary for a service: status %d, %s%s", status, out, errs)
	}
	out, errs, status := r.run("doctor")
	if status != 0 || !strings.Contains(out, "a service fed plain HTTP") {
		t.Errorf("doctor: status %d\n%s%s", status, out, errs)
	}
	if out, _, status := r.run("deploy", "status"); status != 0 || !strings.Contains(out, "a service fed plain HTTP") {
		t.Errorf("deploy status: status %d\n%s", status, out)
	}
}
