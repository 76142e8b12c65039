package compare

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

const (
	maxPaths = 20 // per example and column
	maxDepth = 32 // of nesting that is followed
	maxKey   = 64 // bytes of a key that are shown
)

// diffPaths returns the fields in which two texts differ, as paths below root, such as "data.properties.tags[3]". It
// never returns values. Numbers are compared as written: 1.0 and 1.00 differ. Texts that are not JSON, or that mean the
// same and are spelt differently, give one line that says so. more is the number of paths left out.
func diffPaths(root, a, b string) (paths []string, more int) {
	if !json.Valid([]byte(a)) || !json.Valid([]byte(b)) {
		return []string{fmt.Sprintf("%s (not JSON on %s; differs from byte %d on)", root, notJSON(a, b), differsAt(a, b))}, 0
	}
	d := &differ{}
	d.walk(root, json.RawMessage(a), json.RawMessage(b), 0)
	if len(d.paths) == 0 {
		return []string{fmt.Sprintf("%s (spelling only: spaces, escapes or order of keys; from byte %d on)", root, differsAt(a, b))}, 0
	}
	return d.paths, d.more
}

func notJSON(a, b string) string {
	switch {
	case json.Valid([]byte(a)):
		return "the candidate's side"
	case json.Valid([]byte(b)):
		return "live's side"
	}
	return "both sides"
}

func differsAt(a, b string) int {
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	return i
}

type differ struct {
	paths []string
	more  int
}

func (d *differ) note(path string) {
	if len(d.paths) == maxPaths {
		d.more++
		return
	}
	d.paths = append(d.paths, path)
}

// member is one key of an object with its value. Objects may hold a key twice, and which one counts is for nobody here
// to say, so they stay lists.
type member struct {
	key   string
	value json.RawMessage
}

func (d *differ) walk(path string, a, b json.RawMessage, depth int) {
	a, b = bytes.TrimSpace(a), bytes.TrimSpace(b)
	if bytes.Equal(a, b) {
		return
	}
	if depth == maxDepth || a[0] != b[0] || a[0] != '{' && a[0] != '[' {
		if a[0] != '"' || b[0] != '"' || !sameText(a, b) {
			d.note(path)
		}
		return
	}
	if a[0] == '[' {
		d.array(path, a, b, depth)
		return
	}
	d.object(path, members(a), members(b), depth)
}

func sameText(a, b json.RawMessage) bool {
	var s, t string
	return json.Unmarshal(a, &s) == nil && json.Unmarshal(b, &t) == nil && s == t
}

func (d *differ) array(path string, a, b json.RawMessage, depth int) {
	var x, y []json.RawMessage
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		d.note(path)
		return
	}
	if len(x) != len(y) {
		d.note(fmt.Sprintf("%s (%d and %d elements)", path, len(x), len(y)))
		return
	}
	for i := range x {
		d.walk(path+"["+strconv.Itoa(i)+"]", x[i], y[i], depth+1)
	}
}

func (d *differ) object(path string, a, b []member, depth int) {
	taken := make([]bool, len(b))
	at := map[string][]int{}
	for i, m := range b {
		at[m.key] = append(at[m.key], i)
	}
	for _, m := range a {
		places := at[m.key]
		if len(places) == 0 {
			d.note(path + "." + shownKey(m.key) + " (live only)")
			continue
		}
		at[m.key] = places[1:]
		taken[places[0]] = true
		d.walk(path+"."+shownKey(m.key), m.value, b[places[0]].value, depth+1)
	}
	for i, m := range b {
		if !taken[i] {
			d.note(path + "." + shownKey(m.key) + " (candidate only)")
		}
	}
}

// members returns an object's members in order. The object is known to be valid JSON.
func members(object json.RawMessage) []member {
	dec := json.NewDecoder(bytes.NewReader(object))
	var out []member
	if _, err := dec.Token(); err != nil { // the opening brace
		return out
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return out
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return out
		}
		out = append(out, member{key: key.(string), value: value})
	}
	return out
}

// shownKey returns a key as it may be shown: clients choose keys.
func shownKey(key string) string {
	if len(key) > maxKey {
		key = strings.ToValidUTF8(key[:maxKey], "") + "…"
	}
	for _, r := range key {
		if r == '.' || r == '[' || r == ' ' || !strconv.IsPrint(r) {
			return strconv.Quote(key)
		}
	}
	if key == "" {
		return `""`
	}
	return key
}
