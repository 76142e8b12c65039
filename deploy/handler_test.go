package deploy

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/sparrowhq/sparrow/compare"
	"github.com/sparrowhq/sparrow/event"
)

func serve(t *testing.T, s *stage) Client {
	t.Helper()
	srv := httptest.NewServer(s.d.Handler())
	t.Cleanup(srv.Close)
	return Client{URL: srv.URL, HTTP: srv.Client(), Actor: "ada <ada@example.com> ö"}
}

// TestOverHTTP goes through a release with the client.
func TestOverHTTP(t *testing.T) {
	s := newStage(t)
	c := serve(t, s)
	ctx := t.Context()
	if r, err := c.Verdict(ctx, "latest"); r != nil || err != nil {
		t.Errorf("%+v, %v", r, err)
	}
	d, err := c.Candidate(ctx, Request{Reason: "release"})
	if err != nil || d.Record.Actor != c.Actor || d.Record.Kind != event.Candidate {
		t.Fatalf("%+v, %v", d, err)
	}
	s.send(5)
	_, err = c.Cutover(ctx, Request{})
	if got := refusedFor(t, err); len(got) != 1 || got[0] != RefuseNoVerdict {
		t.Errorf("%v", err)
	}
	var b strings.Builder
	if !WriteError(&b, err) || !strings.Contains(b.String(), "the cutover is refused\n  there is no verdict") || !strings.Contains(b.String(), "sparrow compare --wait") {
		t.Errorf("%s", b.String())
	}
	forged := s.evidence()
	forged.Ledger.Requests--
	var untrue *UntrueError
	if _, err := c.Submit(ctx, forged); !errors.As(err, &untrue) {
		t.Errorf("%v", err)
	}
	r, err := c.Submit(ctx, s.evidence())
	if err != nil || r.Verdict.Outcome != compare.Pass || r.ID == "" {
		t.Fatalf("%+v, %v", r.Verdict, err)
	}
	for _, id := range []string{"latest", r.ID} {
		if got, err := c.Verdict(ctx, id); err != nil || got == nil || got.ID != r.ID || got.Evidence.Ledger.Requests != 5 {
			t.Errorf("%s: %+v, %v", id, got, err)
		}
	}
	if list, err := c.Verdicts(ctx, 5); err != nil || len(list) != 1 || list[0].ID != r.ID || list[0].Outcome != compare.Pass {
		t.Errorf("%+v, %v", list, err)
	}
	o, err := c.Status(ctx)
	if err != nil || len(o.Refusals) != 0 || o.Verdict == nil || o.Verdict.ID != r.ID || !strings.Contains(o.Next, "sparrow deploy cutover would make blue live") {
		t.Errorf("%+v, %v", o, err)
	}
	if _, err := c.Cutover(ctx, Request{Generation: 1}); !errors.Is(err, ErrConflict) || strings.Count(err.Error(), ErrConflict.Error()) != 1 {
		t.Errorf("%v", err)
	}
	if d, err = c.Cutover(ctx, Request{}); err != nil || d.Record.Verdict != r.ID {
		t.Errorf("%+v, %v", d, err)
	}
	if d, err = c.Rollback(ctx, Request{Reason: "errors"}); err != nil || d.Record.Live != event.Green {
		t.Errorf("%+v, %v", d, err)
	}
	tl, err := c.History(ctx)
	if err != nil || len(tl.Records()) != 4 {
		t.Errorf("%d records, %v", len(tl.Records()), err)
	}
	if o, err = c.Status(ctx); err != nil {
		t.Fatal(err)
	}
	b.Reset()
	if err := o.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"live       green v1.0.0 (aaaaaaaaaaaa), since 0 s ago", "candidate  blue  v1.1.0", "verdict    none", "a cutover would be refused", "next: run sparrow deploy candidate"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("status lacks %q:\n%s", want, b.String())
		}
	}
}

func TestBadRequests(t *testing.T) {
	s := newStage(t)
	s.cutOver(3)
	c := serve(t, s)
	for _, x := range []struct {
		name, method, path, body string
		want                     int
	}{
		{"a misspelt field", "POST", "/v1/deploy/rollback", `{"form": 12}`, 400},
		{"no JSON", "POST", "/v1/deploy/rollback", `rollback`, 400},
		{"a negative frame", "POST", "/v1/deploy/rollback", `{"from": -1}`, 400},
		{"too long", "POST", "/v1/deploy/rollback", `{"reason": "` + strings.Repeat("x", maxRequest) + `"}`, 400},
		{"evidence that is none", "POST", "/v1/verdicts", `{"outcome": "PASS"}`, 422},
		{"evidence with a verdict in it", "POST", "/v1/verdicts", `{"schema": 2, "verdict": {"outcome": "PASS"}}`, 400},
		{"a verdict nobody made", "GET", "/v1/verdicts/0123", "", 404},
		{"a bad limit", "GET", "/v1/verdicts?limit=x", "", 400},
		{"the wrong method", "GET", "/v1/deploy/rollback", "", 405},
		{"nothing there", "GET", "/v1/deploy/nothing", "", 404},
	} {
		t.Run(x.name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), x.method, c.URL+x.path, strings.NewReader(x.body))
			if err != nil {
				t.Fatal(err)
			}
			resp, err := c.HTTP.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != x.want {
				t.Errorf("%s, want %d: %s", resp.Status, x.want, body)
			}
			var p struct{ Detail string }
			if x.want == 400 && (json.Unmarshal(body, &p) != nil || p.Detail == "") {
				t.Errorf("no detail: %s", body)
			}
			if s.live() != event.Blue {
				t.Fatal("it took effect")
			}
		})
	}
	// An empty body asks for nothing in particular.
	resp, err := c.HTTP.Post(c.URL+"/v1/deploy/rollback", "application/json", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 200 || s.live() != event.Green {
		t.Errorf("%s, %s live", resp.Status, s.live())
	}
}
