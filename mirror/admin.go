package mirror

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/gorilla/mux"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/service"
)

// Ledger is the answer of GET /v1/ledger: what the journal accepted in a range of frames, and what of it each stack
// never gets.
type Ledger struct {
	From    uint64                      `json:"from"` // as asked
	To      uint64                      `json:"to"`   // inclusive; what the journal has not reached yet counts as empty
	Totals  event.Totals                `json:"totals"`
	Buckets []Bucket                    `json:"buckets"` // in order, contiguous, cut to the range
	Stacks  map[event.Stack]LedgerHoles `json:"stacks"`
}

// Bucket is a run of at most 1,024 sequences: a line of the ledger, cut to the range that was asked for.
type Bucket = span

// LedgerHoles is what a stack never gets of a range.
type LedgerHoles struct {
	Dead    []event.Position `json:"dead"`
	Expired event.Totals     `json:"expired"`
	// Approximate says that frames were gone before they could be counted, so that Expired is an upper bound; or that more
	// was left out than can be listed, and not by a sample that tells by itself which.
	Approximate bool         `json:"approximate,omitempty"`
	Sampled     event.Totals `json:"sampled"`
	Holes       []Hole       `json:"holes"` // where the expired and the sampled ones lie, in order and disjoint
}

// TimelineRecord is one record of GET /v1/timeline.
type TimelineRecord struct {
	Sequence uint64          `json:"sequence"`
	Hash     string          `json:"hash"`
	Record   json.RawMessage `json:"record"` // event.Control, the journaled bytes
}

// maxBuckets bounds one answer of the ledger: 67 million sequences.
const maxBuckets = 1 << 16

// adminHandler is the operators' side.
func (m *Mirror) adminHandler() http.Handler {
	root := service.Router(m.o.Telemetry, m.ready)
	root.Use(newHosts(m.o.AdminHosts).check)
	api := root.NewRoute().Subrouter()
	api.Use(service.Authenticated(m.o.Token), sameSite)
	get := func(path string, answer func(r *http.Request) (any, error)) {
		api.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			v, err := answer(r)
			if err != nil {
				m.problem(w, err)
				return
			}
			service.JSON(w, v)
		}).Methods(http.MethodGet)
	}
	get("/v1/status", func(r *http.Request) (any, error) { return m.Status(r.Context()) })
	get("/v1/equation", func(r *http.Request) (any, error) { return m.Equation(r.Context()) })
	get("/v1/timeline", m.getTimeline)
	get("/v1/ledger", m.getLedger)
	get("/v1/dead", m.getDead)
	if m.o.Admin != nil {
		m.o.Admin(api)
	}
	root.NotFoundHandler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		service.Problem(w, http.StatusNotFound, "nothing is here: the admin API has /v1/status, /v1/ledger, /v1/equation, /v1/dead and /v1/timeline")
	})
	root.MethodNotAllowedHandler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		service.Problem(w, http.StatusMethodNotAllowed, "this path does not answer that method")
	})
	return root
}

// usageError is a request that cannot be answered as it is.
type usageError struct{ detail string }

func (e *usageError) Error() string { return e.detail }

// problem answers with what went wrong.
func (m *Mirror) problem(w http.ResponseWriter, err error) {
	var (
		usage     *usageError
		inexact   *inexactError
		forgotten *forgottenError
	)
	switch {
	case errors.As(err, &usage):
		service.Problem(w, http.StatusBadRequest, usage.detail)
	case errors.As(err, &inexact):
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusConflict)
		json.NewEncoder(w).Encode(map[string]any{"title": "Conflict", "status": http.StatusConflict, "detail": err.Error(), "below": inexact.Below, "above": inexact.Above})
	case errors.As(err, &forgotten):
		service.Problem(w, http.StatusGone, err.Error())
	case errors.Is(err, context.Canceled):
	default:
		service.Problem(w, http.StatusServiceUnavailable, err.Error())
	}
}

func (m *Mirror) getTimeline(r *http.Request) (any, error) {
	t, err := m.Timeline(r.Context())
	if err != nil {
		return nil, err
	}
	records := []TimelineRecord{}
	for _, x := range t.Records() {
		records = append(records, TimelineRecord{Sequence: x.Sequence, Hash: x.Hash(), Record: x.Bytes})
	}
	return map[string]any{"records": records}, nil
}

