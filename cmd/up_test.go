package cmd

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sparrowhq/sparrow/deploy"
	"github.com/sparrowhq/sparrow/event"
)

// built is the real program, and candidates, built once per test run.
var built struct {
	sync.Mutex
	dir   string
	paths map[string]string
}

func build(t *testing.T, pkg string) string {
	t.Helper()
	built.Lock()
	defer built.Unlock()
	if path, ok := built.paths[pkg]; ok {
		return path
	}
	if built.dir == "" {
		dir, err := os.MkdirTemp("", "sparrow-cmd-test-")
		if err != nil {
			t.Fatal(err)
		}
		built.dir, built.paths = dir, map[string]string{}
	}
	path := filepath.Join(built.dir, filepath.Base(pkg))
	if out, err := exec.Command("go", "build", "-ldflags", "-s -w", "-o", path, pkg).CombinedOutput(); err != nil {
		t.Fatalf("go build %s: %v\n%s", pkg, err, out)
	}
	built.paths[pkg] = path
	return path
}

// running is one `sparrow up`.
type running struct {
	t   *testing.T
	bin string
	dir string
	cmd *exec.Cmd
	out *bytes.Buffer // of up; read it once up has ended
}

func startUp(t *testing.T, dir string, args ...string) *running {
	t.Helper()
	r := &running{t: t, bin: build(t, "./sparrow"), dir: dir, out: new(bytes.Buffer)}
	r.cmd = exec.Command(r.bin, append([]string{"up", "--data", dir, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"}, args...)...)
	r.cmd.Stdout, r.cmd.Stderr = r.out, r.out
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.end(syscall.SIGTERM)
		if t.Failed() {
			t.Logf("sparrow up said:\n%s", r.out)
			for _, log := range glob(filepath.Join(dir, "logs", "*.log")) {
				data, _ := os.ReadFile(log)
				t.Logf("%s ends:\n%s", filepath.Base(log), data[max(0, len(data)-3000):])
			}
		}
	})
	r.await("endpoints.json", func() error {
		_, err := readEndpoints(dir)
		return err
	})
	return r
}

func glob(pattern string) []string {
	files, _ := filepath.Glob(pattern)
	return files
}

// end signals up and waits for it; it returns the exit status.
func (r *running) end(s syscall.Signal) int {
	if r.cmd.ProcessState == nil {
		r.cmd.Process.Signal(s)
		timer := time.AfterFunc(2*time.Minute, func() { r.cmd.Process.Kill() })
		defer timer.Stop()
		r.cmd.Wait()
	}
	return r.cmd.ProcessState.ExitCode()
}

func (r *running) await(what string, check func() error) {
	r.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(20 * time.Millisecond) // other processes: there is nothing to be told by
	}
}

func (r *running) endpoints() endpoints {
	r.t.Helper()
	e, err := readEndpoints(r.dir)
	if err != nil {
		r.t.Fatal(err)
	}
	return e
}

func (r *running) pid(name string) int {
	r.t.Helper()
	for _, p := range r.endpoints().Processes {
		if p.Name == name {
			return p.PID
		}
	}
	r.t.Fatalf("endpoints.json has no process %s", name)
	return 0
}

