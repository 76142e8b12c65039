package cmd

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sparrowhq/sparrow/cmd/config"
	"github.com/sparrowhq/sparrow/service"
	"github.com/sparrowhq/sparrow/warehouse"
	"github.com/sparrowhq/sparrow/warehouse/bigquery"
	"github.com/sparrowhq/sparrow/warehouse/duckdb"
	"github.com/sparrowhq/sparrow/warehouse/served"
)

func (p *program) warehouse() *cobra.Command {
	c := &cobra.Command{
		Use:   "warehouse",
		Short: "Run the warehouse: write events where they end up, serve appends and queries to the other processes",
		Args:  cobra.NoArgs,
		RunE:  p.serve(warehouseName, "", warehouseStop, runWarehouse),
	}
	c.AddCommand(p.warehouseInit(), p.warehouseExport())
	return c
}

// warehouseInit makes what the warehouse process would make when it starts, for those who do not let it.
func (p *program) warehouseInit() *cobra.Command {
	var dry bool
	c := &cobra.Command{
		Use:   "init",
		Short: "Make the datasets, tables and views in BigQuery that are not there yet",
		Long: `Make the datasets, tables and views in BigQuery that are not there yet. What is there stays, so it may be run again.
The warehouse process does the same when it starts; this is for accounts that may not.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := p.config()
			if err != nil {
				return err
			}
			if config.Warehouse.Engine != "bigquery" {
				return usage("warehouse.engine is %s: what it needs is made when the warehouse starts; this is for bigquery", config.Warehouse.Engine)
			}
			o := bigqueryOptions(&config)
			if !dry {
				if err := bigquery.Init(cmd.Context(), o); err != nil {
					return err
				}
				_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s has the datasets %sgreen, %[2]sblue, %[2]slive, %[2]sstaging and %[2]ssparrow, and their tables\n", o.Project, o.Prefix)
				return err
			}
			statements, err := bigquery.Statements(o)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), strings.Join(statements, ";\n\n")+";")
			return err
		},
	}
	c.Flags().BoolVar(&dry, "dry-run", false, "print the statements and run nothing")
	return c
}

func bigqueryOptions(c *config.Config) bigquery.Options {
	b := c.BigQuery
	return bigquery.Options{
		Project:     b.Project,
		Location:    b.Location,
		Prefix:      b.Prefix,
		Credentials: b.CredentialsFile,
		Endpoint:    b.Endpoint,
		GRPC:        b.GRPC,
		MaxScanned:  int64(b.MaxScanned),
		QueueBytes:  int64(c.Warehouse.Queue),
		Queries:     c.Warehouse.Queries.Concurrent,
		Limit:       c.Warehouse.Queries.Limit,
		MaxWait:     time.Duration(c.Warehouse.Queries.MaxWait),
		Retention:   bigquery.Retention(c.Warehouse.Retention),
	}
}

// openEngine opens the engine that the configuration names. stuck is called when only the end of the process helps.
func openEngine(ctx context.Context, p *process, stuck func(error)) (warehouse.Warehouse, error) {
	c := p.config.Warehouse
	if c.Engine == "bigquery" {
		o := bigqueryOptions(&p.config)
		o.Telemetry = p.telemetry
		return bigquery.Open(ctx, o)
	}
	return duckdb.Open(duckdb.Options{
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
		Stuck:      stuck,
	})
}

func runWarehouse(ctx context.Context, p *process) error {
	c := p.config.Warehouse
	address, err := config.Address(c.Listen, c.URL)
	if err != nil {
		return err
	}
	stuck := make(chan error, 1)
	engine, err := openEngine(ctx, p, func(err error) {
		select {
		case stuck <- err:
		default:
		}
	})
	if err != nil {
		return err
	}
	l, err := p.in.Listen(warehouseName, address)
	if err != nil {
		return errors.Join(err, engine.Close())
	}
	p.telemetry.Log.Info("listening", "address", l.Addr())
	h := served.Handler(served.Options{Warehouse: engine, Secret: p.secret, Telemetry: p.telemetry})
	done := make(chan error, 1)
	go func() { done <- service.Serve(ctx, p.telemetry, l, h, 10*time.Second) }()
	select {
	case err := <-done:
		if closed := engine.Close(); err == nil {
			err = closed
		}
		return err
	case err := <-stuck:
		// As if it were killed, which loses nothing that was answered: neither Serve nor Close would come to an end.
		return fmt.Errorf("the process ends, to be started again: %w", err)
	}
}
