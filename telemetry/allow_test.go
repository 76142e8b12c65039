package telemetry

import (
	"encoding/json"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/getsentry/sentry-go"
)

// fill puts text into every string that can be reached from v, and one element into every list and map.
func fill(v reflect.Value, text string, depth int) {
	if depth > 8 || !v.CanSet() {
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), text, depth+1)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), text, depth+1)
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			v.SetBytes([]byte(text))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), text, depth+1)
	case reflect.Map:
		key, element := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key, text, depth+1)
		fill(element, text, depth+1)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, element)
	case reflect.Interface:
		if v.NumMethod() == 0 {
			v.Set(reflect.ValueOf(text))
		}
	}
}

// Whatever the library or an integration may one day put into an event: it passes only by a place that is listed
// here, or redacted.
func TestPassBuildsAnew(t *testing.T) {
	e := new(sentry.Event)
	fill(reflect.ValueOf(e).Elem(), "token=PLANTED", 0)
	for _, name := range []string{"runtime", "error", "response", "device", "os", "trace"} {
		e.Contexts[name] = sentry.Context{"name": "token=PLANTED", "version": "go1", "types": "PLANTED", "data": "PLANTED", "status_code": "PLANTED"}
	}
	for _, key := range append(tagKeys, "PLANTED") {
		e.Tags[key] = "token=PLANTED"
	}
	e.Request.Headers["Accept"] = "token=PLANTED"
	e.Request.Data = `{"listed":"token=PLANTED","other":"PLANTED"}`
	e.Request.QueryString = "listed=token%3DPLANTED&other=PLANTED"
	// These are ours, set from Options and by the library itself.
	e.EventID, e.Environment, e.Release, e.Platform, e.Level, e.Sdk = "id", "test", "v1", "go", "error", sentry.SdkInfo{}

	g := gate{newHider(nil), new(atomic.Pointer[Allowlist])}
	g.allow.Store(&Allowlist{Headers: []string{"accept"}, Query: []string{"listed"}, Body: []string{"listed"}, Response: []string{"listed"}})
	clean := g.pass(e, &sentry.EventHint{Data: []Step{{Stage: "PLANTED"}}})
	for _, x := range clean.Exception { // code, not data
		for _, f := range x.Stacktrace.Frames {
			if f.Vars != nil || f.AbsPath != "" || f.PreContext != nil || f.ContextLine != "" {
				t.Errorf("a frame holds more than a place: %+v", f)
			}
		}
		x.Stacktrace.Frames = nil
	}
	clean.Contexts["runtime"]["name"] = "go" // the library's own
	text, err := json.Marshal(clean)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "PLANTED") {
		t.Errorf("%s", text)
	}
	if clean.ServerName != "" || !clean.User.IsEmpty() || len(clean.Breadcrumbs)+len(clean.Modules)+len(clean.Attachments)+len(clean.Threads) > 0 ||
		clean.Request.Env != nil || clean.Request.Cookies != "" || len(clean.Contexts) != 2 || len(clean.Tags) != len(tagKeys) {
		t.Errorf("%s", text)
	}
	if clean.Request.Headers["Accept"] != "token=[redacted]" || clean.Request.QueryString != "listed=token%3D%5Bredacted%5D" || clean.Request.Data != `{"listed":"token=[redacted]"}` {
		t.Errorf("%+v", clean.Request)
	}
}

func TestFields(t *testing.T) {
	for _, row := range []struct {
		text   string
		listed []string
		want   string
	}{
		{`{"a":1,"b":2}`, nil, ``},
		{`{"a":1,"b":2}`, []string{"a"}, `{"a":1}`},
		{`{"a":null,"b":true,"c":"<x>"}`, []string{"a", "b", "c"}, `{"a":null,"b":true,"c":"<x>"}`},
		{`{"a":123456789012345678901234567890.50}`, []string{"a"}, `{"a":123456789012345678901234567890.50}`},
		{`{"a":{"b":1,"c":2}}`, []string{"a"}, ``},
		{`{"a":{"b":1,"c":2}}`, []string{"a.b"}, `{"a":{"b":1}}`},
		{`{"a":[{"b":1},{"c":2},[{"b":3}],4]}`, []string{"a.b"}, `{"a":[{"b":1},[{"b":3}]]}`},
		{`{"a":["x",{"b":"y"}]}`, []string{"a"}, `{"a":["x"]}`},
		{`[{"a":1},{"b":2}]`, []string{"a"}, `[{"a":1}]`},
		{`{"a":{"b":1,"c":[2,{"d":3}]},"e":4}`, []string{"a.*"}, `{"a":{"b":1,"c":[2]}}`},
		{`{"a.b":1}`, []string{"a.b"}, `{"a.b":1}`},
		{`{"A":1}`, []string{"a"}, ``},
		{`"a"`, []string{"a"}, ``},
		{`a=1`, []string{"a"}, ``},
		{`{"a":1`, []string{"a"}, ``},
		{`{"a":"` + strings.Repeat("é", 200) + `"}`, []string{"a"}, `{"a":"` + strings.Repeat("é", 100) + `…"}`},
		{`{"a":"` + strings.Repeat("x", maxBody) + `"}`, []string{"a"}, ``},
	} {
		if got := (gate{hider: newHider(nil)}).fields(row.text, row.listed, nil); got != row.want {
			t.Errorf("%.80s, %v: %s, want %s", row.text, row.listed, got, row.want)
		}
	}
}

