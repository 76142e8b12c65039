package mirror

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime/pprof"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/service"
	"github.com/sparrowhq/sparrow/service/reserve"
	"github.com/sparrowhq/sparrow/telemetry"
)

func TestMain(m *testing.M) {
	runChild()
	goleak.VerifyTestMain(m,
		goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server.(*Server).startGoRoutine.func1"))
}

const (
	hopSecret     = "hop-secret-hop-secret-hop-secret-hop"
	operatorToken = "operator-token-operator-token-operator"
)

// arrived is one request as a stack applied it.
type arrived struct {
	event.Cursor
	id         uuid.UUID
	live       event.Stack
	generation uint64
	request    *event.Request
}

// rig is a dispatcher as strict as a real one must be, holding what it got in memory. Its faults are scripted.
type rig struct {
	t      testing.TB
	name   event.Stack
	server *http.Server
	addr   string

	mu       sync.Mutex
	cursor   event.Cursor
	journals map[string]journalSeen
	controls map[uint64][]byte
	requests []arrived
	holes    []Hole
	calls    int
	empty    int // calls without requests
	build    event.Build
	changed  chan struct{}
	// fault answers a call itself if it returns true. d is nil for GET /v1/cursors.
	fault func(w http.ResponseWriter, r *http.Request, d *event.Delivery) bool
	// poison fails a delivery that contains this request.
	poison func(arrived) bool
}

func newRig(t testing.TB, name event.Stack) *rig {
	s := &rig{t: t, name: name, journals: map[string]journalSeen{}, controls: map[uint64][]byte{}, changed: make(chan struct{}),
		build: event.Build{ID: string(name) + "-build", Version: "1"}}
	s.listen(reserve.ForTest(t))
	t.Cleanup(s.stop)
	return s
}

// listen starts to answer at addr.
func (s *rig) listen(addr string) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.addr = l.Addr().String()
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/frames", s.frames)
	mux.HandleFunc("GET /v1/cursors", s.cursors)
	s.server = &http.Server{Handler: service.Authenticated(hopSecret)(mux)}
	go s.server.Serve(l)
}

// stop refuses connections from now on, and cuts those there are.
func (s *rig) stop() { s.server.Close() }

func (s *rig) url() string { return "http://" + s.addr }

// script sets the fault.
func (s *rig) script(fault func(w http.ResponseWriter, r *http.Request, d *event.Delivery) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = fault
}

func (s *rig) cursors(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	fault := s.fault
	s.mu.Unlock()
	if fault != nil && fault(w, r, nil) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := []journalSeen{}
	for _, j := range s.journals {
		seen = append(seen, j)
	}
	service.JSON(w, cursors{Stack: s.name, Build: s.build, Journals: seen, Stages: map[string]event.Cursor{"raw": s.cursor}})
}

func (s *rig) frames(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the mirror hung up
	}
	d, err := event.DecodeDelivery(body)
	if err != nil {
		s.t.Errorf("%s: %v", s.name, err)
		service.Problem(w, 400, err.Error())
		return
	}
	s.mu.Lock()
	s.calls++
	if len(d.Frames) == 0 {
		s.empty++
	}
	fault := s.fault
	s.mu.Unlock()
	if fault != nil && fault(w, r, d) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	status, problem := s.applyLocked(d)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]any{"cursor": s.cursor, "build": s.build, "stack": s.name, "detail": problem})
}

// apply takes d as frames would, and returns the answer's status.
func (s *rig) apply(d *event.Delivery) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	status, _ := s.applyLocked(d)
	return status
}

