package main

import (
	"encoding/json"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// events sends n generated events, in batches so that a window of 100,000 fits a test.
func (s *sparrow) events(n, seed int) {
	s.t.Helper()
	s.must("send", "--generate", strconv.Itoa(n), "--seed", strconv.Itoa(seed), "--batch", "20", "--connections", "8",
		"--acks", filepath.Join(s.t.TempDir(), "acks"))
}

// Each candidate build with one seeded fault is a program of its own. Compare must exit 1 and name event and ids.
func TestProofSeededFaults(t *testing.T) {
	for _, fault := range []struct {
		candidate, reason string
		events            int
	}{
		{"loses", "missing", 15_000}, // the ten-thousandth
		{"doubles", "duplicate", 15_000}, {"changes", "changed", 15_000}, {"forgets", "missing", 2_000},
	} {
		t.Run(fault.candidate, func(t *testing.T) {
			s := up(t, "--blue", binary(t, "./testdata/candidates/"+fault.candidate))
			s.must("deploy", "candidate")
			s.events(fault.events*choose(1, 20), 1)
			out, status := s.run("compare", "--wait", "3m", "--format", "json")
			if status != 1 {
				t.Fatalf("exit status %d, want 1\n%s", status, out)
			}
			// What it names must be true: look every named id up in the two datasets.
			var report struct {
				Evidence struct {
					Events []struct {
						Event    string
						Examples []struct {
							Kind    string
							EventID string `json:"eventId"`
						}
					}
				}
			}
			if err := json.Unmarshal([]byte(out), &report); err != nil {
				t.Fatal(err)
			}
			named := 0
			for _, e := range report.Evidence.Events {
				for _, x := range e.Examples {
					named++
					if !strings.Contains(strings.ToLower(x.Kind), fault.reason) {
						t.Errorf("event %q: %s is named as %s, want %s", e.Event, x.EventID, x.Kind, fault.reason)
					}
					where := ` WHERE "eventId" = '` + x.EventID + `'`
					live, staging := s.number("SELECT count(*) FROM live.raw"+where), s.number("SELECT count(*) FROM staging.raw"+where)
					switch {
					case live != 1:
						t.Errorf("%s stands %d times in live", x.EventID, live)
					case fault.reason == "missing" && staging != 0, fault.reason == "duplicate" && staging != 2, fault.reason == "changed" && staging != 1:
						t.Errorf("%s is called %s but stands %d times in staging", x.EventID, x.Kind, staging)
					}
				}
			}
			if named == 0 {
				t.Errorf("no event is named:\n%s", out)
			}
			text, _ := s.run("compare")
			t.Logf("%s", text)
			if _, status := s.run("deploy", "cutover"); status == 0 {
				t.Errorf("a cutover went through on a FAIL")
			}
		})
	}
}

// The same build on both sides never differs, window after window.
func TestProofSameBuildNeverDiffers(t *testing.T) {
	s := up(t)
	size := choose(3_000, 100_000)
	for window := range 10 {
		s.must("deploy", "candidate")
		s.events(size, window)
		out, status := s.run("compare", "--wait", "5m", "--format", "json")
		var report struct {
			Evidence struct {
				Events []struct {
					Stage                                    string
					Live, Candidate, Missing, Extra, Changed int
				}
			}
		}
		if err := json.Unmarshal([]byte(out), &report); err != nil || status != 0 {
			t.Fatalf("window %d: exit status %d, %v\n%s", window, status, err, out)
		}
		live := map[string]int{}
		for _, e := range report.Evidence.Events {
			live[e.Stage] += e.Live
			if e.Missing+e.Extra+e.Changed != 0 || e.Live != e.Candidate {
				t.Errorf("window %d: %+v", window, e)
			}
		}
		if live["raw"] != size || live["trace"] != size {
			t.Errorf("window %d holds %v events, %d were sent", window, live, size)
		}
	}
}

// No data, a stopped or a late candidate are never PASS; caught up, they are.
func TestProofFailClosed(t *testing.T) {
	s := up(t)
	s.must("deploy", "candidate")
	if out, status := s.run("compare"); status != 3 {
		t.Fatalf("no events: exit status %d, want 3\n%s", status, out)
	}
	s.signal("blue-dispatcher", syscall.SIGSTOP)
	s.events(2_000, 1)
	if out, status := s.run("compare"); status != 3 {
		t.Errorf("blue stopped: exit status %d, want 3\n%s", status, out)
	}
	if out, status := s.run("compare", "--wait", "2s"); status != 124 {
		t.Errorf("blue stopped, waiting: exit status %d, want 124\n%s", status, out)
	}
	if out, status := s.run("deploy", "cutover"); status == 0 {
		t.Errorf("a cutover went through without a verdict\n%s", out)
	}
	s.signal("blue-dispatcher", syscall.SIGCONT)
	if out, status := s.run("compare", "--wait", "2m"); status != 0 {
		t.Errorf("caught up: exit status %d, want 0\n%s", status, out)
	}
	s.signal("blue-dispatcher", syscall.SIGKILL)
	s.events(2_000, 2)
	if out, status := s.run("compare", "--wait", "2m"); status != 0 {
		t.Errorf("killed, restarted and caught up: exit status %d, want 0\n%s", status, out)
	}
}
