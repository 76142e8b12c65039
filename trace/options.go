package trace

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/telemetry"
	"github.com/sparrowhq/sparrow/trace/pipeline"
	"github.com/sparrowhq/sparrow/trace/tracker"
	"github.com/sparrowhq/sparrow/warehouse"
)

// Warehouse is where outcomes go. A warehouse.Warehouse is one.
type Warehouse interface {
	warehouse.Appender
	// Normalise keeps raw_normalized's columns; see warehouse.Normaliser.
	Normalise(ctx context.Context, stack event.Stack, properties []warehouse.Property) error
}

// Options configure New. They are also the seam at which a candidate build differs from ours: its main package fills in
// the same Options, with Stages of its own, say, or a tracker with a Vendor of its own.
type Options struct {
	Stack  event.Stack // required
	Build  event.Build // what this process runs; required
	Secret string      // shared by our own processes; required
	Dir    string      // for the backlog, of this stack's trace alone; made with mode 0700; required

	Pipeline pipeline.Config  // what may leave, and to which trackers
	Key      []byte           // keys every hash, the same in both stacks; pipeline.MinSecret bytes or more; required
	Stages   []pipeline.Stage // own steps after all built-in ones

	// Trackers are by the names in Pipeline.Trackers, and each of those must be here: Vendor, Credentials and Modes are to
	// be filled in, bounds may be. Name, Before, Done and Telemetry are set by New.
	Trackers map[string]tracker.Options

	Warehouse Warehouse            // required
	Telemetry *telemetry.Telemetry // nil: nobody listens

	MaxDeliveryBytes int64         // of one POST /v1/frames; 0: 32 MiB, which holds the largest frame
	ReadTimeout      time.Duration // for the body of one delivery; 0: 30 s

	MaxBacklogBytes int64         // beyond, deliveries are refused with 503; 0: 8 GiB
	MinFree         int64         // bytes to stay free on the disk, likewise; 0: 1 GiB; negative: not looked at
	MaxKeys         int           // messageIds remembered; 0: 1,000,000
	KeyAge          time.Duration // for how long, by received-at; 0: 24 h

	MaxUnshipped int // outcomes of one sink of a lane that are not in the warehouse, beyond which it stops; 0: 50,000
	MaxAhead     int // final outcomes of one sink that wait behind an event of the other, beyond which it stops; 40 to 460 bytes each, as many or one are in a message; 0: 250,000
	MaxDead      int // dead letters of one sink of a tracker, beyond which it stops; 0: 10,000

	ShipEvery     time.Duration // how often at most a lane's outcomes go to the warehouse, and four times that while there are many; 0: 250 ms
	AppendTimeout time.Duration // for one append; 0: 1 min
	AskFirst      time.Duration // for how long a lane waits at its start for the warehouse to say what it has of it; 0: 3 s
	Grace         time.Duration // for calls in flight when the process stops; 0: 5 s
}

func (o *Options) applyDefaultsAndValidate() error {
	if _, err := event.ParseStack(string(o.Stack)); err != nil {
		return fmt.Errorf("trace: %w", err)
	}
	switch {
	case o.Build.ID == "":
		return errors.New("trace: Build.ID is empty: compute it with event.BuildOf")
	case o.Secret == "":
		return errors.New("trace: Secret is empty: every hop between our own processes is authenticated")
	case o.Dir == "":
		return errors.New("trace: Dir is empty: the backlog needs a folder of its own")
	case o.Warehouse == nil:
		return errors.New("trace: Warehouse is required")
	}
	if o.Telemetry == nil {
		o.Telemetry = telemetry.Discard()
	}
	o.MaxDeliveryBytes = positive(o.MaxDeliveryBytes, 32<<20)
	o.ReadTimeout = positive(o.ReadTimeout, 30*time.Second)
	o.MaxUnshipped = positive(o.MaxUnshipped, 50_000)
	o.MaxAhead = positive(o.MaxAhead, 250_000)
	o.MaxDead = positive(o.MaxDead, 10_000)
	o.ShipEvery = positive(o.ShipEvery, 250*time.Millisecond)
	o.AppendTimeout = positive(o.AppendTimeout, time.Minute)
	o.AskFirst = positive(o.AskFirst, 3*time.Second)
	o.Grace = positive(o.Grace, 5*time.Second)
	if o.MaxDeliveryBytes < event.MaxFrameBytes+64<<10 {
		return fmt.Errorf("trace: MaxDeliveryBytes is %d, less than the largest frame (%d) needs", o.MaxDeliveryBytes, event.MaxFrameBytes+64<<10)
	}
	return nil
}

func positive[T int | int64 | time.Duration](given, otherwise T) T {
	if given > 0 {
		return given
	}
	return otherwise
}
