package bigquery

import (
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
	"github.com/sparrowhq/sparrow/warehouse/rules"
)

// row grows the protobuf form of one row, field by field in the order of its table's columns.
type row struct {
	bytes []byte
	field protowire.Number
}

func (r *row) null() { r.field++ }

func (r *row) int(v int64) {
	r.field++
	r.bytes = protowire.AppendTag(r.bytes, r.field, protowire.VarintType)
	r.bytes = protowire.AppendVarint(r.bytes, uint64(v))
}

func (r *row) text(v string) {
	r.field++
	r.bytes = protowire.AppendTag(r.bytes, r.field, protowire.BytesType)
	r.bytes = protowire.AppendString(r.bytes, v)
}

func (r *row) blob(v []byte) {
	r.field++
	r.bytes = protowire.AppendTag(r.bytes, r.field, protowire.BytesType)
	r.bytes = protowire.AppendBytes(r.bytes, v)
}

// partitions is the range of times that BigQuery puts into partitions by day: ten years back, one year ahead, with a
// month to spare on either side, since now is when the row arrives there.
type partitions struct{ first, last int64 }

func partitionsAt(now time.Time) partitions {
	return partitions{first: now.AddDate(-10, 1, 0).UnixMicro(), last: now.AddDate(1, -1, 0).UnixMicro()}
}

func (p partitions) has(micros int64) bool { return micros >= p.first && micros <= p.last }

// The times that a TIMESTAMP can hold: years 1 to 9999.
const (
	firstTime = -62135596800_000000
	lastTime  = 253402300799_999999
)

// at writes the timestamp, unless it lies outside the partitions.
func (r *row) at(micros int64, p partitions) {
	if p.has(micros) {
		r.int(micros)
	} else {
		r.null()
	}
}

// odd writes the column micros of an event's row.
func (r *row) odd(micros int64, p partitions) {
	if p.has(micros) {
		r.null()
	} else {
		r.int(micros)
	}
}

// encodeRow returns a row of raw_log.
func encodeRow(run uint64, v *warehouse.Row, p partitions) []byte {
	r := row{bytes: make([]byte, 0, 96+len(v.EventID)+len(v.Event)+len(v.Data)+len(v.Build)+len(v.Context))}
	r.text(v.EventID)
	r.at(v.Timestamp, p)
	r.text(v.Event)
	if utf8.Valid(v.Data) {
		r.blob(v.Data) // a string has the same form
		r.null()
	} else {
		r.null()
		r.blob(v.Data)
	}
	r.int(int64(v.Frame))
	r.int(int64(v.Request))
	r.int(int64(v.Item))
	r.int(int64(v.ItemsInRequest))
	r.int(int64(run))
	r.text(v.Build)
	r.blob(v.Context)
	r.odd(v.Timestamp, p)
	return r.bytes
}

// encodeOutcome returns a row of outcomes_log, or of corrections_log with the correction's number; below 0: none.
func encodeOutcome(run uint64, stage warehouse.Stage, number int64, v *warehouse.Outcome, p partitions) []byte {
	r := row{bytes: make([]byte, 0, 128+len(stage)+len(v.Build)+len(v.Event)+len(v.Reason)+len(v.Request)+len(v.Response))}
	r.int(int64(v.Frame))
	r.int(int64(v.Position.Request))
	r.int(int64(v.Item))
	r.int(int64(run))
	r.text(string(stage.Base()))
	r.at(v.Timestamp, p)
	r.text(v.Build)
	r.text(v.Event)
	r.text(v.Sink)
	r.text(v.Outcome)
	r.text(v.Reason)
	r.int(int64(v.Status))
	r.int(int64(v.Attempts))
	r.int(int64(v.Digest)) // its bits
	r.int(v.Latency)
	r.int(int64(v.Revision))
	for _, b := range [][]byte{v.Request, v.Response} {
		if b == nil {
			r.null()
		} else {
			r.blob(b)
		}
	}
	r.odd(v.Timestamp, p)
	if number >= 0 {
		r.int(number)
	}
	return r.bytes
}

// place is where a cursor stands, inside a request too: a request too large for one append arrives in several.
type place struct {
	event.Cursor
	item uint32 // the request's items below it are in
}

// mark is a cursor's place after an append, with what it tells of the append.
type mark struct {
	run     uint64
	stage   warehouse.Stage
	journal string
	at      place
	rows    int
	span
}

// span tells where a mark's rows lie: all of them in one bucket of frames, and in which days.
type span struct {
	first    uint64 // frame of the first row; of no meaning without rows
	from, to int64  // timestamps, but of odd rows
	odd      int    // rows whose time is outside the partitions
}

// take counts one row more.
func (s *span) take(frame uint64, micros int64, rows int, p partitions) {
	if rows == 0 {
		*s = span{first: frame, from: lastTime, to: firstTime}
	}
	if p.has(micros) {
		s.from, s.to = min(s.from, micros), max(s.to, micros)
	} else {
		s.odd++
	}
}

// and adds those of another mark.
func (s *span) and(o span) {
	s.from, s.to, s.odd = min(s.from, o.from), max(s.to, o.to), s.odd+o.odd
}

// encode returns the mark as a row of l.
func (m mark) encode(l log, stream string, end int64) []byte {
	var r row
	for _, c := range l.columns() {
		switch c.name {
		case "frame":
			r.int(int64(m.at.Frame))
		case "request":
			r.int(int64(m.at.Request))
		case "item":
			r.int(int64(m.at.item))
		case "run":
			r.int(int64(m.run))
		default:
			r.null()
		}
	}
	r.null() // micros
	r.null() // number
	r.text(string(m.stage))
	r.text(m.journal)
	r.int(int64(m.rows))
	r.text(stream)
	r.int(end)
	if m.rows == 0 || rules.IsLate(m.stage) {
		return r.bytes
	}
	r.int(int64(m.first))
	if m.from <= m.to {
		r.int(m.from)
		r.int(m.to)
	} else {
		r.null()
		r.null()
	}
	r.int(int64(m.odd))
	return r.bytes
}
