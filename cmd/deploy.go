package cmd

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sparrowhq/sparrow/compare"
	"github.com/sparrowhq/sparrow/deploy"
	"github.com/sparrowhq/sparrow/service"
)

func (p *program) deploy() *cobra.Command {
	c := &cobra.Command{
		Use:   "deploy",
		Short: "Decide which stack is live: declare a candidate, cut over to it, roll back",
	}
	group(c)
	c.AddCommand(p.deployStatus(), p.deployCandidate(), p.deployCutover(), p.deployRollback(), p.deployHistory())
	return c
}

// decisions returns a client of the deploy API.
func (p *program) decisions(in installation, operator *http.Client) deploy.Client {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	name := cmp.Or(p.env("USER"), p.env("LOGNAME"))
	if name == "" {
		name = "unknown"
		if u, err := user.Current(); err == nil {
			name = u.Username
		}
	}
	return deploy.Client{URL: in.endpoints.Admin, HTTP: operator, Actor: name + "@" + host}
}

// decide returns what a subcommand of deploy runs: ask the running Sparrow, then show the answer.
func (p *program) decide(run func(context.Context, installation, deploy.Client) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, _ []string) error {
		in, err := p.find()
		if err != nil {
			return err
		}
		operator, err := in.admin()
		if err != nil {
			return err
		}
		return p.refused(run(c.Context(), in, p.decisions(in, operator)))
	}
}

// refused shows a refusal line by line, with what would help.
func (p *program) refused(err error) error {
	var b bytes.Buffer
	if err == nil || !deploy.WriteError(&b, err) {
		return err
	}
	return &exitStatus{status: exitError, err: errors.New(strings.TrimSpace(b.String()))}
}

// shown is an answer that can write itself for people.
type shown interface{ WriteText(io.Writer) error }

func (p *program) show(v shown) error {
	if p.json {
		return p.printJSON(v)
	}
	return v.WriteText(p.Stdout)
}

func (p *program) deployStatus() *cobra.Command {
	c := &cobra.Command{
		Use:   "status",
		Short: "Show who is live, the candidate, its verdict, and what stands against a cutover",
		Args:  cobra.NoArgs,
		RunE: p.decide(func(ctx context.Context, in installation, d deploy.Client) error {
			o, err := d.Status(ctx)
			if err != nil {
				return err
			}
			if p.json {
				return p.printJSON(o)
			}
			if err := o.WriteText(p.Stdout); err != nil {
				return err
			}
			return p.showLanes(ctx, in)
		}),
	}
	p.jsonFlag(c)
	p.serverFlag(c)
	return c
}

func (p *program) deployCandidate() *cobra.Command {
	var binary string
	var r deploy.Request
	c := &cobra.Command{
		Use:   "candidate [--binary PATH]",
		Short: "Declare the candidate's build, and run another binary as it if one is given",
		Long: `Declare the build that the candidate stack runs. A new window begins: what came before no longer counts.

With --binary, the "sparrow up" on this machine first runs that binary as the candidate stack, without touching
anything else. If it does not become ready, the old one runs again and nothing is declared.`,
		Args: cobra.NoArgs,
		RunE: p.decide(func(ctx context.Context, in installation, d deploy.Client) error {
			if binary != "" {
				swapped, err := p.swap(ctx, in, binary)
				if err != nil {
					return err
				}
				if !p.json {
					tell(p.Stdout, "%s runs %s now\n", swapped.Stack, compare.BuildName(swapped.Build))
				}
				if err := awaitBuild(ctx, d, swapped); err != nil {
					return err
				}
				r.Build = swapped.Build
			}
			decision, err := declare(ctx, d, r)
			if err != nil {
				return err
			}
			return p.show(decision)
		}),
	}
	c.Flags().StringVar(&binary, "binary", "", "executable to run as the candidate stack")
	c.Flags().StringVar(&r.Reason, "reason", "", "why, for the history")
	p.actorFlag(c, &r)
	p.jsonFlag(c)
	p.serverFlag(c)
	return c
}

// swap asks the supervisor on this machine to run another binary as the candidate.
func (p *program) swap(ctx context.Context, in installation, binary string) (swapAnswer, error) {
	var answer swapAnswer
	path, err := filepath.Abs(binary)
	if err != nil {
		return answer, err
	}
	if in.dir == "" {
		return answer, usage("--binary works on the machine of `sparrow up`: name its data folder with --data")
	}
	supervisor, err := in.supervisor()
	if err != nil {
		return answer, err
	}
	secret, err := in.secret()
	if err != nil {
		return answer, err
	}
	err = postJSON(ctx, service.Client(secret), supervisor+"/v1/candidate", swapRequest{Binary: path}, &answer)
	return answer, err
}

