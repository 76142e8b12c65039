package telemetry

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/getsentry/sentry-go"
)

// Allowlist says what of an HTTP exchange may reach Sentry. Nothing passes that is not listed.
type Allowlist struct {
	Headers []string // names, in any spelling, of request and response
	Query   []string // parameters
	// Body and Response are fields of a JSON body: member names joined by dots, with arrays passed over, so that
	// "batch.event" is the member event of each element of batch. Only strings, numbers, booleans and null pass; an
	// object or array passes by its listed members. A last member * stands for any.
	Body, Response []string
	// ResponseText lets the beginning of a response pass that is no JSON, redacted.
	ResponseText bool
	// Mask takes personal data out of what others wrote: headers, parameters and answers. It may be called concurrently.
	// nil: Redact alone does.
	Mask func(text string) string
}

func (a *Allowlist) mask(text string) string {
	if a.Mask == nil {
		return text
	}
	return a.Mask(text)
}

// tagKeys are the tags that may reach Sentry: ids, positions, names and counts of our own.
var tagKeys = []string{
	"attempt", "attempts", "bytes", "count", "cursor", "exit", "feed", "frame", "frames", "from", "generation", "item", "journal",
	"kind", "pid", "position", "process", "reason", "request", "requests", "route", "rows", "run", "sequence", "signal", "stack",
	"stage", "state", "status", "suppressed", "table", "to", "tracker", "version",
}

// Longer texts are cut.
const (
	maxTag     = 200
	maxMessage = 2000
	maxPage    = 500      // of a response that is no JSON
	maxBody    = 64 << 10 // a JSON body beyond this is not looked at
)

// gate builds reports anew out of what may leave.
type gate struct {
	hider
	allow *atomic.Pointer[Allowlist]
}

// pass is Sentry's BeforeSend. It returns a new event that holds what is listed here, whatever the library or an
// integration put into the old one: no server name, user, environment variables, modules, breadcrumbs or local
// variables. Breadcrumbs are made of the Steps that the reporter gives as the hint, and of nothing else.
func (g gate) pass(e *sentry.Event, hint *sentry.EventHint) *sentry.Event {
	allow := g.allow.Load()
	clean := sentry.NewEvent()
	clean.EventID, clean.Timestamp, clean.Level, clean.Platform, clean.Sdk = e.EventID, e.Timestamp, e.Level, e.Platform, e.Sdk
	clean.Environment, clean.Release = e.Environment, e.Release
	clean.Message = g.short(e.Message, maxMessage)
	for _, part := range e.Fingerprint {
		clean.Fingerprint = append(clean.Fingerprint, g.short(part, maxTag))
	}
	for key, text := range e.Tags {
		if slices.Contains(tagKeys, key) {
			clean.Tags[key] = g.short(text, maxTag)
		}
	}
	for _, x := range e.Exception {
		clean.Exception = append(clean.Exception, sentry.Exception{
			Type: g.short(x.Type, maxTag), Value: g.short(x.Value, maxMessage), Stacktrace: places(x.Stacktrace),
		})
	}
	if runtime, ok := e.Contexts["runtime"]; ok {
		clean.Contexts["runtime"] = sentry.Context{"name": runtime["name"], "version": runtime["version"]}
	}
	if types, ok := e.Contexts["error"]["types"].([]string); ok {
		clean.Contexts["error"] = sentry.Context{"types": types}
	}
	if r := e.Request; r != nil {
		clean.Request = &sentry.Request{
			Method: g.short(r.Method, 16), URL: g.url(r.URL), QueryString: g.query(r.QueryString, allow),
			Headers: g.headers(r.Headers, allow), Data: g.fields(r.Data, allow.Body, nil),
		}
	}
	if response, ok := e.Contexts["response"]; ok {
		kept := sentry.Context{}
		if status, ok := response["status_code"].(int); ok {
			kept["status_code"] = status
		}
		if body, ok := response["data"].(string); ok {
			kept["data"] = g.fields(body, allow.Response, allow.Mask)
			if allow.ResponseText && !json.Valid([]byte(body)) {
				kept["data"] = g.short(allow.mask(body), maxPage)
			}
			kept["body_size"] = len(body)
		}
		if headers, ok := response["headers"].(map[string]string); ok {
			kept["headers"] = g.headers(headers, allow)
		}
		clean.Contexts["response"] = kept
	}
	if hint != nil {
		if way, ok := hint.Data.(way); ok {
			clean.Breadcrumbs = g.breadcrumbs(way)
		}
	}
	return clean
}

// places keeps where in the code something happened, by package and file name: absolute paths tell of the machine.
func places(s *sentry.Stacktrace) *sentry.Stacktrace {
	if s == nil {
		return nil
	}
	clean := &sentry.Stacktrace{}
	for _, f := range s.Frames {
		file := f.Filename
		if file == "" {
			file = f.AbsPath
		}
		clean.Frames = append(clean.Frames, sentry.Frame{
			Function: f.Function, Module: f.Module, Filename: path.Join(f.Module, path.Base(strings.ReplaceAll(file, `\`, "/"))), Lineno: f.Lineno, InApp: f.InApp,
		})
	}
	return clean
}

// url keeps scheme, host and path.
func (g gate) url(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return g.short((&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String(), maxMessage)
}

func (g gate) query(text string, allow *Allowlist) string {
	given, err := url.ParseQuery(text)
	if err != nil {
		return ""
	}
	kept := url.Values{}
	for _, name := range allow.Query {
		for _, v := range given[name] {
			kept.Add(name, g.short(allow.mask(v), maxTag))
		}
	}
	return kept.Encode()
}

func (g gate) headers(given map[string]string, allow *Allowlist) map[string]string {
	kept := map[string]string{}
	for name, v := range given {
		if slices.ContainsFunc(allow.Headers, func(listed string) bool { return strings.EqualFold(listed, name) }) {
			kept[http.CanonicalHeaderKey(name)] = g.short(allow.mask(v), maxTag)
		}
	}
	return kept
}

// fields keeps the listed fields of a JSON text; nothing of any other text.
func (g gate) fields(text string, listed []string, mask func(string) string) string {
	if len(listed) == 0 || len(text) > maxBody {
		return ""
	}
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	var whole any
	if err := dec.Decode(&whole); err != nil {
		return ""
	}
	kept, ok := g.field(whole, "", listed, mask)
	if !ok {
		return ""
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(kept); err != nil {
		return ""
	}
	return strings.TrimSpace(out.String())
}

// field returns what may be kept of the value at path, and whether anything may.
func (g gate) field(v any, path string, listed []string, mask func(string) string) (any, bool) {
	switch v := v.(type) {
	case map[string]any:
		kept := map[string]any{}
		for name, member := range v {
			if k, ok := g.field(member, strings.TrimPrefix(path+"."+name, "."), listed, mask); ok {
				kept[name] = k
			}
		}
		return kept, len(kept) > 0
	case []any:
		var kept []any
		for _, element := range v {
			if k, ok := g.field(element, path, listed, mask); ok {
				kept = append(kept, k)
			}
		}
		return kept, len(kept) > 0
	case string:
		if mask != nil {
			v = mask(v)
		}
		return g.short(v, maxTag), lists(listed, path)
	default:
		return v, lists(listed, path)
	}
}

func lists(listed []string, path string) bool {
	if slices.Contains(listed, path) {
		return true
	}
	at := strings.LastIndexByte(path, '.')
	return at >= 0 && slices.Contains(listed, path[:at]+".*")
}
