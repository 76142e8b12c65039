package bigquery

import (
	"fmt"
	"slices"
	"sort"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
	"github.com/sparrowhq/sparrow/warehouse/rules"
)

// payload is one append: encoded rows of batches, then a mark for each cursor that they move.
type payload struct {
	rows  [][]byte
	marks []mark // of a key: one for each bucket of frames that rows are in, in order
	width uint64 // frames of a bucket
	bytes int
	whole []*pending // batches that are wholly stored with it
	share []*pending // batches that have a part in it, whole or not
	keys  map[rules.Key]place
}

// perRow is roughly what a row takes in a request beside its own bytes.
const perRow = 8

// maxRows bounds an append in number: what BigQuery takes is not documented, what answers quickly is.
const maxRows = 50_000

// room reports whether another n bytes fit.
func (p *payload) room(n, limit int) bool {
	return p.bytes+n+perRow <= limit && len(p.rows) < maxRows
}

// at returns where the cursor of a key will stand after the payload.
func (p *payload) at(k rules.Key, cursors map[rules.Key]place) place {
	if at, ok := p.keys[k]; ok {
		return at
	}
	return cursors[k]
}

// add puts as much of a batch as fits into the payload. It is cut between requests, and inside one only if that request
// alone would be too large for an append. full says that nothing more of its stage may follow.
func (p *payload) add(w *pending, b *warehouse.Batch, cursors map[rules.Key]place, limit int, days partitions) (full bool, err error) {
	k := rules.KeyOf(b)
	have := p.at(k, cursors)
	if b.From.Compare(have.Cursor) > 0 {
		return false, &warehouse.GapError{Have: have.Cursor, From: b.From}
	}
	n := rules.Length(b)
	lo := sort.Search(n, func(i int) bool { return rules.Place(b, i).Compare(have.Cursor) >= 0 })
	for lo < n && rules.Place(b, lo) == have.Cursor && item(b, lo) < have.item {
		lo++
	}
	hi, bytes, rows := lo, 0, [][]byte(nil)
	for hi < n {
		encoded := encode(b, hi, days)
		if !p.room(bytes+len(encoded)+perRow*len(rows), limit) || len(p.rows)+len(rows) >= maxRows {
			break
		}
		bytes += len(encoded)
		rows = append(rows, encoded)
		hi++
	}
	to := place{Cursor: b.To}
	if hi < n {
		full = true
		if hi, to = cut(b, lo, hi, len(p.rows) == 0); hi == lo {
			if len(p.rows) == 0 {
				return false, fmt.Errorf("row %v is of %d bytes, one append to BigQuery takes %d: lower dispatcher.max_decoded", place{rules.Place(b, lo), item(b, lo)}, len(encode(b, lo, days)), limit)
			}
			return true, nil
		}
		rows = rows[:hi-lo]
	}
	for _, r := range rows {
		p.bytes += len(r) + perRow
	}
	p.rows = append(p.rows, rows...)
	if to.compare(have) > 0 {
		for _, m := range marksOf(b, lo, hi, to, days, p.width) {
			p.move(k, m)
		}
	}
	p.share = append(p.share, w)
	if hi == n {
		p.whole = append(p.whole, w)
	}
	return full, nil
}

// cut moves the end of what fits back to where a batch may be cut. alone allows a cut inside a request.
func cut(b *warehouse.Batch, lo, hi int, alone bool) (int, place) {
	for i := hi; i > lo; i-- {
		if rules.Place(b, i) != rules.Place(b, i-1) {
			return i, place{Cursor: rules.Place(b, i)}
		}
	}
	if alone {
		for i := hi; i > lo; i-- {
			if item(b, i) != item(b, i-1) {
				return i, place{rules.Place(b, i), item(b, i)}
			}
		}
	}
	return lo, place{}
}

func (p *payload) move(k rules.Key, m mark) {
	if p.keys == nil {
		p.keys = map[rules.Key]place{}
	}
	p.keys[k] = m.at
	for i := range slices.Backward(p.marks) {
		last := &p.marks[i]
		if last.run != m.run || last.stage != m.stage {
			continue
		}
		if m.rows > 0 && last.rows > 0 && !rules.IsLate(m.stage) && last.first/p.width != m.first/p.width {
			break // a mark tells of one bucket
		}
		if m.rows == 0 {
			m.span = last.span
		} else if last.rows > 0 {
			m.first = last.first
			m.and(last.span)
		}
		m.rows += last.rows
		*last = m
		return
	}
	p.marks = append(p.marks, m)
}

// marksOf returns a batch's marks for rows lo to hi: one for each bucket of frames that has some of them.
func marksOf(b *warehouse.Batch, lo, hi int, to place, days partitions, width uint64) []mark {
	m := mark{run: b.Run, stage: b.Stage, journal: b.Journal}
	if rules.IsLate(b.Stage) { // their places are no frames
		m.at, m.rows = to, hi-lo
		return []mark{m}
	}
	var out []mark
	for i := lo; i < hi; i++ {
		frame := rules.Place(b, i).Frame
		if m.rows > 0 && m.first/width != frame/width {
			m.at = place{Cursor: event.Cursor{Frame: frame / width * width}}
			out = append(out, m)
			m.rows = 0
		}
		m.take(frame, timeOf(b, i), m.rows, days)
		m.rows++
	}
	m.at = to
	return append(out, m)
}

// timeOf is the timestamp of a batch's row.
func timeOf(b *warehouse.Batch, i int) int64 {
	if b.Stage == warehouse.Raw {
		return b.Rows[i].Timestamp
	}
	return b.Outcomes[i].Timestamp
}

// encoded returns the rows and marks as they go out, at an offset of a stream.
func (p *payload) encoded(l log, stream string, offset int64) [][]byte {
	end := offset + int64(len(p.rows)+len(p.marks))
	out := slices.Clone(p.rows)
	for _, m := range p.marks {
		out = append(out, m.encode(l, stream, end))
	}
	return out
}

func encode(b *warehouse.Batch, i int, days partitions) []byte {
	if b.Stage == warehouse.Raw {
		return encodeRow(b.Run, &b.Rows[i], days)
	}
	number := int64(-1)
	if rules.IsLate(b.Stage) {
		number = int64(rules.Place(b, i).Frame)
	}
	return encodeOutcome(b.Run, b.Stage, number, &b.Outcomes[i], days)
}

// item is the item that a request may be cut before. Corrections have places of their own, and are never cut inside.
func item(b *warehouse.Batch, i int) uint32 {
	switch {
	case b.Stage == warehouse.Raw:
		return b.Rows[i].Item
	case rules.IsLate(b.Stage):
		return 0
	}
	return b.Outcomes[i].Item
}

func (p place) compare(q place) int {
	if c := p.Cursor.Compare(q.Cursor); c != 0 {
		return c
	}
	return int(int64(p.item) - int64(q.item))
}

func (p place) String() string {
	return event.Position{Frame: p.Frame, Request: p.Request, Item: p.item}.String()
}
