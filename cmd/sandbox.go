package cmd

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/sparrowhq/sparrow/cmd/config"
	"github.com/sparrowhq/sparrow/trace/sandbox"
	"github.com/sparrowhq/sparrow/trace/sandbox/scenario"
)

func (p *program) sandbox() *cobra.Command {
	c := &cobra.Command{
		Use:   "sandbox",
		Short: "Run the vendors' stand-in, or ask the running one what arrived",
		Long: `Without a subcommand, run the sandbox: a stand-in for the analytics vendors and for Sentry that is as strict as their
documents, records what arrives, and goes wrong on demand. "sparrow up" runs one, and trackers without keys send
to it.`,
		Args: cobra.NoArgs,
		RunE: p.serve(sandboxName, "", sandboxStop, runSandbox),
	}
	c.AddCommand(p.sandboxStatus(), p.sandboxIDs(), p.sandboxEvents(), p.sandboxSearch(), p.sandboxScenario(), p.sandboxReset())
	return c
}

func runSandbox(ctx context.Context, p *process) (err error) {
	c := p.config.Sandbox
	address, err := config.Address(c.Listen, c.URL)
	if err != nil {
		return err
	}
	o := sandbox.Options{
		Telemetry: p.telemetry,
		Secret:    p.secret,
		Dir:       filepath.Join(p.config.Data, "sandbox"),
		MaxBytes:  int64(c.MaxBytes),
		MaxIDs:    c.MaxIDs,
		Limits:    c.Limits,
	}
	if c.Scenario != "" {
		text, err := os.ReadFile(c.Scenario)
		if err != nil {
			return fmt.Errorf("setting sandbox.scenario: %w", err)
		}
		if o.Scenario, err = scenario.Parse(text); err != nil {
			return fmt.Errorf("%s: %w", c.Scenario, err)
		}
	}
	s, err := sandbox.New(o)
	if err != nil {
		return err
	}
	defer func() {
		if closed := s.Close(); err == nil {
			err = closed
		}
	}()
	l, err := p.in.Listen(sandboxName, address)
	if err != nil {
		return err
	}
	p.telemetry.Log.Info("listening", "address", l.Addr())
	return s.Run(ctx, l)
}

// openSandbox returns a client of the running sandbox.
func (p *program) openSandbox() (*sandbox.Client, error) {
	in, err := p.find()
	if err != nil {
		return nil, err
	}
	secret, err := in.secret()
	if err != nil {
		return nil, err
	}
	return sandbox.NewClient(in.sandboxURL(), secret), nil
}

// asking returns what a subcommand that asks the sandbox runs.
func (p *program) asking(run func(context.Context, *sandbox.Client, []string) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		s, err := p.openSandbox()
		if err != nil {
			return err
		}
		defer s.Close()
		ctx, cancel := context.WithTimeout(c.Context(), 5*time.Minute)
		defer cancel()
		return run(ctx, s, args)
	}
}
