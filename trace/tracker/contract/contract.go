// Package contract is the suite that every tracker.Vendor passes, with the sandbox as the other side.
//
// Invariant: the sandbox was written from the vendors' documents apart from the trackers and shares no code with them,
// so what both agree on is what the documents say.
package contract

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sparrowhq/sparrow/trace/pipeline"
	"github.com/sparrowhq/sparrow/trace/sandbox"
	"github.com/sparrowhq/sparrow/trace/tracker"
)

// Subject is a vendor to be tested.
type Subject struct {
	Vendor tracker.Vendor
	Which  sandbox.Vendor // as which the sandbox sees it
}

// Run runs the suite.
func Run(t *testing.T, s Subject) {
	for name, f := range map[string]func(*testing.T, Subject){
		"equal events give equal bytes":                pure,
		"a request is taken apart as it was assembled": roundTrip,
		"values are as the client wrote them":          exact,
		"what is let pass is taken whole":              taken,
		"the context goes where it belongs":            contexts,
		"statuses mean what they mean":                 statuses,
		"nothing that comes back is too odd":           odd,
	} {
		t.Run(name, func(t *testing.T) { f(t, s) })
	}
}

var credential = tracker.Credential{URL: "https://vendor.example/in", Key: "the key", Secret: `s&cr=t"\`}

// credentialOf leaves out what the vendor has no use for.
func credentialOf(s Subject) tracker.Credential {
	c := credential
	switch s.Which {
	case sandbox.Webhook:
		c.Key, c.Secret = "", "a token"
	case sandbox.Heap, sandbox.Amplitude:
		c.Secret = ""
	}
	return c
}

// formed puts n wild events into the vendor's form; those it does not take are left out.
func formed(s Subject, seed uint64, n int) (events []pipeline.Event, forms []*tracker.Form) {
	r := rand.New(rand.NewPCG(seed, seed))
	for i := range n {
		e := Wild(r, i)
		f := new(tracker.Form)
		if s.Vendor.Form(&e, f) == nil {
			events, forms = append(events, e), append(forms, f)
		}
	}
	return events, forms
}

func pure(t *testing.T, s Subject) {
	events, forms := formed(s, 1, 200)
	if len(forms) < 50 {
		t.Fatalf("only %d of 200 wild events are let pass", len(forms))
	}
	for i := range events {
		f := &tracker.Form{Head: make([]byte, 0, 4096), Body: make([]byte, 0, 4096)}
		if b := s.Vendor.Form(&events[i], f); b != nil {
			t.Fatalf("%s is let pass once, then rejected: %+v", events[i].ID, b)
		}
		if diff := cmp.Diff(forms[i], f, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("%s: not the same twice:\n%s", events[i].ID, diff)
		}
		before := bytes.Clone(f.Body)
		for _, p := range events[i].Properties {
			clear(p.Value) // the event's memory is not the form's
		}
		if !bytes.Equal(before, f.Body) {
			t.Fatalf("%s: the form shares the event's memory", events[i].ID)
		}
		if f.Key == "" || f.Group == "" || len(f.Body) == 0 || !json.Valid(f.Body) {
			t.Fatalf("%s: key %q, group %q, body %s", events[i].ID, f.Key, f.Group, f.Body)
		}
	}
}

// batches cuts forms into requests the vendor takes.
func batches(s Subject, forms []*tracker.Form, most int) (out [][]*tracker.Form) {
	traits := s.Vendor.Traits()
	most = min(most, traits.Events)
	groups := map[string][]*tracker.Form{}
	var order []string
	for _, f := range forms {
		g := ""
		if traits.Alone {
			g = f.Group
		}
		if groups[g] == nil {
			order = append(order, g)
		}
		groups[g] = append(groups[g], f)
	}
	for _, g := range order {
		var part []*tracker.Form
		size := 1 << 10
		for _, f := range groups[g] {
			if len(part) == most || size+len(f.Body)+len(f.Head)+1 > traits.Bytes && len(part) > 0 {
				out, part, size = append(out, part), nil, 1<<10
			}
			part = append(part, f)
			size += len(f.Body) + len(f.Head) + 1
		}
		out = append(out, part)
	}
	return out
}

func roundTrip(t *testing.T, s Subject) {
	c := credentialOf(s)
	_, forms := formed(s, 2, 150)
	alone := map[string]string{}
	for _, most := range []int{1, 7, 1 << 20} {
		for _, batch := range batches(s, forms, most) {
			var r tracker.Request
			s.Vendor.Assemble(c, batch, &r)
			p, err := s.Vendor.Split(&r)
			if err != nil {
				t.Fatalf("%v: %.300s", err, r.Body)
			}
			if p.Credential != c {
				t.Fatalf("credential %+v, want %+v", p.Credential, c)
			}
			if len(p.Events) != len(batch) {
				t.Fatalf("%d events, want %d", len(p.Events), len(batch))
			}
			for i, e := range p.Events {
				if e.Key != batch[i].Key || !bytes.Equal(e.Body, batch[i].Body) {
					t.Fatalf("event %d: %s %s, want %s %s", i, e.Key, e.Body, batch[i].Key, batch[i].Body)
				}
				whole := string(e.Head) + "\n" + string(e.Body)
				if first, known := alone[e.Key]; known && first != whole {
					t.Fatalf("%s: the form depends on what else is in the request:\n%s\n%s", e.Key, first, whole)
				}
				alone[e.Key] = whole
			}
		}
	}
}

func exact(t *testing.T, s Subject) {
	e := Plain(1)
	for i, v := range []string{"12345678901234567890123456789", "-0.10", "1e400", "0.1000", `"\u00e9\ud83d\ude00\/"`, `"é😀"`, `"\ud800"`} {
		e.Properties = append(e.Properties, pipeline.Property{Name: fmt.Sprintf("p%d", i), Value: json.RawMessage(v)})
	}
	var f tracker.Form
	if b := s.Vendor.Form(&e, &f); b != nil {
		t.Fatal(b)
	}
	for _, p := range e.Properties {
		if !bytes.Contains(f.Body, append([]byte(`"`+p.Name+`":`), p.Value...)) {
			t.Errorf("%s: %s is not in %s", p.Name, p.Value, f.Body)
		}
	}
	if len(f.Warnings) > 0 {
		t.Errorf("%+v", f.Warnings)
	}
}

// taken sends wild events to the sandbox: none may be dropped or refused, and no property of one ignored.
func taken(t *testing.T, s Subject) {
	projects := sandbox.DefaultProjects()
	box, err := sandbox.New(sandbox.Options{MaxBytes: 256 << 20, Limits: sandbox.Limits{
		Heap:      sandbox.HeapLimits{MinuteApp: sandbox.Unlimited, MinuteIdentity: sandbox.Unlimited},
		Amplitude: sandbox.AmplitudeLimits{PerSecond: sandbox.Unlimited},
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer box.Close()
	server := httptest.NewServer(box.Handler())
	defer server.Close()
	p := projects[s.Which][0]
	c := tracker.Credential{URL: sandbox.Address(server.URL, s.Which, p), Key: p.Key, Secret: p.Secret}
	_, forms := formed(s, 3, 700)
	ids := map[string]int{}
	for _, f := range forms {
		ids[f.Key]++
	}
	if !slices.ContainsFunc(forms, func(f *tracker.Form) bool {
		return bytes.Contains(slices.Concat(f.Head, f.Body), []byte("Samsung Internet"))
	}) {
		t.Error("no event has a context")
	}
	for _, batch := range batches(s, forms, 1<<20) {
		var r tracker.Request
		s.Vendor.Assemble(c, batch, &r)
		a := post(t, server.Client(), &r)
		if j := s.Vendor.Judge(a, len(batch)); j.Verdict != tracker.Taken {
			t.Fatalf("%+v: %d %.500s for %.500s", j, a.Status, a.Body, r.Body)
		}
	}
	counts := box.Counts()
	at := slices.IndexFunc(counts, func(c record) bool { return c.Vendor == string(s.Which) && c.Project == p.Name })
	if at < 0 {
		t.Fatalf("nothing arrived: %+v", counts)
	}
	got := counts[at]
	if got.Deliveries != uint64(len(forms)) || got.Distinct != uint64(len(ids)) || len(got.Dropped)+len(got.Refused) > 0 || got.Ignored+got.RealtimeOnly+got.WithoutID > 0 {
		t.Errorf("of %d events, %d ids: %+v", len(forms), len(ids), got)
		client := sandbox.NewClient(server.URL, "")
		defer client.Close()
		seen, err := client.Events(context.Background(), s.Which, p.Name, sandbox.EventQuery{Limit: 1000})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range seen.Events {
			if len(e.Ignored) > 0 || e.Reason != "" {
				t.Errorf("%s %v: %.500s", e.Reason, e.Ignored, e.Event)
				return
			}
		}
	}
}

func post(t *testing.T, client *http.Client, r *tracker.Request) *tracker.Answer {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, r.URL, bytes.NewReader(r.Body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = r.Header
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return &tracker.Answer{Status: resp.StatusCode, Header: resp.Header, Body: body}
}

func statuses(t *testing.T, s Subject) {
	for status, want := range map[int]tracker.Verdict{
		429: tracker.Unavailable, 500: tracker.Unavailable, 502: tracker.Unavailable, 503: tracker.Unavailable, 504: tracker.Unavailable, 408: tracker.Unavailable,
		400: tracker.Refused, 422: tracker.Refused, 413: tracker.TooLarge, 401: tracker.Barred, 403: tracker.Barred, 404: tracker.Barred, 302: tracker.Barred,
	} {
		for _, body := range []string{"", "<html>", `{"error":"no"}`} {
			if j := s.Vendor.Judge(&tracker.Answer{Status: status, Header: http.Header{}, Body: []byte(body)}, 3); j.Verdict != want || j.Reason == "" {
				t.Errorf("%d %q: %+v, want %d and a reason", status, body, j, want)
			}
		}
	}
	page := &tracker.Answer{Status: 200, Header: http.Header{"Content-Type": {"text/html; charset=utf-8"}}, Body: []byte("<html>Sign in to this network")}
	if j := s.Vendor.Judge(page, 3); j.Verdict == tracker.Taken {
		t.Error("a page that somebody on the way answers is taken for the vendor's yes")
	}
}

// odd feeds mutated requests and answers to what reads them: nothing may panic, and what is named exists.
func odd(t *testing.T, s Subject) {
	r := rand.New(rand.NewPCG(4, 4))
	_, forms := formed(s, 5, 5)
	var req tracker.Request
	s.Vendor.Assemble(credentialOf(s), batches(s, forms, 1<<20)[0], &req)
	answers := []string{
		`{"code":400,"events_with_invalid_fields":{"time":[3,4,-1,99999]},"events_with_missing_fields":{"x":[0]},"silenced_events":[1]}`,
		`{"code":429,"throttled_events":[0,7,-3,100000],"throttled_users":{"a":31}}`,
		`{"code":200}`, `{"validationMessages":[{"fieldPath":"events[","description":"","validationCode":"X"}]}`, `[]`, `null`, `{}`, `"x"`,
	}
	for range 1000 {
		m := req
		m.Body = mutate(r, req.Body)
		_, _ = s.Vendor.Split(&m)
		a := &tracker.Answer{Status: []int{200, 204, 400, 413, 429, 500}[r.IntN(6)], Header: http.Header{}, Body: mutate(r, []byte(answers[r.IntN(len(answers))])), Cut: r.IntN(4) == 0}
		j := s.Vendor.Judge(a, 5)
		for _, d := range j.Dead {
			if d.Index < 0 || d.Index >= 5 {
				t.Fatalf("%d %s names event %d of 5", a.Status, a.Body, d.Index)
			}
		}
		if j.Verdict == tracker.Taken && a.Status/100 != 2 {
			t.Fatalf("%d %s is taken for a yes", a.Status, a.Body)
		}
		if c, ok := s.Vendor.(tracker.Checker); ok {
			_, _ = c.Messages(a)
		}
	}
}

func mutate(r *rand.Rand, b []byte) []byte {
	b = bytes.Clone(b)
	for range r.IntN(4) {
		if len(b) == 0 {
			break
		}
		i := r.IntN(len(b))
		switch r.IntN(4) {
		case 0:
			b[i] = `{}[]",:\0-e `[r.IntN(12)]
		case 1:
			b = b[:i]
		case 2:
			b = append(b[:i], b[i+1:]...)
		case 3:
			b[i] = byte(r.IntN(256))
		}
	}
	return b
}

// Plain makes the n-th event that every vendor takes as it is.
func Plain(n int) pipeline.Event {
	id := fmt.Sprintf("0190b3a2-7c1e-7abc-8def-%012d", n)
	now := time.Now().UnixMicro()
	e := pipeline.Event{ID: id, Key: id, Source: "web", Name: "zone_delete", DeviceID: fmt.Sprintf("device-%d", n%20), Time: now, ReceivedAt: now}
	e.Frame, e.Request = uint64(n/10), uint32(n%10)
	return e
}
