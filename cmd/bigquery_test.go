package cmd

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sparrowhq/sparrow/warehouse/bigquery/fake"
)

// Events go through mirror and dispatchers into BigQuery, a fake one, and through a warehouse process that is killed in the
// middle; every one of them is there once, for either stack, and can be asked for.
func TestBigQueryByHand(t *testing.T) {
	google, err := fake.Start(fake.Options{Project: "my-project", Hidden: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer google.Close()
	bin := build(t, "./sparrow")
	dir := t.TempDir()
	a := reserved(t, 8)
	settings := filepath.Join(dir, "sparrow.yaml")
	if err := os.WriteFile(settings, fmt.Appendf(nil, `
data: %s
clients: {listen: %q}
admin: {listen: %q}
stacks:
  green: {url: "http://%s", trace: {url: "http://%s"}}
  blue: {url: "http://%s", trace: {url: "http://%s"}}
warehouse: {url: "http://%s", engine: bigquery}
sandbox: {url: "http://%s"}
bigquery: {project: my-project, endpoint: %q, grpc: %q}
`, filepath.Join(dir, "data"), a[0], a[1], a[2], a[5], a[3], a[6], a[4], a[7], google.REST(), google.GRPC()), 0o600); err != nil {
		t.Fatal(err)
	}
	r := &running{t: t, bin: bin}
	environ := []string{
		"SPARROW_CONFIG=" + settings, "SPARROW_SERVER=http://" + a[1], "SPARROW_TOKEN_FILE=" + filepath.Join(dir, "data", "token"),
		"SPARROW_SECRET_FILE=" + filepath.Join(dir, "data", "secret"),
	}
	run := func(args ...string) (string, error) {
		c := exec.Command(bin, args...)
		c.Env, c.Dir = append(os.Environ(), environ...), dir
		out, err := c.CombinedOutput()
		return string(out), err
	}
	if out, err := run("warehouse", "init", "--dry-run"); err != nil || !strings.Contains(out, "CREATE TABLE IF NOT EXISTS `my-project`.`green`.`raw_log`") || !strings.Contains(out, "PARTITION BY DATE(`timestamp`)") {
		t.Fatalf("dry run: %v\n%s", err, out)
	}
	if n := google.Calls("jobs.insert"); n != 0 {
		t.Fatalf("a dry run made %d jobs", n)
	}
	for range 2 {
		if out, err := run("warehouse", "init"); err != nil {
			t.Fatalf("init: %v\n%s", err, out)
		}
	}
	spawn := func(args ...string) *exec.Cmd {
		t.Helper()
		c := exec.Command(bin, append(args, "--config", settings)...)
		out := new(bytes.Buffer)
		c.Stdout, c.Stderr = out, out
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if c.ProcessState == nil {
				c.Process.Kill()
				c.Wait()
			}
			if t.Failed() {
				t.Logf("%v said:\n%s", c.Args, out)
			}
		})
		return c
	}
	warehouse := spawn("warehouse")
	for _, args := range [][]string{{"sandbox"}, {"trace", "--stack", "green"}, {"trace", "--stack", "blue"}, {"dispatcher", "--stack", "green"}, {"dispatcher", "--stack", "blue"}, {"mirror"}} {
		spawn(args...)
	}
	r.await("doctor finds nothing wrong", func() error {
		out, err := run("doctor")
		if err != nil {
			return fmt.Errorf("%w\n%s", err, out)
		}
		return nil
	})
	const each = 40
	for range 3 {
		if out, err := run("send", "--url", "http://"+a[0], "--generate", fmt.Sprint(each)); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		warehouse.Process.Kill()
		warehouse.Wait()
		warehouse = spawn("warehouse")
	}
	const sql = "SELECT v.name, COUNT(*) AS n, COUNT(DISTINCT v.eventId) AS events FROM (" +
		"SELECT 'green' AS name, eventId FROM green.raw UNION ALL SELECT 'blue', eventId FROM blue.raw UNION ALL SELECT 'live', eventId FROM live.raw UNION ALL SELECT 'staging', eventId FROM staging.raw" +
		") AS v GROUP BY v.name ORDER BY v.name"
	want := ""
	for _, name := range []string{"blue", "green", "live", "staging"} {
		want += fmt.Sprintf("%s,%d,%d\n", name, 3*each, 3*each)
	}
	r.await("every event is in every view once", func() error {
		out, err := run("query", "--format", "csv", sql)
		if err != nil || !strings.HasSuffix(strings.ReplaceAll(out, "\r", ""), want) {
			return fmt.Errorf("%v\n%s\nwant\n%s", err, out, want)
		}
		return nil
	})
	if out, err := run("trace", "learn", "--out", filepath.Join(dir, "learnt.yaml")); err != nil {
		t.Errorf("learn: %v\n%s", err, out)
	}
	if out, err := run("query", "DROP TABLE green.raw_log"); err == nil || !strings.Contains(out, "SELECT") {
		t.Errorf("a query that writes: %v\n%s", err, out)
	}
	for _, c := range []struct{ format, want string }{{"csv", "stack,build,n\r\n"}, {"json", `"stack":"blue"`}, {"table", "blue"}} {
		if out, err := run("query", "--saved", "builds", "--format", c.format); err != nil || !strings.Contains(out, c.want) {
			t.Errorf("a saved query as %s: %v\n%s", c.format, err, out)
		}
	}
	if out, err := run("query", "--saved", "underreports", "--show"); err != nil || !strings.Contains(out, "COUNTIF") {
		t.Errorf("shown: %v\n%s", err, out)
	}
	if out, err := run("warehouse", "export", "--day", "2026-03-09", "--out", dir); err == nil || !strings.Contains(out, "EXPORT DATA") {
		t.Errorf("export: %v\n%s", err, out)
	}
	input := filepath.Join(dir, "events.ndjson")
	if err := os.WriteFile(input, []byte(`{"event":"order","deviceId":"ann-1","userId":"ann@mail.example"}`+"\n"+`{"event":"order","deviceId":"bob"}`+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := run("send", "--url", "http://"+a[0], "--input", input); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	count := func(sql, want string) {
		t.Helper()
		r.await(sql+" answers "+want, func() error {
			if out, err := run("query", "--format", "csv", sql); err != nil || !strings.HasSuffix(strings.TrimSpace(out), "\n"+want) {
				return fmt.Errorf("%v\n%s", err, out)
			}
			return nil
		})
	}
	for _, dataset := range []string{"live", "staging"} {
		count("SELECT COUNT(*) AS n FROM "+dataset+".raw", fmt.Sprint(3*each+2))
	}
	if out, err := run("compare", "--wait", "1m"); err != nil { // all outcomes are there then
		t.Errorf("compare: %v\n%s", err, out)
	}
	id := filepath.Join(dir, "id.txt")
	if err := os.WriteFile(id, []byte("ann@mail.example\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := run("erase", "--user", "@"+id, "--by", "ticket 4711"); err != nil || !strings.Contains(out, "events: 1") || !strings.Contains(out, "time travel") {
		t.Errorf("erase: %v\n%s", err, out)
	}
	count("SELECT COUNT(*) AS n FROM live.raw", fmt.Sprint(3*each+1))
	count("SELECT COUNT(*) AS n FROM green.raw", fmt.Sprint(3*each+2))
	count("SELECT COUNT(*) AS n FROM green.raw_log AS x WHERE STRPOS(TO_JSON_STRING(x), 'ann@mail') > 0", "0")
	count("SELECT events FROM erasures", "1")
	for _, args := range [][]string{{"compare", "--wait", "1m"}, {"compare", "--wait", "1m", "--exact"}} {
		if out, err := run(args...); err != nil {
			t.Errorf("%v over tombstones: %v\n%s", args, err, out)
		}
	}
	warehouse.Process.Signal(syscall.SIGTERM)
	if err := warehouse.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
}
