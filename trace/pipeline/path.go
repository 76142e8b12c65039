package pipeline

import (
	"errors"
	"strings"
)

// parsePath splits a property's path into the keys that lead to it: segments joined by dots, where \. is a dot inside
// a key and \\ a backslash.
func parsePath(path string) ([]string, error) {
	var keys []string
	var key strings.Builder
	for i := 0; i < len(path); i++ {
		switch c := path[i]; c {
		case '\\':
			i++
			if i == len(path) || path[i] != '.' && path[i] != '\\' {
				return nil, errors.New(`a backslash must be followed by a dot or a backslash`)
			}
			key.WriteByte(path[i])
		case '.':
			keys = append(keys, key.String())
			key.Reset()
		default:
			key.WriteByte(c)
		}
	}
	keys = append(keys, key.String())
	for _, k := range keys {
		if k == "" {
			return nil, errors.New(`a key in it is empty`)
		}
	}
	return keys, nil
}

// propertyName is the name under which trackers and columns know the property at path. Paths that differ only in
// escapes would get the same name; check refuses them.
func propertyName(path string) string {
	keys, err := parsePath(path)
	if err != nil {
		return path
	}
	return strings.Join(keys, ".")
}

// escapeKey writes a key as a segment of a path.
func escapeKey(key string) string {
	return strings.NewReplacer(`\`, `\\`, `.`, `\.`).Replace(key)
}
