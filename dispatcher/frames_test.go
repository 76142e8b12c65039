package dispatcher_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sparrowhq/sparrow/dispatcher"
	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/service"
	"github.com/sparrowhq/sparrow/telemetry"
	"github.com/sparrowhq/sparrow/warehouse"
)

// requestsAt lists the requests that have rows, in the rows' order.
func requestsAt(rows []warehouse.Row) (at []string) {
	for _, r := range rows {
		at = append(at, fmt.Sprintf("%d.%d", r.Frame, r.Request))
	}
	return at
}

func small(t testing.TB, sequence uint64, requests int) *event.DeliveredFrame {
	all := make([]*event.Request, requests)
	for i := range all {
		all[i] = request(int(sequence)*100+i, []byte(`{"event":"e"}`))
	}
	return frame(t, sequence, all...)
}

func TestDeliveriesAreAppliedOnceAndInOrder(t *testing.T) {
	m := newMemory()
	s := start(t, options(m))
	a, b, c := delivery(small(t, 1, 2)), delivery(small(t, 2, 1), small(t, 3, 2)), delivery(small(t, 4, 1))

	if got := s.send(b); got.Status != http.StatusConflict || got.Reason != "gap" || *got.Cursor != (event.Cursor{}) || got.Build != build || got.Stack != event.Green {
		t.Fatalf("a gap is answered %+v", got)
	}
	if len(m.raw()) != 0 {
		t.Fatal("rows from behind a gap")
	}
	s.sendWhole(a)
	s.sendWhole(b)
	s.sendWhole(b) // the answer was lost
	s.sendWhole(a)
	both := delivery(a.Frames[0], b.Frames[0], b.Frames[1])
	s.sendWhole(both) // a feed that begins again, further back
	overlapping := delivery(b.Frames[1], c.Frames[0])
	s.sendWhole(overlapping)
	want := []string{"1.0", "1.1", "2.0", "3.0", "3.1", "4.0"}
	if got := requestsAt(m.raw()); !slices.Equal(got, want) {
		t.Errorf("requests %v, want %v", got, want)
	}
}

func TestPartsOfFramesAndHoles(t *testing.T) {
	m := newMemory()
	s := start(t, options(m))
	f1, f2, f4 := small(t, 1, 4), small(t, 2, 2), small(t, 4, 3)

	first := delivery(f1)
	first.ToFrame, first.ToRequest = 1, 2 // the request 1.2 is being isolated
	s.sendWhole(first)
	hole := &event.Delivery{Format: 1, Journal: "j1", FromFrame: 1, FromRequest: 2, ToFrame: 1, ToRequest: 3,
		Holes: []*event.Hole{{FromFrame: 1, FromRequest: 2, ToFrame: 1, ToRequest: 3, Reason: event.Dead, Requests: 1}}}
	s.sendWhole(hole)
	rest := delivery(f1, f2, f4)
	rest.FromRequest = 3
	rest.Holes = []*event.Hole{
		{FromFrame: 2, ToFrame: 2, ToRequest: 1, Reason: event.Sampled, Requests: 1}, // its frame comes along
		{FromFrame: 3, ToFrame: 4, ToRequest: 1, Reason: event.Expired, Requests: 9},
	}
	s.sendWhole(rest)
	if got, want := requestsAt(m.raw()), []string{"1.0", "1.1", "1.3", "2.1", "4.1", "4.2"}; !slices.Equal(got, want) {
		t.Errorf("requests %v, want %v", got, want)
	}
}

func TestControlRecordsRideAlong(t *testing.T) {
	m := newMemory()
	s := start(t, options(m))
	with := func(d *event.Delivery, sequences ...uint64) *event.Delivery {
		for _, n := range sequences {
			d.Controls = append(d.Controls, &event.ControlEntry{Sequence: n, Record: fmt.Appendf(nil, "record %d", n)})
		}
		return d
	}
	alone := func(at uint64) *event.Delivery {
		return &event.Delivery{Format: 1, Journal: "j1", FromFrame: at, ToFrame: at}
	}
	s.sendWhole(with(alone(0), 1))
	s.sendWhole(with(delivery(small(t, 1, 1)), 2, 9))
	s.sendWhole(with(delivery(small(t, 1, 1)), 12)) // applied before, but the record is new
	s.sendWhole(with(alone(2), 14))
	s.sendWhole(with(alone(1), 15)) // below the cursor
	s.sendWhole(alone(2))
	if got := s.send(with(alone(3), 16)); got.Status != http.StatusConflict || *got.Cursor != (event.Cursor{Frame: 2}) {
		t.Errorf("control records past the cursor: %+v", got)
	}
	var got []uint64
	for n, record := range m.controls {
		got = append(got, n)
		if string(record) != fmt.Sprintf("record %d", n) {
			t.Errorf("record at %d: %q", n, record)
		}
	}
	slices.Sort(got)
	if want := []uint64{1, 2, 9, 12, 14, 15}; !slices.Equal(got, want) {
		t.Errorf("control records at %v, want %v", got, want)
	}
}

