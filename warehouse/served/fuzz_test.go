package served

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// FuzzBatch decodes anything; what decodes comes out the same after encoding it again.
func FuzzBatch(f *testing.F) {
	for _, b := range []*warehouse.Batch{
		{Stack: event.Green},
		{Stack: event.Blue, Run: 1, Stage: "raw", Journal: "j", From: event.Cursor{Frame: 1, Request: 2}, To: event.Cursor{Frame: 3}, Controls: []*event.ControlEntry{{Sequence: 1, Record: []byte("{}")}},
			Rows: []warehouse.Row{
				{Position: event.Position{Frame: 1, Request: 2, Item: 3}, EventID: "id\xff", Timestamp: -5, Event: "e\x00", Data: []byte{0, 255}, ItemsInRequest: 4, Build: "b", Context: []byte("{}")},
				{Position: event.Position{Frame: math.MaxUint64, Request: math.MaxUint32, Item: math.MaxUint32}, Timestamp: math.MaxInt64, ItemsInRequest: math.MaxUint32},
			}},
		{Stack: event.Green, Stage: "ga4", Journal: "j", From: event.Cursor{Frame: 7}, To: event.Cursor{Frame: 9}, Outcomes: []warehouse.Outcome{
			{Position: event.Position{Frame: 7, Request: 1, Item: 2}, Timestamp: 1_700_000_000_000_000, Build: "b", Event: "e\xff", Sink: "production", Outcome: "delivered", Reason: "r", Status: 204, Attempts: 2, Digest: math.MaxUint64, Latency: -3, Request: []byte{}, Response: []byte("answer\x00")},
			{Position: event.Position{Frame: math.MaxUint64, Request: math.MaxUint32, Item: math.MaxUint32}, Timestamp: math.MinInt64, Build: "b", Status: math.MinInt32, Attempts: math.MaxUint32, Latency: math.MaxInt64, Revision: 3},
			{Timestamp: math.MaxInt64, Request: []byte("request")},
		}},
	} {
		data, err := encodeBatch(b)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := decodeBatch(data)
		if err != nil {
			return
		}
		again, err := encodeBatch(b)
		if err != nil {
			t.Fatal(err)
		}
		c, err := decodeBatch(again)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(describeBatch(b), describeBatch(c)); diff != "" {
			t.Fatal(diff)
		}
	})
}

func describeBatch(b *warehouse.Batch) string {
	s := fmt.Sprintf("%q %d %q %q %v %v\n", b.Stack, b.Run, b.Stage, b.Journal, b.From, b.To)
	for _, c := range b.Controls {
		s += fmt.Sprintf("%d %q\n", c.GetSequence(), c.GetRecord())
	}
	for _, r := range b.Rows {
		s += fmt.Sprintf("%v %q %d %q %q %d %q %q\n", r.Position, r.EventID, r.Timestamp, r.Event, r.Data, r.ItemsInRequest, r.Build, r.Context)
	}
	for _, o := range b.Outcomes {
		s += fmt.Sprintf("%+v %v %v\n", o, o.Request == nil, o.Response == nil)
	}
	return s
}

