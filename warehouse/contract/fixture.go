package contract

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// history is a journal with its timeline, from which batches are cut.
type history struct {
	journal  string
	timeline event.Timeline
	next     uint64 // next sequence of the stream
	frames   map[uint64][]warehouse.Row
}

func newHistory(journal string) *history {
	return &history{journal: journal, next: 1, frames: map[uint64][]warehouse.Row{}}
}

// control appends a control record to the stream.
func (h *history) control(t *testing.T, kind event.Kind, live event.Stack, from uint64) *event.ControlEntry {
	t.Helper()
	c := event.Control{Format: event.ControlFormat, Generation: 1, Kind: kind, Live: live, From: from, At: 1_700_000_000_000_000 + int64(h.next), Reason: h.journal}
	if head, ok := h.timeline.Head(); ok && kind != event.Initial {
		c.Generation, c.Previous = head.Generation+1, head.Hash()
	}
	data, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	r, err := event.DecodeRecord(h.next, data)
	if err != nil {
		t.Fatal(err)
	}
	if h.timeline, err = h.timeline.Append(r); err != nil {
		t.Fatal(err)
	}
	h.next++
	return r.Entry()
}

// frame appends a frame with the given number of items in each of its requests; 0 is an empty list, one row.
func (h *history) frame(items ...int) uint64 {
	seq := h.next
	h.next++
	var rows []warehouse.Row
	for request, n := range items {
		id := uuid.UUID{6: 0x70, 8: 0x80, 9: byte(len(h.journal)), 12: byte(seq >> 16), 13: byte(seq >> 8), 14: byte(seq), 15: byte(request)}
		for item := range max(n, 1) {
			rows = append(rows, warehouse.Row{
				Position:  event.Position{Frame: seq, Request: uint32(request), Item: uint32(item)},
				EventID:   event.ID(id, uint32(item), n != 1),
				Timestamp: 1_700_000_000_000_000 + int64(seq)*1000 + int64(request),
				Event:     []string{"pageview", "click", "order placed"}[(int(seq)+item)%3],
				Data:      fmt.Appendf(nil, `{"event":"e","properties":{"frame":%d,"request":%d,"item":%d}}`, seq, request, item), ItemsInRequest: uint32(n),
				Build: "b1", Context: []byte(`{"origin":"https://shop.example","n":` + fmt.Sprint(seq%7) + `}`),
			})
		}
	}
	h.frames[seq] = rows
	return seq
}

// batch covers [from, to) for a stack.
func (h *history) batch(stack event.Stack, from, to event.Cursor, controls ...*event.ControlEntry) *warehouse.Batch {
	b := &warehouse.Batch{Stack: stack, Stage: warehouse.Raw, Journal: h.journal, From: from, To: to, Controls: controls}
	for seq := from.Frame; seq <= to.Frame && seq < h.next; seq++ {
		for _, r := range h.frames[seq] {
			at := event.Cursor{Frame: r.Frame, Request: r.Request}
			if at.Compare(from) >= 0 && at.Compare(to) < 0 {
				b.Rows = append(b.Rows, r)
			}
		}
	}
	return b
}

// rows returns every row of the journal, in order.
func (h *history) rows() []warehouse.Row {
	var all []warehouse.Row
	for seq := range h.next {
		all = append(all, h.frames[seq]...)
	}
	return all
}

func (h *history) end() event.Cursor { return event.Cursor{Frame: h.next} }

// mustAppend appends and checks the cursor.
func mustAppend(t *testing.T, w warehouse.Warehouse, b *warehouse.Batch) {
	t.Helper()
	c, err := w.Append(t.Context(), b)
	if err != nil {
		t.Fatalf("append [%v, %v) of %s: %v", b.From, b.To, b.Stack, err)
	}
	if c.Compare(b.To) < 0 {
		t.Fatalf("append [%v, %v) of %s: cursor %v is below the end", b.From, b.To, b.Stack, c)
	}
}

