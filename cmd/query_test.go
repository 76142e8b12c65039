package cmd

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// ask runs sparrow query in this process against a Sparrow that runs.
func askQuery(ctx context.Context, dir string, stdout io.Writer, environ []string, args ...string) (status int, stderr string) {
	var said bytes.Buffer
	status = Run(ctx, Options{Args: append([]string{"query", "--data", dir}, args...), Environ: environ, Stdout: stdout, Stderr: &said, Stdin: strings.NewReader("")})
	return status, said.String()
}

// TestQueryHasNoWayOut asks a warehouse process that runs, and appends meanwhile, for everything but an answer from its
// tables. Each attempt is refused, or bounded, with an error that says what to do instead; nothing changes, every event
// that was acknowledged meanwhile is stored once, and the process goes on.
func TestQueryHasNoWayOut(t *testing.T) {
	config := filepath.Join(t.TempDir(), "sparrow.yaml")
	if err := os.WriteFile(config, []byte("warehouse:\n  memory: 128MiB\n  spill: 64MiB\n  queries:\n    max_wait: 500ms\n    limit: 1000\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := startUp(t, t.TempDir(), "--config", config)
	outside := t.TempDir()
	secret := filepath.Join(outside, "secret.csv")
	if err := os.WriteFile(secret, []byte("a,b\nplanted-secret,1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	r.await("the warehouse", func() error {
		out.Reset()
		if status, said := askQuery(t.Context(), r.dir, &out, nil, "--format", "csv", "SELECT count(*) AS n FROM timeline"); status != 0 {
			return fmt.Errorf("%s", said)
		}
		if out.String() != "n\r\n1\r\n" {
			return fmt.Errorf("%q", out.String())
		}
		return nil
	})
	pid := r.pid(warehouseName)
	done := r.sendOn()
	at := func(text string) string {
		return strings.NewReplacer("@FILE", secret, "OUT", outside+"/out", "OWN", filepath.Join(r.dir, "warehouse", "sparrow.duckdb")).Replace(text)
	}
	for _, c := range attempts {
		for _, attempt := range c.attempts {
			out.Reset()
			began := time.Now()
			status, said := askQuery(t.Context(), r.dir, &out, nil, "--format", "csv", "--", at(attempt))
			for again := 0; again < 20 && strings.Contains(said, "other queries hold all"); again++ { // those before, that are slow to stop
				status, said = askQuery(t.Context(), r.dir, &out, nil, "--format", "csv", "--", at(attempt))
			}
			reopened := c.advice == bounded && strings.Contains(said, "being opened again") // an append found no memory meanwhile, and went on
			if status != exitError || !strings.Contains(said, c.advice) && !reopened {
				t.Errorf("%s: status %d, %q; want %q", attempt, status, said, c.advice)
			}
			if strings.Contains(out.String()+said, "planted-secret") {
				t.Errorf("%s: it read the file", attempt)
			}
			if took := time.Since(began); took > time.Minute {
				t.Errorf("%s: took %v", attempt, took)
			}
		}
	}
	sent := done()
	r.stored(sent)
	if sent == 0 {
		t.Error("nothing was sent meanwhile")
	}
	if files, err := os.ReadDir(outside); err != nil || len(files) != 1 {
		t.Errorf("files outside: %v, %v", files, err)
	}
	out.Reset()
	if status, said := askQuery(t.Context(), r.dir, &out, nil, "--format", "csv", "SELECT (SELECT count(*) FROM timeline) AS records, count(*) FILTER (table_name IN ('x', 'm', 'p', 'v', 's')) AS made FROM duckdb_tables()"); status != 0 || out.String() != "records,made\r\n1,0\r\n" {
		t.Errorf("afterwards: %d, %s, %q", status, said, out.String())
	}
	if now := r.pid(warehouseName); now != pid {
		t.Errorf("the warehouse process ended: it was %d, now %d", pid, now)
	}

	// On a terminal a long answer goes to the pager, a short one and one that is piped do not.
	master, slave := openPTY(t)
	var seen watched
	go io.Copy(&seen, master) // ends when the terminal is closed
	paged := filepath.Join(outside, "paged")
	environ := []string{"PATH=" + os.Getenv("PATH"), "TERM=xterm", "PAGER=cat > " + paged}
	for _, s := range []struct {
		sql   string
		to    io.Writer
		args  []string
		pager bool
	}{
		{"SELECT 4711 AS n FROM range(100)", slave, nil, true},
		{"SELECT 4711 AS n", slave, nil, false},
		{"SELECT 4711 AS n, repeat('x', 50) AS a, repeat('y', 50) AS b, repeat('z', 50) AS c", slave, nil, true},
		{"SELECT 4711 AS n FROM range(100)", slave, []string{"--no-pager"}, false},
		{"SELECT 4711 AS n FROM range(100)", slave, []string{"--format", "csv"}, false},
		{"SELECT 4711 AS n FROM range(100)", &out, nil, false},
	} {
		os.Remove(paged)
		status, said := askQuery(t.Context(), r.dir, s.to, environ, append(s.args, s.sql)...)
		text, err := os.ReadFile(paged)
		if status != 0 || (err == nil) != s.pager || s.pager && !strings.Contains(string(text), "4711") {
			t.Errorf("%s %v: status %d, %s; paged %v: %.50q", s.sql, s.args, status, said, err == nil, text)
		}
	}
	if status, said := askQuery(t.Context(), r.dir, slave, []string{"TERM=xterm", "PAGER=/nonexistent"}, "SELECT 4711 FROM range(100)"); status != 0 || !strings.Contains(said, "does not run: set PAGER, or use --no-pager") {
		t.Errorf("a pager that does not run: %d, %s", status, said)
	}
	for _, s := range []struct {
		want string
		args []string
	}{
		{"event", []string{"--saved", "counts", "--format", "csv"}},
		{"CAST('2 hours' AS INTERVAL)", []string{"--saved", "underreports", "--show", "--arg", "since=2 hours"}},
		{"drop-by-release", []string{"--list"}},
	} {
		out.Reset()
		if status, said := askQuery(t.Context(), r.dir, &out, nil, s.args...); status != 0 || !strings.Contains(out.String(), s.want) {
			t.Errorf("%v: %d, %s, %q", s.args, status, said, out.String())
		}
	}
}
