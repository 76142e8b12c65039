package telemetry

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

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

	g := gate{newHider(nil), Allowlist{Headers: []string{"accept"}, Query: []string{"listed"}, Body: []string{"listed"}, Response: []string{"listed"}}}
	clean := g.pass(e, nil)
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
		{`{"a.b":1}`, []string{"a.b"}, `{"a.b":1}`},
		{`{"A":1}`, []string{"a"}, ``},
		{`"a"`, []string{"a"}, ``},
		{`a=1`, []string{"a"}, ``},
		{`{"a":1`, []string{"a"}, ``},
		{`{"a":"` + strings.Repeat("é", 200) + `"}`, []string{"a"}, `{"a":"` + strings.Repeat("é", 100) + `…"}`},
		{`{"a":"` + strings.Repeat("x", maxBody) + `"}`, []string{"a"}, ``},
	} {
		if got := (gate{hider: newHider(nil)}).fields(row.text, row.listed); got != row.want {
			t.Errorf("%.80s, %v: %s, want %s", row.text, row.listed, got, row.want)
		}
	}
}
