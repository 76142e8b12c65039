package compare

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// Pipeline is what the mirror knows. Each call is bounded by its context, may be made concurrently, and changes nothing.
type Pipeline interface {
	// Status returns the present state.
	Status(ctx context.Context) (Status, error)
	// Ledger counts the frames from … to, both included. An *InexactError says where a range can begin or end whose frames
	// are no longer in the journal.
	Ledger(ctx context.Context, from, to uint64) (Ledger, error)
	// Timeline returns the control history from its first record on.
	Timeline(ctx context.Context) (event.Timeline, error)
}

// Warehouse is what both stacks stored; warehouse.Warehouse provides it.
type Warehouse interface {
	warehouse.Reader
	// Cursor returns the first position of the stage that is not stored yet.
	Cursor(ctx context.Context, stack event.Stack, run uint64, stage warehouse.Stage) (event.Cursor, error)
}

// Status is the mirror's GET /v1/status.
type Status struct {
	Journal    JournalStatus               `json:"journal"`
	Generation uint64                      `json:"generation"`
	Live       event.Stack                 `json:"live"`
	Candidate  event.Build                 `json:"candidate"` // declared; zero: none
	Head       string                      `json:"head"`      // hash of the newest control record
	Accepted   event.Totals                `json:"accepted"`
	Stacks     map[event.Stack]StackStatus `json:"stacks"`
}

// JournalStatus is the journal's part of Status.
type JournalStatus struct {
	ID         string `json:"id"`
	FirstFrame uint64 `json:"firstFrame"` // oldest frame still held
	LastFrame  uint64 `json:"lastFrame"`
	Bytes      uint64 `json:"bytes"`
	MaxBytes   uint64 `json:"maxBytes"`
	Accepting  bool   `json:"accepting"`
	Why        string `json:"why,omitempty"`
}

// StackStatus is one stack's part of Status.
type StackStatus struct {
	Role      string          `json:"role"`
	Build     event.Build     `json:"build"` // as its dispatcher last reported it
	Cursor    event.Cursor    `json:"cursor"`
	Reachable bool            `json:"reachable"` // it answered last time
	Blocked   bool            `json:"blocked"`   // its feed waits for a person
	Error     string          `json:"error,omitempty"`
	Pending   PendingRequests `json:"pending"`
	Delivered uint64          `json:"delivered"` // requests, like the three below
	Dead      uint64          `json:"dead"`
	Expired   uint64          `json:"expired"`
	Sampled   uint64          `json:"sampled"`
	Repeated  uint64          `json:"repeated,omitempty"` // sent again since nobody knew whether the stack had them; http only
	Protocol  string          `json:"protocol"`           // frames, http
	StuckAt   *event.Cursor   `json:"stuckAt,omitempty"`  // the request that fails alone just now
}

// PendingRequests is what a stack has still to get.
type PendingRequests struct {
	Requests uint64 `json:"requests"`
	Bytes    uint64 `json:"bytes"`
	OldestAt int64  `json:"oldestAt"` // received-at, microseconds since the epoch; 0: nothing pending
}

// Ledger is the mirror's GET /v1/ledger.
type Ledger struct {
	From    uint64                      `json:"from"`
	To      uint64                      `json:"to"`
	Totals  event.Totals                `json:"totals"`
	Buckets []LedgerBucket              `json:"buckets"`
	Stacks  map[event.Stack]StackLedger `json:"stacks"`
}

// LedgerBucket is one line of the ledger.
type LedgerBucket struct {
	First      uint64       `json:"first"`
	Last       uint64       `json:"last"`
	Generation uint64       `json:"generation"`
	Totals     event.Totals `json:"totals"`
}

// StackLedger is what a stack will never get of the range.
type StackLedger struct {
	Dead    []event.Position `json:"dead"` // requests; the item says nothing
	Expired event.Totals     `json:"expired"`
	Sampled event.Totals     `json:"sampled"`
	Holes   []Hole           `json:"holes"` // where the expired and sampled are, by range
	// Approximate says that expired frames were gone before they could be counted.
	Approximate bool `json:"approximate,omitempty"`
}

