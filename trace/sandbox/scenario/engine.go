package scenario

import (
	"context"
	"hash/fnv"
	"path"
	"strings"
	"sync"
	"time"
)

// Engine applies a scenario from a moment on. It is safe for concurrent use.
type Engine struct {
	scenario Scenario
	start    time.Time
	over     context.Context
	stop     context.CancelFunc

	mu   sync.Mutex
	seen []uint64 // per rule: requests that its vendor, project and path match
	hits []uint64 // per rule: requests it applied to
}

// Start begins s, which Parse has returned, at now. A nil s has no rules.
func Start(s *Scenario, now time.Time) *Engine {
	if s == nil {
		s = &Scenario{}
	}
	over, stop := context.WithCancel(context.Background())
	return &Engine{scenario: *s, start: now, over: over, stop: stop, seen: make([]uint64, len(s.Rules)), hits: make([]uint64, len(s.Rules))}
}

// Stop ends the scenario: whatever hangs because of it may go.
func (e *Engine) Stop() { e.stop() }

// Context ends with the scenario.
func (e *Engine) Context() context.Context { return e.over }

// Decision is what goes wrong with one request.
type Decision struct {
	Rule  *Rule   // nil: nothing
	Drops []*Rule // rules by which properties or events get lost
	Delay time.Duration
	seed  uint64
}

// NeedsProject says whether the answer to Decide depends on the project. If not, the request need not be read first.
func (e *Engine) NeedsProject(vendor, urlPath string) bool {
	for i := range e.scenario.Rules {
		if r := &e.scenario.Rules[i]; r.Project != "" && r.covers(vendor, r.Project, urlPath) {
			return true
		}
	}
	return false
}

// Decide counts one request and says what goes wrong with it.
func (e *Engine) Decide(now time.Time, vendor, project, urlPath string) Decision {
	d := Decision{seed: e.scenario.Seed}
	if len(e.scenario.Rules) == 0 {
		return d
	}
	since := Duration(now.Sub(e.start))
	e.mu.Lock()
	defer e.mu.Unlock()
	for i := range e.scenario.Rules {
		r := &e.scenario.Rules[i]
		if !r.covers(vendor, project, urlPath) {
			continue
		}
		e.seen[i]++
		n := e.seen[i]
		if since < r.From || (r.Until != 0 && since >= r.Until) || n < r.FromRequest || (r.UntilRequest != 0 && n >= r.UntilRequest) {
			continue
		}
		if r.OneIn > 1 && draw(e.scenario.Seed, r.Name, n)%r.OneIn != 0 {
			continue
		}
		if r.Fault == Drop {
			e.hits[i]++
			d.Drops = append(d.Drops, r)
			continue
		}
		if d.Rule != nil {
			continue
		}
		e.hits[i]++
		d.Rule = r
		d.Delay = time.Duration(r.Delay)
		if r.Jitter > 0 {
			d.Delay += time.Duration(draw(e.scenario.Seed, r.Name, n) % uint64(r.Jitter))
		}
	}
	return d
}

func (r *Rule) covers(vendor, project, urlPath string) bool {
	if (r.Vendor != "" && r.Vendor != vendor) || (r.Project != "" && r.Project != project) {
		return false
	}
	if r.Path == "" || r.Path == urlPath {
		return true
	}
	if prefix, ok := strings.CutSuffix(r.Path, "*"); ok && !strings.Contains(prefix, "*") {
		return strings.HasPrefix(urlPath, prefix)
	}
	ok, err := path.Match(r.Path, urlPath)
	return ok && err == nil
}

// Loses returns the name of the first rule that loses the event, empty if none does. It depends on the event's id
// alone, or on its place in the request if it has none: the same event is lost however often it is sent.
func (d Decision) Loses(id string, place uint64) string {
	for _, r := range d.Drops {
		if r.Events == 0 {
			continue
		}
		n := place
		if id != "" {
			h := fnv.New64a()
			h.Write([]byte(id))
			n = h.Sum64()
		}
		if draw(d.seed, r.Name, n)%r.Events == 0 {
			return r.Name
		}
	}
	return ""
}

// draw returns a number that depends on its arguments alone.
func draw(seed uint64, rule string, n uint64) uint64 {
	h := fnv.New64a()
	h.Write([]byte(rule))
	x := seed ^ h.Sum64() ^ n*0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// Progress is how far a rule has come.
type Progress struct {
	Rule
	Matched uint64 `json:"matched"` // requests its vendor, project and path match
	Applied uint64 `json:"applied"` // requests that went wrong by it
}

// State is a scenario under way.
type State struct {
	Seed    uint64     `json:"seed"`
	Started time.Time  `json:"started"`
	Elapsed Duration   `json:"elapsed"`
	Rules   []Progress `json:"rules"`
}

// State returns how far the scenario has come.
func (e *Engine) State(now time.Time) State {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := State{Seed: e.scenario.Seed, Started: e.start, Elapsed: Duration(now.Sub(e.start)), Rules: []Progress{}}
	for i, r := range e.scenario.Rules {
		s.Rules = append(s.Rules, Progress{Rule: r, Matched: e.seen[i], Applied: e.hits[i]})
	}
	return s
}
