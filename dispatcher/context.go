package dispatcher

import (
	"bytes"
	"net/netip"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/event/body"
)

// Longer values are cut, at a character, counted as they are written: a client may send a header of any length and any
// bytes, and it goes with every row of a body of ten thousand events.
const (
	maxWriteKey = 128
	maxOrigin   = 256
	maxAgent    = 512
	maxLanguage = 128
	maxReferrer = 1024
	maxType     = 128
	maxEncoding = 64
	maxMethod   = 32
	maxPath     = 256
	maxQuery    = 64 << 10 // more than the mirror takes as a request line
)

// requestContext is the context column of a request's rows: a JSON object of what is worth keeping beside the body.
// Members that say nothing are left out, among them the method POST and the path /v1/events. The order of members is
// fixed, so equal requests have equal bytes. There is no member for cookies or credentials, and none of a client's
// whole address.
func requestContext(r *event.Request, envelope []byte, rejected body.Reason) []byte {
	var origin, agent, language, referrer, contentType, encoding []byte
	var gpc, dnt bool
	for _, h := range r.Headers {
		switch name := h.Name; {
		case strings.EqualFold(name, "Origin"):
			origin = h.Value
		case strings.EqualFold(name, "User-Agent"):
			agent = h.Value
		case strings.EqualFold(name, "Accept-Language"):
			language = h.Value
		case strings.EqualFold(name, "Referer"):
			referrer = h.Value
		case strings.EqualFold(name, "Content-Type"):
			contentType = h.Value
		case strings.EqualFold(name, "Content-Encoding"):
			if encoding != nil {
				encoding = append(append(bytes.Clone(encoding), ", "...), h.Value...)
			} else {
				encoding = h.Value
			}
		case strings.EqualFold(name, "Sec-GPC"):
			gpc = string(h.Value) == "1"
		case strings.EqualFold(name, "DNT"):
			dnt = string(h.Value) == "1"
		}
	}

	o := object{text: make([]byte, 0, 192+len(agent)+len(referrer)+len(envelope))}
	o.text = append(o.text, '{')
	o.member("writeKey", writeKey(r.Query), maxWriteKey)
	o.member("origin", origin, maxOrigin)
	o.member("userAgent", agent, maxAgent)
	o.member("language", language, maxLanguage)
	o.member("referrer", referrer, maxReferrer)
	o.member("contentType", contentType, maxType)
	o.member("contentEncoding", encoding, maxEncoding)
	o.member("address", []byte(network(r.Client)), 64)
	switch {
	case gpc && dnt:
		o.raw("privacy", []byte(`{"gpc":true,"dnt":true}`))
	case gpc:
		o.raw("privacy", []byte(`{"gpc":true}`))
	case dnt:
		o.raw("privacy", []byte(`{"dnt":true}`))
	}
	if string(r.Method) != "POST" {
		o.member("method", r.Method, maxMethod)
	}
	if string(r.Path) != "/v1/events" {
		o.member("path", r.Path, maxPath)
	}
	if envelope != nil {
		// Bytes that are not UTF-8 stand inside strings only, so replacing them leaves JSON.
		o.raw("envelope", bytes.ToValidUTF8(envelope, []byte("\uFFFD")))
	}
	if rejected != "" && string(r.Path) != "/v1/events" {
		o.member("query", r.Query, maxQuery) // of a pixel it is all there is; once, since such a body has one row
	}
	o.member("rejected", []byte(rejected), 64)
	return append(o.text, '}')
}

// object is a JSON object under construction.
type object struct{ text []byte }

func (o *object) name(name string) {
	if len(o.text) > 1 {
		o.text = append(o.text, ',')
	}
	o.text = append(append(append(o.text, '"'), name...), `":`...)
}

// raw adds a member whose value is JSON.
func (o *object) raw(name string, value []byte) {
	o.name(name)
	o.text = append(o.text, value...)
}

// member adds a string of at most most bytes, as written; nothing if it is empty.
func (o *object) member(name string, value []byte, most int) {
	if len(value) == 0 {
		return
	}
	o.name(name)
	o.text = append(o.text, '"')
	const hex = "0123456789abcdef"
	begin := len(o.text)
	for i := 0; i < len(value); {
		end := len(o.text)
		c := value[i]
		switch {
		case c == '"' || c == '\\':
			o.text = append(o.text, '\\', c)
		case c < 0x20:
			o.text = append(o.text, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		case c < utf8.RuneSelf:
			o.text = append(o.text, c)
		default: // what is not UTF-8 becomes U+FFFD
			r, size := utf8.DecodeRune(value[i:])
			o.text = utf8.AppendRune(o.text, r)
			i += size - 1
		}
		i++
		if len(o.text)-begin > most {
			o.text = o.text[:end]
			break
		}
	}
	o.text = append(o.text, '"')
}

// writeKey returns the query's first parameter k; as sent, if it is not well escaped.
func writeKey(query []byte) []byte {
	for len(query) > 0 {
		var pair []byte
		pair, query, _ = bytes.Cut(query, []byte("&"))
		value, ok := bytes.CutPrefix(pair, []byte("k="))
		if !ok {
			continue
		}
		if bytes.ContainsAny(value, "%+") {
			if plain, err := url.QueryUnescape(string(value)); err == nil {
				return []byte(plain)
			}
		}
		return value
	}
	return nil
}

// network is what is kept of a client's address: its /24, or its /48 for IPv6. Empty if it is not one.
func network(client []byte) string {
	addr, err := netip.ParseAddr(string(client))
	if err != nil {
		return ""
	}
	addr = addr.Unmap().WithZone("")
	bits := 48
	if addr.Is4() {
		bits = 24
	}
	prefix, err := addr.Prefix(bits)
	if err != nil {
		return ""
	}
	return prefix.Addr().String()
}
