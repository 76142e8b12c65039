package event_test

import (
	"bytes"
	"encoding/hex"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/sparrowhq/sparrow/event"
)

func randomRequest(r *rand.Rand) *event.Request {
	id := randomID(r)
	chosen := func(n int) []byte {
		b := make([]byte, r.IntN(n))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return b
	}
	q := &event.Request{
		Id: id[:], ReceivedAt: r.Int64N(2e15), Method: []byte("POST"), Path: []byte("/v1/events"), Query: chosen(40),
		Body: chosen(300), Client: []byte("203.0.113.9"),
	}
	for range r.IntN(4) {
		q.Headers = append(q.Headers, &event.Header{Name: "User-Agent", Value: chosen(30)})
	}
	return q
}

// A frame grown request by request has the very bytes of one encoded whole, and two frames joined are a frame.
func TestAppendRequestEncodesAsTheMessageDoes(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 6))
	for range 100 {
		want := new(event.Frame)
		var grown []byte
		cut := 0
		for i := range r.IntN(12) {
			q := randomRequest(r)
			want.Requests = append(want.Requests, q)
			var err error
			if grown, err = event.AppendRequest(grown, q); err != nil {
				t.Fatal(err)
			}
			if i == 4 {
				cut = len(grown)
			}
		}
		whole, err := proto.MarshalOptions{Deterministic: true}.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(grown, whole) {
			t.Fatalf("grown and whole differ:\n%x\n%x", grown, whole)
		}
		got, err := event.DecodeFrame(append(bytes.Clone(grown[:cut]), grown[cut:]...))
		if err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(want, got) {
			t.Fatal(cmp.Diff(want, got, protocmp.Transform()))
		}
	}
}

func TestAppendRequestLeavesTheFrameOnError(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	frame, err := event.AppendRequest(nil, randomRequest(r))
	if err != nil {
		t.Fatal(err)
	}
	frame = frame[:len(frame):len(frame)]
	noID, badName := randomRequest(r), randomRequest(r)
	noID.Id = noID.Id[:15]
	badName.Headers = []*event.Header{{Name: "X-\xff"}}
	for what, q := range map[string]*event.Request{"no request": nil, "a short id": noID, "a name that is not UTF-8": badName} {
		got, err := event.AppendRequest(frame, q)
		if err == nil {
			t.Errorf("%s: no error", what)
		}
		if !bytes.Equal(got, frame) {
			t.Errorf("%s: the frame changed", what)
		}
	}
}

func TestDecodeFrameRefuses(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 8))
	good, err := event.AppendRequest(nil, randomRequest(r))
	if err != nil {
		t.Fatal(err)
	}
	short := randomRequest(r)
	short.Id = short.Id[:8]
	bad, err := proto.Marshal(&event.Frame{Requests: []*event.Request{short}})
	if err != nil {
		t.Fatal(err)
	}
	for what, data := range map[string][]byte{
		"cut short":             good[:len(good)-1],
		"a second, cut short":   append(bytes.Clone(good), good[:9]...),
		"an id of 8 bytes":      bad,
		"an id of 8 bytes last": append(bytes.Clone(good), bad...),
		"text":                  []byte("not a frame"),
	} {
		if _, err := event.DecodeFrame(data); err == nil {
			t.Errorf("%s: no error", what)
		}
	}
	if f, err := event.DecodeFrame(nil); err != nil || len(f.Requests) != 0 {
		t.Errorf("an empty frame: %v, %v", f, err)
	}
}