// supervisor returns the address of the `sparrow up` on this machine.
func (in installation) supervisor() (string, error) {
	if in.dir == "" {
		return "", usage("this works on the machine of `sparrow up`: name its data folder with --data")
	}
	var address controlAddress
	data, err := os.ReadFile(controlFile(in.dir))
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("no `sparrow up` runs with data folder %s: change and restart the stack's processes yourself, then declare what runs", in.dir)
	}
	if err == nil {
		err = json.Unmarshal(data, &address)
	}
	if err != nil {
		return "", fmt.Errorf("address of the supervisor: %w", err)
	}
	return address.URL, nil
}

// awaitLive waits until the mirror has noticed which build the live stack is now.
func awaitLive(ctx context.Context, d deploy.Client, want pipelineAnswer) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		o, err := d.Status(ctx)
		if err == nil && o.Live.Stack == want.Stack && o.Live.Status.Build.ID == want.Build.ID {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the mirror has not noticed that %s runs %s", want.Stack, compare.BuildName(want.Build))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// awaitBuild waits until the mirror has noticed what the candidate runs now: it asks an idle stack every few seconds.
func awaitBuild(ctx context.Context, d deploy.Client, want swapAnswer) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		o, err := d.Status(ctx)
		if err == nil && o.Candidate.Stack != want.Stack {
			return fmt.Errorf("%s became live meanwhile: it is no candidate any more", want.Stack)
		}
		if err == nil && o.Candidate.Status.Build.ID == want.Build.ID && o.Candidate.Status.Reachable {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s runs %s, but the mirror has not noticed: look at `sparrow deploy status`, then declare it with `sparrow deploy candidate`", want.Stack, compare.BuildName(want.Build))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// declare declares the candidate. A mirror that has just started has not spoken with the candidate yet, so what is
// refused for not knowing its build is asked again for a few seconds.
func declare(ctx context.Context, d deploy.Client, r deploy.Request) (deploy.Decision, error) {
	patience, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		decision, err := d.Candidate(ctx, r)
		var refused *deploy.RefusedError
		unknown := errors.As(err, &refused) && !slices.ContainsFunc(refused.Refusals, func(x deploy.Refusal) bool {
			return x.Code != deploy.RefuseUnreachable && x.Code != deploy.RefuseBuild
		})
		if !unknown {
			return decision, err
		}
		select {
		case <-patience.Done():
			return decision, err
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (p *program) actorFlag(c *cobra.Command, r *deploy.Request) {
	c.Flags().StringVar(&r.Actor, "actor", "", "who decides, for the history (default: user@host)")
}

func (p *program) deployCutover() *cobra.Command {
	var r deploy.Request
	c := &cobra.Command{
		Use:   "cutover",
		Short: "Make the candidate live, on a fresh PASS for exactly the build it runs",
		Args:  cobra.NoArgs,
		RunE: p.decide(func(ctx context.Context, _ installation, d deploy.Client) error {
			decision, err := d.Cutover(ctx, r)
			if err != nil {
				return err
			}
			return p.show(decision)
		}),
	}
	c.Flags().BoolVar(&r.Force, "force", false, "in spite of what stands against it; takes --reason and stays visible")
	c.Flags().StringVar(&r.Reason, "reason", "", "why, for the history")
	c.Flags().Uint64Var(&r.Generation, "generation", 0, "only if this is still the present generation")
	p.actorFlag(c, &r)
	p.jsonFlag(c)
	p.serverFlag(c)
	return c
}

func (p *program) deployRollback() *cobra.Command {
	var r deploy.Request
	c := &cobra.Command{
		Use:   "rollback",
		Short: "Make the other stack live again, at once; with --from, for frames already past too",
		Args:  cobra.NoArgs,
		RunE: p.decide(func(ctx context.Context, _ installation, d deploy.Client) error {
			decision, err := d.Rollback(ctx, r)
			if err != nil {
				return err
			}
			return p.show(decision)
		}),
	}
	c.Flags().Uint64Var(&r.From, "from", 0, "first frame to reassign (default: the frames still to come)")
	c.Flags().BoolVar(&r.AcceptHoles, "accept-holes", false, "although the returning stack did not get everything of that range")
	c.Flags().BoolVar(&r.Force, "force", false, "in spite of what stands against it; takes --reason and stays visible")
	c.Flags().StringVar(&r.Reason, "reason", "", "why, for the history")
	c.Flags().Uint64Var(&r.Generation, "generation", 0, "only if this is still the present generation")
	p.actorFlag(c, &r)
	p.jsonFlag(c)
	p.serverFlag(c)
	return c
}

func (p *program) deployHistory() *cobra.Command {
	c := &cobra.Command{
		Use:   "history",
		Short: "Show every decision, newest first, after checking that none was removed or changed",
		Args:  cobra.NoArgs,
		RunE: p.decide(func(ctx context.Context, _ installation, d deploy.Client) error {
			t, err := d.History(ctx)
			if err != nil {
				return err
			}
			if p.json {
				return p.printJSON(compare.NewHistory(t))
			}
			return deploy.WriteHistory(p.Stdout, t, p.screen(p.Stdout).Terminal)
		}),
	}
	p.jsonFlag(c)
	p.serverFlag(c)
	return c
}