func TestBatchesComeBack(t *testing.T) {
	b := &warehouse.Batch{Stack: event.Green, Stage: "ga4", Journal: "j", From: event.Cursor{Frame: 7}, To: event.Cursor{Frame: 9}, Outcomes: []warehouse.Outcome{
		{Position: event.Position{Frame: 7, Request: 1, Item: 2}, Timestamp: 1_700_000_000_000_000, Build: "b", Event: "e\xff", Sink: "production", Outcome: "delivered", Reason: "r", Status: 204, Attempts: 2, Digest: math.MaxUint64, Latency: -3, Request: []byte{}, Response: []byte("answer\x00")},
		{Position: event.Position{Frame: math.MaxUint64, Request: math.MaxUint32, Item: math.MaxUint32}, Timestamp: math.MinInt64, Build: "b", Status: math.MinInt32, Attempts: math.MaxUint32, Latency: math.MaxInt64, Revision: 3},
		{Timestamp: math.MaxInt64, Request: []byte("request")},
	}}
	data, err := encodeBatch(b)
	if err != nil {
		t.Fatal(err)
	}
	back, err := decodeBatch(data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(b, back); diff != "" {
		t.Errorf("(-sent +received):\n%s", diff)
	}
}

// TestOldFormat reads a batch as the build before outcomes wrote it, and refuses outcomes under its number.
func TestOldFormat(t *testing.T) {
	old := &Batch{Format: 1, Stack: "green", Stage: "raw", Journal: "j", ToFrame: 3, Frame: []uint64{2}, Request: []uint32{0}, Item: []uint32{0}, ItemsInRequest: []uint32{1},
		Timestamp: []int64{5}, EventIdBytes: []uint32{2}, DataBytes: []uint32{2}, Event: []uint32{0}, Build: []uint32{1}, Context: []uint32{2}, EventIds: []byte("id"), Data: []byte("{}"), Words: [][]byte{[]byte("e"), []byte("b"), []byte("{}")}}
	data, err := proto.Marshal(old)
	if err != nil {
		t.Fatal(err)
	}
	b, err := decodeBatch(data)
	if err != nil {
		t.Fatal(err)
	}
	want := []warehouse.Row{{Position: event.Position{Frame: 2}, EventID: "id", Timestamp: 5, Event: "e", Data: []byte("{}"), ItemsInRequest: 1, Build: "b", Context: []byte("{}")}}
	if diff := cmp.Diff(want, b.Rows); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	again, err := encodeBatch(b)
	if err != nil {
		t.Fatal(err)
	}
	m := new(Batch)
	if err := proto.Unmarshal(again, m); err != nil || m.Format != 1 {
		t.Errorf("a batch of rows has format %d, %v: the build before could not read it", m.Format, err)
	}
	with, err := encodeBatch(&warehouse.Batch{Stack: event.Green, Stage: "ga4", Outcomes: []warehouse.Outcome{{Outcome: "dead"}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := proto.Unmarshal(with, m); err != nil || m.Format != 2 {
		t.Errorf("a batch of outcomes has format %d, %v: the build before would take it and drop them", m.Format, err)
	}
	m.Format = 1
	if data, err = proto.Marshal(m); err != nil {
		t.Fatal(err)
	}
	if b, err := decodeBatch(data); err == nil {
		t.Errorf("outcomes under format 1 are read as %v", b)
	}
}

// FuzzRows reads anything as an answer: it ends, without a panic, and only a whole answer ends with io.EOF.
func FuzzRows(f *testing.F) {
	var whole bytes.Buffer
	w := &rowsWriter{w: &whole, flush: func() error { return nil }}
	w.sendJSON(blockColumns, []warehouse.Column{{Name: "a", Type: "X"}, {Name: "b", Type: "Y"}})
	for _, v := range values {
		if err := w.row([]any{v, v}); err != nil {
			f.Fatal(err)
		}
	}
	w.sendRows()
	w.sendJSON(blockEnd, end{Rows: w.rows})
	f.Add(whole.Bytes())
	f.Add([]byte("C\x02[]R\x01nE\x02{}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := &rowsReader{r: bufio.NewReader(bytes.NewReader(data))}
		if err := r.open(); err != nil {
			return
		}
		var err error
		for n := 0; err == nil; n++ {
			if n > len(data) {
				t.Fatal("more rows than bytes")
			}
			_, err = r.next()
		}
		if errors.Is(err, io.EOF) && r.end == nil {
			t.Fatalf("ends with %v and no end", err)
		}
	})
}

var values = []any{
	nil, true, false, int64(0), int64(math.MinInt64), int64(math.MaxInt64), uint64(0), uint64(math.MaxUint64), 0.0, math.Copysign(0, -1), math.Inf(1), math.NaN(), 5e-324,
	"", "text \x00 \xff", []byte{}, []byte{0, 255}, time.Unix(0, 0).UTC(), time.Unix(-1, 999_999_999).UTC(), time.Date(290000, 1, 1, 0, 0, 0, 1000, time.UTC), time.Date(-5000, 1, 1, 0, 0, 0, 0, time.UTC),
	big.NewInt(0), new(big.Int).Lsh(big.NewInt(-1), 127), new(big.Int).Lsh(big.NewInt(1), 300),
}

func TestValuesComeBack(t *testing.T) {
	var all []byte
	for _, v := range values {
		var err error
		if all, err = appendValue(all, v); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range values {
		var got any
		var err error
		if got, all, err = readValue(all); err != nil {
			t.Fatalf("%v: %v", want, err)
		}
		same := cmp.Equal(want, got, cmp.Comparer(func(a, b *big.Int) bool { return a.Cmp(b) == 0 }), cmp.Comparer(func(a, b float64) bool { return math.Float64bits(a) == math.Float64bits(b) }))
		if !same {
			t.Errorf("%T %v came back as %T %v", want, want, got, got)
		}
	}
	if len(all) > 0 {
		t.Errorf("%d bytes are left", len(all))
	}
	if _, err := appendValue(nil, 5); err == nil {
		t.Error("an int is no value of an answer, but is sent")
	}
}

// BenchmarkBatch encodes and decodes a batch of outcomes.
func BenchmarkBatch(b *testing.B) {
	const n = 10_000
	batch := &warehouse.Batch{Stack: event.Green, Stage: "ga4", Journal: "j"}
	for i := range n {
		batch.Outcomes = append(batch.Outcomes, warehouse.Outcome{
			Position: event.Position{Frame: uint64(1_000_000 + i/10), Request: uint32(i % 10)}, Timestamp: 1_753_300_000_000_000 + int64(i)*700, Build: "7f3a", Event: []string{"pageview", "click", "scroll"}[i*7%3],
			Sink: "production", Outcome: "delivered", Status: 204, Attempts: 1, Digest: uint64(i) * 11400714819323198485, Latency: 30_000 + int64(i*2654435761%500_000),
		})
	}
	b.ReportAllocs()
	var size int
	for b.Loop() {
		data, err := encodeBatch(batch)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := decodeBatch(data); err != nil {
			b.Fatal(err)
		}
		size = len(data)
	}
	b.ReportMetric(float64(size)/n, "bytes/outcome")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/outcome")
}
