package mirror

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/telemetry"
)

// wire is one connection to the clients' listener.
type wire struct {
	net.Conn
	in *bufio.Reader
}

func (b *bench) dial() *wire {
	b.t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(b.clients, "http://"))
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(time.Minute))
	return &wire{c, bufio.NewReader(c)}
}

// ask sends one event and returns the answer.
func (w *wire) ask() (*http.Response, error) {
	if _, err := io.WriteString(w, post1("Content-Length: 2\r\n", "{}")); err != nil {
		return nil, err
	}
	return w.answer()
}

func (w *wire) answer() (*http.Response, error) {
	resp, err := http.ReadResponse(w.in, nil)
	if err != nil {
		return nil, err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return resp, err
}

// A stop lets everybody finish: while it drains, those connected are still answered, and told to come back on another
// connection; new connections are still taken; nobody who began a request is cut.
func TestStopLetsClientsMoveOn(t *testing.T) {
	b := setUp(t, func(o *Options) {
		o.Intake.Drain = time.Minute // ends once nobody is connected
		o.Grace = 20 * time.Second
	})
	old := b.dial()
	ids := map[uuid.UUID]bool{}
	expect := func(what string, resp *http.Response, err error, closes bool) {
		t.Helper()
		if err != nil || resp.StatusCode != 200 || resp.Close != closes {
			t.Errorf("%s: %v, %v", what, resp, err)
			return
		}
		ids[uuid.MustParse(resp.Header.Get("Sparrow-Request-Id"))] = true
	}
	resp, err := old.ask()
	expect("before", resp, err, false)
	half := b.dial()
	io.WriteString(half, post1("Content-Length: 2\r\n", "{"))

	b.cancel()
	b.await("the stop has begun", func() error {
		if !b.mirror.intake.leaving.Load() {
			return errors.New("not yet")
		}
		return nil
	})
	if why := b.mirror.ready(); len(why) == 0 {
		t.Error("ready while stopping")
	}
	resp, err = old.ask()
	expect("on a connection from before", resp, err, true)
	if _, err := old.in.ReadByte(); err != io.EOF {
		t.Errorf("and then: %v, want the end of the connection", err)
	}
	resp, err = b.dial().ask()
	expect("on a new connection", resp, err, true)
	io.WriteString(half, "}")
	resp, err = half.answer()
	expect("that was half sent when the stop began", resp, err, true)
	select {
	case err := <-b.ended: // nobody is connected any more
		if err != nil {
			t.Error(err)
		}
	case <-time.After(50 * time.Second):
		t.Fatal("it waits although nobody is connected")
	}
	b.cancel = nil
	b.start()
	b.both(ids)
}

// What clients do cannot hold a stop up: silent connections are closed, half a request is answered 408, within bounds.
func TestStopIsNotHeldUpByClients(t *testing.T) {
	b := setUp(t, func(o *Options) {
		o.Intake.Drain = 50 * time.Millisecond
		o.Grace = 40 * time.Second
	})
	silent, idle, half := b.dial(), b.dial(), b.dial()
	if _, err := idle.ask(); err != nil {
		t.Fatal(err)
	}
	io.WriteString(half, post1("Content-Length: 100\r\n", "{"))
	b.await("all are connected", func() error {
		if n := b.mirror.listening.Load().current.Load(); n != 3 {
			return fmt.Errorf("%d", n)
		}
		return nil
	})
	began := time.Now()
	b.cancel()
	if err := <-b.ended; err != nil {
		t.Error(err)
	}
	b.cancel = nil
	// The bounds are 0.5 s and 2 s; without them it would be Grace.
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("the stop took %s", took)
	}
	if resp, err := half.answer(); err != nil || resp.StatusCode != 408 || !resp.Close {
		t.Errorf("half a request: %v, %v", resp, err)
	}
	for name, w := range map[string]*wire{"silent": silent, "idle": idle} {
		if _, err := w.in.ReadByte(); err != io.EOF {
			t.Errorf("the %s connection: %v", name, err)
		}
	}
}

