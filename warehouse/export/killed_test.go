package export_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/sparrowhq/sparrow/warehouse/duckdb"
	"github.com/sparrowhq/sparrow/warehouse/export"
	"github.com/sparrowhq/sparrow/warehouse/served"
)

func TestMain(m *testing.M) {
	if url := os.Getenv("SPARROW_TEST_EXPORT"); url != "" {
		fmt.Println(exportForEver(url, os.Args[1], os.Args[2]))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// exportForEver is the export that TestKilled kills: this test program started again. It stops amid the day, and says so.
func exportForEver(url, table, dir string) error {
	w, err := served.New(served.ClientOptions{URL: url, Secret: "s"})
	if err != nil {
		return err
	}
	_, err = export.Day(context.Background(), export.Options{Warehouse: w, Dataset: "live", Table: table, Day: day, Dir: dir, Rows: 500, Progress: func(int64, int64) {
		fmt.Println("amid")
		select {}
	}})
	return err
}

// A killed export leaves its folder. The next one into the same place, of whatever day, removes it, and neither that of an
// export which is under way nor what is not ours.
func TestKilled(t *testing.T) {
	_, w, _ := fixture(t, duckdb.Retention{})
	server := httptest.NewServer(served.Handler(served.Options{Warehouse: w, Secret: "s"}))
	t.Cleanup(server.Close)
	dir := t.TempDir()
	theirs := filepath.Join(dir, ".notes.unfinished")
	if err := os.Mkdir(theirs, 0o700); err != nil {
		t.Fatal(err)
	}
	start := func(table string) (kill func()) {
		t.Helper()
		c := exec.Command(os.Args[0], table, dir)
		c.Env = append(os.Environ(), "SPARROW_TEST_EXPORT="+server.URL)
		c.Stderr = os.Stderr
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		kill = func() {
			c.Process.Kill()
			c.Wait()
		}
		t.Cleanup(kill)
		if line, err := bufio.NewReader(out).ReadString('\n'); line != "amid\n" {
			t.Fatalf("the export said %q, %v", line, err)
		}
		return kill
	}
	left := func(want ...string) {
		t.Helper()
		for _, table := range []string{"raw", "outcomes"} {
			found, err := filepath.Glob(filepath.Join(dir, ".live."+table+".*", "rows"))
			if err != nil || (len(found) == 1) != slices.Contains(want, table) {
				t.Errorf("unfinished exports of %s: %v, %v; want those of %v", table, found, err, want)
			}
		}
	}
	killRaw, killOutcomes := start("raw"), start("outcomes")
	left("raw", "outcomes")
	killRaw()
	left("raw", "outcomes")
	next := func() {
		t.Helper()
		if _, err := export.Day(t.Context(), export.Options{Warehouse: w, Dataset: "green", Table: "raw", Day: day.AddDate(0, 0, -1), Dir: dir}); err != nil {
			t.Fatal(err)
		}
	}
	next()
	left("outcomes")
	killOutcomes()
	next()
	left()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 3 { // theirs, the file, its manifest
		t.Errorf("left in the folder: %v, %v", entries, err)
	}
}
