// Package builds keeps the binaries that the stacks run.
//
// Invariant: a stack runs a copy that is named by its content, so what runs, and what starts again after a crash, is
// what was chosen, whatever happens to the file it came from; and the choice outlives the supervisor.
package builds

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/service"
)

// Origin says who chose a stack's binary.
type Origin string

// The origins. What follows a path is copied again at each start of `sparrow up`; what was named once is kept.
const (
	Own     Origin = "own"     // nobody: the executable of `sparrow up`; follows it
	Setting Origin = "setting" // stacks.<stack>.build; follows the path
	Flag    Origin = "flag"    // --green or --blue; kept
	Deploy  Origin = "deploy"  // deploy candidate --binary; kept
)

// Choice is the binary of one stack.
type Choice struct {
	SHA256  string `json:"sha256"`  // of the binary, hexadecimal; the name of its copy
	Origin  Origin `json:"origin"`  //
	From    string `json:"from"`    // path it was copied from
	Setting string `json:"setting"` // stacks.<stack>.build when it was chosen: another one since wins
}

// Store is the folder DIR/builds and the file DIR/stacks.json. It is not safe for concurrent use.
type Store struct {
	dir string
	own string // path of this executable
}

// Open returns the store in the data folder dir. own is the executable a stack runs for which nothing is chosen.
func Open(dir, own string) (*Store, error) {
	if err := os.MkdirAll(filepath.Join(dir, "builds"), 0o700); err != nil {
		return nil, fmt.Errorf("builds: %w", err)
	}
	return &Store{dir: dir, own: own}, nil
}

// Path is where the copy of a binary is.
func (s *Store) Path(sha string) string { return filepath.Join(s.dir, "builds", sha) }

func (s *Store) file() string { return filepath.Join(s.dir, "stacks.json") }

// Add copies the binary at path into the store, if it is not there yet, and returns its sha256.
func (s *Store) Add(path string) (sha string, err error) {
	in, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("build: %w", err)
	}
	defer in.Close()
	if info, err := in.Stat(); err != nil || !info.Mode().IsRegular() {
		return "", fmt.Errorf("build %s: is not a file", path)
	}
	out, err := os.CreateTemp(filepath.Join(s.dir, "builds"), ".new-*")
	if err != nil {
		return "", fmt.Errorf("build %s: %w", path, err)
	}
	defer os.Remove(out.Name()) // gone already if it was renamed
	defer out.Close()
	// Read once: what is hashed is what is copied, even if the file changes meanwhile.
	h := sha256.New()
	if _, err := io.Copy(io.MultiWriter(out, h), in); err != nil {
		return "", fmt.Errorf("build %s: %w", path, err)
	}
	sha = hex.EncodeToString(h.Sum(nil))
	if _, err := os.Stat(s.Path(sha)); err == nil {
		return sha, nil
	}
	if err := errors.Join(out.Chmod(0o500), out.Sync(), out.Close(), os.Rename(out.Name(), s.Path(sha))); err != nil {
		return "", fmt.Errorf("build %s: %w", path, err)
	}
	return sha, nil
}

// Choices returns what was chosen last, by stack.
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
		return nil, fmt.Errorf("builds: %s: %w: restore it, or delete it to choose anew with --green and --blue", s.file(), err)
	}
	return all, nil
}

// Choose finds the binary of a stack at the start of `sparrow up`, copies it and remembers it. A flag wins, then a
// setting that was not there last time, then what runs already; what follows a path is brought up to date.
func (s *Store) Choose(stack event.Stack, flag, setting string) (Choice, error) {
	all, err := s.Choices()
	if err != nil {
		return Choice{}, err
	}
	last, known := all[stack]
	c := Choice{Origin: Own, From: s.own, Setting: setting}
	switch {
	case flag != "":
		c.Origin, c.From = Flag, flag
	case known && last.Setting == setting && (last.Origin == Flag || last.Origin == Deploy):
		if _, err := os.Stat(s.Path(last.SHA256)); err != nil {
			return Choice{}, fmt.Errorf("stack %s ran a build copied from %s, and the copy is gone: %w: name its binary with --%s", stack, last.From, err, stack)
		}
		return last, nil
	case setting != "":
		c.Origin, c.From = Setting, setting
	}
	if c.SHA256, err = s.Add(c.From); err != nil {
		return Choice{}, err
	}
	return c, s.Remember(stack, c)
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
		return fmt.Errorf("builds: %w", err)
	}
	if err := service.WriteFile(s.file(), append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("builds: %w", err)
	}
	return nil
}

// Prune removes the copies that no stack is to run, except those in keep. Removing the file of a running process does
// it no harm, but it could not be started again.
func (s *Store) Prune(keep ...string) error {
	all, err := s.Choices()
	if err != nil {
		return err
	}
	wanted := map[string]bool{}
	for _, c := range all {
		wanted[c.SHA256] = true
	}
	for _, sha := range keep {
		wanted[sha] = true
	}
	entries, err := os.ReadDir(filepath.Join(s.dir, "builds"))
	if err != nil {
		return fmt.Errorf("builds: %w", err)
	}
	for _, e := range entries {
		if !wanted[e.Name()] {
			if err := os.Remove(filepath.Join(s.dir, "builds", e.Name())); err != nil {
				return fmt.Errorf("builds: %w", err)
			}
		}
	}
	return nil
}
