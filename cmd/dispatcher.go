package cmd

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/sparrowhq/sparrow/cmd/config"
	"github.com/sparrowhq/sparrow/dispatcher"
	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/service"
	"github.com/sparrowhq/sparrow/warehouse/served"
)

func (p *program) dispatcher() *cobra.Command {
	var name string
	c := &cobra.Command{
		Use:   "dispatcher --stack green|blue",
		Short: "Run the dispatcher of one stack: take frames from the mirror, store their events raw",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, args []string) error {
			stack, err := event.ParseStack(name)
			if err != nil {
				return usage("--stack: %w", err)
			}
			run := func(ctx context.Context, pr *process) error { return p.runDispatcher(ctx, pr, stack) }
			return p.serve("dispatcher", stack, dispatcherStop, run)(c, args)
		},
	}
	c.Flags().StringVar(&name, "stack", "", "green or blue")
	return c
}

func (p *program) runDispatcher(ctx context.Context, pr *process, stack event.Stack) error {
	c := pr.config.Stacks.Of(stack)
	address, err := config.Address(c.Listen, c.URL)
	if err != nil {
		return err
	}
	w, err := served.New(served.ClientOptions{URL: pr.config.Warehouse.URL, Secret: pr.secret})
	if err != nil {
		return err
	}
	defer w.Close()
	o := dispatcher.Options{
		Stack:           stack,
		Secret:          pr.secret,
		Warehouse:       w,
		Journals:        w,
		Telemetry:       pr.telemetry,
		MaxDecodedBytes: int(c.Dispatcher.MaxDecoded),
		MaxItems:        c.Dispatcher.MaxItems,
		MaxAppendBytes:  int(c.Dispatcher.MaxAppend),
		AppendTimeout:   time.Duration(c.Dispatcher.AppendTimeout),
	}
	if extend := p.Extension.Dispatcher; extend != nil {
		extend(&o)
	}
	// After the extension: what it changed of the pipeline is part of the build.
	executable, err := os.Executable()
	if err != nil {
		return fmt.Errorf("this executable: %w", err)
	}
	if o.Build, err = dispatcher.BuildID(executable, o.Pipeline(), readBuildInfo().Version); err != nil {
		return err
	}
	d, err := dispatcher.New(o)
	if err != nil {
		return err
	}
	l, err := pr.in.Listen(dispatcherName(stack), address)
	if err != nil {
		return err
	}
	pr.telemetry.Log.Info("listening", "address", l.Addr(), "build", o.Build.ID, "version", o.Build.Version)
	return service.Serve(ctx, pr.telemetry, l, d.Handler(), 10*time.Second)
}
