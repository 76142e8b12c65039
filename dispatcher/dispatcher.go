// Package dispatcher is the first half of a stack: it takes frames from the mirror's feed, splits their requests into
// events, and stores those raw.
//
// Invariant: a delivery is answered with 200 only when every request in it has its rows durable in the warehouse and,
// if there is a trace, the delivery is durable there too. Both are applied strictly in the journal's order. What a row
// holds is a pure function of the journaled request and the pipeline configuration, so that two equal builds write
// equal rows.
package dispatcher

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sparrowhq/sparrow/delivery"
	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/service"
	"github.com/sparrowhq/sparrow/telemetry"
	"github.com/sparrowhq/sparrow/warehouse"
)

// Journals lists the journals a warehouse has seen, by first sequence. It may block until ctx ends and may be called
// concurrently. A warehouse.Reader is one.
type Journals interface {
	Journals(ctx context.Context) ([]warehouse.Journal, error)
}

// Options configure New. They are also the seam at which a candidate build differs from ours: its main package fills
// in the same Options, with a Warehouse of its own around the usual one, say.
type Options struct {
	Stack     event.Stack          // required
	Build     event.Build          // what this process runs, see BuildID; required
	Secret    string               // shared by our own processes; required
	Warehouse warehouse.Appender   // where raw rows go; required
	Journals  Journals             // of that warehouse; required
	Forwarder Forwarder            // the stack's trace; nil: there is none
	Telemetry *telemetry.Telemetry // nil: nobody listens

	// The pipeline configuration: what decides which rows become of a request. See Pipeline.
	MaxDecodedBytes int // of one body once content-decoded; beyond, it is kept as received; 0: 8 MiB
	MaxItems        int // events in one body; beyond, it is kept as received; 0: 10,000

	MaxDeliveryBytes int64         // of one POST /v1/frames; 0: 32 MiB, which holds the largest frame
	MaxAppendBytes   int           // of rows in one append, unless one request has more; a delivery with more is appended in parts; 0: 16 MiB
	MaxAppendRows    int           // likewise; 0: 50,000
	ReadTimeout      time.Duration // for the body of one delivery; 0: 30 s
	AppendTimeout    time.Duration // for one append or one forwarded delivery; 0: 1 min
}

func (o *Options) applyDefaultsAndValidate() error {
	if _, err := event.ParseStack(string(o.Stack)); err != nil {
		return fmt.Errorf("dispatcher: %w", err)
	}
	switch {
	case o.Build.ID == "":
		return errors.New("dispatcher: Build.ID is empty: compute it with BuildID")
	case o.Secret == "":
		return errors.New("dispatcher: Secret is empty: every hop between our own processes is authenticated")
	case o.Warehouse == nil || o.Journals == nil:
		return errors.New("dispatcher: Warehouse and Journals are required")
	}
	if o.Telemetry == nil {
		o.Telemetry = telemetry.Discard()
	}
	o.MaxDecodedBytes = positive(o.MaxDecodedBytes, 8<<20)
	o.MaxItems = positive(o.MaxItems, 10_000)
	o.MaxDeliveryBytes = positive(o.MaxDeliveryBytes, 32<<20)
	o.MaxAppendBytes = positive(o.MaxAppendBytes, 16<<20)
	o.MaxAppendRows = positive(o.MaxAppendRows, 50_000)
	o.ReadTimeout = positive(o.ReadTimeout, 30*time.Second)
	o.AppendTimeout = positive(o.AppendTimeout, time.Minute)
	if o.MaxDeliveryBytes < event.MaxFrameBytes+64<<10 {
		return fmt.Errorf("dispatcher: MaxDeliveryBytes is %d, less than the largest frame (%d) needs", o.MaxDeliveryBytes, event.MaxFrameBytes+64<<10)
	}
	return nil
}

func positive[T int | int64 | time.Duration](given, otherwise T) T {
	if given > 0 {
		return given
	}
	return otherwise
}

// Pipeline is the pipeline configuration in the form that goes into the build id: equal settings have equal bytes.
func (o Options) Pipeline() []byte {
	b, err := json.Marshal(struct {
		MaxDecodedBytes int `json:"maxDecodedBytes"`
		MaxItems        int `json:"maxItems"`
	}{positive(o.MaxDecodedBytes, 8<<20), positive(o.MaxItems, 10_000)})
	if err != nil {
		panic(err) // two integers
	}
	return b
}

// Dispatcher answers the mirror's feed of one stack. It starts no goroutine that outlives a request.
type Dispatcher struct {
	o       Options
	metrics *metrics

	endpoint *delivery.Endpoint

	rowsOf func(rows []warehouse.Row, frame uint64, request uint32, r *event.Request) ([]warehouse.Row, made) // of the delivery in progress
	rows   []warehouse.Row                                                                                    // of the delivery in progress: room for a batch's rows

	build atomic.Pointer[event.Build] // never nil

	mu       sync.Mutex
	progress progress // guarded by mu
}

