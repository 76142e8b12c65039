package sandbox

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sparrowhq/sparrow/service"
	"github.com/sparrowhq/sparrow/telemetry"
	"github.com/sparrowhq/sparrow/trace/sandbox/record"
	"github.com/sparrowhq/sparrow/trace/sandbox/scenario"
)

// Options configure New.
type Options struct {
	Telemetry *telemetry.Telemetry // nil: nobody reads it

	// Secret is asked for on the control API, /v1/…; empty: the control API is open. The vendors' paths know only the
	// vendors' own credentials.
	Secret string

	// Dir is the folder for what arrives (created with mode 0700; it holds whole requests, secrets and all); a sandbox
	// started on it again goes on counting. Empty: memory only.
	Dir      string
	MaxBytes int64 // kept of what arrived; 0: 64 MiB in memory, 8 GiB in a folder. Older requests are forgotten, counts stay
	MaxIDs   int   // event ids told apart; 0: 16 million

	Projects map[Vendor][]Project // nil: DefaultProjects; a vendor left out has none
	Limits   Limits               // zero: as documented

	EventIDParam   string // GA4 parameter that carries the event's id; empty: "event_id"
	WebhookIDField string // member of a webhook's event that does; empty: "eventId"

	MaxBody  int64              // bytes of any request, decoded; 0: 32 MiB
	Scenario *scenario.Scenario // nil: nothing goes wrong
	Clock    Clock              // nil: the machine's
}

// grace is for how long Run lets requests finish; hanging ones are let go at once.
const grace = 5 * time.Second

func (o *Options) complete() error {
	if o.Telemetry == nil {
		o.Telemetry = telemetry.Discard()
	}
	if o.Projects == nil {
		o.Projects = DefaultProjects()
	}
	if o.EventIDParam == "" {
		o.EventIDParam = "event_id"
	}
	if o.WebhookIDField == "" {
		o.WebhookIDField = "eventId"
	}
	if o.MaxBody == 0 {
		o.MaxBody = 32 << 20
	}
	if o.Clock == nil {
		o.Clock = systemClock{}
	}
	if o.MaxBytes < 0 || o.MaxIDs < 0 || o.MaxBody < 0 {
		return fmt.Errorf("sandbox: negative bound: MaxBytes %d, MaxIDs %d, MaxBody %d", o.MaxBytes, o.MaxIDs, o.MaxBody)
	}
	for vendor, projects := range o.Projects {
		if !slices.Contains(Vendors, vendor) {
			return fmt.Errorf("sandbox: projects of vendor %q: there is no such vendor here, only %v", vendor, Vendors)
		}
		for i, p := range projects {
			if p.Name == "" || p.Name == Unknown || p.Key == "" {
				return fmt.Errorf("sandbox: project %d of %s: needs a key and a name other than %q", i+1, vendor, Unknown)
			}
			for _, other := range projects[:i] {
				if other.Name == p.Name || other.Key == p.Key {
					return fmt.Errorf("sandbox: projects %d of %s: name or key of %s is taken: they tell projects apart", i+1, vendor, p.Name)
				}
			}
		}
	}
	return nil
}

// Sandbox is safe for concurrent use.
type Sandbox struct {
	options Options
	differ  []string // limits that are not the documented ones
	vendors map[Vendor]vendor
	store   *record.Store
	handler http.Handler

	faults atomic.Pointer[scenario.Engine] // never nil
	stop   context.Context                 // ends when hanging requests are to be let go
	let    context.CancelFunc
	active sync.WaitGroup // requests to vendors under way, hijacked connections included
}

// New returns a sandbox that counts on from what Dir holds. Close it.
func New(o Options) (*Sandbox, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	s := &Sandbox{options: o}
	s.options.Limits, s.differ = o.Limits.complete()
	limits := s.options.Limits
	s.vendors = map[Vendor]vendor{
		GA4:       &ga4{limits: limits.GA4, idParam: o.EventIDParam},
		Heap:      newHeap(limits.Heap),
		Amplitude: newAmplitude(limits.Amplitude, limits.AmplitudeBatch),
		Webhook:   &webhook{idField: o.WebhookIDField},
		Sentry:    sentry{},
	}
	store, err := record.Open(record.Options{Dir: o.Dir, MaxBytes: o.MaxBytes, MaxIDs: o.MaxIDs})
	if err != nil {
		return nil, fmt.Errorf("sandbox: %w", err)
	}
	s.store = store
	for vendor, projects := range o.Projects {
		for _, p := range projects {
			store.Know(string(vendor), p.Name)
		}
	}
	s.faults.Store(scenario.Start(o.Scenario, o.Clock.Now()))
	s.stop, s.let = context.WithCancel(context.Background())
	if err := o.Telemetry.Registry.Register(metrics{store}); err != nil {
		return nil, errors.Join(fmt.Errorf("sandbox: metrics: %w", err), store.Close())
	}
	s.handler = s.routes()
	return s, nil
}

// Handler serves the vendors, the control API, health and metrics.
func (s *Sandbox) Handler() http.Handler { return s.handler }

// Run serves on l until ctx ends, and returns when nothing is under way any more. Call it once.
func (s *Sandbox) Run(ctx context.Context, l net.Listener) error {
	defer s.active.Wait()
	defer context.AfterFunc(ctx, s.let)()
	err := service.Serve(ctx, s.options.Telemetry, l, s.handler, grace)
	s.let()
	return err
}

// Close lets hanging requests go and ends recording. Stop serving first.
func (s *Sandbox) Close() error {
	s.let()
	s.faults.Load().Stop()
	s.active.Wait()
	s.options.Telemetry.Registry.Unregister(metrics{s.store})
	return s.store.Close()
}

// SetScenario begins sc, or none if it is nil, now; whatever hangs because of the one before is let go.
func (s *Sandbox) SetScenario(sc *scenario.Scenario) {
	s.faults.Swap(scenario.Start(sc, s.options.Clock.Now())).Stop()
}

// Reset forgets what arrived, what vendors remember of it, and all rates. The scenario goes on.
func (s *Sandbox) Reset() error {
	for _, v := range s.vendors {
		v.reset()
	}
	return s.store.Reset()
}

// Counts returns what each project received, by vendor and name.
func (s *Sandbox) Counts() []record.Counts { return s.store.Counts() }

func (s *Sandbox) ready() []error {
	if err := s.store.Err(); err != nil {
		return []error{err}
	}
	return nil
}
