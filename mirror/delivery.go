package mirror

import (
	"fmt"
	"io"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/sparrowhq/sparrow/event"
)

// delivery is one call's content: everything in [from, to), as event.Delivery says. It is encoded without copying the
// frames: the journal's bytes go out as they came in.
type delivery struct {
	journal  string
	from, to event.Cursor
	controls []event.Record
	holes    []Hole
	frames   []deliveredFrame

	requests uint64 // in [from, to), without holes: counted in the frames' bytes
	sampled  uint64 // in [from, to), left out by the stack's rule: under holes
	bytes    int    // of frames
	full     bool   // more is waiting than fitted
}

// deliveredFrame is a frame with its stamps.
type deliveredFrame struct {
	sequence   uint64
	live       event.Stack
	generation uint64
	data       []byte
	from, to   uint32 // the requests of it that are delivered: [from, to),
	skip       []run  // without these
}

// first is the first request that is delivered.
func (f *deliveredFrame) first() event.Cursor {
	n := f.from
	for _, r := range f.skip {
		if r.from == n {
			n = r.to
		}
	}
	return event.Cursor{Frame: f.sequence, Request: n}
}

// leaveOut puts the n requests of [from, to) under a hole of reason sampled, of one piece with the one before where they touch. Holes are
// therefore never more than the requests that are delivered between them, and one.
func (d *delivery) leaveOut(from, to event.Cursor, n uint64) {
	if k := len(d.holes); k > 0 && d.holes[k-1].Reason == event.Sampled && d.holes[k-1].To == from {
		d.holes[k-1].To = to
		d.holes[k-1].Requests += n
		return
	}
	d.holes = append(d.holes, Hole{From: from, To: to, Reason: event.Sampled, Requests: n})
}

// Hole is a range of requests, [From, To), that a stack never gets.
type Hole struct {
	From     event.Cursor `json:"from"`
	To       event.Cursor `json:"to"`
	Reason   string       `json:"reason"` // dead, expired, sampled
	Requests uint64       `json:"requests"`
	// Sample, if not nil, says that only those requests of the range are meant which it does not keep. Only in answers
	// about windows, of reason sampled.
	Sample *event.Sample `json:"sample,omitempty"`
}

// Reasons of holes.
const (
	reasonDead    = "dead"
	reasonExpired = "expired"
)

// amount is what the delivery brings.
func (d *delivery) amount() amount { return amount{delivered: d.requests, sampled: d.sampled} }

