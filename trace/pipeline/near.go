package pipeline

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// near finds the allowlisted name that a name was probably meant to be: the same letters in other spelling, or one letter
// away from it. A look-up costs as many steps as the name has letters, however long the allowlist is, since names that
// are not on it are what a hostile client sends.
type near struct {
	folded  map[string]string   // folded name → name; the first by name of several
	deleted map[string][]string // folded name with one byte left out → names
}

func newNear(names []string) near {
	n := near{folded: map[string]string{}, deleted: map[string][]string{}}
	slices.Sort(names)
	for _, name := range names {
		f := foldName(name)
		if _, taken := n.folded[f]; !taken {
			n.folded[f] = name
		}
		for i := range len(f) {
			short := f[:i] + f[i+1:]
			if list := n.deleted[short]; len(list) < 8 && !slices.Contains(list, name) {
				n.deleted[short] = append(list, name)
			}
		}
	}
	return n
}

// foldName removes what people spell in different ways: case and separators.
func foldName(name string) string {
	return strings.Map(func(r rune) rune {
		switch r {
		case '.', '_', '-', ' ', ':', '/', '$':
			return -1
		}
		return r
	}, strings.ToLower(name))
}

// find returns the name that was probably meant; "" if none is near.
func (n *near) find(name string) string {
	if len(name) > 256 || !utf8.ValidString(name) {
		return ""
	}
	f := foldName(name)
	if f == "" {
		return ""
	}
	if meant, ok := n.folded[f]; ok {
		return meant
	}
	if list := n.deleted[f]; len(list) > 0 && len(f) >= 3 { // a letter is missing
		return list[0]
	}
	if len(f) < 4 {
		return ""
	}
	for i := range len(f) {
		short := f[:i] + f[i+1:]
		if meant, ok := n.folded[short]; ok { // a letter too many
			return meant
		}
	}
	for i := range len(f) {
		for _, meant := range n.deleted[f[:i]+f[i+1:]] { // another letter, or two that changed places
			if distance(f, foldName(meant)) <= 1 {
				return meant
			}
		}
	}
	return ""
}

// distance is 0 or 1 if a and b, of the same length, differ in at most one byte or in two neighbours that changed
// places; else 2.
func distance(a, b string) int {
	if len(a) != len(b) {
		return 2
	}
	first, last := -1, -1
	for i := range len(a) {
		if a[i] != b[i] {
			if first < 0 {
				first = i
			}
			last = i
		}
	}
	switch {
	case first < 0:
		return 0
	case first == last, last == first+1 && a[first] == b[last] && a[last] == b[first]:
		return 1
	}
	return 2
}
