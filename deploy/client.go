package deploy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/sparrowhq/sparrow/compare"
	"github.com/sparrowhq/sparrow/event"
)

// Client asks a server that mounts the API. It is safe for concurrent use.
type Client struct {
	URL   string       // of the admin side
	HTTP  *http.Client // adds the operator's token
	Actor string       // who asks, for the record
}

// Status asks for the overview.
func (c Client) Status(ctx context.Context) (Overview, error) {
	var o Overview
	err := c.call(ctx, http.MethodGet, "/v1/deploy/status", nil, &o)
	return o, err
}

// Candidate declares the candidate's build. Errors: *RefusedError, ErrConflict, or why the server was not reached.
func (c Client) Candidate(ctx context.Context, r Request) (Decision, error) {
	return c.decide(ctx, "candidate", r)
}

// Cutover makes the candidate live. Errors as for Candidate.
func (c Client) Cutover(ctx context.Context, r Request) (Decision, error) {
	return c.decide(ctx, "cutover", r)
}

// Rollback takes the last cutover back. Errors as for Candidate.
func (c Client) Rollback(ctx context.Context, r Request) (Decision, error) {
	return c.decide(ctx, "rollback", r)
}

// History asks for every decision and checks the chain.
func (c Client) History(ctx context.Context) (event.Timeline, error) {
	var h compare.History
	if err := c.call(ctx, http.MethodGet, "/v1/deploy/history", nil, &h); err != nil {
		return event.Timeline{}, err
	}
	t, err := h.Timeline()
	if err != nil {
		return t, fmt.Errorf("the history that %s sent does not hold together: %w", c.URL, err)
	}
	return t, nil
}

// Submit hands evidence in and returns the verdict that the server made of it and keeps.
// Errors: *UntrueError, or why the server was not reached.
func (c Client) Submit(ctx context.Context, ev *compare.Evidence) (compare.Report, error) {
	var r compare.Report
	err := c.call(ctx, http.MethodPost, "/v1/verdicts", ev, &r)
	return r, err
}

// Verdict asks for a verdict by its id, or for the "latest". It returns nil if there is none.
func (c Client) Verdict(ctx context.Context, id string) (*compare.Report, error) {
	r := new(compare.Report)
	err := c.call(ctx, http.MethodGet, "/v1/verdicts/"+url.PathEscape(id), nil, r)
	if errors.Is(err, errNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return r, nil
}

// Verdicts asks for the newest verdicts.
func (c Client) Verdicts(ctx context.Context, limit int) ([]Verdict, error) {
	var answer struct {
		Verdicts []Verdict `json:"verdicts"`
	}
	err := c.call(ctx, http.MethodGet, "/v1/verdicts?limit="+strconv.Itoa(limit), nil, &answer)
	return answer.Verdicts, err
}

func (c Client) decide(ctx context.Context, what string, r Request) (Decision, error) {
	if r.Actor == "" {
		r.Actor = c.Actor
	}
	var d Decision
	err := c.call(ctx, http.MethodPost, "/v1/deploy/"+what, r, &d)
	return d, err
}

func (c Client) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(c.URL, "/")+path, body)
	if err != nil {
		return fmt.Errorf("server %s: %w", c.URL, err)
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.Actor != "" {
		req.Header.Set(actorHeader, url.PathEscape(c.Actor))
	}
	resp, err := c.HTTP.Do(req)
	if err != nil {
		return err // net/http names the method and the address
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return problemError(resp)
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("%s %s%s: answer: %w", method, c.URL, path, err)
	}
	return nil
}

// problemError makes the error again that the server answered with.
func problemError(resp *http.Response) error {
	var p struct {
		Detail   string    `json:"detail"`
		What     string    `json:"what"`
		Refusals []Refusal `json:"refusals"`
		Conflict bool      `json:"conflict"`
		Untrue   string    `json:"untrue"`
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("%s: %w", resp.Status, err)
	}
	if json.Unmarshal(data, &p) != nil || p.Detail == "" {
		p.Detail = strings.TrimSpace(string(data[:min(len(data), 500)]))
	}
	switch {
	case len(p.Refusals) > 0:
		return &RefusedError{What: p.What, Refusals: p.Refusals}
	case p.Conflict:
		return fmt.Errorf("%w%s", ErrConflict, strings.TrimPrefix(p.Detail, ErrConflict.Error()))
	case p.Untrue != "":
		return &UntrueError{Why: p.Untrue}
	case resp.StatusCode == http.StatusNotFound && p.Detail == errNotFound.Error():
		return errNotFound
	}
	return fmt.Errorf("the server answered %s: %s", resp.Status, p.Detail)
}
