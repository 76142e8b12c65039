package duckdb

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
)

// lockFile is held while the database is open. DuckDB's own lock is of the kind that a process loses when it closes any
// other descriptor of the file, and that does not keep a process from opening the file twice; then two engines would
// write one file, each sure to be alone.
type lockFile struct{ f *os.File }

func lock(path string) (*lockFile, error) {
	f, err := os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		holder := make([]byte, 32)
		n, _ := f.ReadAt(holder, 0)
		f.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s.lock: %w", path, err)
		}
		return nil, fmt.Errorf("process %s has it open, and only one may: ask that process (sparrow query does), or stop it first", strings.TrimSpace(string(holder[:n])))
	}
	if err := f.Truncate(0); err == nil {
		f.WriteAt(fmt.Appendf(nil, "%d\n", os.Getpid()), 0)
	}
	return &lockFile{f}, nil
}

// release gives the lock up. The file stays: removing it would let two processes hold locks of the same name.
func (l *lockFile) release() { l.f.Close() }
