package cmd

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// settings is a settings file that a test changes.
type settings struct {
	t    *testing.T
	path string
}

func (s settings) write(format string, args ...any) {
	s.t.Helper()
	if err := os.WriteFile(s.path, fmt.Appendf(nil, format, args...), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// probe sends a body of size bytes for an origin, and returns the status and whether the origin may read it.
func probeClients(url, origin string, size int) (status int, allowed bool, err error) {
	r, err := http.NewRequest(http.MethodPost, url+"/v1/events?k=dev", strings.NewReader(strings.Repeat("x", size)))
	if err != nil {
		return 0, false, err
	}
	r.Header.Set("Origin", origin)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, false, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, resp.Header.Get("Access-Control-Allow-Origin") == origin, err
}

// rules checks that a running mirror accepts bodies of size bytes and no more, for pages of origin.
func rules(url, origin string, size int) error {
	if status, allowed, err := probeClients(url, origin, size); err != nil || status != 200 || !allowed {
		return fmt.Errorf("a body of %d bytes: %d, %s allowed: %v, %v", size, status, origin, allowed, err)
	}
	if status, _, err := probeClients(url, origin, size+1); err != nil || status != 413 {
		return fmt.Errorf("a body of %d bytes: %d, %v", size+1, status, err)
	}
	return nil
}

func TestReloadUnderUp(t *testing.T) {
	dir := t.TempDir()
	s := settings{t, filepath.Join(t.TempDir(), "sparrow.yaml")}
	s.write("clients: {origins: [https://one.example], max_body: 1000}\n")
	r := startUp(t, dir, "--config", s.path)
	e := r.endpoints()
	said := func(what string) func() error {
		return func() error {
			log, err := os.ReadFile(filepath.Join(dir, "logs", "up.log"))
			if err != nil || !strings.Contains(string(log), what) {
				return fmt.Errorf("it has not said %q: %v", what, err)
			}
			return nil
		}
	}
	hup := func() {
		t.Helper()
		if err := r.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	if err := rules(e.Clients, "https://one.example", 1000); err != nil {
		t.Fatal(err)
	}
	pid := r.pid(mirrorName)

	s.write("clients: {origins: [https://two.example], max_body: 2000}\n")
	hup()
	r.await("the new settings are followed", func() error { return rules(e.Clients, "https://two.example", 2000) })
	r.await("it says so", said("settings reloaded: clients.origins, clients.max_body"))

	// All or nothing: what is live is not taken if something else is not.
	s.write("clients: {origins: [https://three.example], max_body: 3000, read_timeout: 3s}\njournal: {max_age: 1h}\nwarehouse: {threads: 1}\n")
	hup()
	r.await("it says what takes a restart", said("a restart is needed to change clients.read_timeout, journal.max_age, warehouse.threads: nothing was changed"))
	s.write("clients: {origin: [https://three.example]}\n")
	hup()
	r.await("it says what is wrong", said("unknown setting"))
	s.write("clients: {origins: [no origin], max_body: 3000}\n")
	hup()
	r.await("it says what is wrong", said("no origin"))
	if err := rules(e.Clients, "https://two.example", 2000); err != nil {
		t.Errorf("after refused reloads: %v", err)
	}
	if now := r.pid(mirrorName); now != pid {
		t.Errorf("the mirror was restarted: process %d, before %d", now, pid)
	}

	// What was reloaded is what a mirror that starts again follows.
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	r.await("the mirror is back", func() error {
		if now := r.pid(mirrorName); now == pid || now == 0 {
			return fmt.Errorf("process %d", now)
		}
		return rules(e.Clients, "https://two.example", 2000)
	})
	if status := r.end(syscall.SIGTERM); status != 0 {
		t.Errorf("exit status %d", status)
	}
	if want := "left for next time: accepted "; !strings.Contains(r.out.String(), want) {
		t.Errorf("up does not say what is left:\n%s", r.out)
	}
}

// By hand, with the sockets of systemd: SIGHUP reloads, and a restart refuses nobody, since systemd keeps the sockets.
func TestMirrorOnSystemdSockets(t *testing.T) {
	bin := build(t, "./sparrow")
	dir := t.TempDir()
	ports := reserved(t, 2)
	s := settings{t, filepath.Join(dir, "sparrow.yaml")}
	configure := func(maxBody int, more string) {
		s.write("data: %s\nclients: {listen: %q, origins: [https://one.example], max_body: %d%s}\nadmin: {listen: %q}\njournal: {first_frame: 1}\n"+
			"stacks:\n  green: {url: \"http://%s\"}\n  blue: {url: \"http://%s\"}\n",
			filepath.Join(dir, "data"), "127.0.0.1:1", maxBody, more, "127.0.0.1:2", ports[0], ports[1])
	}
	configure(1000, "")
	// systemd's part: two sockets, with its names for them, handed down as descriptors 3 and 4.
	var sockets []*os.File
	var urls []string
	for range 2 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		f, err := l.(*net.TCPListener).File()
		if err != nil {
			t.Fatal(err)
		}
		l.Close() // f keeps it
		defer f.Close()
		sockets, urls = append(sockets, f), append(urls, "http://"+l.Addr().String())
	}
	start := func() (*exec.Cmd, *bytes.Buffer) {
		t.Helper()
		c := exec.Command("/bin/sh", "-c", `LISTEN_PID=$$ exec "$0" mirror --config "$1"`, bin, s.path)
		c.Env = append(os.Environ(), "LISTEN_FDS=2", "LISTEN_FDNAMES=admin:clients")
		c.ExtraFiles = sockets
		out := new(bytes.Buffer)
		c.Stdout, c.Stderr = out, out
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if c.ProcessState == nil {
				c.Process.Kill()
				c.Wait()
			}
			if t.Failed() {
				t.Logf("the mirror said:\n%s", out)
			}
		})
		return c, out
	}
	end := func(c *exec.Cmd) {
		t.Helper()
		c.Process.Signal(syscall.SIGTERM)
		timer := time.AfterFunc(time.Minute, func() { c.Process.Kill() })
		defer timer.Stop()
		if err := c.Wait(); err != nil {
			t.Errorf("after SIGTERM: %v", err)
		}
	}
	r := &running{t: t, bin: bin}
	admin, clients := urls[0], urls[1]
	first, _ := start()
	r.await("it answers on systemd's sockets", func() error { return rules(clients, "https://one.example", 1000) })
	if resp, err := http.Get(admin + "/healthz"); err != nil || resp.StatusCode != 200 {
		t.Errorf("operators: %v, %v", resp, err)
	} else {
		resp.Body.Close()
	}
	configure(2000, "")
	first.Process.Signal(syscall.SIGHUP)
	r.await("the new settings are followed", func() error { return rules(clients, "https://one.example", 2000) })
	configure(3000, ", idle_timeout: 3s")
	first.Process.Signal(syscall.SIGHUP)
	r.await("a refused reload shows in the metrics", func() error {
		resp, err := http.Get(admin + "/metrics")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err == nil && !bytes.Contains(text, []byte("sparrow_mirror_reload_ok 0")) {
			err = errors.New("not yet")
		}
		return err
	})
	if err := rules(clients, "https://one.example", 2000); err != nil {
		t.Errorf("after a refused reload: %v", err)
	}

	// Between two processes a client is not refused: it waits.
	end(first)
	answered := make(chan error, 1)
	go func() { answered <- rules(clients, "https://one.example", 3000) }()
	second, _ := start()
	if err := <-answered; err != nil {
		t.Errorf("a client that came between two processes: %v", err)
	}
	end(second)
}
