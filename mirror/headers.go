package mirror

import (
	"fmt"
	"net/http"
	"net/textproto"
	"strings"

	"github.com/sparrowhq/sparrow/event"
)

// Bounds of what is journaled of one request's headers. Values that are longer are cut, further values left out.
const (
	maxHeaderValues = 4    // of one name
	maxHeaders      = 32   // of all names together
	maxHeaderValue  = 1024 // bytes of one value
	maxClient       = 48   // bytes of the client's address
)

// requestOverhead bounds what a request's encoding adds to its body and its header lines.
const requestOverhead = 1 << 10

// neverJournaled are headers that carry credentials; a header of ours is never taken from outside.
var neverJournaled = []string{"Cookie", "Set-Cookie", "Authorization", "Proxy-Authorization"}

// headerList is the allowlist: canonical names, each once.
func headerList(names []string) ([]string, error) {
	var list []string
	seen := map[string]bool{}
	for _, name := range names {
		name = textproto.CanonicalMIMEHeaderKey(strings.TrimSpace(name))
		if name == "" || strings.ContainsAny(name, " :\r\n") {
			return nil, fmt.Errorf("mirror: %q is not the name of a header", name)
		}
		if strings.HasPrefix(name, "Sparrow-") {
			return nil, fmt.Errorf("mirror: header %s cannot be journaled: names beginning with Sparrow- are Sparrow's own, and never taken from clients", name)
		}
		for _, never := range neverJournaled {
			if name == never {
				return nil, fmt.Errorf("mirror: header %s cannot be journaled: it carries credentials", name)
			}
		}
		if !seen[name] {
			seen[name] = true
			list = append(list, name)
		}
	}
	if len(list) > maxHeaders {
		return nil, fmt.Errorf("mirror: %d headers are to be journaled: at most %d", len(list), maxHeaders)
	}
	return list, nil
}

// scratch is where one request is put together. Its memory is used again for the next.
type scratch struct {
	request event.Request
	headers [maxHeaders]event.Header
	list    [maxHeaders]*event.Header
	id      [16]byte
	text    []byte // path, query, header values, client address
	body    [smallBody]byte
}

func newScratch() any {
	s := &scratch{text: make([]byte, 0, 1<<10)}
	s.request.Id = s.id[:]
	for i := range s.list {
		s.list[i] = &s.headers[i]
	}
	return s
}

// copied keeps a copy of text for as long as s lives.
func (s *scratch) copied(text string) []byte {
	n := len(s.text)
	s.text = append(s.text, text...)
	return s.text[n:len(s.text):len(s.text)]
}

// takeHeaders sets the request's headers to what the allowlist lets through.
func (s *scratch) takeHeaders(allowed []string, from http.Header) {
	n := 0
	for _, name := range allowed {
		for i, value := range from[name] {
			if i == maxHeaderValues || n == maxHeaders {
				break
			}
			s.headers[n].Name, s.headers[n].Value = name, s.copied(value[:min(len(value), maxHeaderValue)])
			n++
		}
	}
	s.request.Headers = s.list[:n]
}
