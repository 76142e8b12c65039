package journal

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// ballast is a file that keeps disk space back. When the disk is full it is cut shorter, a piece at a time: whoever
// filled the disk may eat a freed piece as well, and there must be another for the next rollback.
//
// It holds noise, since a file system that compresses or leaves holes would keep no space back for zeros.
type ballast struct {
	path string
	want int64
}

func newBallast(dir string, want int64) ballast {
	return ballast{path: filepath.Join(dir, "ballast"), want: want}
}

// size is how much is kept back now.
func (b ballast) size() int64 {
	info, err := os.Stat(b.path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// fill makes the file as long as it should be, synced. On an error it is shorter, and stays what it can be.
func (b ballast) fill() error {
	f, err := os.OpenFile(b.path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("ballast: %w", err)
	}
	err = b.fillFile(f)
	return errors.Join(err, f.Close())
}

func (b ballast) fillFile(f *os.File) error {
	at, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return fmt.Errorf("ballast: %w", err)
	}
	if at > b.want { // the option was lowered
		if err := f.Truncate(b.want); err != nil {
			return fmt.Errorf("ballast: %w", err)
		}
	}
	noise := rand.NewChaCha8([32]byte{})
	if _, err := io.CopyN(f, noise, max(0, b.want-at)); err != nil {
		return fmt.Errorf("ballast: %w", err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("ballast: %w", err)
	}
	return nil
}

// release gives back a quarter, but goes no lower than floor. It reports whether it gave anything back.
func (b ballast) release(floor int64) (bool, error) {
	size := b.size()
	to := max(floor, size-(b.want+3)/4)
	if size == 0 || to >= size {
		return false, nil
	}
	f, err := os.OpenFile(b.path, os.O_WRONLY, 0)
	if err != nil {
		return false, fmt.Errorf("ballast: %w", err)
	}
	if err = f.Truncate(to); err == nil {
		err = f.Sync() // some file systems give freed blocks out again only once they know it on disk
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return false, fmt.Errorf("ballast: %w", err)
	}
	return true, nil
}
