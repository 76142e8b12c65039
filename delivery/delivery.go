// Package delivery is the receiving end of a feed: how a process of a stack takes deliveries over HTTP and answers them.
// A dispatcher takes the mirror's, a trace its dispatcher's; what they do with one is theirs.
//
// Invariant: one delivery is applied at a time, one more may wait, and a third is refused. 200 says that everything below
// the cursor in the answer is durable; every other answer says what the sender has to do: wait (503), rewind (409, gap),
// ask a person (409, journal), or take the named request out (422, 500).
package delivery

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"mime"
	"net/http"
	"sync"
	"time"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/service"
	"github.com/sparrowhq/sparrow/telemetry"
	"github.com/sparrowhq/sparrow/warehouse"
)

// What a 409 is about, and what a delivery that failed is marked with.
const (
	ReasonGap     = "gap"     // the delivery begins past the cursor: rewind to it
	ReasonJournal = "journal" // the journal is not the one whose frames are here: a person must decide
	ReasonFailed  = "failed"  // one request reached this stack and fails
)

// Failed says that a request reached this stack and could not be processed: sent again, it will fail again.
type Failed struct {
	Frame   uint64
	Request uint32
	Panic   bool  // a bug, reported where it was recovered
	Err     error // what is wrong; nil if it panicked
}

func (e *Failed) Error() string {
	if e.Panic {
		return fmt.Sprintf("request %d of frame %d met a bug in this build; it is reported", e.Request, e.Frame)
	}
	return fmt.Sprintf("request %d of frame %d: %v", e.Request, e.Frame, e.Err)
}

func (e *Failed) Unwrap() error { return e.Err }

// Receiver applies deliveries.
type Receiver interface {
	// Apply makes a delivery durable and returns the receiver's cursor, which then is not below d.To(); encoded is the
	// same as bytes, valid until Apply returns. A delivery may come any number of times. It is called by one goroutine
	// at a time and may block until ctx ends. Errors: *warehouse.GapError, *warehouse.JournalError, warehouse.ErrBusy,
	// *Failed; anything else is of unknown outcome.
	Apply(ctx context.Context, d *event.Delivery, encoded []byte) (event.Cursor, error)

	// Cursor returns where a feed has to go on. It may block until ctx ends and may be called concurrently.
	Cursor(ctx context.Context, run uint64) (event.Cursor, error)

	// Build is what this process runs. It may be called concurrently.
	Build() event.Build
}

// Options configure New. All are required but Answered.
type Options struct {
	Stack       event.Stack
	Receiver    Receiver
	MaxBytes    int64         // of one delivery
	ReadTimeout time.Duration // for the body of one
	Telemetry   *telemetry.Telemetry
	Answered    func(status int) // called once for each delivery; nil: nobody counts
}

// Endpoint serves POST /v1/frames.
type Endpoint struct {
	o Options
	// admitted holds one token a delivery that is in progress or waits; turn holds one while it is in progress.
	admitted, turn chan struct{}
	outage         telemetry.Outage
}

// New returns an endpoint. It starts no goroutine.
func New(o Options) *Endpoint {
	if o.Answered == nil {
		o.Answered = func(int) {}
	}
	return &Endpoint{o: o, admitted: make(chan struct{}, 2), turn: make(chan struct{}, 1)}
}

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// ServeHTTP takes a delivery.
func (e *Endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.o.Answered(e.take(w, r))
}

