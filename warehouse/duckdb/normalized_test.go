package duckdb

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// TestColumnsSurvive closes the engine, opens it again and flips: the columns are those that were asked for.
func TestColumnsSurvive(t *testing.T) {
	path := filepath.Join(t.TempDir(), "warehouse", "warehouse.duckdb")
	e, err := Open(Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	for stack, name := range map[event.Stack]string{event.Green: "of green", event.Blue: "of blue"} {
		if err := e.Normalise(t.Context(), stack, []warehouse.Property{{Name: name, Keys: []string{"n"}, Type: warehouse.TypeInteger}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if err := e.Normalise(t.Context(), event.Green, nil); err != ErrClosed {
		t.Errorf("Normalise of a closed engine: %v", err)
	}
	if e, err = Open(Options{Path: path}); err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	b := frames(event.Blue, 0, 3, 1)
	b.Controls = []*event.ControlEntry{initial(t, event.Blue)}
	if _, err := e.Append(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	const columns = "SELECT column_name FROM duckdb_columns() WHERE table_name = 'raw_normalized' AND schema_name = '%s' AND column_name LIKE 'of%%'"
	for schema, want := range map[string]string{"green": "of_green", "blue": "of_blue", "live": "of_blue", "staging": "of_green"} {
		if got := table(t, e, fmt.Sprintf(columns, schema)); got != want {
			t.Errorf("%s has %s, want %s", schema, got, want)
		}
	}
}

func TestManyColumns(t *testing.T) {
	e := openTest(t, Options{})
	var list []warehouse.Property
	for i := range 200 {
		list = append(list, warehouse.Property{Name: fmt.Sprintf("property %d", i), Keys: []string{"nested", fmt.Sprint(i)}, Type: warehouse.TypeTime})
	}
	if err := e.Normalise(t.Context(), event.Green, list); err != nil {
		t.Fatal(err)
	}
	b := frames(event.Green, 0, 30, 10)
	b.Controls = []*event.ControlEntry{initial(t, event.Green)}
	if _, err := e.Append(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if got := table(t, e, "SELECT count(*), count(property_199) FROM live.raw_normalized"); got != "280 0" {
		t.Errorf("rows %s, want 280 0", got)
	}
}

// TestCandidateChangesItsColumnsSeldom has both stacks ask again while they are to rest: the live one is served.
func TestCandidateChangesItsColumnsSeldom(t *testing.T) {
	e := openTest(t, Options{})
	b := frames(event.Green, 0, 3, 1)
	b.Controls = []*event.ControlEntry{initial(t, event.Green)}
	if _, err := e.Append(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	list := []warehouse.Property{{Name: "a", Keys: []string{"a"}, Type: warehouse.TypeString}}
	for _, stack := range event.Stacks() {
		if err := e.Normalise(t.Context(), stack, list); err != nil {
			t.Fatal(err)
		}
		e.mu.Lock()
		if e.rest[stack].IsZero() {
			t.Errorf("%s need not rest", stack)
		}
		e.rest[stack] = time.Now().Add(time.Hour)
		e.mu.Unlock()
	}
	if err := e.Normalise(t.Context(), event.Green, nil); err != nil {
		t.Errorf("the live stack: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := e.Normalise(ctx, event.Blue, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the candidate: %v, want it to wait", err)
	}
	if got := table(t, e, "SELECT count(*) FROM duckdb_columns() WHERE schema_name = 'blue' AND table_name = 'raw_normalized' AND column_name = 'a'"); got != "1" {
		t.Errorf("the candidate's columns changed: %s", got)
	}
}
