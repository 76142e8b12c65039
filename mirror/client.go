package mirror

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/service"
)

// Client asks a mirror's admin API. It is safe for concurrent use.
type Client struct {
	server string
	http   *http.Client
}

// NewClient returns a client of the admin API at server ("http://host:port"), with the operator token.
func NewClient(server, token string) *Client {
	return &Client{server: strings.TrimSuffix(server, "/"), http: service.Client(token)}
}

// AnswerError is an answer other than 200.
type AnswerError struct {
	Status int    `json:"status"`
	Detail string `json:"detail"`
	// Below and Above are, when a range of the ledger cannot be answered exactly (409), the nearest frames at which one
	// can begin.
	Below uint64 `json:"below"`
	Above uint64 `json:"above"`
}

func (e *AnswerError) Error() string {
	return fmt.Sprintf("the mirror answered %d: %s", e.Status, e.Detail)
}

// Status asks for the state of everything.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var s Status
	err := c.Get(ctx, "/v1/status", nil, &s)
	return s, err
}

// Equation asks whether every accepted request is accounted for.
func (c *Client) Equation(ctx context.Context) (Equation, error) {
	var e Equation
	err := c.Get(ctx, "/v1/equation", nil, &e)
	return e, err
}

// Ledger asks what was accepted in the frames from to to, both included.
func (c *Client) Ledger(ctx context.Context, from, to uint64) (Ledger, error) {
	var l Ledger
	err := c.Get(ctx, "/v1/ledger", url.Values{"from": {strconv.FormatUint(from, 10)}, "to": {strconv.FormatUint(to, 10)}}, &l)
	return l, err
}

// Timeline asks for the control records, checks their chain, and returns them.
func (c *Client) Timeline(ctx context.Context) (event.Timeline, error) {
	var answer struct {
		Records []TimelineRecord `json:"records"`
	}
	var t event.Timeline
	if err := c.Get(ctx, "/v1/timeline", nil, &answer); err != nil {
		return t, err
	}
	for _, x := range answer.Records {
		r, err := event.DecodeRecord(x.Sequence, x.Record)
		if err != nil {
			return t, err
		}
		if t, err = t.Append(r); err != nil {
			return t, err
		}
	}
	return t, nil
}

// Dead calls fn for each dead letter of a stack, in the order in which they were put aside; with the requests' bytes if
// bodies is set. It stops at fn's first error and returns it.
func (c *Client) Dead(ctx context.Context, stack event.Stack, bodies bool, fn func(DeadLetter) error) error {
	for from := uint64(0); ; {
		var answer struct {
			Dead []DeadLetter `json:"dead"`
			Next uint64       `json:"next"`
		}
		q := url.Values{"stack": {string(stack)}, "from": {strconv.FormatUint(from, 10)}, "request": {strconv.FormatBool(bodies)}}
		if err := c.Get(ctx, "/v1/dead", q, &answer); err != nil {
			return err
		}
		for _, l := range answer.Dead {
			if err := fn(l); err != nil {
				return err
			}
		}
		if answer.Next <= from {
			return nil
		}
		from = answer.Next
	}
}

// Get asks for path and decodes the JSON answer into v. Errors: *AnswerError, or why the mirror was not reached.
func (c *Client) Get(ctx context.Context, path string, query url.Values, v any) error {
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.server+path, nil)
	if err != nil {
		return fmt.Errorf("mirror at %s: %w", c.server, err)
	}
	resp, err := c.http.Do(r)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err
		}
		return fmt.Errorf("mirror at %s: %w", c.server, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
		if err != nil {
			return fmt.Errorf("mirror at %s: %w", c.server, err)
		}
		answer := &AnswerError{}
		if json.Unmarshal(body, answer) != nil || answer.Detail == "" {
			answer.Detail = bounded(string(body))
		}
		answer.Status = resp.StatusCode
		return answer
	}
	if err := json.NewDecoder(resp.Body).Decode(v); err != nil {
		return fmt.Errorf("mirror at %s: answer of %s: %w", c.server, path, err)
	}
	return nil
}

// Close lets go of idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }
