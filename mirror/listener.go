package mirror

import (
	"fmt"
	"net"
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
	silent  bool // nothing can be told: the client expects TLS

	mu   sync.Mutex
	open map[*counted]struct{} // guarded by mu
}

func newLimited(l net.Listener, limit int, silent bool, refused func()) *limited {
	x := &limited{Listener: l, refused: refused, silent: silent, open: map[*counted]struct{}{}}
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
			return nil, err
		}
		if l.current.Add(1) <= l.max.Load() {
			x := &counted{Conn: c, listener: l, accepted: time.Now()}
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

// hurry ends what keeps a stopping server waiting: connections on which nothing came for patience, which nobody waits for
// an answer on; and, once late is set, whatever is still being received.
func (l *limited) hurry(patience time.Duration, late bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.open {
		switch {
		case !c.heard.Load() && time.Since(c.accepted) > patience:
			go c.Close() // it takes mu. It ends at once: nothing was written that would have to be sent first
		case late:
			c.SetReadDeadline(time.Now())
		}
	}
}

// counted gives its place back when it is closed.
type counted struct {
	net.Conn
	listener *limited
	accepted time.Time
	heard    atomic.Bool // a byte came
	once     sync.Once
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 && !c.heard.Load() {
		c.heard.Store(true)
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
