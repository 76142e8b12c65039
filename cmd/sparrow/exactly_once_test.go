package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/journal"
	"github.com/sparrowhq/sparrow/service"
	"github.com/sparrowhq/sparrow/telemetry"
)

// load sends events at a steady rate in the background until stop is called, retrying what is not acknowledged.
type load struct {
	cmd  *exec.Cmd
	acks string
	out  *strings.Builder
}

func (s *sparrow) load(rate int) *load {
	s.t.Helper()
	l := &load{acks: filepath.Join(s.t.TempDir(), "acks"), out: new(strings.Builder)}
	l.cmd = exec.Command(s.bin, "send", "--generate", "100000000", "--seed", "7", "--rate", strconv.Itoa(rate),
		"--connections", "16", "--retries", "1000000", "--acks", l.acks)
	l.cmd.Env = append(os.Environ(), "SPARROW_DATA="+s.dir)
	l.cmd.Stdout, l.cmd.Stderr = l.out, l.out
	if err := l.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { l.cmd.Process.Kill() })
	return l
}

// stop interrupts the load and returns what was acknowledged.
func (l *load) stop(t *testing.T) map[string]int {
	t.Helper()
	l.cmd.Process.Signal(syscall.SIGINT)
	if err := l.cmd.Wait(); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) { // interrupted in the middle: a status of its own
			t.Fatal(err)
		}
	}
	got := acks(t, l.acks)
	if len(got) == 0 {
		t.Fatalf("nothing was acknowledged:\n%s", l.out)
	}
	return got
}

// exactlyOnce checks, once everything has settled, that each acknowledged event stands once in live and once in
// staging, that both hold the same ids and no row twice, and that the equation holds. It returns the ids, each with
// its frame.
func (s *sparrow) exactlyOnce(acked map[string]int) map[string]uint64 {
	s.t.Helper()
	s.settled()
	sides := map[string]map[string]uint64{}
	for _, dataset := range []string{"live", "staging"} {
		ids := map[string]uint64{}
		for _, row := range s.query(`SELECT "eventId", count(*), min(frame) FROM ` + dataset + `.raw GROUP BY 1`) {
			frame, err := strconv.ParseUint(row[2], 10, 64)
			if err != nil {
				s.t.Fatal(err)
			}
			ids[row[0]] = frame
			if row[1] != "1" {
				s.t.Errorf("%s: %s stands %s times", dataset, row[0], row[1])
			}
		}
		lost := 0
		for id := range acked {
			if ids[id] == 0 {
				if lost++; lost <= 5 {
					s.t.Errorf("%s: %s was acknowledged and is missing", dataset, id)
				}
			}
		}
		if lost > 0 {
			s.t.Errorf("%s: %d of %d acknowledged events are missing", dataset, lost, len(acked))
		}
		sides[dataset] = ids
	}
	if len(sides["live"]) != len(sides["staging"]) {
		s.t.Errorf("live holds %d ids, staging %d", len(sides["live"]), len(sides["staging"]))
	}
	for id := range sides["live"] {
		if sides["staging"][id] == 0 {
			s.t.Errorf("%s is in live only", id)
			break
		}
	}
	var eq struct {
		OK bool `json:"ok"`
	}
	if err := s.admin("/v1/equation", &eq); err != nil || !eq.OK {
		s.t.Errorf("the equation does not hold: %+v, %v", eq, err)
	}
	return sides["live"]
}

// ledgerAgrees checks count and sum of the request ids in each dataset against the mirror's ledger.
func (s *sparrow) ledgerAgrees() {
	s.t.Helper()
	st := s.status()
	var ledger struct {
		Totals event.Totals `json:"totals"`
	}
	if err := s.admin(fmt.Sprintf("/v1/ledger?from=1&to=%d", st.Journal.LastFrame), &ledger); err != nil {
		s.t.Fatal(err)
	}
	for _, dataset := range []string{"live", "staging"} {
		row := s.query(`SELECT count(*), sum(CAST('0x' || substr("eventId", 21, 3) || substr("eventId", 25, 12) AS BIGINT))
			FROM ` + dataset + `.raw WHERE item = 0`)[0]
		if want := []string{strconv.FormatUint(ledger.Totals.Requests, 10), ledger.Totals.IDSum.String()}; row[0] != want[0] || row[1] != want[1] {
			s.t.Errorf("%s: %s requests, id sum %s; the ledger has %s and %s", dataset, row[0], row[1], want[0], want[1])
		}
	}
}

