package pipeline

import (
	"bytes"
	"net/netip"
	"strings"
)

// Widths of what stays of a client's address.
const (
	keepIPv4 = 24
	keepIPv6 = 48
)

// addContext sets the event's context: the request's, which its items share, and what the item says itself.
func (w *work) addContext(x *extracted, e *Event) {
	if w.context == nil {
		w.context = w.requestContext()
	}
	e.Context = *w.context
	for i, purpose := range w.p.purposes {
		if value := x.extras[i]; value != nil && kindOf(value) != kindNull {
			e.Context.Privacy.Consent = append(e.Context.Privacy.Consent, Consent{purpose, grants(value)})
		}
	}
	page := false
	for _, i := range w.p.page {
		if text, ok := urlText(x.extras[i]); ok {
			r := w.p.address(text, false)
			e.Context.Page, page = r.text, true
			w.found(e.Name, "context.page", r.touched)
			break
		}
	}
	if !page {
		e.Context.Page = w.page.text
		w.found(e.Name, "context.page", w.page.touched)
	}
	for _, i := range w.p.referrer {
		if text, ok := urlText(x.extras[i]); ok {
			r := w.p.address(text, true)
			e.Context.Referrer = r.text
			w.found(e.Name, "context.referrer", r.touched)
			break
		}
	}
}

// urlText returns the text of a raw string that is an absolute http URL.
func urlText(value []byte) ([]byte, bool) {
	if value == nil || kindOf(value) != kindString {
		return nil, false
	}
	text := unquote(value)
	return text, isWeb(text)
}

func isWeb(text []byte) bool {
	return bytes.HasPrefix(text, []byte("https://")) || bytes.HasPrefix(text, []byte("http://"))
}

// maxAddress is how much of a page or referrer is kept, the longest that any vendor takes.
const maxAddress = 1000

// address is a scrubbed URL.
type address struct {
	text    string // empty if a rule wants it gone, or if it is too long
	touched rules
}

// address scrubs a URL for the context; short: only origin and path.
func (p *Pipeline) address(text []byte, short bool) address {
	on := p.scrubber.on
	if short { // origin and path only, whatever the rule for URLs says
		if at := bytes.IndexAny(text, "?#"); at >= 0 {
			text = text[:at]
		}
		on |= 1 << urls
	}
	r := p.scrubber.scrub(text, on, true)
	if r.drop || len(r.text) > maxAddress {
		return address{"", r.touched}
	}
	return address{string(bytes.ToValidUTF8(r.text, []byte("\uFFFD"))), r.touched}
}

// found reports the rules that found something in a field.
func (w *work) found(event, field string, touched rules) {
	if touched != 0 {
		w.touch(event, field, w.p.scrubber.touchedNames(touched))
	}
}

// requestContext reads what is the same for all items of the request.
func (w *work) requestContext() *Context {
	r := w.request
	c := &Context{IP: truncate(r.Client)}
	for _, h := range r.Headers {
		switch name := h.Name; {
		case strings.EqualFold(name, "user-agent"):
			c.Browser, c.Version, c.OS, c.Device = userAgent(string(h.Value))
		case strings.EqualFold(name, "accept-language"):
			if c.Language == "" {
				c.Language = language(h.Value)
			}
		case strings.EqualFold(name, "referer"):
			if isWeb(h.Value) {
				w.page = w.p.address(h.Value, false)
			}
		case strings.EqualFold(name, "sec-gpc"):
			c.Privacy.GPC = c.Privacy.GPC || string(bytes.TrimSpace(h.Value)) == "1"
		case strings.EqualFold(name, "dnt"):
			c.Privacy.DNT = c.Privacy.DNT || string(bytes.TrimSpace(h.Value)) == "1"
		case w.p.config.Context.Country != "" && strings.EqualFold(name, w.p.config.Context.Country):
			c.Country = country(h.Value)
		}
	}
	return c
}

// truncate returns the network that a textual address is in; empty if it is no address.
func truncate(client []byte) string {
	if len(client) == 0 || len(client) > 64 {
		return ""
	}
	addr, err := netip.ParseAddr(string(client))
	if err != nil {
		return ""
	}
	addr = addr.Unmap().WithZone("")
	bits := keepIPv6
	if addr.Is4() {
		bits = keepIPv4
	}
	prefix, err := addr.Prefix(bits)
	if err != nil {
		return ""
	}
	return prefix.Addr().String()
}

// language returns the first language of Accept-Language as "en" or "en-US"; empty if it is not written like one. More
// of the header would tell people apart.
func language(header []byte) string {
	first, _, _ := bytes.Cut(header, []byte(","))
	first, _, _ = bytes.Cut(first, []byte(";"))
	tag := bytes.Split(bytes.TrimSpace(first), []byte("-"))
	primary := tag[0]
	if len(primary) < 2 || len(primary) > 3 || !letters(primary) {
		return ""
	}
	text := string(bytes.ToLower(primary))
	for _, sub := range tag[1:] {
		if len(sub) == 2 && letters(sub) {
			return text + "-" + string(bytes.ToUpper(sub))
		}
		if len(sub) == 1 { // extensions and private use follow
			break
		}
	}
	return text
}

// country returns a two-letter code in capitals; empty for anything else, and for the codes that proxies use for
// "unknown" and for Tor.
func country(header []byte) string {
	code := bytes.TrimSpace(header)
	if len(code) != 2 || !letters(code) {
		return ""
	}
	if text := string(bytes.ToUpper(code)); text != "XX" && text != "ZZ" {
		return text
	}
	return ""
}

func letters(b []byte) bool {
	for _, c := range b {
		if class[c]&(isLower|isUpper) == 0 {
			return false
		}
	}
	return true
}

// grants reads the value of a consent property. What is not plainly a yes is a no.
func grants(value []byte) bool {
	switch kindOf(value) {
	case kindBool:
		return value[0] == 't'
	case kindNumber:
		return string(value) == "1"
	case kindString:
		switch string(bytes.ToLower(bytes.TrimSpace(unquote(value)))) {
		case "granted", "grant", "yes", "true", "1", "allow", "allowed", "opt-in", "opted-in", "accepted":
			return true
		}
	}
	return false
}
