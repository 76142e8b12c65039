package telemetry

import (
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/getsentry/sentry-go"
)

// maxFrames bounds a stack; the calls next to the failure are kept.
const maxFrames = 64

// callers is the stack of whoever called skip functions above this one, the outermost call first, as Sentry wants it.
// In a deferred function that recovers it ends with the function that panicked.
func callers(skip int) *sentry.Stacktrace {
	pcs := make([]uintptr, 2*maxFrames)
	n := runtime.Callers(skip+2, pcs)
	var calls []runtime.Frame
	panicked := false
	for frames := runtime.CallersFrames(pcs[:n]); ; {
		f, more := frames.Next()
		switch {
		case f.Function == "runtime.gopanic" && !panicked: // what came before are deferred functions
			calls, panicked = calls[:0], true
		case panicked && len(calls) == 0 && strings.HasPrefix(f.Function, "runtime."): // how the runtime got to panic
		case f.Function != "runtime.goexit" && f.Function != "":
			calls = append(calls, f)
		}
		if !more {
			break
		}
	}
	calls = calls[:min(len(calls), maxFrames)]
	slices.Reverse(calls)
	s := &sentry.Stacktrace{}
	for _, f := range calls {
		s.Frames = append(s.Frames, sentry.NewFrame(f))
	}
	return s
}

// innermost names the function at the end of a stack.
func innermost(s *sentry.Stacktrace) string {
	if len(s.Frames) == 0 {
		return "unknown"
	}
	last := s.Frames[len(s.Frames)-1]
	return last.Module + "." + last.Function
}

// lines writes a stack for the log, the innermost call first.
func lines(s *sentry.Stacktrace) string {
	var b strings.Builder
	for _, f := range slices.Backward(s.Frames) {
		fmt.Fprintf(&b, "%s.%s %s:%d\n", f.Module, f.Function, filepath.Base(f.AbsPath), f.Lineno)
	}
	return b.String()
}