// A delivery that fits goes into one append; a larger one goes in parts, and no part is lost or doubled.
func TestLargeDeliveriesAreAppendedInParts(t *testing.T) {
	frames := []*event.DeliveredFrame{small(t, 1, 5), small(t, 3, 5), small(t, 4, 1), small(t, 6, 7)}
	for _, row := range []struct{ bytes, rows, appends int }{{0, 0, 1}, {0, 5, 4}, {1, 0, 18}, {0, 17, 2}, {0, 18, 1}} {
		m := newMemory()
		o := options(m)
		o.MaxAppendBytes, o.MaxAppendRows = row.bytes, row.rows
		s := start(t, o)
		var at event.Cursor
		m.before = func(_ context.Context, b *warehouse.Batch) error {
			if b.From != at || b.Journal != "j1" || b.Stage != warehouse.Raw {
				t.Errorf("%+v: a part [%v, %v) after %v", row, b.From, b.To, at)
			}
			at = b.To
			return nil
		}
		s.sendWhole(delivery(frames...))
		if m.taken() != row.appends || len(m.raw()) != 18 {
			t.Errorf("%+v: %d appends, %d rows", row, m.taken(), len(m.raw()))
		}
		m.before = func(context.Context, *warehouse.Batch) error { return errors.New("asked in vain") }
		s.sendWhole(delivery(frames...)) // already applied: answered from the cursor alone
	}
}

// What was appended of a delivery that fails half way stays, and is not appended again.
func TestFailureBetweenParts(t *testing.T) {
	m := newMemory()
	o := options(m)
	o.MaxAppendRows = 2
	calls := 0
	m.before = func(context.Context, *warehouse.Batch) error {
		if calls++; calls == 2 {
			return errors.New("disk on fire")
		}
		return nil
	}
	s := start(t, o)
	d := delivery(small(t, 1, 3), small(t, 2, 3))
	if got := s.send(d); got.Status != http.StatusServiceUnavailable {
		t.Fatalf("%+v", got)
	}
	if got := s.do(http.MethodGet, "/v1/cursors", "", nil); got.Stages["raw"] != (event.Cursor{Frame: 1, Request: 2}) {
		t.Errorf("cursors %+v", got)
	}
	s.sendWhole(d)
	if got, want := requestsAt(m.raw()), []string{"1.0", "1.1", "1.2", "2.0", "2.1", "2.2"}; !slices.Equal(got, want) {
		t.Errorf("requests %v, want %v", got, want)
	}
}

// A delivery that comes again because it could not be made durable is no error for the log: a warning when that begins, a
// word when it is over.
func TestWhatIsTriedAgainIsSaidOnce(t *testing.T) {
	var log bytes.Buffer
	tel, err := telemetry.New(telemetry.Options{Process: "dispatcher", Output: &log})
	if err != nil {
		t.Fatal(err)
	}
	m := newMemory()
	o := options(m)
	o.Telemetry = tel
	m.before = func(context.Context, *warehouse.Batch) error { return errors.New("out of order") }
	d, err := dispatcher.New(o)
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, d.Handler(), telemetry.Discard())
	one := delivery(small(t, 1, 1))
	for range 5 {
		if got := s.send(one); got.Status != http.StatusServiceUnavailable {
			t.Fatalf("%+v", got)
		}
	}
	m.before = nil
	s.sendWhole(one)
	s.sendWhole(delivery(small(t, 2, 1)))
	if text := log.String(); strings.Count(text, "level=") != 2 || !strings.Contains(text, "level=WARN msg=\"a delivery could not be made durable; trying again\"") || !strings.Contains(text, "level=INFO msg=\"deliveries are made durable again\"") {
		t.Errorf("the log:\n%s", text)
	}
}

