package dispatcher_test

import (
	"net/http"
	"testing"

	"github.com/sparrowhq/sparrow/dispatcher"
	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/telemetry"
)

// A stack whose trace was given another configuration is another build from then on, in answers and in rows.
func TestSetBuild(t *testing.T) {
	m := newMemory()
	d, err := dispatcher.New(options(m))
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, d.Handler(), telemetry.Discard())
	s.sendWhole(delivery(frame(t, 1, request(1, []byte(`{"event":"a"}`)))))
	other := event.Build{ID: "b2", Version: "v1"}
	d.SetBuild(other)
	if a := s.send(delivery(frame(t, 2, request(2, []byte(`{"event":"b"}`))))); a.Status != http.StatusOK || a.Build != other {
		t.Errorf("%+v", a)
	}
	if a := s.do(http.MethodGet, "/v1/cursors", "", nil); a.Build != other {
		t.Errorf("%+v", a)
	}
	var builds []string
	for _, r := range m.rows[stageKey{event.Green, 0, "raw"}] {
		builds = append(builds, r.Build)
	}
	if len(builds) != 2 || builds[0] != "b1" || builds[1] != "b2" {
		t.Errorf("the rows carry %v", builds)
	}
}
