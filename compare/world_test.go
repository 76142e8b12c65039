package compare

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	native "github.com/duckdb/duckdb-go-bindings"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
	"github.com/sparrowhq/sparrow/warehouse/bigquery"
	"github.com/sparrowhq/sparrow/warehouse/bigquery/fake"
	"github.com/sparrowhq/sparrow/warehouse/duckdb"
)

// world is a journal, what its mirror says of it, and what two stacks stored: a real DuckDB file behind the real engine,
// with a mirror that counts what the test accepted.
type world struct {
	t        testing.TB
	dir      string
	id       string
	timeline event.Timeline
	accepted []request
	status   Status
	holes    map[event.Stack]StackLedger
	rows     map[event.Stack][]warehouse.Row
	cursor   map[event.Stack]event.Cursor // what is stored
	outs     map[stageAt][]warehouse.Outcome
	through  map[stageAt]event.Cursor // how far a stage is; none: as far as raw
	late     map[stageAt][]warehouse.Outcome
	next     uint64 // frame
	random   *rand.Rand

	digestFrames uint64 // of the file; 0: as by default, which no small world fills

	// hooks, for what goes wrong while Collect reads
	onStatus func(n int, s *Status) error
	onLedger func(l *Ledger) error
	looks    int

	google bool // BigQuery's place is taken by its fake
}

// request is one accepted request.
type request struct {
	frame   uint64
	request uint32
	id      uuid.UUID
	at      int64
}

const began = int64(1_790_000_000_000_000) // microseconds since the epoch

var (
	greenBuild = event.Build{ID: "aaaaaaaaaaaaaaaaaaaaaaaa", Version: "v1.0.0"}
	blueBuild  = event.Build{ID: "bbbbbbbbbbbbbbbbbbbbbbbb", Version: "v1.1.0"}
)

// newWorld is a journal whose candidate, blue, was declared at sequence 2. The next frame is 3.
func newWorld(t testing.TB) *world {
	w := &world{t: t, dir: t.TempDir(), id: "11111111-2222-4333-8444-555555555555", next: 1,
		holes: map[event.Stack]StackLedger{}, rows: map[event.Stack][]warehouse.Row{}, cursor: map[event.Stack]event.Cursor{},
		outs: map[stageAt][]warehouse.Outcome{}, through: map[stageAt]event.Cursor{}, late: map[stageAt][]warehouse.Outcome{},
		random: rand.New(rand.NewPCG(7, 11))}
	w.decide(event.Control{Kind: event.Initial, Live: event.Green})
	w.decide(event.Control{Kind: event.Candidate, Live: event.Green, Candidate: blueBuild, LiveBuild: greenBuild})
	w.status = Status{Journal: JournalStatus{ID: w.id, FirstFrame: 1, Accepting: true}, Stacks: map[event.Stack]StackStatus{
		event.Green: {Role: "live", Build: greenBuild, Reachable: true},
		event.Blue:  {Role: "candidate", Build: blueBuild, Reachable: true},
	}}
	return w
}

// decide appends a control record at the next sequence.
func (w *world) decide(c event.Control) {
	w.t.Helper()
	head, ok := w.timeline.Head()
	c.Format, c.Generation, c.At = event.ControlFormat, head.Generation+1, began
	if ok {
		c.Previous = head.Hash()
	}
	data, err := c.Encode()
	if err != nil {
		w.t.Fatal(err)
	}
	r, err := event.DecodeRecord(w.next, data)
	if err != nil {
		w.t.Fatal(err)
	}
	if w.timeline, err = w.timeline.Append(r); err != nil {
		w.t.Fatal(err)
	}
	w.next++
}

// item is one event of a body.
type item struct {
	name string
	data string
}

// accept takes a frame of requests, each a list of items, and stores its rows on both sides.
func (w *world) accept(bodies ...[]item) {
	for i, items := range bodies {
		r := request{frame: w.next, request: uint32(i), id: uuid.Must(uuid.NewRandomFromReader(randomBytes{w.random})), at: began + int64(w.next)*1000 + int64(i)}
		w.accepted = append(w.accepted, r)
		for n, it := range items {
			row := warehouse.Row{Position: event.Position{Frame: r.frame, Request: r.request, Item: uint32(n)},
				EventID: event.ID(r.id, uint32(n), len(items) > 1), Timestamp: r.at, Event: it.name, Data: []byte(it.data),
				ItemsInRequest: uint32(len(items)), Context: []byte(`{"origin":"https://shop.example"}`)}
			for _, s := range event.Stacks() {
				row.Build = w.status.Stacks[s].Build.ID
				w.rows[s] = append(w.rows[s], row)
			}
		}
	}
	w.next++
}

type randomBytes struct{ *rand.Rand }

