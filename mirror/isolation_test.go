package mirror

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	"github.com/sparrowhq/sparrow/event"
)

// sendPoison posts a request that the rigs can tell.
func (b *bench) sendPoison() uuid.UUID {
	b.t.Helper()
	resp, err := b.http.Post(b.clients+"/v1/events", "", strings.NewReader(`{"event":"poison"}`))
	if err != nil {
		b.t.Fatal(err)
	}
	resp.Body.Close()
	id, err := uuid.Parse(resp.Header.Get("Sparrow-Request-Id"))
	if err != nil {
		b.t.Fatal(err)
	}
	return id
}

func poisonous(a arrived) bool { return bytes.Contains(a.request.Body, []byte("poison")) }

// hold keeps what is sent in the journal until release: so it is delivered together.
func (s *rig) hold() (release func()) {
	s.script(onlyFrames(func(w http.ResponseWriter, _ *http.Request, d *event.Delivery) bool {
		if len(d.Frames) == 0 {
			return false
		}
		w.Header().Set("Retry-After", "0")
		w.WriteHeader(503)
		return true
	}))
	return func() { s.script(nil) }
}

// deadLetters asks the admin API.
func (b *bench) deadLetters(s event.Stack) []DeadLetter {
	b.t.Helper()
	var all []DeadLetter
	if err := b.client.Dead(b.t.Context(), s, true, func(l DeadLetter) error { all = append(all, l); return nil }); err != nil {
		b.t.Fatal(err)
	}
	return all
}

// One request that a stack cannot take, among many: it alone is given up, its bytes are safe, and that stays so.
func TestPoisonIsIsolated(t *testing.T) {
	b := setUp(t, func(o *Options) { o.Feed.Patience = time.Hour })
	b.blue.poison = poisonous
	release := b.blue.hold()
	ids := b.send(100, 16)
	poison := []uuid.UUID{b.sendPoison()}
	for id := range b.send(100, 16) {
		ids[id] = true
	}
	poison = append(poison, b.sendPoison(), b.sendPoison()) // two in a row
	for id := range b.send(50, 16) {
		ids[id] = true
	}
	release()
	e := b.settled()
	if x := e.Stacks[event.Blue]; x.Dead != 3 || x.Delivered != 250 {
		t.Errorf("blue's equation: %+v", x)
	}
	for _, id := range poison {
		ids[id] = true
	}
	b.exactlyOnce(b.green, ids)
	b.exactlyOnce(b.blue, ids, poison...)

	letters := b.deadLetters(event.Blue)
	var got []uuid.UUID
	for _, l := range letters {
		id := uuid.MustParse(l.ID)
		got = append(got, id)
		var r event.Request
		if err := proto.Unmarshal(l.Request, &r); err != nil || uuid.UUID(r.Id) != id || string(r.Body) != `{"event":"poison"}` {
			t.Errorf("the bytes put aside: %v, %v", err, &r)
		}
		i := slices.IndexFunc(b.green.got(), func(a arrived) bool { return a.id == id })
		want := b.green.got()[i].Cursor
		if l.Position != (event.Position{Frame: want.Frame, Request: want.Request}) || l.Attempts < 5 || l.Status != 422 || l.Detail != "cannot take "+l.ID || l.Build.ID != "blue-build" || l.Live != event.Green {
			t.Errorf("dead letter: %+v", l)
		}
	}
	if !slices.Equal(got, poison) {
		t.Errorf("dead letters %v, want %v", got, poison)
	}
	b.blue.mu.Lock()
	holes := slices.Clone(b.blue.holes)
	b.blue.mu.Unlock()
	if len(holes) != 3 || holes[0].Reason != "dead" || holes[0].Requests != 1 {
		t.Errorf("blue was told of holes %+v", holes)
	}
	if spans, err := b.mirror.Holes(event.Blue, 0); err != nil || len(spans) == 0 || spans[0].First != holes[0].From.Frame {
		t.Errorf("Holes: %v, %v", spans, err)
	}

	// After a restart, and when the stack steps back, they stay given up although blue would take them now.
	b.stop()
	b.blue.mu.Lock()
	b.blue.poison = nil
	b.blue.cursor, b.blue.requests, b.blue.controls = event.Cursor{}, nil, map[uint64][]byte{}
	b.blue.mu.Unlock()
	b.start()
	b.blue.has(250)
	b.settled()
	b.exactlyOnce(b.blue, ids, poison...)
	st, err := b.client.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	l, err := b.client.Ledger(t.Context(), 1, st.Journal.LastFrame)
	if err != nil || len(l.Stacks[event.Blue].Dead) != 3 || len(l.Stacks[event.Green].Dead) != 0 || l.Totals.Requests != 253 {
		t.Errorf("the ledger: %v, %+v", err, l)
	}
}