// progress is a hint at where the raw stage stands, to spare work on what is already stored. The warehouse alone
// decides: a hint that is too low costs work, one that is too high is found out by the warehouse as a gap. It holds for
// one journal: that another one has frames of the same numbers is for the warehouse to find out, too.
type progress struct {
	run     uint64
	journal string
	cursor  event.Cursor
}

// New returns the dispatcher of one stack.
func New(o Options) (*Dispatcher, error) {
	if err := o.applyDefaultsAndValidate(); err != nil {
		return nil, err
	}
	m, err := newMetrics(o.Telemetry.Registry)
	if err != nil {
		return nil, fmt.Errorf("dispatcher: %w", err)
	}
	d := &Dispatcher{o: o, metrics: m}
	d.SetBuild(o.Build)
	rows := &maker{build: func() string { return d.Build().ID }, maxDecoded: o.MaxDecodedBytes, maxItems: o.MaxItems}
	d.rowsOf = rows.append
	d.endpoint = delivery.New(delivery.Options{
		Stack: o.Stack, Receiver: receiver{d}, MaxBytes: o.MaxDeliveryBytes, ReadTimeout: o.ReadTimeout, Telemetry: o.Telemetry,
		Answered: func(status int) { m.deliveries.WithLabelValues(strconv.Itoa(status)).Inc() },
	})
	return d, nil
}

// Build is what this stack runs: Options.Build, or what SetBuild said since.
func (d *Dispatcher) Build() event.Build { return *d.build.Load() }

// SetBuild says that the stack runs another build from now on, since its trace has another configuration. Rows made
// after it returns carry it.
func (d *Dispatcher) SetBuild(b event.Build) { d.build.Store(&b) }

// Handler serves POST /v1/frames and GET /v1/cursors to our own processes, and health, readiness and metrics.
func (d *Dispatcher) Handler() http.Handler {
	r := service.Router(d.o.Telemetry, d.ready)
	ours := r.PathPrefix("/v1").Subrouter()
	ours.Use(service.Authenticated(d.o.Secret))
	ours.Handle("/frames", d.endpoint).Methods(http.MethodPost)
	ours.HandleFunc("/cursors", d.cursors).Methods(http.MethodGet)
	return r
}

// ready says why the feed should not send: the warehouse or trace does not answer.
func (d *Dispatcher) ready() []error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if _, err := d.stages(ctx, 0); err != nil {
		return []error{err}
	}
	return nil
}

// cursors answers where the stack stands. The parameter run asks for a replay's cursors.
func (d *Dispatcher) cursors(w http.ResponseWriter, r *http.Request) {
	run := uint64(0)
	if text := r.URL.Query().Get("run"); text != "" {
		var err error
		if run, err = strconv.ParseUint(text, 10, 64); err != nil {
			service.Problem(w, http.StatusBadRequest, "run is not a number")
			return
		}
	}
	stages, err := d.stages(r.Context(), run)
	if err == nil {
		var journals []warehouse.Journal
		if journals, err = d.o.Journals.Journals(r.Context()); err == nil {
			service.JSON(w, map[string]any{
				"stack": d.o.Stack, "build": d.Build(), "stages": stages, "journals": append([]warehouse.Journal{}, journals...),
			})
			return
		}
		err = fmt.Errorf("warehouse: %w", err)
	}
	service.Problem(w, http.StatusServiceUnavailable, err.Error())
}

// stages asks where each stage stands.
func (d *Dispatcher) stages(ctx context.Context, run uint64) (map[warehouse.Stage]event.Cursor, error) {
	raw, err := d.o.Warehouse.Cursor(ctx, d.o.Stack, run, warehouse.Raw)
	if err != nil {
		return nil, fmt.Errorf("warehouse: %w", err)
	}
	d.stands(run, raw)
	stages := map[warehouse.Stage]event.Cursor{warehouse.Raw: raw}
	if d.o.Forwarder != nil {
		if stages[traceStage], err = d.o.Forwarder.Cursor(ctx, run); err != nil {
			return nil, fmt.Errorf("trace: %w", err)
		}
	}
	return stages, nil
}

// hint returns where the raw stage of a run probably stands; the zero cursor if that is not known for this journal.
func (d *Dispatcher) hint(run uint64, journal string) event.Cursor {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.progress.run != run || d.progress.journal != journal {
		return event.Cursor{}
	}
	return d.progress.cursor
}

// appended notes where the raw stage stands after an append of this journal.
func (d *Dispatcher) appended(run uint64, journal string, cursor event.Cursor) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.progress = progress{run: run, journal: journal, cursor: cursor}
}

// stands notes where the warehouse says that the raw stage stands, if that is the stage whose place is known.
func (d *Dispatcher) stands(run uint64, cursor event.Cursor) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.progress.run == run {
		d.progress.cursor = cursor
	}
}