// The answer that an append worked is the only thing a 200 rests on.
func TestNo200WithoutADurableAppend(t *testing.T) {
	d := delivery(small(t, 1, 1))
	for _, row := range []struct {
		what   string
		fault  error
		status int
		reason string
	}{
		{"queue full", fmt.Errorf("served: %w", warehouse.ErrBusy), http.StatusServiceUnavailable, ""},
		{"unreachable", errors.New("connection refused"), http.StatusServiceUnavailable, ""},
		{"took too long", context.DeadlineExceeded, http.StatusServiceUnavailable, ""},
		{"gap", &warehouse.GapError{From: event.Cursor{Frame: 3}}, http.StatusConflict, "gap"},
		{"another journal", &warehouse.JournalError{Known: "j0", Got: "j1", Highest: 9, First: 1}, http.StatusConflict, "journal"},
	} {
		m := newMemory()
		m.before = func(context.Context, *warehouse.Batch) error { return row.fault }
		s := start(t, options(m))
		for range 2 {
			if got := s.send(d); got.Status != row.status || got.Reason != row.reason || got.Detail == "" {
				t.Errorf("%s: answered %+v", row.what, got)
			}
		}
		m.before = nil
		s.sendWhole(d)
		// The append worked and its answer was lost: the same.
		lost := newMemory()
		lost.after = func() error { return row.fault }
		s = start(t, options(lost))
		if got := s.send(d); got.Status != row.status {
			t.Errorf("%s after the append: answered %+v", row.what, got)
		}
		lost.after = nil
		s.sendWhole(d)
		if len(lost.raw()) != 1 {
			t.Errorf("%s after the append: %d rows", row.what, len(lost.raw()))
		}
	}

	// A warehouse that reports success and a cursor that says otherwise is not believed.
	m := newMemory()
	o := options(m)
	o.Warehouse = forgetful{m}
	if got := start(t, o).send(d); got.Status != http.StatusServiceUnavailable {
		t.Errorf("a cursor below the end: answered %+v", got)
	}
}

// forgetful answers an append with the cursor of before.
type forgetful struct{ *memory }

func (f forgetful) Append(context.Context, *warehouse.Batch) (event.Cursor, error) {
	return event.Cursor{}, nil
}

// The warehouse is the truth: it may be put back to an earlier state while the dispatcher runs.
func TestWarehouseSetBack(t *testing.T) {
	m := newMemory()
	s := start(t, options(m))
	one, two, three := delivery(small(t, 1, 1)), delivery(small(t, 2, 1)), delivery(small(t, 3, 1))
	s.sendWhole(one)
	s.sendWhole(two)

	key := stageKey{event.Green, 0, warehouse.Raw}
	m.mu.Lock()
	m.cursors[key], m.rows[key] = event.Cursor{Frame: 2}, m.rows[key][:1]
	m.mu.Unlock()

	if got := s.send(three); got.Status != http.StatusConflict || *got.Cursor != (event.Cursor{Frame: 2}) {
		t.Fatalf("answered %+v", got)
	}
	s.sendWhole(two)
	s.sendWhole(three)

	m.mu.Lock()
	m.cursors[key], m.rows[key] = event.Cursor{Frame: 2}, m.rows[key][:1]
	m.mu.Unlock()
	s.sendWhole(two) // this process believes it applied, and asks
	s.sendWhole(three)
	if got, want := requestsAt(m.raw()), []string{"1.0", "2.0", "3.0"}; !slices.Equal(got, want) {
		t.Errorf("requests %v, want %v", got, want)
	}
}

func TestReplaysHaveCursorsOfTheirOwn(t *testing.T) {
	m := newMemory()
	s := start(t, options(m))
	s.sendWhole(delivery(small(t, 1, 1), small(t, 2, 1)))
	again := delivery(small(t, 1, 1))
	again.Run = 7
	s.sendWhole(again)
	s.sendWhole(delivery(small(t, 3, 1)))
	if n := len(m.rows[stageKey{event.Green, 7, warehouse.Raw}]); n != 1 || len(m.raw()) != 3 {
		t.Errorf("%d rows of run 7, %d of run 0", n, len(m.raw()))
	}
	for run, want := range map[string]event.Cursor{"": {Frame: 4}, "?run=0": {Frame: 4}, "?run=7": {Frame: 2}, "?run=8": {}} {
		if got := s.do(http.MethodGet, "/v1/cursors"+run, "", nil); got.Stages["raw"] != want {
			t.Errorf("cursors%s: %+v, want %v", run, got.Stages, want)
		}
	}
	if got := s.do(http.MethodGet, "/v1/cursors?run=x", "", nil); got.Status != http.StatusBadRequest {
		t.Errorf("run=x: %d", got.Status)
	}
}

