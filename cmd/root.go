package cmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/sparrowhq/sparrow/cmd/config"
	"github.com/sparrowhq/sparrow/cmd/terminal"
	"github.com/sparrowhq/sparrow/dispatcher"
	"github.com/sparrowhq/sparrow/trace"
)

// Extension is where a candidate build differs from ours. The zero Extension changes nothing.
type Extension struct {
	// Dispatcher may change the options of a dispatcher before it starts: wrap its Warehouse, say.
	Dispatcher func(*dispatcher.Options)

	// Trace may change the options of a trace before it starts: add a stage, or a vendor of your own. It is called in the
	// stack's dispatcher too, which has to know what is part of the build, so it must do nothing but that.
	Trace func(*trace.Options)
}

// Options are what a process has from its surroundings.
type Options struct {
	Program   string   // the program's name, as help and hints show it; empty: "sparrow"
	Args      []string // without the program's name
	Environ   []string // "NAME=value"
	Stdin     io.Reader
	Stdout    io.Writer
	Stderr    io.Writer
	Extension Extension
	// Signals subscribes to a signal until stop is called; nil: none ever comes.
	Signals func(syscall.Signal) (came <-chan os.Signal, stop func())
	Now     <-chan struct{} // closes when the user will not wait for an orderly end; nil: never
}

// Main runs the program with the process's own arguments and returns its exit status. The first SIGINT or SIGTERM asks
// for an orderly end, the second for an end at once.
func Main(e Extension) int {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	now := make(chan struct{})
	status := make(chan int, 1)
	go func() {
		status <- Run(ctx, Options{
			Program: os.Args[0], Args: os.Args[1:], Environ: os.Environ(), Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Extension: e, Now: now, Signals: subscribe,
		})
	}()
	for n := 1; ; n++ {
		select {
		case s := <-status:
			return s
		case <-signals:
			if n == 1 {
				cancel()
				continue
			}
			close(now)
			select {
			case s := <-status:
				return s
			case <-time.After(3 * time.Second): // it does not listen
				return 130
			}
		}
	}
}

// subscribe delivers a signal, of several that come at once at least one.
func subscribe(s syscall.Signal) (<-chan os.Signal, func()) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, s)
	return c, func() { signal.Stop(c) }
}

// Exit statuses that every subcommand shares. `compare` has more.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2
)

// exitStatus ends the program with a status of its own. A nil err was already told.
type exitStatus struct {
	status int
	err    error
}

func (e *exitStatus) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.status)
	}
	return e.err.Error()
}

func (e *exitStatus) Unwrap() error { return e.err }

func usage(format string, args ...any) error {
	return &exitStatus{status: exitUsage, err: fmt.Errorf(format, args...)}
}

// Run runs the program and returns its exit status.
func Run(ctx context.Context, o Options) int {
	o.Program = cmp.Or(o.Program, "sparrow")
	if o.Signals == nil {
		o.Signals = func(syscall.Signal) (<-chan os.Signal, func()) { return nil, func() {} }
	}
	p := &program{Options: o}
	root := p.root()
	root.SetArgs(append([]string{}, o.Args...))
	root.SetIn(o.Stdin)
	root.SetOut(o.Stdout)
	root.SetErr(o.Stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	var status *exitStatus
	switch {
	case errors.As(err, &status):
		if status.err != nil {
			p.complain(status.err)
		}
		return status.status
	case !p.ran: // flags, arguments or the name of the subcommand
		p.complain(err)
		tell(o.Stderr, "Run `sparrow help` for what there is.\n")
		return exitUsage
	default:
		p.complain(err)
		return exitError
	}
}

// program is one run.
type program struct {
	Options
	ran bool // the subcommand itself has begun: what goes wrong now is no mistake in typing

	configFile string
	data       string
	server     string
	plain      bool
	json       bool
	noPager    bool
}

func (p *program) complain(err error) {
	for line := range strings.SplitSeq(err.Error(), "\n") {
		tell(p.Stderr, "sparrow: %s\n", line)
	}
}

// tell writes for people. Where nobody can read it, there is nobody to tell that either.
func tell(w io.Writer, format string, args ...any) { _, _ = fmt.Fprintf(w, format, args...) }

func (p *program) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "sparrow",
		Short: "Carries product events to your warehouse, and proves a new build on production traffic before it goes live",
		Long: `Sparrow carries product-analytics events from browsers to a warehouse. A mirror copies every request to two
complete stacks; the candidate's writes to staging; compare joins what the two stored, event by event; and only
a passing verdict lets the cutover happen.

Start with "sparrow up". It tells what to do next.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRun: func(*cobra.Command, []string) {
			p.ran = true
		},
	}
	group(root)
	f := root.PersistentFlags()
	f.StringVar(&p.configFile, "config", p.env("SPARROW_CONFIG"), "settings file (default sparrow.yaml if there is one)")
	f.StringVar(&p.data, "data", "", "data folder (default: setting data)")
	root.AddCommand(
		p.up(), p.mirror(), p.dispatcher(), p.trace(), p.warehouse(), p.sandbox(),
		p.send(), p.query(), p.compare(), p.deploy(), p.dead(), p.doctor(), p.version(),
	)
	return root
}

// group makes a command that only has subcommands say so when none, or an unknown one, is named.
func group(c *cobra.Command) {
	c.Args, c.SuggestionsMinimumDistance = cobra.ArbitraryArgs, 2
	c.RunE = func(c *cobra.Command, args []string) error {
		if len(args) > 0 {
			hint := ""
			if near := c.SuggestionsFor(args[0]); len(near) > 0 {
				hint = ": did you mean " + strings.Join(near, " or ") + "?"
			}
			return usage("%q is no subcommand of %q%s", args[0], c.CommandPath(), hint)
		}
		c.SetOut(c.ErrOrStderr())
		if err := c.Help(); err != nil {
			return err
		}
		return &exitStatus{status: exitUsage}
	}
}

// env returns the variable's value, the last one if it is set several times; empty if it is not set.
func (p *program) env(name string) string {
	for _, entry := range slices.Backward(p.Environ) {
		if value, ok := strings.CutPrefix(entry, name+"="); ok {
			return value
		}
	}
	return ""
}

// config returns the settings: defaults, file, environment, then the flags all subcommands share.
func (p *program) config() (config.Config, error) {
	var c config.Config
	var err error
	if p.env(envSnapshot) != "" && p.configFile != "" {
		c, err = config.LoadSnapshot(p.configFile)
	} else {
		c, err = config.Load(p.configFile, p.Environ)
	}
	if err != nil {
		return c, err
	}
	if p.data != "" {
		c.Data = p.data
	}
	return c, nil
}

func (p *program) screen(out io.Writer) terminal.Screen {
	return terminal.NewScreen(out, p.Environ, p.plain)
}

// jsonFlag adds --json to a command that prints a table.
func (p *program) jsonFlag(c *cobra.Command) {
	c.Flags().BoolVar(&p.json, "json", false, "print JSON instead of a table")
}
