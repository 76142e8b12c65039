package trace_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/telemetry"
	"github.com/sparrowhq/sparrow/trace"
	"github.com/sparrowhq/sparrow/trace/sandbox"
	"github.com/sparrowhq/sparrow/warehouse"
	"github.com/sparrowhq/sparrow/warehouse/duckdb"
)

// many is so many frames of 20 events each, from first on.
func many(t testing.TB, first, count int) *event.Delivery {
	var frames []*event.DeliveredFrame
	for sequence := first; sequence < first+count; sequence++ {
		var requests []*event.Request
		for i := range 20 {
			n := sequence*20 + i
			requests = append(requests, request(n, pageview(n)))
		}
		frames = append(frames, frame(t, uint64(sequence), event.Green, requests...))
	}
	return delivery(frames...)
}

// A vendor that hangs costs its own lane lag, and no other anything; when it comes back, the lane catches up by itself.
func TestOneVendorHangs(t *testing.T) {
	v, w := startVendors(t), openWarehouse(t)
	v.scenario("rules: [{name: hung, vendor: amplitude, fault: outage, mode: hang}]")
	o := options(t, t.TempDir(), v, w)
	amplitude := o.Trackers["amplitude"]
	amplitude.Items = 200 // fewer than there are events: the lane's reading blocks
	o.Trackers["amplitude"] = amplitude
	p := start(t, o)
	for first := 1; first <= 100; first += 10 {
		p.deliver(many(t, first, 10))
		until(t, "the others are done with it", func() bool {
			s := p.status()
			for name, l := range s.Lanes {
				if name != "amplitude" && (l.Lag != 0 || l.Shipped != s.Cursor) {
					return false
				}
			}
			return true
		})
	}
	s := p.status()
	if l := s.Lanes["amplitude"]; l.Lag != 2000 || l.OldestAt != started+20*1000 || l.InFlight == 0 || l.Tracker == nil {
		t.Errorf("amplitude, which hangs: %+v", l)
	}
	if code := p.do(http.MethodGet, "/readyz", nil, nil); code != http.StatusOK {
		t.Errorf("a vendor that is down makes trace answer %d to readyz", code)
	}
	v.scenario("rules: []")
	p.settled()
	if got := v.ids(sandbox.Amplitude, "production"); len(got) != 2000 {
		t.Errorf("amplitude has %d events", len(got))
	}
}

// switchable is a warehouse that can be made to fail.
type switchable struct {
	*duckdb.Engine
	down atomic.Bool
	lose atomic.Bool // the answers, not the batches
}

var errDown = errors.New("the warehouse is down")

func (s *switchable) Append(ctx context.Context, b *warehouse.Batch) (event.Cursor, error) {
	if s.down.Load() {
		return event.Cursor{}, errDown
	}
	c, err := s.Engine.Append(ctx, b)
	if s.lose.Load() && err == nil {
		return event.Cursor{}, errDown
	}
	return c, err
}

func (s *switchable) Cursor(ctx context.Context, stack event.Stack, run uint64, stage warehouse.Stage) (event.Cursor, error) {
	if s.down.Load() {
		return event.Cursor{}, errDown
	}
	return s.Engine.Cursor(ctx, stack, run, stage)
}

func (s *switchable) Normalise(ctx context.Context, stack event.Stack, properties []warehouse.Property) error {
	if s.down.Load() {
		return errDown
	}
	return s.Engine.Normalise(ctx, stack, properties)
}

