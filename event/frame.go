package event

import (
	"errors"
	"fmt"
	"sort"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// MaxFrameBytes bounds an encoded frame: the journal's payload limit (16 MiB) less room for message headers.
const MaxFrameBytes = 16<<20 - 64<<10

// AppendRequest appends r to an encoded frame, so that a frame grows request by request without being encoded again.
// On error it returns frame as it was: one request that cannot be encoded does not spoil its neighbours.
func AppendRequest(frame []byte, r *Request) ([]byte, error) {
	if len(r.GetId()) != 16 {
		return frame, fmt.Errorf("request with an id of %d bytes, want 16", len(r.GetId()))
	}
	grown := protowire.AppendTag(frame, 1, protowire.BytesType)
	grown = protowire.AppendVarint(grown, uint64(proto.Size(r)))
	grown, err := proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(grown, r)
	if err != nil {
		return frame, fmt.Errorf("request with a body of %d bytes: %w", len(r.Body), err)
	}
	return grown, nil
}

// DecodeFrame decodes a frame and checks what every reader relies on: each request has a 16-byte id.
func DecodeFrame(data []byte) (*Frame, error) {
	f := new(Frame)
	if err := proto.Unmarshal(data, f); err != nil {
		return nil, fmt.Errorf("frame of %d bytes: %w", len(data), err)
	}
	for i, r := range f.Requests {
		if len(r.Id) != 16 {
			return nil, fmt.Errorf("frame of %d bytes: request %d has an id of %d bytes, want 16", len(data), i, len(r.Id))
		}
	}
	return f, nil
}

// DeliveryFormat is the Delivery format this build writes, and the newest it reads.
const DeliveryFormat = 1

// DeliveryType is the Content-Type of an encoded Delivery.
const DeliveryType = "application/vnd.sparrow.delivery"

// The reasons why a stack never gets a position, as a Hole names them.
const (
	Dead    = "dead"    // it reached the stack, and alone failed again and again
	Expired = "expired" // the journal let go of it under pressure before the stack had it
	Sampled = "sampled" // the feed is configured to leave it out
)

// DecodeDelivery decodes the body of POST /v1/frames and checks what every reader relies on: its range is one, and
// frames, holes and control records come in the journal's order, frames and holes within the range and holes disjoint.
func DecodeDelivery(data []byte) (*Delivery, error) {
	d := new(Delivery)
	if err := proto.Unmarshal(data, d); err != nil {
		return nil, fmt.Errorf("delivery of %d bytes: %w", len(data), err)
	}
	if d.Format != DeliveryFormat {
		return nil, fmt.Errorf("delivery format %d: this build reads %d; upgrade the receiving stack first", d.Format, DeliveryFormat)
	}
	if err := d.check(); err != nil {
		return nil, fmt.Errorf("delivery of [%v, %v): %w", d.From(), d.To(), err)
	}
	return d, nil
}

func (d *Delivery) check() error {
	if d.From().Compare(d.To()) > 0 {
		return errors.New("ends before it begins")
	}
	last := uint64(0)
	for _, f := range d.Frames {
		if f.Sequence <= last || f.Sequence < d.FromFrame || f.Sequence > d.ToFrame || f.Sequence == d.ToFrame && d.ToRequest == 0 {
			return fmt.Errorf("frame %d is out of order or outside", f.Sequence)
		}
		last = f.Sequence
	}
	end := d.From()
	for _, h := range d.Holes {
		from, to := h.From(), h.To()
		if from.Compare(to) >= 0 || from.Compare(end) < 0 || to.Compare(d.To()) > 0 {
			return fmt.Errorf("hole [%v, %v) is empty, out of order or outside", from, to)
		}
		switch h.Reason {
		case Dead, Expired, Sampled:
		default:
			return fmt.Errorf("hole [%v, %v): unknown reason %q", from, to, h.Reason)
		}
		end = to
	}
	last = 0
	for _, c := range d.Controls {
		if c.Sequence <= last {
			return fmt.Errorf("control record at %d is out of order", c.Sequence)
		}
		last = c.Sequence
	}
	return nil
}

// From is the first request of the delivery.
func (d *Delivery) From() Cursor { return Cursor{Frame: d.FromFrame, Request: d.FromRequest} }

// To is where the receiver's cursor stands once the delivery is applied.
func (d *Delivery) To() Cursor { return Cursor{Frame: d.ToFrame, Request: d.ToRequest} }

// Contains reports whether the receiver is to apply the request at (frame, request): it lies in the delivery's range
// and under no hole. A frame may be handed over in parts while a poison request is being isolated.
func (d *Delivery) Contains(frame uint64, request uint32) bool {
	if d.From().Covers(frame, request) || !d.To().Covers(frame, request) {
		return false
	}
	// The holes are in order and disjoint: only the first that ends past the request can hold it.
	i := sort.Search(len(d.Holes), func(i int) bool { return d.Holes[i].To().Covers(frame, request) })
	return i == len(d.Holes) || !d.Holes[i].Contains(frame, request)
}

// From is the first request of the hole.
func (h *Hole) From() Cursor { return Cursor{Frame: h.FromFrame, Request: h.FromRequest} }

// To is the first request after the hole.
func (h *Hole) To() Cursor { return Cursor{Frame: h.ToFrame, Request: h.ToRequest} }

// Contains reports whether the request at (frame, request) lies in the hole.
func (h *Hole) Contains(frame uint64, request uint32) bool {
	return !h.From().Covers(frame, request) && h.To().Covers(frame, request)
}
