package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/telemetry"
)

// cluster starts three NATS servers that make one cluster, and returns them with the URL to reach them.
func cluster(t *testing.T) ([]*server.Server, string) {
	t.Helper()
	var servers []*server.Server
	var urls, routes []string
	for i := range 3 {
		o := &server.Options{
			ServerName: fmt.Sprint("n", i), Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true,
			JetStream: true, StoreDir: t.TempDir(), SyncAlways: true, MaxPayload: maxPayload, JetStreamMaxStore: 1 << 40,
			Cluster: server.ClusterOpts{Name: "sparrow", Host: "127.0.0.1", Port: server.RANDOM_PORT},
			Users:   []*server.User{{Username: "sparrow", Password: testSecret}},
		}
		o.Routes = server.RoutesFromStr(strings.Join(routes, ","))
		s, err := server.NewServer(o)
		if err != nil {
			t.Fatal(err)
		}
		s.Start()
		t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
		if !s.ReadyForConnections(10 * time.Second) {
			t.Fatal("a NATS server did not start")
		}
		servers = append(servers, s)
		routes = append(routes, "nats://"+s.ClusterAddr().String())
		u, err := url.Parse(s.ClientURL())
		if err != nil {
			t.Fatal(err)
		}
		u.User = url.UserPassword("sparrow", testSecret)
		urls = append(urls, u.String())
	}
	eventually(t, "the cluster has no leader", func() bool {
		for _, s := range servers {
			if s.JetStreamIsLeader() && len(s.JetStreamClusterPeers()) == 3 {
				return true
			}
		}
		return false
	})
	return servers, strings.Join(urls, ",")
}

// eventually waits for something that other processes do.
func eventually(t *testing.T, otherwise string, happened func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !happened(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(otherwise)
		}
	}
}

func clusterOptions(url string) Options {
	return Options{URL: url, Replicas: 3, MaxBytes: 1 << 30, Telemetry: telemetry.Discard()}
}

