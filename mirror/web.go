package mirror

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/sparrowhq/sparrow/event"
)

// web speaks plain HTTP/1.1 to a service that knows nothing of Sparrow: one request of a client's at a time on each
// connection, as the client sent it. It is written by hand because net/http's client costs three times as much, and
// would add headers of its own.
//
// It carries no secret: whoever is behind the address is not one of our own processes.
type web struct {
	stack event.Stack
	host  string // for the Host header
	addr  string // host:port
	tls   *tls.Config
	base  string // path before the client's, without a slash at its end

	mu   sync.Mutex
	idle []*link
	busy map[*link]bool
}

func newWeb(stack event.Stack, address string) (*web, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("mirror: the address of stack %s must read http://host:port", stack)
	}
	w := &web{stack: stack, host: u.Host, base: strings.TrimSuffix(u.EscapedPath(), "/"), busy: map[*link]bool{}}
	port := u.Port()
	if u.Scheme == "https" {
		w.tls = &tls.Config{ServerName: u.Hostname(), MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
		port = or(port, "443")
	}
	w.addr = net.JoinHostPort(u.Hostname(), or(port, "80"))
	return w, nil
}

func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// link is one connection. It is used by one goroutine at a time.
type link struct {
	conn  net.Conn
	in    *bufio.Reader
	limit io.LimitedReader // bounds one answer, headers included
	out   []byte
	used  bool // an answer came over it before
}

// letter is one request to be sent.
type letter struct {
	at         event.Cursor
	request    *event.Request
	live       event.Stack
	generation uint64
	again      bool // it may have been sent before
}

// get returns a connection: one that is idle, else a new one.
func (w *web) get(ctx context.Context, fresh bool) (*link, error) {
	w.mu.Lock()
	if n := len(w.idle); n > 0 && !fresh {
		c := w.idle[n-1]
		w.idle = w.idle[:n-1]
		w.busy[c] = true
		w.mu.Unlock()
		return c, nil
	}
	w.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", w.addr)
	if err != nil {
		return nil, err
	}
	if w.tls != nil {
		secure := tls.Client(conn, w.tls)
		if err := secure.HandshakeContext(ctx); err != nil {
			conn.Close()
			return nil, err
		}
		conn = secure
	}
	c := &link{conn: conn}
	c.limit.R = conn
	c.in = bufio.NewReaderSize(&c.limit, 4<<10)
	w.mu.Lock()
	w.busy[c] = true
	w.mu.Unlock()
	return c, nil
}

// put takes a connection back.
func (w *web) put(c *link, sound bool) {
	w.mu.Lock()
	delete(w.busy, c)
	if sound {
		w.idle = append(w.idle, c)
	}
	w.mu.Unlock()
	if !sound {
		c.conn.Close()
	}
}

// interrupt makes every call under way fail at once.
func (w *web) interrupt() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.busy {
		c.conn.SetDeadline(time.Unix(1, 0))
	}
}

// closeIdle lets go of connections that nobody uses.
func (w *web) closeIdle() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.idle {
		c.conn.Close()
	}
	w.idle = nil
}

// roundTime is how long sendAll hands out letters; those under way then are waited for.
const roundTime = time.Second

// outcome is what became of a letter.
type outcome struct {
	err   error // nil: the service took it; errUnsent
	took  time.Duration
	build event.Build // that took it; zero: it does not say
}

// errUnsent says that a letter was not sent.
var errUnsent = errors.New("not sent")

