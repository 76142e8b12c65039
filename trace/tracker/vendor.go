package tracker

import (
	"net/http"
	"time"

	"github.com/sparrowhq/sparrow/trace/pipeline"
)

// Vendor is what one vendor's documents say, as pure functions: no clock, no I/O, no state. Equal arguments give equal
// results, and all methods may be called concurrently. trace/tracker/contract is the suite every Vendor passes.
type Vendor interface {
	// Traits returns what holds for all events. It is the same each time.
	Traits() Traits

	// Form puts e into the vendor's form, into f, which the caller has reset. What the vendor would cut or leave out in
	// silence is cut or left out here, each time in the same way, with a Warning. If the vendor does not take the event at
	// all, the Breach says which of its limits it breaks, and f is not used. Nothing in f may share memory with e but texts.
	Form(e *pipeline.Event, f *Form) *Breach

	// Assemble makes one request of forms, at least one, for the project that c belongs to. Body is appended to.
	Assemble(c Credential, forms []*Form, r *Request)

	// Split takes a request apart again that is passing the transport: which events it carries, each in which bytes, and
	// whose credential. It reads nothing but the request, and shares no code with Assemble: it is the evidence of what
	// was sent. Its result may share memory with r.
	Split(r *Request) (Passed, error)

	// Judge says what the answer to a request with n events means.
	Judge(a *Answer, n int) Judgement
}

// Checker is a Vendor with an endpoint that says what is wrong with a request and takes nothing in.
type Checker interface {
	Vendor
	// Check makes of forms a request to the validation endpoint; false if c has none.
	Check(c Credential, forms []*Form, r *Request) bool
	// Messages reads the validation endpoint's answer.
	Messages(a *Answer) ([]Warning, error)
}

// Traits say how events travel to a vendor.
type Traits struct {
	Vendor string // "ga4"
	Keyed  bool   // it drops an event it has already got, by Form.Key
	Alone  bool   // a request holds events of one Form.Group only
	Gzip   bool   // it documents that it takes gzip
	Events int    // at most in a request
	Bytes  int    // at most in a request's body before compression
	Calls  int    // a good number of calls at the same time
	Rates  []Rate
}

// Rate is a documented bound: within no span of Per more than Events.
type Rate struct {
	Events int
	Per    time.Duration
	ByID   bool // for each of Form.IDs; otherwise for the project
}

// Form is an event in the vendor's form.
type Form struct {
	Key      string    // what Split finds the event by; for a Keyed vendor its idempotency key
	Head     []byte    // what is the event's and stands once in a request: equal for all events of a Group if Alone
	Body     []byte    // the event as it stands in the request
	Group    string    // events of a group are sent in the order they came, one call at a time
	IDs      [2]string // what Rates with ByID count by; empty ones do not count
	Until    int64     // microseconds since the epoch: from then on the vendor would drop the event; 0: never
	Warnings []Warning
}

// Reset empties f and keeps its memory.
func (f *Form) Reset() {
	*f = Form{Head: f.Head[:0], Body: f.Body[:0]}
}

// Breach is a documented limit that an event breaks. It was not sent.
type Breach struct {
	Reason string // few and fixed words: see Result.Reason
	Detail string // for people
}

// Credential is the way into one project of a vendor.
type Credential struct {
	URL    string // to post to; https, or http on this machine
	Key    string // measurement_id, app_id, api_key; a webhook has none
	Secret string // GA4's api_secret, a webhook's bearer token; others have none
	Check  string // GA4's validation endpoint; empty: it follows from URL
}

// Request is an HTTP POST.
type Request struct {
	URL    string
	Header http.Header
	Body   []byte // before compression
}

// Passed is what a request carried.
type Passed struct {
	Credential Credential // Check is empty
	Events     []PassedEvent
}

// PassedEvent is one event of a request.
type PassedEvent struct {
	Key  string
	Head []byte // the parts of the request that belong to each of its events
	Body []byte
}

// Answer is what came back.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte // at most 1 MiB of it
	Cut    bool   // the connection ended before the body did
}

// Verdict is what an answer means for the request as a whole.
type Verdict byte

// The verdicts.
const (
	Unavailable Verdict = iota // it is not about these events: the same again, later
	Taken                      // all events were taken
	Partial                    // Dead and Held name events; the others may go again at once
	Refused                    // refused for good, and nobody says which event is at fault
	Barred                     // the address or the credential is refused, or it cannot be told whether it is this event
	TooLarge                   // fewer events at once
)

// Judgement is what an answer means.
type Judgement struct {
	Verdict
	Reason string        // fixed words; for Dead events see there
	Dead   []Ruling      // of Partial
	Held   []int         // of Partial: indexes of events whose ids have to wait
	Hold   time.Duration // how long
}

// Ruling is a refusal of one event.
type Ruling struct {
	Index  int
	Reason string
}

// JudgeStatus is what a status means where the vendor's documents say no more: 2xx is taken; 408, 425, 429 and 5xx may
// pass by themselves; 413 is too much at once; what speaks of the address or the credential is no event's fault; any
// other 4xx is the request's. A redirect is not followed, and an HTML page is some proxy's.
func JudgeStatus(a *Answer) Judgement {
	html := len(a.Header["Content-Type"]) > 0 && isHTML(a.Header["Content-Type"][0])
	switch s := a.Status; {
	case s/100 == 2 && html:
		return Judgement{Verdict: Unavailable, Reason: "answered with a page"}
	case s/100 == 2:
		return Judgement{Verdict: Taken}
	case s == http.StatusRequestEntityTooLarge:
		return Judgement{Verdict: TooLarge, Reason: "too large"}
	case s == http.StatusRequestTimeout, s == http.StatusTooEarly, s == http.StatusTooManyRequests, s >= 500:
		return Judgement{Verdict: Unavailable, Reason: "unavailable"}
	case s == http.StatusUnauthorized, s == http.StatusForbidden, s == http.StatusNotFound, s == http.StatusMethodNotAllowed,
		s == http.StatusProxyAuthRequired, s == http.StatusGone, s < 400:
		return Judgement{Verdict: Barred, Reason: "address or credential refused"}
	}
	return Judgement{Verdict: Refused, Reason: "refused"}
}

func isHTML(contentType string) bool {
	const html = "text/html"
	return len(contentType) >= len(html) && asciiEqual(contentType[:len(html)], html)
}

func asciiEqual(text, lower string) bool {
	for i := range len(lower) {
		if text[i]|0x20 != lower[i]|0x20 {
			return false
		}
	}
	return true
}