// The journal outlives builds: these bytes must be read for ever as what they were written as.
func TestGoldenDelivery(t *testing.T) {
	const golden = "080112056a2d6f6e65180720032801300438014206080212027b7d4a1308031001180320022a0765787069726564300152" +
		"5c08041205677265656e1802224f0a4d0a1030313233343536373839616263646566108180f9c0c1c482031a04504f5354220a2f7631" +
		"2f6576656e74732a036b3d7732100a0a557365722d4167656e74120275ff3a027b7d42033a3a31"
	frame := &event.Frame{Requests: []*event.Request{{
		Id: []byte("0123456789abcdef"), ReceivedAt: 1700000000000001, Method: []byte("POST"), Path: []byte("/v1/events"),
		Query: []byte("k=w"), Headers: []*event.Header{{Name: "User-Agent", Value: []byte("u\xff")}}, Body: []byte("{}"), Client: []byte("::1"),
	}}}
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(frame)
	if err != nil {
		t.Fatal(err)
	}
	d := &event.Delivery{
		Format: 1, Journal: "j-one", Run: 7, FromFrame: 3, FromRequest: 1, ToFrame: 4, ToRequest: 1,
		Controls: []*event.ControlEntry{{Sequence: 2, Record: []byte("{}")}},
		Holes:    []*event.Hole{{FromFrame: 3, FromRequest: 1, ToFrame: 3, ToRequest: 2, Reason: event.Expired, Requests: 1}},
		Frames:   []*event.DeliveredFrame{{Sequence: 4, Live: "green", Generation: 2, Data: data}},
	}
	got, err := proto.MarshalOptions{Deterministic: true}.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	if hex.EncodeToString(got) != golden {
		t.Errorf("encoded:\n%x, want\n%s", got, golden)
	}
	raw, err := hex.DecodeString(golden)
	if err != nil {
		t.Fatal(err)
	}
	back, err := event.DecodeDelivery(raw)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(d, back, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
}

// delivery is [3.1, 6.2) with frames 3, 5 and 6 and a hole over the first request of frame 5.
func delivery() *event.Delivery {
	return &event.Delivery{
		Format: event.DeliveryFormat, Journal: "j", FromFrame: 3, FromRequest: 1, ToFrame: 6, ToRequest: 2,
		Holes:    []*event.Hole{{FromFrame: 5, ToFrame: 5, ToRequest: 1, Reason: event.Dead, Requests: 1}},
		Frames:   []*event.DeliveredFrame{{Sequence: 3}, {Sequence: 5}, {Sequence: 6}},
		Controls: []*event.ControlEntry{{Sequence: 4}, {Sequence: 9}},
	}
}

func TestDecodeDeliveryChecksItsShape(t *testing.T) {
	hole := func(ff uint64, fr uint32, tf uint64, tr uint32) *event.Hole {
		return &event.Hole{FromFrame: ff, FromRequest: fr, ToFrame: tf, ToRequest: tr, Reason: event.Dead}
	}
	for _, row := range []struct {
		what   string
		change func(*event.Delivery)
		want   string // part of the error; empty: accepted
	}{
		{"as it is", func(*event.Delivery) {}, ""},
		{"control records alone", func(d *event.Delivery) {
			d.ToFrame, d.ToRequest, d.Frames, d.Holes = d.FromFrame, d.FromRequest, nil, nil
		}, ""},
		{"nothing at all", func(d *event.Delivery) { *d = event.Delivery{Format: 1} }, ""},
		{"ends after a whole frame", func(d *event.Delivery) { d.ToFrame, d.ToRequest = 7, 0 }, ""},
		{"holes side by side", func(d *event.Delivery) {
			d.Holes = []*event.Hole{hole(3, 1, 4, 0), hole(4, 0, 6, 0), hole(6, 0, 6, 2)}
			d.Frames = nil
		}, ""},
		{"a newer format", func(d *event.Delivery) { d.Format = 2 }, "upgrade the receiving stack"},
		{"no format", func(d *event.Delivery) { d.Format = 0 }, "format 0"},
		{"ends before it begins", func(d *event.Delivery) { d.ToFrame = 2 }, "ends before"},
		{"a frame below", func(d *event.Delivery) { d.Frames[0].Sequence = 2 }, "frame 2"},
		{"a frame above", func(d *event.Delivery) { d.Frames[2].Sequence = 7 }, "frame 7"},
		{"a frame at the excluded end", func(d *event.Delivery) { d.ToRequest = 0 }, "frame 6"},
		{"a frame twice", func(d *event.Delivery) { d.Frames[1].Sequence = 3 }, "frame 3"},
		{"frames out of order", func(d *event.Delivery) { d.Frames[0].Sequence = 6 }, "frame 5"},
		{"frame 0", func(d *event.Delivery) { d.FromFrame, d.Frames[0].Sequence = 0, 0 }, "frame 0"},
		{"an empty hole", func(d *event.Delivery) { d.Holes[0] = hole(5, 1, 5, 1) }, "hole"},
		{"a hole below", func(d *event.Delivery) { d.Holes[0] = hole(3, 0, 4, 0) }, "hole"},
		{"a hole above", func(d *event.Delivery) { d.Holes[0] = hole(5, 0, 6, 3) }, "hole"},
		{"holes that overlap", func(d *event.Delivery) { d.Holes = []*event.Hole{hole(3, 1, 5, 0), hole(4, 9, 6, 0)} }, "hole"},
		{"a hole for another reason", func(d *event.Delivery) { d.Holes[0].Reason = "bored" }, `"bored"`},
		{"control records out of order", func(d *event.Delivery) { d.Controls[1].Sequence = 4 }, "control record at 4"},
		{"a control record at 0", func(d *event.Delivery) { d.Controls[0].Sequence = 0 }, "control record at 0"},
	} {
		d := delivery()
		row.change(d)
		data, err := proto.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		got, err := event.DecodeDelivery(data)
		switch {
		case row.want == "" && err != nil:
			t.Errorf("%s: %v", row.what, err)
		case row.want == "":
			if diff := cmp.Diff(d, got, protocmp.Transform()); diff != "" {
				t.Errorf("%s: %s", row.what, diff)
			}
		case err == nil || !strings.Contains(err.Error(), row.want):
			t.Errorf("%s: error %v, want one with %q", row.what, err, row.want)
		}
	}
}

func TestDeliveryContains(t *testing.T) {
	d := delivery()
	for _, row := range []struct {
		frame   uint64
		request uint32
		want    bool
	}{{2, 9, false}, {3, 0, false}, {3, 1, true}, {3, 9, true}, {5, 0, false}, {5, 1, true}, {6, 1, true}, {6, 2, false}, {7, 0, false}} {
		if got := d.Contains(row.frame, row.request); got != row.want {
			t.Errorf("(%d, %d): %v, want %v", row.frame, row.request, got, row.want)
		}
	}
}

func FuzzDecodeFrame(f *testing.F) {
	r := rand.New(rand.NewPCG(9, 9))
	var frame []byte
	for range 3 {
		frame, _ = event.AppendRequest(frame, randomRequest(r))
		f.Add(bytes.Clone(frame))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := event.DecodeFrame(data)
		if err != nil {
			return
		}
		var again []byte
		for _, q := range got.Requests {
			if again, err = event.AppendRequest(again, q); err != nil {
				t.Fatalf("a request that was read cannot be written: %v", err)
			}
		}
		back, err := event.DecodeFrame(again)
		if err != nil {
			t.Fatal(err)
		}
		got.ProtoReflect().SetUnknown(nil)
		if diff := cmp.Diff(got, back, protocmp.Transform()); diff != "" {
			t.Error(diff)
		}
	})
}