// run runs a subcommand against this Sparrow.
func (r *running) run(args ...string) (stdout, stderr string, status int) {
	r.t.Helper()
	cmd := exec.CommandContext(r.t.Context(), r.bin, args...)
	cmd.Env = append(os.Environ(), "SPARROW_DATA="+r.dir)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		r.t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func (r *running) must(args ...string) string {
	r.t.Helper()
	out, errs, status := r.run(args...)
	if status != 0 {
		r.t.Fatalf("sparrow %s: exit status %d\n%s%s", strings.Join(args, " "), status, out, errs)
	}
	return out
}

// stored waits until both datasets hold n events.
func (r *running) stored(n int) {
	r.t.Helper()
	r.await(fmt.Sprintf("%d events in live and staging", n), func() error {
		out, errs, status := r.run("query", "--format", "csv", "SELECT (SELECT count(*) FROM live.raw) AS l, (SELECT count(*) FROM staging.raw) AS s")
		if want := fmt.Sprintf("l,s\r\n%d,%d\r\n", n, n); out != want {
			return fmt.Errorf("status %d: %q, want %q; %s", status, out, want, errs)
		}
		return nil
	})
}

func TestUp(t *testing.T) {
	dir := t.TempDir() // open to others, as temporary folders are: up closes it
	r := startUp(t, dir)

	var raw map[string]any
	data, err := os.ReadFile(endpointsFile(dir))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &raw); err != nil {
		t.Fatal(err)
	}
	e := r.endpoints()
	var names []string
	for _, p := range e.Processes {
		names = append(names, p.Name)
	}
	if diff := cmp.Diff([]string{"mirror", "green-dispatcher", "blue-dispatcher", "green-trace", "blue-trace", "warehouse", "sandbox"}, names); diff != "" || len(raw) != 4 {
		t.Errorf("endpoints.json: %s\n%s", data, diff)
	}
	for path, want := range map[string]os.FileMode{dir: 0o700, e.TokenFile: 0o600, filepath.Join(dir, "secret"): 0o600, endpointsFile(dir): 0o600, filepath.Join(dir, "settings.yaml"): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: mode %v, %v; want %04o", path, info.Mode().Perm(), err, want)
		}
	}
	noSecretIsVisible(t, dir, e)

	// A second one on the same folder is refused and disturbs nothing.
	if _, errs, status := r.run("up", "--data", dir, "--listen", "127.0.0.1:0"); status != 1 || !strings.Contains(errs, "in use by another `sparrow up`, process "+strconv.Itoa(r.cmd.Process.Pid)) {
		t.Errorf("a second up: status %d, %s", status, errs)
	}

	acks := filepath.Join(t.TempDir(), "acks")
	r.must("send", "--generate", "500", "--acks", acks)
	r.stored(500)

	// kill -9: endpoints.json follows, the addresses stay, and nothing is lost.
	for _, name := range names {
		before := r.pid(name)
		if err := syscall.Kill(before, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		r.await(name+" started again", func() error {
			if pid := r.pid(name); pid == before || pid == 0 {
				return fmt.Errorf("process id %d", pid)
			}
			return nil
		})
	}
	after := r.endpoints()
	for i := range e.Processes {
		if after.Processes[i].URL != e.Processes[i].URL {
			t.Errorf("%s moved from %s to %s", names[i], e.Processes[i].URL, after.Processes[i].URL)
		}
	}
	r.must("send", "--generate", "500", "--seed", "2", "--retries", "100")
	r.stored(1000)

	r.await("doctor finds nothing wrong", func() error {
		out, errs, status := r.run("doctor", "--json")
		if status != 0 || !strings.Contains(out, `"ok": true`) {
			return fmt.Errorf("status %d\n%s%s", status, out, errs)
		}
		return nil
	})
	table := r.must("doctor")
	for _, want := range []string{"equation green", "accepted 1000 = delivered 1000", "warehouse blue", "data folder", "outcomes green ga4", "outcomes blue trace"} {
		if !strings.Contains(table, want) {
			t.Errorf("doctor does not mention %q:\n%s", want, table)
		}
	}

	if status := r.end(syscall.SIGTERM); status != 0 {
		t.Errorf("exit status %d after SIGTERM", status)
	}
	for _, p := range after.Processes {
		if runs(p.PID) {
			t.Errorf("%s, process %d, still runs", p.Name, p.PID)
		}
	}
	if _, err := os.Stat(endpointsFile(dir)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("endpoints.json outlives the processes: %v", err)
	}
	for _, want := range []string{"it is private now", "Sparrow is ready", "/v1/events?k=dev", "send --data " + dir, "stopped\n"} {
		if !strings.Contains(r.out.String(), want) {
			t.Errorf("up did not say %q:\n%s", want, r.out)
		}
	}
	if strings.Contains(r.out.String(), "\x1b") {
		t.Error("escape sequences were written to what is no terminal")
	}
	if _, errs, status := r.run("query", "SELECT 1"); status != 1 || !strings.Contains(errs, "no Sparrow runs") {
		t.Errorf("a query after the end: status %d, %s", status, errs)
	}
}

// runs reports whether a process runs: it exists, and is not merely waiting to be noticed by whoever adopted it.
func runs(pid int) bool {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(data), ") ")
	return !strings.HasPrefix(rest, "Z")
}

