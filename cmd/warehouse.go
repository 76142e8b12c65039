package cmd

import (
	"context"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/sparrowhq/sparrow/cmd/config"
	"github.com/sparrowhq/sparrow/service"
	"github.com/sparrowhq/sparrow/warehouse/duckdb"
	"github.com/sparrowhq/sparrow/warehouse/served"
)

func (p *program) warehouse() *cobra.Command {
	c := &cobra.Command{
		Use:   "warehouse",
		Short: "Run the warehouse: own the DuckDB file, serve appends and queries to the other processes",
		Args:  cobra.NoArgs,
		RunE:  p.serve(warehouseName, "", warehouseStop, runWarehouse),
	}
	c.AddCommand(p.warehouseExport())
	return c
}

func runWarehouse(ctx context.Context, p *process) (err error) {
	c := p.config.Warehouse
	address, err := config.Address(c.Listen, c.URL)
	if err != nil {
		return err
	}
	engine, err := duckdb.Open(duckdb.Options{
		Path:       filepath.Join(p.config.Data, "warehouse", "sparrow.duckdb"),
		Memory:     int64(c.Memory),
		Threads:    c.Threads,
		Spill:      int64(c.Spill),
		QueueBytes: int64(c.Queue),
		Queries:    c.Queries.Concurrent,
		Limit:      c.Queries.Limit,
		MaxWait:    time.Duration(c.Queries.MaxWait),
		Retention:  duckdb.Retention{Raw: c.Retention.Raw, Outcomes: c.Retention.Outcomes},
		Telemetry:  p.telemetry,
	})
	if err != nil {
		return err
	}
	defer func() {
		if closed := engine.Close(); err == nil {
			err = closed
		}
	}()
	l, err := p.in.Listen(warehouseName, address)
	if err != nil {
		return err
	}
	p.telemetry.Log.Info("listening", "address", l.Addr())
	h := served.Handler(served.Options{Warehouse: engine, Secret: p.secret, Telemetry: p.telemetry})
	return service.Serve(ctx, p.telemetry, l, h, 10*time.Second)
}
