// Command serve runs the fake BigQuery until it is interrupted, and prints the settings with which make test-bigquery
// finds it.
//
// Invariant: it keeps nothing: what was stored ends with it.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/sparrowhq/sparrow/warehouse/bigquery/fake"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "serve:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	s, err := fake.Start(fake.Options{Hidden: 1})
	if err != nil {
		return err
	}
	fmt.Printf("export SPARROW_BIGQUERY_PROJECT=project SPARROW_BIGQUERY_ENDPOINT=%s SPARROW_BIGQUERY_GRPC=%s\n", s.REST(), s.GRPC())
	<-ctx.Done()
	return s.Close()
}
