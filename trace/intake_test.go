package trace_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/telemetry"
	"github.com/sparrowhq/sparrow/trace"
	"github.com/sparrowhq/sparrow/trace/sandbox"
	"github.com/sparrowhq/sparrow/warehouse"
)

// control is a journal's first record.
func control(t testing.TB, sequence uint64) *event.ControlEntry {
	t.Helper()
	b, err := event.Control{Format: event.ControlFormat, Generation: 1, Kind: event.Initial, Live: event.Green}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return &event.ControlEntry{Sequence: sequence, Record: b}
}

func one(t testing.TB, sequence uint64, n int) *event.DeliveredFrame {
	return frame(t, sequence, event.Green, request(n, pageview(n)))
}

func TestDeliveriesThatAreRefused(t *testing.T) {
	v, w := startVendors(t), openWarehouse(t)
	dir := t.TempDir()
	p := start(t, options(t, dir, v, w))
	first := delivery(one(t, 2, 1), one(t, 3, 2))
	first.FromFrame, first.Controls = 0, []*event.ControlEntry{control(t, 1)}
	p.deliver(first)

	var gap *warehouse.GapError
	if _, err := p.forward(delivery(one(t, 5, 3))); !errors.As(err, &gap) || gap.Have != (event.Cursor{Frame: 4}) {
		t.Errorf("past the cursor: %v", err)
	}
	var journal *warehouse.JournalError
	foreign := delivery(one(t, 3, 3), one(t, 4, 4))
	foreign.Journal = "j2"
	if _, err := p.forward(foreign); !errors.As(err, &journal) || journal.Known != "j1" || journal.Got != "j2" || journal.Highest != 3 {
		t.Errorf("another journal's frames: %v", err)
	}
	replay := delivery(one(t, 4, 3))
	replay.Run = 7
	if _, err := p.forward(replay); err == nil || !strings.Contains(err.Error(), "run 7") {
		t.Errorf("a replay: %v", err)
	}
	if code := p.do(http.MethodGet, "/v1/cursors?run=7", nil, nil); code != http.StatusBadRequest {
		t.Errorf("cursors of a replay: %d", code)
	}
	torn := delivery(&event.DeliveredFrame{Sequence: 4, Live: "green", Data: []byte("torn")})
	if _, err := p.forward(torn); err == nil || !strings.Contains(err.Error(), "422") {
		t.Errorf("a frame that cannot be read: %v", err)
	}
	if c, err := p.feed.Cursor(context.Background(), 0); err != nil || c != (event.Cursor{Frame: 4}) {
		t.Errorf("afterwards the cursor is %v, %v", c, err)
	}

	// A new journal goes on above the old one's frames, and the old one does not come back.
	next := delivery(one(t, 101, 5))
	next.Journal, next.FromFrame, next.Controls = "j2", 4, []*event.ControlEntry{control(t, 100)}
	next.Holes = []*event.Hole{{FromFrame: 4, ToFrame: 100, Reason: event.Expired}}
	p.deliver(next)
	if _, err := p.forward(delivery(one(t, 102, 6))); !errors.As(err, &journal) {
		t.Errorf("the old journal: %v", err)
	}
	p.settled()
	if got := outcomes(t, w, "heap"); len(got) != 3 {
		t.Errorf("heap has outcomes at %v", got)
	}
	var cursors struct {
		Stages   map[string]event.Cursor
		Journals []warehouse.Journal
	}
	p.do(http.MethodGet, "/v1/cursors", nil, &cursors)
	at := event.Cursor{Frame: 102}
	if diff := cmp.Diff(map[string]event.Cursor{"trace": at, "ga4": at, "heap": at, "amplitude": at, "hook": at}, cursors.Stages); diff != "" {
		t.Error(diff)
	}
	if len(cursors.Journals) != 2 || cursors.Journals[0].Highest != 3 {
		t.Errorf("journals %+v", cursors.Journals)
	}

	// Everything under /v1 asks for the secret.
	for _, path := range []string{"/v1/cursors", "/v1/status", "/v1/dead", "/v1/dead/heap/1.0.0"} {
		resp, err := http.Get(p.url + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s without the secret: %d", path, resp.StatusCode)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}

// A feed that isolates a request hands frames over in parts, with holes; a large delivery becomes several messages.
func TestPartsHolesAndLargeDeliveries(t *testing.T) {
	v, w := startVendors(t), openWarehouse(t)
	p := start(t, options(t, t.TempDir(), v, w))
	var frames []*event.DeliveredFrame
	want := map[event.Position]string{}
	n := 0
	for sequence := uint64(1); sequence <= 30; sequence++ {
		var requests []*event.Request
		for i := range uint32(10) {
			n++
			var items []string
			for k := range uint32(8) {
				items = append(items, pageview(n))
				want[event.Position{Frame: sequence, Request: i, Item: k}] = "accepted"
			}
			requests = append(requests, request(n, "["+strings.Join(items, ",")+"]"))
		}
		frames = append(frames, frame(t, sequence, event.Green, requests...))
	}
	without := func(frame uint64, from, to uint32) {
		for i := from; i < to; i++ {
			for k := range uint32(8) {
				delete(want, event.Position{Frame: frame, Request: i, Item: k})
			}
		}
	}
	part := delivery(frames[0], frames[1])
	part.ToFrame, part.ToRequest = 2, 4
	part.Holes = []*event.Hole{{FromFrame: 1, FromRequest: 3, ToFrame: 1, ToRequest: 5, Reason: event.Dead}}
	without(1, 3, 5)
	p.deliver(part)
	rest := delivery(frames[1:]...) // begins below the cursor: what is there is skipped
	rest.Holes = []*event.Hole{{FromFrame: 30, FromRequest: 9, ToFrame: 31, Reason: event.Dead}}
	without(30, 9, 10)
	p.deliver(rest)
	p.settled()
	if diff := cmp.Diff(want, outcomes(t, w, "trace")); diff != "" {
		t.Errorf("stage trace: %s", diff)
	}
	if got := outcomes(t, w, "heap"); len(got) != len(want) {
		t.Errorf("heap has %d outcomes, want %d", len(got), len(want))
	}
	if got := v.ids(sandbox.Heap, "production"); len(got) != len(want) {
		t.Errorf("heap got %d events, want %d", len(got), len(want))
	}
	beyond := delivery(one(t, 31, 1))
	beyond.ToFrame, beyond.ToRequest = 31, 5
	if _, err := p.forward(beyond); err == nil || !strings.Contains(err.Error(), "has only 1 requests") {
		t.Errorf("more requests than the frame has: %v", err)
	}
}

// A messageId is remembered over restarts, for 24 hours of received-at, within one device and write key.
func TestMessageIDs(t *testing.T) {
	v, w := startVendors(t), openWarehouse(t)
	o := options(t, t.TempDir(), v, w)
	p := start(t, o)
	event1 := func(n int, device, messageID string, hours int64) *event.Request {
		r := request(n, fmt.Sprintf(`{"event":"pageview","deviceId":%q,"messageId":%q,"properties":{"pathname":"/"}}`, device, messageID))
		r.ReceivedAt += hours * 3600e6
		return r
	}
	p.deliver(delivery(frame(t, 1, event.Green, event1(1, "a", "m", 0), event1(2, "a", "m", 0), event1(3, "b", "m", 0))))
	p.stop()
	o.Telemetry = telemetry.Discard()
	p = start(t, o)
	p.deliver(delivery(frame(t, 2, event.Blue, event1(4, "a", "m", 23), event1(5, "a", "n", 0)), frame(t, 3, event.Green, event1(6, "a", "n", 1), event1(7, "a", "m", 25))))
	p.settled()
	duplicate := "rejected: " + trace.ReasonDuplicate
	want := map[event.Position]string{
		{Frame: 1, Request: 0}: "accepted", {Frame: 1, Request: 1}: duplicate, {Frame: 1, Request: 2}: "accepted",
		{Frame: 2, Request: 0}: duplicate, {Frame: 2, Request: 1}: "accepted", {Frame: 3, Request: 0}: duplicate, {Frame: 3, Request: 1}: "accepted",
	}
	if diff := cmp.Diff(want, outcomes(t, w, "trace")); diff != "" {
		t.Error(diff)
	}
	if got := v.ids(sandbox.GA4, "production"); len(got) != 3 {
		t.Errorf("ga4 got %v", got)
	}
}

// Names that clients make up are counted within a bound, sources that are refused by name.
func TestUnknownNamesAreCounted(t *testing.T) {
	v, w := startVendors(t), openWarehouse(t)
	p := start(t, options(t, t.TempDir(), v, w))
	other := request(2, pageview(2))
	other.Query = []byte("k=nobodys")
	p.deliver(delivery(frame(t, 1, event.Green, request(1, `{"event":"zone.delte","deviceId":"d","properties":{"zone":"z"}}`), other,
		request(3, `{"event":"pageview","deviceId":"d","properties":{"pathname":"/","extra":1}}`))))
	p.settled()
	s := p.status()
	if len(s.Unknown) != 2 || s.Unknown[0].Count != 1 || len(s.RefusedSources) != 1 || s.RefusedSources[0].Reason != "unknown write key" {
		t.Errorf("unknown %+v, refused sources %+v", s.Unknown, s.RefusedSources)
	}
	rows := query(t, w, `SELECT reason, answer FROM green.outcomes WHERE stage = 'trace' AND outcome = 'rejected' ORDER BY request`)
	if len(rows) != 2 || !strings.Contains(string(rows[0][1].([]byte)), "zone.delete") {
		t.Errorf("a rejection does not say what was probably meant: %q", rows)
	}
}