// While the warehouse is down events go out, until too many outcomes wait; then lanes stop, visibly. A restart in between
// changes nothing; nothing is there twice or missing in the end.
func TestWarehouseDown(t *testing.T) {
	v, w := startVendors(t), &switchable{Engine: openWarehouse(t)}
	o := options(t, t.TempDir(), v, w)
	o.MaxUnshipped = 1000
	w.down.Store(true)
	p := start(t, o)
	if _, err := p.forward(many(t, 1, 1)); !errors.Is(err, warehouse.ErrBusy) {
		t.Errorf("a new backlog does not know where to begin without the warehouse: %v", err)
	}
	if code := p.do(http.MethodGet, "/readyz", nil, nil); code != http.StatusServiceUnavailable {
		t.Errorf("readyz says %d", code)
	}
	w.down.Store(false)
	p.deliver(many(t, 1, 10))
	p.settled()

	w.down.Store(true)
	p.deliver(many(t, 11, 40))
	p.deliver(many(t, 51, 40))
	until(t, "heap has got events meanwhile", func() bool { return len(v.ids(sandbox.Heap, "production")) >= 1000 })
	until(t, "the lane says that it has stopped", func() bool { return strings.Contains(p.status().Lanes["heap"].Stopped, "wait for the warehouse") })
	if got := v.ids(sandbox.Heap, "production"); len(got) > 200+1000+2000 {
		t.Errorf("%d events went out, whose outcomes nobody takes", len(got))
	}
	if code := p.do(http.MethodGet, "/readyz", nil, nil); code != http.StatusServiceUnavailable {
		t.Errorf("readyz says %d", code)
	}
	p.stop()
	o.Telemetry = telemetry.Discard()
	p = start(t, o)
	p.deliver(many(t, 91, 10))
	w.lose.Store(true)
	w.down.Store(false)
	until(t, "answers are lost", func() bool { return p.status().Lanes["trace"].ShipError != "" })
	w.lose.Store(false)
	p.settled()
	for _, stage := range []string{"trace", "ga4", "heap", "amplitude", "hook"} {
		if got := outcomes(t, w.Engine, stage); len(got) != 2000 {
			t.Errorf("%s has %d outcomes", stage, len(got))
		}
	}
	for _, vendor := range []sandbox.Vendor{sandbox.GA4, sandbox.Heap, sandbox.Amplitude, sandbox.Webhook} {
		ids := v.ids(vendor, "production")
		for id, n := range ids {
			if n != 1 {
				t.Errorf("%s got %s %d times", vendor, id, n)
			}
		}
		if len(ids) != 2000 {
			t.Errorf("%s got %d events", vendor, len(ids))
		}
	}
	if n := query(t, w.Engine, `SELECT count(*) FROM green.outcomes_log`)[0][0]; n != int64(5*2000) {
		t.Errorf("%v rows of outcomes", n)
	}
}

// What a vendor refuses for good is kept with its answer, and sent again on demand: its new outcome is a correction, once,
// whatever happens in between.
func TestDeadLetters(t *testing.T) {
	v, w := startVendors(t), openWarehouse(t)
	v.scenario("rules: [{name: no, vendor: webhook, fault: status, status: 422, body: 'we do not want this'}]")
	o := options(t, t.TempDir(), v, w)
	o.MaxDead = 30
	p := start(t, o)
	p.deliver(many(t, 1, 1))
	p.settled()
	type list struct {
		Total int
		Dead  []trace.DeadLetter
		More  bool
	}
	var dead list
	p.do(http.MethodGet, "/v1/dead?tracker=hook&limit=15", nil, &dead)
	if dead.Total != 20 || len(dead.Dead) != 15 || !dead.More || dead.Dead[0].Reason == "" || dead.Dead[0].Status != 422 || dead.Dead[0].Request != "" {
		t.Fatalf("dead letters: %+v", dead)
	}
	var rest list
	p.do(http.MethodGet, "/v1/dead?tracker=hook&after="+dead.Dead[14].Position.String(), nil, &rest)
	if len(rest.Dead) != 5 || rest.More {
		t.Errorf("the rest: %+v", rest)
	}
	var letter trace.DeadLetter
	p.do(http.MethodGet, "/v1/dead/hook/1.0.0", nil, &letter)
	if !strings.Contains(letter.Response, "we do not want this") || !strings.Contains(letter.Request, "pageview") || letter.Content == nil || letter.ID != requestID(20).String() {
		t.Errorf("the letter: %+v", letter)
	}
	for path, want := range map[string]int{"/v1/dead/hook/9.0.0": 404, "/v1/dead/nobody/1.0.0": 404, "/v1/dead/hook/x": 400, "/v1/dead?limit=0": 400, "/v1/dead?after=1.0.0": 400} {
		if got := p.do(http.MethodGet, path, nil, nil); got != want {
			t.Errorf("%s: %d, want %d", path, got, want)
		}
	}
	if got := p.do(http.MethodPost, "/v1/dead/retry", map[string]any{"tracker": "hook"}, nil); got != 400 {
		t.Errorf("retry of nothing: %d", got)
	}
	if got := p.do(http.MethodPost, "/v1/dead/retry", map[string]any{"tracker": "hook", "positions": []string{"1.0.0", "9.0.0"}}, nil); got != 404 {
		t.Errorf("retry of what is not there: %d", got)
	}

	// Too many stop the lane, visibly, and no other.
	p.deliver(many(t, 2, 1))
	until(t, "the lane stops", func() bool { return strings.Contains(p.status().Lanes["hook"].Stopped, "dead letters") })
	p.deliver(many(t, 3, 1))
	until(t, "the others go on", func() bool { return p.status().Lanes["heap"].Lag == 0 })
	until(t, "what was in flight has died, and nothing is read on", func() bool {
		l := p.status().Lanes["hook"]
		return l.Lag == 20 && l.Dead == 40
	})

	// Two of them again, and the vendor still does not want them.
	p.do(http.MethodPost, "/v1/dead/retry", map[string]any{"tracker": "hook", "positions": []string{"1.0.0", "1.1.0"}}, nil)
	until(t, "they died again", func() bool {
		p.do(http.MethodGet, "/v1/dead/hook/1.0.0", nil, &letter)
		return letter.Revision == 1 && !letter.Retrying && p.status().Lanes["hook"].Resending == 0
	})
	// Now it hangs; everything is sent again, and the process ends in the middle of it.
	v.scenario("rules: [{name: hung, vendor: webhook, fault: outage, mode: hang}]")
	var said struct{ Retrying int }
	p.do(http.MethodPost, "/v1/dead/retry", map[string]any{"tracker": "hook", "all": true}, &said)
	if said.Retrying != 40 {
		t.Errorf("%d are sent again", said.Retrying)
	}
	until(t, "calls have begun", func() bool { return p.status().Lanes["hook"].Tracker.Sinks["production"].Calls > 0 })
	p.stop()
	v.scenario("rules: []")
	o.Telemetry = telemetry.Discard()
	p = start(t, o)
	p.settled()
	until(t, "no letter is left", func() bool { return p.status().Lanes["hook"].Dead == 0 })
	p.settled()
	for at, what := range outcomes(t, w, "hook") {
		if what != "delivered" && what != "delivered: "+trace.ReasonAgain {
			t.Errorf("%v: %s", at, what)
		}
	}
	rows := query(t, w, `SELECT revision, count(*) FROM green.outcomes_log WHERE stage = 'hook' GROUP BY revision ORDER BY revision`)
	if diff := cmp.Diff([][]any{{int64(0), int64(60)}, {int64(1), int64(40)}, {int64(2), int64(2)}}, rows); diff != "" {
		t.Errorf("rows by revision: %s", diff)
	}
	ids := v.ids(sandbox.Webhook, "production")
	if len(ids) != 60 {
		t.Errorf("the vendor has %d events", len(ids))
	}
	for id, n := range ids {
		if n != 1 {
			t.Errorf("%s came %d times", id, n)
		}
	}
}

