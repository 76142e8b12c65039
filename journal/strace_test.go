package journal

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// strace returns the arguments that run the child under strace, or skips the test.
func strace(t *testing.T, args ...string) []string {
	t.Helper()
	path, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("skip: needs strace (apt-get install strace)")
	}
	if out, err := exec.Command(path, "-f", "-qq", "-o", "/dev/null", "true").CombinedOutput(); err != nil {
		t.Skipf("skip: needs to be allowed to trace its own processes: %s", out)
	}
	return append([]string{path, "-f", "-qq"}, args...)
}

// traced runs a publisher under strace and returns what it was told and what it said of failures.
func traced(t *testing.T, dir string, tracer []string, env ...string) (acks, string) {
	t.Helper()
	c := child(t.Context(), "publish", append(env, "DIR="+dir)...)
	c.Args = append(tracer, c.Path)
	c.Path = tracer[0]
	var said bytes.Buffer
	c.Stderr = &said
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	var a acks
	a.collect(t, out, 1<<30)
	if err := c.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, said.String())
	}
	return a, said.String()
}

// traceLine is one line of strace's output: a call entered, left, or both.
type traceLine struct {
	name          string
	args          string
	entered, left bool
	ok            bool
}

var (
	whole      = regexp.MustCompile(`^\d+\s+(\w+)\((.*)\)\s+= (-?\d+)`)
	unfinished = regexp.MustCompile(`^(\d+)\s+(\w+)\((.*) <unfinished \.\.\.>$`)
	resumed    = regexp.MustCompile(`^(\d+)\s+<\.\.\. (\w+) resumed>.*= (-?\d+)`)
)

// syscalls parses strace's output, in the order in which it saw things happen.
func syscalls(t *testing.T, output string) []traceLine {
	t.Helper()
	var all []traceLine
	begun := map[string]string{} // arguments, by thread
	for line := range strings.Lines(output) {
		line = strings.TrimRight(line, "\n")
		if m := whole.FindStringSubmatch(line); m != nil {
			all = append(all, traceLine{name: m[1], args: m[2], entered: true, left: true, ok: m[3][0] != '-'})
		} else if m := unfinished.FindStringSubmatch(line); m != nil {
			begun[m[1]] = m[3]
			all = append(all, traceLine{name: m[2], args: m[3], entered: true})
		} else if m := resumed.FindStringSubmatch(line); m != nil {
			all = append(all, traceLine{name: m[2], args: begun[m[1]], left: true, ok: m[3][0] != '-'})
		}
	}
	return all
}

var (
	fdPath  = regexp.MustCompile(`^\d+<([^>]*)>`)
	created = regexp.MustCompile(`^AT_FDCWD[^"]*"([^"]*/sparrow/msgs)/(\d+\.blk)", [A-Z_|]*O_CREAT`)
	saysAck = regexp.MustCompile(`^1<[^>]*>, "ack (\d+) `)
)

// checkSyncs reads what a publisher did and returns how many frames it acknowledged and what it did wrong: an
// acknowledgement without anything written since the last; with something written that was not synced after it was; with
// a new file whose name was not; or with a file whose sync had failed, which later syncs do not make up for.
func checkSyncs(calls []traceLine) (acknowledged int, faults []string) {
	written, synced := map[string]int{}, map[string]int{} // writes to a file, and how many of them are synced
	syncing := map[string]int{}                           // how many a sync under way covers
	failed := map[string]bool{}                           // a sync failed, and the file was not written from its beginning since
	names := map[string]bool{}                            // block files that exist
	sinceAck := 0
	for _, c := range calls {
		path := ""
		if m := fdPath.FindStringSubmatch(c.args); m != nil {
			path = m[1]
		}
		journal := strings.HasSuffix(path, "/sparrow/msgs") || strings.Contains(path, "/sparrow/msgs/") && strings.HasSuffix(path, ".blk")
		switch c.name {
		case "openat":
			if m := created.FindStringSubmatch(c.args); m != nil && c.left && c.ok && !names[m[2]] {
				names[m[2]] = true
				written[m[1]]++ // the folder
			}
		case "pwrite64", "write":
			if m := saysAck.FindStringSubmatch(c.args); m != nil && c.entered {
				acknowledged++
				if sinceAck == 0 {
					faults = append(faults, fmt.Sprintf("sequence %s acknowledged, nothing written", m[1]))
				}
				for p, n := range written {
					if synced[p] < n {
						faults = append(faults, fmt.Sprintf("sequence %s acknowledged, %s not synced", m[1], filepath.Base(p)))
					}
					if failed[p] {
						faults = append(faults, fmt.Sprintf("sequence %s acknowledged, %s not written again after a sync of it failed", m[1], filepath.Base(p)))
					}
				}
				sinceAck = 0
			}
			if journal && c.left && c.ok {
				written[path]++
				sinceAck++
				if strings.HasSuffix(c.args, ", 0") {
					failed[path] = false
				}
			}
		case "fsync", "fdatasync":
			if journal && c.entered {
				syncing[path] = written[path]
			}
			if journal && c.left && c.ok {
				synced[path] = max(synced[path], syncing[path])
			}
			if journal && c.left && !c.ok && strings.HasSuffix(path, ".blk") {
				failed[path] = true // a folder has no bytes of its own to be written again: it only counts as not synced
			}
		}
	}
	return acknowledged, faults
}

