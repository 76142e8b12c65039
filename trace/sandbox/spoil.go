package sandbox

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/sparrowhq/sparrow/trace/sandbox/record"
	"github.com/sparrowhq/sparrow/trace/sandbox/scenario"
)

// unread says that a rule leaves the request unread.
func unread(r *scenario.Rule) bool {
	return r != nil && (r.Fault == scenario.HalfOpen || r.Fault == scenario.Outage && r.Mode == "refuse")
}

// ruled is the answer a rule gives in the vendor's place; status 0: none.
func ruled(rule *scenario.Rule, v vendor, c *call, rec *record.Request) answer {
	a := answer{status: rule.Status, header: http.Header{}, body: []byte(rule.Body)}
	switch rule.Fault {
	case scenario.HalfOpen:
		return answer{}
	case scenario.Outage:
		if rule.Mode != "503" {
			return answer{}
		}
	case scenario.Throttle:
		a = v.throttle(c)
		a.header = a.header.Clone()
	case scenario.Echo:
		a.body = echo(rec)
	}
	if a.header == nil {
		a.header = http.Header{}
	}
	if rule.ContentType != "" {
		a.header.Set("Content-Type", rule.ContentType)
	} else if a.header.Get("Content-Type") == "" && len(a.body) > 0 {
		a.header.Set("Content-Type", "text/plain; charset=utf-8")
	}
	if rule.RetryAfter > 0 {
		seconds := (time.Duration(rule.RetryAfter) + time.Second - 1) / time.Second
		a.header.Set("Retry-After", strconv.Itoa(int(seconds)))
	}
	for name, text := range rule.Headers {
		a.header.Set(name, text)
	}
	return a
}

// mistyped is the vendor's answer under another type.
func mistyped(rule *scenario.Rule, a answer) answer {
	a.header = http.Header{"Content-Type": {rule.ContentType}}
	if rule.Body != "" {
		a.body = []byte(rule.Body)
	}
	if a.status == http.StatusNoContent && len(a.body) > 0 {
		a.status = http.StatusOK // 204 has no body that could have a type
	}
	return a
}

// echo repeats everything the request held, as some vendors' error pages do.
func echo(rec *record.Request) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s\n", rec.Method, rec.URL)
	_ = rec.Header.Write(&b) // a buffer takes everything
	b.WriteByte('\n')
	b.Write(rec.Body)
	return b.Bytes()
}

// spoil records the request and answers, or fails to, as the rule says.
func (s *Sandbox) spoil(w http.ResponseWriter, r *http.Request, engine *scenario.Engine, rec *record.Request, d scenario.Decision, a answer) {
	rule := d.Rule
	rec.Fault, rec.Status = rule.Name, a.status
	if rule.Fault == scenario.Truncate {
		rec.Status = 0
	}
	if !s.record(w, rec) {
		return
	}
	switch {
	case rule.Fault == scenario.Slow:
		_ = s.sleep(r, engine, d.Delay) // interrupted or not, the answer is due
	case rule.Fault == scenario.Truncate:
		truncate(w, a)
		return
	case rule.Fault == scenario.Trickle:
		s.trickle(w, r, engine, time.Duration(rule.Interval), a)
		return
	case rule.Fault == scenario.HalfOpen || rule.Mode == "hang":
		_ = s.sleep(r, engine, maxHang)
		panic(http.ErrAbortHandler)
	case rule.Mode == "reset":
		reset(w)
		return
	case a.status == 0:
		panic(http.ErrAbortHandler) // refuse: closed without a word
	}
	a.send(w)
}

func (a answer) send(w http.ResponseWriter) {
	for name, values := range a.header {
		w.Header()[name] = values
	}
	w.WriteHeader(a.status)
	w.Write(a.body)
}

// bytes is the answer on the wire, the connection's last one.
func (a answer) bytes() (head, body []byte) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\nConnection: close\r\n", a.status, http.StatusText(a.status))
	_ = a.header.Write(&b)
	if a.status != http.StatusNoContent {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(a.body))
	}
	b.WriteString("\r\n")
	return b.Bytes(), a.body
}

// hijack takes the connection over. Where that is impossible the request ends without an answer.
func hijack(w http.ResponseWriter) net.Conn {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	return conn
}

// reset closes the connection so that the client sees it reset, not ended.
func reset(w http.ResponseWriter) {
	conn := hijack(w)
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	conn.Close()
}

// truncate sends the head and half of the body, or half of the head if there is no body.
func truncate(w http.ResponseWriter, a answer) {
	conn := hijack(w)
	defer conn.Close()
	head, body := a.bytes()
	if len(body) == 0 {
		head = head[:len(head)/2]
	}
	_, _ = conn.Write(append(head, body[:len(body)/2]...)) // the client may have gone
}

// trickle sends a byte at a time.
func (s *Sandbox) trickle(w http.ResponseWriter, r *http.Request, engine *scenario.Engine, interval time.Duration, a answer) {
	conn := hijack(w)
	defer conn.Close()
	head, body := a.bytes()
	for _, b := range append(head, body...) {
		if _, err := conn.Write([]byte{b}); err != nil || s.sleep(r, engine, interval) != nil {
			return
		}
	}
}
