package served

import (
	"errors"
	"fmt"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// encodeOutcomes returns outcomes by column.
func encodeOutcomes(list []warehouse.Outcome, said *words) *Outcomes {
	n := len(list)
	numbers := make([]uint32, 10*n)
	column := func(i int) []uint32 { return numbers[i*n : (i+1)*n : (i+1)*n] }
	m := &Outcomes{
		Frame: make([]int64, n), Timestamp: make([]int64, n), Latency: make([]int64, n), Digest: make([]uint64, n), Status: make([]int32, n),
		Request: column(0), Item: column(1), Build: column(2), Event: column(3), Sink: column(4), Outcome: column(5), Reason: column(6), Attempts: column(7),
	}
	// What repeats from one outcome to the next is not looked up again.
	var before *warehouse.Outcome
	word := func(i int, column []uint32, s string, last func() string) {
		if before != nil && last() == s {
			column[i] = column[i-1]
			return
		}
		column[i] = said.of(s)
	}
	var revisions, requests, responses bool
	frame, timestamp := uint64(0), int64(0)
	for i := range list {
		o := &list[i]
		m.Frame[i], m.Timestamp[i] = int64(o.Frame-frame), o.Timestamp-timestamp // both wrap, and back
		frame, timestamp = o.Frame, o.Timestamp
		m.Request[i], m.Item[i] = o.Position.Request, o.Item
		word(i, m.Build, o.Build, func() string { return before.Build })
		word(i, m.Event, o.Event, func() string { return before.Event })
		word(i, m.Sink, o.Sink, func() string { return before.Sink })
		word(i, m.Outcome, o.Outcome, func() string { return before.Outcome })
		word(i, m.Reason, o.Reason, func() string { return before.Reason })
		m.Status[i], m.Attempts[i], m.Digest[i], m.Latency[i] = o.Status, o.Attempts, o.Digest, o.Latency
		revisions = revisions || o.Revision != 0
		requests = requests || o.Request != nil
		responses = responses || o.Response != nil
		before = o
	}
	if revisions {
		m.Revision = make([]uint32, n)
		for i := range list {
			m.Revision[i] = list[i].Revision
		}
	}
	if requests {
		m.RequestBytes = column(8)
	}
	if responses {
		m.ResponseBytes = column(9)
	}
	for i := range list {
		if list[i].Request != nil {
			m.RequestBytes[i] = uint32(len(list[i].Request)) + 1
			m.Bodies = append(m.Bodies, list[i].Request...)
		}
		if list[i].Response != nil {
			m.ResponseBytes[i] = uint32(len(list[i].Response)) + 1
			m.Bodies = append(m.Bodies, list[i].Response...)
		}
	}
	return m
}

// decodeOutcomes reads what encodeOutcomes wrote.
func decodeOutcomes(m *Outcomes, words []string) ([]warehouse.Outcome, error) {
	n := len(m.GetFrame())
	if m == nil {
		return nil, nil
	}
	if n == 0 {
		return nil, errors.New("outcomes of a batch that has none")
	}
	for name, have := range map[string]int{
		"request": len(m.Request), "item": len(m.Item), "timestamp": len(m.Timestamp), "build": len(m.Build), "event": len(m.Event), "sink": len(m.Sink),
		"outcome": len(m.Outcome), "reason": len(m.Reason), "status": len(m.Status), "attempts": len(m.Attempts), "digest": len(m.Digest), "latency": len(m.Latency),
	} {
		if have != n {
			return nil, fmt.Errorf("batch of %d outcomes: %d values of %s", n, have, name)
		}
	}
	for name, have := range map[string]int{"revision": len(m.Revision), "request_bytes": len(m.RequestBytes), "response_bytes": len(m.ResponseBytes)} {
		if have != n && have != 0 {
			return nil, fmt.Errorf("batch of %d outcomes: %d values of %s", n, have, name)
		}
	}
	list := make([]warehouse.Outcome, n)
	bodies := m.Bodies
	frame, timestamp := uint64(0), int64(0)
	for i := range list {
		o := &list[i]
		if k := max(m.Build[i], m.Event[i], m.Sink[i], m.Outcome[i], m.Reason[i]); uint64(k) >= uint64(len(words)) {
			return nil, fmt.Errorf("batch of %d outcomes: outcome %d names word %d of %d", n, i, k, len(words))
		}
		frame += uint64(m.Frame[i])
		timestamp += m.Timestamp[i]
		o.Position = event.Position{Frame: frame, Request: m.Request[i], Item: m.Item[i]}
		o.Timestamp = timestamp
		o.Build, o.Event, o.Sink, o.Outcome, o.Reason = words[m.Build[i]], words[m.Event[i]], words[m.Sink[i]], words[m.Outcome[i]], words[m.Reason[i]]
		o.Status, o.Attempts, o.Digest, o.Latency = m.Status[i], m.Attempts[i], m.Digest[i], m.Latency[i]
		if len(m.Revision) > 0 {
			o.Revision = m.Revision[i]
		}
		var ok1, ok2 bool
		o.Request, bodies, ok1 = cutBody(m.RequestBytes, i, bodies)
		o.Response, bodies, ok2 = cutBody(m.ResponseBytes, i, bodies)
		if !ok1 || !ok2 {
			return nil, fmt.Errorf("batch of %d outcomes: outcome %d is longer than what is left", n, i)
		}
	}
	if len(bodies) > 0 {
		return nil, fmt.Errorf("batch of %d outcomes: %d bytes belong to none", n, len(bodies))
	}
	return list, nil
}

// cutBody takes the i-th body, if there is one, from the front of bodies.
func cutBody(lengths []uint32, i int, bodies []byte) (body, rest []byte, ok bool) {
	if len(lengths) == 0 || lengths[i] == 0 {
		return nil, bodies, true
	}
	n := uint64(lengths[i]) - 1
	if n > uint64(len(bodies)) {
		return nil, nil, false
	}
	return bodies[:n:n], bodies[n:], true
}
