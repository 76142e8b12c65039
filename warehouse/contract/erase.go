package contract

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// eraser is the engine behind w, asked again for as long as it has rows that it cannot change yet.
type eraser struct{ warehouse.Eraser }

func eraserOf(t *testing.T, w warehouse.Warehouse) eraser {
	if s, ok := w.(speaking); ok {
		w = s.Warehouse
	}
	e, ok := w.(warehouse.Eraser)
	if !ok {
		t.Fatal("the engine cannot erase")
	}
	return eraser{e}
}

func (e eraser) Erase(ctx context.Context, who warehouse.Person, by string) (sum warehouse.Erased, err error) {
	sum = warehouse.Erased{Rows: map[event.Stack]uint64{}, Outcomes: map[event.Stack]uint64{}}
	for range 20 {
		var out warehouse.Erased
		out, err = e.Eraser.Erase(ctx, who, by)
		sum.Events = max(sum.Events, out.Events)
		for _, stack := range event.Stacks() {
			sum.Rows[stack] += out.Rows[stack]
			sum.Outcomes[stack] += out.Outcomes[stack]
		}
		var later *warehouse.LaterError
		if !errors.As(err, &later) {
			break
		}
	}
	return sum, err
}

func erasure(t *testing.T, w warehouse.Warehouse) {
	who := warehouse.Person{Kind: warehouse.ByUser, ID: "anna@mail.example"}
	e := eraserOf(t, w)
	if _, err := e.Erase(t.Context(), who, "ops"); err != nil {
		t.Fatalf("erasing from nothing: %v", err)
	}
	h := newHistory("j")
	first := h.control(t, event.Initial, event.Green, 0)
	for range 12 {
		h.frame(1, 3, 1)
	}
	mine := map[string]bool{}
	bodies := map[int][]byte{
		2:  []byte(`{"event":"order placed","userId":"anna@mail.example","properties":{"to":"Elm Street 7"}}`),
		7:  []byte(`{"event":"e","userId":"\u0061nna@mail.example"}`),
		11: []byte("{\"userId\":\"anna@mail.example\",\"x\":\"\xff Elm Street 7\"}"),
		13: []byte(`{"userId":"anna@mail.example", Elm Street 7`),
		14: []byte(`{"userId":"someone","event":"e","userId":"anna@mail.example","x":"Elm Street 7"}`),
		15: []byte(`{"userId":"someone","event":"e","userId":"\u0061nna@mail.example","x":"Elm Street 7 \ud83d"}`),
		16: []byte(`{"userID":"anna@mail.example","x":"Elm Street 7"}`),
		18: []byte(`{"userId":["anna@mail.example"],"x":"Elm Street 7"}`),
		25: []byte(`{"user\u0049d":"anna@mail.example","x":"Elm Street 7"}`),
	}
	others := map[int][]byte{
		3:  []byte(`{"event":"e","userId":"hanna@mail.example"}`),
		17: []byte(`{"event":"e","properties":{"note":"anna@mail.example"}}`),
		19: []byte(`{"event":"e","deviceId":"anna@mail.example"}`),
		21: []byte(`{"event":"e","userId":"someone","properties":{"userId":"anna@mail.example"}}`),
		22: []byte(`{"event":"e","userId":["hanna@mail.example"],"userId":"anna@mail.example.org"}`),
		23: []byte("\xff{"),
	}
	n := 0
	for f := uint64(0); f < h.next; f++ {
		for i := range h.frames[f] {
			r := &h.frames[f][i]
			if b := bodies[n]; b != nil {
				r.Data, r.Event = b, "order placed by anna"
				mine[r.Position.String()] = true
			} else if b := others[n]; b != nil {
				r.Data = b
			}
			n++
		}
	}
	var end event.Cursor
	for _, stack := range event.Stacks() {
		end = h.end()
		mustAppend(t, w, h.batch(stack, event.Cursor{}, end, first))
		b := h.outcomes(stack, "ga4", event.Cursor{}, end)
		for i := range b.Outcomes {
			b.Outcomes[i].Request = []byte("sent " + b.Outcomes[i].Position.String())
		}
		mustAppend(t, w, b)
		late := b.Outcomes[2]
		late.Revision, late.Reason = 1, "anna"
		mustAppend(t, w, h.corrections(stack, "ga4", 0, late))
		// And frames enough behind for all digests of an engine that has some.
		mustAppend(t, w, &warehouse.Batch{Stack: stack, Stage: warehouse.Raw, Journal: "j", From: end, To: event.Cursor{Frame: 70 * warehouse.DigestFrames}})
		mustAppend(t, w, &warehouse.Batch{Stack: stack, Stage: "ga4", Journal: "j", From: end, To: event.Cursor{Frame: 70 * warehouse.DigestFrames}})
	}
	was := map[string]warehouse.Row{}
	for _, r := range stored(t, w, "green.raw") {
		was[r.Position.String()] = r
	}

	out, err := e.Erase(t.Context(), who, "ops")
	if err != nil {
		t.Fatal(err)
	}
	if out.Events != len(mine) || out.Rows[event.Green] != uint64(len(mine)) || out.Rows[event.Blue] != uint64(len(mine)) || out.Outcomes[event.Green] != uint64(len(mine))+1 {
		t.Errorf("erased %+v, want %d events", out, len(mine))
	}
	for _, stack := range event.Stacks() {
		got := stored(t, w, string(stack)+".raw")
		if len(got) != len(was) {
			t.Errorf("%s: %d rows, there were %d", stack, len(got), len(was))
		}
		for _, r := range got {
			want := was[r.Position.String()]
			if mine[r.Position.String()] {
				want.Event, want.Data, want.Context = "", []byte{}, []byte(`{"erased":true}`)
				if len(r.Data) == 0 {
					r.Data = want.Data
				}
			}
			equalRows(t, string(stack), []warehouse.Row{want}, []warehouse.Row{r})
		}
		for _, o := range storedOutcomes(t, w, string(stack)+".outcomes", "ga4") {
			if gone := o.Event == "" && o.Reason == "erased" && o.Digest == 0 && o.Request == nil && o.Response == nil; gone != mine[o.Position.String()] {
				t.Errorf("%s: outcome %+v", stack, o)
			}
		}
	}
	for _, view := range []string{"live.raw", "staging.raw", "live.raw_normalized", "staging.raw_normalized", "live.outcomes", "staging.outcomes"} {
		if n := ask(t, w, "SELECT COUNT(*) FROM "+view); fmt.Sprint(n[0][0]) != fmt.Sprint(len(was)-len(mine)) {
			t.Errorf("%s shows %v, want %d", view, n[0][0], len(was)-len(mine))
		}
	}
	tables, says := []string{"green.raw", "blue.raw", "green.outcomes_log", "blue.outcomes_log"}, "contains(CAST(x AS VARCHAR), '%s')"
	if s, ok := w.(speaking); ok && s.dialect.rewrite != nil {
		tables = append(tables, "green.raw_log", "blue.raw_log", "green.corrections_log", "blue.corrections_log")
		says = "STRPOS(TO_JSON_STRING(x), '%s') > 0"
	}
	for _, table := range tables {
		if n := ask(t, w, "SELECT COUNT(*) FROM "+table+" AS x WHERE "+fmt.Sprintf(says, "Elm Street")+" OR "+fmt.Sprintf(says, "by anna")); fmt.Sprint(n[0][0]) != "0" {
			t.Errorf("%s still tells of the person %v times", table, n[0][0])
		}
	}
	if d, ok := w.(warehouse.Digester); ok {
		if width, err := d.DigestFrames(t.Context()); err != nil {
			t.Error(err)
		} else if width > 0 {
			for _, stack := range event.Stacks() {
				counted(t, w, string(stack)+".raw WHERE run = 0", width, warehouse.Raw, stack)
				counted(t, w, string(stack)+".outcomes_log WHERE run = 0 AND revision = 0 AND stage = 'ga4'", width, "ga4", stack)
			}
			green, _ := digestsOf(t, w, event.Green, warehouse.Raw)
			blue, _ := digestsOf(t, w, event.Blue, warehouse.Raw)
			if fmt.Sprint(green) != fmt.Sprint(blue) {
				t.Errorf("digests of the stacks differ: %v and %v", green, blue)
			}
		}
	}
	records := ask(t, w, `SELECT kind, salt, hash, "by", events FROM erasures ORDER BY "at"`)
	if len(records) < 2 {
		t.Fatalf("records %v", records)
	}
	if records := records[1:]; fmt.Sprint(records[0][0], records[0][3], records[0][4]) != fmt.Sprint("user", "ops", len(mine)) || who.Hash(records[0][1].(string)) != records[0][2] {
		t.Errorf("records %v", records)
	}
	if strings.Contains(fmt.Sprint(records), "anna") {
		t.Error("the record names the person")
	}
	again, err := e.Erase(t.Context(), who, "ops")
	if err != nil || again.Events != 0 {
		t.Errorf("erased again: %+v, %v", again, err)
	}
	mustAppend(t, w, &warehouse.Batch{Stack: event.Green, Stage: warehouse.Raw, Journal: "j", From: event.Cursor{Frame: 70 * warehouse.DigestFrames}, To: event.Cursor{Frame: 71 * warehouse.DigestFrames}})
}
