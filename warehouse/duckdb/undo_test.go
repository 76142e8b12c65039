package duckdb

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sparrowhq/sparrow/event"
)

// TestTornBlocks leaves each block that a checkpoint wrote half-written, as a kill or a power cut amid the write
// would: alone, and all at once. The file opens, with every row. Without the undo file it must not, or this shows nothing.
func TestTornBlocks(t *testing.T) {
	e := twoStacks(t, Options{DigestFrames: 4, DigestRows: 5})
	at, failed, mended := uint64(2), 0, 0
	for round := range 5 {
		for range 10 {
			if _, err := e.Append(t.Context(), frames(event.Green, at, at+3, 7)); err != nil {
				t.Fatal(err)
			}
			at += 3
		}
		want := everything(t, e)
		var before, log, saved []byte
		e.folds = func(bool) func(error) {
			before, log = contents(t, e.o.Path), contents(t, e.o.Path+".wal")
			return func(error) { saved = contents(t, undoPath(e.o.Path)) }
		}
		e.full = e.full.Add(-fullEvery * (time.Duration(round) % 2)) // each of both kinds
		if err := e.checkpoint(); err != nil {
			t.Fatal(err)
		}
		after := contents(t, e.o.Path)
		const block = 256 << 10
		var all []int
		for at := headerSize; at < len(before) && at < len(after); at += block {
			if !bytes.Equal(before[at:at+block], after[at:at+block]) {
				all = append(all, at)
			}
		}
		try := func(blocks []int) {
			file := bytes.Clone(before)
			for _, at := range blocks {
				for n := 4096; n < block && bytes.Equal(file[at:at+block], before[at:at+block]); n *= 2 { // a part that differs
					copy(file[at:at+n], after[at:at+n])
				}
			}
			path := filepath.Join(t.TempDir(), "w", "warehouse.duckdb")
			put := func(saved []byte) (string, error) {
				os.RemoveAll(filepath.Dir(path))
				for name, data := range map[string][]byte{path: file, path + ".wal": log, undoPath(path): saved} {
					if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(name, data, 0o600)); err != nil {
						t.Fatal(err)
					}
				}
				x, err := Open(Options{Path: path})
				if err != nil {
					return "", err
				}
				defer x.Close()
				return everything(t, x), nil
			}
			if _, err := put(nil); err != nil {
				failed++
			}
			if got, err := put(saved); err != nil || got != want {
				t.Errorf("round %d, torn at %v: %v\n got %s\nwant %s", round, blocks, err, got, want)
			} else {
				mended++
			}
		}
		for _, at := range all {
			try([]int{at})
		}
		try(all)
	}
	t.Logf("%d files opened; without the undo file %d did not", mended, failed)
	if failed < 5 {
		t.Error("hardly any torn block kept the file from opening: this shows nothing")
	}
}

// everything tells what is stored.
func everything(t *testing.T, e *Engine) string {
	t.Helper()
	return table(t, e, `SELECT 'green', count(*), sum(hash("eventId", event, data, frame, request, item)) FROM green.raw UNION ALL SELECT 'blue', count(*), sum(hash("eventId", event, data, frame, request, item)) FROM blue.raw ORDER BY 1`)
}

func contents(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Error(err)
	}
	return data
}
