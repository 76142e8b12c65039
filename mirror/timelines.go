package mirror

import (
	"context"
	"fmt"
	"sync"

	"github.com/sparrowhq/sparrow/event"
)

// timelines keeps the timeline as far as this process knows it. It only ever grows by records that continue its chain,
// so whatever it knows is a prefix of what the stream holds.
type timelines struct {
	journal timelineSource

	mu      sync.Mutex
	known   event.Timeline
	changed chan struct{} // closed, and replaced, whenever known grows
}

// timelineSource is the journal as the keeper of the timeline uses it.
type timelineSource interface {
	// Timeline reads the timeline from the stream itself, complete as of the call.
	Timeline(ctx context.Context) (event.Timeline, error)
	// AppendControl appends a record if c.Generation is the head's plus one, durable on return.
	AppendControl(ctx context.Context, c event.Control) (event.Record, error)
}

func newTimelines(j timelineSource) *timelines {
	return &timelines{journal: j, changed: make(chan struct{})}
}

// current returns the timeline, and a channel that closes when it has grown.
func (k *timelines) current() (event.Timeline, <-chan struct{}) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.known, k.changed
}

// refresh reads the timeline from the stream. Afterwards every record that was in the stream before the call is known.
func (k *timelines) refresh(ctx context.Context) error {
	t, err := k.journal.Timeline(ctx)
	if err != nil {
		return fmt.Errorf("reading the timeline: %w", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(t.Records()) > len(k.known.Records()) {
		k.growLocked(t)
	}
	return nil
}

// observe takes a record met in the stream. A record that does not follow what is known means that others were passed
// over: then the stream is asked.
func (k *timelines) observe(ctx context.Context, sequence uint64, data []byte) error {
	r, err := event.DecodeRecord(sequence, data)
	if err != nil {
		return err
	}
	if k.extend(r) {
		return nil
	}
	if err := k.refresh(ctx); err != nil {
		return err
	}
	if !k.extend(r) {
		return fmt.Errorf("control record at %d, generation %d, is not part of the journal's timeline", sequence, r.Generation)
	}
	return nil
}

// extend reports whether r is known afterwards.
func (k *timelines) extend(r event.Record) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	records := k.known.Records()
	if n := len(records); n > 0 && r.Sequence <= records[n-1].Sequence {
		for _, have := range records {
			if have.Sequence == r.Sequence {
				return true
			}
		}
		return false
	}
	t, err := k.known.Append(r)
	if err != nil {
		return false
	}
	k.growLocked(t)
	return true
}

func (k *timelines) growLocked(t event.Timeline) {
	k.known = t
	close(k.changed)
	k.changed = make(chan struct{})
}

// append writes a record to the stream. It is known, and on its way to the stacks, on return.
func (k *timelines) append(ctx context.Context, c event.Control) (event.Record, error) {
	r, err := k.journal.AppendControl(ctx, c)
	if err != nil {
		return event.Record{}, err
	}
	if !k.extend(r) {
		// Somebody else's record came first, unseen. The new one is durable either way: if the stream cannot be asked now,
		// the feeds find both in it.
		_ = k.refresh(ctx)
	}
	return r, nil
}
