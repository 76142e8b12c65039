package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
)

// serverLog hands the embedded server's messages to our log. They name streams, files and sequences, never content:
// the server's tracing, which does print messages, is off.
type serverLog struct {
	log *slog.Logger

	mu   sync.Mutex
	text string // the last error or warning
}

func (l *serverLog) say(level slog.Level, format string, args []any) {
	if level >= slog.LevelWarn {
		l.mu.Lock()
		l.text = fmt.Sprintf(format, args...)
		l.mu.Unlock()
	}
	if l.log.Enabled(context.Background(), level) {
		l.log.Log(context.Background(), level, "nats", "message", fmt.Sprintf(format, args...))
	}
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
func (l *serverLog) Errorf(format string, args ...any)  { l.say(slog.LevelWarn, format, args) }

// Fatalf does not end the process: the server failing to start is an error of Open or of a restart.
func (l *serverLog) Fatalf(format string, args ...any) { l.say(slog.LevelError, format, args) }