func TestCursors(t *testing.T) {
	m := newMemory()
	m.journal = "j1"
	s := start(t, options(m))
	s.sendWhole(delivery(small(t, 1, 1)))
	got := s.do(http.MethodGet, "/v1/cursors", "", nil)
	if got.Status != 200 || got.Stack != event.Green || got.Build != build || len(got.Journals) != 1 || got.Journals[0].ID != "j1" || got.Journals[0].Highest != 1 {
		t.Errorf("%+v", got)
	}
	if diff := cmp.Diff(map[string]event.Cursor{"raw": {Frame: 2}}, got.Stages); diff != "" {
		t.Error(diff)
	}
}

func TestRefusedDeliveries(t *testing.T) {
	m := newMemory()
	s := start(t, options(m))
	good := encode(t, delivery(small(t, 1, 1)))
	newer := delivery(small(t, 1, 1))
	newer.Format = 2
	for _, row := range []struct {
		what, kind string
		body       []byte
		status     int
	}{
		{"no content type", "", good, http.StatusUnsupportedMediaType},
		{"JSON", "application/json", []byte("{}"), http.StatusUnsupportedMediaType},
		{"a content type that is none", ";;", good, http.StatusUnsupportedMediaType},
		{"cut short", event.DeliveryType, good[:len(good)-1], http.StatusBadRequest},
		{"nothing", event.DeliveryType, nil, http.StatusBadRequest},
		{"a newer format", event.DeliveryType, encode(t, newer), http.StatusBadRequest},
		{"too large", event.DeliveryType, make([]byte, 32<<20+1), http.StatusRequestEntityTooLarge},
	} {
		if got := s.do(http.MethodPost, "/v1/frames", row.kind, bytes.NewReader(row.body)); got.Status != row.status {
			t.Errorf("%s: %+v, want %d", row.what, got, row.status)
		}
	}
	if m.taken() != 0 {
		t.Error("something was appended")
	}
	if got := s.do(http.MethodPost, "/v1/frames", event.DeliveryType+"; charset=utf-8", bytes.NewReader(good)); got.Status != 200 {
		t.Errorf("a content type with a parameter: %+v", got)
	}
}

// A frame that cannot be read, or is not what the delivery says, is a failure of that position and of no other.
func TestFramesThatCannotBeRead(t *testing.T) {
	m := newMemory()
	s := start(t, options(m))
	bad := delivery(small(t, 1, 1), &event.DeliveredFrame{Sequence: 2, Data: []byte("no frame")}, small(t, 3, 1))
	if got := s.send(bad); got.Status != http.StatusUnprocessableEntity || got.Reason != "failed" || got.Frame != 2 || got.Request != 0 {
		t.Errorf("%+v", got)
	}
	short := delivery(small(t, 1, 2))
	short.ToFrame, short.ToRequest = 1, 3
	if got := s.send(short); got.Status != http.StatusUnprocessableEntity || got.Frame != 1 || got.Request != 2 {
		t.Errorf("%+v", got)
	}
	if m.taken() != 0 {
		t.Error("something was appended")
	}
	s.sendWhole(delivery(small(t, 1, 2)))
}

func TestEveryRouteAsksForTheSecret(t *testing.T) {
	m := newMemory()
	s := start(t, options(m))
	s.client = service.Client("0123456789abcdef0123456789abcdeg")
	for _, route := range []string{"GET /v1/cursors", "POST /v1/frames", "GET /v1/cursors?run=1"} {
		method, path, _ := strings.Cut(route, " ")
		if got := s.do(method, path, event.DeliveryType, nil); got.Status != http.StatusUnauthorized {
			t.Errorf("%s without the secret: %d", route, got.Status)
		}
	}
}

