package mirror

import (
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/journal"
)

func frameOf(t testing.TB, n int) []byte {
	t.Helper()
	var frame []byte
	for range n {
		id := uuid.Must(uuid.NewV7())
		var err error
		if frame, err = event.AppendRequest(frame, &event.Request{Id: id[:], Body: make([]byte, rand.IntN(50))}); err != nil {
			t.Fatal(err)
		}
	}
	return frame
}

// Whatever is dead or expired, and however deliveries are bounded, they cover every position once and in order: in a
// frame, or under a hole, with the right counts.
func TestPlanCoversEverythingOnce(t *testing.T) {
	timeline, err := event.Timeline{}.Append(event.Record{Sequence: 1, Control: event.Control{Kind: event.Initial, Generation: 1, Live: event.Green}})
	if err != nil {
		t.Fatal(err)
	}
	for round := range 2000 {
		random := rand.New(rand.NewPCG(uint64(round), 1))
		var window []item
		want := map[event.Cursor]string{} // position → frame, dead, expired
		a := &account{stack: event.Blue}
		next := uint64(1)
		for range 1 + random.IntN(12) {
			switch random.IntN(6) {
			case 0:
				window = append(window, item{Entry: journal.Entry{Kind: journal.Control, Sequence: next, First: next, Last: next}})
				next++
			case 1:
				last := next + random.Uint64N(3)
				window = append(window, item{Entry: journal.Entry{Kind: journal.Gap, Sequence: last, First: next, Last: last}})
				if random.IntN(2) == 0 {
					a.expire(expiry{From: event.Cursor{Frame: next}, To: event.AfterFrame(last), Totals: event.Totals{Requests: 7}})
				}
				next = last + 1
			default:
				n := 1 + random.IntN(6)
				data := frameOf(t, n)
				window = append(window, item{Entry: journal.Entry{Kind: journal.Frame, Sequence: next, First: next, Last: next, Data: data}, requests: uint32(n)})
				for i := range n {
					c := event.Cursor{Frame: next, Request: uint32(i)}
					want[c] = "frame"
					if random.IntN(8) == 0 {
						a.bury(c)
						want[c] = reasonDead
					}
				}
				if random.IntN(8) == 0 { // given up from inside the frame on
					from := event.Cursor{Frame: next, Request: uint32(random.IntN(n))}
					a.expire(expiry{From: from, To: event.AfterFrame(next), Totals: event.Totals{Requests: uint64(n) - uint64(from.Request)}})
					for i := from.Request; i < uint32(n); i++ {
						want[event.Cursor{Frame: next, Request: i}] = reasonExpired
					}
				}
				next++
			}
		}
		got := map[event.Cursor]string{}
		limit := bounds{bytes: 1 + random.IntN(400), requests: uint32(random.IntN(4))}
		c := event.Cursor{}
		for steps := 0; ; steps++ {
			d := plan(c, window, a, timeline, limit)
			if d.from != c || d.to.Compare(c) < 0 || steps > 200 {
				t.Fatalf("round %d: from %v: delivery [%v, %v)", round, c, d.from, d.to)
			}
			if d.to == c {
				break
			}
			within := uint64(0)
			for _, f := range d.frames {
				n, err := countRequests(f.data)
				if err != nil {
					t.Fatal(err)
				}
				for i := range n {
					at := event.Cursor{Frame: f.sequence, Request: i}
					if at.Compare(d.from) < 0 || at.Compare(d.to) >= 0 {
						continue
					}
					if was := got[at]; was != "" {
						t.Fatalf("round %d: %v is delivered, and was %s", round, at, was)
					}
					got[at] = "frame"
					within++
				}
			}
			if within != d.requests {
				t.Fatalf("round %d: delivery [%v, %v) says %d requests, holds %d", round, d.from, d.to, d.requests, within)
			}
			for _, h := range d.holes {
				for at := range want {
					if h.From.Compare(at) <= 0 && at.Compare(h.To) < 0 {
						if was := got[at]; was != "" {
							t.Fatalf("round %d: %v is under a hole, and was %s", round, at, was)
						}
						got[at] = h.Reason
					}
				}
			}
			c = d.to
		}
		if c != event.AfterFrame(next-1) {
			t.Fatalf("round %d: ended at %v, the window ends at %d", round, c, next-1)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("round %d (-want +got):\n%s", round, diff)
		}
	}
}