// journalIDs reads the request ids out of a stopped Sparrow's journal, and the first sequence it still has.
func (s *sparrow) journalIDs() (map[string]bool, uint64) {
	s.t.Helper()
	secret, err := service.Secret(filepath.Join(s.dir, "secret"))
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	j, err := journal.Open(ctx, journal.Options{Dir: filepath.Join(s.dir, "journal"), Secret: secret, Telemetry: telemetry.Discard()})
	if err != nil {
		s.t.Fatal(err)
	}
	defer j.Close()
	bounds, err := j.Bounds(ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	ids, first := map[string]bool{}, uint64(0)
	r := j.Read(1)
	defer r.Close()
	for at := uint64(0); at < bounds.Last; {
		entries, err := r.Next(ctx, 1<<20)
		if err != nil {
			s.t.Fatal(err)
		}
		for _, e := range entries {
			at = max(e.Sequence, e.Last)
			if e.Kind != journal.Frame {
				continue
			}
			if first == 0 {
				first = e.Sequence
			}
			frame, err := event.DecodeFrame(e.Data)
			if err != nil {
				s.t.Fatal(err)
			}
			for _, r := range frame.Requests {
				ids[uuid.UUID(r.Id).String()] = true
			}
		}
	}
	return ids, first
}

// inJournal stops Sparrow and checks that each id in the datasets stands in the journal, and the other way round, as far
// back as the journal goes: under pressure it lets go of what both stacks have.
func (s *sparrow) inJournal(ids map[string]uint64) {
	s.t.Helper()
	s.stop()
	journaled, first := s.journalIDs()
	kept, missing := 0, 0
	for id, frame := range ids {
		if frame < first {
			continue
		}
		if kept++; !journaled[id[:36]] {
			if missing++; missing <= 5 {
				s.t.Errorf("%s, of frame %d, is in the datasets but not in the journal", id, frame)
			}
		}
	}
	if len(journaled) != kept || kept == 0 {
		s.t.Errorf("the journal holds %d requests from frame %d on, the datasets %d; %d are missing", len(journaled), first, kept, missing)
	}
}

// Cutovers and rollbacks at random moments under load, one of them reaching back: every event once in each dataset.
func TestProofFlips(t *testing.T) {
	s := up(t)
	s.must("deploy", "candidate")
	l := s.load(choose(500, 2_000))
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	pause := func() { time.Sleep(time.Duration(random.IntN(choose(500, 10_000))) * time.Millisecond) } // random moments
	var past uint64
	for flip := range 10 {
		pause()
		// A verdict while events keep coming: the window ends where the journal ended when compare began.
		s.must("deploy", "candidate")
		pause()
		s.await("a PASS over a window with events", time.Minute, func() error {
			if out, code := s.run("compare", "--wait", "1m"); code != 0 {
				return fmt.Errorf("exit status %d\n%s", code, out)
			}
			return nil
		})
		if past == 0 {
			past = s.status().Journal.LastFrame
		}
		s.must("deploy", "cutover", "--reason", fmt.Sprintf("flip %d", flip))
		pause()
		if flip == 6 {
			s.must("deploy", "rollback", "--from", strconv.FormatUint(past, 10), "--reason", "all of it was wrong")
		} else {
			s.must("deploy", "rollback", "--reason", fmt.Sprintf("flip %d back", flip))
		}
	}
	acked := l.stop(t)
	ids := s.exactlyOnce(acked)
	s.ledgerAgrees()
	if flips := s.number(`SELECT count(*) FROM timeline WHERE kind IN ('cutover', 'rollback')`); flips != 20 {
		t.Errorf("the timeline holds %d flips, want 20", flips)
	}
	t.Logf("%d events acknowledged over 10 cutovers and 10 rollbacks\n%s", len(acked), s.must("deploy", "history"))
	s.inJournal(ids)
}

// kill -9 of each process in turn and of all at once, under load.
func TestProofKill(t *testing.T) {
	s := up(t)
	rounds, rate := choose(1, 10), choose(500, 2_000)
	l := s.load(rate)
	for range rounds {
		for _, name := range []string{"mirror", "warehouse", "green-dispatcher", "blue-dispatcher", "green-trace", "blue-trace"} {
			before := s.status().Accepted.Requests
			old := s.pid(name)
			s.signal(name, syscall.SIGKILL)
			s.await(name+" is back and events flow", time.Minute, func() error {
				if err := s.readEndpoints(); err != nil {
					return err
				}
				if s.pid(name) == old {
					return errors.New("not restarted yet")
				}
				var st status
				if err := s.admin("/v1/status", &st); err != nil {
					return err
				}
				if st.Accepted.Requests < before+uint64(rate)/2 {
					return fmt.Errorf("%d requests accepted, %d before", st.Accepted.Requests, before)
				}
				return nil
			})
		}
	}
	acked := l.stop(t)
	ids := s.exactlyOnce(acked)

	// All at once, the supervisor first, so that nobody restarts anybody.
	l = s.load(rate)
	s.await("events flow", time.Minute, func() error {
		if n := s.status().Accepted.Requests; n < uint64(len(ids)+rate) {
			return fmt.Errorf("%d requests", n)
		}
		return nil
	})
	pids := []int{s.cmd.Process.Pid}
	for _, p := range s.ends.Processes {
		pids = append(pids, s.pid(p.Name))
	}
	for _, pid := range pids {
		syscall.Kill(pid, syscall.SIGKILL)
	}
	s.cmd.Wait()
	for id, line := range l.stop(t) {
		acked[id] = line
	}
	s.start()
	s.must("send", "--generate", "100", "--acks", filepath.Join(t.TempDir(), "acks"))
	ids = s.exactlyOnce(acked)
	s.ledgerAgrees()
	t.Logf("%d events acknowledged", len(acked))
	s.inJournal(ids)
}
