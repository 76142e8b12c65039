package main

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

var generate = regexp.MustCompile(`--generate \d+`)

var fence = regexp.MustCompile("(?ms)^( *)```([^\n]*)\n(.*?)^ *```")

// command is a line of a page's ```sh blocks, or a file that it shows.
type command struct {
	line  string
	shown string // what the page shows that it prints; empty: nothing
	file  string // its name; line is what is in it
}

// commands returns the lines of a page's ```sh blocks. A block whose fence says "elsewhere" belongs to another machine
// (a cluster, a CI service) and is not run. A ```text block right after them is what the last of them prints, … standing for
// anything; ```yaml NAME is a file that those after it need. A block of no known language could be a command, and fails.
func commands(t *testing.T, path string) []command {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	page := string(data)
	var all []command
	ran := 0 // where the last sh block that is run ended
	for _, at := range fence.FindAllStringSubmatchIndex(page, -1) {
		language, info, _ := strings.Cut(page[at[4]:at[5]], " ")
		text := strings.ReplaceAll("\n"+page[at[6]:at[7]], "\n"+page[at[2]:at[3]], "\n")[1:]
		switch {
		case language == "sh" && info != "" && info != "elsewhere", !slices.Contains([]string{"sh", "text", "yaml", "sql", "googlesql", "go"}, language):
			t.Errorf("%s has a block of ```%s %s, which is not run; ```text if it is nothing to be run:\n%s", path, language, info, text)
		case language == "text" && ran > 0 && strings.TrimSpace(page[ran:at[0]]) == "":
			all[len(all)-1].shown = text
		case language == "yaml" && info != "":
			all = append(all, command{file: info, line: text})
		case language == "sh" && info == "":
			for line := range strings.SplitSeq(strings.ReplaceAll(text, "\\\n", " "), "\n") {
				line, _, _ = strings.Cut(line, "  #")
				if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
					all = append(all, command{line: line})
				}
			}
			ran = at[1]
		}
	}
	return all
}

// prints fails unless out is what a page shows.
func (c command) prints(t *testing.T, out string) {
	t.Helper()
	want := strings.ReplaceAll(regexp.QuoteMeta(strings.TrimSpace(c.shown)), "…", ".*")
	want = regexp.MustCompile(`\s+`).ReplaceAllString(want, `\s+`)
	if !regexp.MustCompile(want).MatchString(out) {
		t.Errorf("%s: the page shows that it prints\n%s\nbut it prints\n%s", c.line, c.shown, out)
	}
}

// reader is somebody who does what a page says.
type reader struct {
	*testing.T
	dir, work string
	config    string
	s         *sparrow // nil: not up yet
}

// do does what a line says. Only these things are put in its place: make targets, which this test is itself part of and which
// are looked for only; sparrow up and the fake BigQuery, on free ports; the address of the running Sparrow, its folder, and how
// many events are made up.
func (r *reader) do(c command) {
	r.Helper()
	line := c.line
	switch {
	case c.file != "":
		r.config = filepath.Join(r.work, c.file)
		if err := os.WriteFile(r.config, []byte(line), 0o600); err != nil {
			r.Fatal(err)
		}
		return
	case strings.HasPrefix(line, "make "):
		if out, err := exec.Command("make", "-C", "../..", "-n", strings.TrimPrefix(line, "make ")).CombinedOutput(); err != nil {
			r.Errorf("%s: %v\n%s", line, err, out)
		}
		return
	case strings.HasPrefix(line, "git clone"):
		return
	case strings.HasPrefix(line, "go run ./warehouse/bigquery/fake/serve"):
		c.prints(r.T, fakeBigQuery(r.T))
		return
	case strings.HasPrefix(line, "bin/sparrow up"):
		r.up()
		return
	}
	if r.s != nil {
		line = strings.ReplaceAll(line, "http://127.0.0.1:8080", r.s.ends.Clients)
		line = strings.ReplaceAll(line, "http://127.0.0.1:8081", r.s.ends.Admin)
	}
	if !soak() {
		line = generate.ReplaceAllString(line, "--generate 400")
	}
	cmd := exec.Command("bash", "-c", line)
	cmd.Dir = r.work
	cmd.Env = append(os.Environ(), "SPARROW_DATA="+r.dir, "PATH="+filepath.Join(r.work, "bin")+":"+os.Getenv("PATH"))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	timer := time.AfterFunc(5*time.Minute, func() { cmd.Process.Kill() })
	err := cmd.Run()
	timer.Stop()
	if err != nil {
		r.Fatalf("%s: %v\n%s", line, err, &out)
	}
	r.Logf("$ %s\n%s", line, &out)
	c.prints(r.T, out.String())
}

func (r *reader) up() {
	if r.config == "" {
		r.config = write(r, "sparrow.yaml", "# as shipped\n")
	}
	r.s = upIn(r, r.dir, "--config", r.config)
}

// fakeBigQuery runs the command that a page names, and does as it says with what it prints, which it returns.
func fakeBigQuery(t *testing.T) string {
	t.Helper()
	cmd := exec.Command(binary(t, "../../warehouse/bigquery/fake/serve"))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("the fake BigQuery: %v", err)
		}
	})
	said, err := bufio.NewReader(out).ReadString('\n')
	if err != nil && err != io.EOF {
		t.Fatal(err)
	}
	for _, setting := range strings.Fields(strings.TrimPrefix(said, "export ")) {
		name, value, _ := strings.Cut(setting, "=")
		t.Setenv(name, value)
	}
	return said
}

// Every command the documents show is run, page by page, in order, against a Sparrow of its own, and prints what they show.
func TestDocsCommandsRun(t *testing.T) {
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range append([]string{"../../README.md"}, pages...) {
		all := commands(t, page)
		if len(all) == 0 {
			continue
		}
		t.Run(filepath.Base(page), func(t *testing.T) {
			r := &reader{T: t, dir: t.TempDir(), work: t.TempDir()}
			if err := os.Mkdir(filepath.Join(r.work, "bin"), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(binary(t, "."), filepath.Join(r.work, "bin", "sparrow")); err != nil {
				t.Fatal(err)
			}
			if !slices.ContainsFunc(all, func(c command) bool { return strings.HasPrefix(c.line, "bin/sparrow up") }) {
				r.up()
			}
			for _, c := range all {
				r.do(c)
			}
		})
	}
}
