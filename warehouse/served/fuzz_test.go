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
	return s
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
