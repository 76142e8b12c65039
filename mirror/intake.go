package mirror

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/sparrowhq/sparrow/journal"
	"github.com/sparrowhq/sparrow/service"
	"github.com/sparrowhq/sparrow/telemetry"
)

// Request ids take 74 random bits each: drawing them in batches spares a system call per request. This switch belongs to
// the whole process and must be set before any id is made.
func init() { uuid.EnableRandPool() }

// intake answers clients.
type intake struct {
	rules     atomic.Pointer[rules]
	bodies    bodies
	scratches sync.Pool
	sdk       http.Handler // nil: there is none
	telemetry *telemetry.Telemetry
	metrics   *intakeMetrics

	// streams counts the requests under way that came by HTTP/2, of which one connection may carry many.
	streams atomic.Int64
	// leaving is set once the mirror is about to stop: each answer then ends its connection, while the next one is
	// already taken by whoever comes after.
	leaving atomic.Bool

	// open is what accepted requests go to; nil until the journal is open, and again once it is being closed.
	open atomic.Pointer[door]
	// shut says why open is nil.
	shut atomic.Pointer[refusal]
}

// door is an open journal's side of the intake.
type door struct {
	committer *committer
	accepting func() error // nil, or why frames are refused now; cheap
}

func newIntake(o IntakeOptions, sdk http.Handler, t *telemetry.Telemetry, m *intakeMetrics) (*intake, error) {
	first, err := newRules(o, nil, m.evicted.Inc)
	if err != nil {
		return nil, err
	}
	in := &intake{
		scratches: sync.Pool{New: newScratch},
		sdk:       sdk,
		telemetry: t,
		metrics:   m,
	}
	in.rules.Store(first)
	in.close("the journal is being opened")
	return in, nil
}

// close refuses requests from now on; those already waiting for the committer are answered by it.
func (in *intake) close(why string) {
	in.shut.Store(&refusal{http.StatusServiceUnavailable, "closed", why + ": nothing was stored, send the request again later", false})
	in.open.Store(nil)
}

// Header values shared by all answers: net/http does not change them.
var (
	closeConnection = []string{"close"}
	plainText       = []string{"text/plain"}
	lengthOfOK      = []string{"2"}
	ok              = []byte("OK")
)

// ServeHTTP routes by hand: matching two paths needs no router, and this is the hot path.
func (in *intake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer in.recovered(w, r)
	asked(r)
	rules := in.rules.Load()
	in.farewell(w) // preflights and what is served without waiting
	if r.ProtoMajor == 2 {
		// HTTP/1 has one request a connection, so connections bound it; here many may share one.
		defer in.streams.Add(-1)
		if in.streams.Add(1) > int64(rules.options.MaxConnections) {
			in.refuse(w, refuseStreams)
			return
		}
	}
	if headerLines(r.Header) > rules.maxHeaders {
		in.refuse(w, refuseHeaders)
		return
	}
	if r.URL.Path == "/sparrow.js" {
		if in.sdk == nil {
			in.refuse(w, &refusal{http.StatusNotFound, "path", "no script is served here", false})
			return
		}
		in.sdk.ServeHTTP(w, r)
		return
	}
	route := rules.routes.find(r.URL.Path)
	switch {
	case route == nil:
		in.refuse(w, rules.routes.nowhere)
	case r.Method == http.MethodOptions:
		rules.origins.preflight(w, r, route)
		in.metrics.preflights.Inc()
	case route.takes(r.Method):
		rules.origins.answer(w.Header(), r)
		in.accept(w, r, rules, route)
	default:
		rules.origins.answer(w.Header(), r)
		w.Header()["Allow"] = route.allow
		in.refuse(w, route.wrong)
	}
}

// accept makes one request durable and answers it.
func (in *intake) accept(w http.ResponseWriter, r *http.Request, rules *rules, route *route) {
	if len(r.TransferEncoding) > 0 {
		// Whatever a proxy in front believes about this body's length, nothing after it is read as a request.
		w.Header()["Connection"] = closeConnection
	}
	client := rules.proxies.client(r.RemoteAddr, r.Header)
	if wait := rules.rate.take(client); wait > 0 {
		w.Header()["Retry-After"] = retryAfter(int((wait + time.Second - 1) / time.Second))
		in.refuse(w, refuseRate)
		return
	}
	door := in.open.Load()
	if door == nil {
		in.refuse(w, in.shut.Load())
		return
	}
	if err := door.accepting(); err != nil {
		in.refuse(w, refuseBefore(err))
		return
	}
	b, id, refused := in.enqueue(door.committer, w, r, rules, route, client)
	if refused != nil {
		in.refuse(w, refused)
		return
	}
	// A client that has gone is not waited for less: its request is in the batch.
	<-b.done
	if b.err != nil {
		in.refuse(w, refuseAfter(b.err))
		return
	}
	w.Header()["Sparrow-Request-Id"] = []string{id.String()}
	in.farewell(w) // once more: the stop may have begun while the request was on its way
	thank(w, r.Method)
	in.metrics.accepted.Inc()
}

