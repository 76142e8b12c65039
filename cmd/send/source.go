package send

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// maxLine bounds a line of input: more than any mirror takes, so that a file without line ends is refused, not loaded.
const maxLine = 64 << 20

// Line is one event, or whatever else a line holds: it is sent as it is.
type Line struct {
	Number int // in the input, from 1
	Body   []byte
}

// Source yields lines. Next returns io.EOF after the last. It is not called concurrently; the body is the caller's.
type Source interface {
	Next() (Line, error)
}

type lines struct {
	in     *bufio.Reader
	number int
}

// Lines reads r line by line and skips empty ones. Line ends are not part of a body.
func Lines(r io.Reader) Source { return &lines{in: bufio.NewReaderSize(r, 256<<10)} }

func (l *lines) Next() (Line, error) {
	for {
		var body []byte
		for {
			piece, err := l.in.ReadSlice('\n')
			body = append(body, piece...)
			if len(body) > maxLine {
				return Line{}, fmt.Errorf("line %d has more than %d MiB", l.number+1, maxLine>>20)
			}
			if errors.Is(err, bufio.ErrBufferFull) {
				continue
			}
			if err != nil && (!errors.Is(err, io.EOF) || len(body) == 0) {
				return Line{}, err
			}
			break
		}
		l.number++
		if body = bytes.TrimRight(body, "\r\n"); len(bytes.TrimSpace(body)) > 0 {
			return Line{Number: l.number, Body: body}, nil
		}
	}
}

type repeated struct {
	open func() (io.Reader, error)
	left int
	src  Source
}

// Repeat reads what open returns, times over; each time its lines are numbered from 1.
func Repeat(times int, open func() (io.Reader, error)) Source {
	return &repeated{open: open, left: times}
}

func (r *repeated) Next() (Line, error) {
	for {
		if r.src == nil {
			if r.left == 0 {
				return Line{}, io.EOF
			}
			r.left--
			in, err := r.open()
			if err != nil {
				return Line{}, err
			}
			r.src = Lines(in)
		}
		line, err := r.src.Next()
		if !errors.Is(err, io.EOF) {
			return line, err
		}
		r.src = nil
	}
}
