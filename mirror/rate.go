package mirror

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"
)

// RateOptions hold each client to a rate of requests. A client is an IPv4 address, or the /64 network of an IPv6 address,
// which is what one subscriber has.
type RateOptions struct {
	PerSecond int // requests a second; 0: no limit
	Burst     int // requests at once, after a pause; 0: PerSecond
}

// Bounds of the table of clients: 65,536 of them, about 4 MiB.
const (
	rateShards    = 64
	ratePerShard  = 1024
	rateEvictions = 16 // entries looked at to make room for one
)

// limiter counts clients' requests. It is exact for every client that it remembers, however many requests come at once.
// It forgets first whoever has paused long enough to have the whole burst again, which changes nothing for them; only
// when more clients than it has room for are active together does one of them begin anew, and that is counted.
type limiter struct {
	options  RateOptions
	interval int64 // nanoseconds a request costs
	burst    int64 // nanoseconds of requests that may be owed
	evicted  func()
	began    time.Time
	now      func() int64 // nanoseconds since began
	seed     maphash.Seed
	shards   [rateShards]rateShard
}

// rateShard is a part of the table.
type rateShard struct {
	mu sync.Mutex
	// due is, for each client, when it will have paid for what it sent: at that time it may send a whole burst again.
	// Guarded by mu.
	due map[netip.Addr]int64
	_   [40]byte // shards on one cache line would wait for each other
}

// newLimiter returns nil, which limits nobody, without a rate.
func newLimiter(o RateOptions, evicted func()) *limiter {
	if o.PerSecond == 0 {
		return nil
	}
	orDefault(&o.Burst, o.PerSecond)
	l := &limiter{options: o, interval: int64(time.Second) / int64(o.PerSecond), evicted: evicted, began: time.Now(), seed: maphash.MakeSeed()}
	l.burst = l.interval * int64(o.Burst)
	l.now = func() int64 { return int64(time.Since(l.began)) }
	for i := range l.shards {
		l.shards[i].due = map[netip.Addr]int64{}
	}
	return l
}

// take counts one request of a client. It returns 0 if the client may send it, else how long it has to wait.
func (l *limiter) take(client netip.Addr) time.Duration {
	if l == nil {
		return 0
	}
	if client.Is6() {
		if p, err := client.Prefix(64); err == nil {
			client = p.Addr()
		}
	}
	// Where a client is kept is drawn anew in each process, so that nobody can choose addresses that share a shard.
	s := &l.shards[maphash.Comparable(l.seed, client)%rateShards]
	now := l.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	due, known := s.due[client]
	due = max(due, now) + l.interval
	if wait := due - now - l.burst; wait > 0 {
		return time.Duration(wait)
	}
	if !known && len(s.due) >= ratePerShard {
		l.makeRoomLocked(s, now)
	}
	s.due[client] = due
	return 0
}

// makeRoomLocked forgets clients: of some that the map happens to give, all that owe nothing, else the one that owes the
// least.
func (l *limiter) makeRoomLocked(s *rateShard, now int64) {
	var least netip.Addr
	looked, freed, leastDue := 0, 0, int64(0)
	for client, due := range s.due {
		if due <= now {
			delete(s.due, client)
			freed++
		} else if leastDue == 0 || due < leastDue {
			least, leastDue = client, due
		}
		if looked++; looked == rateEvictions {
			break
		}
	}
	if freed == 0 {
		delete(s.due, least)
		l.evicted()
	}
}

// clients returns how many are remembered.
func (l *limiter) clients() (n int) {
	if l == nil {
		return 0
	}
	for i := range l.shards {
		s := &l.shards[i]
		s.mu.Lock()
		n += len(s.due)
		s.mu.Unlock()
	}
	return n
}
