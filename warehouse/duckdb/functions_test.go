package duckdb

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// TestIDTail asks DuckDB for the tails of many ids, more than it hands over at once, and of texts that are none.
func TestIDTail(t *testing.T) {
	e, err := Open(Options{Path: filepath.Join(t.TempDir(), "w", "sparrow.duckdb")})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	var ids []string
	var want []any
	for i := range 5000 {
		id := uuid.New()
		text := event.ID(id, uint32(i), i%3 == 0)
		if i%5 == 0 {
			text = strings.ToUpper(text)
		}
		ids, want = append(ids, text), append(want, int64(event.IDTail(id)))
	}
	sound := "0198c0de-1234-7abc-9def-0123456789ab"
	for _, bad := range []string{"", "NULL", "short", sound[:35], sound[:20] + "g" + sound[21:], sound[:22] + "-" + sound[23:], sound[:35] + " ", sound[:24] + "é" + sound[26:]} {
		ids, want = append(ids, bad), append(want, nil)
	}
	ids, want = append(ids, sound), append(want, int64(0xdef0123456789ab))
	rows, err := e.Query(t.Context(), warehouse.Query{SQL: "SELECT event_id_tail(NULLIF(id, 'NULL')) FROM (SELECT unnest(string_split(?, '|')) AS id)", Args: []any{strings.Join(ids, "|")}})
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for i, id := range ids {
		row, err := rows.Next()
		if err != nil {
			t.Fatalf("row %d: %v", i, err)
		}
		if row[0] != want[i] {
			t.Errorf("%q: %v, want %v", id, row[0], want[i])
		}
	}
}