func (m *Mirror) getLedger(r *http.Request) (any, error) {
	from, err := number64(r, "from", 0)
	if err != nil {
		return nil, err
	}
	to, err := number64(r, "to", 0)
	if err != nil {
		return nil, err
	}
	return m.Ledger(r.Context(), from, to)
}

// Ledger returns the ledger of the frames from to to, both included. Its errors say at which frames a range can begin and
// end whose frames are no longer in the journal.
func (m *Mirror) Ledger(ctx context.Context, from, to uint64) (Ledger, error) {
	o, err := m.opened()
	if err != nil {
		return Ledger{}, err
	}
	if from > to {
		return Ledger{}, &usageError{fmt.Sprintf("from=%d lies after to=%d", from, to)}
	}
	if reach := min(to, o.ledger.head()); reach > from && (reach-from)/lineSpan > maxBuckets {
		return Ledger{}, &usageError{fmt.Sprintf("from=%d to=%d is more than one answer can hold: ask for at most %d frames at a time", from, to, maxBuckets*lineSpan)}
	}
	if _, err := o.counted(ctx); err != nil {
		return Ledger{}, err
	}
	answer := Ledger{From: from, To: to, Buckets: []Bucket{}, Stacks: map[event.Stack]LedgerHoles{}}
	err = o.ledger.fold(ctx, from, to, func(s span) error {
		answer.Buckets = append(answer.Buckets, s)
		answer.Totals.Merge(s.Totals)
		return nil
	})
	if err != nil {
		return Ledger{}, err
	}
	low, high := event.Cursor{Frame: from}, event.AfterFrame(to)
	for name, f := range o.feeds {
		holes := LedgerHoles{Dead: []event.Position{}, Holes: []Hole{}}
		for _, c := range f.account.deadIn(low, high) {
			holes.Dead = append(holes.Dead, event.Position{Frame: c.Frame, Request: c.Request})
		}
		for _, x := range f.account.expiredIn(low, high) {
			t, exact, err := o.ledger.within(ctx, x, low, high)
			if err != nil {
				return Ledger{}, err
			}
			holes.Expired.Merge(t)
			holes.Holes = append(holes.Holes, x.clip(low, high, t.Requests))
			holes.Approximate = holes.Approximate || !exact
		}
		if err := f.sampledIn(ctx, from, min(to, o.ledger.head()), &holes); err != nil {
			return Ledger{}, err
		}
		answer.Stacks[name] = holes
	}
	return answer, nil
}

func (m *Mirror) getDead(r *http.Request) (any, error) {
	o, err := m.opened()
	if err != nil {
		return nil, err
	}
	stack, err := event.ParseStack(r.URL.Query().Get("stack"))
	if err != nil {
		return nil, &usageError{err.Error()}
	}
	from, err := number64(r, "from", 0)
	if err != nil {
		return nil, err
	}
	limit, err := number64(r, "limit", 1000)
	if err != nil {
		return nil, err
	}
	bodies := r.URL.Query().Get("request") == "true"
	letters := []DeadLetter{}
	size := 0
	next := uint64(0)
	err = deadLetters(r.Context(), o.journal, stack, from, func(l DeadLetter) error {
		if uint64(len(letters)) >= limit || size > 32<<20 {
			next = l.Sequence
			return errStop
		}
		if !bodies {
			l.Request = nil
		}
		size += len(l.Request)
		letters = append(letters, l)
		return nil
	})
	if err != nil && !errors.Is(err, errStop) {
		return nil, err
	}
	answer := map[string]any{"stack": stack, "dead": letters}
	if next > 0 {
		answer["next"] = next // from which to go on
	}
	return answer, nil
}

// number64 reads a number of the query.
func number64(r *http.Request, name string, otherwise uint64) (uint64, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, &usageError{fmt.Sprintf("%s=%q: want a whole number", name, text)}
	}
	return n, nil
}

var _ mux.MiddlewareFunc = sameSite