// body returns a reader of the encoded delivery, and its length.
func (d *delivery) body() (io.ReadCloser, int64) {
	head := make([]byte, 0, 256+64*len(d.frames)+64*len(d.holes))
	head = appendVarint(head, 1, event.DeliveryFormat)
	head = appendString(head, 2, d.journal)
	head = appendVarint(head, 4, d.from.Frame)
	head = appendVarint(head, 5, uint64(d.from.Request))
	head = appendVarint(head, 6, d.to.Frame)
	head = appendVarint(head, 7, uint64(d.to.Request))
	for _, r := range d.controls {
		m := appendVarint(nil, 1, r.Sequence)
		m = protowire.AppendTag(m, 2, protowire.BytesType)
		m = protowire.AppendBytes(m, r.Bytes)
		head = protowire.AppendTag(head, 8, protowire.BytesType)
		head = protowire.AppendBytes(head, m)
	}
	for _, h := range d.holes {
		m := appendVarint(nil, 1, h.From.Frame)
		m = appendVarint(m, 2, uint64(h.From.Request))
		m = appendVarint(m, 3, h.To.Frame)
		m = appendVarint(m, 4, uint64(h.To.Request))
		m = appendString(m, 5, h.Reason)
		m = appendVarint(m, 6, h.Requests)
		head = protowire.AppendTag(head, 9, protowire.BytesType)
		head = protowire.AppendBytes(head, m)
	}
	// Between the frames' bytes stand their stamps, all in one buffer; cuts are where a frame's bytes come in.
	cuts := make([]int, 0, len(d.frames))
	size := int64(0)
	for _, f := range d.frames {
		stamps := protowire.SizeTag(1) + protowire.SizeVarint(f.sequence) + protowire.SizeTag(2) + protowire.SizeBytes(len(f.live)) +
			protowire.SizeTag(3) + protowire.SizeVarint(f.generation) + protowire.SizeTag(4) + protowire.SizeVarint(uint64(len(f.data)))
		head = protowire.AppendTag(head, 10, protowire.BytesType)
		head = protowire.AppendVarint(head, uint64(stamps+len(f.data)))
		head = appendVarintAlways(head, 1, f.sequence)
		head = protowire.AppendTag(head, 2, protowire.BytesType)
		head = protowire.AppendString(head, string(f.live))
		head = appendVarintAlways(head, 3, f.generation)
		head = protowire.AppendTag(head, 4, protowire.BytesType)
		head = protowire.AppendVarint(head, uint64(len(f.data)))
		cuts = append(cuts, len(head))
		size += int64(len(f.data))
	}
	parts := make([][]byte, 0, 2*len(d.frames)+1)
	at := 0
	for i, f := range d.frames {
		parts = append(parts, head[at:cuts[i]], f.data)
		at = cuts[i]
	}
	if at < len(head) {
		parts = append(parts, head[at:])
	}
	return &parted{parts: parts}, size + int64(len(head))
}

// parted reads slices one after the other.
type parted struct{ parts [][]byte }

func (p *parted) Read(b []byte) (n int, err error) {
	for n < len(b) && len(p.parts) > 0 {
		m := copy(b[n:], p.parts[0])
		n += m
		if p.parts[0] = p.parts[0][m:]; len(p.parts[0]) == 0 {
			p.parts = p.parts[1:]
		}
	}
	if n == 0 && len(p.parts) == 0 && len(b) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

func (p *parted) Close() error { return nil }

func appendVarint(b []byte, field protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	return appendVarintAlways(b, field, v)
}

func appendVarintAlways(b []byte, field protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), v)
}

func appendString(b []byte, field protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, field, protowire.BytesType), s)
}

// countRequests counts the requests in a frame's bytes without decoding them.
func countRequests(frame []byte) (n uint32, err error) {
	for b := frame; len(b) > 0; {
		field, kind, tag := protowire.ConsumeTag(b)
		if tag < 0 {
			return 0, fmt.Errorf("frame of %d bytes: byte %d: %w", len(frame), len(frame)-len(b), protowire.ParseError(tag))
		}
		value := protowire.ConsumeFieldValue(field, kind, b[tag:])
		if value < 0 {
			return 0, fmt.Errorf("frame of %d bytes: byte %d: %w", len(frame), len(frame)-len(b), protowire.ParseError(value))
		}
		if field == 1 && kind == protowire.BytesType {
			n++
		}
		b = b[tag+value:]
	}
	return n, nil
}

// requestAt returns the encoded request at index of a frame, and its id.
func requestAt(frame []byte, index uint32) (encoded []byte, id []byte, err error) {
	n := uint32(0)
	for b := frame; len(b) > 0; {
		field, kind, tag := protowire.ConsumeTag(b)
		if tag < 0 {
			break
		}
		value := protowire.ConsumeFieldValue(field, kind, b[tag:])
		if value < 0 {
			break
		}
		if field == 1 && kind == protowire.BytesType {
			if n == index {
				encoded, _ = protowire.ConsumeBytes(b[tag:])
				f, err := event.DecodeFrame(b[:tag+value])
				if err != nil {
					return nil, nil, err
				}
				return encoded, f.Requests[0].Id, nil
			}
			n++
		}
		b = b[tag+value:]
	}
	return nil, nil, fmt.Errorf("frame of %d bytes: it has no request %d", len(frame), index)
}
