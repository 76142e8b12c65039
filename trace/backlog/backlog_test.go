package backlog

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"
	"go.uber.org/goleak"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/trace/pipeline"
	"github.com/sparrowhq/sparrow/trace/tracker"
	"github.com/sparrowhq/sparrow/warehouse"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var ctx = context.Background()

func open(t testing.TB, o Options) *Backlog {
	t.Helper()
	o.Stack, o.MinFree = event.Green, -1
	b, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// begun is a new backlog with lanes.
func begun(t testing.TB, o Options, lanes ...string) *Backlog {
	b := open(t, o)
	states := map[string]LaneState{}
	for _, name := range lanes {
		states[name] = LaneState{}
	}
	must(t, b.Begin(ctx, event.Cursor{}, states))
	return b
}

func at(frame uint64, item uint32) event.Position { return event.Position{Frame: frame, Item: item} }

// message has so many events in one frame.
func message(frame uint64, events int) *Message {
	m := &Message{From: event.Cursor{Frame: frame}, To: event.AfterFrame(frame), Journal: "j1", At: 17, Build: "b1", Total: frame * uint64(events)}
	for i := range uint32(events) {
		m.Outcomes = append(m.Outcomes, warehouse.Outcome{Position: at(frame, i), Timestamp: 5, Build: "b1", Event: "pageview", Outcome: "accepted"})
		m.Events = append(m.Events, Event{pipeline.Event{
			Position: at(frame, i), ID: fmt.Sprintf("id-%d-%d", frame, i), Key: "k", Name: "pageview", DeviceID: "d", Time: 5, ReceivedAt: 5,
			Properties: []pipeline.Property{{Name: "n", Value: []byte(`123456789012345678901234567890`)}},
		}, tracker.Production})
	}
	return m
}

func encoded(m *Message) []byte {
	var e Encoder
	for i := range m.Outcomes {
		e.Outcome(&m.Outcomes[i])
	}
	for i := range m.Events {
		e.Event(&m.Events[i].Event, m.Events[i].Sink)
	}
	return e.Encode(m)
}

func add(t testing.TB, b *Backlog, m *Message) {
	t.Helper()
	must(t, b.Append(ctx, Addition{Cursor: m.To, Journals: []warehouse.Journal{{ID: "j1", First: 1}}, Total: m.Total, Messages: [][]byte{encoded(m)}}))
}

func TestMessagesStayUntilEveryLaneIsDone(t *testing.T) {
	dir := t.TempDir()
	b := begun(t, Options{Dir: dir}, "trace", "ga4", "heap")
	for frame := uint64(1); frame <= 5; frame++ {
		add(t, b, message(frame, 3))
	}
	ship := func(lane string, through uint64) {
		t.Helper()
		must(t, b.Lane(lane).Ship(ctx, through, 3*through, event.AfterFrame(through)))
	}
	kept := func(want ...uint64) {
		t.Helper()
		var got []uint64
		for n := uint64(1); ; {
			m, err := b.Read(ctx, n)
			must(t, err)
			if m == nil {
				break
			}
			got = append(got, m.Number)
			n = m.Number + 1
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("messages: %s", diff)
		}
		if u := b.Usage(); u.Messages != uint64(len(want)) || len(want) > 0 && u.MessageBytes == 0 {
			t.Errorf("usage %+v, and there are %d messages", u, len(want))
		}
	}
	ship("trace", 5)
	ship("ga4", 3)
	kept(1, 2, 3, 4, 5)
	ship("heap", 2)
	kept(3, 4, 5)
	must(t, b.Close())
	b = open(t, Options{Dir: dir})
	kept(3, 4, 5)
	must(t, b.End(ctx, "heap"))
	kept(4, 5)
	lane, err := b.Join(ctx, "heap")
	must(t, err)
	if s := lane.State(); s.Through != 5 || s.Since != event.AfterFrame(5) || s.Ended {
		t.Errorf("the lane that came back is at %+v", s)
	}
	ship("ga4", 5)
	kept()
	add(t, b, message(6, 1))
	kept(6)
}

// What a message, a log record and a letter hold comes back as it was.
func TestEncodings(t *testing.T) {
	m := message(7, 3)
	m.Controls = []*event.ControlEntry{{Sequence: 3, Record: []byte(`{"a":1}`)}}
	m.Outcomes[1] = warehouse.Outcome{Position: at(7, 1), Timestamp: -4, Build: "b2", Event: "é", Sink: "staging", Outcome: "dead", Reason: "r", Status: 404,
		Attempts: 9, Digest: 1 << 63, Latency: -1, Revision: 2, Request: []byte("q"), Response: []byte{0, 1}}
	m.Events[2].Sink = tracker.Staging
	got, err := DecodeMessage(encoded(m))
	must(t, err)
	if diff := cmp.Diff(m.Outcomes, got.Outcomes); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(m.Events, got.Events); diff != "" {
		t.Error(diff)
	}
	if got.From != m.From || got.To != m.To || got.At != 17 || got.Build != "b1" || got.Journal != "j1" || got.Total != m.Total || len(got.Controls) != 1 || string(got.Controls[0].Record) != `{"a":1}` {
		t.Errorf("%+v", got)
	}
	letter := Letter{Event: m.Events[2], Outcome: m.Outcomes[1], Detail: "no", At: 9, Retrying: true, Intent: true}
	back, err := decodeLetter(letter.encode())
	must(t, err)
	if diff := cmp.Diff(letter, back); diff != "" {
		t.Error(diff)
	}
	for name, data := range map[string][]byte{"newer": append([]byte{2}, encoded(m)[1:]...), "cut": encoded(m)[:40], "long": append(encoded(m), 0), "empty": nil} {
		if _, err := DecodeMessage(data); err == nil {
			t.Errorf("%s: decoded", name)
		}
	}
}

// What is known of a lane survives; an intent stands until its result is there.
func TestLanesRecover(t *testing.T) {
	dir := t.TempDir()
	b := begun(t, Options{Dir: dir}, "ga4")
	add(t, b, message(1, 3))
	add(t, b, message(2, 3))
	l := b.Lane("ga4")
	result := func(frame uint64, item uint32) warehouse.Outcome {
		return warehouse.Outcome{Position: at(frame, item), Build: "b1", Outcome: "delivered", Attempts: 1, Sink: "production"}
	}
	must(t, l.Commit(ctx, Change{Through: 1, Intents: []event.Position{at(1, 0), at(1, 1), at(1, 2)}}))
	must(t, l.Commit(ctx, Change{Through: 2, Results: []warehouse.Outcome{result(1, 0)}, Intents: []event.Position{at(2, 0)}}))
	must(t, l.Commit(ctx, Change{Through: 1, Results: []warehouse.Outcome{result(1, 2)}, Again: 1,
		Letters: []Letter{{Event: message(1, 2).Events[1], Outcome: result(1, 1)}}}))
	check := func(results []event.Position, intents []event.Position) {
		t.Helper()
		must(t, b.Close())
		b = open(t, Options{Dir: dir})
		l = b.Lane("ga4")
		r, err := l.Recover()
		must(t, err)
		if len(r.Results) != len(results) || len(r.Intents) != len(intents) {
			t.Errorf("recovered %v", r)
		}
		for _, p := range results {
			if _, ok := r.Results[p]; !ok {
				t.Errorf("no result at %v", p)
			}
		}
		for _, p := range intents {
			if !r.Intents[p] {
				t.Errorf("no intent at %v", p)
			}
		}
	}
	check([]event.Position{at(1, 0), at(1, 2)}, []event.Position{at(1, 1), at(2, 0)})
	if l.Dead("") != 1 || l.State().Again != 1 {
		t.Errorf("%d letters, state %+v", l.Dead(""), l.State())
	}
	must(t, l.Ship(ctx, 1, 3, event.AfterFrame(1)))
	check(nil, []event.Position{at(2, 0)})
	must(t, l.Commit(ctx, Change{Through: 2, Results: []warehouse.Outcome{result(2, 0)}}))
	must(t, l.Ship(ctx, 2, 6, event.AfterFrame(2)))
	check(nil, nil)
	b.db.View(func(tx *bolt.Tx) error {
		if k, _ := tx.Bucket(bucketLanes).Bucket([]byte("ga4")).Bucket(bucketLog).Cursor().First(); k != nil {
			t.Error("the log keeps what is in the warehouse")
		}
		return nil
	})

	must(t, l.Commit(ctx, Change{Freed: []event.Position{at(1, 1)}, Corrections: []warehouse.Outcome{result(1, 1), result(1, 2)}}))
	check(nil, nil)
	first, corrections, err := l.Corrections(10)
	must(t, err)
	if first != 0 || len(corrections) != 2 || l.Dead("") != 0 {
		t.Errorf("corrections from %d: %v; %d letters", first, corrections, l.Dead(""))
	}
	must(t, l.ShipLate(ctx, 1))
	must(t, l.RenumberLate(ctx, 0))
	if first, corrections, err = l.Corrections(10); err != nil || first != 0 || len(corrections) != 1 || corrections[0].Position != at(1, 2) {
		t.Errorf("corrections from %d: %v, %v", first, corrections, err)
	}
}

func TestFilesThatAreRefused(t *testing.T) {
	whole := func(t *testing.T) string {
		dir := t.TempDir()
		b := begun(t, Options{Dir: dir}, "ga4")
		for frame := uint64(1); frame <= 20; frame++ {
			add(t, b, message(frame, 50))
		}
		must(t, b.Close())
		return dir
	}
	for _, row := range []struct {
		what  string
		spoil func(t *testing.T, dir, path string)
		stack event.Stack
		want  string
	}{
		{"a newer format", func(t *testing.T, _, path string) {
			db, err := bolt.Open(path, 0o600, nil)
			must(t, err)
			must(t, db.Update(func(tx *bolt.Tx) error { return tx.Bucket(bucketMeta).Put(keyFormat, key(Format+1)) }))
			must(t, db.Close())
		}, event.Green, "run the newer build"},
		{"another stack's", func(*testing.T, string, string) {}, event.Blue, "is of stack green"},
		{"cut short", func(t *testing.T, _, path string) {
			info, err := os.Stat(path)
			must(t, err)
			must(t, os.Truncate(path, info.Size()/2))
		}, event.Green, "restore it, or move it away"},
		{"cut to nothing but its head", func(t *testing.T, _, path string) { must(t, os.Truncate(path, 9000)) }, event.Green, "restore it, or move it away"},
		{"overwritten", func(t *testing.T, _, path string) {
			must(t, os.WriteFile(path, []byte(strings.Repeat("x", 64<<10)), 0o600))
		}, event.Green, "restore it, or move it away"},
		{"torn in its middle", func(t *testing.T, _, path string) {
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			must(t, err)
			info, _ := f.Stat()
			for offset := int64(8192); offset < info.Size(); offset += 4096 {
				_, err = f.WriteAt([]byte(strings.Repeat("\xff", 64)), offset)
				must(t, err)
			}
			must(t, f.Close())
		}, event.Green, "restore it, or move it away"},
	} {
		t.Run(row.what, func(t *testing.T) {
			dir := whole(t)
			row.spoil(t, dir, filepath.Join(dir, "backlog.db"))
			_, err := Open(Options{Dir: dir, Stack: row.stack})
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("%v", err)
			}
		})
	}
	t.Run("in use", func(t *testing.T) {
		dir := t.TempDir()
		open(t, Options{Dir: dir})
		if _, err := Open(Options{Dir: dir, Stack: event.Green}); err == nil || !strings.Contains(err.Error(), "another process") {
			t.Errorf("%v", err)
		}
		info, err := os.Stat(dir)
		must(t, err)
		if info.Mode().Perm() != 0o700 {
			t.Errorf("the folder has mode %v", info.Mode())
		}
	})
}

