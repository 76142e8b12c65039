package dispatcher

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/telemetry"
	"github.com/sparrowhq/sparrow/warehouse"
)

// recorder counts appends, and panics if told to.
type recorder struct {
	appends int
	panics  bool
}

func (r *recorder) Append(_ context.Context, b *warehouse.Batch) (event.Cursor, error) {
	if r.panics {
		panic("the client of a candidate: " + string(b.Rows[0].Data))
	}
	r.appends++
	return b.To, nil
}

func (r *recorder) Cursor(context.Context, event.Stack, uint64, warehouse.Stage) (event.Cursor, error) {
	return event.Cursor{}, nil
}

func (r *recorder) Journals(context.Context) ([]warehouse.Journal, error) { return nil, nil }

// No body is known that makes this code panic, so the test puts the bug in. The process lives on, the answer names the
// position and nothing of the content, nothing is appended, and the panic is reported.
func TestPanicOnOneRequest(t *testing.T) {
	var log bytes.Buffer
	tel, err := telemetry.New(telemetry.Options{Process: "dispatcher", Output: &log})
	if err != nil {
		t.Fatal(err)
	}
	w := new(recorder)
	d, err := New(Options{Stack: event.Blue, Build: event.Build{ID: "b"}, Secret: "s", Warehouse: w, Journals: w, Telemetry: tel})
	if err != nil {
		t.Fatal(err)
	}
	sound := d.rowsOf
	d.rowsOf = func(rows []warehouse.Row, frame uint64, request uint32, r *event.Request) ([]warehouse.Row, made) {
		if bytes.Contains(r.Body, []byte("poison")) {
			_ = []int{}[len(r.Body)]
		}
		return sound(rows, frame, request, r)
	}

	const content = `{"event":"poison","deviceId":"a-secret-device"}`
	send := func(bodies ...string) (int, string) {
		t.Helper()
		var data []byte
		for _, b := range bodies {
			if data, err = event.AppendRequest(data, &event.Request{Id: make([]byte, 16), Body: []byte(b)}); err != nil {
				t.Fatal(err)
			}
		}
		body, err := proto.Marshal(&event.Delivery{Format: 1, FromFrame: 7, ToFrame: 8, Frames: []*event.DeliveredFrame{{Sequence: 7, Data: data}}})
		if err != nil {
			t.Fatal(err)
		}
		req := httptest.NewRequest(http.MethodPost, "/v1/frames", bytes.NewReader(body))
		req.Header.Set("Content-Type", event.DeliveryType)
		req.Header.Set("Authorization", "Bearer s")
		resp := httptest.NewRecorder()
		d.Handler().ServeHTTP(resp, req)
		return resp.Code, resp.Body.String()
	}
	check := func(status int, text string, frame uint64, request uint32) {
		t.Helper()
		var got struct {
			Reason  string
			Frame   uint64
			Request uint32
		}
		if err := json.Unmarshal([]byte(text), &got); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if status != http.StatusInternalServerError || got.Reason != "failed" || got.Frame != frame || got.Request != request {
			t.Errorf("answered %d %s", status, text)
		}
		if strings.Contains(text, "poison") || strings.Contains(text, "a-secret-device") {
			t.Errorf("the answer holds content: %s", text)
		}
		if !strings.Contains(log.String(), "panic") || strings.Contains(log.String(), "a-secret-device") {
			t.Errorf("log: %s", log.String())
		}
		log.Reset()
	}

	status, text := send(`{"event":"a"}`, `{"event":"b"}`, content, `{"event":"c"}`)
	check(status, text, 7, 2)
	if w.appends != 0 {
		t.Error("something of the delivery was appended")
	}

	w.panics = true
	status, text = send(`{"event":"a","deviceId":"a-secret-device"}`)
	check(status, text, 7, 0)
	w.panics = false

	if status, text := send(`{"event":"a"}`); status != http.StatusOK || w.appends != 1 {
		t.Errorf("afterwards: %d %s", status, text)
	}
}