// noSecretIsVisible looks at what every user of the machine can see of a process, and at all logs.
func noSecretIsVisible(t *testing.T, dir string, e endpoints) {
	t.Helper()
	var secrets []string
	for _, file := range []string{e.TokenFile, filepath.Join(dir, "secret"), filepath.Join(dir, "key")} {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		secrets = append(secrets, strings.TrimSpace(string(data)))
	}
	var files []string
	for _, p := range e.Processes {
		files = append(files, fmt.Sprintf("/proc/%d/cmdline", p.PID), fmt.Sprintf("/proc/%d/environ", p.PID))
	}
	for _, file := range append(files, glob(filepath.Join(dir, "logs", "*"))...) {
		data, err := os.ReadFile(file)
		if err != nil || strings.HasSuffix(file, "cmdline") && len(data) == 0 {
			t.Errorf("%s: %d bytes, %v", file, len(data), err)
		}
		for _, secret := range secrets {
			if bytes.Contains(data, []byte(secret)) {
				t.Errorf("%s shows a secret", file)
			}
		}
	}
	// And every process asks for it.
	for _, p := range e.Processes {
		resp, err := http.Get(p.URL + map[bool]string{true: "/v1/status", false: "/v1/cursors"}[p.Name == mirrorName || p.Name == sandboxName])
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s answers a stranger %s", p.Name, resp.Status)
		}
	}
}

// Killed without a chance to tell anybody: its processes end by themselves, and the next start has everything.
func TestUpIsKilledAndStartsAgain(t *testing.T) {
	dir := t.TempDir()
	r := startUp(t, dir)
	r.must("send", "--generate", "300")
	before := r.endpoints()
	if err := r.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	r.cmd.Wait()
	os.Remove(endpointsFile(dir)) // so that the next one's can be waited for
	again := startUp(t, dir)
	for _, p := range before.Processes {
		if runs(p.PID) {
			t.Errorf("%s of the killed Sparrow, process %d, runs beside the new one", p.Name, p.PID)
		}
	}
	again.must("send", "--generate", "300", "--seed", "2")
	again.stored(600)
}

// Which binary a stack runs is kept, and a running candidate is replaced without touching anything else.
func TestCandidateBinary(t *testing.T) {
	dir := t.TempDir()
	program, err := os.ReadFile(build(t, "./sparrow"))
	if err != nil {
		t.Fatal(err)
	}
	candidate := filepath.Join(t.TempDir(), "candidate")
	if err := os.WriteFile(candidate, append(program, 0), 0o700); err != nil { // a byte more: it does the same, and is another build
		t.Fatal(err)
	}
	r := startUp(t, dir)
	before := r.endpoints()
	same := r.stackBuilds()
	if same[event.Green] == "" || same[event.Green] != same[event.Blue] {
		t.Errorf("one binary on both sides must be one build: %v", same)
	}

	if _, errs, status := r.run("deploy", "candidate", "--binary", "/bin/true"); status != 1 || !strings.Contains(errs, "/bin/true is no build of Sparrow") {
		t.Errorf("something else as a candidate: status %d, %s", status, errs)
	}
	if diff := cmp.Diff(before, r.endpoints()); diff != "" {
		t.Errorf("a refused candidate changed something:\n%s", diff)
	}

	r.must("deploy", "candidate", "--binary", candidate)
	r.await("another build on blue", func() error {
		if b := r.stackBuilds(); b[event.Green] != same[event.Green] || b[event.Blue] == same[event.Blue] || b[event.Blue] == "" {
			return fmt.Errorf("%v", b)
		}
		return nil
	})
	swapped := r.stackBuilds()
	for i, p := range r.endpoints().Processes {
		if touched := p.PID != before.Processes[i].PID; touched != (p.Name == "blue-dispatcher" || p.Name == "blue-trace") {
			t.Errorf("%s: process id %d, before %d", p.Name, p.PID, before.Processes[i].PID)
		}
	}
	if status := r.end(syscall.SIGTERM); status != 0 {
		t.Errorf("exit status %d", status)
	}

	// Without --blue, the next start runs the same build, from the copy.
	os.Remove(endpointsFile(dir))
	again := startUp(t, dir)
	again.await("the candidate is kept", func() error {
		if b := again.stackBuilds(); b[event.Green] != swapped[event.Green] || b[event.Blue] != swapped[event.Blue] {
			return fmt.Errorf("%v, want %v", b, swapped)
		}
		return nil
	})
}

// stackBuilds returns the id of the build that each stack runs, as the mirror has it.
func (r *running) stackBuilds() map[event.Stack]string {
	r.t.Helper()
	var o struct{ Live, Candidate deploy.Role }
	if err := json.Unmarshal([]byte(r.must("deploy", "status", "--json")), &o); err != nil {
		r.t.Fatal(err)
	}
	ids := map[event.Stack]string{}
	for _, role := range []deploy.Role{o.Live, o.Candidate} {
		ids[role.Stack] = role.Status.Build.ID
	}
	return ids
}
