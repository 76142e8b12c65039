package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// askReady keeps the state's readiness up to date until ctx ends.
func (c *child) askReady(ctx context.Context) {
	for {
		why := c.ready(ctx)
		if ctx.Err() != nil {
			return
		}
		pause := 100 * time.Millisecond
		c.update(func(s *State) {
			s.Why = why
			switch {
			case why == "":
				s.Phase, pause = Ready, time.Second
			case s.Phase == Ready:
				s.Phase = Unready
			}
		})
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

// ready asks the process once; the answer is empty if it is ready, else the reason it gives.
func (c *child) ready(ctx context.Context) string {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.process.URL+"/readyz", nil)
	if err != nil {
		return err.Error()
	}
	resp, err := c.s.client.Do(req)
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) || os.IsTimeout(err) {
			return fmt.Sprintf("no answer within %s", c.s.client.Timeout)
		}
		return err.Error()
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	if resp.StatusCode == http.StatusOK {
		return ""
	}
	var problem struct {
		Detail string `json:"detail"`
	}
	if json.Unmarshal(body, &problem) == nil && problem.Detail != "" {
		return problem.Detail
	}
	return resp.Status
}
