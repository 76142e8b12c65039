package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/telemetry"
)

const testSecret = "0123456789abcdef0123456789abcdef"

// options are a journal's in dir, with room on any disk.
func options(dir string) Options {
	return Options{Dir: dir, MaxBytes: 1 << 30, MinFree: 1 << 20, Ballast: 1 << 20, Telemetry: telemetry.Discard()}
}

func open(t testing.TB, o Options) *Journal {
	t.Helper()
	j, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	return j
}

// frame returns a frame of one request, whose body begins with text and is size bytes long.
func frame(t testing.TB, text string, size int) ([]byte, event.Totals) {
	t.Helper()
	id := uuid.Must(uuid.NewV7())
	body := append([]byte(text), make([]byte, max(0, size-len(text)))...)
	b, err := event.AppendRequest(nil, &event.Request{Id: id[:], ReceivedAt: 1_700_000_000_000_000, Body: body})
	if err != nil {
		t.Fatal(err)
	}
	var totals event.Totals
	totals.Add(id, len(body), 1_700_000_000_000_000)
	return b, totals
}

func publish(t testing.TB, j *Journal, text string) Entry {
	t.Helper()
	b, totals := frame(t, text, 0)
	n, err := j.Publish(t.Context(), b, totals)
	if err != nil {
		t.Fatal(err)
	}
	return Entry{Sequence: n, Kind: Frame, Data: b, Totals: totals, First: n, Last: n}
}

// cutover appends the control record that makes the other stack live.
func cutover(t testing.TB, j *Journal) Entry {
	t.Helper()
	tl, err := j.Timeline(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	head, _ := tl.Head()
	r, err := j.AppendControl(t.Context(), event.Control{Generation: head.Generation + 1, Kind: event.Cutover, Live: head.Live.Other(), At: 1})
	if err != nil {
		t.Fatal(err)
	}
	return Entry{Sequence: r.Sequence, Kind: Control, Data: r.Bytes, First: r.Sequence, Last: r.Sequence}
}

// read reads up to and including sequence last, in bites of maxBytes.
func read(t testing.TB, r *Reader, last uint64, maxBytes int) []Entry {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var all []Entry
	for len(all) == 0 || all[len(all)-1].Last < last {
		es, err := r.Next(ctx, maxBytes)
		if err != nil {
			t.Fatalf("after %d entries: %v", len(all), err)
		}
		if len(es) == 0 {
			t.Fatal("Next returned neither entries nor an error")
		}
		all = append(all, es...)
	}
	return all
}

// initial is the journal's first entry.
func initial(t testing.TB, j *Journal) Entry {
	t.Helper()
	tl, err := j.Timeline(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r := tl.Records()[0]
	return Entry{Sequence: r.Sequence, Kind: Control, Data: r.Bytes, First: r.Sequence, Last: r.Sequence}
}

func TestNewJournalBeginsWithGreenLive(t *testing.T) {
	j := open(t, options(t.TempDir()))
	tl, err := j.Timeline(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	head, ok := tl.Head()
	if !ok || head.Sequence != 1 || head.Generation != 1 || head.Kind != event.Initial || head.Live != event.Green {
		t.Fatalf("head of a new journal is %+v", head)
	}
	if _, err := uuid.Parse(j.ID()); err != nil {
		t.Fatalf("id %q: %v", j.ID(), err)
	}
	if err := j.Accepting(); err != nil {
		t.Fatal(err)
	}
}

func TestReadGivesFramesAndControlRecordsInOrder(t *testing.T) {
	j := open(t, options(t.TempDir()))
	want := []Entry{initial(t, j)}
	for i := range 500 {
		if i%70 == 69 {
			want = append(want, cutover(t, j))
		}
		want = append(want, publish(t, j, fmt.Sprint("body ", i)))
	}
	for _, maxBytes := range []int{1, 1000, 1 << 20} {
		r := j.Read(1)
		got := read(t, r, want[len(want)-1].Sequence, maxBytes)
		r.Close()
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("in bites of %d bytes (-want +got):\n%s", maxBytes, d)
		}
	}
	r := j.ReadTotals(1)
	defer r.Close()
	for i := range want {
		if want[i].Kind == Frame {
			want[i].Data = nil
		}
	}
	if d := cmp.Diff(want, read(t, r, want[len(want)-1].Sequence, 1<<20)); d != "" {
		t.Errorf("totals (-want +got):\n%s", d)
	}
}

func TestNextReturnsWhatIsWaitingUpToMaxBytes(t *testing.T) {
	j := open(t, options(t.TempDir()))
	b, totals := frame(t, "", 10_000)
	for range 20 {
		if _, err := j.Publish(t.Context(), b, totals); err != nil {
			t.Fatal(err)
		}
	}
	r := j.Read(2)
	defer r.Close()
	for _, c := range []struct{ maxBytes, want int }{{35_000, 3}, {1, 1}, {1 << 20, 16}} {
		es, err := r.Next(t.Context(), c.maxBytes)
		if err != nil {
			t.Fatal(err)
		}
		if len(es) != c.want {
			t.Errorf("Next of %d bytes returned %d frames of 10 KB, want %d", c.maxBytes, len(es), c.want)
		}
	}
}

func TestNextBlocksUntilThereIsOne(t *testing.T) {
	j := open(t, options(t.TempDir()))
	r := j.Read(2)
	defer r.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if es, err := r.Next(ctx, 1000); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Next on an empty journal: %v, %v", es, err)
	}
	got := make(chan []Entry, 1)
	go func() { got <- read(t, r, 2, 1000) }()
	want := publish(t, j, "late")
	if d := cmp.Diff([]Entry{want}, <-got); d != "" {
		t.Error(d)
	}
}

func TestNextEndsWithReaderAndJournal(t *testing.T) {
	for name, end := range map[string]func(*Journal, *Reader){
		"reader":  func(_ *Journal, r *Reader) { r.Close() },
		"journal": func(j *Journal, _ *Reader) { j.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			j := open(t, options(t.TempDir()))
			r := j.Read(2)
			defer r.Close()
			failed := make(chan error)
			go func() {
				_, err := r.Next(context.Background(), 1000)
				failed <- err
			}()
			end(j, r)
			if err := <-failed; !errors.Is(err, ErrClosed) {
				t.Errorf("Next: %v, want ErrClosed", err)
			}
		})
	}
}

