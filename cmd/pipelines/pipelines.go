// Package pipelines keeps the pipeline configurations that the stacks run.
//
// Invariant: a stack runs a copy that is named by its content, so what it runs, and what it runs again after a crash or
// a restart, is what was loaded, whatever becomes of the file meanwhile: a configuration is part of a build, and a build
// changes only when somebody says so.
package pipelines

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/service"
	"github.com/sparrowhq/sparrow/trace/pipeline"
)

// Choice is the configuration of one stack.
type Choice struct {
	SHA256 string `json:"sha256"` // of the file; empty: the binary's own
	From   string `json:"from"`   // path it was loaded from, as the settings name it; empty: the binary's own
}

// Store is the folder DIR/pipelines and the file DIR/pipelines.json. It is not safe for concurrent use.
type Store struct{ dir string }

// Open returns the store in the data folder dir.
func Open(dir string) (*Store, error) {
	if err := os.MkdirAll(filepath.Join(dir, "pipelines"), 0o700); err != nil {
		return nil, fmt.Errorf("pipelines: %w", err)
	}
	return &Store{dir: dir}, nil
}

// Path is where the copy of a choice is; empty for the binary's own configuration.
func (s *Store) Path(c Choice) string {
	if c.SHA256 == "" {
		return ""
	}
	return filepath.Join(s.dir, "pipelines", c.SHA256+".yaml")
}

func (s *Store) file() string { return filepath.Join(s.dir, "pipelines.json") }

// Choices returns what was loaded last, by stack.
func (s *Store) Choices() (map[event.Stack]Choice, error) {
	all := map[event.Stack]Choice{}
	data, err := os.ReadFile(s.file())
	if errors.Is(err, fs.ErrNotExist) {
		return all, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &all)
	}
	if err != nil {
		return nil, fmt.Errorf("pipelines: %s: %w: restore it, or delete it to load the files anew", s.file(), err)
	}
	return all, nil
}

// Add checks the configuration in the file at path and copies it. An empty path is the binary's own.
func (s *Store) Add(path string) (Choice, error) {
	if path == "" {
		return Choice{}, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return Choice{}, fmt.Errorf("pipeline: %w", err)
	}
	if _, err := pipeline.ParseConfig(text); err != nil {
		return Choice{}, fmt.Errorf("%s: %w", path, err)
	}
	sum := sha256.Sum256(text)
	c := Choice{SHA256: hex.EncodeToString(sum[:]), From: path}
	if _, err := os.Stat(s.Path(c)); err == nil {
		return c, nil
	}
	if err := service.WriteFile(s.Path(c), text, 0o600); err != nil {
		return Choice{}, fmt.Errorf("pipeline: %w", err)
	}
	return c, nil
}

// Choose returns what a stack runs at the start of `sparrow up`: what it ran last; the file at path if that is another
// one than then, or there was none. changed says that the file has changed since it was loaded, or cannot be read any
// more, so that somebody may want to know that the stack runs what it ran.
func (s *Store) Choose(stack event.Stack, path string) (c Choice, changed bool, err error) {
	all, err := s.Choices()
	if err != nil {
		return Choice{}, false, err
	}
	last, known := all[stack]
	if !known || last.From != path {
		if c, err = s.Add(path); err != nil {
			return Choice{}, false, err
		}
		return c, false, s.Remember(stack, c)
	}
	if last.SHA256 == "" {
		return last, false, nil
	}
	if _, err := os.Stat(s.Path(last)); err != nil {
		return Choice{}, false, fmt.Errorf("stack %s ran a pipeline loaded from %s, and the copy is gone: %w: delete %s to load the files anew", stack, last.From, err, s.file())
	}
	text, err := os.ReadFile(path)
	sum := sha256.Sum256(text)
	return last, err != nil || hex.EncodeToString(sum[:]) != last.SHA256, nil
}

// Remember records what a stack runs from now on.
func (s *Store) Remember(stack event.Stack, c Choice) error {
	all, err := s.Choices()
	if err != nil {
		return err
	}
	all[stack] = c
	data, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return fmt.Errorf("pipelines: %w", err)
	}
	if err := service.WriteFile(s.file(), append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("pipelines: %w", err)
	}
	return nil
}
