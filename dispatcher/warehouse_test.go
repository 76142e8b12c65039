package dispatcher_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/service/reserve"
	"github.com/sparrowhq/sparrow/telemetry"
	"github.com/sparrowhq/sparrow/warehouse"
	"github.com/sparrowhq/sparrow/warehouse/duckdb"
	"github.com/sparrowhq/sparrow/warehouse/served"
)

// warehouseProcess is a DuckDB warehouse behind its server, as a dispatcher meets it.
type warehouseProcess struct {
	t       testing.TB
	path    string
	address string
	engine  *duckdb.Engine
	server  *httptest.Server
	*served.Client
}

func startWarehouse(t testing.TB) *warehouseProcess {
	t.Helper()
	w := &warehouseProcess{t: t, path: filepath.Join(t.TempDir(), "warehouse", "warehouse.duckdb"), address: reserve.ForTest(t)}
	w.open()
	var err error
	if w.Client, err = served.New(served.ClientOptions{URL: w.server.URL, Secret: secret}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.Client.Close()
		w.close()
	})
	return w
}

func (w *warehouseProcess) open() {
	w.t.Helper()
	var err error
	if w.engine, err = duckdb.Open(duckdb.Options{Path: w.path}); err != nil {
		w.t.Fatal(err)
	}
	w.server = httptest.NewUnstartedServer(served.Handler(served.Options{Warehouse: w.engine, Secret: secret}))
	w.server.Listener.Close()
	w.server.Listener = listen(w.t, w.address)
	w.server.Start()
}

func (w *warehouseProcess) close() {
	w.t.Helper()
	w.server.CloseClientConnections()
	w.server.Close()
	if err := w.engine.Close(); err != nil {
		w.t.Error(err)
	}
}

// restart stops the warehouse's process and starts it again at its address.
func (w *warehouseProcess) restart() {
	w.t.Helper()
	w.close()
	w.open()
}

// row is a row of raw, as SQL sees it; data holds dataBytes where that is set.
type row struct {
	eventID, event, build, context string
	data                           []byte
	at                             time.Time
	position                       event.Position
	items                          uint32
}

func (w *warehouseProcess) raw(stack event.Stack) (rows []row) {
	w.t.Helper()
	answer, err := w.Query(w.t.Context(), warehouse.Query{SQL: `SELECT "eventId", event, build, context, data, "dataBytes", "timestamp", frame, request, item, "itemsInRequest"
		FROM ` + string(stack) + `.raw ORDER BY frame, request, item`, Limit: 1 << 30})
	if err != nil {
		w.t.Fatal(err)
	}
	defer answer.Close()
	for {
		v, err := answer.Next()
		if errors.Is(err, io.EOF) {
			return rows
		}
		if err != nil {
			w.t.Fatal(err)
		}
		if (v[4] == nil) == (v[5] == nil) {
			w.t.Fatalf("row %v: one of data and dataBytes must be set", v)
		}
		r := row{eventID: v[0].(string), event: v[1].(string), build: v[2].(string), context: v[3].(string), at: v[6].(time.Time)}
		if v[4] != nil {
			r.data = []byte(v[4].(string))
		} else {
			r.data = v[5].([]byte)
		}
		r.position = event.Position{Frame: uint64(v[7].(int64)), Request: uint32(v[8].(int64)), Item: uint32(v[9].(int64))}
		r.items = uint32(v[10].(int64))
		rows = append(rows, r)
	}
}

// initial is a journal's first control record.
func initial(t testing.TB) *event.ControlEntry {
	t.Helper()
	data, err := event.Control{Format: event.ControlFormat, Generation: 1, Kind: event.Initial, Live: event.Green, At: 1}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return &event.ControlEntry{Sequence: 1, Record: data}
}

// Promise 5 as far as the disk: every payload in every form, through both stacks, the warehouse's server and DuckDB,
// comes out with the bytes that went in; and what the dispatcher made for a real warehouse is what it made in memory.
func TestRawIsRawInDuckDB(t *testing.T) {
	w, m := startWarehouse(t), newMemory()
	var requests []*event.Request
	for name, text := range payloads(t) {
		odd := append(bytes.Clone(text), "\x00\xff"...)
		broken := bytes.Replace(text, []byte(`"`), []byte("\"\xc3("), 2)
		nul := bytes.Replace(text, []byte(`":`), []byte(`\u0000":`), 1)
		for _, b := range [][]byte{text, odd, broken, nul, text[:len(text)/2], {}} {
			requests = append(requests, request(len(requests), b, "User-Agent", name+"\x7f\xff", "Referer", "https://example.com/é"))
		}
		requests = append(requests, request(len(requests), gzipped(t, broken), "Content-Encoding", "gzip"), request(len(requests)+1, gzipped(t, text)[:20], "Content-Encoding", "gzip"))
	}
	var frames []*event.DeliveredFrame
	for chunk := range slices.Chunk(requests, 50) {
		frames = append(frames, frame(t, uint64(len(frames)+2), chunk...)) // the control record is 1
	}
	whole := delivery(frames...)
	whole.FromFrame, whole.Controls = 0, []*event.ControlEntry{initial(t)}

	start(t, options(m)).sendWhole(whole)
	for _, s := range event.Stacks() {
		o := options(m)
		o.Stack, o.Warehouse, o.Journals, o.MaxAppendRows = s, w, w, 777
		disp := start(t, o)
		for range 2 { // the second time nothing is new
			if got := disp.send(whole); got.Status != http.StatusOK || got.Cursor.Compare(whole.To()) < 0 {
				t.Fatalf("%s: %+v", s, got)
			}
		}
		got := disp.do(http.MethodGet, "/v1/cursors", "", nil)
		if got.Stages["raw"] != whole.To() || len(got.Journals) != 1 || got.Journals[0].ID != "j1" {
			t.Errorf("%s: cursors %+v", s, got)
		}
	}

	want := m.raw()
	for _, s := range event.Stacks() {
		got := w.raw(s)
		if len(got) != len(want) {
			t.Fatalf("%s has %d rows, want %d", s, len(got), len(want))
		}
		for i, r := range got {
			x := want[i]
			if r.position != x.Position || r.eventID != x.EventID || r.event != x.Event || r.build != x.Build || r.items != x.ItemsInRequest ||
				!bytes.Equal(r.data, x.Data) || r.context != string(x.Context) || r.at.UnixMicro() != x.Timestamp {
				t.Fatalf("%s: row %+v\nwant %+v", s, r, x)
			}
		}
	}
}

