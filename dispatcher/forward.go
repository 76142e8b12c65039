package dispatcher

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/sparrowhq/sparrow/delivery"
	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/service"
	"github.com/sparrowhq/sparrow/warehouse"
)

// traceStage is the stage of what trace holds in its own log.
const traceStage warehouse.Stage = "trace"

// Forwarder hands deliveries on to the stack's trace.
type Forwarder interface {
	// Forward hands over a delivery; encoded is the same as bytes, as the mirror sent it. On return without an error
	// everything below the cursor it returns is durable in trace, and the cursor is not below d.To(). A delivery may be
	// handed over any number of times. It may block until ctx ends; it is called by one goroutine at a time, and keeps
	// neither d nor encoded. Errors: *warehouse.GapError, *warehouse.JournalError, warehouse.ErrBusy, *Failed; anything
	// else is of unknown outcome.
	Forward(ctx context.Context, d *event.Delivery, encoded []byte) (event.Cursor, error)

	// Cursor returns the first position of a run that is not durable in trace yet. It may be called concurrently.
	Cursor(ctx context.Context, run uint64) (event.Cursor, error)
}

// forward hands a delivery to trace within AppendTimeout.
func (d *Dispatcher) forward(ctx context.Context, dl *event.Delivery, encoded []byte) (cursor event.Cursor, err error) {
	defer func() {
		if v := recover(); v != nil {
			d.o.Telemetry.Panic(v, slog.String("stage", string(traceStage)), slog.Uint64("frame", dl.FromFrame), slog.Int("request", int(dl.FromRequest)))
			err = &Failed{Frame: dl.FromFrame, Request: dl.FromRequest, Panic: true}
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, d.o.AppendTimeout)
	defer cancel()
	began := time.Now()
	cursor, err = d.o.Forwarder.Forward(ctx, dl, encoded)
	d.metrics.forward.Observe(time.Since(began).Seconds())
	if err == nil && cursor.Compare(dl.To()) < 0 {
		err = fmt.Errorf("the cursor stands at %v after a delivery up to %v", cursor, dl.To())
	}
	if err != nil {
		return event.Cursor{}, fmt.Errorf("trace: %w", err)
	}
	return cursor, nil
}

// Trace is the Forwarder that reaches a trace process over HTTP: it speaks the protocol that a Dispatcher answers.
type Trace struct {
	url    string
	client *http.Client
}

// NewTrace returns a Forwarder to the trace at url ("http://127.0.0.1:9000"), authenticated by secret.
func NewTrace(address, secret string) (*Trace, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("trace: the address must be like http://host:port")
	}
	return &Trace{url: strings.TrimSuffix(u.String(), "/"), client: service.Client(secret)}, nil
}

// Close closes idle connections.
func (t *Trace) Close() { t.client.CloseIdleConnections() }

// reply is what a stack's process answers, in every status.
type reply struct {
	Cursor  event.Cursor                     `json:"cursor"`
	Stages  map[warehouse.Stage]event.Cursor `json:"stages"`
	Detail  string                           `json:"detail"`
	Reason  string                           `json:"reason"`
	Journal warehouse.JournalError           `json:"journal"`
	Frame   uint64                           `json:"frame"`
	Request uint32                           `json:"request"`
}

// do returns the answer's status and content.
func (t *Trace) do(ctx context.Context, method, path string, content []byte) (int, reply, error) {
	req, err := http.NewRequestWithContext(ctx, method, t.url+path, bytes.NewReader(content))
	if err != nil {
		return 0, reply{}, err
	}
	if content != nil {
		req.Header.Set("Content-Type", event.DeliveryType)
	}
	resp, err := t.client.Do(req)
	if err != nil {
		return 0, reply{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return 0, reply{}, err
	}
	var answer reply
	if err := json.Unmarshal(text, &answer); err != nil {
		return 0, reply{}, fmt.Errorf("status %d, and an answer of %d bytes that is none of ours: %w", resp.StatusCode, len(text), err)
	}
	return resp.StatusCode, answer, nil
}

// Forward implements Forwarder.
func (t *Trace) Forward(ctx context.Context, d *event.Delivery, encoded []byte) (event.Cursor, error) {
	status, answer, err := t.do(ctx, http.MethodPost, "/v1/frames", encoded)
	if err != nil {
		return event.Cursor{}, err
	}
	switch {
	case status == http.StatusOK:
		return answer.Cursor, nil
	case status == http.StatusConflict && answer.Reason == delivery.ReasonJournal:
		return event.Cursor{}, &answer.Journal
	case status == http.StatusConflict:
		return event.Cursor{}, &warehouse.GapError{Have: answer.Cursor, From: d.From()}
	case status == http.StatusServiceUnavailable:
		return event.Cursor{}, fmt.Errorf("%w: %s", warehouse.ErrBusy, answer.Detail)
	case status == http.StatusUnprocessableEntity, status == http.StatusInternalServerError:
		return event.Cursor{}, &Failed{Frame: answer.Frame, Request: answer.Request, Err: fmt.Errorf("trace answered %d: %s", status, answer.Detail)}
	}
	return event.Cursor{}, fmt.Errorf("status %d: %s", status, answer.Detail)
}

// Cursor implements Forwarder.
func (t *Trace) Cursor(ctx context.Context, run uint64) (event.Cursor, error) {
	status, answer, err := t.do(ctx, http.MethodGet, fmt.Sprintf("/v1/cursors?run=%d", run), nil)
	if err != nil {
		return event.Cursor{}, err
	}
	cursor, ok := answer.Stages[traceStage]
	if status != http.StatusOK || !ok {
		return event.Cursor{}, fmt.Errorf("status %d, no cursor: %s", status, answer.Detail)
	}
	return cursor, nil
}
