package duckdb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// again runs this test alone in a process of its own, with the environment given.
func again(t *testing.T, env ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), env...)
	return cmd
}

func TestSecondOpenerIsRefused(t *testing.T) {
	if path := os.Getenv("SPARROW_TEST_OPEN"); path != "" {
		e, err := Open(Options{Path: path})
		if err == nil {
			e.Close()
		}
		fmt.Printf("opened: %v\n", err)
		return
	}
	e := openTest(t, Options{})
	want := fmt.Sprintf("process %d has it open", os.Getpid())
	if _, err := Open(Options{Path: e.o.Path}); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("second Open in this process: %v, want %q", err, want)
	}
	out, err := again(t, "SPARROW_TEST_OPEN="+e.o.Path).CombinedOutput()
	if err != nil || !strings.Contains(string(out), want) {
		t.Errorf("Open in another process: %v, %s; want %q", err, out, want)
	}
	if _, err := e.Append(t.Context(), frames(event.Green, 0, 3, 3)); err != nil {
		t.Errorf("the one that has it open is disturbed: %v", err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	out, err = again(t, "SPARROW_TEST_OPEN="+e.o.Path).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "opened: <nil>") {
		t.Errorf("Open in another process after Close: %v, %s", err, out)
	}
}

// change runs SQL on a closed file.
func change(t *testing.T, path string, sql ...string) {
	t.Helper()
	db, err := openNative(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.close()
	c, err := db.connect()
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	for _, s := range sql {
		if err := c.exec(s); err != nil {
			t.Fatal(err)
		}
	}
}

// newerStorage makes a file say that it is in a storage version of DuckDB's far future, with the checksum that goes with it.
func newerStorage(t *testing.T, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	head := data[:4096] // checksum, "DUCK", version, …
	if string(head[8:12]) != "DUCK" {
		t.Fatalf("the file begins with %q", head[:16])
	}
	binary.LittleEndian.PutUint64(head[12:], 9999)
	sum := uint64(5381)
	for at := 8; at < len(head); at += 8 {
		sum ^= binary.LittleEndian.Uint64(head[at:]) * 0xbf58476d1ce4e5b9
	}
	binary.LittleEndian.PutUint64(head, sum)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestFilesThatAreNotOurs(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(t *testing.T, path string)
		want    string
	}{
		"newer format": {func(t *testing.T, path string) { change(t, path, "UPDATE meta SET value = '9' WHERE name = 'format'") }, "format is 9, this build reads 4; run the newer build"},
		"newer DuckDB": {func(t *testing.T, path string) { newerStorage(t, path) }, "of DuckDB; run the newer build"},
		"no number":    {func(t *testing.T, path string) { change(t, path, "UPDATE meta SET value = 'x'") }, "is no number"},
		"rows missing": {func(t *testing.T, path string) { change(t, path, "DELETE FROM green.raw WHERE request = 1") }, "green.raw has 2 rows, its cursors have counted 3"},
		"rows doubled": {func(t *testing.T, path string) {
			change(t, path, "INSERT INTO green.raw SELECT * FROM green.raw WHERE request = 1")
		}, "green.raw has 4 rows"},
		"two cursors": {func(t *testing.T, path string) { change(t, path, "INSERT INTO cursors_log SELECT * FROM cursors_log") }, "two cursors for stack green, run 0, stage raw"},
		"chain broken": {func(t *testing.T, path string) {
			change(t, path, "UPDATE timeline SET record = replace(record, 'green', 'red')")
		}, "control record at 1"},
		"something else": {func(t *testing.T, path string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			change(t, path, "CREATE TABLE mine (a INTEGER)")
		}, "DuckDB file of something else"},
		"no database": {func(t *testing.T, path string) {
			if err := os.WriteFile(path, []byte(strings.Repeat("not a database ", 1000)), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "not a valid DuckDB database file"},
		"open folder": {func(t *testing.T, path string) {
			dir := filepath.Dir(path)
			if err := errors.Join(os.Rename(path, filepath.Join(dir, "other")), os.Chmod(dir, 0o755)); err != nil {
				t.Fatal(err)
			}
		}, "is open to others (mode 0755) and holds other files"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "warehouse", "warehouse.duckdb")
			e, err := Open(Options{Path: path})
			if err != nil {
				t.Fatal(err)
			}
			b := frames(event.Green, 0, 3, 3)
			b.Controls = []*event.ControlEntry{initial(t, event.Green)}
			if _, err := e.Append(t.Context(), b); err != nil {
				t.Fatal(err)
			}
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
			c.prepare(t, path)
			e, err = Open(Options{Path: path})
			if err == nil {
				e.Close()
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("%v\nwant the path and %q", err, c.want)
			}
		})
	}
	if _, err := Open(Options{}); err == nil || !strings.Contains(err.Error(), "Path is required") {
		t.Errorf("without a path: %v", err)
	}
}

func TestFolderIsPrivate(t *testing.T) {
	e := openTest(t, Options{})
	for _, dir := range []string{filepath.Dir(e.o.Path), e.o.tmp()} {
		info, err := os.Stat(dir)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o700 {
			t.Errorf("%s has mode %04o, want 0700", dir, info.Mode().Perm())
		}
	}
	// One that is there already is made private, unless others' files are in it.
	dir := filepath.Join(t.TempDir(), "open")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "warehouse.duckdb")
	e, err := Open(Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("a folder that was open has mode %04o, %v", info.Mode().Perm(), err)
	}
	shared := t.TempDir()
	if err := errors.Join(os.Chmod(shared, 0o755), os.WriteFile(filepath.Join(shared, "theirs"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if e, err := Open(Options{Path: filepath.Join(shared, "warehouse.duckdb")}); err == nil {
		e.Close()
		t.Error("a folder that is open and holds others' files is taken")
	}
}

func TestClosedEngine(t *testing.T) {
	e := openTest(t, Options{})
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	if _, err := e.Append(t.Context(), frames(event.Green, 0, 3, 3)); !errors.Is(err, ErrClosed) {
		t.Errorf("Append: %v", err)
	}
	if _, err := e.Query(t.Context(), warehouse.Query{SQL: "SELECT 1"}); !errors.Is(err, ErrClosed) {
		t.Errorf("Query: %v", err)
	}
	if why := e.Ready(); len(why) != 1 || !errors.Is(why[0], ErrClosed) {
		t.Errorf("Ready: %v", why)
	}
}

// TestCloseStopsWhatRuns closes the engine under queries and appends.
func TestCloseStopsWhatRuns(t *testing.T) {
	e := openTest(t, Options{})
	rows, err := e.Query(t.Context(), warehouse.Query{SQL: "SELECT range FROM range(1000000000000)", Limit: 1 << 40})
	if err != nil {
		t.Fatal(err)
	}
	stopped := make(chan error, 1)
	go func() {
		var at uint64
		for {
			c, err := e.Append(t.Context(), frames(event.Green, at, at+1, 10))
			if err != nil {
				stopped <- err
				return
			}
			at = c.Frame
		}
	}()
	for range 100_000 {
		if _, err := rows.Next(); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = rows.Next()
	}
	if !errors.Is(err, ErrClosed) {
		t.Errorf("rows: %v", err)
	}
	if err := <-stopped; !errors.Is(err, ErrClosed) {
		t.Errorf("append: %v", err)
	}
}