// sendAll sends letters, in order but several at a time, until something says that the service is unwell, time is up, or
// ctx ends. It returns what became of each.
func (w *web) sendAll(ctx context.Context, letters []letter, concurrency int, timeout time.Duration) []outcome {
	results := make([]outcome, len(letters))
	for i := range results {
		results[i].err = errUnsent
	}
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { w.interrupt(); close(interrupted) })
	defer func() {
		if !stop() {
			<-interrupted
		}
	}()
	var (
		next   atomic.Int64
		unwell atomic.Bool
		wg     sync.WaitGroup
		until  = time.Now().Add(roundTime)
	)
	for range min(concurrency, len(letters)) {
		wg.Go(func() {
			for began := time.Now(); began.Before(until) && !unwell.Load() && ctx.Err() == nil; {
				i := int(next.Add(1)) - 1
				if i >= len(letters) {
					return
				}
				build, err := w.send(ctx, &letters[i], timeout)
				now := time.Now()
				results[i] = outcome{err, now.Sub(began), build}
				began = now
				var busy *busyError
				if errors.As(err, &busy) {
					unwell.Store(true)
				}
			}
		})
	}
	wg.Wait()
	return results
}

// send sends one request; without an error the service took it, with a status of 2xx, and is of the build that it says. It
// blocks for at most timeout, or until ctx ends if somebody calls interrupt then. It may be called concurrently. Errors:
// *busyError, *contentError.
func (w *web) send(ctx context.Context, l *letter, timeout time.Duration) (event.Build, error) {
	for fresh := false; ; fresh = true {
		c, err := w.get(ctx, fresh)
		if err != nil {
			return event.Build{}, unreachable(err)
		}
		used := c.used
		a, sound, err := w.exchange(ctx, c, l, timeout)
		w.put(c, sound)
		var stale *staleError
		if errors.As(err, &stale) && used && !fresh && ctx.Err() == nil {
			continue // the service had closed a connection that was idle: that says nothing of it
		}
		if err != nil {
			failed := unreachable(err)
			failed.unknown = true
			return event.Build{}, failed
		}
		return a.build, judge(a)
	}
}

// staleError says that a connection ended before a byte of the answer came.
type staleError struct{ err error }

func (e *staleError) Error() string { return e.err.Error() }
func (e *staleError) Unwrap() error { return e.err }

// answer is what a service says to a request.
type answer struct {
	status int
	detail string        // of one that is no success
	after  time.Duration // asked for with Retry-After; 0: not
	build  event.Build   // zero: it does not say
}

// exchange makes one exchange. sound says that the connection can be used again.
func (w *web) exchange(ctx context.Context, c *link, l *letter, timeout time.Duration) (a answer, sound bool, err error) {
	if c.out, err = w.write(c.out[:0], l); err != nil {
		return answer{status: http.StatusBadRequest, detail: err.Error()}, true, nil
	}
	c.conn.SetDeadline(time.Now().Add(timeout))
	if err := ctx.Err(); err != nil { // checked after the deadline is set, so that no interrupt is undone
		return a, true, err
	}
	c.limit.N = maxAnswer
	_, failed := c.conn.Write(c.out)
	if cap(c.out) > 64<<10 {
		c.out = nil
	}
	// A service may answer before it has read all, and hang up: its answer is worth more than the error.
	if _, err := c.in.Peek(1); err != nil {
		if failed != nil {
			err = failed
		}
		if cause := ctx.Err(); cause != nil {
			return a, false, cause
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return a, false, err // it is there, and may have the request
		}
		return a, false, &staleError{err}
	}
	var resp *http.Response
	for {
		if resp, err = http.ReadResponse(c.in, answerTo(l)); err != nil {
			return a, false, fmt.Errorf("its answer is not HTTP/1.1: %w", err)
		}
		if resp.StatusCode >= 200 || resp.StatusCode == http.StatusSwitchingProtocols {
			break
		}
	}
	head := make([]byte, 0, 64)
	if resp.StatusCode >= 300 {
		if head, err = io.ReadAll(io.LimitReader(resp.Body, maxDetail+1)); err != nil {
			return a, false, err
		}
	}
	// A service may go wrong after it wrote its status: half an answer is none. Only of one that is too long to be read
	// does the status count; its connection is not used again.
	_, err = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	if err != nil && c.limit.N > 0 {
		return a, false, fmt.Errorf("its answer ended early: %w", err)
	}
	sound = err == nil && failed == nil && !resp.Close && c.in.Buffered() == 0
	c.used = true
	a = answer{status: resp.StatusCode, build: buildOf(resp.Header.Get(buildHeader))}
	if resp.StatusCode >= 300 {
		a.detail = detailOf(head)
	}
	if seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil {
		a.after = time.Duration(max(seconds, 0)) * time.Second
	}
	return a, sound, nil
}

