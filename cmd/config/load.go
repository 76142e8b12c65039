package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/sparrowhq/sparrow/service"
)

// DefaultFile is read when no file is named, if it exists in the current folder.
const DefaultFile = "sparrow.yaml"

// Load returns the settings of the file at path, overridden by environ ("NAME=value"). An empty path means DefaultFile
// if it exists. The result is not validated yet, since flags may still change it: call Validate.
func Load(path string, environ []string) (Config, error) {
	c := Default()
	data, err := os.ReadFile(or(path, DefaultFile))
	switch {
	case err == nil:
		if err := c.parse(or(path, DefaultFile), data, true); err != nil {
			return Config{}, err
		}
	case path == "" && errors.Is(err, fs.ErrNotExist):
	default:
		return Config{}, fmt.Errorf("configuration: %w", err)
	}
	c.Trackers.applyDefaults()
	if err := c.fromEnvironment(environ); err != nil {
		return Config{}, err
	}
	return c, nil
}

// LoadSnapshot returns the settings that WriteSnapshot wrote. The snapshot may come from a newer or older build, as
// when `sparrow up` runs a candidate: keys this build does not know are ignored, and keys it misses have their
// defaults. The build that wrote it was strict for both.
func LoadSnapshot(path string) (Config, error) {
	c := Default()
	data, err := os.ReadFile(path)
	if err != nil {
		return Config{}, fmt.Errorf("configuration snapshot: %w", err)
	}
	if err := c.parse(path, data, false); err != nil {
		return Config{}, err
	}
	c.Trackers.applyDefaults()
	return c, nil
}

// WriteSnapshot writes all settings to path, durably and for the owner only: a Sentry DSN may be among them.
func (c Config) WriteSnapshot(path string) error {
	data, err := yaml.Marshal(c)
	if err != nil {
		return fmt.Errorf("configuration snapshot: %w", err)
	}
	if err := service.WriteFile(path, data, 0o600); err != nil {
		return fmt.Errorf("configuration snapshot: %w", err)
	}
	return nil
}

func (c *Config) parse(path string, data []byte, strict bool) error {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(strict)
	err := dec.Decode(c)
	if errors.Is(err, io.EOF) { // nothing but comments
		return nil
	}
	if err != nil {
		return located(path, err)
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: holds a second document after ---: keep one", path)
	}
	return nil
}

var (
	atLineN = regexp.MustCompile(`^(?:yaml: )?line (\d+): (.*)$`)
	unknown = regexp.MustCompile(`^field (\S+) not found in type (\S+)$`)
)

// located turns the decoder's errors into one "file:line: what" each.
func located(path string, err error) error {
	messages := []string{err.Error()}
	var several *yaml.TypeError
	if errors.As(err, &several) {
		messages = several.Errors
	}
	var errs []error
	for _, message := range messages {
		m := atLineN.FindStringSubmatch(message)
		if m == nil {
			errs = append(errs, fmt.Errorf("%s: %s", path, message))
			continue
		}
		what := m[2]
		if u := unknown.FindStringSubmatch(what); u != nil {
			what = unknownKey(u[1], u[2])
		}
		errs = append(errs, fmt.Errorf("%s:%s: %s", path, m[1], what))
	}
	return errors.Join(errs...)
}

// unknownKey says that the section of the given type has nothing called name, and what might have been meant.
func unknownKey(name, section string) string {
	var near []string
	for _, key := range keys(reflect.TypeFor[Config](), section) {
		if distance(key, name) <= 1+len(name)/4 {
			near = append(near, strconv.Quote(key))
		}
	}
	if len(near) == 0 {
		return fmt.Sprintf("unknown setting %q: sparrow.example.yaml lists all there are", name)
	}
	return fmt.Sprintf("unknown setting %q: did you mean %s?", name, strings.Join(near, " or "))
}

// keys lists the yaml names of the struct called name, which is t or within it.
func keys(t reflect.Type, name string) []string {
	var all []string
	for i := range t.NumField() {
		f := t.Field(i)
		if t.String() == name {
			all = append(all, f.Tag.Get("yaml"))
		} else if f.Type.Kind() == reflect.Struct && all == nil {
			all = keys(f.Type, name)
		} else if f.Type.Kind() == reflect.Map && all == nil {
			all = keys(f.Type.Elem().Elem(), name)
		}
	}
	return all
}

// distance is the number of single-letter changes between a and b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}

// Absolute makes the paths that the program itself opens independent of the current folder.
func (c *Config) Absolute() error {
	paths := []*string{
		&c.Data, &c.SecretFile, &c.KeyFile, &c.TokenFile, &c.Journal.Credentials, &c.Clients.TLS.Cert, &c.Clients.TLS.Key, &c.Stacks.Green.Build, &c.Stacks.Blue.Build,
		&c.Stacks.Green.Trace.Pipeline, &c.Stacks.Blue.Trace.Pipeline, &c.Sandbox.Scenario,
	}
	for _, t := range c.Trackers {
		paths = append(paths, &t.Production.SecretFile, &t.Staging.SecretFile)
	}
	for _, path := range paths {
		if *path == "" {
			continue
		}
		abs, err := filepath.Abs(*path)
		if err != nil {
			return fmt.Errorf("path %s: %w", *path, err)
		}
		*path = abs
	}
	return nil
}
