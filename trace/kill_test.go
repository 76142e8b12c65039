package trace_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/service"
	"github.com/sparrowhq/sparrow/telemetry"
	"github.com/sparrowhq/sparrow/trace"
	"github.com/sparrowhq/sparrow/trace/sandbox"
	"github.com/sparrowhq/sparrow/warehouse"
	"github.com/sparrowhq/sparrow/warehouse/served"
)

// The environment of a child: a trace process of its own, to be killed.
const (
	inDir       = "SPARROW_TRACE_CHILD_DIR"
	inSandbox   = "SPARROW_TRACE_CHILD_SANDBOX"
	inWarehouse = "SPARROW_TRACE_CHILD_WAREHOUSE"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(inDir); dir != "" {
		if err := child(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// child runs a trace until it is killed, or its standard input ends.
func child(dir string) error {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		bufio.NewReader(os.Stdin).ReadByte()
		cancel()
	}()
	w, err := served.New(served.ClientOptions{URL: os.Getenv(inWarehouse), Secret: secret})
	if err != nil {
		return err
	}
	tel, err := telemetry.New(telemetry.Options{Process: "trace"})
	if err != nil {
		return err
	}
	var t testing.B // options fail by panicking, which is as good here
	o := options(&t, dir, &vendors{url: os.Getenv(inSandbox)}, w)
	o.Telemetry = tel
	tr, err := trace.New(ctx, o)
	if err != nil {
		return err
	}
	l := listen(&t)
	fmt.Printf("listening on http://%s\n", l.Addr())
	if err := service.Serve(ctx, tel, l, tr.Handler(), time.Second); err != nil {
		return err
	}
	return tr.Run(ctx)
}

// spawned is a trace in a process of its own.
type spawned struct {
	*process
	cmd  *exec.Cmd
	done chan error
}

func spawn(t testing.TB, dir, sandboxURL, warehouseURL string) *spawned {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), inDir+"="+dir, inSandbox+"="+sandboxURL, inWarehouse+"="+warehouseURL)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe() // closed with this process, so that no child outlives it
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	url, ok := strings.CutPrefix(strings.TrimSpace(line), "listening on ")
	if err != nil || !ok {
		t.Fatalf("the child says %q: %v", line, err)
	}
	s := &spawned{process: connect(t, url), cmd: cmd, done: make(chan error, 1)}
	go func() {
		s.done <- cmd.Wait()
		stdin.Close()
	}()
	return s
}

func (s *spawned) kill() {
	s.cmd.Process.Signal(syscall.SIGKILL)
	<-s.done
	s.feed.Close()
	s.client.CloseIdleConnections()
}

// serveWarehouse serves w to the processes of a test, until it ends.
func serveWarehouse(t *testing.T, w warehouse.Warehouse) net.Listener {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	l := listen(t)
	serving := make(chan error, 1)
	go func() {
		serving <- service.Serve(ctx, telemetry.Discard(), l, served.Handler(served.Options{Warehouse: w, Secret: secret}), time.Second)
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-serving; err != nil {
			t.Error(err)
		}
	})
	return l
}

