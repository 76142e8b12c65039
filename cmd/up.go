package cmd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/sparrowhq/sparrow/cmd/builds"
	"github.com/sparrowhq/sparrow/cmd/config"
	"github.com/sparrowhq/sparrow/cmd/pipelines"
	"github.com/sparrowhq/sparrow/cmd/supervisor"
	"github.com/sparrowhq/sparrow/cmd/terminal"
	"github.com/sparrowhq/sparrow/compare"
	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/telemetry"
)

type upFlags struct{ green, blue, listen, admin string }

func (p *program) up() *cobra.Command {
	var f upFlags
	c := &cobra.Command{
		Use:   "up",
		Short: "Run everything on this machine: mirror, warehouse, sandbox, and a dispatcher and a trace for each stack",
		Long: fmt.Sprintf(`Run mirror, warehouse, sandbox, and one dispatcher and one trace for each stack as separate processes on this machine,
start them again when they end, and stop them in order on Ctrl-C or SIGTERM: the mirror first (within %s), then the
dispatchers (%s), the traces (%s), then warehouse and sandbox (%s). What takes longer is killed. A second
Ctrl-C stops everything at once.

Everything is kept in the data folder, which is private and used by one "sparrow up" at a time. What a stack runs is
kept too: without --green and --blue, each stack runs what it ran before; and so is its pipeline file, which is loaded
once: "sparrow trace reload" loads it again.

A stack whose setting protocol is http is a service of your own: it gets neither dispatcher nor trace, and the mirror feeds
it at its url.`, mirrorStop, dispatcherStop, traceStop, warehouseStop),
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return p.runUp(c.Context(), &f) },
	}
	g := c.Flags()
	g.StringVar(&f.green, "green", "", "binary of the green stack (default: as before, else this one)")
	g.StringVar(&f.blue, "blue", "", "binary of the blue stack (default: as before, else this one)")
	g.StringVar(&f.listen, "listen", "", "address for clients (default: setting clients.listen)")
	g.StringVar(&f.admin, "admin", "", "address for operators (default: setting admin.listen)")
	g.BoolVar(&p.plain, "plain", false, "plain lines, no status that is refreshed in place")
	return c
}

// upSettings returns the settings with the flags of up.
func (p *program) upSettings(f *upFlags) (config.Config, error) {
	c, err := p.config()
	if err != nil {
		return c, err
	}
	for flag, setting := range map[*string]*string{&f.listen: &c.Clients.Listen, &f.admin: &c.Admin.Listen} {
		if *flag != "" {
			*setting = *flag
		}
	}
	if err := c.Absolute(); err != nil {
		return c, err
	}
	if err := c.Validate(); err != nil {
		return c, err
	}
	for name, flag := range map[event.Stack]string{event.Green: f.green, event.Blue: f.blue} {
		if s := c.Stacks.Of(name); s.Service() {
			if flag != "" {
				return c, usage("--%s names a binary, but setting stacks.%s.protocol says that %s is a service of your own, at %s", name, name, name, s.URL)
			}
			s.Trace.URL = "" // the service's own business
		}
	}
	return c, nil
}

// installed is one `sparrow up`.
type installed struct {
	p         *program
	flags     *upFlags
	asked     config.Config // as the settings were when they were last followed
	config    config.Config // as the processes get it: with the addresses that were bound
	secure    bool          // clients speak TLS; unlike the files' names, that never changes
	dir       string
	secret    string
	telemetry *telemetry.Telemetry
	log       *supervisor.Log // of this process
	builds    *builds.Store
	pipelines *pipelines.Store
	own       string // path of this executable
	ownSHA    string
	mirrorSHA string        // of the mirror's binary, which can be replaced by itself; guarded by swapping
	ready     chan struct{} // closed once everything was ready, or had its time
	s         *supervisor.Supervisor
	control   net.Listener
	live      *terminal.Live
	screen    terminal.Screen
	operator  *http.Client // shows the operator's token
	internal  *http.Client // shows the secret of our own processes

	swapping sync.Mutex // one change of a stack's binary at a time
	mu       sync.Mutex
	versions map[event.Stack]string // of the stacks' binaries; guarded by mu
}

func (u *installed) version(stack event.Stack) string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.versions[stack]
}

func (u *installed) setVersion(stack event.Stack, version string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.versions[stack] = version
}

