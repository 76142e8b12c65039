package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// planted are texts that must stay on this machine: each kind of what the scrubber knows, as a client would send it.
var planted = []string{
	"jim.planted@example.com",                                          // e-mail
	"4111111111111111",                                                 // card
	"sk_live_4eC39HqLyjWDarjtT1zdp7dcPlanted",                          // key
	"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJwbGFudGVkIn0.c2lnbmF0dXJlcGxhbnQ", // JWT
	"hunter2planted",                                                   // after password=
	"203.0.113.77",                                                     // IP
}

// plantedEvent has the text in every place where an event can hold one.
func plantedEvent(text string) string {
	q, _ := json.Marshal("before " + said(text) + " after")
	whole, _ := json.Marshal(said(text))
	return fmt.Sprintf(`{"event":"pageview","deviceId":%[2]s,"userId":%[2]s,"properties":{"pathname":%[1]s,"title":%[1]s,`+
		`"url":"https://www.example.com/a/%[3]s?x=%[3]s&utm_source=%[3]s#%[3]s","referrer":"https://www.example.com/?y=%[3]s","note":%[1]s,"list":[%[1]s],"deep":{"key":%[1]s,%[2]s:"value"}}}`,
		q, whole, strings.NewReplacer(" ", "%20", "=", "%3D").Replace(said(text)))
}

// said is the text with what gives it away: nothing tells a password but the word before it.
func said(text string) string {
	if text == "hunter2planted" {
		return "password=" + text
	}
	return text
}

