package backlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// writer appends values to a record. Words, which repeat from row to row, are written once a record and counted after.
type writer struct {
	buf   []byte
	words map[string]uint64
}

func (w *writer) uint(n uint64)  { w.buf = binary.AppendUvarint(w.buf, n) }
func (w *writer) int(n int64)    { w.buf = binary.AppendVarint(w.buf, n) }
func (w *writer) byte(b byte)    { w.buf = append(w.buf, b) }
func (w *writer) fixed(n uint64) { w.buf = binary.BigEndian.AppendUint64(w.buf, n) }

func (w *writer) bytes(b []byte) {
	w.uint(uint64(len(b)))
	w.buf = append(w.buf, b...)
}

func (w *writer) text(s string) {
	w.uint(uint64(len(s)))
	w.buf = append(w.buf, s...)
}

func (w *writer) cursor(c event.Cursor) {
	w.uint(c.Frame)
	w.uint(uint64(c.Request))
}

func (w *writer) position(p event.Position) {
	w.uint(p.Frame)
	w.uint(uint64(p.Request))
	w.uint(uint64(p.Item))
}

// word writes 0 and the text of a word that is new to the record, or the number of one that is known, from 1.
func (w *writer) word(s string) {
	if n, ok := w.words[s]; ok {
		w.uint(n)
		return
	}
	if w.words == nil {
		w.words = map[string]uint64{}
	}
	w.words[s] = uint64(len(w.words)) + 1
	w.uint(0)
	w.text(s)
}

// What an outcome has beside what every one has.
const (
	hasSent     = 1 << iota // sink, status, attempts, digest
	hasPayload              // request, response
	hasRevision             //
)

func (w *writer) outcome(o *warehouse.Outcome) {
	var has byte
	if o.Sink != "" || o.Status != 0 || o.Attempts != 0 || o.Digest != 0 {
		has |= hasSent
	}
	if o.Request != nil || o.Response != nil {
		has |= hasPayload
	}
	if o.Revision != 0 {
		has |= hasRevision
	}
	w.byte(has)
	w.position(o.Position)
	w.int(o.Timestamp)
	w.word(o.Build)
	w.word(o.Event)
	w.word(o.Outcome)
	w.word(o.Reason)
	w.int(o.Latency)
	if has&hasSent != 0 {
		w.word(o.Sink)
		w.int(int64(o.Status))
		w.uint(uint64(o.Attempts))
		w.fixed(o.Digest)
	}
	if has&hasPayload != 0 {
		w.bytes(o.Request)
		w.bytes(o.Response)
	}
	if has&hasRevision != 0 {
		w.uint(uint64(o.Revision))
	}
}

// errTorn is what a record that ends early or says nonsense is refused with.
var errTorn = errors.New("the record is damaged")

// reader reads what a writer wrote. After an error every value is zero and err says why; text and bytes are copies.
type reader struct {
	buf   []byte
	words []string
	err   error
}

func (r *reader) fail() {
	if r.err == nil {
		r.err = errTorn
	}
	r.buf = nil
}

func (r *reader) uint() uint64 {
	n, size := binary.Uvarint(r.buf)
	if size <= 0 {
		r.fail()
		return 0
	}
	r.buf = r.buf[size:]
	return n
}

func (r *reader) uint32() uint32 {
	n := r.uint()
	if n > math.MaxUint32 {
		r.fail()
		return 0
	}
	return uint32(n)
}

func (r *reader) int() int64 {
	n, size := binary.Varint(r.buf)
	if size <= 0 {
		r.fail()
		return 0
	}
	r.buf = r.buf[size:]
	return n
}

func (r *reader) byte() byte {
	if len(r.buf) == 0 {
		r.fail()
		return 0
	}
	b := r.buf[0]
	r.buf = r.buf[1:]
	return b
}

func (r *reader) fixed() uint64 {
	if len(r.buf) < 8 {
		r.fail()
		return 0
	}
	n := binary.BigEndian.Uint64(r.buf)
	r.buf = r.buf[8:]
	return n
}

// slice returns the next length-prefixed bytes as part of buf.
func (r *reader) slice() []byte {
	n := r.uint()
	if n > uint64(len(r.buf)) {
		r.fail()
		return nil
	}
	b := r.buf[:n:n]
	r.buf = r.buf[n:]
	return b
}

func (r *reader) text() string { return string(r.slice()) }

// bytes is nil for no bytes.
func (r *reader) bytes() []byte {
	b := r.slice()
	if len(b) == 0 {
		return nil
	}
	return append([]byte(nil), b...)
}

// count returns a number of things of which each takes at least size bytes.
func (r *reader) count(size int) int {
	n := r.uint()
	if n > uint64(len(r.buf)/size) {
		r.fail()
		return 0
	}
	return int(n)
}

func (r *reader) cursor() event.Cursor { return event.Cursor{Frame: r.uint(), Request: r.uint32()} }

func (r *reader) position() event.Position {
	return event.Position{Frame: r.uint(), Request: r.uint32(), Item: r.uint32()}
}

func (r *reader) word() string {
	n := r.uint()
	if n == 0 {
		s := r.text()
		r.words = append(r.words, s)
		return s
	}
	if n > uint64(len(r.words)) {
		r.fail()
		return ""
	}
	return r.words[n-1]
}

// minOutcome is the fewest bytes an outcome takes.
const minOutcome = 10

func (r *reader) outcome() (o warehouse.Outcome) {
	has := r.byte()
	if has&^(hasSent|hasPayload|hasRevision) != 0 {
		r.fail()
	}
	o.Position = r.position()
	o.Timestamp = r.int()
	o.Build, o.Event, o.Outcome, o.Reason = r.word(), r.word(), r.word(), r.word()
	o.Latency = r.int()
	if has&hasSent != 0 {
		o.Sink = r.word()
		status := r.int()
		if status != int64(int32(status)) {
			r.fail()
		}
		o.Status = int32(status)
		o.Attempts = r.uint32()
		o.Digest = r.fixed()
	}
	if has&hasPayload != 0 {
		o.Request, o.Response = r.bytes(), r.bytes()
	}
	if has&hasRevision != 0 {
		o.Revision = r.uint32()
	}
	return o
}

// end returns the error of what was read; bytes that are left over are one.
func (r *reader) end(what string) error {
	if r.err == nil && len(r.buf) > 0 {
		r.err = fmt.Errorf("%w: %d bytes too many", errTorn, len(r.buf))
	}
	if r.err != nil {
		return fmt.Errorf("%s: %w", what, r.err)
	}
	return nil
}

// EncodeOutcomes puts outcomes into the few bytes that they take in the log. It is for memory: nothing says its format.
func EncodeOutcomes(outcomes iter.Seq[*warehouse.Outcome]) []byte {
	w := &writer{}
	for o := range outcomes {
		w.outcome(o)
	}
	return slices.Clip(w.buf)
}

// DecodeOutcomes reads what EncodeOutcomes returned.
func DecodeOutcomes(data []byte) ([]warehouse.Outcome, error) {
	var all []warehouse.Outcome
	r := &reader{buf: data}
	for len(r.buf) > 0 {
		all = append(all, r.outcome())
	}
	return all, r.end("outcomes")
}