// ask returns all rows of an answer.
func ask(t *testing.T, w warehouse.Warehouse, sql string, args ...any) [][]any {
	t.Helper()
	rows, err := read(t.Context(), w, warehouse.Query{SQL: sql, Args: args, Limit: 1 << 30})
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return rows
}

func read(ctx context.Context, w warehouse.Warehouse, q warehouse.Query) ([][]any, error) {
	rows, err := w.Query(ctx, q)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all [][]any
	for {
		row, err := rows.Next()
		if errors.Is(err, io.EOF) {
			return all, rows.Close()
		}
		if err != nil {
			return all, err
		}
		all = append(all, row)
	}
}

const rawColumns = `frame, request, item, "eventId", "timestamp", event, data, "dataBytes", "itemsInRequest", build, context`

// stored returns the rows of a table or view of run 0, by position.
func stored(t *testing.T, w warehouse.Warehouse, table string) []warehouse.Row {
	t.Helper()
	return decode(t, ask(t, w, "SELECT "+rawColumns+" FROM "+table+" WHERE run = 0 ORDER BY frame, request, item"))
}

func decode(t *testing.T, rows [][]any) []warehouse.Row {
	t.Helper()
	var out []warehouse.Row
	for _, v := range rows {
		r := warehouse.Row{
			Position:  event.Position{Frame: uint64(v[0].(int64)), Request: uint32(v[1].(int64)), Item: uint32(v[2].(int64))},
			EventID:   v[3].(string),
			Timestamp: v[4].(time.Time).UnixMicro(), Event: v[5].(string), ItemsInRequest: uint32(v[8].(int64)), Build: v[9].(string),
		}
		switch data, bytes := v[6], v[7]; {
		case data != nil && bytes == nil:
			r.Data = []byte(data.(string))
		case data == nil && bytes != nil:
			r.Data = bytes.([]byte)
		default:
			t.Fatalf("row %v has data %T and dataBytes %T: want exactly one", r.Position, data, bytes)
		}
		if v[10] != nil {
			r.Context = []byte(v[10].(string))
		}
		out = append(out, r)
	}
	return out
}

// equalRows compares rows byte by byte.
func equalRows(t *testing.T, what string, want, got []warehouse.Row) {
	t.Helper()
	if len(want) != len(got) {
		t.Errorf("%s: %d rows, want %d", what, len(got), len(want))
	}
	for i := range min(len(want), len(got)) {
		if reflect.DeepEqual(want[i], got[i]) {
			continue
		}
		if diff := cmp.Diff(printable(want[i]), printable(got[i])); diff != "" {
			t.Fatalf("%s, row %d (-want +got):\n%s", what, i, diff)
		}
	}
}

// printable makes a row comparable and its difference readable.
func printable(r warehouse.Row) map[string]any {
	short := func(b []byte) string {
		if len(b) > 300 {
			return fmt.Sprintf("%q… %d bytes, sum %x", b[:100], len(b), sum(b))
		}
		return fmt.Sprintf("%q", b)
	}
	return map[string]any{
		"position": r.Position.String(), "eventId": r.EventID, "timestamp": r.Timestamp, "event": fmt.Sprintf("%q", r.Event),
		"data": short(r.Data), "items": r.ItemsInRequest, "build": r.Build, "context": short(r.Context),
	}
}

func sum(b []byte) (n uint64) {
	for _, c := range b {
		n = n*1099511628211 + uint64(c) + 1
	}
	return n
}

// seed returns a random source, and says how to repeat it.
func seed(t *testing.T) *rand.Rand {
	t.Helper()
	n := uint64(time.Now().UnixNano())
	t.Logf("seed %d", n)
	return rand.New(rand.NewPCG(n, 1))
}

// cuts returns every cursor at which the journal may be cut.
func (h *history) cuts() []event.Cursor {
	all := []event.Cursor{{}}
	for seq := uint64(1); seq < h.next; seq++ {
		all = append(all, event.Cursor{Frame: seq})
		for _, r := range h.frames[seq] {
			if r.Item == 0 && r.Request > 0 {
				all = append(all, event.Cursor{Frame: seq, Request: r.Request})
			}
		}
	}
	return slices.Clip(append(all, h.end()))
}
