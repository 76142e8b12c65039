package served_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/service"
	"github.com/sparrowhq/sparrow/telemetry"
	"github.com/sparrowhq/sparrow/warehouse"
	"github.com/sparrowhq/sparrow/warehouse/duckdb"
	"github.com/sparrowhq/sparrow/warehouse/served"
)

func TestMain(m *testing.M) {
	if path := os.Getenv("SPARROW_TEST_SERVE"); path != "" {
		fmt.Println(serve(path))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// serve is a warehouse process.
func serve(path string) error {
	// Digests of a few frames each, so that they too are cut off half-way; and a log that is folded into the file all the
	// time, so that most kills come while that is going on.
	log := int64(4 << 10)
	if os.Getenv("SPARROW_TEST_UNFOLDED") != "" {
		log = 0 // the default: not in a short test
	}
	listening := telemetry.Discard()
	e, err := duckdb.Open(duckdb.Options{Path: path, DigestFrames: 4, DigestRows: 30, Log: log, Telemetry: listening})
	if err != nil {
		return err
	}
	// DuckDB removes less while somebody reads, but checkpoints are fewer then, since reading takes the processors.
	for range 2 * (os.Getpid() % 2) {
		go read(e)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Printf("listening on http://%s %d\n", l.Addr(), mended(listening))
	return service.Serve(context.Background(), telemetry.Discard(), l, served.Handler(served.Options{Warehouse: e, Secret: secret}), 0)
}

// mended is how many torn blocks were put back.
func mended(t *telemetry.Telemetry) (n int) {
	families, err := t.Registry.Gather()
	if err != nil {
		panic(err)
	}
	for _, f := range families {
		if f.GetName() == "sparrow_warehouse_torn_blocks_total" {
			n = int(f.GetMetric()[0].GetCounter().GetValue())
		}
	}
	return n
}

// read asks for all rows, again and again.
func read(e *duckdb.Engine) {
	for {
		rows, err := e.Query(context.Background(), warehouse.Query{SQL: "SELECT count(*), sum(hash(a.data, b.data)) FROM green.raw AS a, (SELECT * FROM blue.raw LIMIT 300) AS b"})
		if err != nil {
			return
		}
		for err == nil {
			_, err = rows.Next()
		}
		rows.Close()
	}
}

// process is a running serve.
type process struct {
	cmd  *exec.Cmd
	url  string
	torn int // blocks that it put back when it opened the file
}

func start(t *testing.T, path string, wrap ...string) *process {
	t.Helper()
	args := append(wrap, os.Args[0])
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "SPARROW_TEST_SERVE="+path)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	p := &process{cmd: cmd}
	if _, said := fmt.Sscanf(line, "listening on %s %d", &p.url, &p.torn); err != nil || said != nil {
		cmd.Process.Kill()
		cmd.Wait()
		t.Fatalf("the warehouse did not start: %q, %v", line, err)
	}
	return p
}

func (p *process) kill() {
	syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	p.cmd.Wait()
}

// rounds is how often TestKill kills: five times, or with SPARROW_SOAK a hundred, or as often as that says.
func rounds() int {
	soak := os.Getenv("SPARROW_SOAK")
	if soak == "" {
		return 5
	}
	if n, err := strconv.Atoi(soak); err == nil && n > 1 {
		return n
	}
	return 100
}

// feeder appends what a stage of a stack makes of a journal through whatever process runs now, as a feed does: from the
// warehouse's own cursor on, again after every error.
type feeder struct {
	stack        event.Stack
	stage        warehouse.Stage
	acknowledged event.Cursor // what an Append said is stored
	timeline     *shared
}

// shared is the journal, growing as it is read: frames of a few requests, with a flip now and then.
type shared struct {
	sync.Mutex
	timeline event.Timeline
	next     uint64
	frames   map[uint64]int // requests by frame
}

func (s *shared) grow(t *testing.T, r *rand.Rand) {
	s.Lock()
	defer s.Unlock()
	head, ok := s.timeline.Head()
	if !ok || r.IntN(50) == 0 {
		c := event.Control{Format: event.ControlFormat, Generation: head.Generation + 1, Kind: event.Cutover, Live: head.Live.Other(), Previous: head.Hash()}
		if !ok {
			c = event.Control{Format: event.ControlFormat, Generation: 1, Kind: event.Initial, Live: event.Green}
		}
		data, err := c.Encode()
		if err != nil {
			t.Error(err)
			return
		}
		record, err := event.DecodeRecord(s.next, data)
		if err == nil {
			s.timeline, err = s.timeline.Append(record)
		}
		if err != nil {
			t.Error(err)
			return
		}
	} else {
		s.frames[s.next] = 1 + r.IntN(8)
	}
	s.next++
}

// batch covers whole frames from the cursor on.
func (s *shared) batch(stack event.Stack, from event.Cursor, count uint64) *warehouse.Batch {
	s.Lock()
	defer s.Unlock()
	b := &warehouse.Batch{Stack: stack, Stage: warehouse.Raw, Journal: "journal-1", From: from, To: event.Cursor{Frame: min(s.next, from.Frame+count)}}
	for _, r := range s.timeline.Records() {
		b.Controls = append(b.Controls, r.Entry())
	}
	for f := from.Frame; f < b.To.Frame; f++ {
		for request := range uint32(s.frames[f]) {
			if request >= from.Request || f > from.Frame {
				b.Rows = append(b.Rows, warehouse.Row{
					Position: event.Position{Frame: f, Request: request}, EventID: fmt.Sprintf("%d-%d", f, request), Timestamp: int64(f), Event: "e",
					Data: fmt.Appendf(nil, `{"f":%d,"r":%d,"x":"%s"}`, f, request, strings.Repeat("x", int(f%900))), ItemsInRequest: 1, Build: "b", Context: []byte("{}"),
				})
			}
		}
	}
	return b
}

// tracker is the stage whose outcomes, and corrections of them, are appended beside raw.
const tracker warehouse.Stage = "ga4"

// outcomes is what the tracker makes of a batch of raw.
func outcomes(b *warehouse.Batch) *warehouse.Batch {
	b.Stage = tracker
	for _, r := range b.Rows {
		o := warehouse.Outcome{Position: r.Position, Timestamp: r.Timestamp, Build: "b", Event: "e", Sink: "staging", Outcome: "delivered", Digest: r.Frame, Reason: fmt.Sprintf("first of %v", r.Position)}
		if r.Frame%5 == 0 {
			o.Outcome, o.Response = "dead", []byte(strings.Repeat("no ", int(r.Frame%300)))
		}
		b.Outcomes = append(b.Outcomes, o)
	}
	b.Rows = nil
	return b
}

// corrections are those numbered from from on: the n-th is of one of 40 positions, in turn.
func corrections(stack event.Stack, from event.Cursor, count uint64) *warehouse.Batch {
	b := &warehouse.Batch{Stack: stack, Stage: tracker.Late(), Journal: "journal-1", From: from, To: event.Cursor{Frame: from.Frame + count}}
	for n := from.Frame; n < b.To.Frame; n++ {
		b.Outcomes = append(b.Outcomes, warehouse.Outcome{Position: event.Position{Frame: 1 + n%40, Request: 1000}, Outcome: "delivered", Revision: uint32(1 + n/40), Reason: fmt.Sprintf("correction %d", n)})
	}
	return b
}

// batch is what comes next at the stage.
func (f *feeder) batch(from event.Cursor, count uint64) *warehouse.Batch {
	switch f.stage {
	case warehouse.Raw:
		return f.timeline.batch(f.stack, from, count)
	case tracker:
		return outcomes(f.timeline.batch(f.stack, from, count))
	default:
		return corrections(f.stack, from, count)
	}
}

// said is what the stage's outcomes say below its cursor, by position and revision.
func (f *feeder) said(at event.Cursor) map[string]string {
	all := map[string]string{}
	for _, o := range f.batch(event.Cursor{}, at.Frame).Outcomes {
		all[fmt.Sprintf("%d-%d-%d", o.Frame, o.Position.Request, o.Revision)] = o.Reason
	}
	return all
}

func (f *feeder) run(ctx context.Context, t *testing.T, url func() string, r *rand.Rand) {
	for ctx.Err() == nil {
		c, err := served.New(served.ClientOptions{URL: url(), Secret: secret})
		if err != nil {
			t.Error(err)
			return
		}
		err = f.feed(ctx, c, t, r)
		c.Close()
		var gap *warehouse.GapError
		var journal *warehouse.JournalError
		if errors.As(err, &gap) || errors.As(err, &journal) {
			t.Errorf("%s, %s: %v", f.stack, f.stage, err)
			return
		}
		time.Sleep(5 * time.Millisecond) // the process is gone; the next one takes a moment
	}
}

// feed goes on until the process is gone.
func (f *feeder) feed(ctx context.Context, c *served.Client, t *testing.T, r *rand.Rand) error {
	at, err := c.Cursor(ctx, f.stack, 0, f.stage)
	if err != nil {
		return err
	}
	if at.Compare(f.acknowledged) < 0 {
		t.Errorf("%s, %s: the cursor went back to %v, %v was acknowledged", f.stack, f.stage, at, f.acknowledged)
	}
	for ctx.Err() == nil {
		if f.stage == warehouse.Raw {
			f.timeline.grow(t, r)
		}
		b := f.batch(at, 1+r.Uint64N(20))
		if b.To == at {
			time.Sleep(time.Millisecond) // raw has not come further
			continue
		}
		if at, err = c.Append(ctx, b); err != nil {
			return err
		}
		f.acknowledged = at
	}
	return nil
}

// TestKill kills a warehouse process with SIGKILL at random moments while both stacks append through it: raw, outcomes
// and corrections at once. Afterwards every acknowledged row and outcome is there exactly once, and everything that is
// there is a whole prefix of the journal.
func TestKill(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	path := filepath.Join(t.TempDir(), "warehouse", "warehouse.duckdb")
	journal := &shared{next: 1, frames: map[uint64]int{}}
	var mu sync.Mutex
	current := start(t, path)
	defer func() { current.kill() }()
	url := func() string { mu.Lock(); defer mu.Unlock(); return current.url }

	ctx, stop := context.WithCancel(t.Context())
	var feeding sync.WaitGroup
	var feeders []*feeder
	for _, stack := range event.Stacks() {
		for _, stage := range []warehouse.Stage{warehouse.Raw, tracker, tracker.Late()} {
			feeders = append(feeders, &feeder{stack: stack, stage: stage, timeline: journal})
		}
	}
	for i, f := range feeders {
		own := rand.New(rand.NewPCG(seed, uint64(i)+2))
		feeding.Go(func() { f.run(ctx, t, url, own) })
	}
	slowest, inside, torn := time.Duration(0), 0, 0
	for n := range rounds() {
		// The moment is what varies: between two appends, within one, while the file is being opened, at a checkpoint.
		time.Sleep(time.Duration(r.IntN(400)) * time.Millisecond)
		current.kill()
		if _, err := os.Stat(path + ".wal.checkpoint"); err == nil {
			inside++
		}
		began := time.Now()
		next := start(t, path)
		slowest = max(slowest, time.Since(began))
		mu.Lock()
		current = next
		mu.Unlock()
		if next.torn > 0 {
			torn++
		}
		if t.Failed() {
			t.Fatalf("in round %d", n)
		}
	}
	t.Logf("slowest start: %s; of %d kills %d came while the log was folded and another written, %d left torn blocks", slowest, rounds(), inside, torn)
	comeOn(t, current.url, feeders) // appends to the last process, too
	stop()
	feeding.Wait()
	current.kill()

	e, err := duckdb.Open(duckdb.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	for _, f := range feeders {
		at, err := e.Cursor(t.Context(), f.stack, 0, f.stage)
		if err != nil || at.Compare(f.acknowledged) < 0 {
			t.Errorf("%s, %s: cursor %v, %v; %v was acknowledged", f.stack, f.stage, at, err, f.acknowledged)
		}
		if f.stage != warehouse.Raw {
			sign := map[bool]string{false: "=", true: ">"}[f.stage != tracker]
			want := f.said(at)
			compare(t, e, fmt.Sprintf(`SELECT frame || '-' || request || '-' || revision, reason FROM %s.outcomes_log WHERE stage = 'ga4' AND revision %s 0`, f.stack, sign), want)
			t.Logf("%s, %s: %d outcomes, cursor %v, acknowledged %v", f.stack, f.stage, len(want), at, f.acknowledged)
			if len(want) == 0 {
				t.Errorf("%s, %s: nothing was appended", f.stack, f.stage)
			}
			continue
		}
		want := map[string]string{}
		for _, row := range journal.batch(f.stack, event.Cursor{}, at.Frame).Rows {
			want[row.EventID] = string(row.Data)
		}
		if len(want) == 0 {
			t.Errorf("%s: nothing was appended", f.stack)
		}
		compare(t, e, fmt.Sprintf(`SELECT "eventId", data FROM %s.raw`, f.stack), want)
		t.Logf("%s: %d rows, cursor %v, acknowledged %v", f.stack, len(want), at, f.acknowledged)
	}
	for _, f := range feeders {
		if f.stage == tracker.Late() {
			continue
		}
		of := map[bool]string{true: "raw WHERE run = 0", false: "outcomes_log WHERE run = 0 AND revision = 0"}[f.stage == warehouse.Raw]
		digests(t, e, f.stack, f.stage, of)
	}
	// And the views, for as far as both stacks have come.
	green, _ := e.Cursor(t.Context(), event.Green, 0, warehouse.Raw)
	blue, _ := e.Cursor(t.Context(), event.Blue, 0, warehouse.Raw)
	both := min(green.Frame, blue.Frame)
	want := map[string]string{}
	for _, row := range journal.batch(event.Green, event.Cursor{}, both).Rows {
		want[row.EventID] = string(row.Data)
	}
	for _, view := range []string{"live", "staging"} {
		compare(t, e, fmt.Sprintf(`SELECT "eventId", data FROM %s.raw WHERE frame < %d`, view, both), want)
	}
}

// comeOn waits until every feeder has come so far that digests were written, however slow the machine is.
func comeOn(t *testing.T, url string, feeders []*feeder) {
	t.Helper()
	c, err := served.New(served.ClientOptions{URL: url, Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, f := range feeders {
		first, err := c.Cursor(t.Context(), f.stack, 0, f.stage)
		for at := first; at.Frame < first.Frame+20; at, err = c.Cursor(t.Context(), f.stack, 0, f.stage) {
			if err != nil || t.Failed() {
				t.Fatalf("%s, %s: at %v: %v", f.stack, f.stage, at, err)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
}

// digests checks that each bucket was closed once, and that its digest counts the rows that are there.
func digests(t *testing.T, w warehouse.Warehouse, stack event.Stack, stage warehouse.Stage, of string) {
	t.Helper()
	rows, err := w.Query(t.Context(), warehouse.Query{SQL: fmt.Sprintf(`
WITH closed AS (SELECT "first", "last", CAST(sum(marks) AS BIGINT) AS marks, CAST(sum("rows") AS BIGINT) AS n FROM %[1]s.digests WHERE stage = '%[2]s' GROUP BY "first", "last"),
there AS (SELECT frame // 4 * 4 AS "first", count(*) AS n FROM %[1]s.%[3]s GROUP BY 1)
SELECT count(*), count(*) FILTER (WHERE marks <> 1), count(*) FILTER (WHERE closed.n <> coalesce(there.n, 0)) FROM closed LEFT JOIN there USING ("first")`, stack, stage, of)})
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	r, err := rows.Next()
	if err != nil {
		t.Fatal(err)
	}
	if r[0] == int64(0) || r[1] != int64(0) || r[2] != int64(0) {
		t.Errorf("%s, %s: of %v buckets %v are not closed once, and %v count other rows than are there", stack, stage, r[0], r[1], r[2])
	}
	t.Logf("%s, %s: %v buckets with digests", stack, stage, r[0])
}

// compare checks that an answer of (id, data) holds exactly what is wanted, each once.
func compare(t *testing.T, w warehouse.Warehouse, sql string, want map[string]string) {
	t.Helper()
	rows, err := w.Query(t.Context(), warehouse.Query{SQL: sql, Limit: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	got := map[string]bool{}
	for {
		row, err := rows.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		id := row[0].(string)
		if got[id] {
			t.Errorf("%s: %s is there twice", sql, id)
		}
		got[id] = true
		if data, ok := want[id]; !ok || data != row[1] {
			t.Errorf("%s: %s is not what was appended", sql, id)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%s: %d rows, want %d", sql, len(got), len(want))
	}
}

// TestAppendIsSynced watches the system calls of a warehouse process: each acknowledged append has a sync of the log
// after its last write to it, and before its answer.
func TestAppendIsSynced(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("strace is not installed")
	}
	t.Setenv("SPARROW_TEST_UNFOLDED", "1") // a checkpoint writes to the log, too
	dir := t.TempDir()
	trace := filepath.Join(dir, "trace")
	p := start(t, filepath.Join(dir, "warehouse", "warehouse.duckdb"), strace, "-f", "-y", "-qq", "-e", "trace=write,pwrite64,writev,sendto,fsync,fdatasync", "-o", trace, "--")
	defer p.kill()
	c, err := served.New(served.ClientOptions{URL: p.url, Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	journal := &shared{next: 1, frames: map[uint64]int{}}
	r := rand.New(rand.NewPCG(1, 1))
	const appends = 20
	at, err := c.Cursor(t.Context(), event.Green, 0, warehouse.Raw) // its answer marks the end of what opening wrote
	if err != nil {
		t.Fatal(err)
	}
	for n := range appends {
		for range 3 {
			journal.grow(t, r)
		}
		if at, err = c.Append(t.Context(), journal.batch(event.Green, at, 3)); err != nil {
			t.Fatalf("append %d: %v", n, err)
		}
	}
	p.kill()
	log, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	// Appends come one after another, so each answer must follow a write to the log and a sync after that.
	answers, wrote, synced := -1, false, false
	for line := range strings.Lines(string(log)) {
		toLog := strings.Contains(line, ".duckdb.wal>")
		switch {
		case toLog && (strings.Contains(line, "write(") || strings.Contains(line, "pwrite64(")):
			wrote, synced = true, false
		case toLog && (strings.Contains(line, "fsync(") || strings.Contains(line, "fdatasync(")):
			synced = true
		case strings.Contains(line, `"HTTP/1.1 200 OK`):
			if answers++; answers > 0 && (!wrote || !synced) {
				t.Errorf("answer %d left without a write to the log (%v) and a sync after it (%v)", answers, wrote, synced)
			}
			wrote, synced = false, false
		}
	}
	if answers != appends {
		t.Errorf("%d answers in the trace, want %d", answers, appends)
	}
}
