//go:build external

package bigquery

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
	"github.com/sparrowhq/sparrow/warehouse/contract"
)

// own is an engine with datasets of its own, which go with it.
type own struct{ *Engine }

func (o own) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var errs []error
	for _, d := range []string{"live", "staging", string(event.Green), string(event.Blue), shared} {
		errs = append(errs, o.rest.DatasetInProject(o.names.project, o.names.dataset(d)).DeleteWithContents(ctx))
	}
	return errors.Join(append(errs, o.Engine.Close())...)
}

// prefixed finds the names of our datasets in the suite's statements.
var prefixed = regexp.MustCompile(`(\s|^)(green|blue|live|staging)\.`)

// inPlace reads what the suite asks of green.raw and the others from the datasets of one test.
type inPlace struct{ own }

func (w inPlace) Query(ctx context.Context, q warehouse.Query) (*warehouse.Rows, error) {
	q.SQL = prefixed.ReplaceAllString(q.SQL, "${1}"+w.names.prefix+"$2.")
	return w.own.Query(ctx, q)
}

// TestExternal runs the contract suite against a server that is not ours: the one that the environment names.
func TestExternal(t *testing.T) {
	project, endpoint, grpc := os.Getenv("SPARROW_BIGQUERY_PROJECT"), os.Getenv("SPARROW_BIGQUERY_ENDPOINT"), os.Getenv("SPARROW_BIGQUERY_GRPC")
	if project == "" {
		t.Skip("NOTHING WAS TESTED against BigQuery: set SPARROW_BIGQUERY_PROJECT, and for a server that is not Google's SPARROW_BIGQUERY_ENDPOINT (REST) and SPARROW_BIGQUERY_GRPC (Storage API, plaintext)")
	}
	var n atomic.Int64
	contract.RunIn(t, contract.GoogleSQL, func(t *testing.T) warehouse.Warehouse {
		o := Options{Project: project, Endpoint: endpoint, GRPC: grpc, Prefix: fmt.Sprintf("sparrow_test_%d_%d_", time.Now().Unix(), n.Add(1)), Credentials: os.Getenv("SPARROW_BIGQUERY_CREDENTIALS_FILE"), Location: os.Getenv("SPARROW_BIGQUERY_LOCATION")}
		return inPlace{own{open(t, o)}}
	})
}
