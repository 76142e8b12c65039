package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/sparrowhq/sparrow/cmd/builds"
	"github.com/sparrowhq/sparrow/cmd/config"
	"github.com/sparrowhq/sparrow/cmd/supervisor"
	"github.com/sparrowhq/sparrow/cmd/terminal"
	"github.com/sparrowhq/sparrow/compare"
	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/service"
	"github.com/sparrowhq/sparrow/telemetry"
)

type upFlags struct{ green, blue, listen, admin string }

func (p *program) up() *cobra.Command {
	var f upFlags
	c := &cobra.Command{
		Use:   "up",
		Short: "Run everything on this machine: mirror, warehouse, and a dispatcher for each stack",
		Long: fmt.Sprintf(`Run mirror, warehouse, and one dispatcher for each stack as separate processes on this machine, start them again
when they end, and stop them in order on Ctrl-C or SIGTERM: the mirror first (within %s), then the dispatchers
(%s), then the warehouse (%s). What takes longer is killed. A second Ctrl-C stops everything at once.

Everything is kept in the data folder, which is private and used by one "sparrow up" at a time. What a stack runs is
kept too: without --green and --blue, each stack runs what it ran before.`, mirrorStop, dispatcherStop, warehouseStop),
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
	return c, c.Validate()
}

// installed is one `sparrow up`.
type installed struct {
	p         *program
	config    config.Config // as the processes get it
	dir       string
	secret    string
	telemetry *telemetry.Telemetry
	log       *supervisor.Log // of this process
	builds    *builds.Store
	ownSHA    string
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
	c, err := p.upSettings(f)
	if err != nil {
		return err
	}
	u := &installed{p: p, dir: c.Data, versions: map[event.Stack]string{}, screen: p.screen(p.Stdout)}
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
	return u.run(ctx)
}

// prepare makes what the processes find in the folder: secrets, and an own log.
func (u *installed) prepare(c config.Config) (err error) {
	if u.secret, err = service.Secret(c.Secret()); err != nil {
		return err
	}
	token, err := service.Secret(c.Token())
	if err != nil {
		return err
	}
	u.operator, u.internal = service.Client(token), service.Client(u.secret)
	level, err := c.Telemetry.SlogLevel()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(u.dir, "logs"), 0o700); err != nil {
		return err
	}
	if u.log, err = supervisor.OpenLog(filepath.Join(u.dir, "logs", "up.log")); err != nil {
		return err
	}
	u.telemetry, err = telemetry.New(telemetry.Options{
		Process: "up", Version: readBuildInfo().Version, Format: c.Telemetry.Format, Level: level, Output: u.log.File,
		SentryDSN: c.Telemetry.SentryDSN, Environment: c.Telemetry.Environment,
	})
	return err
}

// bind chooses binaries and addresses, writes the settings for the processes, and returns what to run.
func (u *installed) bind(c config.Config, f *upFlags) (_ []supervisor.Process, err error) {
	own, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("this executable: %w", err)
	}
	if u.builds, err = builds.Open(u.dir, own); err != nil {
		return nil, err
	}
	if u.ownSHA, err = u.builds.Add(own); err != nil {
		return nil, err
	}
	paths := map[event.Stack]string{}
	flags := map[event.Stack]string{event.Green: f.green, event.Blue: f.blue}
	for _, stack := range event.Stacks() {
		before, err := u.builds.Choices()
		if err != nil {
			return nil, err
		}
		choice, err := u.builds.Choose(stack, flags[stack], c.Stacks.Of(stack).Build)
		if err != nil {
			return nil, err
		}
		paths[stack] = u.builds.Path(choice.SHA256)
		version := readBuildInfo().Version
		if choice.SHA256 != u.ownSHA {
			if version, err = probe(paths[stack]); err != nil {
				return nil, fmt.Errorf("stack %s: %s: %w", stack, choice.From, err)
			}
		}
		u.setVersion(stack, version)
		if last, ok := before[stack]; ok && last.SHA256 != choice.SHA256 {
			u.say("%s runs another build than last time: %s, from %s", stack, version, choice.From)
		}
	}
	if err := u.builds.Prune(u.ownSHA); err != nil {
		return nil, err
	}

	var bound []*supervisor.Listener
	defer func() {
		if err != nil {
			for _, l := range bound {
				l.Close()
			}
		}
	}()
	listen := func(name, address, otherwise string) *supervisor.Listener {
		if err != nil {
			return nil
		}
		if address == "" {
			address = otherwise
		}
		l, e := supervisor.Bind(name, address)
		if e != nil {
			err = e
			return nil
		}
		bound = append(bound, l)
		return l
	}
	const free = "127.0.0.1:0"
	clients := listen("clients", c.Clients.Listen, "")
	admin := listen("admin", c.Admin.Listen, "")
	warehouse := listen(warehouseName, c.Warehouse.Listen, free)
	green := listen(dispatcherName(event.Green), c.Stacks.Green.Listen, free)
	blue := listen(dispatcherName(event.Blue), c.Stacks.Blue.Listen, free)
	if err != nil {
		return nil, err
	}
	if u.control, err = net.Listen("tcp", free); err != nil {
		return nil, fmt.Errorf("address for the supervisor: %w", err)
	}
	c.SecretFile, c.TokenFile = c.Secret(), c.Token()
	c.Clients.Listen, c.Admin.Listen = clients.Addr, admin.Addr
	c.Warehouse.URL = warehouse.URL()
	c.Stacks.Green.URL, c.Stacks.Blue.URL = green.URL(), blue.URL()
	settings := filepath.Join(u.dir, "settings.yaml")
	if err = c.WriteSnapshot(settings); err != nil {
		return nil, err
	}
	u.config = c

	process := func(name, path string, stage int, stop time.Duration, l []*supervisor.Listener, args ...string) supervisor.Process {
		return supervisor.Process{
			Name: name, Path: path, Args: append(args, "--config", settings), URL: l[len(l)-1].URL(), Listeners: l,
			Stage: stage, Stop: stop + 5*time.Second, // they bound themselves first, and say so in their log
		}
	}
	ours := u.builds.Path(u.ownSHA)
	return []supervisor.Process{
		process(mirrorName, ours, 0, mirrorStop, []*supervisor.Listener{clients, admin}, "mirror"),
		process(dispatcherName(event.Green), paths[event.Green], 1, dispatcherStop, []*supervisor.Listener{green}, "dispatcher", "--stack", "green"),
		process(dispatcherName(event.Blue), paths[event.Blue], 1, dispatcherStop, []*supervisor.Listener{blue}, "dispatcher", "--stack", "blue"),
		process(warehouseName, ours, 2, warehouseStop, []*supervisor.Listener{warehouse}, "warehouse"),
	}, nil
}

