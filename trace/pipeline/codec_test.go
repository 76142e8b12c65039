package pipeline

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/sparrowhq/sparrow/event"
)

func sampleEvents(t testing.TB) []Event {
	p := mustPipeline(t, testConfig+"  heap: {ids: plain}\n")
	var all []Event
	for _, r := range goldenRequests() {
		all = append(all, process(t, p, with(r, "DNT", "1")).Events...)
	}
	return append(all, Event{}, Event{Time: -5, ReceivedAt: -7, Plain: &Identifiers{}, Properties: []Property{{"", nil}}, Context: Context{Privacy: Privacy{Consent: []Consent{{"", false}}}}},
		Event{Position: event.Position{Frame: 1<<64 - 1, Request: 1<<32 - 1, Item: 1<<32 - 1}})
}

func TestEventIsDecodedAsItWas(t *testing.T) {
	events := sampleEvents(t)
	if len(events) < 6 {
		t.Fatalf("%d events", len(events))
	}
	for _, e := range events {
		data := e.Append([]byte("x"))[1:]
		got, err := DecodeEvent(data)
		if err != nil {
			t.Fatal(err)
		}
		for i := range got.Properties { // nil and empty are the same
			if len(got.Properties[i].Value) == 0 {
				got.Properties[i].Value = nil
			}
		}
		if diff := cmp.Diff(e, got); diff != "" {
			t.Error(diff)
		}
		if !bytes.Equal(got.Append(nil), data) {
			t.Error("encoded again, other bytes")
		}
	}
}

func TestDecodeSkipsWhatItDoesNotKnow(t *testing.T) {
	e := sampleEvents(t)[0]
	data := e.Append(nil)
	data = protowire.AppendString(protowire.AppendTag(data, 99, protowire.BytesType), "later")
	data = protowire.AppendFixed64(protowire.AppendTag(data, 100, protowire.Fixed64Type), 7)
	got, err := DecodeEvent(data)
	if err != nil || !cmp.Equal(got, e) {
		t.Errorf("%v %s", err, cmp.Diff(e, got))
	}
}

func FuzzDecodeEvent(f *testing.F) {
	for _, e := range sampleEvents(f) {
		f.Add(e.Append(nil))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := DecodeEvent(data)
		if err != nil {
			return
		}
		again, err := DecodeEvent(e.Append(nil))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(again.Append(nil), e.Append(nil)) {
			t.Error("two forms of one event")
		}
	})
}

func TestEventAsJSON(t *testing.T) {
	p := mustPipeline(t, testConfig)
	e := process(t, p, request(`{"event":"zone.delete","deviceId":"d","properties":{"zone":"ü\"<","records":12345678901234567890123,"consent":{"ads":true}}}`)).Events[0]
	data, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		ID         string                     `json:"id"`
		Frame      int                        `json:"frame"`
		Properties map[string]json.RawMessage `json:"properties"`
		Consent    map[string]bool            `json:"consent"`
	}
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatalf("%v: %s", err, data)
	}
	if got.ID != e.ID || got.Frame != 7 || string(got.Properties["records"]) != "12345678901234567890123" || !got.Consent["ads"] {
		t.Errorf("%s", data)
	}
	var zone string
	if err := json.Unmarshal(got.Properties["zone"], &zone); err != nil || zone != `ü"<` {
		t.Errorf("%v %q", err, zone)
	}
}
