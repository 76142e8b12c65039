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
// acknowledgement without anything written since the last; with something written that was not synced after it was; or
// with a new file whose name was not.
func checkSyncs(calls []traceLine) (acknowledged int, faults []string) {
	written, synced := map[string]int{}, map[string]int{} // writes to a file, and how many of them are synced
	syncing := map[string]int{}                           // how many a sync under way covers
	sinceAck := 0
	for _, c := range calls {
		path := ""
		if m := fdPath.FindStringSubmatch(c.args); m != nil {
			path = m[1]
		}
		journal := strings.HasSuffix(path, "/sparrow/msgs") || strings.Contains(path, "/sparrow/msgs/") && strings.HasSuffix(path, ".blk")
		switch c.name {
		case "openat":
			if m := created.FindStringSubmatch(c.args); m != nil && c.left && c.ok {
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
				}
				sinceAck = 0
			}
			if journal && c.left && c.ok {
				written[path]++
				sinceAck++
			}
		case "fsync", "fdatasync":
			if journal && c.entered {
				syncing[path] = written[path]
			}
			if journal && c.left && c.ok {
				synced[path] = max(synced[path], syncing[path])
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

// A disk that fails now and then: nothing acknowledged is lost, and the journal comes back by itself.
func TestFailingDisk(t *testing.T) {
	for name, args := range map[string][]string{
		"sync fails":       {"-e", "inject=fsync:error=EIO:when=60"},
		"write fails":      {"-e", "inject=pwrite64:error=EIO:when=25"},
		"write finds full": {"-e", "inject=pwrite64:error=ENOSPC:when=25"},
		"no new file":      {"-e", "inject=openat:error=EIO:when=1", "-P", "/sparrow/msgs/2.blk"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if i := len(args) - 1; args[i-1] == "-P" {
				args[i] = filepath.Join(messagesDir(dir, mainStream), filepath.Base(args[i]))
			}
			// More than one block file, and several times as many calls as the error waits for on each of some threads.
			a, said := traced(t, dir, strace(t, append(args, "-o", "/dev/null")...), "FRAMES=300", "SIZE=70000")
			if len(a.sums) != 300 {
				t.Errorf("%d acknowledged, want 300\n%s", len(a.sums), said)
			}
			if !strings.Contains(said, "not acknowledged") {
				t.Errorf("no frame met the error")
			}
			a.check(t, open(t, options(dir)))
		})
	}
}
