package cmd

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
)

// refusal is an answer other than 200 of one of our own processes.
type refusal struct {
	status int
	detail string
	body   []byte
}

func (r *refusal) Error() string { return r.detail }

// getJSON reads what is at address into v.
func getJSON(ctx context.Context, c *http.Client, address string, v any) error {
	return askJSON(ctx, c, http.MethodGet, address, nil, v)
}

// postJSON sends body and reads the answer into v.
func postJSON(ctx context.Context, c *http.Client, address string, body, v any) error {
	return askJSON(ctx, c, http.MethodPost, address, body, v)
}

func askJSON(ctx context.Context, c *http.Client, method, address string, body, v any) error {
	var in io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return err
		}
		in = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, address, in)
	if err != nil {
		return err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, address, err)
	}
	if resp.StatusCode != http.StatusOK {
		r := &refusal{status: resp.StatusCode, detail: fmt.Sprintf("%s %s: %s", method, address, resp.Status), body: answer}
		var problem struct {
			Detail string `json:"detail"`
		}
		if json.Unmarshal(answer, &problem) == nil && problem.Detail != "" {
			r.detail = problem.Detail
		}
		return r
	}
	if err := json.Unmarshal(answer, v); err != nil {
		return fmt.Errorf("%s %s: the answer is not what was expected: %w", method, address, err)
	}
	return nil
}
