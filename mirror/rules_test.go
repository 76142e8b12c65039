package mirror

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/sparrowhq/sparrow/event"
)

// Rules change while requests are answered: no request is dropped, each sees one set, and a change that cannot be made
// whole is not made at all.
func TestReload(t *testing.T) {
	b := setUp(t, func(o *Options) { o.Intake.Origins = []string{"https://old.example"} })
	stop := make(chan struct{})
	var mu sync.Mutex
	ids := map[uuid.UUID]bool{}
	var wg sync.WaitGroup
	for c := range 4 {
		wg.Go(func() {
			for n := c; ; n += 4 {
				select {
				case <-stop:
					return
				default:
				}
				id, err := b.post(n)
				if err != nil {
					t.Errorf("while rules changed: %v", err)
					return
				}
				mu.Lock()
				ids[id] = true
				mu.Unlock()
			}
		})
	}
	o := b.options.Intake
	for n := range 50 {
		o.MaxBody, o.MaxConnections, o.MaxQueue = int64(100_000+n), 1000+n, 8<<20+n
		o.Origins = []string{fmt.Sprintf("https://new%d.example", n)}
		if err := b.mirror.Reload(o); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	wg.Wait()

	probe := func(size int, origin string) (status int, allowed string) {
		t.Helper()
		r, err := http.NewRequest("POST", b.clients+"/v1/events", strings.NewReader(strings.Repeat("x", size)))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Origin", origin)
		resp, err := b.http.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode == 200 {
			ids[uuid.MustParse(resp.Header.Get("Sparrow-Request-Id"))] = true
		}
		return resp.StatusCode, resp.Header.Get("Access-Control-Allow-Origin")
	}
	current := func(when string) {
		t.Helper()
		if status, allowed := probe(100_049, "https://new49.example"); status != 200 || allowed == "" {
			t.Errorf("%s: %d, origin %q", when, status, allowed)
		}
		if status, allowed := probe(100_050, "https://old.example"); status != 413 || allowed != "" {
			t.Errorf("%s: beyond the limit: %d, origin %q", when, status, allowed)
		}
		if n, q := b.mirror.listening.Load().max.Load(), b.mirror.state.Load().committer.maxQueue; n != 1049 || q != 8<<20+49 {
			t.Errorf("%s: %d connections, a queue of %d", when, n, q)
		}
	}
	current("after the last change")

	bad := o
	bad.MaxBody, bad.Origins = 50_000, []string{"https://other.example", "no origin"}
	if err := b.mirror.Reload(bad); err == nil || !strings.Contains(err.Error(), "no origin") {
		t.Errorf("a bad origin: %v", err)
	}
	current("after a bad change")

	fixed := o
	fixed.MaxBody, fixed.ReadTimeout, fixed.IdleTimeout, fixed.MaxHeader = 50_000, time.Minute, time.Hour, 64<<10
	var restart *RestartError
	if err := b.mirror.Reload(fixed); !errors.As(err, &restart) {
		t.Errorf("bounds of the server: %v", err)
	} else if diff := cmp.Diff([]string{"MaxHeader", "ReadTimeout", "IdleTimeout"}, restart.Settings); diff != "" {
		t.Error(diff)
	}
	current("after a change that needs a restart")
	b.both(ids)
}

// The memory of clients' rates survives a change of other rules, and not one of the rate.
func TestReloadKeepsRates(t *testing.T) {
	b := setUp(t, func(o *Options) { o.Intake.Rate = RateOptions{PerSecond: 1, Burst: 2} })
	o := b.options.Intake
	before := b.mirror.intake.rules.Load().rate
	o.MaxBody = 5000
	if err := b.mirror.Reload(o); err != nil {
		t.Fatal(err)
	}
	if b.mirror.intake.rules.Load().rate != before {
		t.Error("another body limit gives each client a new burst")
	}
	o.Rate.Burst = 3
	if err := b.mirror.Reload(o); err != nil {
		t.Fatal(err)
	}
	if b.mirror.intake.rules.Load().rate == before {
		t.Error("the new rate is not followed")
	}
}

func TestTooManyHeaders(t *testing.T) {
	b := setUp(t, func(o *Options) { o.Intake.MaxHeaders = 10 })
	for n, want := range map[int]int{5: 200, 8: 200, 20: 431} { // with Host, which is no header here, and Content-Length
		var lines strings.Builder
		for i := range n {
			fmt.Fprintf(&lines, "X-%d: y\r\n", i%3) // few names, many lines
		}
		answers := b.raw(1, post1(lines.String()+"Content-Length: 2\r\n", "{}"))
		if len(answers) != 1 || answers[0].StatusCode != want {
			t.Errorf("%d header lines: %v, want %d", n+1, answers, want)
		}
	}
}

// Each answer is counted under a status and a reason that are listed, or nobody could alert on them before they happen.
func TestOutcomesAreListed(t *testing.T) {
	source, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]string{"StatusBadRequest": "400", "StatusNotFound": "404", "StatusMethodNotAllowed": "405", "StatusRequestTimeout": "408",
		"StatusRequestEntityTooLarge": "413", "StatusTooManyRequests": "429", "StatusRequestHeaderFieldsTooLarge": "431",
		"StatusInternalServerError": "500", "StatusServiceUnavailable": "503"}
	found := 0
	for _, f := range source {
		if !strings.HasSuffix(f.Name(), ".go") || strings.HasSuffix(f.Name(), "_test.go") {
			continue
		}
		text, err := os.ReadFile(f.Name())
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`&refusal\{http\.(\w+), "([^"]+)"`).FindAllStringSubmatch(string(text), -1) {
			found++
			if !slices.Contains(outcomes[names[m[1]]], m[2]) {
				t.Errorf("%s: outcome %s %q is not listed", f.Name(), m[1], m[2])
			}
		}
	}
	if found < 15 {
		t.Errorf("only %d refusals found", found)
	}
}

// What stacks get at a time, and how failures are met, changes while a feed is at it: here a request that fails alone is
// tried for ever until fewer attempts are asked for.
func TestReloadFeeds(t *testing.T) {
	b := setUp(t, func(o *Options) { o.Feed.Patience, o.Feed.Attempts = time.Hour, 1<<30 })
	b.blue.poison = poisonous
	release := b.blue.hold()
	ids := b.send(50, 8)
	poison := b.sendPoison()
	for id := range b.send(50, 8) {
		ids[id] = true
	}
	release()
	b.await("the request is found", func() error {
		s, err := b.client.Status(t.Context())
		if err != nil || s.Stacks[event.Blue].StuckAt == nil {
			return fmt.Errorf("%+v, %v", s.Stacks[event.Blue], err)
		}
		return nil
	})
	if err := b.mirror.ReloadFeeds(FeedOptions{Attempts: -1}); err == nil {
		t.Error("options that make no sense are taken")
	}
	if err := b.mirror.ReloadFeeds(FeedOptions{Attempts: 3, Patience: time.Hour, MaxBytes: 2 << 10, MaxBackoff: 100 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	if x := b.settled().Stacks[event.Blue]; x.Dead != 1 || x.Delivered != 100 {
		t.Errorf("blue's equation: %+v", x)
	}
	ids[poison] = true
	b.exactlyOnce(b.green, ids)
	b.exactlyOnce(b.blue, ids, poison)
}
