package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sparrowhq/sparrow/service"
)

// format is the journal format this build writes, and the newest it reads. It covers the folder, the streams and what
// the messages carry beside the frame.
const format = 1

// folder is the journal's folder, locked for this process.
type folder struct {
	path    string
	lock    *os.File
	ballast ballast
	dirs    dirs
}

// openFolder creates the folder if need be, locks it, and checks its format.
func openFolder(path string, ballast int64) (_ *folder, err error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("journal folder: %w", err)
	}
	if err := os.Chmod(path, 0o700); err != nil {
		return nil, fmt.Errorf("journal folder: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(path, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("journal folder: %w", err)
	}
	f := &folder{path: path, lock: lock, ballast: newBallast(path, ballast), dirs: dirs{path: path, synced: map[string]time.Time{}}}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.close())
		}
	}()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			holder, _ := os.ReadFile(lock.Name())
			return nil, fmt.Errorf("journal folder %s is open in another process (%s): stop it first, or use another folder", path, strings.TrimSpace(string(holder)))
		}
		return nil, fmt.Errorf("journal folder %s: lock: %w", path, err)
	}
	// Only for the message above, so a full disk does not matter.
	if err := lock.Truncate(0); err == nil {
		_, _ = fmt.Fprintf(lock, "pid %d\n", os.Getpid())
	}
	return f, f.checkFormat()
}

func (f *folder) checkFormat() error {
	name := filepath.Join(f.path, "format")
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		if err := service.WriteFile(name, []byte(strconv.Itoa(format)+"\n"), 0o600); err != nil {
			return fmt.Errorf("journal folder: %w", err)
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("journal folder: %w", err)
	}
	return checkFormat(strings.TrimSpace(string(b)), name)
}

// checkFormat refuses a format other than ours, which where carries.
func checkFormat(text, where string) error {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return fmt.Errorf("%s: %q is not a journal format number: the journal is damaged, or not a journal", where, text)
	}
	if n > format {
		return fmt.Errorf("%s: the journal has format %d, this build reads up to %d: run the newer build that wrote it", where, n, format)
	}
	return nil
}

// close gives the folder up.
func (f *folder) close() error { return f.lock.Close() }

// free is the space in bytes that an ordinary process can still write to the folder's file system.
func (f *folder) free() (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(f.path, &st); err != nil {
		return 0, fmt.Errorf("free space of %s: %w", f.path, err)
	}
	return int64(st.Bavail) * int64(st.Bsize), nil
}

// makeRoom gives up a piece of the ballast, but goes no lower than floor, if less than need bytes can be written. It
// gives up one piece at a time, since others may be filling the disk and take it all.
func (f *folder) makeRoom(need int64, floor int64) error {
	n, err := f.free()
	if err != nil || n >= need || f.canWrite(need) {
		return err
	}
	more, err := f.ballast.release(floor)
	if err == nil && !more {
		err = fmt.Errorf("%w: the disk of %s has %d bytes free, this needs %d, and the space kept back is used up: free some space", ErrFull, f.path, n, need)
	}
	return err
}

// canWrite finds out by writing whether there is room for n bytes. The figures of an almost full disk do not say:
// ext4 counts blocks as free that it gives to nobody, and others as taken that it gives to root.
func (f *folder) canWrite(n int64) bool {
	probe, err := os.OpenFile(filepath.Join(f.path, "probe"), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return false
	}
	_, err = probe.Write(make([]byte, n))
	if err == nil {
		err = probe.Sync()
	}
	return errors.Join(err, probe.Close(), os.Remove(probe.Name())) == nil
}