func (p *program) runUp(ctx context.Context, f *upFlags) (err error) {
	hangups, unsubscribe := p.Signals(syscall.SIGHUP) // first of all: until then the signal ends the process
	defer unsubscribe()
	upgrades, unsubscribe := p.Signals(syscall.SIGUSR2)
	defer unsubscribe()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	c, err := p.upSettings(f)
	if err != nil {
		return err
	}
	u := &installed{p: p, dir: c.Data, flags: f, asked: c, ready: make(chan struct{}), versions: map[event.Stack]string{}, screen: p.screen(p.Stdout)}
	u.live = terminal.NewLive(u.screen)

	repaired, err := supervisor.Private(u.dir)
	if err != nil {
		return err
	}
	if repaired {
		u.say("the data folder %s was open to other users: it is private now", u.dir)
	}
	folder, err := supervisor.Take(ctx, u.dir, 0, func() {
		u.say("waiting for the processes of an earlier `sparrow up` to end")
	})
	if err != nil {
		return err
	}
	defer folder.Release()
	// Whoever finds this file may rely on it, so it must not tell of the processes of an earlier run.
	if err := os.Remove(endpointsFile(u.dir)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := u.prepare(c); err != nil {
		return err
	}
	defer u.log.Close()
	defer u.telemetry.Close(2 * time.Second)
	processes, err := u.bind(c, f)
	if err != nil {
		return err
	}
	defer u.control.Close()
	u.s, err = supervisor.New(supervisor.Options{
		Folder: folder, Processes: processes, Environ: childEnviron(p.Environ), Report: u.report, Telemetry: u.telemetry,
	})
	if err != nil {
		return err
	}
	return u.run(ctx, changes{hangups: hangups, upgrades: upgrades, stop: stop})
}

// run runs everything until ctx ends.
func (u *installed) run(ctx context.Context, asked changes) error {
	helpers, stopHelpers := context.WithCancel(context.WithoutCancel(ctx))
	var helping sync.WaitGroup
	ready, stopReady := context.WithCancel(ctx)
	defer stopReady()
	helping.Go(func() { u.log.Follow(helpers, func([]byte) {}) })
	helping.Go(func() { u.serveControl(helpers) })
	helping.Go(func() { u.tellWhatIsMissing(ready) })
	helping.Go(func() {
		err := u.s.AwaitReady(ready)
		if err == nil {
			u.awaitStacks(ready)
		}
		stopReady()
		close(u.ready)
		if err == nil {
			u.announce()
			u.follow(helpers)
		}
	})
	helping.Go(func() { u.showStatus(helpers) })
	helping.Go(func() { u.followChanges(helpers, asked) })
	helping.Go(func() {
		select {
		case <-ctx.Done():
			u.say("stopping in order; once more stops at once")
		case <-helpers.Done():
		}
	})
	err := u.s.Run(ctx, u.p.Now)
	stopReady()
	stopHelpers()
	helping.Wait()
	os.Remove(endpointsFile(u.dir))
	os.Remove(controlFile(u.dir))
	if err == nil {
		u.say("stopped")
	}
	return err
}

// awaitStacks waits, for a few seconds at most, until the mirror has spoken with both stacks. Each process is ready
// before that, but only then does the mirror know which builds run, which is the first thing an operator declares.
func (u *installed) awaitStacks(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	mirror := compare.Server{URL: reach(u.config.Admin.Listen), HTTP: u.operator}
	for {
		st, err := mirror.Status(ctx)
		if err == nil && st.Stacks[event.Green].Reachable && st.Stacks[event.Blue].Reachable {
			return
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return
		}
	}
}

// tellWhatIsMissing says now and then what is not ready yet, until ctx ends. On a terminal the status shows it.
func (u *installed) tellWhatIsMissing(ctx context.Context) {
	tick := time.NewTicker(15 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		for _, s := range u.s.States() {
			if s.Phase != supervisor.Ready && !u.screen.Terminal {
				u.say("still waiting for %s, which is %s: %s", s.Name, s.Phase, terminal.Printable(s.Why))
			}
		}
	}
}

// follow keeps endpoints.json up to date.
func (u *installed) follow(ctx context.Context) {
	for {
		changed := u.s.Changed()
		if err := u.endpoints().write(u.dir); err != nil {
			u.telemetry.Log.Error("endpoints.json is out of date", "error", err)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

func (u *installed) endpoints() endpoints {
	e := endpoints{Clients: clientsURL(u.config.Clients.Listen, u.secure), Admin: reach(u.config.Admin.Listen), TokenFile: u.config.TokenFile}
	for _, s := range u.s.States() {
		e.Processes = append(e.Processes, endpoint{Name: s.Name, PID: s.PID, URL: s.URL})
	}
	return e
}
