package cmd

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/sparrowhq/sparrow/cmd/config"
	"github.com/sparrowhq/sparrow/dispatcher"
	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/service"
	"github.com/sparrowhq/sparrow/trace"
	"github.com/sparrowhq/sparrow/trace/pipeline"
	"github.com/sparrowhq/sparrow/warehouse/served"
)

func (p *program) trace() *cobra.Command {
	var name string
	c := &cobra.Command{
		Use:   "trace --stack green|blue",
		Short: "Run the trace of one stack: decide what may leave, and send it to the vendors; or work on its pipeline file",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, args []string) error {
			stack, err := event.ParseStack(name)
			if err != nil {
				return usage("--stack: %w; or name a subcommand: see `sparrow help trace`", err)
			}
			run := func(ctx context.Context, pr *process) error { return p.runTrace(ctx, pr, stack) }
			return p.serve("trace", stack, traceStop, run)(c, args)
		},
	}
	c.Flags().StringVar(&name, "stack", "", "green or blue")
	c.AddCommand(p.traceLint(), p.traceLearn(), p.traceExplain(), p.traceReload(), p.traceStatus())
	return c
}

func (p *program) runTrace(ctx context.Context, pr *process, stack event.Stack) (err error) {
	c := pr.config.Stacks.Of(stack)
	address, err := config.Address(c.Trace.Listen, c.Trace.URL)
	if err != nil {
		return err
	}
	w, err := served.New(served.ClientOptions{URL: pr.config.Warehouse.URL, Secret: pr.secret})
	if err != nil {
		return err
	}
	defer w.Close()
	o, err := p.traceOptions(pr, stack)
	if err != nil {
		return err
	}
	o.Warehouse = w
	if o.Build, err = p.stackBuild(pr.config, p.extendedDispatcher(pr, stack), o); err != nil {
		return err
	}
	allow, err := reported(pr.config, o.Pipeline, o.Key)
	if err != nil {
		return err
	}
	pr.telemetry.Allow(allow)
	l, err := pr.in.Listen(traceName(stack), address)
	if err != nil {
		return err
	}
	t, err := trace.New(ctx, o)
	if err != nil {
		l.Close()
		return err
	}
	defer func() {
		if closed := t.Close(); err == nil {
			err = closed
		}
	}()
	var current atomic.Pointer[pipeline.Config]
	current.Store(&o.Pipeline)
	check, err := newStanding(stack, time.Duration(c.Trace.Check), w, pr.telemetry)
	if err != nil {
		return err
	}
	defer watch(ctx, check, t, func() pipeline.Config { return *current.Load() })()
	pr.telemetry.Log.Info("listening", "address", l.Addr(), "build", o.Build.ID, "version", o.Build.Version)
	r := &pipelineReload{program: p, process: pr, stack: stack, trace: t, warehouse: w, current: &current}
	h := reloader(pr.secret, t.Handler(), func(context.Context) (event.Build, error) {
		_, build, err := r.apply()
		return build, err
	})
	following, stopFollowing := context.WithCancel(ctx)
	var follower sync.WaitGroup
	defer follower.Wait()
	defer stopFollowing()
	follower.Go(func() { r.follow(following) })
	return service.Serve(ctx, pr.telemetry, l, h, 5*time.Second)
}

// reread returns the process with the settings as they are now.
func (p *program) reread(pr *process) (*process, error) {
	c, err := p.config()
	if err != nil {
		return nil, err
	}
	if err := c.Absolute(); err != nil {
		return nil, err
	}
	if err := c.Validate(); err != nil {
		return nil, err
	}
	fresh := *pr
	fresh.config = c
	return &fresh, nil
}

// traceOptions are the options of a stack's trace as the settings and the extension make them, but for what it is
// connected to. The dispatcher of the stack makes them too, to know which build both are.
func (p *program) traceOptions(pr *process, stack event.Stack) (trace.Options, error) {
	c := pr.config.Stacks.Of(stack).Trace
	pipe, err := readPipeline(c.Pipeline)
	if err != nil {
		return trace.Options{}, err
	}
	key, err := hashKey(pr.config)
	if err != nil {
		return trace.Options{}, err
	}
	trackers, err := trackerOptions(pr.config, pipe)
	if err != nil {
		return trace.Options{}, err
	}
	for name, t := range trackers {
		t.Items = c.Window
		trackers[name] = t
	}
	o := trace.Options{
		Stack:           stack,
		Secret:          pr.secret,
		Dir:             filepath.Join(pr.config.Data, "trace", string(stack)),
		Pipeline:        pipe,
		Key:             key,
		Trackers:        trackers,
		Telemetry:       pr.telemetry,
		MaxBacklogBytes: int64(c.Backlog),
		MinFree:         int64(c.MinFree),
		MaxKeys:         c.MessageKeys,
		KeyAge:          time.Duration(c.MessageAge),
		MaxUnshipped:    c.Unshipped,
		MaxAhead:        c.Ahead,
		MaxDead:         c.DeadLetters,
	}
	if extend := p.Extension.Trace; extend != nil {
		extend(&o)
	}
	return o, nil
}

// hashKey is the key of all hashes: the same in both stacks, and not the secret of the hops, so that a new one of those
// changes no id at a vendor.
func hashKey(c config.Config) ([]byte, error) {
	text, err := service.Secret(c.Key())
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(text))
	return sum[:], nil
}

// stackBuild is the build that a stack of this executable is, from the options of its two halves after the extension
// ran: what it changed of the pipeline is part of the build.
func (p *program) stackBuild(c config.Config, d dispatcher.Options, t trace.Options) (event.Build, error) {
	executable, err := os.Executable()
	if err != nil {
		return event.Build{}, fmt.Errorf("this executable: %w", err)
	}
	pipeline, err := json.Marshal(struct {
		Dispatcher  json.RawMessage `json:"dispatcher"`
		Trace       json.RawMessage `json:"trace"`
		MessageAge  time.Duration   `json:"messageAge"`
		MessageKeys int             `json:"messageKeys"`
		Webhooks    any             `json:"webhooks"`
	}{d.Pipeline(), t.Pipeline.Canonical(), t.KeyAge, t.MaxKeys, webhookForms(c, t.Pipeline)})
	if err != nil {
		return event.Build{}, err
	}
	return dispatcher.BuildID(executable, pipeline, readBuildInfo().Version)
}
