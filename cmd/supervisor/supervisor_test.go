package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sparrowhq/sparrow/service"
	"github.com/sparrowhq/sparrow/telemetry"
)

// The test binary is also the programs that the tests supervise.
func TestMain(m *testing.M) {
	switch os.Getenv("SUPERVISOR_TEST") {
	case "":
		goleak.VerifyTestMain(m)
	case "supervisor":
		os.Exit(runSupervisor(os.Args[1]))
	}
	os.Exit(runChild(os.Args[1:]))
}

// runChild is a tiny service: child NAME BEHAVIOUR FILE. It appends "NAME stopped" to FILE when it stopped in order.
func runChild(args []string) int {
	name, behaviour, file := args[1], args[2], args[3]
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	switch behaviour {
	case "fails":
		log.Info("starting")
		log.Error("cannot go on", "error", "disk full")
		return 3
	case "panics":
		panic("a bug")
	}
	in, err := Inherit(os.Environ())
	if err != nil {
		log.Error("inherit", "error", err)
		return 1
	}
	l, err := in.Listen(name, "127.0.0.1:0")
	if err != nil {
		log.Error("listen", "error", err)
		return 1
	}
	signals, stopSignals := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stopSignals()
	ctx, stop := in.Context(signals)
	defer stop()
	var unready []error
	if behaviour == "noisy" {
		for i := range 1000 {
			log.Error("the same again", "n", i)
		}
	}
	if behaviour == "unready" {
		unready = []error{errors.New("the tide is out")}
	}
	r := service.Router(telemetry.Discard(), func() []error { return unready })
	r.HandleFunc("/pid", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, os.Getpid()) })
	if err := service.Serve(ctx, telemetry.Discard(), l, r, time.Second); err != nil {
		log.Error("serve", "error", err)
		return 1
	}
	if behaviour == "stubborn" {
		select {} // deaf to SIGTERM
	}
	if behaviour == "slow" {
		time.Sleep(300 * time.Millisecond) // the others must wait for it
	}
	note(file, name+" stopped")
	return 0
}

func note(file, line string) {
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	defer f.Close()
	fmt.Fprintln(f, line)
}

// processes are a front (stops first), two middles and a back, behaving as told by name.
func processes(t interface{ Fatal(...any) }, file string, behaviours map[string]string) []Process {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var all []Process
	for _, p := range []struct {
		name  string
		stage int
	}{{"front", 0}, {"left", 1}, {"right", 1}, {"back", 2}} {
		l, err := Bind(p.name, "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		behaviour := behaviours[p.name]
		if behaviour == "" {
			behaviour = "serves"
		}
		all = append(all, Process{
			Name: p.name, Path: self, Args: []string{"child", p.name, behaviour, file},
			URL: l.URL(), Listeners: []*Listener{l}, Stage: p.stage, Stop: 10 * time.Second,
		})
	}
	return all
}

// The race detector makes a program wait a second before it exits, unless told otherwise.
var childEnviron = append(os.Environ(), "SUPERVISOR_TEST=child", "GORACE=atexit_sleep_ms=0")

// runSupervisor is a supervisor in a process of its own, to be killed.
func runSupervisor(dir string) int {
	folder, err := Take(context.Background(), dir, 0, func() {})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	s, err := New(Options{
		Folder: folder, Environ: childEnviron,
		Processes: processes(fatal{}, filepath.Join(dir, "order"), map[string]string{"front": "slow", "left": "slow"}),
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	go func() {
		if s.AwaitReady(context.Background()) == nil {
			fmt.Println("ready")
		}
	}()
	if err := s.Run(context.Background(), nil); err != nil {
		return 1
	}
	return 0
}

type fatal struct{}

func (fatal) Fatal(args ...any) { panic(fmt.Sprint(args...)) }

// running is a supervisor under test.
type running struct {
	*Supervisor
	t      *testing.T
	file   string
	cancel context.CancelFunc
	now    chan struct{}
	done   chan error
	mu     sync.Mutex
	events []Event
}

func start(t *testing.T, o Options, behaviours map[string]string) *running {
	t.Helper()
	folder, err := Take(t.Context(), t.TempDir(), 0, func() {})
	if err != nil {
		t.Fatal(err)
	}
	o.Folder = folder
	r := &running{t: t, file: filepath.Join(t.TempDir(), "order"), now: make(chan struct{}), done: make(chan error, 1)}
	if o.Processes == nil {
		o.Processes = processes(t, r.file, behaviours)
	}
	o.Environ = childEnviron
	o.Report = func(e Event) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.events = append(r.events, e)
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	r.Supervisor = s
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	go func() { r.done <- s.Run(ctx, r.now) }()
	t.Cleanup(func() { r.stop(); folder.Release() })
	return r
}

func (r *running) stop() error {
	r.cancel()
	err := <-r.done
	r.done <- err
	return err
}

func (r *running) await(what string, check func() bool) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 30*time.Second)
	defer cancel()
	if err := r.Supervisor.await(ctx, check); err != nil {
		r.t.Fatalf("%s: %v; states %+v", what, err, r.States())
	}
}

func (r *running) ready() {
	r.t.Helper()
	r.await("all ready", func() bool { return all(r.children, Ready) })
}

func (r *running) state(name string) State {
	for _, s := range r.States() {
		if s.Name == name {
			return s
		}
	}
	r.t.Fatalf("no process %s", name)
	return State{}
}

func (r *running) reported(text string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		if strings.Contains(e.Text, text) {
			return true
		}
	}
	return false
}