func (r randomBytes) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(r.Uint32())
	}
	return len(p), nil
}

// one is a body of a single event.
func one(name, data string) []item { return []item{{name, data}} }

// many accepts n single events of the given names in turn, in frames of ten.
func (w *world) many(n int, names ...string) {
	for i := 0; i < n; i += 10 {
		var bodies [][]item
		for k := i; k < min(i+10, n); k++ {
			name := names[k%len(names)]
			bodies = append(bodies, one(name, fmt.Sprintf(`{"event":%q,"deviceId":"d%d","properties":{"n":%d}}`, name, k%97, k)))
		}
		w.accept(bodies...)
	}
}

// edit changes the rows of one side.
func (w *world) edit(s event.Stack, f func([]warehouse.Row) []warehouse.Row) {
	w.rows[s] = f(slices.Clone(w.rows[s]))
}

// drop removes the rows for which f holds from one side.
func (w *world) drop(s event.Stack, f func(i int, r warehouse.Row) bool) {
	i := -1
	w.edit(s, func(rows []warehouse.Row) []warehouse.Row {
		return slices.DeleteFunc(rows, func(r warehouse.Row) bool { i++; return f(i, r) })
	})
}

// double writes the rows for which f holds twice on one side.
func (w *world) double(s event.Stack, f func(i int, r warehouse.Row) bool) {
	w.edit(s, func(rows []warehouse.Row) []warehouse.Row {
		var out []warehouse.Row
		for i, r := range rows {
			out = append(out, r)
			if f(i, r) {
				out = append(out, r)
			}
		}
		return out
	})
}

// alter changes the rows for which f returns true.
func (w *world) alter(s event.Stack, f func(i int, r *warehouse.Row) bool) {
	w.edit(s, func(rows []warehouse.Row) []warehouse.Row {
		for i := range rows {
			rows[i].Data = slices.Clone(rows[i].Data)
			f(i, &rows[i])
		}
		return rows
	})
}

// store writes both sides through the engine, up to each side's cursor, and returns the open engine. plant is SQL to run
// on the file before, for what no stack could write.
func (w *world) store(plant ...string) warehouse.Warehouse {
	w.t.Helper()
	if w.google {
		e, server := w.bigQuery()
		w.fill(e)
		if len(plant) > 0 {
			if err := e.MakeDigests(context.Background(), 0, w.next); err != nil {
				w.t.Fatal(err)
			}
		}
		for _, sql := range plant {
			if err := server.Exec(context.Background(), inFake.Replace(sql)); err != nil {
				w.t.Fatal(err)
			}
		}
		return e
	}
	path := filepath.Join(w.dir, "warehouse", "sparrow.duckdb")
	open := func() *duckdb.Engine {
		e, err := duckdb.Open(duckdb.Options{Path: path, DigestFrames: w.digestFrames, DigestRows: -1})
		if err != nil {
			w.t.Fatal(err)
		}
		return e
	}
	e := open()
	w.fill(e)
	if len(plant) > 0 {
		if err := e.Close(); err != nil {
			w.t.Fatal(err)
		}
		for _, s := range event.Stacks() { // the file must not look damaged, or the engine does not open it
			plant = append(plant, fmt.Sprintf(`UPDATE cursors_log SET "rows" = (SELECT count(*) FROM %[1]s.raw) WHERE stack = '%[1]s' AND stage = 'raw'`, s),
				fmt.Sprintf(`UPDATE cursors_log SET "rows" = (SELECT count(*) FROM %[1]s.outcomes_log AS o WHERE o.stage = cursors_log.stage) WHERE stack = '%[1]s' AND stage <> 'raw'`, s))
		}
		execute(w.t, path, plant...)
		e = open()
	}
	w.t.Cleanup(func() { e.Close() })
	return e
}

// bigQuery is the real engine for BigQuery, on a fake that answers statements in DuckDB's words.
func (w *world) bigQuery() (*bigquery.Engine, *fake.Server) {
	w.t.Helper()
	server, err := fake.Start(fake.Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { server.Close() })
	e, err := bigquery.Open(context.Background(), bigquery.Options{Project: "project", Prefix: "shop_", Endpoint: server.REST(), GRPC: server.GRPC(), DigestFrames: w.digestFrames})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { e.Close() })
	return e, server
}

// inFake names tables as the fake's own database does.
var inFake = strings.NewReplacer("blue.raw", "project.shop_blue.raw_log", "blue.", "project.shop_blue.", "green.", "project.shop_green.")

