package duckdb

import (
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// TestFullDisk lets no file grow beyond a size for a while, in a process of its own: first the log cannot be written,
// then the file itself not at a checkpoint. Nothing acknowledged is lost, nothing is doubled, and the engine goes on by
// itself once there is room.
func TestFullDisk(t *testing.T) {
	dir := os.Getenv("SPARROW_TEST_DISK")
	if dir == "" {
		for _, limit := range []string{"log", "file"} {
			t.Run(limit, func(t *testing.T) {
				cmd := again(t, "SPARROW_TEST_DISK="+t.TempDir(), "SPARROW_TEST_LIMIT="+limit)
				cmd.Args[2] = "^TestFullDisk$"
				out, err := cmd.CombinedOutput()
				if err != nil || !strings.Contains(string(out), "disk was full") {
					t.Errorf("%v\n%s", err, out)
				}
			})
		}
		return
	}
	signal.Ignore(syscall.SIGXFSZ)
	path := filepath.Join(dir, "warehouse", "warehouse.duckdb")
	o := Options{Path: path, Log: 4 << 20}
	e, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	var acknowledged uint64
	add := func(rows int) error {
		b := frames(event.Green, acknowledged, acknowledged+1, rows)
		for i := range b.Rows {
			b.Rows[i].Data = make([]byte, 1000)
			rand.Read(b.Rows[i].Data)
		}
		c, err := e.Append(t.Context(), b)
		if err == nil {
			acknowledged = c.Frame
		}
		return err
	}
	room := func(bytes uint64) {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: bytes, Max: 1 << 40}); err != nil {
			t.Fatal(err)
		}
	}
	for range 4 {
		if err := add(100); err != nil {
			t.Fatal(err)
		}
	}
	limit := uint64(1 << 20) // the log has some 400 KiB
	if os.Getenv("SPARROW_TEST_LIMIT") == "file" {
		limit = 6 << 20 // more than the log before its second checkpoint, less than the file after it
	}
	room(limit)
	full := 0
	for range 2000 {
		if err := add(100); err != nil {
			if full++; full == 1 {
				fmt.Println(err)
			}
			if full == 3 {
				break
			}
		}
		if e.opened > 1 {
			full++ // the checkpoint failed after the commit, which is kept, and the file was opened again
			break
		}
	}
	if full == 0 || (e.opened > 1) != (os.Getenv("SPARROW_TEST_LIMIT") == "file") {
		t.Fatalf("the disk was full %d times, the file was opened %d times", full, e.opened)
	}
	room(1 << 40)
	for range 3 {
		if err := add(100); err != nil {
			t.Fatalf("there is room again: %v", err)
		}
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if e, err = Open(o); err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	rows, err := e.Query(t.Context(), warehouse.Query{SQL: `SELECT count(*), count(DISTINCT "eventId"), min(frame), max(frame), max(n) FROM (SELECT *, count(*) OVER (PARTITION BY frame) n FROM green.raw)`})
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	got, err := rows.Next()
	want := int64(acknowledged-2) * 100
	if err != nil && err != io.EOF || fmt.Sprint(got) != fmt.Sprint([]any{want, want, 2, acknowledged - 1, 100}) {
		t.Errorf("rows, ids, first and last frame, rows of a frame: %v, %v; %d frames were acknowledged", got, err, acknowledged-2)
	}
	fmt.Println("disk was full")
}

// TestTornLog cuts the log at many places, as a power cut may. What is left opens, and is whole batches in order.
func TestTornLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "warehouse", "warehouse.duckdb")
	e, err := Open(Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	// The tables are in the file; only appends are in the log.
	c, err := e.db.connect()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.exec("CHECKPOINT"); err != nil {
		t.Fatal(err)
	}
	c.close()
	for at := uint64(0); at < 20; at++ {
		if _, err := e.Append(t.Context(), frames(event.Green, at, at+1, 7)); err != nil {
			t.Fatal(err)
		}
	}
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.ReadFile(path + ".wal")
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	last := int64(-1)
	cuts := 31
	if os.Getenv("SPARROW_SOAK") != "" {
		cuts = 397
	}
	for cut := 0; cut <= len(log); cut += max(1, len(log)/cuts) {
		torn := filepath.Join(t.TempDir(), "w", "warehouse.duckdb")
		if err := os.MkdirAll(filepath.Dir(torn), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(torn, file, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(torn+".wal", log[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		e, err := Open(Options{Path: torn})
		if err != nil {
			t.Fatalf("log of %d bytes cut at %d: %v", len(log), cut, err)
		}
		at, err := e.Cursor(t.Context(), event.Green, 0, warehouse.Raw)
		if err != nil {
			t.Fatal(err)
		}
		c, err := e.db.connect()
		if err != nil {
			t.Fatal(err)
		}
		n, err := c.value("SELECT count(*) FROM green.raw")
		c.close()
		if want := int64(max(at.Frame, 2)-2) * 7; err != nil || n != want {
			t.Errorf("cut at %d: cursor %v and %v rows, %v; want %d", cut, at, n, err, want)
		}
		if int64(at.Frame) < last {
			t.Errorf("cut at %d: cursor %v, a shorter log had %d", cut, at, last)
		}
		last = int64(at.Frame)
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if last < 19 {
		t.Errorf("the whole log gives cursor %d", last)
	}
}