// InexactError says that the ledger has no line that begins or ends where a range does.
type InexactError struct {
	Detail string `json:"detail"`
	Below  uint64 `json:"below"` // the nearest frames at which a range can begin
	Above  uint64 `json:"above"`
}

func (e *InexactError) Error() string { return e.Detail }

// Hole is a range of requests that a stack will never get.
type Hole struct {
	From     event.Cursor `json:"from"`
	To       event.Cursor `json:"to"` // exclusive
	Reason   string       `json:"reason"`
	Requests uint64       `json:"requests"`
	// Sample, if not nil, says that of the range only those requests are meant which it does not keep.
	Sample *event.Sample `json:"sample,omitempty"`
}

// from is the first bucket of the sample that lies under the hole; 0: all of its requests do.
func (h Hole) from() uint64 {
	if h.Sample == nil {
		return 0
	}
	return h.Sample.Threshold()
}

// Server is the Pipeline behind a mirror's admin API.
type Server struct {
	URL  string       // of the admin side
	HTTP *http.Client // adds the operator's token
}

// Status reads GET /v1/status.
func (s Server) Status(ctx context.Context) (Status, error) {
	var st Status
	err := s.get(ctx, "/v1/status", &st)
	return st, err
}

// Ledger reads GET /v1/ledger.
func (s Server) Ledger(ctx context.Context, from, to uint64) (Ledger, error) {
	var l Ledger
	q := url.Values{"from": {strconv.FormatUint(from, 10)}, "to": {strconv.FormatUint(to, 10)}}
	err := s.get(ctx, "/v1/ledger?"+q.Encode(), &l)
	return l, err
}

// Timeline reads GET /v1/timeline and checks its chain.
func (s Server) Timeline(ctx context.Context) (event.Timeline, error) {
	var h History
	if err := s.get(ctx, "/v1/timeline", &h); err != nil {
		return event.Timeline{}, err
	}
	return h.Timeline()
}

func (s Server) get(ctx context.Context, path string, v any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(s.URL, "/")+path, nil)
	if err != nil {
		return fmt.Errorf("server %s: %w", s.URL, err)
	}
	resp, err := s.HTTP.Do(req)
	if err != nil {
		return err // net/http names the method and the address
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		detail, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
		var inexact InexactError
		if resp.StatusCode == http.StatusConflict && json.Unmarshal(detail, &inexact) == nil && inexact.Above > 0 {
			return &inexact
		}
		return fmt.Errorf("GET %s%s: %s: %s", s.URL, path, resp.Status, problemDetail(detail))
	}
	if err := json.NewDecoder(resp.Body).Decode(v); err != nil {
		return fmt.Errorf("GET %s%s: answer: %w", s.URL, path, err)
	}
	return nil
}

// problemDetail returns what a problem+json body says, or the body if it is something else.
func problemDetail(body []byte) string {
	var p struct {
		Detail string `json:"detail"`
	}
	if json.Unmarshal(body, &p) == nil && p.Detail != "" {
		return p.Detail
	}
	return strings.TrimSpace(string(body))
}

// History is the control history on the wire: the records' own bytes, so that the reader checks the chain itself.
type History struct {
	Records []HistoryRecord `json:"records"`
}

// HistoryRecord is one control record and its hash.
type HistoryRecord struct {
	Sequence uint64          `json:"sequence"`
	Hash     string          `json:"hash"`
	Record   json.RawMessage `json:"record"` // event.Control, the journaled bytes: the hash chain runs over these
}

// NewHistory returns the wire form of t.
func NewHistory(t event.Timeline) History {
	h := History{Records: []HistoryRecord{}}
	for _, r := range t.Records() {
		h.Records = append(h.Records, HistoryRecord{Sequence: r.Sequence, Hash: r.Hash(), Record: r.Bytes})
	}
	return h
}

// Timeline rebuilds the history and checks every link of its chain.
func (h History) Timeline() (event.Timeline, error) {
	var t event.Timeline
	for _, hr := range h.Records {
		r, err := event.DecodeRecord(hr.Sequence, hr.Record)
		if err != nil {
			return event.Timeline{}, err
		}
		if t, err = t.Append(r); err != nil {
			return event.Timeline{}, err
		}
	}
	return t, nil
}
