// Package bigquery is the warehouse engine for production: Google BigQuery, or a server that speaks as it does.
//
// Invariant: what Append acknowledged is in its log exactly once, in one append with the mark that says so, since only
// one stream can be written to, only we write to it, and every append names its offset. Whoever cannot tell any more
// what is in takes the table over, which makes it final, and reads it.
package bigquery

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	bq "cloud.google.com/go/bigquery"
	"cloud.google.com/go/bigquery/storage/apiv1/storagepb"
	"golang.org/x/sync/errgroup"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
	"github.com/sparrowhq/sparrow/warehouse/rules"
)

// ErrClosed says that the warehouse was closed.
var ErrClosed = errors.New("warehouse: closed")

// Engine implements warehouse.Warehouse. It is safe for concurrent use.
type Engine struct {
	o       Options
	names   names
	rest    *bq.Client
	storage *storage
	conn    *grpc.ClientConn
	http    *http.Client
	metrics *metrics
	known   known
	closing sync.Mutex // held while digests are made
	writers map[event.Stack]map[log]*writer

	running context.Context // ends when Close begins
	stop    context.CancelFunc
	working sync.WaitGroup // writers
	opened  atomic.Bool    // everything was read once
	rekept  atomic.Bool    // a table keeps rows for another time than before

	slots   chan struct{} // one per query that may run
	erasing chan struct{} // holds one while an erasure runs
	mu      sync.Mutex
	closed  bool           // guarded by mu; once true, reading does not grow
	days    map[string]int // guarded by mu; after how many days a table deletes partitions, where that is not by our settings
	reading sync.WaitGroup // queries in progress
}

// Open connects, makes the datasets, tables and views that are not there, takes the tables over from whoever wrote them
// before, and starts the writers.
func Open(ctx context.Context, o Options) (*Engine, error) {
	e, err := connect(ctx, o)
	if err != nil {
		return nil, err
	}
	if err := e.start(ctx); err != nil {
		e.disconnect()
		return nil, err
	}
	for _, of := range e.writers {
		for _, w := range of {
			e.working.Go(w.run)
		}
	}
	return e, nil
}

// connect makes an engine that has asked for nothing yet.
func connect(ctx context.Context, o Options) (*Engine, error) {
	if err := o.applyDefaults(); err != nil {
		return nil, err
	}
	e := &Engine{o: o, names: names{o.Project, o.Prefix}, slots: make(chan struct{}, o.Queries), erasing: make(chan struct{}, 1), days: map[string]int{}, writers: map[event.Stack]map[log]*writer{}}
	e.running, e.stop = context.WithCancel(context.Background())
	base := http.DefaultTransport.(*http.Transport).Clone()
	e.http = &http.Client{Transport: base}
	var shown *tokens
	if o.Endpoint == "" || o.Credentials != "" {
		var err error
		if shown, err = newTokens(o.Credentials, e.http); err != nil {
			return nil, err
		}
	}
	if err := e.dial(ctx, base, shown); err != nil {
		e.disconnect()
		return nil, err
	}
	return e, nil
}

// dial prepares both clients. They share the access token, if there is one.
func (e *Engine) dial(ctx context.Context, base http.RoundTripper, shown *tokens) (err error) {
	if shown != nil {
		base = &transport{shown, base}
	}
	options := []option.ClientOption{option.WithHTTPClient(&http.Client{Transport: base})}
	address, secure := "bigquerystorage.googleapis.com:443", credentials.NewClientTLSFromCert(nil, "")
	if e.o.Endpoint != "" {
		options = append(options, option.WithEndpoint(e.o.Endpoint))
		address, secure = e.o.GRPC, insecure.NewCredentials()
	}
	if e.rest, err = bq.NewClient(ctx, e.o.Project, options...); err != nil {
		return fmt.Errorf("warehouse: BigQuery: %w", err)
	}
	e.rest.Location = e.o.Location
	e.conn, err = grpc.NewClient(address, grpc.WithTransportCredentials(secure), grpc.WithUserAgent("sparrow"),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: time.Minute, Timeout: 20 * time.Second}))
	if err != nil {
		return fmt.Errorf("warehouse: BigQuery Storage API: %w", err)
	}
	e.storage = &storage{client: storagepb.NewBigQueryWriteClient(e.conn), tokens: shown, timeout: e.o.CallTimeout}
	return nil
}

