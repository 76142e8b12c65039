package mirror

import (
	"bytes"
	"errors"
)

// plainRequest is a request as trackers send it: POST or OPTIONS to the events' path in HTTP/1.1, with a length, and nothing in it
// that could be read in two ways. Its slices lie in the bytes it was read from.
//
// It is a small subset of what net/http takes, and never more: whoever sends anything else is read by net/http. So what
// is refused, and how, is decided there alone.
type plainRequest struct {
	size    int // bytes of head and body together
	post    bool
	close   bool // the client wants the connection closed
	query   []byte
	body    []byte
	lines   int // header lines without Host
	headers [maxPlainHeaders]plainHeader
	count   int // of headers
}

type plainHeader struct{ name, value []byte }

// maxPlainHeaders bounds the header lines of a plain request.
const maxPlainHeaders = 40

var (
	errMore = errors.New("the request is not whole yet")
	errOdd  = errors.New("not a plain request")
)

var (
	plainPath     = []byte(pathOfEvents)
	postEvents    = []byte("POST " + pathOfEvents)
	optionsEvents = []byte("OPTIONS " + pathOfEvents)
	endOfLine     = []byte("\r\n")
	endOfHead     = []byte("\r\n\r\n")
	version       = []byte(" HTTP/1.1")
)

// What the parts of a plain request consist of.
var (
	inName  = allowed("-_")
	inHost  = allowed("-.:[]")
	inQuery = allowed("-._~%=&+,:;@/!*'()$?")
	inValue = func() (in [256]bool) {
		for c := range in {
			in[c] = c >= ' ' && c != 0x7f // as net/http: everything but control characters
		}
		return in
	}()
)

// allowed is the set of ASCII letters, digits and those in more.
func allowed(more string) (in [256]bool) {
	for c := range in {
		in[c] = c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
	}
	for _, c := range []byte(more) {
		in[c] = true
	}
	return in
}

func all(text []byte, in *[256]bool) bool {
	for _, c := range text {
		if !in[c] {
			return false
		}
	}
	return true
}

// read makes p of the request that data begins with, of at most limit bytes. Errors: errMore, if data may be the beginning
// of one; errOdd.
func (p *plainRequest) read(data []byte, limit int) error {
	head := bytes.Index(data, endOfHead)
	if head < 0 {
		if len(data) >= limit || !begins(data) {
			return errOdd
		}
		return errMore
	}
	line, rest, _ := bytes.Cut(data[:head+len(endOfLine)], endOfLine)
	if !p.readLine(line) {
		return errOdd
	}
	length, hosts, connections := -1, 0, 0
	p.count, p.lines, p.close = 0, 0, false
	for len(rest) > 0 {
		line, rest, _ = bytes.Cut(rest, endOfLine)
		colon := bytes.IndexByte(line, ':')
		if colon < 1 || p.count == maxPlainHeaders {
			return errOdd
		}
		name, value := line[:colon], bytes.Trim(line[colon+1:], " ")
		if !all(name, &inName) || !all(value, &inValue) {
			return errOdd
		}
		p.headers[p.count] = plainHeader{name, value}
		p.count++
		switch len(name) {
		case len("Host"):
			if same(name, "host") {
				if hosts++; hosts > 1 || len(value) == 0 || !all(value, &inHost) {
					return errOdd
				}
			}
		case len("Content-Length"):
			if same(name, "content-length") {
				if length >= 0 {
					return errOdd
				}
				if length = digits(value); length < 0 {
					return errOdd
				}
			}
		case len("Connection"):
			if same(name, "connection") {
				connections++
				p.close = same(value, "close")
				if connections > 1 || !p.close && !same(value, "keep-alive") {
					return errOdd
				}
			}
		case len("Transfer-Encoding"):
			if same(name, "transfer-encoding") {
				return errOdd
			}
		case len("Expect"):
			if same(name, "expect") {
				return errOdd
			}
		case len("Upgrade"):
			if same(name, "upgrade") || same(name, "trailer") {
				return errOdd
			}
		}
	}
	p.lines = p.count - hosts
	if hosts != 1 || p.post != (length > 0) {
		return errOdd
	}
	begin := head + len(endOfHead)
	p.size = begin + max(length, 0)
	if p.size > limit {
		return errOdd
	}
	if p.size > len(data) {
		return errMore
	}
	p.body = data[begin:p.size]
	return nil
}

// within reports whether p keeps to the limits, and whether events are taken at all. Where not, net/http's server and the
// intake say so.
func (p *plainRequest) within(r *rules) bool {
	return r.routes.events != nil && int64(len(p.body)) <= r.bodies.max && p.size-len(p.body) <= r.options.MaxHeader
}

// readLine reads the request line.
func (p *plainRequest) readLine(line []byte) bool {
	target, ok := bytes.CutSuffix(line, version)
	if !ok {
		return false
	}
	var rest []byte
	if rest, p.post = bytes.CutPrefix(target, postEvents); !p.post {
		if rest, ok = bytes.CutPrefix(target, optionsEvents); !ok {
			return false
		}
	}
	p.query = nil
	if len(rest) == 0 {
		return true
	}
	p.query = rest[1:]
	return rest[0] == '?' && all(p.query, &inQuery)
}

// begins reports whether data, in which no head ends, may be the beginning of a plain request.
func begins(data []byte) bool {
	for _, want := range [][]byte{postEvents, optionsEvents} {
		n := min(len(data), len(want))
		if bytes.Equal(data[:n], want[:n]) {
			return true
		}
	}
	return false
}

// same reports whether text and name are the same header name.
func same(text []byte, name string) bool {
	if len(text) != len(name) {
		return false
	}
	for i, c := range text {
		if lower(c) != lower(name[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// values returns the values of the header name.
func (p *plainRequest) values(name string) (values []string) {
	for _, h := range p.headers[:p.count] {
		if same(h.name, name) {
			values = append(values, string(h.value))
		}
	}
	return values
}

// digits reads a number of one to seven digits; -1 if it is none.
func digits(text []byte) (n int) {
	if len(text) < 1 || len(text) > 7 {
		return -1
	}
	for _, c := range text {
		if c < '0' || c > '9' {
			return -1
		}
		n = 10*n + int(c-'0')
	}
	return n
}
