package tracker

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sparrowhq/sparrow/telemetry"
)

func TestWay(t *testing.T) {
	at := time.UnixMicro(1_700_000_000_000_000)
	one := task{received: at.UnixMicro(), since: at.Add(time.Second), again: true}
	for i := range maxFailures + 2 {
		one.failed(failure{at.Add(time.Minute), i + 1, 500 * (i % 2)})
	}
	way := one.way("ga4")
	if diff := cmp.Diff([]telemetry.Step{
		{At: at, Stage: "journal", What: "received"}, {Stage: "trace", What: "accepted"}, {At: at.Add(time.Second), Stage: "ga4", What: "given to the tracker"},
		{Stage: "ga4", What: "an earlier process may have sent it"}, {At: at.Add(time.Minute), Stage: "ga4", What: "not answered", Number: 3}, {At: at.Add(time.Minute), Stage: "ga4", What: "answered", Status: 500, Number: 4},
	}, way[:6]); diff != "" || len(way) != 4+maxFailures || way[len(way)-1].Number != maxFailures+2 {
		t.Errorf("%+v\n%s", way, diff)
	}
}

func TestAnswerWithoutIDs(t *testing.T) {
	a := &Answer{Body: []byte(`unknown user jim "the" first, jim \"the\" first, jim+%22the%22+first and jim-2 of jim-22, d1`)}
	got := without([]string{`jim "the" first`, "jim-2", "jim-22", "d1", ""}, a)
	if want := `unknown user [redacted], [redacted], [redacted] and [redacted] of [redacted], d1`; string(got.Body) != want {
		t.Errorf("%s", got.Body)
	}
	if !slices.Equal(a.Body, []byte(`unknown user jim "the" first, jim \"the\" first, jim+%22the%22+first and jim-2 of jim-22, d1`)) {
		t.Error("the answer itself was changed")
	}
}
