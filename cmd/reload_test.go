package cmd

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sparrowhq/sparrow/event"
)

const allowsPageviews = `
sources: {dev: {keys: [dev], origins: [none]}}
events: {pageview: {properties: {pathname: {type: url, max: 100}}}}
trackers: {ga4: {}, heap: {}}
`

// A pipeline file is part of the stack's build: it is loaded when somebody says so, into the candidate without a restart,
// and into the live stack only by force, on record.
func TestPipelineReload(t *testing.T) {
	dir, folder := t.TempDir(), t.TempDir()
	file := filepath.Join(folder, "allowlist.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(allowsPageviews)
	settings := filepath.Join(folder, "sparrow.yaml")
	if err := os.WriteFile(settings, fmt.Appendf(nil, "stacks:\n  green: {trace: {pipeline: %q}}\n  blue: {trace: {pipeline: %q}}\n", file, file), 0o600); err != nil {
		t.Fatal(err)
	}
	r := startUp(t, dir, "--config", settings)
	builds := r.stackBuilds()
	if builds[event.Green] == "" || builds[event.Green] != builds[event.Blue] {
		t.Fatalf("one binary and one file are one build: %v", builds)
	}
	before := r.endpoints()

	// What is wrong is refused, and everything is as it was.
	write(allowsPageviews + "frobnicate: 1\n")
	if _, errs, status := r.run("trace", "reload"); status != 1 || !strings.Contains(errs, "frobnicate") {
		t.Errorf("a file that is wrong: status %d, %s", status, errs)
	}
	write(allowsPageviews)
	if out := r.must("trace", "reload"); !strings.Contains(out, "blue had this pipeline already") {
		t.Errorf("%s", out)
	}

	// The candidate: another build, the same processes, and what it now lets pass goes out.
	write(strings.Replace(allowsPageviews, "events: {", "events: {click: {}, ", 1))
	if out := r.must("trace", "reload"); !strings.Contains(out, "blue goes on with "+file) {
		t.Errorf("%s", out)
	}
	changed := r.stackBuilds()
	if changed[event.Green] != builds[event.Green] || changed[event.Blue] == builds[event.Blue] {
		t.Errorf("builds were %v, and are %v", builds, changed)
	}
	if diff := cmp.Diff(before, r.endpoints()); diff != "" {
		t.Errorf("a process was started again:\n%s", diff)
	}
	r.must("deploy", "candidate")
	body := filepath.Join(folder, "click.ndjson")
	if err := os.WriteFile(body, []byte(`{"event":"click","deviceId":"d1","properties":{}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	r.must("send", "--input", body)
	r.await("blue sends the click, green rejects it, by the builds they are", func() error {
		out := r.must("query", "--format", "csv", "SELECT (SELECT min(outcome || ' ' || build) FROM green.outcomes WHERE stage = 'trace') AS g, (SELECT min(outcome || ' ' || build) FROM blue.outcomes WHERE stage = 'heap') AS b")
		if want := "rejected " + changed[event.Green] + ",delivered " + changed[event.Blue] + "\r\n"; !strings.HasSuffix(out, want) {
			return fmt.Errorf("%q, want %q", out, want)
		}
		return nil
	})
	if out, _, status := r.run("compare", "--wait", "30s"); status != 1 || !strings.Contains(out, "trace") {
		t.Errorf("compare of the two: status %d\n%s", status, out)
	}

	// The live stack.
	if _, errs, status := r.run("trace", "reload", "--stack", "green"); status != 1 || !strings.Contains(errs, "is live") {
		t.Errorf("the live stack: status %d, %s", status, errs)
	}
	if _, errs, status := r.run("trace", "reload", "--stack", "green", "--force"); status != 2 || !strings.Contains(errs, "--reason") {
		t.Errorf("force without a reason: status %d, %s", status, errs)
	}
	r.must("trace", "reload", "--stack", "green", "--force", "--reason", "the house burns")
	if out := r.must("deploy", "history"); !strings.Contains(out, "candidate (FORCED)") || !strings.Contains(out, "the house burns") {
		t.Errorf("the history hides it:\n%s", out)
	}
	if out := r.must("deploy", "status"); !strings.Contains(out, "FORCED") || !strings.Contains(out, "to the sandbox") {
		t.Errorf("%s", out)
	}
	forced := r.stackBuilds()
	if forced[event.Green] != changed[event.Blue] {
		t.Errorf("green is %s, want what blue is: %v", forced[event.Green], changed)
	}

	// Other trackers take a new process, which is the stack's own business.
	write(strings.Replace(allowsPageviews, "heap: {}", "amplitude: {}", 1))
	r.must("trace", "reload")
	if out := r.must("trace", "status"); !strings.Contains(out, "blue   amplitude") || strings.Contains(out, "blue   heap") || !strings.Contains(out, "green  heap") {
		t.Errorf("%s", out)
	}
	last := r.stackBuilds()

	// An edited file changes nothing by itself, not even at the next start.
	write(allowsPageviews)
	if status := r.end(syscall.SIGTERM); status != 0 {
		t.Errorf("exit status %d", status)
	}
	os.Remove(endpointsFile(dir))
	again := startUp(t, dir, "--config", settings)
	if diff := cmp.Diff(last, again.stackBuilds()); diff != "" {
		t.Errorf("another build after a restart:\n%s", diff)
	}
	again.end(syscall.SIGTERM)
	if !strings.Contains(again.out.String(), file+" has changed since") {
		t.Errorf("up does not say that the file has changed:\n%s", again.out)
	}
}