// Beyond its bound the backlog says so, and takes again what fits once lanes have made room.
func TestBoundOnBytes(t *testing.T) {
	b := begun(t, Options{Dir: t.TempDir(), MaxBytes: 256 << 10}, "ga4")
	n := uint64(0)
	for b.Accepting() == nil {
		n++
		add(t, b, message(n, 50))
		if n > 1000 {
			t.Fatal("there is no bound")
		}
	}
	if err := b.Accepting(); !errors.Is(err, ErrFull) {
		t.Errorf("%v", err)
	}
	must(t, b.Lane("ga4").Ship(ctx, n, 50*n, event.AfterFrame(n)))
	must(t, b.Lane("ga4").Commit(ctx, Change{Freed: []event.Position{at(1, 1)}})) // pages are free once the transaction after is done
	if err := b.Accepting(); err != nil {
		t.Errorf("with everything shipped: %v", err)
	}
	b.o.MinFree = 1 << 60
	if err := b.Accepting(); !errors.Is(err, ErrFull) {
		t.Errorf("without room on the disk: %v", err)
	}
}

// However deliveries are cut, and however often the process is restarted or an append fails, the same messageIds are
// duplicates: two stacks that take in the same events must agree.
func TestMessageIDsWhereverDeliveriesAreCut(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	type one struct {
		id string
		at int64
	}
	var all []one
	hour := int64(3600e6)
	for i := range 6000 {
		all = append(all, one{fmt.Sprintf("%016d0123456789", r.IntN(1500)), int64(i)*hour/50 + r.Int64N(hour/2)})
	}
	run := func(cut func() int, failing bool) (duplicates []int) {
		dir := t.TempDir()
		o := Options{Dir: dir, MaxKeys: 500}
		b := begun(t, o, "ga4")
		for from := 0; from < len(all); {
			to := min(len(all), from+cut())
			if failing && r.IntN(3) == 0 { // a delivery that comes to nothing
				for i := from; i < to; i++ {
					b.Seen(all[i].id, all[i].at)
				}
				b.Forget()
			}
			for i := from; i < to; i++ {
				if b.Seen(all[i].id, all[i].at) {
					duplicates = append(duplicates, i)
				}
			}
			must(t, b.Append(ctx, Addition{}))
			if failing && r.IntN(20) == 0 {
				must(t, b.Close())
				b = open(t, o)
			}
			from = to
		}
		if n := b.Usage().Keys; n == 0 || n > 500 {
			t.Errorf("%d messageIds are kept, and 500 are the most", n)
		}
		if b.State().Lost == 0 {
			t.Error("none was forgotten for the number")
		}
		return duplicates
	}
	want := run(func() int { return 1000 }, false)
	got := run(func() int { return 1 + r.IntN(200) }, true)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if len(want) < 100 || len(want) > 5900 {
		t.Errorf("%d of %d are duplicates: the test proves little", len(want), len(all))
	}

	b := begun(t, Options{Dir: t.TempDir()}, "ga4")
	for _, row := range []struct {
		at   int64
		want bool
	}{{0, false}, {24 * hour, true}, {24*hour + 1, false}, {30 * hour, true}, {60 * hour, false}, {59 * hour, true}} {
		if got := b.Seen("the same messageId", row.at); got != row.want {
			t.Errorf("at %d h: seen %v", row.at/hour, got)
		}
	}
}

