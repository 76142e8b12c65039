package compare

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// UnreadableError says that a side could not be read, so that nothing can be said about the candidate.
type UnreadableError struct {
	Side string // "mirror" or "warehouse"
	Err  error
}

func (e *UnreadableError) Error() string {
	return fmt.Sprintf("the %s could not be read: %v", e.Side, e.Err)
}

func (e *UnreadableError) Unwrap() error { return e.Err }

// WaitError says that the wait ran out before the window closed.
type WaitError struct {
	Waited time.Duration
	Open   []string // what still stood open
}

func (e *WaitError) Error() string {
	return fmt.Sprintf("the window did not close within %s: %s", e.Waited, strings.Join(e.Open, "; "))
}

// UsageError says that what was asked for makes no sense.
type UsageError struct{ Err error }

func (e *UsageError) Error() string { return e.Err.Error() }

func (e *UsageError) Unwrap() error { return e.Err }

// StaleError says that a stored verdict does not fit what runs now.
type StaleError struct{ Err error }

func (e *StaleError) Error() string { return e.Err.Error() }

func (e *StaleError) Unwrap() error { return e.Err }

// Exit statuses of sparrow compare.
const (
	ExitPass         = 0
	ExitFail         = 1
	ExitUsage        = 2
	ExitInconclusive = 3
	ExitUnreadable   = 4
	ExitStale        = 5
	ExitWait         = 124
)

// ExitStatus returns the exit status for a verdict and the error that came with it. Only a PASS without any error gives
// 0. A FAIL stays a FAIL when the wait ran out: what is lost below the cursors is lost.
func ExitStatus(v Verdict, err error) int {
	var wait *WaitError
	var usage *UsageError
	var stale *StaleError
	switch {
	case errors.As(err, &wait) && v.Outcome == Fail:
		return ExitFail
	case errors.As(err, &wait):
		return ExitWait
	case errors.As(err, &usage):
		return ExitUsage
	case errors.As(err, &stale):
		return ExitStale
	case err != nil:
		return ExitUnreadable
	case v.Outcome == Pass:
		return ExitPass
	case v.Outcome == Fail:
		return ExitFail
	}
	return ExitInconclusive
}
