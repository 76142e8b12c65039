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
	max     int64
	current atomic.Int64
	refused func()
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
		if l.current.Add(1) <= l.max {
			return &counted{Conn: c, listener: l}, nil
		}
		l.current.Add(-1)
		l.refused()
		// It fits into the empty send buffer of a new connection, so this does not block.
		c.SetWriteDeadline(time.Now().Add(time.Second))
		c.Write(tooMany)
		c.Close()
	}
}

// counted gives its place back when it is closed.
type counted struct {
	net.Conn
	listener *limited
	once     sync.Once
}

func (c *counted) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { c.listener.current.Add(-1) })
	return err
}

// CloseWrite lets net/http end a connection so that the client still gets the answer.
func (c *counted) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
