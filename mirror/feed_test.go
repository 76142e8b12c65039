package mirror

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/service"
)

func TestEveryRequestReachesBothStacksOnceInOrder(t *testing.T) {
	b := setUp(t, nil)
	ids := b.send(2_000, 32)
	b.both(ids)
	s, err := b.client.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s.Live != event.Green || s.Generation != 1 || s.Accepted.Requests != 2_000 || !s.Journal.Accepting || s.Head == "" {
		t.Errorf("status: %+v", s)
	}
	for name, x := range s.Stacks {
		role := map[event.Stack]string{event.Green: roleLive, event.Blue: roleCandidate}[name]
		if x.Role != role || x.Delivered != 2_000 || x.Pending != (Pending{}) || !x.Reachable || x.Build.ID != string(name)+"-build" || x.Cursor.Frame <= s.Journal.LastFrame {
			t.Errorf("status of %s: %+v", name, x)
		}
	}
}

// hijack cuts the connection without an answer.
func hijack(w http.ResponseWriter) {
	c, _, err := http.NewResponseController(w).Hijack()
	if err == nil {
		c.Close()
	}
}

// Nothing a stack does keeps a request from it for good, or brings it twice; and nothing blue does shows at green.
func TestFaultsOfAStack(t *testing.T) {
	answer := func(status int, header ...string) func(http.ResponseWriter, *http.Request, *event.Delivery) bool {
		return func(w http.ResponseWriter, _ *http.Request, _ *event.Delivery) bool {
			for i := 0; i < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			service.Problem(w, status, "scripted")
			return true
		}
	}
	faults := map[string]func(s *rig) func(http.ResponseWriter, *http.Request, *event.Delivery) bool{
		"resets before it applied": func(*rig) func(http.ResponseWriter, *http.Request, *event.Delivery) bool {
			return func(w http.ResponseWriter, _ *http.Request, _ *event.Delivery) bool { hijack(w); return true }
		},
		"resets after it applied": func(s *rig) func(http.ResponseWriter, *http.Request, *event.Delivery) bool {
			return func(w http.ResponseWriter, _ *http.Request, d *event.Delivery) bool {
				if d == nil {
					return false
				}
				s.apply(d)
				hijack(w)
				return true
			}
		},
		"503": func(*rig) func(http.ResponseWriter, *http.Request, *event.Delivery) bool {
			return answer(503, "Retry-After", "0")
		},
		"503 for deliveries": func(*rig) func(http.ResponseWriter, *http.Request, *event.Delivery) bool {
			return onlyFrames(answer(503))
		},
		"429": func(*rig) func(http.ResponseWriter, *http.Request, *event.Delivery) bool { return answer(429) },
		"502": func(*rig) func(http.ResponseWriter, *http.Request, *event.Delivery) bool { return answer(502) },
		"504": func(*rig) func(http.ResponseWriter, *http.Request, *event.Delivery) bool { return answer(504) },
		"408": func(*rig) func(http.ResponseWriter, *http.Request, *event.Delivery) bool { return answer(408) },
		"401": func(*rig) func(http.ResponseWriter, *http.Request, *event.Delivery) bool { return answer(401) },
		"404": func(*rig) func(http.ResponseWriter, *http.Request, *event.Delivery) bool {
			return onlyFrames(answer(404))
		},
		"redirects": func(*rig) func(http.ResponseWriter, *http.Request, *event.Delivery) bool {
			return answer(307, "Location", "/")
		},
		"500 for everything": func(*rig) func(http.ResponseWriter, *http.Request, *event.Delivery) bool { return answer(500) },
		"422 for deliveries": func(*rig) func(http.ResponseWriter, *http.Request, *event.Delivery) bool {
			return onlyFrames(answer(422))
		},
		"200 that is not ours": func(*rig) func(http.ResponseWriter, *http.Request, *event.Delivery) bool { return answer(200) },
		"hangs": func(*rig) func(http.ResponseWriter, *http.Request, *event.Delivery) bool {
			return func(w http.ResponseWriter, r *http.Request, _ *event.Delivery) bool {
				<-r.Context().Done()
				return true
			}
		},
		"a byte a second": func(*rig) func(http.ResponseWriter, *http.Request, *event.Delivery) bool {
			return func(w http.ResponseWriter, r *http.Request, _ *event.Delivery) bool {
				for {
					select {
					case <-r.Context().Done():
						return true
					case <-time.After(time.Second): // that is the fault
						w.Write([]byte(" "))
						http.NewResponseController(w).Flush()
					}
				}
			}
		},
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setUp(t, func(o *Options) { o.Feed.CallTimeout = 300 * time.Millisecond })
			ids := b.send(20, 4)
			b.both(ids)
			calls := new(atomic.Int64)
			f := fault(b.blue)
			b.blue.script(func(w http.ResponseWriter, r *http.Request, d *event.Delivery) bool { calls.Add(1); return f(w, r, d) })
			// Clients and green go on as if nothing were: each request reaches green while blue is as it is.
			for i := range 200 {
				id, err := b.post(i)
				if err != nil {
					t.Fatal(err)
				}
				ids[id] = true
			}
			b.green.has(220)
			b.await("blue has been tried a few times", func() error {
				if calls.Load() < 3 {
					return fmt.Errorf("%d calls", calls.Load())
				}
				return nil
			})
			if e := b.equation(); e.Stacks[event.Blue].Dead != 0 {
				t.Errorf("dead letters: %+v", e)
			}
			b.blue.script(nil)
			b.both(ids)
		})
	}
}

