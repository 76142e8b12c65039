package sandbox

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/sparrowhq/sparrow/trace/sandbox/record"
)

// sentry takes the envelopes of Sentry's SDKs. Each item is an event whose name is the item's type and whose id is the
// envelope's event_id, with #2, #3 … for further items. A malformed envelope is 400, a key that no project has 403.
//
// Silent on purpose: what is in the items, their sizes, which go together, quotas.
type sentry struct{}

func (sentry) serves(path string) bool {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	return len(parts) == 3 && parts[0] == "api" && parts[1] != "" && parts[2] == "envelope"
}

func (sentry) gzip(string) bool { return true }
func (sentry) reset()           {}

// key finds the public key: in the header, the query, or the DSN of the envelope's own header.
func (sentry) key(c *call) (string, bool) {
	auth, _ := strings.CutPrefix(c.header.Get("X-Sentry-Auth"), "Sentry ")
	for field := range strings.SplitSeq(auth, ",") {
		if key, ok := strings.CutPrefix(strings.TrimSpace(field), "sentry_key="); ok {
			return key, true
		}
	}
	if key := c.query.Get("sentry_key"); key != "" {
		return key, true
	}
	if c.body == nil {
		return "", false
	}
	e, _ := readEnvelope(c.body)
	if dsn, err := url.Parse(e.dsn); err == nil && dsn.User != nil {
		return dsn.User.Username(), true
	}
	return "", true
}

func sentryAnswer(status int, detail string) answer {
	body, err := json.Marshal(map[string]string{"detail": detail})
	if err != nil {
		panic(err) // a string
	}
	return jsonAnswer(status, body)
}

func (sentry) throttle(*call) answer {
	return sentryAnswer(http.StatusTooManyRequests, "rate limited")
}

func (sentry) judge(c *call) judgement {
	e, err := readEnvelope(c.body)
	j := judgement{}
	for i, item := range e.items {
		id := e.id
		if i > 0 && id != "" {
			id += "#" + strconv.Itoa(i+1)
		}
		j.events = append(j.events, record.Event{Index: i, ID: id, Name: item.kind, Outcome: record.Accepted})
	}
	switch {
	case err != nil:
		refuseAll(j.events, "malformed envelope")
		j.answer = sentryAnswer(http.StatusBadRequest, "malformed envelope: "+err.Error())
	case c.project == nil:
		refuseAll(j.events, "unknown key")
		j.answer = sentryAnswer(http.StatusForbidden, "unknown key")
	default:
		body, err := json.Marshal(map[string]string{"id": e.id})
		if err != nil {
			panic(err) // a string
		}
		j.answer = jsonAnswer(http.StatusOK, body)
	}
	return j
}

func (sentry) cut(_ string, body []byte) [][]byte {
	e, _ := readEnvelope(body)
	var out [][]byte
	for _, item := range e.items {
		out = append(out, item.payload)
	}
	return out
}
