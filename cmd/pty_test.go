package cmd

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// openPTY returns the two ends of a terminal of 24 lines and 120 columns.
func openPTY(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no terminals on this machine: %v", err)
	}
	t.Cleanup(func() { master.Close() })
	fd := int(master.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slave.Close() })
	if err := unix.IoctlSetWinsize(int(slave.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 120}); err != nil {
		t.Fatal(err)
	}
	return master, slave
}

// watched collects what a terminal is shown.
type watched struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (w *watched) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.all.Write(b)
}

func (w *watched) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.all.String()
}

// On a terminal, up shows a status that is refreshed in place, and send a bar; neither leaves a trace in the history.
func TestStatusOnATerminal(t *testing.T) {
	master, slave := openPTY(t)
	var seen watched
	go io.Copy(&seen, master) // ends when the terminal is closed
	r := &running{t: t, bin: build(t, "./sparrow"), dir: t.TempDir(), out: new(bytes.Buffer)}
	r.cmd = exec.Command(r.bin, "up", "--data", r.dir, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
	r.cmd.Env = append(os.Environ(), "TERM=xterm")
	r.cmd.Stdout, r.cmd.Stderr = slave, slave
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.end(syscall.SIGTERM) })
	shows := func(what string, parts ...string) {
		t.Helper()
		r.await(what, func() error {
			text := seen.String()
			for _, part := range parts {
				if !strings.Contains(text, part) {
					return fmt.Errorf("the terminal does not show %q:\n%q", part, text[max(0, len(text)-2000):])
				}
			}
			return nil
		})
	}
	shows("the status", "Sparrow is ready", "green-dispatcher", "\x1b[32mready", "accepted 0 requests", "up to date", "A\r\x1b[J")
	r.must("send", "--generate", "200")
	shows("the flow", "accepted 200 requests")
	if err := syscall.Kill(r.pid("blue-dispatcher"), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	shows("the failure", "blue-dispatcher\x1b[0m: \x1b[31mended: signal: killed", "started 2 times")
	if status := r.end(syscall.SIGTERM); status != 0 {
		t.Errorf("exit status %d", status)
	}
	shows("the end", "stopping in order", "stopped\r\n")
}

func TestSendShowsItsProgress(t *testing.T) {
	r := startUp(t, t.TempDir())
	master, slave := openPTY(t)
	var seen watched
	go io.Copy(&seen, master)
	cmd := exec.Command(r.bin, "send", "--generate", "300", "--rate", "300")
	cmd.Env = append(os.Environ(), "SPARROW_DATA="+r.dir, "TERM=xterm")
	cmd.Stdout, cmd.Stderr = slave, slave
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, seen.String())
	}
	r.await("the summary", func() error {
		if text := seen.String(); !strings.Contains(text, "█") || !strings.Contains(text, "acknowledged  ") || !strings.Contains(text, "\x1b[J300 of 300 events acknowledged") {
			return fmt.Errorf("%q", text)
		}
		return nil
	})
}
