package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// smallDisk mounts a file system of its own at dir.
func smallDisk(t *testing.T, dir string, size int) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "mode=0700,size="+strconv.Itoa(size))
	if errors.Is(err, syscall.EPERM) {
		t.Skip("needs the right to mount a small file system (root)")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
}

// fill writes to path until the file system has no byte left.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size > 0; size /= 2 {
		for {
			if _, err := f.Write(make([]byte, size)); err != nil {
				if !errors.Is(err, syscall.ENOSPC) {
					t.Fatal(err)
				}
				break
			}
		}
	}
}

// The journal's disk fills up: clients hear 503 and when to come back, nothing acknowledged is lost, a rollback still
// works, and once there is room Sparrow accepts again by itself.
func TestProofDiskFull(t *testing.T) {
	dir := t.TempDir()
	disk := filepath.Join(dir, "journal")
	smallDisk(t, disk, 128<<20)
	t.Setenv("SPARROW_JOURNAL_MIN_FREE", "16MiB") // a gibibyte by default, which this disk never has
	s := upIn(t, dir)
	rate := choose(500, 2_000)
	for round := range choose(2, 10) {
		s.must("deploy", "candidate")
		before := s.status().Accepted.Requests
		l := s.load(rate)
		s.await("events flow", time.Minute, func() error {
			if n := s.status().Accepted.Requests - before; n < uint64(rate) {
				return fmt.Errorf("%d accepted", n)
			}
			return nil
		})
		s.must("compare", "--wait", "1m")
		s.must("deploy", "cutover")
		fill(t, filepath.Join(disk, "somebody-elses-file"))
		s.await("refused with 503 and Retry-After", 30*time.Second, func() error {
			resp, err := postOnce(s.ends.Clients)
			if err != nil {
				return err
			}
			if resp.code != 503 || resp.retryAfter == "" {
				return fmt.Errorf("answered %d, Retry-After %q: %s", resp.code, resp.retryAfter, resp.body)
			}
			return nil
		})
		s.must("deploy", "rollback", "--reason", "while the disk is full")
		if live := s.status().Live; live != "green" {
			t.Errorf("live is %s after the rollback", live)
		}
		if resp, err := postOnce(s.ends.Clients); err != nil || resp.code != 503 {
			t.Errorf("still full, answered %v, %v", resp, err)
		}
		if err := os.Remove(filepath.Join(disk, "somebody-elses-file")); err != nil {
			t.Fatal(err)
		}
		freed := time.Now()
		s.await("accepts again by itself", 10*time.Second, func() error {
			resp, err := postOnce(s.ends.Clients)
			if err != nil {
				return err
			}
			if resp.code != 200 {
				return fmt.Errorf("answered %d: %s", resp.code, resp.body)
			}
			return nil
		})
		t.Logf("round %d: accepting again %s after space returned", round, time.Since(freed).Round(time.Millisecond))
		s.exactlyOnce(l.stop(t))
	}
	s.inJournal(s.exactlyOnce(nil))
}

type answer struct {
	code             int
	retryAfter, body string
}

func postOnce(clients string) (answer, error) {
	resp, err := client.Post(clients+"/v1/events?k=dev", "application/json", probe())
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header.Get("Retry-After"), string(body)}, err
}

var client = &http.Client{Timeout: 10 * time.Second}

func probe() io.Reader {
	return strings.NewReader(`{"event":"probe","deviceId":"disk-test","properties":{}}`)
}
