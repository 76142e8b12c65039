package mirror

import (
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
)

// still returns a limiter whose clock the test moves.
func still(o RateOptions) (l *limiter, clock *atomic.Int64, evicted *atomic.Int64) {
	evicted, clock = new(atomic.Int64), new(atomic.Int64)
	l = newLimiter(o, func() { evicted.Add(1) })
	l.now = clock.Load
	return l, clock, evicted
}

func TestRate(t *testing.T) {
	l, clock, _ := still(RateOptions{PerSecond: 10, Burst: 3})
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	take := func(client netip.Addr, want time.Duration) {
		t.Helper()
		if got := l.take(client); got != want {
			t.Errorf("at %s, %s waits %s, want %s", time.Duration(clock.Load()), client, got, want)
		}
	}
	for range 3 {
		take(a, 0)
	}
	take(a, 100*time.Millisecond)
	take(a, 100*time.Millisecond) // asking costs nothing
	take(b, 0)                    // somebody else's
	clock.Store(int64(40 * time.Millisecond))
	take(a, 60*time.Millisecond)
	clock.Store(int64(100 * time.Millisecond))
	take(a, 0)
	take(a, 100*time.Millisecond)
	clock.Store(int64(time.Hour)) // however long the pause, the burst is the burst
	for range 3 {
		take(a, 0)
	}
	take(a, 100*time.Millisecond)

	// One subscriber has a /64; the next network is somebody else.
	for i := range 3 {
		take(netip.MustParseAddr(fmt.Sprintf("2001:db8::%x", i)), 0)
	}
	take(netip.MustParseAddr("2001:db8::ffff:1"), 100*time.Millisecond)
	take(netip.MustParseAddr("2001:db8:0:1::1"), 0)
	if newLimiter(RateOptions{}, nil).take(a) != 0 {
		t.Error("no rate limits")
	}
}

// However many come at once, exactly the burst passes.
func TestRateIsExactUnderConcurrency(t *testing.T) {
	l, clock, _ := still(RateOptions{PerSecond: 1000, Burst: 500})
	a := netip.MustParseAddr("192.0.2.1")
	for round := range 4 {
		var passed atomic.Int64
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 500 {
					if l.take(a) == 0 {
						passed.Add(1)
					}
				}
			})
		}
		wg.Wait()
		want := int64(500)
		if round > 0 {
			want = 100
		}
		if passed.Load() != want {
			t.Errorf("round %d: %d passed, want %d", round, passed.Load(), want)
		}
		clock.Add(int64(100 * time.Millisecond))
	}
}

// The table is bounded whoever comes, and forgetting those who owe nothing changes nothing for anybody.
func TestRateTableIsBounded(t *testing.T) {
	l, clock, evicted := still(RateOptions{PerSecond: 1, Burst: 2})
	addr := func(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}) }
	for n := range 3 * rateShards * ratePerShard {
		if l.take(addr(n)) != 0 {
			t.Fatalf("client %d is limited by others", n)
		}
	}
	if n := l.clients(); n > rateShards*ratePerShard || n < rateShards*ratePerShard*9/10 {
		t.Errorf("%d clients are remembered, there is room for %d", n, rateShards*ratePerShard)
	}
	if evicted.Load() == 0 {
		t.Error("active clients were forgotten, and nobody counted it")
	}
	// Time passes, everybody has paid: newcomers take their places, and none is counted as evicted.
	clock.Store(int64(time.Minute))
	evicted.Store(0)
	for n := range 1000 {
		l.take(addr(1<<22 + n))
	}
	if evicted.Load() != 0 {
		t.Errorf("%d evictions although others owed nothing", evicted.Load())
	}
	// Whoever is remembered is still held to the rate.
	x := addr(1<<22 + 999)
	if l.take(x) != 0 || l.take(x) == 0 {
		t.Error("a remembered client is not held to its rate")
	}
}

// Through the front: 429 with Retry-After, for that client alone, read from trusted proxies only; what passed is stored.
func TestRateOfClients(t *testing.T) {
	b := setUp(t, func(o *Options) {
		o.Intake.Rate = RateOptions{PerSecond: 1, Burst: 5}
		o.Intake.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
		o.Intake.Origins = []string{"https://shop.example"}
	})
	b.mirror.intake.rules.Load().rate.now = func() int64 { return 0 } // time stands still
	ids := map[uuid.UUID]bool{}
	post := func(client string) *http.Response {
		t.Helper()
		r, err := http.NewRequest("POST", b.clients+"/v1/events", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Forwarded-For", "198.51.100.1, "+client) // the left one is the client's own claim
		r.Header.Set("Origin", "https://shop.example")
		resp, err := b.http.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode == 200 {
			ids[uuid.MustParse(resp.Header.Get("Sparrow-Request-Id"))] = true
		}
		return resp
	}
	limited := 0
	for range 20 {
		resp := post("203.0.113.1")
		if resp.StatusCode == 200 {
			continue
		}
		limited++
		after, err := strconv.Atoi(resp.Header.Get("Retry-After"))
		if resp.StatusCode != 429 || err != nil || after < 1 || resp.Header.Get("Content-Type") != "application/problem+json" ||
			resp.Header.Get("Access-Control-Allow-Origin") == "" {
			t.Errorf("beyond the rate: %d, %v", resp.StatusCode, resp.Header)
		}
	}
	if limited != 15 {
		t.Errorf("twenty requests at once, five allowed: %d were refused", limited)
	}
	if resp := post("203.0.113.2"); resp.StatusCode != 200 {
		t.Errorf("another client: %d", resp.StatusCode)
	}
	b.both(ids)
	if n := b.equation().Stacks["green"].Accepted; n != uint64(len(ids)) {
		t.Errorf("%d were answered 200, the journal has %d", len(ids), n)
	}
}

func BenchmarkRate(b *testing.B) {
	l := newLimiter(RateOptions{PerSecond: 1e6, Burst: 1e6}, func() {})
	b.RunParallel(func(pb *testing.PB) {
		for n := 0; pb.Next(); n++ {
			l.take(netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}))
		}
	})
}
