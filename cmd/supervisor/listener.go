package supervisor

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Listener is a bound address that outlives the processes which answer on it: while one restarts, connections wait in
// the kernel's queue, and none is refused.
type Listener struct {
	Name string // by which the child asks for it
	Addr string // host:port as bound
	file *os.File
}

// Bind binds addr, whose port may be 0.
func Bind(name, addr string) (*Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		if errors.Is(err, syscall.EADDRINUSE) {
			err = fmt.Errorf("%w: another program, maybe another Sparrow, listens there; stop it or choose another address", err)
		}
		return nil, fmt.Errorf("address for %s: %w", name, err)
	}
	defer l.Close() // the copy keeps the socket
	conn, err := l.(*net.TCPListener).SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("address for %s: %w", name, err)
	}
	f, err := duplicate(conn, name)
	if err != nil {
		return nil, fmt.Errorf("address for %s: %w", name, err)
	}
	return &Listener{Name: name, Addr: l.Addr().String(), file: f}, nil
}

// URL is the address as a client on this machine writes it.
func (l *Listener) URL() string {
	host, port, err := net.SplitHostPort(l.Addr)
	if err != nil {
		return "http://" + l.Addr
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port)
}

// Close gives the address up.
func (l *Listener) Close() error { return l.file.Close() }

// duplicate returns a copy of a descriptor that stays non-blocking when it is handed to a child. The copies made by
// (*net.TCPListener).File and os.Pipe do not: handing them over makes the description blocking for every process that
// shares it, whose reads then can no longer be interrupted.
func duplicate(conn syscall.RawConn, name string) (*os.File, error) {
	var fd int
	var err error
	if e := conn.Control(func(n uintptr) { fd, err = unix.FcntlInt(n, unix.F_DUPFD_CLOEXEC, 3) }); e != nil {
		return nil, e
	}
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// watched is a pipe that nobody writes to. Its reader reads end-of-file once every process holding the write end is
// gone, however it went.
type watched struct{ read, write *os.File }

func newWatched(name string) (_ *watched, err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	defer w.Close()
	p := &watched{}
	for _, end := range []struct {
		from *os.File
		to   **os.File
	}{{r, &p.read}, {w, &p.write}} {
		conn, err := end.from.SyscallConn()
		if err == nil {
			*end.to, err = duplicate(conn, name)
		}
		if err != nil {
			p.close()
			return nil, err
		}
	}
	return p, nil
}

func (p *watched) close() {
	if p.read != nil {
		p.read.Close()
	}
	if p.write != nil {
		p.write.Close()
	}
}
