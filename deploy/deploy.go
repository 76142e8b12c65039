package deploy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sparrowhq/sparrow/compare"
	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/telemetry"
)

// Options configure New.
type Options struct {
	Pipeline  Pipeline             // required
	Verdicts  Log                  // required
	Policy    Policy               // zero: the defaults
	Telemetry *telemetry.Telemetry // nil: nobody listens
	Now       func() time.Time     // nil: time.Now
}

func (o *Options) applyDefaults() error {
	if o.Pipeline == nil || o.Verdicts == nil {
		return errors.New("deploy: Pipeline and Verdicts are required")
	}
	if o.Telemetry == nil {
		o.Telemetry = telemetry.Discard()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return nil
}

// Deploy makes decisions. It is safe for concurrent use.
type Deploy struct {
	o        Options
	policy   atomic.Pointer[Policy] // with defaults
	verdicts verdicts
	metrics  metrics
	deciding sync.Mutex // held from reading the state to appending the record: our own callers queue, others conflict
}

type metrics struct {
	decisions *prometheus.CounterVec
	refusals  *prometheus.CounterVec
	verdicts  *prometheus.CounterVec
}

// New returns a Deploy. It starts nothing and reads nothing yet.
func New(o Options) (*Deploy, error) {
	if err := o.applyDefaults(); err != nil {
		return nil, err
	}
	d := &Deploy{o: o, verdicts: verdicts{log: o.Verdicts}}
	d.SetPolicy(o.Policy)
	d.metrics.decisions = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "sparrow_deploy_decisions_total", Help: "Control records appended, by kind."}, []string{"kind", "forced"})
	d.metrics.refusals = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "sparrow_deploy_refusals_total", Help: "Reasons for which decisions were refused."}, []string{"code"})
	d.metrics.verdicts = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "sparrow_deploy_verdicts_total", Help: "Verdicts kept, by outcome."}, []string{"outcome"})
	for _, c := range []prometheus.Collector{d.metrics.decisions, d.metrics.refusals, d.metrics.verdicts} {
		if err := o.Telemetry.Registry.Register(c); err != nil {
			return nil, fmt.Errorf("deploy: %w", err)
		}
	}
	return d, nil
}

// SetPolicy changes what a PASS and a cutover take, from the next evidence and the next decision on. A verdict that is kept
// stays what it was.
func (d *Deploy) SetPolicy(p Policy) {
	p = p.withDefaults()
	d.policy.Store(&p)
}

// RefusedError says why a decision was not made.
type RefusedError struct {
	What     string    `json:"what"` // the decision
	Refusals []Refusal `json:"refusals"`
}

func (e *RefusedError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s is refused", e.What)
	for i, r := range e.Refusals {
		sep := "; "
		if i == 0 {
			sep = ": "
		}
		b.WriteString(sep + r.Text)
	}
	return b.String()
}

// Request is what somebody asks for.
type Request struct {
	Actor       string      `json:"actor,omitempty"`       // who, as people write it
	Reason      string      `json:"reason,omitempty"`      // why
	Generation  uint64      `json:"generation,omitempty"`  // decide only if this is still the present one; 0: whichever is
	Force       bool        `json:"force,omitempty"`       // in spite of refusals; takes a reason. candidate: the live stack was changed by force
	Build       event.Build `json:"build"`                 // candidate: declare this instead of what the stack reports
	From        uint64      `json:"from,omitempty"`        // rollback: the first frame to reassign; 0: those to come
	AcceptHoles bool        `json:"acceptHoles,omitempty"` // rollback: in spite of what the returning stack never got
}

// Decision is what was decided.
type Decision struct {
	Sequence  uint64        `json:"sequence"`
	Hash      string        `json:"hash"`
	Record    event.Control `json:"record"`
	Overruled []Refusal     `json:"overruled,omitempty"` // what was forced aside
	Warnings  []string      `json:"warnings,omitempty"`
}

// state reads status and history until they agree, which they do unless a decision falls between the two reads.
func (d *Deploy) state(ctx context.Context) (State, error) {
	var s State
	for range 3 {
		var err error
		if s.Status, err = d.o.Pipeline.Status(ctx); err != nil {
			return State{}, fmt.Errorf("the mirror's status: %w", err)
		}
		if s.Timeline, err = d.o.Pipeline.Timeline(ctx); err != nil {
			return State{}, fmt.Errorf("the control history: %w", err)
		}
		head, ok := s.Timeline.Head()
		if !ok {
			return State{}, errors.New("the control history is empty: the journal is not open yet")
		}
		if head.Generation == s.Generation {
			return s, nil
		}
	}
	return State{}, fmt.Errorf("%w: status and history do not agree, three times in a row", ErrConflict)
}

// Candidate declares the build that the candidate stack runs: a new window begins, roles stay.
// Errors: *RefusedError, ErrConflict, or why the record could not be written.
func (d *Deploy) Candidate(ctx context.Context, r Request) (Decision, error) {
	d.deciding.Lock()
	defer d.deciding.Unlock()
	s, err := d.state(ctx)
	if err != nil {
		return Decision{}, err
	}
	stack := s.Candidate()
	is := s.Stacks[stack]
	build := is.Build
	var refusals []Refusal
	switch {
	case r.Build.ID != "" && is.Reachable && is.Build.ID != r.Build.ID:
		refusals = append(refusals, Refusal{RefuseBuild, fmt.Sprintf("%s runs %s, not %s", stack, compare.BuildName(is.Build), compare.BuildName(r.Build)), "start that build, or declare what runs"})
	case r.Build.ID != "":
		build = r.Build
	case !is.Reachable:
		refusals = append(refusals, Refusal{RefuseUnreachable, fmt.Sprintf("%s does not answer%s, so its build is not known", stack, because(is.Error)), fmt.Sprintf("start %s, or name the build", stack)})
	case is.Build.ID == "":
		refusals = append(refusals, Refusal{RefuseBuild, fmt.Sprintf("%s does not say which build it is", stack), unnamed(is)})
	}
	if r.Force && r.Reason == "" {
		refusals = append(refusals, Refusal{RefuseReason, "forcing takes a reason", "give one: it stays in the history"})
	}
	if len(refusals) > 0 {
		return Decision{}, d.refused("declaring the candidate", refusals)
	}
	live := s.Timeline.Live()
	return d.append(ctx, s, r, event.Control{Kind: event.Candidate, Live: live, Candidate: bound(build), LiveBuild: bound(s.Stacks[live].Build), Forced: r.Force})
}

