package duckdb

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// However somebody who removes what was left meets somebody who begins: no folder is removed that its maker holds.
func TestFolderIsHeldFromItsFirstMoment(t *testing.T) {
	dir := t.TempDir()
	stop := make(chan struct{})
	var sweepers, makers sync.WaitGroup
	for range 2 {
		sweepers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					removeLeft(dir)
				}
			}
		})
	}
	for range 4 {
		makers.Go(func() {
			for range 100 {
				f, err := newFolder(filepath.Join(dir, "x.parquet"))
				if err != nil {
					t.Error(err)
					return
				}
				if err := os.WriteFile(filepath.Join(f.path, "rows"), []byte("x"), 0o600); err != nil {
					t.Error(err)
				}
				if _, err := os.ReadFile(filepath.Join(f.path, "rows")); err != nil {
					t.Error(err)
				}
				if err := f.remove(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	makers.Wait()
	close(stop)
	sweepers.Wait()
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}