// Changes of many callers share transactions, and each is durable on return.
func TestChangesTogether(t *testing.T) {
	dir := t.TempDir()
	b := begun(t, Options{Dir: dir}, "a", "b", "c", "d")
	var wg sync.WaitGroup
	for _, name := range []string{"a", "b", "c", "d"} {
		wg.Go(func() {
			for i := range uint64(50) {
				if err := b.Lane(name).Commit(ctx, Change{Through: i, Intents: []event.Position{at(i+1, 0)}}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := b.State().Commits; n > 150 {
		t.Errorf("200 changes took %d transactions", n)
	}
	must(t, b.Close())
	if err := b.Lane("a").Commit(ctx, Change{Intents: []event.Position{at(1, 0)}}); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	b = open(t, Options{Dir: dir})
	for _, name := range []string{"a", "b", "c", "d"} {
		if r, err := b.Lane(name).Recover(); err != nil || len(r.Intents) != 50 {
			t.Errorf("%s: %d intents, %v", name, len(r.Intents), err)
		}
	}
}

func FuzzDecodeMessage(f *testing.F) {
	f.Add(encoded(message(1, 3)))
	f.Add([]byte{1, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := DecodeMessage(data)
		if err != nil {
			return
		}
		again, err := DecodeMessage(encoded(m))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(m.Outcomes, again.Outcomes); diff != "" {
			t.Error(diff)
		}
		if len(m.Events) != len(again.Events) {
			t.Errorf("%d events, then %d", len(m.Events), len(again.Events))
		}
	})
}

func FuzzDecodeLog(f *testing.F) {
	f.Add([]byte{1, 1, 1, 1, 0, 0, 0})
	f.Fuzz(func(_ *testing.T, data []byte) { decodeLog(data) })
}

func FuzzDecodeLetter(f *testing.F) {
	l := Letter{Event: message(1, 1).Events[0]}
	f.Add(l.encode())
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := decodeLetter(data)
		if err != nil {
			return
		}
		if _, err := decodeLetter(l.encode()); err != nil {
			t.Fatal(err)
		}
	})
}
