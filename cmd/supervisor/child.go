package supervisor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// errStopping answers a replacement that came too late.
var errStopping = errors.New("the supervisor is stopping")

// child is one process through all its restarts. Its goroutine, run, owns everything that is not guarded.
type child struct {
	process   Process
	s         *Supervisor
	log       *Log
	stopping  chan struct{} // closed by the supervisor when this process's turn to stop has come
	done      chan struct{} // closed by run when the process is gone for good
	swaps     chan swap     // taken by run
	replacing sync.Mutex    // one Replace at a time
	killed    bool          // written by run before done closes

	mu    sync.Mutex
	state State
	runs  bool   // run was called
	grave bool   // words is an error, not merely the last line
	words string // of this start, from the log: the last error, else the last line

	flood      int // errors since floodSince
	floodSince time.Time
}

type swap struct {
	path    string
	confirm func() error
	reply   chan error // buffered
}

func newChild(s *Supervisor, p Process) (*child, error) {
	log, err := OpenLog(filepath.Join(s.o.Folder.Path, "logs", p.Name+".log"))
	if err != nil {
		return nil, fmt.Errorf("log of %s: %w", p.Name, err)
	}
	return &child{
		process: p, s: s, log: log,
		stopping: make(chan struct{}), done: make(chan struct{}), swaps: make(chan swap),
		state: State{Name: p.Name, URL: p.URL, Path: p.Path, Phase: Waiting, Since: time.Now()},
	}, nil
}

func (c *child) current() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

func (c *child) started() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.runs
}

func (c *child) update(change func(*State)) {
	c.mu.Lock()
	before := c.state
	change(&c.state)
	if c.state.Phase != before.Phase {
		c.state.Since = time.Now()
	}
	after := c.state
	c.mu.Unlock()
	if after != before {
		c.s.change()
	}
}

// run keeps the process running until stopping closes. now closes when there is no time for an orderly stop.
func (c *child) run(now <-chan struct{}) {
	defer close(c.done)
	c.mu.Lock()
	c.runs = true
	c.mu.Unlock()
	failures := 0
	for first := true; ; first = false {
		if !first {
			c.s.restarts.WithLabelValues(c.process.Name).Inc()
			c.update(func(s *State) { s.Restarts++ })
		}
		began := time.Now()
		cmd, exited, err := c.start()
		if err == nil {
			ready, stopReady := context.WithCancel(context.Background())
			var asking sync.WaitGroup
			asking.Go(func() { c.askReady(ready) })
			var ended, stop bool
			select {
			case e := <-exited:
				err, ended = e.err, true
			case <-c.stopping:
				stop = true
			case sw := <-c.swaps:
				stopReady()
				asking.Wait()
				c.terminate(cmd, exited, now)
				c.swapped(sw)
			}
			stopReady()
			asking.Wait()
			if stop {
				c.terminate(cmd, exited, now)
				c.log.read(c.logged) // its last words
				c.update(func(s *State) { s.PID, s.Phase, s.Why = 0, Stopped, "" })
				return
			}
			if !ended {
				failures = 0
				continue
			}
		}
		if time.Since(began) >= c.s.o.Backoff.Stable {
			failures = 0
		}
		failures++
		wait := c.s.o.Backoff.after(failures, jitter())
		why := c.failure(err)
		c.update(func(s *State) { s.PID, s.Phase, s.Why = 0, Failed, why })
		c.s.report(c.process.Name, slog.LevelError, fmt.Sprintf("ended: %s; starting again in %s", why, wait.Round(time.Millisecond)))
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case sw := <-c.swaps:
			c.swapped(sw)
			failures = 0
		case <-c.stopping:
			timer.Stop()
			c.update(func(s *State) { s.Phase = Stopped })
			return
		}
		timer.Stop()
	}
}

// exit is how a process ended; nil: with status 0.
type exit struct{ err error }

// start starts the process once. exited gets its exit status.
func (c *child) start() (*exec.Cmd, <-chan exit, error) {
	c.log.mark()
	c.mu.Lock()
	c.words, c.grave = "", false
	c.mu.Unlock()
	cmd := exec.Command(c.current().Path, c.process.Args...)
	cmd.Stdout, cmd.Stderr = c.log.File, c.log.File
	// Ctrl-C reaches a whole process group: in one of its own, a child is stopped by us, in its turn.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}

	var listeners []string
	give := func(f *os.File) string {
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
		return strconv.Itoa(2 + len(cmd.ExtraFiles))
	}
	for _, l := range c.process.Listeners {
		listeners = append(listeners, l.Name+":"+give(l.file))
	}
	cmd.Env = append([]string{}, c.s.o.Environ...)
	if len(listeners) > 0 {
		cmd.Env = append(cmd.Env, envListeners+"="+strings.Join(listeners, ","))
	}
	cmd.Env = append(cmd.Env,
		envLifeline+"="+give(c.s.lifeline.read),
		envOwn+"="+give(c.s.alive[c.process.Stage].write)+","+give(c.s.o.Folder.children))
	if before, wait, ok := c.predecessor(); ok {
		cmd.Env = append(cmd.Env, envPredecessor+"="+give(before.read), envWait+"="+wait.String())
	}
	if err := cmd.Start(); err != nil {
		return nil, nil, fmt.Errorf("start %s: %w", c.process.Path, err)
	}
	c.update(func(s *State) { s.PID, s.Phase, s.Why = cmd.Process.Pid, Starting, "" })
	exited := make(chan exit, 1)
	go func() { exited <- exit{cmd.Wait()} }() // ends with the process, which run waits for
	return cmd, exited, nil
}

// predecessor returns what tells that the stage before this one is gone, and how long that may take in all.
func (c *child) predecessor() (*watched, time.Duration, bool) {
	var wait time.Duration
	var before *watched
	for _, stage := range c.s.stages() {
		if stage[0].process.Stage == c.process.Stage {
			break
		}
		before = c.s.alive[stage[0].process.Stage]
		longest := time.Duration(0)
		for _, other := range stage {
			longest = max(longest, other.process.Stop)
		}
		wait += longest
	}
	return before, wait, before != nil
}

// terminate ends the process in order within its bound, and for sure.
func (c *child) terminate(cmd *exec.Cmd, exited <-chan exit, now <-chan struct{}) {
	_ = cmd.Process.Signal(syscall.SIGTERM) // it fails if the process is gone, which is what is wanted
	bound := time.NewTimer(c.process.Stop)
	defer bound.Stop()
	select {
	case <-exited:
		return
	case <-bound.C:
		c.killed = true
		c.s.report(c.process.Name, slog.LevelError, fmt.Sprintf("did not stop within %s: killed", c.process.Stop))
	case <-now:
	}
	_ = cmd.Process.Kill()
	<-exited
}

// swap hands run another executable, and returns once the old one is gone and the new one is about to start.
func (c *child) swap(ctx context.Context, path string, confirm func() error) error {
	sw := swap{path: path, confirm: confirm, reply: make(chan error, 1)}
	select {
	case c.swaps <- sw:
		return <-sw.reply
	case <-c.done:
		return errStopping
	case <-ctx.Done():
		return ctx.Err()
	}
}

// swapped answers a swap once the process is gone.
func (c *child) swapped(sw swap) {
	c.killed = false
	err := sw.confirm()
	c.update(func(s *State) {
		s.PID, s.Phase, s.Why = 0, Starting, ""
		if err == nil {
			s.Path = sw.path
		}
	})
	sw.reply <- err
}