// fill writes both sides.
func (w *world) fill(e warehouse.Appender) {
	w.t.Helper()
	var controls []*event.ControlEntry
	for _, r := range w.timeline.Records() {
		controls = append(controls, r.Entry())
	}
	for _, s := range event.Stacks() {
		to, ok := w.cursor[s]
		if !ok {
			to = event.Cursor{Frame: w.next}
			w.cursor[s] = to
		}
		var rows []warehouse.Row
		for _, r := range w.rows[s] {
			if to.Covers(r.Frame, r.Request) {
				rows = append(rows, r)
			}
		}
		b := &warehouse.Batch{Stack: s, Stage: warehouse.Raw, Journal: w.id, To: to, Rows: rows, Controls: controls}
		if _, err := e.Append(context.Background(), b); err != nil {
			w.t.Fatalf("append to %s: %v", s, err)
		}
	}
	w.storeOutcomes(e)
}

// execute runs SQL on a DuckDB file that nobody has open.
func execute(t testing.TB, path string, statements ...string) {
	t.Helper()
	var config native.Config
	if native.CreateConfig(&config) == native.StateError {
		t.Fatal("no configuration")
	}
	defer native.DestroyConfig(&config)
	var db native.Database
	var message string
	if native.OpenExt(path, &db, config, &message) == native.StateError {
		t.Fatal(message)
	}
	defer native.Close(&db)
	var c native.Connection
	if native.Connect(db, &c) == native.StateError {
		t.Fatal("no connection")
	}
	defer native.Disconnect(&c)
	for _, sql := range statements {
		var r native.Result
		if native.Query(c, sql, &r) == native.StateError {
			t.Fatalf("%s: %s", sql, native.ResultError(&r))
		}
		native.DestroyResult(&r)
	}
}

// Status implements Pipeline.
func (w *world) Status(context.Context) (Status, error) {
	s := w.status
	head, _ := w.timeline.Head()
	s.Generation, s.Live, s.Candidate, s.Head = head.Generation, head.Live, head.Candidate, head.Hash()
	s.Journal.LastFrame = w.next - 1
	s.Stacks = map[event.Stack]StackStatus{}
	for name, st := range w.status.Stacks {
		st.Cursor = event.Cursor{Frame: w.next}
		if at, ok := w.cursor[name]; ok {
			st.Cursor = at
		}
		s.Stacks[name] = st
	}
	w.looks++
	if w.onStatus != nil {
		if err := w.onStatus(w.looks, &s); err != nil {
			return Status{}, err
		}
	}
	return s, nil
}

// Timeline implements Pipeline.
func (w *world) Timeline(context.Context) (event.Timeline, error) { return w.timeline, nil }

// Ledger implements Pipeline.
func (w *world) Ledger(_ context.Context, from, to uint64) (Ledger, error) {
	l := Ledger{From: from, To: to, Stacks: map[event.Stack]StackLedger{event.Green: {}, event.Blue: {}}}
	buckets := map[uint64]*LedgerBucket{}
	for _, r := range w.accepted {
		if r.frame < from || r.frame > to {
			continue
		}
		l.Totals.Add(r.id, 100, r.at)
		b := buckets[r.frame/4]
		if b == nil {
			b = &LedgerBucket{First: r.frame / 4 * 4, Last: r.frame/4*4 + 3}
			buckets[r.frame/4] = b
		}
		b.Totals.Add(r.id, 100, r.at)
	}
	for _, b := range buckets {
		l.Buckets = append(l.Buckets, *b)
	}
	slices.SortFunc(l.Buckets, func(a, b LedgerBucket) int { return int(a.First) - int(b.First) })
	for s, h := range w.holes {
		out := StackLedger{}
		for _, p := range h.Dead {
			if p.Frame >= from && p.Frame <= to {
				out.Dead = append(out.Dead, p)
			}
		}
		for _, x := range h.Holes {
			inside := false
			for _, r := range w.accepted {
				at := event.Cursor{Frame: r.frame, Request: r.request}
				if r.frame >= from && r.frame <= to && x.From.Compare(at) <= 0 && at.Compare(x.To) < 0 {
					inside = true
					if x.Sample != nil && x.Sample.Keeps(&event.Request{Id: r.id[:]}) {
						continue
					}
					if x.Reason == "expired" {
						out.Expired.Add(r.id, 100, r.at)
					} else {
						out.Sampled.Add(r.id, 100, r.at)
					}
				}
			}
			if inside {
				out.Holes = append(out.Holes, x)
			}
		}
		l.Stacks[s] = out
	}
	if w.onLedger != nil {
		if err := w.onLedger(&l); err != nil {
			return Ledger{}, err
		}
	}
	return l, nil
}

// collect gathers the evidence.
func (w *world) collect(e Warehouse, o Options) *Evidence {
	w.t.Helper()
	ev, err := Collect(context.Background(), Sources{Pipeline: w, Warehouse: e}, o)
	if err != nil {
		w.t.Fatalf("collect: %v", err)
	}
	return ev
}
