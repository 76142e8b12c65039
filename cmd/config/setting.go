package config

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Setting is one leaf of Config.
type Setting struct {
	Key   string // "journal.max_bytes"
	Env   string // "SPARROW_JOURNAL_MAX_BYTES"
	value reflect.Value
}

// Settings lists every setting of c, in the order of the struct. Setting one changes c.
func Settings(c *Config) []Setting { return settings(reflect.ValueOf(c).Elem(), "") }

func settings(v reflect.Value, prefix string) []Setting {
	var all []Setting
	for i := range v.NumField() {
		key := prefix + v.Type().Field(i).Tag.Get("yaml")
		switch f := v.Field(i); f.Kind() {
		case reflect.Pointer: // never nil once defaults are applied
			all = append(all, Setting{Key: key, Env: envName(key), value: f.Elem()})
		case reflect.Struct:
			all = append(all, settings(f, key+".")...)
		case reflect.Map: // of sections
			names := f.MapKeys()
			slices.SortFunc(names, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
			for _, name := range names {
				all = append(all, settings(f.MapIndex(name).Elem(), key+"."+name.String()+".")...)
			}
		default:
			all = append(all, Setting{Key: key, Env: envName(key), value: f})
		}
	}
	return all
}

// String is the value in the form that Set reads.
func (s Setting) String() string {
	switch v := s.value.Interface().(type) {
	case fmt.Stringer:
		return v.String()
	case []string:
		return strings.Join(v, ",")
	default:
		return fmt.Sprint(v)
	}
}

// Set parses text into the setting. A list is separated by commas.
func (s Setting) Set(text string) error {
	if u, ok := s.value.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return u.UnmarshalText([]byte(text))
	}
	switch s.value.Kind() {
	case reflect.String:
		s.value.SetString(text)
	case reflect.Bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return fmt.Errorf("%q is neither true nor false", text)
		}
		s.value.SetBool(b)
	case reflect.Int, reflect.Int64:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return fmt.Errorf("%q is not a whole number", text)
		}
		s.value.SetInt(n)
	case reflect.Uint64:
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return fmt.Errorf("%q is not a whole number from 0", text)
		}
		s.value.SetUint(n)
	case reflect.Float64:
		x, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return fmt.Errorf("%q is not a number", text)
		}
		s.value.SetFloat(x)
	case reflect.Slice:
		list := []string{}
		for item := range strings.SplitSeq(text, ",") {
			if item = strings.TrimSpace(item); item != "" {
				list = append(list, item)
			}
		}
		s.value.Set(reflect.ValueOf(list))
	default:
		panic("config: a setting of kind " + s.value.Kind().String() + " has no text form: " + s.Key)
	}
	return nil
}

// fromEnvironment sets every setting whose variable is in environ ("NAME=value"), even to the empty string.
func (c *Config) fromEnvironment(environ []string) error {
	values := map[string]string{}
	for _, entry := range environ {
		if name, value, ok := strings.Cut(entry, "="); ok && strings.HasPrefix(name, "SPARROW_") {
			values[name] = value
		}
	}
	for _, s := range Settings(c) {
		if text, ok := values[s.Env]; ok {
			if err := s.Set(text); err != nil {
				return fmt.Errorf("environment variable %s: %w", s.Env, err)
			}
		}
	}
	return nil
}
