package tracker

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"

	"github.com/klauspost/compress/gzip"
)

// witness is the RoundTripper below everything, retries included. It reads each attempt's bytes as they pass, and notes
// what each event's Result will say was sent. It believes nothing that was said about the request above it.
type witness struct {
	base        http.RoundTripper
	vendor      Vendor
	credentials map[Sink]Credential
	metrics     *metrics
}

// testimony is what the witness saw of one call's attempts. It travels in the request's context, and belongs to the
// goroutine that makes the call.
type testimony struct {
	tasks    []*task
	byKey    map[string]*task // made when the order of events is not that of tasks
	attempts int              // that passed
	requests int              // that were looked at
	unread   bool             // some attempt's bytes were not of the vendor's form: what they carried is not known
	form     []byte           // joined head and body of the last event, reused
}

type testimonyKey struct{}

var errNoTestimony = errors.New("a request without a testimony")

// RoundTrip refuses what would leave in the clear.
func (w *witness) RoundTrip(r *http.Request) (*http.Response, error) {
	t, _ := r.Context().Value(testimonyKey{}).(*testimony)
	if t == nil {
		closeBody(r)
		return nil, errNoTestimony
	}
	if err := checkScheme(r.URL); err != nil {
		closeBody(r)
		return nil, err
	}
	body, err := readBody(r)
	if err != nil {
		return nil, err
	}
	passed, err := w.split(r, body)
	if err != nil {
		w.metrics.unread.Inc() // the Results will show no attempt: what nobody saw is not claimed
		t.unread = true
	}
	// Not every attempt gets as far as the wire. What was written may have arrived, answered or not.
	var wrote atomic.Bool
	ctx := httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{WroteRequest: func(i httptrace.WroteRequestInfo) {
		if i.Err == nil {
			wrote.Store(true)
		}
	}})
	out := r.WithContext(ctx)
	out.Body = io.NopCloser(bytes.NewReader(body))
	out.GetBody = nil // or net/http would send it again by itself, unseen, where a header says that it may
	resp, err := w.base.RoundTrip(out)
	if resp != nil || wrote.Load() {
		t.attempts++
		t.saw(passed, w.sinkOf(passed.Credential), true)
	}
	if resp != nil && resp.StatusCode/100 == 2 && !isHTML(resp.Header.Get("Content-Type")) {
		t.answered(passed)
	}
	return resp, err
}

// split reads a request as it is on the wire.
func (w *witness) split(r *http.Request, body []byte) (Passed, error) {
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(bytes.NewReader(body))
		if err != nil {
			return Passed{}, err
		}
		if body, err = io.ReadAll(z); err != nil {
			return Passed{}, err
		}
	}
	return w.vendor.Split(&Request{URL: r.URL.String(), Header: r.Header, Body: body})
}

// sinkOf returns the sink whose whole credential c is, or none.
func (w *witness) sinkOf(c Credential) Sink {
	for sink, own := range w.credentials {
		if own.URL == c.URL && own.Key == c.Key && own.Secret == c.Secret {
			return sink
		}
	}
	return ""
}

// saw notes each event that passed at its task. Where an event stands in the request says nothing; its key does.
//
// What is needed is each event once in a request, and in no other after a good answer. A second copy, an event after it
// was answered for, and one whose key is nobody's are noted at the event, the last at the one before it.
func (t *testimony) saw(p Passed, sink Sink, sent bool) {
	t.requests++
	var before *task
	if len(t.tasks) > 0 {
		before = t.tasks[0]
	}
	for i := range p.Events {
		e := &p.Events[i]
		task := t.find(i, e.Key)
		if task == nil {
			if before != nil {
				before.excess = true
			}
			continue
		}
		before = task
		if task.seen == t.requests || task.answered {
			task.excess = true
		}
		if sent && task.seen != t.requests {
			task.attempts++
		}
		task.seen = t.requests
		task.credential = sink
		t.form = append(append(t.form[:0], e.Head...), e.Body...)
		sum := sha256.Sum256(t.form)
		task.digest = binary.BigEndian.Uint64(sum[:8])
		task.head, task.body = e.Head, e.Body
	}
}

// answered notes which events a good status was given to. A page is some proxy's, and no answer.
func (t *testimony) answered(p Passed) {
	for i := range p.Events {
		if task := t.find(i, p.Events[i].Key); task != nil {
			task.answered = true
		}
	}
}

func (t *testimony) find(i int, key string) *task {
	if i < len(t.tasks) && t.tasks[i].form.Key == key {
		return t.tasks[i]
	}
	if t.byKey == nil {
		t.byKey = make(map[string]*task, len(t.tasks))
		for _, task := range t.tasks {
			t.byKey[task.form.Key] = task
		}
	}
	return t.byKey[key]
}

func withTestimony(ctx context.Context, t *testimony) context.Context {
	return context.WithValue(ctx, testimonyKey{}, t)
}

func readBody(r *http.Request) ([]byte, error) {
	defer closeBody(r)
	if r.Body == nil {
		return nil, nil
	}
	body := make([]byte, max(r.ContentLength, 0))
	if _, err := io.ReadFull(r.Body, body); err != nil {
		return nil, fmt.Errorf("read the request's body: %w", err)
	}
	return body, nil
}

func closeBody(r *http.Request) {
	if r.Body != nil {
		r.Body.Close()
	}
}
