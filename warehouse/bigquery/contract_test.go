package bigquery

import (
	"errors"
	"testing"
	"time"

	"github.com/sparrowhq/sparrow/warehouse"
	"github.com/sparrowhq/sparrow/warehouse/bigquery/fake"
	"github.com/sparrowhq/sparrow/warehouse/contract"
)

// start starts a fake BigQuery.
func start(t testing.TB, o fake.Options) *fake.Server {
	t.Helper()
	s, err := fake.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// options are those of an engine on a fake, quick to try again.
func options(s *fake.Server) Options {
	return Options{Project: "project", Endpoint: s.REST(), GRPC: s.GRPC(), firstPause: time.Millisecond}
}

func open(t testing.TB, o Options) *Engine {
	t.Helper()
	e, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// both closes the engine and its fake.
type both struct {
	*Engine
	server *fake.Server
}

func (b both) Close() error { return errors.Join(b.Engine.Close(), b.server.Close()) }

func TestContract(t *testing.T) {
	contract.RunIn(t, contract.GoogleSQL, func(t *testing.T) warehouse.Warehouse {
		s, err := fake.Start(fake.Options{Fresh: 2})
		if err != nil {
			t.Fatal(err)
		}
		o := options(s)
		o.AppendBytes = 1<<20 + 64<<10 // so that large requests are cut
		return both{open(t, o), s}
	})
}
