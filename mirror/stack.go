package mirror

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/service"
)

// stack is the way to one stack. Its connections are its own: nothing is shared with the other stack.
type stack struct {
	name        event.Stack
	url         string
	client      *http.Client
	web         *web // not nil for protocol http: the stack is no dispatcher of ours
	concurrency int  // of web
}

func newStack(name event.Stack, address, secret string, o StackOptions) (*stack, error) {
	s := &stack{name: name, url: strings.TrimSuffix(address, "/"), client: service.Client(secret), concurrency: o.Concurrency}
	if o.Protocol != protocolHTTP {
		return s, nil
	}
	var err error
	s.web, err = newWeb(name, address)
	return s, err
}

// close lets go of idle connections.
func (s *stack) close() {
	s.client.CloseIdleConnections()
	if s.web != nil {
		s.web.closeIdle()
	}
}

// protocol is what the stack speaks.
func (s *stack) protocol() string {
	if s.web != nil {
		return protocolHTTP
	}
	return protocolFrames
}

// applied is a stack's answer to a delivery.
type applied struct {
	Cursor event.Cursor `json:"cursor"` // everything below it is durable there
	Build  event.Build  `json:"build"`
	Stack  event.Stack  `json:"stack"`
	Reason string       `json:"reason"` // of a 409: "journal" for a collision
	Detail string       `json:"detail"` // of a problem
}

// cursors is a stack's answer to GET /v1/cursors.
type cursors struct {
	Stack    event.Stack             `json:"stack"`
	Build    event.Build             `json:"build"`
	Journals []journalSeen           `json:"journals"`
	Stages   map[string]event.Cursor `json:"stages"`
}

// journalSeen is a journal that a stack has frames of.
type journalSeen struct {
	ID      string `json:"id"`
	First   uint64 `json:"first"`
	Highest uint64 `json:"highest"`
}

// What went wrong with a call decides what happens next; these types say it.
type (
	// busyError: down, unreachable, slow, or asking for time. It says nothing about what was sent. Wait, send again.
	busyError struct {
		after   time.Duration // asked for with Retry-After; 0: not
		timeout bool          // the call took longer than it may
		refused bool          // nobody listens: asking again is cheap
		unknown bool          // it was sent, and nobody knows whether the stack took it; of an http stack
		err     error
	}
	// contentError: the delivery reached the stack and failed there. If it is a request's fault, isolation finds which.
	contentError struct {
		status int
		detail string
	}
	// sizeError: the delivery is larger than the stack takes.
	sizeError struct{ detail string }
	// gapError: the stack's cursor is not where the delivery begins.
	gapError struct{ cursor event.Cursor }
	// blockedError: nothing will change until a person changes something.
	blockedError struct{ detail string }
)

func (e *busyError) Error() string    { return e.err.Error() }
func (e *busyError) Unwrap() error    { return e.err }
func (e *contentError) Error() string { return fmt.Sprintf("answered %d: %s", e.status, e.detail) }
func (e *sizeError) Error() string    { return "answered 413: " + e.detail }
func (e *gapError) Error() string     { return fmt.Sprintf("stands at %v", e.cursor) }
func (e *blockedError) Error() string { return e.detail }

// maxAnswer bounds what is read of a stack's answer.
const maxAnswer = 256 << 10

// maxDetail bounds what is kept of a stack's words about a failure.
const maxDetail = 1 << 10

// lowest is where a feed has to go on: a stage of the stack that stands lower than the others still needs what they have.
func (c cursors) lowest() event.Cursor {
	lowest, first := event.Cursor{}, true
	for _, at := range c.Stages {
		if first || at.Compare(lowest) < 0 {
			lowest, first = at, false
		}
	}
	return lowest
}

