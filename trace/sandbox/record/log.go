package record

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// log is an append-only run of lines, in memory or in files, that forgets its oldest part when it grows past max.
//
//	segment 1        segment 2        segment 3
//	[line line line] [line line line] [line line → appended here
//	 ^ forgotten first
//
// Lines are handed to the operating system before append returns: they survive a kill of the process, not a loss of
// power. What it records is a rehearsal.
type log struct {
	dir   string   // empty: memory
	lock  *os.File // held while the folder is in use
	max   int64
	piece int64 // bytes after which a new segment begins

	mu       sync.Mutex
	segments []*segment // never empty; the last one is written to
	bytes    int64
	lines    uint64 // ever appended; also the last sequence number
	kept     uint64
	failed   error // the first write that failed; every later append fails as well
}

type segment struct {
	path  string
	file  *os.File // nil in memory, and once the segment is full
	data  []byte
	size  int64
	lines uint64
}

const prefix = `{"seq":`

func openLog(dir string, limit int64) (*log, error) {
	l := &log{dir: dir, max: limit, piece: min(max(limit/16, 64<<10), 64<<20)}
	if dir == "" {
		l.piece = min(l.piece, 1<<20)
		return l, l.begin(1)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("sandbox folder: %w", err)
	}
	// It holds whole requests, secrets and all: a folder that was there before is closed to others as well.
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, fmt.Errorf("sandbox folder: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("sandbox folder: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		lock.Close()
		return nil, fmt.Errorf("sandbox folder %s: another sandbox uses it: stop that one, or choose another folder: %w", dir, err)
	}
	l.lock = lock
	if err := l.load(); err != nil {
		lock.Close()
		return nil, err
	}
	return l, nil
}

func segmentName(first uint64) string { return fmt.Sprintf("requests-%012d.ndjson", first) }

// load takes up the segments that a former process left. A last line cut short by a kill is removed: its request was
// never answered.
func (l *log) load() error {
	paths, err := filepath.Glob(filepath.Join(l.dir, "requests-*.ndjson"))
	if err != nil {
		return fmt.Errorf("sandbox folder: %w", err)
	}
	slices.Sort(paths) // the number in the name has a fixed width
	for _, path := range paths {
		first, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimPrefix(filepath.Base(path), "requests-"), ".ndjson"), 10, 64)
		if err != nil {
			return fmt.Errorf("sandbox folder: %s is none of its files: move it away: %w", path, err)
		}
		s, err := loadSegment(path)
		if err != nil {
			return err
		}
		l.segments = append(l.segments, s)
		l.bytes += s.size
		l.kept += s.lines
		l.lines = first - 1 + s.lines
	}
	return l.begin(l.lines + 1)
}

func loadSegment(path string) (*segment, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("sandbox log: %w", err)
	}
	defer f.Close()
	s := &segment{path: path}
	r := bufio.NewReaderSize(f, 1<<20)
	for {
		part, err := r.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			// The rest of a long line: count its bytes only once its end is seen.
			n := int64(len(part))
			for errors.Is(err, bufio.ErrBufferFull) {
				part, err = r.ReadSlice('\n')
				n += int64(len(part))
			}
			if err == nil {
				s.size += n
				s.lines++
				continue
			}
		} else if err == nil {
			s.size += int64(len(part))
			s.lines++
			continue
		}
		if !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("sandbox log %s: %w", path, err)
		}
		break
	}
	if err := f.Truncate(s.size); err != nil {
		return nil, fmt.Errorf("sandbox log: %w", err)
	}
	return s, nil
}

