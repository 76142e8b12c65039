package pipeline

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/google/uuid"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/event/body"
)

// MinSecret is how many bytes Options.Secret has at least.
const MinSecret = 16

// Options configure New.
type Options struct {
	Config Config // normalised by New
	Secret []byte // keys every hash; MinSecret bytes or more, the same in both stacks, never in Config. Required
	Stages []Stage
}

// Stage is a step of your own after all built-in ones: what makes a candidate more than a configuration.
type Stage interface {
	// Name appears as the rule of the outcomes of events the stage refuses.
	Name() string
	// Apply may change e. It returns false to reject it. It must be a pure function of e, or verdicts mean nothing, and
	// may be called concurrently. Bytes in e belong to the request: replace slices, never write into them.
	Apply(e *Event) bool
}

// Pipeline is a compiled configuration. It is immutable and safe for concurrent use; to reload, make a new one and swap
// it into a Current.
type Pipeline struct {
	config   Config
	stages   []Stage
	scrubber *scrubber
	masking  *scrubber // for what the allowlist does not hold
	keys     map[string]*source
	events   map[string]*eventRules
	near     near
	extras   []string // paths of properties read for consent and context
	purposes []string // extras[i] for i < len(purposes) holds purposes[i]
	page     []int    // indexes of extras
	referrer []int
	plain    bool // some tracker wants plain ids
}

// New compiles a configuration. It returns every fault at once.
func New(o Options) (*Pipeline, error) {
	if len(o.Secret) < MinSecret {
		return nil, fmt.Errorf("pipeline: the secret that keys hashes has %d bytes, want %d or more", len(o.Secret), MinSecret)
	}
	c := o.Config
	c.Normalise()
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if len(c.Scrub.Patterns) > maxPatterns {
		return nil, fmt.Errorf("pipeline: %d own scrubbing patterns, at most %d are possible", len(c.Scrub.Patterns), maxPatterns)
	}
	for i, s := range o.Stages {
		if s == nil || s.Name() == "" {
			return nil, fmt.Errorf("pipeline: stage %d has no name", i)
		}
	}
	p := &Pipeline{config: c, stages: o.Stages, scrubber: newScrubber(c.Scrub, slices.Clone(o.Secret)), keys: map[string]*source{}, events: map[string]*eventRules{}}
	p.masking = p.scrubber.masking()
	for name, s := range c.Sources {
		one := &source{name: name}
		for _, text := range s.Origins {
			o, _ := parseOrigin(text) // checked
			one.origins = append(one.origins, o)
		}
		for _, key := range s.Keys {
			p.keys[key] = one
		}
	}
	extra := func(path string) int {
		p.extras = append(p.extras, path)
		return len(p.extras) - 1
	}
	for _, purpose := range slices.Sorted(maps.Keys(c.Consent)) {
		p.purposes = append(p.purposes, purpose)
		extra(c.Consent[purpose])
	}
	for _, path := range c.Context.Page {
		p.page = append(p.page, extra(path))
	}
	for _, path := range c.Context.Referrer {
		p.referrer = append(p.referrer, extra(path))
	}
	for _, t := range c.Trackers {
		p.plain = p.plain || t.IDs == PlainIDs
	}
	for name, e := range c.Events {
		p.events[name] = p.compileEvent(name, e)
	}
	p.near = newNear(slices.Sorted(maps.Keys(c.Events)))
	return p, nil
}

// Config returns the normalised configuration. The caller must not change its maps and slices.
func (p *Pipeline) Config() Config { return p.config }

// KeyID tells secrets apart without giving them away: two pipelines hash alike if and only if it is equal.
func (p *Pipeline) KeyID() string { return p.scrubber.hash("key id")[:8] }

// Trackers returns the names of the trackers, sorted.
func (p *Pipeline) Trackers() []string { return slices.Sorted(maps.Keys(p.config.Trackers)) }

// Current holds the Pipeline in force. The zero Current is not usable; make one with NewCurrent.
type Current struct{ p atomic.Pointer[Pipeline] }

// NewCurrent returns a Current that holds p.
func NewCurrent(p *Pipeline) *Current {
	c := &Current{}
	c.p.Store(p)
	return c
}

// Load returns the pipeline in force. Work on one message with one loaded pipeline.
func (c *Current) Load() *Pipeline { return c.p.Load() }

// Swap puts p in force and returns what was.
func (c *Current) Swap(p *Pipeline) *Pipeline { return c.p.Swap(p) }

// Batch is what Process appends to. The zero Batch is empty.
type Batch struct {
	Events   []Event
	Outcomes []Outcome // one for each item of each request, in their order
	Unknown  []Unknown
	Touched  []Touch
	Faults   []Fault
}

