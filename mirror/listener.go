package mirror

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// limited is a listener that serves at most max connections at a time. Further ones are told so and closed, rather than
// left waiting in the backlog where nobody learns why.
type limited struct {
	net.Listener
	max     atomic.Int64
	current atomic.Int64
	refused func()
	// unreadable is told of connections that ended because of what came: no request could be made of it ("request"), or
	// it was no TLS ("handshake").
	unreadable func(what string)
	silent     bool // nothing can be told: the client expects TLS

	stopping atomic.Bool
	stopped  chan struct{} // closed by Accept once it will not return another connection
	closed   chan struct{} // closed by Close

	mu   sync.Mutex
	open map[*counted]struct{} // guarded by mu
	once sync.Once
}

func newLimited(l net.Listener, limit int, silent bool, refused func(), unreadable func(string)) *limited {
	x := &limited{Listener: l, refused: refused, unreadable: unreadable, silent: silent, open: map[*counted]struct{}{}, stopped: make(chan struct{}), closed: make(chan struct{})}
	x.max.Store(int64(limit))
	return x
}

const tooManyDetail = `{"title":"Service Unavailable","status":503,"detail":"too many connections are open: nothing was stored, come back in a while"}` + "\n"

var tooMany = fmt.Appendf(nil, "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\nRetry-After: 5\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s",
	len(tooManyDetail), tooManyDetail)

func (l *limited) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			if l.stopping.Load() {
				close(l.stopped)
				<-l.closed // to the server it is as if nobody came any more
			}
			return nil, err
		}
		if l.current.Add(1) <= l.max.Load() {
			x := &counted{Conn: c, listener: l}
			x.quiet.Store(time.Now().UnixNano())
			l.mu.Lock()
			l.open[x] = struct{}{}
			l.mu.Unlock()
			return x, nil
		}
		l.current.Add(-1)
		l.refused()
		if !l.silent {
			// It fits into the empty send buffer of a new connection, so this does not block.
			c.SetWriteDeadline(time.Now().Add(time.Second))
			c.Write(tooMany)
		}
		c.Close()
	}
}

// stop accepts nobody any more, and returns once the server has got the last connection. Unlike http.Server.Shutdown, which
// drops what it is just reading, it disturbs nobody who is connected.
func (l *limited) stop() {
	l.stopping.Store(true)
	l.Listener.Close()
	select {
	case <-l.stopped:
	case <-l.closed:
	}
}

// Close ends Accept.
func (l *limited) Close() error {
	l.once.Do(func() { close(l.closed) })
	if l.stopping.Load() {
		return nil // closed before
	}
	return l.Listener.Close()
}

// hurry ends what keeps a stopping server waiting: connections on which nothing is under way, and nothing came for
// patience; and, once late is set, whatever is still being received. It returns how many HTTP/1 connections there were.
// HTTP/2 has an orderly end of its own.
func (l *limited) hurry(patience time.Duration, late bool) (n int) {
	l.mu.Lock()
	var quiet []*counted
	for c := range l.open {
		if c.multiplexed.Load() {
			continue
		}
		n++
		since := c.quiet.Load()
		switch {
		case since > 0 && time.Since(time.Unix(0, since)) > patience:
			quiet = append(quiet, c)
		case late:
			c.SetReadDeadline(time.Now())
		}
	}
	l.mu.Unlock()
	for _, c := range quiet {
		c.Close() // it takes mu
	}
	return n
}

// cut closes every connection, and returns how many there were.
func (l *limited) cut() int {
	l.mu.Lock()
	var all []*counted
	for c := range l.open {
		all = append(all, c)
	}
	l.mu.Unlock()
	for _, c := range all {
		c.Close() // it takes mu
	}
	return len(all)
}

// state is told by the server what it makes of a connection.
func (l *limited) state(c net.Conn, s http.ConnState) {
	secure, isTLS := c.(*tls.Conn)
	if isTLS {
		c = secure.NetConn()
	}
	x, ok := c.(*counted)
	if !ok {
		return
	}
	switch s {
	case http.StateActive:
		x.quiet.Store(0)
		x.active.Store(true)
		x.asked.Store(false)
	case http.StateIdle:
		if isTLS && secure.ConnectionState().NegotiatedProtocol == "h2" {
			x.multiplexed.Store(true)
		}
		x.quiet.Store(time.Now().UnixNano())
	case http.StateClosed:
		switch {
		case x.multiplexed.Load() || x.quiet.Load() > 0: // nothing was under way
		case x.active.Load() && !x.asked.Load():
			l.unreadable("request")
		case isTLS && !x.active.Load():
			l.unreadable("handshake")
		}
	}
}

// connectionKey is where a request's context has its *counted.
type connectionKey struct{}

func (l *limited) context(ctx context.Context, c net.Conn) context.Context {
	if secure, ok := c.(*tls.Conn); ok {
		c = secure.NetConn()
	}
	return context.WithValue(ctx, connectionKey{}, c)
}

// asked notes that what came on r's connection was a request.
func asked(r *http.Request) {
	if c, ok := r.Context().Value(connectionKey{}).(*counted); ok {
		c.asked.Store(true)
	}
}

// counted gives its place back when it is closed.
type counted struct {
	net.Conn
	listener    *limited
	quiet       atomic.Int64 // since when nothing is under way, in nanoseconds since the epoch; 0: something is
	multiplexed atomic.Bool  // HTTP/2
	active      atomic.Bool  // the server has begun to read a request, once or more
	asked       atomic.Bool  // and has read the last one
	once        sync.Once
	ahead       []byte // read before the server got the connection, and not returned by Read yet
}

func (c *counted) Read(p []byte) (int, error) {
	if len(c.ahead) > 0 {
		n := copy(p, c.ahead)
		if c.ahead = c.ahead[n:]; len(c.ahead) == 0 {
			c.ahead = nil // and with it what it is part of
		}
		return n, nil
	}
	n, err := c.Conn.Read(p)
	if n > 0 && c.quiet.Load() != 0 {
		c.quiet.Store(0) // the server calls it active only when it has all headers
	}
	return n, err
}

func (c *counted) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() {
		c.listener.current.Add(-1)
		c.listener.mu.Lock()
		delete(c.listener.open, c)
		c.listener.mu.Unlock()
	})
	return err
}

// CloseWrite lets net/http end a connection so that the client still gets the answer.
func (c *counted) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