// enqueue reads the request and hands it to the committer.
func (in *intake) enqueue(c *committer, w http.ResponseWriter, r *http.Request, rules *rules, route *route, client netip.Addr) (*batch, uuid.UUID, *refusal) {
	s := in.scratches.Get().(*scratch)
	defer in.scratches.Put(s)
	got, refused := in.bodies.read(w, r, &rules.bodies, s.body[:])
	defer in.bodies.release(&got)
	if refused != nil && (refused != refuseEmpty || route.events) {
		return nil, uuid.Nil, refused
	}
	id, err := uuid.NewV7()
	if err != nil {
		return nil, uuid.Nil, refuseID
	}
	s.text = s.text[:0]
	s.id = id
	s.request.ReceivedAt = time.Now().UnixMicro()
	if s.request.Method = post; r.Method != http.MethodPost {
		s.request.Method = s.copied(r.Method)
	}
	s.request.Path = s.copied(r.URL.EscapedPath())
	s.request.Query = s.copied(r.URL.RawQuery)
	s.takeHeaders(rules.headers, r.Header)
	s.request.Body = got.data
	if client.IsValid() {
		n := len(s.text)
		s.text = client.AppendTo(s.text)
		s.request.Client = s.text[n:]
	} else {
		s.request.Client = nil
	}
	b, refused := in.hand(c, s, id)
	s.request.Body = nil
	return b, id, refused
}

// hand hands the request in s to the committer.
func (in *intake) hand(c *committer, s *scratch, id uuid.UUID) (*batch, *refusal) {
	b, err := c.add(&s.request, id)
	switch {
	case errors.Is(err, errQueueFull):
		return nil, refuseQueue
	case err != nil:
		return nil, in.shut.Load()
	}
	in.metrics.bytes.Add(float64(len(s.request.Body)))
	return b, nil
}

var post = []byte(http.MethodPost)

// What clients are told when the journal refuses: whether to come back, and whether the request may have been stored.
// What is wrong with the disk is for operators, at /readyz and in the log.
var (
	refuseFull        = &refusal{http.StatusServiceUnavailable, "full", "the journal is full: nothing was stored, send the request again later", false}
	refuseUnavailable = &refusal{http.StatusServiceUnavailable, "unavailable", "the journal cannot be written at the moment: nothing was stored, send the request again later", false}
	refuseQueue       = &refusal{http.StatusServiceUnavailable, "queue", "more requests arrive than can be stored: nothing was stored, send the request again later", false}
	refuseID          = &refusal{http.StatusServiceUnavailable, "id", "no request id can be made: nothing was stored, send the request again later", false}
	refusePanic       = &refusal{http.StatusInternalServerError, "panic", "the mirror met a bug while handling this request; it is reported", true}
	refuseUnknown     = &refusal{http.StatusServiceUnavailable, "unknown", "the journal did not confirm the request: whether it was stored is not known, send it again later", false}
)

// refuseBefore is the answer when the journal was not asked to store the request.
func refuseBefore(err error) *refusal {
	if errors.Is(err, journal.ErrFull) {
		return refuseFull
	}
	return refuseUnavailable
}

// refuseAfter is the answer when it was, and failed.
func refuseAfter(err error) *refusal {
	if errors.Is(err, journal.ErrFull) {
		return refuseFull
	}
	return refuseUnknown
}

// farewell has the answer end its connection once the mirror is about to stop.
func (in *intake) farewell(w http.ResponseWriter) {
	if in.leaving.Load() {
		w.Header()["Connection"] = closeConnection
	}
}

// refuse answers with a problem.
func (in *intake) refuse(w http.ResponseWriter, why *refusal) {
	in.farewell(w)
	h := w.Header()
	if why.close {
		h["Connection"] = closeConnection
	}
	if why.status == http.StatusServiceUnavailable && why.reason != "queue" && why.reason != "reading" {
		h["Retry-After"] = retryLater
	}
	in.metrics.refused(why)
	service.Problem(w, why.status, why.detail)
}

var retryLater = retryAfter(2)

// recovered answers a panic with 500 and reports it.
func (in *intake) recovered(w http.ResponseWriter, r *http.Request) {
	v := recover()
	if v == nil {
		return
	}
	if err, isError := v.(error); isError && errors.Is(err, http.ErrAbortHandler) {
		panic(v)
	}
	in.telemetry.Panic(fmt.Sprintf("%T in the intake: %v", v, v))
	in.refuse(w, refusePanic)
}