// Killed at random moments, with a vendor that loses answers, with roles that flip in the middle of deliveries and
// deliveries that come again: each allowed event is at each vendor's right project, once in the vendor's eyes, and has one
// outcome at each stage. A vendor that knows no key may have gotten an event twice only if it is listed.
func TestKilledAtRandom(t *testing.T) {
	v, w := startVendors(t), openWarehouse(t)
	l := serveWarehouse(t, w)
	v.scenario("seed: 1\nrules:\n" +
		"- {name: lost, vendor: heap, one_in: 7, fault: outage, mode: reset, when: after}\n" +
		"- {name: late, vendor: amplitude, one_in: 5, fault: slow, delay: 50ms}\n" +
		"- {name: down, vendor: webhook, one_in: 9, fault: outage, mode: '503'}\n" +
		"- {name: slow, vendor: ga4, fault: slow, delay: 20ms}\n")
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))

	const frames = 400
	var all []*event.DeliveredFrame
	want := map[string]map[string]bool{"production": {}, "staging": {}}
	keyed := map[string]bool{} // ids that vendors with keys know by another name
	accepted := map[event.Position]string{}
	n, live := 0, event.Green
	for sequence := uint64(1); sequence <= frames; sequence++ {
		if r.IntN(10) == 0 {
			live = live.Other()
		}
		sink := "staging"
		if live == event.Green {
			sink = "production"
		}
		var requests []*event.Request
		for i := range uint32(1 + r.IntN(4)) {
			n++
			at, id := event.Position{Frame: sequence, Request: i}, requestID(n).String()
			body := pageview(n)
			accepted[at] = "accepted"
			switch {
			case n%10 != 0:
				want[sink][id] = true
			case n == 10 || n%50 == 0: // the first of a messageId
				want[sink][id], keyed[id] = true, true
				body = fmt.Sprintf(`{"event":"pageview","deviceId":"d","messageId":"m-%d","properties":{"pathname":"/"}}`, n/50)
			default:
				accepted[at] = "rejected: " + trace.ReasonDuplicate
				body = fmt.Sprintf(`{"event":"pageview","deviceId":"d","messageId":"m-%d","properties":{"pathname":"/"}}`, n/50)
			}
			requests = append(requests, request(n, body))
		}
		all = append(all, frame(t, sequence, live, requests...))
	}

	dir := t.TempDir()
	s := spawn(t, dir, v.url, "http://"+l.Addr().String())
	var mu sync.Mutex // s
	current := func() *spawned {
		mu.Lock()
		defer mu.Unlock()
		return s
	}
	fed := make(chan struct{})
	go func() {
		defer close(fed)
		for at := uint64(0); at < frames; {
			from := at - uint64(r.IntN(int(min(at, 5))+1)) // part of it is there already
			to := min(frames, at+1+uint64(r.IntN(12)))
			d := delivery(all[from:to]...)
			if cursor, err := current().forward(d); err == nil && cursor.Compare(d.To()) >= 0 {
				at = to
			}
			pause()
		}
	}()
	kills := rand.New(rand.NewPCG(seed, 1))
	const crashes = 6
	for range crashes {
		time.Sleep(time.Duration(100+kills.IntN(500)) * time.Millisecond) // a random moment
		mu.Lock()
		s.kill()
		s = spawn(t, dir, v.url, "http://"+l.Addr().String())
		mu.Unlock()
	}
	<-fed
	v.scenario("rules: []")
	s = current()
	s.settled()
	status := s.status()
	s.kill()

	if diff := cmp.Diff(accepted, outcomes(t, w, "trace")); diff != "" {
		t.Errorf("stage trace: %s", diff)
	}
	doubles := 0
	for name, vendor := range map[string]sandbox.Vendor{"ga4": sandbox.GA4, "heap": sandbox.Heap, "amplitude": sandbox.Amplitude, "hook": sandbox.Webhook} {
		got := outcomes(t, w, name)
		for at, what := range accepted {
			if _, ok := got[at]; ok != (what == "accepted") {
				t.Errorf("%s has outcome %q at %v, which is %s", name, got[at], at, what)
			}
		}
		listed := map[string]bool{}
		for _, row := range query(t, w, `SELECT o.outcome, o.reason, o.frame, o.request FROM green.outcomes o WHERE stage = ?`, name) {
			if row[0] != "delivered" {
				t.Errorf("%s: %v", name, row)
			}
			if row[1] == trace.ReasonAgain {
				f, err := event.DecodeFrame(all[row[2].(int64)-1].Data)
				if err != nil {
					t.Fatal(err)
				}
				id := event.ID([16]byte(f.Requests[row[3].(int64)].Id), 0, false)
				listed[id] = true
			}
		}
		knowsKeys := name == "heap" || name == "amplitude"
		if knowsKeys && len(listed) > 0 {
			t.Errorf("%s knows keys, and %d of its events are listed as sent again in doubt", name, len(listed))
		}
		if int(status.Lanes[name].Again) != len(listed) {
			t.Errorf("%s: %d were sent again in doubt, and %d are listed", name, status.Lanes[name].Again, len(listed))
		}
		for _, project := range []string{"production", "staging"} {
			ids := v.ids(vendor, project)
			for id := range want[project] {
				if ids[id] == 0 && !(knowsKeys && keyed[id]) {
					t.Errorf("%s lacks %s at %s", name, id, project)
				}
			}
			if !knowsKeys {
				for id, count := range ids {
					if !want[project][id] {
						t.Errorf("%s at %s got %s, which is not for it", name, project, id)
					}
					if count > 1 {
						doubles++
						if !listed[id] {
							t.Errorf("%s got %s %d times, and it is not listed", name, id, count)
						}
					}
				}
			}
		}
	}
	counts, err := v.client.Vendors(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range counts {
		if c.Vendor != "sentry" && c.Project != "unknown" {
			t.Logf("%s %s: %d deliveries, %d distinct", c.Vendor, c.Project, c.Deliveries, c.Distinct)
			if c.Distinct != uint64(len(want[c.Project])) {
				t.Errorf("%s %s has %d distinct events, want %d", c.Vendor, c.Project, c.Distinct, len(want[c.Project]))
			}
		}
	}
	t.Logf("%d doubles at vendors without keys, after %d crashes", doubles, crashes)
	if s := query(t, w, `SELECT count(*) FROM green.outcomes_log WHERE revision = 0 GROUP BY run, stage, frame, request, item HAVING count(*) > 1`); len(s) > 0 {
		t.Errorf("%d rows of outcomes are there more than once", len(s))
	}
}
