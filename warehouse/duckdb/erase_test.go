package duckdb

import (
	"errors"
	"fmt"
	"testing"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// TestEraseAfterABrokenTransaction breaks the file's connection in the middle of an erasure, and appends an event of hers
// in the middle of the next one.
func TestEraseAfterABrokenTransaction(t *testing.T) {
	e := openTest(t, Options{})
	ann := warehouse.Person{Kind: warehouse.ByUser, ID: "ann@mail.example"}
	hers := func(first, end uint64) *warehouse.Batch {
		b := frames(event.Green, first, end, 2)
		for i := range b.Rows {
			b.Rows[i].Data = []byte(`{"userId":"ann@mail.example"}`)
		}
		return b
	}
	if _, err := e.Append(t.Context(), hers(0, 4)); err != nil {
		t.Fatal(err)
	}
	n := len(hers(0, 6).Rows)
	e.buried = func() error { return &commitError{errors.New("the disk is gone")} }
	if _, err := e.Erase(t.Context(), ann, "ops"); err == nil {
		t.Fatal("the transaction broke, the erasure did not")
	}
	e.buried = nil
	if _, err := e.Append(t.Context(), hers(4, 5)); err != nil {
		t.Fatal(err)
	}
	again := 0
	e.looked = func() {
		if again++; again == 1 {
			if _, err := e.Append(t.Context(), hers(5, 6)); err != nil {
				t.Error(err)
			}
		}
	}
	out, err := e.Erase(t.Context(), ann, "ops")
	if err != nil || out.Events != n {
		t.Errorf("%+v, %v; want %d events", out, err, n)
	}
	c, err := e.db.connect()
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	err = c.rows(fmt.Sprintf("SELECT count(*), count(*) FILTER (context = '%s' AND data = '') FROM green.raw", erasedContext), nil, func(r []any) error {
		if fmt.Sprint(r) != fmt.Sprint([]any{int64(n), int64(n)}) {
			t.Errorf("%v rows and tombstones, want %d (%+v)", r, n, out)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
