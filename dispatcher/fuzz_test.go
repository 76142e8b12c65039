package dispatcher_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/sparrowhq/sparrow/dispatcher"
	"github.com/sparrowhq/sparrow/event"
)

// Whatever is sent as a delivery is answered with a status of ours, never with 500, and what is answered with 200 is
// durable up to its end.
func FuzzDelivery(f *testing.F) {
	whole := delivery(frame(f, 1, request(1, []byte(`{"event":"a"}`), "User-Agent", "u"), request(2, []byte(`[1,{"event":"b"}]`))), small(f, 3, 2))
	whole.Controls = []*event.ControlEntry{{Sequence: 2, Record: []byte("{}")}}
	f.Add(encode(f, whole))
	part := delivery(small(f, 1, 3))
	part.ToFrame, part.ToRequest = 1, 2
	part.Holes = []*event.Hole{{FromFrame: 1, ToFrame: 1, ToRequest: 1, Reason: event.Dead, Requests: 1}}
	f.Add(encode(f, part))
	f.Add(encode(f, delivery(frame(f, 1, request(1, gzipped(f, []byte(`{"batch":[1],"a":2}`)), "Content-Encoding", "gzip")))))
	f.Fuzz(func(t *testing.T, body []byte) {
		m := newMemory()
		o := options(m)
		o.MaxAppendRows = 2
		d, err := dispatcher.New(o)
		if err != nil {
			t.Fatal(err)
		}
		req := httptest.NewRequest(http.MethodPost, "/v1/frames", bytes.NewReader(body))
		req.Header.Set("Content-Type", event.DeliveryType)
		req.Header.Set("Authorization", "Bearer "+secret)
		resp := httptest.NewRecorder()
		d.Handler().ServeHTTP(resp, req)
		switch resp.Code {
		case http.StatusOK:
			var dl event.Delivery
			if err := proto.Unmarshal(body, &dl); err != nil {
				t.Fatal(err)
			}
			key := stageKey{event.Green, dl.Run, "raw"}
			if have := m.cursors[key]; have.Compare(dl.To()) < 0 {
				t.Errorf("200 for [%v, %v) with the cursor at %v", dl.From(), dl.To(), have)
			}
		case http.StatusBadRequest, http.StatusConflict, http.StatusUnprocessableEntity:
		default:
			t.Errorf("answered %d %s", resp.Code, resp.Body)
		}
	})
}

// Whatever a client sends becomes at least one row, with the exact bytes where it is not split.
func FuzzRequest(f *testing.F) {
	f.Add([]byte(`{"event":"a"}`), []byte("k=w"), "User-Agent", []byte("u"), []byte("1.2.3.4"))
	f.Add(gzipped(f, []byte(`[{"event":"a"}]`)), []byte("k=%41"), "Content-Encoding", []byte("gzip"), []byte("::1"))
	f.Fuzz(func(t *testing.T, body, query []byte, header string, value, client []byte) {
		r := request(1, body)
		r.Query, r.Client, r.Headers = query, client, []*event.Header{{Name: header, Value: value}}
		data, err := event.AppendRequest(nil, r)
		if err != nil {
			return // a header's name that no mirror journals
		}
		m := newMemory()
		o := options(m)
		d, err := dispatcher.New(o)
		if err != nil {
			t.Fatal(err)
		}
		req := httptest.NewRequest(http.MethodPost, "/v1/frames", bytes.NewReader(encode(t, delivery(&event.DeliveredFrame{Sequence: 1, Data: data}))))
		req.Header.Set("Content-Type", event.DeliveryType)
		req.Header.Set("Authorization", "Bearer "+secret)
		resp := httptest.NewRecorder()
		d.Handler().ServeHTTP(resp, req)
		rows := m.raw()
		if resp.Code != http.StatusOK || len(rows) == 0 {
			t.Fatalf("answered %d %s; %d rows", resp.Code, resp.Body, len(rows))
		}
		for _, row := range rows {
			if rejected(t, row) != "" && !bytes.Equal(row.Data, body) {
				t.Errorf("rejected, and stored as %q instead of %q", row.Data, body)
			}
		}
	})
}
