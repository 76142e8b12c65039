package sandbox

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/sparrowhq/sparrow/trace/sandbox/record"
)

// Vendor names a vendor; it is the first part of the paths the sandbox serves it under.
type Vendor string

const (
	GA4       Vendor = "ga4"
	Heap      Vendor = "heap"
	Amplitude Vendor = "amplitude"
	Webhook   Vendor = "webhook"
	Sentry    Vendor = "sentry"

	// Nobody has what came to no vendor's address.
	Nobody Vendor = "nobody"
)

// Vendors lists those the sandbox stands in for.
var Vendors = []Vendor{GA4, Heap, Amplitude, Webhook, Sentry}

// Unknown is the project of requests whose credential belongs to none.
const Unknown = "unknown"

// Project is an account at a vendor, told apart from others by its credential.
type Project struct {
	Name string `yaml:"name" json:"name"` // "production", "staging"

	// Key is the measurement_id, app_id, api_key, public key of the DSN; for webhooks the last part of the path.
	Key string `yaml:"key" json:"key"`
	// Secret is GA4's api_secret, or the bearer token a webhook asks for (empty: none). Others have none.
	Secret string `yaml:"secret" json:"-"`
}

// DefaultProjects returns a production and a staging project at every vendor. Their credentials are no secrets: nothing
// but a sandbox accepts them.
func DefaultProjects() map[Vendor][]Project {
	return map[Vendor][]Project{
		GA4:       {{Name: "production", Key: "G-SANDBOXPROD", Secret: "sandbox-production"}, {Name: "staging", Key: "G-SANDBOXSTAGE", Secret: "sandbox-staging"}},
		Heap:      {{Name: "production", Key: "1000000001"}, {Name: "staging", Key: "1000000002"}},
		Amplitude: {{Name: "production", Key: "sandbox-amplitude-production"}, {Name: "staging", Key: "sandbox-amplitude-staging"}},
		Webhook:   {{Name: "production", Key: "production"}, {Name: "staging", Key: "staging"}},
		Sentry:    {{Name: "production", Key: "5a4db0c5000000000000000000000001"}, {Name: "staging", Key: "5a4db0c5000000000000000000000002"}},
	}
}

// Address returns what a sender has to be given to reach project p of vendor v at the sandbox served at base
// ("http://127.0.0.1:8090"): the URL to post to, for Sentry a DSN. Credentials other than the DSN's key go elsewhere.
func Address(base string, v Vendor, p Project) string {
	base = strings.TrimSuffix(base, "/")
	switch v {
	case GA4:
		return base + "/ga4" + ga4Collect
	case Heap:
		return base + "/heap" + heapTrack
	case Amplitude:
		return base + "/amplitude" + amplitudeHTTP
	case Webhook:
		return base + "/webhook/" + url.PathEscape(p.Key)
	case Sentry:
		scheme, host, _ := strings.Cut(base, "://")
		return scheme + "://" + url.User(p.Key).String() + "@" + host + "/sentry/1"
	}
	return ""
}

// hosts are the vendors' own addresses: a request that names one goes to that vendor, whatever its path lacks.
var hosts = map[string]Vendor{
	"www.google-analytics.com":     GA4,
	"region1.google-analytics.com": GA4,
	"heapanalytics.com":            Heap,
	"c.eu.heap-api.com":            Heap,
	"api2.amplitude.com":           Amplitude,
	"api.eu.amplitude.com":         Amplitude,
	"sentry.io":                    Sentry,
}

// vendorOfHost returns the vendor whose own address host is.
func vendorOfHost(host string) (Vendor, bool) {
	host, _, _ = strings.Cut(strings.ToLower(host), ":")
	if v, ok := hosts[host]; ok {
		return v, true
	}
	return Sentry, strings.HasSuffix(host, ".sentry.io")
}

// call is one request to a vendor.
type call struct {
	at      time.Time
	path    string // below the vendor's prefix: /mp/collect
	query   url.Values
	header  http.Header
	body    []byte   // content-decoded if the vendor documents the encoding, else as received
	project *Project // nil: the credential belongs to none
	ids     []string // of silence: the ids to name

	parsed, valid bool // whether the body has been parsed, and is JSON
	doc           value
}

// document returns the body as JSON, parsed once.
func (c *call) document() (doc value, ok bool) {
	if !c.parsed {
		c.doc, c.valid = parse(c.body)
		c.parsed = true
	}
	return c.doc, c.valid
}

// answer is what a vendor sends back.
type answer struct {
	status int
	header http.Header // may be nil
	body   []byte
}

// judgement is what a vendor makes of a request.
type judgement struct {
	answer
	events   []record.Event
	messages []string // codes of validation messages
	check    bool     // it was a validation request
}

// vendor is one vendor's documented behaviour. Its methods may be called concurrently, and never block.
type vendor interface {
	// serves says whether the path, below the vendor's prefix, is one of the vendor's, and takes POST.
	serves(path string) bool
	// gzip says whether the vendor documents that it takes gzip there.
	gzip(path string) bool
	// key returns the credential of a request; ok is false if it stands in a body that has not been read (nil).
	key(c *call) (key string, ok bool)
	// judge says what the vendor does with the request. It counts towards rate limits.
	judge(c *call) judgement
	// throttle returns the vendor's own 429, whatever the rate.
	throttle(c *call) answer
	// cut returns the bytes of each event of a body, in the order of judge.
	cut(path string, body []byte) [][]byte
	// reset forgets all rates.
	reset()
}

func jsonAnswer(status int, body []byte) answer {
	return answer{status: status, header: http.Header{"Content-Type": {"application/json"}}, body: body}
}

// refuseAll marks every event as refused for the reason, unless it has one of its own.
func refuseAll(events []record.Event, reason string) {
	for i := range events {
		if events[i].Outcome != record.Refused {
			events[i].Outcome, events[i].Reason = record.Refused, reason
		}
	}
}

// account finds the project with that credential.
func account(projects []Project, key string) *Project {
	if i := slices.IndexFunc(projects, func(p Project) bool { return p.Key == key }); i >= 0 && key != "" {
		return &projects[i]
	}
	return nil
}

// listed returns the elements of the list that a body has under name.
func listed(body []byte, name string) [][]byte {
	doc, ok := parse(body)
	if !ok {
		return nil
	}
	var items []value
	for _, v := range doc.get(name).elements() {
		items = append(items, v)
	}
	return raw(items)
}

func raw(values []value) [][]byte {
	out := make([][]byte, len(values))
	for i, v := range values {
		out[i] = v
	}
	return out
}
