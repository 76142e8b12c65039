package cmd

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/sparrowhq/sparrow/compare"
	"github.com/sparrowhq/sparrow/deploy"
	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/service"
)

type reloadFlags struct {
	stack, reason, actor string
	force                bool
}

func (p *program) traceReload() *cobra.Command {
	var f reloadFlags
	c := &cobra.Command{
		Use:   "reload [FILE]",
		Short: "Load the pipeline file again, or another one, without a restart; into the candidate unless forced",
		Long: `Make a stack of the "sparrow up" on this machine go on with its pipeline file (setting stacks.STACK.trace.pipeline) as it
is now, or with FILE. Nothing is taken over unless the file is valid. It makes the stack another build, so a candidate
has to be declared anew, and no verdict about the old one counts.

The live stack is refused: what it sends would change without a verdict. With --force and a --reason it goes through,
and stands in the history.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return p.decide(func(ctx context.Context, in installation, d deploy.Client) error {
				return p.reload(ctx, in, d, &f, args)
			})(c, args)
		},
	}
	g := c.Flags()
	g.StringVar(&f.stack, "stack", "", "green or blue (default: the candidate)")
	g.BoolVar(&f.force, "force", false, "although the stack is live; takes --reason and stays visible")
	g.StringVar(&f.reason, "reason", "", "why, for the history")
	g.StringVar(&f.actor, "actor", "", "who decides, for the history (default: user@host)")
	p.jsonFlag(c)
	return c
}

func (p *program) reload(ctx context.Context, in installation, d deploy.Client, f *reloadFlags, args []string) error {
	if f.force && f.reason == "" {
		return usage("--force takes a --reason")
	}
	req := pipelineRequest{Force: f.force}
	if f.stack != "" {
		stack, err := event.ParseStack(f.stack)
		if err != nil {
			return usage("--stack: %w", err)
		}
		req.Stack = stack
	}
	if len(args) == 1 {
		path, err := filepath.Abs(args[0])
		if err != nil {
			return err
		}
		req.File = path
	}
	supervisor, err := in.supervisor()
	if err != nil {
		return err
	}
	secret, err := in.secret()
	if err != nil {
		return err
	}
	var answer pipelineAnswer
	if err := postJSON(ctx, service.Client(secret), supervisor+"/v1/pipeline", req, &answer); err != nil {
		return err
	}
	var decision *deploy.Decision
	if answer.Live && answer.Build.ID != answer.Before.ID {
		// A record of its own: the history must not look as if the live stack had been this build all along.
		made, err := p.record(ctx, d, f, answer)
		if err != nil {
			return fmt.Errorf("%s runs %s now, but the history does not say so: declare the candidate anew with a reason: %w", answer.Stack, compare.BuildName(answer.Build), err)
		}
		decision = &made
	}
	changed := answer.Build.ID != answer.Before.ID
	if changed && decision == nil { // or a declaration right after this would name the build that was
		if err := awaitBuild(ctx, d, swapAnswer{Stack: answer.Stack, Build: answer.Build}); err != nil {
			return err
		}
	}
	if p.json {
		return p.printJSON(map[string]any{"reload": answer, "decision": decision})
	}
	if !changed {
		_, err := fmt.Fprintf(p.Stdout, "%s had this pipeline already: build %s\n", answer.Stack, compare.BuildName(answer.Build))
		return err
	}
	tell(p.Stdout, "%s goes on with %s, as build %s\n", answer.Stack, fileText(answer.File), compare.BuildName(answer.Build))
	if decision != nil {
		return decision.WriteText(p.Stdout)
	}
	_, err = fmt.Fprintln(p.Stdout, "next: sparrow deploy candidate declares it")
	return err
}

// record writes into the history that the live stack was given another pipeline by force.
func (p *program) record(ctx context.Context, d deploy.Client, f *reloadFlags, answer pipelineAnswer) (deploy.Decision, error) {
	if err := awaitLive(ctx, d, answer); err != nil {
		return deploy.Decision{}, err
	}
	return declare(ctx, d, deploy.Request{
		Actor:  f.actor,
		Force:  true,
		Reason: fmt.Sprintf("the pipeline of %s, which is live, was reloaded: %s", answer.Stack, f.reason),
	})
}
