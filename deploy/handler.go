package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/gorilla/mux"

	"github.com/sparrowhq/sparrow/compare"
	"github.com/sparrowhq/sparrow/service"
)

// The API. Whoever mounts it authenticates operators and checks Host, Origin and Content-Type.
//
//	GET  /v1/deploy/status      → Overview
//	POST /v1/deploy/candidate   Request → Decision
//	POST /v1/deploy/cutover     Request → Decision
//	POST /v1/deploy/rollback    Request → Decision
//	GET  /v1/deploy/history     → compare.History
//	POST /v1/verdicts           compare.Evidence → compare.Report, as judged and kept
//	GET  /v1/verdicts?limit=N   → {"verdicts": [Verdict…]}, newest first
//	GET  /v1/verdicts/latest    → compare.Report
//	GET  /v1/verdicts/{id}      → compare.Report
//
// A refused decision is 409 with {"refusals": [Refusal…]}; a lost race is 409 with {"conflict": true}; evidence that is
// not accepted is 422.

// maxEvidence bounds a posted evidence document in bytes; compare's own bounds keep it well below.
const maxEvidence = 12 << 20

// maxRequest bounds any other body in bytes.
const maxRequest = 64 << 10

// Mount adds the API to r.
func (d *Deploy) Mount(r *mux.Router) {
	r.HandleFunc("/v1/deploy/status", d.get(func(req *http.Request) (any, error) { return d.Status(req.Context()) })).Methods(http.MethodGet)
	r.HandleFunc("/v1/deploy/history", d.get(func(req *http.Request) (any, error) {
		t, err := d.History(req.Context())
		return compare.NewHistory(t), err
	})).Methods(http.MethodGet)
	r.HandleFunc("/v1/deploy/candidate", d.decide(d.Candidate)).Methods(http.MethodPost)
	r.HandleFunc("/v1/deploy/cutover", d.decide(d.Cutover)).Methods(http.MethodPost)
	r.HandleFunc("/v1/deploy/rollback", d.decide(d.Rollback)).Methods(http.MethodPost)
	r.HandleFunc("/v1/verdicts", d.postVerdict).Methods(http.MethodPost)
	r.HandleFunc("/v1/verdicts", d.get(d.listVerdicts)).Methods(http.MethodGet)
	r.HandleFunc("/v1/verdicts/latest", d.get(func(req *http.Request) (any, error) {
		return found(d.verdicts.last(req.Context()))
	})).Methods(http.MethodGet)
	r.HandleFunc("/v1/verdicts/{id}", d.get(func(req *http.Request) (any, error) {
		return found(d.verdicts.get(req.Context(), mux.Vars(req)["id"]))
	})).Methods(http.MethodGet)
}

// Handler returns the API by itself.
func (d *Deploy) Handler() http.Handler {
	r := mux.NewRouter()
	d.Mount(r)
	return r
}

// errNotFound says that no verdict has that id.
var errNotFound = errors.New("there is no such verdict")

func found(r *compare.Report, err error) (any, error) {
	if err == nil && r == nil {
		return nil, errNotFound
	}
	return r, err
}

func (d *Deploy) get(answer func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, err := answer(r)
		if err != nil {
			d.problem(w, r, err)
			return
		}
		service.JSON(w, v)
	}
}

func (d *Deploy) listVerdicts(r *http.Request) (any, error) {
	limit := 20
	if text := r.URL.Query().Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return nil, &badRequest{fmt.Errorf("limit=%q: want a number from 1 on", text)}
		}
		limit = n
	}
	list, err := d.verdicts.newest(r.Context(), limit)
	if list == nil {
		list = []Verdict{}
	}
	return map[string]any{"verdicts": list}, err
}

func (d *Deploy) decide(decide func(context.Context, Request) (Decision, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var req Request
		dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest))
		dec.DisallowUnknownFields() // a misspelt "from" must not roll back something else
		if err := dec.Decode(&req); err != nil && !errors.Is(err, io.EOF) {
			d.problem(w, r, &badRequest{fmt.Errorf("the request: %w", err)})
			return
		}
		// A client that goes away must not leave it open whether the record was written.
		decision, err := decide(context.WithoutCancel(r.Context()), req)
		if err != nil {
			d.problem(w, r, err)
			return
		}
		service.JSON(w, decision)
	}
}

func (d *Deploy) postVerdict(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxEvidence))
	if err != nil {
		d.problem(w, r, &badRequest{fmt.Errorf("the evidence: %w", err)})
		return
	}
	ev, err := compare.DecodeEvidence(body)
	if err != nil {
		d.problem(w, r, &badRequest{err})
		return
	}
	actor, err := url.PathUnescape(r.Header.Get(actorHeader))
	if err != nil {
		d.problem(w, r, &badRequest{fmt.Errorf("header %s: %w", actorHeader, err)})
		return
	}
	report, err := d.SubmitEvidence(r.Context(), ev, actor)
	if err != nil {
		d.problem(w, r, err)
		return
	}
	service.JSON(w, report)
}

// actorHeader says who submits evidence, whose document has no room for it.
const actorHeader = "Sparrow-Actor"

// badRequest is a request that makes no sense.
type badRequest struct{ error }

// problem answers with what went wrong, in the form that Client reads.
func (d *Deploy) problem(w http.ResponseWriter, r *http.Request, err error) {
	var refused *RefusedError
	var untrue *UntrueError
	var bad *badRequest
	answer := map[string]any{"detail": err.Error()}
	status := http.StatusServiceUnavailable
	switch {
	case errors.As(err, &refused):
		status = http.StatusConflict
		answer["what"], answer["refusals"] = refused.What, refused.Refusals
	case errors.Is(err, ErrConflict):
		status = http.StatusConflict
		answer["conflict"] = true
	case errors.As(err, &untrue):
		status = http.StatusUnprocessableEntity
		answer["untrue"] = untrue.Why
	case errors.As(err, &bad):
		status = http.StatusBadRequest
	case errors.Is(err, errNotFound):
		status = http.StatusNotFound
	case r.Context().Err() == nil:
		d.o.Telemetry.Failure("deploy", err)
	}
	answer["title"], answer["status"] = http.StatusText(status), status
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(answer) // the client may be gone: nobody is left to tell
}