func (s *rig) applyLocked(d *event.Delivery) (status int, problem string) {
	if d.From().Compare(s.cursor) > 0 {
		return http.StatusConflict, "begins past the cursor"
	}
	known := map[uint64][]byte{}
	for seq, record := range s.controls {
		known[seq] = record
	}
	for _, c := range d.Controls {
		if have, twice := known[c.Sequence]; twice && !bytes.Equal(have, c.Record) {
			s.t.Errorf("%s: two control records at %d", s.name, c.Sequence)
		}
		known[c.Sequence] = c.Record
	}
	timeline := s.timeline(known)
	fresh := s.unpack(d, timeline)
	for _, a := range fresh {
		if s.poison != nil && s.poison(a) {
			return http.StatusUnprocessableEntity, "cannot take " + a.id.String()
		}
	}
	s.account(d, known)
	s.controls = known
	if d.To().Compare(s.cursor) > 0 {
		s.requests = append(s.requests, fresh...)
		for _, h := range d.Holes {
			at := event.Cursor{Frame: h.ToFrame, Request: h.ToRequest}
			if at.Compare(s.cursor) > 0 {
				s.holes = append(s.holes, Hole{From: event.Cursor{Frame: h.FromFrame, Request: h.FromRequest}, To: at, Reason: h.Reason, Requests: h.Requests})
			}
		}
		s.cursor = d.To()
		j := s.journals[d.Journal]
		j.ID, j.Highest = d.Journal, max(j.Highest, s.cursor.Last())
		if j.First == 0 {
			j.First = max(d.FromFrame, 1)
		}
		s.journals[d.Journal] = j
	}
	close(s.changed)
	s.changed = make(chan struct{})
	return http.StatusOK, ""
}

// timeline builds the timeline from records; a broken chain is a fault of the mirror.
func (s *rig) timeline(records map[uint64][]byte) event.Timeline {
	sequences := make([]uint64, 0, len(records))
	for seq := range records {
		sequences = append(sequences, seq)
	}
	slices.Sort(sequences)
	var t event.Timeline
	for _, seq := range sequences {
		r, err := event.DecodeRecord(seq, records[seq])
		if err == nil {
			t, err = t.Append(r)
		}
		if err != nil {
			s.t.Errorf("%s: %v", s.name, err)
		}
	}
	return t
}

// unpack returns the requests of d at or above the cursor, and checks each stamp against the records that the stack has:
// promise 4 says that all that matter have come by now.
func (s *rig) unpack(d *event.Delivery, t event.Timeline) []arrived {
	var fresh []arrived
	for _, df := range d.Frames {
		f, err := event.DecodeFrame(df.Data)
		if err != nil {
			s.t.Errorf("%s: %v", s.name, err)
			continue
		}
		live, generation := t.AtHandover(df.Sequence)
		if string(live) != df.Live || generation != df.Generation {
			s.t.Errorf("%s: frame %d is stamped %s/%d, by the records that came it is %s/%d", s.name, df.Sequence, df.Live, df.Generation, live, generation)
		}
		for i, r := range f.Requests {
			at := event.Cursor{Frame: df.Sequence, Request: uint32(i)}
			if d.Contains(at.Frame, at.Request) && at.Compare(s.cursor) >= 0 {
				fresh = append(fresh, arrived{Cursor: at, id: uuid.UUID(r.Id), live: event.Stack(df.Live), generation: df.Generation, request: r})
			}
		}
	}
	return fresh
}

// account checks that every position of d is in a frame or under a hole, and never both; sequences that are neither must
// be records.
func (s *rig) account(d *event.Delivery, controls map[uint64][]byte) {
	frames := map[uint64]uint32{}
	for _, df := range d.Frames {
		n, err := countRequests(df.Data)
		if err != nil {
			s.t.Errorf("%s: %v", s.name, err)
		}
		frames[df.Sequence] = n
	}
	inHole := func(c event.Cursor) bool {
		for _, h := range d.Holes {
			from, to := event.Cursor{Frame: h.FromFrame, Request: h.FromRequest}, event.Cursor{Frame: h.ToFrame, Request: h.ToRequest}
			if from.Compare(c) <= 0 && c.Compare(to) < 0 {
				return true
			}
		}
		return false
	}
	if d.From() == d.To() {
		return
	}
	for seq := max(d.FromFrame, 1); seq < d.ToFrame || seq == d.ToFrame && d.ToRequest > 0; seq++ {
		n, isFrame := frames[seq]
		_, isControl := controls[seq]
		if !isFrame {
			first := event.Cursor{Frame: seq}
			if seq == d.FromFrame {
				first.Request = d.FromRequest
			}
			if !isControl && !inHole(first) {
				s.t.Errorf("%s: delivery [%v, %v): nothing is said of sequence %d", s.name, d.From(), d.To(), seq)
			}
			continue
		}
		for i := range n {
			c := event.Cursor{Frame: seq, Request: i}
			if d.Contains(seq, i) && inHole(c) {
				s.t.Errorf("%s: delivery [%v, %v): %v is in a frame and under a hole", s.name, d.From(), d.To(), c)
			}
		}
	}
}

