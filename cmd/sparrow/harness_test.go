package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// soak reports whether the long form of a proof is asked for: the same test, with the numbers of a night.
func soak() bool { return os.Getenv("SPARROW_SOAK") != "" }

// choose returns short in make test and long in make soak.
func choose(short, long int) int {
	if soak() {
		return long
	}
	return short
}

var binaries struct {
	sync.Mutex
	dir   string
	built map[string]string
}

func TestMain(m *testing.M) {
	code := m.Run()
	if binaries.dir != "" {
		os.RemoveAll(binaries.dir)
	}
	os.Exit(code)
}

// binary builds the command in folder pkg once per test run and returns its path.
func binary(t testing.TB, pkg string) string {
	t.Helper()
	path, err := build(pkg)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func build(pkg string) (string, error) {
	if path := os.Getenv("SPARROW_BENCH_BINARY"); path != "" && pkg == "." {
		return path, nil // to measure two builds in turns
	}
	binaries.Lock()
	defer binaries.Unlock()
	if path, ok := binaries.built[pkg]; ok {
		return path, nil
	}
	if binaries.dir == "" {
		dir, err := os.MkdirTemp("", "sparrow-test-bin-")
		if err != nil {
			return "", err
		}
		binaries.dir, binaries.built = dir, map[string]string{}
	}
	path := filepath.Join(binaries.dir, strings.NewReplacer("/", "-", ".", "").Replace(pkg)+"-bin")
	out, err := exec.Command("go", "build", "-ldflags", "-s -w", "-o", path, pkg).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build %s: %w\n%s", pkg, err, out)
	}
	binaries.built[pkg] = path
	return path, nil
}

// builds begins to build the commands in folders pkgs, in their order, and waits at the end of the test; what is needed
// sooner, binary waits for.
func builds(t testing.TB, pkgs ...string) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, pkg := range pkgs {
			_, _ = build(pkg) // binary tries again, and says why not
		}
	}()
	t.Cleanup(func() { <-done })
}

// sparrow is one running `sparrow up`.
type sparrow struct {
	t    testing.TB
	bin  string
	dir  string
	args []string
	cmd  *exec.Cmd
	log  *os.File
	ends endpoints
}

type endpoints struct {
	Clients   string `json:"clients"`
	Admin     string `json:"admin"`
	TokenFile string `json:"token_file"`
	Processes []struct {
		Name string `json:"name"`
		PID  int    `json:"pid"`
		URL  string `json:"url"`
	} `json:"processes"`
}

// noTrackers is a pipeline that sends to nobody: most proofs are about what comes before, with more events than the
// vendors' documented rates let pass in a test's time.
func noTrackers(t testing.TB) string {
	t.Helper()
	return write(t, "pipeline.yaml", "sources: {dev: {keys: [dev], origins: [none]}}\nevents: {pageview: {properties: {pathname: url}}}\n")
}

// up starts Sparrow on free ports in a data folder of its own and waits until it says it is ready; without --config, with
// no trackers. It is stopped, and its logs shown if the test failed, at the end.
func up(t testing.TB, args ...string) *sparrow {
	t.Helper()
	return upIn(t, t.TempDir(), args...)
}

func upIn(t testing.TB, dir string, args ...string) *sparrow {
	t.Helper()
	if !slices.Contains(args, "--config") {
		args = append(args, "--config", settings(t, noTrackers(t), noTrackers(t), ""))
	}
	s := &sparrow{t: t, bin: binary(t, "."), dir: dir, args: args}
	s.start()
	t.Cleanup(func() {
		s.stop()
		if t.Failed() {
			s.showLogs()
		}
	})
	return s
}

func (s *sparrow) start() {
	s.t.Helper()
	os.Remove(filepath.Join(s.dir, "endpoints.json"))
	log, err := os.OpenFile(filepath.Join(s.t.TempDir(), "up.log"), os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	s.log = log
	s.cmd = exec.Command(s.bin, append([]string{"up", "--data", s.dir, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"}, s.args...)...)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.await("endpoints.json", time.Minute, func() error {
		if err := s.cmd.Process.Signal(syscall.Signal(0)); err != nil {
			return fmt.Errorf("sparrow up is gone: %w", err)
		}
		return s.readEndpoints()
	})
}

func (s *sparrow) readEndpoints() error {
	data, err := os.ReadFile(filepath.Join(s.dir, "endpoints.json"))
	if err != nil {
		return err
	}
	return json.Unmarshal(data, &s.ends)
}

// stop ends Sparrow in order and waits for it.
func (s *sparrow) stop() {
	if s.cmd == nil || s.cmd.ProcessState != nil {
		return
	}
	s.cmd.Process.Signal(syscall.SIGTERM)
	done := make(chan error, 1)
	go func() { done <- s.cmd.Wait() }()
	select {
	case err := <-done:
		if err != nil {
			s.t.Errorf("sparrow up did not stop cleanly: %v", err)
		}
	case <-time.After(time.Minute):
		s.t.Errorf("sparrow up did not stop within a minute")
		s.cmd.Process.Kill()
		<-done
	}
}

func (s *sparrow) showLogs() {
	files, _ := filepath.Glob(filepath.Join(s.dir, "logs", "*.log"))
	for _, f := range append(files, s.log.Name()) {
		data, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		lines := bytes.Split(data, []byte("\n"))
		lines = lines[max(0, len(lines)-40):]
		s.t.Logf("end of %s:\n%s", filepath.Base(f), bytes.Join(lines, []byte("\n")))
	}
}

// pid returns the process id of the child called name, as endpoints.json has it now.
func (s *sparrow) pid(name string) int {
	s.t.Helper()
	if err := s.readEndpoints(); err != nil {
		s.t.Fatal(err)
	}
	for _, p := range s.ends.Processes {
		if p.Name == name {
			return p.PID
		}
	}
	s.t.Fatalf("endpoints.json names no process %q", name)
	return 0
}

func (s *sparrow) signal(name string, sig syscall.Signal) {
	s.t.Helper()
	if err := syscall.Kill(s.pid(name), sig); err != nil {
		s.t.Fatalf("signal %v to %s: %v", sig, name, err)
	}
}

// await polls until check returns nil.
func (s *sparrow) await(what string, bound time.Duration, check func() error) {
	s.t.Helper()
	deadline := time.Now().Add(bound)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			s.showLogs()
			s.t.Fatalf("%s: not within %s: %v", what, bound, err)
		}
		time.Sleep(50 * time.Millisecond) // polling other processes: there is nothing to be told by
	}
}