func FuzzDecodeDelivery(f *testing.F) {
	seed, _ := proto.Marshal(delivery())
	f.Add(seed)
	f.Add([]byte{8, 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := event.DecodeDelivery(data)
		if err != nil {
			return
		}
		for _, q := range d.Frames {
			for _, request := range []uint32{0, 1, d.FromRequest, d.ToRequest, 1 << 31} {
				if d.Contains(q.Sequence, request) && (d.From().Covers(q.Sequence, request) || !d.To().Covers(q.Sequence, request)) {
					t.Errorf("[%v, %v) contains (%d, %d)", d.From(), d.To(), q.Sequence, request)
				}
			}
		}
		for i, h := range d.Holes {
			if i > 0 && h.From().Compare(d.Holes[i-1].To()) < 0 {
				t.Errorf("holes overlap: %v", d.Holes)
			}
			if d.Contains(h.FromFrame, h.FromRequest) {
				t.Errorf("(%d, %d) lies under a hole", h.FromFrame, h.FromRequest)
			}
		}
	})
}

func BenchmarkAppendRequest(b *testing.B) {
	q := randomRequest(rand.New(rand.NewPCG(1, 2)))
	q.Body = make([]byte, 230)
	frame := make([]byte, 0, 1<<20)
	for b.Loop() {
		var err error
		if frame, err = event.AppendRequest(frame[:0], q); err != nil {
			b.Fatal(err)
		}
	}
}
