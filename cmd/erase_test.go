package cmd

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestErase erases a person from what both stacks of a running Sparrow hold. Nobody can find them afterwards, everybody else
// is still there, and the two stacks still compare as equal.
func TestErase(t *testing.T) {
	r := startUp(t, t.TempDir())
	r.must("deploy", "candidate")
	const others, mine = 180, 20
	var lines bytes.Buffer
	for n := range others + mine {
		user := fmt.Sprintf("user-%d", n)
		if n%10 == 3 {
			user = "anna@mail.example"
		}
		fmt.Fprintf(&lines, `{"event":"pageview","deviceId":"d-%d","userId":%q,"properties":{"pathname":"/of/%s"}}`+"\n", n, user, user)
	}
	input := filepath.Join(t.TempDir(), "events.ndjson")
	if err := os.WriteFile(input, lines.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	r.must("send", "--input", input, "--batch", "7")
	r.stored(others + mine)
	r.await("outcomes of every stage", func() error {
		if out := r.must("query", "--format", "csv", "SELECT count(*) AS n FROM (SELECT DISTINCT stage FROM green.outcomes UNION ALL SELECT DISTINCT stage FROM blue.outcomes)"); out != "n\r\n8\r\n" {
			return fmt.Errorf("%q", out)
		}
		return nil
	})
	r.must("compare", "--wait", "1m") // closes the window: all outcomes are there

	erase := func(id string, args ...string) (int, string, string) {
		var out, errs bytes.Buffer
		status := Run(t.Context(), Options{Args: append([]string{"erase", "--data", r.dir}, args...), Stdin: strings.NewReader(id + "\n"), Stdout: &out, Stderr: &errs})
		return status, out.String(), errs.String()
	}
	for _, args := range [][]string{{}, {"--user", "-", "--device", "x"}, {"--user", ""}} {
		if status, _, errs := erase("anna@mail.example", args...); status != 2 {
			t.Errorf("erase %q: status %d, %s", args, status, errs)
		}
	}
	status, out, errs := erase("anna@mail.example", "--user", "-", "--by", "ticket 4711")
	if status != 0 || !strings.Contains(out, fmt.Sprintf("events: %d\n", mine)) || strings.Contains(out+errs, "anna") {
		t.Fatalf("erase: status %d\n%s%s", status, out, errs)
	}
	if status, out, errs := erase("anna@mail.example", "--user", "-"); status != 0 || !strings.Contains(out, "events: 0\n") || !strings.Contains(out, "no event under this id") {
		t.Errorf("erase again: status %d\n%s%s", status, out, errs)
	}
	for _, c := range []struct {
		sql  string
		want int
	}{
		{"SELECT count(*) AS n FROM live.raw", others},
		{"SELECT count(*) AS n FROM staging.raw", others},
		{"SELECT count(*) AS n FROM live.raw_normalized", others},
		{"SELECT count(*) AS n FROM green.raw WHERE contains(coalesce(data, '') || context || coalesce(event, ''), 'anna')", 0},
		{"SELECT count(*) AS n FROM blue.raw WHERE contains(coalesce(data, '') || context || coalesce(event, ''), 'anna')", 0},
		{"SELECT count(*) AS n FROM green.raw", others + mine},
		{"SELECT count(*) AS n FROM green.outcomes_log o WHERE contains(o::VARCHAR, 'anna')", 0},
		{"SELECT count(*) AS n FROM erasures e WHERE contains(e::VARCHAR, 'ticket 4711') AND NOT contains(e::VARCHAR, 'anna')", 1},
	} {
		if out := r.must("query", "--format", "csv", c.sql); out != fmt.Sprintf("n\r\n%d\r\n", c.want) {
			t.Errorf("%s: %q, want %d", c.sql, out, c.want)
		}
	}
	if out, errs, status := r.run("compare", "--wait", "1m"); status != 0 {
		t.Errorf("compare over tombstones: status %d\n%s%s", status, out, errs)
	}
	if out, errs, status := r.run("compare", "--wait", "1m", "--exact"); status != 0 {
		t.Errorf("compare of every row over tombstones: status %d\n%s%s", status, out, errs)
	}
	r.must("send", "--generate", "50")
	r.stored(others + 50)
	for _, log := range glob(filepath.Join(r.dir, "logs", "*.log")) {
		if data, err := os.ReadFile(log); err != nil || bytes.Contains(data, []byte("anna")) {
			t.Errorf("%s names the person (%v)", log, err)
		}
	}
}
