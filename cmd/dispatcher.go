package cmd

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/sparrowhq/sparrow/cmd/config"
	"github.com/sparrowhq/sparrow/dispatcher"
	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/service"
	"github.com/sparrowhq/sparrow/trace"
	"github.com/sparrowhq/sparrow/warehouse/served"
)

func (p *program) dispatcher() *cobra.Command {
	var name string
	c := &cobra.Command{
		Use:   "dispatcher --stack green|blue",
		Short: "Run the dispatcher of one stack: take frames from the mirror, store their events raw, hand them on to trace",
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
	o := p.dispatcherOptions(pr, stack)
	o.Warehouse, o.Journals = w, w
	p.extend(&o)
	build := func(pr *process) (event.Build, error) {
		t := trace.Options{}
		if pr.config.Stacks.Of(stack).Trace.URL != "" {
			if t, err = p.traceOptions(pr, stack); err != nil {
				return event.Build{}, err
			}
		}
		return p.stackBuild(pr.config, o, t)
	}
	if o.Build, err = build(pr); err != nil {
		return err
	}
	if c.Trace.URL != "" {
		forwarder, err := dispatcher.NewTrace(c.Trace.URL, pr.secret)
		if err != nil {
			return err
		}
		defer forwarder.Close()
		o.Forwarder = forwarder
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
	h := reloader(pr.secret, d.Handler(), func(context.Context) (event.Build, error) {
		fresh, err := p.reread(pr)
		if err != nil {
			return event.Build{}, err
		}
		b, err := build(fresh)
		if err != nil {
			return event.Build{}, err
		}
		d.SetBuild(b)
		return b, nil
	})
	return service.Serve(ctx, pr.telemetry, l, h, 10*time.Second)
}

// dispatcherOptions are the options of a stack's dispatcher as the settings make them, but for what it is connected to.
func (p *program) dispatcherOptions(pr *process, stack event.Stack) dispatcher.Options {
	c := pr.config.Stacks.Of(stack)
	return dispatcher.Options{
		Stack:           stack,
		Secret:          pr.secret,
		Telemetry:       pr.telemetry,
		MaxDecodedBytes: int(c.Dispatcher.MaxDecoded),
		MaxItems:        c.Dispatcher.MaxItems,
		MaxAppendBytes:  int(c.Dispatcher.MaxAppend),
		AppendTimeout:   time.Duration(c.Dispatcher.AppendTimeout),
	}
}

// extendedDispatcher are the options of a dispatcher of which only the pipeline is asked for.
func (p *program) extendedDispatcher(pr *process, stack event.Stack) dispatcher.Options {
	o := p.dispatcherOptions(pr, stack)
	p.extend(&o)
	return o
}

func (p *program) extend(o *dispatcher.Options) {
	if extend := p.Extension.Dispatcher; extend != nil {
		extend(o)
	}
}
