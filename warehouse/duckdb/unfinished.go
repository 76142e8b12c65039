package duckdb

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"syscall"
)

// folder is a private folder for what is not finished. It is locked while somebody uses it, which ends with the process
// however that ends: what nobody holds was left behind.
type folder struct {
	path string
	held *os.File
}

// leftover is how the folders of every process are called: ".NAME.DIGITS.unfinished".
var leftover = regexp.MustCompile(`^\..+\.[0-9]+\.unfinished$`)

// newFolder makes a folder beside path.
func newFolder(path string) (*folder, error) {
	for {
		name, err := os.MkdirTemp(filepath.Dir(path), "."+filepath.Base(path)+".*.unfinished")
		if err != nil {
			return nil, err
		}
		f, err := os.Open(name)
		if errors.Is(err, os.ErrNotExist) {
			continue // taken for left behind before it was locked
		}
		if err != nil {
			os.Remove(name)
			return nil, err
		}
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if _, gone := os.Stat(name); errors.Is(err, syscall.EWOULDBLOCK) || gone != nil {
			f.Close()
			os.Remove(name)
			continue
		}
		// A file system without locks does for everything else. Nobody can lock a folder there to remove it either.
		return &folder{name, f}, nil
	}
}

// remove removes the folder with what is in it.
func (f *folder) remove() error {
	err := os.RemoveAll(f.path)
	f.held.Close()
	return err
}

// removeLeft removes the folders in dir that processes left behind which were killed. One that cannot be removed stays: it
// is in nobody's way.
func removeLeft(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if !e.IsDir() || !leftover.MatchString(e.Name()) {
			continue
		}
		path := filepath.Join(dir, e.Name())
		f, err := os.Open(path)
		if err != nil {
			continue
		}
		if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			os.RemoveAll(path)
		}
		f.Close()
	}
}