// got returns what the stack applied.
func (s *rig) got() []arrived {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// until waits until ok, asked after each change, is true.
func (s *rig) until(what string, ok func() bool) {
	s.t.Helper()
	deadline := time.After(60 * time.Second)
	for {
		s.mu.Lock()
		done, changed := ok(), s.changed
		s.mu.Unlock()
		if done {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			s.mu.Lock()
			defer s.mu.Unlock()
			s.t.Fatalf("%s: waited a minute for: %s; it has %d requests, stands at %v after %d calls", s.name, what, len(s.requests), s.cursor, s.calls)
		}
	}
}

// has waits until the stack has n requests.
func (s *rig) has(n int) {
	s.t.Helper()
	s.until(fmt.Sprintf("%d requests", n), func() bool { return len(s.requests) >= n })
}

// bench is a mirror with a real journal between clients and two rigs.
type bench struct {
	t           testing.TB
	options     Options
	mirror      *Mirror
	green, blue *rig
	clients     string
	client      *Client
	admin       string
	cancel      context.CancelFunc
	ended       chan error
	http        *http.Client
}

// setUp starts a mirror on a new folder. change may alter the options.
func setUp(t testing.TB, change func(*Options)) *bench {
	t.Helper()
	b := &bench{t: t, green: newRig(t, event.Green), blue: newRig(t, event.Blue)}
	b.options = testOptions(journalDir(t), b.green.url(), b.blue.url())
	if change != nil {
		change(&b.options)
	}
	b.start()
	t.Cleanup(func() { b.stop() })
	return b
}

// journalDir is a folder for a test's journal: in memory if there is such a file system, since syncing it is not what
// these tests are about.
func journalDir(t testing.TB) string {
	dir, err := os.MkdirTemp("/dev/shm", "sparrow-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func testOptions(dir, green, blue string) Options {
	o := Options{Green: green, Blue: blue, Secret: hopSecret, Token: operatorToken}
	o.Journal.Dir = dir
	o.Journal.MinFree = 1 << 20
	o.Journal.Ballast = 64 << 10
	o.Feed.ProbeEvery = 500 * time.Millisecond
	o.Feed.MaxBackoff = 200 * time.Millisecond
	return o
}

// start starts a mirror on the folder, with fresh telemetry, and waits until it is ready.
func (b *bench) start() {
	b.t.Helper()
	b.begin()
	b.await("ready", func() error {
		if why := b.mirror.ready(); len(why) > 0 {
			return why[0]
		}
		return nil
	})
}

// begin starts a mirror and does not wait.
func (b *bench) begin() {
	b.t.Helper()
	b.options.Telemetry = telemetry.Discard()
	m, err := New(b.options)
	if err != nil {
		b.t.Fatal(err)
	}
	clients, admin := localListener(b.t), localListener(b.t)
	ctx, cancel := context.WithCancel(context.Background())
	b.mirror, b.cancel, b.ended = m, cancel, make(chan error, 1)
	b.clients, b.admin = "http://"+clients.Addr().String(), "http://"+admin.Addr().String()
	b.client = NewClient(b.admin, operatorToken)
	b.http = newClient()
	go func() { b.ended <- m.Run(ctx, clients, admin) }()
}

func newClient() *http.Client {
	return &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256}, Timeout: time.Minute}
}

func localListener(t testing.TB) net.Listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// stop stops the mirror in order.
func (b *bench) stop() {
	if b.cancel == nil {
		return
	}
	b.http.CloseIdleConnections()
	b.client.Close()
	b.cancel()
	b.cancel = nil
	select {
	case err := <-b.ended:
		if err != nil {
			b.t.Errorf("Run: %v", err)
		}
	case <-time.After(60 * time.Second):
		b.t.Fatal("Run did not end within a minute")
	}
}

// post sends one request; a body of its own for each n.
func (b *bench) post(n int) (uuid.UUID, error) {
	body := fmt.Sprintf(`{"event":"test","deviceId":"d","properties":{"n":%d}}`, n)
	resp, err := b.http.Post(b.clients+"/v1/events?k=dev", "application/json", bytes.NewReader([]byte(body)))
	if err != nil {
		return uuid.Nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return uuid.Nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return uuid.Nil, fmt.Errorf("answered %d: %s", resp.StatusCode, answer)
	}
	return uuid.Parse(resp.Header.Get("Sparrow-Request-Id"))
}

