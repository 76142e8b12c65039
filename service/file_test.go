package service_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/sparrowhq/sparrow/service"
)

func TestSecretIsCreatedOnceAndPrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data", "secret")
	first, err := service.Secret(path)
	if err != nil {
		t.Fatal(err)
	}
	again, err := service.Secret(path)
	if err != nil || again != first || len(first) != 64 {
		t.Errorf("%q, then %q, %v", first, again, err)
	}
	for p, want := range map[string]fs.FileMode{path: 0o600, filepath.Dir(path): 0o700} {
		info, err := os.Stat(p)
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s has mode %v, %v; want %v", filepath.Base(p), info.Mode(), err, want)
		}
	}
	other, err := service.Secret(filepath.Join(t.TempDir(), "secret"))
	if err != nil || other == first {
		t.Errorf("another installation has the secret %q, %v", other, err)
	}
}

// Processes that start together agree.
func TestSecretRace(t *testing.T) {
	for range 20 {
		path := filepath.Join(t.TempDir(), "secret")
		secrets := make([]string, 8)
		var wg sync.WaitGroup
		for i := range secrets {
			wg.Go(func() {
				var err error
				if secrets[i], err = service.Secret(path); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		for _, s := range secrets {
			if s != secrets[0] {
				t.Fatalf("secrets %q", secrets)
			}
		}
		onlyFile(t, path)
	}
}

func onlyFile(t *testing.T, path string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 || entries[0].Name() != filepath.Base(path) {
		t.Errorf("the folder holds %v, %v", entries, err)
	}
}

func TestSecretRefuses(t *testing.T) {
	const good = "0123456789abcdef0123456789abcdef"
	for _, row := range []struct {
		what, content string
		mode          fs.FileMode
		want          string // part of the error; empty: accepted
	}{
		{"white space around it", "  " + good + "\r\n", 0o600, ""},
		{"read only", good, 0o400, ""},
		{"readable by the group", good, 0o640, "0640"},
		{"readable by all", good, 0o604, "chmod 600"},
		{"writable by others", good, 0o602, "0602"},
		{"too short", good[1:], 0o600, "31 characters"},
		{"empty", "", 0o600, "0 characters"},
	} {
		path := filepath.Join(t.TempDir(), "secret")
		if err := os.WriteFile(path, []byte(row.content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, row.mode); err != nil {
			t.Fatal(err)
		}
		got, err := service.Secret(path)
		switch {
		case row.want == "" && (err != nil || got != good):
			t.Errorf("%s: %q, %v", row.what, got, err)
		case row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)):
			t.Errorf("%s: error %v, want one with %q", row.what, err, row.want)
		case err != nil && strings.Contains(err.Error(), good[2:]):
			t.Errorf("%s: the error repeats the secret: %v", row.what, err)
		}
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := service.Secret(filepath.Join(file, "secret")); err == nil {
		t.Error("a secret in a folder that is a file")
	}
}

// What a vendor gave is as long as it is, but as private as our own, and never invented.
func TestGivenSecret(t *testing.T) {
	path := filepath.Join(t.TempDir(), "api_secret")
	if _, err := service.GivenSecret(path); err == nil {
		t.Error("a secret that is not there")
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("it was made up")
	}
	for _, row := range []struct {
		content, want string
		mode          fs.FileMode
	}{{" short\n", "short", 0o600}, {"\n", "", 0o600}, {"short", "", 0o644}} {
		if err := os.WriteFile(path, []byte(row.content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, row.mode); err != nil {
			t.Fatal(err)
		}
		if got, err := service.GivenSecret(path); got != row.want || (err == nil) != (row.want != "") {
			t.Errorf("%q, mode %04o: %q, %v", row.content, row.mode, got, err)
		}
	}
}

func TestWriteFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	for _, content := range []string{"one", "", "three"} {
		if err := service.WriteFile(path, []byte(content), 0o640); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil || string(got) != content {
			t.Errorf("%q, %v; want %q", got, err, content)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
			t.Errorf("%v, %v", info.Mode(), err)
		}
		onlyFile(t, path)
	}
	// What cannot be put in place leaves the old file and nothing else.
	folder := filepath.Join(t.TempDir(), "folder")
	if err := os.MkdirAll(filepath.Join(folder, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := service.WriteFile(folder, []byte("new"), 0o600); err == nil {
		t.Error("a folder was replaced")
	}
	onlyFile(t, folder)
	if err := service.WriteFile(filepath.Join(t.TempDir(), "missing", "file"), nil, 0o600); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

// Whoever reads sees the old content or the new, never something between.
func TestWriteFileIsAtomic(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	a, b := strings.Repeat("a", 1<<16), strings.Repeat("b", 1<<16)
	if err := service.WriteFile(path, []byte(a), 0o600); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 50 {
			if err := service.WriteFile(path, []byte([]string{a, b}[i%2]), 0o600); err != nil {
				t.Error(err)
			}
		}
	}()
	for {
		got, err := os.ReadFile(path)
		if err != nil || string(got) != a && string(got) != b {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
		select {
		case <-done:
			return
		default:
		}
	}
}
