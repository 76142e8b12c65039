package telemetry

import (
	"context"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/getsentry/sentry-go"
	"github.com/prometheus/client_golang/prometheus"
)

// queued is how many reports may wait for Sentry. When it is full a report is dropped, and counted as failed.
const queued = 64

// transport sends reports one after another, in a goroutine of its own: whoever reports never waits. Every report
// handed to it is counted once, as sent or failed.
type transport struct {
	sync         *sentry.HTTPSyncTransport
	queue        chan delivery // never closed
	status       atomic.Int64  // of the last answer; 0: none
	sent, failed prometheus.Counter

	ctx    context.Context // ends with Close: what is in flight is cut off
	cancel context.CancelFunc
	closed sync.Once
	done   chan struct{} // closed when the goroutine has ended
}

// delivery is a report, or a question to be answered by closing reached.
type delivery struct {
	event   *sentry.Event
	reached chan struct{}
}

func newTransport(sent, failed prometheus.Counter) *transport {
	ctx, cancel := context.WithCancel(context.Background())
	return &transport{
		sync: sentry.NewHTTPSyncTransport(), queue: make(chan delivery, queued), sent: sent, failed: failed,
		ctx: ctx, cancel: cancel, done: make(chan struct{}),
	}
}

// Configure implements sentry.Transport.
func (t *transport) Configure(o sentry.ClientOptions) {
	base := http.DefaultTransport.(*http.Transport).Clone()
	base.ResponseHeaderTimeout = 10 * time.Second
	o.HTTPClient = &http.Client{
		Transport: noted{t, base},
		Timeout:   15 * time.Second,
		// A report goes where the DSN says, and nowhere else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	t.sync.Configure(o)
	go t.run(base)
}

func (t *transport) run(base *http.Transport) {
	defer close(t.done)
	defer base.CloseIdleConnections()
	for {
		select {
		case <-t.ctx.Done():
			t.drop()
			return
		case d := <-t.queue:
			if d.reached != nil {
				close(d.reached)
				continue
			}
			t.status.Store(0)
			t.sync.SendEventWithContext(t.ctx, d.event)
			if s := t.status.Load(); s >= 200 && s < 300 {
				t.sent.Inc()
			} else { // refused, unreachable, or held back because Sentry asked us to wait
				t.failed.Inc()
			}
		}
	}
}

// SendEvent implements sentry.Transport. It never blocks.
func (t *transport) SendEvent(e *sentry.Event) {
	if t.ctx.Err() != nil {
		t.failed.Inc()
		return
	}
	select {
	case t.queue <- delivery{event: e}:
		if t.ctx.Err() != nil { // closed meanwhile: nobody may be left to take it
			t.drop()
		}
	default:
		t.failed.Inc()
	}
}

// drop empties the queue.
func (t *transport) drop() {
	for {
		select {
		case d := <-t.queue:
			if d.event != nil {
				t.failed.Inc()
			}
		default:
			return
		}
	}
}

// Flush implements sentry.Transport.
func (t *transport) Flush(timeout time.Duration) bool {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return t.FlushWithContext(ctx)
}

// FlushWithContext implements sentry.Transport.
func (t *transport) FlushWithContext(ctx context.Context) bool {
	reached := make(chan struct{})
	select {
	case t.queue <- delivery{reached: reached}:
	case <-ctx.Done():
		return false
	case <-t.done:
		return false
	}
	select {
	case <-reached:
		return true
	case <-ctx.Done():
		return false
	case <-t.done:
		return false
	}
}

// Close implements sentry.Transport.
func (t *transport) Close() {
	t.closed.Do(t.cancel)
	<-t.done
}

// noted notes each answer's status.
type noted struct {
	t    *transport
	next http.RoundTripper
}

func (n noted) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := n.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	n.t.status.Store(int64(resp.StatusCode))
	// An answer is short; one that is not is none of Sentry's.
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(resp.Body, 1<<20), resp.Body}
	return resp, nil
}
