package journal

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/telemetry"
)

// Options configure Open.
type Options struct {
	// Dir holds the journal and is created (0700) if missing. Required unless URL is set, and then not used.
	Dir string

	// URL names a NATS cluster to keep the journal in ("nats://a:4222,nats://b:4222"). Empty: a server embedded in this
	// process. The cluster's servers must run with "jetstream { sync_interval: always }" and a max_payload of 16 MB: the
	// journal cannot see whether they sync.
	URL string
	// Credentials is a NATS credentials file for URL. Empty: none, or what URL carries.
	Credentials string
	// Replicas of each stream when URL is set; applied when the streams are created. 0: 1.
	Replicas int

	// MaxBytes bounds the frames' stream; frames are refused at 95 % of it. 0: 20 GiB.
	MaxBytes int64
	// MaxAge is how long frames are kept. The journal trims nothing by itself: see Aged and Trim. 0: 72 hours.
	MaxAge time.Duration
	// LedgerAge is how long records of the log "ledger" are kept. 0: 90 days.
	LedgerAge time.Duration
	// MinFree is the free disk space in bytes below which frames are refused. 0: 128 MiB. Embedded only.
	MinFree int64
	// Ballast is the disk space in bytes kept back for control records. 0: 8 MiB. Embedded only.
	Ballast int64

	// FirstFrame says at which sequence a journal begins that does not exist yet. It is called only then. nil, or an
	// answer of 0: at 1. An error makes Open fail: beginning too low would reuse the positions of another journal.
	FirstFrame func(ctx context.Context) (uint64, error)

	// Listen is the address on which the embedded server lets an operator read along, with Credential(Secret).
	// Empty: 127.0.0.1, any port.
	Listen string
	// Secret is the installation's secret, from which the listener's credential derives. Empty: nothing listens.
	Secret string

	// Timeout bounds each call to the server whose context has no earlier deadline. 0: 10 s.
	Timeout time.Duration

	// Telemetry is required.
	Telemetry *telemetry.Telemetry

	unsafeNoSync bool // for the test that shows that the fsync test can fail
}

// withDefaults returns o checked, with every zero value replaced.
func (o Options) withDefaults() (Options, error) {
	if o.Telemetry == nil {
		return o, errors.New("journal: Options.Telemetry is missing")
	}
	if o.Dir == "" && o.URL == "" {
		return o, errors.New("journal: neither a folder (Dir) nor a cluster (URL) is given")
	}
	if o.Dir != "" {
		dir, err := filepath.Abs(o.Dir)
		if err != nil {
			return o, fmt.Errorf("journal: folder %s: %w", o.Dir, err)
		}
		o.Dir = dir
	}
	for _, d := range []struct {
		field *int64
		value int64
	}{
		{&o.MaxBytes, 20 << 30},
		{&o.MinFree, 128 << 20},
		{&o.Ballast, 8 << 20},
	} {
		if *d.field < 0 {
			return o, fmt.Errorf("journal: a size of %d bytes in the options: must not be negative", *d.field)
		}
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if o.Replicas == 0 {
		o.Replicas = 1
	}
	if o.MaxAge == 0 {
		o.MaxAge = 72 * time.Hour
	}
	if o.LedgerAge == 0 {
		o.LedgerAge = 90 * 24 * time.Hour
	}
	if o.Listen == "" {
		o.Listen = "127.0.0.1:0"
	}
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Second
	}
	if o.MaxBytes < smallestStream {
		return o, fmt.Errorf("journal: MaxBytes is %d: must be at least %d, or there is no room for control records", o.MaxBytes, smallestStream)
	}
	return o, nil
}

// smallestStream leaves 5 % = 51 KiB for control records.
const smallestStream = 1 << 20

// MaxFrameBytes is the largest frame Publish takes.
const MaxFrameBytes = event.MaxFrameBytes