// begin starts a segment whose first line will have the number first. Callers hold mu, or are alone.
func (l *log) begin(first uint64) error {
	s := &segment{}
	if l.dir != "" {
		s.path = filepath.Join(l.dir, segmentName(first))
		f, err := os.OpenFile(s.path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
		if err != nil {
			return fmt.Errorf("sandbox log: %w", err)
		}
		s.file = f
	}
	// A former process may have begun the same segment and written nothing.
	l.segments = slices.DeleteFunc(l.segments, func(o *segment) bool { return o.path != "" && o.path == s.path })
	l.segments = append(l.segments, s)
	return nil
}

// append writes prefix, the line's number, rest and a newline, and returns the number.
func (l *log) append(rest []byte) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed != nil {
		return 0, l.failed
	}
	line := make([]byte, 0, len(prefix)+20+len(rest)+1)
	line = strconv.AppendUint(append(line, prefix...), l.lines+1, 10)
	line = append(append(line, rest...), '\n')

	s := l.segments[len(l.segments)-1]
	if s.size > 0 && s.size+int64(len(line)) > l.piece {
		if s.file != nil {
			s.file.Close()
			s.file = nil
		}
		if err := l.begin(l.lines + 1); err != nil {
			l.failed = err
			return 0, err
		}
		s = l.segments[len(l.segments)-1]
	}
	if s.file == nil {
		s.data = append(s.data, line...)
	} else if _, err := s.file.Write(line); err != nil {
		l.failed = fmt.Errorf("sandbox log: requests can no longer be recorded: %w", err)
		return 0, l.failed
	}
	s.size += int64(len(line))
	s.lines++
	l.bytes += int64(len(line))
	l.lines++
	l.kept++
	for l.bytes > l.max && len(l.segments) > 1 {
		l.forgetLocked()
	}
	return l.lines, nil
}

func (l *log) forgetLocked() {
	s := l.segments[0]
	l.segments = slices.Delete(l.segments, 0, 1)
	l.bytes -= s.size
	l.kept -= s.lines
	if s.path != "" {
		os.Remove(s.path)
	}
}

// scan calls fn with each line there is, in order, without its newline; fn returns false to stop. The line is only
// valid during the call. Lines appended meanwhile are not seen.
func (l *log) scan(fn func(line []byte) bool) error {
	l.mu.Lock()
	segments := make([]segment, len(l.segments))
	for i, s := range l.segments {
		segments[i] = *s
	}
	l.mu.Unlock()
	for _, s := range segments {
		if s.path == "" {
			for rest := s.data[:s.size]; len(rest) > 0; {
				var line []byte
				line, rest, _ = bytes.Cut(rest, []byte{'\n'})
				if !fn(line) {
					return nil
				}
			}
			continue
		}
		more, err := scanFile(s.path, s.size, fn)
		if errors.Is(err, os.ErrNotExist) {
			continue // forgotten since
		}
		if err != nil || !more {
			return err
		}
	}
	return nil
}

func scanFile(path string, size int64, fn func(line []byte) bool) (more bool, err error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	r := bufio.NewReaderSize(io.LimitReader(f, size), 1<<20)
	var long []byte
	for {
		part, err := r.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			long = append(long, part...)
			continue
		case errors.Is(err, io.EOF):
			return true, nil
		case err != nil:
			return false, fmt.Errorf("sandbox log %s: %w", path, err)
		}
		line := part[:len(part)-1]
		if len(long) > 0 {
			long = append(long, line...)
			line = long
		}
		if !fn(line) {
			return false, nil
		}
		long = long[:0]
	}
}

// reset forgets every line. Numbers begin at 1 again.
func (l *log) reset() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if last := l.segments[len(l.segments)-1]; last.file != nil {
		last.file.Close()
	}
	for len(l.segments) > 0 {
		l.forgetLocked()
	}
	l.bytes, l.lines, l.kept, l.failed = 0, 0, 0, nil
	if err := l.begin(1); err != nil {
		l.failed = err
		return err
	}
	return nil
}

func (l *log) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed == nil {
		l.failed = errors.New("sandbox log: closed")
	}
	if l.lock == nil {
		return nil // in memory, or closed before
	}
	err := error(nil)
	if last := l.segments[len(l.segments)-1]; last.file != nil {
		err = last.file.Close()
		last.file = nil
	}
	err = errors.Join(err, l.lock.Close())
	l.lock = nil
	return err
}
