package served

import (
	"fmt"
	"io"
	"net/http"
	"unsafe"

	"google.golang.org/protobuf/proto"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// The Batch formats this build reads and writes: without outcomes, and with them.
const (
	batchFormat    = 1
	outcomesFormat = 2
)

// words says each of the words of a batch once.
type words struct {
	index map[string]uint32
	list  [][]byte
}

func (w *words) of(s string) uint32 {
	i, ok := w.index[s]
	if !ok {
		i = uint32(len(w.list))
		w.index[s] = i
		w.list = append(w.list, []byte(s))
	}
	return i
}

// encodeBatch returns the batch's bytes.
func encodeBatch(b *warehouse.Batch) ([]byte, error) {
	n := len(b.Rows)
	m := &Batch{
		Format: batchFormat, Stack: string(b.Stack), Run: b.Run, Stage: string(b.Stage), Journal: b.Journal,
		FromFrame: b.From.Frame, FromRequest: b.From.Request, ToFrame: b.To.Frame, ToRequest: b.To.Request,
		Controls: b.Controls,
	}
	if n > 0 {
		numbers := make([]uint32, 8*n)
		column := func(i int) []uint32 { return numbers[i*n : (i+1)*n : (i+1)*n] }
		m.Frame, m.Timestamp = make([]uint64, n), make([]int64, n)
		m.Request, m.Item, m.ItemsInRequest = column(0), column(1), column(2)
		m.EventIdBytes, m.DataBytes = column(3), column(4)
		m.Event, m.Build, m.Context = column(5), column(6), column(7)
		ids, data := 0, 0
		for i := range b.Rows {
			ids += len(b.Rows[i].EventID)
			data += len(b.Rows[i].Data)
		}
		m.EventIds, m.Data = make([]byte, 0, ids), make([]byte, 0, data)
	}
	said := &words{index: map[string]uint32{}}
	for i := range b.Rows {
		r := &b.Rows[i]
		m.Frame[i], m.Timestamp[i] = r.Frame, r.Timestamp
		m.Request[i], m.Item[i], m.ItemsInRequest[i] = r.Request, r.Item, r.ItemsInRequest
		m.EventIdBytes[i], m.DataBytes[i] = uint32(len(r.EventID)), uint32(len(r.Data))
		m.EventIds, m.Data = append(m.EventIds, r.EventID...), append(m.Data, r.Data...)
		m.Event[i], m.Build[i], m.Context[i] = said.of(r.Event), said.of(r.Build), said.of(unsafe.String(unsafe.SliceData(r.Context), len(r.Context)))
	}
	if len(b.Outcomes) > 0 {
		m.Format = outcomesFormat
		m.Outcomes = encodeOutcomes(b.Outcomes, said)
	}
	m.Words = said.list
	return proto.Marshal(m)
}

// decodeBatch reads what encodeBatch wrote. The batch's rows point into memory of its own.
func decodeBatch(body []byte) (*warehouse.Batch, error) {
	m := new(Batch)
	if err := proto.Unmarshal(body, m); err != nil {
		return nil, fmt.Errorf("batch of %d bytes: %w", len(body), err)
	}
	switch {
	case m.Format != batchFormat && m.Format != outcomesFormat:
		return nil, fmt.Errorf("batch format %d: this build reads %d and %d; upgrade the warehouse process first", m.Format, batchFormat, outcomesFormat)
	case m.Format == batchFormat && m.Outcomes != nil:
		return nil, fmt.Errorf("batch of format %d with outcomes: they are of format %d", batchFormat, outcomesFormat)
	}
	b := &warehouse.Batch{
		Stack: event.Stack(m.Stack), Run: m.Run, Stage: warehouse.Stage(m.Stage), Journal: m.Journal,
		From: event.Cursor{Frame: m.FromFrame, Request: m.FromRequest}, To: event.Cursor{Frame: m.ToFrame, Request: m.ToRequest},
		Controls: m.Controls,
	}
	n := len(m.Frame)
	for name, have := range map[string]int{
		"request": len(m.Request), "item": len(m.Item), "items_in_request": len(m.ItemsInRequest), "timestamp": len(m.Timestamp),
		"event_id_bytes": len(m.EventIdBytes), "data_bytes": len(m.DataBytes), "event": len(m.Event), "build": len(m.Build), "context": len(m.Context),
	} {
		if have != n {
			return nil, fmt.Errorf("batch of %d rows: %d values of %s", n, have, name)
		}
	}
	words := make([]string, len(m.Words))
	for i, w := range m.Words {
		words[i] = string(w)
	}
	var err error
	if b.Outcomes, err = decodeOutcomes(m.Outcomes, words); err != nil || n == 0 {
		return b, err
	}
	ids, data := string(m.EventIds), m.Data
	b.Rows = make([]warehouse.Row, n)
	for i := range b.Rows {
		r := &b.Rows[i]
		if uint64(m.EventIdBytes[i]) > uint64(len(ids)) || uint64(m.DataBytes[i]) > uint64(len(data)) {
			return nil, fmt.Errorf("batch of %d rows: row %d is longer than what is left", n, i)
		}
		if k := max(m.Event[i], m.Build[i], m.Context[i]); uint64(k) >= uint64(len(words)) {
			return nil, fmt.Errorf("batch of %d rows: row %d names word %d of %d", n, i, k, len(words))
		}
		r.Position = event.Position{Frame: m.Frame[i], Request: m.Request[i], Item: m.Item[i]}
		r.EventID, ids = ids[:m.EventIdBytes[i]], ids[m.EventIdBytes[i]:]
		r.Data, data = data[:m.DataBytes[i]:m.DataBytes[i]], data[m.DataBytes[i]:]
		r.Timestamp, r.ItemsInRequest = m.Timestamp[i], m.ItemsInRequest[i]
		r.Event, r.Build, r.Context = words[m.Event[i]], words[m.Build[i]], m.Words[m.Context[i]]
	}
	if len(ids) > 0 || len(data) > 0 {
		return nil, fmt.Errorf("batch of %d rows: %d bytes of ids and %d of data belong to no row", n, len(ids), len(data))
	}
	return b, nil
}

// readBody reads a body whose length was checked.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	body := make([]byte, r.ContentLength)
	if _, err := io.ReadFull(r.Body, body); err != nil {
		return nil, fmt.Errorf("body of %d bytes: %w", r.ContentLength, err)
	}
	return body, nil
}
