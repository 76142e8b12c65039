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
	check := func(trace string) (unsynced int) {
		answers := answersAfterSync(trace, port)
		if len(answers) < n {
			t.Fatalf("%d answers seen, %d were given", len(answers), n)
		}
		for _, synced := range answers[len(answers)-n:] { // before them: the warm-up, seen from its middle
			if !synced {
				unsynced++
			}
		}
		return unsynced
	}
	if unsynced := check(string(trace)); unsynced > 0 {
		t.Errorf("%d of %d answers were given before their request was synced", unsynced, n)
	}
	// A trace without its syncs must not pass, or the check shows nothing.
	var without strings.Builder
	for line := range strings.Lines(string(trace)) {
		if !strings.Contains(line, "fsync") && !strings.Contains(line, "fdatasync") {
			without.WriteString(line)
		}
	}
	if unsynced := check(without.String()); unsynced != n {
		t.Errorf("with the syncs taken out the check finds fault with %d of %d answers", unsynced, n)
	}
	t.Logf("%d answers, each after a write to the journal and an fsync of it", n)
}

var journalBlock = regexp.MustCompile(`\d+<[^>]*/sparrow/msgs/\d+\.blk>`)

// answersAfterSync tells of each 200 that a trace shows on a port whether, since the one before, something was written to
// the journal and then synced. Requests come one at a time, so nothing overlaps.
func answersAfterSync(trace, port string) (answers []bool) {
	okAnswer := regexp.MustCompile(`\w+\(\d+<TCP[^>]*:` + port + `->[^>]*>.*"HTTP/1\.1 200 OK`)
	written, synced := false, false
	syncing := map[string]bool{}
	for line := range strings.Lines(trace) {
		thread, _, _ := strings.Cut(line, " ")
		switch {
		case okAnswer.MatchString(line):
			answers = append(answers, written && synced)
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
	return answers
}
