package tracker

import (
	"net/url"
	"strconv"
)

// Bounds of what a Result holds.
const (
	maxDetail   = 1 << 10
	maxEvidence = 16 << 10
)

// result says what became of t. a is the last answer; nil: there was none.
func (s *Sender) result(t *task, o Outcome, reason string, a *Answer) Result {
	r := Result{
		Position: t.Position, Sink: t.sink, Credential: t.credential, Outcome: o, Reason: reason, Attempts: t.attempts, Digest: t.digest,
		At: s.o.Clock().UnixMicro(), Warnings: t.form.Warnings, Checking: t.checking,
	}
	if a != nil {
		r.Status = a.Status
	}
	if o == Dead && a != nil {
		r.Detail = s.hide.answer(a, maxDetail)
	}
	if o == Dead || s.o.Sample > 0 && t.hash%uint64(s.o.Sample) == 0 {
		if t.body != nil {
			r.Request = s.hide.bytes(joined(t.head, t.body), maxEvidence)
		}
		if a != nil {
			r.Response = []byte(s.hide.answer(a, maxEvidence))
		}
	}
	return r
}

// joined is the form of an event for people: what stands once in the request, and the event.
func joined(head, body []byte) []byte {
	if len(head) == 0 {
		return body
	}
	out := append(append(make([]byte, 0, len(head)+len(body)+2), head...), '\n')
	return append(out, body...)
}

// answer is the body of an answer as it may be kept.
func (h hider) answer(a *Answer, limit int) string {
	if a.Cut || len(a.Body) >= maxAnswer {
		return h.part(a.Body, limit)
	}
	// What is beyond the limit by far need not be looked at.
	if most := 4*limit + h.longest; len(a.Body) > most {
		return h.part(a.Body[:most], limit)
	}
	return h.text(string(a.Body), limit)
}

// address is a URL without what may be secret in it.
func address(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

func statusText(status int) string {
	if status < 100 || status > 599 {
		return "other"
	}
	return strconv.Itoa(status)
}

// Counts sum up what became of items.
type Counts struct {
	Delivered uint64 `json:"delivered"`
	Rejected  uint64 `json:"rejected"`
	Dead      uint64 `json:"dead"`
	Repeated  uint64 `json:"repeated"` // requests with an event beyond its first
}

func (c *Counts) add(r *Result) {
	switch r.Outcome {
	case Delivered:
		c.Delivered++
	case Rejected:
		c.Rejected++
	case Dead:
		c.Dead++
	}
	if r.Attempts > 1 {
		c.Repeated += uint64(r.Attempts - 1)
	}
}
