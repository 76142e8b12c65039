package journal

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/sparrowhq/sparrow/event"
)

// Journal is an open journal. It is safe for concurrent use; a Reader is not.
type Journal struct {
	o       Options
	id      string
	folder  *folder // nil with Options.URL
	metrics *metrics
	space   space

	ending context.Context // ends when Close begins
	end    context.CancelFunc
	keeper sync.WaitGroup // keep

	mu      sync.Mutex
	current *engine       // nil while there is none
	why     error         // why current is nil
	changed chan struct{} // closed, and replaced, whenever current changes

	repairing sync.Mutex // held while an engine is being replaced

	timeline struct {
		sync.Mutex
		event.Timeline // a prefix of the stream's records
	}
	firstFrame atomic.Uint64 // a lower bound of the first frame still there
}

// Open opens the journal in o.Dir or at o.URL, and creates it if there is none.
//
// It blocks until everything acknowledged before is readable, which takes about a second per 10 GiB after a crash.
// Errors: the folder is open in another process, has a newer format, or cannot be read; each says what to do.
func Open(ctx context.Context, o Options) (_ *Journal, err error) {
	if o, err = o.withDefaults(); err != nil {
		return nil, err
	}
	j := &Journal{o: o, changed: make(chan struct{})}
	j.ending, j.end = context.WithCancel(context.Background())
	if o.URL == "" {
		if j.folder, err = openFolder(o.Dir); err != nil {
			return nil, err
		}
	}
	defer func() {
		if err != nil {
			j.Close()
		}
	}()
	if j.metrics, err = newMetrics(o.Telemetry.Registry, j); err != nil {
		return nil, err
	}
	if err := j.start(ctx); err != nil {
		return nil, err
	}
	if err := j.refresh(ctx); err != nil {
		return nil, err
	}
	j.keeper.Go(j.keep)
	return j, nil
}

// start brings an engine up and puts it in place.
func (j *Journal) start(ctx context.Context) error {
	open := startEmbedded
	if j.o.URL != "" {
		open = connectCluster
	}
	e, err := open(j.o)
	if err != nil {
		j.replace(nil, err)
		return err
	}
	j.replace(e, nil)
	if err := j.prepare(ctx, e); err != nil {
		j.replace(nil, err)
		e.stop()
		return err
	}
	return nil
}

// replace puts e in place of the current engine.
func (j *Journal) replace(e *engine, why error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.current, j.why = e, why
	close(j.changed)
	j.changed = make(chan struct{})
}

// engine returns the engine, or why there is none, and a channel that closes when that changes.
func (j *Journal) engine() (*engine, <-chan struct{}, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.ending.Err() != nil {
		return nil, j.changed, ErrClosed
	}
	if j.current == nil {
		return nil, j.changed, fmt.Errorf("%w: %w", ErrUnavailable, j.why)
	}
	return j.current, j.changed, nil
}

// ID is the journal's identity: a UUID made when it was created.
func (j *Journal) ID() string { return j.id }

// Addr is the address at which the embedded server listens; empty if nothing listens.
func (j *Journal) Addr() string {
	e, _, err := j.engine()
	if err != nil || e.server == nil || e.server.Addr() == nil {
		return ""
	}
	return e.server.Addr().String()
}

// Close stops everything the journal started and waits for it. Calls that are blocked return ErrClosed.
func (j *Journal) Close() error {
	j.end()
	j.keeper.Wait()
	j.repairing.Lock()
	defer j.repairing.Unlock()
	j.mu.Lock()
	e := j.current
	j.mu.Unlock()
	j.replace(nil, ErrClosed)
	if e != nil {
		e.stop()
	}
	j.metrics.unregister()
	var err error
	if j.folder != nil {
		err = errors.Join(err, j.folder.close())
	}
	return err
}
