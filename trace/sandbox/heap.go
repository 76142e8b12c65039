package sandbox

import (
	"encoding/json"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/sparrowhq/sparrow/trace/sandbox/record"
)

// heap is Heap's server-side track API, single and bulk: the same address, told apart by a list "events".
//
// The documents give no table of answers: every breach is 400 here, 429 for a rate. A request is taken in whole or not
// at all: no partial success is documented.
//
// Silent on purpose: members the documents do not name; the time zone and range of timestamps. Arrays as property
// values are in one page of the vendor's and against the rule of another ("numbers or strings"): refused.
type heap struct {
	limits HeapLimits

	mu         sync.Mutex
	identities map[string]*rate // bulk: by app
	apps       *rate            // bulk
	singles    map[string]*rate // not bulk: by app
}

const heapTrack = "/api/track"

func newHeap(l HeapLimits) *heap {
	h := &heap{limits: l}
	h.reset()
	return h
}

func (h *heap) serves(path string) bool { return path == heapTrack }
func (h *heap) gzip(string) bool        { return false }

func (h *heap) reset() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.identities, h.singles = map[string]*rate{}, map[string]*rate{}
	h.apps = newRate(h.limits.MinuteApp, time.Minute)
}

func (h *heap) key(c *call) (string, bool) {
	if c.body == nil {
		return "", false
	}
	doc, _ := c.document()
	id, _ := doc.get("app_id").text()
	return id, true
}

func heapAnswer(status int, problem string) answer {
	body, err := json.Marshal(map[string]string{"error": problem})
	if err != nil {
		panic(err) // a string
	}
	return jsonAnswer(status, body)
}

func (h *heap) throttle(*call) answer {
	return heapAnswer(http.StatusTooManyRequests, "too many requests")
}

func (h *heap) judge(c *call) judgement {
	doc, ok := c.document()
	if !ok || doc.kind() != '{' {
		return judgement{answer: heapAnswer(http.StatusBadRequest, "the body is not a JSON object")}
	}
	list := doc.get("events")
	bulk := list != nil
	var events []record.Event
	var identities []string
	problem := ""
	add := func(e value) {
		ev, identity, fault := h.read(e)
		ev.Index = len(events)
		events, identities = append(events, ev), append(identities, identity)
		if problem == "" {
			problem = fault
		}
	}
	if bulk {
		for _, e := range list.elements() {
			add(e)
		}
	} else {
		add(doc)
	}
	j := judgement{events: events}
	refuse := func(status int, reason string) judgement {
		refuseAll(j.events, reason)
		j.answer = heapAnswer(status, reason)
		return j
	}
	switch {
	case c.project == nil:
		return refuse(http.StatusBadRequest, "unknown app_id")
	case bulk && list.kind() != '[':
		return refuse(http.StatusBadRequest, "events is not a list")
	case bulk && len(events) == 0:
		return refuse(http.StatusBadRequest, "events is empty")
	case bulk && over(len(events), h.limits.Events):
		return refuse(http.StatusBadRequest, "too many events")
	case problem != "":
		refuseAll(j.events, "refused with its request")
		j.answer = heapAnswer(http.StatusBadRequest, problem)
		return j
	}
	if reason := h.pace(c.at, c.project.Key, bulk, identities); reason != "" {
		return refuse(http.StatusTooManyRequests, reason)
	}
	j.answer = jsonAnswer(http.StatusOK, []byte("{}"))
	return j
}

// pace counts the request towards the rates, or says which one it would exceed.
func (h *heap) pace(now time.Time, app string, bulk bool, identities []string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	rates, limit, window := h.singles, h.limits.SingleRequestsPer30s, 30*time.Second
	if bulk {
		rates, limit, window = h.identities, h.limits.MinuteIdentity, time.Minute
	}
	if rates[app] == nil {
		rates[app] = newRate(limit, window)
	}
	perIdentity := map[string]int{}
	for _, id := range identities {
		perIdentity[id]++
	}
	for id, n := range perIdentity {
		if _, tooMany := rates[app].with(now, id, n); tooMany {
			return "too many for one identity"
		}
	}
	if bulk {
		if _, tooMany := h.apps.with(now, app, len(identities)); tooMany {
			return "too many for the app"
		}
		h.apps.add(now, app, len(identities))
	}
	for id, n := range perIdentity {
		rates[app].add(now, id, n)
	}
	return ""
}

// read checks one event. identity is what rates are counted by.
func (h *heap) read(e value) (ev record.Event, identity, problem string) {
	ev.Outcome = record.Accepted
	refuse := func(reason string) {
		if problem == "" {
			problem = reason
			ev.Outcome, ev.Reason = record.Refused, reason
		}
	}
	if e.kind() != '{' {
		refuse("event is not an object")
		return ev, "", problem
	}
	var name, id, user, properties, at, key value
	for n, v := range e.members() {
		switch string(n) {
		case "event":
			name = v
		case "identity":
			id = v
		case "user_id":
			user = v
		case "properties":
			properties = v
		case "timestamp":
			at = v
		case "idempotency_key":
			key = v
		}
	}
	ev.ID, _ = key.text()
	ev.Key = ev.ID // the vendor's own memory of a key has no end
	ev.Name, _ = name.text()
	switch {
	case key != nil && key.kind() != '"':
		refuse("idempotency_key is not a string")
	case name.kind() != '"' || ev.Name == "":
		refuse("no event name")
	case over(name.runes(), h.limits.Event):
		refuse("event name too long")
	case id != nil && user != nil:
		refuse("both identity and user_id")
	case id == nil && user == nil:
		refuse("neither identity nor user_id")
	case id != nil && (id.kind() != '"' || id.runes() == 0):
		refuse("identity is not a text")
	case over(id.runes(), h.limits.Identity):
		refuse("identity too long")
	case user != nil && !heapUser(user):
		refuse("user_id is not the text of an integer from 0 to 2^53-1")
	case at != nil && !isoTime(at):
		refuse("timestamp is not ISO 8601")
	case properties != nil && properties.kind() != '{':
		refuse("properties is not an object")
	}
	for n, v := range properties.members() {
		switch k := v.kind(); {
		case over(len([]rune(string(n)))+1, h.limits.Text): // "fewer than"
			refuse("property name too long")
		case k != '"' && k != '0':
			refuse("property is neither number nor text")
		case over(v.runes()+1, h.limits.Text):
			refuse("property too long")
		}
	}
	identity, _ = id.text()
	if id == nil {
		identity, _ = user.text()
		identity = "user_id " + identity
	}
	return ev, identity, problem
}

func heapUser(v value) bool {
	s, _ := v.text()
	n, err := strconv.ParseUint(s, 10, 64)
	return err == nil && n < 1<<53
}

var isoLayouts = []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02T15:04:05.999999999Z0700", "2006-01-02T15:04Z07:00", "2006-01-02"}

func isoTime(v value) bool {
	s, ok := v.text()
	for _, layout := range isoLayouts {
		if _, err := time.Parse(layout, s); ok && err == nil {
			return true
		}
	}
	return false
}

func (h *heap) cut(_ string, body []byte) [][]byte {
	doc, ok := parse(body)
	if ok && doc.get("events") == nil {
		return [][]byte{doc}
	}
	return listed(body, "events")
}
