package dispatcher

import (
	"context"
	"errors"

	"github.com/sparrowhq/sparrow/delivery"
	"github.com/sparrowhq/sparrow/event"
)

// Failed says that a request reached this stack and could not be processed: sent again, it will fail again.
type Failed = delivery.Failed

// receiver is the Dispatcher as what serves POST /v1/frames knows it.
type receiver struct{ d *Dispatcher }

// Build implements delivery.Receiver.
func (r receiver) Build() event.Build { return r.d.Build() }

// Apply makes the delivery durable in the warehouse and in trace, both at once, and returns the lower of their cursors.
func (r receiver) Apply(ctx context.Context, dl *event.Delivery, encoded []byte) (event.Cursor, error) {
	d := r.d
	if d.o.Forwarder == nil {
		return d.appendRaw(ctx, dl)
	}
	var trace event.Cursor
	var traceErr error
	done := make(chan struct{})
	go func() {
		defer close(done)
		trace, traceErr = d.forward(ctx, dl, encoded)
	}()
	raw, rawErr := d.appendRaw(ctx, dl)
	<-done
	if err := errors.Join(rawErr, traceErr); err != nil {
		return event.Cursor{}, err
	}
	if trace.Compare(raw) < 0 {
		return trace, nil
	}
	return raw, nil
}

// Cursor is the lowest of the stages' cursors.
func (r receiver) Cursor(ctx context.Context, run uint64) (event.Cursor, error) {
	stages, err := r.d.stages(ctx, run)
	if err != nil {
		return event.Cursor{}, err
	}
	lowest, first := event.Cursor{}, true
	for _, cursor := range stages {
		if first || cursor.Compare(lowest) < 0 {
			lowest, first = cursor, false
		}
	}
	return lowest, nil
}
