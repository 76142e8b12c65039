package cmd

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sparrowhq/sparrow/compare"
	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/service"
	"github.com/sparrowhq/sparrow/trace"
	"github.com/sparrowhq/sparrow/trace/pipeline"
	"github.com/sparrowhq/sparrow/warehouse"
)

// pipelineReload has a running trace follow its pipeline file again: when it is told to over HTTP, by `sparrow trace
// reload`, which has asked who is live; and on SIGHUP, where it asks itself. Reloading makes the stack another build, so
// the live one is left alone.
type pipelineReload struct {
	program   *program
	process   *process
	stack     event.Stack
	trace     *trace.Trace
	warehouse warehouse.Reader
	current   *atomic.Pointer[pipeline.Config]

	mu sync.Mutex // one at a time
}

// apply puts the file as it is now in force. undo puts back what was.
func (r *pipelineReload) apply() (undo func() error, build event.Build, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fresh, err := r.program.reread(r.process)
	if err != nil {
		return nil, event.Build{}, err
	}
	o, err := r.program.traceOptions(fresh, r.stack)
	if err != nil {
		return nil, event.Build{}, err
	}
	if build, err = r.program.stackBuild(fresh.config, r.program.extendedDispatcher(fresh, r.stack), o); err != nil {
		return nil, event.Build{}, err
	}
	before, was := *r.current.Load(), r.trace.Build()
	put := func(p *process, c pipeline.Config, build event.Build) error {
		allow, err := reported(p.config, c, o.Key)
		if err != nil {
			return err
		}
		if err := r.trace.Reload(c, build); err != nil {
			return err
		}
		r.current.Store(&c)
		p.telemetry.Allow(allow)
		return nil
	}
	if err := put(fresh, o.Pipeline, build); err != nil {
		return nil, event.Build{}, err
	}
	return func() error {
		r.mu.Lock()
		defer r.mu.Unlock()
		return put(r.process, before, was)
	}, build, nil
}

// follow reloads at each SIGHUP until ctx ends.
func (r *pipelineReload) follow(ctx context.Context) {
	for {
		select {
		case <-r.process.hangups:
			log := r.process.telemetry.Log
			was := r.trace.Build()
			switch build, err := r.hangup(ctx); {
			case err != nil:
				log.Error("the pipeline was not reloaded: everything is as before", "error", err)
			case build.ID == was.ID:
				log.Info("the pipeline file has not changed", "build", build.ID)
			default:
				log.Info("the pipeline was reloaded: declare the candidate anew", "build", build.ID, "before", was.ID)
			}
		case <-ctx.Done():
			return
		}
	}
}

// hangup reloads both halves of the stack, if it is the candidate.
func (r *pipelineReload) hangup(ctx context.Context) (event.Build, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if r.process.in.Supervised() {
		return event.Build{}, errors.New("`sparrow up` keeps a copy of the file, so that what runs is what was loaded: use `sparrow trace reload`")
	}
	live, err := liveStack(ctx, r.warehouse)
	if err != nil {
		return event.Build{}, fmt.Errorf("it cannot be told whether %s is live: %w", r.stack, err)
	}
	if live == r.stack {
		return event.Build{}, fmt.Errorf("%s %w", r.stack, errLiveHangup)
	}
	was := r.trace.Build()
	undo, build, err := r.apply()
	if err != nil {
		return event.Build{}, err
	}
	client := service.Client(r.process.secret)
	defer client.CloseIdleConnections()
	var other event.Build
	err = postJSON(ctx, client, r.process.config.Stacks.Of(r.stack).URL+"/v1/reload", struct{}{}, &other)
	if err == nil && other.ID != build.ID {
		err = fmt.Errorf("it is now build %s, trace %s: do both run the same binary with the same settings?", compare.BuildName(other), compare.BuildName(build))
	}
	if err == nil {
		return build, nil
	}
	err = fmt.Errorf("the dispatcher of %s: %w", r.stack, err)
	if build.ID == was.ID {
		return event.Build{}, err
	}
	return event.Build{}, errors.Join(err, undo())
}

// errLiveHangup says that a live stack's pipeline is not changed by a signal.
var errLiveHangup = errors.New("is live: what it sends would change without a verdict. Load the file into the candidate and cut over to it")

// liveStack is the stack that the last control record says is live, as far as the warehouse has them.
func liveStack(ctx context.Context, w warehouse.Reader) (event.Stack, error) {
	rows, err := w.Query(ctx, warehouse.Query{SQL: `SELECT live FROM timeline ORDER BY sequence DESC LIMIT 1`})
	if err != nil {
		return "", err
	}
	defer rows.Close()
	row, err := rows.Next()
	if err != nil {
		return "", fmt.Errorf("the warehouse has no control record yet: %w", err)
	}
	text, _ := row[0].(string)
	return event.ParseStack(text)
}
