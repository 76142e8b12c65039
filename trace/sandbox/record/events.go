package record

import (
	"bytes"
	"time"
)

// Query selects recorded events. Zero fields select all.
type Query struct {
	Vendor  string
	Project string
	ID      string
	Outcome Outcome
	After   uint64 // requests with a higher number
	Limit   int    // events; at least 1; the rest of a request begun is always given

	// Cut returns the bytes of each event of a request, by index; nil: Seen.Raw stays empty.
	Cut func(r *Request) [][]byte
}

// Seen is a recorded event with the request it came in.
type Seen struct {
	Event
	Seq    uint64    `json:"seq"`
	At     time.Time `json:"at"`
	Status int       `json:"status"`
	Fault  string    `json:"fault,omitempty"`
	URL    string    `json:"url"`
	Raw    []byte    `json:"-"` // the event as it was sent
}

// Events returns the recorded events that match, oldest first. more is true if Limit left some out; ask again with
// After set to the last one's number.
func (s *Store) Events(q Query) (found []Seen, more bool, err error) {
	// Most lines are passed over without being read: an id stands in the line as it is, escaped the way we escape.
	var marks [][]byte
	marks = append(marks, appendText(nil, "vendor", q.Vendor), appendText(nil, "project", q.Project))
	if q.ID != "" {
		marks = append(marks, appendText(nil, "id", q.ID))
	}
	found = []Seen{}
	var bad error
	err = s.log.scan(func(text []byte) bool {
		for _, m := range marks {
			if !bytes.Contains(text, m) {
				return true
			}
		}
		r, err := readLine(text)
		if err != nil {
			bad = err
			return false
		}
		if r.Seq <= q.After || r.Vendor != q.Vendor || r.Project != q.Project {
			return true
		}
		var raw [][]byte
		begun := false
		for _, e := range r.Events {
			if (q.ID != "" && e.ID != q.ID) || (q.Outcome != "" && e.Outcome != q.Outcome) {
				continue
			}
			if !begun && len(found) >= q.Limit {
				more = true
				return false
			}
			if !begun && q.Cut != nil {
				raw = q.Cut(r)
			}
			begun = true
			seen := Seen{Event: e, Seq: r.Seq, At: r.At, Status: r.Status, Fault: r.Fault, URL: r.URL}
			if e.Index < len(raw) {
				seen.Raw = raw[e.Index]
			}
			found = append(found, seen)
		}
		return true
	})
	if err == nil {
		err = bad
	}
	return found, more, err
}

// Requests calls fn with each request that is kept, oldest first, until it returns false.
func (s *Store) Requests(fn func(*Request) bool) error {
	var bad error
	err := s.log.scan(func(text []byte) bool {
		r, err := readLine(text)
		if err != nil {
			bad = err
			return false
		}
		return fn(r)
	})
	if err == nil {
		err = bad
	}
	return err
}