// take applies a delivery, answers, and returns the answer's status.
func (e *Endpoint) take(w http.ResponseWriter, r *http.Request) int {
	refuse := func(status int, detail string) int {
		service.Problem(w, status, detail)
		return status
	}
	select {
	case e.admitted <- struct{}{}:
		defer func() { <-e.admitted }()
	default:
		return refuse(http.StatusServiceUnavailable, "one delivery is in progress and another waits: send one at a time")
	}

	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != event.DeliveryType || r.Header.Get("Content-Encoding") != "" {
		return refuse(http.StatusUnsupportedMediaType, "a delivery is sent as "+event.DeliveryType+", without a Content-Encoding")
	}
	buf := buffers.Get().(*bytes.Buffer)
	defer buffers.Put(buf)
	if err := e.read(w, r, buf); err != nil {
		if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
			return refuse(http.StatusRequestEntityTooLarge, fmt.Sprintf("the delivery is larger than %d bytes: send fewer frames at a time", tooLarge.Limit))
		}
		return refuse(http.StatusBadRequest, "the delivery did not arrive whole: "+err.Error())
	}
	dl, err := event.DecodeDelivery(buf.Bytes())
	if err != nil {
		e.o.Telemetry.Failure("a delivery cannot be read", err)
		return refuse(http.StatusBadRequest, err.Error())
	}

	select {
	case e.turn <- struct{}{}:
		defer func() { <-e.turn }()
	case <-r.Context().Done():
		return refuse(http.StatusServiceUnavailable, "the caller went away while the delivery waited")
	}
	cursor, err := e.o.Receiver.Apply(r.Context(), dl, buf.Bytes())
	if err != nil {
		return e.answerFailure(r.Context(), w, dl, err)
	}
	e.outage.Over(e.o.Telemetry, "deliveries are made durable again")
	service.JSON(w, map[string]any{"cursor": cursor, "build": e.o.Receiver.Build(), "stack": e.o.Stack})
	return http.StatusOK
}

// read reads the request's body within ReadTimeout, so that a peer that stalls holds its place for that long only.
func (e *Endpoint) read(w http.ResponseWriter, r *http.Request, buf *bytes.Buffer) error {
	buf.Reset()
	if n := r.ContentLength; n > 0 && n <= e.o.MaxBytes {
		buf.Grow(int(n) + bytes.MinRead)
	}
	conn := http.NewResponseController(w)
	if err := conn.SetReadDeadline(time.Now().Add(e.o.ReadTimeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	if _, err := buf.ReadFrom(http.MaxBytesReader(w, r.Body, e.o.MaxBytes)); err != nil {
		return err
	}
	// From here on the server watches the connection: a deadline that passes would look like a caller who went away.
	if err := conn.SetReadDeadline(time.Time{}); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}

// answerFailure answers for a delivery that is not durable, reports what somebody should look at, and returns the
// answer's status. If several things failed, the answer is for what waiting cannot mend.
func (e *Endpoint) answerFailure(ctx context.Context, w http.ResponseWriter, dl *event.Delivery, err error) int {
	var failed *Failed
	var journal *warehouse.JournalError
	var gap *warehouse.GapError
	where := []slog.Attr{slog.String("from", dl.From().String()), slog.String("to", dl.To().String())}
	switch {
	case errors.As(err, &failed):
		status := http.StatusUnprocessableEntity
		if failed.Panic {
			status = http.StatusInternalServerError // reported where it was recovered
		} else {
			e.o.Telemetry.Failure("a request failed", err, slog.Uint64("frame", failed.Frame), slog.Int("request", int(failed.Request)))
		}
		service.ProblemWith(w, status, err.Error(), map[string]any{"reason": ReasonFailed, "frame": failed.Frame, "request": failed.Request})
		return status
	case errors.As(err, &journal):
		e.o.Telemetry.Failure("a journal was refused", err, where...)
		return e.conflict(ctx, w, dl, err, map[string]any{"reason": ReasonJournal, "journal": journal})
	case errors.As(err, &gap):
		e.o.Telemetry.Log.Info("a delivery begins past the cursor", "error", err)
		return e.conflict(ctx, w, dl, err, map[string]any{"reason": ReasonGap})
	case ctx.Err() != nil:
		service.Problem(w, http.StatusServiceUnavailable, "the caller went away")
		return http.StatusServiceUnavailable
	case errors.Is(err, warehouse.ErrBusy):
	default:
		e.outage.Failed(e.o.Telemetry, "a delivery could not be made durable", err, where...) // it comes again
	}
	service.Problem(w, http.StatusServiceUnavailable, err.Error())
	return http.StatusServiceUnavailable
}

// conflict answers 409 with the cursor from which the feed must go on.
func (e *Endpoint) conflict(ctx context.Context, w http.ResponseWriter, dl *event.Delivery, err error, members map[string]any) int {
	cursor, asked := e.o.Receiver.Cursor(ctx, dl.Run)
	if asked != nil {
		service.Problem(w, http.StatusServiceUnavailable, errors.Join(err, asked).Error())
		return http.StatusServiceUnavailable
	}
	members["cursor"], members["build"], members["stack"] = cursor, e.o.Receiver.Build(), e.o.Stack
	service.ProblemWith(w, http.StatusConflict, err.Error(), members)
	return http.StatusConflict
}