func onlyFrames(f func(http.ResponseWriter, *http.Request, *event.Delivery) bool) func(http.ResponseWriter, *http.Request, *event.Delivery) bool {
	return func(w http.ResponseWriter, r *http.Request, d *event.Delivery) bool { return d != nil && f(w, r, d) }
}

// A stack that is down, from the start and later, only lags.
func TestStackDownAndUp(t *testing.T) {
	b := &bench{t: t, green: newRig(t, event.Green), blue: newRig(t, event.Blue)}
	addr := b.blue.addr
	b.options = testOptions(journalDir(t), b.green.url(), b.blue.url())
	b.start() // a new journal needs both once
	t.Cleanup(b.stop)
	b.blue.stop()
	ids := b.send(300, 8)
	b.green.has(300)
	s, err := b.client.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if x := s.Stacks[event.Blue]; x.Pending.Requests != 300 || x.Pending.OldestAt == 0 || x.Pending.Bytes == 0 {
		t.Errorf("blue is down, its status is %+v", x)
	}
	b.equation()
	b.stop()
	b.start() // an existing journal needs neither
	for id := range b.send(100, 4) {
		ids[id] = true
	}
	b.blue.listen(addr)
	b.both(ids)
}

// Resets, refusals and storms of 503 at random, at both stacks, while requests keep coming.
func TestStorm(t *testing.T) {
	b := setUp(t, func(o *Options) {
		o.Feed.CallTimeout = time.Second
		o.Feed.MaxBytes = 8 << 10
	})
	for _, s := range []*rig{b.green, b.blue} {
		n := new(atomic.Int64)
		s.script(func(w http.ResponseWriter, r *http.Request, d *event.Delivery) bool {
			switch n.Add(1) % 7 {
			case 1:
				hijack(w)
			case 2:
				service.Problem(w, 503, "storm")
			case 3:
				if d == nil {
					return false
				}
				s.apply(d)
				hijack(w)
			case 4:
				service.Problem(w, 500, "storm")
			default:
				return false
			}
			return true
		})
	}
	ids := map[uuid.UUID]bool{}
	for range 5 {
		for id := range b.send(200, 16) {
			ids[id] = true
		}
		b.equation()
	}
	b.both(ids)
	if e := b.equation(); e.Stacks[event.Green].Dead+e.Stacks[event.Blue].Dead != 0 {
		t.Errorf("dead letters: %+v", e)
	}
}

