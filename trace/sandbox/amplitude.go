package sandbox

import (
	"encoding/json"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/sparrowhq/sparrow/trace/sandbox/record"
)

// amplitude is Amplitude's HTTP V2 API and its batch upload.
//
// A request is taken in whole or not at all. 400 names the events at fault by index, 429 those of throttled ids; the
// other events of the request are good, and have to be sent again without them.
//
// Fields about the device and its place (platform, os_name, country, language, ip, …) have to be texts.
//
// Silent on purpose: times far in the past or future; fields the documents do not restrict; the letter case of refused
// ids; how long an id stays throttled once its rate has fallen. "30 events/s" is read as: in no second more than 30.
type amplitude struct {
	http, batch AmplitudeLimits

	mu           sync.Mutex
	paces, bulks map[string]*pace // by project, of /2/httpapi and of /batch
}

// pace is the rates of one project.
type pace struct{ users, devices *rate }

const (
	amplitudeHTTP  = "/2/httpapi"
	amplitudeBatch = "/batch"
)

func newAmplitude(http, batch AmplitudeLimits) *amplitude {
	a := &amplitude{http: http, batch: batch}
	a.reset()
	return a
}

func (a *amplitude) serves(path string) bool { return path == amplitudeHTTP || path == amplitudeBatch }
func (a *amplitude) gzip(string) bool        { return true }

func (a *amplitude) reset() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.paces, a.bulks = map[string]*pace{}, map[string]*pace{}
}

func (a *amplitude) key(c *call) (string, bool) {
	if c.body == nil {
		return "", false
	}
	doc, _ := c.document()
	key, _ := doc.get("api_key").text()
	return key, true
}

func (a *amplitude) limits(path string) AmplitudeLimits {
	if path == amplitudeBatch {
		return a.batch
	}
	return a.http
}

// problem is the vendor's form of a refusal.
type problem struct {
	Code             int              `json:"code"`
	Error            string           `json:"error"`
	MissingField     string           `json:"missing_field,omitempty"`
	Invalid          map[string][]int `json:"events_with_invalid_fields,omitempty"`
	Missing          map[string][]int `json:"events_with_missing_fields,omitempty"`
	Lengths          map[string][]int `json:"events_with_invalid_id_lengths,omitempty"`
	Silenced         []int            `json:"silenced_events,omitempty"`
	SilencedDevices  []string         `json:"silenced_devices,omitempty"`
	Threshold        int              `json:"eps_threshold,omitempty"`
	ThrottledDevices map[string]int   `json:"throttled_devices,omitempty"`
	ThrottledUsers   map[string]int   `json:"throttled_users,omitempty"`
	Throttled        []int            `json:"throttled_events,omitempty"`
}

func (p problem) answer() answer {
	body, err := json.Marshal(p)
	if err != nil {
		panic(err) // strings and integers
	}
	return jsonAnswer(p.Code, body)
}

// upload is a body, read.
type upload struct {
	doc      value
	list     value
	events   []amplitudeEvent
	minID    int
	hasKey   bool
	hasList  bool
	readable bool
}

func readUpload(c *call, minID int) upload {
	u := upload{minID: minID}
	u.doc, u.readable = c.document()
	if u.readable = u.readable && u.doc.kind() == '{'; !u.readable {
		return u
	}
	for name, v := range u.doc.members() {
		switch string(name) {
		case "api_key":
			s, _ := v.text()
			u.hasKey = s != ""
		case "events":
			u.list = v
			u.hasList = v.kind() == '[' && !v.empty()
		case "options":
			if n, ok := v.get("min_id_length").integer(); ok {
				u.minID = int(n)
			}
		}
	}
	for _, e := range u.list.elements() {
		u.events = append(u.events, readAmplitudeEvent(e))
	}
	return u
}

func (u *upload) record() []record.Event {
	out := make([]record.Event, len(u.events))
	for i, e := range u.events {
		out[i] = record.Event{Index: i, ID: e.insert, Name: e.kind, Outcome: record.Accepted}
		// Without a device the documents promise no de-duplication.
		if e.insert != "" && e.device != "" {
			out[i].Key, out[i].Window = e.device+"\x00"+e.insert, DedupWindow
		}
	}
	return out
}

