package mirror

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

// front serves the clients' connections, without TLS, for as long as every request on them is plain. With the first one
// that is not, or that does not arrive at once, a connection goes over to net/http with all that was read and not
// answered, and stays there. To net/http it is a listener: of the connections that went over.
type front struct {
	*limited
	intake *intake
	first  time.Duration // for which a new connection may be silent
	idle   time.Duration // for which one may be between requests

	odd    chan accepted
	closed chan struct{}
	once   sync.Once
	all    sync.WaitGroup // of goroutines: one that accepts, one for each connection
}

// accepted is what net/http's Accept returns.
type accepted struct {
	conn net.Conn
	err  error
}

const (
	// frontBuffer holds what was read of a connection. Requests that are larger are left to net/http.
	frontBuffer = 8 << 10
	// frontPatience is how long the rest of a request may take until net/http waits for it instead.
	frontPatience = time.Second
	// frontSlack is how much longer than asked for connections may be silent: deadlines are moved no more often.
	frontSlack = time.Second
	// frontWrite bounds the writing of an answer, as http.Server.WriteTimeout does.
	frontWrite = 2 * time.Minute
)

func newFront(l *limited, in *intake, o IntakeOptions) *front {
	f := &front{limited: l, intake: in, first: o.ReadTimeout, idle: o.IdleTimeout, odd: make(chan accepted), closed: make(chan struct{})}
	f.all.Go(f.run)
	return f
}

// run accepts connections until the listener is closed.
func (f *front) run() {
	for {
		c, err := f.limited.Accept()
		if err != nil {
			// net/http knows which errors pass, and how long to wait after those.
			if !f.pass(accepted{err: err}) || errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		f.all.Go(func() { f.serve(c.(*counted)) })
	}
}

// pass gives a to net/http, and reports whether it took it.
func (f *front) pass(a accepted) bool {
	select {
	case f.odd <- a:
		return true
	case <-f.closed:
		return false
	}
}

// Accept returns the next connection that net/http must serve.
func (f *front) Accept() (net.Conn, error) {
	select {
	case a := <-f.odd:
		return a.conn, a.err
	case <-f.closed:
		return nil, net.ErrClosed
	}
}

// Close ends Accept, and lets nobody in any more. Who is here is still answered.
func (f *front) Close() error {
	f.once.Do(func() { close(f.closed) })
	return f.limited.Close()
}

// cut closes the connections that are still here. Requests that wait for the journal do not get lost by that, only their
// answers; wait returns when they are done with.
func (f *front) cut() error {
	if n := f.limited.cut(); n > 0 {
		return fmt.Errorf("listener %s: %d connections were cut when the time to stop was over", f.Addr(), n)
	}
	return nil
}

// wait returns when all goroutines have ended, which those that wait for the journal do with the committer.
func (f *front) wait() { f.all.Wait() }

// talk is what the front knows of one connection.
type talk struct {
	*counted
	f       *front
	peer    netip.Addr
	remote  string
	readBy  time.Time // the deadlines that are set
	writeBy time.Time
	after   bool // a POST was answered on it
	begun   bool // a request has begun to arrive, and its patience to run
	request plainRequest
	out     []byte
	data    []byte // read and not answered; part of buffer
	buffer  [frontBuffer]byte
}

// serve answers a connection's requests until it ends or goes over.
func (f *front) serve(c *counted) {
	t := &talk{counted: c, f: f, remote: c.RemoteAddr().String()}
	t.peer = peerOf(t.remote)
	t.data = t.buffer[:0]
	t.readBy = time.Now().Add(f.first)
	c.SetReadDeadline(t.readBy)
	for {
		err := errMore
		if t.skipLines(); len(t.data) > 0 {
			err = t.request.read(t.data, len(t.buffer))
		}
		if err == nil {
			rules := f.intake.rules.Load()
			if !t.request.within(rules) {
				err = errOdd
			} else if !t.answer(rules) {
				c.Close()
				return
			}
		}
		switch err {
		case nil:
			t.after, t.begun = t.request.post, false
			if t.data = t.data[t.request.size:]; len(t.data) == 0 {
				t.quiet.Store(time.Now().UnixNano())
			}
			continue
		case errOdd:
			t.over()
			return
		}
		if !t.receive() {
			if len(t.data) == 0 {
				c.Close()
			} else {
				t.over()
			}
			return
		}
	}
}

// skipLines leaves out empty lines that old clients send after a body, as net/http does.
func (t *talk) skipLines() {
	for n := 0; t.after && n < 4 && len(t.data) > 0 && (t.data[0] == '\r' || t.data[0] == '\n'); n++ {
		t.data = t.data[1:]
	}
}

// receive reads more, and reports whether there was something.
func (t *talk) receive() bool {
	if len(t.data) == 0 {
		t.data = t.buffer[:0]
		if t.after {
			t.patience(t.f.idle)
		}
	} else {
		if cap(t.data) < frontBuffer { // part of it was answered
			t.data = t.buffer[:copy(t.buffer[:], t.data)]
		}
		if !t.begun { // once a request, or a byte now and then would keep it waiting for hours
			t.begun = true
			t.readBy = time.Now().Add(frontPatience)
			t.SetReadDeadline(t.readBy)
		}
	}
	n, err := t.Read(t.data[len(t.data):cap(t.data)])
	t.data = t.data[:len(t.data)+n]
	return n > 0 || err == nil
}

// patience has the next read fail after d, or a little later.
func (t *talk) patience(d time.Duration) {
	if now := time.Now(); t.readBy.Before(now.Add(d)) || t.readBy.After(now.Add(d+frontSlack)) {
		t.readBy = now.Add(d + frontSlack)
		t.SetReadDeadline(t.readBy)
	}
}

// over leaves the connection to net/http.
func (t *talk) over() {
	t.counted.ahead = t.data
	if !t.f.pass(accepted{conn: t.counted}) {
		t.Close()
	}
}

// write sends an answer, and reports whether it was sent.
func (t *talk) write(answer []byte) bool {
	if now := time.Now(); t.writeBy.Before(now.Add(frontWrite)) {
		t.writeBy = now.Add(frontWrite + frontSlack)
		t.SetWriteDeadline(t.writeBy)
	}
	_, err := t.Conn.Write(answer)
	return err == nil
}
