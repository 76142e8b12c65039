package sandbox

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/gorilla/mux"

	"github.com/sparrowhq/sparrow/service"
	"github.com/sparrowhq/sparrow/trace/sandbox/record"
	"github.com/sparrowhq/sparrow/trace/sandbox/scenario"
)

const (
	maxScenario  = 1 << 20 // bytes of a scenario or a search
	maxEvents    = 10_000  // in one answer
	pageOfIDs    = 10_000  // read under one lock
	defaultLimit = 100
)

// Status is what GET /v1/status answers.
type Status struct {
	Projects  map[Vendor][]Project `json:"projects"` // without secrets
	Limits    Limits               `json:"limits"`   // in force; -1: none
	Differ    []string             `json:"differ"`   // limits that are not the documented ones; empty: all are
	Recording record.Status        `json:"recording"`
	Scenario  scenario.State       `json:"scenario"`
}

// SeenEvent is an event of GET /v1/vendors/{vendor}/{project}/events.
type SeenEvent struct {
	record.Seen
	Event json.RawMessage `json:"event"` // as it was sent; a JSON string if it was no JSON
}

// Events is the answer of that.
type Events struct {
	Events []SeenEvent `json:"events"`
	More   bool        `json:"more"` // there are others: ask again with after=SEQ of the last one
}

// SearchRequest is the body of POST /v1/search. In a URL the texts would end up in every log on the way.
type SearchRequest struct {
	Texts []string `json:"texts"`
	Limit int      `json:"limit"` // hits listed; 0: 100. Counts are always complete
}

func (s *Sandbox) routes() http.Handler {
	root := service.Router(s.options.Telemetry, s.ready)
	root.SkipClean(true) // a path with // is a sender's mistake to be recorded, not to be redirected
	control := root.PathPrefix("/v1").Subrouter()
	if s.options.Secret != "" {
		control.Use(service.Authenticated(s.options.Secret))
	}
	handle := func(method, path string, h func(w http.ResponseWriter, r *http.Request) error) {
		control.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			if err := h(w, r); err != nil {
				status := http.StatusInternalServerError
				if bad := (badRequest{}); errors.As(err, &bad) {
					status = bad.status
				}
				service.Problem(w, status, err.Error())
			}
		}).Methods(method)
	}
	handle(http.MethodGet, "/status", s.getStatus)
	handle(http.MethodGet, "/vendors", s.getVendors)
	handle(http.MethodGet, "/vendors/{vendor}/{project}/events", s.getEvents)
	handle(http.MethodGet, "/vendors/{vendor}/{project}/ids", s.getIDs)
	handle(http.MethodGet, "/search", s.search)
	handle(http.MethodPost, "/search", s.search)
	handle(http.MethodDelete, "/records", s.deleteRecords)
	handle(http.MethodGet, "/scenario", s.getScenario)
	handle(http.MethodPut, "/scenario", s.putScenario)
	handle(http.MethodDelete, "/scenario", s.deleteScenario)
	control.PathPrefix("/").HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		service.Problem(w, http.StatusNotFound, "no such path or method in the sandbox's control API")
	})
	for _, v := range Vendors {
		root.PathPrefix("/" + string(v) + "/").HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s.serve(w, r, v, strings.TrimPrefix(r.URL.Path, "/"+string(v)))
		})
	}
	root.PathPrefix("/").HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, Nobody, r.URL.Path) })
	return byHost(root)
}

// byHost brings requests that name a vendor's own host to that vendor.
func byHost(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if v, ok := vendorOfHost(r.Host); ok {
			r2 := new(http.Request)
			*r2 = *r
			u := *r.URL
			u.Path, u.RawPath = "/"+string(v)+r.URL.Path, ""
			r2.URL = &u
			r = r2
		}
		next.ServeHTTP(w, r)
	})
}

// badRequest is the asker's mistake.
type badRequest struct {
	status int
	text   string
}

func (b badRequest) Error() string { return b.text }

func bad(text string, args ...any) error {
	return badRequest{http.StatusBadRequest, fmt.Sprintf(text, args...)}
}

func (s *Sandbox) getStatus(w http.ResponseWriter, _ *http.Request) error {
	service.JSON(w, Status{Projects: s.options.Projects, Limits: s.options.Limits, Differ: s.differ,
		Recording: s.store.Status(), Scenario: s.faults.Load().State(s.options.Clock.Now())})
	return nil
}

func (s *Sandbox) getVendors(w http.ResponseWriter, _ *http.Request) error {
	service.JSON(w, map[string]any{"vendors": s.store.Counts(), "complete": s.store.Status().Complete})
	return nil
}

