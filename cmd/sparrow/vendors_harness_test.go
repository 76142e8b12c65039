package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sparrowhq/sparrow/trace/sandbox"
	"github.com/sparrowhq/sparrow/trace/sandbox/record"
)

// vendorNames are the trackers of the proofs, each called as its vendor.
var vendorNames = []string{"ga4", "heap", "amplitude"}

// wholeSpeed lifts the documented rates at both ends: the proofs are about which events arrive, not about how fast.
const wholeSpeed = `
sandbox:
  limits:
    heap: {minute_identity: -1, minute_app: -1}
    amplitude: {per_second: -1}
trackers:
  heap: {pacing: false}
  amplitude: {pacing: false}
`

// settings writes a settings file for `up --config` in which both stacks have the given pipelines.
func settings(t testing.TB, green, blue, more string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sparrow.yaml")
	text := fmt.Sprintf("stacks:\n  green: {trace: {pipeline: %q}}\n  blue: {trace: {pipeline: %q}}\n%s", green, blue, more)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// write writes a file of its own.
func write(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// sandbox returns a client of the running sandbox.
func (s *sparrow) sandbox() *sandbox.Client {
	s.t.Helper()
	secret, err := os.ReadFile(filepath.Join(s.dir, "secret"))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, p := range s.ends.Processes {
		if p.Name == "sandbox" {
			c := sandbox.NewClient(p.URL, strings.TrimSpace(string(secret)))
			s.t.Cleanup(c.Close)
			return c
		}
	}
	s.t.Fatal("endpoints.json has no sandbox")
	return nil
}

// ids returns how often each id came to a project.
func (s *sparrow) ids(vendor, project string) map[string]int {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	all := map[string]int{}
	for id, err := range s.sandbox().IDs(ctx, sandbox.Vendor(vendor), project) {
		if err != nil {
			s.t.Fatal(err)
		}
		all[id.ID] = int(id.Count)
	}
	return all
}

// received returns what each project received, by "vendor project".
func (s *sparrow) received() map[string]record.Counts {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	counts, err := s.sandbox().Vendors(ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	all := map[string]record.Counts{}
	for _, c := range counts {
		all[c.Vendor+" "+c.Project] = c
	}
	return all
}

// final waits until every stage of both stacks, trackers included, is final for all that the journal holds and the
// warehouse has it.
func (s *sparrow) final(bound time.Duration, stages ...string) {
	s.t.Helper()
	s.settled()
	s.await("every stage is final", bound, func() error {
		last := s.status().Journal.LastFrame
		at := map[string]uint64{}
		for _, row := range s.query(`SELECT stack || ' ' || stage, frame FROM cursors WHERE run = 0`) {
			at[row[0]], _ = strconv.ParseUint(row[1], 10, 64)
		}
		for _, stack := range []string{"green", "blue"} {
			for _, stage := range stages {
				if frame := at[stack+" "+stage]; frame <= last {
					return fmt.Errorf("%s at %s stands at %d, the journal ends at %d", stage, stack, frame, last)
				}
			}
		}
		return nil
	})
}

// outcomes returns the ids of a dataset whose final outcome at a stage is as the condition says.
func (s *sparrow) outcomes(dataset, stage, condition string) map[string]bool {
	s.t.Helper()
	all := map[string]bool{}
	for _, row := range s.query(fmt.Sprintf(`SELECT r."eventId" FROM %[1]s.outcomes o JOIN %[1]s.raw r USING (frame, request, item) WHERE o.stage = '%[2]s' AND %[3]s`, dataset, stage, condition)) {
		all[row[0]] = true
	}
	return all
}

// eachOnce checks that exactly the wanted ids came to a project, each once; those in again may have come more often.
func (s *sparrow) eachOnce(vendor, project string, want, again map[string]bool) {
	s.t.Helper()
	got := s.ids(vendor, project)
	missing, extra, twice := 0, 0, 0
	for id := range want {
		if got[id] == 0 {
			if missing++; missing <= 3 {
				s.t.Errorf("%s %s: %s did not come", vendor, project, id)
			}
		}
	}
	for id, n := range got {
		if !want[id] {
			if extra++; extra <= 3 {
				s.t.Errorf("%s %s: %s came and does not belong there", vendor, project, id)
			}
		}
		if n > 1 && !again[id] {
			if twice++; twice <= 3 {
				s.t.Errorf("%s %s: %s came %d times, and nobody says so", vendor, project, id, n)
			}
		}
	}
	if missing+extra+twice > 0 {
		s.t.Errorf("%s %s: %d ids wanted, %d came; %d missing, %d extra, %d more than once", vendor, project, len(want), len(got), missing, extra, twice)
	}
}

// sentry serves a sandbox of its own, as a Sentry that outlives every process that reports to it, and returns a client and
// its DSN.
func sentry(t testing.TB) (*sandbox.Client, string) {
	t.Helper()
	s, err := sandbox.New(sandbox.Options{})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, l) }()
	url := "http://" + l.Addr().String()
	c := sandbox.NewClient(url, "")
	t.Cleanup(func() {
		c.Close()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return c, sandbox.Address(url, sandbox.Sentry, sandbox.DefaultProjects()[sandbox.Sentry][0])
}
