package duckdb

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
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

// TestUndoThatDoesNotApply has putBack change nothing under an undo file that is not whole, or of another state of the
// database, or while another program has the database open.
func TestUndoThatDoesNotApply(t *testing.T) {
	if path := os.Getenv("SPARROW_TEST_LOCK"); path != "" {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err == nil {
			err = syscall.FcntlFlock(f.Fd(), syscall.F_SETLK, &syscall.Flock_t{Type: syscall.F_WRLCK})
		}
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println("locked")
		io.Copy(io.Discard, os.Stdin)
		return
	}
	e := twoStacks(t, Options{})
	path := filepath.Join(t.TempDir(), "warehouse.duckdb")
	checkpointed := func() (file, undo []byte) {
		at, _ := e.Cursor(t.Context(), event.Green, 0, warehouse.Raw)
		if _, err := e.Append(t.Context(), frames(event.Green, at.Frame, at.Frame+3, 7)); err != nil {
			t.Fatal(err)
		}
		e.folds = func(bool) func(error) {
			file, undo = contents(t, e.o.Path), contents(t, undoPath(e.o.Path))
			return func(error) {}
		}
		if err := e.checkpoint(); err != nil {
			t.Fatal(err)
		}
		return file, undo
	}
	const block = 256 << 10
	saved := func(undo []byte) (ids []int64) {
		for rest := undo[len(undoMagic)+pageSize:]; len(rest) > block; rest = rest[8+block:] {
			ids = append(ids, int64(binary.LittleEndian.Uint64(rest)))
		}
		return ids
	}
	var file, undo, earlier []byte
	torn := int64(-1) // a block that both undo files have
	for torn < 0 {
		earlier = undo
		file, undo = checkpointed()
		for _, id := range saved(undo) {
			if earlier != nil && slices.Contains(saved(earlier), id) {
				torn = id
			}
		}
	}
	file[offset(torn, block)+100] ^= 1
	for name, try := range map[string]struct {
		undo []byte
		lock bool
		want int
	}{
		"as it is":                 {undo, false, 1},
		"cut short":                {undo[:len(undo)-1], false, 0},
		"a bit turned":             {append(bytes.Clone(undo[:5000]), append([]byte{undo[5000] ^ 1}, undo[5001:]...)...), false, 0},
		"of the checkpoint before": {earlier, false, 0},
		"empty":                    {nil, false, 0},
		"open in another program":  {undo, true, 0},
	} {
		for name, data := range map[string][]byte{path: file, undoPath(path): try.undo} {
			if err := os.WriteFile(name, data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		release := func() {}
		if try.lock {
			release = lockElsewhere(t, path)
		}
		n, err := putBack(path)
		release()
		if changed := !bytes.Equal(contents(t, path), file); err != nil || n != try.want || changed != (try.want > 0) {
			t.Errorf("%s: %d blocks put back, changed %v, %v; want %d", name, n, changed, err, try.want)
		}
	}
}

// lockElsewhere has another process lock the file as DuckDB does, until release is called.
func lockElsewhere(t *testing.T, path string) (release func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), "SPARROW_TEST_LOCK="+path)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if said, err := bufio.NewReader(out).ReadString('\n'); said != "locked\n" {
		t.Fatalf("%q, %v", said, err)
	}
	return func() { in.Close(); cmd.Wait() }
}

// FuzzPutBack has any body, rightly signed and of the database's own header, and a database that is all torn.
func FuzzPutBack(f *testing.F) {
	page := make([]byte, pageSize)
	binary.LittleEndian.PutUint64(page[8+4*8:], pageSize)
	f.Add(page, append(binary.LittleEndian.AppendUint64(nil, 0), make([]byte, pageSize)...), 5*pageSize)
	f.Add(page, binary.LittleEndian.AppendUint64(nil, 1<<60), headerSize)
	f.Fuzz(func(t *testing.T, page, body []byte, size int) {
		head := make([]byte, pageSize)
		copy(head, page)
		sum := uint64(5381)
		for at := 8; at < pageSize; at += 8 {
			sum ^= binary.LittleEndian.Uint64(head[at:]) * 0xbf58476d1ce4e5b9
		}
		binary.LittleEndian.PutUint64(head, sum)
		image := append(append([]byte(undoMagic), head...), body...)
		signed := sha256.Sum256(image)
		file := make([]byte, min(max(size, headerSize), 1<<20))
		copy(file[pageSize:], head)
		path := filepath.Join(t.TempDir(), "db")
		if err := errors.Join(os.WriteFile(path, file, 0o600), os.WriteFile(undoPath(path), append(image, signed[:]...), 0o600)); err != nil {
			t.Fatal(err)
		}
		n, err := putBack(path)
		after := contents(t, path)
		if len(after) != len(file) || !bytes.Equal(after[:headerSize], file[:headerSize]) {
			t.Errorf("%d blocks put back, %v: the file had %d bytes and has %d, or another header", n, err, len(file), len(after))
		}
	})
}
