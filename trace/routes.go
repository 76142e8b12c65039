package trace

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/gorilla/mux"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/service"
	"github.com/sparrowhq/sparrow/trace/backlog"
	"github.com/sparrowhq/sparrow/trace/tracker"
	"github.com/sparrowhq/sparrow/warehouse"
)

func (t *Trace) routes() http.Handler {
	r := service.Router(t.o.Telemetry, t.ready)
	ours := r.PathPrefix("/v1").Subrouter()
	ours.Use(service.Authenticated(t.o.Secret))
	ours.Handle("/frames", t.endpoint).Methods(http.MethodPost)
	ours.HandleFunc("/cursors", t.serveCursors).Methods(http.MethodGet)
	ours.HandleFunc("/status", func(w http.ResponseWriter, _ *http.Request) { service.JSON(w, t.Status()) }).Methods(http.MethodGet)
	ours.HandleFunc("/dead", t.serveDead).Methods(http.MethodGet)
	ours.HandleFunc("/dead/retry", t.serveRetry).Methods(http.MethodPost)
	ours.HandleFunc("/dead/{tracker}/{position}", t.serveLetter).Methods(http.MethodGet)
	return r
}

// serveCursors answers where the stages stand: trace up to where it has taken in, a tracker up to where all is final.
func (t *Trace) serveCursors(w http.ResponseWriter, r *http.Request) {
	if run := r.URL.Query().Get("run"); run != "" && run != "0" {
		if n, err := strconv.ParseUint(run, 10, 64); err != nil {
			service.Problem(w, http.StatusBadRequest, "run is not a number")
		} else {
			service.Problem(w, http.StatusBadRequest, errRun(n).Error())
		}
		return
	}
	s := t.backlog.State()
	if !s.Begun {
		service.Problem(w, http.StatusServiceUnavailable, t.beginning().Error())
		return
	}
	stages := map[warehouse.Stage]event.Cursor{warehouse.Trace: s.Cursor}
	for _, l := range t.all() {
		if l.sender != nil {
			stages[warehouse.Stage(l.name)] = l.final()
		}
	}
	service.JSON(w, map[string]any{"stack": t.o.Stack, "build": t.Build(), "stages": stages, "journals": append([]warehouse.Journal{}, s.Journals...)})
}

// DeadLetter is a dead letter as GET /v1/dead answers.
type DeadLetter struct {
	Tracker  string          `json:"tracker"`
	Position event.Position  `json:"position"`
	ID       string          `json:"id"` // eventId
	Event    string          `json:"event"`
	Sink     tracker.Sink    `json:"sink"`
	Received int64           `json:"receivedAt"` // microseconds since the epoch
	At       int64           `json:"at"`         // when the vendor refused it
	Reason   string          `json:"reason"`
	Detail   string          `json:"detail"` // what the vendor said
	Status   int32           `json:"status"`
	Attempts uint32          `json:"attempts"`
	Revision uint32          `json:"revision"` // how often it was sent again and died again
	Retrying bool            `json:"retrying"`
	Request  string          `json:"request,omitempty"`  // the vendor's form of the event, without secrets; of one letter only
	Response string          `json:"response,omitempty"` // what the vendor answered; of one letter only
	Content  json.RawMessage `json:"content,omitempty"`  // allowlisted and scrubbed; of one letter only
}

func deadLetter(name string, l *backlog.Letter, whole bool) DeadLetter {
	d := DeadLetter{
		Tracker: name, Position: l.Event.Position, ID: l.Event.ID, Event: l.Event.Name, Sink: l.Event.Sink, Received: l.Event.ReceivedAt, At: l.At,
		Reason: l.Outcome.Reason, Detail: l.Detail, Status: l.Outcome.Status, Attempts: l.Outcome.Attempts, Revision: l.Outcome.Revision, Retrying: l.Retrying,
	}
	if whole {
		d.Request, d.Response = string(l.Outcome.Request), string(l.Outcome.Response)
		d.Content, _ = json.Marshal(l.Event.Event) // an event that cannot be shown is listed all the same
	}
	return d
}

// tracked returns the lane of a tracker, or answers that there is none.
func (t *Trace) tracked(w http.ResponseWriter, name string) *lane {
	l := t.lane(name)
	if l == nil || l.sender == nil {
		service.Problem(w, http.StatusNotFound, fmt.Sprintf("no tracker is called %q here; there are %s", name, strings.Join(t.inForce.Load().pipeline.Trackers(), ", ")))
		return nil
	}
	return l
}