// A stack whose cursor steps back, as after a kill -9 or a restored backup, gets everything from there again, and the
// equation holds at every moment.
func TestStackStepsBack(t *testing.T) {
	b := setUp(t, nil)
	ids := b.send(300, 8)
	b.both(ids)
	back := func(to event.Cursor) {
		b.blue.mu.Lock()
		defer b.blue.mu.Unlock()
		b.blue.cursor = to
		b.blue.requests = slices.DeleteFunc(b.blue.requests, func(a arrived) bool { return a.Cursor.Compare(to) >= 0 })
		b.blue.controls = map[uint64][]byte{}
	}
	all := b.blue.got()
	for _, at := range []event.Cursor{all[150].Cursor, all[10].Cursor, {}, all[299].Cursor} {
		back(at)
		b.equation()
		for id := range b.send(50, 4) { // the next delivery begins past its cursor: 409
			ids[id] = true
		}
		b.both(ids)
	}
}

// A stack that got further than the feed knows (its answer was lost, the feed's state is old) is believed, and what it
// has is counted.
func TestStackIsAhead(t *testing.T) {
	b := setUp(t, nil)
	b.blue.script(func(w http.ResponseWriter, r *http.Request, d *event.Delivery) bool {
		if d != nil && len(d.Frames) > 0 { // a call with control records alone moves no cursor to learn from
			b.blue.apply(d)
			hijack(w)
			return true
		}
		return false
	})
	ids := b.send(100, 4)
	b.blue.has(100)
	b.blue.script(nil)
	b.both(ids)
	if n := b.equation().Stacks[event.Blue].Delivered; n != 100 {
		t.Errorf("%d counted as delivered", n)
	}
}

// Flips in the middle of the traffic: every frame is stamped with the role it had when it was journaled, at the first
// delivery as at any later one. The rigs check each stamp against the records that have come by then.
func TestFlips(t *testing.T) {
	b := setUp(t, func(o *Options) { o.Feed.MaxBytes = 4 << 10 })
	type stamp struct {
		live       event.Stack
		generation uint64
	}
	var mu sync.Mutex
	first := map[event.Cursor]stamp{}
	n := new(atomic.Int64)
	for _, s := range []*rig{b.green, b.blue} {
		s.script(func(w http.ResponseWriter, r *http.Request, d *event.Delivery) bool {
			if d == nil {
				return false
			}
			for _, f := range d.Frames {
				mu.Lock()
				got, at := stamp{event.Stack(f.Live), f.Generation}, event.Cursor{Frame: f.Sequence}
				if was, again := first[at]; again && was != got {
					t.Errorf("%s: frame %d was stamped %v, now %v", s.name, f.Sequence, was, got)
				}
				first[at] = got
				mu.Unlock()
			}
			if n.Add(1)%3 == 0 {
				hijack(w) // so that most things are delivered more than once
				return true
			}
			return false
		})
	}
	ids := map[uuid.UUID]bool{}
	live := event.Green
	var past uint64
	for flip := range 12 {
		for id := range b.send(60, 8) {
			ids[id] = true
		}
		kind, from := event.Cutover, uint64(0)
		if flip%2 == 1 {
			kind = event.Rollback
		}
		if flip == 7 {
			from = past
		}
		live = live.Other()
		r := b.control(kind, live, from)
		if flip%3 == 0 { // as another mirror would: only the stream tells of it
			if _, err := b.mirror.state.Load().journal.AppendControl(t.Context(), event.Control{Generation: r.Generation + 1, Kind: event.Candidate, Live: live, At: 1}); err != nil {
				t.Fatal(err)
			}
		}
		if flip == 2 {
			past = r.Sequence
		}
		b.equation()
	}
	b.both(ids)
	if blue := slices.IndexFunc(b.green.got(), func(a arrived) bool { return a.live == event.Blue }); blue < 0 {
		t.Error("no frame was blue's")
	}
	green, blue := b.green.got(), b.blue.got()
	for i := range green {
		if green[i].live != blue[i].live || green[i].generation != blue[i].generation {
			t.Errorf("%v: green was told %s/%d, blue %s/%d", green[i].Cursor, green[i].live, green[i].generation, blue[i].live, blue[i].generation)
		}
	}
	for _, s := range []*rig{b.green, b.blue} {
		s.until("all 17 control records", func() bool { return len(s.controls) == 17 })
	}
}