// cursors asks where the stack stands. It blocks until ctx ends. An http stack does not know. Errors: *busyError,
// *blockedError.
func (s *stack) cursors(ctx context.Context) (cursors, error) {
	c := cursors{Stack: s.name}
	if s.web != nil {
		return c, nil
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/v1/cursors", nil)
	if err != nil {
		return c, &blockedError{detail: err.Error()}
	}
	status, answer, err := s.do(r)
	if err != nil {
		return c, err
	}
	if status != http.StatusOK {
		err := s.refusal(status, answer)
		var content *contentError
		if errors.As(err, &content) { // there is no content here: it is unwell
			return c, &busyError{err: fmt.Errorf("asked for its cursors, %w", err)}
		}
		return c, err
	}
	if err := json.Unmarshal(answer, &c); err != nil || c.Stages == nil {
		return c, &blockedError{detail: fmt.Sprintf("GET %s/v1/cursors is answered by something that is not a Sparrow dispatcher: check its address", s.url)}
	}
	if c.Stack != s.name {
		return c, &blockedError{detail: fmt.Sprintf("%s is the dispatcher of stack %q: the addresses of the stacks are mixed up", s.url, c.Stack)}
	}
	return c, nil
}

// deliver hands d over and returns the stack's answer, whose cursor is at or past d's end. It blocks until ctx ends.
// Errors: *busyError, *contentError, *sizeError, *gapError, *blockedError.
func (s *stack) deliver(ctx context.Context, d *delivery) (applied, error) {
	var a applied
	body, size := d.body()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+"/v1/frames", body)
	if err != nil {
		return a, &blockedError{detail: err.Error()}
	}
	r.ContentLength = size
	r.Header.Set("Content-Type", event.DeliveryType)
	status, answer, err := s.do(r)
	if err != nil {
		return a, err
	}
	switch status {
	case http.StatusOK:
		if err := json.Unmarshal(answer, &a); err != nil || a.Stack == "" {
			return a, &blockedError{detail: fmt.Sprintf("POST %s/v1/frames is answered by something that is not a Sparrow dispatcher: check its address", s.url)}
		}
		if a.Stack != s.name {
			return a, &blockedError{detail: fmt.Sprintf("%s is the dispatcher of stack %q: the addresses of the stacks are mixed up", s.url, a.Stack)}
		}
		if a.Cursor.Compare(d.to) < 0 {
			return a, &gapError{cursor: a.Cursor}
		}
		return a, nil
	case http.StatusConflict:
		if err := json.Unmarshal(answer, &a); err != nil {
			return a, &blockedError{detail: fmt.Sprintf("answered 409 with something that is not a cursor: %s", detailOf(answer))}
		}
		if a.Reason == "journal" {
			return a, &blockedError{detail: bounded(a.Detail)}
		}
		return a, &gapError{cursor: a.Cursor}
	}
	return a, s.refusal(status, answer)
}

// do makes the call and reads a bounded answer. Errors: *busyError.
func (s *stack) do(r *http.Request) (status int, answer []byte, err error) {
	resp, err := s.client.Do(r)
	if err != nil {
		return 0, nil, unreachable(err)
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return 0, nil, unreachable(err)
	}
	if after, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && resp.StatusCode >= 400 {
		switch resp.StatusCode {
		case http.StatusServiceUnavailable, http.StatusTooManyRequests:
			return 0, nil, &busyError{after: time.Duration(max(after, 0)) * time.Second, err: fmt.Errorf("answered %d: %s", resp.StatusCode, detailOf(answer))}
		}
	}
	return resp.StatusCode, answer, nil
}

// refusal sorts an answer that is neither 200 nor 409.
func (s *stack) refusal(status int, answer []byte) error {
	detail := detailOf(answer)
	switch status {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return &busyError{err: fmt.Errorf("answered %d: %s", status, detail)}
	case http.StatusUnauthorized:
		return &blockedError{detail: "answered 401: the mirror and the stack do not have the same secret"}
	case http.StatusNotFound, http.StatusMethodNotAllowed:
		return &blockedError{detail: fmt.Sprintf("answered %d: %s does not lead to a Sparrow dispatcher, or to one of another version", status, s.url)}
	case http.StatusRequestEntityTooLarge:
		return &sizeError{detail: detail}
	case http.StatusInternalServerError:
		return &contentError{status: status, detail: detail}
	}
	if status >= 400 && status < 500 {
		return &contentError{status: status, detail: detail}
	}
	return &blockedError{detail: fmt.Sprintf("answered %d, which no dispatcher does: %s", status, detail)}
}

// unreachable sorts an error of the connection. The address is left out: the status already says which stack it is.
func unreachable(err error) *busyError {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	var n net.Error
	return &busyError{
		timeout: errors.Is(err, context.DeadlineExceeded) || errors.As(err, &n) && n.Timeout(),
		refused: errors.Is(err, syscall.ECONNREFUSED),
		err:     err,
	}
}

// listens reports whether somebody listens again at the stack's address: a cheap question while it is down.
func (s *stack) listens(ctx context.Context) bool {
	u, err := url.Parse(s.url)
	if err != nil {
		return false
	}
	host := u.Host
	if u.Port() == "" {
		host = net.JoinHostPort(u.Hostname(), map[string]string{"http": "80", "https": "443"}[u.Scheme])
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", host)
	if err != nil {
		return false
	}
	c.Close()
	return true
}

// detailOf returns what an answer says, bounded.
func detailOf(answer []byte) string {
	var p struct {
		Detail string `json:"detail"`
	}
	if json.Unmarshal(answer, &p) == nil && p.Detail != "" {
		return bounded(p.Detail)
	}
	return bounded(string(answer))
}

func bounded(text string) string {
	text = strings.ToValidUTF8(strings.TrimSpace(text), "�")
	if len(text) > maxDetail {
		text = strings.ToValidUTF8(text[:maxDetail], "") + "…"
	}
	if text == "" {
		return "(no explanation)"
	}
	return text
}