// One delivery in progress, one waiting; a third is told to come back, and nobody waits for ever.
func TestConcurrentDeliveriesAreBounded(t *testing.T) {
	m := newMemory()
	entered, release := make(chan struct{}, 10), make(chan struct{})
	var inside, most int
	var mu sync.Mutex
	m.before = func(context.Context, *warehouse.Batch) error {
		mu.Lock()
		inside++
		most = max(most, inside)
		mu.Unlock()
		entered <- struct{}{}
		<-release
		mu.Lock()
		inside--
		mu.Unlock()
		return nil
	}
	s := start(t, options(m))
	d := delivery(small(t, 1, 1))
	answers := make(chan int, 3)
	for range 3 {
		go func() { answers <- s.send(d).Status }()
	}
	<-entered
	if status := <-answers; status != http.StatusServiceUnavailable { // while the first is in progress and the second waits
		t.Errorf("the third delivery is answered %d", status)
	}
	close(release)
	for range 2 {
		if status := <-answers; status != http.StatusOK {
			t.Errorf("one of the two is answered %d", status)
		}
	}
	if most != 1 {
		t.Errorf("%d appends at once", most)
	}
}

// A caller that goes away frees its place, whether it waits or is being served.
func TestCallersThatGoAway(t *testing.T) {
	m := newMemory()
	entered := make(chan struct{}, 10)
	m.before = func(ctx context.Context, _ *warehouse.Batch) error {
		entered <- struct{}{}
		<-ctx.Done() // a warehouse that hangs
		return ctx.Err()
	}
	s := start(t, options(m))
	d := encode(t, delivery(small(t, 1, 1)))
	for range 3 {
		ctx, cancel := context.WithCancel(context.Background())
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+"/v1/frames", bytes.NewReader(d))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", event.DeliveryType)
		gone := make(chan struct{})
		go func() {
			defer close(gone)
			if resp, err := s.client.Do(req); err == nil {
				resp.Body.Close()
			}
		}()
		<-entered
		cancel()
		<-gone
	}
	m.before = nil
	s.sendWhole(delivery(small(t, 1, 1)))
}

