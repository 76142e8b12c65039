package amplitude_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sparrowhq/sparrow/trace/pipeline"
	"github.com/sparrowhq/sparrow/trace/tracker"
	"github.com/sparrowhq/sparrow/trace/tracker/amplitude"
	"github.com/sparrowhq/sparrow/trace/tracker/contract"
)

// The answers that the vendor documents.
func TestJudge(t *testing.T) {
	dead := func(rulings ...tracker.Ruling) tracker.Judgement {
		return tracker.Judgement{Verdict: tracker.Partial, Reason: "events refused", Dead: rulings}
	}
	for _, row := range []struct {
		status int
		body   string
		want   tracker.Judgement
	}{
		{200, `{"code":200,"events_ingested":5,"payload_size_bytes":50,"server_upload_time":1396381378123}`, tracker.Judgement{Verdict: tracker.Taken}},
		{200, `{"code":400,"error":"x"}`, tracker.Judgement{Verdict: tracker.Barred, Reason: "an error under a good status"}},
		{200, `<html>`, tracker.Judgement{Verdict: tracker.Unavailable, Reason: "not the vendor's answer"}},
		{200, `{"code":200`, tracker.Judgement{Verdict: tracker.Unavailable, Reason: "not the vendor's answer"}},
		{400, `{"code":400,"error":"x","events_with_invalid_fields":{"time":[3,4]}}`, dead(tracker.Ruling{Index: 3, Reason: "invalid field"}, tracker.Ruling{Index: 4, Reason: "invalid field"})},
		{400, `{"code":400,"error":"x","events_with_missing_fields":{"event_type":[0]},"events_with_invalid_fields":{"time":[0,2]}}`, dead(tracker.Ruling{Index: 0, Reason: "missing field"}, tracker.Ruling{Index: 2, Reason: "invalid field"})},
		{400, `{"code":400,"error":"x","events_with_invalid_id_lengths":{"user_id":[1]}}`, dead(tracker.Ruling{Index: 1, Reason: "invalid id"})},
		{400, `{"code":400,"silenced_events":[2]}`, dead(tracker.Ruling{Index: 2, Reason: "silenced"})},
		{400, `{"code":400,"error":"Invalid API key"}`, tracker.Judgement{Verdict: tracker.Barred, Reason: "address or credential refused"}},
		{400, `{"code":400,"error":"Request missing required field","missing_field":"api_key"}`, tracker.Judgement{Verdict: tracker.Barred, Reason: "address or credential refused"}},
		{400, `{"code":400,"error":"Invalid JSON request body"}`, tracker.Judgement{Verdict: tracker.Refused, Reason: "refused"}},
		{413, `{"code":413,"error":"Payload too large"}`, tracker.Judgement{Verdict: tracker.TooLarge, Reason: "too large"}},
		{429, `{"code":429,"eps_threshold":30,"throttled_devices":{"d":31},"throttled_events":[3,4]}`, tracker.Judgement{Verdict: tracker.Partial, Reason: "throttled", Held: []int{3, 4}, Hold: 30 * time.Second}},
		{429, `{"code":429}`, tracker.Judgement{Verdict: tracker.Unavailable, Reason: "unavailable"}},
		{500, ``, tracker.Judgement{Verdict: tracker.Unavailable, Reason: "unavailable"}},
		{502, ``, tracker.Judgement{Verdict: tracker.Unavailable, Reason: "unavailable"}},
		{504, ``, tracker.Judgement{Verdict: tracker.Unavailable, Reason: "unavailable"}},
	} {
		got := amplitude.New(amplitude.Options{}).Judge(&tracker.Answer{Status: row.status, Header: http.Header{}, Body: []byte(row.body)}, 5)
		if diff := cmp.Diff(row.want, got); diff != "" {
			t.Errorf("%d %s:\n%s", row.status, row.body, diff)
		}
	}
}

func TestIDs(t *testing.T) {
	for _, row := range []struct{ user, device, wantUser, wantDevice string }{
		{"somebody", "device", "somebody", "device"},
		{"", "device", "", "device"},
		{"null", "device", "", "device"},
		{"somebody", "unknown", "somebody", ""},
		{"ab", "x", "ab", "x"}, // short ones pass: min_id_length is 1
		{"Anonymous", "LMY47D", "-", "-"},
		{"0", "00000000-0000-0000-0000-000000000000", "-", "-"},
		{"", "", "-", "-"},
	} {
		e := contract.Plain(1)
		e.UserID, e.DeviceID = row.user, row.device
		var f tracker.Form
		b := amplitude.New(amplitude.Options{}).Form(&e, &f)
		if row.wantUser == "-" {
			if b == nil || b.Reason != "invalid id" {
				t.Errorf("%+v: %+v", row, b)
			}
			continue
		}
		var got struct {
			User   string `json:"user_id"`
			Device string `json:"device_id"`
			Time   int64  `json:"time"`
			Insert string `json:"insert_id"`
		}
		if b != nil || json.Unmarshal(f.Body, &got) != nil || got.User != row.wantUser || got.Device != row.wantDevice || got.Time != e.Time/1000 || got.Insert != e.Key {
			t.Errorf("%+v: %+v, %s", row, b, f.Body)
		}
		if dropped := row.user != row.wantUser || row.device != row.wantDevice; dropped != (len(f.Warnings) == 1) {
			t.Errorf("%+v: %+v", row, f.Warnings)
		}
	}
}

func TestLimits(t *testing.T) {
	e := contract.Plain(1)
	deep := func(n int) json.RawMessage {
		return json.RawMessage(strings.Repeat(`{"a":`, n) + "1" + strings.Repeat("}", n))
	}
	e.Properties = []pipeline.Property{
		{Name: "deep39", Value: deep(39)}, {Name: "deep40", Value: deep(40)},
		{Name: "long", Value: json.RawMessage(`"` + strings.Repeat("é", 1025) + `"`)}, {Name: "nested", Value: json.RawMessage(`["` + strings.Repeat("x", 1030) + `"]`)},
	}
	var f tracker.Form
	if b := amplitude.New(amplitude.Options{}).Form(&e, &f); b != nil {
		t.Fatal(b)
	}
	var got struct {
		Properties map[string]json.RawMessage `json:"event_properties"`
	}
	if err := json.Unmarshal(f.Body, &got); err != nil {
		t.Fatal(err)
	}
	p := got.Properties
	if p["deep39"] == nil || p["deep40"] != nil || string(p["long"]) != `"`+strings.Repeat("é", 1024)+`"` || string(p["nested"]) != `["`+strings.Repeat("x", 1024)+`"]` || len(f.Warnings) != 3 {
		t.Errorf("%s %+v", f.Body, f.Warnings)
	}
	for _, name := range []string{"$identify", "$groupidentify", "", strings.Repeat("x", 1025)} {
		e := contract.Plain(1)
		e.Name = name
		if b := amplitude.New(amplitude.Options{}).Form(&e, new(tracker.Form)); b == nil {
			t.Errorf("%q is let pass", name)
		}
	}
}
