// Package send is a client: it sends events to a mirror the way a browser does, and keeps a list of what was
// acknowledged.
//
// Invariant: an eventId is listed if and only if the answer that acknowledges its request was read. What was retried
// is a new request with new ids: an attempt whose answer was lost may have been accepted all the same, and is counted
// as unknown, never listed.
package send

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Options configure New.
type Options struct {
	URL         string        // the mirror's address for clients; required
	Key         string        // write key; empty: "dev", the key of a fresh installation
	Source      Source        // required
	Rate        float64       // events a second, kept on average over the whole run; 0: as fast as answers come
	Connections int           // requests under way at once, each on a connection of its own; 0: 8
	Batch       int           // events to a request, as a JSON array; 0: each line is a body
	Gzip        bool          // compress bodies
	Duration    time.Duration // stop reading the source after this long; 0: at its end
	Retries     int           // further attempts of a request that was put off or got no answer; negative: without limit
	Timeout     time.Duration // of one attempt; 0: 30 s
	Grace       time.Duration // that attempts under way get when ctx ends; 0: 5 s
	Acks        *Acks         // nil: no list
	UserAgent   string        // empty: "sparrow-send"
}

func (o Options) withDefaults() (Options, error) {
	if o.Source == nil {
		return o, errors.New("send: nothing to send: Options.Source is missing")
	}
	base, err := url.Parse(o.URL)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return o, fmt.Errorf("send: address %q: want one like http://127.0.0.1:8080", o.URL)
	}
	if o.Rate < 0 || o.Connections < 0 || o.Batch < 0 {
		return o, fmt.Errorf("send: rate %g, connections %d, batch %d: must not be negative", o.Rate, o.Connections, o.Batch)
	}
	o.Key = cmp.Or(o.Key, "dev")
	o.URL = strings.TrimRight(o.URL, "/") + "/v1/events?k=" + url.QueryEscape(o.Key)
	o.Connections = cmp.Or(o.Connections, 8)
	o.Timeout = cmp.Or(o.Timeout, 30*time.Second)
	o.Grace = cmp.Or(o.Grace, 5*time.Second)
	o.UserAgent = cmp.Or(o.UserAgent, "sparrow-send")
	return o, nil
}

// Sender sends. It is used once.
type Sender struct {
	o       Options
	client  *http.Client
	began   time.Time
	latency histogram

	sent, acknowledged, refused, attempts, retried, unknown, bytes, interrupted atomic.Int64

	mu       sync.Mutex
	statuses map[string]int64
	problem  string // of the last request that was given up
}

// New returns a sender.
func New(o Options) (*Sender, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Sender{
		o:        o,
		statuses: map[string]int64{},
		client: &http.Client{
			Transport: &http.Transport{
				DialContext:         (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
				MaxIdleConnsPerHost: o.Connections,
				MaxConnsPerHost:     o.Connections,
				IdleConnTimeout:     time.Minute,
				DisableCompression:  true,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// Summary is what became of the input. All counts are of events (lines, unless a line is a list) except where stated.
type Summary struct {
	Sent         int64            `json:"sent"`         // began to be sent
	Acknowledged int64            `json:"acknowledged"` // answered 200
	Refused      int64            `json:"refused"`      // given up: refused for good, or out of retries
	Interrupted  int64            `json:"interrupted"`  // given up because the run ended
	Attempts     int64            `json:"attempts"`     // requests, retries included
	Retried      int64            `json:"retried"`      // requests
	Unknown      int64            `json:"unknown"`      // requests that broke off without an answer: accepted or not
	Bytes        int64            `json:"bytes"`        // of bodies, in all attempts
	Statuses     map[string]int64 `json:"statuses"`     // of requests: HTTP status, or "none"
	Seconds      float64          `json:"seconds"`
	Rate         float64          `json:"rate"` // acknowledged a second
	P50          float64          `json:"p50Ms"`
	P99          float64          `json:"p99Ms"` // from the moment a request was due, so that a stall counts for all it held up
	Max          float64          `json:"maxMs"`
	Problem      string           `json:"problem,omitempty"` // why the last refused request was refused
}

// Complete reports whether everything that was sent was acknowledged.
func (s Summary) Complete() bool { return s.Sent == s.Acknowledged }

// Summary returns the counts so far.
func (s *Sender) Summary() Summary {
	s.mu.Lock()
	defer s.mu.Unlock()
	elapsed := time.Duration(0)
	if !s.began.IsZero() {
		elapsed = time.Since(s.began)
	}
	statuses := map[string]int64{}
	for k, v := range s.statuses {
		statuses[k] = v
	}
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	sum := Summary{
		Sent: s.sent.Load(), Acknowledged: s.acknowledged.Load(), Refused: s.refused.Load(), Interrupted: s.interrupted.Load(),
		Attempts: s.attempts.Load(), Retried: s.retried.Load(), Unknown: s.unknown.Load(), Bytes: s.bytes.Load(),
		Statuses: statuses, Seconds: elapsed.Seconds(), Problem: s.problem,
		P50: ms(s.latency.quantile(.5)), P99: ms(s.latency.quantile(.99)), Max: ms(s.latency.max()),
	}
	if elapsed > 0 {
		sum.Rate = float64(sum.Acknowledged) / elapsed.Seconds()
	}
	return sum
}

// job is a parcel and when it is to be sent.
type job struct {
	parcel *parcel
	due    time.Time
}

// Run sends until the source or the duration ends, or ctx does: then what is under way gets Grace to be answered. An
// error means that sending stopped before its end; refused events are no error.
func (s *Sender) Run(ctx context.Context) (Summary, error) {
	s.mu.Lock()
	s.began = time.Now()
	s.mu.Unlock()
	defer s.client.CloseIdleConnections()

	// Reading and starting stop with feeding; attempts under way may go on until hard ends.
	feeding, stopFeeding := context.WithCancelCause(ctx)
	defer stopFeeding(nil)
	hard, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(s.o.Grace, cut) })()

	jobs := make(chan job)
	var workers sync.WaitGroup
	for range s.o.Connections {
		workers.Go(func() {
			for j := range jobs {
				if err := s.deliver(feeding, hard, j); err != nil {
					stopFeeding(err)
				}
			}
		})
	}
	err := s.feed(feeding, jobs)
	close(jobs)
	workers.Wait()
	if cause := context.Cause(feeding); cause != nil && ctx.Err() == nil {
		err = cause // what a worker could not go on from
	}
	return s.Summary(), err
}

// feed hands parcels to the workers, each when it is due.
func (s *Sender) feed(ctx context.Context, jobs chan<- job) error {
	p := &packer{src: s.o.Source, size: s.o.Batch}
	start := time.Now()
	events := 0
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for ctx.Err() == nil {
		parcel, err := p.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("input: %w", err)
		}
		due := time.Now()
		if s.o.Rate > 0 {
			// Counted from the start, so that a late timer delays one request, not all after it.
			due = start.Add(time.Duration(math.Round(float64(events) / s.o.Rate * float64(time.Second))))
			timer.Reset(time.Until(due))
			select {
			case <-timer.C:
			case <-ctx.Done():
				return nil
			}
		}
		if s.o.Duration > 0 && time.Since(start) >= s.o.Duration {
			return nil
		}
		events += len(parcel.events)
		select {
		case jobs <- job{parcel: parcel, due: due}:
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}