func TestOfTwoControlRecordsAtOnceOneWins(t *testing.T) {
	j := open(t, options(t.TempDir()))
	for generation := uint64(2); generation < 30; generation++ {
		var wg sync.WaitGroup
		errs := make([]error, 4)
		for i := range errs {
			wg.Go(func() {
				_, errs[i] = j.AppendControl(t.Context(), event.Control{Generation: generation, Kind: event.Candidate, Live: event.Green, Reason: fmt.Sprint(i)})
			})
		}
		wg.Wait()
		won := 0
		for _, err := range errs {
			if err == nil {
				won++
			} else if !errors.Is(err, ErrConflict) {
				t.Fatal(err)
			}
		}
		if won != 1 {
			t.Fatalf("generation %d: %d of 4 won: %v", generation, won, errs)
		}
	}
	tl, err := j.Timeline(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if n := len(tl.Records()); n != 29 {
		t.Errorf("the timeline has %d records, want 29", n)
	}
}

func TestControlRecordMustContinueTheChain(t *testing.T) {
	j := open(t, options(t.TempDir()))
	for name, c := range map[string]event.Control{
		"generation":  {Generation: 5, Kind: event.Cutover, Live: event.Blue},
		"kind":        {Generation: 2, Kind: "upheaval", Live: event.Blue},
		"stack":       {Generation: 2, Kind: event.Cutover, Live: "red"},
		"another one": {Generation: 1, Kind: event.Initial, Live: event.Green},
	} {
		if r, err := j.AppendControl(t.Context(), c); err == nil {
			t.Errorf("%s: accepted at %d", name, r.Sequence)
		}
	}
	if b, err := j.Bounds(t.Context()); err != nil || b.Last != 1 {
		t.Errorf("something was written: %+v, %v", b, err)
	}
}

func TestTrimLeavesControlRecordsAndAccountsForTheRest(t *testing.T) {
	j := open(t, options(t.TempDir()))
	first := initial(t, j)
	var middle, last Entry
	for i := range 400 {
		switch i {
		case 150:
			middle = cutover(t, j)
		default:
			last = publish(t, j, fmt.Sprint(i))
		}
	}
	n, err := j.Trim(t.Context(), 300)
	if err != nil {
		t.Fatal(err)
	}
	if n != 298 {
		t.Errorf("removed %d frames, want 298", n)
	}
	b, err := j.Bounds(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if b.First != 301 || b.Last != last.Sequence {
		t.Errorf("bounds %+v, want frames from 301 to %d", b, last.Sequence)
	}
	gap := func(first, last uint64) Entry { return Entry{Sequence: last, Kind: Gap, First: first, Last: last} }
	for from, want := range map[uint64][]Entry{
		1:   {first, gap(2, middle.Sequence-1), middle, gap(middle.Sequence+1, 300)},
		0:   {first, gap(2, middle.Sequence-1), middle, gap(middle.Sequence+1, 300)},
		77:  {gap(77, middle.Sequence-1), middle, gap(middle.Sequence+1, 300)},
		200: {gap(200, 300)},
		300: {gap(300, 300)},
	} {
		r := j.Read(from)
		got := read(t, r, last.Sequence, 1<<20)
		r.Close()
		if d := cmp.Diff(want, got[:len(want)]); d != "" {
			t.Errorf("from %d (-want +got):\n%s", from, d)
		}
		if len(got) != len(want)+int(last.Sequence-300) {
			t.Errorf("from %d: %d entries", from, len(got))
		}
	}
}

func TestTrimOfEverythingIsAGapWithoutWaitingForMore(t *testing.T) {
	j := open(t, options(t.TempDir()))
	waiting := j.Read(4)
	defer waiting.Close()
	for range 5 {
		publish(t, j, "x")
	}
	read(t, waiting, 4, 1) // now it holds a consumer at 5
	if n, err := j.Trim(t.Context(), 6); err != nil || n != 5 {
		t.Fatalf("removed %d, %v", n, err)
	}
	for name, r := range map[string]*Reader{"fresh": j.Read(2), "waiting": waiting} {
		defer r.Close()
		got := read(t, r, 6, 1000)
		if e := got[len(got)-1]; e.Kind != Gap || e.Last != 6 {
			t.Errorf("%s: %+v, want a gap up to 6", name, got)
		}
	}
	if b, err := j.Bounds(t.Context()); err != nil || b.First != 7 || b.Last != 6 {
		t.Errorf("bounds of a journal without frames: %+v, %v", b, err)
	}
	if e := publish(t, j, "next"); e.Sequence != 7 {
		t.Errorf("the next frame is at %d, want 7", e.Sequence)
	}
	if b, err := j.Bounds(t.Context()); err != nil || b.First != 7 || b.Last != 7 {
		t.Errorf("bounds: %+v, %v", b, err)
	}
}

func TestReadPastTheEndIsRefused(t *testing.T) {
	j := open(t, options(t.TempDir()))
	publish(t, j, "x")
	r := j.Read(4)
	defer r.Close()
	if _, err := r.Next(t.Context(), 1000); !errors.Is(err, ErrPastEnd) {
		t.Errorf("reading from 4 where the journal ends at 2: %v, want ErrPastEnd", err)
	}
}

func TestReopeningKeepsEverything(t *testing.T) {
	dir := t.TempDir()
	j := open(t, options(dir))
	id := j.ID()
	want := []Entry{initial(t, j)}
	for i := range 50 {
		want = append(want, publish(t, j, fmt.Sprint(i)))
	}
	want = append(want, cutover(t, j))
	if err := j.PutState(t.Context(), "feed.green", []byte("cursor 1")); err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}

	j = open(t, options(dir))
	if j.ID() != id {
		t.Errorf("id was %s, is %s", id, j.ID())
	}
	r := j.Read(1)
	defer r.Close()
	if d := cmp.Diff(want, read(t, r, 52, 1<<20)); d != "" {
		t.Error(d)
	}
	if e := publish(t, j, "after"); e.Sequence != 53 {
		t.Errorf("the next frame is at %d, want 53", e.Sequence)
	}
	v, err := j.GetState(t.Context(), "feed.green")
	if err != nil || string(v) != "cursor 1" {
		t.Errorf("state: %q, %v", v, err)
	}
}

func TestFirstFrameIsAskedForANewJournalOnly(t *testing.T) {
	o := options(t.TempDir())
	asked := 0
	o.FirstFrame = func(context.Context) (uint64, error) { asked++; return 5001, nil }
	j := open(t, o)
	first := initial(t, j)
	frame := publish(t, j, "x")
	if first.Sequence != 5001 || frame.Sequence != 5002 {
		t.Errorf("the initial record is at %d, the first frame at %d; want 5001, 5002", first.Sequence, frame.Sequence)
	}
	r := j.Read(17)
	defer r.Close()
	want := []Entry{{Sequence: 5000, Kind: Gap, First: 17, Last: 5000}, first, frame}
	if d := cmp.Diff(want, read(t, r, 5002, 1<<20)); d != "" {
		t.Error(d)
	}
	j.Close()
	open(t, o).Close()
	if asked != 1 {
		t.Errorf("asked %d times, want once", asked)
	}

	o.Dir = t.TempDir()
	o.FirstFrame = func(context.Context) (uint64, error) { return 0, errors.New("the warehouse does not answer") }
	if _, err := Open(t.Context(), o); err == nil || !strings.Contains(err.Error(), "the warehouse does not answer") {
		t.Errorf("Open without knowing where to begin: %v", err)
	}
}

func TestNewerFormatIsRefused(t *testing.T) {
	dir := t.TempDir()
	open(t, options(dir)).Close()
	if err := os.WriteFile(filepath.Join(dir, "format"), []byte("2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(t.Context(), options(dir))
	if err == nil || !strings.Contains(err.Error(), "format 2, this build reads up to 1: run the newer build") {
		t.Errorf("Open: %v", err)
	}
}

func TestSecondOpenerIsRefused(t *testing.T) {
	dir := t.TempDir()
	j := open(t, options(dir))
	_, err := Open(t.Context(), options(dir))
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("is open in another process (pid %d)", os.Getpid())) {
		t.Errorf("second Open: %v", err)
	}
	publish(t, j, "the first still works")
	j.Close()
	open(t, options(dir))
}

func TestFolderIsPrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "journal")
	open(t, options(dir))
	info, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o700 {
		t.Errorf("mode %04o, want 0700", info.Mode().Perm())
	}
}

