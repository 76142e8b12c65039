package pipeline

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Duration is a time.Duration, written as in 10m.
type Duration time.Duration

// UnmarshalYAML reads 90s, 10m, 72h.
func (d *Duration) UnmarshalYAML(n *yaml.Node) error {
	v, err := time.ParseDuration(n.Value)
	if err != nil {
		return typeError(n, "%q is no duration: write 90s, 10m or 72h", n.Value)
	}
	*d = Duration(v)
	return nil
}

// MarshalYAML writes what UnmarshalYAML reads.
func (d Duration) MarshalYAML() (any, error) { return time.Duration(d).String(), nil }

// MarshalJSON writes the duration as a string.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(d).String()) }

// UnmarshalYAML reads a rule, or a bare type.
func (r *PropertyRule) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode && n.Tag != "!!null" {
		*r = PropertyRule{Type: Type(n.Value)}
		return nil
	}
	type plain PropertyRule
	return strict(n, (*plain)(r), "a property is a type, or a mapping with a type")
}

// UnmarshalYAML reads a mapping, or true or false.
func (m *Mapping) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!bool" {
		var send bool
		if err := n.Decode(&send); err != nil {
			return err
		}
		*m = Mapping{Skip: !send}
		return nil
	}
	type plain Mapping
	return strict(n, (*plain)(m), "an event's tracker is true, false, or a mapping with name, properties, omit, only")
}

// strict decodes a mapping into out, a pointer to a struct, and refuses keys it has no field for: inside UnmarshalYAML
// the decoder's KnownFields does not reach.
func strict(n *yaml.Node, out any, want string) error {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Kind != yaml.MappingNode {
		return typeError(n, "%s", want)
	}
	var known []string
	t := reflect.TypeOf(out).Elem()
	for i := range t.NumField() {
		if tag := t.Field(i).Tag.Get("yaml"); tag != "-" {
			known = append(known, tag)
		}
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if key := n.Content[i]; key.Tag != "!!merge" && !slices.Contains(known, key.Value) {
			return typeError(key, "unknown key %q: want one of %s", key.Value, strings.Join(known, ", "))
		}
	}
	return n.Decode(out)
}

func typeError(n *yaml.Node, format string, args ...any) error {
	return &yaml.TypeError{Errors: []string{fmt.Sprintf("line %d: ", n.Line) + fmt.Sprintf(format, args...)}}
}

// fault is one thing that is wrong in a configuration.
type fault struct {
	path []string // of keys and indexes that lead to it
	text string   // what is wrong and what to do
}

type faults []fault

// locate joins the faults into one error, each with its place in the file; root nil: the configuration was made in code.
func (f faults) locate(root *yaml.Node) error {
	type located struct {
		line int
		text string
	}
	var all []located
	for _, one := range f {
		line, where := 0, strings.Join(one.path, ".")
		if root != nil {
			line = lineOf(root, one.path)
			where = fmt.Sprintf("line %d: %s", line, where)
		}
		all = append(all, located{line, strings.TrimSuffix(where, ": ") + ": " + one.text})
	}
	slices.SortStableFunc(all, func(a, b located) int { return a.line - b.line })
	errs := make([]error, len(all))
	for i, l := range all {
		errs[i] = errors.New(l.text)
	}
	return fmt.Errorf("pipeline configuration: %w", errors.Join(errs...))
}

// lineOf returns the line of what path leads to, or of the deepest part of it that is there.
func lineOf(n *yaml.Node, path []string) int {
	line := n.Line
	for n.Kind == yaml.DocumentNode || n.Kind == yaml.AliasNode {
		if n.Kind == yaml.AliasNode {
			n = n.Alias
		} else if len(n.Content) > 0 {
			n = n.Content[0]
		} else {
			return line
		}
	}
	if len(path) == 0 {
		return line
	}
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == path[0] {
				if len(path) == 1 {
					return n.Content[i].Line
				}
				return lineOf(n.Content[i+1], path[1:])
			}
		}
	case yaml.SequenceNode:
		if i, err := strconv.Atoi(path[0]); err == nil && i < len(n.Content) {
			return lineOf(n.Content[i], path[1:])
		}
		for _, item := range n.Content { // lists are sorted before they are checked: find the value itself
			if item.Value == path[0] {
				return item.Line
			}
		}
	}
	return line
}
