package event

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// MaxFrameBytes bounds an encoded frame: the journal's payload limit (16 MiB) less room for message headers.
const MaxFrameBytes = 16<<20 - 64<<10

// AppendRequest appends r to an encoded frame, so that a frame grows request by request without being encoded again.
func AppendRequest(frame []byte, r *Request) ([]byte, error) {
	frame = protowire.AppendTag(frame, 1, protowire.BytesType)
	frame = protowire.AppendVarint(frame, uint64(proto.Size(r)))
	return proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(frame, r)
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

// DecodeDelivery decodes the body of POST /v1/frames and checks that its range is one.
func DecodeDelivery(data []byte) (*Delivery, error) {
	d := new(Delivery)
	if err := proto.Unmarshal(data, d); err != nil {
		return nil, fmt.Errorf("delivery of %d bytes: %w", len(data), err)
	}
	if d.Format != DeliveryFormat {
		return nil, fmt.Errorf("delivery format %d: this build reads %d; upgrade the receiving stack first", d.Format, DeliveryFormat)
	}
	if d.From().Compare(d.To()) > 0 {
		return nil, fmt.Errorf("delivery of [%v, %v): ends before it begins", d.From(), d.To())
	}
	last := uint64(0)
	for _, f := range d.Frames {
		if f.Sequence <= last || f.Sequence < d.FromFrame || f.Sequence > d.ToFrame || f.Sequence == d.ToFrame && d.ToRequest == 0 {
			return nil, fmt.Errorf("delivery of [%v, %v): frame %d is out of order or outside", d.From(), d.To(), f.Sequence)
		}
		last = f.Sequence
	}
	return d, nil
}

// From is the first request of the delivery.
func (d *Delivery) From() Cursor { return Cursor{Frame: d.FromFrame, Request: d.FromRequest} }

// To is where the receiver's cursor stands once the delivery is applied.
func (d *Delivery) To() Cursor { return Cursor{Frame: d.ToFrame, Request: d.ToRequest} }

// Contains reports whether the request at (frame, request) lies in the delivery's range: a frame may be handed over in
// parts while a poison request is being isolated.
func (d *Delivery) Contains(frame uint64, request uint32) bool {
	return !d.From().Covers(frame, request) && d.To().Covers(frame, request)
}
