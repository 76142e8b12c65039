package service

import (
	"io/fs"
	"os"
	"path/filepath"
)

// WriteFile replaces path durably and at once: temporary file, write, sync, close, rename, sync of the folder.
func WriteFile(path string, data []byte, mode fs.FileMode) error {
	return place(path, data, mode, os.Rename)
}

// place writes a temporary file beside path and lets put give it its name. No temporary file stays behind.
func place(path string, data []byte, mode fs.FileMode, put func(temporary, path string) error) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // after a rename there is nothing to remove
	defer f.Close()           // after the one below it does nothing
	if err := f.Chmod(mode); err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := put(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
