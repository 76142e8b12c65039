package served

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// problem is an error on the wire: application/problem+json, with what the typed errors hold beside the text.
type problem struct {
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Reason string `json:"reason,omitempty"`

	Have *event.Cursor `json:"have,omitempty"` // reason gap
	From *event.Cursor `json:"from,omitempty"`

	Known   string `json:"known,omitempty"` // reason journal
	Got     string `json:"got,omitempty"`
	Highest uint64 `json:"highest,omitempty"`
	First   uint64 `json:"first,omitempty"`

	Rows  int64 `json:"rows,omitempty"`  // reason later
	After int64 `json:"after,omitempty"` // seconds
}

// Reasons.
const (
	reasonGap      = "gap"
	reasonJournal  = "journal"
	reasonBusy     = "busy"
	reasonInvalid  = "invalid"
	reasonReadOnly = "readonly"
	reasonDeadline = "deadline"
	reasonCanceled = "canceled"
	reasonFailed   = "failed"
	reasonNone     = "unsupported"
	reasonLater    = "later"
)

// describe turns an error into what is sent.
func describe(err error) problem {
	p := problem{Status: http.StatusInternalServerError, Reason: reasonFailed, Detail: err.Error()}
	var gap *warehouse.GapError
	var journal *warehouse.JournalError
	var later *warehouse.LaterError
	var bad *invalid
	switch {
	case errors.As(err, &gap):
		p.Status, p.Reason, p.Have, p.From = http.StatusConflict, reasonGap, &gap.Have, &gap.From
	case errors.As(err, &journal):
		p.Status, p.Reason = http.StatusConflict, reasonJournal
		p.Known, p.Got, p.Highest, p.First = journal.Known, journal.Got, journal.Highest, journal.First
	case errors.As(err, &later):
		p.Status, p.Reason, p.Rows, p.After = http.StatusConflict, reasonLater, later.Rows, int64(later.After.Seconds())
	case errors.Is(err, warehouse.ErrNotSupported):
		p.Status, p.Reason = http.StatusNotImplemented, reasonNone
	case errors.Is(err, warehouse.ErrBusy):
		p.Status, p.Reason = http.StatusServiceUnavailable, reasonBusy
	case errors.Is(err, warehouse.ErrReadOnly):
		p.Status, p.Reason = http.StatusBadRequest, reasonReadOnly
	case errors.As(err, &bad):
		p.Status, p.Reason = http.StatusUnprocessableEntity, reasonInvalid
	case errors.Is(err, context.DeadlineExceeded):
		p.Status, p.Reason = http.StatusGatewayTimeout, reasonDeadline
	case errors.Is(err, context.Canceled):
		p.Status, p.Reason = http.StatusServiceUnavailable, reasonCanceled
	}
	p.Title = http.StatusText(p.Status)
	return p
}

// refuse answers with the error.
func (h *handler) refuse(w http.ResponseWriter, r *http.Request, err error) {
	p := describe(err)
	h.metrics.requests.WithLabelValues(r.URL.Path[len("/v1/"):], p.Reason).Inc()
	if p.Reason == reasonFailed {
		h.o.Telemetry.Log.Warn("request failed", slog.String("route", r.URL.Path), slog.String("reason", p.Reason))
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if p.Status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	w.WriteHeader(p.Status)
	json.NewEncoder(w).Encode(p)
}

// remote is the error that a problem stands for: its text is the other side's, and errors.Is and errors.As find what
// they would have found there.
type remote struct {
	text  string
	cause error // nil: nothing but the text
}

func (e *remote) Error() string { return e.text }
func (e *remote) Unwrap() error { return e.cause }

func (p problem) error() error {
	switch p.Reason {
	case reasonGap:
		if p.Have != nil && p.From != nil {
			return &remote{p.Detail, &warehouse.GapError{Have: *p.Have, From: *p.From}}
		}
	case reasonJournal:
		return &remote{p.Detail, &warehouse.JournalError{Known: p.Known, Got: p.Got, Highest: p.Highest, First: p.First}}
	case reasonBusy:
		return &remote{p.Detail, warehouse.ErrBusy}
	case reasonReadOnly:
		return &remote{p.Detail, warehouse.ErrReadOnly}
	case reasonLater:
		return &remote{p.Detail, &warehouse.LaterError{Rows: p.Rows, After: time.Duration(p.After) * time.Second}}
	case reasonNone:
		return &remote{p.Detail, warehouse.ErrNotSupported}
	case reasonDeadline:
		return &remote{p.Detail, context.DeadlineExceeded}
	}
	return &remote{text: p.Detail}
}

// readProblem reads the error that an answer with a status other than 200 holds.
func readProblem(r *http.Response) error {
	body, _ := io.ReadAll(io.LimitReader(r.Body, 64<<10))
	var p problem
	if json.Unmarshal(body, &p) == nil && p.Detail != "" {
		if r.StatusCode == http.StatusUnauthorized {
			return fmt.Errorf("%s: the secret file of this process is not the warehouse's", p.Detail)
		}
		return p.error()
	}
	return fmt.Errorf("answered %s, which is not how a Sparrow warehouse answers: check the address", r.Status)
}
