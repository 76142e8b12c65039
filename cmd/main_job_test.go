package cmd

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The main job from end to end: send, compare, cut over, roll back, and look at each step.
func TestMainJob(t *testing.T) {
	r := startUp(t, t.TempDir())

	// Nothing is proven before there is something to prove it with.
	r.must("deploy", "candidate", "--reason", "first")
	if out, _, status := r.run("compare"); status != 3 || !strings.Contains(out, "INCONCLUSIVE") {
		t.Errorf("an empty window: status %d\n%s", status, out)
	}
	if _, errs, status := r.run("deploy", "cutover"); status != 1 || !strings.Contains(errs, "refused") {
		t.Errorf("a cutover without a verdict: status %d\n%s", status, errs)
	}

	r.must("send", "--generate", "1000", "--connections", "16", "--batch", "3")
	out := r.must("compare", "--wait", "1m")
	if !strings.Contains(out, "PASS") || !strings.Contains(out, "pageview") {
		t.Errorf("compare says:\n%s", out)
	}
	var report struct {
		ID      string `json:"id"`
		Verdict struct {
			Outcome string `json:"outcome"`
		} `json:"verdict"`
	}
	file := filepath.Join(t.TempDir(), "report.json")
	if out := r.must("compare", "--wait", "1m", "--format", "json", "--out", file); !strings.Contains(out, "PASS") {
		t.Errorf("with --out, the outcome is still told: %s", out)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &report); err != nil || report.Verdict.Outcome != "PASS" || report.ID == "" {
		t.Errorf("report %+v, %v", report, err)
	}
	for _, format := range []string{"junit", "markdown", "html"} {
		if out := r.must("compare", "--format", format); len(out) < 200 {
			t.Errorf("--format %s: %s", format, out)
		}
	}

	if out := r.must("deploy", "status"); !strings.Contains(out, "sparrow deploy cutover would make blue live") {
		t.Errorf("status before the cutover:\n%s", out)
	}
	r.must("deploy", "cutover", "--actor", "somebody@somewhere", "--reason", "it is better")
	r.must("send", "--generate", "100", "--seed", "2")
	r.stored(1100)
	split := func() string {
		return r.must("query", "--format", "csv", "SELECT stack, count(*) AS n FROM live.raw GROUP BY stack ORDER BY stack")
	}
	if got := split(); got != "stack,n\r\nblue,100\r\ngreen,1000\r\n" {
		t.Errorf("live after the cutover: %q", got)
	}

	// Back, and for the past frames too: only the view changes.
	first := strings.Fields(r.must("query", "--format", "csv", "SELECT min(frame) AS f FROM live.raw WHERE stack = 'blue'"))[1]
	r.must("deploy", "rollback", "--from", first, "--reason", "it was not")
	r.await("the view shows green for all", func() error {
		if got := split(); got != "stack,n\r\ngreen,1100\r\n" {
			return fmt.Errorf("%q", got)
		}
		return nil
	})
	r.stored(1100)

	history := r.must("deploy", "history")
	for _, want := range []string{"initial", "candidate", "cutover", "rollback", "somebody@somewhere", "it is better", "it was not", first} {
		if !strings.Contains(history, want) {
			t.Errorf("the history does not show %q:\n%s", want, history)
		}
	}
	var chain struct {
		Records []struct{ Hash string }
	}
	if err := json.Unmarshal([]byte(r.must("deploy", "history", "--json")), &chain); err != nil || len(chain.Records) != 4 {
		t.Errorf("%d records, %v", len(chain.Records), err)
	}
	if out := r.must("doctor"); strings.Contains(out, "FAIL") {
		t.Errorf("doctor:\n%s", out)
	}
}

// A side that cannot be read is status 4, whichever it is; a mistake is 2.
func TestCompareStatuses(t *testing.T) {
	r := startUp(t, t.TempDir())
	e := r.endpoints()
	for _, c := range []struct {
		args   []string
		status int
		says   string
	}{
		{[]string{"compare", "--window", "yesterday"}, 2, "--window"},
		{[]string{"compare", "--format", "pdf"}, 2, "--format"},
		{[]string{"compare", "--examples", "0"}, 2, "--examples"},
		{[]string{"compare", "--server", "http://127.0.0.1:1"}, 4, "mirror"},
		{[]string{"compare", "--data", t.TempDir()}, 4, "no Sparrow runs"},
		{[]string{"deploy", "status", "--server", e.Admin + "/nowhere"}, 1, "404"},
		{[]string{"deploy", "rollback"}, 1, "refused"},
		{[]string{"deploy", "cutover", "--force"}, 1, "--reason"},
		{[]string{"deploy"}, 2, "Available Commands"},
		{[]string{"deploy", "undo"}, 2, `"undo" is no subcommand of "sparrow deploy"`},
		{[]string{"deploy", "candidate", "--binary", "/nowhere/at/all"}, 1, "no such file"},
	} {
		if out, errs, status := r.run(c.args...); status != c.status || !strings.Contains(errs, c.says) {
			t.Errorf("sparrow %s: status %d, want %d with %q\n%s%s", strings.Join(c.args, " "), status, c.status, c.says, out, errs)
		}
	}
}
