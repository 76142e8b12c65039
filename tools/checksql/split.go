package main

import "strings"

// statement is one of a file's, without its semicolon.
type statement struct {
	text string
	line int // where it begins, from 1
}

// split cuts a file at the semicolons that end its lines. Ours stand nowhere else: a text inside a statement has no
// newline after a semicolon, since newlines are escaped there.
func split(file string) []statement {
	var all []statement
	var text []string
	line := 0
	for i, l := range strings.Split(file+"\n;", "\n") {
		bare := strings.TrimSpace(l)
		if len(text) == 0 && (bare == "" || strings.HasPrefix(bare, "--")) {
			continue
		}
		if len(text) == 0 {
			line = i + 1
		}
		end := strings.HasSuffix(bare, ";")
		if l = strings.TrimSuffix(strings.TrimRight(l, " \t\r"), ";"); l != "" || !end {
			text = append(text, l)
		}
		if end {
			if s := strings.TrimSpace(strings.Join(text, "\n")); s != "" {
				all = append(all, statement{s, line})
			}
			text = nil
		}
	}
	return all
}
