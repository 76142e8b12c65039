package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
)

// serverLog hands the embedded server's messages to our log. They name streams, files and sequences, never content:
// the server's tracing, which does print messages, is off.
type serverLog struct {
	log   *slog.Logger
	alarm chan<- struct{} // told of errors; holds one

	mu   sync.Mutex
	text string // the last error or warning
}

func (l *serverLog) say(level slog.Level, format string, args []any) {
	if level < slog.LevelWarn && !l.log.Enabled(context.Background(), level) {
		return
	}
	text := fmt.Sprintf(format, args...)
	if strings.Contains(text, "cid:") {
		// About a connection. It may quote what was sent, such as the name somebody tried to log in with.
		text = "a connection to the journal's listener failed"
	}
	if level >= slog.LevelWarn {
		l.mu.Lock()
		l.text = text
		l.mu.Unlock()
	}
	l.log.Log(context.Background(), level, "nats", "message", text)
}

// last is the last error or warning the server gave.
func (l *serverLog) last() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.text == "" {
		return errors.New("it gave no reason")
	}
	return errors.New(l.text)
}

func (l *serverLog) Noticef(format string, args ...any) { l.say(slog.LevelDebug, format, args) }
func (l *serverLog) Debugf(format string, args ...any)  { l.say(slog.LevelDebug, format, args) }
func (l *serverLog) Tracef(string, ...any)              {}
func (l *serverLog) Warnf(format string, args ...any)   { l.say(slog.LevelWarn, format, args) }

// Errorf also wakes the keeper: the server says in its log, and nowhere else, that it has stopped writing.
func (l *serverLog) Errorf(format string, args ...any) {
	l.say(slog.LevelWarn, format, args)
	select {
	case l.alarm <- struct{}{}:
	default:
	}
}

// Fatalf does not end the process: the server failing to start is an error of Open or of a restart.
func (l *serverLog) Fatalf(format string, args ...any) { l.say(slog.LevelWarn, format, args) }
