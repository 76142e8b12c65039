package supervisor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	maxLog  = 8 << 20 // bytes of a log file before it is rotated
	keepLog = 3       // rotated files kept: name.log.1 is the youngest
	maxLine = 16 << 10
)

// Log is a log file that is read along and kept within bounds: 8 MiB, and three older ones beside it. A child writes to
// the file itself, not to a pipe: a supervisor that hangs or dies then neither blocks nor kills the child by what the
// child has to say.
type Log struct {
	File *os.File // to be written to; opened for appending, so that after a truncation the next line is the first

	path string

	mu     sync.Mutex
	in     *os.File
	offset int64  // everything before was read
	part   []byte // of a line not yet ended
	bound  int64
}

// OpenLog opens or creates the log at path.
func OpenLog(path string) (*Log, error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	in, err := os.Open(path)
	if err != nil {
		file.Close()
		return nil, err
	}
	l := &Log{path: path, File: file, in: in, bound: maxLog}
	l.mark()
	return l, nil
}

// Close closes the log. A child keeps its own copy of File.
func (l *Log) Close() {
	l.File.Close()
	l.in.Close()
}

// mark forgets what was not read yet: it belongs to an earlier start.
func (l *Log) mark() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if info, err := l.in.Stat(); err == nil {
		l.offset, l.part = info.Size(), nil
	}
}

// Follow passes lines on and rotates until ctx ends.
func (l *Log) Follow(ctx context.Context, line func([]byte)) {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			l.read(line)
			return
		}
		l.read(line)
		l.rotate(line)
	}
}

// read passes on the lines written since the last call.
func (l *Log) read(line func([]byte)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.readLocked(line)
}

func (l *Log) readLocked(line func([]byte)) {
	buf := make([]byte, 64<<10)
	for {
		n, err := l.in.ReadAt(buf, l.offset)
		l.offset += int64(n)
		for _, piece := range bytes.SplitAfter(buf[:n], []byte("\n")) {
			l.part = append(l.part, piece...)
			if bytes.HasSuffix(l.part, []byte("\n")) || len(l.part) > maxLine {
				line(bytes.TrimRight(l.part, "\r\n"))
				l.part = l.part[:0]
			}
		}
		if err != nil {
			return // end of file, mostly; anything else is tried again at the next tick
		}
	}
}

// rotate moves the file's content to name.log.1 once it is too large. A line written between the last look and the
// truncation is lost: the price of letting the child own its end.
func (l *Log) rotate(line func([]byte)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	info, err := l.in.Stat()
	if err != nil || info.Size() < l.bound {
		return
	}
	for i := keepLog - 1; i >= 1; i-- {
		err := os.Rename(fmt.Sprintf("%s.%d", l.path, i), fmt.Sprintf("%s.%d", l.path, i+1))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return
		}
	}
	out, err := os.OpenFile(l.path+".1", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return // the disk is full, perhaps; the next tick tries again
	}
	defer out.Close()
	copied, err := io.Copy(out, io.NewSectionReader(l.in, 0, 1<<62))
	if err == nil && copied >= l.offset {
		l.readLocked(line)
	}
	// Truncated even if the copy failed: on a full disk the bound matters more than old lines.
	if l.File.Truncate(0) == nil {
		l.offset = 0
	}
}

// logLine is what matters of a line for people.
type logLine struct {
	text  string
	grave bool // an error, as opposed to chatter
}

// parseLine reads a line of slog, as text or JSON, or of the Go runtime.
func parseLine(line []byte) logLine {
	if fields, ok := parseJSON(line); ok {
		return fields
	}
	text := string(line)
	if strings.HasPrefix(text, "time=") {
		return parseText(text)
	}
	for _, prefix := range []string{"panic: ", "fatal error: ", "sparrow: ", "SIG"} {
		if strings.HasPrefix(text, prefix) {
			return logLine{text: text, grave: true}
		}
	}
	return logLine{text: strings.TrimSpace(text)}
}

func parseJSON(line []byte) (logLine, bool) {
	if !bytes.HasPrefix(line, []byte("{")) {
		return logLine{}, false
	}
	var f struct {
		Level, Msg, Error string
	}
	if json.Unmarshal(line, &f) != nil || f.Level == "" {
		return logLine{}, false
	}
	text := f.Msg
	if f.Error != "" {
		text += ": " + f.Error
	}
	return logLine{text: text, grave: f.Level == "ERROR"}, true
}

// parseText reads "time=… level=… msg=… key=value …".
func parseText(text string) logLine {
	var out logLine
	var msg, detail string
	for text != "" {
		key, rest, ok := strings.Cut(text, "=")
		if !ok {
			break
		}
		var value string
		if quoted, err := strconv.QuotedPrefix(rest); err == nil {
			value, _ = strconv.Unquote(quoted)
			text = strings.TrimPrefix(rest[len(quoted):], " ")
		} else {
			value, text, _ = strings.Cut(rest, " ")
		}
		switch key {
		case "level":
			out.grave = value == "ERROR"
		case "msg":
			msg = value
		case "error":
			detail = value
		}
	}
	out.text = msg
	if detail != "" {
		out.text += ": " + detail
	}
	return out
}
