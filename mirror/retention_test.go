package mirror

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/service"
)

// publish puts n frames of one request each into the journal.
func (b *bench) publish(n int) map[uuid.UUID]bool {
	b.t.Helper()
	ids := map[uuid.UUID]bool{}
	for range n {
		id := uuid.Must(uuid.NewV7())
		r := &event.Request{Id: id[:], ReceivedAt: time.Now().UnixMicro(), Body: []byte("{}")}
		frame, err := event.AppendRequest(nil, r)
		if err != nil {
			b.t.Fatal(err)
		}
		var totals event.Totals
		totals.Add(id, len(r.Body), r.ReceivedAt)
		if _, err := b.mirror.state.Load().journal.Publish(b.t.Context(), frame, totals); err != nil {
			b.t.Fatal(err)
		}
		ids[id] = true
	}
	return ids
}

// down makes a stack answer 503 to deliveries of frames.
func (s *rig) down() (up func()) {
	s.script(func(w http.ResponseWriter, _ *http.Request, d *event.Delivery) bool {
		if d != nil && len(d.Frames) == 0 && len(d.Holes) == 0 {
			return false
		}
		service.Problem(w, 503, "down")
		return true
	})
	return func() { s.script(nil) }
}

// Old frames go once both stacks have them, and no earlier.
func TestTrimByAge(t *testing.T) {
	b := setUp(t, func(o *Options) {
		o.Retention.MaxAge = time.Millisecond
		o.Retention.Every = 20 * time.Millisecond
	})
	up := b.blue.down()
	ids := b.publish(2 * lineSpan)
	b.green.has(len(ids))
	first := func() uint64 {
		s, err := b.client.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return s.Journal.FirstFrame
	}
	// A few checks must come and go.
	time.Sleep(200 * time.Millisecond)
	if n := first(); n != 2 {
		t.Errorf("the journal begins at %d although blue has nothing", n)
	}
	up()
	b.both(ids)
	b.await("trimmed at the edge of a bucket", func() error {
		if n := first(); n != 2*lineSpan {
			return fmt.Errorf("the journal begins at %d", n)
		}
		return nil
	})
	b.equation()

	// Blue steps back to where the journal no longer reaches: what it cannot get again is counted as expired.
	b.blue.mu.Lock()
	var kept []arrived
	for _, a := range b.blue.requests {
		if a.Frame < 100 {
			kept = append(kept, a)
		}
	}
	b.blue.requests, b.blue.cursor, b.blue.controls = kept, event.Cursor{Frame: 100}, map[uint64][]byte{}
	b.blue.mu.Unlock()
	b.blue.script(onlyFrames(func(w http.ResponseWriter, _ *http.Request, _ *event.Delivery) bool {
		service.Problem(w, 503, "down")
		return true
	}))
	b.await("what is gone is counted before blue takes it", func() error {
		if e := b.equation().Stacks[event.Blue]; e.Expired == 0 {
			return fmt.Errorf("%+v", e)
		}
		return nil
	})
	b.blue.script(nil)
	for id := range b.send(10, 1) {
		ids[id] = true
	}
	e := b.settled()
	x := e.Stacks[event.Blue]
	if x.Expired == 0 || len(b.blue.got())+int(x.Expired) < len(ids) || x.Expired > 2*lineSpan {
		t.Errorf("blue's equation after it stepped back: %+v; it has %d", x, len(b.blue.got()))
	}
}

// Short of space, the journal gives up what the candidate does not have, and writes down what: clients and the live stack
// see nothing of it.
func TestCandidateExpiresUnderPressure(t *testing.T) {
	var released chan struct{}
	hang := func(_ http.ResponseWriter, r *http.Request, _ *event.Delivery) bool {
		select {
		case <-r.Context().Done():
		case <-released:
		}
		return true
	}
	for name, fault := range map[string]func(s *rig) (up func()){
		"refuses": (*rig).down,
		"hangs": func(s *rig) func() {
			s.script(onlyFrames(hang))
			return func() { s.script(nil); close(released) }
		},
		"applies and hangs": func(s *rig) func() {
			s.script(onlyFrames(func(w http.ResponseWriter, r *http.Request, d *event.Delivery) bool {
				s.apply(d)
				return hang(w, r, d)
			}))
			return func() { s.script(nil); close(released) }
		},
		"applies and goes silent": func(s *rig) func() {
			s.script(func(w http.ResponseWriter, r *http.Request, d *event.Delivery) bool {
				if d != nil {
					s.apply(d)
				}
				return hang(w, r, d)
			})
			return func() { s.script(nil); close(released) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			released = make(chan struct{})
			size := 8 << 10 // what fills the journal is more than one line of the ledger
			if name != "refuses" && os.Getenv("SPARROW_SOAK") == "" {
				size = 32 << 10 // less than one
			}
			candidateExpires(t, fault, size, name != "applies and goes silent") // what only memory knows is lost at a restart
		})
	}
}

