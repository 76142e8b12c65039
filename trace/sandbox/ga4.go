package sandbox

import (
	"encoding/json"
	"net/http"
	"slices"

	"github.com/sparrowhq/sparrow/trace/sandbox/record"
)

// ga4 is Google Analytics 4's Measurement Protocol.
//
// /mp/collect answers 204 whatever comes, and drops in silence:
//   - everything, if measurement_id or api_secret is wrong, the body is not a JSON object, is too large, has no
//     client_id, no events, or too many of them;
//   - an event whose name is missing, malformed or reserved, or which is older than 72 hours;
//   - a parameter or user property whose name is malformed or reserved, which is too long, or beyond the 25th: under
//     the default validation_behavior the reference says they are ignored and the event kept;
//   - a member of user_location or device that has no such field, is no text, or a country or language that is not
//     written as the standard it names says; an ip_override that is no address. The events are kept.
//
// Silent on purpose: the form of client_id (the reference wants two numbers joined by a dot, and takes others); types
// of values, and what is nested in them; times in the future; the words for categories of devices; the other fields of the
// body. The documents give a limit of 25 events but not the fate of the first 25 of 26: here they are lost too.
type ga4 struct {
	limits  GA4Limits
	idParam string // parameter that carries the event's id
}

const (
	ga4Collect = "/mp/collect"
	ga4Debug   = "/debug/mp/collect"
)

func (g *ga4) serves(path string) bool { return path == ga4Collect || path == ga4Debug }
func (g *ga4) gzip(string) bool        { return false }
func (g *ga4) reset()                  {}

func (g *ga4) key(c *call) (string, bool) { return c.query.Get("measurement_id"), true }

// throttle is a guess: the documents know no answer but 2xx.
func (g *ga4) throttle(*call) answer { return answer{status: http.StatusTooManyRequests} }

func (g *ga4) judge(c *call) judgement {
	hit := g.read(c)
	if c.path == ga4Debug {
		return hit.validate()
	}
	j := judgement{answer: answer{status: http.StatusNoContent}, events: hit.events()}
	lost := ""
	switch {
	case c.project == nil:
		lost = "unknown measurement_id"
	case c.query.Get("api_secret") != c.project.Secret:
		lost = "wrong api_secret"
	default:
		for _, f := range hit.faults {
			if f.event < 0 && f.property == "" {
				lost = f.reason
				break
			}
		}
	}
	if lost != "" {
		if len(j.events) == 0 {
			j.events = []record.Event{{}}
		}
		for i := range j.events {
			j.events[i].Outcome, j.events[i].Reason = record.Dropped, lost
		}
		return j
	}
	for _, f := range hit.faults {
		for i := range j.events {
			e := &j.events[i]
			switch {
			case f.event >= 0 && f.event != i:
			case f.property == "" && e.Outcome == record.Accepted:
				e.Outcome, e.Reason = record.Dropped, f.reason
			case f.property != "" && !slices.Contains(e.Ignored, f.property):
				e.Ignored = append(e.Ignored, f.property)
			}
		}
	}
	for i := range j.events {
		e := &j.events[i]
		if e.Outcome != record.Accepted {
			continue
		}
		kept := func(name string) bool { return !slices.Contains(e.Ignored, "params."+name) }
		if !hit.list[i].session || !hit.list[i].engagement || !kept("session_id") || !kept("engagement_time_msec") {
			e.Visible = record.RealtimeOnly
		}
		if !kept(g.idParam) {
			e.ID = "" // the event got there, its id did not
		}
	}
	return j
}

// events returns the events of the hit, all accepted so far.
func (h *hit) events() []record.Event {
	events := make([]record.Event, len(h.list))
	for i, e := range h.list {
		events[i] = record.Event{Index: i, ID: e.id, Name: e.name, Outcome: record.Accepted}
	}
	return events
}

// validate answers as the validation server does: always 200, whatever the credentials; an empty list means valid.
func (h *hit) validate() judgement {
	type message struct {
		FieldPath      string `json:"fieldPath"`
		Description    string `json:"description"`
		ValidationCode string `json:"validationCode"`
	}
	j := judgement{check: true}
	messages := []message{}
	for _, f := range h.faults {
		if f.said || f.strict && !h.enforce {
			continue
		}
		messages = append(messages, message{f.path, f.text, f.code})
		j.messages = append(j.messages, f.code)
	}
	body, err := json.Marshal(map[string]any{"validationMessages": messages})
	if err != nil {
		panic(err) // strings
	}
	j.answer = jsonAnswer(http.StatusOK, body)
	return j
}

func (g *ga4) cut(_ string, body []byte) [][]byte { return listed(body, "events") }