// Reset empties the batch and keeps its memory.
func (b *Batch) Reset() {
	clear(b.Events) // they hold parts of bodies
	*b = Batch{b.Events[:0], b.Outcomes[:0], b.Unknown[:0], b.Touched[:0], b.Faults[:0]}
}

// Unknown is an event or a property that the allowlist does not hold, or of the wrong type: to be counted.
type Unknown struct {
	Event    string // scrubbed if it is not on the allowlist
	Property string // path, scrubbed; empty: the event itself is unknown
	Reason   Reason // UnknownEvent; for a property: Unlisted, WrongType or WrongValue
}

// Unlisted is the Unknown.Reason of a property that the allowlist does not hold. It never rejects an event.
const Unlisted Reason = "unlisted property"

// Touch says that a scrubbing rule found something, never what.
type Touch struct {
	Event string
	Field string // a property's name, or context.page, context.referrer, deviceId, userId
	Rule  string // names of rules, joined by commas; "field" for one of scrub.fields
}

// Fault is a panic while an item was processed: the item is rejected with reason Bug, its neighbours go on. It carries
// no byte of the item.
type Fault struct {
	event.Position
	Stack []byte
}

// Process takes the request at (frame, index) apart and appends what becomes of it to b: exactly one Outcome for each
// item of its body, in their order, and one Event for each that is accepted. A body that cannot be taken apart, and an
// empty list, count as one item. The appended Events hold parts of r.Body.
func (p *Pipeline) Process(frame uint64, index uint32, r *event.Request, b *Batch) {
	w := &work{p: p, batch: b, request: r, at: event.Position{Frame: frame, Request: index}}
	copy(w.id[:], r.Id)
	w.run()
}

// work is the state of one request's way through the pipeline.
type work struct {
	p       *Pipeline
	batch   *Batch
	request *event.Request
	id      uuid.UUID
	list    bool
	at      event.Position

	source  *source
	key     string
	context *Context                    // of the request; nil until the first event needs it
	page    address                     // from the Referer header
	explain func(timestampIgnored bool) // called after each outcome; nil unless asked for
}

func (w *work) run() {
	r, limits := w.request, w.p.config.Limits
	var encodings []string
	for _, h := range r.Headers {
		if strings.EqualFold(h.Name, "Content-Encoding") {
			encodings = append(encodings, string(h.Value))
		}
	}
	text, reason := body.Decode(encodings, r.Body, limits.BodyBytes)
	if reason != "" {
		w.reject(w.outcome(""), Reason(reason), "", "")
		return
	}
	var split body.Body
	if reason := body.Split(text, limits.Items, &split); reason != "" {
		w.reject(w.outcome(""), Reason(reason), "", "")
		return
	}
	if len(split.Items) == 0 {
		w.reject(w.outcome(""), Empty, "", "send at least one event")
		return
	}
	w.list = split.List
	source, key, refused, rule, hint := w.p.find(r)
	w.source, w.key = source, key
	for i, item := range split.Items {
		w.at.Item = uint32(i)
		o := w.outcome(item.Event)
		if refused != "" {
			w.reject(o, refused, rule, hint)
			continue
		}
		w.guarded(o, item.Data, item.Event)
	}
}

// guarded processes one item and turns a panic into its rejection.
func (w *work) guarded(o Outcome, data []byte, name string) {
	before := *w.batch
	defer func() {
		if v := recover(); v != nil {
			*w.batch = before
			w.batch.Faults = append(w.batch.Faults, Fault{w.at, debug.Stack()})
			w.reject(o, Bug, "", "")
		}
	}()
	w.item(o, data, name)
}

// outcome begins the outcome of the current item, whose body says it is called name.
func (w *work) outcome(name string) Outcome {
	o := Outcome{Position: w.at, ID: event.ID(w.id, w.at.Item, w.list), Stage: StageName}
	if w.source != nil {
		o.Source = w.source.name
	}
	if w.p.events[name] != nil {
		o.Name = name
	} else {
		o.Name = w.p.foreign(name)
	}
	return o
}

func (w *work) reject(o Outcome, reason Reason, rule, hint string) {
	o.Result, o.Reason, o.Rule, o.Hint = Rejected, reason, rule, hint
	w.batch.Outcomes = append(w.batch.Outcomes, o)
	if w.explain != nil {
		w.explain(false)
	}
}

var compare = cmp.Compare[string]

// ErrUnknownTracker says that the configuration names no such tracker.
var ErrUnknownTracker = errors.New("pipeline: the configuration has no such tracker")