// serveDead lists dead letters of one tracker, or of all, without their content, by tracker and position.
func (t *Trace) serveDead(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	limit := 100
	if text := q.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 1000 {
			service.Problem(w, http.StatusBadRequest, "limit must be a number from 1 to 1000")
			return
		}
		limit = n
	}
	var after event.Position
	if text := q.Get("after"); text != "" {
		var err error
		if after, err = parsePosition(text); err != nil {
			service.Problem(w, http.StatusBadRequest, "after: "+err.Error())
			return
		}
	}
	lanes := t.all()
	if name := q.Get("tracker"); name != "" {
		l := t.tracked(w, name)
		if l == nil {
			return
		}
		lanes = []*lane{l}
	} else if after != (event.Position{}) {
		service.Problem(w, http.StatusBadRequest, "after needs tracker")
		return
	}
	letters, more := []DeadLetter{}, false
	total := 0
	for _, l := range lanes {
		if l.sender == nil {
			continue
		}
		total += l.kept.Dead("")
		found, err := l.kept.Letters(after, limit+1-len(letters))
		if err != nil {
			service.Problem(w, http.StatusInternalServerError, err.Error())
			return
		}
		for i := range found {
			if len(letters) == limit {
				more = true
				break
			}
			letters = append(letters, deadLetter(l.name, &found[i], false))
		}
	}
	service.JSON(w, map[string]any{"stack": t.o.Stack, "total": total, "dead": letters, "more": more})
}

func (t *Trace) serveLetter(w http.ResponseWriter, r *http.Request) {
	l := t.tracked(w, mux.Vars(r)["tracker"])
	if l == nil {
		return
	}
	p, err := parsePosition(mux.Vars(r)["position"])
	if err != nil {
		service.Problem(w, http.StatusBadRequest, err.Error())
		return
	}
	letter, err := l.kept.Letter(p)
	switch {
	case errors.Is(err, backlog.ErrNoLetter):
		service.Problem(w, http.StatusNotFound, err.Error())
	case err != nil:
		service.Problem(w, http.StatusInternalServerError, err.Error())
	default:
		service.JSON(w, deadLetter(l.name, &letter, true))
	}
}

// serveRetry sends dead letters again: {"tracker": NAME, "positions": ["7.0.3", …]} or {"tracker": NAME, "all": true}.
func (t *Trace) serveRetry(w http.ResponseWriter, r *http.Request) {
	var asked struct {
		Tracker   string   `json:"tracker"`
		Positions []string `json:"positions"`
		All       bool     `json:"all"`
	}
	decoder := json.NewDecoder(io.LimitReader(r.Body, 4<<20))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&asked); err != nil {
		service.Problem(w, http.StatusBadRequest, "want {\"tracker\": NAME, \"positions\": [\"FRAME.REQUEST.ITEM\", …]} or {\"tracker\": NAME, \"all\": true}: "+err.Error())
		return
	}
	if asked.All == (len(asked.Positions) > 0) {
		service.Problem(w, http.StatusBadRequest, "give positions, or all, and not both")
		return
	}
	l := t.tracked(w, asked.Tracker)
	if l == nil {
		return
	}
	var positions []event.Position
	for _, text := range asked.Positions {
		p, err := parsePosition(text)
		if err != nil {
			service.Problem(w, http.StatusBadRequest, err.Error())
			return
		}
		positions = append(positions, p)
	}
	n, err := l.retryDead(r.Context(), positions)
	switch {
	case errors.Is(err, backlog.ErrNoLetter):
		service.Problem(w, http.StatusNotFound, err.Error())
	case err != nil:
		service.Problem(w, http.StatusServiceUnavailable, err.Error())
	default:
		service.JSON(w, map[string]any{"tracker": l.name, "retrying": n})
	}
}

// parsePosition reads FRAME.REQUEST.ITEM, as Position.String writes it.
func parsePosition(text string) (p event.Position, err error) {
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return p, fmt.Errorf("position %.50q: want FRAME.REQUEST.ITEM, as in 7.0.3", text)
	}
	frame, err1 := strconv.ParseUint(parts[0], 10, 64)
	request, err2 := strconv.ParseUint(parts[1], 10, 32)
	item, err3 := strconv.ParseUint(parts[2], 10, 32)
	if err := errors.Join(err1, err2, err3); err != nil {
		return p, fmt.Errorf("position %.50q: want FRAME.REQUEST.ITEM, as in 7.0.3", text)
	}
	return event.Position{Frame: frame, Request: uint32(request), Item: uint32(item)}, nil
}