// known returns the vendor and project a path names.
func (s *Sandbox) known(r *http.Request) (vendor, project string, err error) {
	vendor, project = mux.Vars(r)["vendor"], mux.Vars(r)["project"]
	if _, ok := s.store.Find(vendor, project); !ok {
		return "", "", badRequest{http.StatusNotFound, fmt.Sprintf("nothing is known of vendor %q, project %q: GET /v1/vendors lists them", vendor, project)}
	}
	return vendor, project, nil
}

// number reads a query parameter.
func number(r *http.Request, name string, otherwise, most int) (int, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > most {
		return 0, bad("%s=%s: want a number from 0 to %d", name, text, most)
	}
	return n, nil
}

func (s *Sandbox) getEvents(w http.ResponseWriter, r *http.Request) error {
	vendor, project, err := s.known(r)
	if err != nil {
		return err
	}
	limit, err := number(r, "limit", defaultLimit, maxEvents)
	if err != nil {
		return err
	}
	after, err := number(r, "after", 0, 1<<53)
	if err != nil {
		return err
	}
	q := r.URL.Query()
	outcome := record.Outcome(q.Get("outcome"))
	if outcomes := []record.Outcome{"", record.Accepted, record.Duplicate, record.Dropped, record.Refused}; !slices.Contains(outcomes, outcome) {
		return bad("outcome=%s: want one of %v", outcome, outcomes[1:])
	}
	query := record.Query{Vendor: vendor, Project: project, ID: q.Get("id"), Outcome: outcome, After: uint64(after), Limit: max(limit, 1)}
	if v := s.vendors[Vendor(vendor)]; v != nil {
		query.Cut = func(rec *record.Request) [][]byte { return v.cut("", rec.Body) }
	}
	found, more, err := s.store.Events(query)
	if err != nil {
		return err
	}
	out := Events{Events: make([]SeenEvent, len(found)), More: more}
	for i, f := range found {
		out.Events[i] = SeenEvent{Seen: f, Event: f.Raw}
		if !json.Valid(f.Raw) {
			if out.Events[i].Event, err = json.Marshal(string(f.Raw)); err != nil {
				return err
			}
		}
	}
	service.JSON(w, out)
	return nil
}

// getIDs streams {"id","count"} lines, and {"next":CURSOR} last: ask again from there for what came since. A stream
// that lacks the last line was cut off.
func (s *Sandbox) getIDs(w http.ResponseWriter, r *http.Request) error {
	vendor, project, err := s.known(r)
	if err != nil {
		return err
	}
	cursor, err := number(r, "cursor", 0, 1<<53)
	if err != nil {
		return err
	}
	left, err := number(r, "limit", 1<<53, 1<<53)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	out := bufio.NewWriterSize(w, 64<<10)
	lines := json.NewEncoder(out)
	lines.SetEscapeHTML(false)
	for left > 0 {
		page, next := s.store.IDs(vendor, project, cursor, min(left, pageOfIDs))
		if len(page) == 0 {
			break
		}
		for _, id := range page {
			if err := lines.Encode(id); err != nil {
				return nil // the asker has gone
			}
		}
		cursor, left = next, left-len(page)
	}
	lines.Encode(map[string]int{"next": cursor})
	_ = out.Flush() // fails if the asker has gone
	return nil
}

func (s *Sandbox) search(w http.ResponseWriter, r *http.Request) error {
	ask := SearchRequest{Texts: r.URL.Query()["text"]}
	if r.Method == http.MethodPost {
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxScenario)).Decode(&ask); err != nil {
			return bad("search: %v", err)
		}
	}
	if len(ask.Texts) == 0 || slices.Contains(ask.Texts, "") {
		return bad("search: name at least one text, none of them empty")
	}
	if ask.Limit <= 0 {
		ask.Limit = defaultLimit
	}
	found, err := s.store.Search(ask.Texts, min(ask.Limit, maxEvents))
	if err != nil {
		return err
	}
	service.JSON(w, found)
	return nil
}

func (s *Sandbox) deleteRecords(w http.ResponseWriter, _ *http.Request) error {
	if err := s.Reset(); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Sandbox) getScenario(w http.ResponseWriter, _ *http.Request) error {
	service.JSON(w, s.faults.Load().State(s.options.Clock.Now()))
	return nil
}

func (s *Sandbox) putScenario(w http.ResponseWriter, r *http.Request) error {
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxScenario))
	if err != nil {
		return bad("scenario: %v", err)
	}
	sc, err := scenario.Parse(text)
	if err != nil {
		return bad("%v", err)
	}
	s.SetScenario(sc)
	return s.getScenario(w, r)
}

func (s *Sandbox) deleteScenario(w http.ResponseWriter, r *http.Request) error {
	s.SetScenario(nil)
	return s.getScenario(w, r)
}
