package pipelines

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sparrowhq/sparrow/event"
)

const config = "sources: {site: {keys: [k], origins: [none]}}\nevents: {pageview: {}}\n"

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A stack runs what was loaded until somebody loads something else, whatever becomes of the file.
func TestAStackRunsWhatWasLoaded(t *testing.T) {
	dir, file := t.TempDir(), filepath.Join(t.TempDir(), "allowlist.yaml")
	choose := func(path string, wantChanged bool) Choice {
		t.Helper()
		c, changed, err := open(t, dir).Choose(event.Green, path)
		if err != nil {
			t.Fatal(err)
		}
		if changed != wantChanged {
			t.Errorf("changed is %v, want %v", changed, wantChanged)
		}
		return c
	}
	if c := choose("", false); c != (Choice{}) {
		t.Errorf("without a file: %+v", c)
	}
	write(t, file, config)
	first := choose(file, false)
	text, err := os.ReadFile(open(t, dir).Path(first))
	if err != nil || string(text) != config || first.From != file {
		t.Fatalf("%+v: %q, %v", first, text, err)
	}
	write(t, file, config+"on_wrong: reject\n")
	if c := choose(file, true); c != first {
		t.Errorf("an edited file was taken at a restart: %+v", c)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if c := choose(file, true); c != first {
		t.Errorf("a file that is gone: %+v", c)
	}
	write(t, file, config+"on_wrong: reject\n")
	s := open(t, dir)
	second, err := s.Add(file)
	if err != nil || second == first {
		t.Fatalf("%+v, %v", second, err)
	}
	if err := s.Remember(event.Green, second); err != nil {
		t.Fatal(err)
	}
	if c := choose(file, false); c != second {
		t.Errorf("loaded, and forgotten: %+v", c)
	}
	// Stacks are apart, and another path in the settings is a new choice.
	if c, _, err := s.Choose(event.Blue, ""); err != nil || c != (Choice{}) {
		t.Errorf("blue: %+v, %v", c, err)
	}
	if c := choose("", false); c != (Choice{}) {
		t.Errorf("the setting is empty again: %+v", c)
	}
}

func TestWhatIsRefused(t *testing.T) {
	dir, file := t.TempDir(), filepath.Join(t.TempDir(), "allowlist.yaml")
	s := open(t, dir)
	if _, err := s.Add(file); err == nil {
		t.Error("a file that is not there")
	}
	write(t, file, config+"frobnicate: 1\n")
	if _, err := s.Add(file); err == nil || !strings.Contains(err.Error(), file) || !strings.Contains(err.Error(), "frobnicate") {
		t.Errorf("an unknown key: %v", err)
	}
	write(t, file, config)
	c, _, err := s.Choose(event.Green, file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(s.Path(c)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Choose(event.Green, file); err == nil || !strings.Contains(err.Error(), "the copy is gone") {
		t.Errorf("the copy is gone: %v", err)
	}
	write(t, filepath.Join(dir, "pipelines.json"), "{")
	if _, _, err := s.Choose(event.Green, file); err == nil || !strings.Contains(err.Error(), "pipelines.json") {
		t.Errorf("a torn file: %v", err)
	}
}