// A control record reaches an idle stack at once, and a lagging one ahead of the frames it lags behind with.
func TestControlRecordIsSentAhead(t *testing.T) {
	b := setUp(t, func(o *Options) {
		o.Feed.MaxBytes = 2 << 10
		o.Feed.CatchUpRate = 1 // byte a second: blue lags for ever
		o.Feed.ProbeEvery = time.Hour
	})
	ids := b.send(100, 8)
	b.green.has(100)
	r := b.control(event.Candidate, event.Green, 0)
	for _, s := range []*rig{b.green, b.blue} {
		s.until("the record", func() bool { return s.controls[r.Sequence] != nil })
	}
	if n := len(b.blue.got()); n >= 100 {
		t.Fatalf("blue does not lag: it has %d requests", n)
	}
	b.equation()
	// Blue becomes live: the rate is the candidate's only.
	b.control(event.Cutover, event.Blue, 0)
	b.blue.has(100)
	b.exactlyOnce(b.blue, ids)
}

// While blue hangs in the middle of a call, green makes progress call by call.
func TestHungCandidateHoldsNothing(t *testing.T) {
	b := setUp(t, func(o *Options) { o.Feed.CallTimeout = time.Hour }) // the hung call is to be the only one, however slow this machine is
	b.both(b.send(1, 1))
	release := make(chan struct{})
	hung := make(chan struct{}, 100)
	b.blue.script(func(w http.ResponseWriter, r *http.Request, d *event.Delivery) bool {
		hung <- struct{}{}
		<-release
		return false
	})
	t.Cleanup(func() {
		select {
		case <-release:
		default:
			close(release)
		}
	})
	id, err := b.post(0)
	if err != nil {
		t.Fatal(err)
	}
	ids := map[uuid.UUID]bool{id: true}
	<-hung
	for i := range 500 {
		id, err := b.post(i)
		if err != nil {
			t.Fatal(err)
		}
		ids[id] = true
		b.green.has(len(ids) + 1)
	}
	if n := len(hung); n != 0 {
		t.Errorf("%d more calls to blue while one hangs", n)
	}
	e := b.equation()
	if x := e.Stacks[event.Blue]; x.Pending != 501 {
		t.Errorf("blue's equation: %+v", x)
	}
	close(release)
	b.both(ids)
}

// What needs a person stops the feed, shows in the status, and is over once it is put right.
func TestBlocked(t *testing.T) {
	b := setUp(t, nil)
	ids := b.send(10, 2)
	b.both(ids)
	blocked := func(s event.Stack, part string) {
		t.Helper()
		b.await("blocked", func() error {
			st, err := b.client.Status(t.Context())
			if err != nil {
				return err
			}
			if x := st.Stacks[s]; !x.Blocked || !strings.Contains(x.Error, part) {
				return fmt.Errorf("%+v", x)
			}
			return nil
		})
	}
	// Another journal has frames up to 500 at this stack.
	b.blue.mu.Lock()
	b.blue.journals = map[string]journalSeen{"other": {ID: "other", First: 1, Highest: 500}}
	b.blue.mu.Unlock()
	blocked(event.Blue, "journal.first_frame: 501")
	for id := range b.send(10, 2) {
		ids[id] = true
	}
	b.green.has(20)
	if n := len(b.blue.got()); n != 10 {
		t.Errorf("blue got %d requests while it was blocked", n)
	}
	b.blue.mu.Lock()
	b.blue.journals = map[string]journalSeen{}
	b.blue.mu.Unlock()
	b.both(ids)

	// The stack is ahead of the journal.
	b.blue.mu.Lock()
	right := b.blue.cursor
	b.blue.cursor = event.Cursor{Frame: right.Frame + 1000}
	b.blue.mu.Unlock()
	blocked(event.Blue, "lost its tail")
	b.blue.mu.Lock()
	b.blue.cursor = right
	b.blue.mu.Unlock()
	b.both(ids)

	// It answers for the other stack.
	b.blue.mu.Lock()
	b.blue.name = event.Green
	b.blue.mu.Unlock()
	blocked(event.Blue, "mixed up")
	b.blue.mu.Lock()
	b.blue.name = event.Blue
	b.blue.mu.Unlock()

	// A refusal by the stack itself.
	b.blue.script(onlyFrames(func(w http.ResponseWriter, r *http.Request, d *event.Delivery) bool {
		w.WriteHeader(http.StatusConflict)
		fmt.Fprint(w, `{"reason":"journal","detail":"frames collide","cursor":{"frame":1,"request":0}}`)
		return true
	}))
	for id := range b.send(10, 2) {
		ids[id] = true
	}
	blocked(event.Blue, "frames collide")
	b.blue.script(nil)
	b.both(ids)
}

