package record

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Options configure Open.
type Options struct {
	// Dir is the folder for the log, created with mode 0700 and closed to others. What it holds is counted again at the
	// start. Empty: the log is kept in memory and gone with the process.
	Dir string
	// MaxBytes bounds the log; the oldest requests are forgotten, their counts stay. 0: 64 MiB in memory, 8 GiB in a folder.
	MaxBytes int64
	// MaxIDs bounds how many different ids and de-duplication keys are told apart, over all projects; each takes about
	// 25 bytes and its own length. What comes beyond is counted as untracked, and not de-duplicated. 0: 16 million.
	MaxIDs int
}

// Store is safe for concurrent use.
type Store struct {
	dir    string
	maxIDs int
	ids    atomic.Int64 // entries in all indexes
	log    *log
	buf    sync.Pool // *[]byte for lines

	mu      sync.RWMutex // guards the map; taken before a tally's, and that before the log's
	tallies map[[2]string]*tally
	lost    atomic.Bool // an id was left untracked
}

// tally is what one project received.
type tally struct {
	mu     sync.Mutex
	counts Counts
	ids    *index
	keys   *index // when an event with this key was last stored; an id that is its own key for ever is in ids alone
}

// Open returns a store with what Dir already holds.
func Open(o Options) (*Store, error) {
	if o.MaxBytes == 0 {
		o.MaxBytes = 64 << 20
		if o.Dir != "" {
			o.MaxBytes = 8 << 30
		}
	}
	if o.MaxIDs == 0 {
		o.MaxIDs = 16_000_000
	}
	l, err := openLog(o.Dir, o.MaxBytes)
	if err != nil {
		return nil, err
	}
	s := &Store{dir: o.Dir, maxIDs: o.MaxIDs, log: l, tallies: map[[2]string]*tally{}}
	s.buf.New = func() any { return new([]byte) }
	var bad error
	err = l.scan(func(text []byte) bool {
		r, err := readHead(text)
		if err != nil {
			bad = fmt.Errorf("%w: move the folder %s away to begin anew", err, o.Dir)
			return false
		}
		s.tally(r.Vendor, r.Project).count(s, r, true)
		return true
	})
	if err == nil {
		err = bad
	}
	if err != nil {
		return nil, errors.Join(err, l.close())
	}
	return s, nil
}

