package pipeline

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"go.yaml.in/yaml/v3"
)

// ConfigFormat is the format of configuration that this build reads.
const ConfigFormat = 1

// Config is the pipeline's configuration: everything that decides what an event becomes, and nothing else. Addresses,
// credentials and sinks are configured elsewhere, so equal Configs mean equal treatment.
//
// The zero value of every field is valid but for Sources and Events; see Normalise for what it means.
type Config struct {
	Format     int                     `yaml:"format" json:"format"`             // 0: ConfigFormat
	Sources    map[string]Source       `yaml:"sources" json:"sources"`           // by name
	Limits     Limits                  `yaml:"limits" json:"limits"`             //
	OnWrong    Policy                  `yaml:"on_wrong" json:"on_wrong"`         // for properties of the wrong type or value; empty: drop
	Properties map[string]PropertyRule `yaml:"properties" json:"properties"`     // by path: every event may have them
	Events     map[string]EventRule    `yaml:"events" json:"events"`             // by name: the allowlist
	Scrub      Scrub                   `yaml:"scrub" json:"scrub"`               //
	Consent    map[string]string       `yaml:"consent" json:"consent,omitempty"` // purpose → path of the property that grants or denies it
	Context    ContextRules            `yaml:"context" json:"context"`           //
	Trackers   map[string]TrackerRule  `yaml:"trackers" json:"trackers"`         // by name; also the names of the tracker's stages
}

// Source is one place events may come from: write keys and origins, bound to each other.
type Source struct {
	Keys    []string `yaml:"keys" json:"keys"`       // write keys, as in ?k=; required, each of one source only
	Origins []string `yaml:"origins" json:"origins"` // "https://www.example.com", "https://*.example.com", "http://localhost:*", or "none" for requests without an Origin header, as servers send them; required
}

// NoOrigin, among a source's origins, stands for a request without an Origin header.
const NoOrigin = "none"

// Limits bound what one request and one event may hold. 0: the default.
type Limits struct {
	BodyBytes  int      `yaml:"body_bytes" json:"body_bytes"`   // of a body once decoded; 8 MiB. Must not be less than the dispatcher's
	Items      int      `yaml:"items" json:"items"`             // events in a body; 10,000. Must not be less than the dispatcher's
	EventBytes int      `yaml:"event_bytes" json:"event_bytes"` // of an event's JSON; 64 KiB
	Depth      int      `yaml:"depth" json:"depth"`             // levels of objects and arrays, the event itself counted; 16
	Members    int      `yaml:"members" json:"members"`         // members of properties, listed or not; 512
	Name       int      `yaml:"name" json:"name"`               // bytes of an event's name; 128
	ID         int      `yaml:"id" json:"id"`                   // bytes of a deviceId, userId, messageId; 256
	String     int      `yaml:"string" json:"string"`           // characters of a string property without a max of its own; 4,096
	Array      int      `yaml:"array" json:"array"`             // elements of an array without a max of its own; 256
	Skew       Duration `yaml:"skew" json:"skew"`               // how far a client's clock may be ahead; 10m
	Age        Duration `yaml:"age" json:"age"`                 // how far its timestamp may lie back; 72h
}

// Policy says what becomes of a property whose type or value is not what the allowlist says.
type Policy string

// The policies.
const (
	Drop   Policy = "drop"   // the property is removed and counted; the event goes on, unless the property is required
	Reject Policy = "reject" // the event is rejected
)

// Type is the type of a property.
type Type string

// The types. A JSON null counts as absent for each of them.
const (
	String   Type = "string"
	Integer  Type = "integer" // of any size: digits with an optional minus. 1.0 and 1e3 are numbers
	Number   Type = "number"
	Boolean  Type = "boolean"
	Scalar   Type = "scalar"   // string, number or boolean
	Time     Type = "time"     // a string as in RFC 3339
	URL      Type = "url"      // a string, absolute or relative: query parameters by allowlist
	Strings  Type = "strings"  // array of strings
	Integers Type = "integers" // array of integers
	Numbers  Type = "numbers"  // array of numbers
	Object   Type = "object"   // with members: only these; without: any object, keys and strings scrubbed
	Array    Type = "array"    // with members: of objects with only these; without: any array, keys and strings scrubbed
)

