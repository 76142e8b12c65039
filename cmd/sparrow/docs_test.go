package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

var generate = regexp.MustCompile(`--generate \d+`)

var fence = regexp.MustCompile("(?ms)^```sh( [^\n]*)?\n(.*?)^```")

// commands returns the lines of a page's ```sh blocks. A block whose fence says "elsewhere" belongs to another machine
// (a cluster, a CI service) and is not run.
func commands(t *testing.T, path string) []string {
	t.Helper()
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, block := range fence.FindAllStringSubmatch(string(page), -1) {
		if strings.Contains(block[1], "elsewhere") {
			continue
		}
		text := strings.ReplaceAll(block[2], "\\\n", " ")
		for line := range strings.SplitSeq(text, "\n") {
			line, _, _ = strings.Cut(line, "  #")
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
				lines = append(lines, line)
			}
		}
	}
	return lines
}

// Every command the documents show is run, page by page, in order, against a Sparrow of its own. Only four things are
// put in its place: the make targets this test is itself part of, the address of the running Sparrow, its folder, and how
// many events are made up.
func TestDocsCommandsRun(t *testing.T) {
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range append([]string{"../../README.md"}, pages...) {
		lines := commands(t, page)
		if len(lines) == 0 {
			continue
		}
		t.Run(filepath.Base(page), func(t *testing.T) {
			s := up(t, "--config", write(t, "sparrow.yaml", "# as shipped\n"))
			work := t.TempDir()
			if err := os.Mkdir(filepath.Join(work, "bin"), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(s.bin, filepath.Join(work, "bin", "sparrow")); err != nil {
				t.Fatal(err)
			}
			for _, line := range lines {
				if strings.HasPrefix(line, "make ") || strings.HasPrefix(line, "git clone") || strings.HasPrefix(line, "bin/sparrow up") {
					continue // run by CI itself; up is running
				}
				line = strings.ReplaceAll(line, "http://127.0.0.1:8080", s.ends.Clients)
				line = strings.ReplaceAll(line, "http://127.0.0.1:8081", s.ends.Admin)
				if !soak() {
					line = generate.ReplaceAllString(line, "--generate 400")
				}
				cmd := exec.Command("bash", "-c", line)
				cmd.Dir = work
				cmd.Env = append(os.Environ(), "SPARROW_DATA="+s.dir, "PATH="+filepath.Join(work, "bin")+":"+os.Getenv("PATH"))
				var out bytes.Buffer
				cmd.Stdout, cmd.Stderr = &out, &out
				timer := time.AfterFunc(5*time.Minute, func() { cmd.Process.Kill() })
				err := cmd.Run()
				timer.Stop()
				if err != nil {
					t.Fatalf("%s: %v\n%s", line, err, &out)
				}
				t.Logf("$ %s\n%s", line, &out)
			}
		})
	}
}
