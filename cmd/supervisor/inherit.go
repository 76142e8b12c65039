package supervisor

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// The environment by which a parent tells its child what it handed down. Values are descriptor numbers.
const (
	envListeners   = "SPARROW_LISTEN_FDS"       // "clients:3,admin:4"
	envLifeline    = "SPARROW_LIFELINE_FD"      // reads end-of-file once the supervisor is gone
	envPredecessor = "SPARROW_PREDECESSOR_FD"   // reads end-of-file once all that stop before this one are gone
	envWait        = "SPARROW_PREDECESSOR_WAIT" // how long to wait for that at most
	envOwn         = "SPARROW_HELD_FDS"         // descriptors to keep open until exit, for others to watch
)

// The same by which systemd hands down the sockets of a .socket unit, from descriptor 3 on.
const (
	envSystemd      = "LISTEN_FDS"     // how many
	envSystemdPID   = "LISTEN_PID"     // whom they are for
	envSystemdNames = "LISTEN_FDNAMES" // "clients:admin"
)

// Inheritance is what a process got from its supervisor. The zero value is that of a process started by hand.
type Inheritance struct {
	mu          sync.Mutex
	listeners   map[string]int // descriptors not taken yet
	lifeline    *os.File       // nil: no supervisor
	predecessor *os.File       // nil: nobody stops before this process
	wait        time.Duration
}

// Inherit takes what environ ("NAME=value") says a supervisor, ours or systemd, handed down. Call it once in a process: descriptors have
// one owner.
func Inherit(environ []string) (*Inheritance, error) {
	in := &Inheritance{listeners: map[string]int{}}
	if err := in.fromSystemd(environ); err != nil {
		return nil, err
	}
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		var err error
		switch name {
		case envListeners:
			for pair := range strings.SplitSeq(value, ",") {
				listener, number, _ := strings.Cut(pair, ":")
				if in.listeners[listener], err = descriptor(number); err != nil {
					break
				}
			}
		case envLifeline:
			in.lifeline, err = pipe(value)
		case envPredecessor:
			in.predecessor, err = pipe(value)
		case envWait:
			in.wait, err = time.ParseDuration(value)
		case envOwn:
			for number := range strings.SplitSeq(value, ",") {
				if _, err = descriptor(number); err != nil {
					break
				}
			}
		}
		if err != nil {
			return nil, fmt.Errorf("environment variable %s=%s, set by a supervisor: %w", name, value, err)
		}
	}
	return in, nil
}

// fromSystemd takes the sockets of a .socket unit. They are called as FileDescriptorName= says; sockets without a name of
// their own are the clients' and then the operators'.
func (in *Inheritance) fromSystemd(environ []string) error {
	values := map[string]string{}
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		values[name] = value
	}
	if values[envSystemd] == "" || values[envSystemdPID] != strconv.Itoa(os.Getpid()) {
		return nil // none, or another process's
	}
	count, err := strconv.Atoi(values[envSystemd])
	if err != nil || count < 0 {
		return fmt.Errorf("environment variable %s=%s: want a number of sockets", envSystemd, values[envSystemd])
	}
	known := []string{"clients", "admin"}
	names := strings.Split(values[envSystemdNames], ":")
	for i := range count {
		fd, err := descriptor(strconv.Itoa(3 + i))
		if err != nil {
			return fmt.Errorf("socket %d of %s=%d: %w", i+1, envSystemd, count, err)
		}
		name := ""
		switch {
		case i < len(names) && slices.Contains(known, names[i]):
			name = names[i]
		case i < len(known):
			name = known[i]
		default:
			return fmt.Errorf("%s=%d: want at most two sockets, with FileDescriptorName=clients and FileDescriptorName=admin", envSystemd, count)
		}
		if _, twice := in.listeners[name]; twice {
			return fmt.Errorf("%s=%s: two sockets for %s", envSystemdNames, values[envSystemdNames], name)
		}
		in.listeners[name] = fd
	}
	return nil
}

// descriptor checks that number is an open descriptor and keeps it from this process's own children.
func descriptor(number string) (int, error) {
	fd, err := strconv.Atoi(number)
	if err != nil || fd < 3 {
		return 0, fmt.Errorf("%q is no inherited descriptor", number)
	}
	var st syscall.Stat_t
	if err := syscall.Fstat(fd, &st); err != nil {
		return 0, fmt.Errorf("descriptor %d: %w", fd, err)
	}
	syscall.CloseOnExec(fd)
	return fd, nil
}

func pipe(number string) (*os.File, error) {
	fd, err := descriptor(number)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "supervisor"), nil
}

// Listen returns the listener called name: the inherited one, or a new one on addr if there is none. With an inherited
// one, connections made while this process was starting, or while its predecessor was dying, are waiting in it.
func (in *Inheritance) Listen(name, addr string) (net.Listener, error) {
	in.mu.Lock()
	fd, ok := in.listeners[name]
	delete(in.listeners, name)
	in.mu.Unlock()
	if !ok {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return nil, fmt.Errorf("address for %s: %w", name, err)
		}
		return l, nil
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close() // FileListener works on a copy
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("listener %s inherited as descriptor %d: %w", name, fd, err)
	}
	return l, nil
}

// Supervised reports whether a supervisor started this process.
func (in *Inheritance) Supervised() bool { return in.lifeline != nil }

// Context returns a context that ends when ctx ends or, however the supervisor may have died, once it is this
// process's turn to stop: everything that stops before it is gone, or had its time. stop frees what it takes.
func (in *Inheritance) Context(ctx context.Context) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	if in.lifeline == nil {
		return ctx, cancel
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		defer cancel()
		if !ended(in.lifeline) || in.predecessor == nil {
			return
		}
		bound := time.AfterFunc(in.wait, func() { wake(in.predecessor) })
		defer bound.Stop()
		ended(in.predecessor)
	})
	return ctx, func() {
		cancel()
		wake(in.lifeline)
		if in.predecessor != nil {
			wake(in.predecessor)
		}
		wg.Wait()
	}
}

// wake ends a read of f. The pipe is non-blocking, hence in the runtime's poller, which is what deadlines need.
func wake(f *os.File) { _ = f.SetReadDeadline(time.Now()) }

// ended blocks until f reads end-of-file, and reports whether it did. Nothing is ever written to it.
func ended(f *os.File) bool {
	_, err := f.Read(make([]byte, 1))
	return err == io.EOF
}
