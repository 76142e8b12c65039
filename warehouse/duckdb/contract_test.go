package duckdb_test

import (
	"path/filepath"
	"testing"

	"github.com/sparrowhq/sparrow/warehouse"
	"github.com/sparrowhq/sparrow/warehouse/contract"
	"github.com/sparrowhq/sparrow/warehouse/duckdb"
)

// open opens an engine on a file of its own.
func open(t testing.TB, o duckdb.Options) *duckdb.Engine {
	t.Helper()
	if o.Path == "" {
		o.Path = filepath.Join(t.TempDir(), "warehouse", "warehouse.duckdb")
	}
	e, err := duckdb.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestContract(t *testing.T) {
	contract.Run(t, func(t *testing.T) warehouse.Warehouse { return open(t, duckdb.Options{}) })
}
