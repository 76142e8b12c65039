package tracker

import "time"

// Status says how a Sender is doing.
type Status struct {
	Name   string              `json:"name"`
	Vendor string              `json:"vendor"`
	Items  int                 `json:"items"` // in flight
	Bytes  int                 `json:"bytes"`
	Full   bool                `json:"full"` // Send would block for some sink
	Sinks  map[Sink]SinkStatus `json:"sinks"`
}

// SinkStatus says how one sink is doing.
type SinkStatus struct {
	Mode      Mode      `json:"mode"`
	Address   string    `json:"address"` // without query
	State     State     `json:"state"`   // of the circuit breaker
	Why       string    `json:"why,omitempty"`
	Since     time.Time `json:"since,omitzero"` // of the first failure in a row
	Until     time.Time `json:"until,omitzero"` // no call before
	Failures  int       `json:"failures,omitempty"`
	Items     int       `json:"items"`           // in flight
	Full      bool      `json:"full"`            // Send would block
	Waiting   int       `json:"waiting"`         // items that no call carries
	Held      int       `json:"held"`            // groups whose ids have to wait
	Calls     int       `json:"calls"`           // under way
	Oldest    time.Time `json:"oldest,omitzero"` // when the item that waits longest was given to Send
	LastError string    `json:"lastError,omitempty"`
	LastAt    time.Time `json:"lastAt,omitzero"`
	Counts
}

// Status returns the state of this moment. It holds no secret.
func (s *Sender) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := Status{Name: s.o.Name, Vendor: s.traits.Vendor, Sinks: map[Sink]SinkStatus{}}
	for sink, l := range s.lanes {
		one := SinkStatus{
			Mode: l.mode, Address: address(l.credential.URL), State: l.breaker.state(), Waiting: l.waiting, Held: len(l.held), Calls: l.calls,
			Oldest: l.oldest(), LastError: l.last, LastAt: l.lastAt, Counts: l.counts,
			Items: l.window, Full: l.window >= s.o.Items || l.windowBytes >= s.o.Bytes,
		}
		if one.Mode.Kind == "" {
			one.Mode.Kind = Send
		}
		if one.State != Closed {
			one.Why, one.Since, one.Until, one.Failures = l.breaker.why, l.breaker.since, l.breaker.until, l.breaker.failures
		}
		out.Sinks[sink] = one
		out.Items += l.window
		out.Bytes += l.windowBytes
		out.Full = out.Full || one.Full
	}
	return out
}