// PropertyRule is the allowlist's entry for one property. In YAML a bare type stands for a rule with nothing else.
type PropertyRule struct {
	Type        Type                    `yaml:"type" json:"type"` // required
	Description string                  `yaml:"description" json:"-"`
	Required    bool                    `yaml:"required" json:"required,omitempty"` // without it the event is rejected
	Max         int                     `yaml:"max" json:"max,omitempty"`           // characters of a string, elements of an array; 0: as limits say
	Values      []string                `yaml:"values" json:"values,omitempty"`     // the only ones allowed; strings only
	OnWrong     Policy                  `yaml:"on_wrong" json:"on_wrong,omitempty"` // empty: as the configuration says
	Keep        []string                `yaml:"keep" json:"keep,omitempty"`         // scrubbing rules that do not apply here
	Members     map[string]PropertyRule `yaml:"members" json:"members,omitempty"`   // by key; types object and array
}

// EventRule is the allowlist's entry for one event.
type EventRule struct {
	Description string                  `yaml:"description" json:"-"`
	Properties  map[string]PropertyRule `yaml:"properties" json:"properties,omitempty"` // by path: segments joined by dots, a dot inside a key written \.
	Trackers    map[string]Mapping      `yaml:"trackers" json:"trackers,omitempty"`     // by tracker; false leaves the event out there
}

// Mapping is how one tracker spells one event.
type Mapping struct {
	Skip       bool              `yaml:"-" json:"skip,omitempty"`                // written as false instead of a mapping
	Name       string            `yaml:"name" json:"name,omitempty"`             // empty: as the allowlist
	Properties map[string]string `yaml:"properties" json:"properties,omitempty"` // path → the tracker's name; others keep theirs
	Omit       []string          `yaml:"omit" json:"omit,omitempty"`             // paths this tracker does not get
	Only       []string          `yaml:"only" json:"only,omitempty"`             // the only paths it gets; empty: all
}

// Action is what the scrubber does with what a rule finds.
type Action string

// The actions. Inside a longer text only what was found is replaced.
const (
	Hash Action = "hash" // "(email.…)": a keyed hash, the same wherever the same value is found
	Mask Action = "mask" // "(email)"
	Cut  Action = "drop" // the whole property, element or member goes
	Off  Action = "off"  // the rule is not applied
)

// The built-in scrubbing rules.
const (
	RuleEmail      = "email"      // e-mail addresses
	RuleCard       = "card"       // payment card numbers: known issuers, checksum
	RuleToken      = "token"      // JWT, AWS, Stripe, Google, GitHub, Slack and similar keys, Bearer and Basic, private keys
	RuleCredential = "credential" // what follows password=, "api_key": and the like
	RuleEntropy    = "entropy"    // long hexadecimal or base64 strings that look random
	RuleIP         = "ip"         // IPv4 and IPv6 addresses
	RuleURL        = "url"        // user information and query parameters that are not in keep_params
)

// Scrub configures the scrubber. It sees every text that goes on: values, keys of objects, page and referrer.
type Scrub struct {
	Rules      map[string]Action `yaml:"rules" json:"rules"`                 // built-in rules; those not named: see DefaultRules
	KeepParams []string          `yaml:"keep_params" json:"keep_params"`     // query parameters that stay; a trailing * stands for any ending; nil: DefaultParams
	Patterns   []Pattern         `yaml:"patterns" json:"patterns,omitempty"` // own rules, in this order
	Fields     map[string]Action `yaml:"fields" json:"fields,omitempty"`     // property path, * for any part of it → what to do with its whole value
}

// Pattern is an own scrubbing rule.
type Pattern struct {
	Name   string `yaml:"name" json:"name"`     // [a-z0-9-]+; stands in place of what was found
	Match  string `yaml:"match" json:"match"`   // regular expression, RE2 syntax
	Action Action `yaml:"action" json:"action"` // empty: mask
}

// ContextRules say where the context is taken from.
type ContextRules struct {
	Page     []string `yaml:"page" json:"page"`         // paths of properties, the first that is a URL; then the Referer header. nil: [url]
	Referrer []string `yaml:"referrer" json:"referrer"` // paths of properties. nil: [referrer]
	Country  string   `yaml:"country" json:"country"`   // header set by a trusted proxy, as in CF-IPCountry; empty: none
}