// childEnviron is the environment of the processes: ours without our own variables, which are in the settings already.
func childEnviron(environ []string) []string {
	kept := slices.DeleteFunc(slices.Clone(environ), func(entry string) bool { return strings.HasPrefix(entry, "SPARROW_") })
	return append(kept, envSnapshot+"=1")
}

// probe asks a binary for its version, which also shows that it is one of ours and runs here.
func probe(path string) (version string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var out []byte
	for range 20 {
		out, err = exec.CommandContext(ctx, path, "version", "--json").Output()
		// A process that another goroutine was starting while the copy was written may hold it open for a moment.
		if !errors.Is(err, syscall.ETXTBSY) {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	b, parseErr := parseBuildInfo(out)
	switch {
	case err != nil:
		return "", fmt.Errorf("does not run: %w", err)
	case parseErr != nil:
		return "", fmt.Errorf("is no build of Sparrow: `version --json` answers %.100q", out)
	}
	return b.Version, nil
}

// run runs everything until ctx ends.
func (u *installed) run(ctx context.Context) error {
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
		if err == nil {
			u.announce()
			u.follow(helpers)
		}
	})
	helping.Go(func() { u.showStatus(helpers) })
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
	e := endpoints{Clients: reach(u.config.Clients.Listen), Admin: reach(u.config.Admin.Listen), TokenFile: u.config.TokenFile}
	for _, s := range u.s.States() {
		e.Processes = append(e.Processes, endpoint{Name: s.Name, PID: s.PID, URL: s.URL})
	}
	return e
}

// say tells the person at the terminal, and the log.
func (u *installed) say(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if u.telemetry != nil {
		u.telemetry.Log.Info(text)
	}
	u.live.Print(text)
}

// report takes what the supervisor has to tell.
func (u *installed) report(e supervisor.Event) {
	u.telemetry.Log.Log(context.Background(), e.Level, e.Text, "name", e.Process)
	name := u.screen.Styled(terminal.Bold, e.Process)
	text := terminal.Printable(e.Text)
	if e.Level >= slog.LevelError {
		text = u.screen.Styled(terminal.Red, text)
	}
	u.live.Print(fmt.Sprintf("%s %s: %s", e.At.Format(time.TimeOnly), name, text))
}

// announce says what to do next.
func (u *installed) announce() {
	if err := u.endpoints().write(u.dir); err != nil {
		u.say("endpoints.json cannot be written, so that other commands will not find this Sparrow: %v", err)
	}
	var b strings.Builder
	u.p.writeNextSteps(&b, u)
	for line := range strings.Lines(b.String()) {
		u.live.Print(line)
	}
}

// shellWord quotes what a shell would not take as one word.
func shellWord(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+=:@%", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

func (p *program) writeNextSteps(w io.Writer, u *installed) {
	sparrow, data := p.Program, ""
	if p.data != "" || p.configFile != "" {
		data = " --data " + shellWord(u.dir)
	}
	e := u.endpoints()
	tell(w, `Sparrow is ready. Everything it keeps is in %s; Ctrl-C stops it in order.

  for clients    %s
  for operators  %s   token in %s
  green runs     %s
  blue runs      %s

Send an event, or a thousand made-up ones, and look at them:
  curl -d '{"event":"pageview","deviceId":"d1","properties":{"pathname":"/"}}' '%s/v1/events?k=dev'
  %s send%s --generate 1000
  %s query%s "SELECT event, count(*) AS n FROM live.raw GROUP BY event ORDER BY n DESC"
Compare what the two stacks stored, and make the candidate live:
  %s deploy candidate%s [--binary PATH]
  %s send%s --generate 1000
  %s compare%s --wait 1m
  %s deploy cutover%s
  %s deploy status%s
`, u.dir, e.Clients, e.Admin, e.TokenFile, u.version(event.Green), u.version(event.Blue), e.Clients,
		sparrow, data, sparrow, data, sparrow, data, sparrow, data, sparrow, data, sparrow, data, sparrow, data)
}