func pidBehind(url string) (int, error) {
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Get(url + "/pid")
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(string(body))
}

func TestStopsInOrder(t *testing.T) {
	r := start(t, Options{}, map[string]string{"front": "slow", "left": "slow"})
	r.ready()
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	order, err := os.ReadFile(r.file)
	if err != nil {
		t.Fatal(err)
	}
	switch string(order) {
	case "front stopped\nleft stopped\nright stopped\nback stopped\n", "front stopped\nright stopped\nleft stopped\nback stopped\n":
	default:
		t.Errorf("order of stopping:\n%s", order)
	}
	for _, s := range r.States() {
		if s.Phase != Stopped || s.PID != 0 {
			t.Errorf("after the end %s is %s with process id %d", s.Name, s.Phase, s.PID)
		}
	}
}

func TestRestartRefusesNoConnection(t *testing.T) {
	r := start(t, Options{Backoff: Backoff{Min: 50 * time.Millisecond}}, nil)
	r.ready()
	url := r.state("front").URL
	ctx, cancel := context.WithCancel(t.Context())
	pids := map[int]bool{}
	var mu sync.Mutex
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for ctx.Err() == nil {
				pid, err := pidBehind(url)
				if errors.Is(err, syscall.ECONNREFUSED) {
					t.Errorf("refused while the process restarted: %v", err)
					return
				}
				if err == nil { // a request that was being answered when the process died is cut: that is allowed
					mu.Lock()
					pids[pid] = true
					mu.Unlock()
				}
			}
		})
	}
	for i := range 3 {
		before := r.state("front")
		if err := syscall.Kill(before.PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		r.await("restarted", func() bool {
			s := r.state("front")
			mu.Lock()
			defer mu.Unlock()
			return s.Phase == Ready && s.PID != before.PID && s.Restarts == i+1
		})
	}
	last := r.state("front").PID
	r.await("answered by the last", func() bool {
		pid, err := pidBehind(url)
		return err == nil && pid == last
	})
	cancel()
	clients.Wait()
	if len(pids) < 2 {
		t.Errorf("answers came from %d processes, want several", len(pids))
	}
	if !r.reported("killed") {
		t.Errorf("the death by signal was not reported: %+v", r.events)
	}
}

func TestFailingProcessIsShownWithItsReason(t *testing.T) {
	r := start(t, Options{Backoff: Backoff{Min: time.Millisecond, Max: 2 * time.Millisecond}, StartWait: time.Millisecond},
		map[string]string{"left": "fails", "right": "panics", "front": "unready"})
	r.await("failing ones shown", func() bool {
		return r.state("left").Restarts >= 3 && strings.Contains(r.state("left").Why, "exit status 3: cannot go on: disk full") &&
			strings.Contains(r.state("right").Why, "panic: a bug") && r.state("back").Phase == Ready &&
			r.state("front").Why == "the tide is out"
	})
	if !r.reported("cannot go on: disk full") {
		t.Error("the error line of a process was not reported")
	}
	if r.state("front").Phase == Ready {
		t.Error("a process that says it is not ready is shown as ready")
	}
	log, err := os.ReadFile(filepath.Join(r.o.Folder.Path, "logs", "left.log"))
	if err != nil || !strings.Contains(string(log), "disk full") {
		t.Errorf("log of the failing process: %v\n%s", err, log)
	}
}

func TestNoisyProcessDoesNotFloodTheOperator(t *testing.T) {
	r := start(t, Options{}, map[string]string{"left": "noisy"})
	r.ready()
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(r.events); n < 1 || n > floodLines {
		t.Errorf("%d events for 1,000 errors, want at most %d", n, floodLines)
	}
}

func TestStubbornProcessIsKilledAfterItsBound(t *testing.T) {
	file := filepath.Join(t.TempDir(), "order")
	ps := processes(t, file, map[string]string{"left": "stubborn"})
	ps[1].Stop = 200 * time.Millisecond
	r := start(t, Options{Processes: ps}, nil)
	r.ready()
	err := r.stop()
	if err == nil || !strings.Contains(err.Error(), "left did not stop within 200ms and was killed") {
		t.Errorf("stop: %v", err)
	}
	if order, _ := os.ReadFile(file); !strings.HasSuffix(string(order), "back stopped\n") {
		t.Errorf("the others did not stop in order:\n%s", order)
	}
}

func TestSecondSignalStopsAtOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "order")
	ps := processes(t, file, map[string]string{"front": "stubborn"})
	ps[0].Stop = time.Hour
	r := start(t, Options{Processes: ps}, nil)
	r.ready()
	r.cancel()
	close(r.now)
	<-r.done // an hour later, were it not for now
	r.done <- nil
}

func TestSecondSupervisorIsRefused(t *testing.T) {
	r := start(t, Options{}, nil)
	_, err := Take(t.Context(), r.o.Folder.Path, 0, func() {})
	if err == nil || !strings.Contains(err.Error(), "in use by another") || !strings.Contains(err.Error(), strconv.Itoa(os.Getpid())) {
		t.Errorf("a second supervisor on the same folder: %v", err)
	}
}

func TestChildrenStopInOrderWhenTheSupervisorIsKilled(t *testing.T) {
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	p, err := os.StartProcess(self, []string{self, dir}, &os.ProcAttr{
		Env: append(os.Environ(), "SUPERVISOR_TEST=supervisor"), Files: []*os.File{nil, in, os.Stderr},
	})
	in.Close()
	if err != nil {
		t.Fatal(err)
	}
	if line := make([]byte, 16); true {
		if n, err := out.Read(line); err != nil || !strings.HasPrefix(string(line[:n]), "ready") {
			t.Fatalf("the supervisor said %q, %v", line[:n], err)
		}
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Wait(); err != nil {
		t.Fatal(err)
	}
	// The next supervisor waits for the last one's children.
	waited := false
	folder, err := Take(t.Context(), dir, 20*time.Second, func() { waited = true })
	if err != nil {
		t.Fatal(err)
	}
	folder.Release()
	if !waited {
		t.Error("the children were gone before anybody could wait for them: this shows nothing")
	}
	order, _ := os.ReadFile(filepath.Join(dir, "order"))
	switch string(order) {
	case "front stopped\nright stopped\nleft stopped\nback stopped\n", "front stopped\nleft stopped\nright stopped\nback stopped\n":
	default:
		t.Errorf("order of stopping:\n%s", order)
	}
}

func TestReplace(t *testing.T) {
	r := start(t, Options{}, nil)
	r.ready()
	self := r.state("left").Path
	copied := filepath.Join(t.TempDir(), "candidate")
	data, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(copied, data, 0o700); err != nil {
		t.Fatal(err)
	}
	others := []int{r.state("front").PID, r.state("right").PID, r.state("back").PID}
	confirmed := false
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := r.Replace(ctx, "left", copied, func() error {
		confirmed = r.state("left").Phase != Stopped
		if conn, err := net.Dial("tcp", strings.TrimPrefix(r.state("left").URL, "http://")); err != nil {
			t.Errorf("refused while it is replaced: %v", err)
		} else {
			conn.Close()
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if s := r.state("left"); !confirmed || s.Path != copied || s.Phase != Ready {
		t.Errorf("after the replacement: confirmed %v, %+v", confirmed, s)
	}
	if got := []int{r.state("front").PID, r.state("right").PID, r.state("back").PID}; fmt.Sprint(got) != fmt.Sprint(others) {
		t.Errorf("other processes were touched: %v, before %v", got, others)
	}
	refused := errors.New("it is live now")
	if err := r.Replace(ctx, "left", self, func() error { return refused }); !errors.Is(err, refused) {
		t.Errorf("a replacement that was not confirmed: %v", err)
	}
	r.ready()
	if s := r.state("left"); s.Path != copied {
		t.Errorf("a replacement that was not confirmed left %s running", s.Path)
	}
	if err := r.Replace(ctx, "left", "/bin/false", func() error { return nil }); err == nil || !strings.Contains(err.Error(), "the old one runs again") {
		t.Errorf("a replacement that fails: %v", err)
	}
	r.ready()
	if s := r.state("left"); s.Path != copied {
		t.Errorf("a replacement that failed left %s running", s.Path)
	}
}

func TestPrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if repaired, err := Private(dir); err != nil || !repaired {
		t.Errorf("an open folder: repaired %v, %v", repaired, err)
	}
	if repaired, err := Private(dir); err != nil || repaired {
		t.Errorf("a private folder: repaired %v, %v", repaired, err)
	}
	if info, _ := os.Stat(dir); info.Mode().Perm() != 0o700 {
		t.Errorf("mode %04o", info.Mode().Perm())
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(dir, 4711, -1); err != nil {
			t.Fatal(err)
		}
		if _, err := Private(dir); err == nil || !strings.Contains(err.Error(), "belongs to user 4711") {
			t.Errorf("somebody else's folder: %v", err)
		}
	}
}