// Another configuration makes another build: what is processed after it carries that, and its columns are shown.
func TestReload(t *testing.T) {
	v, w := startVendors(t), openWarehouse(t)
	p := start(t, options(t, t.TempDir(), v, w))
	p.deliver(many(t, 1, 1))
	p.settled()
	without := strings.Replace(configText, "  zone.delete:", "  zone.add: {properties: {colour: string}}\n  zone.delete:", 1)
	if err := p.trace.Reload(config(t, without), event.Build{ID: "b2"}); err != nil {
		t.Fatal(err)
	}
	p.deliver(delivery(frame(t, 2, event.Green, request(1, `{"event":"zone.add","deviceId":"d","properties":{"colour":"red"}}`))))
	p.settled()
	for _, stage := range []string{"trace", "heap"} {
		rows := query(t, w, `SELECT build, count(*) FROM green.outcomes WHERE stage = ? GROUP BY build ORDER BY build`, stage)
		if diff := cmp.Diff([][]any{{"b1", int64(20)}, {"b2", int64(1)}}, rows); diff != "" {
			t.Errorf("%s: %s", stage, diff)
		}
	}
	var cursors struct{ Build event.Build }
	if p.do(http.MethodGet, "/v1/cursors", nil, &cursors); cursors.Build.ID != "b2" {
		t.Errorf("it says that it is build %q", cursors.Build.ID)
	}
	until(t, "the new column is shown", func() bool {
		rows, err := w.Query(context.Background(), warehouse.Query{SQL: `SELECT colour FROM green.raw_normalized`})
		if err != nil {
			return false
		}
		rows.Close()
		return true
	})
	fewer := strings.Replace(configText, "  heap: {}\n", "", 1)
	if err := p.trace.Reload(config(t, fewer), event.Build{ID: "b3"}); err == nil || !strings.Contains(err.Error(), "restart") {
		t.Errorf("a tracker less: %v", err)
	}
}