var (
	answerToPost = &http.Request{Method: http.MethodPost}
	answerToHead = &http.Request{Method: http.MethodHead}
)

// answerTo is what http.ReadResponse must know of the request: whether the answer can have a body.
func answerTo(l *letter) *http.Request {
	if string(l.request.Method) == http.MethodHead {
		return answerToHead
	}
	return answerToPost
}

// judge sorts an answer. A redirect is not followed: it would lead the request elsewhere.
func judge(a answer) error {
	switch {
	case a.status >= 200 && a.status < 300:
		return nil
	case a.status == http.StatusRequestTimeout, a.status == http.StatusTooManyRequests, a.status == http.StatusBadGateway,
		a.status == http.StatusServiceUnavailable, a.status == http.StatusGatewayTimeout:
		return &busyError{after: a.after, err: fmt.Errorf("answered %d: %s", a.status, a.detail)}
	}
	return &contentError{status: a.status, detail: a.detail}
}

// write appends the request as it goes over the wire: as the client sent it, with the journaled headers, the client's
// address, and our stamps.
func (w *web) write(b []byte, l *letter) ([]byte, error) {
	r := l.request
	if !token(string(r.Method)) || !sendable(r.Path) || !sendable(r.Query) {
		return b, errors.New("the request cannot be written as HTTP/1.1")
	}
	b = append(b, r.Method...)
	b = append(b, ' ')
	b = append(b, w.base...)
	if len(r.Path) == 0 {
		b = append(b, '/')
	}
	b = append(b, r.Path...)
	if len(r.Query) > 0 {
		b = append(append(b, '?'), r.Query...)
	}
	b = append(append(b, " HTTP/1.1\r\nHost: "...), w.host...)
	for _, h := range r.Headers {
		if !token(h.Name) || bytes.ContainsAny(h.Value, "\r\n\x00") {
			return b, fmt.Errorf("header %q cannot be written as HTTP/1.1", h.Name)
		}
		b = append(append(append(append(b, "\r\n"...), h.Name...), ": "...), h.Value...)
	}
	if len(r.Client) > 0 {
		b = append(append(b, "\r\nX-Forwarded-For: "...), r.Client...)
	}
	b = append(append(b, "\r\nSparrow-Request-Id: "...), uuid.UUID(r.Id).String()...)
	b = append(b, "\r\nSparrow-Received-At: "...)
	b = time.UnixMicro(r.ReceivedAt).UTC().AppendFormat(b, "2006-01-02T15:04:05.000000Z")
	b = append(b, "\r\nSparrow-Position: "...)
	b = strconv.AppendUint(b, l.at.Frame, 10)
	b = strconv.AppendUint(append(b, '.'), uint64(l.at.Request), 10)
	role := roleCandidate
	if l.live == w.stack {
		role = roleLive
	}
	b = append(append(b, "\r\nSparrow-Role: "...), role...)
	b = strconv.AppendUint(append(b, "\r\nSparrow-Generation: "...), l.generation, 10)
	b = append(append(b, "\r\nSparrow-Stack: "...), w.stack...)
	if l.again {
		b = append(b, "\r\nSparrow-Repeated: true"...)
	}
	b = strconv.AppendInt(append(b, "\r\nContent-Length: "...), int64(len(r.Body)), 10)
	b = append(b, "\r\n\r\n"...)
	return append(b, r.Body...), nil
}

// token reports whether text can be a method or the name of a header.
func token(text string) bool {
	return text != "" && !strings.ContainsFunc(text, func(c rune) bool {
		return c <= ' ' || c >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, c)
	})
}

// sendable reports whether text can stand in a request line.
func sendable(text []byte) bool {
	return bytes.IndexFunc(text, func(c rune) bool { return c <= ' ' || c == 0x7f }) < 0
}
