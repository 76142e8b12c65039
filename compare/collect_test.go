package compare

import (
	"testing"

	"github.com/sparrowhq/sparrow/event"
)

func TestEqualSidesPass(t *testing.T) {
	w := newWorld(t)
	w.many(1000, "view", "click", "", "購入")
	w.accept([]item{{"view", `{"a":1}`}, {"view", `{"a":2}`}, {"click", `{"a":3}`}})
	ev := w.collect(w.store(), Options{})
	v := Judge(*ev, Policy{})
	if v.Outcome != Pass {
		t.Fatalf("%s: %s %+v", v.Outcome, v.Summary, v.Reasons)
	}
	if v.Judged != 1003 || ev.Live.Requests != 1001 || ev.Candidate.Requests != 1001 || ev.Either.IDSum != ev.Ledger.IDSum {
		t.Errorf("judged %d, requests %d and %d, sums %v and %v", v.Judged, ev.Live.Requests, ev.Candidate.Requests, ev.Either.IDSum, ev.Ledger.IDSum)
	}
	if v.Candidate != blueBuild || v.Live != greenBuild || v.Stack != event.Blue {
		t.Errorf("the verdict is about %+v on %s against %+v", v.Candidate, v.Stack, v.Live)
	}
	t.Log(v.Summary, v.Guarantee, v.Notes)
}