func TestTwoMirrorsShareAJournalInACluster(t *testing.T) {
	servers, url := cluster(t)
	var wg sync.WaitGroup
	journals := make([]*Journal, 2)
	errs := make([]error, 2)
	for i := range journals {
		wg.Go(func() { journals[i], errs[i] = Open(t.Context(), clusterOptions(url)) })
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
		defer journals[i].Close()
	}
	a, b := journals[0], journals[1]
	if a.ID() != b.ID() {
		t.Fatalf("two journals, %s and %s", a.ID(), b.ID())
	}
	tl, err := b.Timeline(t.Context())
	if err != nil || len(tl.Records()) != 1 {
		t.Fatalf("the timeline of a journal that two opened at once has %d records, %v", len(tl.Records()), err)
	}

	want := []Entry{initial(t, a)}
	for i := range 60 {
		j := journals[i%2]
		want = append(want, publish(t, j, fmt.Sprint(i)))
		if i%10 == 9 {
			want = append(want, cutover(t, j))
			tl, err := a.Timeline(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			head, _ := tl.Head()
			won := 0
			var wg sync.WaitGroup
			var mu sync.Mutex
			for _, j := range journals {
				wg.Go(func() {
					r, err := j.AppendControl(t.Context(), event.Control{Generation: head.Generation + 1, Kind: event.Candidate, Live: head.Live, Actor: fmt.Sprint(rand.Uint64())})
					mu.Lock()
					defer mu.Unlock()
					if err == nil {
						won++
						want = append(want, Entry{Sequence: r.Sequence, Kind: Control, Data: r.Bytes, First: r.Sequence, Last: r.Sequence})
					} else if !errors.Is(err, ErrConflict) {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			if won != 1 {
				t.Fatalf("%d of 2 mirrors won", won)
			}
		}
	}
	last := want[len(want)-1].Sequence
	for _, j := range journals {
		r := j.Read(1)
		defer r.Close()
		if d := cmp.Diff(want, read(t, r, last, 1<<20)); d != "" {
			t.Fatal(d)
		}
		if err := j.PutState(t.Context(), "a", []byte(j.ID())); err != nil {
			t.Fatal(err)
		}
	}

	// One server goes away, the stream's leader if need be; what was acknowledged stays, in its place.
	r := a.Read(last + 1)
	defer r.Close()
	frames := []Entry{publishWithin(t, b, 30*time.Second)}
	for _, s := range servers {
		if s.JetStreamIsStreamLeader("$G", mainStream) {
			s.Shutdown()
			break
		}
	}
	for range 20 {
		frames = append(frames, publishWithin(t, b, 30*time.Second))
	}
	got := read(t, r, frames[len(frames)-1].Sequence, 1<<20)
	at := map[uint64]Entry{}
	next := last + 1
	for _, e := range got {
		if e.First != next || e.Kind == Gap {
			t.Fatalf("%s at %d-%d, want %d", e.Kind, e.First, e.Last, next)
		}
		next = e.Last + 1
		at[e.Sequence] = e
	}
	for _, f := range frames {
		if d := cmp.Diff(f, at[f.Sequence]); d != "" {
			t.Errorf("frame %d: %s", f.Sequence, d)
		}
	}
	if _, err := a.Trim(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	bounds, err := b.Bounds(t.Context())
	if err != nil || bounds.First != last+1 {
		t.Errorf("bounds after trimming up to %d: %+v, %v", last, bounds, err)
	}
}

func TestClusterThatIsAwayIsUnavailable(t *testing.T) {
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true, JetStream: true, StoreDir: t.TempDir(), MaxPayload: maxPayload, JetStreamMaxStore: 1 << 40})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	defer s.Shutdown()
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the NATS server did not start")
	}
	o := clusterOptions(s.ClientURL())
	o.Replicas, o.Timeout = 1, 500*time.Millisecond
	j := open(t, o)
	publish(t, j, "x")
	s.Shutdown()
	s.WaitForShutdown()
	if _, err := j.Publish(t.Context(), []byte("y"), frameTotals(t)); !errors.Is(err, ErrUnavailable) {
		t.Errorf("Publish: %v", err)
	}
	eventually(t, "still accepting", func() bool { return errors.Is(j.Accepting(), ErrUnavailable) })
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	r := j.Read(3)
	defer r.Close()
	if _, err := r.Next(ctx, 100); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Next: %v", err)
	}
}

// deafening is a proxy to a NATS server that can lose an answer on the way back.
type deafening struct {
	net.Listener
	lose atomic.Bool // the next answer to a publish
}

func (d *deafening) serve(server string) {
	for {
		client, err := d.Accept()
		if err != nil {
			return
		}
		back, err := net.Dial("tcp", server)
		if err != nil {
			_ = client.Close()
			return
		}
		go func() { _, _ = io.Copy(back, client); _ = back.Close() }()
		go func() {
			defer client.Close()
			b := make([]byte, 64<<10)
			for {
				n, err := back.Read(b)
				if err != nil {
					return
				}
				if bytes.Contains(b[:n], []byte(`{"stream":"sparrow", "seq":`)) || bytes.Contains(b[:n], []byte(`{"stream":"sparrow","seq":`)) {
					if d.lose.CompareAndSwap(true, false) {
						continue
					}
				}
				if _, err := client.Write(b[:n]); err != nil {
					return
				}
			}
		}()
	}
}

// A control record whose answer is lost was appended all the same: trying again would be a conflict with oneself.
func TestLostAnswerToAControlRecord(t *testing.T) {
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true, JetStream: true, StoreDir: t.TempDir(), MaxPayload: maxPayload, JetStreamMaxStore: 1 << 40})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	defer s.Shutdown()
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the NATS server did not start")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	proxy := &deafening{Listener: l}
	defer proxy.Close()
	go proxy.serve(s.Addr().String())

	o := clusterOptions("nats://" + l.Addr().String())
	o.Replicas, o.Timeout = 1, time.Second
	j := open(t, o)
	proxy.lose.Store(true)
	cutover(t, j)
	if proxy.lose.Load() {
		t.Fatal("no answer was lost")
	}
	proxy.lose.Store(true)
	if _, err := j.Publish(t.Context(), []byte("x"), frameTotals(t)); !errors.Is(err, ErrUnavailable) {
		t.Errorf("a frame whose answer was lost: %v", err)
	}
	tl, err := j.Timeline(t.Context())
	if err != nil || len(tl.Records()) != 2 {
		t.Errorf("the timeline has %d records, %v", len(tl.Records()), err)
	}
}
