package builds

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sparrowhq/sparrow/event"
)

func write(t *testing.T, path, content string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// Each row is one start of `sparrow up`, on the same folder: flag and setting for blue, and what must run.
func TestChoices(t *testing.T) {
	dir, files := t.TempDir(), t.TempDir()
	own := write(t, filepath.Join(files, "own"), "own 1")
	v1 := write(t, filepath.Join(files, "v1"), "version 1")
	v2 := write(t, filepath.Join(files, "v2"), "version 2")
	for _, row := range []struct {
		what          string
		before        func(*Store)
		flag, setting string
		want          string // content
		origin        Origin
	}{
		{"nothing chosen: our own executable", nil, "", "", "own 1", Own},
		{"a new release of our own is followed", func(*Store) { write(t, own, "own 2") }, "", "", "own 2", Own},
		{"a flag", nil, v1, "", "version 1", Flag},
		{"without the flag: kept", nil, "", "", "version 1", Flag},
		{"kept though the file changed", func(*Store) { write(t, v1, "version 1, built anew") }, "", "", "version 1", Flag},
		{"kept though the file is gone", func(*Store) { os.Remove(v1) }, "", "", "version 1", Flag},
		{"a new setting wins", nil, "", v2, "version 2", Setting},
		{"a setting is followed", func(*Store) { write(t, v2, "version 2, built anew") }, "", v2, "version 2, built anew", Setting},
		{"deployed since: kept, though the setting is still there", func(s *Store) {
			sha, err := s.Add(write(t, filepath.Join(files, "v3"), "version 3"))
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Remember(event.Blue, Choice{SHA256: sha, Origin: Deploy, From: "v3", Setting: v2}); err != nil {
				t.Fatal(err)
			}
		}, "", v2, "version 3", Deploy},
		{"the setting was taken back: our own", nil, "", "", "own 2", Own},
	} {
		s, err := Open(dir, own)
		if err != nil {
			t.Fatal(err)
		}
		if row.before != nil {
			row.before(s)
		}
		got, err := s.Choose(event.Blue, row.flag, row.setting)
		if err != nil {
			t.Fatalf("%s: %v", row.what, err)
		}
		if err := s.Prune(); err != nil {
			t.Fatal(err)
		}
		content, err := os.ReadFile(s.Path(got.SHA256))
		if err != nil {
			t.Fatalf("%s: %v", row.what, err)
		}
		if string(content) != row.want || got.Origin != row.origin {
			t.Errorf("%s: runs %q chosen by %s, want %q by %s", row.what, content, got.Origin, row.want, row.origin)
		}
		if left, _ := os.ReadDir(filepath.Join(dir, "builds")); len(left) != 1 {
			t.Errorf("%s: %d copies are kept, want the one that is needed", row.what, len(left))
		}
		if info, _ := os.Stat(s.Path(got.SHA256)); info.Mode().Perm() != 0o500 {
			t.Errorf("%s: the copy's mode is %04o", row.what, info.Mode().Perm())
		}
	}
}

func TestPruneKeepsWhatBothStacksRun(t *testing.T) {
	dir, files := t.TempDir(), t.TempDir()
	s, err := Open(dir, write(t, filepath.Join(files, "own"), "own"))
	if err != nil {
		t.Fatal(err)
	}
	green, err := s.Choose(event.Green, "", "")
	if err != nil {
		t.Fatal(err)
	}
	blue, err := s.Choose(event.Blue, write(t, filepath.Join(files, "blue"), "blue"), "")
	if err != nil {
		t.Fatal(err)
	}
	extra, err := s.Add(write(t, filepath.Join(files, "extra"), "extra"))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Prune(extra); err != nil {
		t.Fatal(err)
	}
	for _, sha := range []string{green.SHA256, blue.SHA256, extra} {
		if _, err := os.Stat(s.Path(sha)); err != nil {
			t.Error(err)
		}
	}
	all, err := s.Choices()
	if diff := cmp.Diff(map[event.Stack]Choice{event.Green: green, event.Blue: blue}, all); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
}

func TestMistakes(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, write(t, filepath.Join(dir, "own"), "own"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Choose(event.Blue, filepath.Join(dir, "nothing"), ""); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("a binary that is not there: %v", err)
	}
	if _, err := s.Choose(event.Blue, dir, ""); err == nil || !strings.Contains(err.Error(), "is not a file") {
		t.Errorf("a folder: %v", err)
	}
	blue, err := s.Choose(event.Blue, write(t, filepath.Join(dir, "blue"), "blue"), "")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(s.Path(blue.SHA256)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Choose(event.Blue, "", ""); err == nil || !strings.Contains(err.Error(), "the copy is gone") || !strings.Contains(err.Error(), "--blue") {
		t.Errorf("a copy that is gone: %v", err)
	}
	write(t, s.file(), "{")
	if _, err := s.Choose(event.Blue, "", ""); err == nil || !strings.Contains(err.Error(), "stacks.json") {
		t.Errorf("a broken file: %v", err)
	}
}