// Breadcrumbs are made of the reporter's own steps, redacted, the last ones; what is in the event is left out.
func TestBreadcrumbs(t *testing.T) {
	g := gate{newHider([]string{"known secret"}), new(atomic.Pointer[Allowlist])}
	g.allow.Store(&Allowlist{})
	e := sentry.NewEvent()
	e.Breadcrumbs = []*sentry.Breadcrumb{{Message: "PLANTED", Data: map[string]any{"url": "PLANTED"}}}
	if clean := g.pass(e, nil); len(clean.Breadcrumbs) != 0 {
		t.Errorf("%+v", clean.Breadcrumbs)
	}
	w := way{}
	for range maxSteps {
		w = append(w, Step{Stage: "journal", What: "received"})
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	w = append(w, Step{At: at, Stage: "ga4", What: "refused, token=PLANTED known secret", Status: 500, Number: 3})
	clean := g.pass(e, &sentry.EventHint{Data: w})
	if len(clean.Breadcrumbs) != maxSteps {
		t.Fatalf("%d breadcrumbs", len(clean.Breadcrumbs))
	}
	last := clean.Breadcrumbs[maxSteps-1]
	if last.Category != "ga4" || last.Message != "refused, token=[redacted] [redacted]" || last.Data["status_code"] != 500 || last.Data["attempt"] != 3 || !last.Timestamp.Equal(at) {
		t.Errorf("%+v", last)
	}
}

// A response that is no JSON is shown, redacted and cut, if the list says so.
func TestResponseText(t *testing.T) {
	g := gate{newHider(nil), new(atomic.Pointer[Allowlist])}
	data := func(a Allowlist, body string) any {
		g.allow.Store(&a)
		e := sentry.NewEvent()
		e.Contexts["response"] = sentry.Context{"status_code": 502, "data": body, "headers": map[string]string{"Retry-After": "3", "Set-Cookie": "PLANTED"}}
		clean := g.pass(e, nil)
		if headers := clean.Contexts["response"]["headers"].(map[string]string); len(headers) != len(a.Headers) {
			t.Errorf("%+v", headers)
		}
		return clean.Contexts["response"]["data"]
	}
	page := "<html>bad gateway, Bearer abcdefghi " + strings.Repeat("x", maxPage)
	if got := data(Allowlist{}, page); got != "" {
		t.Errorf("not listed: %v", got)
	}
	got, _ := data(Allowlist{ResponseText: true, Headers: []string{"retry-after"}}, page).(string)
	if !strings.HasPrefix(got, "<html>bad gateway, Bearer [redacted] x") || len(got) > maxPage+3 {
		t.Errorf("%q", got)
	}
	mask := func(text string) string { return strings.ReplaceAll(text, "gateway", "(mask)") }
	if got, _ := data(Allowlist{ResponseText: true, Mask: mask}, page).(string); !strings.HasPrefix(got, "<html>bad (mask), ") {
		t.Errorf("%q", got)
	}
	if got := data(Allowlist{Response: []string{"error"}, Mask: mask}, `{"error":["bad gateway"]}`); got != `{"error":["bad (mask)"]}` {
		t.Errorf("%v", got)
	}
	if got := data(Allowlist{ResponseText: true, Response: []string{"error"}}, `{"error":"no","echo":"PLANTED"}`); got != `{"error":"no"}` {
		t.Errorf("JSON: %v", got)
	}
}