// A tracker that is not configured any more has ended, one that is new begins at the present end.
func TestTrackersComeAndGo(t *testing.T) {
	v, w := startVendors(t), openWarehouse(t)
	o := options(t, t.TempDir(), v, w)
	fewer := strings.NewReplacer("  heap: {}\n", "", ", hook: false", ", hook: false").Replace(configText)
	run := func(text string, check func(p *process)) {
		o.Pipeline, o.Telemetry = config(t, text), telemetry.Discard()
		p := start(t, o)
		check(p)
		p.settled()
		p.stop()
	}
	run(configText, func(p *process) { p.deliver(many(t, 1, 2)) })
	run(fewer, func(p *process) {
		p.deliver(many(t, 3, 2))
		p.settled()
		if s := p.status(); s.Ended["heap"] != (event.Cursor{Frame: 3}) || s.Backlog.Messages != 0 {
			t.Errorf("ended %v, %d messages kept", s.Ended, s.Backlog.Messages)
		}
	})
	run(configText, func(p *process) {
		p.deliver(many(t, 5, 2))
		p.settled()
		if s := p.status(); s.Lanes["heap"].Since != (event.Cursor{Frame: 5}) || len(s.Ended) != 0 || s.Lanes["heap"].Lost != nil {
			t.Errorf("%+v", s.Lanes["heap"])
		}
	})
	if got := outcomes(t, w, "heap"); len(got) != 80 {
		t.Errorf("heap has %d outcomes", len(got))
	}
	if got := v.ids(sandbox.Heap, "production"); len(got) != 80 {
		t.Errorf("heap got %d events", len(got))
	}
	if got := v.ids(sandbox.GA4, "production"); len(got) != 120 {
		t.Errorf("ga4 got %d events", len(got))
	}
}

// A backlog that was lost begins where the warehouse's outcomes end: what is final is not sent again.
func TestBacklogLost(t *testing.T) {
	v, w := startVendors(t), openWarehouse(t)
	o := options(t, t.TempDir(), v, w)
	p := start(t, o)
	p.deliver(many(t, 1, 5))
	p.settled()
	p.stop()
	o.Dir, o.Telemetry = t.TempDir(), telemetry.Discard()
	p = start(t, o)
	until(t, "it has begun", func() bool { _, err := p.feed.Cursor(context.Background(), 0); return err == nil })
	if c, err := p.feed.Cursor(context.Background(), 0); err != nil || c != (event.Cursor{Frame: 6}) {
		t.Errorf("a new backlog begins at %v, %v", c, err)
	}
	p.deliver(many(t, 3, 5))
	p.settled()
	if got := v.ids(sandbox.GA4, "production"); len(got) != 140 {
		t.Errorf("ga4 got %d events", len(got))
	}
	for id, n := range v.ids(sandbox.GA4, "production") {
		if n != 1 {
			t.Errorf("ga4 got %s %d times", id, n)
		}
	}
	if got := outcomes(t, w, "ga4"); len(got) != 140 {
		t.Errorf("ga4 has %d outcomes", len(got))
	}
}

// stuck is a warehouse that answers nothing until its caller gives up.
type stuck struct {
	*duckdb.Engine
	called chan struct{}
}

func (s stuck) Append(ctx context.Context, _ *warehouse.Batch) (event.Cursor, error) {
	select {
	case s.called <- struct{}{}:
	default:
	}
	<-ctx.Done()
	return event.Cursor{}, ctx.Err()
}

// With every vendor and the warehouse hanging, a process ends within its bounds all the same, and the next one has all.
func TestStopIsBounded(t *testing.T) {
	v, w := startVendors(t), openWarehouse(t)
	v.scenario("rules: [{name: hung, fault: outage, mode: hang}]")
	hung := stuck{w, make(chan struct{}, 1)}
	o := options(t, t.TempDir(), v, hung)
	o.Grace = 100 * time.Millisecond
	p := start(t, o)
	p.deliver(many(t, 1, 5))
	<-hung.called
	until(t, "calls have begun", func() bool { return p.status().Lanes["ga4"].Tracker.Sinks["production"].Calls > 0 })
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		p.stop()
	}()
	select {
	case <-stopped:
	case <-time.After(30 * time.Second): // an append alone may take a minute
		t.Fatal("it does not end")
	}
	v.scenario("rules: []")
	o.Telemetry, o.Warehouse = telemetry.Discard(), w
	p = start(t, o)
	p.settled()
	for _, stage := range []string{"trace", "ga4", "heap", "amplitude", "hook"} {
		if got := outcomes(t, w, stage); len(got) != 100 {
			t.Errorf("%s has %d outcomes", stage, len(got))
		}
	}
}