// IDForm says in which form a tracker gets deviceId and userId.
type IDForm string

// The forms.
const (
	HashedIDs IDForm = "hash"
	PlainIDs  IDForm = "plain" // if written like ids (letters, digits, - _ . : | @) and unless a scrubbing rule finds something in them
)

// ContextWord names a part of the context.
type ContextWord string

// The parts of the context.
const (
	ContextBrowser  ContextWord = "browser"  // its family and major version
	ContextOS       ContextWord = "os"       // the operating system's family
	ContextDevice   ContextWord = "device"   // desktop, mobile, tablet, tv or bot
	ContextLanguage ContextWord = "language" // "en" or "en-US"
	ContextCountry  ContextWord = "country"  // as context.country's header says
	ContextPage     ContextWord = "page"     // the page's URL, scrubbed
	ContextReferrer ContextWord = "referrer" // origin and path of the page before, scrubbed
	ContextIP       ContextWord = "ip"       // the client's network: 24 or 48 bits of its address
)

// ContextWords are all parts of the context, in their order.
func ContextWords() []ContextWord {
	return []ContextWord{ContextBrowser, ContextOS, ContextDevice, ContextLanguage, ContextCountry, ContextPage, ContextReferrer, ContextIP}
}

// TrackerRule is what one tracker may see.
type TrackerRule struct {
	Vendor string   `yaml:"vendor" json:"vendor"`           // ga4, heap, amplitude, webhook; empty: the tracker's name
	Events []string `yaml:"events" json:"events,omitempty"` // the only ones it gets; empty: all
	IDs    IDForm   `yaml:"ids" json:"ids"`                 // empty: hash
	// Context says what of the event's context the tracker gets, in its vendor's own fields. Empty: nothing.
	Context []ContextWord  `yaml:"context" json:"context,omitempty"`
	Consent TrackerConsent `yaml:"consent" json:"consent"`
}

// TrackerConsent says when a tracker may have an event.
type TrackerConsent struct {
	Signals  []string `yaml:"signals" json:"signals"`             // browser signals that keep an event away: gpc, dnt; nil: both
	Purposes []string `yaml:"purposes" json:"purposes,omitempty"` // consents that must not be denied
	Without  string   `yaml:"without" json:"without"`             // what to do with an event that says nothing about a purpose: refuse or send; empty: refuse
}

// The values of TrackerConsent.Signals and Without.
const (
	SignalGPC     = "gpc"
	SignalDNT     = "dnt"
	WithoutRefuse = "refuse"
	WithoutSend   = "send"
)

// ParseConfig reads a configuration. Unknown keys and everything else that is wrong are errors, all of them at once,
// each with its line. The result is normalised.
func ParseConfig(text []byte) (Config, error) {
	var c Config
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(&c); errors.Is(err, io.EOF) {
		return Config{}, errors.New("pipeline configuration: the file is empty")
	} else if err != nil {
		return Config{}, fmt.Errorf("pipeline configuration: %w", err)
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return Config{}, errors.New("pipeline configuration: more than one document in the file")
	}
	c.Normalise()
	if faults := c.check(); len(faults) > 0 {
		var root yaml.Node
		if err := yaml.Unmarshal(text, &root); err != nil {
			return Config{}, fmt.Errorf("pipeline configuration: %w", err)
		}
		return Config{}, faults.locate(&root)
	}
	return c, nil
}

// Validate reports everything that is wrong with a configuration made in code.
func (c *Config) Validate() error {
	if faults := c.check(); len(faults) > 0 {
		return faults.locate(nil)
	}
	return nil
}

// Canonical returns bytes that are equal for configurations that treat every event alike, whatever their comments,
// order and spelled-out defaults: what a build id is made of.
func (c *Config) Canonical() []byte {
	n := *c
	n.Normalise()
	b, err := json.Marshal(&n)
	if err != nil {
		panic(fmt.Sprintf("pipeline configuration: %v", err)) // strings, integers, booleans, maps and slices of them
	}
	return b
}
