// Package served puts a warehouse behind HTTP and makes it a warehouse again on the other side: one process owns the
// file, the others append and ask through here.
//
// Invariant: the hop adds nothing and hides nothing. Bytes, types and errors come out as they went in; an answer that
// was cut off is an error, never a short answer; and whether a batch was stored is only ever said by the engine.
//
//	POST /v1/append                      Batch (batch.proto) → {"frame","request"}, the cursor
//	GET  /v1/cursors?stack=&run=&stage=  → {"frame","request"}
//	GET  /v1/journals                    → [{"id","first","highest"}]
//	GET  /v1/digests                     → {"frames"}, of a digest; 0: the engine keeps none
//	POST /v1/digests {"first", "last"}   → {}, once the digests of these frames are made that can be
//	POST /v1/erase                       {"kind","id","by"} → warehouse.Erased
//	POST /v1/normalise                   {"stack","properties":[warehouse.Property…]} → {}
//	POST /v1/query                       warehouse.Query as JSON → rows (rows.go)
package served

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/gorilla/mux"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/service"
	"github.com/sparrowhq/sparrow/telemetry"
	"github.com/sparrowhq/sparrow/warehouse"
)

// BatchType is the Content-Type of an encoded Batch, RowsType that of an answer.
const (
	BatchType = "application/vnd.sparrow.batch"
	RowsType  = "application/vnd.sparrow.rows"
)

// stackHeader names the stack beside the body, so that each stack's share of memory is counted before a body is read.
const stackHeader = "Sparrow-Stack"

// Options configure Handler.
type Options struct {
	Warehouse warehouse.Warehouse  // required
	Secret    string               // that every caller shows; required
	Telemetry *telemetry.Telemetry // nil: nobody listens
	Ready     func() []error       // why the process should not get traffic; nil: asks the Warehouse if it has a Ready method
	MaxBatch  int64                // bytes of an encoded batch; 128 MiB
	MaxReads  int64                // bytes of batches being received per stack; beyond it: busy; 256 MiB
}

func (o *Options) applyDefaults() {
	if o.Telemetry == nil {
		o.Telemetry = telemetry.Discard()
	}
	if o.MaxBatch == 0 {
		o.MaxBatch = 128 << 20
	}
	if o.MaxReads == 0 {
		o.MaxReads = 256 << 20
	}
	if o.Ready == nil {
		o.Ready = func() []error { return nil }
		if w, ok := o.Warehouse.(interface{ Ready() []error }); ok {
			o.Ready = w.Ready
		}
	}
}

// Handler answers for the warehouse. With an empty secret it refuses everybody.
func Handler(o Options) http.Handler {
	o.applyDefaults()
	h := &handler{o: o, metrics: newMetrics(o.Telemetry.Registry), intake: map[event.Stack]*intake{}}
	for _, stack := range event.Stacks() {
		h.intake[stack] = &intake{max: o.MaxReads}
	}
	r := service.Router(o.Telemetry, o.Ready)
	api := r.PathPrefix("/v1").Subrouter()
	api.Use(service.Authenticated(o.Secret))
	api.HandleFunc("/append", h.append).Methods(http.MethodPost)
	api.HandleFunc("/cursors", h.cursor).Methods(http.MethodGet)
	api.HandleFunc("/journals", h.journals).Methods(http.MethodGet)
	api.HandleFunc("/digests", h.digests).Methods(http.MethodGet)
	api.HandleFunc("/digests", h.makeDigests).Methods(http.MethodPost)
	api.HandleFunc("/erase", h.erase).Methods(http.MethodPost)
	api.HandleFunc("/normalise", h.normalise).Methods(http.MethodPost)
	api.HandleFunc("/query", h.query).Methods(http.MethodPost)
	return r
}

type handler struct {
	o       Options
	metrics *metrics
	intake  map[event.Stack]*intake
}

var _ http.Handler = (*mux.Router)(nil)

func (h *handler) append(w http.ResponseWriter, r *http.Request) {
	stack, err := event.ParseStack(r.Header.Get(stackHeader))
	if err != nil {
		h.refuse(w, r, &invalid{fmt.Errorf("header %s: %w", stackHeader, err)})
		return
	}
	if r.ContentLength < 0 || r.ContentLength > h.o.MaxBatch {
		h.refuse(w, r, &invalid{fmt.Errorf("a batch must say its length and be at most %d bytes: send it in parts, cut between requests", h.o.MaxBatch)})
		return
	}
	in := h.intake[stack]
	if !in.take(r.ContentLength) {
		h.refuse(w, r, warehouse.ErrBusy)
		return
	}
	defer in.give(r.ContentLength)
	body, err := readBody(w, r)
	if err != nil {
		h.refuse(w, r, &invalid{err})
		return
	}
	b, err := decodeBatch(body)
	if err == nil && b.Stack != stack {
		err = fmt.Errorf("the header names stack %s, the batch %s", stack, b.Stack)
	}
	if err != nil {
		h.refuse(w, r, &invalid{err})
		return
	}
	c, err := h.o.Warehouse.Append(r.Context(), b)
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	h.metrics.requests.WithLabelValues("append", "ok").Inc()
	service.JSON(w, c)
}

func (h *handler) cursor(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	run, err := strconv.ParseUint(q.Get("run"), 10, 64)
	if q.Get("run") == "" {
		err = nil
	}
	if err != nil {
		h.refuse(w, r, &invalid{fmt.Errorf("run: %w", err)})
		return
	}
	stack, err := event.ParseStack(q.Get("stack"))
	if err != nil {
		h.refuse(w, r, &invalid{err})
		return
	}
	stage := warehouse.Stage(q.Get("stage"))
	if stage == "" {
		stage = warehouse.Raw
	}
	c, err := h.o.Warehouse.Cursor(r.Context(), stack, run, stage)
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	service.JSON(w, c)
}

func (h *handler) journals(w http.ResponseWriter, r *http.Request) {
	js, err := h.o.Warehouse.Journals(r.Context())
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	if js == nil {
		js = []warehouse.Journal{}
	}
	service.JSON(w, js)
}

// normalisation is the body of POST /v1/normalise.
type normalisation struct {
	Stack      event.Stack          `json:"stack"`
	Properties []warehouse.Property `json:"properties"`
}

// maxNormalisation bounds it.
const maxNormalisation = 8 << 20

func (h *handler) normalise(w http.ResponseWriter, r *http.Request) {
	var n normalisation
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxNormalisation))
	dec.DisallowUnknownFields()
	err := dec.Decode(&n)
	if err == nil {
		err = warehouse.CheckProperties(n.Properties)
	}
	if err == nil {
		_, err = event.ParseStack(string(n.Stack))
	}
	if err != nil {
		h.refuse(w, r, &invalid{fmt.Errorf("normalise: %w", err)})
		return
	}
	if err := h.o.Warehouse.Normalise(r.Context(), n.Stack, n.Properties); err != nil {
		h.refuse(w, r, err)
		return
	}
	h.metrics.requests.WithLabelValues("normalise", "ok").Inc()
	service.JSON(w, struct{}{})
}

// invalid is a request that no state of the warehouse could take.
type invalid struct{ err error }

func (e *invalid) Error() string { return e.err.Error() }
func (e *invalid) Unwrap() error { return e.err }

var errTruncated = errors.New("the answer was cut off")
