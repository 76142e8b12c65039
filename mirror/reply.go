package mirror

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
)

// answer answers the plain request that was read, and reports whether another may follow on the connection. It decides as
// intake.ServeHTTP does, in the same order.
func (t *talk) answer(rules *rules) (again bool) {
	in, p := t.f.intake, &t.request
	defer func() {
		if v := recover(); v != nil {
			in.telemetry.Panic(fmt.Sprintf("%T in the intake: %v", v, v))
			again = t.refuse(rules, refusePanic, nil)
		}
	}()
	if !p.post || p.lines > rules.maxHeaders {
		w := newReply()
		in.ServeHTTP(w, t.asRequest())
		return t.send(w)
	}
	client := t.peer
	if rules.proxies.trust(t.peer) {
		client = rules.proxies.behind(t.peer, p.values("X-Forwarded-For"))
	}
	if wait := rules.rate.take(client); wait > 0 {
		return t.refuse(rules, refuseRate, retryAfter(int((wait+time.Second-1)/time.Second)))
	}
	door := in.open.Load()
	if door == nil {
		return t.refuse(rules, in.shut.Load(), nil)
	}
	if err := door.accepting(); err != nil {
		return t.refuse(rules, refuseBefore(err), nil)
	}
	b, id, refused := t.enqueue(door.committer, rules, client)
	if refused != nil {
		return t.refuse(rules, refused, nil)
	}
	// A client that has gone is not waited for less: its request is in the batch.
	<-b.done
	if b.err != nil {
		return t.refuse(rules, refuseAfter(b.err), nil)
	}
	in.metrics.accepted.Inc()
	return t.accepted(rules, id)
}

// enqueue hands the request to the committer.
func (t *talk) enqueue(c *committer, rules *rules, client netip.Addr) (*batch, uuid.UUID, *refusal) {
	in, p := t.f.intake, &t.request
	id, err := uuid.NewV7()
	if err != nil {
		return nil, uuid.Nil, refuseID
	}
	s := in.scratches.Get().(*scratch)
	defer in.scratches.Put(s)
	s.id = id
	s.request.ReceivedAt = time.Now().UnixMicro()
	s.request.Method = post
	s.request.Path = plainPath
	s.request.Query = p.query
	s.request.Body = p.body
	n := 0
	for _, name := range rules.headers {
		values := 0
		for _, h := range p.headers[:p.count] {
			if values == maxHeaderValues || n == maxHeaders {
				break
			}
			if same(h.name, name) {
				s.headers[n].Name, s.headers[n].Value = name, h.value[:min(len(h.value), maxHeaderValue)]
				values++
				n++
			}
		}
	}
	s.request.Headers = s.list[:n]
	s.request.Client = nil
	if client.IsValid() {
		s.text = client.AppendTo(s.text[:0])
		s.request.Client = s.text
	}
	b, refused := in.hand(c, s, id)
	s.request.Query, s.request.Body = nil, nil
	for i := range n {
		s.headers[i].Value = nil // it is the connection's
	}
	return b, id, refused
}

// accepted answers 200.
func (t *talk) accepted(rules *rules, id uuid.UUID) (again bool) {
	p := &t.request
	last := p.close || t.f.intake.leaving.Load()
	out := append(t.out[:0], "HTTP/1.1 200 OK\r\n"...)
	if origin := p.values("Origin"); len(origin) == 1 && rules.origins.allowed(origin[0]) {
		out = append(out, "Access-Control-Allow-Origin: "...)
		out = append(out, origin[0]...)
		out = append(out, "\r\nAccess-Control-Expose-Headers: "...)
		out = append(out, exposed[0]...)
		out = append(out, "\r\n"...)
	}
	if last {
		out = append(out, "Connection: close\r\n"...)
	}
	out = append(out, "Content-Length: 2\r\nContent-Type: text/plain\r\nDate: "...)
	out = append(out, dateNow()...)
	out = append(out, "\r\nSparrow-Request-Id: "...)
	out = appendID(out, id)
	out = append(out, "\r\nVary: Origin\r\n\r\nOK"...)
	t.out = out
	return t.write(out) && !last
}

// refuse answers with a problem.
func (t *talk) refuse(rules *rules, why *refusal, retry []string) (again bool) {
	w := newReply()
	if retry != nil {
		w.header["Retry-After"] = retry
	}
	rules.origins.answer(w.header, t.asRequest())
	t.f.intake.refuse(w, why)
	return t.send(w)
}

// asRequest returns the request as net/http would have.
func (t *talk) asRequest() *http.Request {
	p := &t.request
	r := &http.Request{Method: http.MethodPost, URL: &url.URL{Path: pathOfEvents, RawQuery: string(p.query)}, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{}, Body: http.NoBody, RemoteAddr: t.remote}
	if !p.post {
		r.Method = http.MethodOptions
	}
	for _, h := range p.headers[:p.count] {
		if !same(h.name, "host") {
			r.Header.Add(string(h.name), string(h.value))
		}
	}
	return r
}

// send sends an answer, and reports whether another may follow.
func (t *talk) send(w *reply) (again bool) {
	last := t.request.close || w.header.Get("Connection") == "close"
	if last {
		w.header["Connection"] = closeConnection
	}
	w.header["Date"] = []string{string(dateNow())}
	if w.status != http.StatusNoContent {
		w.header["Content-Length"] = []string{strconv.Itoa(w.body.Len())}
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, "HTTP/1.1 %d %s\r\n", w.status, http.StatusText(w.status))
	w.header.Write(&out)
	out.WriteString("\r\n")
	out.Write(w.body.Bytes())
	return t.write(out.Bytes()) && !last
}

// reply collects an answer.
type reply struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func newReply() *reply { return &reply{header: http.Header{}} }

func (w *reply) Header() http.Header { return w.header }

func (w *reply) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
}

func (w *reply) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(p)
}

// dated is the time of a second as the Date header says it.
type dated struct {
	second int64
	text   []byte
}

var lastDate atomic.Pointer[dated]

// dateNow returns the value of the Date header. It is not to be changed.
func dateNow() []byte {
	now := time.Now()
	d := lastDate.Load()
	if d == nil || d.second != now.Unix() {
		d = &dated{now.Unix(), now.UTC().AppendFormat(nil, http.TimeFormat)}
		lastDate.Store(d)
	}
	return d.text
}

// appendID appends id in its usual form.
func appendID(out []byte, id uuid.UUID) []byte {
	for i, end := range [...]int{4, 6, 8, 10, 16} {
		begin := 0
		if i > 0 {
			out = append(out, '-')
			begin = end - [...]int{4, 2, 2, 2, 6}[i]
		}
		out = hex.AppendEncode(out, id[begin:end])
	}
	return out
}
