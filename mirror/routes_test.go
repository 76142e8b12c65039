package mirror

import (
	"bytes"
	"image/gif"
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestRoutes(t *testing.T) {
	r, err := newRoutes([]string{"POST /v1/events", "GET /a/*", "POST /a/b", "PUT /a/b/*", "DELETE /a/b/"})
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"/v1/events": "POST", "/v1/events/": "", "/v1": "", "/": "", "*": "", "/a": "", "/a/": "GET", "/a/x/y": "GET",
		"/a/b": "POST, GET", "/a/b/": "DELETE, GET, PUT", "/a/b/c": "PUT, GET", "/a/bc": "GET", "/A/x": "",
	} {
		got, events := "", false
		if n := r.find(path); n != nil {
			got, events = n.cors[0], n.events
			for _, method := range takable {
				if n.takes(method) != strings.Contains(", "+got+",", " "+method+",") {
					t.Errorf("%s %s is taken: %v", method, path, n.takes(method))
				}
			}
		}
		methods := func(text string) map[string]bool {
			all := map[string]bool{}
			for m := range strings.SplitSeq(text, ", ") {
				all[m] = true
			}
			return all
		}
		if len(methods(got)) != len(methods(want)) || events != (path == pathOfEvents) {
			t.Errorf("%s takes %q, want %q", path, got, want)
		}
		for m := range methods(want) {
			if !methods(got)[m] {
				t.Errorf("%s takes %q, want %q", path, got, want)
			}
		}
	}
	all, err := newRoutes([]string{"GET /*"})
	if err != nil || all.find("/") == nil || all.find("/x") == nil || all.find("/x").events {
		t.Errorf("everything: %+v, %v", all, err)
	}
	many := make([]string, maxRoutes+1)
	for i := range many {
		many[i] = "GET /" + strings.Repeat("x", i)
	}
	for _, bad := range [][]string{{}, many, {"GET"}, {"/a"}, {"get /a"}, {"OPTIONS /a"}, {"CONNECT /a"}, {"TRACE /a"}, {"GET  /a"}, {"GET a"}, {"GET /a*"},
		{"GET /a/*/b"}, {"GET /a?b"}, {"GET /a b"}, {"GET /" + strings.Repeat("a", maxRoutePath)}, {"GET /sparrow.js"}, {"GET,POST /a"}} {
		if _, err := newRoutes(bad); err == nil {
			t.Errorf("%.40q is taken", bad)
		}
	}
}

// What is not configured is refused, what is gets an answer that suits who asks, and browsers are told what they may send.
func TestConfiguredRequests(t *testing.T) {
	b := setUp(t, func(o *Options) {
		o.Intake.Origins = []string{"https://shop.example"}
		o.Intake.Requests = []string{"POST /v1/events", "GET /collect", "HEAD /collect", "PUT /collect"}
	})
	for _, row := range []struct {
		request, body string
		status        int
		kind, answer  string
	}{
		{"POST /v1/events", "{}", 200, "text/plain", "OK"},
		{"POST /v1/events", "", 400, "", ""},
		{"GET /v1/events", "", 405, "", ""},
		{"GET /collect?a=b", "", 200, "image/gif", string(pixel)},
		{"HEAD /collect", "", 200, "image/gif", ""},
		{"PUT /collect", "", 200, "text/plain", "OK"},
		{"POST /collect", "{}", 405, "", ""},
		{"GET /collect/", "", 404, "", ""},
		{"GET /", "", 404, "", ""},
	} {
		method, target, _ := strings.Cut(row.request, " ")
		r, err := http.NewRequest(method, b.clients+target, strings.NewReader(row.body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := b.http.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != row.status {
			t.Errorf("%s is answered %d, %v, want %d", row.request, resp.StatusCode, err, row.status)
			continue
		}
		if row.status == 200 && (string(answer) != row.answer || resp.Header.Get("Content-Type") != row.kind || resp.Header.Get("Sparrow-Request-Id") == "") {
			t.Errorf("%s is answered %q with %v", row.request, answer, resp.Header)
		}
		if row.kind == "image/gif" && resp.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s may be answered by a cache: %v", row.request, resp.Header)
		}
		if row.status == 405 && !strings.HasSuffix(resp.Header.Get("Allow"), ", OPTIONS") {
			t.Errorf("%s: allowed is %q", row.request, resp.Header.Get("Allow"))
		}
	}
	if _, err := gif.Decode(bytes.NewReader(pixel)); err != nil {
		t.Errorf("the pixel is no image: %v", err)
	}
	for path, want := range map[string]string{"/v1/events": "POST", "/collect": "GET, HEAD, PUT", "/other": ""} {
		r, err := http.NewRequest(http.MethodOptions, b.clients+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Origin", "https://shop.example")
		r.Header.Set("Access-Control-Request-Method", "PUT")
		resp, err := b.http.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if got := resp.Header.Get("Access-Control-Allow-Methods"); got != want {
			t.Errorf("preflight of %s: %q, want %q", path, got, want)
		}
	}
	e := b.settled()
	if n := e.Stacks["green"].Delivered; n != 4 {
		t.Errorf("%d requests were delivered, want 4", n)
	}
}

func TestBuildOf(t *testing.T) {
	for value, want := range map[string]string{
		"": "|", "  ": "|", "a1": "a1|", " a1  v 2 ": "a1|v 2", "a\x01": "|", "ä": "|", "a v\t1": "|",
		strings.Repeat("a", 129): "|", "a " + strings.Repeat("v", 129): "|", "sha256:ab/c+d=": "sha256:ab/c+d=|",
	} {
		if b := buildOf(value); b.ID+"|"+b.Version != want {
			t.Errorf("%q is build %+v, want %s", value, b, want)
		}
	}
	a, z := buildOf("a"), buildOf("z")
	for _, row := range []struct {
		all  []outcome
		want string
	}{
		{nil, ""}, {[]outcome{{build: a}, {build: a}}, "a"}, {[]outcome{{build: a}, {build: z}}, ""}, {[]outcome{{build: a}, {}}, ""},
		{[]outcome{{err: errUnsent}, {build: a}, {err: &busyError{}, build: z}}, "a"},
	} {
		if got := buildOfAll(row.all); got.ID != row.want {
			t.Errorf("%+v: %q, want %q", row.all, got.ID, row.want)
		}
	}
}