// A wrong configuration of the live stack shows at readiness from the start; the candidate's never does.
func TestReadiness(t *testing.T) {
	b := setUp(t, nil)
	b.both(b.send(5, 1))
	b.stop()
	refuse := func(w http.ResponseWriter, r *http.Request, d *event.Delivery) bool {
		service.Problem(w, 401, "no")
		return true
	}
	b.blue.script(refuse)
	b.start()
	b.green.script(refuse)
	b.stop()
	b.begin()
	b.await("not ready", func() error {
		for _, why := range b.mirror.ready() {
			if strings.Contains(why.Error(), "green, which is live, cannot be fed") {
				return nil
			}
		}
		return errors.New("ready")
	})
	b.green.script(nil)
	b.blue.script(nil)
	b.await("ready", func() error { return errors.Join(b.mirror.ready()...) })
}

// A delivery that is too large for a stack is split until it fits.
func TestTooLargeForTheStack(t *testing.T) {
	b := setUp(t, nil)
	b.blue.script(onlyFrames(func(w http.ResponseWriter, r *http.Request, d *event.Delivery) bool {
		n := 0
		for _, f := range d.Frames {
			frame, err := event.DecodeFrame(f.Data)
			if err != nil {
				t.Error(err)
			}
			for i := range frame.Requests {
				if d.Contains(f.Sequence, uint32(i)) {
					n++
				}
			}
		}
		if n > 3 {
			service.Problem(w, 413, "at most three")
			return true
		}
		return false
	}))
	b.both(b.send(200, 32))
}

// The part of a frame that a stack has already is not lost sight of: it stands in the middle of one.
func TestCursorInsideAFrame(t *testing.T) {
	b := setUp(t, nil)
	b.blue.script(onlyFrames(func(w http.ResponseWriter, r *http.Request, d *event.Delivery) bool {
		service.Problem(w, 503, "wait")
		return true
	}))
	var ids map[uuid.UUID]bool
	var middle event.Cursor
	b.await("a frame of several requests", func() error {
		ids = b.send(64, 64)
		b.green.has(len(ids))
		for _, a := range b.green.got() {
			if a.Request > 0 {
				middle = a.Cursor
			}
		}
		if middle.Request == 0 {
			return errors.New("each request has a frame of its own")
		}
		return nil
	})
	// As if an earlier mirror had brought the first part.
	b.blue.mu.Lock()
	for _, a := range b.green.got() {
		if a.Cursor.Compare(middle) < 0 {
			b.blue.requests = append(b.blue.requests, a)
		}
	}
	b.blue.cursor = middle
	b.blue.mu.Unlock()
	b.blue.script(nil)
	b.settled()
	b.exactlyOnce(b.blue, ids)
	if len(b.blue.got()) != len(b.green.got()) {
		t.Errorf("blue has %d requests, green %d", len(b.blue.got()), len(b.green.got()))
	}
}