// run runs a subcommand against this Sparrow and returns what it printed and its exit status.
func (s *sparrow) run(args ...string) (stdout string, status int) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.bin, args...)
	cmd.Env = append(os.Environ(), "SPARROW_DATA="+s.dir)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatalf("sparrow %v: %v", args, err)
	}
	if errs.Len() > 0 {
		s.t.Logf("sparrow %s: %s", strings.Join(args, " "), bytes.TrimSpace(errs.Bytes()))
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

// must runs a subcommand that has to exit 0.
func (s *sparrow) must(args ...string) string {
	s.t.Helper()
	out, status := s.run(args...)
	if status != 0 {
		s.t.Fatalf("sparrow %s: exit status %d\n%s", strings.Join(args, " "), status, out)
	}
	return out
}

// query returns the rows of a SELECT.
func (s *sparrow) query(sql string) [][]string {
	s.t.Helper()
	rows, err := csv.NewReader(strings.NewReader(s.must("query", "--format", "csv", "--limit", "100000000", sql))).ReadAll()
	if err != nil {
		s.t.Fatalf("query %s: %v", sql, err)
	}
	return rows[1:]
}

// number returns the single integer a SELECT gives.
func (s *sparrow) number(sql string) int {
	s.t.Helper()
	rows := s.query(sql)
	if len(rows) != 1 || len(rows[0]) != 1 {
		s.t.Fatalf("query %s: %d rows, want one value", sql, len(rows))
	}
	n, err := strconv.Atoi(rows[0][0])
	if err != nil {
		s.t.Fatalf("query %s: %v", sql, err)
	}
	return n
}

// acks reads the file `sparrow send --acks` wrote: eventId → line number.
func acks(t testing.TB, path string) map[string]int {
	t.Helper()
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all := map[string]int{}
	in := bufio.NewScanner(f)
	for in.Scan() {
		id, line, ok := strings.Cut(in.Text(), "\t")
		n, err := strconv.Atoi(line)
		if !ok || err != nil {
			t.Fatalf("%s: line %q", path, in.Text())
		}
		if _, twice := all[id]; twice {
			t.Fatalf("%s: %s was acknowledged twice", path, id)
		}
		all[id] = n
	}
	if err := in.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// post sends one body as a client would and returns the request's id.
func (s *sparrow) post(body []byte, header ...string) (id string, status int) {
	s.t.Helper()
	req, err := http.NewRequest(http.MethodPost, s.ends.Clients+"/v1/events?k=dev", bytes.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	if resp.StatusCode == http.StatusOK && string(answer) != "OK" {
		s.t.Errorf("body of the answer is %q, want OK", answer)
	}
	return resp.Header.Get("Sparrow-Request-Id"), resp.StatusCode
}

// status is the part of /v1/status the proofs read.
type status struct {
	Generation uint64 `json:"generation"`
	Live       string `json:"live"`
	Journal    struct {
		ID        string `json:"id"`
		LastFrame uint64 `json:"lastFrame"`
		Accepting bool   `json:"accepting"`
		Why       string `json:"why"`
	} `json:"journal"`
	Accepted struct {
		Requests uint64 `json:"requests"`
	} `json:"accepted"`
	Stacks map[string]struct {
		Role   string `json:"role"`
		Cursor struct {
			Frame uint64 `json:"frame"`
		} `json:"cursor"`
		Delivered uint64 `json:"delivered"`
		Dead      uint64 `json:"dead"`
		Pending   struct {
			Requests uint64 `json:"requests"`
			OldestAt int64  `json:"oldestAt"`
		} `json:"pending"`
	} `json:"stacks"`
}

// admin reads a path of the admin API.
func (s *sparrow) admin(path string, v any) error {
	token, err := os.ReadFile(s.ends.TokenFile)
	if err != nil {
		return err
	}
	req, err := http.NewRequest(http.MethodGet, s.ends.Admin+path, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
		return fmt.Errorf("GET %s: %s: %s", path, resp.Status, body)
	}
	return json.NewDecoder(resp.Body).Decode(v)
}

func (s *sparrow) status() status {
	s.t.Helper()
	var st status
	if err := s.admin("/v1/status", &st); err != nil {
		s.t.Fatal(err)
	}
	return st
}

// settled waits until both stacks have everything the journal holds.
func (s *sparrow) settled() {
	s.t.Helper()
	s.await("both stacks caught up", 3*time.Minute, s.caughtUp)
}

// caughtUp returns nil if both stacks have everything, or what is missing.
func (s *sparrow) caughtUp() error {
	var st status
	if err := s.admin("/v1/status", &st); err != nil {
		return err
	}
	for name, stack := range st.Stacks {
		if stack.Pending.Requests > 0 || stack.Cursor.Frame <= st.Journal.LastFrame {
			return fmt.Errorf("%s stands at %d with %d requests pending, the journal ends at %d", name, stack.Cursor.Frame, stack.Pending.Requests, st.Journal.LastFrame)
		}
	}
	return nil
}
