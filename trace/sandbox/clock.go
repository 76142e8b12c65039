package sandbox

import (
	"context"
	"time"
)

// Clock is the time the sandbox lives in: rates, de-duplication and scenarios go by it. Its methods may be called
// concurrently.
type Clock interface {
	Now() time.Time
	// Sleep waits until d has passed, or ctx ends; then it returns ctx's error.
	Sleep(ctx context.Context, d time.Duration) error
}

type systemClock struct{}

func (systemClock) Now() time.Time { return time.Now() }

func (systemClock) Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
