package mirror

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// smallBody is what every connection may hold of a body without asking; most events fit.
const smallBody = 4 << 10

// bodies reads requests' bodies. Beyond smallBody a body takes room from one bounded budget, and only as its bytes
// arrive: a client that announces much and sends nothing holds its socket and no more, and when slow clients have used
// up the budget, small requests still pass.
type bodies struct {
	inUse atomic.Int64 // of the budget, in bytes
}

// bodyLimits bound bodies.
type bodyLimits struct {
	max     int64         // bytes of one body
	budget  int64         // bytes of all bodies that grew, together
	timeout time.Duration // for the first grown buffer
	minRate int64         // bytes a second beyond it
}

// refusal is an answer other than 200.
type refusal struct {
	status int
	reason string // of the metric
	detail string
	close  bool // the connection: what is left on it is not read
}

// Refusals that say nothing about the request.
var (
	refuseEmpty     = &refusal{http.StatusBadRequest, "empty", "the request has no body: send one event, an array of events, or {\"batch\": [...]} as JSON", false}
	refuseTruncated = &refusal{http.StatusBadRequest, "truncated", "the body ended before what was announced, or its chunks are malformed: nothing was stored, send the request again", true}
	refuseSlow      = &refusal{http.StatusRequestTimeout, "slow", "the body did not arrive in time: nothing was stored, send the request again", true}
	refuseReading   = &refusal{http.StatusServiceUnavailable, "reading", "too many large requests are being received: nothing was stored, send the request again later", true}
)

func (l *bodyLimits) tooLarge() *refusal {
	return &refusal{http.StatusRequestEntityTooLarge, "too large", fmt.Sprintf("the body has more than %d bytes as sent: nothing was stored, send fewer events at a time", l.max), true}
}

// buffers of the sizes that a growing body passes through.
var (
	medium = sync.Pool{New: func() any { return new([16 << 10]byte) }}
	large  = sync.Pool{New: func() any { return new([64 << 10]byte) }}
)

// body is a body as received. release gives its memory and its part of the budget back.
type body struct {
	data   []byte
	held   int64
	pooled any // *[16<<10]byte, *[64<<10]byte or nil
}

// read reads r's body, within l, into small, or into something larger. The caller must release what it gets, also with a refusal.
func (b *bodies) read(w http.ResponseWriter, r *http.Request, l *bodyLimits, small []byte) (body, *refusal) {
	got := body{data: small[:0]}
	if r.ContentLength == 0 {
		return got, refuseEmpty
	}
	if r.ContentLength > l.max {
		return got, l.tooLarge()
	}
	for {
		if len(got.data) == cap(got.data) {
			if refused := b.grow(w, r.ContentLength, l, &got); refused != nil {
				return got, refused
			}
		}
		n, err := r.Body.Read(got.data[len(got.data):cap(got.data)])
		got.data = got.data[:len(got.data)+n]
		switch {
		case int64(len(got.data)) > l.max:
			return got, l.tooLarge()
		case err == nil:
		case err == io.EOF && len(got.data) == 0:
			return got, refuseEmpty
		case err == io.EOF:
			return got, nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			return got, refuseSlow
		default:
			return got, refuseTruncated
		}
	}
}

// grow moves the body into the next larger buffer, and gives the client the time that filling it may take.
func (b *bodies) grow(w http.ResponseWriter, announced int64, l *bodyLimits, got *body) *refusal {
	was := *got
	size := int64(4 * cap(was.data))
	if size > 64<<10 {
		size = l.max + 1 // one more shows that a body of unknown length is too long
		if announced > 0 {
			size = announced
		}
		if half := int64(256 << 10); cap(was.data) < int(half) {
			size = min(size, half)
		}
	}
	more := size - was.held
	if b.inUse.Add(more) > l.budget {
		b.inUse.Add(-more)
		return refuseReading
	}
	got.held, got.pooled = size, nil
	switch size {
	case 16 << 10:
		buf := medium.Get().(*[16 << 10]byte)
		got.data, got.pooled = buf[:0], buf
	case 64 << 10:
		buf := large.Get().(*[64 << 10]byte)
		got.data, got.pooled = buf[:0], buf
	default:
		got.data = make([]byte, 0, size)
	}
	got.data = append(got.data, was.data...)
	was.recycle()
	// A body is as slow as it likes up to a rate; past the first buffers its time grows with its size.
	allowed := l.timeout + time.Duration(float64(size)/float64(l.minRate)*float64(time.Second))
	http.NewResponseController(w).SetReadDeadline(time.Now().Add(allowed))
	return nil
}

// release gives back what got holds.
func (b *bodies) release(got *body) {
	if got.held == 0 {
		return
	}
	b.inUse.Add(-got.held)
	got.recycle()
	*got = body{}
}

func (got *body) recycle() {
	switch buf := got.pooled.(type) {
	case *[16 << 10]byte:
		medium.Put(buf)
	case *[64 << 10]byte:
		large.Put(buf)
	}
}

// retryAfter is the shared header value of refusals that pass.
func retryAfter(seconds int) []string { return []string{strconv.Itoa(seconds)} }
