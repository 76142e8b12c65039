package sandbox

import (
	"net/http"
	"strings"

	"github.com/sparrowhq/sparrow/trace/sandbox/record"
)

// webhook takes whatever a tracker for some REST vendor may be configured to send: a JSON object, a list of them, a
// list under "events" or "batch", or JSON lines; anything else is one event without an id. The last part of the path
// names the project. It has no limits and does not de-duplicate.
type webhook struct {
	idField string // member that carries the event's id; the header Idempotency-Key stands in for a single event
}

func (w *webhook) serves(path string) bool {
	return len(path) > 1 && strings.LastIndexByte(path, '/') == 0
}
func (w *webhook) gzip(string) bool           { return true }
func (w *webhook) reset()                     {}
func (w *webhook) key(c *call) (string, bool) { return strings.TrimPrefix(c.path, "/"), true }

func (w *webhook) throttle(*call) answer {
	return jsonAnswer(http.StatusTooManyRequests, []byte(`{"error":"too many requests"}`))
}

func (w *webhook) judge(c *call) judgement {
	var j judgement
	items := webhookItems(c.body)
	for i, item := range items {
		e := record.Event{Index: i, Outcome: record.Accepted}
		e.ID, _ = item.get(w.idField).text()
		e.Name, _ = item.get("event").text()
		if e.ID == "" && len(items) == 1 {
			e.ID = c.header.Get("Idempotency-Key")
		}
		j.events = append(j.events, e)
	}
	token, _ := strings.CutPrefix(c.header.Get("Authorization"), "Bearer ")
	switch {
	case c.project == nil:
		refuseAll(j.events, "unknown webhook")
		j.answer = jsonAnswer(http.StatusNotFound, []byte(`{"error":"unknown webhook"}`))
	case c.project.Secret != "" && token != c.project.Secret:
		refuseAll(j.events, "wrong token")
		j.answer = jsonAnswer(http.StatusUnauthorized, []byte(`{"error":"wrong token"}`))
	default:
		j.answer = jsonAnswer(http.StatusOK, []byte("{}"))
	}
	return j
}

// webhookItems returns the events of a body, in order.
func webhookItems(body []byte) []value {
	doc, ok := parse(body)
	if !ok {
		var lines []value
		for line := range strings.Lines(string(body)) {
			if strings.TrimSpace(line) == "" {
				continue
			}
			v, ok := parse([]byte(line))
			if !ok {
				return []value{nil}
			}
			lines = append(lines, v)
		}
		return lines
	}
	list := doc
	for _, name := range []string{"events", "batch"} {
		if v := doc.get(name); v.kind() == '[' {
			list = v
			break
		}
	}
	if list.kind() != '[' {
		return []value{doc}
	}
	var items []value
	for _, v := range list.elements() {
		items = append(items, v)
	}
	return items
}

func (w *webhook) cut(_ string, body []byte) [][]byte {
	items := webhookItems(body)
	if len(items) == 1 && items[0] == nil {
		return [][]byte{body}
	}
	return raw(items)
}
