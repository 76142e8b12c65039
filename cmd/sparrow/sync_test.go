package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The mirror of a running Sparrow, watched from outside by its system calls: each 200 on a client's socket comes after
// an fsync of the journal that came after the request's bytes were written there. (journal tests the same of itself,
// and that the check fails with syncing off.)
func TestProofAnswerFollowsSync(t *testing.T) {
	tracer, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("needs strace")
	}
	s := up(t)
	log := filepath.Join(t.TempDir(), "strace")
	cmd := exec.Command(tracer, "-f", "-qq", "-yy", "-s", "16", "-e", "trace=write,pwrite64,writev,sendto,fsync,fdatasync", "-o", log,
		"-p", strconv.Itoa(s.pid("mirror")))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.await("strace watches", 10*time.Second, func() error {
		s.post([]byte(`{"event":"warm-up"}`))
		_, err := os.Stat(log)
		return err
	})
	n := choose(50, 2_000)
	for i := range n {
		if _, code := s.post([]byte(`{"event":"traced","deviceId":"` + strconv.Itoa(i) + `"}`)); code != 200 {
			t.Fatalf("answered %d", code)
		}
	}
	cmd.Process.Signal(os.Interrupt)
	cmd.Wait()
	trace, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	port := s.ends.Clients[strings.LastIndexByte(s.ends.Clients, ':')+1:] // operators are answered on another
	answers, faults := answersWithoutSync(string(trace), port)
	if answers < n {
		t.Errorf("%d answers seen, %d were given", answers, n)
	}
	for _, f := range faults {
		t.Error(f)
	}
	// A trace without its syncs must not pass, or the check shows nothing.
	var without strings.Builder
	for line := range strings.Lines(string(trace)) {
		if !strings.Contains(line, "fsync") && !strings.Contains(line, "fdatasync") {
			without.WriteString(line)
		}
	}
	if _, faults := answersWithoutSync(without.String(), port); len(faults) < n {
		t.Errorf("with the syncs taken out the check finds %d faults in %d answers", len(faults), n)
	}
	t.Logf("%d answers, each after a write to the journal and an fsync of it", answers)
}

var (
	journalBlock = regexp.MustCompile(`\d+<[^>]*/sparrow/msgs/\d+\.blk>`)
)

// answersWithoutSync counts the 200s that a trace shows on a port and returns those that were not preceded, since the last one, by a write
// to the journal and then a completed sync. Requests come one at a time, so nothing overlaps.
func answersWithoutSync(trace, port string) (answers int, faults []string) {
	okAnswer := regexp.MustCompile(`\w+\(\d+<TCP[^>]*:` + port + `->[^>]*>.*"HTTP/1\.1 200 OK`)
	written, synced := false, false
	syncing := map[string]bool{}
	for line := range strings.Lines(trace) {
		thread, _, _ := strings.Cut(line, " ")
		switch {
		case okAnswer.MatchString(line):
			if answers++; !written || !synced {
				faults = append(faults, "answer "+strconv.Itoa(answers)+": written "+strconv.FormatBool(written)+", synced "+strconv.FormatBool(synced))
			}
			written, synced = false, false
		case strings.Contains(line, "pwrite64(") || strings.Contains(line, " write("):
			if journalBlock.MatchString(line) {
				written, synced = true, false
			}
		case strings.Contains(line, "sync(") && journalBlock.MatchString(line):
			if strings.Contains(line, "<unfinished") {
				syncing[thread] = true
			} else if strings.Contains(line, "= 0") {
				synced = written
			}
		case strings.Contains(line, "sync resumed") && strings.Contains(line, "= 0") && syncing[thread]:
			delete(syncing, thread)
			synced = written
		}
	}
	return answers, faults
}
