package record

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"
	"unicode/utf8"
)

// line is the form of a request in the log. The body comes last, as text where it is UTF-8: people read these files.
type line struct {
	Seq            uint64      `json:"seq"`
	At             int64       `json:"at"` // microseconds since the epoch
	Vendor         string      `json:"vendor"`
	Project        string      `json:"project"`
	Method         string      `json:"method"`
	Status         int         `json:"status"`
	Fault          string      `json:"fault"`
	Unacknowledged bool        `json:"unacknowledged"`
	Check          bool        `json:"check"`
	Messages       []string    `json:"messages"`
	Events         []Event     `json:"events"`
	Host           string      `json:"host"`
	URL            string      `json:"url"`
	Headers        http.Header `json:"headers"`
	Body           string      `json:"body"`
	Body64         []byte      `json:"body64"`
}

// appendRequest appends the line of r after its number: `,"at":…}`.
func appendRequest(b []byte, r *Request) []byte {
	b = strconv.AppendInt(append(b, `,"at":`...), r.At.UnixMicro(), 10)
	b = appendText(b, "vendor", r.Vendor)
	b = appendText(b, "project", r.Project)
	b = appendText(b, "method", r.Method)
	b = strconv.AppendInt(append(b, `,"status":`...), int64(r.Status), 10)
	if r.Fault != "" {
		b = appendText(b, "fault", r.Fault)
	}
	if r.Unacknowledged {
		b = append(b, `,"unacknowledged":true`...)
	}
	if r.Check {
		b = append(b, `,"check":true`...)
	}
	b = appendTexts(b, "messages", r.Messages)
	if len(r.Events) > 0 {
		b = append(b, `,"events":[`...)
		for i := range r.Events {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendEvent(b, &r.Events[i])
		}
		b = append(b, ']')
	}
	b = appendText(b, "host", r.Host)
	b = appendText(b, "url", r.URL)
	b = append(b, `,"headers":{`...)
	n := 0
	for name, values := range r.Header {
		if n++; n > 1 {
			b = append(b, ',')
		}
		b = append(appendString(b, name), ':', '[')
		for i, v := range values {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendString(b, v)
		}
		b = append(b, ']')
	}
	b = append(b, '}')
	if utf8.Valid(r.Body) {
		b = appendString(append(b, `,"body":`...), r.Body)
	} else {
		b = append(b, `,"body64":"`...)
		b = base64.StdEncoding.AppendEncode(b, r.Body)
		b = append(b, '"')
	}
	return append(b, '}')
}

func appendEvent(b []byte, e *Event) []byte {
	b = strconv.AppendInt(append(b, `{"index":`...), int64(e.Index), 10)
	b = appendText(b, "outcome", string(e.Outcome))
	for _, f := range [...]struct{ name, value string }{{"id", e.ID}, {"name", e.Name}, {"reason", e.Reason}, {"visible", e.Visible}, {"key", e.Key}} {
		if f.value != "" {
			b = appendText(b, f.name, f.value)
		}
	}
	return append(appendTexts(b, "ignored", e.Ignored), '}')
}

func appendTexts(b []byte, name string, values []string) []byte {
	if len(values) == 0 {
		return b
	}
	b = append(appendString(append(b, ','), name), ':', '[')
	for i, v := range values {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, v)
	}
	return append(b, ']')
}

func appendText[T string | []byte](b []byte, name string, value T) []byte {
	return appendString(append(appendString(append(b, ','), name), ':'), value)
}

// appendString appends v as a JSON string. Only what JSON asks for is escaped, so that searching the line finds almost
// any text as it is. Bytes that are not UTF-8 are kept: header values may hold any.
func appendString[T string | []byte](b []byte, v T) []byte {
	b = append(b, '"')
	from := 0
	for i := 0; i < len(v); i++ {
		c := v[i]
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		b = append(b, v[from:i]...)
		from = i + 1
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		case '\t':
			b = append(b, '\\', 't')
		default:
			const digits = "0123456789abcdef"
			b = append(b, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		}
	}
	return append(append(b, v[from:]...), '"')
}

// readHead reads what is counted. It leaves out what comes after: within a JSON string a quote is escaped, so that
// `,"host":"` can only be our own.
func readHead(text []byte) (*Request, error) {
	i := bytes.Index(text, []byte(`,"host":"`))
	if i < 0 {
		return readLine(text)
	}
	return readLine(append(text[:i:i], '}'))
}

// readLine reads what appendRequest wrote, with the number in front.
func readLine(text []byte) (*Request, error) {
	var l line
	if err := json.Unmarshal(text, &l); err != nil {
		return nil, fmt.Errorf("sandbox log: line of %d bytes: %w", len(text), err)
	}
	body := []byte(l.Body)
	if l.Body64 != nil {
		body = l.Body64
	}
	return &Request{
		Seq: l.Seq, At: time.UnixMicro(l.At).UTC(), Vendor: l.Vendor, Project: l.Project, Method: l.Method, URL: l.URL, Host: l.Host,
		Header: l.Headers, Body: body, Status: l.Status, Fault: l.Fault, Unacknowledged: l.Unacknowledged, Events: l.Events,
		Messages: l.Messages, Check: l.Check,
	}, nil
}