// What goes out reads back as the delivery that was meant.
func TestDeliveryEncoding(t *testing.T) {
	d := &delivery{
		journal:  "8f14e45f-ceea-467f-9a38-7a0a0a0a0a0a",
		from:     event.Cursor{Frame: 3, Request: 2},
		to:       event.Cursor{Frame: 9, Request: 1},
		controls: []event.Record{{Sequence: 4, Bytes: []byte(`{"a":1}`)}, {Sequence: 12, Bytes: []byte(`{}`)}},
		holes:    []Hole{{From: event.Cursor{Frame: 3, Request: 2}, To: event.Cursor{Frame: 5}, Reason: reasonExpired, Requests: 300}},
		frames:   []deliveredFrame{{sequence: 5, live: event.Green, generation: 1, data: frameOf(t, 3)}, {sequence: 9, live: event.Blue, generation: 300, data: frameOf(t, 200)}},
	}
	body, size := d.body()
	data, err := io.ReadAll(body)
	if err != nil || int64(len(data)) != size {
		t.Fatalf("%d bytes, %d announced, %v", len(data), size, err)
	}
	got, err := event.DecodeDelivery(data)
	if err != nil {
		t.Fatal(err)
	}
	want := &event.Delivery{
		Format: event.DeliveryFormat, Journal: d.journal, FromFrame: 3, FromRequest: 2, ToFrame: 9, ToRequest: 1,
		Controls: []*event.ControlEntry{{Sequence: 4, Record: []byte(`{"a":1}`)}, {Sequence: 12, Record: []byte(`{}`)}},
		Holes:    []*event.Hole{{FromFrame: 3, FromRequest: 2, ToFrame: 5, Reason: "expired", Requests: 300}},
		Frames: []*event.DeliveredFrame{{Sequence: 5, Live: "green", Generation: 1, Data: d.frames[0].data},
			{Sequence: 9, Live: "blue", Generation: 300, Data: d.frames[1].data}},
	}
	if !proto.Equal(want, got) {
		t.Errorf("want %v\ngot %v", want, got)
	}
	small := make([]byte, 7)
	body, _ = d.body()
	var again []byte
	for {
		n, err := body.Read(small)
		again = append(again, small[:n]...)
		if err == io.EOF {
			break
		}
	}
	if !slices.Equal(again, data) {
		t.Error("read in small pieces it reads differently")
	}
}

// Counting a frame's requests without decoding agrees with decoding.
func FuzzCountRequests(f *testing.F) {
	f.Add(frameOf(f, 0))
	f.Add(frameOf(f, 1))
	f.Add(frameOf(f, 5))
	f.Add([]byte{10})
	f.Add([]byte{10, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1})
	f.Add([]byte{11, 12, 18, 1, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		n, err := countRequests(data)
		decoded, want := event.DecodeFrame(data)
		if want != nil {
			return
		}
		if err != nil || int(n) != len(decoded.Requests) {
			t.Fatalf("counted %d, %v; decoded %d", n, err, len(decoded.Requests))
		}
		for i, r := range decoded.Requests {
			encoded, id, err := requestAt(data, uint32(i))
			var again event.Request
			if err != nil || !slices.Equal(id, r.Id) || proto.Unmarshal(encoded, &again) != nil || !proto.Equal(&again, r) {
				t.Fatalf("request %d: %v", i, err)
			}
		}
		if _, _, err := requestAt(data, n); err == nil {
			t.Fatalf("there is a request %d of %d", n, n)
		}
	})
}

func FuzzDecodeLine(f *testing.F) {
	f.Add([]byte(`{"format":1,"first":1,"last":1023,"totals":{"requests":1,"idSum":"5"},"through":{"requests":1,"idSum":"5"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if l, err := decodeLine(data); err == nil && (l.Format != lineFormat || l.Last < l.First || l.Last-l.First >= lineSpan) {
			t.Fatalf("%+v", l)
		}
	})
}

func FuzzDecodeAccount(f *testing.F) {
	f.Add([]byte(`{"format":1,"cursor":{"frame":5,"request":2},"delivered":7,"expired":[{"from":{"frame":1},"to":{"frame":3}}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		a := &account{stack: event.Green}
		if _, err := a.decode(data); err != nil {
			return
		}
		again, _, err := a.encode(0)
		if err != nil {
			t.Fatal(err)
		}
		b := &account{stack: event.Green}
		if _, err := b.decode(again); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(a.snapshot(), b.snapshot(), cmp.AllowUnexported(standing{})); diff != "" {
			t.Fatal(diff)
		}
		a.holeAt(event.Cursor{Frame: 2})
		a.frames(0, nil)
	})
}
