package dispatcher

import (
	"strings"

	"github.com/google/uuid"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/event/body"
	"github.com/sparrowhq/sparrow/warehouse"
)

// An envelope goes with every row of its request if it is short, and if repeating it stays short; otherwise only with
// item 0. So a body of ten thousand tiny events cannot grow a hundredfold by its envelope.
const (
	maxEnvelope         = 4 << 10
	maxEnvelopeRepeated = 256 << 10 // all copies together
)

// maxEvent is how many bytes of an event's name the column holds; data has it whole.
const maxEvent = 1 << 10

// maker makes the rows of one request after another. It is not safe for concurrent use.
type maker struct {
	build                func() string
	maxDecoded, maxItems int

	body      body.Body // room that is used again
	encodings []string  // likewise
}

// made says what became of a request.
type made struct {
	rejected body.Reason // empty: accepted
	decoded  int         // bytes of the decoded body; 0 if rejected
}

// append appends the rows of r, the request at (frame, request), to rows. Data and Context of the new rows share
// memory with r and with each other.
//
// A body that is one event gives one row with the request's id; a list one row an event, with ids of their own. An
// empty list gives one row of the whole body with itemsInRequest 0 and the request's id, since no event is there to
// be numbered. A body that cannot be read, or not within the limits, gives one row with the bytes as received.
func (m *maker) append(rows []warehouse.Row, frame uint64, request uint32, r *event.Request) ([]warehouse.Row, made) {
	id := uuid.UUID(r.Id)
	row := warehouse.Row{
		Position:       event.Position{Frame: frame, Request: request},
		Timestamp:      r.ReceivedAt,
		ItemsInRequest: 1,
		Build:          m.build(),
	}

	m.encodings = m.encodings[:0]
	for _, h := range r.Headers {
		if strings.EqualFold(h.Name, "Content-Encoding") {
			m.encodings = append(m.encodings, string(h.Value))
		}
	}
	decoded, reason := body.Decode(m.encodings, r.Body, m.maxDecoded)
	if reason == "" {
		reason = body.Split(decoded, m.maxItems, &m.body)
	}
	if reason != "" {
		row.EventID = event.ID(id, 0, false)
		row.Data = r.Body
		row.Context = requestContext(r, nil, reason)
		return append(rows, row), made{rejected: reason}
	}

	items := len(m.body.Items)
	everywhere := len(m.body.Envelope) <= maxEnvelope && len(m.body.Envelope)*items <= maxEnvelopeRepeated
	row.Context = requestContext(r, m.body.Envelope, "")
	if items == 0 {
		row.EventID = event.ID(id, 0, false)
		row.ItemsInRequest = 0
		row.Data = m.body.Whole
		return append(rows, row), made{decoded: len(decoded)}
	}
	row.ItemsInRequest = uint32(items)
	for i, item := range m.body.Items {
		row.Item = uint32(i)
		row.EventID = event.ID(id, uint32(i), m.body.List)
		row.Event, row.Data = item.Event, item.Data
		if len(row.Event) > maxEvent {
			row.Event = strings.ToValidUTF8(row.Event[:maxEvent], "")
		}
		rows = append(rows, row)
		if i == 0 && !everywhere {
			row.Context = requestContext(r, nil, "")
		}
	}
	return rows, made{decoded: len(decoded)}
}
