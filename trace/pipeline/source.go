package pipeline

import (
	"bytes"
	"fmt"
	"net/url"
	"strings"

	"github.com/sparrowhq/sparrow/event"
)

// origin is an accepted web origin.
type origin struct {
	none     bool   // requests without an Origin header
	scheme   string // with ://
	host     string // lower case; for a wildcard: what must follow the first label, with its dot
	anyLabel bool   // one or more labels may stand before host
	port     string // with its colon, empty for the scheme's own
	anyPort  bool
}

// parseOrigin reads "https://host", "https://host:8443", "http://localhost:*", "https://*.host" and "none".
func parseOrigin(s string) (origin, error) {
	if s == NoOrigin {
		return origin{none: true}, nil
	}
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok || scheme == "" || rest == "" || strings.ContainsAny(rest, "/?#@") || strings.ToLower(s) != s {
		return origin{}, fmt.Errorf(`origin %q: want scheme://host or scheme://host:port in lower case and nothing after it, as browsers send it, or none`, s)
	}
	o := origin{scheme: scheme + "://"}
	if at := strings.LastIndexByte(rest, ':'); at > strings.LastIndexByte(rest, ']') {
		rest, o.port = rest[:at], rest[at:]
		if o.port == ":*" {
			o.port, o.anyPort = "", true
		}
	}
	if after, ok := strings.CutPrefix(rest, "*"); ok {
		if !strings.HasPrefix(after, ".") || strings.Count(after, ".") < 2 {
			return origin{}, fmt.Errorf(`origin %q: a star stands for the first labels of a host of at least two more, as in https://*.example.com`, s)
		}
		o.anyLabel, rest = true, after
	}
	if o.host = rest; o.host == "" || strings.Contains(o.host, "*") {
		return origin{}, fmt.Errorf(`origin %q: a star may stand before the host's last labels and for the port`, s)
	}
	return o, nil
}

// accepts reports whether the Origin header's value is this origin; present tells an empty header from none.
func (o *origin) accepts(value string, present bool) bool {
	if o.none || !present {
		return o.none && !present
	}
	rest, ok := strings.CutPrefix(value, o.scheme)
	if !ok {
		return false
	}
	port := ""
	if at := strings.LastIndexByte(rest, ':'); at > strings.LastIndexByte(rest, ']') {
		rest, port = rest[:at], rest[at:]
	}
	if !o.anyPort && port != o.port || o.anyPort && !isPort(port) {
		return false
	}
	if o.anyLabel {
		label, ok := strings.CutSuffix(rest, o.host)
		return ok && label != ""
	}
	return rest == o.host
}

// isPort reports whether port, with its colon, is a port's number, or is empty.
func isPort(port string) bool {
	for i := 1; i < len(port); i++ {
		if port[i] < '0' || port[i] > '9' {
			return false
		}
	}
	return len(port) <= 6
}

// source is a compiled Source.
type source struct {
	name    string
	origins []origin
}

// find returns the source that the request's write key and origin belong to, or why there is none.
func (p *Pipeline) find(r *event.Request) (s *source, key string, reason Reason, rule, hint string) {
	key, given := writeKey(r.Query)
	if !given {
		return nil, "", UnknownKey, "sources", "the request has no write key: send it as ?k=…"
	}
	if s = p.keys[key]; s == nil {
		return nil, "", UnknownKey, "sources", "no source has this write key"
	}
	value, present := header(r, "Origin")
	for i := range s.origins {
		if s.origins[i].accepts(string(value), present) {
			return s, key, "", "", ""
		}
	}
	if !present {
		hint = "the request has no Origin header, and the source's origins do not list none"
	} else {
		hint = "the source of this write key does not list the request's origin"
	}
	return s, key, WrongOrigin, "sources." + s.name + ".origins", hint
}

// writeKey returns the first value of k in a query string.
func writeKey(query []byte) (key string, given bool) {
	for len(query) > 0 {
		var pair []byte
		pair, query, _ = bytes.Cut(query, []byte("&"))
		if value, ok := bytes.CutPrefix(pair, []byte("k=")); ok {
			if key, err := url.QueryUnescape(string(value)); err == nil {
				return key, key != ""
			}
			return "", false
		}
	}
	return "", false
}

// header returns the first value of a journaled header.
func header(r *event.Request, name string) (value []byte, present bool) {
	for _, h := range r.Headers {
		if strings.EqualFold(h.Name, name) {
			return h.Value, true
		}
	}
	return nil, false
}