func TestListenerLetsOperatorsReadAndNobodyElseIn(t *testing.T) {
	o := options(t.TempDir())
	o.Secret = testSecret
	j := open(t, o)
	publish(t, j, "x")
	user, password := Credential(testSecret)
	for name, opts := range map[string][]nats.Option{
		"nobody":         nil,
		"wrong password": {nats.UserInfo(user, "wrong")},
		"the secret":     {nats.UserInfo(user, testSecret)},
		"a token":        {nats.Token(password)},
		"writer":         {nats.UserInfo("journal", password)},
	} {
		if nc, err := nats.Connect("nats://"+j.Addr(), opts...); err == nil {
			nc.Close()
			t.Errorf("%s: let in", name)
		}
	}
	nc, err := nats.Connect("nats://"+j.Addr(), nats.UserInfo(user, password), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	m, err := nc.Request("$JS.API.STREAM.MSG.GET.sparrow", []byte(`{"seq":2}`), 5*time.Second)
	if err != nil || !bytes.Contains(m.Data, []byte(`"seq":2`)) {
		t.Errorf("reading with the operator's credential: %v, %v", m, err)
	}
	for _, subject := range []string{"sparrow.frames", "sparrow.control", "$JS.API.STREAM.PURGE.sparrow", "$JS.API.STREAM.DELETE.sparrow"} {
		if m, err := nc.Request(subject, nil, 100*time.Millisecond); err == nil {
			t.Errorf("%s with the operator's credential: answered %s", subject, m.Data)
		}
	}
	if b, err := j.Bounds(t.Context()); err != nil || b.Last != 2 || b.First != 2 {
		t.Errorf("the operator's credential changed something: %+v, %v", b, err)
	}
}

func TestNothingListensWithoutASecret(t *testing.T) {
	if a := open(t, options(t.TempDir())).Addr(); a != "" {
		t.Errorf("listens at %s", a)
	}
}

func TestListenerStaysOnLoopback(t *testing.T) {
	o := options(t.TempDir())
	o.Secret, o.Listen = testSecret, "0.0.0.0:0"
	if _, err := Open(t.Context(), o); err == nil || !strings.Contains(err.Error(), "loopback only") {
		t.Errorf("Open: %v", err)
	}
}

func TestStateKeepsTheLastValue(t *testing.T) {
	j := open(t, options(t.TempDir()))
	if _, err := j.GetState(t.Context(), "a.b"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a key never written: %v", err)
	}
	for i := range 5 {
		for _, key := range []string{"a.b", "a.c"} {
			if err := j.PutState(t.Context(), key, fmt.Append(nil, key, i)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, key := range []string{"a.b", "a.c"} {
		if v, err := j.GetState(t.Context(), key); err != nil || string(v) != key+"4" {
			t.Errorf("%s: %q, %v", key, v, err)
		}
	}
	for _, key := range []string{"", "a b", "a.*", ">", "a..b", ".a"} {
		if err := j.PutState(t.Context(), key, nil); err == nil {
			t.Errorf("key %q accepted", key)
		}
	}
}

func TestRecordsAreKeptPerLog(t *testing.T) {
	j := open(t, options(t.TempDir()))
	type record struct {
		seq   uint64
		value string
	}
	want := map[string][]record{}
	for i := range 300 {
		for _, log := range []string{"ledger", "dead.green", "dead.blue", "verdict"} {
			v := fmt.Sprint(log, " ", i)
			n, err := j.AppendRecord(t.Context(), log, []byte(v))
			if err != nil {
				t.Fatal(err)
			}
			want[log] = append(want[log], record{n, v})
		}
	}
	for log, records := range want {
		for _, skip := range []int{0, 100, 299} {
			var got []record
			err := j.Records(t.Context(), log, records[skip].seq, func(n uint64, v []byte) error {
				got = append(got, record{n, string(v)})
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(records[skip:], got, cmp.AllowUnexported(record{})); d != "" {
				t.Errorf("%s from %d (-want +got):\n%s", log, skip, d)
			}
		}
		if err := j.Records(t.Context(), log, records[299].seq+1, func(uint64, []byte) error { return errors.New("called") }); err != nil {
			t.Errorf("%s past its end: %v", log, err)
		}
		stop := errors.New("enough")
		if err := j.Records(t.Context(), log, 0, func(uint64, []byte) error { return stop }); err != stop {
			t.Errorf("%s: %v, want fn's error", log, err)
		}
	}
	if _, err := j.AppendRecord(t.Context(), "diary", nil); err == nil {
		t.Error("log diary accepted")
	}
}

// again returns the options to open the journal again.
func (j *Journal) again() Options {
	o := j.o
	o.Telemetry = telemetry.Discard()
	return o
}
