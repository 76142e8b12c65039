package trace_test

import (
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sparrowhq/sparrow/trace/sandbox"
	"github.com/sparrowhq/sparrow/warehouse"
)

const (
	inNamespace = "SPARROW_TRACE_NAMESPACE"
	notAllowed  = "may not mount"
)

// onSmallDisk runs the calling test again in a mount namespace of its own, where it may mount what it likes and leaves
// nothing behind. It returns "" in the process that only waits for the other, there an empty file system's folder.
func onSmallDisk(t *testing.T, megabytes string) string {
	t.Helper()
	if os.Getenv(inNamespace) == "" {
		c := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=120s")
		c.Env = append(os.Environ(), inNamespace+"=1")
		c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
		if os.Getuid() != 0 {
			c.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
			c.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
			c.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
		}
		out, err := c.CombinedOutput()
		if errors.Is(err, syscall.EPERM) || strings.Contains(string(out), notAllowed) {
			t.Skip("skip: needs root, or user namespaces (sysctl kernel.unprivileged_userns_clone=1), to mount a small file system")
		}
		if err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return ""
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Fatalf("%s: %v", notAllowed, err)
	}
	dir := filepath.Join(t.TempDir(), "disk")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+megabytes+"m"); err != nil {
		t.Fatalf("%s: %v", notAllowed, err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

// With a full disk deliveries are refused for later, and lanes wait, visibly; once there is room all goes on, and nothing
// is lost or there twice.
func TestFullDisk(t *testing.T) {
	dir := onSmallDisk(t, "24")
	if dir == "" {
		return
	}
	v, w := startVendors(t), openWarehouse(t)
	p := start(t, options(t, filepath.Join(dir, "trace"), v, w))
	p.deliver(many(t, 1, 5))
	p.settled()

	// Results of events in flight come back to a full disk.
	v.scenario("rules: [{name: slow, fault: slow, delay: 300ms}]")
	p.deliver(many(t, 6, 5))
	ballast := filepath.Join(dir, "ballast")
	f, err := os.Create(ballast)
	if err != nil {
		t.Fatal(err)
	}
	chunk := make([]byte, 4096)
	for err == nil {
		_, err = f.Write(chunk)
	}
	f.Close()
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	next := 11
	for refused := false; !refused; next += 50 {
		_, err := p.forward(many(t, next, 50))
		if refused = err != nil; refused && !errors.Is(err, warehouse.ErrBusy) {
			t.Errorf("on a full disk: %v", err)
		}
		if refused {
			break
		}
		if next > 2000 {
			t.Fatal("the disk does not get full")
		}
	}
	until(t, "it says why", func() bool { return p.do(http.MethodGet, "/readyz", nil, nil) == http.StatusServiceUnavailable })
	if _, err := p.forward(many(t, next, 50)); !errors.Is(err, warehouse.ErrBusy) {
		t.Errorf("on a full disk: %v", err)
	}

	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	v.scenario("rules: []")
	p.deliver(many(t, next, 50))
	p.settled()
	want := (next + 49) * 20
	for _, stage := range []string{"trace", "ga4", "heap", "amplitude", "hook"} {
		if got := outcomes(t, w, stage); len(got) != want {
			t.Errorf("%s has %d outcomes, want %d", stage, len(got), want)
		}
	}
	for _, vendor := range []sandbox.Vendor{sandbox.GA4, sandbox.Heap, sandbox.Amplitude, sandbox.Webhook} {
		ids := v.ids(vendor, "production")
		if len(ids) != want {
			t.Errorf("%s got %d events, want %d", vendor, len(ids), want)
		}
		for id, n := range ids {
			if n != 1 {
				t.Errorf("%s got %s %d times", vendor, id, n)
			}
		}
	}
	if s := p.status(); s.Lanes["ga4"].Stopped != "" || s.Accepting != "" {
		t.Errorf("afterwards: %+v", s)
	}
}
