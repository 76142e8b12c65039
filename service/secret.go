package service

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// minSecret is how many characters a secret has at least.
const minSecret = 32

// Secret returns the secret kept in path, creating a random one (mode 0600) if there is none. A file that others can
// read is refused. Processes that start at the same time agree on one secret.
func Secret(path string) (string, error) {
	s, err := readSecret(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return s, err
	}
	if err := createSecret(path); err != nil && !errors.Is(err, fs.ErrExist) { // another process was faster
		return "", fmt.Errorf("secret: %w", err)
	}
	return readSecret(path)
}

// GivenSecret returns the secret that somebody else gave and a person put into path: it is as long as it is, and never
// made up. A file that others can read is refused.
func GivenSecret(path string) (string, error) {
	s, err := readPrivate(path)
	if err == nil && s == "" {
		err = fmt.Errorf("secret %s is empty: put into it what you were given", path)
	}
	return s, err
}

func readSecret(path string) (string, error) {
	s, err := readPrivate(path)
	if err != nil {
		return "", err
	}
	if len(s) < minSecret {
		return "", fmt.Errorf("secret %s holds %d characters, want at least %d: delete it and restart to get a new one", path, len(s), minSecret)
	}
	return s, nil
}

func readPrivate(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("secret: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", fmt.Errorf("secret: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return "", fmt.Errorf("secret %s is readable by others (mode %04o): chmod 600 it, or delete it and restart to get a new one", path, info.Mode().Perm())
	}
	b, err := io.ReadAll(io.LimitReader(f, 64<<10))
	if err != nil {
		return "", fmt.Errorf("secret: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// createSecret writes a new secret to path, whole or not at all; fs.ErrExist if there is one by then.
func createSecret(path string) error {
	raw := make([]byte, 32)
	rand.Read(raw) // never fails
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return place(path, []byte(hex.EncodeToString(raw)+"\n"), 0o600, os.Link) // unlike a rename, a link replaces nothing
}