func candidateExpires(t *testing.T, fault func(*rig) (up func()), size int, restart bool) {
	b := setUp(t, func(o *Options) {
		o.Journal.MaxBytes = 16 << 20
		o.Retention.Every = 20 * time.Millisecond
		o.Retention.Pressure = 0.5
		o.Feed.CallTimeout = time.Hour // freeing space must not wait for that
		o.Grace = time.Second
	})
	b.both(b.send(10, 1))
	up := fault(b.blue)
	ids := map[uuid.UUID]bool{}
	var mu sync.Mutex
	body := strings.Repeat("x", size)
	fill := func(n int) {
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range n / 4 {
					resp, err := b.http.Post(b.clients+"/v1/events", "", strings.NewReader(body))
					if err != nil {
						t.Error(err)
						return
					}
					text, _ := io.ReadAll(resp.Body)
					resp.Body.Close()
					if resp.StatusCode != 200 {
						t.Errorf("answered %d: %s", resp.StatusCode, text)
						return
					}
					mu.Lock()
					ids[uuid.MustParse(resp.Header.Get("Sparrow-Request-Id"))] = true
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		b.equation()
	}
	for range 3 { // each fills what was freed, and more
		before := b.mirrorExpired(event.Blue)
		for range 10 {
			fill((1600 << 10) / size)
			if b.short() || t.Failed() {
				break
			}
		}
		b.await("some are given up", func() error {
			if b.mirrorExpired(event.Blue) == before {
				return errors.New("nothing yet")
			}
			return nil
		})
	}
	b.green.has(10 + len(ids))
	expired := b.equation().Stacks[event.Blue].Expired
	if expired == 0 {
		t.Fatal("nothing expired")
	}
	if n := b.equation().Stacks[event.Green].Expired; n != 0 {
		t.Errorf("%d expired for green, which is live", n)
	}

	// It is durable before anything is trimmed.
	j := b.mirror.state.Load().journal
	bounds, err := j.Bounds(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	data, err := j.GetState(t.Context(), "feed.blue")
	if err != nil {
		t.Fatal(err)
	}
	var saved account
	if _, err := saved.decode(data); err != nil {
		t.Fatal(err)
	}
	if c := saved.skip(saved.at()); c.Frame < bounds.First {
		t.Errorf("the journal begins at %d, but after a crash now nobody would know that frames below %d are given up", bounds.First, c.Frame)
	}
	// A stack that comes back is told, also by the next mirror.
	if restart {
		b.stop()
		b.start()
		if n := b.mirrorExpired(event.Blue); n < expired {
			t.Errorf("%d expired before the restart, %d after", expired, n)
		}
	}
	up()
	e := b.settled()
	expired = e.Stacks[event.Blue].Expired
	if n := uint64(len(b.blue.got())); n+expired != uint64(10+len(ids)) || e.Stacks[event.Blue].Delivered != n {
		t.Errorf("blue has %d requests, %d expired, %d were accepted: %+v", n, expired, 10+len(ids), e.Stacks[event.Blue])
	}
	b.blue.mu.Lock()
	told := uint64(0)
	for _, h := range b.blue.holes {
		if h.Reason != reasonExpired {
			t.Errorf("hole %+v", h)
		}
		told += h.Requests
	}
	b.blue.mu.Unlock()
	if told != expired {
		t.Errorf("blue was told of %d expired requests, %d did", told, expired)
	}
	st, err := b.client.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	l, err := b.client.Ledger(t.Context(), 0, st.Journal.LastFrame)
	if err != nil {
		t.Fatal(err)
	}
	if x := l.Stacks[event.Blue]; x.Expired.Requests != expired || l.Totals.Requests != uint64(10+len(ids)) {
		t.Errorf("the ledger: %+v of %+v", x, l.Totals)
	}
	var under uint64
	for i, h := range l.Stacks[event.Blue].Holes {
		if h.Reason != reasonExpired || h.From.Compare(h.To) >= 0 || i > 0 && l.Stacks[event.Blue].Holes[i-1].To.Compare(h.From) > 0 {
			t.Errorf("hole %d: %+v", i, h)
		}
		under += h.Requests
	}
	if under != expired {
		t.Errorf("the ledger places %d of %d expired requests", under, expired)
	}
	if spans, err := b.mirror.Holes(event.Blue, 0); err != nil || len(spans) == 0 {
		t.Errorf("Holes: %v, %v", spans, err)
	}
	b.exactlyOnce(b.green, ids)
}

// short reports whether the journal is short of space by the measure of retention.
func (b *bench) short() bool {
	b.t.Helper()
	s, err := b.client.Status(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	return float64(s.Journal.Bytes) > b.options.Retention.Pressure*float64(s.Journal.MaxBytes)
}

// mirrorExpired returns how many requests expired for a stack.
func (b *bench) mirrorExpired(s event.Stack) uint64 {
	b.t.Helper()
	return b.equation().Stacks[s].Expired
}

// The live stack's frames are never given up: the journal fills up, clients are answered 503, and when the stack is back
// everything that was accepted reaches it.
func TestLiveNeverExpires(t *testing.T) {
	b := setUp(t, func(o *Options) {
		o.Journal.MaxBytes = 4 << 20
		o.Retention.Every = 20 * time.Millisecond
	})
	up := b.green.down()
	ids := map[uuid.UUID]bool{}
	body := strings.Repeat("x", 16<<10)
	post := func() (int, error) {
		resp, err := b.http.Post(b.clients+"/v1/events", "", strings.NewReader(body))
		if err != nil {
			return 0, err
		}
		resp.Body.Close()
		if resp.StatusCode == 200 {
			ids[uuid.MustParse(resp.Header.Get("Sparrow-Request-Id"))] = true
		} else if resp.Header.Get("Retry-After") == "" {
			t.Error("503 without Retry-After")
		}
		return resp.StatusCode, nil
	}
	for status := 200; status == 200; {
		var err error
		if status, err = post(); err != nil {
			t.Fatal(err)
		}
		if status != 200 && status != 503 {
			t.Fatalf("answered %d", status)
		}
	}
	time.Sleep(200 * time.Millisecond) // a few checks must come and go
	e := b.equation()
	if x := e.Stacks[event.Green]; x.Expired != 0 || x.Pending != uint64(len(ids)) {
		t.Errorf("green's equation with the journal full: %+v, %d accepted", x, len(ids))
	}
	b.control(event.Candidate, event.Green, 0) // control records are taken all the same
	up()
	b.both(ids)
}
