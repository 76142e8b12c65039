package heap_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/sparrowhq/sparrow/trace/pipeline"
	"github.com/sparrowhq/sparrow/trace/tracker"
	"github.com/sparrowhq/sparrow/trace/tracker/contract"
	"github.com/sparrowhq/sparrow/trace/tracker/heap"
)

func TestIdentityIsTheUserElseTheDevice(t *testing.T) {
	for _, row := range []struct{ user, device, want string }{{"u", "d", "u"}, {"", "d", "d"}, {strings.Repeat("é", 255), "d", strings.Repeat("é", 255)}, {strings.Repeat("é", 256), "d", ""}} {
		e := contract.Plain(1)
		e.UserID, e.DeviceID = row.user, row.device
		var f tracker.Form
		b := heap.New().Form(&e, &f)
		if row.want == "" {
			if b == nil || b.Reason != "invalid id" {
				t.Errorf("%+v", b)
			}
			continue
		}
		var got map[string]any
		if b != nil || json.Unmarshal(f.Body, &got) != nil || got["identity"] != row.want || got["user_id"] != nil || got["idempotency_key"] != e.Key {
			t.Errorf("%+v %s", b, f.Body)
		}
	}
}

func TestProperties(t *testing.T) {
	for _, row := range []struct{ value, want, outcome string }{
		{`1.50`, `1.50`, ""}, {`"x"`, `"x"`, ""}, {`true`, `"true"`, ""}, {`false`, `"false"`, ""}, {`"` + strings.Repeat("é", 1023) + `"`, `"` + strings.Repeat("é", 1023) + `"`, ""},
		{`"` + strings.Repeat("é", 1024) + `"`, "", "value too long"}, {`[1]`, "", "VALUE_INVALID"}, {`{"a":1}`, "", "VALUE_INVALID"},
	} {
		e := contract.Plain(1)
		e.Properties = []pipeline.Property{{Name: "p", Value: json.RawMessage(row.value)}}
		var f tracker.Form
		b := heap.New().Form(&e, &f)
		outcome := ""
		if b != nil {
			outcome = b.Reason
		} else if len(f.Warnings) > 0 {
			outcome = f.Warnings[0].Code
		}
		if outcome != row.outcome {
			t.Errorf("%.40s: %q, want %q", row.value, outcome, row.outcome)
		}
		if b == nil && strings.Contains(string(f.Body), `"properties":{"p":`+row.want+`}`) != (row.want != "") {
			t.Errorf("%.40s: %.300s", row.value, f.Body)
		}
	}
}
