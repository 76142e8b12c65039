package cmd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/sparrowhq/sparrow/cmd/builds"
	"github.com/sparrowhq/sparrow/cmd/config"
	"github.com/sparrowhq/sparrow/cmd/pipelines"
	"github.com/sparrowhq/sparrow/cmd/supervisor"
	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/mirror"
	"github.com/sparrowhq/sparrow/service"
	"github.com/sparrowhq/sparrow/telemetry"
)

// prepare makes what the processes find in the folder: secrets, and an own log.
func (u *installed) prepare(c config.Config) (err error) {
	if u.secret, err = service.Secret(c.Secret()); err != nil {
		return err
	}
	token, err := service.Secret(c.Token())
	if err != nil {
		return err
	}
	if _, err := service.Secret(c.Key()); err != nil {
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
	u.own, u.mirrorSHA = own, u.ownSHA
	paths := map[event.Stack]string{}
	flags := map[event.Stack]string{event.Green: f.green, event.Blue: f.blue}
	for _, stack := range event.Stacks() {
		if s := c.Stacks.Of(stack); s.Service() {
			u.setVersion(stack, "elsewhere: a service fed plain HTTP at "+s.URL)
			continue
		}
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
	if err := u.loadPipelines(&c); err != nil {
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
	dispatchers, traces := map[event.Stack]*supervisor.Listener{}, map[event.Stack]*supervisor.Listener{}
	for _, stack := range event.Stacks() {
		if s := c.Stacks.Of(stack); !s.Service() {
			dispatchers[stack] = listen(dispatcherName(stack), s.Listen, free)
			traces[stack] = listen(traceName(stack), s.Trace.Listen, free)
		}
	}
	sandbox := listen(sandboxName, c.Sandbox.Listen, free)
	if err != nil {
		return nil, err
	}
	if u.control, err = net.Listen("tcp", free); err != nil {
		return nil, fmt.Errorf("address for the supervisor: %w", err)
	}
	c.SecretFile, c.TokenFile, c.KeyFile = c.Secret(), c.Token(), c.Key()
	c.Clients.Listen, c.Admin.Listen = clients.Addr, admin.Addr
	c.Warehouse.URL = warehouse.URL()
	for stack, l := range dispatchers {
		s := c.Stacks.Of(stack)
		s.URL, s.Trace.URL = l.URL(), traces[stack].URL()
	}
	c.Sandbox.URL = sandbox.URL()
	settings := settingsFile(u.dir)
	if err = c.WriteSnapshot(settings); err != nil {
		return nil, err
	}
	u.config, u.secure = c, c.Clients.TLS.Enabled()

	process := func(name, path string, stage int, stop time.Duration, l []*supervisor.Listener, args ...string) supervisor.Process {
		return supervisor.Process{
			Name: name, Path: path, Args: append(args, "--config", settings), URL: l[len(l)-1].URL(), Listeners: l,
			Stage: stage, Stop: stop + 5*time.Second, // they bound themselves first, and say so in their log
		}
	}
	ours := u.builds.Path(u.ownSHA)
	front := process(mirrorName, ours, 0, mirrorStop, []*supervisor.Listener{clients, admin}, "mirror")
	front.Account = mirror.Farewell
	all := []supervisor.Process{front}
	for _, stack := range event.Stacks() {
		if l := dispatchers[stack]; l != nil {
			all = append(all, process(dispatcherName(stack), paths[stack], 1, dispatcherStop, []*supervisor.Listener{l}, "dispatcher", "--stack", string(stack)))
		}
	}
	for _, stack := range event.Stacks() {
		if l := traces[stack]; l != nil {
			all = append(all, process(traceName(stack), paths[stack], 2, traceStop, []*supervisor.Listener{l}, "trace", "--stack", string(stack)))
		}
	}
	return append(all,
		process(warehouseName, ours, 3, warehouseStop, []*supervisor.Listener{warehouse}, "warehouse"),
		process(sandboxName, ours, 3, sandboxStop, []*supervisor.Listener{sandbox}, "sandbox"),
	), nil
}

// settingsFile is what the processes are started with.
func settingsFile(dir string) string { return filepath.Join(dir, "settings.yaml") }

// loadPipelines makes c name the copies of the pipelines that the stacks run.
func (u *installed) loadPipelines(c *config.Config) (err error) {
	if u.pipelines, err = pipelines.Open(u.dir); err != nil {
		return err
	}
	for _, stack := range event.Stacks() {
		if c.Stacks.Of(stack).Service() {
			continue
		}
		setting := &c.Stacks.Of(stack).Trace.Pipeline
		choice, changed, err := u.pipelines.Choose(stack, *setting)
		if err != nil {
			return fmt.Errorf("stack %s: %w", stack, err)
		}
		if changed {
			u.say("%s runs the pipeline as it was loaded; %s has changed since: `sparrow trace reload` loads it into the candidate", stack, choice.From)
		}
		*setting = u.pipelines.Path(choice)
	}
	return nil
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
