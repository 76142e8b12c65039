package dispatcher

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"mime"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/service"
	"github.com/sparrowhq/sparrow/warehouse"
)

// What a 409 is about, and what a delivery that failed is marked with.
const (
	reasonGap     = "gap"     // the delivery begins past the cursor: rewind to it
	reasonJournal = "journal" // the journal is not the one whose frames are here: a person must decide
	reasonFailed  = "failed"  // one request reached this stack and fails
)

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// frames takes a delivery.
func (d *Dispatcher) frames(w http.ResponseWriter, r *http.Request) {
	status := d.deliver(w, r)
	d.metrics.deliveries.WithLabelValues(strconv.Itoa(status)).Inc()
}

// deliver applies a delivery, answers, and returns the answer's status.
func (d *Dispatcher) deliver(w http.ResponseWriter, r *http.Request) int {
	refuse := func(status int, detail string) int {
		service.Problem(w, status, detail)
		return status
	}
	select {
	case d.admitted <- struct{}{}:
		defer func() { <-d.admitted }()
	default:
		return refuse(http.StatusServiceUnavailable, "one delivery is in progress and another waits: send one at a time")
	}

	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != event.DeliveryType || r.Header.Get("Content-Encoding") != "" {
		return refuse(http.StatusUnsupportedMediaType, "a delivery is sent as "+event.DeliveryType+", without a Content-Encoding")
	}
	buf := buffers.Get().(*bytes.Buffer)
	defer buffers.Put(buf)
	if err := d.read(w, r, buf); err != nil {
		if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
			return refuse(http.StatusRequestEntityTooLarge, fmt.Sprintf("the delivery is larger than %d bytes: send fewer frames at a time", tooLarge.Limit))
		}
		return refuse(http.StatusBadRequest, "the delivery did not arrive whole: "+err.Error())
	}
	dl, err := event.DecodeDelivery(buf.Bytes())
	if err != nil {
		d.o.Telemetry.Failure("a delivery cannot be read", err)
		return refuse(http.StatusBadRequest, err.Error())
	}

	select {
	case d.turn <- struct{}{}:
		defer func() { <-d.turn }()
	case <-r.Context().Done():
		return refuse(http.StatusServiceUnavailable, "the caller went away while the delivery waited")
	}
	cursor, err := d.apply(r.Context(), dl, buf.Bytes())
	if err != nil {
		return d.answerFailure(r.Context(), w, dl, err)
	}
	service.JSON(w, map[string]any{"cursor": cursor, "build": d.o.Build, "stack": d.o.Stack})
	return http.StatusOK
}

// read reads the request's body within ReadTimeout, so that a peer that stalls holds its place for that long only.
func (d *Dispatcher) read(w http.ResponseWriter, r *http.Request, buf *bytes.Buffer) error {
	buf.Reset()
	if n := r.ContentLength; n > 0 && n <= d.o.MaxDeliveryBytes {
		buf.Grow(int(n) + bytes.MinRead)
	}
	conn := http.NewResponseController(w)
	if err := conn.SetReadDeadline(time.Now().Add(d.o.ReadTimeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	if _, err := buf.ReadFrom(http.MaxBytesReader(w, r.Body, d.o.MaxDeliveryBytes)); err != nil {
		return err
	}
	// From here on the server watches the connection: a deadline that passes would look like a caller who went away.
	if err := conn.SetReadDeadline(time.Time{}); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}

// apply makes the delivery durable in the warehouse and in trace, both at once, and returns the lower of their cursors.
func (d *Dispatcher) apply(ctx context.Context, dl *event.Delivery, encoded []byte) (event.Cursor, error) {
	if d.o.Forwarder == nil {
		return d.appendRaw(ctx, dl)
	}
	var trace event.Cursor
	var traceErr error
	done := make(chan struct{})
	go func() {
		defer close(done)
		trace, traceErr = d.forward(ctx, dl, encoded)
	}()
	raw, rawErr := d.appendRaw(ctx, dl)
	<-done
	if err := errors.Join(rawErr, traceErr); err != nil {
		return event.Cursor{}, err
	}
	if trace.Compare(raw) < 0 {
		return trace, nil
	}
	return raw, nil
}

// answerFailure answers for a delivery that is not durable, reports what somebody should look at, and returns the
// answer's status. If warehouse and trace both failed, the answer is for what waiting cannot mend.
func (d *Dispatcher) answerFailure(ctx context.Context, w http.ResponseWriter, dl *event.Delivery, err error) int {
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
			d.o.Telemetry.Failure("a request failed", err, slog.Uint64("frame", failed.Frame), slog.Int("request", int(failed.Request)))
		}
		service.ProblemWith(w, status, err.Error(), map[string]any{"reason": reasonFailed, "frame": failed.Frame, "request": failed.Request})
		return status
	case errors.As(err, &journal):
		d.o.Telemetry.Failure("a journal was refused", err, where...)
		return d.conflict(ctx, w, dl, err, map[string]any{"reason": reasonJournal, "journal": journal})
	case errors.As(err, &gap):
		d.o.Telemetry.Log.Info("a delivery begins past the cursor", "error", err)
		return d.conflict(ctx, w, dl, err, map[string]any{"reason": reasonGap})
	case ctx.Err() != nil:
		service.Problem(w, http.StatusServiceUnavailable, "the caller went away")
		return http.StatusServiceUnavailable
	case errors.Is(err, warehouse.ErrBusy):
	default:
		d.o.Telemetry.Failure("a delivery could not be made durable", err, where...)
	}
	service.Problem(w, http.StatusServiceUnavailable, err.Error())
	return http.StatusServiceUnavailable
}

// conflict answers 409 with the cursor from which the feed must go on.
func (d *Dispatcher) conflict(ctx context.Context, w http.ResponseWriter, dl *event.Delivery, err error, members map[string]any) int {
	stages, asked := d.stages(ctx, dl.Run)
	if asked != nil {
		service.Problem(w, http.StatusServiceUnavailable, errors.Join(err, asked).Error())
		return http.StatusServiceUnavailable
	}
	lowest, first := event.Cursor{}, true
	for _, cursor := range stages {
		if first || cursor.Compare(lowest) < 0 {
			lowest, first = cursor, false
		}
	}
	members["cursor"], members["build"], members["stack"] = lowest, d.o.Build, d.o.Stack
	service.ProblemWith(w, http.StatusConflict, err.Error(), members)
	return http.StatusConflict
}