// send posts n requests over k connections; each must be accepted. It returns their ids.
func (b *bench) send(n, k int) map[uuid.UUID]bool {
	b.t.Helper()
	var mu sync.Mutex
	ids := map[uuid.UUID]bool{}
	var wg sync.WaitGroup
	for c := range k {
		wg.Go(func() {
			for i := c; i < n; i += k {
				id, err := b.post(i)
				if err != nil {
					b.t.Errorf("request %d: %v", i, err)
					return
				}
				mu.Lock()
				ids[id] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(ids) != n && !b.t.Failed() {
		b.t.Errorf("%d requests were given %d ids", n, len(ids))
	}
	return ids
}

// await asks again and again until ok returns nil.
func (b *bench) await(what string, ok func() error) {
	b.t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for {
		err := ok()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			var where bytes.Buffer
			pprof.Lookup("goroutine").WriteTo(&where, 1)
			b.t.Fatalf("waited a minute for: %s: %v\n%s", what, err, where.String())
		}
		time.Sleep(5 * time.Millisecond) // polling
	}
}

// equation checks the equation, which must hold at any moment.
func (b *bench) equation() Equation {
	b.t.Helper()
	e, err := b.client.Equation(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	if !e.OK {
		b.t.Errorf("the equation does not hold: %+v", e)
	}
	return e
}

// settled waits until nothing is pending, and checks the equation.
func (b *bench) settled() Equation {
	b.t.Helper()
	var e Equation
	b.await("both stacks caught up", func() error {
		e = b.equation()
		for name, s := range e.Stacks {
			if s.Pending > 0 {
				return fmt.Errorf("%s: %d pending; its feed says %+v", name, s.Pending, b.mirror.state.Load().feeds[name].seen())
			}
		}
		s, err := b.client.Status(b.t.Context())
		if err != nil {
			return err
		}
		for name, x := range s.Stacks {
			if x.Cursor.Frame <= s.Journal.LastFrame {
				return fmt.Errorf("%s stands at %v, the journal ends at %d", name, x.Cursor, s.Journal.LastFrame)
			}
		}
		return nil
	})
	return e
}

// exactlyOnce checks that a stack applied exactly the accepted ids but those missing, each once, in order.
func (b *bench) exactlyOnce(s *rig, ids map[uuid.UUID]bool, missing ...uuid.UUID) {
	b.t.Helper()
	seen := map[uuid.UUID]bool{}
	var last event.Cursor
	for i, a := range s.got() {
		if seen[a.id] {
			b.t.Errorf("%s: %s was applied twice", s.name, a.id)
		}
		seen[a.id] = true
		if i > 0 && a.Compare(last) <= 0 {
			b.t.Errorf("%s: %v was applied after %v", s.name, a.Cursor, last)
		}
		last = a.Cursor
	}
	lost := 0
	for id := range ids {
		if !seen[id] && !slices.Contains(missing, id) {
			lost++
		}
	}
	if lost > 0 {
		b.t.Errorf("%s: %d of %d accepted requests are missing", s.name, lost, len(ids))
	}
	for _, id := range missing {
		if seen[id] {
			b.t.Errorf("%s: %s was applied, but was given up", s.name, id)
		}
	}
}

// both waits until everything is delivered and checks both stacks.
func (b *bench) both(ids map[uuid.UUID]bool) {
	b.t.Helper()
	b.settled()
	b.exactlyOnce(b.green, ids)
	b.exactlyOnce(b.blue, ids)
}

// control appends a control record, as deploy would.
func (b *bench) control(kind event.Kind, live event.Stack, from uint64) event.Record {
	b.t.Helper()
	t, err := b.mirror.Timeline(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	head, _ := t.Head()
	r, err := b.mirror.AppendControl(b.t.Context(), event.Control{Generation: head.Generation + 1, Kind: kind, Live: live, From: from, Reason: "test", At: time.Now().UnixMicro()})
	if err != nil {
		b.t.Fatal(err)
	}
	return r
}
