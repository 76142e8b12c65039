package cmd

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/sparrowhq/sparrow/cmd/config"
	"github.com/sparrowhq/sparrow/cmd/supervisor"
	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/service"
	"github.com/sparrowhq/sparrow/telemetry"
)

// Names of the processes, in endpoints.json and in logs.
const (
	mirrorName    = "mirror"
	warehouseName = "warehouse"
	sandboxName   = "sandbox"
)

func dispatcherName(stack event.Stack) string { return string(stack) + "-dispatcher" }
func traceName(stack event.Stack) string      { return string(stack) + "-trace" }

// envSnapshot says that --config names a snapshot of a supervisor's settings.
const envSnapshot = "SPARROW_CONFIG_SNAPSHOT"

// Bounds of an orderly stop, from the request to the moment the process is gone. The supervisor kills what takes
// longer; a process without a supervisor ends itself.
const (
	mirrorStop     = 30 * time.Second
	dispatcherStop = 15 * time.Second
	traceStop      = 20 * time.Second
	warehouseStop  = 30 * time.Second
	sandboxStop    = 15 * time.Second
)

// process is what every long-running subcommand starts with.
type process struct {
	config    config.Config
	in        *supervisor.Inheritance
	secret    string
	telemetry *telemetry.Telemetry
	again     func() (config.Config, error) // reads the settings anew
	hangups   <-chan os.Signal              // SIGHUP; for mirror and trace, the others have nothing that could change
}

// settings returns the settings of a process that runs here, checked.
func (p *program) settings() (config.Config, error) {
	c, err := p.config()
	if err == nil {
		err = c.Absolute()
	}
	if err == nil {
		err = c.Validate()
	}
	return c, err
}

// serve runs one of our processes until ctx ends or, under a supervisor, until its turn to stop has come; and no
// longer than bound after that.
func (p *program) serve(name string, stack event.Stack, bound time.Duration, run func(context.Context, *process) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, _ []string) error {
		var hangups <-chan os.Signal
		if name == mirrorName || name == "trace" { // first of all: until then the signal ends the process
			var unsubscribe func()
			hangups, unsubscribe = p.Signals(syscall.SIGHUP)
			defer unsubscribe()
		}
		in, err := supervisor.Inherit(p.Environ)
		if err != nil {
			return err
		}
		cfg, err := p.settings()
		if err != nil {
			return err
		}
		secret, err := service.Secret(cfg.Secret())
		if err != nil {
			return err
		}
		level, err := cfg.Telemetry.SlogLevel()
		if err != nil {
			return err
		}
		secrets := []string{secret}
		if token, err := existingSecret(cfg.Token()); err == nil { // the mirror's; other machines have none
			secrets = append(secrets, token)
		}
		secrets = append(secrets, vendorSecrets(cfg)...)
		t, err := telemetry.New(telemetry.Options{
			Process: name, Stack: string(stack), Version: readBuildInfo().Version,
			Format: cfg.Telemetry.Format, Level: level, Output: p.Stderr,
			SentryDSN: cfg.Telemetry.SentryDSN, Environment: cfg.Telemetry.Environment, Allow: listed(cfg.Telemetry), Secrets: secrets,
		})
		if err != nil {
			return err
		}
		defer t.Close(2 * time.Second)
		ctx, stop := in.Context(c.Context())
		defer stop()

		done := make(chan error, 1)
		go func() {
			done <- run(ctx, &process{config: cfg, in: in, secret: secret, telemetry: t, again: p.settings, hangups: hangups})
		}()
		select {
		case err = <-done:
		case <-ctx.Done():
			timer := time.NewTimer(bound)
			defer timer.Stop()
			select {
			case err = <-done:
			case <-timer.C: // the goroutine is given up: the process ends now
				err = fmt.Errorf("%s: still stopping after %s: ended by force", name, bound)
			case <-p.Now:
				err = fmt.Errorf("%s: told twice to stop: ended by force", name)
			}
		}
		if err != nil {
			t.Log.Error("stopped", slog.Any("error", err))
			return &exitStatus{status: exitError}
		}
		t.Log.Info("stopped")
		return nil
	}
}