// unnamed is what helps when a stack does not say which build it is.
func unnamed(is compare.StackStatus) string {
	if is.Protocol == "http" {
		return "have the service answer with a Sparrow-Build header, and send it a request"
	}
	return "name the build"
}

// Cutover makes the candidate live, on the latest verdict.
// Errors: *RefusedError, ErrConflict, or why the record could not be written.
func (d *Deploy) Cutover(ctx context.Context, r Request) (Decision, error) {
	d.deciding.Lock()
	defer d.deciding.Unlock()
	s, err := d.state(ctx)
	if err != nil {
		return Decision{}, err
	}
	verdict, refusals := d.guard(ctx, s)
	if err := d.overrule("the cutover", r, refusals); err != nil {
		return Decision{}, err
	}
	stack := s.Candidate()
	c := event.Control{Kind: event.Cutover, Live: stack, LiveBuild: bound(s.Stacks[stack].Build), Forced: len(refusals) > 0}
	if verdict != nil {
		c.Verdict = verdict.ID
	}
	decision, err := d.append(ctx, s, r, c)
	decision.Overruled = refusals
	return decision, err
}

// guard asks Guard about the latest verdict. Verdicts that cannot be read are one more reason against it.
func (d *Deploy) guard(ctx context.Context, s State) (*compare.Report, []Refusal) {
	verdict, err := d.about(ctx, s)
	refusals := Guard(s, verdict, *d.policy.Load(), d.o.Now())
	if err != nil {
		refusals = append(refusals, Refusal{RefuseUnknown, err.Error(), "see to the journal: verdicts are kept in it"})
	}
	return verdict, refusals
}

// about returns the latest verdict if it is about the present generation. A verdict about an earlier one says nothing:
// whatever was decided since is not in it.
func (d *Deploy) about(ctx context.Context, s State) (*compare.Report, error) {
	r, err := d.verdicts.last(ctx)
	if err != nil {
		return nil, fmt.Errorf("the latest verdict: %w", err)
	}
	head, _ := s.Timeline.Head()
	if r == nil || r.Verdict.Generation != head.Generation || r.Verdict.Head != head.Hash() {
		return nil, nil
	}
	return r, nil
}

// overrule returns an error unless there is nothing to refuse, or it is forced with a reason.
func (d *Deploy) overrule(what string, r Request, refusals []Refusal) error {
	if len(refusals) == 0 {
		return nil
	}
	if r.Force && strings.TrimSpace(r.Reason) == "" {
		refusals = append(refusals, Refusal{RefuseReason, "forcing takes a reason, which stays in the history", "add --reason"})
	} else if r.Force {
		return nil
	}
	return d.refused(what, refusals)
}

func (d *Deploy) refused(what string, refusals []Refusal) error {
	for _, r := range refusals {
		d.metrics.refusals.WithLabelValues(r.Code).Inc()
	}
	return &RefusedError{What: what, Refusals: refusals}
}

// append writes the record: the compare-and-set of every decision.
func (d *Deploy) append(ctx context.Context, s State, r Request, c event.Control) (Decision, error) {
	head, _ := s.Timeline.Head()
	if r.Generation != 0 && r.Generation != head.Generation {
		return Decision{}, fmt.Errorf("%w: you decided at generation %d, now it is %d (%s, %s live)", ErrConflict, r.Generation, head.Generation, head.Kind, head.Live)
	}
	c.Generation = head.Generation + 1
	c.Reason, c.Actor, c.At = bounded(r.Reason), bounded(r.Actor), d.o.Now().UnixMicro()
	record, err := d.o.Pipeline.AppendControl(ctx, c)
	if err != nil {
		return Decision{}, fmt.Errorf("the control record: %w", err)
	}
	d.o.Telemetry.Log.Info("decided", "kind", record.Kind, "generation", record.Generation, "live", record.Live, "sequence", record.Sequence, "forced", record.Forced, "verdict", record.Verdict)
	d.metrics.decisions.WithLabelValues(string(record.Kind), fmt.Sprint(record.Forced)).Inc()
	return Decision{Sequence: record.Sequence, Hash: record.Hash(), Record: record.Control}, nil
}

// History returns every decision there ever was.
func (d *Deploy) History(ctx context.Context) (event.Timeline, error) {
	return d.o.Pipeline.Timeline(ctx)
}

// maxText bounds what people write into a record, in bytes.
const maxText = 1000

// bounded cuts text to what a record keeps, and to UTF-8.
func bounded(s string) string {
	s = strings.ToValidUTF8(strings.TrimSpace(s), "\uFFFD")
	if len(s) <= maxText {
		return s
	}
	cut := maxText
	for !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut]
}

func bound(b event.Build) event.Build {
	return event.Build{ID: bounded(b.ID), Version: bounded(b.Version)}
}