// A request at which the stack resets, times out or answers 503 is never given up, however often that happens.
func TestPoisonThatDoesNotReachTheStack(t *testing.T) {
	for name, fail := range map[string]func(w http.ResponseWriter, r *http.Request){
		"reset": func(w http.ResponseWriter, _ *http.Request) { hijack(w) },
		"503":   func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) },
		"hang":  func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setUp(t, func(o *Options) {
				o.Feed.Attempts = 2
				o.Feed.Patience = time.Millisecond
				o.Feed.CallTimeout = 50 * time.Millisecond
				o.Feed.MaxBackoff = 20 * time.Millisecond
			})
			calls := new(atomic.Int64)
			b.blue.script(onlyFrames(func(w http.ResponseWriter, r *http.Request, d *event.Delivery) bool {
				for _, f := range d.Frames {
					if bytes.Contains(f.Data, []byte("poison")) {
						calls.Add(1)
						fail(w, r)
						return true
					}
				}
				return false
			}))
			ids := b.send(20, 4)
			ids[b.sendPoison()] = true
			for id := range b.send(20, 4) {
				ids[id] = true
			}
			b.await("it was tried thirty times", func() error {
				if n := calls.Load(); n < 30 {
					return fmt.Errorf("%d", n)
				}
				return nil
			})
			if n := len(b.deadLetters(event.Blue)); n != 0 {
				t.Errorf("%d dead letters", n)
			}
			b.blue.script(nil)
			b.both(ids)
		})
	}
}

// A stack that fails at every request, and answers everything else, is not believed: its requests are not to blame.
func TestStackThatFailsAtEverything(t *testing.T) {
	b := setUp(t, func(o *Options) {
		o.Feed.Patience = time.Hour
		o.Feed.MaxBackoff = 10 * time.Millisecond
	})
	b.both(b.send(10, 1)) // it was well before
	b.blue.mu.Lock()
	b.blue.poison = func(arrived) bool { return true }
	calls := b.blue.calls
	b.blue.mu.Unlock()
	ids := b.send(50, 8)
	b.await("many attempts", func() error {
		b.blue.mu.Lock()
		defer b.blue.mu.Unlock()
		if n := b.blue.calls - calls; n < 60 {
			return fmt.Errorf("%d", n)
		}
		return nil
	})
	if n := len(b.deadLetters(event.Blue)); n != 0 {
		t.Errorf("%d dead letters", n)
	}
	st, err := b.client.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if x := st.Stacks[event.Blue]; x.StuckAt == nil || !strings.Contains(x.Error, "422") {
		t.Errorf("status: %+v", x)
	}
	b.blue.mu.Lock()
	b.blue.poison = nil
	b.blue.mu.Unlock()
	b.settled()
	b.exactlyOnce(b.green, ids)
	b.exactlyOnce(b.blue, ids)
}

// A request that stands first of all that waits has no neighbour that could get through before it: patience decides.
func TestPoisonWithoutNeighbours(t *testing.T) {
	b := setUp(t, func(o *Options) {
		o.Feed.Patience = 50 * time.Millisecond
		o.Feed.MaxBackoff = 20 * time.Millisecond
	})
	b.blue.poison = poisonous
	poison := b.sendPoison()
	b.await("given up", func() error {
		if len(b.deadLetters(event.Blue)) == 0 {
			return errors.New("not yet")
		}
		return nil
	})
	ids := b.send(20, 4)
	b.settled()
	ids[poison] = true
	b.exactlyOnce(b.green, ids)
	b.exactlyOnce(b.blue, ids, poison)
}

func TestWhenARequestIsGivenUp(t *testing.T) {
	at := func(n int) event.Cursor { return event.Cursor{Frame: uint64(n)} }
	fail := &contentError{status: 422}
	now := time.Unix(1000, 0)
	fresh := func() *isolation { return &isolation{attempts: 3, patience: time.Minute} }

	i := fresh()
	i.split(8)
	i.success(4) // neighbours got through
	for n, want := range []bool{false, false, true} {
		if got := i.alone(at(5), now, fail); got != want {
			t.Errorf("attempt %d beside neighbours that got through: given up %v", n+1, got)
		}
	}

	i = fresh()
	i.split(8)
	for range 100 {
		if i.alone(at(1), now, fail) {
			t.Fatal("given up although nothing got through")
		}
	}
	if !i.alone(at(1), now.Add(time.Minute), fail) {
		t.Error("not given up after patience")
	}
	i.buried()
	late := now.Add(time.Hour)
	for range 100 {
		if i.alone(at(2), late, fail) {
			t.Fatal("the second given up at once")
		}
	}
	if i.alone(at(2), late.Add(time.Minute), fail) {
		t.Error("the second given up after the same patience")
	}
	if !i.alone(at(2), late.Add(2*time.Minute), fail) {
		t.Error("the second not given up after twice the patience")
	}

	i = fresh()
	i.split(100)
	i.success(1)
	for n := range maxGraves {
		i.alone(at(n), now, fail)
		i.alone(at(n), now, fail)
		if !i.alone(at(n), now, fail) {
			t.Fatalf("request %d of a row not given up", n)
		}
		i.buried()
	}
	for range 100 {
		if i.alone(at(99), now, fail) {
			t.Fatal("one success excused too many")
		}
	}
	i.success(1)
	for range 3 {
		i.alone(at(100), now, fail)
	}
	if i.graves != 0 {
		t.Error("a success does not end the row")
	}

	// What got through before the trouble began proves nothing.
	i = fresh()
	i.success(10)
	for range 100 {
		if i.alone(at(1), now, fail) {
			t.Fatal("given up on old evidence")
		}
	}
	// Limits: halved at failures, doubled at successes, then none.
	i = fresh()
	i.split(100)
	if i.limit != 50 {
		t.Errorf("limit %d", i.limit)
	}
	for range 20 {
		i.success(1)
	}
	if i.limit != 0 {
		t.Errorf("limit %d after many successes", i.limit)
	}
}
