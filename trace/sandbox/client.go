package sandbox

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/sparrowhq/sparrow/service"
	"github.com/sparrowhq/sparrow/trace/sandbox/record"
	"github.com/sparrowhq/sparrow/trace/sandbox/scenario"
)

// Client asks a running sandbox. It is safe for concurrent use.
type Client struct {
	url  string
	http *http.Client
}

// NewClient returns a client of the sandbox at url, "http://127.0.0.1:8090". secret is that of the control API.
func NewClient(url, secret string) *Client {
	return &Client{url: strings.TrimSuffix(url, "/"), http: service.Client(secret)}
}

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

func (c *Client) do(ctx context.Context, method, path string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.url+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("sandbox: %w", err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("sandbox: %w", err)
	}
	if resp.StatusCode/100 != 2 {
		defer resp.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
		return nil, fmt.Errorf("sandbox: %s %s: %s: %s", method, path, resp.Status, bytes.TrimSpace(text))
	}
	return resp, nil
}

func (c *Client) ask(ctx context.Context, method, path string, body []byte, into any) error {
	resp, err := c.do(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if into == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return fmt.Errorf("sandbox: %s %s: %w", method, path, err)
	}
	return nil
}

// Status returns limits, projects, what is kept, and the scenario.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var s Status
	err := c.ask(ctx, http.MethodGet, "/v1/status", nil, &s)
	return s, err
}

// Vendors returns what each project received.
func (c *Client) Vendors(ctx context.Context) ([]record.Counts, error) {
	var out struct{ Vendors []record.Counts }
	return out.Vendors, c.ask(ctx, http.MethodGet, "/v1/vendors", nil, &out)
}

// EventQuery selects events. Zero fields select all.
type EventQuery struct {
	ID      string
	Outcome record.Outcome
	After   uint64
	Limit   int // 0: 100
}

// Events returns recorded events, oldest first.
func (c *Client) Events(ctx context.Context, vendor Vendor, project string, q EventQuery) (Events, error) {
	v := url.Values{}
	set := func(name, value string) {
		if value != "" && value != "0" {
			v.Set(name, value)
		}
	}
	set("id", q.ID)
	set("outcome", string(q.Outcome))
	set("after", strconv.FormatUint(q.After, 10))
	set("limit", strconv.Itoa(q.Limit))
	var out Events
	err := c.ask(ctx, http.MethodGet, projectPath(vendor, project)+"/events?"+v.Encode(), nil, &out)
	return out, err
}

func projectPath(vendor Vendor, project string) string {
	return "/v1/vendors/" + url.PathEscape(string(vendor)) + "/" + url.PathEscape(project)
}

// IDs yields every id a project took in and how often, in the order of first arrival. An error comes last, with a zero
// id; without one the list was complete at some moment after the call.
func (c *Client) IDs(ctx context.Context, vendor Vendor, project string) iter.Seq2[record.IDCount, error] {
	return func(yield func(record.IDCount, error) bool) {
		resp, err := c.do(ctx, http.MethodGet, projectPath(vendor, project)+"/ids", nil)
		if err != nil {
			yield(record.IDCount{}, err)
			return
		}
		defer resp.Body.Close()
		lines := json.NewDecoder(bufio.NewReaderSize(resp.Body, 64<<10))
		for {
			var line struct {
				record.IDCount
				Next *int `json:"next"`
			}
			if err := lines.Decode(&line); err != nil {
				if errors.Is(err, io.EOF) {
					err = io.ErrUnexpectedEOF
				}
				yield(record.IDCount{}, fmt.Errorf("sandbox: ids of %s %s: %w", vendor, project, err))
				return
			}
			if line.Next != nil || !yield(line.IDCount, nil) {
				return
			}
		}
	}
}

// Search looks for texts in everything that arrived.
func (c *Client) Search(ctx context.Context, texts ...string) (record.Found, error) {
	body, err := json.Marshal(SearchRequest{Texts: texts})
	if err != nil {
		return record.Found{}, fmt.Errorf("sandbox: %w", err)
	}
	var out record.Found
	err = c.ask(ctx, http.MethodPost, "/v1/search", body, &out)
	return out, err
}

// Reset forgets what arrived.
func (c *Client) Reset(ctx context.Context) error {
	return c.ask(ctx, http.MethodDelete, "/v1/records", nil, nil)
}

// SetScenario begins a scenario, given as the text of a scenario file.
func (c *Client) SetScenario(ctx context.Context, text []byte) (scenario.State, error) {
	var s scenario.State
	err := c.ask(ctx, http.MethodPut, "/v1/scenario", text, &s)
	return s, err
}

// Scenario returns how far the scenario has come.
func (c *Client) Scenario(ctx context.Context) (scenario.State, error) {
	var s scenario.State
	err := c.ask(ctx, http.MethodGet, "/v1/scenario", nil, &s)
	return s, err
}

// EndScenario ends it: nothing goes wrong any more.
func (c *Client) EndScenario(ctx context.Context) error {
	return c.ask(ctx, http.MethodDelete, "/v1/scenario", nil, nil)
}