// tally returns that of a project, a new one if need be. Names come from configuration, so there are only so many.
func (s *Store) tally(vendor, project string) *tally {
	key := [2]string{vendor, project}
	s.mu.RLock()
	t := s.tallies[key]
	s.mu.RUnlock()
	if t != nil {
		return t
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if t = s.tallies[key]; t == nil {
		t = newTally(vendor, project)
		s.tallies[key] = t
	}
	return t
}

func newTally(vendor, project string) *tally {
	return &tally{ids: newIndex(false), keys: newIndex(true), counts: Counts{
		Vendor: vendor, Project: project, Requests: map[string]uint64{}, Dropped: map[string]uint64{},
		Refused: map[string]uint64{}, Messages: map[string]uint64{}, Faults: map[string]uint64{},
	}}
}

// Know makes a project appear in Counts before anything came for it.
func (s *Store) Know(vendor, project string) { s.tally(vendor, project) }

// Take records r and counts its events. An event that came as accepted and whose key is still remembered becomes a
// duplicate, in r as well. After an error nothing more can be recorded; the caller must not answer as if it were.
func (s *Store) Take(r *Request) error {
	t := s.tally(r.Vendor, r.Project)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.count(s, r, false)
	buf := s.buf.Get().(*[]byte)
	defer s.buf.Put(buf)
	*buf = appendRequest((*buf)[:0], r)
	seq, err := s.log.append(*buf)
	r.Seq = seq
	if cap(*buf) > 4<<20 {
		*buf = nil // one huge request must not keep its memory for ever
	}
	return err
}

// count adds r. Replaying the log, outcomes are as they were.
func (t *tally) count(s *Store, r *Request, replay bool) {
	c := &t.counts
	status := "none"
	if r.Status != 0 {
		status = strconv.Itoa(r.Status)
	}
	c.Requests[status]++
	if r.Fault != "" {
		c.Faults[r.Fault]++
	}
	for _, code := range r.Messages {
		c.Messages[code]++
	}
	if r.Check {
		c.Checks++
		return
	}
	for i := range r.Events {
		e := &r.Events[i]
		switch {
		case e.Outcome == Dropped:
			c.Dropped[e.Reason]++
		case e.Outcome == Refused:
			c.Refused[e.Reason]++
		default:
			t.take(s, e, r, replay)
		}
	}
}

func (t *tally) take(s *Store, e *Event, r *Request, replay bool) {
	c := &t.counts
	now := r.At.UnixMicro()
	switch {
	case e.Key == "":
	case e.Key == e.ID:
		if !replay && t.ids.count(e.ID) > 0 {
			e.Outcome = Duplicate
		}
	default:
		last, seen := t.keys.marked(e.Key)
		if !replay && seen && (e.Window == 0 || now-last < int64(e.Window/time.Microsecond)) {
			e.Outcome = Duplicate
		}
		if e.Outcome == Accepted {
			s.index(t.keys, e.Key, now)
		}
	}
	c.Deliveries++
	c.Ignored += uint64(len(e.Ignored))
	if e.Outcome == Duplicate {
		c.Deduplicated++
	}
	if e.Visible == RealtimeOnly {
		c.RealtimeOnly++
	}
	if r.Unacknowledged {
		c.Unacknowledged++
	}
	switch n := s.identify(t.ids, e.ID); {
	case e.ID == "":
		c.WithoutID++
	case n == 0:
		c.Untracked++
	case n == 1:
		c.Distinct++
	default:
		c.Duplicates++
	}
}

func (s *Store) identify(x *index, id string) uint32 {
	if id == "" {
		return 0
	}
	return s.index(x, id, 0)
}

func (s *Store) index(x *index, text string, at int64) uint32 {
	before := x.size()
	n := x.add(text, at, s.ids.Load() < int64(s.maxIDs))
	s.ids.Add(int64(x.size() - before))
	if n == 0 {
		s.lost.Store(true)
	}
	return n
}

// Counts returns what each project received, by vendor and name.
func (s *Store) Counts() []Counts {
	s.mu.RLock()
	tallies := slices.Collect(maps.Values(s.tallies))
	s.mu.RUnlock()
	out := make([]Counts, 0, len(tallies))
	for _, t := range tallies {
		out = append(out, t.snapshot())
	}
	slices.SortFunc(out, func(a, b Counts) int {
		if n := strings.Compare(a.Vendor, b.Vendor); n != 0 {
			return n
		}
		return strings.Compare(a.Project, b.Project)
	})
	return out
}

func (t *tally) snapshot() Counts {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.counts
	for _, m := range []*map[string]uint64{&c.Requests, &c.Dropped, &c.Refused, &c.Messages, &c.Faults} {
		*m = maps.Clone(*m)
	}
	return c
}

// Find returns what one project received; ok is false if it is not known.
func (s *Store) Find(vendor, project string) (c Counts, ok bool) {
	s.mu.RLock()
	t := s.tallies[[2]string{vendor, project}]
	s.mu.RUnlock()
	if t == nil {
		return Counts{}, false
	}
	return t.snapshot(), true
}

// IDs returns up to limit ids a project took in and how often, from the one numbered cursor in the order of their first
// arrival, and the cursor of the next; ids that arrive meanwhile come last, so paging to the end misses none.
func (s *Store) IDs(vendor, project string, cursor, limit int) (page []IDCount, next int) {
	s.mu.RLock()
	t := s.tallies[[2]string{vendor, project}]
	s.mu.RUnlock()
	if t == nil {
		return nil, cursor
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	page = t.ids.page(cursor, limit)
	return page, cursor + len(page)
}

// Status says how much is kept, and whether that is everything.
func (s *Store) Status() Status {
	s.log.mu.Lock()
	st := Status{Requests: s.log.lines, Kept: s.log.kept, Bytes: s.log.bytes, MaxBytes: s.log.max, MaxIDs: s.maxIDs, Dir: s.dir}
	err := s.log.failed
	s.log.mu.Unlock()
	st.IDs = int(s.ids.Load())
	st.Complete = st.Kept == st.Requests && !s.lost.Load() && err == nil
	if err != nil {
		st.Error = err.Error()
	}
	return st
}

// Err returns why nothing more can be recorded, or nil.
func (s *Store) Err() error {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	return s.log.failed
}

// Reset forgets everything: requests, counts, ids, and what the vendors would remember for de-duplication. Requests
// under way are recorded before or after it, never in part.
func (s *Store) Reset() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.tallies {
		t.mu.Lock()
		defer t.mu.Unlock()
	}
	if err := s.log.reset(); err != nil {
		return err
	}
	for _, t := range s.tallies {
		fresh := newTally(t.counts.Vendor, t.counts.Project)
		t.counts, t.ids, t.keys = fresh.counts, fresh.ids, fresh.keys
	}
	s.ids.Store(0)
	s.lost.Store(false)
	return nil
}

// Close ends recording and frees the folder. What was recorded stays there.
func (s *Store) Close() error { return s.log.close() }