func (a *amplitude) judge(c *call) judgement {
	limits := a.limits(c.path)
	u := readUpload(c, limits.ID)
	j := judgement{events: u.record()}
	refuse := func(p problem) judgement {
		refuseAll(j.events, "refused with its request")
		j.answer = p.answer()
		return j
	}
	switch {
	case over(len(c.body)+1, limits.Body), over(len(u.events), limits.Events):
		refuseAll(j.events, "payload too large")
		return refuse(problem{Code: http.StatusRequestEntityTooLarge, Error: "Payload too large"})
	case !u.readable:
		return refuse(problem{Code: http.StatusBadRequest, Error: "Invalid JSON request body"})
	case !u.hasKey:
		return refuse(problem{Code: http.StatusBadRequest, Error: "Request missing required field", MissingField: "api_key"})
	case !u.hasList:
		return refuse(problem{Code: http.StatusBadRequest, Error: "Request missing required field", MissingField: "events"})
	case c.project == nil:
		refuseAll(j.events, "unknown api_key")
		return refuse(problem{Code: http.StatusBadRequest, Error: "Invalid API key"})
	}
	mark := func(i int, reason string) {
		if e := &j.events[i]; e.Outcome == record.Accepted {
			e.Outcome, e.Reason = record.Refused, reason
		}
	}
	if p, bad := u.check(limits, mark); bad {
		return refuse(p)
	}
	if p, silenced := u.silence(c.ids, mark); silenced {
		return refuse(p)
	}
	if p, tooFast := a.pace(c, &u, limits, mark); tooFast {
		return refuse(p)
	}
	body, err := json.Marshal(map[string]int64{
		"code": http.StatusOK, "events_ingested": int64(len(u.events)), "payload_size_bytes": int64(len(c.body)), "server_upload_time": c.at.UnixMilli(),
	})
	if err != nil {
		panic(err) // integers
	}
	j.answer = jsonAnswer(http.StatusOK, body)
	return j
}

// silence names the events of silenced devices.
func (u *upload) silence(devices []string, mark func(int, string)) (problem, bool) {
	p := problem{Code: http.StatusBadRequest, Error: "Events silenced for device_id"}
	for i, e := range u.events {
		if e.device == "" || !slices.Contains(devices, e.device) {
			continue
		}
		mark(i, "silenced")
		p.Silenced = append(p.Silenced, i)
		if !slices.Contains(p.SilencedDevices, e.device) {
			p.SilencedDevices = append(p.SilencedDevices, e.device)
		}
	}
	return p, len(p.Silenced) > 0
}

// pace counts the request towards its ids' rates, or names the ids that would exceed theirs. A refused request counts
// for nothing.
func (a *amplitude) pace(c *call, u *upload, limits AmplitudeLimits, mark func(int, string)) (problem, bool) {
	users, devices := map[string]int{}, map[string]int{}
	for _, e := range u.events {
		if e.user != "" {
			users[e.user]++
		}
		if e.device != "" {
			devices[e.device]++
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	paces := a.paces
	if c.path == amplitudeBatch {
		paces = a.bulks
	}
	p := paces[c.project.Name]
	if p == nil {
		p = &pace{users: newRate(limits.PerSecond, time.Second), devices: newRate(limits.PerSecond, time.Second)}
		paces[c.project.Name] = p
	}
	exceeding := func(r *rate, ids map[string]int) map[string]int {
		over := map[string]int{}
		for id, n := range ids {
			if total, tooMany := r.with(c.at, id, n); tooMany {
				over[id] = total
			}
		}
		return over
	}
	out := problem{Code: http.StatusTooManyRequests, Error: throttledText, Threshold: limits.PerSecond,
		ThrottledUsers: exceeding(p.users, users), ThrottledDevices: exceeding(p.devices, devices)}
	if len(out.ThrottledUsers)+len(out.ThrottledDevices) == 0 {
		for id, n := range users {
			p.users.add(c.at, id, n)
		}
		for id, n := range devices {
			p.devices.add(c.at, id, n)
		}
		return problem{}, false
	}
	for i, e := range u.events {
		_, user := out.ThrottledUsers[e.user]
		_, device := out.ThrottledDevices[e.device]
		if user || device {
			mark(i, "throttled")
			out.Throttled = append(out.Throttled, i)
		}
	}
	return out, true
}

const throttledText = "Too many requests for some devices and users"

// throttle names every id of the request.
func (a *amplitude) throttle(c *call) answer {
	limits := a.limits(c.path)
	u := readUpload(c, limits.ID)
	p := problem{Code: http.StatusTooManyRequests, Error: throttledText, Threshold: max(limits.PerSecond, 0),
		ThrottledDevices: map[string]int{}, ThrottledUsers: map[string]int{}}
	for i, e := range u.events {
		if e.user != "" {
			p.ThrottledUsers[e.user] = limits.PerSecond + 1
		}
		if e.device != "" {
			p.ThrottledDevices[e.device] = limits.PerSecond + 1
		}
		p.Throttled = append(p.Throttled, i)
	}
	return p.answer()
}

func (a *amplitude) cut(_ string, body []byte) [][]byte { return listed(body, "events") }
