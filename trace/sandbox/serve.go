package sandbox

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/sparrowhq/sparrow/service"
	"github.com/sparrowhq/sparrow/trace/sandbox/record"
	"github.com/sparrowhq/sparrow/trace/sandbox/scenario"
)

// maxHang ends a request that hangs with nobody left to notice: while a body is unread, net/http does not see the
// client go.
const maxHang = 10 * time.Minute

// serve answers one request to a vendor. The order matters: the fault is decided before the body is read, where it can
// be, so that a half-open connection really is left unread; what arrived is recorded before it is answered.
func (s *Sandbox) serve(w http.ResponseWriter, r *http.Request, name Vendor, path string) {
	s.active.Add(1)
	defer s.active.Done()
	v := s.vendors[name]
	engine := s.faults.Load()
	full := "/" + string(name) + path
	c := &call{at: s.options.Clock.Now(), path: path, query: r.URL.Query(), header: r.Header}
	rec := &record.Request{At: c.at, Vendor: string(name), Project: Unknown, Method: r.Method, URL: r.RequestURI, Host: r.Host, Header: r.Header}

	if v == nil || !v.serves(path) || r.Method != http.MethodPost {
		s.misdirected(w, r, rec, v != nil && v.serves(path))
		return
	}
	var d scenario.Decision
	key, known := v.key(c)
	decided := known || !engine.NeedsProject(string(name), full)
	if known {
		s.assign(c, rec, name, key)
	}
	if decided {
		d = engine.Decide(c.at, string(name), rec.Project, full)
		if unread(d.Rule) {
			s.spoil(w, r, engine, rec, d, answer{})
			return
		}
	}
	if err := s.read(w, r, v, c, rec); err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			rec.Status = http.StatusRequestEntityTooLarge
		}
		s.finish(w, r, rec, answer{status: rec.Status})
		return
	}
	if !known {
		key, _ = v.key(c)
		s.assign(c, rec, name, key)
	}
	if !decided {
		d = engine.Decide(c.at, string(name), rec.Project, full)
	}
	s.apply(w, r, engine, v, c, rec, d)
}

// assign finds the project a request belongs to.
func (s *Sandbox) assign(c *call, rec *record.Request, name Vendor, key string) {
	if c.project = account(s.options.Projects[name], key); c.project != nil {
		rec.Project = c.project.Name
	}
}

// misdirected answers what no vendor would serve. It is recorded all the same: what left a sender by mistake has left it.
func (s *Sandbox) misdirected(w http.ResponseWriter, r *http.Request, rec *record.Request, served bool) {
	rec.Body, _ = io.ReadAll(http.MaxBytesReader(w, r.Body, s.options.MaxBody))
	if plain, err := s.gunzip(r, rec.Body); err == nil {
		rec.Body = plain
	}
	rec.Status = http.StatusNotFound
	if served {
		rec.Status = http.StatusMethodNotAllowed
	}
	s.finish(w, r, rec, answer{status: rec.Status})
}

// read takes the body in, decoded for the record if that is possible, and for the vendor if it documents that.
func (s *Sandbox) read(w http.ResponseWriter, r *http.Request, v vendor, c *call, rec *record.Request) error {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, s.options.MaxBody))
	rec.Body = body
	if err != nil {
		return err
	}
	c.body = body
	if c.body == nil {
		c.body = []byte{}
	}
	if plain, err := s.gunzip(r, body); err == nil {
		rec.Body = plain
		if v.gzip(c.path) {
			c.body = plain
		}
	}
	return nil
}

func (s *Sandbox) gunzip(r *http.Request, body []byte) ([]byte, error) {
	if !strings.EqualFold(r.Header.Get("Content-Encoding"), "gzip") {
		return body, nil
	}
	z, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	plain, err := io.ReadAll(io.LimitReader(z, s.options.MaxBody+1))
	if err == nil && int64(len(plain)) > s.options.MaxBody {
		err = errors.New("larger than any body may be")
	}
	return plain, err
}

// apply lets the vendor judge the request, unless a rule comes before that, and answers.
func (s *Sandbox) apply(w http.ResponseWriter, r *http.Request, engine *scenario.Engine, v vendor, c *call, rec *record.Request, d scenario.Decision) {
	if d.Rule != nil {
		rec.Fault = d.Rule.Name
		switch {
		case d.Rule.Fault == scenario.Silence:
			c.ids = d.Rule.IDs
		case d.Rule.Fault == scenario.Slow && d.Rule.When == scenario.Before:
			if s.sleep(r, engine, d.Delay) != nil && r.Context().Err() != nil {
				s.finish(w, r, rec, answer{}) // the client has gone: the vendor never got to it
				return
			}
		case d.Rule.When == scenario.Before:
			s.spoil(w, r, engine, rec, d, ruled(d.Rule, v, c, rec))
			return
		}
	}
	j := v.judge(c)
	rec.Events, rec.Messages, rec.Check = j.events, j.messages, j.check
	s.lose(v, c, rec, d)
	if d.Rule == nil || d.Rule.When == scenario.Before {
		rec.Status = j.status
		s.finish(w, r, rec, j.answer)
		return
	}
	spoiled := j.answer
	switch d.Rule.Fault {
	case scenario.Slow, scenario.Trickle, scenario.Truncate:
	case scenario.ContentType:
		spoiled = mistyped(d.Rule, j.answer)
	default:
		spoiled = ruled(d.Rule, v, c, rec)
	}
	rec.Unacknowledged = d.Rule.Fault != scenario.Slow && d.Rule.Fault != scenario.Trickle
	s.spoil(w, r, engine, rec, d, spoiled)
}

// lose applies the rules by which events and properties get lost in silence.
func (s *Sandbox) lose(v vendor, c *call, rec *record.Request, d scenario.Decision) {
	if len(d.Drops) == 0 || rec.Check {
		return
	}
	raw := v.cut(c.path, c.body)
	for i := range rec.Events {
		e := &rec.Events[i]
		if e.Outcome != record.Accepted {
			continue
		}
		if rule := d.Loses(e.ID, uint64(i)); rule != "" {
			e.Outcome, e.Reason = record.Dropped, "fault "+rule
			rec.Fault = rule
			continue
		}
		for _, rule := range d.Drops {
			p := rule.Property
			if p != "" && i < len(raw) && value(raw[i]).has(p) && !slices.Contains(e.Ignored, p) {
				e.Ignored = append(e.Ignored, p)
				rec.Fault = rule.Name
			}
		}
	}
}

// has says whether v, or an object in it, has a member of that name.
func (v value) has(name string) bool {
	for n, m := range v.members() {
		if string(n) == name || m.has(name) {
			return true
		}
	}
	return false
}

// finish records the request and sends the answer.
func (s *Sandbox) finish(w http.ResponseWriter, r *http.Request, rec *record.Request, a answer) {
	if !s.record(w, rec) {
		return
	}
	if a.status == 0 {
		panic(http.ErrAbortHandler)
	}
	a.send(w)
}

// record keeps the request; it answers 500 if that is impossible: better no rehearsal than one that loses evidence.
func (s *Sandbox) record(w http.ResponseWriter, rec *record.Request) bool {
	if err := s.store.Take(rec); err != nil {
		service.Problem(w, http.StatusInternalServerError, err.Error())
		return false
	}
	return true
}

// sleep waits d, or until the client has gone, the scenario is over or the sandbox stops.
func (s *Sandbox) sleep(r *http.Request, engine *scenario.Engine, d time.Duration) error {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(engine.Context(), cancel)()
	defer context.AfterFunc(s.stop, cancel)()
	return s.options.Clock.Sleep(ctx, d)
}