func TestEveryAcknowledgementFollowsASync(t *testing.T) {
	const frames = 80
	run := func(t *testing.T, env ...string) []string {
		dir, log := t.TempDir(), filepath.Join(t.TempDir(), "strace")
		tracer := strace(t, "-y", "-s", "40", "-e", "trace=openat,write,pwrite64,fsync,fdatasync", "-o", log)
		a, _ := traced(t, dir, tracer, append(env, fmt.Sprint("FRAMES=", frames), "SIZE=500000")...)
		output, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		n, faults := checkSyncs(syscalls(t, string(output)))
		if n != frames || len(a.sums) != frames {
			t.Fatalf("%d acknowledgements traced, %d received, want %d", n, len(a.sums), frames)
		}
		if blocks, err := filepath.Glob(filepath.Join(messagesDir(dir, mainStream), "*.blk")); err != nil || len(blocks) < 2 {
			t.Fatalf("the journal has %d block files: want several, to see that a new one's name is synced", len(blocks))
		}
		return faults
	}
	t.Run("synced", func(t *testing.T) {
		for _, f := range run(t) {
			t.Error(f)
		}
	})
	// The same check must fail where nothing is synced, or it shows nothing.
	t.Run("unsynced", func(t *testing.T) {
		if faults := run(t, "UNSAFE_NO_SYNC=1"); len(faults) < frames {
			t.Errorf("with syncing off the check finds %d faults in %d acknowledgements", len(faults), frames)
		}
	})
}

// A disk that fails now and then: nothing acknowledged is lost, nothing acknowledged relies on what failed, and the journal
// comes back by itself.
func TestFailingDisk(t *testing.T) {
	for name, inject := range map[string]string{
		"sync fails":       "fsync:error=EIO:when=60",
		"write fails":      "pwrite64:error=EIO:when=25",
		"write finds full": "pwrite64:error=ENOSPC:when=25",
	} {
		t.Run(name, func(t *testing.T) {
			dir, log := t.TempDir(), filepath.Join(t.TempDir(), "strace")
			a, said := traced(t, dir, strace(t, "-y", "-s", "40", "-e", "trace=openat,write,pwrite64,fsync,fdatasync", "-e", "inject="+inject, "-o", log), "FRAMES=300", "SIZE=20000")
			if len(a.sums) != 300 {
				t.Errorf("%d acknowledged, want 300\n%s", len(a.sums), said)
			}
			if !strings.Contains(said, "not acknowledged") {
				t.Error("no frame met the error")
			}
			output, err := os.ReadFile(log)
			if err != nil {
				t.Fatal(err)
			}
			_, faults := checkSyncs(syscalls(t, string(output)))
			for _, f := range faults {
				t.Error(f)
			}
			a.check(t, open(t, options(dir)))
		})
	}
}

// A disk that does not answer: whoever asks is told, while it lasts.
func TestHangingDisk(t *testing.T) {
	dir := t.TempDir()
	tracer := strace(t, "-e", "trace=fsync", "-e", "inject=fsync:delay_enter=5000000:when=60", "-o", "/dev/null")
	c := child(t.Context(), "hang", "DIR="+dir)
	c.Args, c.Path, c.Stderr = append(tracer, c.Path), tracer[0], nil
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestBlockFileThatCannotBeMade(t *testing.T) {
	dir := t.TempDir()
	second := filepath.Join(messagesDir(dir, mainStream), "2.blk")
	a, said := traced(t, dir, strace(t, "-e", "inject=openat:error=EIO:when=1", "-P", second, "-o", "/dev/null"), "FRAMES=60", "SIZE=500000")
	if len(a.sums) != 60 || !strings.Contains(said, "not acknowledged") {
		t.Errorf("%d acknowledged, want 60 after a failure\n%s", len(a.sums), said)
	}
	a.check(t, open(t, options(dir)))
}