// The next mirror on the same socket answers whoever connected in between; nobody is refused, and every connection of
// those who kept sending was ended by an answer that said so.
func TestSuccessorOnTheSameSocket(t *testing.T) {
	b := setUp(t, func(o *Options) { o.Intake.Drain = 300 * time.Millisecond })
	b.stop()
	socket := localListener(t).(*net.TCPListener)
	defer socket.Close()
	file, err := socket.File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	b.clients = "http://" + socket.Addr().String()
	run := func() {
		t.Helper()
		l, err := net.FileListener(file)
		if err != nil {
			t.Fatal(err)
		}
		b.options.Telemetry = telemetry.Discard()
		m, err := New(b.options)
		if err != nil {
			t.Fatal(err)
		}
		admin := localListener(t)
		ctx, cancel := context.WithCancel(context.Background())
		b.mirror, b.cancel, b.ended = m, cancel, make(chan error, 1)
		b.client = NewClient("http://"+admin.Addr().String(), operatorToken)
		go func() { b.ended <- m.Run(ctx, l, admin) }()
	}
	run()
	b.await("open", func() error { _, err := b.mirror.opened(); return err })

	stop := make(chan struct{})
	var mu sync.Mutex
	ids := map[uuid.UUID]bool{}
	longest := time.Duration(0)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			var w *wire
			for {
				select {
				case <-stop:
					return
				default:
				}
				began := time.Now()
				if w == nil {
					c, err := net.Dial("tcp", socket.Addr().String())
					if err != nil {
						t.Errorf("refused: %v", err)
						return
					}
					c.SetDeadline(time.Now().Add(time.Minute))
					w = &wire{c, bufio.NewReader(c)}
				}
				resp, err := w.ask()
				if err != nil {
					t.Errorf("no answer: %v", err)
					w.Close()
					return
				}
				if resp.StatusCode == 200 {
					mu.Lock()
					ids[uuid.MustParse(resp.Header.Get("Sparrow-Request-Id"))] = true
					longest = max(longest, time.Since(began))
					mu.Unlock()
				} else {
					t.Errorf("answered %d", resp.StatusCode)
				}
				if resp.Close {
					w.Close()
					w = nil
				}
			}
		})
	}
	for range 5 {
		before := len(b.green.got())
		b.green.has(before + 50)
		b.cancel()
		if err := <-b.ended; err != nil {
			t.Error(err)
		}
		run()
	}
	b.green.has(len(b.green.got()) + 50)
	close(stop)
	wg.Wait()
	t.Logf("%d requests through 5 changes, the longest took %s", len(ids), longest.Round(time.Millisecond))
	b.both(ids)
}

// A stop gives account of what is left.
func TestFarewell(t *testing.T) {
	var log syncBuffer
	b := setUp(t, nil)
	b.stop()
	b.blue.script(func(w http.ResponseWriter, _ *http.Request, _ *event.Delivery) bool {
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	})
	tel, err := telemetry.New(telemetry.Options{Process: "mirror", Output: &log})
	if err != nil {
		t.Fatal(err)
	}
	b.options.Telemetry = tel
	m, err := New(b.options)
	if err != nil {
		t.Fatal(err)
	}
	clients, admin := localListener(t), localListener(t)
	ctx, cancel := context.WithCancel(context.Background())
	b.mirror, b.cancel, b.ended = m, cancel, make(chan error, 1)
	b.clients, b.client = "http://"+clients.Addr().String(), NewClient("http://"+admin.Addr().String(), operatorToken)
	go func() { b.ended <- m.Run(ctx, clients, admin) }()
	b.await("open", func() error { _, err := b.mirror.opened(); return err })
	b.send(12, 2)
	b.green.has(12)
	b.await("green's account has them", func() error {
		if e := b.equation(); e.Stacks[event.Green].Delivered != 12 {
			return fmt.Errorf("%+v", e)
		}
		return nil
	})
	b.stop()
	if want := Farewell + "accepted 12; green 0 pending; blue 12 pending, the oldest for "; !strings.Contains(log.String(), want) {
		t.Errorf("the log does not say %q:\n%s", want, log.String())
	}
}

// syncBuffer is a buffer that several goroutines write.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