// The warehouse stops and starts again between and during deliveries: the feed hears 503 and goes on, and in the end
// everything is there once.
func TestWarehouseRestarts(t *testing.T) {
	w := startWarehouse(t)
	o := options(newMemory())
	o.Warehouse, o.Journals, o.MaxAppendRows, o.AppendTimeout = w, w, 20, 10*time.Second
	s := start(t, o)
	const frames, each = 60, 5
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var at event.Cursor
	sent, refused := 0, 0
	for at.Frame <= frames+1 {
		if ctx.Err() != nil {
			t.Fatalf("stuck at %v", at)
		}
		last := min(at.Frame+7, frames+1)
		d := &event.Delivery{Format: 1, Journal: "j1", FromFrame: at.Frame, FromRequest: at.Request, ToFrame: last + 1, Controls: []*event.ControlEntry{initial(t)}}
		for f := max(at.Frame, 2); f <= last; f++ {
			d.Frames = append(d.Frames, small(t, f, each))
		}
		restarted := make(chan struct{})
		if sent++; sent%3 == 1 { // this one meets a warehouse that goes away
			go func() {
				defer close(restarted)
				w.restart()
			}()
		} else {
			close(restarted)
		}
		got := s.send(d)
		<-restarted
		switch got.Status {
		case http.StatusOK, http.StatusConflict:
			at = *got.Cursor
		case http.StatusServiceUnavailable:
			refused++
		default:
			t.Fatalf("%+v", got)
		}
	}
	rows := w.raw(event.Green)
	if len(rows) != frames*each {
		t.Errorf("%d rows, want %d", len(rows), frames*each)
	}
	for i, r := range rows {
		if want := (event.Position{Frame: uint64(2 + i/each), Request: uint32(i % each)}); r.position != want {
			t.Fatalf("row %d is %v, want %v", i, r.position, want)
		}
	}
	if refused == 0 {
		t.Error("the warehouse was never away: the test shows nothing")
	}
}

func TestWarehouseRefusesAnotherJournal(t *testing.T) {
	w := startWarehouse(t)
	o := options(newMemory())
	o.Warehouse, o.Journals = w, w
	s := start(t, o)
	first := delivery(small(t, 2, 1))
	first.FromFrame, first.Controls = 0, []*event.ControlEntry{initial(t)}
	s.sendWhole(first)
	other := delivery(small(t, 2, 1)) // as if it were applied already
	other.Journal = "j2"
	if got := s.send(other); got.Status != http.StatusConflict || got.Reason != "journal" || got.Cursor == nil || *got.Cursor != (event.Cursor{Frame: 3}) {
		t.Errorf("%+v", got)
	}
}

// Events per second through one stack: HTTP, splitting, the warehouse's server, DuckDB, both in this process.
func BenchmarkDuckDB(b *testing.B) {
	w := startWarehouse(b)
	o := options(newMemory())
	o.Warehouse, o.Journals, o.Telemetry = w, w, telemetry.Discard()
	s := start(b, o)
	const perDelivery = 2000
	sequence := uint64(2)
	b.ResetTimer()
	for n := 0; n < b.N; n += perDelivery {
		b.StopTimer()
		d := &event.Delivery{Format: 1, Journal: "j1", FromFrame: sequence, Controls: []*event.ControlEntry{initial(b)}}
		if sequence == 2 {
			d.FromFrame = 0
		}
		for range perDelivery / 2 {
			d.Frames = append(d.Frames, frame(b, sequence, request(2*int(sequence), event230(0), "User-Agent", "Mozilla/5.0"), request(2*int(sequence)+1, event230(1), "User-Agent", "Mozilla/5.0")))
			sequence++
		}
		d.ToFrame = sequence
		b.StartTimer()
		s.sendWhole(d)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}