// Secrets and personal data in every field and header reach no vendor, no log, no metric, no report and no outcome; nor do
// the vendors' credentials, even where a vendor's answer repeats them.
func TestProofNothingPrivateLeaves(t *testing.T) {
	allowlist := write(t, "allowlist.yaml", `
sources: {dev: {keys: [dev], origins: [none]}}
events:
  pageview:
    properties: {pathname: string, title: string, url: url, referrer: url, note: string, list: strings, deep: object}
    trackers: {ga4: {omit: [list, deep]}, heap: {omit: [list, deep]}}
trackers:
  ga4: {context: [page, referrer, browser, os, device, language, country, ip]}
  heap: {context: [page, referrer, browser, os, device, language, country, ip]}
  amplitude: {ids: plain, context: [page, referrer, browser, os, device, language, country, ip]}
`)
	reports, dsn := sentry(t)
	s := up(t, "--config", settings(t, allowlist, allowlist, fmt.Sprintf("%stelemetry: {sentry_dsn: %q, sentry_headers: [Content-Type, Echoed]}\n", wholeSpeed, dsn)))
	s.must("deploy", "candidate")
	// What amplitude gets is refused with an answer that repeats the request whole, credential and all.
	// So does an outage of ga4, which lasts until it is reported.
	const refusals = "rules:\n- {name: echo, vendor: amplitude, fault: echo, status: 400}\n"
	s.scenario(refusals + "- {name: echo-ga4, vendor: ga4, path: /ga4/mp/collect, fault: echo, status: 500}\n")
	const allowed = "an allowlisted title"
	if _, code := s.post([]byte(`{"event":"pageview","deviceId":"a-device-of-somebody","properties":{"pathname":"/a","title":"` + allowed + `","unlisted":"an unlisted value"}}`)); code != 200 {
		t.Errorf("answered %d", code)
	}
	s.await("what the allowlist holds is in a report", time.Minute, func() error {
		found, err := reports.Search(context.Background(), allowed)
		if err == nil && found.Counts[allowed] == 0 {
			err = fmt.Errorf("not in %d reports", found.Requests)
		}
		return err
	})
	for _, text := range planted {
		for _, body := range []string{plantedEvent(text), "[" + plantedEvent(text) + `,{"event":` + fmt.Sprintf("%q", said(text)) + `,"deviceId":"d1"}]`, `{"event":"pageview","deviceId":"d1","properties":{"pathname":"/` + text} {
			if _, code := s.post([]byte(body), "User-Agent", "Mozilla/5.0 "+text, "Referer", "https://www.example.com/?q="+text, "Accept-Language", text, "Cookie", "session="+text, "Authorization", "Bearer "+text, "X-Forwarded-For", text); code != 200 {
				t.Errorf("answered %d", code)
			}
		}
	}
	s.await("ga4's outage is reported", time.Minute, func() error {
		found, err := reports.Search(context.Background(), "tracker ga4: status 500")
		if err == nil && found.Counts["tracker ga4: status 500"] == 0 {
			err = fmt.Errorf("not in %d reports", found.Requests)
		}
		return err
	})
	s.scenario(refusals)
	s.final(2*time.Minute, "raw", "trace", "ga4", "heap", "amplitude")
	if n := s.number(`SELECT count(*) FROM live.outcomes WHERE stage = 'heap' AND outcome = 'delivered'`); n != 2*len(planted)+1 {
		t.Errorf("heap got %d events, want %d: nothing was proven", n, 2*len(planted)+1)
	}
	if n := s.number(`SELECT count(*) FROM live.outcomes WHERE stage = 'amplitude' AND outcome = 'dead'`); n == 0 {
		t.Error("amplitude refused nothing, so no answer repeated anything")
	}
	if n := s.number(fmt.Sprintf(`SELECT count(*) FROM live.raw WHERE contains(data, '%s')`, planted[0])); n == 0 {
		t.Error("raw does not hold what was sent: nothing was proven")
	}

	// At the vendors.
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	found, err := s.sandbox().Search(ctx, planted...)
	if err != nil || !found.Complete || found.Requests == 0 {
		t.Fatalf("%+v, %v", found, err)
	}
	for _, h := range found.Hits {
		t.Errorf("%q reached %s %s: request %d, %s", h.Text, h.Vendor, h.Project, h.Seq, h.Where)
	}
	if found, err := s.sandbox().Search(ctx, "(email"); err != nil || found.Counts["(email"] == 0 {
		t.Errorf("no replacement arrived either: nothing was proven: %+v, %v", found, err)
	}

	// Everywhere else on this machine but raw, the journal and the sandbox's own record. The vendors' credentials too.
	secrets := append([]string{"sandbox-production", "sandbox-staging"}, planted...)
	look := func(what string, data []byte) {
		t.Helper()
		for _, text := range secrets {
			if bytes.Contains(data, []byte(text)) {
				t.Errorf("%s holds %q", what, text)
			}
		}
	}
	s.must("compare", "--wait", "1m")
	for _, format := range []string{"text", "json", "junit", "markdown", "html"} {
		out, _ := s.run("compare", "--format", format)
		look("compare --format "+format, []byte(out))
	}
	look("trace status", []byte(s.must("trace", "status", "--json")))
	look("doctor", []byte(s.must("doctor", "--older", "1ms", "--json")))
	look("dead list", []byte(s.must("dead", "list", "--json")))
	for line := range strings.Lines(s.must("dead", "list")) {
		if name, _, _ := strings.Cut(line, " "); strings.Count(name, "/") == 2 {
			look("dead show "+name, []byte(s.must("dead", "show", name, "--json")))
		}
	}
	for _, table := range []string{"green.outcomes_log", "blue.outcomes_log"} {
		look(table, []byte(s.must("query", "--format", "json", "--limit", "100000", "SELECT * EXCLUDE (sent, answer), decode(sent) AS sent, decode(answer) AS answer FROM "+table)))
	}
	for _, p := range s.ends.Processes {
		resp, err := http.Get(p.URL + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || !bytes.Contains(text, []byte("sparrow_")) {
			t.Errorf("metrics of %s: %d bytes, %v", p.Name, len(text), err)
		}
		look("metrics of "+p.Name, text)
	}
	for _, name := range []string{"secret", "token", "key"} {
		text, err := os.ReadFile(filepath.Join(s.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		secrets = append(secrets, strings.TrimSpace(string(text)))
	}
	files := 0
	s.stop()

	// In the reports. They are out when a process has stopped. Each failure is there, with what is listed of payload and
	// answer, the way of the event, and where in the code it was.
	ctx, cancel = context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	must := []string{"tracker amplitude: status 400", "tracker ga4: status 500", "status_code", allowed, `"breadcrumbs":[{"type":"default","category":"journal","message":"received"`, "given to the tracker", `"attempt":1`,
		`"headers":{"Content-Type":"application/json"}`, `"stacktrace":{"frames":`, "(*call).report"}
	secrets = append(secrets, "an unlisted value")
	never := append([]string{"a-device-of-somebody"}, secrets...) // amplitude is told who it is, and says so in its answer
	found, err = reports.Search(ctx, append(must, never...)...)
	if err != nil || !found.Complete || found.Requests == 0 {
		t.Fatalf("reports: %+v, %v", found, err)
	}
	for _, text := range must {
		if found.Counts[text] == 0 {
			t.Errorf("no report says %q: nothing was proven", text)
		}
	}
	for _, text := range never {
		if n := found.Counts[text]; n > 0 {
			t.Errorf("%d of %d reports hold %q", n, found.Requests, text)
		}
	}
	counts, err := reports.Vendors(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range counts {
		if c.Vendor != "sentry" && c.Deliveries+c.WithoutID > 0 || len(c.Refused) > 0 {
			t.Errorf("what came is no report: %+v", c)
		}
	}
	t.Logf("%d reports were searched", found.Requests)
	for _, folder := range []string{"logs", "trace"} {
		err := filepath.WalkDir(filepath.Join(s.dir, folder), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			data, err := os.ReadFile(path)
			files++
			look(strings.TrimPrefix(path, s.dir), data)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if files < 9 {
		t.Errorf("only %d files were looked at", files)
	}
}
