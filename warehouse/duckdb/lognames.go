package duckdb

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
)

// logs are the names a log may have: the one while the other is folded into the file, then it takes over its name.
func logs(path string) []string { return []string{path + ".wal.checkpoint", path + ".wal"} }

// fileSize is a file's size; 0 if there is none.
func fileSize(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// logSize is how many bytes of log are not folded into the file of the given path.
func logSize(path string) (n int64) {
	for _, name := range logs(path) {
		n += fileSize(name)
	}
	return n
}

// mendLogs empties a second log that is too short for its own beginning, which a crash may leave: DuckDB takes an empty
// one, but not that (tried). Nothing was acknowledged in it: the smallest commit has 249 bytes.
func mendLogs(path string) error {
	second := logs(path)[0]
	if n := fileSize(second); n == 0 || n >= 64 {
		return nil
	}
	return os.Truncate(second, 0)
}

// logNames are the logs whose names are known to be on disk. They are kept open, so that no later log can be mistaken for
// one of them: a file system gives inodes out again.
type logNames struct {
	mu    sync.Mutex
	known []*os.File
}

// has reports whether a log is known; n.mu is held.
func (n *logNames) has(log os.FileInfo) bool {
	for _, f := range n.known {
		if info, err := f.Stat(); err == nil && os.SameFile(info, log) {
			return true
		}
	}
	return false
}

// forget closes all.
func (n *logNames) forget() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.close()
}

func (n *logNames) close() {
	for _, f := range n.known {
		f.Close()
	}
	n.known = nil
}

// prune closes the logs that have no name any more. That frees what may be many megabytes, 20 ms of work, which an append
// would otherwise find to do at the next log.
func (n *logNames) prune() {
	n.mu.Lock()
	var gone []*os.File
	n.known = slices.DeleteFunc(n.known, func(f *os.File) bool {
		info, err := f.Stat()
		if err != nil || info.Sys().(*syscall.Stat_t).Nlink > 0 {
			return false
		}
		gone = append(gone, f)
		return true
	})
	n.mu.Unlock()
	for _, f := range gone {
		f.Close()
	}
}

// syncNames makes the names of the logs durable if they are not yet. DuckDB syncs a log's bytes, but makes a new one at
// each checkpoint, and never syncs the folder: after a power cut a log may be gone together with what it acknowledged.
// A log that only changes its name is known: under either name DuckDB finds it.
func (e *Engine) syncNames() error {
	n := &e.names
	n.mu.Lock()
	defer n.mu.Unlock()
	var bytes int64
	unknown := false
	// In this order: a log that is neither at its first name any more nor at its second is in the file.
	for _, name := range logs(e.o.Path) {
		info, err := os.Stat(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return &commitError{err}
		}
		bytes += info.Size()
		unknown = unknown || !n.has(info)
	}
	if e.logged.Store(bytes); bytes >= e.o.Log {
		e.folder()
	}
	if !unknown {
		return nil
	}
	var found []*os.File
	for _, name := range logs(e.o.Path) {
		if f, err := os.Open(name); err == nil {
			found = append(found, f)
		}
	}
	err := syncFolder(filepath.Dir(e.o.Path))
	n.close()
	n.known = found
	if err != nil {
		n.close()
		return &commitError{fmt.Errorf("sync of the folder: %w", err)}
	}
	return nil
}

func syncFolder(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
