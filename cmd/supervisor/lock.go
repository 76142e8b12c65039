package supervisor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Private creates dir for its owner only. A folder that others may enter is repaired; one that belongs to somebody
// else is refused. It reports whether it repaired something.
func Private(dir string) (repaired bool, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return false, fmt.Errorf("data folder: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return false, fmt.Errorf("data folder: %w", err)
	}
	if !info.IsDir() {
		return false, fmt.Errorf("data folder %s: is not a folder", dir)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Geteuid() {
		return false, fmt.Errorf("data folder %s belongs to user %d, this is user %d: run as that user, or choose another folder with --data", dir, st.Uid, os.Geteuid())
	}
	if info.Mode().Perm()&0o077 == 0 {
		return false, nil
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return false, fmt.Errorf("data folder %s is open to others (mode %04o) and cannot be closed: %w", dir, info.Mode().Perm(), err)
	}
	return true, nil
}

// Folder is a data folder taken for one supervisor. The kernel gives it back when the process ends, however it ends.
type Folder struct {
	Path     string
	own      *os.File // this supervisor's alone
	children *os.File // shared with its children by inheritance
}

// Take takes the folder dir for this supervisor. Processes of an earlier one that died may still be stopping: they get
// up to wait (0: 60 s) to end, else a new start would meet ports and files still taken; waiting is called once if
// there are any.
func Take(ctx context.Context, dir string, wait time.Duration, waiting func()) (*Folder, error) {
	own, err := lock(dir)
	if err != nil {
		return nil, err
	}
	children, err := lockChildren(ctx, dir, cmp.Or(wait, time.Minute), waiting)
	if err != nil {
		own.Close()
		return nil, err
	}
	return &Folder{Path: dir, own: own, children: children}, nil
}

// Release gives the folder back.
func (f *Folder) Release() {
	f.children.Close()
	f.own.Close()
}

func lock(dir string) (*os.File, error) {
	path := filepath.Join(dir, "lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			pid, _ := os.ReadFile(path)
			return nil, fmt.Errorf("data folder %s is in use by another `sparrow up`, process %s: stop that one, or choose another folder with --data", dir, strings.TrimSpace(string(pid)))
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	if err := f.Truncate(0); err == nil { // only to tell who is refused
		_, _ = fmt.Fprintln(f, os.Getpid())
	}
	return f, nil
}

// lockChildren waits until no process of an earlier supervisor is left: each holds this lock by inheritance.
func lockChildren(ctx context.Context, dir string, bound time.Duration, waiting func()) (*os.File, error) {
	path := filepath.Join(dir, "children.lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, fs.FileMode(0o600))
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	deadline := time.Now().Add(bound)
	for first := true; ; first = false {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		if first {
			waiting()
		}
		if time.Now().After(deadline) {
			f.Close()
			return nil, fmt.Errorf("data folder %s: processes of an earlier `sparrow up` still run after %s; `fuser %s` shows them: end them, then start again", dir, bound, path)
		}
		select {
		case <-time.After(50 * time.Millisecond): // flock has no wait that a context can end
		case <-ctx.Done():
			f.Close()
			return nil, ctx.Err()
		}
	}
}