// A peer that stalls in the middle of a body is cut off, and holds nobody up meanwhile.
func TestStalledUpload(t *testing.T) {
	m := newMemory()
	o := options(m)
	o.ReadTimeout = 200 * time.Millisecond
	s := start(t, o)
	body, writer := io.Pipe()
	defer writer.Close()
	go writer.Write([]byte{8, 1})
	req, err := http.NewRequest(http.MethodPost, s.url+"/v1/frames", body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", event.DeliveryType)
	stalled := make(chan int, 1)
	go func() {
		resp, err := s.client.Do(req)
		if err != nil {
			stalled <- 0
			return
		}
		defer resp.Body.Close()
		stalled <- resp.StatusCode
	}()
	for sequence := uint64(1); sequence <= 5; sequence++ {
		s.sendWhole(delivery(small(t, sequence, 1)))
	}
	if status := <-stalled; status != http.StatusBadRequest && status != 0 {
		t.Errorf("the stalled delivery is answered %d", status)
	}
}

// A warehouse that hangs costs AppendTimeout, then the feed is told to wait.
func TestWarehouseThatHangs(t *testing.T) {
	m := newMemory()
	m.before = func(ctx context.Context, _ *warehouse.Batch) error { <-ctx.Done(); return ctx.Err() }
	o := options(m)
	o.AppendTimeout = 50 * time.Millisecond
	if got := start(t, o).send(delivery(small(t, 1, 1))); got.Status != http.StatusServiceUnavailable {
		t.Errorf("%+v", got)
	}
}

func TestReadiness(t *testing.T) {
	m := newMemory()
	s := start(t, options(m))
	get := func(path string) (int, string) {
		resp, err := s.client.Get(s.url + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(text)
	}
	if status, text := get("/readyz"); status != 200 {
		t.Errorf("%d %s", status, text)
	}
	s.sendWhole(delivery(frame(t, 1, request(1, []byte(`[{"event":"a"},2]`)), request(2, []byte(`x`)))))
	_, text := get("/metrics")
	for _, want := range []string{
		"sparrow_dispatcher_requests_total 2", `sparrow_dispatcher_events_total{outcome="accepted",reason=""} 2`,
		`sparrow_dispatcher_events_total{outcome="rejected",reason="not json"} 1`, `sparrow_dispatcher_events_total{outcome="rejected",reason="too deep"} 0`,
		`sparrow_dispatcher_bytes_total{form="received"} 18`, `sparrow_dispatcher_bytes_total{form="decoded"} 17`,
		`sparrow_dispatcher_deliveries_total{status="200"} 1`, "sparrow_dispatcher_cursor_frame 2",
		"sparrow_dispatcher_append_seconds_count 1", "sparrow_dispatcher_decode_seconds_count 1",
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("metrics without %s", want)
		}
	}

	o := options(m)
	o.Warehouse = unreachable{m}
	s = start(t, o)
	if status, text := get("/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(text, "no route to warehouse") {
		t.Errorf("%d %s", status, text)
	}
	if got := s.do(http.MethodGet, "/v1/cursors", "", nil); got.Status != http.StatusServiceUnavailable {
		t.Errorf("cursors: %+v", got)
	}
	if status, _ := get("/healthz"); status != 200 {
		t.Errorf("healthz: %d", status)
	}
}

type unreachable struct{ *memory }

func (unreachable) Cursor(context.Context, event.Stack, uint64, warehouse.Stage) (event.Cursor, error) {
	return event.Cursor{}, errors.New("no route to warehouse")
}

func TestOptions(t *testing.T) {
	for what, change := range map[string]func(*dispatcher.Options){
		"no stack":                  func(o *dispatcher.Options) { o.Stack = "" },
		"no build":                  func(o *dispatcher.Options) { o.Build = event.Build{} },
		"no secret":                 func(o *dispatcher.Options) { o.Secret = "" },
		"no warehouse":              func(o *dispatcher.Options) { o.Warehouse = nil },
		"no journals":               func(o *dispatcher.Options) { o.Journals = nil },
		"no room for a whole frame": func(o *dispatcher.Options) { o.MaxDeliveryBytes = 1 << 20 },
	} {
		o := options(newMemory())
		change(&o)
		if _, err := dispatcher.New(o); err == nil {
			t.Errorf("%s: no error", what)
		}
	}
	o := options(newMemory())
	o.Telemetry = nil
	if _, err := dispatcher.New(o); err != nil {
		t.Error(err)
	}
}

// A random feed: deliveries of any cut, sent again after lost answers and failures, to a dispatcher that is restarted.
// Every request of the journal has its row exactly once and in order.
func TestRandomFeed(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		m := newMemory()
		fail := func() error {
			if r.IntN(4) == 0 {
				return errors.New("weather")
			}
			return nil
		}
		m.before = func(context.Context, *warehouse.Batch) error { return fail() }
		m.after = fail
		var frames []*event.DeliveredFrame
		var counts []uint32
		var want []string
		for sequence := uint64(1); sequence <= 30; sequence++ {
			n := 1 + r.IntN(5)
			frames, counts = append(frames, small(t, sequence, n)), append(counts, uint32(n))
			for i := range n {
				want = append(want, fmt.Sprintf("%d.%d", sequence, i))
			}
		}
		o := options(m)
		o.MaxAppendRows = 1 + r.IntN(12)
		s := start(t, o)
		var at event.Cursor
		for range 10_000 {
			if at.Frame > 30 {
				break
			}
			first := max(at.Frame, 1)
			last := min(30, first+r.Uint64N(6))
			to := event.AfterFrame(last)
			if r.IntN(3) == 0 {
				to = event.Cursor{Frame: last, Request: 1 + r.Uint32N(counts[last-1])}
			}
			if to.Compare(at) < 0 {
				continue
			}
			d := &event.Delivery{Format: 1, Journal: "j1", FromFrame: at.Frame, FromRequest: at.Request, ToFrame: to.Frame, ToRequest: to.Request,
				Frames: frames[first-1 : last]}
			switch got := s.send(d); got.Status {
			case http.StatusOK:
				at = *got.Cursor
			case http.StatusConflict:
				at = *got.Cursor
			case http.StatusServiceUnavailable:
				if r.IntN(3) == 0 {
					at = event.Cursor{Frame: r.Uint64N(at.Frame + 1)} // the feed begins again, somewhere further back
				}
				if r.IntN(5) == 0 {
					o.MaxAppendRows = 1 + r.IntN(12)
					o.Telemetry = nil
					s = start(t, o)
				}
			default:
				t.Fatalf("seed %d: %+v", seed, got)
			}
		}
		if got := requestsAt(m.raw()); !slices.Equal(got, want) {
			t.Fatalf("seed %d: requests\n%v, want\n%v", seed, got, want)
		}
	}
}
