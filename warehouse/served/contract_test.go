package served_test

import (
	"errors"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"github.com/sparrowhq/sparrow/warehouse"
	"github.com/sparrowhq/sparrow/warehouse/contract"
	"github.com/sparrowhq/sparrow/warehouse/duckdb"
	"github.com/sparrowhq/sparrow/warehouse/served"
)

const secret = "0123456789abcdef0123456789abcdef"

// pair is a client with all that is behind it.
type pair struct {
	*served.Client
	server *httptest.Server
	engine *duckdb.Engine
}

func (p pair) Close() error {
	err := p.Client.Close()
	p.server.Close()
	return errors.Join(err, p.engine.Close())
}

func open(t testing.TB) pair {
	t.Helper()
	e, err := duckdb.Open(duckdb.Options{Path: filepath.Join(t.TempDir(), "warehouse", "warehouse.duckdb")})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(served.Handler(served.Options{Warehouse: e, Secret: secret}))
	c, err := served.New(served.ClientOptions{URL: s.URL, Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	return pair{c, s, e}
}

func TestContract(t *testing.T) {
	contract.Run(t, func(t *testing.T) warehouse.Warehouse { return open(t) })
}
