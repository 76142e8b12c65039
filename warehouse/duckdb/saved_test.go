package duckdb

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/sparrowhq/sparrow/event"
)

// TestSavedQueries runs every query of docs/queries.md.
func TestSavedQueries(t *testing.T) {
	e := openTest(t, Options{})
	b := frames(event.Green, 0, 3, 1)
	b.Controls = []*event.ControlEntry{initial(t, event.Green)}
	if _, err := e.Append(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../../docs/queries.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^sparrow query ["'](.*)["']$`).FindAllStringSubmatch(string(page), -1)
	if n := strings.Count(string(page), "\nsparrow query"); len(found) != n || n == 0 {
		t.Fatalf("%d of %d queries understood", len(found), n)
	}
	for _, q := range found {
		table(t, e, strings.ReplaceAll(q[1], `\"`, `"`)) // as the shell does within double quotes
	}
}