// start makes and reads everything.
func (e *Engine) start(ctx context.Context) error {
	e.metrics = newMetrics(e.o.Telemetry.Registry)
	if _, err := e.prepare(ctx); err != nil {
		return fmt.Errorf("warehouse: BigQuery: %w", err)
	}
	g, grouped := errgroup.WithContext(ctx)
	for _, stack := range event.Stacks() {
		e.writers[stack] = map[log]*writer{}
		for _, l := range logs {
			w := newWriter(e, stack, l)
			e.writers[stack][l] = w
			g.Go(func() error { return w.takeOver(grouped) })
		}
	}
	if err := g.Wait(); err != nil {
		return err
	}
	// A crash may have left the views behind the timeline.
	if err := e.makeViews(ctx); err != nil {
		return err
	}
	e.opened.Store(true)
	return nil
}

// Append implements warehouse.Appender.
func (e *Engine) Append(ctx context.Context, b *warehouse.Batch) (event.Cursor, error) {
	if err := ctx.Err(); err != nil {
		return event.Cursor{}, err
	}
	if err := check(b); err != nil {
		return event.Cursor{}, fmt.Errorf("warehouse: %w", err)
	}
	w := e.writers[b.Stack][logOf(b.Stage)]
	p := &pending{batch: b, key: rules.KeyOf(b), bytes: b.Size(), done: make(chan result, 1)}
	if err := w.queue.put(p); err != nil {
		return event.Cursor{}, err
	}
	select {
	case r := <-p.done:
		return r.cursor, r.err
	case <-ctx.Done():
		// What is on its way is a copy; what became of it, the next batch finds out.
		p.abandon()
		return event.Cursor{}, ctx.Err()
	}
}

// check refuses a batch that could never be stored as it is.
func check(b *warehouse.Batch) error {
	if err := rules.Check(b); err != nil {
		return err
	}
	for i := range rules.Length(b) {
		if at := timeOf(b, i); at < firstTime || at > lastTime {
			return fmt.Errorf("row %v: timestamp %d lies outside the years 1 to 9999", rules.Place(b, i), at)
		}
	}
	return nil
}

// Cursor implements warehouse.Appender.
func (e *Engine) Cursor(_ context.Context, stack event.Stack, run uint64, stage warehouse.Stage) (event.Cursor, error) {
	if _, err := event.ParseStack(string(stack)); err != nil {
		return event.Cursor{}, err
	}
	return e.writers[stack][logOf(stage)].cursor(rules.Key{Stack: stack, Run: run, Stage: stage}), nil
}

// Journals implements warehouse.Reader.
func (e *Engine) Journals(context.Context) ([]warehouse.Journal, error) {
	return slices.Clone(e.known.get().Journals), nil
}

// Ready returns why the warehouse should not be asked now; nothing if it should.
func (e *Engine) Ready() []error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return []error{ErrClosed}
	}
	return nil
}

// Close stops intake, refuses what is queued, stops queries and appends in progress, and hangs up. What is on its way
// may still arrive: the next Open finds out.
func (e *Engine) Close() error {
	e.mu.Lock()
	closed := e.closed
	e.closed = true
	e.mu.Unlock()
	if closed {
		return nil
	}
	for _, of := range e.writers {
		for _, w := range of {
			w.queue.close()
		}
	}
	e.stop()
	e.working.Wait()
	e.reading.Wait()
	return e.disconnect()
}

func (e *Engine) disconnect() (err error) {
	e.stop()
	for _, of := range e.writers {
		for _, w := range of {
			w.drop()
		}
	}
	if e.conn != nil {
		err = e.conn.Close()
	}
	if e.rest != nil {
		err = errors.Join(err, e.rest.Close())
	}
	e.http.CloseIdleConnections()
	if e.metrics != nil {
		e.metrics.unregister()
	}
	return err
}
