package journal

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

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
	alarm  chan struct{}  // the embedded server logged an error; holds one

	mu      sync.Mutex
	current *engine       // nil while there is none
	why     error         // why current is nil
	changed chan struct{} // closed, and replaced, whenever current changes

	repairing sync.Mutex // held while an engine is being replaced

	timeline struct {
		sync.Mutex
		event.Timeline // a prefix of the stream's records
	}
	firstFrame firstFrame
}

// Open opens the journal in o.Dir or at o.URL, and creates it if there is none.
//
// It blocks until everything acknowledged before is readable, which takes about a second per 10 GiB after a crash.
// Errors: the folder is open in another process, has a newer format, or cannot be read; each says what to do.
func Open(ctx context.Context, o Options) (_ *Journal, err error) {
	if o, err = o.withDefaults(); err != nil {
		return nil, err
	}
	j := &Journal{o: o, changed: make(chan struct{}), alarm: make(chan struct{}, 1)}
	j.ending, j.end = context.WithCancel(context.Background())
	if o.URL == "" {
		if j.folder, err = openFolder(o.Dir, o.Ballast); err != nil {
			return nil, err
		}
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, j.Close())
		}
	}()
	if j.metrics, err = newMetrics(o.Telemetry.Registry, j); err != nil {
		return nil, err
	}
	if err := j.start(ctx); err != nil {
		return nil, err
	}
	j.tendBallast()
	if err := j.refresh(ctx); err != nil {
		return nil, err
	}
	j.keeper.Go(j.keep)
	return j, nil
}

// start brings an engine up and puts it in place.
func (j *Journal) start(ctx context.Context) error {
	e, err := j.startEngine()
	if err == nil {
		if err = j.settleStreams(ctx, e); err != nil {
			e.stop()
		}
	}
	if err != nil {
		j.replace(nil, err)
		return err
	}
	j.replace(e, nil)
	return nil
}

// settleStreams makes the streams what they should be, and durable.
func (j *Journal) settleStreams(ctx context.Context, e *engine) error {
	if j.folder != nil {
		if err := j.prepare(ctx, e); err != nil {
			return err
		}
		return syncTree(j.folder.path)
	}
	// A cluster does not answer for a stream that is being created or has no leader yet: ask again.
	end := time.Now().Add(clusterPatience)
	for {
		try, cancel := context.WithTimeout(ctx, 2*time.Second)
		err := j.prepare(try, e)
		cancel()
		passing := errors.Is(err, ErrUnavailable) || missing(err)
		if !passing || ctx.Err() != nil || time.Now().After(end) {
			return err
		}
		wait := time.NewTimer(100 * time.Millisecond)
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
		}
	}
}

// clusterPatience is how long Open waits for a cluster to have leaders.
const clusterPatience = 30 * time.Second

func (j *Journal) startEngine() (*engine, error) {
	if j.folder == nil {
		return connectCluster(j.o)
	}
	err := settleFolder(j.folder.path)
	if errors.Is(err, syscall.ENOSPC) { // a file system that never writes in place
		if err = j.folder.makeRoom(controlRoom, 0); err == nil {
			err = settleFolder(j.folder.path)
		}
	}
	if err != nil {
		return nil, err
	}
	return startEmbedded(j.o, j.alarm)
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

// ask calls fn with the engine. While an embedded server is being restarted it waits for the next one, and so it calls
// fn again if the engine ended under it: fn only reads.
func (j *Journal) ask(ctx context.Context, fn func(*engine) error) error {
	wait, cancel := context.WithTimeout(ctx, j.o.Timeout)
	defer cancel()
	for {
		e, changed, err := j.engine()
		if err == nil {
			if err = fn(e); err == nil || !errors.Is(err, ErrUnavailable) || e.life.Err() == nil {
				return err
			}
		}
		if j.folder == nil || errors.Is(err, ErrClosed) {
			return err
		}
		select {
		case <-changed:
		case <-wait.Done():
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return err
		}
	}
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
